//! App state: sync keys and collection versions.

use std::collections::HashMap;

use async_trait::async_trait;
use wacore::appstate::hash::HashState;
use wacore::store::traits::{AppStateSyncKey, Backend};

use super::behaviours;
use super::cells::{self, Cells};
use super::support::{Must, Store, bytes, expect_absent, expect_bytes, key, with_device};

behaviours! { "app_sync", with_device;
    sync_key_row: set_sync_key get_sync_key;
    sync_key_ids: set_sync_key get_sync_key;
    latest_sync_key: set_sync_key get_latest_sync_key_id;
    version_absent_is_default: get_version set_version;
    version_keeps_every_field: get_version set_version;
    version_row: get_version set_version;
    version_names: get_version set_version;
}

// Sync keys

fn sync_key(seed: u16) -> AppStateSyncKey {
    AppStateSyncKey {
        key_data: key(seed).to_vec(),
        fingerprint: bytes(usize::from(seed) + 5),
        timestamp: 1_700_000_000_000 + i64::from(seed),
    }
}

async fn set_key(store: &dyn Backend, id: &[u8], key: AppStateSyncKey) {
    store.set_sync_key(id, key).await.must("set_sync_key");
}

#[track_caller]
fn expect_key(got: Option<AppStateSyncKey>, want: AppStateSyncKey, what: &str) {
    let Some(AppStateSyncKey {
        key_data,
        fingerprint,
        timestamp,
    }) = got
    else {
        panic!("{what}: absent");
    };
    assert!(key_data == want.key_data, "{what}: another key_data");
    assert_eq!(fingerprint, want.fingerprint, "{what}: fingerprint");
    assert_eq!(timestamp, want.timestamp, "{what}: timestamp");
}

/// A sync key of 32 bytes keeps its fingerprint and its time; a second write replaces all three.
async fn sync_key_row(store: Store) {
    let id = [0, 0, 0, 0, 0xd5, 0x01];
    expect_absent(
        store.get_sync_key(&id).await.must("get_sync_key"),
        "a key never set",
    );
    for (seed, what) in [(1, "the key"), (2, "the key, set again")] {
        set_key(&*store, &id, sync_key(seed)).await;
        let got = store.get_sync_key(&id).await.must("get_sync_key");
        expect_key(got, sync_key(seed), what);
    }
    let bare = AppStateSyncKey {
        key_data: key(3).to_vec(),
        fingerprint: Vec::new(),
        timestamp: 0,
    };
    set_key(&*store, &id, bare.clone()).await;
    let got = store.get_sync_key(&id).await.must("get_sync_key");
    expect_key(got, bare, "a key without fingerprint and time");
}

/// Key ids are free bytes, compared whole.
async fn sync_key_ids(store: Store) {
    let long = bytes(300);
    let ids: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"a", b"A", b"\xff\xfe", &long];
    for (id, seed) in ids.iter().zip(0..) {
        set_key(&*store, id, sync_key(seed)).await;
    }
    for (id, seed) in ids.iter().zip(0..) {
        let got = store.get_sync_key(id).await.must("get_sync_key");
        expect_key(
            got,
            sync_key(seed),
            &format!("the key with the id {id:02x?}"),
        );
    }
}

/// The latest key is the one set last, when ids ascend; none in an empty store.
async fn latest_sync_key(store: Store) {
    let latest = async || {
        store
            .get_latest_sync_key_id()
            .await
            .must("get_latest_sync_key_id")
    };
    expect_absent(latest().await, "the latest key of an empty store");
    for (seed, id) in [[0, 1], [0, 2], [1, 0], [0xff, 0]]
        .iter()
        .zip(1..)
        .map(|(id, seed)| (seed, id))
    {
        set_key(&*store, id, sync_key(seed)).await;
        expect_bytes(latest().await, id, "the latest key");
    }
    set_key(&*store, &[0xff, 0], sync_key(9)).await;
    expect_bytes(latest().await, &[0xff, 0], "the latest key, set again");
}

// Versions

async fn set_version_of(store: &dyn Backend, name: &str, state: HashState) {
    store.set_version(name, state).await.must("set_version");
}

#[track_caller]
fn expect_state(got: HashState, want: HashState, what: &str) {
    let HashState {
        version,
        hash,
        index_value_map,
        mac_mismatch_fatal,
    } = got;
    assert_eq!(version, want.version, "{what}: version");
    assert!(hash == want.hash, "{what}: another hash");
    assert!(
        index_value_map == want.index_value_map,
        "{what}: another index_value_map, of {} entries instead of {}",
        index_value_map.len(),
        want.index_value_map.len()
    );
    assert_eq!(
        mac_mismatch_fatal, want.mac_mismatch_fatal,
        "{what}: mac_mismatch_fatal"
    );
}

fn full_state() -> HashState {
    let mut index_value_map: HashMap<String, Vec<u8>> =
        (0..500).map(|i| (format!("index {i}"), bytes(i))).collect();
    index_value_map.insert(String::new(), b"an empty index".to_vec());
    index_value_map.insert("😀 \"'\0".to_owned(), bytes(3_000));
    let mut hash = [0x77; 128];
    hash[0] = 0xff;
    hash[127] = 0x11;
    HashState {
        version: 1 << 40,
        hash,
        index_value_map,
        mac_mismatch_fatal: true,
    }
}

/// A collection never written has a state with every field at its default, also next to one that was
/// written and after the default itself was written.
async fn version_absent_is_default(store: Store) {
    let get = async |name: &str| store.get_version(name).await.must("get_version");
    expect_state(get("regular").await, HashState::default(), "an empty store");
    set_version_of(&*store, "critical_block", full_state()).await;
    expect_state(
        get("regular").await,
        HashState::default(),
        "another collection's neighbour",
    );
    set_version_of(&*store, "critical_block", HashState::default()).await;
    expect_state(
        get("critical_block").await,
        HashState::default(),
        "set back to the default",
    );
}

/// Each field of a state comes back, alone and with all the others.
async fn version_keeps_every_field(store: Store) {
    let HashState {
        version,
        hash,
        index_value_map,
        mac_mismatch_fatal,
    } = full_state();
    let blank = HashState::default;
    let states = [
        ("version", HashState { version, ..blank() }),
        ("hash", HashState { hash, ..blank() }),
        (
            "index_value_map",
            HashState {
                index_value_map,
                ..blank()
            },
        ),
        (
            "mac_mismatch_fatal",
            HashState {
                mac_mismatch_fatal,
                ..blank()
            },
        ),
        (
            "largest version",
            HashState {
                version: u64::MAX,
                ..blank()
            },
        ),
        ("all", full_state()),
    ];
    for (what, state) in states {
        set_version_of(&*store, "regular_low", state.clone()).await;
        let got = store.get_version("regular_low").await.must("get_version");
        expect_state(got, state, what);
    }
}

struct Versions;

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for Versions {
    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        let state = HashState {
            index_value_map: HashMap::from([("value".to_owned(), value.to_vec())]),
            ..HashState::default()
        };
        set_version_of(store, name, state).await;
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        let mut state = store.get_version(name).await.must("get_version");
        state.index_value_map.remove("value")
    }
}

async fn version_row(store: Store) {
    cells::put_get_overwrite(Versions, &*store).await;
}

async fn version_names(store: Store) {
    cells::names(Versions, &*store).await;
}
