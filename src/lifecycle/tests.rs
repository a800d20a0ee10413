use std::error::Error;

use super::{LifecycleError, LifecycleErrorKind};
use crate::error::{Fault, Opaque, SealError};
use crate::provider::{ProviderError, ProviderErrorKind};
use crate::record::Table;
use crate::store::sqlite::SqliteFault;

/// One of each; the compiler keeps the list complete.
fn all() -> Vec<(LifecycleError, LifecycleErrorKind)> {
    use LifecycleErrorKind as Kind;
    let complete = |error: &LifecycleError| match error {
        LifecycleError::NoStore
        | LifecycleError::Foreign
        | LifecycleError::InUse
        | LifecycleError::AlreadySealed
        | LifecycleError::NotSealed
        | LifecycleError::OlderUpstream
        | LifecycleError::UnknownSchema
        | LifecycleError::NewerSchema { .. }
        | LifecycleError::CorruptRow { .. }
        | LifecycleError::Damaged
        | LifecycleError::Unshredded
        | LifecycleError::Unsound
        | LifecycleError::FileExists
        | LifecycleError::CorruptBackup { .. }
        | LifecycleError::OtherKeyring
        | LifecycleError::OlderBackup { .. }
        | LifecycleError::Unfit { .. }
        | LifecycleError::Differs { .. }
        | LifecycleError::Interrupted { .. }
        | LifecycleError::Stopped
        | LifecycleError::Invalid { .. }
        | LifecycleError::Io(_)
        | LifecycleError::Sqlite(_)
        | LifecycleError::Statement(_)
        | LifecycleError::Seal(_) => {}
    };
    let what = "it is odd; look at it";
    let table = "sessions";
    let seal = |error| LifecycleError::Seal(error);
    let provider = |kind| seal(SealError::Provider(ProviderError::new(kind, "look at it")));
    let all = vec![
        (LifecycleError::NoStore, Kind::NoStore),
        (LifecycleError::Foreign, Kind::NoStore),
        (LifecycleError::InUse, Kind::InUse),
        (LifecycleError::AlreadySealed, Kind::WrongState),
        (LifecycleError::NotSealed, Kind::WrongState),
        (LifecycleError::OlderUpstream, Kind::UnsupportedVersion),
        (LifecycleError::UnknownSchema, Kind::UnsupportedVersion),
        (
            LifecycleError::NewerSchema {
                found: 9,
                supported: 1,
            },
            Kind::UnsupportedVersion,
        ),
        (LifecycleError::CorruptRow { table, what }, Kind::Corrupt),
        (LifecycleError::Damaged, Kind::Corrupt),
        (LifecycleError::Unshredded, Kind::Other),
        (LifecycleError::Unsound, Kind::Corrupt),
        (LifecycleError::FileExists, Kind::Other),
        (LifecycleError::CorruptBackup { what }, Kind::Corrupt),
        (LifecycleError::OtherKeyring, Kind::Other),
        (
            LifecycleError::OlderBackup {
                loses: true,
                revives: true,
            },
            Kind::Other,
        ),
        (LifecycleError::Unfit { table, what }, Kind::Other),
        (LifecycleError::Differs { table }, Kind::Other),
        (LifecycleError::Interrupted { what }, Kind::Interrupted),
        (LifecycleError::Stopped, Kind::Stopped),
        (LifecycleError::Invalid { what }, Kind::Other),
        (
            LifecycleError::Io(std::io::ErrorKind::StorageFull.into()),
            Kind::Other,
        ),
        (LifecycleError::Sqlite(SqliteFault::READ_ONLY), Kind::Other),
        (
            LifecycleError::Statement(Opaque::new("/home/alice is locked")),
            Kind::Other,
        ),
        (seal(SealError::WrongKey), Kind::WrongKey),
        (seal(SealError::InUse), Kind::InUse),
        (seal(SealError::NoKeyring), Kind::WrongState),
        (seal(SealError::Unsealed { table: None }), Kind::WrongState),
        (
            seal(SealError::CorruptKeyring { what: "odd" }),
            Kind::Corrupt,
        ),
        (
            seal(SealError::Corrupt {
                table: Table::Session,
                what: Fault::Name,
            }),
            Kind::Corrupt,
        ),
        (
            seal(SealError::UnsupportedVersion {
                found: 9,
                supported: 1,
            }),
            Kind::UnsupportedVersion,
        ),
        (provider(ProviderErrorKind::Unavailable), Kind::Unreachable),
        (
            provider(ProviderErrorKind::Throttled { retry_after: None }),
            Kind::Unreachable,
        ),
        (provider(ProviderErrorKind::ContextMismatch), Kind::WrongKey),
        (provider(ProviderErrorKind::Denied), Kind::Other),
    ];
    all.iter().for_each(|(error, _)| complete(error));
    all
}

#[test]
fn every_error_has_its_kind_and_a_calm_text() {
    for (error, kind) in all() {
        assert_eq!(error.kind(), kind, "{error:?}");
        let mut layer: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(current) = layer {
            let text = current.to_string();
            let lower = text.to_lowercase();
            assert!(
                !lower.contains("locked") && !lower.contains("busy"),
                "{text}"
            );
            assert!(!text.contains("alice"), "{text}");
            layer = current.source();
        }
    }
}

/// SQLite's own words, which may hold a path, are not shown.
#[test]
fn errors_of_sqlite_are_sorted_by_their_code() {
    let code = |code| {
        let text = Some("unable to open database file: /home/alice/5511.db".to_owned());
        LifecycleError::from(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(code),
            text,
        ))
    };
    assert!(matches!(
        code(rusqlite::ffi::SQLITE_BUSY),
        LifecycleError::InUse
    ));
    assert!(matches!(
        code(rusqlite::ffi::SQLITE_LOCKED),
        LifecycleError::InUse
    ));
    assert!(matches!(
        code(rusqlite::ffi::SQLITE_FULL),
        LifecycleError::Sqlite(_)
    ));
    let damaged = code(rusqlite::ffi::SQLITE_CORRUPT);
    assert_eq!(damaged.kind(), LifecycleErrorKind::Corrupt);
    let other = code(rusqlite::ffi::SQLITE_MISUSE);
    assert!(matches!(&other, LifecycleError::Statement(_)));
    for error in [damaged, other] {
        assert!(!format!("{error} {error:?} {:?}", error.source()).contains("alice"));
    }
}
