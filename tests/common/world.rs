//! An account in a file with a row in every table, and the file's rows beside it.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use sealed_store::{
    Account, BackendKeyring, Keyring, KeyringOptions, SealOptions, SealedBackend, Table,
};
use tempfile::TempDir;
use wacore::store::InMemoryBackend;
use wacore::store::traits::{Backend, DeviceStore};
use whatsapp_rust_sqlite_storage::{SqliteStore, SqliteStoreConfig, Synchronous};

use super::raw::{self, Raw, Stored};
use super::samples::{Sample, TABLES};

/// A keyring in a memory store of its own.
pub async fn memory_keyring(byte: u8) -> Keyring {
    memory_keyring_with(byte, KeyringOptions::new()).await
}

/// As [`memory_keyring`], with options.
pub async fn memory_keyring_with(byte: u8, options: KeyringOptions) -> Keyring {
    let store = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
    let keyring = options.create(store, &super::raw_key_of(byte)).await;
    keyring.expect("a keyring")
}

/// One account in one file, with its rows as the client and as an intruder knows them.
pub struct World {
    pub store: SealedBackend<SqliteStore>,
    pub account: Account,
    pub device: i32,
    /// A second connection to the file.
    pub file: Connection,
    pub rows: Vec<(Sample, Stored)>,
    pub canary: Stored,
}

impl World {
    /// Opens `account` in the file as upstream's account `device`, and writes `count` rows a table.
    pub async fn make(path: &Path, device: i32, account: Account, owner: u8, count: u8) -> Self {
        let text = path.to_str().expect("a UTF-8 path");
        let config = SqliteStoreConfig {
            // The tests are about what is in the file, not about what survives a crash.
            synchronous: Synchronous::Off,
            ..SqliteStoreConfig::default()
        };
        let inner = SqliteStore::with_config_for_device(text, device, config)
            .await
            .expect("upstream's store opens");
        let store = SealedBackend::open(Arc::new(inner), account.clone())
            .await
            .expect("the store opens");
        store.create().await.expect("the device is made");
        let file = Connection::open(path).expect("the file opens");
        file.busy_timeout(std::time::Duration::from_secs(10))
            .and_then(|()| file.pragma_update(None, "synchronous", "OFF"))
            .expect("a setting");
        let canary = raw::rows(&file, "sessions", device)
            .into_iter()
            .find(|row| row.text("address").starts_with("sealed-store"))
            .expect("a canary");
        let mut world = Self {
            store,
            account,
            device,
            file,
            rows: Vec::new(),
            canary: Stored {
                table: Table::Canary,
                parts: vec![canary],
            },
        };
        for table in TABLES {
            let count = if table == Table::Device { 1 } else { count };
            for row in 0..count {
                let sample = Sample { table, row, owner };
                let stored = world.put(sample).await;
                world.rows.push((sample, stored));
            }
        }
        world
    }

    pub fn inner(&self) -> &SqliteStore {
        self.store.inner()
    }

    pub fn backend(&self) -> &dyn Backend {
        &self.store
    }

    pub fn raw(&self, table: Table) -> Vec<Raw> {
        raw::rows(&self.file, raw::sql_table(table), self.device)
    }

    /// Writes a sample and finds what it became: the rows that are new or changed by it.
    pub async fn put(&self, sample: Sample) -> Stored {
        let before = self.raw(sample.table);
        sample.put(&self.store).await.expect("the row is written");
        let mut parts: Vec<Raw> = self
            .raw(sample.table)
            .into_iter()
            .filter(|row| !before.contains(row))
            .collect();
        // A secret's second half has a sender that sorts before every name.
        if sample.table == Table::MsgSecret {
            parts.sort_by_key(|row| std::cmp::Reverse(row.text("sender").len()));
            assert_eq!(parts.len(), 2);
        } else {
            assert_eq!(parts.len(), 1, "{sample:?} is one row");
        }
        Stored {
            table: sample.table,
            parts,
        }
    }

    pub fn find(&self, table: Table, row: u8) -> &(Sample, Stored) {
        let mut rows = self.rows.iter();
        rows.find(|(sample, _)| sample.table == table && sample.row == row)
            .expect("a row")
    }

    /// The same account over a memory store that holds a copy of every row: as the rows do not know
    /// what kind of store they are in, it opens there as well.
    pub async fn in_memory(
        &self,
        options: SealOptions,
    ) -> (Arc<InMemoryBackend>, SealedBackend<InMemoryBackend>) {
        let inner = Arc::new(InMemoryBackend::new());
        inner.create().await.expect("a device row");
        self.canary.place(&*inner).await.expect("the canary");
        for (_, stored) in &self.rows {
            stored.place(&*inner).await.expect("a row");
        }
        let store = SealedBackend::open_with(Arc::clone(&inner), self.account.clone(), options)
            .await
            .expect("the copy opens");
        (inner, store)
    }
}

/// Two accounts in one file, a third in another file under the same keyring, and a fourth under
/// another keyring; the rows of all have the same names, and two rows a table.
pub async fn worlds() -> (TempDir, Vec<World>) {
    let folder = tempfile::tempdir().expect("made");
    let [first, second] = ["first.db", "second.db"].map(|name| folder.path().join(name));
    let keyring = memory_keyring(7).await;
    let foreign = memory_keyring(8).await;
    let mut worlds = Vec::new();
    for (owner, device, path, keyring) in [
        (0, 1, &first, &keyring),
        (1, 2, &first, &keyring),
        (2, 1, &second, &keyring),
        (3, 2, &second, &foreign),
    ] {
        let account = keyring
            .create_account(&owner.to_string())
            .await
            .expect("made");
        worlds.push(World::make(path, device, account, owner, 2).await);
    }
    (folder, worlds)
}

/// One account in one file, one row a table.
pub async fn world() -> (TempDir, World) {
    world_with(KeyringOptions::new()).await
}

/// As [`world`], with options of the keyring.
pub async fn world_with(options: KeyringOptions) -> (TempDir, World) {
    let folder = tempfile::tempdir().expect("made");
    let account = memory_keyring_with(7, options)
        .await
        .create_account("1")
        .await
        .expect("made");
    let world = World::make(&folder.path().join("a.db"), 1, account, 1, 1).await;
    (folder, world)
}
