//! A sealed store with rows in every table, what its keys are, and a process that gives it new ones step by step.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use sealed_store::lifecycle::{
    CheckOptions, Phase, Progress, ReencryptOptions, check, on_step, reencrypt,
};
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{Keyring, RawKey, SealedBackend, SqliteKeyring, Table};
use serde_json::Value;
use wacore::store::traits::Backend;

use crate::child::{Child, hear, job, say};
use crate::common;
use crate::common::samples::{Sample, TABLES};
use crate::common::support::{raw, split};

pub const LAYOUTS: [&str; 2] = ["ours", "upstream"];

pub fn key() -> RawKey {
    raw(7)
}

/// Ten rows of every table, and a device.
pub fn samples() -> impl Iterator<Item = Sample> {
    samples_of(1)
}

pub fn samples_of(owner: u8) -> impl Iterator<Item = Sample> {
    TABLES
        .into_iter()
        .flat_map(move |table| (0..10).map(move |row| Sample { table, row, owner }))
}

/// The sealed store in `path`: ours, or upstream's with a keyring in the same file.
pub async fn open(path: &Path, layout: &str) -> Arc<dyn Backend> {
    match layout {
        "ours" => Arc::new(sealed_store::open(path, &key()).await.unwrap()),
        _ => Arc::new(common::sealed_file(path).await),
    }
}

pub async fn fill(path: &Path, layout: &str) -> Arc<dyn Backend> {
    let store = open(path, layout).await;
    store.create().await.unwrap();
    for sample in samples() {
        sample.put(&*store).await.unwrap();
    }
    store
}

/// The store of one of several accounts in our layout, whose keyring may be in another file.
pub async fn open_account(path: &Path, keyring: &Path, number: i32) -> SealedBackend<SqliteStore> {
    let keyring = Keyring::open_or_create(SqliteKeyring::at(keyring), &key())
        .await
        .unwrap();
    let account = keyring
        .account_or_create(&number.to_string())
        .await
        .unwrap();
    let store = SqliteStore::open(path).await.unwrap().for_account(number);
    SealedBackend::open(Arc::new(store), account).await.unwrap()
}

/// Fills the store with the rows of these accounts.
pub async fn fill_accounts(path: &Path, keyring: &Path, numbers: &[i32]) {
    for number in numbers {
        let store = open_account(path, keyring, *number).await;
        wacore::store::traits::DeviceStore::create(&store)
            .await
            .unwrap();
        for sample in samples_of(u8::try_from(*number).unwrap()) {
            sample.put(&store).await.unwrap();
        }
        store.inner().close().await.unwrap();
    }
}

pub async fn is_whole(store: &dyn Backend) {
    is_whole_of(store, 1).await;
}

pub async fn is_whole_of(store: &dyn Backend, owner: u8) {
    for sample in samples_of(owner) {
        let found = sample.get(store).await.unwrap();
        assert_eq!(found, Some(sample.expected()), "{sample:?}");
    }
}

/// A connection beside the store, which makes no file.
pub fn connect(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = Connection::open_with_flags(path, flags).unwrap();
    file.busy_timeout(std::time::Duration::from_secs(30))
        .unwrap();
    file
}

/// An account's document, with its revision.
pub fn document(path: &Path, account: i32) -> (i64, Vec<u8>) {
    let query = "SELECT revision, document FROM sealed_store_keyring WHERE name = ?1";
    connect(path)
        .query_row(query, [format!("account:{account}")], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap()
}

/// Puts a document there, as whoever can write the file can.
pub fn put_document(path: &Path, account: i32, (revision, document): &(i64, Vec<u8>)) {
    let change = "UPDATE sealed_store_keyring SET revision = ?2, document = ?3 WHERE name = ?1";
    let changed = connect(path).execute(
        change,
        (format!("account:{account}"), revision, document.as_slice()),
    );
    assert_eq!(changed.unwrap(), 1);
}

/// The body of an account's document.
pub fn body(path: &Path, account: i32) -> Value {
    let document = String::from_utf8(document(path, account).1).unwrap();
    serde_json::from_str(split(&document).1).unwrap()
}

/// The states of an account's data keys, by table and generation, as its document has them.
pub fn keys_of(path: &Path, account: i32) -> BTreeMap<(String, u64), String> {
    let body = body(path, account);
    let keys = body["keys"].as_array().unwrap();
    keys.iter()
        .filter_map(|key| {
            let table = key["table"].as_str()?.to_owned();
            let state = key["state"].as_str().unwrap().to_owned();
            assert_eq!(key["wrapped"].is_null(), state == "destroyed");
            Some(((table, key["generation"].as_u64().unwrap()), state))
        })
        .collect()
}

pub fn keys(path: &Path) -> BTreeMap<(String, u64), String> {
    keys_of(path, 1)
}

/// The state of one of them.
pub fn state(path: &Path, table: Table, generation: u64) -> String {
    keys(path)[&(table.name().to_owned(), generation)].clone()
}

/// Fails unless every table has one key, of this generation, and all older ones are destroyed.
pub fn one_key_a_table(path: &Path, newest: u64) {
    one_key_a_table_of(path, 1, newest);
}

pub fn one_key_a_table_of(path: &Path, account: i32, newest: u64) {
    let keys = keys_of(path, account);
    for table in Table::ALL {
        for generation in 1..=newest {
            let state = &keys[&(table.name().to_owned(), generation)];
            let expected = if generation == newest {
                "active"
            } else {
                "destroyed"
            };
            assert_eq!(state, expected, "{table} {generation} of {account}");
        }
    }
}

/// Fails unless every row opens with the keys that are there.
pub async fn checks(path: &Path) {
    let report = check(path, &key(), CheckOptions::new(), &()).await.unwrap();
    assert!(report.is_sound() && report.shredded == 0, "{report:?}");
}

pub fn copy(from: &Path, to: &Path) {
    connect(from)
        .execute("VACUUM INTO ?1", [to.to_str().unwrap()])
        .unwrap();
}

/// What a [`Walk`] did, as its summary says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    pub seen: u64,
    pub resealed: u64,
    pub destroyed: u64,
    pub retained: u64,
}

/// A child that reencrypts, and goes on at each step only when it is told to.
pub struct Walk {
    child: Child,
    /// Rows that were seen before the step at which it stands.
    pub rows: u64,
    pub done: Option<Done>,
}

impl Walk {
    /// The test binary has a test of the name `walking`, which calls [`walking`]. Of all tables if none is named.
    pub fn start(path: &Path, tables: &[Table]) -> Self {
        let tables: Vec<_> = tables
            .iter()
            .map(|table| table.number().to_string())
            .collect();
        Self {
            child: Child::run("walking", &[path.to_str().unwrap(), &tables.join(" ")]),
            rows: 0,
            done: None,
        }
    }

    /// The name of the step at which it stands; `None` once it is done.
    pub fn step(&mut self) -> Option<String> {
        loop {
            let line = self.child.next().expect("it goes on to its end");
            match line.split_once(' ') {
                Some(("rows", rows)) => self.rows = rows.parse().unwrap(),
                Some(("step", name)) => return Some(name.to_owned()),
                Some(("done", numbers)) => {
                    let numbers: Vec<u64> = numbers
                        .split(' ')
                        .map(|number| number.parse().unwrap())
                        .collect();
                    self.done = Some(Done {
                        seen: numbers[0],
                        resealed: numbers[1],
                        destroyed: numbers[2],
                        retained: numbers[3],
                    });
                    return None;
                }
                _ => panic!("{line}"),
            }
        }
    }

    pub fn go_on(&mut self) {
        self.child.tell("go on");
    }

    /// Goes on until it stands at this step.
    pub fn until(&mut self, name: &str) {
        while let Some(step) = self.step() {
            if step == name {
                return;
            }
            self.go_on();
        }
        panic!("it ended before {name}");
    }

    /// Goes on to the end.
    pub fn finish(mut self) -> Done {
        while self.step().is_some() {
            self.go_on();
        }
        self.done.expect("its summary")
    }

    pub fn kill(self) {
        self.child.kill();
    }
}

/// Tells the parent how far it is.
struct Telling;

impl Progress for Telling {
    fn begin(&self, _: Phase, _: Option<u64>) {}
    fn rows(&self, done: u64) {
        say(&format!("rows {done}"));
    }
}

/// The child of a [`Walk`].
pub fn walking() {
    let Some(job) = job() else { return };
    on_step(|name| {
        say(&format!("step {name}"));
        hear();
    });
    let tables: Vec<Table> = job[1]
        .split_whitespace()
        .map(|number| number.parse::<u16>().unwrap())
        .map(|number| {
            Table::ALL
                .into_iter()
                .find(|table| table.number() == number)
                .unwrap()
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let options = ReencryptOptions::new().tables(tables);
    let done = runtime
        .block_on(reencrypt(&job[0], &key(), options, &Telling))
        .unwrap();
    say(&format!(
        "done {} {} {} {}",
        done.seen, done.resealed, done.destroyed, done.retained
    ));
}
