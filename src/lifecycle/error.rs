//! What can go wrong with a whole store, and what to do next.

use wacore::store::error::StoreError;

use crate::error::{Opaque, SealError};
use crate::keyring::store::StoreFaultKind;
use crate::provider::ProviderErrorKind;
use crate::store::sqlite::{SqliteFault, SqliteFaultKind, advised, is_contention};

/// Every error of this module. Texts say what to do next and hold no path, no address and no content.
///
/// [`LifecycleError::kind`] sorts them as the command line's exit codes do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LifecycleError {
    /// There is no file.
    #[error("no store there; check the path")]
    NoStore,

    /// There is a file or a folder, but no store that this library knows.
    #[error(
        "this is no store that sealed-store knows: neither whatsapp-rust's database nor one of its own; check the path"
    )]
    Foreign,

    /// Somebody has the store open.
    #[error("the store is in use; stop the program that has it open, then try again")]
    InUse,

    /// The store is sealed.
    #[error("the store is sealed already; there is nothing to encrypt")]
    AlreadySealed,

    /// The store is in the clear.
    #[error("the store is not sealed; encrypt it first")]
    NotSealed,

    /// A database of a whatsapp-rust before 0.7, which lacks tables or columns.
    #[error(
        "the database is from a whatsapp-rust before 0.7; open it once with whatsapp-rust 0.7, which brings it up to date, then try again"
    )]
    OlderUpstream,

    /// A schema that is newer than this code, or changed by somebody.
    #[error("the database has a schema that this version does not know; update sealed-store")]
    UnknownSchema,

    /// The store is of a version that this code does not read.
    #[error(
        "the store is of schema version {found}, this build reads up to {supported}; update sealed-store"
    )]
    NewerSchema {
        /// The version that was found.
        found: i64,
        /// The newest that this build reads.
        supported: i64,
    },

    /// Of a store in the clear: a row that upstream's own store would not read.
    #[error(
        "a row of table {table} can't be read: {what}; restore the store from a backup, or delete the row"
    )]
    CorruptRow {
        /// The table, as the database names it.
        table: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },

    /// A row opened although its keys were destroyed.
    #[error(
        "a row still opens although its keys were destroyed; keep the store from others, and report this"
    )]
    Unshredded,

    /// A check found something wrong, which its report tells.
    #[error(
        "the store is not sound; what is wrong is listed. Restore a backup, or keep what opens: it does as before"
    )]
    Unsound,

    /// The database itself is damaged.
    #[error("the database is damaged; restore it from a backup")]
    Damaged,

    /// A row that opens, but has no place in the layout that was asked for.
    #[error("a row of table {table} can't be kept in the new file: {what}")]
    Unfit {
        /// The table.
        table: &'static str,
        /// Why.
        what: &'static str,
    },

    /// A row of the new file is not what was read. The new file was removed, and the store is as it was.
    #[error(
        "a row of table {table} did not come out of the new file as it was; nothing was changed, check the disk and report this"
    )]
    Differs {
        /// The table.
        table: &'static str,
    },

    /// An earlier run was cut short, and this call can't go on before it is finished.
    #[error("an earlier run was cut short: {what}")]
    Interrupted {
        /// What to run.
        what: &'static str,
    },

    /// [`Progress::stopped`](super::Progress::stopped) asked for it. The store is as it was.
    #[error("stopped as asked; the store is as it was, and running it again starts over")]
    Stopped,

    /// A file that was to be made is there already.
    #[error("there is a file of that name already, and none is written over; name another")]
    FileExists,

    /// A backup of a header is damaged, or is none.
    #[error("this is no whole backup of a header: {what}; use another copy of it")]
    CorruptBackup {
        /// What is wrong with it.
        what: &'static str,
    },

    /// The backup of a header belongs to another keyring than the store does. Nothing was changed.
    #[error(
        "the backup is of another keyring than this store's, and no row would open with it; find the backup of this one"
    )]
    OtherKeyring,

    /// What the store's keyring holds is newer than the backup. Nothing was changed.
    #[error(
        "the backup is older than the keyring that is there: {}; nothing was changed, use a newer backup, or allow it",
        older(*.loses, *.revives)
    )]
    OlderBackup {
        /// Keys of rows are not in it: those rows would never open again.
        loses: bool,
        /// Keys that were destroyed since are in it.
        revives: bool,
    },

    /// The store can't be worked on where it is, or as was asked for.
    #[error("not possible: {what}")]
    Invalid {
        /// Why, and what to do.
        what: &'static str,
    },

    /// A file could not be read, written, renamed or removed.
    #[error(
        "a file could not be used; check its rights, its folder's, and the free space of the disk"
    )]
    Io(#[source] std::io::Error),

    /// SQLite could not use a file.
    #[error("the database could not be used; its own error says what to do")]
    Sqlite(#[source] SqliteFault),

    /// Any other error of SQLite, whose text is withheld.
    #[error("SQLite failed; check the disk, then try again")]
    Statement(#[source] Opaque),

    /// The keys, or a sealed row.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// What kind of [`LifecycleError`] it is: one for each exit code of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LifecycleErrorKind {
    /// None of the others.
    Other,
    /// No store there, or something else.
    NoStore,
    /// Somebody has the store open.
    InUse,
    /// No slot opens with what was given.
    WrongKey,
    /// The database, the keyring or a row is damaged.
    Corrupt,
    /// Not sealed where it should be, or sealed where it should not.
    WrongState,
    /// Of a version that this code does not read.
    UnsupportedVersion,
    /// The provider could not be reached.
    Unreachable,
    /// Cut short, and to be finished by running it again.
    Interrupted,
    /// Stopped because it was asked to.
    Stopped,
}

impl LifecycleError {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> LifecycleErrorKind {
        use LifecycleErrorKind as Kind;
        match self {
            Self::NoStore | Self::Foreign => Kind::NoStore,
            Self::InUse => Kind::InUse,
            Self::AlreadySealed | Self::NotSealed => Kind::WrongState,
            Self::OlderUpstream | Self::UnknownSchema | Self::NewerSchema { .. } => {
                Kind::UnsupportedVersion
            }
            Self::CorruptRow { .. }
            | Self::Damaged
            | Self::Unsound
            | Self::CorruptBackup { .. } => Kind::Corrupt,
            Self::Interrupted { .. } => Kind::Interrupted,
            Self::Stopped => Kind::Stopped,
            Self::Sqlite(fault) if fault.kind() == SqliteFaultKind::Damaged => Kind::Corrupt,
            Self::Seal(error) => of_seal(error),
            Self::Unfit { .. }
            | Self::Unshredded
            | Self::Differs { .. }
            | Self::Invalid { .. }
            | Self::FileExists
            | Self::OtherKeyring
            | Self::OlderBackup { .. }
            | Self::Io(_)
            | Self::Sqlite(_)
            | Self::Statement(_) => Kind::Other,
        }
    }

    /// Of a value that SQLite gave with another type than its column has.
    pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
        matches!(
            error,
            rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::Utf8Error(..)
        )
    }
}

fn older(loses: bool, revives: bool) -> &'static str {
    match (loses, revives) {
        (true, true) => {
            "rows that were written since would never open again, and keys that were destroyed would be back"
        }
        (true, false) => "rows that were written since would never open again",
        (false, true) => "keys that were destroyed since would be back",
        (false, false) => "slots that were removed or changed since would be back",
    }
}

fn of_seal(error: &SealError) -> LifecycleErrorKind {
    use LifecycleErrorKind as Kind;
    match error {
        SealError::WrongKey | SealError::ForeignRecipe => Kind::WrongKey,
        SealError::Unsealed { .. } | SealError::NoKeyring | SealError::KeyringExists => {
            Kind::WrongState
        }
        SealError::Corrupt { .. }
        | SealError::CorruptKeyring { .. }
        | SealError::UnknownGeneration { .. }
        | SealError::StoreEmptied
        | SealError::WrongKeyring
        | SealError::RolledBack { .. }
        | SealError::KdfOutOfBounds { .. } => Kind::Corrupt,
        SealError::UnsupportedVersion { .. } => Kind::UnsupportedVersion,
        SealError::InUse => Kind::InUse,
        SealError::Provider(error) => match error.kind() {
            ProviderErrorKind::Throttled { .. } | ProviderErrorKind::Unavailable => {
                Kind::Unreachable
            }
            ProviderErrorKind::WrongKey | ProviderErrorKind::ContextMismatch => Kind::WrongKey,
            ProviderErrorKind::Corrupt => Kind::Corrupt,
            _ => Kind::Other,
        },
        SealError::Keyring(fault) => match fault.kind() {
            StoreFaultKind::InUse => Kind::InUse,
            StoreFaultKind::Corrupt => Kind::Corrupt,
            StoreFaultKind::NewerSchema => Kind::UnsupportedVersion,
            _ => Kind::Other,
        },
        SealError::Inner(error) => of_store(error),
        _ => Kind::Other,
    }
}

fn of_store(error: &StoreError) -> LifecycleErrorKind {
    match SqliteFault::of(error).map(SqliteFault::kind) {
        Some(SqliteFaultKind::Damaged) => LifecycleErrorKind::Corrupt,
        _ if error.is_database_busy_or_locked() => LifecycleErrorKind::InUse,
        _ => LifecycleErrorKind::Other,
    }
}

impl From<rusqlite::Error> for LifecycleError {
    fn from(error: rusqlite::Error) -> Self {
        if is_contention(&error) {
            return Self::InUse;
        }
        if Self::is_damage(&error) {
            return Self::Damaged;
        }
        match advised(error).downcast::<SqliteFault>() {
            Ok(fault) => Self::Sqlite(*fault),
            Err(error) => Self::Statement(Opaque::new(error)),
        }
    }
}

impl From<std::io::Error> for LifecycleError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}
