//! LID to phone-number mappings.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wacore::store::traits::{Backend, LidPnMappingEntry};

use super::behaviours;
use super::cells::{self, Batched, Cells};
use super::support::{Must, Store, addr, expect_absent, expect_same_items, with_device};

behaviours! { "lid", with_device;
    mapping_row: put_lid_mapping get_lid_mapping get_pn_mapping;
    mapping_keeps_every_field: put_lid_mapping get_lid_mapping get_pn_mapping get_all_lid_mappings;
    mapping_batch: put_lid_mapping put_lid_mappings get_lid_mapping get_pn_mapping;
    mapping_names: put_lid_mapping get_lid_mapping get_pn_mapping;
    all_mappings: put_lid_mapping put_lid_mappings get_all_lid_mappings;
    new_phone_of_a_lid: put_lid_mapping get_lid_mapping get_pn_mapping get_all_lid_mappings;
    new_lid_of_a_phone: put_lid_mapping get_lid_mapping get_pn_mapping;
}

/// Mappings named by LID, with the value in the source and the name also in the phone number, so that
/// both directions can be read.
struct Mappings;

fn entry(lid: &str, phone: &str, source: &str, updated_at: i64) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number: phone.to_owned(),
        // The same for every entry: stores differ on whether an update keeps the first one.
        created_at: 1_690_000_000,
        updated_at,
        learning_source: source.to_owned(),
    }
}

/// The entry as a value that can be compared and sorted.
type Fields = (String, String, i64, i64, String);

fn fields(entry: LidPnMappingEntry) -> Fields {
    let LidPnMappingEntry {
        lid,
        phone_number,
        created_at,
        updated_at,
        learning_source,
    } = entry;
    (lid, phone_number, created_at, updated_at, learning_source)
}

async fn put(store: &dyn Backend, entry: &LidPnMappingEntry) {
    store.put_lid_mapping(entry).await.must("put_lid_mapping");
}

async fn put_many(store: &dyn Backend, entries: &[LidPnMappingEntry]) {
    store
        .put_lid_mappings(entries)
        .await
        .must("put_lid_mappings");
}

async fn by_lid(store: &dyn Backend, lid: &str) -> Option<Fields> {
    let found = store.get_lid_mapping(lid).await.must("get_lid_mapping");
    found.map(fields)
}

async fn by_phone(store: &dyn Backend, phone: &str) -> Option<Fields> {
    let found = store.get_pn_mapping(phone).await.must("get_pn_mapping");
    found.map(fields)
}

async fn all(store: &dyn Backend) -> Vec<Fields> {
    let all = store
        .get_all_lid_mappings()
        .await
        .must("get_all_lid_mappings");
    all.into_iter().map(fields).collect()
}

fn cell(name: &str, value: &[u8]) -> LidPnMappingEntry {
    let source: String = value.iter().map(|byte| char::from(*byte)).collect();
    entry(name, &format!("phone of {name}"), &source, 1_700_000_000)
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for Mappings {
    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        put(store, &cell(name, value)).await;
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        let found = by_lid(store, name).await;
        let reverse = by_phone(store, &format!("phone of {name}")).await;
        assert_eq!(
            reverse, found,
            "the mapping read by phone number and by LID"
        );
        let (lid, .., source) = found?;
        assert_eq!(lid, name, "the LID of the mapping");
        // One char a byte, as `cell` made them.
        source.chars().map(|c| u8::try_from(c).ok()).collect()
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Batched for Mappings {
    async fn put_batch(&self, store: &dyn Backend, rows: &[(Arc<str>, Bytes)]) {
        let entries: Vec<_> = rows.iter().map(|(name, value)| cell(name, value)).collect();
        put_many(store, &entries).await;
    }
}

async fn mapping_row(store: Store) {
    cells::put_get_overwrite(Mappings, &*store).await;
}

async fn mapping_batch(store: Store) {
    cells::batch(Mappings, &*store).await;
}

async fn mapping_names(store: Store) {
    cells::names(Mappings, &*store).await;
}

/// LID, phone number, both times and the source come back, in either direction and in the list.
async fn mapping_keeps_every_field(store: Store) {
    let store = &*store;
    let written = LidPnMappingEntry {
        lid: "100000012345678".to_owned(),
        phone_number: "5511987650001".to_owned(),
        created_at: 1 << 40,
        updated_at: (1 << 40) + 1,
        learning_source: "peer_pn_message".to_owned(),
    };
    put(store, &written).await;
    let want = fields(written);
    assert_eq!(by_lid(store, &want.0).await.as_ref(), Some(&want), "by LID");
    assert_eq!(
        by_phone(store, &want.1).await.as_ref(),
        Some(&want),
        "by phone number"
    );
    assert_eq!(all(store).await, std::slice::from_ref(&want), "in the list");
    expect_absent(
        by_lid(store, &want.1).await,
        "a phone number, asked for as a LID",
    );
    expect_absent(
        by_phone(store, &want.0).await,
        "a LID, asked for as a phone number",
    );
}

/// The list holds every LID once, in its latest form; empty batches add nothing.
async fn all_mappings(store: Store) {
    let store = &*store;
    put_many(store, &[]).await;
    assert!(
        all(store).await.is_empty(),
        "an empty store has no mappings"
    );
    let mut entries: Vec<_> = (0..300)
        .map(|i| entry(&addr(i), &format!("{i}"), "usync", i64::from(i)))
        .collect();
    put_many(store, &entries).await;
    entries[7] = entry(&addr(7), "7", "other", 9_000);
    put(store, &entries[7]).await;
    expect_same_items(
        all(store).await,
        entries.into_iter().map(fields),
        "all mappings",
    );
}

/// When a LID gets another phone number, the old number leads nowhere and the new one to the LID.
async fn new_phone_of_a_lid(store: Store) {
    let store = &*store;
    put(store, &entry("100", "5511", "usync", 10)).await;
    put(store, &entry("200", "5522", "usync", 10)).await;
    let moved = entry("100", "5533", "pair", 20);
    put(store, &moved).await;
    let want = fields(moved);
    assert_eq!(by_lid(store, "100").await.as_ref(), Some(&want), "the LID");
    assert_eq!(
        by_phone(store, "5533").await.as_ref(),
        Some(&want),
        "its new number"
    );
    expect_absent(by_phone(store, "5511").await, "its old number");
    assert_eq!(
        all(store).await.len(),
        2,
        "a LID that moved is still one row"
    );
}

/// Of two LIDs with the same phone number, the number leads to the one learned and updated last.
async fn new_lid_of_a_phone(store: Store) {
    let store = &*store;
    let (first, second) = (
        entry("100", "5511", "usync", 10),
        entry("200", "5511", "usync", 20),
    );
    put(store, &first).await;
    put(store, &second).await;
    assert_eq!(
        by_phone(store, "5511").await,
        Some(fields(second.clone())),
        "the number"
    );
    assert_eq!(
        by_lid(store, "100").await,
        Some(fields(first)),
        "the first LID"
    );
    assert_eq!(
        by_lid(store, "200").await,
        Some(fields(second)),
        "the second LID"
    );
}
