//! A database that everybody on the machine may read is how such stores leak in practice: whatever
//! the umask, and whoever made the file first, nobody but its owner reads what holds keys.
#![cfg(unix)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use sealed_store::SealedBackend;
use wacore::store::traits::{DeviceStore, SignalStore};

/// Every file in the folder, with its mode.
fn modes(folder: &Path) -> Vec<(String, u32)> {
    let mut modes: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            (entry.file_name().to_string_lossy().into_owned(), mode)
        })
        .collect();
    modes.sort();
    modes
}

fn private(folder: &Path) {
    let modes = modes(folder);
    assert!(modes.len() >= 2, "{modes:?}");
    for (name, mode) in modes {
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}

#[tokio::test]
async fn files_are_private_where_the_keyring_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let backend = common::sealed_file_after_keyring(&folder.path().join("whatsapp.db")).await;
    backend.create().await.unwrap();
    backend.put_session("55@c.us.0", b"ratchet").await.unwrap();
    private(folder.path());
}

#[tokio::test]
async fn files_become_private_where_the_store_made_them_open_to_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    let inner = common::sqlite(&path).await;
    // As SQLite makes it under the usual umask; set here, for the tests' own umask may be tighter.
    for (name, _) in modes(folder.path()) {
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let keyring = common::file_keyring(&path).await;
    let account = keyring.create_account("1").await.unwrap();
    let backend = SealedBackend::open(Arc::clone(&inner), account)
        .await
        .unwrap();
    backend.create().await.unwrap();
    private(folder.path());
}
