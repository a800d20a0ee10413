//! What a decorator of wacore's traits cannot prevent, asserted as it is: the threat model names each of
//! these by name, and must not claim less, nor more, than is true.

mod common;

use common::reading::{MOVED, Read, read};
use common::samples::Sample;
use common::world::worlds;
use sealed_store::Table;
use wacore::store::traits::ProtocolStore;

#[tokio::test]
async fn an_older_value_of_the_same_row_opens() {
    let (_folder, worlds) = worlds().await;
    let world = &worlds[0];
    for (sample, old) in &world.rows {
        // The same name with another value.
        let newer = Sample {
            owner: 9,
            ..*sample
        };
        if sample.table == Table::SenderKeyDevice {
            continue; // No value but the flag.
        }
        newer.put(&world.store).await.unwrap();
        assert_eq!(
            read(&world.store, &newer).await,
            Read::Value(newer.expected())
        );
        old.write(&world.file);
        assert_eq!(
            read(&world.store, sample).await,
            Read::Value(sample.expected()),
            "replayed"
        );
    }
}

#[tokio::test]
async fn sender_key_devices_move_between_groups_and_not_between_accounts() {
    let (_folder, worlds) = worlds().await;
    let world = &worlds[0];
    let (here, own) = world.find(Table::SenderKeyDevice, 0);
    let (there, other) = world.find(Table::SenderKeyDevice, 1);
    // A device of one group, put into another: it reads as if it had that group's key.
    let group = other.row().get("group_jid").clone();
    let moved = own.row().with("group_jid", group);
    moved.write(&world.file);
    let mut found = world
        .store
        .get_sender_key_devices(&there.group())
        .await
        .unwrap();
    found.sort();
    assert_eq!(
        found,
        [(here.device_jid(), true), (there.device_jid(), true)]
    );
    // Its flag turned.
    moved.with("has_key", 0).write(&world.file);
    let found = world
        .store
        .get_sender_key_devices(&there.group())
        .await
        .unwrap();
    assert!(found.contains(&(here.device_jid(), false)));
    // Deleted.
    moved.delete(&world.file);
    other.delete(&world.file);
    let found = world
        .store
        .get_sender_key_devices(&there.group())
        .await
        .unwrap();
    assert!(found.is_empty());
    // A device of another account: the list fails, and upstream then sends the key to all.
    let (_, foreign) = worlds[1].find(Table::SenderKeyDevice, 0);
    let device = foreign.row().get("device_jid").clone();
    own.row().with("device_jid", device).write(&world.file);
    assert_eq!(read(&world.store, here).await, Read::Refused(MOVED));
    // A name of another table, and of another column of the same one.
    let (_, base_key) = world.find(Table::BaseKey, 0);
    for name in [base_key.row().get("address"), own.row().get("group_jid")] {
        for row in world.raw(Table::SenderKeyDevice) {
            row.delete(&world.file);
        }
        own.row()
            .with("device_jid", name.clone())
            .write(&world.file);
        assert_eq!(read(&world.store, here).await, Read::Refused(MOVED));
    }
}

#[tokio::test]
async fn a_token_that_is_cut_to_empty_or_an_empty_one_that_is_moved_reads_as_none_yet() {
    let (_folder, worlds) = worlds().await;
    let world = &worlds[0];
    let (sample, own) = world.find(Table::TcToken, 0);
    own.row().with("token", Vec::new()).write(&world.file);
    let found = world
        .store
        .get_tc_token(&sample.lid())
        .await
        .unwrap()
        .unwrap();
    assert!(found.token.is_empty());
    // A placeholder under a name that had no row: its times are not bound either.
    let (other, stored) = world.find(Table::TcToken, 1);
    stored.delete(&world.file);
    let name = stored.row().get("jid").clone();
    let empty = own
        .row()
        .with("token", Vec::new())
        .with("token_timestamp", 5);
    empty.with("jid", name).write(&world.file);
    let found = world
        .store
        .get_tc_token(&other.lid())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.token.len(), found.token_timestamp), (0, 5));
}

#[tokio::test]
async fn a_changed_base_key_reads_as_not_the_same() {
    let (_folder, worlds) = worlds().await;
    let world = &worlds[0];
    let (sample, own) = world.find(Table::BaseKey, 0);
    let (other, stored) = world.find(Table::BaseKey, 1);
    let moved = own.with_carrier(&stored.carrier().unwrap());
    moved.write(&world.file);
    for key in [sample.bytes(33), other.bytes(33)] {
        let (address, id) = (sample.address(), sample.id());
        let same = world.store.has_same_base_key(&address, &id, &key).await;
        assert!(!same.unwrap());
    }
}

#[tokio::test]
async fn without_the_newer_mapping_the_older_one_stands() {
    let (_folder, worlds) = worlds().await;
    let world = &worlds[0];
    let (sample, _) = world.find(Table::LidMapping, 0);
    let mut newer = sample.mapping();
    newer.lid.push('9');
    newer.updated_at += 100;
    let before = world.raw(Table::LidMapping);
    world.store.put_lid_mapping(&newer).await.unwrap();
    let phone = sample.user();
    let found = world.store.get_pn_mapping(&phone).await.unwrap().unwrap();
    assert_eq!(found.lid, newer.lid);
    for row in world.raw(Table::LidMapping) {
        if !before.contains(&row) {
            row.delete(&world.file);
        }
    }
    let found = world.store.get_pn_mapping(&phone).await.unwrap().unwrap();
    assert_eq!(found.lid, sample.lid());
}
