//! A database of upstream's own store, with 100,000 rows in all 18 tables and two accounts that talk to each other, is encrypted,
//! checked, used by the real client parts, and decrypted. What the client did not touch is then what it was, column by column;
//! what it touched is what the same work leaves in the database in the clear, but for fresh keys and times; and upstream's own store
//! goes on with the conversation.
//!
//! Of the rows more than 10,000 are written through upstream's traits. The others are copies of such rows under other names and
//! with other values, made by SQL in upstream's schema: through the traits they would take minutes.

mod common;
#[path = "../examples/quickstart/conversation.rs"]
mod conversation;
#[path = "common/dump.rs"]
mod dump;
#[path = "common/plain.rs"]
mod plain;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::samples::{Sample, TABLES};
use conversation::{Party, Secrets, bookkeeping, exchange, group, introduce};
use dump::{Dump, assert_same, dump};
use rusqlite::Connection;
use sealed_store::lifecycle::{
    CheckOptions, DecryptOptions, EncryptOptions, check, decrypt, encrypt,
};
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{Keyring, SealedBackend, SqliteKeyring, Table};
use wacore::store::traits::Backend;

/// The accounts that talk to each other, and one that is not used between encryption and decryption.
const TALKING: [(i32, [&str; 3]); 2] = [
    (
        1,
        [
            "Alice Example",
            "5511987650001:3@s.whatsapp.net",
            "161803398874989:3@lid",
        ],
    ),
    (
        2,
        [
            "Bob Example",
            "447700900123:7@s.whatsapp.net",
            "200000087654321:7@lid",
        ],
    ),
];
const SILENT: i32 = 7;
/// Rows of each table and account that are written through the traits, and as copies of those.
const WRITTEN: u8 = 200;
const COPIED: u32 = 1_750;

/// What differs from copy to copy, so that no row can take another one's place unseen. `value` counts.
const COPIES: [(&str, &[(&str, &str)]); 17] = [
    (
        "sessions",
        &[
            ("address", "(5511900000000 + value) || ':3@c.us.0'"),
            ("record", "randomblob(90 + value % 300)"),
        ],
    ),
    (
        "identities",
        &[
            ("address", "(5511900000000 + value) || ':3@c.us.0'"),
            ("key", "randomblob(32)"),
        ],
    ),
    (
        "prekeys",
        &[
            ("id", "100000 + value"),
            ("key", "randomblob(70)"),
            ("uploaded", "value % 2"),
        ],
    ),
    (
        "signed_prekeys",
        &[("id", "100000 + value"), ("record", "randomblob(120)")],
    ),
    (
        "sender_keys",
        &[
            (
                "address",
                "'1203630@g.us:' || (5511900000000 + value) || ':0'",
            ),
            ("record", "randomblob(80)"),
        ],
    ),
    ("app_state_keys", &[("key_id", "randomblob(6)")]),
    ("app_state_versions", &[("name", "'collection ' || value")]),
    (
        "app_state_mutation_macs",
        &[
            ("index_mac", "randomblob(32)"),
            ("value_mac", "randomblob(32)"),
            ("version", "value"),
        ],
    ),
    (
        "sender_key_devices",
        &[
            ("group_jid", "(120363021000000000 + value / 50) || '@g.us'"),
            (
                "device_jid",
                "(5511900000000 + value) || ':7@s.whatsapp.net'",
            ),
            ("has_key", "value % 2"),
            ("updated_at", "1700000000 + value"),
        ],
    ),
    (
        "lid_pn_mapping",
        &[
            ("lid", "(100000000000 + value) || ''"),
            ("phone_number", "(5511900000000 + value) || ''"),
            ("created_at", "1700000000 + value"),
            ("updated_at", "1710000000 + value"),
        ],
    ),
    (
        "base_keys",
        &[
            ("address", "(5511900000000 + value) || ':3@c.us.0'"),
            ("base_key", "randomblob(33)"),
            ("created_at", "1700000000 + value"),
        ],
    ),
    (
        "device_registry",
        &[
            ("user_id", "(5511900000000 + value) || ''"),
            ("timestamp", "1700000000 + value"),
            ("raw_id", "value"),
            ("updated_at", "1710000000 + value"),
        ],
    ),
    (
        "group_metadata",
        &[
            ("group_jid", "(120363021000000000 + value) || '@g.us'"),
            ("info", "randomblob(200)"),
            ("updated_at", "1700000000 + value"),
        ],
    ),
    (
        "sent_messages",
        &[
            ("message_id", "hex(randomblob(10))"),
            ("payload", "randomblob(60 + value % 200)"),
            ("created_at", "1700000000 + value"),
        ],
    ),
    (
        "pending_inbound_messages",
        &[
            ("id", "hex(randomblob(10))"),
            ("message", "randomblob(60 + value % 200)"),
            ("inserted_at", "1700000000 + value"),
        ],
    ),
    (
        "tc_tokens",
        &[
            ("jid", "(100000000000 + value) || '@lid'"),
            ("token", "randomblob(24)"),
            ("token_timestamp", "1700000000 + value"),
            ("updated_at", "1710000000 + value"),
        ],
    ),
    (
        "msg_secrets",
        &[
            (
                "sender",
                "(5511900000000 + value % 99) || '@s.whatsapp.net'",
            ),
            ("msg_id", "hex(randomblob(10))"),
            ("secret", "randomblob(32)"),
            ("created_at", "1700000000 + value"),
            ("expires_at", "1710000000 + value"),
            ("message_ts", "1720000000 + value"),
        ],
    ),
];

/// How many rows the tables of a client have.
fn rows(path: &Path) -> i64 {
    let file = Connection::open(path).unwrap();
    let names = COPIES.iter().map(|(table, _)| *table).chain(["device"]);
    names
        .map(|table| {
            let sql = format!("SELECT count(*) FROM {table}");
            file.query_row(&sql, [], |row| row.get::<_, i64>(0))
                .unwrap()
        })
        .sum()
}

/// Makes the database, and gives what the two have written to each other.
async fn make(path: &Path) -> Vec<Vec<u8>> {
    let mut secrets = Secrets::default();
    let opened = Opened::at(path, Layout::Upstream, false).await;
    let [alice, bob] = &opened.parties;
    introduce(alice, bob, &mut secrets).await.unwrap();
    exchange(alice, bob, 5, &mut secrets).await.unwrap();
    group(alice, bob, 4, &mut secrets).await.unwrap();
    opened.close(path).await;
    for (owner, (account, _)) in (1u8..).zip(TALKING) {
        let store = common::sqlite_device(path, account).await;
        // Their prekeys and their devices are real ones.
        let others = TABLES
            .into_iter()
            .filter(|table| !matches!(table, Table::PreKey | Table::Device));
        for table in others {
            for row in 0..WRITTEN {
                Sample { table, row, owner }.put(&*store).await.unwrap();
            }
        }
        for (number, name) in (0i64..).zip(plain::odd_names()) {
            plain::odd(&*store, number, &name).await;
        }
    }
    plain::fill(&*common::sqlite_device(path, SILENT).await, 7, WRITTEN).await;
    plain::closed(path).await;
    let written = rows(path);
    assert!(written > 10_000, "{written}");

    let mut file = Connection::open(path).unwrap();
    let copying = file.transaction().unwrap();
    for (table, differing) in COPIES {
        let columns: Vec<String> = copying
            .prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let values: Vec<String> = columns
            .iter()
            .map(|column| {
                let differing = differing.iter().find(|(name, _)| name == column);
                match (column.as_str(), differing) {
                    ("device_id", _) => "?1".to_owned(),
                    (_, Some((_, value))) => (*value).to_owned(),
                    _ => format!("sample.{column}"),
                }
            })
            .collect();
        let sql = format!(
            "WITH RECURSIVE numbers (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < {COPIED})
             INSERT INTO {table} ({}) SELECT {} FROM numbers,
             (SELECT * FROM {table} WHERE device_id = {SILENT} ORDER BY rowid LIMIT 1) AS sample",
            columns.join(", "),
            values.join(", "),
        );
        for account in [TALKING[0].0, TALKING[1].0, SILENT] {
            let copied = copying.execute(&sql, [account]).unwrap();
            assert_eq!(copied, COPIED as usize, "{table}");
        }
    }
    copying.commit().unwrap();
    drop(file);
    let all = rows(path);
    assert!(all >= 100_000, "{all}");
    println!("{all} rows, {written} of them through the traits");
    secrets.messages
}

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Upstream,
    Ours,
}

/// A database and the two who talk, on the real client parts.
struct Opened {
    parties: [Party; 2],
    ours: Option<SqliteStore>,
}

impl Opened {
    async fn at(path: &Path, layout: Layout, sealed: bool) -> Self {
        let keyring = match sealed {
            true => Some(
                Keyring::open(SqliteKeyring::at(path), &common::raw_key())
                    .await
                    .unwrap(),
            ),
            false => None,
        };
        let ours = match layout {
            Layout::Upstream => None,
            Layout::Ours => Some(SqliteStore::open(path).await.unwrap()),
        };
        let mut parties = Vec::new();
        for (number, [label, jid, lid]) in TALKING {
            let inner: Arc<dyn Backend> = match &ours {
                None => common::sqlite_device(path, number).await,
                Some(store) => Arc::new(store.for_account(number)),
            };
            let backend: Arc<dyn Backend> = match &keyring {
                None => inner,
                Some(keyring) => {
                    let account = keyring.account(&number.to_string()).await.unwrap();
                    Arc::new(SealedBackend::open(inner, account).await.unwrap())
                }
            };
            parties.push(Party::open(label, jid, lid, backend).await.unwrap());
        }
        let parties = parties.try_into().unwrap_or_else(|_| panic!("two"));
        Self { parties, ours }
    }

    /// What a client does in a day: it goes on with its sessions and its group, and syncs. What is in `before` gives the ids and
    /// secrets of messages, so that the same work can be done twice.
    async fn work(&self, before: &[Vec<u8>]) {
        let [alice, bob] = &self.parties;
        let mut secrets = after(before.to_vec());
        // Each checks that no handshake was needed, that nothing arrived changed and that no key was forgotten.
        exchange(alice, bob, 6, &mut secrets).await.unwrap();
        group(alice, bob, 4, &mut secrets).await.unwrap();
        for party in &self.parties {
            bookkeeping(party, &mut secrets).await.unwrap();
        }
    }

    async fn close(self, path: &Path) {
        for party in self.parties {
            party.close().await.unwrap();
        }
        if let Some(store) = self.ours {
            store.close().await.unwrap();
        }
        plain::closed(path).await;
    }
}

/// Secrets after so many messages: what comes next has other ids.
fn after(messages: Vec<Vec<u8>>) -> Secrets {
    let mut secrets = Secrets::default();
    secrets.messages.extend(messages);
    secrets
}

type Rows = BTreeMap<String, Vec<Vec<String>>>;

/// The rows that went, and those that came. All others are the same, column by column.
fn changes(before: &Dump, after: &Dump) -> (Rows, Rows) {
    let (mut gone, mut new) = (Rows::new(), Rows::new());
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    for (table, (columns, rows)) in before {
        let (after_columns, after_rows) = &after[table];
        assert_eq!(columns, after_columns, "{table}");
        let mut counts: BTreeMap<&Vec<String>, i64> = BTreeMap::new();
        for row in rows {
            *counts.entry(row).or_default() -= 1;
        }
        for row in after_rows {
            *counts.entry(row).or_default() += 1;
        }
        for (row, count) in counts {
            let list = match count {
                0 => continue,
                ..0 => gone.entry(table.clone()).or_default(),
                _ => new.entry(table.clone()).or_default(),
            };
            list.push(row.clone());
        }
    }
    (gone, new)
}

/// Without what is another each time the same is done: fresh keys of sessions and senders, and when it was done.
fn comparable(mut rows: Rows, of: &Dump) -> Rows {
    for (table, rows) in &mut rows {
        let columns = &of[table].0;
        for (column, place) in columns.iter().zip(0..) {
            let fresh = match column.as_str() {
                "record" => matches!(table.as_str(), "sessions" | "sender_keys"),
                "created_at" | "updated_at" | "inserted_at" => !table.starts_with("lid_"),
                _ => false,
            };
            if fresh {
                rows.iter_mut().for_each(|row| row[place].clear());
            }
        }
        rows.sort();
    }
    rows
}

async fn used_between(layout: Layout) {
    let folder = tempfile::tempdir().unwrap();
    let [path, twin, unused] =
        ["whatsapp.db", "twin.db", "unused.db"].map(|name| folder.path().join(name));
    let key = common::raw_key();
    let messages = make(&path).await;

    // The same rows in the clear, in the layout that the sealed store has.
    match layout {
        Layout::Upstream => {
            std::fs::copy(&path, &twin).unwrap();
        }
        Layout::Ours => {
            let store = SqliteStore::import_upstream(&path, &twin).await.unwrap();
            store.close().await.unwrap();
            drop(store);
            plain::closed(&twin).await;
        }
    }
    let original = dump(&twin);

    let options = EncryptOptions::new().embedded(layout == Layout::Ours);
    let sealed = encrypt(&path, &key, options, &()).await.unwrap();
    assert_eq!((sealed.accounts, sealed.left_out), (3, 0));
    assert!(sealed.rows() >= 100_000, "{}", sealed.rows());
    let report = check(&path, &key, CheckOptions::new(), &()).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);

    // Nobody used it: it comes back as it was.
    std::fs::copy(&path, &unused).unwrap();
    decrypt(&unused, &key, DecryptOptions::new(), &())
        .await
        .unwrap();
    assert_same(&dump(&unused), &original);

    let opened = Opened::at(&path, layout, true).await;
    opened.work(&messages).await;
    opened.close(&path).await;
    let report = check(&path, &key, CheckOptions::new(), &()).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
    let back = decrypt(&path, &key, DecryptOptions::new(), &())
        .await
        .unwrap();
    assert_eq!((back.accounts, back.left_out), (3, 0));
    assert_eq!(common::integrity(&path), "ok");

    // The same work in the clear.
    let opened = Opened::at(&twin, layout, false).await;
    opened.work(&messages).await;
    opened.close(&twin).await;
    let (gone, new) = changes(&original, &dump(&path));
    let (gone_there, new_there) = changes(&original, &dump(&twin));
    assert!(gone == gone_there, "other rows were touched");
    let touched: Vec<_> = new
        .iter()
        .map(|(table, rows)| (table, rows.len()))
        .collect();
    println!("touched: {touched:?}");
    assert!(touched.len() >= 12, "{touched:?}");
    let (new, new_there) = (comparable(new, &original), comparable(new_there, &original));
    for (table, rows) in &new_there {
        assert_eq!(Some(rows), new.get(table), "{table}");
    }
    assert_eq!(new.len(), new_there.len());

    // What is fresh in them is good: the store in the clear goes on with the conversation.
    let opened = Opened::at(&path, layout, false).await;
    let mut secrets = after(vec![Vec::new(); messages.len() + 1_000]);
    let [alice, bob] = &opened.parties;
    exchange(alice, bob, 6, &mut secrets).await.unwrap();
    group(alice, bob, 4, &mut secrets).await.unwrap();
    opened.close(&path).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_layout_is_used_between_and_comes_back() {
    used_between(Layout::Upstream).await;
}

/// `decrypt` gives a plain store of our layout then, which is what importing the original gives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_store_is_used_between_and_comes_back() {
    used_between(Layout::Ours).await;
}
