//! Identities, sessions and sender keys.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wacore::store::traits::Backend;

use super::behaviours;
use super::cells::{self, Batched, Cells, Erasable};
use super::support::{Must, Store, addr, array, expect_absent, expect_bytes, key, with_device};

behaviours! { "signal", with_device;
    identity_row: put_identity load_identity;
    identity_delete: put_identity load_identity delete_identity;
    identity_names: put_identity load_identity;
    identity_batch: put_identity load_identity put_identities_batch;
    session_row: put_session get_session has_session;
    session_delete: put_session get_session has_session delete_session;
    session_names: put_session get_session has_session;
    session_sizes: put_session get_session has_session;
    session_batch: put_session get_session has_session put_sessions_batch;
    same_address: put_identity load_identity delete_identity put_session get_session has_session
        delete_session put_sender_key get_sender_key delete_sender_key;
    user_with_session: put_session delete_session has_signal_state_for_user;
    user_with_identity: put_identity delete_identity has_signal_state_for_user;
    user_is_not_a_prefix: put_session put_identity put_sender_key has_signal_state_for_user;
    sender_key_row: put_sender_key get_sender_key;
    sender_key_delete: put_sender_key get_sender_key delete_sender_key;
    sender_key_names: put_sender_key get_sender_key;
    sender_key_sizes: put_sender_key get_sender_key;
    sender_key_batch: put_sender_key get_sender_key put_sender_keys_batch;
}

struct Identities;

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for Identities {
    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        store
            .put_identity(name, array(value))
            .await
            .must("put_identity");
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        let identity = store.load_identity(name).await.must("load_identity");
        identity.map(Vec::from)
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Erasable for Identities {
    async fn delete(&self, store: &dyn Backend, name: &str) {
        store.delete_identity(name).await.must("delete_identity");
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Batched for Identities {
    async fn put_batch(&self, store: &dyn Backend, rows: &[(Arc<str>, Bytes)]) {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, value)| (name.clone(), array(value)))
            .collect();
        store
            .put_identities_batch(&rows)
            .await
            .must("put_identities_batch");
    }
}

struct Sessions;

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for Sessions {
    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        store.put_session(name, value).await.must("put_session");
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        let session = store.get_session(name).await.must("get_session");
        let there = store.has_session(name).await.must("has_session");
        assert_eq!(
            there,
            session.is_some(),
            "has_session agrees with get_session"
        );
        session.map(Vec::from)
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Erasable for Sessions {
    async fn delete(&self, store: &dyn Backend, name: &str) {
        store.delete_session(name).await.must("delete_session");
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Batched for Sessions {
    async fn put_batch(&self, store: &dyn Backend, rows: &[(Arc<str>, Bytes)]) {
        store
            .put_sessions_batch(rows)
            .await
            .must("put_sessions_batch");
    }
}

struct SenderKeys;

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for SenderKeys {
    fn name(&self, i: u16) -> String {
        format!("120363021033254949@g.us:{}", addr(i))
    }

    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        store
            .put_sender_key(name, value)
            .await
            .must("put_sender_key");
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        store.get_sender_key(name).await.must("get_sender_key")
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Erasable for SenderKeys {
    async fn delete(&self, store: &dyn Backend, name: &str) {
        store
            .delete_sender_key(name)
            .await
            .must("delete_sender_key");
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Batched for SenderKeys {
    async fn put_batch(&self, store: &dyn Backend, rows: &[(Arc<str>, Bytes)]) {
        store
            .put_sender_keys_batch(rows)
            .await
            .must("put_sender_keys_batch");
    }
}

async fn identity_row(store: Store) {
    cells::put_get_overwrite(Identities, &*store).await;
}

async fn identity_delete(store: Store) {
    cells::delete(Identities, &*store).await;
}

async fn identity_names(store: Store) {
    cells::names(Identities, &*store).await;
}

async fn identity_batch(store: Store) {
    cells::batch(Identities, &*store).await;
}

/// `has_session` and `get_session` agree, before and after every write.
async fn session_row(store: Store) {
    cells::put_get_overwrite(Sessions, &*store).await;
}

async fn session_delete(store: Store) {
    cells::delete(Sessions, &*store).await;
}

async fn session_names(store: Store) {
    cells::names(Sessions, &*store).await;
}

async fn session_sizes(store: Store) {
    cells::sizes(Sessions, &*store).await;
}

async fn session_batch(store: Store) {
    cells::batch(Sessions, &*store).await;
}

async fn sender_key_row(store: Store) {
    cells::put_get_overwrite(SenderKeys, &*store).await;
}

async fn sender_key_delete(store: Store) {
    cells::delete(SenderKeys, &*store).await;
}

async fn sender_key_names(store: Store) {
    cells::names(SenderKeys, &*store).await;
}

async fn sender_key_sizes(store: Store) {
    cells::sizes(SenderKeys, &*store).await;
}

async fn sender_key_batch(store: Store) {
    cells::batch(SenderKeys, &*store).await;
}

/// An identity, a session and a sender key under one address are three rows: writing or deleting one of
/// them leaves the other two.
async fn same_address(store: Store) {
    let (store, name) = (&*store, addr(1));
    Identities.put(store, &name, &key(1)).await;
    expect_absent(
        Sessions.get(store, &name).await,
        "a session, from an identity",
    );
    expect_absent(
        SenderKeys.get(store, &name).await,
        "a sender key, from an identity",
    );
    Sessions.put(store, &name, &key(2)).await;
    SenderKeys.put(store, &name, &key(3)).await;
    expect_bytes(Identities.get(store, &name).await, &key(1), "the identity");
    expect_bytes(Sessions.get(store, &name).await, &key(2), "the session");
    expect_bytes(
        SenderKeys.get(store, &name).await,
        &key(3),
        "the sender key",
    );

    Sessions.delete(store, &name).await;
    expect_bytes(
        Identities.get(store, &name).await,
        &key(1),
        "the identity, without its session",
    );
    expect_bytes(
        SenderKeys.get(store, &name).await,
        &key(3),
        "the sender key, without its session",
    );
    Identities.delete(store, &name).await;
    expect_bytes(
        SenderKeys.get(store, &name).await,
        &key(3),
        "the sender key, on its own",
    );
    SenderKeys.delete(store, &name).await;
    expect_absent(
        SenderKeys.get(store, &name).await,
        "the sender key, deleted",
    );
}

async fn has_state(store: &dyn Backend, user: &str) -> bool {
    store
        .has_signal_state_for_user(user)
        .await
        .must("has_signal_state_for_user")
}

/// Under either form of an address a row counts as state of its user, until the last one is deleted.
async fn state_of_a_user(cells: impl Erasable, store: &dyn Backend) {
    let user = "5511987650001";
    let primary = "5511987650001@c.us.0";
    let companion = "5511987650001:3@c.us.0";
    assert!(!has_state(store, user).await, "an empty store has no state");

    cells.put(store, primary, &key(1)).await;
    assert!(has_state(store, user).await, "state under user@server");
    cells.put(store, companion, &key(2)).await;
    cells.delete(store, primary).await;
    assert!(
        has_state(store, user).await,
        "state under user:device@server"
    );
    cells.delete(store, companion).await;
    assert!(
        !has_state(store, user).await,
        "no state after the last delete"
    );
}

/// A session alone makes its user known.
async fn user_with_session(store: Store) {
    state_of_a_user(Sessions, &*store).await;
}

/// An identity alone makes its user known.
async fn user_with_identity(store: Store) {
    state_of_a_user(Identities, &*store).await;
}

/// A user whose number begins or ends another one's is someone else, and a sender key is not state.
async fn user_is_not_a_prefix(store: Store) {
    let store = &*store;
    Sessions.put(store, "5511987650001@c.us.0", &key(1)).await;
    Identities
        .put(store, "5511987650001:3@c.us.0", &key(2))
        .await;
    SenderKeys.put(store, "777@c.us.0", &key(3)).await;
    assert!(has_state(store, "5511987650001").await, "the user itself");
    for stranger in [
        "551198765000",
        "5",
        "55119876500011",
        "11987650001",
        "1",
        "3",
        "777",
    ] {
        assert!(
            !has_state(store, stranger).await,
            "no state of user {stranger}"
        );
    }
}
