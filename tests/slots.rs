//! Slots are the ways in: a removed one that still opens, a number that comes back, or a change that
//! leaves none would each be found out on the worst day.

mod support;

use std::collections::BTreeSet;

use async_trait::async_trait;
use sealed_store::{
    KeyProvider, Keyring, KeyringOptions, NewSlot, Probe, ProviderError, ProviderErrorKind, Recipe,
    SealError, SlotContext, SlotInfo,
};
use secrecy::SecretBox;
use support::{Shelf, passphrase, raw, refused};

fn numbers(slots: &[SlotInfo]) -> Vec<u32> {
    slots.iter().map(|slot| slot.slot).collect()
}

fn opened(slots: &[SlotInfo]) -> Vec<u32> {
    slots
        .iter()
        .filter(|slot| slot.opened)
        .map(|slot| slot.slot)
        .collect()
}

#[tokio::test]
async fn slots_are_listed_as_they_were_made() {
    for shelf in Shelf::both() {
        let options = KeyringOptions::new().label("Büro");
        let keyring = options.create(shelf.store(), &raw(1)).await.unwrap();
        assert_eq!(
            keyring.add_slot("recovery", &raw(2)).await.unwrap(),
            2,
            "numbers count up"
        );
        assert_eq!(keyring.add_slot("recovery", &raw(3)).await.unwrap(), 3);
        let slots = keyring.slots().await.unwrap();
        assert_eq!(numbers(&slots), [1, 2, 3]);
        assert_eq!(opened(&slots), [1]);
        let labels: Vec<_> = slots.iter().map(|slot| slot.label.as_str()).collect();
        assert_eq!(labels, ["Büro", "recovery", "recovery"]);
        assert!(slots.iter().all(|slot| slot.kind == "raw-key"));
        assert!(slots.iter().all(|slot| slot.created > 1_700_000_000));
        drop(keyring);

        for (byte, slot) in [(1, 1), (2, 2), (3, 3)] {
            let keyring = shelf.open(&raw(byte)).await.unwrap();
            assert_eq!(opened(&keyring.slots().await.unwrap()), [slot]);
        }
    }
}

#[tokio::test]
async fn a_removed_slot_does_not_open_and_its_number_does_not_come_back() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        keyring.add_slot("two", &raw(2)).await.unwrap();
        keyring.add_slot("three", &raw(3)).await.unwrap();
        keyring.remove_slot(3).await.unwrap();
        assert!(matches!(
            refused(keyring.remove_slot(3).await),
            SealError::UnknownSlot
        ));
        assert_eq!(keyring.add_slot("four", &raw(4)).await.unwrap(), 4);
        assert!(matches!(
            refused(shelf.open(&raw(3)).await),
            SealError::WrongKey
        ));

        // The slot that this opener came in through, too: the keyring stays open.
        keyring.remove_slot(1).await.unwrap();
        let slots = keyring.slots().await.unwrap();
        assert_eq!(numbers(&slots), [2, 4]);
        assert_eq!(opened(&slots), [0; 0]);
        keyring.create_account("1").await.unwrap();
        drop(keyring);
        assert!(matches!(
            refused(shelf.open(&raw(1)).await),
            SealError::WrongKey
        ));
        shelf.open(&raw(4)).await.unwrap();
    }
}

#[tokio::test]
async fn a_keyring_has_one_to_sixteen_slots() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        let before = shelf.document("keyring").await;
        assert!(matches!(
            refused(keyring.remove_slot(1).await),
            SealError::SlotCount
        ));
        assert_eq!(shelf.document("keyring").await, before);
        for slot in 2..=16 {
            assert_eq!(keyring.add_slot("more", &raw(1)).await.unwrap(), slot);
        }
        let before = shelf.document("keyring").await;
        assert!(matches!(
            refused(keyring.add_slot("one too many", &raw(1)).await),
            SealError::SlotCount
        ));
        assert_eq!(shelf.document("keyring").await, before);
        assert_eq!(keyring.slots().await.unwrap().len(), 16);
        // A full keyring's passphrases can still be changed.
        assert_eq!(
            keyring
                .change_passphrase(16, &raw(1), &raw(2))
                .await
                .unwrap(),
            17
        );
        keyring.remove_slot(2).await.unwrap();
        assert_eq!(keyring.add_slot("room", &raw(1)).await.unwrap(), 18);
    }
}

#[tokio::test]
async fn an_old_passphrase_dies_and_the_new_one_opens() {
    for shelf in Shelf::both() {
        let (old, new) = (passphrase("old"), passphrase("new"));
        let options = KeyringOptions::new().label("daily");
        let keyring = options.create(shelf.store(), &old).await.unwrap();
        let account = keyring.create_account("1").await.unwrap();
        keyring.add_slot("recovery", &raw(9)).await.unwrap();
        let created = keyring.slots().await.unwrap()[1].created;
        let old_copy = shelf.document("keyring").await;

        assert_eq!(
            keyring.change_passphrase(1, &old, &new).await.unwrap(),
            3,
            "a new number"
        );
        let slots = keyring.slots().await.unwrap();
        assert_eq!(numbers(&slots), [2, 3], "in number order");
        assert_eq!(opened(&slots), [3], "this opener came in through it");
        assert_eq!(slots[1].label, "daily");
        assert!(slots[1].created >= created);
        drop(keyring);

        assert!(matches!(
            refused(shelf.open(&old).await),
            SealError::WrongKey
        ));
        let keyring = shelf.open(&new).await.unwrap();
        assert_eq!(keyring.account("1").await.unwrap().uid(), account.uid());
        drop((keyring, account));
        shelf.open(&raw(9)).await.unwrap();

        // As it is: an old copy of the document still opens with the old passphrase.
        shelf.set("keyring", old_copy.0, &old_copy.1).await;
        let keyring = shelf.open(&old).await.unwrap();
        assert!(keyring.account("1").await.is_ok());
    }
}

#[tokio::test]
async fn only_who_knows_the_old_secret_changes_it() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        keyring.add_slot("two", &raw(2)).await.unwrap();
        let before = shelf.document("keyring").await;
        for (slot, old) in [(1, 2), (2, 1), (1, 3)] {
            let error = refused(keyring.change_passphrase(slot, &raw(old), &raw(4)).await);
            assert!(matches!(error, SealError::WrongKey), "{error:?}");
        }
        // A provider of another kind than the slot's.
        let other = passphrase("other");
        let error = refused(keyring.change_passphrase(1, &other, &raw(4)).await);
        assert!(matches!(error, SealError::WrongKey), "{error:?}");
        for slot in [0, 3, u32::MAX] {
            let error = refused(keyring.change_passphrase(slot, &raw(1), &raw(4)).await);
            assert!(matches!(error, SealError::UnknownSlot), "{error:?}");
            assert!(matches!(
                refused(keyring.remove_slot(slot).await),
                SealError::UnknownSlot
            ));
        }
        assert_eq!(shelf.document("keyring").await, before, "nothing changed");
    }
}

#[tokio::test]
async fn a_slot_may_change_its_kind() {
    let shelf = Shelf::sqlite();
    let keyring = shelf.create(&raw(1)).await.unwrap();
    keyring
        .change_passphrase(1, &raw(1), &passphrase("words"))
        .await
        .unwrap();
    assert_eq!(keyring.slots().await.unwrap()[0].kind, "passphrase");
    drop(keyring);
    assert!(matches!(
        refused(shelf.open(&raw(1)).await),
        SealError::WrongKey
    ));
    shelf.open(&passphrase("words")).await.unwrap();
}

#[tokio::test]
async fn a_label_is_short_and_printable() {
    let shelf = Shelf::backend();
    let bad = [
        "",
        "two\nlines",
        "tab\t",
        "nul\0",
        "\u{1b}[31m",
        "\u{85}",
        &"x".repeat(65),
    ];
    for label in bad {
        let options = KeyringOptions::new().label(label);
        assert!(matches!(
            refused(options.create(shelf.store(), &raw(1)).await),
            SealError::Invalid { .. }
        ));
    }
    let keyring = shelf.create(&raw(1)).await.unwrap();
    let before = shelf.document("keyring").await;
    for label in bad {
        assert!(matches!(
            refused(keyring.add_slot(label, &raw(2)).await),
            SealError::Invalid { .. }
        ));
    }
    assert_eq!(shelf.document("keyring").await, before);
    let longest = "ü\"\\{}".repeat(13)[..]
        .chars()
        .take(64)
        .collect::<String>();
    keyring.add_slot(&longest, &raw(2)).await.unwrap();
    drop(keyring);
    let keyring = shelf.open(&raw(2)).await.unwrap();
    assert_eq!(keyring.slots().await.unwrap()[1].label, longest);
}

/// A provider whose kind is given, and that may fail.
struct Odd {
    kind: &'static str,
    fails: bool,
}

#[async_trait]
impl KeyProvider for Odd {
    fn kind(&self) -> &str {
        self.kind
    }
    async fn generate(&self, _: &SlotContext) -> Result<NewSlot, ProviderError> {
        if self.fails {
            return Err(ProviderError::new(
                ProviderErrorKind::Unavailable,
                "not reachable; try again later",
            ));
        }
        Ok(NewSlot {
            secret: SecretBox::new(Box::new([8; 32])),
            material: Default::default(),
        })
    }
    async fn unwrap_secret(
        &self,
        _: &SlotContext,
        _: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        Ok(SecretBox::new(Box::new([8; 32])))
    }
    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::ready())
    }
}

#[tokio::test]
async fn a_provider_kind_is_a_plain_word() {
    let shelf = Shelf::backend();
    let long = "abcdefghijklmnopqrstuvwxyz-0123456";
    for kind in ["", "KMS", "a b", "a/b", "ä", "a\n", long] {
        let odd = Odd { kind, fails: false };
        assert!(matches!(
            refused(shelf.create(&odd).await),
            SealError::Invalid { .. }
        ));
    }
    let odd = Odd {
        kind: "my-hsm-2",
        fails: false,
    };
    drop(shelf.create(&odd).await.unwrap());
    let keyring = shelf.open(&odd).await.unwrap();
    assert_eq!(keyring.slots().await.unwrap()[0].kind, "my-hsm-2");
}

/// The same secret under another kind must not open the slot: the kind is in the derivation.
#[tokio::test]
async fn a_slot_is_bound_to_its_kind() {
    let shelf = Shelf::sqlite();
    drop(shelf.create(&raw(8)).await.unwrap());
    shelf
        .edit("keyring", |body| body["slots"][0]["kind"] = "my-hsm".into())
        .await;
    let odd = Odd {
        kind: "my-hsm",
        fails: false,
    };
    assert!(matches!(
        refused(shelf.open(&odd).await),
        SealError::WrongKey
    ));
}

/// The same secret under another number must not open the slot.
#[tokio::test]
async fn a_slot_is_bound_to_its_number() {
    let shelf = Shelf::sqlite();
    drop(shelf.create(&raw(8)).await.unwrap());
    shelf
        .edit("keyring", |body| body["slots"][0]["slot"] = 2.into())
        .await;
    assert!(matches!(
        refused(shelf.open(&raw(8)).await),
        SealError::WrongKey
    ));
}

#[tokio::test]
async fn a_provider_that_fails_leaves_the_slots_as_they_were() {
    for shelf in Shelf::both() {
        let failing = Odd {
            kind: "my-kms",
            fails: true,
        };
        let error = refused(shelf.create(&failing).await);
        assert!(error.is_retryable(), "{error:?}");
        assert!(matches!(
            refused(shelf.open(&raw(1)).await),
            SealError::NoKeyring
        ));

        let keyring = shelf.create(&raw(1)).await.unwrap();
        assert!(matches!(
            refused(keyring.add_slot("kms", &failing).await),
            SealError::Provider(_)
        ));
        assert!(matches!(
            refused(keyring.change_passphrase(1, &raw(1), &failing).await),
            SealError::Provider(_)
        ));
        assert!(matches!(
            refused(keyring.rotate_root(&[(1, &failing)], &[]).await),
            SealError::WrongKey
        ));
        assert_eq!(numbers(&keyring.slots().await.unwrap()), [1]);
        let next = keyring.add_slot("two", &raw(2)).await.unwrap();
        assert!(next > 1);
        drop(keyring);
        shelf.open(&raw(1)).await.unwrap();
    }
}

/// Two openers that add slots at once: both are kept, under numbers of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_added_at_once_are_all_kept() {
    let shelf = Shelf::sqlite();
    drop(shelf.create(&raw(1)).await.unwrap());
    let one = shelf.open(&raw(1)).await.unwrap();
    let other = shelf.open(&raw(1)).await.unwrap();
    let add = async |keyring: Keyring| {
        let mut added = Vec::new();
        while added.len() < 4 {
            match keyring.add_slot("at once", &raw(2)).await {
                Ok(slot) => added.push(slot),
                // Said to be so, and retryable: the other one was faster eight times.
                Err(SealError::Conflict) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        added
    };
    let (a, b) = tokio::join!(
        tokio::spawn(add(one.clone())),
        tokio::spawn(add(other.clone()))
    );
    let added: BTreeSet<u32> = a.unwrap().into_iter().chain(b.unwrap()).collect();
    assert_eq!(added.len(), 8);
    let slots: BTreeSet<u32> = numbers(&one.slots().await.unwrap()).into_iter().collect();
    assert!(added.is_subset(&slots) && slots.len() == 9, "{slots:?}");
}
