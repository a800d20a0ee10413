//! Mutation MACs of app-state collections.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::traits::Backend;

use super::behaviours;
use super::cells::{self, Batched, Cells, Erasable};
use super::support::{Must, Store, array, expect_absent, expect_bytes, key, with_device};

behaviours! { "mutation_macs", with_device;
    row: put_mutation_macs get_mutation_mac get_mutation_macs;
    delete: put_mutation_macs get_mutation_mac get_mutation_macs delete_mutation_macs;
    batch: put_mutation_macs get_mutation_mac get_mutation_macs;
    read_batch: put_mutation_macs get_mutation_macs;
    delete_batch: put_mutation_macs get_mutation_macs delete_mutation_macs;
    per_collection: put_mutation_macs get_mutation_mac get_mutation_macs
        delete_mutation_macs clear_mutation_macs;
    names: put_mutation_macs get_mutation_mac get_mutation_macs;
}

async fn put_macs(store: &dyn Backend, name: &str, version: u64, rows: &[([u8; 32], [u8; 32])]) {
    let rows: Vec<_> = rows
        .iter()
        .map(|(index, value)| AppStateMutationMAC {
            index_mac: index.to_vec(),
            value_mac: value.to_vec(),
        })
        .collect();
    store
        .put_mutation_macs(name, version, &rows)
        .await
        .must("put_mutation_macs");
}

/// Reads one MAC in both ways.
async fn mac(store: &dyn Backend, name: &str, index: [u8; 32]) -> Option<Vec<u8>> {
    let single = store
        .get_mutation_mac(name, &index)
        .await
        .must("get_mutation_mac");
    let mut batch = macs(store, name, &[index]).await;
    assert_eq!(
        batch.remove(&index),
        single,
        "a MAC read in a batch and singly"
    );
    assert!(
        batch.is_empty(),
        "a batch of one returns {} others",
        batch.len()
    );
    single
}

async fn macs(store: &dyn Backend, name: &str, indexes: &[[u8; 32]]) -> HashMap<[u8; 32], Vec<u8>> {
    store
        .get_mutation_macs(name, indexes)
        .await
        .must("get_mutation_macs")
}

async fn delete_macs(store: &dyn Backend, name: &str, indexes: &[[u8; 32]]) {
    let indexes: Vec<_> = indexes.iter().map(|index| index.to_vec()).collect();
    store
        .delete_mutation_macs(name, &indexes)
        .await
        .must("delete_mutation_macs");
}

/// The MACs of one collection, named by index.
struct MutationMacs;

impl MutationMacs {
    fn index(name: &str) -> [u8; 32] {
        match name.parse() {
            Ok(seed) => key(seed),
            Err(error) => panic!("MACs are named by number, not {name:?}: {error}"),
        }
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for MutationMacs {
    fn name(&self, i: u16) -> String {
        i.to_string()
    }

    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        let row = (Self::index(name), array(value));
        put_macs(store, "regular", 1, &[row]).await;
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        mac(store, "regular", Self::index(name)).await
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Erasable for MutationMacs {
    async fn delete(&self, store: &dyn Backend, name: &str) {
        delete_macs(store, "regular", &[Self::index(name)]).await;
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Batched for MutationMacs {
    async fn put_batch(&self, store: &dyn Backend, rows: &[(Arc<str>, Bytes)]) {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, value)| (Self::index(name), array(value)))
            .collect();
        put_macs(store, "regular", 2, &rows).await;
    }
}

async fn row(store: Store) {
    cells::put_get_overwrite(MutationMacs, &*store).await;
}

async fn delete(store: Store) {
    cells::delete(MutationMacs, &*store).await;
}

async fn batch(store: Store) {
    cells::batch(MutationMacs, &*store).await;
}

/// A batch read holds exactly the MACs that exist, also when it asks for a thousand, or for none.
async fn read_batch(store: Store) {
    let rows: Vec<_> = (0..1000).map(|i| (key(i), key(i + 5000))).collect();
    put_macs(&*store, "regular", 1, &rows).await;
    assert!(
        macs(&*store, "regular", &[]).await.is_empty(),
        "no MACs asked for"
    );

    let asked: Vec<_> = (500..1500).map(key).collect();
    let want: HashMap<_, _> = (500..1000)
        .map(|i| (key(i), key(i + 5000).to_vec()))
        .collect();
    let got = macs(&*store, "regular", &asked).await;
    assert_eq!(
        got.len(),
        want.len(),
        "the MACs that exist, of those asked for"
    );
    assert!(got == want, "MACs in a batch belong to their indexes");
}

/// A batch delete takes what it names, also when that is a thousand, or nothing, or not there.
async fn delete_batch(store: Store) {
    let rows: Vec<_> = (0..1200).map(|i| (key(i), key(i))).collect();
    put_macs(&*store, "regular", 1, &rows).await;
    delete_macs(&*store, "regular", &[]).await;
    let doomed: Vec<_> = (100..1100).chain(3000..3010).map(key).collect();
    delete_macs(&*store, "regular", &doomed).await;
    let all: Vec<_> = (0..1200).map(key).collect();
    let left = macs(&*store, "regular", &all).await;
    assert_eq!(left.len(), 200, "MACs left of 1,200 after deleting 1,000");
    assert!(
        left.contains_key(&key(99)),
        "the MAC before the first deleted one"
    );
    assert!(
        left.contains_key(&key(1100)),
        "the MAC after the last deleted one"
    );
}

/// The same index in two collections is two MACs; deleting and clearing keep to the collection named.
async fn per_collection(store: Store) {
    let store = &*store;
    put_macs(store, "regular", 1, &[(key(1), key(10)), (key(2), key(20))]).await;
    put_macs(
        store,
        "regular_low",
        1,
        &[(key(1), key(11)), (key(2), key(21))],
    )
    .await;
    expect_bytes(
        mac(store, "regular", key(1)).await,
        &key(10),
        "the first collection",
    );
    expect_bytes(
        mac(store, "regular_low", key(1)).await,
        &key(11),
        "the second collection",
    );

    delete_macs(store, "regular", &[key(1)]).await;
    expect_absent(mac(store, "regular", key(1)).await, "the MAC deleted");
    expect_bytes(
        mac(store, "regular_low", key(1)).await,
        &key(11),
        "its namesake",
    );

    let clear = async |name: &str| {
        store
            .clear_mutation_macs(name)
            .await
            .must("clear_mutation_macs");
    };
    clear("critical_block").await;
    clear("regular").await;
    expect_absent(
        mac(store, "regular", key(2)).await,
        "the collection cleared",
    );
    expect_bytes(
        mac(store, "regular_low", key(2)).await,
        &key(21),
        "the other collection",
    );
    put_macs(store, "regular", 2, &[(key(2), key(22))]).await;
    expect_bytes(
        mac(store, "regular", key(2)).await,
        &key(22),
        "the collection, filled anew",
    );
}

/// One MAC a collection, named by collection.
struct Collections;

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for Collections {
    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        put_macs(store, name, 1, &[(key(1), array(value))]).await;
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        mac(store, name, key(1)).await
    }
}

async fn names(store: Store) {
    cells::names(Collections, &*store).await;
}
