//! What went wrong with the file, in the keyring store's terms.

use crate::error::Opaque;
use crate::keyring::store::{StoreFault, StoreFaultKind};

/// Whether another connection is in the way, and waiting for it can help.
pub(super) fn is_contention(fault: &StoreFault) -> bool {
    std::error::Error::source(fault)
        .and_then(|source| source.downcast_ref::<Opaque>())
        .and_then(|hidden| hidden.reveal().downcast_ref())
        .is_some_and(crate::store::sqlite::is_contention)
}

pub(super) fn io(error: std::io::Error) -> StoreFault {
    StoreFault::new(
        StoreFaultKind::Io,
        "the keyring's file or folder can not be used; check its path, rights and free space",
    )
    .with_source(error)
}

pub(super) fn failed(error: rusqlite::Error) -> StoreFault {
    let of_another_type = matches!(
        error,
        rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
    );
    let kind = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            StoreFaultKind::Corrupt
        }
        None if of_another_type => StoreFaultKind::Corrupt,
        _ => StoreFaultKind::Io,
    };
    let advice = match kind {
        StoreFaultKind::Corrupt => {
            "the keyring's file is no SQLite database, or a damaged one; check the path or restore a backup"
        }
        _ => "SQLite could not read or write the keyring's file; check its rights and free space",
    };
    StoreFault::new(kind, advice).with_source(error)
}
