//! Destroying keys, and showing that nothing opens any more.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::build::{self, Tally};
use super::error::LifecycleError;
use super::opened::{self, Opened};
use super::progress::{Phase, Progress};
use super::source::{self, Accounts};
use super::step::step;
use super::thread::{briefly, on_thread};
use crate::error::SealError;
use crate::keyring::store::{SqliteKeyring, Swept};
use crate::keyring::{Account, KeyState, Keyring, KeyringOptions};
use crate::provider::KeyProvider;
use crate::record::Table;
use crate::rows::{Kind, Layout, Row};

type Result<T> = std::result::Result<T, LifecycleError>;

/// What is to be shredded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shred {
    /// The account of this name in the keyring: its values and its names.
    Account(String),
    /// The values of these tables, of every account. Names stay readable.
    Tables(Vec<Table>),
    /// Every account.
    All,
}

/// How to shred.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct ShredOptions {
    keyring_file: Option<PathBuf>,
    keyring: KeyringOptions,
}

impl ShredOptions {
    /// The keyring is in the store's own file, and opened with [`KeyringOptions::new`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The keyring is in this file.
    pub fn keyring_file(mut self, path: impl AsRef<Path>) -> Self {
        self.keyring_file = Some(path.as_ref().to_path_buf());
        self
    }

    /// How the keyring is opened: slot, pins, and where its audit events go.
    pub fn keyring(mut self, options: KeyringOptions) -> Self {
        self.keyring = options;
        self
    }
}

/// What [`shred`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShredSummary {
    /// Wrapped keys that were erased now; 0 if all were before.
    pub keys: u64,
    /// Rows of the store that were tried afterwards, each with every key that is left, and did not open.
    pub rows: u64,
    /// Whether the keyring's file was written anew, so that no free page of it holds a key that was erased. Not if that took
    /// more room than the disk has, or somebody wrote to the file; pages that were freed by us were overwritten all the same.
    pub vacuumed: bool,
    /// Whether somebody reads the keyring's file (a `check`, any SQLite program), so that erased keys are left in its
    /// write-ahead log: shred again when nobody does.
    pub log_left: bool,
}

/// Destroys keys of the sealed store at `path`, and then tries every row that they sealed: none may open. The rows
/// themselves stay.
///
/// Nobody else may have the keyring open. Its file is written anew and its log folded in, so that what was destroyed is gone
/// from both, unless the summary says otherwise. Of a rollback journal that SQLite removes, the disk keeps what it keeps. No
/// backup of the *store* opens any more; a backup of the *keyring* from before does, together with a secret that
/// opened it then: destroy those too. A shredded table can be used again after
/// [`Account::rotate_data_keys`]; a shredded account can't.
///
/// # Errors
/// [`LifecycleError`] of kind `InUse` while somebody has the keyring open, and nothing was destroyed then. [`SealError::UnknownAccount`] if no
/// account has this name. [`LifecycleError::Unshredded`] if a row opened all the same.
pub async fn shred(
    path: impl AsRef<Path>,
    provider: &dyn KeyProvider,
    what: &Shred,
    options: ShredOptions,
    progress: &dyn Progress,
) -> Result<ShredSummary> {
    progress.begin(Phase::Preparing, None);
    let path = source::real(path.as_ref())?;
    let looked = path.clone();
    let (layout, canaries) = briefly(move || {
        let look = source::look_at(&looked)?;
        let layout = source::layout(&look.connection)?;
        if !source::is_sealed(&look.connection, layout)? {
            return Err(LifecycleError::NotSealed);
        }
        Ok((layout, source::canaries(&look.connection, layout)?))
    })
    .await?;
    let file = options.keyring_file.as_deref().unwrap_or(&path);
    let open = || {
        options
            .keyring
            .clone()
            .open(SqliteKeyring::at(file), provider)
    };
    let keyring = open().await?;
    let doomed = doomed(&keyring, what).await?;
    step("opened");
    progress.begin(Phase::Destroying, None);
    let keys = keyring.exclusively(destroy(&doomed, what)).await?;
    let uids: Vec<[u8; 16]> = doomed.iter().map(Account::uid).collect();
    // Closed, with all of its accounts.
    drop((doomed, keyring));
    let doomed = uids;
    // Also if nothing was left to erase: an earlier run may have been cut short here.
    let swept = SqliteKeyring::at(file).sweep().await;
    let Swept { vacuumed, log_left } = swept.map_err(SealError::from)?;
    step("swept");
    // With what the file has now, not with what is left in memory.
    let keyring = open().await?;
    erased(&keyring, &doomed, what).await?;
    let accounts = source::accounts(&keyring, canaries).await?;
    let what = what.clone();
    let rows = on_thread(progress, move |progress| {
        let look = source::look_at(&path)?;
        let rows = prove(
            &look.connection,
            layout,
            &accounts,
            &doomed,
            &what,
            progress,
        )?;
        look.end()?;
        Ok(rows)
    });
    let rows = rows.await?;
    step("proved");
    Ok(ShredSummary {
        keys,
        rows,
        vacuumed,
        log_left,
    })
}

/// Tries every row that destroyed keys sealed, and counts them. None may open.
fn prove(
    connection: &Connection,
    layout: Layout,
    accounts: &Accounts,
    doomed: &[[u8; 16]],
    what: &Shred,
    progress: &dyn Progress,
) -> Result<u64> {
    let mut tried = 0;
    let total = build::total(connection, layout)?;
    let mut tally = Tally::begin(progress, Phase::Checking, Some(total))?;
    for kind in Kind::ALL {
        build::pages(connection, layout, kind, |found| {
            let met = found.len();
            let mut of_doomed = Vec::with_capacity(met);
            for row in build::sealed_rows_of(layout, kind, found)? {
                if is_of(doomed, accounts, &row) {
                    of_doomed.push(row);
                }
            }
            let units = build::units(connection, layout, of_doomed)?;
            build::open(accounts, &units, |_, opened| {
                match opened {
                    Ok(Opened::Decoy) => {}
                    Ok(opened) if hidden(what, &opened) => return Err(LifecycleError::Unshredded),
                    Ok(_) => {}
                    Err(SealError::Shredded) => tried += 1,
                    Err(SealError::NotOpen) => return Err(SealError::NotOpen.into()),
                    // Of no key that was destroyed: damaged, or in the clear.
                    Err(_) => {}
                }
                Ok(())
            })?;
            tally.add(met)
        })?;
    }
    Ok(tried)
}

/// Destroys the keys of one account after the other, of who has the keyring alone.
async fn destroy(doomed: &[Account], what: &Shred) -> std::result::Result<u64, SealError> {
    let mut keys = 0;
    for account in doomed {
        keys += match what {
            Shred::Tables(tables) => account.shred_tables_alone(tables).await?,
            Shred::Account(_) | Shred::All => account.shred_alone().await?,
        };
        step("destroyed");
    }
    Ok(keys as u64)
}

/// The accounts whose keys go.
async fn doomed(keyring: &Keyring, what: &Shred) -> Result<Vec<Account>> {
    if let Shred::Account(name) = what {
        return Ok(vec![keyring.account(name).await?]);
    }
    let mut doomed = Vec::new();
    for name in keyring.accounts().await? {
        match keyring.account(&name).await {
            Ok(account) => doomed.push(account),
            // Listed before its document was written.
            Err(SealError::UnknownAccount) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if matches!(what, Shred::Tables(_)) {
        doomed.retain(|account| account.state() != crate::keyring::AccountState::Shredded);
    }
    Ok(doomed)
}

/// That the documents, as the file has them, hold none of these keys.
async fn erased(keyring: &Keyring, doomed: &[[u8; 16]], what: &Shred) -> Result<()> {
    for name in keyring.accounts().await? {
        let Some(info) = keyring.account_info(&name).await? else {
            continue;
        };
        if !doomed.contains(&info.uid) {
            continue;
        }
        let left = info.keys.iter().any(|key| {
            let meant = match what {
                Shred::Tables(tables) => key.table.is_some_and(|table| tables.contains(&table)),
                Shred::Account(_) | Shred::All => true,
            };
            meant && key.state != KeyState::Destroyed
        });
        if left {
            return Err(LifecycleError::Unshredded);
        }
    }
    Ok(())
}

fn is_of(doomed: &[[u8; 16]], accounts: &Accounts, row: &Row) -> bool {
    let account = accounts.by_number.get(&row.account);
    account.is_some_and(|account| doomed.contains(&account.uid()))
}

/// Whether a row that opened must not have.
fn hidden(what: &Shred, opened: &Opened) -> bool {
    let Shred::Tables(tables) = what else {
        return true;
    };
    match opened {
        Opened::Row(row) => opened::table_of(row).is_some_and(|table| tables.contains(&table)),
        Opened::Canary => tables.contains(&Table::Canary),
        Opened::Decoy => false,
    }
}
