//! What is not a store of ours is refused with a clear error, and stays as it was, byte for byte.

mod common;

use std::error::Error;
use std::path::Path;

use sealed_store::store::sqlite::{SqliteOptions, SqliteStore};
use sealed_store::{SealError, open};
use wacore::store::error::StoreError;
use wacore::store::traits::{DeviceStore, SignalStore};

/// The error of a call that must fail.
fn refused<T>(result: Result<T, StoreError>) -> StoreError {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error,
    }
}

fn texts(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut layer = error.source();
    while let Some(source) = layer {
        text = format!("{text}: {source}");
        layer = source.source();
    }
    text
}

/// Every file of a folder, by name, with its bytes.
fn bytes(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap_or_default())
        })
        .collect();
    files.sort();
    files
}

/// Opens `path` plain and sealed: both are refused with `what` in the words, and nothing changed.
async fn stays_as_it_is(folder: &Path, path: &Path, what: &str) {
    let before = bytes(folder);
    let error = refused(SqliteStore::open(path).await);
    assert!(texts(&error).contains(what), "{}", texts(&error));
    assert_eq!(bytes(folder), before, "{what}");
    match open(path, &common::raw_key()).await {
        Err(SealError::Inner(error)) => assert!(texts(&error).contains(what), "{error:?}"),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was accepted"),
    }
    assert_eq!(bytes(folder), before, "{what}");
}

#[tokio::test]
async fn a_file_that_is_no_database_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    for content in [
        "not a database, but longer than a header of one: ".repeat(90),
        "x".repeat(512),
    ] {
        std::fs::write(&path, content).unwrap();
        stays_as_it_is(folder.path(), &path, "not a database").await;
    }
}

#[tokio::test]
async fn upstreams_own_database_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    let store = common::sqlite(&path).await;
    store.create().await.unwrap();
    store.put_session("a@b", b"ratchet").await.unwrap();
    drop(store);
    // The last connection folds the log in; from a process that is gone it is folded at the next open.
    common::support::eventually("closed", || !folder.path().join("whatsapp.db-wal").exists()).await;
    stays_as_it_is(folder.path(), &path, "whatsapp-rust's own store").await;
}

#[tokio::test]
async fn a_database_of_something_else_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE contacts (name TEXT); INSERT INTO contacts VALUES ('Ada');")
        .unwrap();
    stays_as_it_is(folder.path(), &path, "tables of something else").await;
}

#[tokio::test]
async fn a_newer_schema_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("newer.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute("UPDATE sealed_store_schema SET version = 1000", [])
        .unwrap();
    common::support::eventually("closed", || !folder.path().join("newer.db-wal").exists()).await;
    stays_as_it_is(folder.path(), &path, "newer version").await;
}

#[tokio::test]
async fn a_folder_and_a_path_to_nowhere_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    stays_as_it_is(folder.path(), folder.path(), "is a folder").await;
    let nowhere = folder.path().join("missing").join("whatsapp.db");
    let error = refused(SqliteStore::open(&nowhere).await);
    assert!(matches!(error, StoreError::Io(_)), "{error:?}");
    assert_eq!(bytes(folder.path()), []);
    for url in ["", "sqlite://", "sqlite:a?cache=shared", "file:a%zz"] {
        let error = refused(SqliteStore::open_url(url, SqliteOptions::new()).await);
        assert!(
            matches!(error, StoreError::InvalidConfig(_)),
            "{url}: {error:?}"
        );
    }
}

/// Rows in the clear are never sealed over, and a sealed file used in the clear by mistake stays whole.
#[tokio::test]
async fn a_plain_store_is_not_taken_for_a_new_sealed_one_nor_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain.db");
    let store = SqliteStore::open(&plain).await.unwrap();
    store.create().await.unwrap();
    store.put_session("a@b", b"ratchet").await.unwrap();
    let refused = open(&plain, &common::raw_key()).await;
    assert!(matches!(refused, Err(SealError::Occupied)));
    let session = store.get_session("a@b").await.unwrap();
    assert_eq!(session.as_deref(), Some(&b"ratchet"[..]));

    let sealed = folder.path().join("sealed.db");
    let backend = open(&sealed, &common::raw_key()).await.unwrap();
    backend.create().await.unwrap();
    let identity = backend.load().await.unwrap().unwrap().identity_key;
    let mistake = SqliteStore::open(&sealed).await.unwrap();
    let mut device = mistake.load().await.unwrap().unwrap();
    device.push_name = "somebody else".into();
    mistake.save(&device).await.unwrap();
    drop((backend, mistake));
    let backend = open(&sealed, &common::raw_key()).await.unwrap();
    let device = backend.load().await.unwrap().unwrap();
    assert_eq!(device.identity_key.public_key, identity.public_key);
    assert_eq!(device.push_name, "");
}

/// Upstream's client, opened on our file by mistake, is refused by its own migrations: it must not find an
/// empty store there and pair anew.
#[tokio::test]
async fn upstream_does_not_take_our_file_for_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    let backend = open(&path, &common::raw_key()).await.unwrap();
    backend.create().await.unwrap();
    backend.put_session("a@b", b"ratchet").await.unwrap();
    drop(backend);
    let upstream = whatsapp_rust_sqlite_storage::SqliteStore::new(path.to_str().unwrap()).await;
    assert!(upstream.is_err());
    let backend = open(&path, &common::raw_key()).await.unwrap();
    let session = backend.get_session("a@b").await.unwrap();
    assert_eq!(session.as_deref(), Some(&b"ratchet"[..]));
}

/// The file and all beside it are their owner's alone, whatever the umask, also where they were not before.
#[cfg(unix)]
#[tokio::test]
async fn files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    let modes = || -> Vec<(String, u32)> {
        std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                (entry.file_name().into_string().unwrap(), mode)
            })
            .collect()
    };
    let store = SqliteStore::open(&path).await.unwrap();
    store.create().await.unwrap();
    store.snapshot_db("one", Some(b"content")).await.unwrap();
    let found = modes();
    // The database, its log and index, a snapshot and its content.
    assert!(found.len() >= 5, "{found:?}");
    assert!(found.iter().all(|(_, mode)| *mode == 0o600), "{found:?}");
    drop(store);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _store = SqliteStore::open(&path).await.unwrap();
    let found = modes();
    assert!(found.iter().all(|(_, mode)| *mode == 0o600), "{found:?}");
}

/// Of a program that was killed: its last rows are in the log alone, and it is not ours to fold them in.
#[tokio::test]
async fn the_log_of_a_file_that_is_refused_stays_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let live = folder.path().join("live.db");
    let other = rusqlite::Connection::open(&live).unwrap();
    other
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE notes (note TEXT); INSERT INTO notes VALUES ('x')")
        .unwrap();
    for suffix in ["", "-wal"] {
        let from = format!("{}{suffix}", live.display());
        std::fs::copy(from, format!("{}{suffix}", path.display())).unwrap();
    }
    let read = |suffix: &str| std::fs::read(format!("{}{suffix}", path.display())).unwrap();
    let before = (read(""), read("-wal"));
    assert!(!before.1.is_empty());
    let error = refused(SqliteStore::open(&path).await);
    assert!(
        texts(&error).contains("something else"),
        "{}",
        texts(&error)
    );
    assert!(matches!(
        open(&path, &common::raw_key()).await,
        Err(SealError::Inner(_))
    ));
    assert_eq!((read(""), read("-wal")), before);
}

#[tokio::test]
async fn a_url_that_makes_no_file_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let url = |mode: &str| format!("file:{}?mode={mode}", path.display());
    let error = refused(SqliteStore::open_url(&url("rw"), SqliteOptions::new()).await);
    assert!(matches!(error, StoreError::InvalidConfig(_)), "{error:?}");
    assert!(bytes(folder.path()).is_empty());
    let store = SqliteStore::open_url(&url("rwc"), SqliteOptions::new())
        .await
        .unwrap();
    store.close().await.unwrap();
    drop(store);
    SqliteStore::open_url(&url("rw"), SqliteOptions::new())
        .await
        .unwrap();
}

/// A time that no clock has is taken for the longest that there is.
#[tokio::test]
async fn the_longest_wait_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new().busy_timeout(std::time::Duration::MAX);
    for _ in 0..2 {
        let path = folder.path().join("w.db");
        let store = SqliteStore::open_with(path, options.clone()).await.unwrap();
        store.put_session("a@b", b"x").await.unwrap();
        assert!(store.load_prekeys_batch(&[1]).await.unwrap().is_empty());
    }
}

/// A URL where a path is asked for would make a file of that name.
#[tokio::test]
async fn a_name_that_means_memory_is_no_path() {
    let error = refused(SqliteStore::open(":memory:").await);
    assert!(texts(&error).contains("open_url"), "{}", texts(&error));
    assert!(!Path::new(":memory:").exists());
    let store = SqliteStore::open_url(":memory:", SqliteOptions::new())
        .await
        .unwrap();
    store.create().await.unwrap();
}
