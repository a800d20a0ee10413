//! A database that everybody on the machine may read is how such stores leak in practice: whatever
//! the umask, and whoever made the file first, nobody but its owner reads what holds keys.
#![cfg(unix)]

#[path = "common/child.rs"]
mod child;
#[path = "common/collecting.rs"]
mod collecting;
mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use child::{Child, job, say};
use collecting::Collecting;
use sealed_store::secrecy::SecretBox;
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{RawKey, SealedBackend};
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

/// Opens the store, and answers how often it said that others can write.
fn warnings(path: &Path) -> usize {
    let said = Collecting::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    // A store that is there is opened on this thread, where the subscriber hears it.
    tracing::subscriber::with_default(said.clone(), || {
        let store = runtime.block_on(SqliteStore::open(path)).unwrap();
        runtime.block_on(store.close()).unwrap();
    });
    let said = said.0.lock().unwrap();
    said.iter()
        .filter(|(target, level, text)| {
            assert!(!text.contains("w.db"), "no path: {text}");
            target == "sealed_store"
                && *level == tracing::Level::WARN
                && text.contains("others can write")
        })
        .count()
}

#[test]
fn a_file_or_folder_that_others_can_write_is_warned_about() {
    let home = tempfile::tempdir().unwrap();
    let (real, links) = (home.path().join("real"), home.path().join("links"));
    fs::create_dir(&real).unwrap();
    fs::create_dir(&links).unwrap();
    let (path, link) = (real.join("w.db"), links.join("w.db"));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let mode = |place: &Path, mode: u32| {
        fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&real, 0o755);
    mode(&links, 0o755);
    warnings(&path);
    assert_eq!(warnings(&path), 0);
    assert_eq!(warnings(&link), 0);
    // Whoever can write the folder can put another file there; behind a link as well.
    mode(&real, 0o777);
    assert_eq!(warnings(&path), 1);
    assert_eq!(warnings(&link), 1);
    // In a sticky folder each replaces only his own.
    mode(&real, 0o1777);
    assert_eq!(warnings(&path), 0);
    mode(&real, 0o755);
    mode(&links, 0o777);
    assert_eq!(warnings(&path), 0);
    assert_eq!(warnings(&link), 1);
    mode(&links, 0o755);
    // A file's own mode is mended, behind a link too, and somebody may have used it before.
    mode(&path, 0o666);
    assert_eq!(warnings(&link), 1);
    assert_eq!(warnings(&link), 0);
    assert_eq!(modes(&real), [("w.db".to_owned(), 0o600)]);
}

/// No test of its own: uses a sealed store by a name relative to a folder that it then leaves.
#[test]
fn leaving() {
    let Some(job) = job() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    std::env::set_current_dir(&job[0]).unwrap();
    runtime.block_on(async {
        let key = RawKey::new(SecretBox::new(Box::new([7; 32])));
        let backend = sealed_store::open("w.db", &key).await.unwrap();
        backend.create().await.unwrap();
        std::env::set_current_dir(&job[1]).unwrap();
        // More connections are made now: of the keyring, of readers, and for the log.
        backend.account().rotate_data_keys(&[]).await.unwrap();
        let keyring = backend.account().keyring();
        keyring
            .add_slot("second", &RawKey::new(SecretBox::new(Box::new([8; 32]))))
            .await
            .unwrap();
        for number in 0..100u32 {
            let address = format!("{number}:1@c.us.0");
            backend.put_session(&address, &[7; 60_000]).await.unwrap();
        }
        let (a, b, c) = tokio::join!(
            backend.load_all_signed_prekeys(),
            backend.get_session("5:1@c.us.0"),
            backend.load_prekeys_batch(&[1, 2, 3]),
        );
        assert!(a.is_ok() && b.unwrap().is_some() && c.is_ok());
        backend.snapshot_db("left", Some(b"content")).await.unwrap();
        backend.inner().close().await.unwrap();
    });
    say("done");
}

/// A relative path means the folder in which the store was opened, whatever the process's folder is later.
#[tokio::test]
async fn a_process_that_changes_its_folder_keeps_its_files() {
    let home = tempfile::tempdir().unwrap();
    let (from, to) = (home.path().join("from"), home.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    let child = Child::run("leaving", &[from.to_str().unwrap(), to.to_str().unwrap()]);
    assert_eq!(child.finish().pop().as_deref(), Some("done"));
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
    private(&from);
    let key = RawKey::new(SecretBox::new(Box::new([8; 32])));
    let backend = sealed_store::open(from.join("w.db"), &key).await.unwrap();
    assert!(backend.get_session("99:1@c.us.0").await.unwrap().is_some());
}
