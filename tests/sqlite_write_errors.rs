//! Whatever call that writes fails, and whether one does or all from then on: each operation returns, what was
//! acknowledged is there, what failed is whole or not there, and the file is sound and works on.
//!
//! The usual run has a sample of the calls fail; the long one, each of them, each way:
//!
//! ```text
//! SEALED_STORE_LONG=1 cargo test --test sqlite_write_errors -- --nocapture
//! ```
#![cfg(target_os = "linux")]

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/faults.rs"]
mod faults;
#[path = "common/numbered.rs"]
mod numbered;

use std::path::Path;
use std::sync::Arc;

use child::{Child, command, job, say};
use faults::{BROKEN, FULL, Fault};
use numbered::{Expected, KINDS, make_all, write};
use sealed_store::store::sqlite::{SqliteFault, SqliteOptions, SqliteStore};
use sealed_store::{SealError, open};
use wacore::store::error::StoreError;
use wacore::store::traits::Backend;

const TASKS: u64 = 4;
const WRITES: u64 = 2 * KINDS;

async fn opened(path: &Path, how: &str) -> Result<Arc<dyn Backend>, StoreError> {
    Ok(match how {
        "sealed" => Arc::new(open(path, &common::raw_key()).await?),
        // A cache so small that pages are written before their transaction is committed: a write fails in the middle.
        _ => Arc::new(SqliteStore::open_with(path, SqliteOptions::new().cache_size(1)).await?),
    })
}

/// The error as a word on whether it has advice, and its texts, in one line.
fn told(error: &StoreError) -> String {
    let advice = SqliteFault::of(error).is_some()
        || SealError::of(error).is_some()
        || matches!(
            error,
            StoreError::InvalidConfig(_) | StoreError::DeviceNotFound(_)
        );
    let mut text = error.to_string();
    let mut layer = std::error::Error::source(error);
    while let Some(source) = layer {
        text = format!("{text}: {source}");
        layer = source.source();
    }
    let word = if advice { "advice" } else { "bare" };
    format!("{word} {}", text.replace('\n', " "))
}

fn tell(task: u64, n: u64, result: Result<(), StoreError>) {
    match result {
        Ok(()) => say(&format!("made {task} {n}")),
        Err(error) => say(&format!("failed {task} {n} {}", told(&error))),
    }
}

/// No test of its own: opens a store and writes, whatever fails, and says what became of it.
#[test]
fn writer() {
    let Some(job) = job() else { return };
    std::thread::spawn(|| {
        std::thread::sleep(std::time::Duration::from_secs(60));
        eprintln!("a call did not return");
        std::process::abort();
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = match opened(Path::new(&job[0]), &job[1]).await {
            Ok(store) => store,
            Err(error) => return say(&format!("unopened 0 0 {}", told(&error))),
        };
        // SQLite goes on without one where it could not make it: then readers would be in the writer's way.
        assert!(Path::new(&format!("{}-wal", job[0])).exists(), "no log");
        match store.create().await {
            Ok(_) => say("created 0 0"),
            Err(error) => say(&format!("uncreated 0 0 {}", told(&error))),
        }
        make_all(&store, TASKS, 1, WRITES, tell).await;
    });
}

/// What the child said: all that it was asked for or nothing, no error without advice.
struct Said {
    opened: bool,
    created: bool,
    failed: u32,
    expected: Expected,
}

impl Said {
    fn read(lines: &[String], when: &str) -> Self {
        let (mut opened, mut created, mut failed) = (true, false, 0);
        let mut expected = Expected::default();
        let mut returned = 0;
        for line in lines {
            let mut words = line.splitn(4, ' ');
            let what = words.next().unwrap();
            let mut number = || words.next().unwrap().parse::<u64>().unwrap();
            let (task, n) = (number(), number());
            match what {
                "made" => expected.acknowledge(write(task, n)),
                "failed" => expected.attempt(write(task, n)),
                "created" => created = true,
                "unopened" => opened = false,
                "uncreated" => {}
                _ => panic!("{when}: {line}"),
            }
            returned += u64::from(matches!(what, "made" | "failed"));
            if let Some(error) = words.next() {
                failed += 1;
                assert!(error.starts_with("advice "), "{when}: {line}");
                let lower = error.to_lowercase();
                let calm = !lower.contains("locked") && !lower.contains("busy");
                assert!(calm && !error.contains(".db"), "{when}: {line}");
            }
        }
        let all = if opened { TASKS * WRITES } else { 0 };
        assert_eq!(returned, all, "{when}: {lines:?}");
        Self {
            opened,
            created,
            failed,
            expected,
        }
    }
}

/// What the next process finds, and does.
async fn sound(path: &Path, how: &str, said: &Said, when: &str) {
    let store = opened(path, how).await;
    let store = store.unwrap_or_else(|error| panic!("{when}: it does not open: {error:?}"));
    let exists = store.exists().await.unwrap();
    assert!(exists || !said.created, "{when}: the device is gone");
    if !exists {
        store.create().await.unwrap();
    }
    said.expected.check(&*store, when).await;
    let mut expected = said.expected.clone();
    for n in WRITES + 1..=WRITES + KINDS {
        let write = write(0, n);
        let made = write.make(&*store).await;
        made.unwrap_or_else(|error| panic!("{when}: it works no more: {error:?}"));
        expected.acknowledge(write);
    }
    drop(store);
    let store = opened(path, how).await.unwrap();
    expected.check(&*store, when).await;
    drop(store);
    assert_eq!(common::integrity(path), "ok", "{when}");
}

async fn errors(how: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = |file: &Path| command(&[], "writer", &[file.to_str().unwrap(), how]);
    let (mut runs, mut unopened, mut failed) = (0, 0, 0);
    for (calls, error, ends, between) in [
        ("pwrite", FULL, 20, 10),
        ("fsync", BROKEN, 20, 2),
        ("ftruncate", BROKEN, 2, 1),
    ] {
        let file = path(&format!("{calls}.db"));
        let mut whole = run(&file);
        faults::count(&mut whole, calls, &path("count"));
        let said = Said::read(&Child::start(whole).finish(), "without a fault");
        assert!(said.opened && said.created && said.failed == 0);
        let count = faults::counted(&path("count"));
        println!("{how}: {count} calls of {calls}");
        let half = format!("half+{error}");
        for call in faults::sample(count, ends, between) {
            for (number, (error, at)) in [
                (error, (call, call)),
                (error, (call, 0)),
                // Half a write, and an error where the other half is tried.
                (half.as_str(), (call, call + 1)),
            ]
            .into_iter()
            .enumerate()
            {
                // One way for each, in turn; of the few others two in a row.
                let way = if calls == "pwrite" { runs % 3 } else { 2 };
                if !faults::long() && way != number {
                    continue;
                }
                let when = format!("{how}: {calls} fails with {error} at {at:?} of {count}");
                let file = path(&format!("{calls}-{error}-{}-{}.db", at.0, at.1));
                let mut command = run(&file);
                faults::inject(
                    &mut command,
                    Fault {
                        calls,
                        how: error,
                        at,
                    },
                );
                let (whole, lines) = Child::start(command).ended();
                assert!(whole, "{when}: it died after {lines:?}");
                let said = Said::read(&lines, &when);
                sound(&file, how, &said, &when).await;
                unopened += u32::from(!said.opened);
                failed += said.failed;
                for suffix in ["", "-wal", "-shm", ".keyring-lock"] {
                    let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
                }
            }
            runs += 1;
        }
    }
    println!("{how}: {runs} calls failed; {unopened} stores did not open, {failed} errors");
    assert!(unopened > 0 && failed > 0);
}

#[tokio::test]
async fn a_plain_store_keeps_what_it_acknowledged_whatever_write_fails() {
    errors("plain").await;
}

#[tokio::test]
async fn a_sealed_store_keeps_what_it_acknowledged_whatever_write_fails() {
    errors("sealed").await;
}
