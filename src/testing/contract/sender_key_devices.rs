//! Who has our sender key, in which group.

use wacore::store::traits::Backend;

use super::behaviours;
use super::support::{Must, Store, expect_same_items, odd_names, with_device};

behaviours! { "sender_key_devices", with_device;
    status_row: set_sender_key_status get_sender_key_devices;
    status_batch: set_sender_key_status get_sender_key_devices;
    status_names: set_sender_key_status get_sender_key_devices delete_sender_key_device_rows;
    delete_goes_across_groups: set_sender_key_status get_sender_key_devices
        delete_sender_key_device_rows;
    delete_large_batch: set_sender_key_status get_sender_key_devices delete_sender_key_device_rows;
    clear_one_group: set_sender_key_status get_sender_key_devices clear_sender_key_devices;
    clear_all_groups: set_sender_key_status get_sender_key_devices clear_all_sender_key_devices;
}

const GROUP: &str = "120363021033254949@g.us";
const OTHER: &str = "120363021033254940@g.us";
const A: &str = "5511987650001:1@s.whatsapp.net";
const B: &str = "5511987650001:2@s.whatsapp.net";
const C: &str = "5511987650002@s.whatsapp.net";

async fn set(store: &dyn Backend, group: &str, entries: &[(&str, bool)]) {
    store
        .set_sender_key_status(group, entries)
        .await
        .must("set_sender_key_status");
}

async fn delete(store: &dyn Backend, devices: &[&str]) {
    store
        .delete_sender_key_device_rows(devices)
        .await
        .must("delete_sender_key_device_rows");
}

async fn expect(store: &dyn Backend, group: &str, want: &[(&str, bool)], what: &str) {
    let got = store
        .get_sender_key_devices(group)
        .await
        .must("get_sender_key_devices");
    let want = want
        .iter()
        .map(|(device, has)| ((*device).to_owned(), *has));
    expect_same_items(got, want, what);
}

/// A flag is kept for each device of each group, both as true and as false, and can be set again.
async fn status_row(store: Store) {
    let store = &*store;
    expect(store, GROUP, &[], "a group never seen").await;
    set(store, GROUP, &[(A, true), (B, false)]).await;
    expect(store, GROUP, &[(A, true), (B, false)], "the flags set").await;
    expect(store, OTHER, &[], "another group").await;

    set(store, OTHER, &[(A, false)]).await;
    set(store, GROUP, &[(B, true), (C, true)]).await;
    set(store, GROUP, &[(A, false)]).await;
    expect(
        store,
        GROUP,
        &[(A, false), (B, true), (C, true)],
        "the flags set again",
    )
    .await;
    expect(store, OTHER, &[(A, false)], "the other group").await;
}

/// A batch may be empty, name a device twice (the last flag wins), and be larger than a statement.
async fn status_batch(store: Store) {
    let store = &*store;
    set(store, GROUP, &[]).await;
    expect(store, GROUP, &[], "after an empty batch").await;
    set(store, GROUP, &[(A, true), (B, true), (A, false)]).await;
    expect(
        store,
        GROUP,
        &[(A, false), (B, true)],
        "a device named twice",
    )
    .await;
    set(store, GROUP, &[]).await;
    expect(
        store,
        GROUP,
        &[(A, false), (B, true)],
        "after another empty batch",
    )
    .await;

    let devices: Vec<String> = (0..1000).map(|i| format!("55119876{i:05}:1@lid")).collect();
    let entries: Vec<_> = devices
        .iter()
        .zip(0..)
        .map(|(device, i)| (device.as_str(), i % 3 == 0))
        .collect();
    set(store, OTHER, &entries).await;
    expect(store, OTHER, &entries, "a group of 1,000 devices").await;
}

/// Odd names of groups and devices are kept apart and come back unharmed.
async fn status_names(store: Store) {
    let store = &*store;
    let names = odd_names();
    let entries: Vec<_> = names.iter().map(|name| (name.as_str(), true)).collect();
    set(store, GROUP, &entries).await;
    expect(store, GROUP, &entries, "odd devices").await;
    for name in &names {
        set(store, name, &[(name, false)]).await;
    }
    for name in &names {
        expect(
            store,
            name,
            &[(name, false)],
            "an odd group with an odd device",
        )
        .await;
    }
    let (kept, doomed) = names.split_at(names.len() / 2);
    let doomed: Vec<_> = doomed.iter().map(String::as_str).collect();
    delete(store, &doomed).await;
    let entries: Vec<_> = kept.iter().map(|name| (name.as_str(), true)).collect();
    expect(store, GROUP, &entries, "odd devices, half of them deleted").await;
}

/// Deleting devices takes their rows in every group, and nothing else; none or unknown ones are fine.
async fn delete_goes_across_groups(store: Store) {
    let store = &*store;
    delete(store, &[A]).await;
    set(store, GROUP, &[(A, true), (B, true), (C, false)]).await;
    set(store, OTHER, &[(A, false), (C, true)]).await;
    delete(store, &[]).await;
    delete(store, &["5511987650001"]).await;
    expect(
        store,
        GROUP,
        &[(A, true), (B, true), (C, false)],
        "nothing deleted",
    )
    .await;

    delete(store, &[A, B, A]).await;
    expect(store, GROUP, &[(C, false)], "two devices deleted").await;
    expect(store, OTHER, &[(C, true)], "one of them, in another group").await;
    set(store, GROUP, &[(A, false)]).await;
    expect(
        store,
        GROUP,
        &[(A, false), (C, false)],
        "a deleted device, set again",
    )
    .await;
}

/// A thousand devices can be deleted at once.
async fn delete_large_batch(store: Store) {
    let store = &*store;
    let devices: Vec<String> = (0..1200).map(|i| format!("55119876{i:05}:1@lid")).collect();
    let entries: Vec<_> = devices
        .iter()
        .map(|device| (device.as_str(), true))
        .collect();
    set(store, GROUP, &entries).await;
    let doomed: Vec<_> = devices.iter().take(1000).map(String::as_str).collect();
    delete(store, &doomed).await;
    let left: Vec<_> = entries.into_iter().skip(1000).collect();
    expect(store, GROUP, &left, "200 devices left of 1,200").await;
}

/// Clearing a group empties that one alone, and it can be filled again.
async fn clear_one_group(store: Store) {
    let store = &*store;
    let clear = async || {
        store
            .clear_sender_key_devices(GROUP)
            .await
            .must("clear_sender_key_devices");
    };
    clear().await;
    set(store, GROUP, &[(A, true), (B, false)]).await;
    set(store, OTHER, &[(A, true)]).await;
    clear().await;
    expect(store, GROUP, &[], "the group cleared").await;
    expect(store, OTHER, &[(A, true)], "the other group").await;
    set(store, GROUP, &[(C, true)]).await;
    expect(store, GROUP, &[(C, true)], "the group, filled again").await;
}

/// Clearing all groups empties every one of them.
async fn clear_all_groups(store: Store) {
    let store = &*store;
    let clear = async || {
        store
            .clear_all_sender_key_devices()
            .await
            .must("clear_all_sender_key_devices");
    };
    clear().await;
    set(store, GROUP, &[(A, true), (B, false)]).await;
    set(store, OTHER, &[(A, true)]).await;
    clear().await;
    expect(store, GROUP, &[], "the first group").await;
    expect(store, OTHER, &[], "the second group").await;
    set(store, GROUP, &[(C, true)]).await;
    expect(store, GROUP, &[(C, true)], "a group, filled again").await;
}
