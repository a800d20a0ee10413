//! Some fields must stay in the clear beside a record, because the inner store compares or orders by
//! them. Those that it does not change itself are bound to the record, so that altering one is noticed;
//! those that a sealed row does not use must stay empty; and what can't be bound is asserted as it is.

mod common;

use common::damage::flipped;
use common::raw::Stored;
use common::reading::{MOVED, Read, Why, read, why};
use common::samples::{Sample, TIME};
use common::world::world;
use rusqlite::types::Value;
use sealed_store::{Fault, SealError, SealOptions, Table};
use wacore::appstate::hash::HashState;
use wacore::store::error::StoreError;
use wacore::store::traits::{
    AppStateSyncKey, AppSyncStore, DeviceInfo, DeviceListRecord, ProtocolStore, SignalStore,
};

fn refused_as_moved<T>(found: Result<T, StoreError>) {
    let error = found.err().expect("refused");
    assert_eq!(SealError::of(&error).map(why), Some(MOVED));
}

/// A row with one integer of its columns altered in every bit.
fn with_bits(stored: &Stored, column: &str, bits: u32) -> Vec<Stored> {
    let altered = (0..bits).map(|bit| {
        let mut altered = stored.clone();
        let value = stored.row().int(column) ^ (1 << bit);
        altered.parts[0].set(column, Value::Integer(value));
        altered
    });
    altered.collect()
}

#[tokio::test]
async fn every_bit_of_a_bound_field_matters() {
    let (_folder, world) = world().await;
    let (inner, store) = world.in_memory(SealOptions::default()).await;
    for (table, column) in [
        (Table::LidMapping, "updated_at"),
        (Table::TcToken, "token_timestamp"),
    ] {
        let (sample, stored) = world.find(table, 0);
        for altered in with_bits(stored, column, 64) {
            altered.place(&*inner).await.unwrap();
            assert_eq!(read(&store, sample).await, Read::Refused(MOVED), "{column}");
        }
        stored.place(&*inner).await.unwrap();
    }
    // Ids are keys as well: the record is under another one then.
    let (_, stored) = world.find(Table::PreKey, 0);
    for altered in with_bits(stored, "id", 32) {
        altered.place(&*inner).await.unwrap();
        let id = u32::try_from(altered.row().int("id")).unwrap();
        refused_as_moved(store.load_prekey(id).await);
        refused_as_moved(store.load_prekeys_batch(&[id]).await);
    }
    let (_, stored) = world.find(Table::SignedPreKey, 0);
    for altered in with_bits(stored, "id", 32) {
        altered.place(&*inner).await.unwrap();
        let id = u32::try_from(altered.row().int("id")).unwrap();
        refused_as_moved(store.load_signed_prekey(id).await);
    }
    assert!(store.load_all_signed_prekeys().await.is_err());
    let (_, stored) = world.find(Table::SyncKey, 0);
    let id = stored.row().bytes("key_id");
    for bit in 0..id.len() * 8 {
        let mut altered = stored.clone();
        let id = flipped(&id, bit);
        altered.parts[0].set("key_id", Value::Blob(id.clone()));
        altered.place(&*inner).await.unwrap();
        refused_as_moved(store.get_sync_key(&id).await);
    }
}

#[tokio::test]
async fn the_fields_that_a_sealed_row_does_not_use_stay_empty() {
    let (_folder, world) = world().await;
    let (inner, store) = world.in_memory(SealOptions::default()).await;
    let altered = Read::Refused(Why::Corrupt(Fault::ClearField));

    let (sample, stored) = world.find(Table::SyncKey, 0);
    let id = stored.row().bytes("key_id");
    let key = inner.get_sync_key(&id).await.unwrap().unwrap();
    assert_eq!((&*key.key_data, key.timestamp), (&[0; 32][..], 0));
    let changes: [fn(&mut AppStateSyncKey); 5] = [
        |key| key.timestamp = 1,
        |key| key.key_data.push(0),
        |key| key.key_data.truncate(31),
        |key| key.key_data[0] = 1,
        |key| key.key_data[31] = 1,
    ];
    for change in changes {
        let mut key = key.clone();
        change(&mut key);
        inner.set_sync_key(&id, key).await.unwrap();
        assert_eq!(read(&store, sample).await, altered);
    }

    let (sample, stored) = world.find(Table::Version, 0);
    let name = stored.row().text("name");
    let state = inner.get_version(&name).await.unwrap();
    let changes: [fn(&mut HashState); 4] = [
        |state| state.version = 1,
        |state| state.hash[127] = 1,
        |state| state.mac_mismatch_fatal = true,
        |state| drop(state.index_value_map.insert("t".into(), Vec::new())),
    ];
    for change in changes {
        let mut state = state.clone();
        change(&mut state);
        inner.set_version(&name, state).await.unwrap();
        assert_eq!(read(&store, sample).await, altered);
    }
    // Without its record a version that is not all default was never sealed.
    let mut state = state.clone();
    state.index_value_map.clear();
    state.version = 1;
    inner.set_version(&name, state).await.unwrap();
    assert_eq!(read(&store, sample).await, Read::Refused(Why::Unsealed));

    let (sample, stored) = world.find(Table::DeviceList, 0);
    let key = stored.row().text("user_id");
    let list = inner.get_devices(&key).await.unwrap().unwrap();
    let changes: [fn(&mut DeviceListRecord); 3] = [
        |list| list.timestamp = 1,
        |list| list.raw_id = Some(0),
        |list| list.devices.push(DeviceInfo::new(0, None)),
    ];
    for change in changes {
        let mut list = list.clone();
        change(&mut list);
        inner.update_device_list(list).await.unwrap();
        assert_eq!(read(&store, sample).await, altered);
    }
    inner
        .update_device_list(DeviceListRecord {
            phash: None,
            ..list
        })
        .await
        .unwrap();
    assert_eq!(read(&store, sample).await, Read::Refused(Why::Unsealed));
}

#[tokio::test]
async fn an_altered_field_that_the_inner_store_changes_itself_goes_unnoticed() {
    let (_folder, world) = world().await;
    let whole = |sample: &Sample| Read::Value(sample.expected());
    for (table, columns) in [
        (Table::PreKey, &["uploaded"][..]),
        (Table::MutationMac, &["version"]),
        (Table::MsgSecret, &["created_at", "expires_at"]),
        (Table::SenderKeyDevice, &["updated_at"]),
        (Table::BaseKey, &["created_at"]),
        (Table::DeviceList, &["updated_at"]),
        (Table::GroupMetadata, &["updated_at"]),
        (Table::SentMessage, &["created_at"]),
        (Table::PendingInbound, &["inserted_at"]),
        (Table::TcToken, &["updated_at"]),
    ] {
        let (sample, stored) = world.find(table, 0);
        for column in columns {
            let value = stored.row().int(column) ^ 1;
            stored.row().with(column, value).write(&world.file);
            assert_eq!(read(&world.store, sample).await, whole(sample), "{column}");
        }
    }

    // These come back as they were altered.
    let (sample, stored) = world.find(Table::SenderKeyDevice, 0);
    stored.row().with("has_key", 0).write(&world.file);
    let devices = world.store.get_sender_key_devices(&sample.group()).await;
    assert_eq!(devices.unwrap(), [(sample.device_jid(), false)]);
    let (sample, stored) = world.find(Table::LidMapping, 0);
    stored.row().with("created_at", 5).write(&world.file);
    let mapping = world.store.get_lid_mapping(&sample.lid()).await.unwrap();
    assert_eq!(mapping.unwrap().created_at, 5);
    let (sample, stored) = world.find(Table::TcToken, 0);
    stored.row().with("sender_timestamp", 5).write(&world.file);
    let token = world
        .store
        .get_tc_token(&sample.lid())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (token.sender_timestamp, token.token),
        (Some(5), sample.bytes(24))
    );
    let (sample, stored) = world.find(Table::MsgSecret, 0);
    stored.parts[1]
        .with("message_ts", TIME + 9)
        .write(&world.file);
    let found = read(&world.store, sample).await;
    let later = format!("{:?}", (sample.array().to_vec(), TIME + 9));
    assert_eq!(found, Read::Value(later), "the later of the two");
}
