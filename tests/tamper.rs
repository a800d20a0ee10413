//! Stores of this kind have panicked on a truncated value, and answered a damaged row with another
//! error than a wrong key or with a wrong value. Here every bit of every record and of what is bound
//! to it is flipped, and every length tried: the right error comes back, and nothing else.
//!
//! Every bit is flipped over the memory store. Over SQLite, by SQL, only some are; with
//! `SEALED_STORE_LONG=1` all are, in some minutes.

mod common;

use std::sync::Arc;

use common::damage::{flipped, refusal, resized};
use common::raw::carrier_column;
use common::reading::{MOVED, Read, Why, read, why};
use common::world::{World, world, world_with};
use data_encoding::BASE64URL_NOPAD;
use rusqlite::types::Value;
use sealed_store::{Fault, SealError, SealOptions, SealedBackend, Suite, Table};
use wacore::store::InMemoryBackend;
use wacore::store::traits::{DeviceStore, ProtocolStore};

/// The outcome of reading a row whose record was altered.
fn outcome(table: Table, original: &[u8], altered: &[u8]) -> Read {
    match table {
        // The inner store compares: all that differs is not the same.
        Table::BaseKey => Read::Absent,
        _ => Read::Refused(refusal(table, original, altered)),
    }
}

#[tokio::test]
async fn every_bit_and_every_length_of_every_record_matters() {
    let (_folder, world) = world().await;
    every_alteration_is_refused(&world, Suite::for_this_machine()).await;
}

#[tokio::test]
async fn every_bit_and_every_length_matters_without_aes_as_well() {
    let (_folder, world) = world_with(common::without_aes()).await;
    every_alteration_is_refused(&world, Suite::XChaCha20Poly1305).await;
}

/// Flips every bit and tries every length of every record, over a memory store.
async fn every_alteration_is_refused(world: &World, suite: Suite) {
    let (inner, store) = world.in_memory(SealOptions::default()).await;
    let mut tried = 0;
    for (sample, stored) in &world.rows {
        let Some(record) = stored.carrier() else {
            continue;
        };
        assert_eq!(record[3], suite.number(), "the suite of {}", sample.table);
        let bits = (0..record.len() * 8).map(|bit| flipped(&record, bit));
        // The two rows of a message secret have 32 bytes each in any store of this trait.
        let lengths = resized(&record).filter(|_| sample.table != Table::MsgSecret);
        for altered in bits.chain(lengths) {
            if sample.table == Table::TcToken && altered.is_empty() {
                continue; // Reads as none yet, see not_prevented.rs.
            }
            stored.with_carrier(&altered).place(&*inner).await.unwrap();
            let found = read(&store, sample).await;
            let expected = outcome(sample.table, &record, &altered);
            assert_eq!(
                found,
                expected,
                "{} of {} bytes",
                sample.table,
                altered.len()
            );
            tried += 1;
        }
        stored.place(&*inner).await.unwrap();
        let found = read(&store, sample).await;
        assert_eq!(found, Read::Value(sample.expected()));
    }
    println!("{tried} alterations");
}

#[tokio::test]
async fn every_bit_matters_in_the_file_as_well() {
    let (_folder, world) = world().await;
    let stride = if std::env::var_os("SEALED_STORE_LONG").is_some() {
        1
    } else {
        29
    };
    let mut tried = 0;
    for (sample, stored) in &world.rows {
        let Some(record) = stored.carrier() else {
            continue;
        };
        let bits = (0..record.len() * 8).step_by(stride);
        let bits = bits.map(|bit| flipped(&record, bit));
        for altered in bits.chain(resized(&record).step_by(stride.div_ceil(2))) {
            if sample.table == Table::TcToken && altered.is_empty() {
                continue;
            }
            stored.with_carrier(&altered).write(&world.file);
            let expected = match sample.table {
                Table::MsgSecret if altered.len() != record.len() => {
                    Read::Refused(Why::Corrupt(Fault::Length))
                }
                table => outcome(table, &record, &altered),
            };
            let found = read(&world.store, sample).await;
            assert_eq!(
                found,
                expected,
                "{} of {} bytes",
                sample.table,
                altered.len()
            );
            tried += 1;
        }
        stored.write(&world.file);
        let found = read(&world.store, sample).await;
        assert_eq!(found, Read::Value(sample.expected()));
    }
    println!("{tried} alterations");
}

#[tokio::test]
async fn a_record_in_text_has_one_spelling() {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (_folder, world) = world().await;
    let (inner, store) = world.in_memory(SealOptions::default()).await;
    for table in [Table::LidMapping, Table::DeviceList] {
        let (sample, stored) = world.find(table, 0);
        let column = carrier_column(table).unwrap();
        let (text, record) = (stored.row().text(column), stored.carrier().unwrap());
        let mut altered = Vec::new();
        for at in 0..text.len() {
            // Letters for letters, the other case among them; then what no spelling has.
            for other in LETTERS.chars().chain("+/=. \n\0%é".chars()) {
                let other = [&text[..at], &other.to_string(), &text[at + 1..]].concat();
                altered.extend((other != text).then_some(other));
            }
            altered.push(text[..at].to_owned());
        }
        altered.extend(["=", "==", "A", " ", "\n"].map(|more| format!("{text}{more}")));
        altered.extend([format!(" {text}"), text.to_lowercase(), text.to_uppercase()]);
        let mut tried = 0;
        for altered in altered {
            let expected = match BASE64URL_NOPAD.decode(altered.as_bytes()) {
                Ok(bytes) => refusal(table, &record, &bytes),
                Err(_) if altered.starts_with("pVM") => Why::Corrupt(Fault::Encoding),
                Err(_) => Why::Unsealed,
            };
            let mut changed = stored.clone();
            changed.parts[0].set(column, Value::Text(altered.clone()));
            changed.place(&*inner).await.unwrap();
            let found = read(&store, sample).await;
            assert_eq!(found, Read::Refused(expected), "{table}: {altered:?}");
            tried += 1;
        }
        println!("{table}: {tried} spellings");
    }
}

#[tokio::test]
async fn every_bit_of_the_canary_matters() {
    // What it says in the clear: a line, then the ids of keyring, account and store.
    const LINE: usize = 22;
    const CLEAR: usize = LINE + 3 * 16;
    let (_folder, world) = world().await;
    let (inner, _) = world.in_memory(SealOptions::default()).await;
    let row = world.canary.carrier().unwrap();
    let stride = if std::env::var_os("SEALED_STORE_LONG").is_some() {
        1
    } else {
        3
    };
    let bits = (0..row.len() * 8).step_by(stride);
    let bits = bits.map(|bit| flipped(&row, bit));
    for altered in bits.chain(resized(&row)) {
        let placed = world.canary.with_carrier(&altered);
        placed.place(&*inner).await.unwrap();
        let error = SealedBackend::open(Arc::clone(&inner), world.account.clone()).await;
        let found = why(&error.expect_err("refused"));
        let expected = match (altered.get(LINE..CLEAR), altered.get(..LINE)) {
            (_, line) if line != row.get(..LINE) => Why::Corrupt(Fault::Canary),
            (None, _) => Why::Corrupt(Fault::Length),
            (ids, _) if ids != row.get(LINE..CLEAR) => Why::WrongKeyring,
            _ => refusal(Table::Canary, &row[CLEAR..], &altered[CLEAR..]),
        };
        assert_eq!(found, expected, "{} bytes", altered.len());
    }
}

#[tokio::test]
async fn every_character_of_a_name_that_a_list_gives_back_matters() {
    let (_folder, world) = world().await;
    let (mut inner, mut store) = empty_copy(&world).await;
    for (table, column) in [
        (Table::SenderKeyDevice, "device_jid"),
        (Table::TcToken, "jid"),
        (Table::LidMapping, "lid"),
        (Table::LidMapping, "phone_number"),
    ] {
        let (sample, stored) = world.find(table, 0);
        let text = stored.row().text(column);
        for at in 0..text.len() {
            for other in ["a", "A", "b", "-", "é", "=", ""] {
                let other = [&text[..at], other, &text[at + 1..]].concat();
                if other == text {
                    continue;
                }
                let mut altered = stored.clone();
                altered.parts[0].set(column, Value::Text(other.clone()));
                altered.place(&*inner).await.unwrap();
                let error = match table {
                    Table::SenderKeyDevice => {
                        store.get_sender_key_devices(&sample.group()).await.err()
                    }
                    Table::TcToken => store.get_all_tc_token_jids().await.err(),
                    _ => store.get_all_lid_mappings().await.err(),
                };
                let error = error.unwrap_or_else(|| panic!("{column}: {other} was listed"));
                let why = why(SealError::of(&error).unwrap());
                let refused = [MOVED, Why::Corrupt(Fault::Encoding)];
                assert!(refused.contains(&why), "{why:?}");
                // The next one alone.
                match table {
                    Table::SenderKeyDevice => inner.clear_all_sender_key_devices().await.unwrap(),
                    Table::TcToken => inner.delete_tc_token(&other).await.unwrap(),
                    // No method deletes a mapping.
                    _ => (inner, store) = empty_copy(&world).await,
                }
            }
        }
    }
}

/// The same account over a memory store with nothing but its canary and its device.
async fn empty_copy(world: &World) -> (Arc<InMemoryBackend>, SealedBackend<InMemoryBackend>) {
    let inner = Arc::new(InMemoryBackend::new());
    inner.create().await.unwrap();
    world.canary.place(&*inner).await.unwrap();
    let (_, device) = world.find(Table::Device, 0);
    device.place(&*inner).await.unwrap();
    let store = SealedBackend::open(Arc::clone(&inner), world.account.clone()).await;
    (inner, store.unwrap())
}
