//! A store that is encrypted and decrypted again is what it was, column by column: every table, several accounts, odd names,
//! the times that no method of the client gives back, and the device. In between the client finds everything in it.
//!
//! The long form has 200 rows of each kind in each account instead of 3 (`encrypt_used` has the 100,000 rows):
//!
//! ```text
//! SEALED_STORE_LONG=1 cargo test --test encrypt_round_trip
//! ```

mod common;
#[path = "common/dump.rs"]
mod dump;
#[path = "common/plain.rs"]
mod plain;

use std::path::Path;
use std::sync::Arc;

use common::samples::{Sample, TABLES};
use dump::{assert_same, dump, schema};
use plain::ACCOUNTS;
use sealed_store::lifecycle::{DecryptOptions, EncryptOptions, decrypt, encrypt};
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::testing::{RUNTIME_ONLY, full_device};
use sealed_store::{Keyring, SealedBackend, SqliteKeyring, Table};
use wacore::appstate::hash::HashState;
use wacore::store::traits::Backend;

fn rows() -> u8 {
    if std::env::var_os("SEALED_STORE_LONG").is_some() {
        200
    } else {
        3
    }
}

/// What every account of a sealed store answers, through wacore's traits.
async fn all_is_there(path: &Path, upstream: bool) {
    let keyring = Keyring::open(SqliteKeyring::at(path), &common::raw_key())
        .await
        .unwrap();
    let ours = match upstream {
        true => None,
        false => Some(SqliteStore::open(path).await.unwrap()),
    };
    for (owner, device) in (1u8..).zip(ACCOUNTS) {
        let inner: Arc<dyn Backend> = match &ours {
            None => common::sqlite_device(path, device).await,
            Some(store) => Arc::new(store.for_account(device)),
        };
        let account = keyring.account(&device.to_string()).await.unwrap();
        let sealed = SealedBackend::open(inner, account).await.unwrap();
        for table in TABLES.into_iter().filter(|table| *table != Table::Device) {
            for row in 0..rows() {
                let sample = Sample { table, row, owner };
                let found = sample.get(&sealed).await.unwrap();
                if table == Table::SentMessage || table == Table::SenderKeyDevice {
                    assert!(found.is_some(), "{sample:?}");
                } else {
                    assert_eq!(found, Some(sample.expected()), "{sample:?}");
                }
            }
        }
        use wacore::store::traits::{DeviceStore, ProtocolStore, SignalStore};
        let found = DeviceStore::load(&sealed).await.unwrap().unwrap();
        let mut expected = full_device();
        expected.push_name = format!("device of {owner}");
        // All but what is random in every new device, which the dumps compare.
        let differing = sealed_store::testing::device_diff(&found, &expected);
        let random = [
            "registration_id",
            "noise_key",
            "identity_key",
            "signed_pre_key",
            "signed_pre_key_signature",
            "adv_secret_key",
        ];
        let lost: Vec<_> = differing
            .iter()
            .filter(|name| !random.contains(name) && !RUNTIME_ONLY.contains(name))
            .collect();
        assert!(lost.is_empty(), "{lost:?}");
        for name in plain::odd_names() {
            assert!(sealed.has_session(&name).await.unwrap(), "{name:?}");
            assert!(
                sealed.load_identity(&name).await.unwrap().is_some(),
                "{name:?}"
            );
            assert!(
                sealed.get_lid_mapping(&name).await.unwrap().is_some(),
                "{name:?}"
            );
            assert!(
                sealed.get_devices(&name).await.unwrap().is_some(),
                "{name:?}"
            );
            assert!(
                sealed.get_tc_token(&name).await.unwrap().is_some(),
                "{name:?}"
            );
            let same = sealed.has_same_base_key(&name, &name, &[]).await.unwrap();
            assert!(same, "{name:?}");
        }
        // Of equally new mappings the first that was written.
        let first = sealed.get_pn_mapping("551198").await.unwrap().unwrap();
        assert_eq!(first.lid, plain::odd_names()[0]);
    }
    drop(keyring);
    if let Some(store) = ours {
        store.close().await.unwrap();
    }
    plain::closed(path).await;
}

/// `used`: whether the client looked at it, which takes sent messages and puts them back.
async fn round_trip(upstream: bool, used: bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    match upstream {
        true => plain::upstream(&path, rows()).await,
        false => plain::ours(&path, rows()).await,
    }
    let (before, schema_before) = (dump(&path), schema(&path));
    let done = encrypt(&path, &common::raw_key(), EncryptOptions::new(), &())
        .await
        .unwrap();
    assert_eq!(done.accounts, ACCOUNTS.len());
    assert_eq!((done.left_out, done.kept), (0, false));
    assert!(done.device_columns.is_empty(), "{:?}", done.device_columns);
    let sealed = dump(&path);
    assert_eq!(schema(&path), schema_before);
    assert!(sealed["identities"].1.is_empty());
    assert_eq!(common::integrity(&path), "ok");
    assert_eq!(entries(folder.path()), ["whatsapp.db"]);

    if used {
        all_is_there(&path, upstream).await;
    }
    let back = decrypt(&path, &common::raw_key(), DecryptOptions::new(), &())
        .await
        .unwrap();
    assert_eq!(back.rows(), done.rows());
    assert_eq!(entries(folder.path()), ["whatsapp.db"]);
    assert_eq!(schema(&path), schema_before);
    let after = dump(&path);
    if !used {
        assert_same(&after, &before);
    } else {
        // The time at which a sent message was put back is another.
        assert_eq!(after["sessions"], before["sessions"]);
        assert_eq!(after["msg_secrets"].1.len(), before["msg_secrets"].1.len());
        assert_eq!(after["device"], before["device"]);
    }
    assert_eq!(common::integrity(&path), "ok");
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_database_comes_back_column_by_column() {
    round_trip(true, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_database_comes_back_column_by_column() {
    round_trip(false, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_finds_everything_over_upstreams_store() {
    round_trip(true, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_finds_everything_over_our_store() {
    round_trip(false, true).await;
}

/// From upstream's database to the embedded store in one step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_database_becomes_an_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    plain::upstream(&path, rows()).await;
    let options = EncryptOptions::new().embedded(true);
    encrypt(&path, &common::raw_key(), options, &())
        .await
        .unwrap();
    let opened = sealed_store::open(&path, &common::raw_key()).await.unwrap();
    use wacore::store::traits::DeviceStore;
    let device = opened.load().await.unwrap().unwrap();
    assert_eq!(device.push_name, "device of 1");
    opened.inner().close().await.unwrap();
    drop(opened);
    all_is_there(&path, false).await;
}

/// A state of many entries is written in no order of its own, so that its bytes may come back in another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_of_many_entries_comes_back() {
    use wacore::store::traits::{AppSyncStore, DeviceStore};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    let state = HashState {
        version: u64::MAX,
        hash: [9; 128],
        index_value_map: (0..50)
            .map(|n| (format!("index {n}"), vec![n; 32]))
            .collect(),
        mac_mismatch_fatal: false,
    };
    {
        let store = common::sqlite(&path).await;
        store.create().await.unwrap();
        store.set_version("regular", state.clone()).await.unwrap();
        store.set_version("", HashState::default()).await.unwrap();
    }
    plain::closed(&path).await;
    encrypt(&path, &common::raw_key(), EncryptOptions::new(), &())
        .await
        .unwrap();
    decrypt(&path, &common::raw_key(), DecryptOptions::new(), &())
        .await
        .unwrap();
    let store = common::sqlite(&path).await;
    let found = store.get_version("regular").await.unwrap();
    assert_eq!(found.index_value_map, state.index_value_map);
    assert_eq!((found.version, found.hash), (state.version, state.hash));
}

/// Rows that were written before the account had a device: it gets one as any new account does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_without_a_device_comes_back() {
    use wacore::store::traits::{DeviceStore, SignalStore};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    {
        let store = common::sqlite(&path).await;
        store.put_session("a@b", b"early").await.unwrap();
        // More than one page, and larger than a page may be.
        let large = vec![7; 3 << 20];
        for number in 0..5 {
            let name = format!("{number}@g.us");
            use wacore::store::traits::ProtocolStore;
            store.put_group_metadata(&name, &large).await.unwrap();
        }
    }
    plain::closed(&path).await;
    let before = dump(&path);
    encrypt(&path, &common::raw_key(), EncryptOptions::new(), &())
        .await
        .unwrap();
    let sealed = common::sealed_file(&path).await;
    assert!(!sealed.exists().await.unwrap());
    assert_eq!(sealed.get_session("a@b").await.unwrap().unwrap(), "early");
    drop(sealed);
    plain::closed(&path).await;
    decrypt(&path, &common::raw_key(), DecryptOptions::new(), &())
        .await
        .unwrap();
    assert_same(&dump(&path), &before);
}
