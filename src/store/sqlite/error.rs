//! SQLite's errors as the client's.

use rusqlite::ErrorCode;
use wacore::store::error::StoreError;

/// An error of a statement.
pub(super) fn database(error: rusqlite::Error) -> StoreError {
    StoreError::Database(Box::new(error))
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
