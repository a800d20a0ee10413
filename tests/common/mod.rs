//! What the property tests share: stores of each kind, keyrings and accounts.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod damage;
pub mod raw;
pub mod reading;
pub mod samples;
pub mod wire;
pub mod world;

// What is about the keyring alone.
#[path = "../support/mod.rs"]
pub mod support;

use std::path::Path;
use std::sync::Arc;

use sealed_store::{
    BackendKeyring, Keyring, KeyringOptions, RawKey, SealOptions, SealedBackend, SqliteKeyring,
    Suite,
};
use wacore::store::InMemoryBackend;
use wacore::store::traits::Backend;
use whatsapp_rust_sqlite_storage::SqliteStore;

/// A raw key that opens test keyrings without the cost of a passphrase.
pub fn raw_key() -> RawKey {
    raw_key_of(7)
}

/// Another raw key for each number.
pub use support::raw as raw_key_of;

/// Upstream's plain store on a file.
pub async fn sqlite(path: &Path) -> Arc<SqliteStore> {
    sqlite_device(path, 1).await
}

/// Upstream's plain store on a file, for one of several devices.
pub async fn sqlite_device(path: &Path, device: i32) -> Arc<SqliteStore> {
    let path = path.to_str().expect("a UTF-8 path");
    Arc::new(
        SqliteStore::new_for_device(path, device)
            .await
            .expect("upstream's store opens"),
    )
}

/// Seals `inner` with a keyring in a memory store of its own.
pub async fn seal<B: Backend + ?Sized>(inner: Arc<B>) -> SealedBackend<B> {
    seal_with(inner, SealOptions::default(), KeyringOptions::new()).await
}

/// As [`seal`], with options.
pub async fn seal_with<B: Backend + ?Sized>(
    inner: Arc<B>,
    options: SealOptions,
    keyring: KeyringOptions,
) -> SealedBackend<B> {
    let store = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
    let keyring = keyring
        .create(store, &raw_key())
        .await
        .expect("a keyring is made");
    let account = keyring.create_account("1").await.expect("an account");
    SealedBackend::open_with(inner, account, options)
        .await
        .expect("the store opens")
}

/// The suite of machines without AES instructions, which a keyring that is made on others does not get by itself.
pub fn without_aes() -> KeyringOptions {
    KeyringOptions::new().seal(SealOptions::new().suite(Suite::XChaCha20Poly1305))
}

/// Upstream's store and its keyring in one file, sealed.
pub async fn sealed_file(path: &Path) -> SealedBackend<SqliteStore> {
    let inner = sqlite(path).await;
    let keyring = file_keyring(path).await;
    let account = keyring.account_or_create("1").await.expect("an account");
    SealedBackend::open(inner, account)
        .await
        .expect("the store opens")
}

/// As [`sealed_file`], with the keyring made before the store.
pub async fn sealed_file_after_keyring(path: &Path) -> SealedBackend<SqliteStore> {
    let account = file_keyring(path)
        .await
        .account_or_create("1")
        .await
        .expect("an account");
    SealedBackend::open(sqlite(path).await, account)
        .await
        .expect("the store opens")
}

/// The keyring in the data file.
pub async fn file_keyring(path: &Path) -> Keyring {
    Keyring::open_or_create(SqliteKeyring::at(path), &raw_key())
        .await
        .expect("the keyring opens")
}

/// What SQLite's own check says of the file: `ok`, or what is wrong.
pub fn integrity(path: &Path) -> String {
    rusqlite::Connection::open(path)
        .expect("the file opens")
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("the file is checked")
}
