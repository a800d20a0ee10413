//! A snapshot is the store of one moment, however busy it is, and is whole or not there, whatever ends the
//! process.

#[path = "common/child.rs"]
mod child;

use std::path::{Path, PathBuf};

use child::{Child, job, say};
use sealed_store::store::sqlite::SqliteStore;
use wacore::store::traits::{DeviceStore, MsgSecretEntry, MsgSecretStore};

fn secret(batch: u32, number: u32) -> MsgSecretEntry {
    MsgSecretEntry {
        chat: format!("chat {batch}").into(),
        sender: "sender".into(),
        msg_id: format!("{number}").into(),
        secret: [7; 32],
        expires_at: 1,
        message_ts: 1,
    }
}

/// What the folder holds besides the store's own files.
fn beside(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains(".snapshot-"))
        .collect()
}

/// How many rows a snapshot holds, in whole batches.
fn whole(path: &Path) -> u32 {
    let file = rusqlite::Connection::open(path).unwrap();
    let sound: String = file
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
    // Ten rows a batch, whole batches only.
    let (torn, rows) = file
        .query_row(
            "SELECT sum(n NOT IN (10, 5000, 40000)), sum(n)
             FROM (SELECT count(*) AS n FROM msg_secrets GROUP BY chat)",
            [],
            |row| Ok((row.get::<_, u32>(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!(torn, 0);
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_taken_of_a_busy_store_and_is_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.create().await.unwrap();
    store
        .put_msg_secrets((0..5000).map(|n| secret(0, n)).collect())
        .await
        .unwrap();
    let busy = {
        let store = store.clone();
        tokio::spawn(async move {
            for batch in 1u32.. {
                store
                    .put_msg_secrets((0..10).map(|n| secret(batch, n)).collect())
                    .await
                    .unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    for name in ["one", "two", "three"] {
        store.snapshot_db(name, None).await.unwrap();
    }
    busy.abort();
    let taken = beside(folder.path());
    assert_eq!(taken.len(), 3, "{taken:?}");
    for path in taken {
        assert!(whole(&path) >= 5000);
    }

    // Its content can't be written: nothing of it stays.
    let now = wacore::time::now_secs();
    for second in now - 1..now + 60 {
        let name = format!("w.db.snapshot-{second}-four.json");
        std::fs::write(folder.path().join(name), "taken").unwrap();
    }
    assert!(store.snapshot_db("four", Some(b"content")).await.is_err());
    let left = beside(folder.path());
    let databases = left
        .iter()
        .filter(|path| path.extension().is_none_or(|end| end != "json"));
    assert_eq!(databases.count(), 3);
}

/// A process that is killed in the middle leaves no half of a snapshot under a snapshot's name.
#[tokio::test]
async fn a_killed_process_leaves_whole_snapshots_only() {
    let kills = if std::env::var_os("SEALED_STORE_LONG").is_some() {
        200
    } else {
        12
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.create().await.unwrap();
    store
        .put_msg_secrets((0..40_000).map(|n| secret(0, n)).collect())
        .await
        .unwrap();
    store.close().await.unwrap();
    let (mut taken, mut cut) = (0, 0);
    for kill in 0..kills {
        let mut child = Child::run("taking", &[path.to_str().unwrap()]);
        for _ in 0..1 + kill % 3 {
            child.next();
        }
        child.kill();
        for left in beside(folder.path()) {
            // With SQLite's journal beside it.
            if left.to_str().unwrap().contains(".partial") {
                cut += 1;
            } else {
                assert_eq!(whole(&left), 40_000);
                taken += 1;
            }
            std::fs::remove_file(left).unwrap();
        }
    }
    println!("{kills} kills: {taken} whole, {cut} cut");
}

/// No test of its own: takes snapshots until it is killed.
#[test]
fn taking() {
    let Some(job) = job() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&job[0]).await.unwrap();
        for number in 0.. {
            say("next");
            store.snapshot_db(&number.to_string(), None).await.unwrap();
        }
    });
}
