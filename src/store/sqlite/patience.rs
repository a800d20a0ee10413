//! Waiting for another process, outside of SQLite, where it holds up nobody.

use std::time::{Duration, Instant};

use super::error::is_contention;

/// The first and the longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// Tries until nobody is in the way or the time is up, with growing, uneven pauses. For a thread that may wait.
pub(super) fn in_time<T>(
    patience: Duration,
    mut work: impl FnMut() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let since = Instant::now();
    let (mut pause, longest) = PAUSE;
    loop {
        match work() {
            Err(error) if is_contention(&error) && since.elapsed() < patience => {
                // Between half and all of it, so that two that wait do not meet again.
                let mut jitter = [0u8; 1];
                let _ = getrandom::fill(&mut jitter);
                let part = 0.5 + f64::from(u8::from_le_bytes(jitter)) / 510.0;
                std::thread::sleep(pause.mul_f64(part));
                pause = (2 * pause).min(longest);
            }
            other => return other,
        }
    }
}
