//! Connections, their settings, and the schema.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use wacore::store::error::StoreError;

use super::error::{SqliteFault, advised, database, is_contended, unfit};
use super::location::Location;
use super::options::{SqliteOptions, Synchronous, TempStore};
use crate::private_file;

/// Numbered migrations, applied in order; the count is the schema's version.
const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/store/0001_tables.sql")];

/// The newest version of the schema.
pub(crate) const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// How many statements a connection keeps prepared: more than there are.
const STATEMENTS: usize = 128;

/// How long the making of a connection waits for a program that has the file to itself before others have a turn.
const CONNECTING: Duration = Duration::from_millis(100);

/// A longer log takes a while to read.
const SHORT_LOG: u64 = 1 << 20;

/// Of a file that nobody has open: what a program that was killed left.
pub(crate) fn log_length(path: &Path) -> u64 {
    // It is beside the file that a link leads to.
    let log = std::fs::canonicalize(path).map(|path| {
        let mut log = path.into_os_string();
        log.push("-wal");
        log
    });
    log.and_then(std::fs::metadata)
        .map_or(0, |about| about.len())
}

/// Whether opening the file would take a while: its log is read by whoever is first.
pub(crate) fn has_long_log(path: &Path) -> bool {
    log_length(path) > SHORT_LOG
}

/// As [`open_writer`], if it takes a fraction of a millisecond: the file is there, no other connection is in the way, its
/// log is short and its schema is up to date.
pub(super) fn open_writer_now(
    path: &Path,
    options: &SqliteOptions,
) -> Option<Result<Connection, StoreError>> {
    let length = std::fs::metadata(path).ok()?.len();
    if length == 0 || has_long_log(path) {
        return None;
    }
    let ready = || -> Result<Option<Connection>, StoreError> {
        let (connection, version) = begin_writer(path, Duration::ZERO)?;
        if version != MIGRATIONS.len() {
            return Ok(None);
        }
        finish_writer(&connection, Some(path), options)?;
        Ok(Some(connection))
    };
    match ready() {
        Err(error) if is_contended(&error) => None,
        other => other.transpose(),
    }
}

/// The connection that writes, with the schema up to date. A file that is not a store of ours is refused
/// and stays as it is.
pub(super) fn open_writer(
    location: &Location,
    options: &SqliteOptions,
) -> Result<Connection, StoreError> {
    let (connection, version) = match location {
        Location::Memory => (Connection::open_in_memory().map_err(database)?, 0),
        Location::File(path) => begin_writer(path, options.busy_timeout)?,
    };
    finish_writer(&connection, location.path(), options)?;
    if version != MIGRATIONS.len() {
        migrate(&connection, MIGRATIONS)?;
    }
    Ok(connection)
}

/// A connection to a file that is ours, or nobody's yet, and its schema's version.
fn begin_writer(path: &Path, wait: Duration) -> Result<(Connection, usize), StoreError> {
    if path.is_dir() {
        return Err(unfit("the database's path is a folder; name a file in it"));
    }
    private_file::create(path).map_err(StoreError::Io)?;
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // SQLite opens for reading what it can't write, and would make files beside it for that.
    if connection.is_readonly("main").map_err(database)? {
        return Err(StoreError::Connection(Box::new(SqliteFault::READ_ONLY)));
    }
    // A file that is refused stays as it is: its log is not folded in when the connection is closed.
    let keep_log = |keep: bool| {
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep)
            .map(drop)
            .map_err(database)
    };
    keep_log(log_length(path) > 0)?;
    // The first statement reads the file: what is no database says so here. Others may be making it.
    connection.busy_timeout(wait).map_err(database)?;
    let version = check(&connection)?;
    keep_log(false)?;
    Ok((connection, version))
}

fn finish_writer(
    connection: &Connection,
    path: Option<&Path>,
    options: &SqliteOptions,
) -> Result<(), StoreError> {
    if let Some(path) = path {
        // Before it is mended: somebody may have written it already.
        let open_to_others = private_file::others_can_write(path);
        private_file::tighten(path).map_err(StoreError::Io)?;
        if open_to_others {
            tracing::warn!(
                target: "sealed_store",
                "others can write the database's file or folder, or could until now: look at what is there"
            );
        }
        keep_log(connection)?;
        // Checkpoints wait for the disk: they are made on a thread of their own.
        connection
            .pragma_update(None, "wal_autocheckpoint", 0)
            .map_err(database)?;
    }
    configure(connection, options)
}

/// Gives the database a write-ahead log. Where that fails SQLite says so late or not at all, and goes on without:
/// readers would be in the way of commits then.
fn keep_log(connection: &Connection) -> Result<(), StoreError> {
    let mode = || -> rusqlite::Result<String> {
        let mut statement = connection.prepare("PRAGMA journal_mode = WAL")?;
        let mut rows = statement.query([])?;
        let mut mode = String::new();
        // To the end: the change is committed after the row that tells it.
        while let Some(row) = rows.next()? {
            mode = row.get(0)?;
        }
        Ok(mode)
    };
    if mode().map_err(database)? != "wal" {
        return Err(unfit(
            "the database can't have a write-ahead log there; put it on a local disk",
        ));
    }
    // Of a file that had none yet, the log is made by the first statement that reads.
    connection
        .pragma_query_value(None, "schema_version", |_| Ok(()))
        .map_err(database)
}

/// A connection that reads.
pub(super) fn configure_reader(
    connection: &Connection,
    options: &SqliteOptions,
) -> rusqlite::Result<()> {
    // Made on a thread that all pools share, and tried for again; used on callers' threads, which may not wait at all.
    connection.busy_timeout(options.busy_timeout.min(CONNECTING))?;
    settings(connection, options)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.busy_timeout(Duration::ZERO)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| StoreError::Connection(advised(error)))
}

fn configure(connection: &Connection, options: &SqliteOptions) -> Result<(), StoreError> {
    settings(connection, options).map_err(database)
}

fn settings(connection: &Connection, options: &SqliteOptions) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let synchronous = match options.synchronous {
        Synchronous::Normal => "NORMAL",
        Synchronous::Full => "FULL",
    };
    let temp_store = match options.temp_store {
        TempStore::Memory => "MEMORY",
        TempStore::File => "FILE",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "temp_store", temp_store)?;
    connection.pragma_update(None, "cache_size", -i64::from(options.cache_kib))?;
    connection.pragma_update(None, "foreign_keys", options.foreign_keys)
}

/// The schema's version; 0 for none.
pub(crate) fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    Ok(i64::try_from(version(connection)?).unwrap_or(i64::MAX))
}

/// Makes the schema in a new file, without any of the settings that a store has.
pub(crate) fn create_schema(connection: &Connection) -> Result<(), StoreError> {
    migrate(connection, MIGRATIONS)
}

/// The schema's version; 0 for none.
fn version(connection: &Connection) -> rusqlite::Result<usize> {
    if !has_table(connection, "sealed_store_schema")? {
        return Ok(0);
    }
    let version: i64 =
        connection.query_row("SELECT version FROM sealed_store_schema", [], |row| {
            row.get(0)
        })?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
        [name],
        |row| row.get(0),
    )
}

/// Refuses what is not an empty database, a keyring's, or a store of ours that this code knows.
fn check(connection: &Connection) -> Result<usize, StoreError> {
    let version = version(connection).map_err(database)?;
    if version > MIGRATIONS.len() {
        return Err(unfit(
            "the database was written by a newer version of this library; update it",
        ));
    }
    if version == 0 {
        if has_table(connection, "__diesel_schema_migrations").map_err(database)? {
            return Err(unfit(
                "the database belongs to whatsapp-rust's own store; import it into a new file",
            ));
        }
        let foreign: bool = connection
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table'
                 AND name NOT GLOB 'sqlite_*' AND name NOT GLOB 'sealed_store_*')",
                [],
                |row| row.get(0),
            )
            .map_err(database)?;
        if foreign {
            return Err(unfit(
                "the database holds tables of something else; use a file of its own",
            ));
        }
    }
    Ok(version)
}

/// Applies what is missing, all or nothing.
fn migrate(connection: &Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let failed = |error| StoreError::Migration(advised(error));
    let transaction =
        rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
            .map_err(failed)?;
    // Somebody else may have done it meanwhile.
    let done = version(&transaction).map_err(failed)?;
    if done > migrations.len() {
        return Err(unfit(
            "the database was written by a newer version of this library; update it",
        ));
    }
    if done == 0 {
        transaction
            .execute_batch(
                "CREATE TABLE sealed_store_schema (version INTEGER NOT NULL);
                            INSERT INTO sealed_store_schema VALUES (0);",
            )
            .map_err(failed)?;
    }
    for migration in migrations.iter().skip(done) {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    transaction
        .execute(
            "UPDATE sealed_store_schema SET version = ?1",
            [migrations.len() as i64],
        )
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}

#[cfg(test)]
mod tests;
