//! Every key of a store new, in a new file: what ends an old passphrase, a removed slot or a leaked copy for good.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::build;
use super::error::LifecycleError;
use super::job::{self, Job};
use super::progress::{Phase, Progress};
use super::source::{self, Accounts, Held, Sealed};
use super::step::step;
use super::swap::{self, LeftOver, Task, Work};
use super::thread::on_thread;
use crate::error::SealError;
use crate::keyring::store::SqliteKeyring;
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
    let providers = slots.iter().map(|(_, provider)| *provider);
    options.keyring.check_lone(providers)?;
    let store = source::real(path.as_ref())?;
    progress.begin(Phase::Preparing, None);
    let (path, keep) = (store.clone(), options.keep_old.clone());
    let begun = on_thread(progress, move |progress| {
        begin(&path, keep.as_deref(), progress)
    });
    let Some(sealed) = begun.await? else {
        return Ok(FullSummary {
            finished_earlier: true,
            ..FullSummary::default()
        });
    };
    let kept = options.keep_old.is_some();
    let opened = sealed
        .open(&store, options.keyring.clone(), provider, kept)
        .await?;
    let mut dropped: Vec<String> = Vec::new();
    for slot in opened.keyring.slots().await? {
        if !slots.iter().any(|(label, _)| *label == slot.label) {
            dropped.push(slot.label);
        }
    }
    step("keyring");

    let held = opened.held;
    let begun = on_thread(progress, move |_| {
        let work = Work::begin(&store, Task::Reencrypt)?;
        let target = build::fill(&work.new_file(), false)?;
        rows::copy_tables(&held.connection, &target)?;
        step("tables");
        Ok(Begun { target, work, held })
    })
    .await?;
    let made = options
        .keyring
        .label(*label)
        // All of them were looked at above.
        .allow_lone_slot(true)
        .create(SqliteKeyring::at(begun.work.new_file()), *first)
        .await?;
    for (label, provider) in others {
        made.add_slot(label, *provider).await?;
    }
    let accounts = accounts_again(&made, &opened.accounts).await?;
    step("new keyring");
    let job = Job {
        target: begun.target,
        work: begun.work,
        to: begun.held.layout,
        source: begun.held,
        old: Some(opened.accounts),
        new: Some(accounts),
        template: None,
    };
    let loaded = on_thread(progress, move |progress| job.run(progress)).await?;
    drop((made, opened.keyring));
    let summary = FullSummary {
        finished_earlier: false,
        rows: loaded.tables.iter().map(|table| table.rows).sum(),
        left_out: loaded.left_out,
        dropped,
        kept,
    };
    let alone = opened.alone;
    on_thread(progress, move |progress| {
        // Until it is over, also if nobody waits for it any more.
        let _alone = alone;
        loaded.swap(options.keep_old.as_deref(), progress)
    })
    .await?;
    Ok(summary)
}

/// A new file with its tables, and the store, which is let go of last.
struct Begun {
    target: Connection,
    work: Work,
    held: Held,
}

/// `None` if an earlier run had made all keys new, and was cut short before it had destroyed the old file: that is done now.
fn begin(store: &Path, keep: Option<&Path>, progress: &dyn Progress) -> Result<Option<Sealed>> {
    let held = source::take(store, true)?;
    if swap::recover(store)? == LeftOver::Finished(Task::Reencrypt) {
        return Ok(None);
    }
    swap::check_names(store, keep)?;
    build::check_stopped(progress)?;
    Sealed::read(held).map(Some)
}

/// An account of the new keyring for each of the old one's, of the same name and in the same state. Of those that are
/// shredded there is nothing to go on with.
async fn accounts_again(keyring: &Keyring, old: &Accounts) -> Result<Accounts> {
    let mut again = BTreeMap::new();
    for (number, account) in &old.by_number {
        if account.state() == AccountState::Shredded {
            continue;
        }
        let made = job::make_account(keyring, account.name(), account.state()).await?;
        again.insert(*number, made);
    }
    Ok(job::accounts(again))
}
