//! Destroying keys, and showing that nothing opens any more.

use std::path::{Path, PathBuf};

use super::build::{self, Tally};
use super::error::LifecycleError;
use super::opened::{self, Opened};
use super::progress::{Phase, Progress};
use super::source::{self, Accounts};
use super::step::step;
use crate::error::SealError;
use crate::keyring::store::SqliteKeyring;
use crate::keyring::{Account, KeyState, Keyring, KeyringOptions};
use crate::provider::KeyProvider;
use crate::record::Table;
use crate::rows::{Kind, Row};

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
}

/// Destroys keys of the sealed store at `path`, and then tries every row that they sealed: none may open. The rows
/// themselves stay.
///
/// Nobody else may have the keyring open. What was destroyed is gone from the keyring's file, free pages and log included,
/// unless somebody reads the file just then (a `check`, any SQLite program): then the old document stays in the log until the next
/// change or close, which is warned about through `tracing`. Of a rollback journal that SQLite removes, the disk keeps what it keeps. No
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
    let look = source::look_at(&path)?;
    let layout = source::layout(&look.connection)?;
    if !source::is_sealed(&look.connection, layout)? {
        return Err(LifecycleError::NotSealed);
    }
    let canaries = source::canaries(&look.connection, layout)?;
    drop(look);
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
    let mut summary = ShredSummary::default();
    for account in &doomed {
        let keys = match what {
            Shred::Tables(tables) => account.shred_tables(tables).await?,
            Shred::Account(_) | Shred::All => account.shred().await?,
        };
        summary.keys += keys as u64;
        step("destroyed");
    }

    let doomed: Vec<[u8; 16]> = doomed.iter().map(Account::uid).collect();
    drop(keyring);
    // With what the file has now, not with what is left in memory.
    let keyring = open().await?;
    erased(&keyring, &doomed, what).await?;
    let accounts = source::accounts(&keyring, canaries).await?;
    let look = source::look_at(&path)?;
    let total = build::total(&look.connection, layout)?;
    let mut tally = Tally::begin(progress, Phase::Checking, Some(total))?;
    for kind in Kind::ALL {
        build::pages(&look.connection, layout, kind, |found| {
            let met = found.len();
            let mut of_doomed = Vec::with_capacity(met);
            for row in build::sealed_rows_of(layout, kind, found)? {
                if is_of(&doomed, &accounts, &row) {
                    of_doomed.push(row);
                }
            }
            let units = build::units(&look.connection, layout, of_doomed)?;
            build::open(&accounts, &units, |_, opened| {
                match opened {
                    Ok(Opened::Decoy) => {}
                    Ok(opened) if hidden(what, &opened) => return Err(LifecycleError::Unshredded),
                    Ok(_) => {}
                    Err(SealError::Shredded) => summary.rows += 1,
                    Err(SealError::NotOpen) => return Err(SealError::NotOpen.into()),
                    // Of no key that was destroyed: damaged, or in the clear.
                    Err(_) => {}
                }
                Ok(())
            })?;
            tally.add(met)
        })?;
    }
    step("proved");
    Ok(summary)
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
