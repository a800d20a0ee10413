//! Encrypted-at-rest storage for `whatsapp-rust`: [`SealedBackend`] wraps any wacore
//! [`Backend`](wacore::store::traits::Backend), so that its files show no address, key or message.
//!
//! ```no_run
//! use std::sync::Arc;
//! use sealed_store::{Keyring, Passphrase, SealedBackend, SqliteKeyring};
//! # use wacore::store::InMemoryBackend;
//!
//! # async fn example(inner: InMemoryBackend, secret: String) -> Result<(), sealed_store::SealError> {
//! let keyring = Keyring::open_or_create(SqliteKeyring::at("whatsapp.db"), &Passphrase::new(secret)).await?;
//! let account = keyring.account_or_create("1").await?;
//! let backend = SealedBackend::open(Arc::new(inner), account).await?;
//! # let _ = backend;
//! # Ok(())
//! # }
//! ```
//!
//! With a store of our own, in one file with its keys, it is one line: `sealed_store::open("whatsapp.db", &provider).await?`.
//!
//! * [`Keyring`] holds *slots* (ways to open it), the root key and the keys of every account. It lives in
//!   a [`KeyringStore`]: `SqliteKeyring`, [`BackendKeyring`], or your own.
//! * A [`KeyProvider`] gives a slot its secret: [`Passphrase`], [`RawKey`], or your own.
//! * [`Account`] is one WhatsApp account, with a data key for each [`Table`] and generation, and a blind
//!   key from which tokens are made.
//! * [`SealOptions`] say how rows are padded and what happens with one that does not open.
//! * [`AuditSink`] takes every event of the keys' life and every row that did not open.
//!
//! Errors are [`SealError`]; through wacore's traits they travel inside a `StoreError`, see
//! [`SealError::of`]. What is protected and what is not is written down in `threat-model.md`, the bytes in
//! `audit/spec.md`.
//!
//! # Stack
//!
//! After secret work the stack below it is overwritten: 32 KiB optimised, 64 KiB with debug assertions. A thread that
//! calls the library, or polls its futures, needs that much beyond what the work itself uses (half of it); the usual
//! 2 MiB are plenty.
//!
//! # Features
//!
//! * `sqlite` (default): `open`, the store of our own (`store::sqlite`) and `SqliteKeyring`, with SQLite compiled in.
//! * `aws-kms`: `AwsKms`, a slot by a key of AWS KMS.
//! * `cli`: the program `sealed-store`.
//! * `keychain`: `Keychain`, a slot in the desktop's keychain.
//! * `shares`: `SharesProvider`, a secret in shares of which so many are needed.
//! * `tpm2`: `Tpm2`, a slot that only this machine's TPM opens; needs tpm2-tss, a C library, to build and to run.
//! * `vault`: `Vault`, a slot by Vault's or OpenBao's Transit engine.
//! * `pkcs11`: `Pkcs11`, a slot by a key in a PKCS#11 token.
//! * `testing`: the contract suite for authors of stores, and a store that fails on purpose.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

mod audit;
mod blind;
#[cfg(feature = "sqlite")]
mod embedded;
mod error;
mod keyring;
mod labels;
#[cfg(feature = "sqlite")]
pub mod lifecycle;
mod options;
#[cfg(feature = "sqlite")]
mod private_file;
mod provider;
mod record;
#[cfg(feature = "sqlite")]
mod rows;
mod sealed;
mod secret;
#[cfg(feature = "sqlite")]
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod thread;
#[cfg(test)]
mod vectors;
mod wipe;

pub use audit::{AuditEvent, AuditSink, JsonLinesSink, TracingSink};
#[cfg(feature = "sqlite")]
pub use embedded::{open, open_with};
pub use error::{Fault, Opaque, SealError};
#[cfg(feature = "sqlite")]
pub use keyring::store::SqliteKeyring;
pub use keyring::store::{
    BackendKeyring, KeyringStore, LockGuard, LockMode, Occupied, Revision, StoreFault,
    StoreFaultKind,
};
pub use keyring::{
    Account, AccountInfo, AccountState, KeyInfo, KeyState, Keyring, KeyringOptions, Lease, SlotInfo,
};
pub use options::{OnCorrupt, SealOptions};
#[cfg(feature = "aws-kms")]
pub use provider::AwsKms;
#[cfg(feature = "keychain")]
pub use provider::Keychain;
#[cfg(feature = "tpm2")]
pub use provider::Tpm2;
pub use provider::{
    Combined, DEFAULT_KDF_CEILING, Fields, KdfCost, KeyProvider, NewSlot, Passphrase, Patience,
    Patient, Probe, ProviderCredentials, ProviderError, ProviderErrorKind, RawKey, Recipe,
    RecoveryCode, RecoveryCodeError, Rights, SlotContext, calibrate, provider_from_uri,
};
#[cfg(feature = "pkcs11")]
pub use provider::{Pkcs11, Pkcs11Wrap};
#[cfg(feature = "shares")]
pub use provider::{Share, ShareError, SharesProvider};
#[cfg(feature = "vault")]
pub use provider::{Vault, VaultAppRole, VaultReport};
pub use record::{Padding, Suite, Table};
pub use sealed::{RECORDS_PER_POLL, RawRow, Restored, SealedBackend, exposure};
pub use secrecy;

/// README's own code, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
