//! Long work on a thread of its own, which tells how far it is by the future that waits for it.

use std::sync::mpsc::{SyncSender, sync_channel};

use futures_channel::mpsc;

use super::error::LifecycleError;
use super::progress::{Phase, Progress};
use crate::thread::{start, yield_now};

type Result<T> = std::result::Result<T, LifecycleError>;

/// Runs `work` on a thread, and hands what it tells to `progress`, on whichever thread polls. The work waits for each answer, so
/// that it goes no further than it is asked to. Once the future is dropped the work is told to stop.
pub(super) async fn on_thread<T: Send + 'static>(
    progress: &dyn Progress,
    work: impl FnOnce(&dyn Progress) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (teller, mut told) = mpsc::unbounded();
    let result = start("sealed-store-work", move || work(&Reporter { teller })).ok_or_else(lost)?;
    // It ends with the work.
    while let Ok(told) = told.recv().await {
        match told.what {
            What::Begins(phase, total) => progress.begin(phase, total),
            What::Rows(done) => progress.rows(done),
            What::Asks => {}
        }
        // Who asked waits, or is gone with its thread.
        let _ = told.answer.send(progress.stopped());
        // The next may be there already.
        yield_now().await;
    }
    result.await.unwrap_or_else(|_| Err(lost()))
}

/// Runs `work` that is over soon, and tells nothing, on a thread: it waits for files.
pub(super) async fn briefly<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    on_thread(&(), move |_| work()).await
}

/// The thread could not be started, or did not come back.
pub(super) fn lost() -> LifecycleError {
    LifecycleError::Invalid {
        what: "a piece of work could not begin or ended unexpectedly; run it again, which goes on or starts over",
    }
}

struct Told {
    what: What,
    answer: SyncSender<bool>,
}

enum What {
    Begins(Phase, Option<u64>),
    Rows(u64),
    Asks,
}

/// The other end of [`on_thread`].
struct Reporter {
    teller: mpsc::UnboundedSender<Told>,
}

impl Reporter {
    /// Whether to stop. Nobody waits any more once there is no answer.
    fn tell(&self, what: What) -> bool {
        let (answer, answered) = sync_channel(1);
        self.teller.unbounded_send(Told { what, answer }).is_err()
            || answered.recv().unwrap_or(true)
    }
}

impl Progress for Reporter {
    fn begin(&self, phase: Phase, total: Option<u64>) {
        self.tell(What::Begins(phase, total));
    }

    fn rows(&self, done: u64) {
        self.tell(What::Rows(done));
    }

    fn stopped(&self) -> bool {
        self.tell(What::Asks)
    }
}
