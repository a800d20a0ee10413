//! Whoever writes beside a resealing wins: what is changed between its reading and its writing stays changed, what is
//! deleted stays deleted, and a row that comes back under an old key keeps that key.

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/resealing.rs"]
mod resealing;

use std::path::Path;

use common::samples::{Sample, TABLES};
use resealing::{
    LAYOUTS, Walk, body, checks, connect, fill, is_whole, key, keys, one_key_a_table, open, state,
    walking as child_walks,
};
use rusqlite::params;
use sealed_store::Table;
use sealed_store::lifecycle::{ReencryptOptions, reencrypt};
use wacore::store::traits::Backend;

/// Rows that are changed, and one that is deleted, of every table.
const CHANGED: [u8; 2] = [0, 9];
const DELETED: u8 = 4;

fn sample(table: Table, row: u8, owner: u8) -> Sample {
    Sample { table, row, owner }
}

fn is_deleted(table: Table) -> bool {
    matches!(
        table,
        Table::Session
            | Table::Identity
            | Table::PreKey
            | Table::SignedPreKey
            | Table::SenderKey
            | Table::BaseKey
            | Table::TcToken
            | Table::SentMessage
            | Table::PendingInbound
    )
}

/// Deletes the row, where the traits can.
async fn delete(store: &dyn Backend, table: Table) {
    let row = sample(table, DELETED, 1);
    let deleted = match table {
        Table::Session => store.delete_session(&row.address()).await,
        Table::Identity => store.delete_identity(&row.address()).await,
        Table::PreKey => store.remove_prekey(row.number()).await,
        Table::SignedPreKey => store.remove_signed_prekey(row.number()).await,
        Table::SenderKey => store.delete_sender_key(&row.address()).await,
        Table::BaseKey => store.delete_base_key(&row.address(), &row.id()).await,
        Table::TcToken => store.delete_tc_token(&row.lid()).await,
        Table::SentMessage => {
            let taken = store.take_sent_message(&row.group(), &row.id()).await;
            taken.map(drop)
        }
        Table::PendingInbound => {
            let (group, address, id) = (row.group(), row.address(), row.id());
            store.delete_pending_inbound(&group, &address, &id).await
        }
        _ => return,
    };
    deleted.unwrap();
}

/// Between the reading of every page and its writing, rows of every table are changed and deleted.
#[tokio::test]
async fn what_somebody_writes_between_reading_and_writing_stays() {
    for layout in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.db");
        let store = fill(&path, layout).await;
        let mut walk = Walk::start(&path, &[]);
        let (mut owner, mut between) = (2, 0);
        while let Some(step) = walk.step() {
            match step.as_str() {
                // There again when the next page is read.
                "begun" | "page" => {
                    for table in TABLES.into_iter().filter(|table| is_deleted(*table)) {
                        sample(table, DELETED, 1).put(&*store).await.unwrap();
                    }
                }
                "sealed" => {
                    owner += 1;
                    between += 1;
                    for table in TABLES {
                        for row in CHANGED {
                            sample(table, row, owner).put(&*store).await.unwrap();
                        }
                        delete(&*store, table).await;
                    }
                }
                "walked" => {
                    for table in TABLES {
                        delete(&*store, table).await;
                    }
                }
                _ => {}
            }
            walk.go_on();
        }
        let done = walk.done.unwrap();
        println!("{layout}: written between {between} times: {done:?}");
        assert!(between > 10, "{between}");
        assert_eq!(done.retained, Table::ALL.len() as u64);
        drop(store);
        let store = open(&path, layout).await;
        for table in TABLES {
            for row in 0..10 {
                let is_changed = CHANGED.contains(&row) || table == Table::Device;
                let expected = sample(table, row, if is_changed { owner } else { 1 });
                // Whose name has the owner in it: all that were written are there.
                if table == Table::SenderKeyDevice {
                    continue;
                }
                let found = expected.get(&*store).await.unwrap();
                if row == DELETED && is_deleted(table) {
                    assert_eq!(found, None, "{layout}: {expected:?} is back");
                } else {
                    assert_eq!(found, Some(expected.expected()), "{layout} {expected:?}");
                }
            }
        }
        drop(store);
        let options = ReencryptOptions::new();
        reencrypt(&path, &key(), options, &()).await.unwrap();
        checks(&path).await;
    }
}

/// A session as the database holds it.
fn record(path: &Path, rowid: i64) -> Vec<u8> {
    let query = "SELECT record FROM sessions WHERE rowid = ?1";
    connect(path)
        .query_row(query, [rowid], |row| row.get(0))
        .unwrap()
}

/// A row that appears under an old key after the first proof is found by the second, as often as that happens.
#[tokio::test]
async fn a_row_that_comes_back_after_the_first_proof_keeps_its_key() {
    for layout in LAYOUTS {
        for times in [1, 100] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("w.db");
            drop(fill(&path, layout).await);
            let last: i64 = connect(&path)
                .query_row("SELECT max(rowid) FROM sessions", [], |row| row.get(0))
                .unwrap();
            let old = record(&path, last);
            let mut walk = Walk::start(&path, &[]);
            let mut marked = 0;
            while let Some(step) = walk.step() {
                if step == "marked" {
                    assert_eq!(state(&path, Table::Session, 1), "destroying");
                    marked += 1;
                    if marked <= times {
                        let sql = "UPDATE sessions SET record = ?1 WHERE rowid = ?2";
                        let changed = connect(&path).execute(sql, params![old, last]);
                        assert_eq!(changed.unwrap(), 1);
                    }
                }
                walk.go_on();
            }
            let done = walk.done.unwrap();
            println!("{layout}: came back {} times: {done:?}", times.min(marked));
            if times == 1 {
                assert_eq!((marked, done.retained), (2, 0), "all again, and done");
            } else {
                assert_eq!((marked, done.destroyed), (3, 0));
                assert_eq!(done.retained, Table::ALL.len() as u64);
                assert!(keys(&path).values().all(|state| state != "destroying"));
                assert_eq!(state(&path, Table::Session, 1), "retained");
                checks(&path).await;
                let options = ReencryptOptions::new();
                let done = reencrypt(&path, &key(), options, &()).await.unwrap();
                assert_eq!((done.resealed, done.retained), (1, 0), "{done:?}");
            }
            one_key_a_table(&path, 2);
            checks(&path).await;
            is_whole(&*open(&path, layout).await).await;
        }
    }
}

/// Two runs at once, of different tables: the place of the one must not put the other's tables out of the document.
#[tokio::test]
async fn a_run_of_other_tables_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    drop(fill(&path, "ours").await);
    let mut first = Walk::start(&path, &[Table::Session]);
    first.until("page");
    let second = Walk::start(&path, &[Table::MsgSecret]).finish();
    assert_eq!(second.retained, 2, "of both tables");
    first.go_on();
    first.finish();
    let targets = body(&path, 1)["resealing"]["targets"].clone();
    assert_eq!(targets.as_array().unwrap().len(), 2, "{targets}");
    // Whoever is alone next finishes both.
    let store = open(&path, "ours").await;
    for table in [Table::Session, Table::MsgSecret] {
        assert_eq!(state(&path, table, 1), "destroyed");
    }
    is_whole(&*store).await;
}

/// Keys that are newer than those of a run whose old keys were retained: the next run is of these.
#[tokio::test]
async fn keys_that_were_rotated_since_are_not_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let store = fill(&path, "ours").await;
    let options = ReencryptOptions::new();
    let done = reencrypt(&path, &key(), options.clone(), &())
        .await
        .unwrap();
    assert_eq!(done.retained, 20);
    drop(store);
    let keyring = common::file_keyring(&path).await;
    keyring.rotate_data_keys(&[Table::Session]).await.unwrap();
    drop(keyring);
    reencrypt(&path, &key(), options, &()).await.unwrap();
    for generation in 1..4 {
        assert_eq!(state(&path, Table::Session, generation), "destroyed");
    }
    assert_eq!(state(&path, Table::Session, 4), "active");
    checks(&path).await;
    is_whole(&*open(&path, "ours").await).await;
}

/// No test of its own: the child of a walk.
#[test]
fn walking() {
    child_walks();
}
