//! A new root key takes every slot that stays and every account along, or nothing changes at all.
//! Rotations that forgot a table, dropped a slot by omission, or threw the old key away first, lost
//! data in peers. (A rotation that is killed on its way is in `keyring_crash.rs`.)

mod support;

use sealed_store::{KeyProvider, KeyringOptions, SealError, Table};
use serde_json::Value;
use support::{Remote, Shelf, account_body, passphrase, raw, refused, split};

async fn body_of(shelf: &Shelf, name: &str) -> Value {
    let (_, bytes) = shelf.document(name).await;
    serde_json::from_str(split(&String::from_utf8(bytes).unwrap()).1).unwrap()
}

/// A keyring with the slots 1, 2 and 3 (raw keys of the same byte) and three accounts, one of which
/// has two generations of one table.
async fn filled(shelf: &Shelf) -> Vec<[u8; 16]> {
    let keyring = shelf.create(&raw(1)).await.unwrap();
    keyring.add_slot("two", &raw(2)).await.unwrap();
    keyring.add_slot("three", &raw(3)).await.unwrap();
    let mut uids = Vec::new();
    for name in ["a", "b", "c"] {
        uids.push(keyring.create_account(name).await.unwrap().uid());
    }
    let account = keyring.account("b").await.unwrap();
    account.rotate_data_keys(&[Table::Session]).await.unwrap();
    uids
}

#[tokio::test]
async fn what_stays_stays_and_what_is_dropped_is_gone() {
    for shelf in Shelf::both() {
        let uids = filled(&shelf).await;
        let mut before = Vec::new();
        for name in ["a", "b", "c"] {
            before.push(account_body(&shelf, name).await);
        }
        let keyring = shelf.open(&raw(1)).await.unwrap();
        let id = keyring.id();
        // In memory: one account only. All are rewritten.
        let open = keyring.account("b").await.unwrap();
        let keep: [(u32, &dyn KeyProvider); 2] = [(3, &raw(3)), (1, &raw(1))];
        keyring.rotate_root(&keep, &[2]).await.unwrap();

        let slots = keyring.slots().await.unwrap();
        let of = |label: &str| slots.iter().find(|slot| slot.label == label).cloned();
        assert_eq!(slots.len(), 2);
        assert!(of("two").is_none());
        assert!(of("first").unwrap().opened && !of("three").unwrap().opened);
        assert!(
            slots.iter().all(|slot| slot.slot > 3),
            "numbers are not reused"
        );
        // The handle goes on as it is.
        open.rotate_data_keys(&[Table::Identity]).await.unwrap();
        assert_eq!(keyring.accounts().await.unwrap(), ["a", "b", "c"]);
        drop((keyring, open));

        let document = body_of(&shelf, "keyring").await;
        assert_eq!(document["root"], 2);
        assert!(document["previous_root"].is_null());
        assert_eq!(body_of(&shelf, "accounts").await["root"], 2);
        for (name, before) in ["a", "b", "c"].into_iter().zip(&before) {
            let after = account_body(&shelf, name).await;
            assert_eq!(after["root"], 2, "{name}");
            for field in ["keyring_id", "uid", "name", "store_id", "state"] {
                assert_eq!(after[field], before[field], "{name}: {field}");
            }
            // Every key is there with all that it says of itself, wrapped anew. (`b` got one more.)
            let keys = |body: &Value| body["keys"].as_array().unwrap().clone();
            let more = usize::from(name == "b");
            assert_eq!(keys(&after).len(), keys(before).len() + more);
            for (old, new) in keys(before).iter().zip(keys(&after)) {
                assert_ne!(old["wrapped"], new["wrapped"]);
                let fields: &[&str] = match old["table"] == "identity" && more == 1 {
                    true => &["kind", "table", "generation", "suite", "created"],
                    false => &["kind", "table", "generation", "suite", "created", "state"],
                };
                for field in fields {
                    assert_eq!(old[field], new[field], "{name}: {field}");
                }
            }
        }

        assert!(matches!(
            refused(shelf.open(&raw(2)).await),
            SealError::WrongKey
        ));
        for byte in [1, 3] {
            let options = KeyringOptions::new().pin_id(id);
            let keyring = shelf.open_with(options, &raw(byte)).await.unwrap();
            for (name, uid) in ["a", "b", "c"].into_iter().zip(&uids) {
                let account = keyring.account(name).await.unwrap();
                assert_eq!(account.uid(), *uid);
                account.rotate_data_keys(&[Table::Device]).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_rotation_that_is_refused_changes_nothing() {
    for shelf in Shelf::both() {
        filled(&shelf).await;
        let keyring = shelf.open(&raw(1)).await.unwrap();
        let revisions = keyring.revisions().await.unwrap();
        let before = shelf.document("keyring").await;
        let (one, two, three, four) = (raw(1), raw(2), raw(3), raw(4));
        let words = passphrase("words");
        type Keep<'a> = Vec<(u32, &'a dyn KeyProvider)>;
        let invalid: [(Keep, &[u32]); 9] = [
            // None stays.
            (vec![], &[1, 2, 3]),
            // One is not named.
            (vec![(1, &one), (2, &two)], &[]),
            (vec![(1, &one)], &[2]),
            // One is named twice.
            (vec![(1, &one), (1, &one), (2, &two)], &[3]),
            (vec![(1, &one), (2, &two)], &[2, 3]),
            (vec![(1, &one), (2, &two)], &[3, 3]),
            // One is not there.
            (vec![(1, &one), (2, &two), (4, &four)], &[3]),
            (vec![(1, &one), (2, &two), (3, &three)], &[4]),
            (vec![(0, &one)], &[]),
        ];
        for (round, (keep, drop)) in invalid.into_iter().enumerate() {
            let error = refused(keyring.rotate_root(&keep, drop).await);
            match round {
                0 => assert!(matches!(error, SealError::SlotCount), "{error:?}"),
                _ => assert!(matches!(error, SealError::Invalid { .. }), "{error:?}"),
            }
        }
        // A provider that does not open its slot: wrong, another slot's, or of another kind.
        let wrong: [Keep; 3] = [
            vec![(1, &one), (2, &two), (3, &four)],
            vec![(1, &two), (2, &one), (3, &three)],
            vec![(1, &one), (2, &two), (3, &words)],
        ];
        for keep in wrong {
            let error = refused(keyring.rotate_root(&keep, &[]).await);
            assert!(matches!(error, SealError::WrongKey), "{error:?}");
        }
        assert_eq!(shelf.document("keyring").await, before);
        assert_eq!(keyring.revisions().await.unwrap(), revisions);
        // And it still works, and still holds the keyring with others.
        let other = shelf.open(&raw(2)).await.unwrap();
        keyring.create_account("d").await.unwrap();
        other.account("d").await.unwrap();
    }
}

#[tokio::test]
async fn the_slot_that_was_come_through_may_be_dropped() {
    for shelf in Shelf::both() {
        filled(&shelf).await;
        let keyring = shelf.open(&raw(1)).await.unwrap();
        keyring.rotate_root(&[(2, &raw(2))], &[1, 3]).await.unwrap();
        let slots = keyring.slots().await.unwrap();
        assert_eq!(slots.len(), 1);
        assert!(!slots[0].opened);
        keyring.create_account("d").await.unwrap();
        keyring.lock();
        for gone in [1, 3] {
            assert!(matches!(
                refused(keyring.unlock(&raw(gone)).await),
                SealError::WrongKey
            ));
        }
        keyring.unlock(&raw(2)).await.unwrap();
        assert_eq!(keyring.accounts().await.unwrap(), ["a", "b", "c", "d"]);
    }
}

#[tokio::test]
async fn a_root_can_be_rotated_again_and_again() {
    for shelf in Shelf::both() {
        let uids = filled(&shelf).await;
        let keyring = shelf.open(&raw(2)).await.unwrap();
        keyring.rotate_root(&[(2, &raw(2))], &[1, 3]).await.unwrap();
        for round in 0..3 {
            let slot = keyring.slots().await.unwrap()[0].slot;
            keyring.rotate_root(&[(slot, &raw(2))], &[]).await.unwrap();
            assert_eq!(body_of(&shelf, "keyring").await["root"], 3 + round);
        }
        drop(keyring);
        let keyring = shelf.open(&raw(2)).await.unwrap();
        for (name, uid) in ["a", "b", "c"].into_iter().zip(uids) {
            assert_eq!(keyring.account(name).await.unwrap().uid(), uid);
        }
    }
}

/// Each slot that stays asks its provider for a fresh secret: the old one dies with the old root.
#[tokio::test]
async fn a_slot_that_stays_gets_a_fresh_recipe() {
    let shelf = Shelf::sqlite();
    let words = passphrase("words");
    let remote = Remote::new("key", [9; 32]);
    let keyring = shelf.create(&words).await.unwrap();
    keyring.add_slot("remote", &remote).await.unwrap();
    let before = body_of(&shelf, "keyring").await;
    keyring
        .rotate_root(&[(1, &words), (2, &remote)], &[])
        .await
        .unwrap();
    drop(keyring);
    let after = body_of(&shelf, "keyring").await;
    let salt = |body: &Value| body["slots"][0]["recipe"]["material"]["salt"].clone();
    assert!(salt(&before).is_string());
    assert_ne!(salt(&before), salt(&after));
    assert_eq!(
        remote.generated.load(std::sync::atomic::Ordering::SeqCst),
        2
    );
    assert_eq!(after["slots"][1]["recipe"]["reference"]["key_id"], "key");
    shelf.open(&words).await.unwrap();
    shelf.open(&remote).await.unwrap();
}

/// As it is: an old keyring document put back opens with the old secret, but the accounts belong to
/// the new root, and that is said. Together with old account documents everything opens: only new
/// data keys and a new blind key end that.
#[tokio::test]
async fn an_old_copy_opens_only_as_a_whole() {
    for shelf in Shelf::both() {
        filled(&shelf).await;
        let names = ["keyring", "accounts", "account:a", "account:b", "account:c"];
        let mut old = Vec::new();
        for name in names {
            old.push(shelf.document(name).await);
        }
        let keyring = shelf.open(&raw(1)).await.unwrap();
        keyring.rotate_root(&[(1, &raw(1))], &[2, 3]).await.unwrap();
        drop(keyring);

        shelf.set("keyring", old[0].0, &old[0].1).await;
        let keyring = shelf.open(&raw(2)).await.unwrap();
        for error in [
            refused(keyring.accounts().await),
            refused(keyring.account("a").await),
        ] {
            assert!(matches!(error, SealError::RootChanged), "{error:?}");
        }
        drop(keyring);
        for (name, (revision, bytes)) in names.iter().zip(&old) {
            shelf.set(name, *revision, bytes).await;
        }
        let keyring = shelf.open(&raw(2)).await.unwrap();
        keyring.account("a").await.unwrap();
    }
}
