//! A row that does not open must not take the account down with it, nor be taken for absent where
//! absent is worse: a missing identity is accepted anew, a missing sender-key device keeps a removed
//! member's key in use. So `TreatAsMissing` holds for six tables that heal and for one kind of damage,
//! and each case is counted and told. And looking at a sent message must not lose it.

mod common;

use std::sync::{Arc, Mutex, PoisonError};

use common::damage::{flipped, refusal};
use common::reading::{MOVED, Read, read};
use common::world::{World, memory_keyring_with};
use sealed_store::{AuditEvent, AuditSink, KeyringOptions, OnCorrupt, SealOptions, Table};
use tempfile::TempDir;
use wacore::store::traits::ProtocolStore;

/// The tables that 3-mapping lets heal.
const HEALING: [Table; 6] = [
    Table::Session,
    Table::SenderKey,
    Table::DeviceList,
    Table::GroupMetadata,
    Table::Version,
    Table::TcToken,
];

#[derive(Default)]
struct Told(Mutex<Vec<(Table, bool)>>);

impl Told {
    fn take(&self) -> Vec<(Table, bool)> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AuditSink for Told {
    fn record(&self, event: &AuditEvent) {
        if let AuditEvent::RowRefused {
            table,
            treated_as_missing,
            ..
        } = event
        {
            let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            told.push((*table, *treated_as_missing));
        }
    }
}

async fn world() -> (TempDir, World, Arc<Told>) {
    let folder = tempfile::tempdir().unwrap();
    let told = Arc::new(Told::default());
    let options = KeyringOptions::new().audit(told.clone());
    let keyring = memory_keyring_with(7, options).await;
    let account = keyring.create_account("1").await.unwrap();
    let world = World::make(&folder.path().join("a.db"), 1, account, 1, 1).await;
    (folder, world, told)
}

#[tokio::test]
async fn a_row_reads_as_missing_only_where_that_heals_and_only_if_it_was_altered() {
    for on_corrupt in [OnCorrupt::Fail, OnCorrupt::TreatAsMissing] {
        let (_folder, world, told) = world().await;
        let options = SealOptions::new().on_corrupt(on_corrupt);
        let (inner, store) = world.in_memory(options).await;
        for (sample, stored) in &world.rows {
            let table = sample.table;
            if matches!(table, Table::SenderKeyDevice | Table::BaseKey) {
                continue; // No record that is opened: see below.
            }
            let record = stored.carrier().unwrap();
            // The last bit of the tag; then magic, version, suite, generation, and all cut off.
            let last = record.len() * 8 - 1;
            let mut damaged: Vec<_> = [last, 0, 16, 26, 32]
                .map(|bit| flipped(&record, bit))
                .into();
            if table != Table::MsgSecret {
                damaged.push(record[..40].to_vec());
            }
            for altered in damaged {
                stored.with_carrier(&altered).place(&*inner).await.unwrap();
                let before = store.refused_rows();
                told.take();
                let found = read(&store, sample).await;
                let why = refusal(table, &record, &altered);
                let missing = on_corrupt == OnCorrupt::TreatAsMissing
                    && why == MOVED
                    && HEALING.contains(&table);
                let expected = if missing {
                    Read::Absent
                } else {
                    Read::Refused(why)
                };
                assert_eq!(found, expected, "{table} {on_corrupt:?}");
                assert_eq!(store.refused_rows(), before + 1, "{table} is counted");
                assert_eq!(told.take(), [(table, missing)], "and told");
                if table == Table::TcToken {
                    // Left in place, a forged time would make newer-wins refuse every later token.
                    let row = inner.get_tc_token(&stored.row().text("jid")).await.unwrap();
                    assert_eq!(row.is_none(), missing);
                }
            }
            stored.place(&*inner).await.unwrap();
            assert_eq!(read(&store, sample).await, Read::Value(sample.expected()));
        }
    }
}

/// Another name of the same alphabet.
fn altered_name(name: &str) -> String {
    let first = if name.starts_with('A') { 'B' } else { 'A' };
    format!("{first}{}", &name[1..])
}

#[tokio::test]
async fn lists_and_names_fail_whole_whatever_the_options() {
    let (_folder, world, told) = world().await;
    let options = SealOptions::new().on_corrupt(OnCorrupt::TreatAsMissing);
    let (inner, store) = world.in_memory(options).await;
    let (sample, stored) = world.find(Table::SenderKeyDevice, 0);
    let group = stored.row().text("group_jid");
    let device = altered_name(&stored.row().text("device_jid"));
    inner
        .set_sender_key_status(&group, &[(&device, true)])
        .await
        .unwrap();
    // One of two rows is whole, and neither is given.
    assert_eq!(read(&store, sample).await, Read::Refused(MOVED));
    assert_eq!(told.take(), [(Table::SenderKeyDevice, false)]);

    let (_, stored) = world.find(Table::LidMapping, 0);
    let record = stored.carrier().unwrap();
    let altered = stored.with_carrier(&flipped(&record, 800));
    altered.place(&*inner).await.unwrap();
    assert!(store.get_all_lid_mappings().await.is_err());
    assert_eq!(told.take(), [(Table::LidMapping, false)]);

    let (_, stored) = world.find(Table::TcToken, 0);
    let mut row = common::raw::token(stored.row());
    row.token = flipped(&row.token, 500);
    let name = altered_name(&stored.row().text("jid"));
    inner.put_tc_token(&name, &row).await.unwrap();
    assert!(store.get_all_tc_token_jids().await.is_err());
    assert_eq!(told.take(), [(Table::TcToken, false)]);
}

#[tokio::test]
async fn a_sent_message_that_does_not_open_is_put_back_as_it_was() {
    for on_corrupt in [OnCorrupt::Fail, OnCorrupt::TreatAsMissing] {
        let (_folder, world, _) = world().await;
        let options = SealOptions::new().on_corrupt(on_corrupt);
        let (inner, store) = world.in_memory(options).await;
        let (sample, stored) = world.find(Table::SentMessage, 0);
        let record = stored.carrier().unwrap();
        let [chat, id] = ["chat_jid", "message_id"].map(|column| stored.row().text(column));
        for altered in [flipped(&record, 700), flipped(&record, 33), Vec::new()] {
            stored.with_carrier(&altered).place(&*inner).await.unwrap();
            for _ in 0..2 {
                let taken = store.take_sent_message(&sample.group(), &sample.id()).await;
                assert!(taken.is_err());
            }
            let row = inner.take_sent_message(&chat, &id).await.unwrap();
            assert_eq!(row, Some(altered), "the sealed bytes are there");
        }
        // What opens is taken for good.
        stored.place(&*inner).await.unwrap();
        let taken = store.take_sent_message(&sample.group(), &sample.id()).await;
        assert_eq!(taken.unwrap(), Some(sample.bytes(90)));
        assert_eq!(inner.take_sent_message(&chat, &id).await.unwrap(), None);
    }
}
