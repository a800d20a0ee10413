//! Takes over a database of whatsapp-rust's own store: every account, every row, once and whole.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use wacore::store::error::{Result as StoreResult, StoreError};

use super::error::{advised, damaged, database, unfit};
use super::{Location, SqliteOptions, SqliteStore, connection, no_thread};
use crate::rows::{self, Cursor, Found, Inserter, Kind, Layout, RowsError, Store};
use crate::thread::off_thread;

/// How many rows are in memory at once.
const PAGE: usize = 2048;

impl SqliteStore {
    /// Copies a database of whatsapp-rust 0.7's own store, all accounts of it, into the file at `into`, which
    /// must hold nothing yet, and opens account 1. The source is read in one moment and stays as it is; a copy
    /// that fails or is killed leaves nothing behind in the target. Stop the client first: what it writes
    /// meanwhile is not copied.
    ///
    /// Rows that upstream itself takes for absent, because their bytes can't be read, are left out.
    ///
    /// # Errors
    /// [`StoreError::InvalidConfig`] if the source is no such database or of another version, or if the target
    /// holds rows; otherwise as [`SqliteStore::open`].
    pub async fn import_upstream(
        from: impl AsRef<Path>,
        into: impl AsRef<Path>,
    ) -> StoreResult<Self> {
        let (from, into) = (from.as_ref().to_path_buf(), into.as_ref().to_path_buf());
        let target = into.clone();
        off_thread("sealed-store-import", move || copy(&from, target))
            .await
            .unwrap_or_else(|| Err(no_thread()))?;
        Self::open(into).await
    }
}

fn copy(from: &Path, into: std::path::PathBuf) -> StoreResult<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags)
        .map_err(|error| StoreError::Connection(advised(error)))?;
    source
        .busy_timeout(SqliteOptions::new().busy_timeout)
        .map_err(database)?;
    // One moment for all tables.
    let source = source.unchecked_transaction().map_err(database)?;
    check(&source)?;
    let options = SqliteOptions::new();
    let target = connection::open_writer(&Location::File(into), &options)?;
    target
        .busy_timeout(options.busy_timeout)
        .map_err(database)?;
    let target =
        Transaction::new_unchecked(&target, TransactionBehavior::Immediate).map_err(database)?;
    if holds_anything(&target).map_err(database)? {
        return Err(unfit(
            "the database to import into holds rows or a keyring already; name a new file",
        ));
    }
    let mut inserter = Inserter::new(&target, Layout::Ours);
    for kind in Kind::ALL {
        let mut cursor = Some(Cursor::Start);
        while let Some(after) = cursor {
            let (found, next) =
                rows::page(&source, Layout::Upstream, kind, &after, PAGE).map_err(failed)?;
            let mut some = Vec::with_capacity(found.len());
            for found in found {
                match found {
                    Found::Row(row) => some.push(row),
                    // Upstream itself takes these for absent.
                    Found::Bad(_) if matches!(kind, Kind::SyncKey | Kind::Version) => {}
                    Found::Bad(what) => return Err(damaged(what)),
                }
            }
            inserter.insert(&some).map_err(failed)?;
            cursor = next;
        }
    }
    drop(inserter);
    target.commit().map_err(database)
}

fn failed(error: RowsError) -> StoreError {
    match error {
        RowsError::Sqlite(error) => database(error),
        RowsError::Row { what, .. } => damaged(what),
    }
}

/// Whether there is a row in the target, or a keyring: what is imported is in the clear.
fn holds_anything(target: &Connection) -> rusqlite::Result<bool> {
    let mut tables = target.prepare(
        "SELECT name FROM sqlite_schema
         WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name <> 'sealed_store_schema'",
    )?;
    let mut names = tables.query([])?;
    while let Some(name) = names.next()? {
        let name: String = name.get(0)?;
        let any = format!("SELECT EXISTS (SELECT 1 FROM \"{name}\")");
        if name.starts_with("sealed_store_") || target.query_row(&any, [], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn check(source: &Connection) -> StoreResult<()> {
    match rows::look(source).map_err(database)? {
        Store::Known(Layout::Upstream) => Ok(()),
        Store::Older => Err(unfit(
            "the database to import is of an older whatsapp-rust; open it once with 0.7, then import it",
        )),
        Store::Unknown => Err(unfit(
            "the database to import is of a newer whatsapp-rust, or holds tables of something else; update this library",
        )),
        Store::Known(Layout::Ours) | Store::OlderOurs | Store::Newer(_) | Store::Foreign => Err(
            unfit("the database to import is not whatsapp-rust's own store"),
        ),
    }
}
