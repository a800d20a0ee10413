//! A keyring in an SQLite file: the data file itself, or a file of its own.

mod fault;
mod schema;
mod whole;

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::{
    KeyringStore, LockGuard, LockMode, MAX_DOCUMENT, Occupied, Revision, StoreFault, StoreFaultKind,
};
use crate::private_file;
use crate::store::sqlite::{SqliteStore, WeakStore, has_long_log};
use crate::thread::off_thread;
use fault::{failed, io, is_contention};
use schema::{has_keyring, migrate};
pub(crate) use whole::{Swept, documents_of};

/// How long a connection waits for another writer of the same file.
const WAIT: Duration = Duration::from_secs(10);

/// How long it waits for readers before it leaves the write-ahead log to the next write.
const FOLD_WAIT: Duration = Duration::from_secs(1);

/// A document and its revision, if there is one.
type Found = Option<(Revision, Vec<u8>)>;

/// Keeps the keyring in an SQLite file.
///
/// In the data file, one copy is one backup. In a file of its own, a destroyed key is gone from later
/// backups of the data too, which compliance should prefer. Files have mode `0600`, whatever the
/// umask, and a data file that is there already gets it when keys go into it; writes are durable when they return (`synchronous=FULL`), erased content is overwritten
/// (`secure_delete`) and the write-ahead log is folded in after each write.
///
/// Openers are told apart by an advisory lock on `<file>.keyring-lock` beside it. (Not on the file
/// itself: closing any descriptor of a database file would drop SQLite's own locks in this process.)
pub struct SqliteKeyring {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    /// The store in the same file, on whose connection documents are read as long as it is open.
    store: Option<WeakStore>,
    /// Whether it was seen that the store's file holds a keyring, which does not change.
    seen: AtomicBool,
    /// Made when it is needed.
    connection: Mutex<Option<Connection>>,
}

impl SqliteKeyring {
    /// A keyring in the file at `path`, which is made when a keyring is created in it.
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self::new(path.as_ref(), None)
    }

    /// As [`SqliteKeyring::at`], for the file that `store` has open.
    pub(crate) fn in_store(path: &Path, store: &SqliteStore) -> Self {
        Self::new(store.path().unwrap_or(path), Some(store.downgrade()))
    }

    fn new(path: &Path, store: Option<WeakStore>) -> Self {
        Self {
            shared: Arc::new(Shared {
                // More connections are made later, when the process may be in another folder.
                path: std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()),
                store,
                seen: AtomicBool::new(false),
                connection: Mutex::new(None),
            }),
        }
    }

    /// Runs `work` on a thread of its own: it waits for the disk, or for others.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreFault> + Send + 'static,
    ) -> Result<T, StoreFault> {
        let shared = Arc::clone(&self.shared);
        off_thread("sealed-store-keyring", move || work(&shared))
            .await
            .unwrap_or_else(|| {
                Err(StoreFault::new(
                    StoreFaultKind::Io,
                    "no thread could be started for the keyring's file; try again",
                ))
            })
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a document on the caller's thread, which takes microseconds. `None` if another connection, or
    /// another call, is in the way.
    fn get_now(&self, name: &str) -> Option<Result<Found, StoreFault>> {
        if let Err(fault) = self.same_file() {
            return Some(Err(fault));
        }
        let beside = self.store.as_ref().and_then(|store| {
            store.read_now(|connection| {
                if self.seen.load(Ordering::Relaxed) || has_keyring(connection)? {
                    self.seen.store(true, Ordering::Relaxed);
                    return document(connection, name);
                }
                Ok(None)
            })
        });
        match beside {
            Some(Err(fault)) if is_contention(&fault) => {}
            Some(answer) => return Some(answer),
            None => {}
        }
        let mut held = match self.connection.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        if held.is_none() && has_long_log(&self.path) {
            return None;
        }
        match self.get(&mut held, Duration::ZERO, name) {
            Err(fault) if is_contention(&fault) => None,
            answer => Some(answer),
        }
    }

    /// Fails where the store's file is another by now: documents of one keyring must not be written over those of
    /// another.
    fn same_file(&self) -> Result<(), StoreFault> {
        if self.store.as_ref().is_some_and(WeakStore::is_replaced) {
            return Err(StoreFault::new(
                StoreFaultKind::Io,
                "the keyring's file was replaced or removed while it was open; close the store, see to it that the \
                 right file is there, and open it again",
            ));
        }
        Ok(())
    }

    fn get(
        &self,
        held: &mut Option<Connection>,
        wait: Duration,
        name: &str,
    ) -> Result<Found, StoreFault> {
        match self.for_reading(held, wait)? {
            Some(connection) => document(connection, name),
            None => Ok(None),
        }
    }

    /// The connection, or `None` if the file holds no keyring yet: reading changes no file.
    fn for_reading<'a>(
        &self,
        held: &'a mut Option<Connection>,
        wait: Duration,
    ) -> Result<Option<&'a Connection>, StoreFault> {
        if !exists(&self.path)? {
            return Ok(None);
        }
        if held.is_none() {
            let connection = open(&self.path, wait)?;
            if !has_keyring(&connection)? {
                return Ok(None);
            }
            *held = Some(set_up(connection)?);
        }
        let connection = held.as_ref();
        if let Some(connection) = connection {
            connection.busy_timeout(wait).map_err(failed)?;
        }
        Ok(connection)
    }

    /// The connection, to a file that is made if there is none.
    fn for_writing<'a>(
        &self,
        held: &'a mut Option<Connection>,
    ) -> Result<&'a mut Connection, StoreFault> {
        let connection = match held.take() {
            Some(connection) => connection,
            None => {
                private_file::create(&self.path).map_err(io)?;
                set_up(open(&self.path, WAIT)?)?
            }
        };
        connection.busy_timeout(WAIT).map_err(failed)?;
        Ok(held.insert(connection))
    }

    fn put(
        &self,
        name: &str,
        expected: Option<Revision>,
        bytes: &[u8],
    ) -> Result<Revision, StoreFault> {
        let used_up = || StoreFault::new(StoreFaultKind::Invalid, "the revision number is used up");
        let revision = expected.unwrap_or(0).checked_add(1).ok_or_else(used_up)?;
        let stored = i64::try_from(revision).map_err(|_| used_up())?;
        if expected.is_none() {
            private_file::tighten(&self.path).map_err(io)?;
        }
        self.same_file()?;
        let mut held = self.held();
        let connection = self.for_writing(&mut held)?;
        self.same_file()?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let changed = match expected {
            None => transaction.execute(
                "INSERT INTO sealed_store_keyring (name, revision, document) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO NOTHING",
                params![name, stored, bytes],
            ),
            Some(_) => transaction.execute(
                "UPDATE sealed_store_keyring SET revision = ?2, document = ?3
                 WHERE name = ?1 AND revision = ?2 - 1",
                params![name, stored, bytes],
            ),
        }
        .map_err(failed)?;
        if changed != 1 {
            return Err(StoreFault::new(
                StoreFaultKind::Conflict,
                "the keyring document changed meanwhile; read it again",
            ));
        }
        transaction.commit().map_err(failed)?;
        fold_log(connection);
        Ok(revision)
    }

    fn occupied(&self) -> Result<Occupied, StoreFault> {
        if !exists(&self.path)? {
            return Ok(Occupied::Unknown);
        }
        let connection = open(&self.path, WAIT)?;
        let mut statement = connection
            .prepare(
                "SELECT name FROM sqlite_schema WHERE type = 'table'
                 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
                 AND name NOT LIKE 'sealed\\_store\\_%' ESCAPE '\\'
                 AND name <> '__diesel_schema_migrations'",
            )
            .map_err(failed)?;
        let tables = statement
            .query_map([], |row| row.get::<_, String>(0))
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(failed)?;
        if tables.is_empty() {
            // A file of its own, or a data file that its store has not touched yet.
            return Ok(Occupied::Unknown);
        }
        for table in tables {
            let quoted = table.replace('"', "\"\"");
            let any: bool = connection
                .query_row(
                    &format!("SELECT EXISTS (SELECT 1 FROM \"{quoted}\")"),
                    [],
                    |row| row.get(0),
                )
                .map_err(failed)?;
            if any {
                return Ok(Occupied::Yes);
            }
        }
        Ok(Occupied::No)
    }

    fn list(&self) -> Result<Vec<String>, StoreFault> {
        let mut held = self.held();
        let Some(connection) = self.for_reading(&mut held, WAIT)? else {
            return Ok(Vec::new());
        };
        let mut statement = connection
            .prepare("SELECT name FROM sealed_store_keyring ORDER BY name")
            .map_err(failed)?;
        statement
            .query_map([], |row| row.get(0))
            .and_then(Iterator::collect)
            .map_err(failed)
    }

    fn lock(&self, mode: LockMode) -> Result<LockGuard, StoreFault> {
        // Beside the file itself: who comes through a link meets the same lock.
        let mut beside = real(&self.path).into_os_string();
        beside.push(".keyring-lock");
        let file = private_file::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(beside)
            .map_err(io)?;
        let taken = match mode {
            LockMode::Shared => file.try_lock_shared(),
            LockMode::Exclusive => file.try_lock(),
        };
        match taken {
            Ok(()) => Ok(LockGuard::new(HeldFile(file))),
            Err(fs::TryLockError::WouldBlock) => Err(StoreFault::new(
                StoreFaultKind::InUse,
                "the keyring is in use by another opener; close it there first",
            )),
            Err(fs::TryLockError::Error(error)) => Err(io(error)),
        }
    }
}

/// Closing the file releases the lock.
struct HeldFile(#[expect(dead_code, reason = "held for its destructor")] File);

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl KeyringStore for SqliteKeyring {
    async fn get(&self, name: &str) -> Result<Option<(Revision, Vec<u8>)>, StoreFault> {
        if let Some(answer) = self.shared.get_now(name) {
            return answer;
        }
        let name = name.to_owned();
        self.run(move |shared| shared.get(&mut shared.held(), WAIT, &name))
            .await
    }

    async fn put(
        &self,
        name: &str,
        expected: Option<Revision>,
        bytes: &[u8],
    ) -> Result<Revision, StoreFault> {
        let (name, bytes) = (name.to_owned(), bytes.to_vec());
        self.run(move |shared| shared.put(&name, expected, &bytes))
            .await
    }

    async fn list(&self) -> Result<Option<Vec<String>>, StoreFault> {
        self.run(|shared| shared.list().map(Some)).await
    }

    async fn occupied(&self) -> Result<Occupied, StoreFault> {
        self.run(Shared::occupied).await
    }

    // A process that is just being started has copies of all descriptors.
    fn lock_may_pass(&self) -> bool {
        true
    }

    async fn lock(&self, mode: LockMode) -> Result<LockGuard, StoreFault> {
        self.shared.lock(mode)
    }
}

/// A connection to a file that is there.
fn open(path: &Path, wait: Duration) -> Result<Connection, StoreFault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(wait).map_err(failed)?;
    Ok(connection)
}

/// The settings that a keyring needs, and its tables.
fn set_up(mut connection: Connection) -> Result<Connection, StoreFault> {
    let settings = [
        ("synchronous", "FULL"),
        ("secure_delete", "ON"),
        ("trusted_schema", "OFF"),
    ];
    for (name, value) in settings {
        connection
            .pragma_update(None, name, value)
            .map_err(failed)?;
    }
    migrate(&mut connection)?;
    Ok(connection)
}

/// A document, from a file that holds a keyring.
fn document(connection: &Connection, name: &str) -> Result<Found, StoreFault> {
    // A planted document of a gigabyte is not read into memory: it is refused for its length alone.
    let mut statement = connection
        .prepare_cached(
            "SELECT revision, CASE WHEN length(document) <= ?2 THEN document ELSE zeroblob(?2 + 1) END
             FROM sealed_store_keyring WHERE name = ?1",
        )
        .map_err(failed)?;
    statement
        .query_row(params![name, MAX_DOCUMENT as i64], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        })
        .optional()
        .map_err(failed)?
        .map(|(revision, document)| {
            let revision = u64::try_from(revision).map_err(|_| {
                StoreFault::new(
                    StoreFaultKind::Corrupt,
                    "a keyring document has an impossible revision; restore a backup",
                )
            })?;
            Ok((revision, document))
        })
        .transpose()
}

/// Folds the write-ahead log into the file, so that replaced documents do not linger there. Says whether it could.
fn fold_log(connection: &Connection) -> bool {
    // The write is durable: it is not kept waiting long for a reader.
    let folded = connection
        .busy_timeout(FOLD_WAIT)
        .and_then(|()| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                row.get::<_, i64>(0)
            })
        })
        .is_ok_and(|left| left == 0);
    let waits_again = connection.busy_timeout(WAIT);
    debug_assert!(waits_again.is_ok(), "the setting can't fail");
    if !folded {
        // The write itself is durable. The next write folds the log, or closing the file does.
        tracing::warn!(
            target: "sealed_store",
            "a reader kept the keyring's write-ahead log from being folded in; the replaced document may linger there"
        );
    }
    folded
}

/// Where the file is, or will be, behind any links.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    match (path.parent().map(fs::canonicalize), path.file_name()) {
        (Some(Ok(folder)), Some(name)) => folder.join(name),
        _ => path.to_path_buf(),
    }
}

fn exists(path: &Path) -> Result<bool, StoreFault> {
    match fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io(error)),
    }
}

impl fmt::Debug for SqliteKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteKeyring(..)")
    }
}

#[cfg(test)]
mod tests;
