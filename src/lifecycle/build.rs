//! What encryption and decryption share: reading a store in pages, opening sealed rows, and filling a new file.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::error::LifecycleError;
use super::opened::{self, Opened};
use super::progress::{Phase, Progress};
use super::source::Accounts;
use crate::error::SealError;
use crate::keyring::{Account, AccountState};
use crate::record::Table;
use crate::rows::{self, Cursor, Found, Kind, Layout, Row, RowsError};
use crate::sealed::Sealer;

type Result<T> = std::result::Result<T, LifecycleError>;

/// How many rows are in memory at once.
pub(super) const PAGE: usize = 512;

/// What SQLite may keep of a file in memory, in KiB.
const CACHE: i64 = 32 * 1024;

impl From<RowsError> for LifecycleError {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Sqlite(error) => error.into(),
            RowsError::Row { table, what } => Self::CorruptRow { table, what },
        }
    }
}

/// Counts rows of a phase, and stops where that is wished.
pub(super) struct Tally<'a> {
    progress: &'a dyn Progress,
    done: u64,
}

impl<'a> Tally<'a> {
    pub(super) fn begin(
        progress: &'a dyn Progress,
        phase: Phase,
        total: Option<u64>,
    ) -> Result<Self> {
        check_stopped(progress)?;
        progress.begin(phase, total);
        Ok(Self { progress, done: 0 })
    }

    pub(super) fn add(&mut self, rows: usize) -> Result<()> {
        self.done += rows as u64;
        self.progress.rows(self.done);
        check_stopped(self.progress)
    }
}

pub(super) fn check_stopped(progress: &dyn Progress) -> Result<()> {
    if progress.stopped() {
        return Err(LifecycleError::Stopped);
    }
    Ok(())
}

/// How many rows of a table there were.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableRows {
    /// The table, as the store's database names it.
    pub table: &'static str,
    /// Its rows, as the client counts them: a message secret is one, however many rows hold it.
    pub rows: u64,
}

/// The rows of all kinds.
pub(super) fn total(connection: &Connection, layout: Layout) -> Result<u64> {
    let mut total = 0;
    for kind in Kind::ALL {
        total += rows::count(connection, layout, kind)?;
    }
    Ok(total)
}

/// Hands all rows of a kind to `work`, page by page.
pub(super) fn pages(
    connection: &Connection,
    layout: Layout,
    kind: Kind,
    mut work: impl FnMut(Vec<Found>) -> Result<()>,
) -> Result<()> {
    let mut cursor = Some(Cursor::Start);
    while let Some(after) = cursor {
        let (found, next) = rows::page(connection, layout, kind, &after, PAGE)?;
        work(found)?;
        cursor = next;
    }
    Ok(())
}

/// A row of a sealed store, with the other half if it is a message secret's first.
pub(super) struct Unit {
    pub(super) row: Row,
    pub(super) second: Option<Row>,
}

/// Puts the halves of message secrets together. They are written one after the other; where they are not, the other half is
/// looked up. A second half without a first is a unit of its own, which does not open.
pub(super) fn units(connection: &Connection, layout: Layout, rows: Vec<Row>) -> Result<Vec<Unit>> {
    let mut units: Vec<Unit> = Vec::with_capacity(rows.len());
    for row in rows {
        if row.body.kind() != Kind::MsgSecret {
            units.push(Unit { row, second: None });
            continue;
        }
        match units.last_mut() {
            Some(last) if last.second.is_none() && opened::are_halves(&last.row, &row) => {
                last.second = Some(row);
            }
            _ if opened::is_second_half(&row) => {
                let beside = rows::secrets_beside(connection, layout, &row)?;
                if !beside.iter().any(|first| opened::are_halves(first, &row)) {
                    units.push(Unit { row, second: None });
                }
            }
            _ => units.push(Unit { row, second: None }),
        }
    }
    for unit in &mut units {
        let lone = unit.row.body.kind() == Kind::MsgSecret && unit.second.is_none();
        if lone && !opened::is_second_half(&unit.row) {
            unit.second = rows::secrets_beside(connection, layout, &unit.row)?
                .into_iter()
                .find(|second| opened::are_halves(&unit.row, second));
        }
    }
    Ok(units)
}

/// Opens units, and hands each with what it is to `take`.
pub(super) fn open(
    accounts: &Accounts,
    units: &[Unit],
    mut take: impl FnMut(&Unit, std::result::Result<Opened, SealError>) -> Result<()>,
) -> Result<()> {
    for some in units.chunk_by(|a, b| a.row.account == b.row.account) {
        let Some(first) = some.first() else { continue };
        let Some(account) = accounts.by_number.get(&first.row.account) else {
            for unit in some {
                take(
                    unit,
                    Err(SealError::Unsealed {
                        table: Some(Table::Canary),
                    }),
                )?;
            }
            continue;
        };
        if account.state() == AccountState::Shredded {
            for unit in some {
                take(unit, Err(SealError::Shredded))?;
            }
            continue;
        }
        let opened = with(account, |sealer| {
            Ok(some
                .iter()
                .map(|unit| opened::open(sealer, &unit.row, unit.second.as_ref()))
                .collect::<Vec<_>>())
        })?;
        for (unit, opened) in some.iter().zip(opened) {
            take(unit, opened)?;
        }
    }
    Ok(())
}

/// Runs synchronous work with an account's keys.
pub(super) fn with<T>(
    account: &Account,
    work: impl FnOnce(&Sealer<'_>) -> std::result::Result<T, SealError>,
) -> Result<T> {
    Ok(account.with_keys(|keys| {
        work(&Sealer {
            keys,
            options: account.seal_options(),
        })
    })?)
}

/// A connection to a new file, which is thrown away if anything fails: nothing is written twice, and nothing is waited for.
/// `clear`: what goes into it is in the clear, so that nothing of it may be in files beside it either.
pub(super) fn fill(path: &Path, clear: bool) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let temp_store = if clear { "MEMORY" } else { "FILE" };
    for (name, value) in [
        ("synchronous", "OFF"),
        ("temp_store", temp_store),
        ("foreign_keys", "OFF"),
    ] {
        connection.pragma_update(None, name, value)?;
    }
    connection.pragma_update(None, "cache_size", -CACHE)?;
    connection.query_row("PRAGMA journal_mode = OFF", [], |_| Ok(()))?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // What is written goes to this file and to no other.
    connection.set_limit(rusqlite::limits::Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    Ok(connection)
}

/// Fails unless SQLite finds nothing wrong with the file.
pub(super) fn check_integrity(connection: &Connection) -> Result<()> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    Err(LifecycleError::Differs { table: "any" })
}

/// Rows of a store in the clear, or which of them could not be read.
pub(super) fn rows_of(
    layout: Layout,
    kind: Kind,
    found: Vec<Found>,
    left_out: &mut u64,
) -> Result<Vec<Row>> {
    let mut rows = Vec::with_capacity(found.len());
    for found in found {
        match found {
            Found::Row(row) => rows.push(row),
            // Upstream itself takes these for absent: they are of an older form that nobody reads any more.
            Found::Bad(_)
                if layout == Layout::Upstream && matches!(kind, Kind::SyncKey | Kind::Version) =>
            {
                *left_out += 1;
            }
            Found::Bad(what) => {
                return Err(LifecycleError::CorruptRow {
                    table: layout.table(kind),
                    what,
                });
            }
        }
    }
    Ok(rows)
}

/// Rows of a sealed store, each of which must be what its layout writes.
pub(super) fn sealed_rows_of(layout: Layout, kind: Kind, found: Vec<Found>) -> Result<Vec<Row>> {
    found
        .into_iter()
        .map(|found| match found {
            Found::Row(row) => Ok(row),
            Found::Bad(what) => Err(LifecycleError::CorruptRow {
                table: layout.table(kind),
                what,
            }),
        })
        .collect()
}

/// The device that the inner store made by itself is thrown away: one that was used is somebody's account in the clear.
pub(super) fn check_decoy(unit: &Unit) -> Result<()> {
    if rows::is_used_device(&unit.row) {
        return Err(SealError::Unsealed {
            table: Some(Table::Device),
        }
        .into());
    }
    Ok(())
}
