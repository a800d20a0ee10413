//! A store that can only answer questions cannot be decrypted, checked or moved to new keys. So the
//! name and the value of every row must come back from the keys and the raw row alone, and every sealed
//! value must say which generation sealed it.

mod common;

use std::collections::BTreeSet;

use common::raw::{self, Raw, Stored};
use common::samples::{Sample, TABLES};
use common::world::{World, world, worlds};
use sealed_store::{Account, Fault, RawRow, Restored, SealError, Table};
use wacore::store::traits::DeviceStore;

/// Opens a row of the file by itself.
fn restore(account: &Account, stored: &Stored) -> Result<Restored, SealError> {
    let row = stored.row();
    let text = |column: &str| row.text(column);
    let record = |column: &str| row.bytes(column);
    let id = || u32::try_from(row.int("id")).expect("an id");
    match row.sql {
        "sessions" => account.restore(RawRow::Session {
            address: &text("address"),
            record: &record("record"),
        }),
        "prekeys" => account.restore(RawRow::PreKey {
            id: id(),
            record: &record("key"),
        }),
        "signed_prekeys" => account.restore(RawRow::SignedPreKey {
            id: id(),
            record: &record("record"),
        }),
        "sender_keys" => account.restore(RawRow::SenderKey {
            address: &text("address"),
            record: &record("record"),
        }),
        "app_state_keys" => account.restore(RawRow::SyncKey {
            key_id: &record("key_id"),
            key: &raw::sync_key(&record("key_data")),
        }),
        "app_state_versions" => account.restore(RawRow::Version {
            name: &text("name"),
            state: &raw::hash_state(&record("state_data")),
        }),
        "app_state_mutation_macs" => account.restore(RawRow::MutationMac {
            name: &text("name"),
            index_mac: &record("index_mac"),
            value_mac: &record("value_mac"),
        }),
        "sender_key_devices" => account.restore(RawRow::SenderKeyDevice {
            group: &text("group_jid"),
            device: &text("device_jid"),
        }),
        "lid_pn_mapping" => account.restore(RawRow::LidMapping(&raw::mapping(row))),
        "base_keys" => account.restore(RawRow::BaseKey {
            address: &text("address"),
            message_id: &text("message_id"),
            base_key: &record("base_key"),
        }),
        "device_registry" => account.restore(RawRow::DeviceList(&raw::device_list(row))),
        "group_metadata" => account.restore(RawRow::GroupMetadata {
            group: &text("group_jid"),
            blob: &record("info"),
        }),
        "sent_messages" => account.restore(RawRow::SentMessage {
            chat: &text("chat_jid"),
            id: &text("message_id"),
            payload: &record("payload"),
        }),
        "pending_inbound_messages" => account.restore(RawRow::PendingInbound {
            chat: &text("chat"),
            sender: &text("sender"),
            id: &text("id"),
            message: &record("message"),
        }),
        "tc_tokens" => account.restore(RawRow::TcToken {
            jid: &text("jid"),
            entry: &raw::token(row),
        }),
        "msg_secrets" => account.restore(RawRow::MsgSecret {
            chat: &text("chat"),
            sender: &text("sender"),
            first: &record("secret"),
            second: &stored.parts[1].bytes("secret"),
        }),
        other => panic!("{other} is no table of rows"),
    }
}

/// All rows of an account, as the file has them: nothing is known of them but their SQL table.
fn all_rows(world: &World) -> Vec<Stored> {
    let tables: BTreeSet<&'static str> = TABLES.into_iter().map(raw::sql_table).collect();
    let mut all = Vec::new();
    for sql in tables {
        let rows = raw::rows(&world.file, sql, world.device);
        let table = TABLES
            .into_iter()
            .find(|table| raw::sql_table(*table) == sql);
        let table = table.expect("a table");
        for row in &rows {
            let second =
                |other: &&Raw| other.get("chat") == row.get("chat") && other.text("sender") == "1";
            let parts = match sql {
                "msg_secrets" if row.text("sender") == "1" => continue,
                "msg_secrets" => vec![row.clone(), rows.iter().find(second).unwrap().clone()],
                _ => vec![row.clone()],
            };
            all.push(Stored { table, parts });
        }
    }
    all
}

type Plain = (Table, Vec<Vec<u8>>, Option<Vec<u8>>);

fn plain(restored: &Restored) -> Plain {
    let name = restored.name.iter().map(|part| part.to_vec()).collect();
    let value = restored.value.as_ref().map(|value| value.to_vec());
    (restored.table, name, value)
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
}

fn option(bytes: Option<Vec<u8>>) -> Vec<u8> {
    bytes.map_or(vec![0], |bytes| [vec![1], frame(&bytes)].concat())
}

/// What a sample must come back as, by the format's specification.
async fn expected(world: &World, sample: &Sample) -> Plain {
    let text = |parts: &[String]| -> Vec<Vec<u8>> {
        parts.iter().map(|part| part.clone().into_bytes()).collect()
    };
    let number = vec![sample.number().to_le_bytes().to_vec()];
    let mut collection = text(&[sample.group()]);
    let (name, value) = match sample.table {
        Table::Session | Table::GroupMetadata => {
            let name = match sample.table {
                Table::Session => sample.address(),
                _ => sample.group(),
            };
            (text(&[name]), sample.bytes(90))
        }
        Table::Identity => (text(&[sample.address()]), sample.bytes(32)),
        Table::PreKey | Table::SignedPreKey => (number, sample.bytes(70)),
        Table::SenderKey => (text(&[sample.address()]), sample.bytes(80)),
        Table::SyncKey => {
            let key = sample.sync_key();
            let time = key.timestamp.to_le_bytes().to_vec();
            let value = [frame(&key.key_data), frame(&key.fingerprint), time];
            (vec![vec![0, sample.row]], value.concat())
        }
        Table::Version => {
            let state = sample.state();
            let mut value = state.version.to_le_bytes().to_vec();
            value.extend(state.hash);
            value.push(u8::from(state.mac_mismatch_fatal));
            value.extend(1u32.to_le_bytes());
            for (index, mac) in &state.index_value_map {
                value.extend([frame(index.as_bytes()), frame(mac)].concat());
            }
            (collection, value)
        }
        Table::MutationMac => {
            collection.push(sample.index_mac().to_vec());
            (collection, sample.bytes(32))
        }
        Table::SenderKeyDevice => {
            let name = text(&[sample.group(), sample.device_jid()]);
            return (sample.table, name, None);
        }
        Table::LidMapping => {
            let name = text(&[sample.lid(), sample.user()]);
            (name, sample.mapping().learning_source.into_bytes())
        }
        Table::BaseKey => (text(&[sample.address(), sample.id()]), sample.bytes(33)),
        Table::DeviceList => {
            let list = sample.device_list();
            let mut value = list.timestamp.to_le_bytes().to_vec();
            value.extend(option(list.phash.map(String::into_bytes)));
            value.extend(option(list.raw_id.map(|id| id.to_le_bytes().to_vec())));
            value.extend(1u32.to_le_bytes());
            for device in list.devices {
                value.extend(device.device_id.to_le_bytes());
                value.extend(option(
                    device.key_index.map(|index| index.to_le_bytes().to_vec()),
                ));
                value.push(u8::from(device.is_hosted));
            }
            (text(&[sample.user()]), value)
        }
        Table::SentMessage => (text(&[sample.group(), sample.id()]), sample.bytes(90)),
        Table::PendingInbound => {
            let name = text(&[sample.group(), sample.address(), sample.id()]);
            (name, sample.bytes(90))
        }
        Table::TcToken => (text(&[sample.lid()]), sample.bytes(24)),
        Table::MsgSecret => {
            let name = text(&[sample.group(), sample.address(), sample.id()]);
            (name, sample.bytes(32))
        }
        Table::Device => {
            let device = world.store.load().await.unwrap().expect("a device");
            (
                text(&["device".into()]),
                serde_json::to_vec(&device).unwrap(),
            )
        }
        other => panic!("no sample of {other}"),
    };
    (sample.table, name, Some(value))
}

#[tokio::test]
async fn every_name_and_value_comes_back_from_the_raw_rows() {
    let (_folder, worlds) = worlds().await;
    for world in &worlds {
        let mut wanted = BTreeSet::new();
        for (sample, _) in &world.rows {
            wanted.insert(expected(world, sample).await);
        }
        let canary = "sealed-store.canary";
        wanted.insert((Table::Canary, vec![canary.into()], None));
        let rows = all_rows(world);
        let mut found = BTreeSet::new();
        for stored in &rows {
            let restored = restore(&world.account, stored).expect("the row opens");
            let has_value = restored.table != Table::SenderKeyDevice;
            assert_eq!(
                restored.generation,
                has_value.then_some(1),
                "{}",
                restored.table
            );
            found.insert(plain(&restored));
        }
        // No difference is printed: these are values.
        let tables = |set: &BTreeSet<Plain>| set.iter().map(|row| row.0).collect::<Vec<_>>();
        assert_eq!(tables(&found), tables(&wanted));
        assert!(found == wanted, "a name or a value differs");
        assert_eq!(found.len(), rows.len());
        println!("{} rows of {} tables", rows.len(), TABLES.len() + 1);
    }
}

#[tokio::test]
async fn a_snapshots_extra_content_comes_back_from_its_file() {
    let (folder, world) = world().await;
    let (name, content) = (
        "before the update",
        b"what the caller wants to keep".as_slice(),
    );
    world.store.snapshot_db(name, Some(content)).await.unwrap();
    let (key, sealed) = raw::snapshot(folder.path());
    let row = RawRow::Snapshot {
        name: &key,
        content: &sealed,
    };
    let restored = world.account.restore(row).expect("it opens");
    let plain = plain(&restored);
    let wanted = (Table::Snapshot, vec![name.into()], Some(content.to_vec()));
    assert!(plain == wanted, "the name or the content differs");
    assert_eq!(restored.generation, Some(1));
    let other = key.replace(|letter: char| letter != 'a', "a");
    let row = RawRow::Snapshot {
        name: &other,
        content: &sealed,
    };
    assert!(world.account.restore(row).is_err(), "under another name");
}

#[tokio::test]
async fn every_row_says_which_generation_sealed_it() {
    let (_folder, world) = world().await;
    world.account.rotate_data_keys(&TABLES).await.unwrap();
    for table in TABLES {
        let sample = Sample {
            table,
            row: 1,
            owner: 2,
        };
        sample.put(&world.store).await.unwrap();
    }
    let mut found = BTreeSet::new();
    for stored in all_rows(&world) {
        let restored = restore(&world.account, &stored).expect("the row opens");
        found.insert((restored.table, restored.generation));
    }
    let mut wanted = BTreeSet::from([(Table::Canary, Some(1)), (Table::Device, Some(2))]);
    for table in TABLES {
        match table {
            Table::SenderKeyDevice => drop(wanted.insert((table, None))),
            Table::Device => {} // One row, written anew.
            _ => wanted.extend([(table, Some(1)), (table, Some(2))]),
        }
    }
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_token_that_is_not_there_yet_has_a_name_and_no_value() {
    let (_folder, world) = world().await;
    let (sample, stored) = world.find(Table::TcToken, 0);
    let mut entry = raw::token(stored.row());
    entry.token.clear();
    let row = RawRow::TcToken {
        jid: &stored.row().text("jid"),
        entry: &entry,
    };
    let restored = world.account.restore(row).expect("it opens");
    assert!(plain(&restored) == (Table::TcToken, vec![sample.lid().into_bytes()], None));
    assert_eq!(restored.generation, None);
}

#[tokio::test]
async fn a_moved_row_does_not_come_back() {
    let (_folder, worlds) = worlds().await;
    let world = &worlds[0];
    let own = all_rows(world);
    let others: Vec<Stored> = worlds.iter().flat_map(all_rows).collect();
    let mut moves = 0;
    for stored in &own {
        let row = stored.row();
        for other in others
            .iter()
            .map(Stored::row)
            .filter(|other| other.sql == row.sql)
        {
            // A row that is all name moves within its account, see not_prevented.rs.
            let same_account = own.iter().any(|stored| stored.row() == other);
            if row.sql == "sender_key_devices" && same_account {
                continue;
            }
            for column in &row.keys {
                if row.get(column) == other.get(column) || column == "device_id" {
                    continue;
                }
                let mut moved = stored.clone();
                moved.parts[0].set(column, other.get(column).clone());
                let error = restore(&world.account, &moved).err();
                let error = error.unwrap_or_else(|| panic!("{} opened", row.sql));
                match error {
                    SealError::Corrupt {
                        what: Fault::Authentication | Fault::Name | Fault::Canary,
                        ..
                    } => {}
                    // The canary's row begins with words, not with a record.
                    SealError::Unsealed { .. } if row == world.canary.row() => {}
                    other => panic!("{}: {other:?}", row.sql),
                }
                moves += 1;
            }
        }
    }
    println!("{moves} moves");
}

#[tokio::test]
async fn what_was_never_sealed_says_so_and_closed_keys_open_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = common::world::memory_keyring(7).await;
    let account = keyring.create_account("1").await.unwrap();
    let world = World::make(&folder.path().join("a.db"), 1, account, 1, 1).await;
    let row = RawRow::GroupMetadata {
        group: "120363021033254949@g.us",
        blob: b"plain metadata",
    };
    let error = world.account.restore(row).err();
    assert!(matches!(error, Some(SealError::Unsealed { .. })));
    let rows = all_rows(&world);
    keyring.lock();
    for stored in &rows {
        let error = restore(&world.account, stored).err();
        assert!(matches!(error, Some(SealError::NotOpen)));
    }
}
