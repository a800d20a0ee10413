//! The database and its log, copied byte for byte while the process that writes them stands still, are a backup: such a
//! copy opens, and holds every write that was acknowledged before. (The index beside them, `-shm`, is made anew.)
//!
//! The usual run makes ten copies of each kind of store; the long one, 200 of each:
//!
//! ```text
//! SEALED_STORE_LONG=1 cargo test --test sqlite_copy -- --nocapture
//! ```
#![cfg(target_os = "linux")]

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/numbered.rs"]
mod numbered;

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use child::{Child, command, job, say};
use numbered::{Expected, make_all, write};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sealed_store::open;
use sealed_store::store::sqlite::SqliteStore;
use wacore::store::traits::Backend;

const TASKS: u64 = 8;

async fn opened(path: &Path, how: &str) -> Arc<dyn Backend> {
    match how {
        "sealed" => Arc::new(open(path, &common::raw_key()).await.unwrap()),
        _ => Arc::new(SqliteStore::open(path).await.unwrap()),
    }
}

/// No test of its own: writes with many tasks at once until it is killed, and says each write that returned.
#[test]
fn writer() {
    let Some(job) = job() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = opened(Path::new(&job[0]), &job[1]).await;
        store.create().await.unwrap();
        make_all(&store, TASKS, 1, u64::MAX, |task, n, result| {
            result.unwrap();
            say(&format!("{task} {n}"));
        })
        .await;
    });
}

/// Sends a signal. By the shell's own command: another is not everywhere.
fn signal(process: u32, name: &str) {
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{name} {process}")])
        .status();
    assert!(sent.unwrap().success(), "{name} is sent");
}

/// Whether no thread of the process runs, or is inside a call that could still write.
fn stands_still(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.map(Result::unwrap).all(|thread| {
        // A thread that ended meanwhile does not write either.
        let status = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name before it may hold anything, but not this.
        let state = status.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
        matches!(state, None | Some(b'T'))
    })
}

async fn copies(how: &str) {
    let count = if std::env::var_os("SEALED_STORE_LONG").is_some() {
        200
    } else {
        10
    };
    let mut rng = StdRng::seed_from_u64(common::support::seed());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let (mut child, pipe) = Child::start_on(command(&[], "writer", &[path.to_str().unwrap(), how]));
    let mut expected = Expected::default();
    let mut last = [0; TASKS as usize];
    let hear = |expected: &mut Expected, last: &mut [u64], line: &str| {
        let (task, n) = line.split_once(' ').unwrap();
        let (task, n): (u64, u64) = (task.parse().unwrap(), n.parse().unwrap());
        expected.acknowledge(write(task, n));
        last[usize::try_from(task).unwrap()] = n;
    };
    for copy in 0..count {
        for _ in 0..rng.random_range(1..1_000) {
            let line = child.next().expect("it writes until it is killed");
            hear(&mut expected, &mut last, &line);
        }
        // Heard late: it is somewhere else by now.
        signal(child.id(), "STOP");
        common::support::eventually("it stands still", || stands_still(child.id())).await;
        let place = folder.path().join(format!("{copy}"));
        std::fs::create_dir(&place).unwrap();
        for suffix in ["", "-wal"] {
            let name = format!("w.db{suffix}");
            std::fs::copy(folder.path().join(&name), place.join(&name)).unwrap();
        }
        // All that it said before it stood still is before this in the pipe, which may be full.
        let mut marker = pipe.try_clone().unwrap();
        let marked = std::thread::spawn(move || marker.write_all(b"@ stopped\n").unwrap());
        loop {
            let line = child.next().expect("the pipe is open");
            if line == "stopped" {
                break;
            }
            hear(&mut expected, &mut last, &line);
        }
        marked.join().unwrap();
        let mut of_copy = expected.clone();
        for (task, n) in (0..).zip(last) {
            // The one that it was at may be there as well.
            of_copy.attempt(write(task, n + 1));
        }
        let when = format!("{how}, copy {copy}");
        let at = place.join("w.db");
        let store = opened(&at, how).await;
        of_copy.check(&*store, &when).await;
        drop(store);
        assert_eq!(common::integrity(&at), "ok", "{when}");
        std::fs::remove_dir_all(place).unwrap();
        signal(child.id(), "CONT");
    }
    drop(pipe);
    child.kill();
    let writes: u64 = last.iter().sum();
    println!("{how}: {count} copies, {writes} writes acknowledged, nothing lost");
}

#[tokio::test]
async fn a_byte_copy_of_a_stopped_plain_store_holds_all_that_was_acknowledged() {
    copies("plain").await;
}

#[tokio::test]
async fn a_byte_copy_of_a_stopped_sealed_store_holds_all_that_was_acknowledged() {
    copies("sealed").await;
}
