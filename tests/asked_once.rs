//! An opening asks a provider as little as it can: a slot that was named is asked for alone, also when the keyring is unlocked
//! again, and one that can't be reached is not asked once more for each of its slots.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use sealed_store::{
    Fields, KeyProvider, KeyringOptions, NewSlot, Probe, ProviderError, ProviderErrorKind, Recipe,
    SealError, SlotContext,
};
use secrecy::SecretBox;
use support::{Shelf, raw, refused};

/// Each instance has a secret of its own, under one name: as a token with several PINs.
struct Named {
    secret: [u8; 32],
    fails: Option<ProviderErrorKind>,
    asked: AtomicUsize,
}

fn named(byte: u8) -> Named {
    Named {
        secret: [byte; 32],
        fails: None,
        asked: AtomicUsize::new(0),
    }
}

impl Named {
    fn failing(kind: ProviderErrorKind) -> Self {
        Self {
            fails: Some(kind),
            ..named(1)
        }
    }

    /// Since it was last looked.
    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::SeqCst)
    }
}

#[async_trait]
impl KeyProvider for Named {
    fn kind(&self) -> &str {
        "named"
    }
    async fn generate(&self, _: &SlotContext) -> Result<NewSlot, ProviderError> {
        Ok(NewSlot {
            secret: SecretBox::new(Box::new(self.secret)),
            material: Fields::new(),
        })
    }
    async fn unwrap_secret(
        &self,
        _: &SlotContext,
        _: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.fails {
            Some(kind) => Err(ProviderError::new(kind, "as the test says")),
            None => Ok(SecretBox::new(Box::new(self.secret))),
        }
    }
    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::ready())
    }
}

/// Slots 1 and 2 of others, slot 3 of `ours`, slot 4 of another.
async fn shelf_of(ours: &Named) -> Shelf {
    let shelf = Shelf::backend();
    let keyring = shelf.create(&named(101)).await.unwrap();
    for provider in [&named(102), ours, &named(104)] {
        keyring.add_slot("one more", provider).await.unwrap();
    }
    ours.asked();
    shelf
}

#[tokio::test]
async fn a_named_slot_is_asked_for_alone_also_at_each_unlock() {
    let ours = named(3);
    let shelf = shelf_of(&ours).await;
    let options = KeyringOptions::new().slot(3);
    let keyring = shelf.open_with(options, &ours).await.unwrap();
    assert_eq!(ours.asked(), 1);
    for _ in 0..2 {
        keyring.lock();
        keyring.unlock(&ours).await.unwrap();
        assert_eq!(ours.asked(), 1);
    }
    // A slot that got another secret, or another root, has another number.
    let new = named(5);
    let number = keyring.change_passphrase(3, &ours, &new).await.unwrap();
    keyring.lock();
    new.asked();
    keyring.unlock(&new).await.unwrap();
    assert_eq!(new.asked(), 1);
    keyring
        .rotate_root(&[(number, &new)], &[1, 2, 4])
        .await
        .unwrap();
    keyring.add_slot("one more", &raw(7)).await.unwrap();
    keyring.lock();
    new.asked();
    keyring.unlock(&new).await.unwrap();
    assert_eq!(new.asked(), 1);
    // Another slot would open, and is not the one that was named.
    keyring.lock();
    let error = refused(keyring.unlock(&raw(7)).await);
    assert!(matches!(error, SealError::WrongKey), "{error:?}");
}

#[tokio::test]
async fn without_a_name_each_slot_of_its_kind_is_tried() {
    let ours = named(3);
    let shelf = shelf_of(&ours).await;
    let keyring = shelf.open(&ours).await.unwrap();
    assert_eq!(ours.asked(), 3);
    keyring.lock();
    keyring.unlock(&ours).await.unwrap();
    assert_eq!(ours.asked(), 3);
}

#[tokio::test]
async fn a_provider_that_can_not_answer_now_is_asked_once() {
    let shelf = shelf_of(&named(3)).await;
    for kind in [
        ProviderErrorKind::Unavailable,
        ProviderErrorKind::Throttled { retry_after: None },
    ] {
        let away = Named::failing(kind);
        let error = refused(shelf.open(&away).await);
        assert!(
            matches!(&error, SealError::Provider(error) if error.kind() == kind),
            "{error:?}"
        );
        assert_eq!(away.asked(), 1, "{kind:?}");
    }
    // What is about one slot (that it has a PIN, too) says nothing of the next.
    for kind in [
        ProviderErrorKind::Corrupt,
        ProviderErrorKind::NeedsInteraction,
    ] {
        let wrong = Named::failing(kind);
        refused(shelf.open(&wrong).await);
        assert_eq!(wrong.asked(), 4, "{kind:?}");
    }
}

/// Whoever can write the file could have a wrong PIN tried until the token takes none any more.
#[tokio::test]
async fn a_slot_that_is_there_twice_is_asked_for_not_once() {
    let ours = named(3);
    let shelf = shelf_of(&ours).await;
    shelf
        .edit("keyring", |body| {
            let slots = body["slots"].as_array_mut().unwrap();
            let again = slots[2].clone();
            slots.extend([again.clone(), again]);
        })
        .await;
    for options in [KeyringOptions::new(), KeyringOptions::new().slot(3)] {
        let error = refused(shelf.open_with(options, &ours).await);
        assert!(
            matches!(error, SealError::CorruptKeyring { .. }),
            "{error:?}"
        );
        assert_eq!(ours.asked(), 0);
    }
}
