//! One writer, many callers: what was acknowledged is there, whole, whoever wrote beside it, whatever future was
//! dropped, and whoever else has the file open.

#[path = "common/child.rs"]
mod child;
mod common;

use std::sync::Arc;
use std::time::Duration;

use child::{Child, hear, job, say};
use common::support::dropped_after;
use sealed_store::RawKey;
use sealed_store::secrecy::SecretBox;
use sealed_store::store::sqlite::{
    SqliteFault, SqliteFaultKind, SqliteOptions, SqliteStore, Synchronous,
};
use wacore::store::traits::{Backend, DeviceStore, MsgSecretEntry, MsgSecretStore, SignalStore};

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

/// How many rows of a batch are there.
async fn rows_of(store: &SqliteStore, batch: u32, count: u32) -> u32 {
    let mut there = 0;
    for number in 0..count {
        let found = store
            .get_msg_secret(&format!("chat {batch}"), "sender", &format!("{number}"))
            .await
            .unwrap();
        there += u32::from(found.is_some());
    }
    there
}

/// Single writes and batches of 64 tasks, with all that both kinds of runtime do to them.
async fn many_writers(options: SqliteOptions) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let store = SqliteStore::open_with(&path, options).await.unwrap();
    store.create().await.unwrap();
    let tasks: Vec<_> = (0..64u32)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..20u32 {
                    let address = format!("{task}:{round}@c.us");
                    let value = [task.to_le_bytes(), round.to_le_bytes()].concat();
                    store.put_session(&address, &value).await.unwrap();
                    // What a writer wrote it reads.
                    let found = store.get_session(&address).await.unwrap().unwrap();
                    assert_eq!(found, value);
                    if round % 5 == 0 {
                        let batch = (0..100).map(|number| secret(100 * task + round, number));
                        store.put_msg_secrets(batch.collect()).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    store.close().await.unwrap();
    assert!(
        store.put_session("a@b", b"late").await.is_err(),
        "it is closed"
    );
    drop(store);
    let store = SqliteStore::open(&path).await.unwrap();
    for task in 0..64u32 {
        for round in 0..20u32 {
            let found = store.get_session(&format!("{task}:{round}@c.us")).await;
            let value = [task.to_le_bytes(), round.to_le_bytes()].concat();
            assert_eq!(found.unwrap().unwrap(), value);
        }
        assert_eq!(rows_of(&store, 100 * task, 100).await, 100);
    }
}

#[tokio::test]
async fn writes_of_many_tasks_are_all_there_on_one_thread() {
    many_writers(SqliteOptions::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_of_many_tasks_are_all_there_on_four_threads() {
    many_writers(SqliteOptions::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_that_wait_for_the_disk_are_all_there() {
    many_writers(SqliteOptions::new().synchronous(Synchronous::Full)).await;
}

/// A write whose future is dropped at any of its pauses is made whole or not at all.
#[tokio::test]
async fn a_dropped_write_is_whole_or_not_there() {
    for options in [
        SqliteOptions::new(),
        SqliteOptions::new().synchronous(Synchronous::Full),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open_with(folder.path().join("w.db"), options)
            .await
            .unwrap();
        store.create().await.unwrap();
        for pauses in 0..4 {
            let batch = 100 + u32::try_from(pauses).unwrap();
            let entries = (0..200).map(|number| secret(batch, number)).collect();
            let finished = dropped_after(pauses, store.put_msg_secrets(entries)).await;
            // A later write is behind it in the queue.
            store
                .put_msg_secrets((0..200).map(|n| secret(9, n)).collect())
                .await
                .unwrap();
            let there = rows_of(&store, batch, 200).await;
            assert!(
                there == 0 || there == 200,
                "{there} of 200 after {pauses} pauses"
            );
            if finished.is_some() {
                assert_eq!(there, 200, "it was acknowledged");
            }
        }
    }
}

/// A write that fails inside a shared transaction takes none of the others with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_that_fails_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    // Queued always, so that they share transactions.
    let options = SqliteOptions::new().synchronous(Synchronous::Full);
    let store = SqliteStore::open_with(folder.path().join("w.db"), options)
        .await
        .unwrap();
    store.create().await.unwrap();
    let tasks: Vec<_> = (0..200u32)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                if number % 3 == 0 {
                    // The device is there already.
                    assert!(store.create().await.is_err());
                } else {
                    let address = format!("{number}@c.us");
                    store.put_session(&address, b"ratchet").await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for number in 0..200u32 {
        let there = store.has_session(&format!("{number}@c.us")).await.unwrap();
        assert_eq!(there, number % 3 != 0, "{number}");
    }
}

/// Another process that writes holds a call up for as long as it was told to wait, and no longer.
#[tokio::test]
async fn another_process_that_writes_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let options = SqliteOptions::new().busy_timeout(Duration::from_millis(50));
    let impatient = SqliteStore::open_with(&path, options).await.unwrap();
    let patient = SqliteStore::open(&path).await.unwrap();
    impatient.create().await.unwrap();

    let mut other = Child::run("holder", &[path.to_str().unwrap()]);
    assert_eq!(other.next().as_deref(), Some("held"));
    let error = impatient.put_session("a@b", b"one").await.unwrap_err();
    assert!(error.is_database_busy_or_locked(), "{error:?}");
    // Readers are not held up.
    assert!(!impatient.has_session("a@b").await.unwrap());
    let waiting = tokio::spawn(async move {
        patient.put_session("a@b", b"two").await.unwrap();
        patient
    });
    tokio::task::yield_now().await;
    other.tell("go");
    assert_eq!(other.next().as_deref(), Some("gone"));
    let patient = waiting.await.unwrap();
    other.finish();
    assert_eq!(
        patient.get_session("a@b").await.unwrap().unwrap(),
        &b"two"[..]
    );
    impatient.put_session("a@b", b"three").await.unwrap();
}

/// No test of its own: holds a database's write lock until it is told to let go.
#[test]
fn holder() {
    let Some(job) = job() else { return };
    let connection = rusqlite::Connection::open(&job[0]).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    say("held");
    assert_eq!(hear(), "go");
    connection.execute_batch("COMMIT").unwrap();
    say("gone");
}

fn key() -> RawKey {
    RawKey::new(SecretBox::new(Box::new([7; 32])))
}

/// A store in the clear, or a sealed one with its keys in the same file.
async fn open(path: &str, how: &str) -> Arc<dyn Backend> {
    match how {
        "sealed" => Arc::new(sealed_store::open(path, &key()).await.unwrap()),
        _ => Arc::new(SqliteStore::open(path).await.unwrap()),
    }
}

/// Two processes write to one file at once, and nothing of either is lost.
async fn two_processes(how: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let path = path.to_str().unwrap();
    let store = open(path, how).await;
    store.create().await.unwrap();
    let mut children: Vec<Child> = ["a", "b"]
        .iter()
        .map(|name| Child::run("writing", &[path, how, name]))
        .collect();
    for child in &mut children {
        assert_eq!(child.next().as_deref(), Some("ready"));
    }
    for child in &mut children {
        child.tell("go");
    }
    for child in children {
        assert_eq!(child.finish().pop().as_deref(), Some("done"));
    }
    for name in ["a", "b"] {
        for number in 0..300 {
            let found = store.get_session(&format!("{name}{number}@c.us")).await;
            assert_eq!(found.unwrap().unwrap(), name.as_bytes());
        }
    }
}

#[tokio::test]
async fn two_processes_write_to_one_file() {
    two_processes("plain").await;
}

#[tokio::test]
async fn two_processes_write_to_one_sealed_file() {
    two_processes("sealed").await;
}

/// No test of its own: writes three hundred rows under its name.
#[test]
fn writing() {
    let Some(job) = job() else { return };
    let [path, how, name] = &job[..] else {
        panic!("{job:?}");
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = open(path, how).await;
        say("ready");
        assert_eq!(hear(), "go");
        for number in 0..300 {
            let address = format!("{name}{number}@c.us");
            store.put_session(&address, name.as_bytes()).await.unwrap();
        }
        say("done");
    });
}

/// Whoever closes a store and copies its file must not leave acknowledged writes behind unnoticed.
#[tokio::test]
async fn a_close_says_that_the_log_still_holds_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.create().await.unwrap();
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM sessions")
        .unwrap();
    store.put_session("a@b", b"kept").await.unwrap();
    let error = store.close().await.unwrap_err();
    let fault = SqliteFault::of(&error).unwrap();
    assert_eq!(fault.kind(), SqliteFaultKind::LogLeft);
    assert!(store.put_session("a@b", b"late").await.is_err());
    drop((store, reader));
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(
        store.get_session("a@b").await.unwrap().unwrap(),
        b"kept"[..]
    );
    store.close().await.unwrap();
}

/// The log must not grow for ever under writes that never pause: its pages are folded in, and it begins anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_short_under_writes_that_never_pause() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("w.db")).await.unwrap();
    store.create().await.unwrap();
    let mut longest = 0;
    for round in 0..20_000u32 {
        let address = format!("{}:{}@c.us", round.wrapping_mul(2_654_435_761), round);
        store.put_session(&address, &[7; 2000]).await.unwrap();
        if round % 100 == 0 {
            let log = std::fs::metadata(folder.path().join("w.db-wal")).unwrap();
            longest = longest.max(log.len());
        }
    }
    println!("{longest} bytes at most");
    // More than 200 MB went through it. Folding begins at 4 MB and holds writers up at 16.
    assert!(longest < 24_000_000, "{longest}");
}

/// The secrets of one message are kept together, under each id of its sender, and each goes in its own time.
#[tokio::test]
async fn secrets_of_one_message_are_told_apart_by_their_senders() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("w.db")).await.unwrap();
    store.create().await.unwrap();
    let of = |sender: &str, secret: u8, expires_at: i64, message_ts: i64| MsgSecretEntry {
        chat: "chat".into(),
        sender: sender.into(),
        msg_id: "id".into(),
        secret: [secret; 32],
        expires_at,
        message_ts,
    };
    let get = async |sender: &str| {
        let found = store.get_msg_secret_with_ts("chat", sender, "id").await;
        found.unwrap().map(|(secret, time)| (secret[0], time))
    };
    let batch = vec![
        of("lid", 1, 10, 5),
        of("phone", 2, 0, 6),
        of("other", 3, 30, 7),
        // The later one counts, and merges.
        of("lid", 4, 5, 4),
    ];
    assert_eq!(store.put_msg_secrets(batch).await.unwrap(), 4);
    assert_eq!(get("lid").await, Some((4, 5)));
    assert_eq!(get("phone").await, Some((2, 6)));
    assert_eq!(get("other").await, Some((3, 7)));
    assert_eq!(get("nobody").await, None);
    // Another message, or another account, is another row.
    assert_eq!(
        store.get_msg_secret("chat", "lid", "id2").await.unwrap(),
        None
    );
    let other = store.for_account(2);
    assert_eq!(
        other.get_msg_secret("chat", "lid", "id").await.unwrap(),
        None
    );

    assert_eq!(store.delete_expired_msg_secrets(9).await.unwrap(), 0);
    assert_eq!(store.delete_expired_msg_secrets(10).await.unwrap(), 1);
    assert_eq!(get("lid").await, None);
    // A later deadline stays, and one that comes after "never" does not count.
    let batch = vec![of("other", 5, 40, 0), of("phone", 6, 50, 9)];
    store.put_msg_secrets(batch).await.unwrap();
    assert_eq!(store.delete_expired_msg_secrets(39).await.unwrap(), 0);
    assert_eq!(store.delete_expired_msg_secrets(60).await.unwrap(), 1);
    assert_eq!(get("other").await, None);
    assert_eq!(get("phone").await, Some((6, 9)));
}
