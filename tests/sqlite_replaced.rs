//! Files that are replaced, removed or emptied under an open store: it finds out within a moment and refuses everything
//! from then on, for what it would write is lost and what it would read is another store's. The files that are there
//! now come to no harm by it.
#![cfg(unix)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_store::store::sqlite::{SqliteFault, SqliteFaultKind, SqliteStore};
use sealed_store::{RawKey, SealedBackend, open};
use wacore::store::error::StoreError;
use wacore::store::traits::{Backend, DeviceStore, SignalStore};

/// A store and what closes it.
enum Opened {
    Plain(SqliteStore),
    Sealed(SealedBackend<SqliteStore>),
}

impl Opened {
    async fn at(path: &Path, how: &str) -> Self {
        let key: RawKey = common::raw_key();
        match how {
            "sealed" => Self::Sealed(open(path, &key).await.unwrap()),
            _ => Self::Plain(SqliteStore::open(path).await.unwrap()),
        }
    }

    fn store(&self) -> &dyn Backend {
        match self {
            Self::Plain(store) => store,
            Self::Sealed(store) => store,
        }
    }
}

fn is_replaced(error: &StoreError) {
    let kind = SqliteFault::of(error).map(SqliteFault::kind);
    assert_eq!(kind, Some(SqliteFaultKind::Replaced), "{error:?}");
    assert!(!error.is_database_busy_or_locked(), "{error:?}");
}

/// The files of another store as they are while it is open: some rows are in its log alone. It has `their` row.
async fn another(how: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let other = Opened::at(&path, how).await;
    other.store().create().await.unwrap();
    other
        .store()
        .put_session("their@c.us", b"theirs")
        .await
        .unwrap();
    let copy = tempfile::tempdir().unwrap();
    for name in ["w.db", "w.db-wal"] {
        // Another program's descriptors: ours, closed, would drop SQLite's locks.
        fs::write(
            copy.path().join(name),
            common::support::bytes_of(&folder.path().join(name)),
        )
        .unwrap();
    }
    let path = copy.path().join("w.db");
    (copy, path)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Replaced,
    Removed,
    LogRemoved,
    Emptied,
}

const EVENTS: [Event; 4] = [
    Event::Replaced,
    Event::Removed,
    Event::LogRemoved,
    Event::Emptied,
];

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

impl Event {
    fn happen(self, path: &Path, other: &Path) {
        match self {
            Self::Replaced => {
                for suffix in ["-wal", ""] {
                    fs::rename(beside(other, suffix), beside(path, suffix)).unwrap();
                }
            }
            Self::Removed => fs::remove_file(path).unwrap(),
            Self::LogRemoved => fs::remove_file(beside(path, "-wal")).unwrap(),
            // By another program, as above.
            Self::Emptied => {
                let emptied = std::process::Command::new("truncate")
                    .args(["-s", "0"])
                    .arg(path)
                    .status();
                assert!(emptied.unwrap().success());
            }
        }
    }
}

async fn events(how: &str, has_read: bool) {
    for event in EVENTS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.db");
        let (_kept, other) = another(how).await;
        let opened = Opened::at(&path, how).await;
        let store = opened.store();
        store.create().await.unwrap();
        store.put_session("our@c.us", b"ours").await.unwrap();
        if has_read {
            assert!(store.has_session("our@c.us").await.unwrap());
        }
        event.happen(&path, &other);
        // A connection that is made now would find the other store; an older one still reads ours.
        match store.get_session("their@c.us").await {
            Ok(found) => assert_eq!(found, None, "{event:?}"),
            Err(error) => is_replaced(&error),
        }
        let since = Instant::now();
        let error = loop {
            match store.put_session("late@c.us", b"late").await {
                Err(error) => break error,
                Ok(()) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
            assert!(
                since.elapsed() < Duration::from_secs(5),
                "{how}, {event:?}: it goes on"
            );
        };
        is_replaced(&error);
        is_replaced(&store.get_session("our@c.us").await.unwrap_err());
        is_replaced(&store.snapshot_db("late", None).await.unwrap_err());
        if let Opened::Plain(store) = &opened {
            is_replaced(&store.close().await.unwrap_err());
        }
        drop(opened);
        if event == Event::Replaced {
            let theirs = Opened::at(&path, how).await;
            let found = theirs.store().get_session("their@c.us").await.unwrap();
            assert_eq!(
                found.as_deref(),
                Some(&b"theirs"[..]),
                "{how}: their log is gone"
            );
            assert!(
                theirs
                    .store()
                    .get_session("late@c.us")
                    .await
                    .unwrap()
                    .is_none()
            );
            drop(theirs);
            assert_eq!(common::integrity(&path), "ok");
        }
    }
}

#[tokio::test]
async fn a_plain_store_whose_files_were_replaced_refuses_everything() {
    events("plain", false).await;
    events("plain", true).await;
}

#[tokio::test]
async fn a_sealed_store_whose_files_were_replaced_refuses_everything() {
    events("sealed", false).await;
    events("sealed", true).await;
}

/// Also where nothing is written any more: whoever closes the store is told that its last writes are lost.
#[tokio::test]
async fn closing_tells_that_the_files_were_replaced() {
    for event in EVENTS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.db");
        let (_kept, other) = another("plain").await;
        let store = SqliteStore::open(&path).await.unwrap();
        event.happen(&path, &other);
        is_replaced(&store.close().await.unwrap_err());
    }
}

/// Stores of one file, opened and closed beside each other, and a file that is moved with its folder, are no such case.
#[tokio::test]
async fn stores_that_come_and_go_are_not_taken_for_a_replacement() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let store = Arc::new(SqliteStore::open(&path).await.unwrap());
    let since = Instant::now();
    let mut rounds = 0;
    while since.elapsed() < Duration::from_millis(500) {
        let beside = SqliteStore::open(&path).await.unwrap();
        let address = format!("{rounds}@c.us");
        beside.put_session(&address, b"ratchet").await.unwrap();
        if rounds % 2 == 0 {
            beside.close().await.unwrap();
        }
        drop(beside);
        assert!(store.has_session(&address).await.unwrap());
        store.put_session(&address, b"newer").await.unwrap();
        rounds += 1;
    }
    store.close().await.unwrap();
    assert!(rounds > 1);
}

/// A link to the file is as good as the file, until it leads to another.
#[tokio::test]
async fn a_link_that_leads_to_another_file_is_a_replacement() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("w.db"));
    let (_kept, other) = another("plain").await;
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(real.join("w.db"), &link).unwrap();
    drop(SqliteStore::open(real.join("w.db")).await.unwrap());
    let store = SqliteStore::open(&link).await.unwrap();
    store.create().await.unwrap();
    store.put_session("our@c.us", b"ours").await.unwrap();
    store.close().await.unwrap();
    let store = SqliteStore::open(&link).await.unwrap();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&other, &link).unwrap();
    match store.get_session("their@c.us").await {
        Ok(found) => assert_eq!(found, None),
        Err(error) => is_replaced(&error),
    }
    is_replaced(&store.close().await.unwrap_err());
}

/// Documents of one keyring must not be written over those of another that has come into its place.
#[tokio::test]
async fn a_keyring_is_not_read_from_or_written_into_another_file() {
    let (_other_folder, other) = another("sealed").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let store = open(&path, &common::raw_key()).await.unwrap();
    store.create().await.unwrap();
    let keyring = store.account().keyring();
    Event::Replaced.happen(&path, &other);
    let before = common::support::bytes_of(&path);
    assert!(keyring.create_account("2").await.is_err());
    assert!(keyring.accounts().await.is_err());
    assert_eq!(common::support::bytes_of(&path), before);
}
