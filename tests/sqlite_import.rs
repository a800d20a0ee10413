//! A database of upstream's own store comes over whole: every row of every account reads as it did, and the
//! source stays as it was. What can't be taken over leaves nothing behind.

mod common;

use std::path::Path;

use common::samples::{Sample, TABLES};
use sealed_store::Table;
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::testing::{assert_same_device, full_device};
use wacore::store::error::StoreError;
use wacore::store::traits::{Backend, DeviceStore, MsgSecretStore, ProtocolStore, SignalStore};

const ACCOUNTS: [i32; 3] = [1, 2, 7];
const ROWS: u8 = 3;

/// Upstream's database with three accounts, rows in every table of each.
async fn upstream(path: &Path) {
    for (owner, device) in (1u8..).zip(ACCOUNTS) {
        let store = common::sqlite_device(path, device).await;
        store.create().await.unwrap();
        for table in TABLES {
            let rows = if table == Table::Device { 1 } else { ROWS };
            for row in 0..rows {
                Sample { table, row, owner }.put(&*store).await.unwrap();
            }
        }
        store
            .mark_prekeys_uploaded(&[Sample {
                table: Table::PreKey,
                row: 0,
                owner,
            }
            .number()])
            .await
            .unwrap();
        store.save(&full_device()).await.unwrap();
    }
}

/// The bytes of a file, once nobody has it open.
async fn bytes(path: &Path) -> Vec<u8> {
    let wal = path.with_extension("db-wal");
    common::support::eventually("closed", || !wal.exists()).await;
    std::fs::read(path).unwrap()
}

fn refused<T>(result: Result<T, StoreError>) -> StoreError {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_of_every_account_comes_over() {
    let folder = tempfile::tempdir().unwrap();
    let (from, into) = (folder.path().join("old.db"), folder.path().join("new.db"));
    upstream(&from).await;
    let before = bytes(&from).await;
    let ours = SqliteStore::import_upstream(&from, &into).await.unwrap();
    assert_eq!(std::fs::read(&from).unwrap(), before, "the source changed");

    let mut compared = 0;
    for (owner, device) in (1u8..).zip(ACCOUNTS) {
        let theirs = common::sqlite_device(&from, device).await;
        let ours = ours.for_account(device);
        for table in TABLES.into_iter().filter(|table| *table != Table::Device) {
            for row in 0..ROWS {
                let sample = Sample { table, row, owner };
                let expected = sample.get(&*theirs).await.unwrap();
                assert!(expected.is_some(), "{sample:?}");
                assert_eq!(sample.get(&ours).await.unwrap(), expected, "{sample:?}");
                compared += 1;
            }
        }
        let (theirs_device, ours_device) =
            (theirs.load().await.unwrap(), ours.load().await.unwrap());
        assert_same_device(&ours_device.unwrap(), &theirs_device.unwrap(), &[]);
        let lists = |store: &dyn Backend| {
            let mut lists = Vec::new();
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    let mut jids = store.get_all_tc_token_jids().await.unwrap();
                    jids.sort();
                    let mut mappings = store.get_all_lid_mappings().await.unwrap();
                    mappings.sort_by(|a, b| a.lid.cmp(&b.lid));
                    lists.push(format!("{jids:?} {mappings:?}"));
                    lists.push(format!("{:?}", store.get_max_prekey_id().await.unwrap()));
                    lists.push(format!(
                        "{:?}",
                        store.get_latest_sync_key_id().await.unwrap()
                    ));
                });
            });
            lists
        };
        assert_eq!(lists(&ours), lists(&*theirs));
        // Deadlines come over too: the same rows are past the same cutoff.
        for cutoff in [0, 1_788_000_000, i64::MAX] {
            let gone = ours.delete_expired_msg_secrets(cutoff).await.unwrap();
            assert_eq!(
                gone,
                theirs.delete_expired_msg_secrets(cutoff).await.unwrap()
            );
            let gone = ours.delete_expired_sent_messages(cutoff).await.unwrap();
            assert_eq!(
                gone,
                theirs.delete_expired_sent_messages(cutoff).await.unwrap()
            );
        }
    }
    assert_eq!(compared, 3 * 17 * usize::from(ROWS));
}

#[tokio::test]
async fn what_cant_be_taken_over_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (from, into) = (folder.path().join("old.db"), folder.path().join("new.db"));
    std::fs::write(
        folder.path().join("notes.txt"),
        "not a database ".repeat(100),
    )
    .unwrap();
    let error = SqliteStore::import_upstream(folder.path().join("notes.txt"), &into).await;
    assert!(matches!(refused(error), StoreError::Database(_)));
    let error = SqliteStore::import_upstream(folder.path().join("missing.db"), &into).await;
    assert!(matches!(refused(error), StoreError::Connection(_)));
    assert!(!into.exists());

    upstream(&from).await;
    bytes(&from).await;
    let alter = |sql: &str| {
        let file = rusqlite::Connection::open(&from).unwrap();
        file.execute_batch(sql).unwrap();
    };
    // Older and newer than what is known.
    for version in ["20260601000000", "20990101000000"] {
        alter("CREATE TABLE kept AS SELECT * FROM __diesel_schema_migrations");
        alter(&format!(
            "DELETE FROM __diesel_schema_migrations WHERE version > '{version}';
             INSERT OR IGNORE INTO __diesel_schema_migrations (version) VALUES ('{version}')"
        ));
        let error = refused(SqliteStore::import_upstream(&from, &into).await);
        assert!(matches!(error, StoreError::InvalidConfig(_)), "{error:?}");
        assert!(!into.exists());
        alter(
            "DELETE FROM __diesel_schema_migrations;
             INSERT INTO __diesel_schema_migrations SELECT * FROM kept; DROP TABLE kept",
        );
    }

    // Half-way a row that can't be read: the target stays empty, and may be used again.
    alter("UPDATE device SET identity_key = x'00' WHERE id = 7");
    refused(SqliteStore::import_upstream(&from, &into).await);
    let target = SqliteStore::open(&into).await.unwrap();
    assert!(!target.exists().await.unwrap());
    assert!(target.load_all_signed_prekeys().await.unwrap().is_empty());
    target.close().await.unwrap();
    drop(target);
    alter("DELETE FROM device WHERE id = 7");
    let ours = SqliteStore::import_upstream(&from, &into).await.unwrap();
    assert!(ours.exists().await.unwrap());
    // And never over rows.
    let error = refused(SqliteStore::import_upstream(&from, &into).await);
    assert!(matches!(error, StoreError::InvalidConfig(_)), "{error:?}");
    // Nor into a sealed file, for what is imported is in the clear.
    let sealed = folder.path().join("sealed.db");
    drop(
        sealed_store::open(&sealed, &common::raw_key())
            .await
            .unwrap(),
    );
    let error = refused(SqliteStore::import_upstream(&from, &sealed).await);
    assert!(matches!(error, StoreError::InvalidConfig(_)), "{error:?}");
}
