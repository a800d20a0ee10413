//! From a sealed store to one in the clear, in its place.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::build::{self, TableRows, Tally};
use super::documents::Documents;
use super::error::LifecycleError;
use super::opened::Opened;
use super::progress::{Phase, Progress};
use super::source::{self, Accounts};
use super::step::step;
use super::swap::{self, LeftOver, Task, Work};
use crate::error::SealError;
use crate::keyring::KeyringOptions;
use crate::keyring::store::{KeyringStore, LockMode, SqliteKeyring};
use crate::provider::KeyProvider;
use crate::record::Table;
use crate::rows::{self, Inserter, Kind, Layout, Row};

type Result<T> = std::result::Result<T, LifecycleError>;

/// How a store is decrypted.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct DecryptOptions {
    keep_sealed: Option<PathBuf>,
    keyring: KeyringOptions,
}

impl DecryptOptions {
    /// The sealed file is destroyed, and the keyring opened with [`KeyringOptions::new`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the sealed file, with its keys, under this name, on the same disk. There must be no file of that name. Default: it is
    /// overwritten and removed.
    pub fn keep_sealed(mut self, path: Option<PathBuf>) -> Self {
        self.keep_sealed = path;
        self
    }

    /// How the keyring is opened: slot, pins, and where its audit events go.
    pub fn keyring(mut self, options: KeyringOptions) -> Self {
        self.keyring = options;
        self
    }
}

/// What [`decrypt`] did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DecryptSummary {
    /// The store was decrypted already by an earlier run that was cut short: all that was done now is to destroy the sealed
    /// file. The other fields are empty then.
    pub finished_earlier: bool,
    /// How many accounts there are.
    pub accounts: usize,
    /// The tables that have rows.
    pub tables: Vec<TableRows>,
    /// Rows whose keys were destroyed, which nobody can read: they are not in the new file.
    pub left_out: u64,
    /// Whether the sealed file was kept under another name.
    pub kept: bool,
}

impl DecryptSummary {
    /// All rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

/// Decrypts the store at `path` in its place, in the layout that it has: whatsapp-rust's own store, or
/// [`SqliteStore`](crate::store::sqlite::SqliteStore), opens it then. The keyring, which must be in the same file, does not
/// come along.
///
/// It is [`encrypt`](super::encrypt) the other way round, and as safe: the store must not be open anywhere, every row must
/// open, the new file is compared with the old one row by row, takes its place in one step, and the sealed file is
/// destroyed with its keys. From then on whoever can read the file can read everything.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("whatsapp.db");
/// use sealed_store::lifecycle::{DecryptOptions, decrypt};
/// # use sealed_store::{KdfCost, Passphrase};
/// use sealed_store::store::sqlite::SqliteStore;
/// use wacore::store::traits::{DeviceStore, SignalStore};
/// # let passphrase = Passphrase::new(String::from("correct horse battery staple")).cost(KdfCost::FLOOR);
/// # let sealed = sealed_store::open(&path, &passphrase).await?;
/// # sealed.create().await?;
/// # sealed.put_session("5511987650001:3@c.us.0", b"ratchet").await?;
/// # sealed.inner().close().await?;
/// # drop(sealed);
/// let done = decrypt(&path, &passphrase, DecryptOptions::new(), &()).await?;
/// assert_eq!(done.rows(), 2); // the device and a session
///
/// let plain = SqliteStore::open(&path).await?;
/// assert!(plain.has_session("5511987650001:3@c.us.0").await?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Errors
/// Those of [`LifecycleError`] that their texts explain; the error of the first row that does not open. The store is as it was
/// then, unless the sealed file could not be destroyed ([`LifecycleError::Io`] after the store is decrypted: call it again).
pub async fn decrypt(
    path: impl AsRef<Path>,
    provider: &dyn KeyProvider,
    options: DecryptOptions,
    progress: &dyn Progress,
) -> Result<DecryptSummary> {
    let store = source::real(path.as_ref())?;
    progress.begin(Phase::Preparing, None);
    let held = match source::take(&store, true) {
        // An earlier run of this, which was killed, may have left the old file, or one of the other way half of a new one.
        Err(LifecycleError::NotSealed) => {
            return match swap::recover(&store)? {
                LeftOver::Finished(Task::Decrypt) => Ok(DecryptSummary {
                    finished_earlier: true,
                    ..DecryptSummary::default()
                }),
                _ => Err(LifecycleError::NotSealed),
            };
        }
        other => other?,
    };
    swap::recover(&store)?;
    swap::check_names(&store, options.keep_sealed.as_deref())?;
    build::check_stopped(progress)?;
    let documents = Documents::read(&held.connection)?.ok_or_else(source::no_keyring)?;
    // Whoever has the keyring open has this too.
    let alone = SqliteKeyring::at(&store)
        .lock(LockMode::Exclusive)
        .await
        .map_err(SealError::from)?;
    let canaries = source::canaries(&held.connection, held.layout)?;
    let keyring = options.keyring.open(documents, provider).await?;
    let accounts = source::accounts(&keyring, canaries).await?;
    if !accounts.unknown.is_empty() {
        return Err(source::unknown_account());
    }
    if accounts.elsewhere && options.keep_sealed.is_none() {
        return Err(LifecycleError::Invalid {
            what: "the keyring has an account whose rows are not in this file, and its keys would be destroyed; keep the sealed file under another name",
        });
    }
    step("keyring");

    let work = Work::begin(&store, Task::Decrypt)?;
    let new = work.new_file();
    let target = build::fill(&new, true)?;
    rows::copy_tables(&held.connection, &target)?;
    step("tables");
    let mut summary = DecryptSummary {
        accounts: accounts.by_number.len(),
        kept: options.keep_sealed.is_some(),
        ..DecryptSummary::default()
    };
    let job = Job {
        source: &held.connection,
        layout: held.layout,
        target: &target,
        accounts: &accounts,
        progress,
    };
    let written = job.load(&mut summary.left_out)?;
    progress.begin(Phase::Indexing, None);
    rows::copy_indexes(&held.connection, &target)?;
    step("indexed");
    job.compare(&written)?;
    build::check_integrity(&target)?;
    step("compared");
    summary.tables = Kind::ALL
        .iter()
        .zip(written)
        .filter(|(_, rows)| *rows > 0)
        .map(|(kind, rows)| TableRows {
            table: held.layout.table(*kind),
            rows,
        })
        .collect();

    progress.begin(Phase::Finishing, None);
    target.close().map_err(|(_, error)| error)?;
    drop((accounts, keyring));
    build::check_stopped(progress)?;
    progress.begin(Phase::Destroying, None);
    work.swap(held.connection, options.keep_sealed.as_deref())?;
    drop(alone);
    Ok(summary)
}

/// Rows go from one file to the other.
struct Job<'a> {
    source: &'a Connection,
    layout: Layout,
    target: &'a Connection,
    accounts: &'a Accounts,
    progress: &'a dyn Progress,
}

/// How many rows of each kind the new file has.
type Written = [u64; Kind::ALL.len()];

impl Job<'_> {
    /// Opens every row, and hands the client's to `take`.
    fn each(&self, phase: Phase, mut take: impl FnMut(Vec<Row>) -> Result<()>) -> Result<u64> {
        let mut left_out = 0;
        let total = build::total(self.source, self.layout)?;
        let mut tally = Tally::begin(self.progress, phase, Some(total))?;
        for kind in Kind::ALL {
            build::pages(self.source, self.layout, kind, |found| {
                let met = found.len();
                let sealed = build::sealed_rows_of(self.layout, kind, found)?;
                let units = build::units(self.source, self.layout, sealed)?;
                let mut rows = Vec::with_capacity(units.len());
                build::open(self.accounts, &units, |unit, opened| {
                    match opened {
                        Ok(Opened::Row(row)) => rows.push(row),
                        Ok(Opened::Decoy) => build::check_decoy(unit)?,
                        Ok(Opened::Canary) => {}
                        Err(SealError::Shredded) => left_out += 1,
                        Err(error) => return Err(error.into()),
                    }
                    Ok(())
                })?;
                take(rows)?;
                tally.add(met)
            })?;
        }
        Ok(left_out)
    }

    fn load(&self, left_out: &mut u64) -> Result<Written> {
        let mut written = [0; Kind::ALL.len()];
        let transaction = self.target.unchecked_transaction()?;
        let mut inserter = Inserter::new(self.target, self.layout);
        *left_out = self.each(Phase::Converting, |rows| {
            inserter.insert(&rows)?;
            for row in &rows {
                if let Some(count) = written.get_mut(row.body.kind().number()) {
                    *count += 1;
                }
            }
            step("page");
            Ok(())
        })?;
        drop(inserter);
        transaction.commit()?;
        step("loaded");
        Ok(written)
    }

    /// Opens every row once more and looks it up in the new file; and sees to it that there are no others.
    fn compare(&self, written: &Written) -> Result<()> {
        self.each(Phase::Checking, |rows| {
            for row in rows {
                let differs = || LifecycleError::Differs {
                    table: self.layout.table(row.body.kind()),
                };
                let found = rows::find(self.target, self.layout, &row)?.ok_or_else(differs)?;
                if found.written != row.written || !found.same(&row, self.layout)? {
                    return Err(differs());
                }
            }
            Ok(())
        })?;
        for (kind, written) in Kind::ALL.into_iter().zip(written) {
            // Of our layout's message secrets those of one message share a row.
            let shared = kind == Kind::MsgSecret && self.layout == Layout::Ours;
            if !shared && rows::count(self.target, self.layout, kind)? != *written {
                return Err(LifecycleError::Differs {
                    table: self.layout.table(kind),
                });
            }
        }
        // Every live account has its device.
        for (number, account) in &self.accounts.by_number {
            let live = account.state() == crate::keyring::AccountState::Live;
            if live && account.has_keys(Table::Device) {
                let like = rows::fresh_device(*number)?;
                if rows::find(self.target, self.layout, &like)?.is_none() {
                    return Err(SealError::Corrupt {
                        table: Table::Device,
                        what: crate::error::Fault::Canary,
                    }
                    .into());
                }
            }
        }
        Ok(())
    }
}
