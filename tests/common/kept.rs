//! A store of two accounts with known rows in every table, in either layout, sealed or in the clear: made, opened, and seen to
//! be whole.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{KeyProvider, Keyring, SealError, SealedBackend, SqliteKeyring, Table};
use wacore::store::traits::Backend;

use crate::common::samples::{Sample, TABLES};
use crate::common::sqlite_device;
use crate::common::support::eventually;

/// The accounts: each has rows of the same names, and values of its own.
pub const ACCOUNTS: [i32; 2] = [1, 2];
const ROWS: u8 = 3;

/// Whose tables are in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Ours,
    Upstream,
}

impl Layout {
    pub const BOTH: [Self; 2] = [Self::Ours, Self::Upstream];

    pub fn of(name: &str) -> Self {
        match name {
            "Ours" => Self::Ours,
            "Upstream" => Self::Upstream,
            _ => panic!("no layout {name}"),
        }
    }
}

/// The rows of an account.
pub fn samples(account: i32) -> impl Iterator<Item = Sample> {
    let owner = u8::try_from(account).unwrap();
    TABLES
        .into_iter()
        .flat_map(move |table| (0..ROWS).map(move |row| Sample { table, row, owner }))
}

/// A store that is open, and what is to be closed so that its files are free at once.
pub struct Opened {
    pub store: Arc<dyn Backend>,
    ours: Option<SqliteStore>,
}

impl Opened {
    pub async fn close(self) {
        drop(self.store);
        if let Some(ours) = self.ours {
            ours.close().await.unwrap();
        }
    }
}

/// The store of an account in the file, in the clear.
async fn open_plain(path: &Path, layout: Layout, account: i32) -> Opened {
    match layout {
        Layout::Ours => {
            let ours = SqliteStore::open(path).await.unwrap().for_account(account);
            Opened {
                store: Arc::new(ours.clone()),
                ours: Some(ours),
            }
        }
        Layout::Upstream => Opened {
            store: sqlite_device(path, account).await,
            ours: None,
        },
    }
}

/// The sealed store of an account in the file at `path`, with this keyring, which has the account already.
pub async fn open_in(
    keyring: &Keyring,
    path: &Path,
    layout: Layout,
    account: i32,
) -> Result<Opened, SealError> {
    let of = keyring.account(&account.to_string()).await?;
    let Opened { store, ours } = open_plain(path, layout, account).await;
    let sealed: Arc<dyn Backend> = Arc::new(SealedBackend::open(store, of).await?);
    Ok(Opened {
        store: sealed,
        ours,
    })
}

async fn put_all(store: &dyn Backend, account: i32) {
    store.create().await.unwrap();
    for sample in samples(account) {
        sample.put(store).await.unwrap();
    }
}

pub async fn fill_plain(path: &Path, layout: Layout) {
    for account in ACCOUNTS {
        let opened = open_plain(path, layout, account).await;
        put_all(&*opened.store, account).await;
        opened.close().await;
    }
    closed(path).await;
}

pub async fn fill_sealed(path: &Path, layout: Layout, key: &dyn KeyProvider) {
    let keyring = Keyring::create(SqliteKeyring::at(path), key).await.unwrap();
    for account in ACCOUNTS {
        keyring.create_account(&account.to_string()).await.unwrap();
        let opened = open_in(&keyring, path, layout, account).await.unwrap();
        put_all(&*opened.store, account).await;
        opened.close().await;
    }
    drop(keyring);
    closed(path).await;
}

/// Every row of every account is there.
pub async fn is_whole(path: &Path, layout: Layout, key: &dyn KeyProvider) {
    let keyring = Keyring::open(SqliteKeyring::at(path), key).await.unwrap();
    for account in ACCOUNTS {
        let opened = open_in(&keyring, path, layout, account).await.unwrap();
        has_all(&*opened.store, account).await;
        opened.close().await;
    }
}

pub async fn is_whole_in_the_clear(path: &Path, layout: Layout) {
    for account in ACCOUNTS {
        let opened = open_plain(path, layout, account).await;
        has_all(&*opened.store, account).await;
        opened.close().await;
    }
}

async fn has_all(store: &dyn Backend, account: i32) {
    for sample in samples(account) {
        let found = sample.get(store).await.unwrap();
        assert_eq!(found, Some(sample.expected()), "{sample:?}");
    }
}

/// What became of the rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Whole,
    Shredded,
}

/// What became of an account's rows, table by table: all of a table share its fate.
pub async fn look(
    path: &Path,
    layout: Layout,
    account: i32,
    key: &dyn KeyProvider,
) -> BTreeMap<Table, Seen> {
    let keyring = Keyring::open(SqliteKeyring::at(path), key).await.unwrap();
    let opened = match open_in(&keyring, path, layout, account).await {
        Ok(opened) => opened,
        Err(SealError::Shredded) => {
            return TABLES.map(|table| (table, Seen::Shredded)).into();
        }
        Err(error) => panic!("account {account}: {error:?}"),
    };
    let mut seen = BTreeMap::new();
    for sample in samples(account) {
        let fate = match sample.get(&*opened.store).await {
            Ok(found) => {
                assert_eq!(found, Some(sample.expected()), "{sample:?}");
                Seen::Whole
            }
            Err(error) => match SealError::of(&error) {
                Some(SealError::Shredded) => Seen::Shredded,
                _ => panic!("{sample:?}: {error:?}"),
            },
        };
        let first = *seen.entry(sample.table).or_insert(fate);
        assert_eq!(first, fate, "{sample:?}");
    }
    opened.close().await;
    seen
}

/// Whether there is a keyring in the file.
pub fn is_sealed(path: &Path) -> bool {
    let query = "SELECT count(*) FROM sqlite_schema WHERE name = 'sealed_store_keyring'";
    connect(path)
        .query_row(query, [], |row| row.get::<_, i64>(0))
        .unwrap()
        > 0
}

/// The documents of the keyring in the file, by name.
pub fn documents(path: &Path) -> BTreeMap<String, String> {
    let file = connect(path);
    let mut statement = file
        .prepare("SELECT name, CAST(document AS TEXT) FROM sealed_store_keyring")
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn connect(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).unwrap()
}

/// Waits until nobody has the database open: the last one takes its log along.
pub async fn closed(path: &Path) {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = std::path::PathBuf::from(log);
    eventually("closed", || !log.exists()).await;
}

/// The names in a folder.
pub fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Copies the files of a folder in which nobody works; what a task has in a folder of its own stays.
pub fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
