//! What a store is, as whoever opens it can tell: its accounts, their rows and keys, and what is not as it should be.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::LifecycleError;
use super::info::{self, Info};
use super::peek::{CanaryIds, Layout};
use super::progress::{Phase, Progress};
use super::thread::on_thread;
use crate::error::SealError;
use crate::keyring::{AccountInfo, AccountState, KeyState, Keyring, SlotInfo};
use crate::provider::KdfCost;
use crate::record::Table;

/// What [`status`] found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// Whose tables the file holds.
    pub layout: Layout,
    /// The version of its schema.
    pub schema: Option<String>,
    /// The keyring's id.
    pub keyring_id: [u8; 16],
    /// The slots, in number order, with the one that opened.
    pub slots: Vec<SlotInfo>,
    /// The accounts, by name.
    pub accounts: Vec<AccountStatus>,
    /// What is not as it should be, or could be better.
    pub warnings: Vec<Warning>,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountStatus {
    /// Its name in the keyring.
    pub name: String,
    /// How far it is; none where it is listed and was never made.
    pub state: Option<AccountState>,
    /// The store's number for it, if the store says so.
    pub number: Option<i64>,
    /// How many rows it has, by the database's name of the table; tables without rows are left out.
    pub rows: Vec<(String, u64)>,
    /// The generations of its data keys, by table.
    pub tables: Vec<TableStatus>,
}

/// The keys of one table of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableStatus {
    /// The table.
    pub table: Table,
    /// The generation that seals; none once the table is shredded.
    pub active: Option<u32>,
    /// Generations that only open.
    pub retained: Vec<u32>,
    /// Generations that are destroyed, or marked for it.
    pub destroyed: Vec<u32>,
}

/// What is not as it should be, or could be better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// Others than the owner may read the file.
    OpenToOthers,
    /// Others can write the file or its folder.
    WritableByOthers,
    /// One slot, and if its secret is lost all is.
    OneSlot,
    /// No slot for a recovery code.
    NoRecoverySlot,
    /// A passphrase slot's key derivation costs less than one that is made today.
    CheapKdf {
        /// The slot.
        slot: u32,
    },
    /// An account holds generations that seal nothing any more.
    RetainedGenerations {
        /// How many, over all accounts and tables.
        count: u64,
    },
    /// A root rotation was cut short, or is under way.
    RootRotation,
    /// Accounts that were listed and never made.
    UnmadeAccounts {
        /// How many.
        count: u64,
    },
    /// Accounts that have a document and are not listed.
    UnlistedAccounts {
        /// How many.
        count: u64,
    },
    /// Accounts whose making of a device was cut short: the next opening finishes it.
    Initialising {
        /// How many.
        count: u64,
    },
    /// Rows of accounts that are not this keyring's.
    ForeignRows,
    /// A write-ahead log that could not be read: rows in it are not counted.
    UnreadLog,
}

impl Warning {
    /// A stable name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenToOthers => "open_to_others",
            Self::WritableByOthers => "writable_by_others",
            Self::OneSlot => "one_slot",
            Self::NoRecoverySlot => "no_recovery_slot",
            Self::CheapKdf { .. } => "cheap_kdf",
            Self::RetainedGenerations { .. } => "retained_generations",
            Self::RootRotation => "root_rotation",
            Self::UnmadeAccounts { .. } => "unmade_accounts",
            Self::UnlistedAccounts { .. } => "unlisted_accounts",
            Self::Initialising { .. } => "initialising",
            Self::ForeignRows => "foreign_rows",
            Self::UnreadLog => "unread_log",
        }
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OpenToOthers => f.write_str("others may read the file: chmod 600 it"),
            Self::WritableByOthers => f.write_str(
                "others can write the file or its folder, and so replace it: chmod both",
            ),
            Self::OneSlot => f.write_str(
                "there is one slot: when its secret is lost, so is everything; add another",
            ),
            Self::NoRecoverySlot => f.write_str(
                "there is no recovery code: make one and keep it on paper",
            ),
            Self::CheapKdf { slot } => write!(
                f,
                "the passphrase of slot {slot} is stretched less than new ones are: set it anew"
            ),
            Self::RetainedGenerations { count } => write!(
                f,
                "{count} older data keys are kept for rows sealed under them: reencrypt, to be rid of them"
            ),
            Self::RootRotation => f.write_str(
                "a change of the root key was cut short: the next opener that is alone finishes it",
            ),
            Self::UnmadeAccounts { count } => write!(
                f,
                "{count} accounts are listed and were never made; that harms nothing"
            ),
            Self::UnlistedAccounts { count } => write!(
                f,
                "{count} accounts are there and not listed: an older copy of the list was put back"
            ),
            Self::Initialising { count } => write!(
                f,
                "the making of {count} accounts' devices was cut short: opening the store finishes it"
            ),
            Self::ForeignRows => f.write_str(
                "some rows belong to an account that is not in this keyring",
            ),
            Self::UnreadLog => f.write_str(
                "a write-ahead log can't be read without its index, so rows in it are not counted: open the store once",
            ),
        }
    }
}

/// Tells what the store at `path` is, whose `keyring` is open. `keyring_file`: where it is, if not in the store's file.
/// Writes nothing.
///
/// # Errors
/// As [`info::info`]; [`SealError::CorruptKeyring`] where a document does not verify.
pub async fn status(
    path: &Path,
    keyring_file: Option<&Path>,
    keyring: &Keyring,
    progress: &dyn Progress,
) -> Result<Status, LifecycleError> {
    progress.begin(Phase::Preparing, None);
    let slots = keyring.slots().await?;
    let (of_store, of_keyring) = (path.to_owned(), keyring_file.map(Path::to_owned));
    let counted = on_thread(progress, move |progress| {
        count(&of_store, of_keyring.as_deref(), progress)
    });
    let Counted {
        about,
        layout,
        canaries,
        rows,
    } = counted.await?;
    let mut found = Vec::new();
    let mut accounts = Vec::new();
    for name in keyring.accounts().await? {
        let about = keyring.account_info(&name).await?;
        accounts.push(account(name, about.as_ref(), &canaries, &rows));
        found.extend(about);
    }
    let warnings = warnings(
        path,
        keyring_file,
        &about,
        keyring,
        &slots,
        &accounts,
        &found,
        &canaries,
    )
    .await?;
    Ok(Status {
        layout,
        schema: about.schema,
        keyring_id: keyring.id(),
        slots,
        accounts,
        warnings,
    })
}

/// What the store's file says of itself.
struct Counted {
    about: Info,
    layout: Layout,
    canaries: Vec<CanaryIds>,
    /// By an account's number: its tables, and their rows.
    rows: BTreeMap<i64, Vec<(String, u64)>>,
}

fn count(
    path: &Path,
    keyring_file: Option<&Path>,
    progress: &dyn Progress,
) -> Result<Counted, LifecycleError> {
    let about = info::info(path, keyring_file)?;
    let (peek, layout) = info::look(path)?;
    progress.begin(Phase::Checking, None);
    let mut counted = Counted {
        about,
        layout,
        canaries: Vec::new(),
        rows: BTreeMap::new(),
    };
    if let Some(peek) = &peek {
        counted.canaries = peek.canaries(layout)?;
        let rows = peek.rows(layout, |so_far| {
            progress.rows(so_far);
            if progress.stopped() {
                return Err(LifecycleError::Stopped);
            }
            Ok(())
        })?;
        for (number, table, count) in rows {
            counted.rows.entry(number).or_default().push((table, count));
        }
    }
    Ok(counted)
}

fn account(
    name: String,
    about: Option<&AccountInfo>,
    canaries: &[CanaryIds],
    rows: &BTreeMap<i64, Vec<(String, u64)>>,
) -> AccountStatus {
    let number = about.and_then(|about| {
        canaries
            .iter()
            .find(|canary| canary.account == about.uid)
            .map(|canary| canary.number)
    });
    let keys = about.map_or(&[][..], |about| &about.keys);
    let tables = Table::ALL
        .into_iter()
        .filter(|table| keys.iter().any(|key| key.table == Some(*table)))
        .map(|table| {
            let of = |states: &[KeyState]| {
                keys.iter()
                    .filter(|key| key.table == Some(table) && states.contains(&key.state))
                    .map(|key| key.generation)
                    .collect::<Vec<_>>()
            };
            TableStatus {
                table,
                active: of(&[KeyState::Active]).first().copied(),
                retained: of(&[KeyState::Retained]),
                destroyed: of(&[KeyState::Destroying, KeyState::Destroyed]),
            }
        })
        .collect();
    AccountStatus {
        name,
        state: about.map(|about| about.state),
        number,
        rows: number
            .and_then(|number| rows.get(&number).cloned())
            .unwrap_or_default(),
        tables,
    }
}

#[expect(clippy::too_many_arguments, reason = "all that was found, once")]
async fn warnings(
    path: &Path,
    keyring_file: Option<&Path>,
    about: &Info,
    keyring: &Keyring,
    slots: &[SlotInfo],
    accounts: &[AccountStatus],
    found: &[AccountInfo],
    canaries: &[CanaryIds],
) -> Result<Vec<Warning>, SealError> {
    let mut warnings = Vec::new();
    let mut warn = |when: bool, warning| {
        if when {
            warnings.push(warning);
        }
    };
    let count = |state| {
        accounts
            .iter()
            .filter(|account| account.state == state)
            .count() as u64
    };
    warn(about.open_to_others, Warning::OpenToOthers);
    let writable = [Some(path), keyring_file]
        .into_iter()
        .flatten()
        .any(crate::private_file::others_can_write);
    warn(writable, Warning::WritableByOthers);
    warn(slots.len() == 1, Warning::OneSlot);
    let recovery = slots.iter().any(|slot| slot.kind == "recovery");
    warn(!recovery, Warning::NoRecoverySlot);
    for slot in slots {
        let cheap = slot
            .kdf
            .is_some_and(|cost| cost.kib_passes() < KdfCost::default().kib_passes());
        warn(cheap, Warning::CheapKdf { slot: slot.slot });
    }
    let retained = found
        .iter()
        .flat_map(|about| &about.keys)
        .filter(|key| key.table.is_some() && key.state == KeyState::Retained)
        .count() as u64;
    warn(
        retained > 0,
        Warning::RetainedGenerations { count: retained },
    );
    warn(keyring.is_rotating().await?, Warning::RootRotation);
    let unmade = count(None);
    warn(unmade > 0, Warning::UnmadeAccounts { count: unmade });
    let unlisted = keyring.unlisted_accounts().await?.len() as u64;
    warn(unlisted > 0, Warning::UnlistedAccounts { count: unlisted });
    let initialising = count(Some(AccountState::Initialising));
    warn(
        initialising > 0,
        Warning::Initialising {
            count: initialising,
        },
    );
    let foreign = canaries.iter().any(|canary| {
        canary.keyring != keyring.id() || found.iter().all(|about| about.uid != canary.account)
    });
    warn(foreign, Warning::ForeignRows);
    warn(about.log == super::peek::Log::Unread, Warning::UnreadLog);
    Ok(warnings)
}
