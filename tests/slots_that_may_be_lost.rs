//! A keychain or a TPM is lost with a machine, and a keyring that only it opens with it. So a keyring never comes to have such
//! slots alone, on whatever way, unless somebody said so.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use sealed_store::lifecycle::{self, EncryptOptions, FullOptions, InitOptions, LifecycleError};
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{
    Combined, KeyProvider, Keyring, KeyringOptions, NewSlot, Patient, Probe, ProviderError, RawKey,
    Recipe, SealError, SlotContext,
};
use secrecy::SecretBox;
use support::{Shelf, raw, refused};
use wacore::store::traits::{DeviceStore, SignalStore};

/// A provider that says it may be lost, and counts what it is asked.
struct Losable(RawKey, AtomicUsize);

fn losable(byte: u8) -> Losable {
    Losable(raw(byte), AtomicUsize::new(0))
}

impl Losable {
    fn asked(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl KeyProvider for Losable {
    fn kind(&self) -> &str {
        "losable"
    }
    fn may_be_lost(&self) -> bool {
        true
    }
    async fn generate(&self, context: &SlotContext) -> Result<NewSlot, ProviderError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.generate(context).await
    }
    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.unwrap_secret(context, recipe).await
    }
    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::ready())
    }
}

fn allowed() -> KeyringOptions {
    KeyringOptions::new().allow_lone_slot(true)
}

#[track_caller]
fn is_lone<T>(result: Result<T, SealError>) {
    let error = refused(result);
    assert!(matches!(error, SealError::LoneSlot), "{error:?}");
}

async fn numbers(keyring: &Keyring) -> Vec<u32> {
    let slots = keyring.slots().await.unwrap();
    slots.iter().map(|slot| slot.slot).collect()
}

#[tokio::test]
async fn none_is_made_with_such_a_slot_alone() {
    for shelf in Shelf::both() {
        let provider = losable(1);
        is_lone(shelf.create(&provider).await);
        is_lone(Keyring::open_or_create(shelf.store(), &provider).await);
        is_lone(shelf.create(&Combined::new(raw(1), losable(1))).await);
        is_lone(shelf.create(&Combined::new(losable(1), raw(1))).await);
        is_lone(shelf.create(&Patient::new(losable(1))).await);
        let boxed: Box<dyn KeyProvider> = Box::new(losable(1));
        is_lone(shelf.create(&boxed).await);
        assert_eq!(provider.asked(), 0);
        assert!(shelf.get_if_made("keyring").await.is_none());

        let keyring = allowed().create(shelf.store(), &provider).await.unwrap();
        assert!(keyring.slots().await.unwrap()[0].may_be_lost);
        drop(keyring);
        drop(shelf.open(&provider).await.unwrap());
    }
}

#[tokio::test]
async fn the_others_are_not_removed() {
    let shelf = Shelf::backend();
    let keyring = shelf.create(&raw(9)).await.unwrap();
    keyring.add_slot("one", &losable(1)).await.unwrap();
    keyring.add_slot("two", &losable(2)).await.unwrap();
    is_lone(keyring.remove_slot(1).await);
    assert_eq!(numbers(&keyring).await, [1, 2, 3]);
    // Such a slot itself may go, and another way in takes its place.
    keyring.remove_slot(2).await.unwrap();
    keyring.add_slot("code", &raw(8)).await.unwrap();
    keyring.remove_slot(1).await.unwrap();
    is_lone(keyring.remove_slot(4).await);
    drop(keyring);

    let keyring = allowed().open(shelf.store(), &raw(8)).await.unwrap();
    keyring.remove_slot(4).await.unwrap();
    assert_eq!(numbers(&keyring).await, [3]);
    keyring.add_slot("one", &losable(1)).await.unwrap();
    drop(keyring);
    // Of two that may be lost, none is taken away without a word.
    let keyring = shelf.open(&losable(2)).await.unwrap();
    is_lone(keyring.remove_slot(5).await);
}

#[tokio::test]
async fn the_last_other_is_not_replaced_by_one() {
    let shelf = Shelf::backend();
    let keyring = shelf.create(&raw(9)).await.unwrap();
    let new = losable(1);
    is_lone(keyring.change_passphrase(1, &raw(9), &new).await);
    assert_eq!(new.asked(), 0);
    keyring.add_slot("code", &raw(8)).await.unwrap();
    keyring.change_passphrase(1, &raw(9), &new).await.unwrap();
    is_lone(keyring.change_passphrase(2, &raw(8), &losable(2)).await);
    drop(keyring);

    let keyring = allowed().open(shelf.store(), &raw(8)).await.unwrap();
    keyring
        .change_passphrase(2, &raw(8), &losable(2))
        .await
        .unwrap();
    drop(keyring);
    // One for one takes nothing away.
    let keyring = shelf.open(&losable(2)).await.unwrap();
    let [_, two] = numbers(&keyring).await[..] else {
        panic!("two slots");
    };
    keyring
        .change_passphrase(two, &losable(2), &losable(3))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_root_rotation_drops_no_last_other() {
    let shelf = Shelf::backend();
    let keyring = shelf.create(&raw(9)).await.unwrap();
    keyring.add_slot("one", &losable(1)).await.unwrap();
    let kept = losable(1);
    is_lone(keyring.rotate_root(&[(2, &kept)], &[1]).await);
    assert_eq!(kept.asked(), 0);
    let other = raw(9);
    keyring
        .rotate_root(&[(1, &other), (2, &kept)], &[])
        .await
        .unwrap();
    assert_eq!(numbers(&keyring).await, [3, 4]);
    assert!(keyring.slots().await.unwrap()[1].may_be_lost);
    drop(keyring);

    let keyring = allowed().open(shelf.store(), &kept).await.unwrap();
    keyring.rotate_root(&[(4, &kept)], &[3]).await.unwrap();
    drop(keyring);
    // Rotating alone takes nothing away.
    let keyring = shelf.open(&kept).await.unwrap();
    keyring.rotate_root(&[(5, &kept)], &[]).await.unwrap();
}

#[tokio::test]
async fn no_store_is_made_or_made_anew_with_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let is_lone = |error: LifecycleError| match error {
        LifecycleError::Seal(error) => assert!(matches!(error, SealError::LoneSlot), "{error:?}"),
        other => panic!("{other:?}"),
    };
    let init = |options| {
        let path = path.clone();
        async move { lifecycle::init(&path, None, &losable(1), options).await }
    };
    is_lone(init(InitOptions::new()).await.unwrap_err());
    assert!(!path.exists());

    let own = raw(9);
    lifecycle::init(&path, None, &own, InitOptions::new())
        .await
        .unwrap();
    let kept = losable(1);
    let alone: &[(&str, &dyn KeyProvider)] = &[("one", &kept)];
    let again = lifecycle::reencrypt_fully(&path, &own, alone, FullOptions::new(), &()).await;
    is_lone(again.unwrap_err());
    assert_eq!(kept.asked(), 0);

    // The one that may be lost comes first: the others count all the same.
    let both: &[(&str, &dyn KeyProvider)] = &[("one", &kept), ("own", &own)];
    lifecycle::reencrypt_fully(&path, &own, both, FullOptions::new(), &())
        .await
        .unwrap();
    let options = FullOptions::new().keyring(allowed());
    lifecycle::reencrypt_fully(&path, &own, alone, options, &())
        .await
        .unwrap();

    let other = folder.path().join("other.db");
    let options = InitOptions::new().allow_lone_slot(true);
    lifecycle::init(&other, None, &losable(1), options)
        .await
        .unwrap();
}

#[tokio::test]
async fn no_store_is_encrypted_with_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.create().await.unwrap();
    store.put_session("a@s", b"ratchet").await.unwrap();
    drop(store);
    let before = std::fs::read(&path).unwrap();
    let kept = losable(1);
    let error = lifecycle::encrypt(&path, &kept, EncryptOptions::new(), &())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, LifecycleError::Seal(SealError::LoneSlot)),
        "{error:?}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(kept.asked(), 0);
    let options = EncryptOptions::new().keyring(allowed());
    lifecycle::encrypt(&path, &kept, options, &())
        .await
        .unwrap();
    sealed_store::open(&path, &kept).await.unwrap();
}

#[tokio::test]
async fn none_takes_the_last_other_s_place_by_a_migration() {
    let shelf = Shelf::backend();
    let keyring = shelf.create(&raw(9)).await.unwrap();
    let kept = losable(1);
    keyring.add_slot("desktop", &kept).await.unwrap();
    let before = shelf.document("keyring").await;
    is_lone(
        keyring
            .replace_slot(1, &losable(2), &[(2, &kept)], &[])
            .await,
    );
    is_lone(keyring.replace_slot(1, &losable(2), &[], &[2]).await);
    // Its service would have to be asked first.
    is_lone(keyring.rewrap_slot(1, &raw(9), &losable(2)).await);
    assert_eq!(shelf.document("keyring").await, before);
    drop(keyring);
    let keyring = shelf.open_with(allowed(), &raw(9)).await.unwrap();
    keyring
        .replace_slot(1, &losable(2), &[(2, &kept)], &[])
        .await
        .unwrap();
}
