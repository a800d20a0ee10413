//! What happened when, one line each: milliseconds since the start, the event, what it was.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

#[derive(Clone)]
pub struct Timeline {
    begun: Arc<Instant>,
}

impl Timeline {
    pub fn new() -> Self {
        Self {
            begun: Arc::new(Instant::now()),
        }
    }

    /// Whole lines, at once: tasks and the library's own threads speak too.
    pub fn say(&self, event: &str, what: impl std::fmt::Display) {
        let mut out = std::io::stdout().lock();
        let time = self.begun.elapsed().as_millis();
        // Nobody reads it any more: no reason for a service to stop.
        let _ = writeln!(out, "{time:>7} {event:<11} {what}").and_then(|()| out.flush());
    }
}
