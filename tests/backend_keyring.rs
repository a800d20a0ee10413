//! Some deployments have one store and nothing else, so the keyring goes into it. Its rows must not
//! disturb the account's, nor look like a client's; and where they are lost, no new keyring may be
//! made over rows that only the old one opens.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{raw_key, raw_key_of, sqlite};
use rusqlite::Connection;
use sealed_store::testing::{assert_same_device, contract, full_device};
use sealed_store::{BackendKeyring, Keyring, SealError, SealedBackend};
use wacore::store::InMemoryBackend;
use wacore::store::traits::{Backend, DeviceStore, SignalStore};

const ADDRESS: &str = "5511987650001:3@c.us.0";

/// A store of either kind, which can be let go of and taken up again.
enum Kept {
    Memory(Arc<InMemoryBackend>),
    File(tempfile::TempDir),
}

impl Kept {
    fn both() -> [Self; 2] {
        [
            Self::Memory(Arc::new(InMemoryBackend::new())),
            Self::File(tempfile::tempdir().unwrap()),
        ]
    }

    fn path(folder: &Path) -> PathBuf {
        folder.join("wa.db")
    }

    async fn store(&self) -> Arc<dyn Backend> {
        match self {
            Self::Memory(store) => store.clone(),
            Self::File(folder) => sqlite(&Self::path(folder.path())).await,
        }
    }

    /// Loses every session row; in memory, those that are named. Nobody has the store open.
    async fn lose_sessions(&self, names: &[&str]) {
        match self {
            Self::Memory(store) => {
                for name in names {
                    assert!(store.has_session(name).await.unwrap(), "{name}");
                    store.delete_session(name).await.unwrap();
                }
            }
            Self::File(folder) => {
                let file = Connection::open(Self::path(folder.path())).unwrap();
                let lost = file.execute("DELETE FROM sessions", []).unwrap();
                assert!(lost >= names.len());
            }
        }
    }
}

const DOCUMENTS: [&str; 3] = [
    "sealed-store.document.keyring",
    "sealed-store.document.accounts",
    "sealed-store.document.account.1",
];

async fn create(inner: &Arc<dyn Backend>) -> Result<Keyring, SealError> {
    Keyring::create(BackendKeyring::new(Arc::clone(inner)), &raw_key()).await
}

async fn open(inner: &Arc<dyn Backend>) -> Result<Keyring, SealError> {
    Keyring::open(BackendKeyring::new(Arc::clone(inner)), &raw_key()).await
}

/// A sealed store with its keyring inside.
async fn sealed(inner: Arc<dyn Backend>) -> SealedBackend<dyn Backend> {
    let keyring = create(&inner).await.unwrap();
    let account = keyring.create_account("1").await.unwrap();
    SealedBackend::open(inner, account).await.unwrap()
}

#[track_caller]
fn refused<T>(result: Result<T, SealError>) -> SealError {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn the_contract_holds_with_the_keyring_in_memory_beside_the_rows() {
    contract::run_all(|| async {
        Arc::new(sealed(Arc::new(InMemoryBackend::new())).await) as Arc<dyn Backend>
    })
    .await;
}

#[tokio::test]
async fn the_contract_holds_with_the_keyring_in_upstreams_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut number = 0;
    contract::run_all(|| {
        number += 1;
        let path = folder.path().join(format!("{number}.db"));
        async move { Arc::new(sealed(sqlite(&path).await).await) as Arc<dyn Backend> }
    })
    .await;
}

#[tokio::test]
async fn all_of_it_is_there_again_after_a_restart() {
    for kept in Kept::both() {
        let store = sealed(kept.store().await).await;
        store.create().await.unwrap();
        store.save(&full_device()).await.unwrap();
        let device = store.load().await.unwrap().unwrap();
        store.put_session(ADDRESS, b"ratchet").await.unwrap();
        let id = store.account().uid();
        drop(store);
        for _ in 0..2 {
            let inner = kept.store().await;
            for name in DOCUMENTS {
                assert!(inner.has_session(name).await.unwrap(), "{name}");
            }
            let keyring = open(&inner).await.unwrap();
            assert_eq!(keyring.accounts().await.unwrap(), ["1"]);
            let account = keyring.account("1").await.unwrap();
            assert_eq!(account.uid(), id);
            let store = SealedBackend::open(Arc::clone(&inner), account)
                .await
                .unwrap();
            assert_same_device(&store.load().await.unwrap().unwrap(), &device, &[]);
            let session = store.get_session(ADDRESS).await.unwrap().unwrap();
            assert_eq!(&session[..], b"ratchet");
            // Neither another key nor a second keyring gets in.
            drop((store, keyring));
            let documents = BackendKeyring::new(Arc::clone(&inner));
            let error = refused(Keyring::open(documents, &raw_key_of(8)).await);
            assert!(matches!(error, SealError::WrongKey), "{error:?}");
            let error = refused(create(&inner).await);
            assert!(matches!(error, SealError::KeyringExists), "{error:?}");
        }
    }
}

/// `has_signal_state_for_user` searches session rows by their first letters.
#[tokio::test]
async fn its_rows_are_nobodys_signal_state() {
    for kept in Kept::both() {
        let store = sealed(kept.store().await).await;
        store.create().await.unwrap();
        let inner = Arc::clone(store.inner());
        let mut users: Vec<&str> = vec!["sealed-store", "sealed", "s", "", "keyring", "1"];
        users.extend(DOCUMENTS);
        users.extend([
            "sealed-store.document",
            "sealed-store.canary",
            "sealed-store.",
        ]);
        for user in &users {
            for answer in [
                inner.has_signal_state_for_user(user).await,
                store.has_signal_state_for_user(user).await,
            ] {
                assert!(!answer.unwrap(), "{user:?}");
            }
        }
        // Nor can a client of the sealed store reach them by their names.
        for name in DOCUMENTS {
            assert!(!store.has_session(name).await.unwrap());
            store.put_session(name, b"mine").await.unwrap();
            store.delete_session(name).await.unwrap();
            assert!(inner.has_session(name).await.unwrap());
        }
        store.put_session(ADDRESS, b"ratchet").await.unwrap();
        let known = store.has_signal_state_for_user("5511987650001").await;
        assert!(known.unwrap(), "but a client's own is found");
        drop(store);
        assert!(open(&inner).await.is_ok());
    }
}

#[tokio::test]
async fn a_lost_keyring_is_said_to_be_gone_and_none_is_made_over_rows() {
    for device in [true, false] {
        for kept in Kept::both() {
            let store = sealed(kept.store().await).await;
            if device {
                store.create().await.unwrap();
            } else {
                store.store_prekey(7, b"prekey", false).await.unwrap();
            }
            drop(store);
            kept.lose_sessions(&DOCUMENTS).await;

            let inner = kept.store().await;
            for _ in 0..2 {
                let error = refused(open(&inner).await);
                assert!(matches!(error, SealError::NoKeyring), "{error:?}");
                let error = refused(create(&inner).await);
                assert!(matches!(error, SealError::Occupied), "{error:?}");
                let documents = BackendKeyring::new(Arc::clone(&inner));
                let error = refused(Keyring::open_or_create(documents, &raw_key()).await);
                assert!(matches!(error, SealError::Occupied), "{error:?}");
            }
            for name in DOCUMENTS {
                assert!(
                    !inner.has_session(name).await.unwrap(),
                    "{name} was written"
                );
            }
        }
    }
}

/// The documents are lost one at a time: each is missed by its own name, and none is made again.
#[tokio::test]
async fn a_lost_account_document_is_missed() {
    let kept = Kept::Memory(Arc::new(InMemoryBackend::new()));
    let store = sealed(kept.store().await).await;
    store.create().await.unwrap();
    drop(store);
    kept.lose_sessions(&DOCUMENTS[2..]).await;
    let inner = kept.store().await;
    let keyring = open(&inner).await.unwrap();
    let error = refused(keyring.account("1").await);
    assert!(matches!(error, SealError::UnknownAccount), "{error:?}");
    // An account made anew under the name is another one, and the store tells.
    let account = keyring.account_or_create("1").await.unwrap();
    let error = refused(SealedBackend::open(inner, account).await);
    assert!(matches!(error, SealError::WrongKeyring), "{error:?}");
}
