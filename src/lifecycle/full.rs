//! Every key of a store new, in a new file: what ends an old passphrase, a removed slot or a leaked copy for good.

use std::path::{Path, PathBuf};

use super::build;
use super::documents::Documents;
use super::encrypt::{self, EncryptSummary, Job};
use super::error::LifecycleError;
use super::progress::{Phase, Progress};
use super::source::{self, Accounts};
use super::step::step;
use super::swap::{self, LeftOver, Task, Work};
use crate::error::SealError;
use crate::keyring::store::{KeyringStore, LockMode, SqliteKeyring};
use crate::keyring::{AccountState, Keyring, KeyringOptions};
use crate::provider::KeyProvider;
use crate::rows;

type Result<T> = std::result::Result<T, LifecycleError>;

/// A slot of the new keyring: its label, and what opens it.
pub type NewSlotOf<'a> = (&'a str, &'a dyn KeyProvider);

/// How everything is reencrypted.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct FullOptions {
    keep_old: Option<PathBuf>,
    keyring: KeyringOptions,
}

impl FullOptions {
    /// The old file is destroyed, and both keyrings are opened and made with [`KeyringOptions::new`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the old file, with its keys, under this name, on the same disk: for who wants to try the new one first.
    /// There must be no file of that name. Default: it is overwritten and removed.
    pub fn keep_old(mut self, path: Option<PathBuf>) -> Self {
        self.keep_old = path;
        self
    }

    /// How the old keyring is opened (slot, pins) and the new one made (suite, padding), and where audit events go.
    pub fn keyring(mut self, options: KeyringOptions) -> Self {
        self.keyring = options;
        self
    }
}

/// What [`reencrypt_fully`] did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct FullSummary {
    /// The store had all its keys new by an earlier run that was cut short: all that was done now is to destroy the old
    /// file. The other fields are empty then.
    pub finished_earlier: bool,
    /// Rows that have new names and are under new keys.
    pub rows: u64,
    /// Rows of shredded accounts, which nobody can read: they are not in the new file.
    pub left_out: u64,
    /// Labels of slots of the old keyring that the new one has not.
    pub dropped: Vec<String>,
    /// Whether the old file was kept under another name.
    pub kept: bool,
}

/// Gives the sealed store at `path`, which holds its keyring, a new keyring with the slots `slots` and no others: new
/// data keys, new blind keys and a new root. `provider` opens the old one. A copy of the old keyring, with whatever
/// secret opens it, opens no row that the new file has.
///
/// It is [`encrypt`](super::encrypt) with a sealed source, and as safe: the store must not be open anywhere, every row must
/// open, the new file is compared with the old one row by row and takes its place in one step, and the old file is destroyed.
/// Copies that were made before stay what they are.
///
/// # Errors
/// Those of [`LifecycleError`] that their texts explain; the error of the first row that does not open. The store is as it
/// was then, unless the old file could not be destroyed ([`LifecycleError::Io`]: call it again).
pub async fn reencrypt_fully(
    path: impl AsRef<Path>,
    provider: &dyn KeyProvider,
    slots: &[NewSlotOf<'_>],
    options: FullOptions,
    progress: &dyn Progress,
) -> Result<FullSummary> {
    let Some(((label, first), others)) = slots.split_first() else {
        return Err(SealError::SlotCount.into());
    };
    let store = source::real(path.as_ref())?;
    progress.begin(Phase::Preparing, None);
    let held = source::take(&store, true)?;
    if swap::recover(&store)? == LeftOver::Finished(Task::Reencrypt) {
        return Ok(FullSummary {
            finished_earlier: true,
            ..FullSummary::default()
        });
    }
    swap::check_names(&store, options.keep_old.as_deref())?;
    build::check_stopped(progress)?;
    let documents = Documents::read(&held.connection)?.ok_or_else(source::no_keyring)?;
    // Whoever has the keyring open has this too.
    let alone = SqliteKeyring::at(&store)
        .lock(LockMode::Exclusive)
        .await
        .map_err(SealError::from)?;
    let canaries = source::canaries(&held.connection, held.layout)?;
    let keyring = options.keyring.clone().open(documents, provider).await?;
    let old = source::accounts(&keyring, canaries).await?;
    if !old.unknown.is_empty() {
        return Err(source::unknown_account());
    }
    if old.elsewhere && options.keep_old.is_none() {
        return Err(LifecycleError::Invalid {
            what: "the keyring has an account whose rows are not in this file, and its keys would be destroyed; keep the old file under another name",
        });
    }
    let mut dropped: Vec<String> = Vec::new();
    for slot in keyring.slots().await? {
        if !slots.iter().any(|(label, _)| *label == slot.label) {
            dropped.push(slot.label);
        }
    }
    step("keyring");

    let work = Work::begin(&store, Task::Reencrypt)?;
    let new = work.new_file();
    let target = build::fill(&new, false)?;
    rows::copy_tables(&held.connection, &target)?;
    step("tables");
    let made = options
        .keyring
        .label(*label)
        .create(SqliteKeyring::at(&new), *first)
        .await?;
    for (label, provider) in others {
        made.add_slot(label, *provider).await?;
    }
    let accounts = accounts_again(&made, &old).await?;
    step("new keyring");
    let mut summary = EncryptSummary::default();
    let job = Job {
        source: &held.connection,
        from: held.layout,
        old: Some(&old),
        target: &target,
        to: held.layout,
        accounts: &accounts,
        progress,
    };
    let written = job.load(&mut summary)?;
    progress.begin(Phase::Indexing, None);
    rows::copy_indexes(&held.connection, &target)?;
    step("indexed");
    job.compare(&written)?;
    build::check_integrity(&target)?;
    step("compared");

    progress.begin(Phase::Finishing, None);
    target.close().map_err(|(_, error)| error)?;
    drop((accounts, old, made, keyring));
    build::check_stopped(progress)?;
    progress.begin(Phase::Destroying, None);
    work.swap(held.connection, options.keep_old.as_deref())?;
    drop(alone);
    Ok(FullSummary {
        finished_earlier: false,
        rows: summary.rows(),
        left_out: summary.left_out,
        dropped,
        kept: options.keep_old.is_some(),
    })
}

/// An account of the new keyring for each of the old one's, of the same name and in the same state. Of those that are
/// shredded there is nothing to go on with.
async fn accounts_again(keyring: &Keyring, old: &Accounts) -> Result<Accounts> {
    let mut again = Accounts {
        by_number: std::collections::BTreeMap::new(),
        unknown: Vec::new(),
        elsewhere: false,
    };
    for (number, account) in &old.by_number {
        if account.state() == AccountState::Shredded {
            continue;
        }
        let made = encrypt::make_account(keyring, account.name(), account.state()).await?;
        again.by_number.insert(*number, made);
    }
    Ok(again)
}
