//! How the store's connections are set up.

use std::time::Duration;

/// How much SQLite waits for the disk (`PRAGMA synchronous`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Synchronous {
    /// With the write-ahead log, a power cut may lose the last writes but never damages the file. Writes do not
    /// wait for the disk. The default.
    Normal,
    /// Every write is on the disk when it returns.
    Full,
}

/// Where SQLite keeps temporary tables and indices (`PRAGMA temp_store`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TempStore {
    /// In memory, so that nothing is written beside the database. The default.
    Memory,
    /// In files.
    File,
}

/// Options of a [`SqliteStore`](super::SqliteStore).
#[derive(Debug, Clone)]
#[must_use]
pub struct SqliteOptions {
    pub(super) readers: u32,
    pub(super) busy_timeout: Duration,
    pub(super) synchronous: Synchronous,
    pub(super) cache_kib: u32,
    pub(super) temp_store: TempStore,
    pub(super) foreign_keys: bool,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl SqliteOptions {
    /// Two readers, 15 seconds, [`Synchronous::Normal`], 2,048 KiB, [`TempStore::Memory`], foreign keys on.
    pub fn new() -> Self {
        Self {
            readers: 2,
            busy_timeout: Duration::from_secs(15),
            synchronous: Synchronous::Normal,
            cache_kib: 2048,
            temp_store: TempStore::Memory,
            foreign_keys: true,
        }
    }

    /// How many connections read beside the one that writes, 1 to 64. Default: 2.
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers.clamp(1, 64);
        self
    }

    /// How long a write waits for another process that is writing, and a read for one that has the file to itself, from
    /// its turn on, before it fails; at most a day. Nobody waits on the caller's thread. Default: 15 seconds.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout.min(Duration::from_secs(86_400));
        self
    }

    /// Default: [`Synchronous::Normal`].
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// The page cache of each connection, at most, in KiB. Default: 2,048, as SQLite's own is about.
    pub fn cache_size(mut self, kib: u32) -> Self {
        self.cache_kib = kib;
        self
    }

    /// Default: [`TempStore::Memory`].
    pub fn temp_store(mut self, temp_store: TempStore) -> Self {
        self.temp_store = temp_store;
        self
    }

    /// Whether SQLite holds mappings to an account that exists, as upstream's store does. Default: yes.
    pub fn foreign_keys(mut self, on: bool) -> Self {
        self.foreign_keys = on;
        self
    }
}
