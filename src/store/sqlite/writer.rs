//! One writer. A lone write is made at once, on the caller's thread; writes that come together are queued and
//! share a transaction on a thread of their own.
//!
//! A write that was acknowledged is committed. One whose future is dropped is made whole or not at all: a
//! queued write belongs to the thread, and one on the caller's thread has no await in it.

mod fold;
mod job;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;
use rusqlite::{Connection, ErrorCode};
use wacore::store::error::StoreError;

use super::error::{SqliteFault, SqliteFaultKind, database, is_contention, unfit};
use super::files::Files;
use super::patience::in_time;
use job::{Job, Write, not_committed};

/// Writes that may wait in the queue; more callers wait outside of it.
const QUEUED: usize = 1024;
/// Writes that share a transaction.
const SHARED: usize = 256;
/// Larger writes, in rows, are not made on the caller's thread.
const INLINE_ROWS: usize = 64;
/// Pages by which the write-ahead log grows between two checkpoints: as SQLite's own checkpoints have it.
const CHECKPOINT_PAGES: u32 = 1000;
/// A log of so many pages is folded in while nobody writes, so that it begins anew: under writes that never
/// pause it would grow for ever.
const LONGEST_LOG: u32 = 4 * CHECKPOINT_PAGES;

thread_local! {
    /// Pages in the log after a commit on this thread, which SQLite tells only to a function.
    static LOG: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
}

/// The next checkpoint may begin when this is dropped.
struct Checkpointing<'a>(&'a Shared);

impl Drop for Checkpointing<'_> {
    fn drop(&mut self) {
        let mut queue = lock(&self.0.queue);
        queue.checkpointing = false;
        queue.anew = true;
    }
}

/// The only way to write. Its thread ends when it is dropped, after what was queued.
pub(super) struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    connection: Mutex<Connection>,
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Places in the queue: a write has one until it is made, whether anybody still waits for it or not.
    places: Arc<async_lock::Semaphore>,
    /// Whether commits do not wait for the disk, so that a caller's thread may make them.
    inline: bool,
    busy_timeout: Duration,
    /// The files; none in memory.
    files: Option<Arc<Files>>,
    /// What checkpoints are made on.
    checkpoints: Mutex<Option<Connection>>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Box<dyn Job>>,
    /// Whether the thread runs, and whether it makes writes that it took from here.
    running: bool,
    making: bool,
    /// Whether a checkpoint is due, and whether one is being made.
    checkpoint: bool,
    checkpointing: bool,
    /// Pages in the log, and how many there were at the last checkpoint.
    pages: u32,
    pages_then: u32,
    /// Whether the next commit may begin the log anew, for which it waits for the disk.
    anew: bool,
    closed: bool,
    /// Who waits for the end.
    closers: Vec<oneshot::Sender<bool>>,
}

/// If the thread ends by a panic, the store is closed: nobody may wait for a write that nobody makes.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = lock(&self.0.queue);
            queue.closed = true;
            queue.running = false;
            queue.jobs.clear();
            queue.closers.clear();
        }
    }
}

fn closed() -> StoreError {
    unfit("the store is closed; open it again")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(std::sync::TryLockError::WouldBlock) => None,
    }
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        files: Option<Arc<Files>>,
        inline: bool,
        busy_timeout: Duration,
    ) -> Self {
        connection.wal_hook(Some(|_, pages| {
            LOG.set(u32::try_from(pages).ok());
            Ok(())
        }));
        Self {
            shared: Arc::new(Shared {
                connection: Mutex::new(connection),
                queue: Mutex::new(Queue {
                    anew: files.is_some(),
                    ..Queue::default()
                }),
                wake: Condvar::new(),
                places: Arc::new(async_lock::Semaphore::new(QUEUED)),
                inline,
                busy_timeout,
                files,
                checkpoints: Mutex::new(None),
            }),
        }
    }

    /// Makes a write of about `rows` rows, whole or not at all, and returns when it is committed.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        rows: usize,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let work = if self.shared.inline && rows <= INLINE_ROWS {
            match self.shared.write_now(work) {
                Ok(answer) => {
                    self.shared.checkpoint_if_due();
                    return answer;
                }
                Err(work) => work,
            }
        } else {
            work
        };
        let place = self.shared.places.acquire_arc().await;
        let (reply, answer) = oneshot::channel();
        self.enqueue(Box::new(Write::new(work, reply, place)))?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    fn enqueue(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        let mut queue = lock(&self.shared.queue);
        if queue.closed {
            return Err(closed());
        }
        queue.jobs.push_back(job);
        if queue.running {
            self.shared.wake.notify_one();
            return Ok(());
        }
        start(&self.shared, &mut queue)
    }

    /// Reads on the connection that writes, on the caller's thread, unless somebody uses or waits for it.
    pub(super) fn read_now<T>(&self, work: impl FnOnce(&Connection) -> T) -> Option<T> {
        self.shared
            .idle_connection()
            .map(|connection| work(&connection))
    }

    /// Reads on the connection that writes: what a database in memory has.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write(1, work).await
    }

    /// Takes no more writes, makes those that wait, and folds the log into the database.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (closer, end) = oneshot::channel();
        {
            let mut queue = lock(&self.shared.queue);
            // While it is being closed, whoever closes it as well waits for the same end.
            if queue.closed && !queue.running {
                return Err(closed());
            }
            if queue.running {
                self.shared.wake.notify_one();
            } else {
                start(&self.shared, &mut queue)?;
            }
            queue.closed = true;
            queue.closers.push(closer);
        }
        // It ends without an answer only by a panic; nothing that was acknowledged is lost.
        let folded = end.await.unwrap_or(false);
        let files = self.shared.files.as_ref();
        files.map_or(Ok(()), |files| files.check())?;
        if !folded {
            return Err(StoreError::Database(Box::new(SqliteFault::LOG_LEFT)));
        }
        Ok(())
    }

    pub(super) fn page_count(&self) -> Option<u64> {
        let connection = try_lock(&self.shared.connection)?;
        let pages: i64 = connection
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .ok()?;
        u64::try_from(pages).ok()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.wake.notify_one();
    }
}

fn start(shared: &Arc<Shared>, queue: &mut Queue) -> Result<(), StoreError> {
    let thread = Arc::clone(shared);
    let started = std::thread::Builder::new()
        .name("sealed-store-writer".into())
        .spawn(move || {
            let (closers, folded) = thread.run();
            // First, so that whoever waited for the end and drops the store closes its file.
            drop(thread);
            for closer in closers {
                let _ = closer.send(folded);
            }
        });
    match started {
        Ok(_) => {
            queue.running = true;
            Ok(())
        }
        Err(error) => {
            queue.jobs.pop_back();
            Err(StoreError::Io(error))
        }
    }
}

impl Shared {
    /// Makes a write on this thread, unless others wait or another connection is in the way: then the work
    /// comes back.
    fn write_now<T, F>(&self, work: F) -> Result<Result<T, StoreError>, F>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T>,
    {
        let anew = try_lock(&self.queue).is_none_or(|queue| queue.anew);
        let idle = if anew { None } else { self.idle_connection() };
        let Some(connection) = idle else {
            return Err(work);
        };
        match begin(&connection) {
            Ok(()) => {}
            Err(error) if is_contention(&error) => return Err(work),
            Err(error) => return Ok(Err(database(error))),
        }
        let answer = work(&connection).and_then(|value| {
            commit(&connection)?;
            Ok(value)
        });
        if answer.is_err() {
            rollback(&connection);
        }
        let pages = LOG.take();
        drop(connection);
        let full = answer.as_ref().is_err_and(is_full);
        self.note_log(pages, full);
        Ok(answer.map_err(database))
    }

    /// The connection, if nobody uses it or waits for it, and the log need not be folded in first.
    fn idle_connection(&self) -> Option<MutexGuard<'_, Connection>> {
        let queue = try_lock(&self.queue)?;
        // Writes that came before are made before, whoever still waits for them.
        let waiting = queue.making || !queue.jobs.is_empty();
        if waiting || queue.closed || queue.pages >= LONGEST_LOG {
            return None;
        }
        try_lock(&self.connection)
    }

    /// Has a checkpoint made whenever the log has grown by so many pages, and when the disk is full: the room
    /// that the log has is used again then.
    fn note_log(&self, pages: Option<u32>, full: bool) {
        let mut queue = lock(&self.queue);
        queue.checkpoint |= full;
        let Some(pages) = pages else { return };
        queue.anew = false;
        queue.pages = pages;
        // It began anew.
        queue.pages_then = queue.pages_then.min(pages);
        if pages - queue.pages_then >= CHECKPOINT_PAGES {
            queue.pages_then = pages;
            queue.checkpoint = true;
        }
    }

    /// Has a checkpoint made beside the writes, if one is due: on a thread for this one, which waits for the disk.
    fn checkpoint_if_due(self: &Arc<Self>) {
        // Where somebody else has the queue just now, the next write looks.
        let Some(mut queue) = try_lock(&self.queue) else {
            return;
        };
        if !queue.checkpoint || queue.checkpointing || queue.closed {
            return;
        }
        let long = queue.pages >= LONGEST_LOG;
        let shared = Arc::clone(self);
        let started = std::thread::Builder::new()
            .name("sealed-store-log".into())
            .spawn(move || {
                let _checkpointing = Checkpointing(&shared);
                let _nobody_writes = long.then(|| lock(&shared.connection));
                shared.checkpoint("PASSIVE");
            });
        // Without a thread the next write tries again.
        if started.is_ok() {
            queue.checkpoint = false;
            queue.checkpointing = true;
        }
    }

    /// The thread: until the store is closed and nothing waits. Who waits for that is told by the caller, and whether
    /// the log was folded in.
    fn run(self: &Arc<Self>) -> (Vec<oneshot::Sender<bool>>, bool) {
        let _ended = Ended(self);
        loop {
            let mut queue = lock(&self.queue);
            while queue.jobs.is_empty() && !queue.closed {
                queue = self
                    .wake
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if queue.jobs.is_empty() && queue.closed {
                drop(queue);
                let folded = self.checkpoint("TRUNCATE");
                // Whoever closed it meanwhile is told too.
                let mut queue = lock(&self.queue);
                queue.running = false;
                return (std::mem::take(&mut queue.closers), folded);
            }
            let count = queue.jobs.len().min(SHARED);
            let jobs: Vec<_> = queue.jobs.drain(..count).collect();
            queue.making = true;
            let long = queue.pages >= LONGEST_LOG;
            drop(queue);
            if long {
                // The log is not let grow while one checkpoint waits for a slow disk: the next can end it.
                drop(lock(&self.checkpoints));
            }
            self.make(jobs);
            lock(&self.queue).making = false;
            self.checkpoint_if_due();
        }
    }

    /// Makes `jobs` in one transaction, each whole or not at all.
    fn make(&self, mut jobs: Vec<Box<dyn Job>>) {
        let connection = lock(&self.connection);
        let mut lost = in_time(self.busy_timeout, || begin(&connection))
            .err()
            .map(database);
        let alone = jobs.len() == 1;
        // Of the jobs before this one nothing is left: they are told so.
        let mut gone = 0;
        let (mut failed, mut full) = (false, false);
        if lost.is_none() {
            for (number, job) in jobs.iter_mut().enumerate() {
                let made = alone || run(&connection, "SAVEPOINT job").is_ok();
                let made = made && job.run(&connection);
                failed = !made;
                if connection.is_autocommit() {
                    // The disk is full, or worse: SQLite rolled the whole transaction back.
                    gone = number;
                    full = true;
                    if begin(&connection).is_err() {
                        break;
                    }
                } else if !alone {
                    let back = if made {
                        Ok(())
                    } else {
                        run(&connection, "ROLLBACK TO job")
                    };
                    if let Err(error) = back.and_then(|()| run(&connection, "RELEASE job")) {
                        // What a failed write left behind must not be committed with the others.
                        lost = Some(database(error));
                        break;
                    }
                }
            }
            if lost.is_some() || alone && failed {
                // Alone, its own error is its answer.
                rollback(&connection);
            } else {
                lost = commit(&connection).err().map(database);
                rollback(&connection);
            }
        }
        let pages = LOG.take();
        drop(connection);
        let kind = lost
            .as_ref()
            .and_then(SqliteFault::of)
            .map(SqliteFault::kind);
        self.note_log(pages, full || kind == Some(SqliteFaultKind::Full));
        let rolled_back = not_committed();
        for (number, job) in jobs.into_iter().enumerate() {
            let lost = if number < gone {
                Some(&rolled_back)
            } else {
                lost.as_ref()
            };
            job.finish(lost);
        }
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

fn begin(connection: &Connection) -> rusqlite::Result<()> {
    // What a write that panicked left behind.
    rollback(connection);
    run(connection, "BEGIN IMMEDIATE")
}

fn commit(connection: &Connection) -> rusqlite::Result<()> {
    run(connection, "COMMIT")
}

fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

fn rollback(connection: &Connection) {
    if !connection.is_autocommit() {
        // It fails only where there is nothing to roll back.
        let _ = connection.execute_batch("ROLLBACK");
    }
}

#[cfg(test)]
mod tests;
