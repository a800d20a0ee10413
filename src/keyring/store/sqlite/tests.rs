//! How the keyring's file is set up.

use super::*;

/// A file for a keyring of its own, and a data file whose store has it open and keeps a log.
fn files() -> (tempfile::TempDir, [(PathBuf, Option<Connection>); 2]) {
    let folder = tempfile::tempdir().unwrap();
    let [own, data] = ["keyring.db", "data.db"].map(|name| folder.path().join(name));
    let store = Connection::open(&data).unwrap();
    let journal = "PRAGMA journal_mode = WAL; CREATE TABLE rows (row TEXT)";
    store.execute_batch(journal).unwrap();
    (folder, [(own, None), (data, Some(store))])
}

/// These are settings of a connection: one that is made without them says nothing about it.
#[test]
fn every_connection_waits_for_the_disk_and_overwrites_what_it_erases() {
    let (_folder, files) = files();
    for (path, _store) in &files {
        let writer = SqliteKeyring::at(path).shared;
        writer.put("keyring", None, b"document").unwrap();
        let reader = SqliteKeyring::at(path).shared;
        assert!(reader.get_now("keyring").unwrap().unwrap().is_some());
        for shared in [writer, reader] {
            let held = shared.held();
            let connection = held.as_ref().unwrap();
            let setting = |name: &str| -> i64 {
                let query = connection.pragma_query_value(None, name, |row| row.get(0));
                query.unwrap()
            };
            assert_eq!(setting("synchronous"), 2, "FULL");
            assert_eq!(setting("secure_delete"), 1, "ON, and not FAST");
            assert_eq!(setting("trusted_schema"), 0);
        }
    }
}

#[test]
fn every_write_leaves_the_log_empty() {
    let (_folder, [_, (path, store)]) = files();
    let shared = SqliteKeyring::at(&path).shared;
    let mut log = path.into_os_string();
    log.push("-wal");
    let length = || fs::metadata(&log).unwrap().len();
    for revision in [None, Some(1), Some(2)] {
        let row = "INSERT INTO rows VALUES ('sealed')";
        store.as_ref().unwrap().execute_batch(row).unwrap();
        assert!(length() > 0, "the store writes to its log");
        shared.put("keyring", revision, b"document").unwrap();
        assert_eq!(length(), 0);
    }
}

/// The caller's thread is a runtime's: what must be waited for is waited for elsewhere.
#[test]
fn a_read_that_another_connection_keeps_waiting_leaves_the_callers_thread() {
    let (_folder, [(path, _), _]) = files();
    SqliteKeyring::at(&path)
        .shared
        .put("keyring", None, b"document")
        .unwrap();
    for opened_before in [false, true] {
        let keyring = SqliteKeyring::at(&path);
        let free = || keyring.shared.get_now("keyring");
        assert!(!opened_before || free().is_some());
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        assert!(free().is_none(), "it would have to wait");

        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let found = runtime.block_on(async {
            let (found, ()) = tokio::join!(keyring.get("keyring"), async {
                other.execute_batch("COMMIT").unwrap();
            });
            found.unwrap()
        });
        assert_eq!(found, Some((1, b"document".to_vec())));
        let held = keyring.shared.held();
        assert!(free().is_none(), "another call has the connection");
        drop(held);
    }
}
