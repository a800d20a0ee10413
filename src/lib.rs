//! Encrypted-at-rest storage for `whatsapp-rust`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod audit;
mod blind;
mod error;
mod keyring;
mod labels;
mod provider;
mod record;
mod sealed;
mod secret;
#[cfg(feature = "testing")]
pub mod testing;
mod thread;
mod wipe;

pub use audit::{AuditEvent, AuditSink, JsonLinesSink, TracingSink};
pub use error::{Fault, Opaque, SealError};
#[cfg(feature = "sqlite")]
pub use keyring::store::SqliteKeyring;
pub use keyring::store::{
    BackendKeyring, KeyringStore, LockGuard, LockMode, Occupied, Revision, StoreFault,
    StoreFaultKind,
};
pub use keyring::{Account, AccountState, Keyring, KeyringOptions, SlotInfo};
pub use provider::{
    DEFAULT_KDF_CEILING, Fields, KdfCost, KeyProvider, NewSlot, Passphrase, Probe, ProviderError,
    ProviderErrorKind, RawKey, Recipe, SlotContext, calibrate,
};
pub use record::{Padding, Suite, Table};
pub use sealed::exposure;
pub use sealed::{OnCorrupt, RECORDS_PER_POLL, RawRow, Restored, SealOptions, SealedBackend};
