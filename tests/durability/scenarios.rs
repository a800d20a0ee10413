//! The multi-step methods, each cut short somewhere and looked at afterwards: through the same
//! handle, which tries again, or through a fresh opener, as after a crash.
//!
//! Whatever was cut, the cut itself is the only error there is, the store opens, its device is
//! absent and can be made or is whole, and a device that a caller saw is the device.

use std::sync::Arc;

use sealed_store::testing::full_device;
use sealed_store::{AccountState, Keyring, SealError, Table};
use wacore::store::Device;
use wacore::store::error::StoreError;
use wacore::store::traits::{
    DeviceStore, MsgSecretEntry, MsgSecretStore, ProtocolStore, SignalStore, TcTokenEntry,
};

use crate::common::raw_key;
use crate::world::{Cut, Store, World, is_injected, run};

/// Works under a cut; then looks through the same handle, or not. Whether the cut came in time.
pub type Scenario = fn(Cut, bool) -> bool;

pub const ALL: &[(&str, Scenario)] = &[
    ("open", open),
    ("create", create),
    ("save", save),
    ("put and get of message secrets", message_secrets),
    ("take of a message that does not open", take_unopenable),
    ("get of a token that does not open", forged_token),
    ("batches", batches),
];

pub type Identity = [u8; 33];

fn identity(device: &Device) -> Identity {
    device.identity_key.public_key.serialize()
}

/// The cut is all that may have gone wrong.
#[track_caller]
pub fn only_the_cut<T>(outcome: Option<Result<T, impl std::error::Error + 'static>>) -> Option<T> {
    outcome?
        .map_err(|error| assert!(is_injected(&error), "not the injected error: {error:?}"))
        .ok()
}

/// Makes the device if there is none, and gives the one that is there.
pub async fn device_of(store: &Store) -> Identity {
    if !store.exists().await.expect("it can be asked") {
        assert!(store.load().await.expect("it can be asked").is_none());
        store.create().await.expect("absent and creatable");
    }
    assert_eq!(store.account().state(), AccountState::Live);
    let device = store.load().await.expect("it opens").expect("it is there");
    identity(&device)
}

/// The store afterwards: through `store`, if that is still there, and through a fresh opener.
async fn converges(world: &World, store: Option<Store>) -> (Identity, Store) {
    let mut found = None;
    if let Some(store) = store {
        found = Some(device_of(&store).await);
        // While it is open another opener comes in as well.
        let beside = world.open().await.expect("both can be open");
        assert_eq!(device_of(&beside).await, device_of(&store).await);
    }
    let fresh = world.open().await.expect("it opens afterwards");
    let now = device_of(&fresh).await;
    assert!(
        found.is_none_or(|found| found == now),
        "it changed its identity"
    );
    let again = world.open().await.expect("and again");
    assert_eq!(device_of(&again).await, now);
    (now, fresh)
}

/// The keyring's making included.
fn open(cut: Cut, same: bool) -> bool {
    run(async {
        let world = World::new();
        let (outcome, struck) = cut.apply(&world, world.open()).await;
        let store = only_the_cut(outcome).filter(|_| same);
        converges(&world, store).await;
        struck
    })
}

fn create(cut: Cut, same: bool) -> bool {
    run(async {
        let world = World::new();
        let store = world.open().await.expect("a store");
        let seen = std::cell::Cell::new(None);
        let work = async {
            store.create().await?;
            let device = store.load().await?.expect("it was made");
            seen.set(Some(identity(&device)));
            // A second look at what is there must not change it either.
            store.save(&device).await
        };
        let (outcome, struck) = cut.apply(&world, work).await;
        only_the_cut(outcome);
        let (now, _) = converges(&world, same.then_some(store)).await;
        assert!(
            seen.get().is_none_or(|seen| seen == now),
            "a second identity"
        );
        struck
    })
}

fn save(cut: Cut, same: bool) -> bool {
    run(async {
        let world = World::new();
        let store = world.open().await.expect("a store");
        let device = full_device();
        let (outcome, struck) = cut.apply(&world, store.save(&device)).await;
        let saved = only_the_cut(outcome).is_some();
        if same {
            store
                .save(&device)
                .await
                .expect("the same handle tries again");
        }
        let (now, fresh) = converges(&world, same.then_some(store)).await;
        assert!(!(same || saved) || now == identity(&device));
        fresh.save(&device).await.expect("it can be saved now");
        assert_eq!(device_of(&fresh).await, identity(&device));
        struck
    })
}

/// A world with a live account.
pub async fn live() -> (World, Keyring, Store) {
    let world = World::new();
    let (keyring, store) = world.open_with_keyring().await.expect("a store");
    store.create().await.expect("a device");
    (world, keyring, store)
}

fn secrets() -> Vec<MsgSecretEntry> {
    let entry = |i: u8| MsgSecretEntry {
        chat: "120363021033254949@g.us".into(),
        sender: "5511987650001@c.us".into(),
        msg_id: format!("3EB0{i}").as_str().into(),
        secret: [i; 32],
        expires_at: 0,
        message_ts: 7,
    };
    // More than one slice, so that the batch has an await of its own.
    (0..140).map(entry).collect()
}

async fn secret_of(store: &Store, entry: &MsgSecretEntry) -> Result<Option<Vec<u8>>, StoreError> {
    store
        .get_msg_secret(&entry.chat, &entry.sender, &entry.msg_id)
        .await
}

fn message_secrets(cut: Cut, same: bool) -> bool {
    run(async {
        let (world, _, mut store) = live().await;
        let entries = secrets();
        let work = async {
            assert_eq!(store.put_msg_secrets(entries.clone()).await?, entries.len());
            for entry in entries.iter().step_by(70) {
                assert_eq!(secret_of(&store, entry).await?, Some(entry.secret.to_vec()));
            }
            store.put_msg_secret("c", "s", "id", &[9; 32]).await
        };
        let (outcome, struck) = cut.apply(&world, work).await;
        only_the_cut(outcome);
        if !same {
            store = world.open().await.expect("it opens");
        }
        for entry in &entries {
            let found = secret_of(&store, entry).await.expect("none is torn");
            assert!(found.is_none_or(|found| found == entry.secret));
        }
        let again = store.put_msg_secrets(entries.clone()).await;
        assert_eq!(again.expect("again"), entries.len());
        for entry in &entries {
            let found = secret_of(&store, entry).await.expect("it opens");
            assert_eq!(found, Some(entry.secret.to_vec()));
        }
        struck
    })
}

/// The account's document, as it is in the inner store.
async fn document(world: &World) -> bytes::Bytes {
    let row = world
        .inner
        .inner()
        .get_session("sealed-store.document.account.1")
        .await;
    row.expect("in memory").expect("it is there")
}

/// Replaces the account's document, and lets the open keyring take it up.
async fn put_document(world: &World, keyring: &Keyring, document: &[u8]) {
    let inner = world.inner.inner();
    inner
        .put_session("sealed-store.document.account.1", document)
        .await
        .expect("in memory");
    keyring.lock();
    keyring.unlock(&raw_key()).await.expect("it opens");
}

/// A message under a generation that the account does not know, because an old document came back.
fn take_unopenable(cut: Cut, same: bool) -> bool {
    run(async {
        let (world, keyring, mut store) = live().await;
        let old = document(&world).await;
        store
            .account()
            .rotate_data_keys(&[Table::SentMessage])
            .await
            .expect("new keys");
        store
            .store_sent_message("chat", "id", b"payload")
            .await
            .expect("stored");
        let new = document(&world).await;
        put_document(&world, &keyring, &old).await;

        let work = async { store.take_sent_message("chat", "id").await };
        let (outcome, struck) = cut.apply(&world, work).await;
        let mut kept = true;
        match outcome {
            Some(Ok(taken)) => panic!("it does not open, and {taken:?} was taken"),
            Some(Err(error)) if is_injected(&error) => {
                // What the inner store itself lost with its answer can't be put back, and if it
                // fails at just that, the bytes are gone: two faults at once.
                kept = false;
            }
            Some(Err(error)) => assert!(matches!(
                SealError::of(&error),
                Some(SealError::UnknownGeneration { .. })
            )),
            None => kept = false,
        }
        put_document(&world, &keyring, &new).await;
        if !same {
            store = world.open().await.expect("it opens");
        }
        let taken = store
            .take_sent_message("chat", "id")
            .await
            .expect("it opens now");
        match taken {
            Some(payload) => assert_eq!(payload, b"payload"),
            None => assert!(!kept, "a message was lost by looking at it"),
        }
        struck
    })
}

/// A token with a forged time reads as missing, and does not keep later ones out.
fn forged_token(cut: Cut, same: bool) -> bool {
    run(async {
        let (world, _, mut store) = live().await;
        let token = |time| TcTokenEntry {
            token: vec![5; 40],
            token_timestamp: time,
            sender_timestamp: None,
        };
        store
            .put_tc_token("5511@c.us", &token(100))
            .await
            .expect("stored");
        let inner = world.inner.inner();
        let key = inner
            .get_all_tc_token_jids()
            .await
            .expect("in memory")
            .remove(0);
        let mut row = inner
            .get_tc_token(&key)
            .await
            .expect("in memory")
            .expect("it is there");
        row.token_timestamp = i64::MAX;
        inner.put_tc_token(&key, &row).await.expect("in memory");

        let (outcome, struck) = cut.apply(&world, store.get_tc_token("5511@c.us")).await;
        if let Some(found) = only_the_cut(outcome) {
            assert!(found.is_none(), "a forged token was believed");
        }
        if !same {
            store = world.open().await.expect("it opens");
        }
        let found = store.get_tc_token("5511@c.us").await.expect("it heals");
        assert!(found.is_none());
        store
            .store_received_tc_token("5511@c.us", &[6; 40], 101)
            .await
            .expect("stored");
        let found = store.get_tc_token("5511@c.us").await.expect("it opens");
        assert_eq!(found.expect("a newer one was taken").token, [6; 40]);
        struck
    })
}

fn batches(cut: Cut, same: bool) -> bool {
    run(async {
        let (world, _, mut store) = live().await;
        let rows: Vec<(Arc<str>, bytes::Bytes)> = (0..300u32)
            .map(|i| {
                (
                    format!("55{i}:1@c.us.0").as_str().into(),
                    vec![i as u8; 90].into(),
                )
            })
            .collect();
        let keys: Vec<(u32, bytes::Bytes)> = rows
            .iter()
            .zip(1..)
            .map(|((_, record), id)| (id, record.clone()))
            .collect();
        let ids: Vec<u32> = keys.iter().map(|(id, _)| *id).collect();
        let work = async {
            store.put_sessions_batch(&rows).await?;
            store.put_sender_keys_batch(&rows).await?;
            store.store_prekeys_batch(&keys, false).await?;
            let loaded = store.load_prekeys_batch(&ids).await?;
            assert_eq!(loaded.len(), keys.len());
            Ok::<_, StoreError>(())
        };
        let (outcome, struck) = cut.apply(&world, work).await;
        only_the_cut(outcome);
        if !same {
            store = world.open().await.expect("it opens");
        }
        for (address, record) in &rows {
            let found = store.get_session(address).await.expect("none is torn");
            assert!(found.is_none_or(|found| found == record));
        }
        store.put_sessions_batch(&rows).await.expect("again");
        store
            .store_prekeys_batch(&keys, false)
            .await
            .expect("again");
        let mut loaded = store.load_prekeys_batch(&ids).await.expect("they open");
        loaded.sort_by_key(|(id, _)| *id);
        assert_eq!(loaded, keys);
        struck
    })
}
