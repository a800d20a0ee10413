//! Whoever wraps a store must not be able to tell: the same suite passes on upstream's two stores,
//! plain and sealed, with the same results for each behaviour.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sealed_store::SealOptions;
use sealed_store::testing::contract;
use wacore::store::InMemoryBackend;
use wacore::store::traits::Backend;

fn whole(failures: Vec<contract::Failure>) {
    let list: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{}", list.join("\n"));
    println!("{} behaviours hold", contract::ALL.len());
}

#[tokio::test]
async fn in_memory_plain() {
    whole(
        contract::check(contract::ALL, || async {
            Arc::new(InMemoryBackend::new()) as Arc<dyn Backend>
        })
        .await,
    );
}

#[tokio::test]
async fn in_memory_sealed() {
    whole(
        contract::check(contract::ALL, || async {
            Arc::new(common::seal(Arc::new(InMemoryBackend::new())).await) as Arc<dyn Backend>
        })
        .await,
    );
}

#[tokio::test]
async fn in_memory_sealed_without_aes() {
    whole(
        contract::check(contract::ALL, || async {
            let (inner, options) = (Arc::new(InMemoryBackend::new()), SealOptions::default());
            let store = common::seal_with(inner, options, common::without_aes());
            Arc::new(store.await) as Arc<dyn Backend>
        })
        .await,
    );
}

#[tokio::test]
async fn sqlite_plain() {
    let folder = tempfile::tempdir().unwrap();
    let next = AtomicU32::new(0);
    let path = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        folder.path().join(format!("{number}.db"))
    };
    whole(
        contract::check(contract::ALL, || {
            let path = path();
            async move { common::sqlite(&path).await as Arc<dyn Backend> }
        })
        .await,
    );
}

#[tokio::test]
async fn sqlite_sealed_with_its_keyring_in_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let next = AtomicU32::new(0);
    let path = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        folder.path().join(format!("{number}.db"))
    };
    whole(
        contract::check(contract::ALL, || {
            let path = path();
            async move { Arc::new(common::sealed_file(&path).await) as Arc<dyn Backend> }
        })
        .await,
    );
}

#[tokio::test]
async fn a_trait_object_can_be_the_inner_store() {
    whole(
        contract::check(contract::ALL, || async {
            let inner: Arc<dyn Backend> = Arc::new(InMemoryBackend::new());
            Arc::new(common::seal(inner).await) as Arc<dyn Backend>
        })
        .await,
    );
}
