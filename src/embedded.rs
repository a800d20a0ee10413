//! The embedded default: store, keyring and seal in one file.

use std::path::Path;
use std::sync::Arc;

use crate::error::SealError;
use crate::keyring::KeyringOptions;
use crate::keyring::store::SqliteKeyring;
use crate::lifecycle;
use crate::provider::KeyProvider;
use crate::sealed::SealedBackend;
use crate::store::sqlite::SqliteStore;

/// The name of the account in the keyring.
const ACCOUNT: &str = "1";

/// Opens the sealed store in the SQLite file at `path`, or makes it: rows, keys and all in this one file,
/// for one account. Its keyring is `backend.account().keyring()`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("whatsapp.db");
/// use sealed_store::{KdfCost, Passphrase};
/// use wacore::store::traits::{DeviceStore, SignalStore};
///
/// # let secret = String::from("correct horse battery staple");
/// let passphrase = Passphrase::new(secret);
/// # let passphrase = passphrase.cost(KdfCost::FLOOR);
/// let backend = sealed_store::open(&path, &passphrase).await?;
/// backend.create().await?;
/// backend.put_session("5511987650001:3@c.us.0", b"ratchet").await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// [`open_with`] takes options: a lease, an audit sink, pins. For several accounts, or a keyring in a file of its own, put the same
/// together from [`SqliteStore`], [`Keyring`](crate::Keyring) and [`SealedBackend::open`].
///
/// Where [`lifecycle::reencrypt`] had to retain old keys because a program had the store open, they are destroyed now, if nobody
/// has it: that opens every row twice, and takes some seconds for a million rows.
///
/// # Errors
/// As [`SqliteStore::open`] inside [`SealError::Inner`], as [`Keyring::open_or_create`](crate::Keyring::open_or_create), and as
/// [`SealedBackend::open`].
pub async fn open(
    path: impl AsRef<Path>,
    provider: &dyn KeyProvider,
) -> Result<SealedBackend<SqliteStore>, SealError> {
    open_with(path, provider, KeyringOptions::new()).await
}

/// As [`open`], with options: where audit events go, which keyring it must be, a lease.
///
/// A keyring that is pinned must be there: where there is no file, none is made, whatever opens.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("whatsapp.db");
/// use sealed_store::{KdfCost, KeyringOptions, Passphrase, SealError};
///
/// # let secret = String::from("correct horse battery staple");
/// let passphrase = Passphrase::new(secret);
/// # let passphrase = passphrase.cost(KdfCost::FLOOR);
/// let backend = sealed_store::open(&path, &passphrase).await?;
/// let id = backend.account().keyring().id(); // kept somewhere
/// # drop(backend);
///
/// let pinned = KeyringOptions::new().pin_id(id);
/// let backend = sealed_store::open_with(&path, &passphrase, pinned.clone()).await?;
/// # drop(backend);
///
/// let moved = folder.path().join("elsewhere.db");
/// let error = sealed_store::open_with(&moved, &passphrase, pinned).await.err();
/// assert!(matches!(error, Some(SealError::NoKeyring)) && !moved.exists());
/// # Ok::<(), SealError>(())
/// # }).unwrap();
/// ```
///
/// # Errors
/// As [`open`], and as [`KeyringOptions::open_or_create`], [`KeyringOptions::pin_id`] and [`KeyringOptions::pin_revision`].
pub async fn open_with(
    path: impl AsRef<Path>,
    provider: &dyn KeyProvider,
    options: KeyringOptions,
) -> Result<SealedBackend<SqliteStore>, SealError> {
    if options.is_pinned() && !path.as_ref().exists() {
        return Err(SealError::NoKeyring);
    }
    // The store first: a file that is something else is refused before anything is written to it.
    let store = SqliteStore::open(path.as_ref())
        .await
        .map_err(SealError::Inner)?;
    let in_file = SqliteKeyring::in_store(path.as_ref(), &store);
    let keyring = options.open_or_create(in_file, provider).await?;
    let account = keyring.account_or_create(ACCOUNT).await?;
    // Where that fails they stay: the store is whole, and the next run of `reencrypt` tells why.
    if let Err(error) = lifecycle::finish(path.as_ref(), &keyring, &account).await {
        tracing::warn!(target: "sealed_store", %error, "old data keys may still be retained");
    }
    let backend = SealedBackend::open(Arc::new(store), account).await?;
    backend.require_canary().await?;
    Ok(backend)
}
