//! Group metadata and sent messages.

use async_trait::async_trait;
use wacore::store::traits::Backend;
use wacore::time::now_secs;

use super::behaviours;
use super::cells::{self, Cells, Erasable};
use super::support::{Must, Store, both, expect_absent, expect_bytes, key, with_device};

behaviours! { "protocol", with_device;
    group_metadata_row: put_group_metadata get_group_metadata;
    group_metadata_delete: put_group_metadata get_group_metadata delete_group_metadata;
    group_metadata_names: put_group_metadata get_group_metadata;
    group_metadata_sizes: put_group_metadata get_group_metadata;
    sent_message_is_taken_once: store_sent_message take_sent_message;
    sent_message_is_taken_once_by_two: store_sent_message take_sent_message;
    sent_message_overwrite: store_sent_message take_sent_message;
    sent_message_chats: store_sent_message take_sent_message;
    sent_message_ids: store_sent_message take_sent_message;
    sent_message_sizes: store_sent_message take_sent_message;
    sent_messages_expire: store_sent_message take_sent_message delete_expired_sent_messages;
}

struct GroupMetadata;

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for GroupMetadata {
    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        store
            .put_group_metadata(name, value)
            .await
            .must("put_group_metadata");
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        store
            .get_group_metadata(name)
            .await
            .must("get_group_metadata")
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Erasable for GroupMetadata {
    async fn delete(&self, store: &dyn Backend, name: &str) {
        store
            .delete_group_metadata(name)
            .await
            .must("delete_group_metadata");
    }
}

async fn group_metadata_row(store: Store) {
    cells::put_get_overwrite(GroupMetadata, &*store).await;
}

async fn group_metadata_delete(store: Store) {
    cells::delete(GroupMetadata, &*store).await;
}

async fn group_metadata_names(store: Store) {
    cells::names(GroupMetadata, &*store).await;
}

async fn group_metadata_sizes(store: Store) {
    cells::sizes(GroupMetadata, &*store).await;
}

const CHAT: &str = "120363021033254949@g.us";
const OTHER: &str = "5511987650001@s.whatsapp.net";

/// Sent messages, named in one of their two columns. Reading takes them, so a cell can be read once.
enum SentMessages {
    Chat,
    Id,
}

impl SentMessages {
    fn place<'a>(&self, name: &'a str) -> (&'a str, &'a str) {
        match self {
            Self::Chat => (name, "M1"),
            Self::Id => (CHAT, name),
        }
    }
}

async fn send(store: &dyn Backend, chat: &str, id: &str, payload: &[u8]) {
    store
        .store_sent_message(chat, id, payload)
        .await
        .must("store_sent_message");
}

async fn take(store: &dyn Backend, chat: &str, id: &str) -> Option<Vec<u8>> {
    store
        .take_sent_message(chat, id)
        .await
        .must("take_sent_message")
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for SentMessages {
    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        let (chat, id) = self.place(name);
        send(store, chat, id, value).await;
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        let (chat, id) = self.place(name);
        take(store, chat, id).await
    }
}

/// A sent message is returned to the first who takes it, then gone; its neighbours stay.
async fn sent_message_is_taken_once(store: Store) {
    let store = &*store;
    expect_absent(take(store, CHAT, "M1").await, "a message never sent");
    send(store, CHAT, "M1", &key(1)).await;
    send(store, CHAT, "M2", &key(2)).await;
    send(store, OTHER, "M1", &key(3)).await;
    expect_bytes(take(store, CHAT, "M1").await, &key(1), "the message");
    expect_absent(take(store, CHAT, "M1").await, "the message, taken again");
    expect_bytes(take(store, CHAT, "M2").await, &key(2), "another id");
    expect_bytes(take(store, OTHER, "M1").await, &key(3), "another chat");
    send(store, CHAT, "M1", &key(4)).await;
    expect_bytes(
        take(store, CHAT, "M1").await,
        &key(4),
        "a message sent anew",
    );
}

/// Of two who take it at the same time, exactly one gets the message.
async fn sent_message_is_taken_once_by_two(store: Store) {
    let store = &*store;
    for round in 0..20 {
        send(store, CHAT, "M1", &key(round)).await;
        let (one, two) = both(take(store, CHAT, "M1"), take(store, CHAT, "M1")).await;
        assert_ne!(
            one.is_some(),
            two.is_some(),
            "exactly one of two takers gets it"
        );
        expect_bytes(one.or(two), &key(round), "the message");
    }
}

/// Storing a message again replaces its payload.
async fn sent_message_overwrite(store: Store) {
    let store = &*store;
    send(store, CHAT, "M1", &key(1)).await;
    send(store, CHAT, "M1", &key(2)).await;
    expect_bytes(take(store, CHAT, "M1").await, &key(2), "the second payload");
    expect_absent(take(store, CHAT, "M1").await, "the first payload");
}

async fn sent_message_chats(store: Store) {
    cells::names(SentMessages::Chat, &*store).await;
}

async fn sent_message_ids(store: Store) {
    cells::names(SentMessages::Id, &*store).await;
}

async fn sent_message_sizes(store: Store) {
    cells::sizes(SentMessages::Id, &*store).await;
}

/// Messages older than the cutoff (Unix seconds) are deleted and counted; those from after it stay.
async fn sent_messages_expire(store: Store) {
    let store = &*store;
    // An hour either way, so that clocks of store and test need not agree.
    let (past, future) = (now_secs() - 3600, now_secs() + 3600);
    let expire = async |cutoff: i64| {
        store
            .delete_expired_sent_messages(cutoff)
            .await
            .must("delete_expired_sent_messages")
    };
    assert_eq!(
        expire(future).await,
        0,
        "an empty store has nothing to expire"
    );
    for id in ["M1", "M2", "M3", "M1"] {
        send(store, CHAT, id, &key(1)).await;
    }
    assert_eq!(expire(past).await, 0, "everything is younger than an hour");
    expect_bytes(take(store, CHAT, "M3").await, &key(1), "a young message");
    assert_eq!(
        expire(future).await,
        2,
        "what is left is older than the future"
    );
    expect_absent(take(store, CHAT, "M1").await, "an expired message");
    expect_absent(take(store, CHAT, "M2").await, "another expired message");
}
