//! Who has a keyring open is never taken for gone: not while it tries to be alone, and not after a future was dropped
//! half-way. Somebody else, who believed to be alone, would destroy keys under which rows are on their way.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sealed_store::{
    Keyring, KeyringStore, LockGuard, LockMode, Occupied, Revision, SealError, SqliteKeyring,
    StoreFault, Table,
};
use support::{dropped_after, raw, refused};

#[tokio::test]
async fn a_dropped_future_keeps_the_hold() {
    let mut pauses = 0;
    for pause in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.db");
        let one = Keyring::create(SqliteKeyring::at(&path), &raw(1))
            .await
            .unwrap();
        let account = one.create_account("a").await.unwrap();
        let slot = one.slots().await.unwrap()[0].slot;
        let ended = dropped_after(pause, one.rotate_root(&[(slot, &raw(1))], &[])).await;
        let other = Keyring::open(SqliteKeyring::at(&path), &raw(1))
            .await
            .unwrap_or_else(|error| panic!("pause {pause}: {error:?}"));
        let theirs = other.account("a").await.unwrap();
        // Also what was on its way when the future was dropped is over by then, or comes in between.
        let alone = theirs.shred_tables(&[Table::Session]).await;
        assert!(
            matches!(alone, Err(SealError::InUse)),
            "pause {pause}: {alone:?}"
        );
        assert!(one.is_open(), "pause {pause}");
        drop((theirs, other));
        account.rotate_data_keys(&[Table::Session]).await.unwrap();
        if ended.is_some() {
            break;
        }
        pauses += 1;
    }
    assert!(pauses > 4, "{pauses}");
}

/// Two who want to be alone, at the same time, again and again: neither is, for the other has it open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_alone_while_another_tries_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.db");
    let one = Keyring::create(SqliteKeyring::at(&path), &raw(1))
        .await
        .unwrap();
    let mine = one.create_account("a").await.unwrap();
    let other = Keyring::open(SqliteKeyring::at(&path), &raw(1))
        .await
        .unwrap();
    let theirs = other.account("a").await.unwrap();
    let tables = [Table::Session];
    for _ in 0..8 {
        let (a, b) = tokio::join!(mine.shred_tables(&tables), theirs.shred_tables(&tables));
        for answer in [refused(a), refused(b)] {
            assert!(matches!(answer, SealError::InUse), "{answer:?}");
        }
    }
    assert!(one.is_open() && other.is_open());
}

/// A keyring's file that somebody else takes alone just when its opener has let go of it.
#[derive(Clone)]
struct Overtaken(Arc<Race>);

struct Race {
    file: SqliteKeyring,
    other: SqliteKeyring,
    armed: AtomicBool,
    alone: Mutex<Option<LockGuard>>,
}

#[async_trait]
impl KeyringStore for Overtaken {
    async fn get(&self, name: &str) -> Result<Option<(Revision, Vec<u8>)>, StoreFault> {
        self.0.file.get(name).await
    }
    async fn put(
        &self,
        name: &str,
        expected: Option<Revision>,
        bytes: &[u8],
    ) -> Result<Revision, StoreFault> {
        self.0.file.put(name, expected, bytes).await
    }
    async fn list(&self) -> Result<Option<Vec<String>>, StoreFault> {
        self.0.file.list().await
    }
    async fn occupied(&self) -> Result<Occupied, StoreFault> {
        self.0.file.occupied().await
    }
    fn lock_may_pass(&self) -> bool {
        true
    }

    async fn lock(&self, mode: LockMode) -> Result<LockGuard, StoreFault> {
        if mode == LockMode::Exclusive && self.0.armed.swap(false, Ordering::SeqCst) {
            let alone = self.0.other.lock(mode).await?;
            *self.0.alone.lock().unwrap() = Some(alone);
        }
        self.0.file.lock(mode).await
    }
}

/// The future is dropped while somebody else is alone with the keyring, and may destroy what is the newest key here.
#[tokio::test]
async fn who_was_overtaken_and_dropped_writes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.db");
    let store = Overtaken(Arc::new(Race {
        file: SqliteKeyring::at(&path),
        other: SqliteKeyring::at(&path),
        armed: AtomicBool::new(false),
        alone: Mutex::new(None),
    }));
    let one = Keyring::create(store.clone(), &raw(1)).await.unwrap();
    let account = one.create_account("a").await.unwrap();
    store.0.armed.store(true, Ordering::SeqCst);
    let ended = dropped_after(0, account.shred_tables(&[Table::Session])).await;
    assert!(ended.is_none() && store.0.alone.lock().unwrap().is_some());
    assert!(
        !one.is_open(),
        "its rows would be under keys that may be gone"
    );
    refused(one.unlock(&raw(1)).await);
    drop(store.0.alone.lock().unwrap().take());
    one.unlock(&raw(1)).await.unwrap();
    account.rotate_data_keys(&[Table::Session]).await.unwrap();
}
