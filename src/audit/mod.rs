//! What happens to keys, and every row that did not open, as typed events.
//!
//! No event holds an address, a name, a label, a path or a secret: keyrings and accounts appear by
//! their random ids, slots by their numbers, tables by their kind. (The log that shows tampering is
//! built on these events later.)

mod sinks;

pub use sinks::{JsonLinesSink, TracingSink};

use crate::error::SealError;
use crate::record::Table;

/// Where audit events go. Called inside the storage call that caused the event: take it and return,
/// and do not call the keyring from it.
pub trait AuditSink: Send + Sync {
    /// Takes one event.
    fn record(&self, event: &AuditEvent);
}

/// One event. Ids are lowercase hexadecimal, 32 digits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuditEvent {
    /// A keyring was made.
    KeyringCreated {
        /// The keyring.
        keyring: String,
    },
    /// A keyring was opened, through this slot.
    KeyringOpened {
        /// The keyring.
        keyring: String,
        /// The slot that opened.
        slot: u32,
    },
    /// An attempt to open a keyring failed.
    OpenRefused {
        /// The keyring, or `unknown` where none could be read.
        keyring: String,
        /// The provider's kind.
        provider: String,
        /// Why, in the error's own words.
        reason: String,
    },
    /// The keys were wiped from memory: by a lock, by a lease that ended, by a change that failed half-way, or with the last handle.
    KeysWiped {
        /// The keyring.
        keyring: String,
        /// `true` if the idle deadline did it.
        idle: bool,
    },
    /// The provider of the slot that opened can't be reached, which the lease tolerates for its grace.
    LeaseUnreachable {
        /// The keyring.
        keyring: String,
        /// The slot.
        slot: u32,
        /// The provider's kind.
        provider: String,
        /// Why, in the error's own words.
        reason: String,
    },
    /// The provider of the slot that opened was reached again within its grace, and gave the slot's secret.
    LeaseRecovered {
        /// The keyring.
        keyring: String,
        /// The slot.
        slot: u32,
    },
    /// The lease closed the keyring: access was taken away, or the grace is over. Every key is wiped.
    LeaseEnded {
        /// The keyring.
        keyring: String,
        /// The slot; 0 if it was removed.
        slot: u32,
        /// The provider's kind.
        provider: String,
        /// Why, in the error's own words.
        reason: String,
        /// Whether the provider said so by its owner's will ([`ProviderErrorKind::is_revoked`](crate::ProviderErrorKind::is_revoked)):
        /// then another slot is no way around it. Not where it can't be reached, or failed otherwise.
        revoked: bool,
    },
    /// A slot was added.
    SlotAdded {
        /// The keyring.
        keyring: String,
        /// The slot.
        slot: u32,
        /// The provider's kind.
        provider: String,
    },
    /// A slot was removed.
    SlotRemoved {
        /// The keyring.
        keyring: String,
        /// The slot.
        slot: u32,
    },
    /// A slot's secret was replaced.
    SlotChanged {
        /// The keyring.
        keyring: String,
        /// The slot.
        slot: u32,
    },
    /// A slot's secret was encrypted anew by its service, unseen; the slot keeps its number.
    SlotRewrapped {
        /// The keyring.
        keyring: String,
        /// The slot.
        slot: u32,
        /// The provider's kind.
        provider: String,
    },
    /// A root rotation became durable; accounts are rewritten from here on.
    RootRotationStarted {
        /// The keyring.
        keyring: String,
        /// The number of the new root.
        root: u32,
    },
    /// Every account is under the new root, and the old one is gone from the keyring.
    RootRotationFinished {
        /// The keyring.
        keyring: String,
        /// The number of the new root.
        root: u32,
    },
    /// An interrupted root rotation could not be finished; the next opener tries again.
    RootRotationDelayed {
        /// The keyring.
        keyring: String,
        /// Why, in the error's own words.
        reason: String,
    },
    /// An account was made.
    AccountCreated {
        /// The keyring.
        keyring: String,
        /// The account.
        account: String,
    },
    /// An account's keys were unwrapped for use.
    AccountOpened {
        /// The keyring.
        keyring: String,
        /// The account.
        account: String,
    },
    /// A keyring document that was read is altered, put back, or gone although it was pinned.
    DocumentRefused {
        /// The keyring.
        keyring: String,
        /// Which kind of document: `keyring`, `accounts` (their index) or `account`.
        document: String,
        /// Why, in the error's own words.
        reason: String,
    },
    /// Somebody asked for a change of a slot and did not open it.
    SlotRefused {
        /// The keyring.
        keyring: String,
        /// The slot.
        slot: u32,
        /// The provider's kind.
        provider: String,
        /// Why, in the error's own words.
        reason: String,
    },
    /// A store was not opened as the account's: it is another's, emptied, in the clear or altered.
    StoreRefused {
        /// The account.
        account: String,
        /// Why, in the error's own words.
        reason: String,
    },
    /// An account was bound to a store.
    StoreBound {
        /// The account.
        account: String,
        /// The store's id.
        store: String,
    },
    /// An account went from one state to another.
    AccountState {
        /// The account.
        account: String,
        /// The new state: `new`, `initialising`, `live` or `shredded`.
        state: String,
    },
    /// A new generation of a table's data key seals from here on.
    GenerationCreated {
        /// The account.
        account: String,
        /// The table.
        table: Table,
        /// The new generation.
        generation: u32,
    },
    /// A data key was erased: what it sealed can't be read again.
    GenerationDestroyed {
        /// The account.
        account: String,
        /// The table.
        table: Table,
        /// The generation.
        generation: u32,
    },
    /// A row did not open.
    RowRefused {
        /// The account.
        account: String,
        /// The table.
        table: Table,
        /// Why, in the error's own words.
        reason: String,
        /// Whether the row was treated as missing, as the options allow.
        treated_as_missing: bool,
    },
}

/// Why something was refused, with what a provider or the keyring's store says about it. (An inner store's
/// words are its own, and may name anything.)
pub(crate) fn reason(error: &SealError) -> String {
    match error {
        SealError::Provider(source) => format!("{error}: {source}"),
        SealError::Keyring(source) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}

/// 32 hexadecimal digits.
pub(crate) fn id_text(id: &[u8; 16]) -> String {
    data_encoding::HEXLOWER.encode(id)
}
