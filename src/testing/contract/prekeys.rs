//! One-time and signed prekeys.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wacore::store::traits::Backend;

use super::behaviours;
use super::cells::{self, Batched, Cells, Erasable};
use super::support::{
    Must, Store, expect_absent, expect_bytes, expect_same_items, key, with_device,
};

behaviours! { "prekeys", with_device;
    prekey_row: store_prekey load_prekey;
    prekey_remove: store_prekey load_prekey remove_prekey;
    prekey_batch: store_prekey load_prekey store_prekeys_batch;
    prekeys_load_batch: store_prekeys_batch load_prekeys_batch remove_prekey;
    prekeys_load_large_batch: store_prekeys_batch load_prekeys_batch;
    mark_keeps_prekeys: store_prekey store_prekeys_batch load_prekey mark_prekeys_uploaded;
    mark_never_resurrects: store_prekey load_prekey load_prekeys_batch remove_prekey
        mark_prekeys_uploaded get_max_prekey_id;
    max_prekey_id: store_prekey store_prekeys_batch remove_prekey store_signed_prekey get_max_prekey_id;
    signed_prekey_row: store_signed_prekey load_signed_prekey;
    signed_prekey_remove: store_signed_prekey load_signed_prekey remove_signed_prekey;
    signed_prekeys_all: store_signed_prekey load_all_signed_prekeys remove_signed_prekey store_prekey;
    same_id: store_prekey load_prekey remove_prekey store_signed_prekey load_signed_prekey
        remove_signed_prekey;
}

/// The largest id that the protocol can carry, in three bytes.
const LAST_ID: u32 = 0x00ff_ffff;

fn id(name: &str) -> u32 {
    match name.parse() {
        Ok(id) => id,
        Err(error) => panic!("prekeys are named by number, not {name:?}: {error}"),
    }
}

struct Prekeys;

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for Prekeys {
    fn name(&self, i: u16) -> String {
        (LAST_ID - u32::from(i)).to_string()
    }

    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        store
            .store_prekey(id(name), value, false)
            .await
            .must("store_prekey");
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        let record = store.load_prekey(id(name)).await.must("load_prekey");
        record.map(Vec::from)
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Erasable for Prekeys {
    async fn delete(&self, store: &dyn Backend, name: &str) {
        store.remove_prekey(id(name)).await.must("remove_prekey");
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Batched for Prekeys {
    async fn put_batch(&self, store: &dyn Backend, rows: &[(Arc<str>, Bytes)]) {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, value)| (id(name), value.clone()))
            .collect();
        put_many(store, &rows, false).await;
    }
}

struct SignedPrekeys;

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for SignedPrekeys {
    fn name(&self, i: u16) -> String {
        i.to_string()
    }

    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        store
            .store_signed_prekey(id(name), value)
            .await
            .must("store_signed_prekey");
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        store
            .load_signed_prekey(id(name))
            .await
            .must("load_signed_prekey")
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Erasable for SignedPrekeys {
    async fn delete(&self, store: &dyn Backend, name: &str) {
        store
            .remove_signed_prekey(id(name))
            .await
            .must("remove_signed_prekey");
    }
}

fn record(seed: u16) -> Bytes {
    Bytes::copy_from_slice(&key(seed))
}

async fn put_many(store: &dyn Backend, rows: &[(u32, Bytes)], uploaded: bool) {
    store
        .store_prekeys_batch(rows, uploaded)
        .await
        .must("store_prekeys_batch");
}

async fn load_many(store: &dyn Backend, ids: &[u32]) -> Vec<(u32, Bytes)> {
    store
        .load_prekeys_batch(ids)
        .await
        .must("load_prekeys_batch")
}

async fn mark(store: &dyn Backend, ids: &[u32]) {
    store
        .mark_prekeys_uploaded(ids)
        .await
        .must("mark_prekeys_uploaded");
}

async fn prekey_row(store: Store) {
    cells::put_get_overwrite(Prekeys, &*store).await;
}

async fn prekey_remove(store: Store) {
    cells::delete(Prekeys, &*store).await;
}

async fn prekey_batch(store: Store) {
    cells::batch(Prekeys, &*store).await;
}

/// A batch load returns the prekeys that exist and leaves out the others, whatever the order of the ids.
async fn prekeys_load_batch(store: Store) {
    let store = &*store;
    assert!(load_many(store, &[]).await.is_empty(), "no ids, no prekeys");
    assert!(
        load_many(store, &[1, 2]).await.is_empty(),
        "an empty store has no prekeys"
    );

    put_many(
        store,
        &[(3, record(3)), (1, record(1)), (LAST_ID, record(9))],
        true,
    )
    .await;
    expect_same_items(
        load_many(store, &[LAST_ID, 2, 1]).await,
        [(1, record(1)), (LAST_ID, record(9))],
        "those that exist, of the ids asked for",
    );
    store.remove_prekey(1).await.must("remove_prekey");
    expect_same_items(
        load_many(store, &[1, 3]).await,
        [(3, record(3))],
        "those left after a removal",
    );
}

/// A batch load may ask for more ids than a database takes parameters (pairing makes 812 prekeys).
async fn prekeys_load_large_batch(store: Store) {
    let store = &*store;
    let rows: Vec<(u32, Bytes)> = (1..=2000u16).map(|i| (i.into(), record(i))).collect();
    put_many(store, &rows, false).await;
    let ids: Vec<u32> = (0..=2500).collect();
    expect_same_items(load_many(store, &ids).await, rows, "2,000 prekeys at once");
}

/// Marking prekeys as uploaded keeps their records, however they were stored; no ids are fine too.
async fn mark_keeps_prekeys(store: Store) {
    let store = &*store;
    store
        .store_prekey(1, &key(1), false)
        .await
        .must("store_prekey");
    store
        .store_prekey(2, &key(2), true)
        .await
        .must("store_prekey");
    put_many(store, &[(3, record(3))], false).await;
    mark(store, &[]).await;
    mark(store, &[1, 2, 3]).await;
    for i in 1..=3 {
        let got = Prekeys.get(store, &i.to_string()).await;
        expect_bytes(got, &key(i), "a prekey marked as uploaded");
    }
}

/// A prekey that was consumed between upload and mark stays gone, and one that never existed is not made.
async fn mark_never_resurrects(store: Store) {
    let store = &*store;
    Prekeys.put(store, "1", &key(1)).await;
    Prekeys.put(store, "2", &key(2)).await;
    Prekeys.delete(store, "2").await;
    mark(store, &[1, 2, 3]).await;
    expect_absent(Prekeys.get(store, "2").await, "a removed prekey, marked");
    expect_absent(Prekeys.get(store, "3").await, "an unknown prekey, marked");
    expect_same_items(
        load_many(store, &[1, 2, 3]).await,
        [(1, record(1))],
        "what marking left",
    );
    assert_eq!(
        max_id(store).await,
        1,
        "the largest id, after marking larger ones"
    );
}

async fn max_id(store: &dyn Backend) -> u32 {
    store.get_max_prekey_id().await.must("get_max_prekey_id")
}

/// The largest id is that of the prekeys which are there now, and 0 without any; signed ones do not count.
async fn max_prekey_id(store: Store) {
    let store = &*store;
    SignedPrekeys.put(store, "77", &key(7)).await;
    assert_eq!(max_id(store).await, 0, "no prekeys");
    Prekeys.put(store, "5", &key(5)).await;
    Prekeys.put(store, "3", &key(3)).await;
    assert_eq!(max_id(store).await, 5, "the larger id was stored first");
    put_many(store, &[(LAST_ID, record(9)), (10, record(10))], true).await;
    assert_eq!(max_id(store).await, LAST_ID, "ids are compared as numbers");
    Prekeys.delete(store, &LAST_ID.to_string()).await;
    assert_eq!(max_id(store).await, 10, "the largest one was removed");
}

async fn signed_prekey_row(store: Store) {
    cells::put_get_overwrite(SignedPrekeys, &*store).await;
}

async fn signed_prekey_remove(store: Store) {
    cells::delete(SignedPrekeys, &*store).await;
}

async fn all_signed(store: &dyn Backend) -> Vec<(u32, Vec<u8>)> {
    store
        .load_all_signed_prekeys()
        .await
        .must("load_all_signed_prekeys")
}

/// The list of signed prekeys holds each one once, in its latest form, and no one-time prekeys.
async fn signed_prekeys_all(store: Store) {
    let store = &*store;
    Prekeys.put(store, "9", &key(9)).await;
    assert!(all_signed(store).await.is_empty(), "no signed prekeys");
    for (name, seed) in [("1", 1), ("2", 2), ("16777215", 3), ("2", 4)] {
        SignedPrekeys.put(store, name, &key(seed)).await;
    }
    SignedPrekeys.delete(store, "1").await;
    expect_same_items(
        all_signed(store).await,
        [(2, key(4).to_vec()), (LAST_ID, key(3).to_vec())],
        "the signed prekeys",
    );
}

/// A one-time and a signed prekey of the same id are two rows.
async fn same_id(store: Store) {
    let store = &*store;
    Prekeys.put(store, "1", &key(1)).await;
    expect_absent(
        SignedPrekeys.get(store, "1").await,
        "a signed prekey, from a one-time one",
    );
    SignedPrekeys.put(store, "1", &key(2)).await;
    expect_bytes(
        Prekeys.get(store, "1").await,
        &key(1),
        "the one-time prekey",
    );
    Prekeys.delete(store, "1").await;
    expect_bytes(
        SignedPrekeys.get(store, "1").await,
        &key(2),
        "the signed prekey",
    );
    Prekeys.put(store, "1", &key(3)).await;
    SignedPrekeys.delete(store, "1").await;
    expect_bytes(
        Prekeys.get(store, "1").await,
        &key(3),
        "the one-time prekey, on its own",
    );
}
