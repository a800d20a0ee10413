//! The device registry: which devices a user has.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wacore::store::traits::{Backend, DeviceInfo, DeviceListRecord};

use super::behaviours;
use super::cells::{self, Batched, Cells, Erasable};
use super::support::{Must, Store, with_device};

behaviours! { "device_lists", with_device;
    list_row: update_device_list get_devices;
    list_delete: update_device_list get_devices delete_devices;
    list_names: update_device_list get_devices;
    list_batch: update_device_list update_device_lists get_devices;
    list_keeps_every_field: update_device_list update_device_lists get_devices;
}

/// Lists named by user, with one device for each byte of the value.
struct DeviceLists;

fn cell(name: &str, value: &[u8]) -> DeviceListRecord {
    DeviceListRecord {
        user: name.to_owned(),
        devices: value
            .iter()
            .map(|byte| DeviceInfo::new(u32::from(*byte), None))
            .collect(),
        timestamp: 1_700_000_000,
        phash: None,
        raw_id: None,
    }
}

async fn get(store: &dyn Backend, user: &str) -> Option<DeviceListRecord> {
    store.get_devices(user).await.must("get_devices")
}

async fn update(store: &dyn Backend, record: DeviceListRecord) {
    store
        .update_device_list(record)
        .await
        .must("update_device_list");
}

async fn update_many(store: &dyn Backend, records: Vec<DeviceListRecord>) {
    store
        .update_device_lists(records)
        .await
        .must("update_device_lists");
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Cells for DeviceLists {
    async fn put(&self, store: &dyn Backend, name: &str, value: &[u8]) {
        update(store, cell(name, value)).await;
    }

    async fn get(&self, store: &dyn Backend, name: &str) -> Option<Vec<u8>> {
        let record = get(store, name).await?;
        assert_eq!(record.user, name, "the user of a list");
        record
            .devices
            .iter()
            .map(|device| u8::try_from(device.device_id).ok())
            .collect()
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Erasable for DeviceLists {
    async fn delete(&self, store: &dyn Backend, name: &str) {
        store.delete_devices(name).await.must("delete_devices");
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl Batched for DeviceLists {
    async fn put_batch(&self, store: &dyn Backend, rows: &[(Arc<str>, Bytes)]) {
        let records = rows.iter().map(|(name, value)| cell(name, value)).collect();
        update_many(store, records).await;
    }
}

async fn list_row(store: Store) {
    cells::put_get_overwrite(DeviceLists, &*store).await;
}

async fn list_delete(store: Store) {
    cells::delete(DeviceLists, &*store).await;
}

async fn list_names(store: Store) {
    cells::names(DeviceLists, &*store).await;
}

async fn list_batch(store: Store) {
    cells::batch(DeviceLists, &*store).await;
}

#[track_caller]
fn expect_record(got: Option<DeviceListRecord>, want: &DeviceListRecord, what: &str) {
    let Some(DeviceListRecord {
        user,
        devices,
        timestamp,
        phash,
        raw_id,
    }) = got
    else {
        panic!("{what}: absent");
    };
    // The order of the devices is part of the record.
    let fields = |device: &DeviceInfo| {
        let DeviceInfo {
            device_id,
            key_index,
            is_hosted,
        } = *device;
        (device_id, key_index, is_hosted)
    };
    let got: Vec<_> = devices.iter().map(fields).collect();
    let wanted: Vec<_> = want.devices.iter().map(fields).collect();
    assert_eq!(user, want.user, "{what}: user");
    assert_eq!(
        got, wanted,
        "{what}: devices as (device_id, key_index, is_hosted)"
    );
    assert_eq!(timestamp, want.timestamp, "{what}: timestamp");
    assert_eq!(phash, want.phash, "{what}: phash");
    assert_eq!(raw_id, want.raw_id, "{what}: raw_id");
}

/// Devices in their order, with and without a key index, hosted or not; time; hash and raw id, there or
/// not, in a single update and in a batch, each record replacing the whole one before.
async fn list_keeps_every_field(store: Store) {
    let store = &*store;
    let user = "5511987650001".to_owned();
    let devices = vec![
        DeviceInfo::new(0, None),
        DeviceInfo::new(99, Some(3)).with_hosting(true),
        DeviceInfo::new(2, Some(0)),
        DeviceInfo::new(u32::MAX, Some(u32::MAX)),
        DeviceInfo::new(1, None).with_hosting(true),
    ];
    let full = DeviceListRecord {
        user: user.clone(),
        devices,
        timestamp: i64::from(i32::MAX),
        phash: Some("2:dcZ2nY\"'😀".to_owned()),
        raw_id: Some(u32::MAX),
    };
    let bare = DeviceListRecord {
        user: user.clone(),
        devices: Vec::new(),
        timestamp: 0,
        phash: None,
        raw_id: None,
    };
    let zeros = DeviceListRecord {
        user: user.clone(),
        devices: vec![DeviceInfo::new(0, Some(0))],
        timestamp: 1,
        phash: Some(String::new()),
        raw_id: Some(0),
    };
    for (what, record) in [
        ("all fields", &full),
        ("no optional field", &bare),
        ("zeros", &zeros),
    ] {
        update(store, record.clone()).await;
        expect_record(get(store, &user).await, record, what);
        // Something else in between, so that the batch has something to replace.
        update(store, cell(&user, b"in between")).await;
        update_many(store, vec![record.clone()]).await;
        expect_record(
            get(store, &user).await,
            record,
            &format!("{what}, in a batch"),
        );
    }
}
