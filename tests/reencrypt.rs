//! New data keys take every row along and end the old keys, whoever uses the store meanwhile and whenever the process
//! is killed. Tools that forgot a table, threw the old key away first, or could not go on where they were, lost data.

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/resealing.rs"]
mod resealing;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use child::{Child, hear, job, say, stand_still_at};
use resealing::{checks, copy, fill, is_whole, key, keys, one_key_a_table, open};
use rusqlite::Connection;
use sealed_store::Table;
use sealed_store::lifecycle::{
    CheckOptions, LifecycleErrorKind, Phase, Progress, ReencryptOptions, check, reencrypt,
};

#[tokio::test]
async fn every_row_is_under_the_new_keys_and_the_old_ones_are_destroyed() {
    for layout in ["ours", "upstream"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.db");
        drop(fill(&path, layout).await);
        for newest in 2..4 {
            let options = ReencryptOptions::new();
            let done = reencrypt(&path, &key(), options, &()).await.unwrap();
            println!("{layout}: {done:?}");
            assert_eq!(done.destroyed, Table::ALL.len() as u64);
            assert_eq!((done.retained, done.resumed), (0, false));
            one_key_a_table(&path, newest);
            checks(&path).await;
            is_whole(&*open(&path, layout).await).await;
        }
    }
}

#[tokio::test]
async fn tables_that_are_not_named_keep_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    drop(fill(&path, "ours").await);
    let options = ReencryptOptions::new().tables([Table::Session, Table::MsgSecret]);
    let done = reencrypt(&path, &key(), options, &()).await.unwrap();
    assert_eq!((done.resealed, done.destroyed), (20, 2));
    let keys = keys(&path);
    for table in Table::ALL {
        let is_new = matches!(table, Table::Session | Table::MsgSecret);
        let first = &keys[&(table.name().to_owned(), 1)];
        assert_eq!(
            first,
            if is_new { "destroyed" } else { "active" },
            "{table}"
        );
    }
    is_whole(&*open(&path, "ours").await).await;
}

/// The application has the store open, and writes: nothing it wrote is lost, the old keys are retained, and end when the
/// store is next opened by somebody who is alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_beside_it_loses_nothing_and_the_old_keys_end_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let store = fill(&path, "ours").await;
    let writing = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for round in 0..400u32 {
                let address = format!("{}:9@c.us.0", round % 40);
                let value = round.to_le_bytes();
                store.put_session(&address, &value).await.unwrap();
                let found = store.get_session(&address).await.unwrap().unwrap();
                assert_eq!(found[..], value, "what was written is read");
                tokio::task::yield_now().await;
            }
        })
    };
    let done = reencrypt(&path, &key(), ReencryptOptions::new(), &())
        .await
        .unwrap();
    writing.await.unwrap();
    println!("{done:?}");
    assert_eq!(done.destroyed, 0);
    assert_eq!(done.retained, Table::ALL.len() as u64);
    is_whole(&*store).await;
    assert_eq!(keys(&path)[&("session".to_owned(), 1)], "retained");
    drop(store);
    let store = open(&path, "ours").await;
    one_key_a_table(&path, 2);
    is_whole(&*store).await;
    for number in 0..40u32 {
        let address = format!("{number}:9@c.us.0");
        let found = store.get_session(&address).await.unwrap().unwrap();
        assert_eq!(found[..], (360 + number).to_le_bytes());
    }
}

/// Base keys are compared, not opened, so that no row says that its key is a newer one.
#[tokio::test]
async fn a_base_key_is_the_same_although_somebody_else_resealed_it() {
    for layout in ["ours", "upstream"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.db");
        let store = open(&path, layout).await;
        store.create().await.unwrap();
        let key_of = |byte| [byte; 33];
        store.save_base_key("a@b", "id", &key_of(1)).await.unwrap();
        let done = reencrypt(&path, &key(), ReencryptOptions::new(), &())
            .await
            .unwrap();
        assert!(done.retained > 0, "{done:?}");
        let same = store.has_same_base_key("a@b", "id", &key_of(1)).await;
        assert!(same.unwrap(), "{layout}");
        let same = store.has_same_base_key("a@b", "id", &key_of(2)).await;
        assert!(!same.unwrap());
    }
}

/// A process with the old keys in memory writes beside the walk and after it; its rows are resealed before the old keys end.
#[tokio::test]
async fn rows_that_a_process_with_old_keys_writes_are_resealed_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    drop(fill(&path, "ours").await);
    let mut child = Child::run("stale", &[path.to_str().unwrap()]);
    assert_eq!(child.next().as_deref(), Some("open"));
    let options = ReencryptOptions::new();
    let done = reencrypt(&path, &key(), options, &()).await.unwrap();
    assert_eq!(done.retained, Table::ALL.len() as u64);
    child.tell("write");
    assert_eq!(child.next().as_deref(), Some("written"));
    child.kill();
    assert_eq!(
        keys(&path)[&("session".to_owned(), 1)],
        "retained",
        "it is needed"
    );
    // Only what the other process left is under an old key.
    let done = reencrypt(&path, &key(), ReencryptOptions::new(), &())
        .await
        .unwrap();
    assert!(done.resumed && done.resealed == 1, "{done:?}");
    one_key_a_table(&path, 2);
    let store = open(&path, "ours").await;
    let late = store.get_session("late:1@c.us.0").await.unwrap().unwrap();
    assert_eq!(late, b"late"[..]);
    is_whole(&*store).await;
}

/// No test of its own: opens the store, and writes when it is told to, with the keys that it read then.
#[test]
fn stale() {
    let Some(job) = job() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&job[0]), "ours").await;
        say("open");
        assert_eq!(hear(), "write");
        store.put_session("late:1@c.us.0", b"late").await.unwrap();
        say("written");
        hear();
    });
}

/// Asks to stop after some pages.
struct Stopping(AtomicU64);

impl Progress for Stopping {
    fn begin(&self, _: Phase, _: Option<u64>) {}
    fn rows(&self, _: u64) {}
    fn stopped(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) == 0
    }
}

#[tokio::test]
async fn a_run_that_is_stopped_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    drop(fill(&path, "ours").await);
    let mut stops = 0;
    for pages in 1.. {
        let stopping = Stopping(AtomicU64::new(pages));
        match reencrypt(&path, &key(), ReencryptOptions::new(), &stopping).await {
            Ok(done) => {
                assert!(done.resumed);
                break;
            }
            Err(error) => assert_eq!(error.kind(), LifecycleErrorKind::Interrupted),
        }
        stops += 1;
        // Not opened by the application: that would finish it.
        checks(&path).await;
    }
    assert!(stops > 10, "{stops}");
    // However often: one new generation.
    one_key_a_table(&path, 2);
    is_whole(&*open(&path, "ours").await).await;
}

/// Killed at each of its steps, in turn, the store is whole, and the next run goes on and ends.
#[tokio::test]
async fn a_kill_at_any_step_loses_nothing_and_is_gone_on_with() {
    for layout in ["ours", "upstream"] {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole.db");
        drop(fill(&whole, layout).await);
        let mut kills = 0;
        for step in 0.. {
            let path = folder.path().join(format!("{step}.db"));
            copy(&whole, &path);
            let mut child = Child::run("killed", &[path.to_str().unwrap(), &step.to_string()]);
            let name = child.next().unwrap();
            if name == "done" {
                break;
            }
            child.kill();
            kills += 1;
            let store = open(&path, layout).await;
            is_whole(&*store).await;
            drop(store);
            let done = reencrypt(&path, &key(), ReencryptOptions::new(), &())
                .await
                .unwrap();
            one_key_a_table(
                &path,
                if done.resumed || layout == "x" {
                    2
                } else {
                    newest(&path)
                },
            );
            checks(&path).await;
            is_whole(&*open(&path, layout).await).await;
        }
        println!("{layout}: {kills} kills");
        assert!(kills > 15, "{kills}");
    }
}

fn newest(path: &Path) -> u64 {
    keys(path)
        .keys()
        .map(|(_, generation)| *generation)
        .max()
        .unwrap()
}

/// No test of its own: reencrypts, and stops for ever at the step of this number.
#[test]
fn killed() {
    let Some(job) = job() else { return };
    let at: u64 = job[1].parse().unwrap();
    stand_still_at(at);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(reencrypt(&job[0], &key(), ReencryptOptions::new(), &()))
        .unwrap();
    say("done");
}

/// A row that does not open, or can't be read, keeps the old keys: they may be what it needs. All others are resealed.
#[tokio::test]
async fn a_row_that_does_not_open_is_told_and_the_old_keys_stay() {
    for damage in [
        "CAST(substr(record, 1, 40) || zeroblob(60) AS BLOB)",
        "'text where bytes are'",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.db");
        drop(fill(&path, "ours").await);
        let file = Connection::open(&path).unwrap();
        let sql = format!(
            "UPDATE sender_keys SET record = {damage} WHERE address = (SELECT min(address) FROM sender_keys)"
        );
        assert_eq!(file.execute(&sql, []).unwrap(), 1);
        drop(file);
        stays(&path).await;
    }
}

async fn stays(path: &Path) {
    for _ in 0..2 {
        let error = reencrypt(path, &key(), ReencryptOptions::new(), &())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), LifecycleErrorKind::Corrupt, "{error}");
        let keys = keys(path);
        assert_eq!(keys[&("sender_key".to_owned(), 1)], "retained");
        assert!(
            !keys.contains_key(&("sender_key".to_owned(), 3)),
            "one new key"
        );
        let report = check(path, &key(), CheckOptions::new(), &()).await.unwrap();
        assert_eq!(report.faults.len(), 1, "{report:?}");
    }
}
