//! The device row, snapshots and reports.

use wacore::store::Device;
use wacore::store::traits::Backend;

use super::behaviours;
use super::support::{Must, Store, expect_bytes, key, untouched};
use crate::testing::{RUNTIME_ONLY, assert_same_device, full_device};

behaviours! { "device", untouched;
    absent_then_created: exists load create;
    save_and_load: exists load create save;
    save_replaces_every_field: load create save;
    save_alone_is_enough: exists load save;
    second_create_keeps_the_device: exists load create save;
    survives_other_rows: create load save put_session delete_session get_session
        clear_all_sender_key_devices delete_expired_msg_secrets delete_expired_sent_messages
        delete_expired_pending_inbound delete_expired_tc_tokens;
    snapshot: create load snapshot_db put_session get_session;
    report: create put_session resource_report;
}

async fn exists(store: &dyn Backend) -> bool {
    store.exists().await.must("exists")
}

async fn load(store: &dyn Backend) -> Device {
    match store.load().await.must("load") {
        Some(device) => device,
        None => panic!("load found no device"),
    }
}

async fn save(store: &dyn Backend, device: &Device) {
    store.save(device).await.must("save");
}

async fn create(store: &dyn Backend) {
    store.create().await.must("create");
}

/// A fresh store has no device; creating makes one that is not paired, with keys that stay.
async fn absent_then_created(store: Store) {
    let store = &*store;
    assert!(!exists(store).await, "a fresh store has no device");
    assert!(store.load().await.must("load").is_none(), "nothing to load");
    assert!(!exists(store).await, "loading made no device");
    create(store).await;
    assert!(exists(store).await, "the device was created");
    let device = load(store).await;
    assert!(
        device.pn.is_none() && device.lid.is_none(),
        "a new device is not paired"
    );
    assert!(device.account.is_none(), "a new device has no account");
    assert_ne!(
        device.registration_id, 0,
        "a new device has a registration id"
    );
    assert_same_device(&load(store).await, &device, RUNTIME_ONLY);
}

/// Every persisted field comes back. (What `serde` skips is left to the store.)
async fn save_and_load(store: Store) {
    let store = &*store;
    create(store).await;
    let device = full_device();
    save(store, &device).await;
    assert!(exists(store).await, "saving keeps the device");
    assert_same_device(&load(store).await, &device, RUNTIME_ONLY);
}

/// A second save leaves nothing of the first, not even where the new value is none.
async fn save_replaces_every_field(store: Store) {
    let store = &*store;
    create(store).await;
    for device in [full_device(), Device::new(), full_device()] {
        save(store, &device).await;
        assert_same_device(&load(store).await, &device, RUNTIME_ONLY);
    }
}

/// Saving a device into a store without one is as good as creating it first.
async fn save_alone_is_enough(store: Store) {
    let store = &*store;
    let device = full_device();
    save(store, &device).await;
    assert!(exists(store).await, "the device exists");
    assert_same_device(&load(store).await, &device, RUNTIME_ONLY);
}

/// A second create may succeed or fail, but the device stays as it was: keys once replaced are lost.
async fn second_create_keeps_the_device(store: Store) {
    let store = &*store;
    create(store).await;
    let fresh = load(store).await;
    // Its answer is not part of the contract, what it does to the device is.
    let _ = store.create().await;
    assert_same_device(&load(store).await, &fresh, RUNTIME_ONLY);

    let device = full_device();
    save(store, &device).await;
    let _ = store.create().await;
    assert!(exists(store).await, "the device exists");
    assert_same_device(&load(store).await, &device, RUNTIME_ONLY);
}

/// Neither clean-up nor expiry of other tables touches the device, and saving it touches no other table.
async fn survives_other_rows(store: Store) {
    let store = &*store;
    create(store).await;
    let device = full_device();
    store
        .put_session("5511987650001@c.us.0", &key(1))
        .await
        .must("put_session");
    save(store, &device).await;
    let session = store
        .get_session("5511987650001@c.us.0")
        .await
        .must("get_session");
    expect_bytes(session, &key(1), "a session, after the device was saved");

    store
        .delete_session("5511987650001@c.us.0")
        .await
        .must("delete_session");
    store
        .clear_all_sender_key_devices()
        .await
        .must("clear_all_sender_key_devices");
    let cutoff = i64::MAX;
    let deleted = [
        store.delete_expired_msg_secrets(cutoff).await,
        store.delete_expired_sent_messages(cutoff).await,
        store.delete_expired_pending_inbound(cutoff).await,
        store.delete_expired_tc_tokens(cutoff, cutoff).await,
    ];
    for count in deleted {
        assert_eq!(
            count.must("delete_expired"),
            0,
            "there was nothing to expire"
        );
    }
    assert_same_device(&load(store).await, &device, RUNTIME_ONLY);
}

/// A snapshot is made or refused, with or without extra content, and the store goes on as before.
///
/// A refusal must not look like contention, which upstream answers by trying again.
async fn snapshot(store: Store) {
    let store = &*store;
    create(store).await;
    let device = load(store).await;
    store
        .put_session("5511987650001@c.us.0", &key(1))
        .await
        .must("put_session");
    // Two names: a store may put the time in whole seconds into the name of its file.
    for (name, extra) in [("contract", None), ("contract-extra", Some(&b"{}"[..]))] {
        if let Err(error) = store.snapshot_db(name, extra).await {
            assert!(
                !error.is_database_busy_or_locked(),
                "a refused snapshot looks like contention: {error}"
            );
        }
    }
    assert_same_device(&load(store).await, &device, RUNTIME_ONLY);
    let session = store
        .get_session("5511987650001@c.us.0")
        .await
        .must("get_session");
    expect_bytes(session, &key(1), "a session, after the snapshot");
}

/// The report can be asked for at any time; what is in it is the store's business.
async fn report(store: Store) {
    let _ = store.resource_report().await;
    create(&*store).await;
    store
        .put_session("5511987650001@c.us.0", &key(1))
        .await
        .must("put_session");
    let _ = store.resource_report().await;
}
