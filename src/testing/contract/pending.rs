//! The buffer of inbound messages that wait for their durability hook.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wacore::store::traits::{Backend, PendingInboundKey, PendingInboundRow};
use wacore::time::now_secs;

use super::behaviours;
use super::cells::{self, Batched, Cells, Erasable};
use super::support::{Must, Store, expect_absent, expect_bytes, key, with_device};

behaviours! { "pending", with_device;
    row: store_pending_inbound get_pending_inbound;
    delete: store_pending_inbound get_pending_inbound delete_pending_inbound;
    chats: store_pending_inbound get_pending_inbound;
    senders: store_pending_inbound get_pending_inbound;
    ids: store_pending_inbound get_pending_inbound;
    sizes: store_pending_inbound get_pending_inbound;
    batch: store_pending_inbound get_pending_inbound store_pending_inbound_batch;
    batch_delete: store_pending_inbound_batch get_pending_inbound delete_pending_inbound_batch;
    scoped_by_three: store_pending_inbound get_pending_inbound delete_pending_inbound
        delete_pending_inbound_batch;
    expire: store_pending_inbound get_pending_inbound delete_expired_pending_inbound;
}

const CHAT: &str = "120363021033254949@g.us";
const SENDER: &str = "5511987650001@s.whatsapp.net";
const ID: &str = "3EB0AABBCCDDEEFF0011";

/// Messages named in one of their three columns.
enum Pending {
    Chat,
    Sender,
    Id,
}

impl Pending {
    fn place<'a>(&self, name: &'a str) -> PendingInboundKey<'a> {
        let (mut chat, mut sender, mut id) = (CHAT, SENDER, ID);
        *match self {
            Self::Chat => &mut chat,
            Self::Sender => &mut sender,
            Self::Id => &mut id,
        } = name;
        PendingInboundKey { chat, sender, id }
    }
}

async fn put(store: &dyn Backend, place: PendingInboundKey<'_>, message: &[u8]) {
    let PendingInboundKey { chat, sender, id } = place;
    store
        .store_pending_inbound(chat, sender, id, message)
        .await
        .must("store_pending_inbound");
}

async fn get(store: &dyn Backend, place: PendingInboundKey<'_>) -> Option<Vec<u8>> {
    let PendingInboundKey { chat, sender, id } = place;
    store
        .get_pending_inbound(chat, sender, id)
        .await
        .must("get_pending_inbound")
}

async fn remove(store: &dyn Backend, place: PendingInboundKey<'_>) {
    let PendingInboundKey { chat, sender, id } = place;
    store
        .delete_pending_inbound(chat, sender, id)
        .await
        .must("delete_pending_inbound");
}

async fn remove_batch(store: &dyn Backend, places: &[PendingInboundKey<'_>]) {
    store
        .delete_pending_inbound_batch(places)
        .await
        .must("delete_pending_inbound_batch");
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for Pending {
    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        put(store, self.place(name), value).await;
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        get(store, self.place(name)).await
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Erasable for Pending {
    async fn delete(&self, store: &dyn Backend, name: &str) {
        remove(store, self.place(name)).await;
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Batched for Pending {
    async fn put_batch(&self, store: &dyn Backend, rows: &[(Arc<str>, Bytes)]) {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, message)| {
                let PendingInboundKey { chat, sender, id } = self.place(name);
                PendingInboundRow {
                    chat,
                    sender,
                    id,
                    message,
                }
            })
            .collect();
        store
            .store_pending_inbound_batch(&rows)
            .await
            .must("store_pending_inbound_batch");
    }
}

/// Reading leaves the message where it is.
async fn row(store: Store) {
    cells::put_get_overwrite(Pending::Id, &*store).await;
}

async fn delete(store: Store) {
    cells::delete(Pending::Id, &*store).await;
}

async fn chats(store: Store) {
    cells::names(Pending::Chat, &*store).await;
}

async fn senders(store: Store) {
    cells::names(Pending::Sender, &*store).await;
}

async fn ids(store: Store) {
    cells::names(Pending::Id, &*store).await;
}

async fn sizes(store: Store) {
    cells::sizes(Pending::Id, &*store).await;
}

async fn batch(store: Store) {
    cells::batch(Pending::Id, &*store).await;
}

/// A batch delete takes what it names; it may be empty, repeat itself, and name what is not there.
async fn batch_delete(store: Store) {
    let store = &*store;
    let names: Vec<Arc<str>> = (0..300).map(|i| format!("M{i}").into()).collect();
    let rows: Vec<_> = names
        .iter()
        .zip(0..)
        .map(|(name, seed)| (name.clone(), Bytes::copy_from_slice(&key(seed))))
        .collect();
    Pending::Id.put_batch(store, &rows).await;
    remove_batch(store, &[]).await;
    let mut doomed: Vec<_> = names
        .iter()
        .skip(1)
        .map(|name| Pending::Id.place(name))
        .collect();
    doomed.push(Pending::Id.place("M1"));
    doomed.push(Pending::Id.place("unknown"));
    remove_batch(store, &doomed).await;
    expect_bytes(
        Pending::Id.get(store, "M0").await,
        &key(0),
        "the message kept",
    );
    for name in names.iter().skip(1) {
        expect_absent(Pending::Id.get(store, name).await, "a message deleted");
    }
    remove_batch(store, &doomed).await;
}

/// Chat, sender and id together are the key: messages that share two of them are different ones, and each
/// delete takes just its own.
async fn scoped_by_three(store: Store) {
    let store = &*store;
    let places = [
        Pending::Id.place(ID),
        Pending::Chat.place(SENDER),
        Pending::Sender.place(CHAT),
        Pending::Id.place("other"),
    ];
    for (place, seed) in places.into_iter().zip(0..) {
        put(store, place, &key(seed)).await;
    }
    for (place, seed) in places.into_iter().zip(0..) {
        expect_bytes(get(store, place).await, &key(seed), &format!("{place:?}"));
    }
    let [first, second, third, fourth] = places;
    remove(store, first).await;
    expect_absent(get(store, first).await, "the first message");
    expect_bytes(get(store, second).await, &key(1), "another chat");
    remove_batch(store, &[second]).await;
    expect_absent(get(store, second).await, "the second message");
    expect_bytes(get(store, third).await, &key(2), "another sender");
    expect_bytes(get(store, fourth).await, &key(3), "another id");
}

/// Messages buffered before the cutoff (Unix seconds) are deleted and counted; those from after it stay.
async fn expire(store: Store) {
    let store = &*store;
    // An hour either way, so that clocks of store and test need not agree.
    let (past, future) = (now_secs() - 3600, now_secs() + 3600);
    let expire = async |cutoff: i64| {
        store
            .delete_expired_pending_inbound(cutoff)
            .await
            .must("delete_expired_pending_inbound")
    };
    assert_eq!(
        expire(future).await,
        0,
        "an empty store has nothing to expire"
    );
    for name in ["M1", "M2", "M1"] {
        Pending::Id.put(store, name, &key(1)).await;
    }
    assert_eq!(expire(past).await, 0, "everything is younger than an hour");
    expect_bytes(
        Pending::Id.get(store, "M1").await,
        &key(1),
        "a young message",
    );
    assert_eq!(
        expire(future).await,
        2,
        "everything is older than the future"
    );
    expect_absent(Pending::Id.get(store, "M1").await, "an expired message");
    expect_absent(
        Pending::Id.get(store, "M2").await,
        "another expired message",
    );
}
