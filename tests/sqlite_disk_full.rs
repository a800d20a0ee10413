//! On a full disk writes fail with an error that says so, everything acknowledged can be read, and once there is room
//! again the same store writes on. Nothing acknowledged is lost, nothing is torn.
//!
//! The long form is the same with a disk of each of many sizes, so that it is full at other moments:
//!
//! ```text
//! SEALED_STORE_LONG=1 cargo test --test sqlite_disk_full -- --nocapture
//! ```
#![cfg(target_os = "linux")]

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/mounts.rs"]
mod mounts;
#[path = "common/numbered.rs"]
mod numbered;

use std::path::Path;
use std::sync::{Arc, Mutex};

use child::{job, say};
use numbered::{Expected, KINDS, make_all, write};
use sealed_store::store::sqlite::{SqliteFault, SqliteFaultKind, SqliteStore};
use sealed_store::{SealError, open};
use wacore::store::error::StoreError;
use wacore::store::traits::Backend;

const TASKS: u64 = 8;
const WRITES: u64 = 8 * KINDS;
/// What is freed: the log, which reaches 4 MB before it is folded into the database, must find room there.
const BALLAST: usize = 4 << 20;

async fn opened(path: &Path, how: &str) -> Result<Arc<dyn Backend>, StoreError> {
    Ok(match how {
        "sealed" => Arc::new(open(path, &common::raw_key()).await?),
        _ => Arc::new(SqliteStore::open(path).await?),
    })
}

/// A write, by its task and number, and what became of it.
type Outcome = (u64, u64, Result<(), StoreError>);

static OUTCOMES: Mutex<Vec<Outcome>> = Mutex::new(Vec::new());

fn note(task: u64, n: u64, result: Result<(), StoreError>) {
    OUTCOMES.lock().unwrap().push((task, n, result));
}

/// It says that the disk is full, or failed: not every call tells the two apart.
fn is_advice(error: &StoreError) {
    let kind = SqliteFault::of(error).map(SqliteFault::kind);
    let typed = matches!(kind, Some(SqliteFaultKind::Full | SqliteFaultKind::Io));
    // Of a transaction that went with another's write.
    let shared = matches!(error, StoreError::InvalidConfig(text) if text.contains("try again"));
    let keyring = matches!(SealError::of(error), Some(SealError::Keyring(_)));
    assert!(typed || shared || keyring, "{error:?}");
    assert!(!error.is_database_busy_or_locked(), "{error:?}");
}

/// No test of its own: what happens on the small disk.
#[test]
fn on_a_small_disk() {
    let Some(job) = job() else { return };
    say("ready");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(fill(Path::new(&job[0]), &job[1]));
}

async fn fill(folder: &Path, how: &str) {
    let path = folder.join("w.db");
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![1; BALLAST]).unwrap();
    let store = opened(&path, how).await.unwrap();
    store.create().await.unwrap();
    make_all(&store, TASKS, 1, WRITES, note).await;
    let (mut expected, mut full) = (Expected::default(), 0);
    for (task, n, result) in OUTCOMES.lock().unwrap().drain(..) {
        match result {
            Ok(()) => expected.acknowledge(write(task, n)),
            Err(error) => {
                is_advice(&error);
                let kind = SqliteFault::of(&error).map(SqliteFault::kind);
                full += u32::from(kind == Some(SqliteFaultKind::Full));
                expected.attempt(write(task, n));
            }
        }
    }
    assert!(full > 0, "the disk is too large for this test");
    expected.check(&*store, "while the disk is full").await;
    // Another store finds no room: it says so, and leaves nothing that is in the way later.
    let second = folder.join("second.db");
    std::fs::write(folder.join("more"), vec![1; 1 << 22]).unwrap_err();
    match opened(&second, how).await {
        Ok(_) => panic!("there is no room"),
        Err(error) => is_advice(&error),
    }
    std::fs::remove_file(folder.join("more")).unwrap();
    std::fs::remove_file(&ballast).unwrap();
    let mut next = WRITES;
    let mut works = async |store: &dyn Backend, expected: &mut Expected, when: &str| {
        for _ in 0..KINDS {
            next += 1;
            let made = write(1, next).make(store).await;
            made.unwrap_or_else(|error| panic!("{when}: {error:?}"));
            expected.acknowledge(write(1, next));
        }
        expected.check(store, when).await;
    };
    works(&*store, &mut expected, "there is room again").await;
    drop(store);
    let store = opened(&path, how).await.unwrap();
    works(&*store, &mut expected, "opened again").await;
    drop(store);
    assert_eq!(common::integrity(&path), "ok");
    let store = opened(&second, how).await.unwrap();
    store.create().await.unwrap();
    say(&format!(
        "{full} writes found the disk full, {} places are whole",
        expected.places()
    ));
}

fn full(how: &str) {
    // In KiB; a little more each time moves what finds it full.
    let sizes: Vec<u32> = if std::env::var_os("SEALED_STORE_LONG").is_some() {
        (0..60).map(|step| 5_600 + 28 * step).collect()
    } else {
        vec![5_600, 6_300]
    };
    for size in sizes {
        let folder = tempfile::tempdir().unwrap();
        let job = [folder.path().to_str().unwrap(), how];
        let disk = format!("{size}k");
        let child = mounts::with_disk(folder.path(), &disk, "on_a_small_disk", &job);
        println!("{how}, {disk}: {}", child.finish().join(" "));
    }
}

#[test]
fn a_plain_store_survives_a_full_disk() {
    full("plain");
}

#[test]
fn a_sealed_store_survives_a_full_disk() {
    full("sealed");
}
