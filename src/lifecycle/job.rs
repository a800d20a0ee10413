//! Rows of one file, and all of them, in another: loaded, compared, and put in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;

use super::build::{self, TableRows, Tally, Unit};
use super::convert;
use super::error::LifecycleError;
use super::opened::{self, Opened};
use super::progress::{Phase, Progress};
use super::source::{self, Accounts, Held};
use super::step::step;
use super::swap::Work;
use crate::error::{Fault, SealError};
use crate::keyring::{Account, AccountState, Keyring};
use crate::record::Table;
use crate::rows::{self, Body, Inserter, Kind, Layout, Row};
use crate::sealed::rows::Canary;
use crate::sealed::{nonce, nonces};

type Result<T> = std::result::Result<T, LifecycleError>;

/// An account that is bound to its store, which is about to be made.
pub(super) async fn make_account(
    keyring: &Keyring,
    name: &str,
    state: AccountState,
) -> Result<Account> {
    let account = keyring.create_account(name).await?;
    account.bind_store().await?;
    account.advance(state).await?;
    Ok(account)
}

/// Accounts by the inner store's number, all of which are in this file.
pub(super) fn accounts(by_number: BTreeMap<i32, Account>) -> Accounts {
    Accounts {
        by_number,
        unknown: Vec::new(),
        elsewhere: false,
    }
}

/// Rows go from one file to the other. Dropped, the new file is closed and removed before the store is let go of: whoever
/// comes next finds nothing left over.
pub(super) struct Job {
    pub(super) target: Connection,
    pub(super) work: Work,
    pub(super) source: Held,
    /// The keys of the source's rows; none if they are in the clear.
    pub(super) old: Option<Accounts>,
    pub(super) to: Layout,
    /// The keys of the target's rows; none if they are to be in the clear.
    pub(super) new: Option<Accounts>,
    /// Where the target's tables and indexes come from, if not from the source.
    pub(super) template: Option<Connection>,
}

/// What a job did.
pub(super) struct Loaded {
    work: Work,
    /// The store is held until this is dropped.
    held: Connection,
    pub(super) tables: Vec<TableRows>,
    /// Rows that nobody can read.
    pub(super) left_out: u64,
}

impl Loaded {
    /// Puts the new file in the store's place, and destroys the old one, or keeps it under another name.
    pub(super) fn swap(self, keep: Option<&Path>, progress: &dyn Progress) -> Result<()> {
        build::check_stopped(progress)?;
        progress.begin(Phase::Destroying, None);
        self.work.swap(self.held, keep)
    }
}

/// How many rows of each kind the new file has.
type Written = [u64; Kind::ALL.len()];

impl Job {
    /// Writes every row into the new file, compares each with what it was made of, and closes the new file.
    pub(super) fn run(self, progress: &dyn Progress) -> Result<Loaded> {
        let (mut tables, mut left_out) = (Vec::new(), 0);
        let written = self.load(&mut tables, &mut left_out, progress)?;
        progress.begin(Phase::Indexing, None);
        let template = self.template.as_ref();
        rows::copy_indexes(template.unwrap_or(&self.source.connection), &self.target)?;
        step("indexed");
        self.compare(&written, progress)?;
        build::check_integrity(&self.target)?;
        step("compared");
        progress.begin(Phase::Finishing, None);
        self.target.close().map_err(|(_, error)| error)?;
        Ok(Loaded {
            work: self.work,
            held: self.source.connection,
            tables,
            left_out,
        })
    }

    /// Hands the client's rows of a kind to `work`, page by page, with how many rows of the file they were. Of a sealed
    /// source the rows of shredded accounts are counted as left out: nobody can read them.
    fn pages(
        &self,
        kind: Kind,
        left_out: &mut u64,
        mut work: impl FnMut(Vec<Row>, usize) -> Result<()>,
    ) -> Result<()> {
        let Held { connection, layout } = &self.source;
        build::pages(connection, *layout, kind, |found| {
            let met = found.len();
            let Some(old) = &self.old else {
                return work(build::rows_of(*layout, kind, found, left_out)?, met);
            };
            let sealed = build::sealed_rows_of(*layout, kind, found)?;
            let units = build::units(connection, *layout, sealed)?;
            let mut rows = Vec::with_capacity(units.len());
            build::open(old, &units, |unit, opened| {
                match opened {
                    Ok(Opened::Row(row)) => rows.push(row),
                    Ok(Opened::Decoy) => build::check_decoy(unit)?,
                    Ok(Opened::Canary) => {}
                    Err(SealError::Shredded) => *left_out += 1,
                    Err(error) => return Err(error.into()),
                }
                Ok(())
            })?;
            work(rows, met)
        })
    }

    /// Writes every row into the new file.
    fn load(
        &self,
        tables: &mut Vec<TableRows>,
        left_out: &mut u64,
        progress: &dyn Progress,
    ) -> Result<Written> {
        let mut written = [0; Kind::ALL.len()];
        let mut count = |rows: &[Row]| {
            for row in rows {
                if let Some(count) = written.get_mut(row.body.kind().number()) {
                    *count += 1;
                }
            }
        };
        let mut devices = BTreeSet::new();
        let total = build::total(&self.source.connection, self.source.layout)?;
        let mut tally = Tally::begin(progress, Phase::Converting, Some(total))?;
        let transaction = self.target.unchecked_transaction()?;
        let mut inserter = Inserter::new(&self.target, self.to);
        for (number, account) in self.new.iter().flat_map(|new| &new.by_number) {
            let rows = [canary(*number, account)?];
            inserter.insert(&rows)?;
            count(&rows);
        }
        for kind in Kind::ALL {
            let mut of_kind = 0;
            self.pages(kind, left_out, |rows, met| {
                of_kind += rows.len() as u64;
                let of_device = |row: &&Row| row.body.kind() == Kind::Device;
                devices.extend(rows.iter().filter(of_device).map(|row| row.account));
                match &self.new {
                    Some(new) => {
                        for some in rows.chunk_by(|a, b| a.account == b.account) {
                            let sealed = seal(new, some)?;
                            inserter.insert(&sealed)?;
                            count(&sealed);
                        }
                    }
                    None => {
                        inserter.insert(&rows)?;
                        count(&rows);
                    }
                }
                step("page");
                tally.add(met)
            })?;
            if of_kind > 0 {
                tables.push(TableRows {
                    table: self.source.layout.table(kind),
                    rows: of_kind,
                });
            }
        }
        drop(inserter);
        transaction.commit()?;
        self.check_devices(&devices)?;
        step("loaded");
        Ok(written)
    }

    /// Looks every row up in the new file, by the key that a client or a sealed store asks for, and compares it with what it was
    /// made of; and sees to it that there are no others.
    fn compare(&self, written: &Written, progress: &dyn Progress) -> Result<()> {
        let total = build::total(&self.source.connection, self.source.layout)?;
        let mut tally = Tally::begin(progress, Phase::Checking, Some(total))?;
        for kind in Kind::ALL {
            self.pages(kind, &mut 0, |rows, met| {
                match &self.new {
                    Some(new) => {
                        for some in rows.chunk_by(|a, b| a.account == b.account) {
                            self.compare_sealed(new, kind, some)?;
                        }
                    }
                    None => self.compare_clear(kind, &rows)?,
                }
                tally.add(met)
            })?;
        }
        for (kind, written) in Kind::ALL.into_iter().zip(written) {
            let expected = match (kind, self.to, &self.new) {
                // Of our layout's message secrets both halves share a row, and those of one message in the clear.
                (Kind::MsgSecret, Layout::Ours, Some(_)) => *written / 2,
                (Kind::MsgSecret, Layout::Ours, None) => continue,
                _ => *written,
            };
            if rows::count(&self.target, self.to, kind)? != expected {
                return Err(differs(self.to, kind));
            }
        }
        Ok(())
    }

    fn compare_sealed(&self, new: &Accounts, kind: Kind, rows: &[Row]) -> Result<()> {
        let differs = || differs(self.source.layout, kind);
        let mut units = Vec::with_capacity(rows.len());
        for key in seal(new, rows)? {
            if matches!(key.body, Body::Device(_)) || opened::is_second_half(&key) {
                continue;
            }
            let found = rows::find(&self.target, self.to, &key)?;
            units.push(found.ok_or_else(differs)?);
        }
        let units: Vec<Unit> = build::units(&self.target, self.to, units)?;
        if units.len() != rows.len() {
            return Err(differs());
        }
        let mut expected = rows.iter();
        build::open(new, &units, |_, opened| match (opened, expected.next()) {
            (Ok(Opened::Row(row)), Some(expected)) if self.same(&row, expected)? => Ok(()),
            _ => Err(differs()),
        })
    }

    fn compare_clear(&self, kind: Kind, rows: &[Row]) -> Result<()> {
        for row in rows {
            let found = rows::find(&self.target, self.to, row)?;
            if !matches!(found, Some(found) if self.same(&found, row)?) {
                return Err(differs(self.source.layout, kind));
            }
        }
        Ok(())
    }

    /// Whether a row came back as it was, in all that the new file's layout keeps.
    fn same(&self, row: &Row, expected: &Row) -> Result<bool> {
        let times = self.source.layout != self.to || row.written == expected.written;
        Ok(times && row.same(expected, self.to)?)
    }

    /// That every live account has its device among those that were met.
    fn check_devices(&self, met: &BTreeSet<i32>) -> Result<()> {
        let accounts = self.old.iter().flat_map(|old| &old.by_number);
        for (number, account) in accounts {
            let live = account.state() == AccountState::Live && account.has_keys(Table::Device);
            if live && !met.contains(number) {
                return Err(SealError::Corrupt {
                    table: Table::Device,
                    what: Fault::Canary,
                }
                .into());
            }
        }
        Ok(())
    }
}

fn canary(number: i32, account: &Account) -> Result<Row> {
    let canary = Canary {
        keyring: account.keyring_id(),
        account: account.uid(),
        store: account.store_id().unwrap_or_default(),
    };
    let nonce = nonce()?;
    build::with(account, |sealer| {
        convert::canary(sealer, number, &canary, &nonce)
    })
}

/// Seals rows of one account.
fn seal(accounts: &Accounts, rows: &[Row]) -> Result<Vec<Row>> {
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let account = accounts
        .by_number
        .get(&first.account)
        .ok_or_else(source::unknown_account)?;
    let nonces = nonces(rows.len())?;
    let mut sealed = Vec::with_capacity(2 * rows.len());
    build::with(account, |sealer| {
        for (row, nonce) in rows.iter().zip(&nonces) {
            sealed.extend(convert::seal(sealer, row, nonce)?);
        }
        Ok(())
    })?;
    for row in rows {
        if row.body.kind() == Kind::Device {
            // As the inner store's own `create` would leave it.
            sealed.push(rows::fresh_device(row.account)?);
        }
    }
    Ok(sealed)
}

fn differs(layout: Layout, kind: Kind) -> LifecycleError {
    LifecycleError::Differs {
        table: layout.table(kind),
    }
}
