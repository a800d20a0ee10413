//! A real database of whatsapp-rust's own store, made through its traits.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::Path;

use sealed_store::Table;
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::testing::full_device;
use wacore::store::traits::{
    Backend, DeviceInfo, DeviceListRecord, LidPnMappingEntry, MsgSecretEntry, TcTokenEntry,
};

use crate::common::samples::{Sample, TABLES};

/// The accounts that [`upstream`] and [`ours`] make.
pub const ACCOUNTS: [i32; 3] = [1, 2, 7];

/// Names that a client may come with, and a careless store mistakes for something.
pub fn odd_names() -> Vec<String> {
    let long = "A".repeat(64);
    let mut names: Vec<String> = [
        "",
        "@",
        ":",
        "1",
        "a@b",
        "%_",
        "'; DROP TABLE sessions; --",
        "\0",
        "before\0after",
        "é@ü",
        "5511987650001@c.us.0",
        "5511987650001:12@c.us.0",
        // As a token, a name, or a carrier of ours looks.
        "abcdefghijklmnopqrstuvwxye",
        "abcdefghijklmnopqrstuvwxye@77777777777777777777777774",
        "pVMBAQAAAA",
        "\u{feff}x",
        "\u{1f600}",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    names.push(long.clone());
    names.push(long + "-_");
    names.push("emoji \u{1f600} ".repeat(300));
    names
}

/// Fills one account of a store: rows of every table, and some under every odd name.
pub async fn fill(store: &dyn Backend, owner: u8, rows: u8) {
    store.create().await.unwrap();
    for table in TABLES {
        let rows = if table == Table::Device { 1 } else { rows };
        for row in 0..rows {
            Sample { table, row, owner }.put(store).await.unwrap();
        }
    }
    let first = Sample {
        table: Table::PreKey,
        row: 0,
        owner,
    };
    store
        .mark_prekeys_uploaded(&[first.number()])
        .await
        .unwrap();
    store
        .store_prekey(u32::MAX, b"the largest", true)
        .await
        .unwrap();
    store.store_signed_prekey(u32::MAX - 1, b"").await.unwrap();
    for (number, name) in (0i64..).zip(odd_names()) {
        odd(store, number, &name).await;
    }
    let mut device = full_device();
    device.push_name = format!("device of {owner}");
    store.save(&device).await.unwrap();
}

/// A row or several of most tables under an odd name.
pub async fn odd(store: &dyn Backend, number: i64, name: &str) {
    let other = format!("{name} of {number}");
    store.put_session(name, b"").await.unwrap();
    store.put_identity(name, [number as u8; 32]).await.unwrap();
    store.put_sender_key(name, other.as_bytes()).await.unwrap();
    store
        .set_sender_key_status(name, &[(&other, false), (name, true)])
        .await
        .unwrap();
    store
        .put_lid_mapping(&LidPnMappingEntry {
            lid: name.to_owned(),
            // One number for several, at one time: which was first counts.
            phone_number: "551198".to_owned(),
            created_at: 7 - number,
            updated_at: 1_750_000_000,
            learning_source: name.to_owned(),
        })
        .await
        .unwrap();
    store
        .save_base_key(name, &other, name.as_bytes())
        .await
        .unwrap();
    store.save_base_key(name, name, &[]).await.unwrap();
    store
        .update_device_list(DeviceListRecord {
            user: name.to_owned(),
            devices: (0..number as u32)
                .map(|id| DeviceInfo::new(id, (id % 2 == 0).then_some(id)))
                .collect(),
            timestamp: number,
            phash: (number % 2 == 0).then(|| name.to_owned()),
            raw_id: (number % 3 == 0).then_some(u32::MAX - number as u32),
        })
        .await
        .unwrap();
    store
        .put_group_metadata(name, other.as_bytes())
        .await
        .unwrap();
    store
        .put_tc_token(
            name,
            &TcTokenEntry {
                // Placeholders too.
                token: if number % 2 == 0 {
                    Vec::new()
                } else {
                    vec![9; 40]
                },
                token_timestamp: number,
                sender_timestamp: (number % 3 == 0).then_some(-number),
            },
        )
        .await
        .unwrap();
    store
        .store_sent_message(name, &other, name.as_bytes())
        .await
        .unwrap();
    store
        .store_pending_inbound(name, &other, name, &[])
        .await
        .unwrap();
    let secret = |sender: &str, expires_at| MsgSecretEntry {
        chat: name.into(),
        sender: sender.into(),
        msg_id: other.as_str().into(),
        secret: [number as u8; 32],
        expires_at,
        message_ts: number,
    };
    // Two ids of one sender, and the name of a second half.
    store
        .put_msg_secrets(vec![
            secret(name, 0),
            secret(&other, number + 1),
            secret("1", 5),
        ])
        .await
        .unwrap();
}

/// A database with one account and a row or two of each table.
pub async fn small(path: &Path, upstream: bool) {
    let inner: std::sync::Arc<dyn Backend> = match upstream {
        true => crate::common::sqlite(path).await,
        false => std::sync::Arc::new(SqliteStore::open(path).await.unwrap()),
    };
    inner.create().await.unwrap();
    for table in TABLES {
        for row in 0..2 {
            Sample {
                table,
                row,
                owner: 1,
            }
            .put(&*inner)
            .await
            .unwrap();
        }
    }
    drop(inner);
    closed(path).await;
}

/// whatsapp-rust's database with three accounts.
pub async fn upstream(path: &Path, rows: u8) {
    for (owner, device) in (1u8..).zip(ACCOUNTS) {
        let store = crate::common::sqlite_device(path, device).await;
        fill(&*store, owner, rows).await;
    }
    closed(path).await;
}

/// A plain store of ours with three accounts.
pub async fn ours(path: &Path, rows: u8) {
    let store = SqliteStore::open(path).await.unwrap();
    for (owner, device) in (1u8..).zip(ACCOUNTS) {
        fill(&store.for_account(device), owner, rows).await;
    }
    store.close().await.unwrap();
    drop(store);
    closed(path).await;
}

/// Waits until nobody has the database open: the last one takes its log along.
pub async fn closed(path: &Path) {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = std::path::PathBuf::from(log);
    crate::common::support::eventually("closed", || !log.exists()).await;
}
