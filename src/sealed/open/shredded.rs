//! Whose keys are destroyed must hear just that. "No device" would make the client pair anew over what is
//! left, and any other error would send its operator looking for damage or for another keyring.

use std::sync::Arc;

use secrecy::SecretBox;
use wacore::store::traits::{DeviceStore, SignalStore};
use wacore::store::{Device, InMemoryBackend, error::StoreError};

use crate::keyring::AccountState::{Live, New, Shredded};
use crate::keyring::store::{BackendKeyring, holds_rows};
use crate::{Account, Keyring, RawKey, SealError, SealedBackend};

/// Where the keyring's documents are.
type Documents = BackendKeyring<InMemoryBackend>;

fn raw() -> RawKey {
    RawKey::new(SecretBox::new(Box::new([7; 32])))
}

async fn documents() -> Documents {
    let documents = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
    let keyring = Keyring::create(documents.clone(), &raw()).await.unwrap();
    keyring.create_account("1").await.unwrap();
    keyring.create_account("2").await.unwrap();
    documents
}

/// The account as another process opens it.
async fn opened(documents: &Documents, name: &str) -> Account {
    let keyring = Keyring::open(documents.clone(), &raw()).await.unwrap();
    keyring.account(name).await.unwrap()
}

/// A sealed store of the account; with its device if it is to be live.
async fn store(account: &Account, live: bool) -> SealedBackend<InMemoryBackend> {
    let inner = Arc::new(InMemoryBackend::new());
    let store = SealedBackend::open(inner, account.clone()).await.unwrap();
    if live {
        store.create().await.unwrap();
    }
    store
}

const CALLS: [&str; 4] = ["exists", "load", "create", "save"];

async fn call(store: &SealedBackend<InMemoryBackend>, name: &str) -> Result<String, StoreError> {
    Ok(match name {
        "exists" => store.exists().await?.to_string(),
        "load" => format!("a device: {}", store.load().await?.is_some()),
        "create" => format!("device {}", store.create().await?),
        _ => format!("{:?}", store.save(&Device::new()).await?),
    })
}

#[tokio::test]
async fn a_shredded_account_opens_no_store_whatever_it_holds() {
    let documents = documents().await;
    let account = opened(&documents, "1").await;
    let own = store(&account, true).await;
    let other = store(&opened(&documents, "2").await, true).await;
    let empty = Arc::new(InMemoryBackend::new());
    let plain = Arc::new(InMemoryBackend::new());
    plain.create().await.unwrap();
    plain.put_session("55@c.us.0", b"ratchet").await.unwrap();
    account.advance(Shredded).await.unwrap();

    // Who knew the account before, and who never saw it alive.
    for account in [account, opened(&documents, "1").await] {
        for (what, inner) in [
            ("its own", own.inner()),
            ("another account's", other.inner()),
            ("an empty one", &empty),
            ("one in the clear", &plain),
        ] {
            let result = SealedBackend::open(Arc::clone(inner), account.clone()).await;
            let error = result.expect_err(what);
            assert!(matches!(error, SealError::Shredded), "{what}: {error:?}");
        }
    }
    assert!(!holds_rows(&*empty).await.unwrap(), "no canary was put");
}

#[tokio::test]
async fn a_store_that_is_open_says_shredded_and_never_that_it_has_no_device() {
    for (live, name) in [true, false]
        .into_iter()
        .flat_map(|live| CALLS.map(|name| (live, name)))
    {
        let what = format!("{name}, live: {live}");
        let documents = documents().await;
        let account = opened(&documents, "1").await;
        let store = store(&account, live).await;
        assert_eq!(account.state(), if live { Live } else { New }, "{what}");
        // By another opener. One that is live reads the document when it has a reason to.
        let other = opened(&documents, "1").await;
        other.advance(Shredded).await.unwrap();
        if live {
            account.reload().await.unwrap();
        }
        // Twice: the first one may be what tells this opener.
        for _ in 0..2 {
            let error = call(&store, name).await.expect_err(&what);
            let ours = SealError::of(&error);
            assert!(
                matches!(ours, Some(SealError::Shredded)),
                "{what}: {error:?}"
            );
        }
        assert_eq!(store.inner().exists().await.unwrap(), live, "{what}");
    }
}
