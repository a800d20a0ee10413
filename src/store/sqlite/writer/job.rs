//! A write that waits in the queue, and what its caller is told.

use futures_channel::oneshot;
use rusqlite::Connection;
use wacore::store::error::StoreError;

use crate::store::sqlite::error::{SqliteFault, database, unfit};

/// A queued write.
pub(super) trait Job: Send {
    /// Makes the write, and says whether it succeeded.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Tells the caller. `lost` says why a write that succeeded was not committed.
    fn finish(self: Box<Self>, lost: Option<&StoreError>);
}

pub(super) struct Write<T, F> {
    work: Option<F>,
    outcome: Option<rusqlite::Result<T>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    #[expect(dead_code, reason = "held for its destructor")]
    place: async_lock::SemaphoreGuardArc,
}

impl<T, F> Write<T, F> {
    pub(super) fn new(
        work: F,
        reply: oneshot::Sender<Result<T, StoreError>>,
        place: async_lock::SemaphoreGuardArc,
    ) -> Self {
        Self {
            work: Some(work),
            outcome: None,
            reply,
            place,
        }
    }
}

impl<T, F> Job for Write<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        if let Some(work) = self.work.take() {
            self.outcome = Some(work(connection));
        }
        matches!(self.outcome, Some(Ok(_)))
    }

    fn finish(self: Box<Self>, lost: Option<&StoreError>) {
        let answer = match (self.outcome, lost) {
            (Some(Err(error)), _) => Err(database(error)),
            (Some(Ok(value)), None) => Ok(value),
            (_, Some(lost)) => Err(again(lost)),
            (None, None) => Err(not_committed()),
        };
        // The receiver is gone when the caller lost interest.
        let _ = self.reply.send(answer);
    }
}

/// An error that several writes share, for one of them.
fn again(error: &StoreError) -> StoreError {
    if let Some(fault) = SqliteFault::of(error) {
        return StoreError::Database(Box::new(*fault));
    }
    let source = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<rusqlite::Error>());
    match source {
        Some(rusqlite::Error::SqliteFailure(code, text)) => {
            database(rusqlite::Error::SqliteFailure(*code, text.clone()))
        }
        _ => not_committed(),
    }
}

pub(super) fn not_committed() -> StoreError {
    unfit("the write was not made; try again")
}
