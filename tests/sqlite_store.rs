//! Our own store does what upstream's does: the contract of every wacore store, plain and sealed, in a file and
//! in memory.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sealed_store::store::sqlite::{SqliteOptions, SqliteStore, Synchronous};
use sealed_store::testing::contract;
use wacore::store::traits::Backend;

fn whole(failures: &[contract::Failure]) {
    let list: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{}", list.join("\n"));
    println!("{} behaviours hold", contract::ALL.len());
}

/// Runs the contract, each behaviour on a file of its own.
async fn on_files(options: SqliteOptions, sealed: bool) {
    let folder = tempfile::tempdir().unwrap();
    let next = AtomicU32::new(0);
    let failures = contract::check(contract::ALL, || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let path = folder.path().join(format!("{number}.db"));
        let options = options.clone();
        async move {
            let store = SqliteStore::open_with(path, options).await.unwrap();
            if sealed {
                Arc::new(common::seal(Arc::new(store)).await) as Arc<dyn Backend>
            } else {
                Arc::new(store)
            }
        }
    })
    .await;
    whole(&failures);
}

#[tokio::test]
async fn a_file_holds_the_contract_on_one_thread() {
    on_files(SqliteOptions::new(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_holds_the_contract_on_two_threads() {
    on_files(SqliteOptions::new(), false).await;
}

#[tokio::test]
async fn a_file_whose_writes_wait_for_the_disk_holds_the_contract() {
    on_files(SqliteOptions::new().synchronous(Synchronous::Full), false).await;
}

#[tokio::test]
async fn a_sealed_file_holds_the_contract() {
    on_files(SqliteOptions::new(), true).await;
}

#[tokio::test]
async fn memory_holds_the_contract_plain_and_sealed() {
    for sealed in [false, true] {
        let failures = contract::check(contract::ALL, || async move {
            let store = SqliteStore::open_url(":memory:", SqliteOptions::new());
            let store = store.await.unwrap();
            if sealed {
                Arc::new(common::seal(Arc::new(store)).await) as Arc<dyn Backend>
            } else {
                Arc::new(store)
            }
        })
        .await;
        whole(&failures);
    }
}

/// What an application awaits in a task that moves between threads must be able to.
#[test]
fn futures_can_be_spawned() {
    fn spawnable<F: Future + Send>(_: F) {}
    let key = common::raw_key();
    spawnable(sealed_store::open("w.db", &key));
    let options = sealed_store::lifecycle::ReencryptOptions::new();
    spawnable(sealed_store::lifecycle::reencrypt(
        "w.db",
        &key,
        options,
        &(),
    ));
    spawnable(SqliteStore::open("w.db"));
}
