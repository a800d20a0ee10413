//! From a sealed store to one in the clear, in its place.

use std::path::{Path, PathBuf};

use super::build::{self, TableRows};
use super::error::LifecycleError;
use super::job::Job;
use super::progress::{Phase, Progress};
use super::source::{self, Sealed};
use super::step::step;
use super::swap::{self, LeftOver, Task, Work};
use super::thread::on_thread;
use crate::keyring::KeyringOptions;
use crate::provider::KeyProvider;
use crate::rows;

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
    let (path, keep) = (store.clone(), options.keep_sealed.clone());
    let begun = on_thread(progress, move |progress| {
        begin(&path, keep.as_deref(), progress)
    });
    let Some(sealed) = begun.await? else {
        return Ok(DecryptSummary {
            finished_earlier: true,
            ..DecryptSummary::default()
        });
    };
    let opened = sealed
        .open(
            &store,
            options.keyring,
            provider,
            options.keep_sealed.is_some(),
        )
        .await?;
    step("keyring");
    let mut summary = DecryptSummary {
        accounts: opened.accounts.by_number.len(),
        kept: options.keep_sealed.is_some(),
        ..DecryptSummary::default()
    };
    let (held, accounts, alone) = (opened.held, opened.accounts, opened.alone);
    let loaded = on_thread(progress, move |progress| {
        let work = Work::begin(&store, Task::Decrypt)?;
        let target = build::fill(&work.new_file(), true)?;
        rows::copy_tables(&held.connection, &target)?;
        step("tables");
        let job = Job {
            target,
            work,
            to: held.layout,
            source: held,
            old: Some(accounts),
            new: None,
            template: None,
        };
        job.run(progress)
    })
    .await?;
    summary.tables.clone_from(&loaded.tables);
    summary.left_out = loaded.left_out;
    drop(opened.keyring);
    on_thread(progress, move |progress| {
        // Until it is over, also if nobody waits for it any more.
        let _alone = alone;
        loaded.swap(options.keep_sealed.as_deref(), progress)
    })
    .await?;
    Ok(summary)
}

/// `None` if an earlier run had decrypted the store, and was cut short before it had destroyed the sealed file: that is
/// done now.
fn begin(store: &Path, keep: Option<&Path>, progress: &dyn Progress) -> Result<Option<Sealed>> {
    let held = match source::take(store, true) {
        // An earlier run of this, which was killed, may have left the old file, or one of the other way half of a new one.
        Err(LifecycleError::NotSealed) => {
            return match swap::recover(store)? {
                LeftOver::Finished(Task::Decrypt) => Ok(None),
                _ => Err(LifecycleError::NotSealed),
            };
        }
        other => other?,
    };
    swap::recover(store)?;
    swap::check_names(store, keep)?;
    build::check_stopped(progress)?;
    Sealed::read(held).map(Some)
}
