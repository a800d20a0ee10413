//! What `check` finds, and that it writes nothing: each kind of fault is planted in a sealed store and reported with its table
//! and its count, and no address is told unless it is asked for.

mod common;
#[path = "common/plain.rs"]
mod plain;

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use sealed_store::lifecycle::{
    CheckOptions, CheckReport, EncryptOptions, FaultKind, LifecycleError, check, encrypt,
};
use sealed_store::{Keyring, SqliteKeyring};

async fn checked(path: &Path) -> CheckReport {
    check(
        path,
        &common::raw_key(),
        CheckOptions::new().reveal(true),
        &(),
    )
    .await
    .unwrap()
}

/// A sealed store of three accounts, in upstream's layout or ours.
async fn sealed(path: &Path, upstream: bool) {
    match upstream {
        true => plain::upstream(path, 3).await,
        false => plain::ours(path, 3).await,
    }
    encrypt(path, &common::raw_key(), EncryptOptions::new(), &())
        .await
        .unwrap();
}

/// The files of a folder, whole.
fn files(folder: &Path) -> BTreeMap<String, (Vec<u8>, std::time::SystemTime)> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let time = entry.metadata().unwrap().modified().unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, (std::fs::read(entry.path()).unwrap(), time))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_store_is_sound_and_stays_as_it_is() {
    for upstream in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("odd name %41?#.db");
        sealed(&path, upstream).await;
        let before = files(folder.path());
        let report = checked(&path).await;
        assert!(report.is_sound(), "{:?}", report.faults);
        assert_eq!(report.accounts, 3);
        assert!(report.opened > 300, "{report:?}");
        assert!(files(folder.path()) == before, "something was written");

        // A tenth of the rows, the same with the same seed.
        let part = |seed| {
            let options = CheckOptions::new().sample(10.0, seed);
            let path = path.clone();
            async move {
                check(&path, &common::raw_key(), options, &())
                    .await
                    .unwrap()
            }
        };
        let some = part(5).await;
        assert!(some.is_sound(), "{:?}", some.faults);
        assert!(
            some.opened > 20 && some.opened < report.opened / 4,
            "{some:?}"
        );
        assert_eq!(some.opened, part(5).await.opened);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_open_is_read_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    use wacore::store::traits::{DeviceStore, SignalStore};
    let open = sealed_store::open(&path, &common::raw_key()).await.unwrap();
    open.create().await.unwrap();
    open.put_session("5511987650001:3@c.us.0", b"in the log")
        .await
        .unwrap();
    let report = checked(&path).await;
    assert!(report.is_sound(), "{:?}", report.faults);
    // Canary, device, session.
    assert_eq!(report.opened, 3);
    // And it goes on.
    open.put_session("5511987650002:3@c.us.0", b"more")
        .await
        .unwrap();
    assert_eq!(checked(&path).await.opened, 4);
}

/// Faults of one statement each, in upstream's layout.
const PLANTED: &[(&str, &str, FaultKind, u64)] = &[
    (
        "INSERT INTO sessions (address, record, device_id) VALUES ('5511987650001:3@c.us.0', x'0102', 1)",
        "sessions",
        FaultKind::Plaintext,
        1,
    ),
    (
        "INSERT INTO identities (address, key, device_id) VALUES ('a', x'00', 1), ('b', x'00', 2)",
        "identities",
        FaultKind::Plaintext,
        2,
    ),
    (
        "INSERT INTO sender_key_devices (group_jid, device_jid, has_key, device_id) VALUES ('g@g.us', 'd', 1, 1)",
        "sender_key_devices",
        FaultKind::Altered,
        1,
    ),
    // A row of another account, and one that was moved.
    (
        "UPDATE sent_messages SET device_id = 2 WHERE rowid = (SELECT min(rowid) FROM sent_messages WHERE device_id = 1)",
        "sent_messages",
        FaultKind::Altered,
        1,
    ),
    (
        "UPDATE group_metadata SET info = (SELECT info FROM group_metadata WHERE rowid = 1) WHERE rowid = 2",
        "group_metadata",
        FaultKind::Altered,
        1,
    ),
    (
        "UPDATE prekeys SET key = CAST(substr(key, 1, length(key) - 1) || x'ff' AS BLOB) WHERE rowid = 1",
        "prekeys",
        FaultKind::Altered,
        1,
    ),
    (
        "UPDATE prekeys SET key = CAST(substr(key, 1, 4) || x'09000000' || substr(key, 9) AS BLOB) WHERE rowid = 2",
        "prekeys",
        FaultKind::UnknownGeneration,
        1,
    ),
    (
        "UPDATE prekeys SET key = CAST(substr(key, 1, 2) || x'09' || substr(key, 4) AS BLOB) WHERE rowid = 3",
        "prekeys",
        FaultKind::UnsupportedVersion,
        1,
    ),
    (
        "DELETE FROM msg_secrets WHERE sender = '1' AND rowid < 20 AND device_id = 1",
        "msg_secrets",
        FaultKind::MissingHalf,
        9,
    ),
    (
        "DELETE FROM msg_secrets WHERE sender <> '1' AND rowid < 20 AND device_id = 1",
        "msg_secrets",
        FaultKind::MissingHalf,
        10,
    ),
    (
        "UPDATE app_state_versions SET state_data = x'ff' WHERE rowid = 1",
        "app_state_versions",
        FaultKind::Unreadable,
        1,
    ),
    (
        "UPDATE device_registry SET timestamp = 7 WHERE rowid = 1",
        "device_registry",
        FaultKind::Altered,
        1,
    ),
    (
        "UPDATE device SET push_name = 'somebody' WHERE id = 1",
        "device",
        FaultKind::Plaintext,
        1,
    ),
    (
        "DELETE FROM sessions WHERE length(address) = 26 AND device_id = 2",
        "sessions",
        FaultKind::MissingDevice,
        1,
    ),
    (
        "CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('5511987650001')",
        "",
        FaultKind::UnknownTable,
        1,
    ),
    (
        "UPDATE prekeys SET device_id = 99 WHERE device_id = 2",
        "prekeys",
        FaultKind::UnknownAccount,
        4,
    ),
    (
        "DELETE FROM sessions WHERE device_id = 7; DELETE FROM lid_pn_mapping WHERE device_id = 7",
        "",
        FaultKind::MissingAccount,
        1,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_planted_fault_is_found_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.db");
    sealed(&whole, true).await;
    for (sql, table, kind, count) in PLANTED {
        let path = folder.path().join("planted.db");
        std::fs::copy(&whole, &path).unwrap();
        {
            let file = Connection::open(&path).unwrap();
            file.pragma_update(None, "foreign_keys", false).unwrap();
            file.execute_batch(sql).unwrap();
        }
        let report = checked(&path).await;
        let found = report
            .faults
            .iter()
            .find(|fault| (fault.table, fault.kind) == (*table, *kind));
        let found = found.unwrap_or_else(|| panic!("{sql}: {:?}", report.faults));
        assert_eq!(found.count, *count, "{sql}: {:?}", report.faults);

        // Nothing of a row is told unless it is asked for.
        let quiet = check(&path, &common::raw_key(), CheckOptions::new(), &())
            .await
            .unwrap();
        assert!(
            quiet.faults.iter().all(|fault| fault.keys.is_empty()),
            "{sql}"
        );
        std::fs::remove_file(&path).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_embedded_store_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.db");
    sealed(&whole, false).await;
    for (sql, table, kind) in [
        (
            "UPDATE msg_secrets SET senders = x'00' WHERE rowid = 1",
            "msg_secrets",
            FaultKind::Unreadable,
        ),
        (
            "UPDATE sender_keys SET record = x'010203' WHERE account = 1",
            "sender_keys",
            FaultKind::Plaintext,
        ),
        (
            "INSERT INTO identities VALUES (1, x'0061', x'00')",
            "identities",
            FaultKind::Plaintext,
        ),
        (
            "UPDATE lid_mappings SET updated_at = updated_at + 1 WHERE rowid = 1",
            "lid_mappings",
            FaultKind::Altered,
        ),
    ] {
        let path = folder.path().join("planted.db");
        std::fs::copy(&whole, &path).unwrap();
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let report = checked(&path).await;
        let found = report
            .faults
            .iter()
            .any(|fault| (fault.table, fault.kind) == (table, kind));
        assert!(found || table.is_empty(), "{sql}: {:?}", report.faults);
        std::fs::remove_file(&path).unwrap();
    }
}

/// Snapshots that were taken before, and what a killed run left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_clear_beside_the_store_is_found() {
    use wacore::store::traits::DeviceStore;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    plain::small(&path, true).await;
    common::sqlite(&path)
        .await
        .snapshot_db("before", None)
        .await
        .unwrap();
    plain::closed(&path).await;
    let done = encrypt(&path, &common::raw_key(), EncryptOptions::new(), &())
        .await
        .unwrap();
    assert_eq!(done.copies_in_the_clear, 1);
    std::fs::copy(&path, folder.path().join("whatsapp.db.sealed-copy")).unwrap();
    std::fs::write(folder.path().join("whatsapp.db.txt"), "a note").unwrap();
    std::fs::create_dir(folder.path().join("whatsapp.db.sealed-store-work")).unwrap();
    let found: Vec<_> = checked(&path)
        .await
        .faults
        .into_iter()
        .map(|fault| (fault.kind, fault.count))
        .collect();
    assert_eq!(
        found,
        [(FaultKind::LeftOver, 1), (FaultKind::CopyInTheClear, 1)]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_sealed_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    plain::upstream(&path, 1).await;
    let plain = check(&path, &common::raw_key(), CheckOptions::new(), &()).await;
    assert!(matches!(plain, Err(LifecycleError::NotSealed)), "{plain:?}");
    encrypt(&path, &common::raw_key(), EncryptOptions::new(), &())
        .await
        .unwrap();
    let wrong = check(&path, &common::raw_key_of(8), CheckOptions::new(), &()).await;
    assert!(
        matches!(
            &wrong,
            Err(LifecycleError::Seal(sealed_store::SealError::WrongKey))
        ),
        "{wrong:?}"
    );
    // The keyring is somewhere else.
    let keyring = folder.path().join("keyring.db");
    Keyring::create(SqliteKeyring::at(&keyring), &common::raw_key())
        .await
        .unwrap();
    let file = Connection::open(&path).unwrap();
    file.execute_batch("DELETE FROM sealed_store_keyring")
        .unwrap();
    drop(file);
    let none = check(&path, &common::raw_key(), CheckOptions::new(), &()).await;
    assert!(
        matches!(none, Err(LifecycleError::Invalid { .. })),
        "{none:?}"
    );
}
