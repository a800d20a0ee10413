//! A process that dies in any of the calls by which a new file becomes a store leaves what the next one finishes: the
//! file opens, what was acknowledged is there, and it works.
//!
//! The usual run dies in a sample of these calls; the long one, in each:
//!
//! ```text
//! SEALED_STORE_LONG=1 cargo test --test sqlite_migration -- --nocapture
//! ```
#![cfg(target_os = "linux")]

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/faults.rs"]
mod faults;

use std::path::Path;
use std::sync::Arc;

use child::{Child, command, job, say};
use faults::Fault;
use sealed_store::open;
use sealed_store::store::sqlite::SqliteStore;
use wacore::store::error::StoreError;
use wacore::store::traits::Backend;

async fn opened(path: &Path, how: &str) -> Result<Arc<dyn Backend>, StoreError> {
    Ok(match how {
        "sealed" => Arc::new(open(path, &common::raw_key()).await?),
        _ => Arc::new(SqliteStore::open(path).await?),
    })
}

/// No test of its own: makes a store, and says how far it is.
#[test]
fn first_run() {
    let Some(job) = job() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = opened(Path::new(&job[0]), &job[1]).await.unwrap();
        say("opened");
        store.create().await.unwrap();
        say("created");
        store.put_session("55@c.us.0", b"ratchet").await.unwrap();
        say("wrote");
    });
}

/// What the next process finds, and does.
async fn finished(path: &Path, how: &str, said: &[String], when: &str) {
    let has = |word: &str| said.iter().any(|said| said == word);
    let store = opened(path, how)
        .await
        .unwrap_or_else(|error| panic!("{when}, after {said:?}: {error:?}"));
    let exists = store.exists().await.unwrap();
    assert!(exists || !has("created"), "{when}: the device is gone");
    if !exists {
        store.create().await.unwrap();
    }
    let session = store.get_session("55@c.us.0").await.unwrap();
    assert!(
        session.is_some() || !has("wrote"),
        "{when}: a write is gone"
    );
    store.put_session("66@c.us.0", b"ratchet").await.unwrap();
    drop(store);
    let store = opened(path, how).await.unwrap();
    assert!(store.load().await.unwrap().is_some(), "{when}");
    let session = store.get_session("66@c.us.0").await.unwrap();
    assert_eq!(session.as_deref(), Some(&b"ratchet"[..]), "{when}");
    drop(store);
    assert_eq!(common::integrity(path), "ok", "{when}");
}

async fn deaths(store: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = |file: &Path| command(&[], "first_run", &[file.to_str().unwrap(), store]);
    let mut whole = run(&path("whole.db"));
    faults::count(&mut whole, "any", &path("count"));
    let said = Child::start(whole).finish();
    assert_eq!(said, ["opened", "created", "wrote"]);
    let count = faults::counted(&path("count"));
    let (mut deaths, mut stages) = (0, std::collections::BTreeMap::<String, u32>::new());
    for call in faults::sample(count, 20, 30) {
        for how in ["kill", "half+kill"] {
            if how == "half+kill" && call % 3 != 0 && !faults::long() {
                continue;
            }
            let when = format!("{store}: {how} in call {call} of {count}");
            let file = path(&format!("{how}-{call}.db"));
            let mut command = run(&file);
            let at = (call, call);
            faults::inject(
                &mut command,
                Fault {
                    calls: "any",
                    how,
                    at,
                },
            );
            let said = Child::start(command).ended();
            *stages
                .entry(said.1.last().cloned().unwrap_or_default())
                .or_default() += 1;
            // Threads may have their calls in another order than before, and the last be one less.
            deaths += u32::from(!said.0);
            finished(&file, store, &said.1, &when).await;
        }
    }
    println!("{store}: {deaths} deaths in {count} calls; the last that was heard: {stages:?}");
    assert!(deaths > 0);
}

#[tokio::test]
async fn a_plain_store_whose_making_was_cut_short_is_finished_by_the_next_open() {
    deaths("plain").await;
}

#[tokio::test]
async fn a_sealed_store_whose_making_was_cut_short_is_finished_by_the_next_open() {
    deaths("sealed").await;
}
