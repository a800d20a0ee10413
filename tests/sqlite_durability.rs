//! Every write that was acknowledged is there after SIGKILL at any moment, under concurrent load, and batches are
//! whole. (It shows the death of a process, not a power cut: that is the disk's, and `synchronous`'s, to keep.)
//!
//! The usual run kills some ten times; the long one, 200 times:
//!
//! ```text
//! SEALED_STORE_LONG=1 cargo test --test sqlite_durability -- --nocapture
//! ```

#[path = "common/child.rs"]
mod child;
mod common;

use std::collections::BTreeMap;

use child::{Child, job, say};
use sealed_store::open;
use sealed_store::store::sqlite::SqliteStore;
use wacore::store::traits::{Backend, MsgSecretEntry};

const TASKS: u32 = 8;
const BATCH: u32 = 80;

fn address(task: u32) -> String {
    format!("551198765{task:04}:{task}@c.us.0")
}

fn batch(task: u32, round: u32) -> Vec<MsgSecretEntry> {
    let entry = |number: u32| MsgSecretEntry {
        chat: format!("{task}@g.us").into(),
        sender: format!("{round}").into(),
        msg_id: format!("{number}").into(),
        secret: [u8::try_from(number % 256).unwrap(); 32],
        expires_at: 0,
        message_ts: 0,
    };
    (0..BATCH).map(entry).collect()
}

/// No test of its own: writes with many tasks at once until it is killed, and says each write that returned.
#[test]
fn writer() {
    let Some(job) = job() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let work = async {
        let path = std::path::Path::new(&job[0]);
        let store: std::sync::Arc<dyn Backend> = if job[1] == "sealed" {
            std::sync::Arc::new(open(path, &common::raw_key()).await.unwrap())
        } else {
            std::sync::Arc::new(SqliteStore::open(path).await.unwrap())
        };
        let first: u32 = job[2].parse().unwrap();
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let store = std::sync::Arc::clone(&store);
                tokio::spawn(async move {
                    for round in first.. {
                        let value = round.to_le_bytes().repeat(100);
                        store.put_session(&address(task), &value).await.unwrap();
                        say(&format!("session {task} {round}"));
                        if round % 4 == 0 {
                            store.put_msg_secrets(batch(task, round)).await.unwrap();
                            say(&format!("batch {task} {round}"));
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    };
    runtime.block_on(work);
}

async fn kills(how: &str, count: u64) {
    let seed = common::support::seed();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    // The device first: it is not what is tested here.
    let store: Box<dyn Backend> = match how {
        "sealed" => Box::new(open(&path, &common::raw_key()).await.unwrap()),
        _ => Box::new(SqliteStore::open(&path).await.unwrap()),
    };
    store.create().await.unwrap();
    drop(store);
    let (mut sessions, mut batches) = (BTreeMap::new(), Vec::new());
    let mut first = 1u32;
    for kill in 0..count {
        // After so many words: a few milliseconds to some tens.
        let words = 1
            + (seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(kill * 7919)
                >> 33)
                % 400;
        let mut child = Child::run("writer", &[path.to_str().unwrap(), how, &first.to_string()]);
        let mut said: Vec<String> = (0..words).map_while(|_| child.next()).collect();
        said.extend(child.kill());
        for line in said {
            let words: Vec<&str> = line.split(' ').collect();
            let [what, task, round] = words[..] else {
                panic!("{line}")
            };
            let (task, round): (u32, u32) = (task.parse().unwrap(), round.parse().unwrap());
            first = first.max(round + 1);
            if what == "session" {
                sessions.insert(task, round);
            } else {
                batches.push((task, round));
            }
        }
        // What was written and not acknowledged may be there as well.
        first += 2;
        let store: Box<dyn Backend> = match how {
            "sealed" => Box::new(open(&path, &common::raw_key()).await.unwrap()),
            _ => Box::new(SqliteStore::open(&path).await.unwrap()),
        };
        assert!(store.exists().await.unwrap());
        for (task, round) in &sessions {
            let found = store.get_session(&address(*task)).await.unwrap().unwrap();
            let written = u32::from_le_bytes(found[..4].try_into().unwrap());
            assert!(written >= *round, "kill {kill}: {written} after {round}");
            assert_eq!(
                found,
                written.to_le_bytes().repeat(100),
                "kill {kill}: torn"
            );
        }
        for (task, round) in batches.iter().rev().take(20) {
            for entry in batch(*task, *round) {
                let found = store
                    .get_msg_secret(&entry.chat, &entry.sender, &entry.msg_id)
                    .await;
                assert_eq!(
                    found.unwrap().as_deref(),
                    Some(&entry.secret[..]),
                    "kill {kill}"
                );
            }
        }
        // One that nobody acknowledged is whole or not there.
        for task in 0..TASKS {
            for round in (first.saturating_sub(4)..first + 4).filter(|round| round % 4 == 0) {
                let mut there = 0;
                for entry in batch(task, round) {
                    let found = store
                        .get_msg_secret(&entry.chat, &entry.sender, &entry.msg_id)
                        .await;
                    there += u32::from(found.unwrap().is_some());
                }
                assert!(
                    there == 0 || there == BATCH,
                    "kill {kill}: {there} of {BATCH}"
                );
            }
        }
    }
    println!(
        "{how}: {count} kills, {} batches acknowledged, nothing lost",
        batches.len()
    );
}

fn count() -> u64 {
    if std::env::var_os("SEALED_STORE_LONG").is_some() {
        100
    } else {
        6
    }
}

#[tokio::test]
async fn acknowledged_writes_of_a_plain_store_survive_a_kill() {
    kills("plain", count()).await;
}

#[tokio::test]
async fn acknowledged_writes_of_a_sealed_store_survive_a_kill() {
    kills("sealed", count()).await;
}
