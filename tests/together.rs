//! Work that must be alone is alone among the tasks of one process too: what one task holds, another
//! must not let go of, and no task may take another's turn for a foreign opener and wipe the keys.

mod common;

use std::sync::Arc;

use common::raw_key;
use sealed_store::testing::{Fault, FaultyBackend, Lasting, When};
use sealed_store::{AccountState, BackendKeyring, KeyProvider, Keyring, SealedBackend};
use wacore::store::InMemoryBackend;
use wacore::store::traits::{DeviceStore, SignalStore};

type Inner = FaultyBackend<InMemoryBackend>;

fn inner() -> Arc<Inner> {
    Arc::new(FaultyBackend::new(Arc::new(InMemoryBackend::new())))
}

/// A keyring whose every call gives way, and accounts whose `create` was cut short after the inner
/// store made its device row.
async fn interrupted(accounts: usize) -> (Keyring, Vec<Arc<Inner>>) {
    let documents = inner();
    documents.yields(true);
    let keyring = Keyring::create(BackendKeyring::new(documents), &raw_key())
        .await
        .unwrap();
    let mut stores = Vec::new();
    for number in 0..accounts {
        let inner = inner();
        let account = keyring.create_account(&number.to_string()).await.unwrap();
        let backend = SealedBackend::open(Arc::clone(&inner), account)
            .await
            .unwrap();
        inner.clear();
        // exists, then create: it takes effect, and its answer is lost.
        inner.arm(Fault {
            call: 2,
            when: When::After,
            lasting: Lasting::Once,
        });
        backend.create().await.unwrap_err();
        assert_eq!(backend.account().state(), AccountState::Initialising);
        inner.clear();
        stores.push(inner);
    }
    (keyring, stores)
}

async fn reopen(keyring: &Keyring, number: usize, inner: &Arc<Inner>) -> SealedBackend<Inner> {
    let account = keyring.account(&number.to_string()).await.unwrap();
    SealedBackend::open(Arc::clone(inner), account)
        .await
        .unwrap()
}

#[tokio::test]
async fn two_accounts_are_finished_side_by_side() {
    let (keyring, stores) = interrupted(2).await;
    let (one, two) = tokio::join!(
        reopen(&keyring, 0, &stores[0]),
        reopen(&keyring, 1, &stores[1])
    );
    assert!(keyring.is_open(), "no task wiped the keys of the others");
    for backend in [one, two] {
        assert_eq!(backend.account().state(), AccountState::Live);
        assert!(backend.load().await.unwrap().is_some());
    }
}

#[tokio::test]
async fn an_account_is_finished_beside_a_root_rotation() {
    let (keyring, stores) = interrupted(1).await;
    let key = raw_key();
    let keep: [(u32, &dyn KeyProvider); 1] = [(1, &key)];
    let (rotated, backend) = tokio::join!(
        keyring.rotate_root(&keep, &[]),
        reopen(&keyring, 0, &stores[0])
    );
    rotated.unwrap();
    assert!(keyring.is_open());
    backend.put_session("55@c.us.0", b"ratchet").await.unwrap();
    assert!(backend.load().await.unwrap().is_some());
}

#[tokio::test]
async fn accounts_are_opened_and_made_beside_exclusive_work() {
    let (keyring, stores) = interrupted(1).await;
    let key = raw_key();
    let (backend, more, slot) = tokio::join!(
        reopen(&keyring, 0, &stores[0]),
        keyring.create_account("more"),
        keyring.add_slot("another", &key),
    );
    more.unwrap();
    slot.unwrap();
    assert!(keyring.is_open());
    assert_eq!(backend.account().state(), AccountState::Live);
}

/// Reads that meet a generation which another opener just made all find it, at the same time too.
#[tokio::test]
async fn readers_at_once_all_find_a_new_generation() {
    let documents = inner();
    documents.yields(true);
    let documents = BackendKeyring::new(documents);
    let data = Arc::new(InMemoryBackend::new());
    let ours = Keyring::create(documents.clone(), &raw_key())
        .await
        .unwrap();
    let backend = SealedBackend::open(Arc::clone(&data), ours.create_account("1").await.unwrap())
        .await
        .unwrap();
    backend.create().await.unwrap();

    let theirs = Keyring::open(documents, &raw_key()).await.unwrap();
    let account = theirs.account("1").await.unwrap();
    let other = SealedBackend::open(data, account.clone()).await.unwrap();
    for round in 0..3 {
        account
            .rotate_data_keys(&[sealed_store::Table::Session])
            .await
            .unwrap();
        let text = format!("round {round}");
        other
            .put_session("55@c.us.0", text.as_bytes())
            .await
            .unwrap();
        let (a, b, c) = tokio::join!(
            backend.get_session("55@c.us.0"),
            backend.get_session("55@c.us.0"),
            backend.get_session("55@c.us.0")
        );
        for read in [a, b, c] {
            assert_eq!(read.unwrap().as_deref(), Some(text.as_bytes()));
        }
    }
}
