//! Whether the database's files are still those that were opened.
//!
//! SQLite goes on with files that were renamed over or removed: what is written then is in no file that anybody finds,
//! and a connection that is made later finds another database. Checked wherever a connection is made, with each
//! checkpoint, after errors, at the end, and on calls every [`EVERY`]: asking the system costs a good part of a write.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use wacore::store::error::StoreError;

use super::error::SqliteFault;

/// The longest that calls go on without a check.
const EVERY: Duration = Duration::from_millis(100);

/// Which file is at a path: device and number.
pub(super) type Identity = Option<(u64, u64)>;

pub(super) struct Files {
    path: PathBuf,
    /// The log and the index. Where `path` is a link, they are beside the file that it leads to.
    beside: [PathBuf; 2],
    opened: [Identity; 3],
    since: Instant,
    /// When calls check next, in milliseconds since `since`.
    next: AtomicU64,
    /// They are others: for good, also if somebody puts the old ones back.
    replaced: AtomicBool,
}

impl Files {
    /// The files at `path`, of which a connection has just been made that has read. `before` is what
    /// [`Files::at`] gave before that.
    pub(super) fn opened(path: &Path, before: Identity) -> Result<Self, StoreError> {
        let real = std::fs::canonicalize(path).map_err(StoreError::Io)?;
        let beside = ["-wal", "-shm"].map(|suffix| {
            let mut file = real.clone().into_os_string();
            file.push(suffix);
            PathBuf::from(file)
        });
        let mut files = Self {
            path: path.to_owned(),
            beside,
            opened: [None; 3],
            since: Instant::now(),
            next: AtomicU64::new(0),
            replaced: AtomicBool::new(false),
        };
        files.opened = files.found().map_err(StoreError::Io)?;
        if before.is_some() && before != files.opened[0] {
            return Err(replaced());
        }
        Ok(files)
    }

    /// Which file is at `path`, if there is one.
    pub(super) fn at(path: &Path) -> Identity {
        identity(path).ok().flatten()
    }

    /// Which files are there now.
    fn found(&self) -> io::Result<[Identity; 3]> {
        // The log is empty at times, the database never.
        if std::fs::metadata(&self.path)?.len() == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let [log, index] = &self.beside;
        Ok([identity(&self.path)?, identity(log)?, identity(index)?])
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails once another check has found other files: costs nothing.
    pub(super) fn noted(&self) -> Result<(), StoreError> {
        if self.replaced.load(Relaxed) {
            return Err(replaced());
        }
        Ok(())
    }

    /// As [`Files::check`], but only if the last one was long ago.
    pub(super) fn check_sometimes(&self) -> Result<(), StoreError> {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now < self.next.load(Relaxed) {
            return self.noted();
        }
        self.next.store(now + EVERY.as_millis() as u64, Relaxed);
        self.check()
    }

    /// Fails if other files are there, or none.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let others = match self.found() {
            Ok(found) => found != self.opened,
            // Any other error says nothing of the files, and passes perhaps.
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
            ),
        };
        if others {
            self.replaced.store(true, Relaxed);
        }
        self.noted()
    }

    /// Fails if a new connection has not opened the same files. It reads first: the log is opened then.
    pub(super) fn check_new(&self, connection: &Connection) -> Result<(), StoreError> {
        let _ = connection.pragma_query_value(None, "schema_version", |_| Ok(()));
        self.check()
    }
}

fn replaced() -> StoreError {
    StoreError::Database(Box::new(SqliteFault::REPLACED))
}

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let about = std::fs::metadata(path)?;
    Ok(Some((about.dev(), about.ino())))
}

/// Elsewhere files that are open can't be replaced, or can't be told apart.
#[cfg(not(unix))]
fn identity(_: &Path) -> io::Result<Identity> {
    Ok(None)
}
