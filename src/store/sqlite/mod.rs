//! A [`Backend`](wacore::store::traits::Backend) in an SQLite file, by itself or under a seal.
//!
//! One connection writes and others read beside it. A call costs a few microseconds and is made on the caller's
//! thread; writes that come at once share a transaction, batches and long reads run on threads of their own.
//! No runtime is assumed.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use sealed_store::store::sqlite::SqliteStore;
//! use wacore::store::traits::{DeviceStore, SignalStore};
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("whatsapp.db");
//! let store = SqliteStore::open(&path).await?;
//! store.create().await?;
//! store.put_session("5511987650001:3@c.us.0", b"ratchet").await?;
//! assert!(store.has_session("5511987650001:3@c.us.0").await?);
//! store.close().await?;
//! # Ok::<(), wacore::store::error::StoreError>(())
//! # }).unwrap();
//! ```

mod app_sync;
mod connection;
mod device;
mod device_lists;
mod error;
mod files;
mod import;
pub(crate) mod key;
mod location;
mod mappings;
mod msg_secret;
mod options;
mod patience;
mod protocol;
mod rows;
mod signal;
mod tc_tokens;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Weak};

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, OpenFlags};
use wacore::store::error::{Result as StoreResult, StoreError};

pub use error::{SqliteFault, SqliteFaultKind};
pub use options::{SqliteOptions, Synchronous, TempStore};

pub(crate) use app_sync::{read_state, write_state};
pub(crate) use connection::{
    SCHEMA_VERSION, create_schema, has_long_log, log_length, schema_version,
};
pub(crate) use error::{advised, is_contention};
pub(crate) use key::{pack, unpack};
pub(crate) use msg_secret::{
    OwnedSecret, Secret, put as put_secrets, replace as replace_secret, secrets_at, secrets_of,
};

use crate::thread::off_thread;
use files::Files;
use location::Location;
use writer::Writer;

type Readers = r2d2::Pool<SqliteConnectionManager>;

/// A store of one account in an SQLite file. Cheap to clone; clones share everything.
///
/// If the file, its log (`-wal`) or their index (`-shm`) is replaced or removed while the store is open, or the file is
/// emptied, what was written since is lost with the old ones. The store looks for that when it is called, at most every
/// 100 ms, after an error, with each connection that it makes, with each checkpoint, and at [`SqliteStore::close`]; from
/// then on everything fails with [`SqliteFaultKind::Replaced`]. Bytes that another program writes into the same file
/// are not noticed, and on Windows, where open files can't be replaced, nothing is looked for.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
    account: i32,
}

/// A store that may be closed meanwhile: whoever holds this does not keep it open.
pub(crate) struct WeakStore(Weak<Shared>);

impl WeakStore {
    /// Whether its files are no longer there, if it is open.
    pub(crate) fn is_replaced(&self) -> bool {
        let shared = self.0.upgrade();
        let files = shared.as_ref().and_then(|shared| shared.files.as_ref());
        files.is_some_and(|files| files.check().is_err())
    }

    /// Reads at once, if the store is open and its connection is free.
    pub(crate) fn read_now<T>(&self, work: impl FnOnce(&Connection) -> T) -> Option<T> {
        let shared = self.0.upgrade()?;
        shared.writer.read_now(work)
    }
}

struct Shared {
    location: Location,
    options: SqliteOptions,
    writer: Writer,
    /// None in memory, where only the connection that writes sees anything.
    readers: Option<Readers>,
    /// None in memory.
    files: Option<Arc<Files>>,
    /// One turn for each connection that reads: no more threads than that are at it.
    turns: Arc<async_lock::Semaphore>,
}

impl SqliteStore {
    /// Opens the store of account 1 in the file at `path`, or makes it.
    ///
    /// # Errors
    /// [`StoreError::InvalidConfig`] for a folder, for whatsapp-rust's own database, for a file of something
    /// else, for one of a newer version of this library, and for `:memory:`; [`StoreError::Io`] and [`StoreError::Connection`]
    /// where the file can't be used; [`StoreError::Database`] if it is no database. Nothing was changed then.
    pub async fn open(path: impl AsRef<Path>) -> StoreResult<Self> {
        Self::open_with(path, SqliteOptions::new()).await
    }

    /// As [`SqliteStore::open`], with options.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn open_with(path: impl AsRef<Path>, options: SqliteOptions) -> StoreResult<Self> {
        let path = path.as_ref();
        if path.as_os_str() == ":memory:" {
            return Err(error::unfit(
                "that is no path but a URL for a database in memory: open it with `SqliteStore::open_url`",
            ));
        }
        Self::open_at(Location::File(path.to_path_buf()), options).await
    }

    /// As [`SqliteStore::open_with`], for a `sqlite://` or `file:` URL, a plain path, or `:memory:`, which
    /// keeps everything in this process. A URL may say `mode=rw`, which makes no file, `mode=rwc` or `mode=memory`.
    ///
    /// # Errors
    /// As [`SqliteStore::open`]; [`StoreError::InvalidConfig`] for any other URL.
    pub async fn open_url(url: &str, options: SqliteOptions) -> StoreResult<Self> {
        let (location, existing) = Location::parse(url)?;
        if existing && !location.path().is_some_and(Path::exists) {
            return Err(error::unfit(
                "there is no database where the URL says, and mode=rw makes none; check the path, or say mode=rwc",
            ));
        }
        Self::open_at(location, options).await
    }

    async fn open_at(location: Location, options: SqliteOptions) -> StoreResult<Self> {
        let shared = match Shared::open_now(&location, &options) {
            Some(opened) => opened?,
            None => off_thread("sealed-store-open", move || Shared::open(location, options))
                .await
                .unwrap_or_else(|| Err(no_thread()))?,
        };
        Ok(Self {
            shared: Arc::new(shared),
            account: 1,
        })
    }

    /// The store of another account in the same file, by upstream's number of a device.
    #[must_use]
    pub fn for_account(&self, account: i32) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            account,
        }
    }

    /// The absolute path of its file; none in memory.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.shared.location.path()
    }

    pub(crate) fn downgrade(&self) -> WeakStore {
        WeakStore(Arc::downgrade(&self.shared))
    }

    /// The number of the account.
    #[must_use]
    pub fn account(&self) -> i32 {
        self.account
    }

    /// Makes the writes that wait, takes no more, and folds the write-ahead log into the database. For all
    /// clones and accounts. Without it the log is folded in when the last clone is dropped: on the writer's thread, for which
    /// nobody waits, or, where there was none, by whoever drops it.
    ///
    /// Called while it is being closed, it waits for the same end.
    ///
    /// # Errors
    /// [`StoreError::InvalidConfig`] if it is closed already; [`SqliteFaultKind::Replaced`] if its last writes went
    /// into files that are no longer there; [`SqliteFaultKind::LogLeft`] if it is closed but its log still holds writes.
    pub async fn close(&self) -> StoreResult<()> {
        self.shared.writer.close().await
    }

    /// Fails where other files are there than those that were opened: looked at now and then, and after an error,
    /// which may come of it.
    async fn guarded<T>(&self, call: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
        let Some(files) = &self.shared.files else {
            return call.await;
        };
        files.check_sometimes()?;
        let result = call.await;
        if result.is_err() {
            files.check()?;
        }
        result
    }

    /// Makes a write of about `rows` rows: whole or not at all, committed when it returns.
    async fn write<T: Send + 'static>(
        &self,
        rows: usize,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.guarded(self.shared.writer.write(rows, work)).await
    }

    /// Reads a row or two, on the caller's thread if a connection is free and nobody is in the way.
    async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        let Some(readers) = &self.shared.readers else {
            return self.shared.writer.read(work).await;
        };
        self.guarded(async {
            let read = if let Some(connection) = readers.try_get() {
                self.shared.noted()?;
                Some(work(&connection))
            } else {
                // Until somebody reads beside a writer, one connection does for both.
                self.shared.writer.read_now(&work)
            };
            match read {
                Some(Err(error)) if is_contention(&error) => {}
                Some(answer) => return answer.map_err(error::database),
                None => {}
            }
            self.read_elsewhere(readers, work).await
        })
        .await
    }

    /// Reads many rows, on a thread of its own.
    async fn read_many<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        match &self.shared.readers {
            Some(readers) => self.guarded(self.read_elsewhere(readers, work)).await,
            None => self.shared.writer.read(work).await,
        }
    }

    /// Reads on a thread of its own, where it may wait for others.
    async fn read_elsewhere<T: Send + 'static>(
        &self,
        readers: &Readers,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        let turn = self.shared.turns.acquire_arc().await;
        let readers = readers.clone();
        let files = self.shared.files.clone();
        let patience = self.shared.options.busy_timeout;
        let read = move || {
            // Held until the thread is done, also where the caller lost interest.
            let _turn = turn;
            // Before, for a file that is gone would be tried for until the time is up; and after, for a new connection
            // may have found other files.
            let files = files.as_deref();
            files.map_or(Ok(()), Files::check)?;
            let connection = readers.get();
            files.map_or(Ok(()), Files::noted)?;
            // Its own error says no more than SQLite's does, and may hold the path.
            let connection = connection
                .map_err(|_| StoreError::Connection(Box::new(SqliteFault::NO_CONNECTION)))?;
            patience::in_time(patience, || work(&connection)).map_err(error::database)
        };
        off_thread("sealed-store-reader", read)
            .await
            .unwrap_or_else(|| Err(no_thread()))
    }
}

impl Shared {
    /// Fails once other files were found: a connection that was made meanwhile may be to those.
    fn noted(&self) -> StoreResult<()> {
        self.files.as_ref().map_or(Ok(()), |files| files.noted())
    }

    /// Opens on the caller's thread what is opened at once.
    fn open_now(location: &Location, options: &SqliteOptions) -> Option<StoreResult<Self>> {
        let path = std::path::absolute(location.path()?).ok()?;
        let before = Files::at(&path);
        let writer = connection::open_writer_now(&path, options)?;
        Some(writer.and_then(|writer| {
            Self::of_writer(writer, Location::File(path), before, options.clone())
        }))
    }

    fn open(location: Location, options: SqliteOptions) -> StoreResult<Self> {
        // More connections are made later, when the process may be in another folder.
        let location = match location {
            Location::File(path) => {
                Location::File(std::path::absolute(path).map_err(StoreError::Io)?)
            }
            Location::Memory => Location::Memory,
        };
        let before = location.path().and_then(Files::at);
        let writer = connection::open_writer(&location, &options)?;
        Self::of_writer(writer, location, before, options)
    }

    /// `before`: which file was there before the connection was made.
    fn of_writer(
        writer: Connection,
        location: Location,
        before: files::Identity,
        options: SqliteOptions,
    ) -> StoreResult<Self> {
        // From here on waiting is done outside of SQLite, where it holds up nobody.
        writer
            .busy_timeout(std::time::Duration::ZERO)
            .map_err(error::database)?;
        let (mut files, mut readers) = (None, None);
        if let Location::File(path) = &location {
            let opened = Arc::new(Files::opened(path, before)?);
            files = Some(Arc::clone(&opened));
            let of_readers = options.clone();
            let manager = SqliteConnectionManager::file(path)
                .with_flags(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
                .with_init(move |connection| {
                    connection::configure_reader(connection, &of_readers)?;
                    // The pool would try again and again; whoever takes the connection is told.
                    let _ = opened.check_new(connection);
                    Ok(())
                });
            // Connections are made when they are needed: a store that is opened to write one row has none.
            let pool = r2d2::Pool::builder()
                .max_size(options.readers)
                .min_idle(Some(0))
                .thread_pool(crate::thread::of_pools())
                .test_on_check_out(false)
                // No reaper: connections are kept as long as the store.
                .max_lifetime(None)
                .idle_timeout(None)
                .connection_timeout(options.busy_timeout.max(std::time::Duration::from_secs(1)))
                .error_handler(Box::new(r2d2::NopErrorHandler))
                .build_unchecked(manager);
            readers = Some(pool);
        }
        // A commit that waits for the disk is not made on a caller's thread.
        let inline = options.synchronous != Synchronous::Full;
        Ok(Self {
            writer: Writer::new(writer, files.clone(), inline, options.busy_timeout),
            files,
            turns: Arc::new(async_lock::Semaphore::new(options.readers as usize)),
            location,
            options,
            readers,
        })
    }
}

fn no_thread() -> StoreError {
    error::unfit("no thread could be started for the database; try again")
}

/// As many rows as nobody can tell before: such a write is not made on the caller's thread.
const MANY: usize = usize::MAX;

/// Seconds since 1970, as the client counts them.
fn now() -> i64 {
    wacore::time::now_secs()
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("account", &self.account)
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}
