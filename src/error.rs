//! What can go wrong, what to do next, and how it reaches a caller of wacore's traits.

mod opaque;

use std::fmt;

pub use opaque::Opaque;
pub(crate) use opaque::calm;
use wacore::store::error::StoreError;

use crate::keyring::store::StoreFault;
use crate::provider::ProviderError;
use crate::record::Table;

/// Every error of this crate.
///
/// Texts say what to do next and never contain a secret, an address, a name or a path. They also
/// avoid the words that wacore reads as a database under contention, at every depth, so that none
/// of them is retried for nothing.
///
/// wacore's traits return [`StoreError`]; a `SealError` travels in it as the typed source. Get it
/// back with [`SealError::of`]:
///
/// ```
/// use sealed_store::SealError;
/// use wacore::store::error::StoreError;
///
/// let error: StoreError = SealError::NotOpen.into();
/// assert!(matches!(SealError::of(&error), Some(SealError::NotOpen)));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// No slot of the keyring opens with this provider.
    #[error(
        "wrong key: no slot of this keyring opens with it; check the passphrase or key, and which slot it belongs to"
    )]
    WrongKey,

    /// The store, or a pinned id, belongs to another keyring or account.
    #[error(
        "wrong keyring: the store was sealed under another keyring or account; open the keyring that belongs to this store"
    )]
    WrongKeyring,

    /// The store holds rows in the clear.
    #[error(
        "not sealed: the store holds rows that no sealed store wrote; encrypt it first, or use an empty store"
    )]
    Unsealed {
        /// The table in which an unsealed value was met, where one was.
        table: Option<Table>,
    },

    /// The account is live, but its device is no longer in the store.
    #[error(
        "store emptied: the account is live but its device is gone from the store; restore a backup, never pair over it"
    )]
    StoreEmptied,

    /// A row does not open as what it should be.
    #[error("corrupt row in table {table}: {what}; restore it from a backup or delete it")]
    Corrupt {
        /// The table of the row.
        table: Table,
        /// What is wrong with it.
        what: Fault,
    },

    /// A keyring document is damaged or was altered.
    #[error("corrupt keyring document: {what}; restore the keyring from a backup")]
    CorruptKeyring {
        /// What is wrong with it.
        what: &'static str,
    },

    /// A row names a generation that the account does not hold, even after its document was read again.
    #[error(
        "unknown generation {generation} in table {table}; the keyring is older than the store, restore the newer keyring"
    )]
    UnknownGeneration {
        /// The table of the row.
        table: Table,
        /// The generation that its header names.
        generation: u32,
    },

    /// Written by another format version than this code reads.
    #[error(
        "format version {found} is not supported (this build reads {supported}); {}",
        if found > supported { "update sealed-store" } else { "no release wrote it, restore a backup" }
    )]
    UnsupportedVersion {
        /// The version that was found.
        found: u32,
        /// The newest version that this build reads.
        supported: u32,
    },

    /// The keyring's keys are wiped.
    #[error("the keyring is not open; call Keyring::unlock with a provider, then try again")]
    NotOpen,

    /// A slot asks for more key-derivation work than the caller allows. Nothing was allocated.
    #[error(
        "key derivation would cost {needed} KiB passes, {allowed} are allowed; raise the ceiling only if you trust this keyring"
    )]
    ExcessiveKdfCost {
        /// Memory in KiB times passes that the slot asks for.
        needed: u64,
        /// Memory in KiB times passes that the caller allows.
        allowed: u64,
    },

    /// A slot's key-derivation parameters lie outside the format's bounds. Nothing was allocated.
    #[error(
        "key derivation parameter {parameter} is out of bounds; the keyring was altered or the setting is too weak"
    )]
    KdfOutOfBounds {
        /// The name of the parameter: `m_kib`, `passes`, `lanes`, `salt` or `version`.
        parameter: &'static str,
    },

    /// A recipe names another key, endpoint or path than the provider was configured with.
    #[error(
        "the slot's recipe names another key than this provider is configured for; check the configuration, nothing was contacted"
    )]
    ForeignRecipe,

    /// There is no keyring in the store.
    #[error("no keyring found; create one, or check that this is the right store")]
    NoKeyring,

    /// There is a keyring already.
    #[error("a keyring exists already; open it instead")]
    KeyringExists,

    /// The data store holds rows, so no keyring is made over it.
    #[error(
        "the data store already holds rows; a new keyring is never made over them: open the old one, or encrypt the store"
    )]
    Occupied,

    /// The keyring document is older than the revision that the caller pinned.
    #[error(
        "the keyring is at revision {found}, but at least {pinned} was pinned; an old copy was put back, restore the newer one"
    )]
    RolledBack {
        /// The lowest revision that the caller accepts.
        pinned: u64,
        /// The revision that was found.
        found: u64,
    },

    /// Another process rotated the root key meanwhile.
    #[error("the root key was rotated elsewhere; close this keyring and open it again")]
    RootChanged,

    /// No account of this name.
    #[error("no such account in this keyring; create it, or check its name")]
    UnknownAccount,

    /// The account exists already.
    #[error("the account exists already; open it instead")]
    AccountExists,

    /// The keys of the account, or of one of its tables, were destroyed.
    #[error(
        "shredded: the keys of these rows are destroyed and they can not be read again; start with an empty store"
    )]
    Shredded,

    /// No such slot.
    #[error("no such slot in this keyring; list the slots to see their numbers")]
    UnknownSlot,

    /// A change that would leave no slot, or more than sixteen.
    #[error("a keyring has 1 to 16 slots; add one before removing the last")]
    SlotCount,

    /// A change that would leave only slots that may be lost: in a keychain, or a TPM.
    #[error(
        "every slot of the keyring would be in a keychain or TPM, and could be lost with the machine; add a passphrase or a recovery code first, or allow it explicitly"
    )]
    LoneSlot,

    /// Another opener holds the keyring, so exclusive work can not start.
    #[error("the keyring is in use by another opener; close it there and try again")]
    InUse,

    /// Another process changed the keyring between reading and writing, more than once.
    #[error("the keyring was changed by someone else at the same time; try again")]
    Conflict,

    /// An argument that can not be accepted.
    #[error("invalid argument: {what}")]
    Invalid {
        /// What is wrong with it.
        what: &'static str,
    },

    /// A value too long for the format.
    #[error(
        "a value is too large to be sealed (at most 4 GiB - 1 with its name); store less in one row"
    )]
    TooLarge,

    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes; nothing was written, try again")]
    NoEntropy,

    /// A provider failed.
    #[error("the key provider failed; its own error says what to do")]
    Provider(#[source] ProviderError),

    /// The keyring's own store failed.
    #[error("the keyring's store failed; its own error says what to do")]
    Keyring(#[source] StoreFault),

    /// The inner data store failed; its own error is untouched.
    #[error("the inner store failed; its own error says why")]
    Inner(#[source] StoreError),
}

/// What is wrong with a row that does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Too short, or a length inside that does not fit.
    Length,
    /// The header's suite is not its generation's.
    Suite,
    /// The authentication tag is wrong: altered, moved from another place, or sealed by another key.
    Authentication,
    /// The zeros after the value are not zeros.
    Padding,
    /// The name inside is not the name of the row.
    Name,
    /// A field that a sealed row leaves at its default holds something.
    ClearField,
    /// Text that is not in the one accepted spelling.
    Encoding,
    /// One of the two rows of a message secret is missing.
    MissingHalf,
    /// The canary does not fit the state of the account.
    Canary,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "a length does not fit",
            Self::Suite => "its suite is not its generation's",
            Self::Authentication => "it was altered or moved",
            Self::Padding => "its padding is not zero",
            Self::Name => "it belongs to another row",
            Self::ClearField => "a field outside the record was altered",
            Self::Encoding => "its text is not in the accepted spelling",
            Self::MissingHalf => "one of its two halves is missing",
            Self::Canary => "the canary does not fit the account's state",
        })
    }
}

impl SealError {
    /// The `SealError` inside a wacore error, if it is one of ours.
    #[must_use]
    pub fn of(error: &StoreError) -> Option<&SealError> {
        let mut layer: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(current) = layer {
            if let Some(ours) = current.downcast_ref::<SealError>() {
                return Some(ours);
            }
            layer = current.source();
        }
        None
    }

    /// Whether trying again later, with nothing changed, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::InUse | Self::Conflict | Self::NoEntropy => true,
            Self::Provider(error) => error.is_retryable(),
            Self::Keyring(fault) => fault.is_retryable(),
            Self::Inner(error) => error.is_database_busy_or_locked(),
            _ => false,
        }
    }

    /// The row faults that `OnCorrupt::TreatAsMissing` may turn into "absent".
    pub(crate) fn is_authentication_failure(&self) -> bool {
        matches!(
            self,
            Self::Corrupt {
                what: Fault::Authentication,
                ..
            }
        )
    }
}

impl From<SealError> for StoreError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Inner(inner) => inner,
            ours => StoreError::Database(Box::new(ours)),
        }
    }
}

#[cfg(test)]
mod tests;
