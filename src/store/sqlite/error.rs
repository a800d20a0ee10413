//! SQLite's errors as the client's.

use std::fmt;

use rusqlite::{ErrorCode, ffi};
use wacore::store::error::StoreError;

/// What keeps the database's files from being used, and what to do about it. It travels in a [`StoreError`] as its
/// source; texts hold no path and no content.
///
/// ```
/// use sealed_store::store::sqlite::{SqliteFault, SqliteFaultKind};
/// use wacore::store::error::StoreError;
///
/// fn is_full(error: &StoreError) -> bool {
///     SqliteFault::of(error).is_some_and(|fault| fault.kind() == SqliteFaultKind::Full)
/// }
/// # assert!(!is_full(&StoreError::DeviceNotFound(1)));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SqliteFault {
    kind: SqliteFaultKind,
    code: Option<ffi::Error>,
}

/// What kind of [`SqliteFault`] it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqliteFaultKind {
    /// The disk is full. Reading still works.
    Full,
    /// The disk failed.
    Io,
    /// The file, its folder or its disk is for reading only.
    ReadOnly,
    /// A file can't be opened or made.
    CannotOpen,
    /// The file is no database, or a damaged one.
    Damaged,
    /// The store is closed and nothing is lost, but the write-ahead log could not be folded into the database: another
    /// program reads it, or the disk is full or failed. Whoever copies the file copies the log (`-wal`) with it.
    LogLeft,
    /// A file was replaced, removed or emptied while the store was open. What was written shortly before is lost
    /// with it, and nothing more is read or written.
    Replaced,
}

impl SqliteFault {
    /// A connection that reads could not be made in time.
    pub(super) const NO_CONNECTION: Self = Self {
        kind: SqliteFaultKind::CannotOpen,
        code: None,
    };

    /// The store is closed, and its log still holds writes.
    pub(super) const LOG_LEFT: Self = Self {
        kind: SqliteFaultKind::LogLeft,
        code: None,
    };

    /// Other files are there than those that were opened.
    pub(super) const REPLACED: Self = Self {
        kind: SqliteFaultKind::Replaced,
        code: None,
    };

    /// SQLite opened the file for reading only.
    pub(crate) const READ_ONLY: Self = Self {
        kind: SqliteFaultKind::ReadOnly,
        code: None,
    };

    /// The fault inside an error, if it is one of these.
    #[must_use]
    pub fn of(error: &StoreError) -> Option<&Self> {
        let mut layer: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(current) = layer {
            if let Some(ours) = current.downcast_ref() {
                return Some(ours);
            }
            layer = current.source();
        }
        None
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> SqliteFaultKind {
        self.kind
    }
}

impl fmt::Display for SqliteFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            SqliteFaultKind::Full => "the disk is full; free some space, then try again",
            SqliteFaultKind::Io => {
                "the database's files could not be read or written; check the disk and its free space, then try again"
            }
            SqliteFaultKind::ReadOnly => {
                "the database can't be written; check the rights of its file and folder, and how the disk is mounted"
            }
            SqliteFaultKind::LogLeft => {
                "the store is closed and nothing is lost, but its write-ahead log could not be folded in: another program \
                 uses the file, or the disk is full; keep the file that ends in -wal beside it"
            }
            SqliteFaultKind::CannotOpen if self.code.is_none() => {
                "no connection could be made in time: another program has the database to itself, or too many files \
                 are open; try again"
            }
            SqliteFaultKind::CannotOpen => {
                "the database's files can't be opened or made; check the path, the rights of file and folder, and \
                 the number of open files"
            }
            SqliteFaultKind::Replaced => {
                "the database's files were replaced, removed or emptied while they were open, and what was written \
                 since may be lost; close the store, see to it that the right files are there, and open it again"
            }
            SqliteFaultKind::Damaged => {
                "the file is no database, or a damaged one; check the path, or restore a backup"
            }
        })
    }
}

impl std::error::Error for SqliteFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.code
            .as_ref()
            .map(|code| code as &(dyn std::error::Error + 'static))
    }
}

/// An error of SQLite, with advice where there is one to give. SQLite's own words are left out then: they may hold
/// the path.
pub(crate) fn advised(error: rusqlite::Error) -> Box<dyn std::error::Error + Send + Sync> {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => SqliteFaultKind::Full,
        Some(ErrorCode::SystemIoFailure) => SqliteFaultKind::Io,
        Some(ErrorCode::ReadOnly) => SqliteFaultKind::ReadOnly,
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => SqliteFaultKind::CannotOpen,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => SqliteFaultKind::Damaged,
        _ => return Box::new(error),
    };
    let code = error.sqlite_error().copied();
    Box::new(SqliteFault { kind, code })
}

/// An error of a statement.
pub(super) fn database(error: rusqlite::Error) -> StoreError {
    StoreError::Database(advised(error))
}

/// The database, or what it holds, can't be used as it is; `advice` says what to do.
pub(super) fn unfit(advice: &str) -> StoreError {
    StoreError::InvalidConfig(advice.to_owned())
}

/// A row holds what no store of ours writes.
pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Validation(format!("{what}; restore the database from a backup"))
}

/// Whether another connection is in the way and trying again can help. Judged by the code alone.
pub(crate) fn is_contention(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// As [`is_contention`], of an error that was made into the client's.
pub(super) fn is_contended(error: &StoreError) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref())
        .is_some_and(is_contention)
}
