//! Base keys, kept to notice a retry with the same session.

use wacore::store::traits::Backend;

use super::behaviours;
use super::support::{Must, Store, bytes, key, odd_names, with_device};

behaviours! { "base_keys", with_device;
    same_or_not: save_base_key has_same_base_key;
    overwrite: save_base_key has_same_base_key;
    delete: save_base_key has_same_base_key delete_base_key;
    names: save_base_key has_same_base_key;
}

const ADDRESS: &str = "5511987650001:3@c.us.0";
const OTHER: &str = "5511987650001:4@c.us.0";

async fn save(store: &dyn Backend, address: &str, message: &str, base_key: &[u8]) {
    store
        .save_base_key(address, message, base_key)
        .await
        .must("save_base_key");
}

async fn same(store: &dyn Backend, address: &str, message: &str, base_key: &[u8]) -> bool {
    store
        .has_same_base_key(address, message, base_key)
        .await
        .must("has_same_base_key")
}

/// Only the very key saved, under the same address and message, is the same.
async fn same_or_not(store: Store) {
    let store = &*store;
    let base_key = bytes(33);
    assert!(
        !same(store, ADDRESS, "M1", &base_key).await,
        "nothing was saved"
    );
    assert!(
        !same(store, ADDRESS, "M1", b"").await,
        "nothing is not the same as no key"
    );
    save(store, ADDRESS, "M1", &base_key).await;
    assert!(same(store, ADDRESS, "M1", &base_key).await, "the key saved");
    assert!(same(store, ADDRESS, "M1", &base_key).await, "asked again");

    let mut changed = base_key.clone();
    changed[32] ^= 1;
    assert!(
        !same(store, ADDRESS, "M1", &changed).await,
        "one bit changed"
    );
    assert!(
        !same(store, ADDRESS, "M1", &base_key[..32]).await,
        "one byte cut off"
    );
    assert!(!same(store, ADDRESS, "M1", b"").await, "an empty key");
    assert!(
        !same(store, OTHER, "M1", &base_key).await,
        "another address"
    );
    assert!(
        !same(store, ADDRESS, "M2", &base_key).await,
        "another message"
    );
}

/// Saving again under the same address and message replaces the key.
async fn overwrite(store: Store) {
    let store = &*store;
    save(store, ADDRESS, "M1", &key(1)).await;
    save(store, ADDRESS, "M2", &key(1)).await;
    save(store, ADDRESS, "M1", &key(2)).await;
    assert!(same(store, ADDRESS, "M1", &key(2)).await, "the second key");
    assert!(!same(store, ADDRESS, "M1", &key(1)).await, "the first key");
    assert!(
        same(store, ADDRESS, "M2", &key(1)).await,
        "another message's key"
    );
}

/// Deleting takes one message of one address, may be repeated, and is fine for a key never saved.
async fn delete(store: Store) {
    let store = &*store;
    let delete = async || {
        store
            .delete_base_key(ADDRESS, "M1")
            .await
            .must("delete_base_key");
    };
    delete().await;
    save(store, ADDRESS, "M1", &key(1)).await;
    save(store, ADDRESS, "M2", &key(2)).await;
    save(store, OTHER, "M1", &key(3)).await;
    delete().await;
    delete().await;
    assert!(
        !same(store, ADDRESS, "M1", &key(1)).await,
        "the key deleted"
    );
    assert!(same(store, ADDRESS, "M2", &key(2)).await, "another message");
    assert!(same(store, OTHER, "M1", &key(3)).await, "another address");
    save(store, ADDRESS, "M1", &key(4)).await;
    assert!(
        same(store, ADDRESS, "M1", &key(4)).await,
        "a key saved anew"
    );
}

/// Odd addresses and message ids are kept apart, each in its own column.
async fn names(store: Store) {
    let store = &*store;
    let names = odd_names();
    for (name, seed) in names.iter().zip(0..) {
        save(store, name, "M1", &key(seed)).await;
        save(store, ADDRESS, name, &key(seed + 1000)).await;
    }
    for (name, seed) in names.iter().zip(0..) {
        assert!(
            same(store, name, "M1", &key(seed)).await,
            "the address {name:.40?}"
        );
        assert!(
            same(store, ADDRESS, name, &key(seed + 1000)).await,
            "the message {name:.40?}"
        );
    }
}
