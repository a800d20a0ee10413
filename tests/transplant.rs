//! A cipher without associated data lets whoever writes the file move a value to where it does harm:
//! one contact's session to another, one account's key to the next. So every record of every table,
//! account and store is put into the place of every other one, and must not open there. What this
//! cannot prevent is asserted as it is, so that the threat model stays true.

mod common;

use common::raw::{self, Stored};
use common::reading::{MOVED, Read, Why, read, why};
use common::samples::Sample;
use common::world::{World, worlds};
use sealed_store::{Fault, SealedBackend, Table};
use wacore::store::traits::{ProtocolStore, SignalStore};

/// All rows that have a record, with the world they are in; the canaries too.
fn records(worlds: &[World]) -> Vec<(usize, Stored)> {
    let mut all = Vec::new();
    for (at, world) in worlds.iter().enumerate() {
        let rows = world.rows.iter().map(|(_, stored)| stored);
        let rows = rows.filter(|row| row.carrier().is_some());
        all.extend(rows.map(|row| (at, row.clone())));
        all.push((at, world.canary.clone()));
    }
    all
}

/// Length of what a canary says in the clear before its record: magic and three ids.
const CANARY_CLEAR: usize = 22 + 3 * 16;

#[tokio::test]
async fn no_record_opens_in_the_place_of_another() {
    let (_folder, worlds) = worlds().await;
    let sources = records(&worlds);
    let mut placements = 0;
    for world in &worlds {
        for (sample, target) in &world.rows {
            let Some(own) = target.carrier() else {
                continue;
            };
            for (from, source) in &sources {
                for record in placeable(source, sample.table) {
                    if record == own {
                        continue;
                    }
                    target.with_carrier(&record).write(&world.file);
                    let what = format!("{} of {from} -> {sample:?}", source.table);
                    match read(&world.store, sample).await {
                        Read::Value(value) => panic!("{what}: opened as {value}"),
                        // The inner store compares base keys: what differs reads as not the same.
                        Read::Absent => assert_eq!(sample.table, Table::BaseKey, "{what}"),
                        Read::Refused(Why::Unsealed) => assert_eq!(source.table, Table::Canary),
                        Read::Refused(Why::Corrupt(Fault::Length)) => {
                            assert!(sample.table == Table::MsgSecret && record.len() != 64);
                        }
                        Read::Refused(why) => assert_eq!(why, MOVED, "{what}"),
                    }
                    placements += 1;
                }
            }
            target.write(&world.file);
            let found = read(&world.store, sample).await;
            assert_eq!(found, Read::Value(sample.expected()));
        }
    }
    println!("{} records, {placements} placements", sources.len());
}

/// A row's record in the shapes that a row of `table` can take.
fn placeable(source: &Stored, table: Table) -> Vec<Vec<u8>> {
    let record = source.carrier().expect("a record");
    let mut shapes = vec![record.clone()];
    let sealed = match source.table {
        Table::Canary => &record[CANARY_CLEAR..],
        _ => &record,
    };
    shapes.push(sealed.to_vec());
    if table == Table::MsgSecret {
        // Its two rows hold 64 bytes together.
        shapes.push(sealed[..sealed.len().min(64)].to_vec());
    }
    shapes.dedup();
    shapes
}

#[tokio::test]
async fn no_row_opens_under_the_key_of_another() {
    let (_folder, worlds) = worlds().await;
    let mut pairs = 0;
    for world in &worlds {
        for (sample, target) in &world.rows {
            let sources = worlds.iter().flat_map(|world| &world.rows);
            for (from, source) in sources.filter(|(from, source)| {
                (from.table, from.row, from.owner) != (sample.table, sample.row, sample.owner)
                    && source.row().sql == target.row().sql
            }) {
                // All that is not its key, the clear fields beside the record included.
                let mut moved = target.clone();
                for (part, other) in moved.parts.iter_mut().zip(&source.parts) {
                    let keys = part.keys.clone();
                    for (name, value) in &other.cells {
                        if !keys.contains(name) && name != "phone_number" {
                            part.set(name, value.clone());
                        }
                    }
                }
                moved.write(&world.file);
                let found = read(&world.store, sample).await;
                match sample.table {
                    // All name, and the flag is the same in all rows.
                    Table::SenderKeyDevice => assert_eq!(found, Read::Value(sample.expected())),
                    Table::BaseKey => assert_eq!(found, Read::Absent),
                    _ => assert_eq!(found, Read::Refused(MOVED), "{from:?} -> {sample:?}"),
                }
                pairs += 1;
            }
            target.write(&world.file);
            assert_eq!(
                read(&world.store, sample).await,
                Read::Value(sample.expected())
            );
        }
    }
    println!("{pairs} moves");
}

#[tokio::test]
async fn no_row_opens_with_a_part_of_its_key_moved() {
    let (_folder, worlds) = worlds().await;
    let mut moves = 0;
    for (at, world) in worlds.iter().enumerate() {
        for (sample, target) in &world.rows {
            if sample.table == Table::SenderKeyDevice {
                continue; // Its keys do move: see below.
            }
            for (from, source) in worlds.iter().flat_map(|world| &world.rows) {
                if from == sample || source.row().sql != target.row().sql {
                    continue;
                }
                let columns = target.row().keys.iter().map(String::as_str);
                for column in
                    columns.chain((sample.table == Table::LidMapping).then_some("phone_number"))
                {
                    for part in 0..target.parts.len() {
                        let value = source.parts[part].get(column).clone();
                        if value == *target.parts[part].get(column) {
                            continue;
                        }
                        // Under another key, and no longer under its own.
                        target.parts[part].delete(&world.file);
                        let moved = target.parts[part].with(column, value);
                        let replaced: Vec<raw::Raw> =
                            raw::rows(&world.file, moved.sql, moved.int("device_id") as i32)
                                .into_iter()
                                .filter(|row| row.same_key(&moved))
                                .collect();
                        moved.write(&world.file);
                        // Every account of this file.
                        let here = worlds
                            .iter()
                            .enumerate()
                            .filter(|(other, _)| other / 2 == at / 2);
                        for (_, reader) in here {
                            check_table(reader, sample.table).await;
                        }
                        moves += 1;
                        moved.delete(&world.file);
                        replaced.iter().for_each(|row| row.write(&world.file));
                        target.parts[part].write(&world.file);
                    }
                }
            }
            assert_eq!(
                read(&world.store, sample).await,
                Read::Value(sample.expected())
            );
        }
    }
    println!("{moves} moves");
}

/// Every row of a table reads as itself, as absent, or not at all; and so do the lists.
async fn check_table(world: &World, table: Table) {
    let mut listed = Vec::new();
    for (sample, _) in world
        .rows
        .iter()
        .filter(|(sample, _)| sample.table == table)
    {
        match read(&world.store, sample).await {
            Read::Value(value) => assert_eq!(value, sample.expected(), "{sample:?}"),
            Read::Absent => {}
            Read::Refused(why) => {
                let gone = [Why::Corrupt(Fault::MissingHalf), Why::StoreEmptied];
                assert!(why == MOVED || gone.contains(&why), "{sample:?}: {why:?}");
            }
        }
        listed.push(*sample);
    }
    let store = &world.store;
    match table {
        Table::LidMapping => {
            for entry in store.get_all_lid_mappings().await.unwrap_or_default() {
                let entry = format!("{entry:?}");
                assert!(
                    listed.iter().any(|sample| sample.expected() == entry),
                    "{entry}"
                );
            }
            for sample in &listed {
                if let Ok(Some(entry)) = store.get_pn_mapping(&sample.user()).await {
                    assert_eq!(format!("{entry:?}"), sample.expected());
                }
            }
        }
        Table::TcToken => {
            for jid in store.get_all_tc_token_jids().await.unwrap_or_default() {
                assert!(listed.iter().any(|sample| sample.lid() == jid), "{jid}");
            }
        }
        Table::SignedPreKey => {
            for (id, record) in store.load_all_signed_prekeys().await.unwrap_or_default() {
                let own = |sample: &&Sample| sample.number() == id && sample.bytes(70) == record;
                assert!(listed.iter().any(|sample| own(&sample)), "{id}");
            }
        }
        Table::PreKey => {
            let ids: Vec<u32> = listed.iter().map(Sample::number).collect();
            for (id, record) in store.load_prekeys_batch(&ids).await.unwrap_or_default() {
                let own = |sample: &&Sample| sample.number() == id && sample.bytes(70) == record;
                assert!(listed.iter().any(|sample| own(&sample)), "{id}");
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn no_store_opens_with_the_canary_of_another() {
    let (_folder, worlds) = worlds().await;
    let sources = records(&worlds);
    for world in &worlds {
        let own = world.canary.carrier().unwrap();
        let open = async || {
            let inner = world.store.inner().clone();
            SealedBackend::open(inner, world.account.clone())
                .await
                .err()
        };
        assert!(open().await.is_none());
        for (from, source) in &sources {
            let record = source.carrier().unwrap();
            if record == own {
                continue;
            }
            world.canary.with_carrier(&record).write(&world.file);
            let whole = open().await.map(|error| why(&error));
            // Its own words before another record.
            let record = match source.table {
                Table::Canary => &record[CANARY_CLEAR..],
                _ => &record,
            };
            let mixed = [&own[..CANARY_CLEAR], record].concat();
            world.canary.with_carrier(&mixed).write(&world.file);
            let mixed = open().await.map(|error| why(&error));
            assert_eq!(mixed, Some(MOVED), "{} of {from}", source.table);
            match source.table {
                Table::Canary => assert_eq!(whole, Some(Why::WrongKeyring)),
                _ => assert_eq!(whole, Some(Why::Corrupt(Fault::Canary))),
            }
        }
        world.canary.write(&world.file);
        assert!(open().await.is_none());
    }
}

#[tokio::test]
async fn no_store_opens_with_the_device_of_another() {
    let (_folder, worlds) = worlds().await;
    for world in &worlds {
        let (sample, own) = world.find(Table::Device, 0);
        for other in &worlds {
            let (whose, foreign) = other.find(Table::Device, 0);
            if whose == sample {
                continue;
            }
            own.with_carrier(&foreign.carrier().unwrap())
                .write(&world.file);
            assert_eq!(read(&world.store, sample).await, Read::Refused(MOVED));
            let inner = world.store.inner().clone();
            let opened = SealedBackend::open(inner, world.account.clone()).await;
            assert_eq!(why(&opened.expect_err("refused")), MOVED);
        }
        own.write(&world.file);
    }
}

#[tokio::test]
async fn halves_of_message_secrets_do_not_mix() {
    let (_folder, worlds) = worlds().await;
    let world = &worlds[0];
    let (sample, own) = world.find(Table::MsgSecret, 0);
    let (_, other) = world.find(Table::MsgSecret, 1);
    let half = |stored: &Stored, part: usize| stored.parts[part].bytes("secret");
    let halves = [half(own, 0), half(own, 1), half(other, 0), half(other, 1)];
    for (a, first) in halves.iter().enumerate() {
        for (b, second) in halves.iter().enumerate() {
            own.with_carrier(&[&first[..], second].concat())
                .write(&world.file);
            let found = read(&world.store, sample).await;
            match (a, b) {
                (0, 1) => assert_eq!(found, Read::Value(sample.expected())),
                // The second half has no header, and its bytes are random.
                (1 | 3, _) => assert!(matches!(found, Read::Refused(_)), "{a} {b}"),
                _ => assert_eq!(found, Read::Refused(MOVED), "{a} {b}"),
            }
        }
    }
}
