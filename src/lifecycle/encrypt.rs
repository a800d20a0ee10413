//! From a store in the clear to a sealed one, in its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::build::{self, TableRows};
use super::error::LifecycleError;
use super::job::{self, Job};
use super::progress::{Phase, Progress};
use super::source::{self, Accounts, Held};
use super::step::step;
use super::swap::{self, LeftOver, Task, Work};
use super::thread::on_thread;
use crate::error::SealError;
use crate::keyring::store::SqliteKeyring;
use crate::keyring::{AccountState, Keyring, KeyringOptions};
use crate::provider::KeyProvider;
use crate::rows::{self, Layout};
use crate::store::sqlite::create_schema;

type Result<T> = std::result::Result<T, LifecycleError>;

/// How a store is encrypted.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct EncryptOptions {
    embedded: bool,
    keep_plaintext: Option<PathBuf>,
    keyring: KeyringOptions,
}

impl EncryptOptions {
    /// The layout stays, the old file is destroyed, and the keyring is made with [`KeyringOptions::new`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Of whatsapp-rust's own database: makes a file in the layout of this library's store, which
    /// [`sealed_store::open`](crate::open) opens. When rows were written, which no method of the client gives back, is not
    /// kept then for sender-key devices, base keys, device lists, group metadata, trusted-contact tokens and message secrets.
    pub fn embedded(mut self, embedded: bool) -> Self {
        self.embedded = embedded;
        self
    }

    /// Keeps the old file, in the clear, under this name, on the same disk. There must be no file of that name. Default: it is
    /// overwritten and removed.
    pub fn keep_plaintext(mut self, path: Option<PathBuf>) -> Self {
        self.keep_plaintext = path;
        self
    }

    /// How the keyring is made: label, suite, padding, and where its audit events go.
    pub fn keyring(mut self, options: KeyringOptions) -> Self {
        self.keyring = options;
        self
    }
}

/// What [`encrypt`] did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EncryptSummary {
    /// The store was sealed already by an earlier run that was cut short: all that was done now is to destroy the old file.
    /// The other fields are empty then.
    pub finished_earlier: bool,
    /// How many accounts there are. Each has an account of its own in the keyring, named with its number.
    pub accounts: usize,
    /// The tables that have rows.
    pub tables: Vec<TableRows>,
    /// Sync keys and app-state versions that whatsapp-rust takes for absent, because their bytes can't be read. They
    /// are not in the sealed store.
    pub left_out: u64,
    /// Columns of the device that held what whatsapp-rust itself does not read back as it is; decryption gives what it reads.
    pub device_columns: Vec<&'static str>,
    /// Whether the old file was kept under another name.
    pub kept: bool,
    /// How many files beside the store, of a name that begins with the store's, are stores in the clear: snapshots and
    /// copies. They were left as they are: remove them.
    pub copies_in_the_clear: usize,
}

impl EncryptSummary {
    /// All rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

/// Encrypts the store at `path`, whatsapp-rust 0.7's or this library's, in its place. `provider` opens the one slot of
/// its new keyring, which is in the same file.
///
/// The store must not be open anywhere. A new file is made in a folder beside it, each of its rows is opened and
/// compared with what it was made of, and then it takes the store's place in one step; the old file is overwritten and removed.
/// Killed at any moment, the store is what it was or what it is to be, and calling this again starts over or finishes.
/// What a disk keeps of overwritten content by itself (flash storage, snapshots, journals of the file system) is beyond its reach,
/// and so are copies that were made before.
///
/// The work is done on a thread of its own, and stops when the future is dropped. Memory stays below 100 MB, whatever
/// the size.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("whatsapp.db");
/// use sealed_store::lifecycle::{EncryptOptions, encrypt};
/// # use sealed_store::{KdfCost, Passphrase, store::sqlite::SqliteStore};
/// # use wacore::store::traits::{DeviceStore, SignalStore};
/// # let plain = SqliteStore::open(&path).await.unwrap();
/// # plain.create().await.unwrap();
/// # plain.put_session("5511987650001:3@c.us.0", b"ratchet").await.unwrap();
/// # plain.close().await.unwrap();
/// # drop(plain);
/// # let passphrase = Passphrase::new(String::from("correct horse battery staple")).cost(KdfCost::FLOOR);
/// let done = encrypt(&path, &passphrase, EncryptOptions::new(), &()).await?;
/// assert_eq!(done.rows(), 2); // the device and a session
///
/// let sealed = sealed_store::open(&path, &passphrase).await?;
/// assert!(sealed.has_session("5511987650001:3@c.us.0").await.unwrap());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Errors
/// Those of [`LifecycleError`] that their texts explain. The store is as it was then, unless the old file could not be destroyed
/// ([`LifecycleError::Io`] after the store is sealed: call it again).
pub async fn encrypt(
    path: impl AsRef<Path>,
    provider: &dyn KeyProvider,
    options: EncryptOptions,
    progress: &dyn Progress,
) -> Result<EncryptSummary> {
    let store = source::real(path.as_ref())?;
    progress.begin(Phase::Preparing, None);
    let EncryptOptions {
        embedded,
        keep_plaintext: keep,
        keyring,
    } = options;
    keyring.check_lone([provider])?;
    let kept = keep.is_some();
    let (path, keep_as) = (store.clone(), keep.clone());
    let begun = on_thread(progress, move |progress| {
        begin(&path, embedded, keep_as.as_deref(), progress)
    });
    let Some(begun) = begun.await? else {
        return Ok(EncryptSummary {
            finished_earlier: true,
            ..EncryptSummary::default()
        });
    };
    let keyring = keyring
        .create(SqliteKeyring::at(begun.work.new_file()), provider)
        .await?;
    let mut summary = EncryptSummary {
        accounts: begun.numbers.len(),
        kept,
        device_columns: begun.device_columns,
        ..EncryptSummary::default()
    };
    let job = Job {
        target: begun.target,
        work: begun.work,
        source: begun.held,
        old: None,
        to: begun.to,
        new: Some(make_accounts(&keyring, &begun.numbers).await?),
        template: begun.template,
    };
    step("keyring");
    let loaded = on_thread(progress, move |progress| job.run(progress)).await?;
    summary.tables.clone_from(&loaded.tables);
    summary.left_out = loaded.left_out;
    drop(keyring);
    summary.copies_in_the_clear = on_thread(progress, move |progress| {
        loaded.swap(keep.as_deref(), progress)?;
        // What can't be looked at is not the error of what was done.
        Ok(source::copies_in_the_clear(&store).map_or(0, |copies| copies.len()))
    })
    .await?;
    Ok(summary)
}

/// The store, held, and a new file with its tables.
struct Begun {
    target: Connection,
    work: Work,
    held: Held,
    to: Layout,
    template: Option<Connection>,
    numbers: Vec<(i32, bool)>,
    device_columns: Vec<&'static str>,
}

/// `None` if an earlier run had sealed the store, and was cut short before it had destroyed the old file: that is done now.
fn begin(
    store: &Path,
    embedded: bool,
    keep: Option<&Path>,
    progress: &dyn Progress,
) -> Result<Option<Begun>> {
    let held = match source::take(store, false) {
        // An earlier run of this, which was killed, may have left the old file, or one of the other way half of a new one.
        Err(LifecycleError::AlreadySealed) => {
            return match swap::recover(store)? {
                LeftOver::Finished(Task::Encrypt) => Ok(None),
                _ => Err(LifecycleError::AlreadySealed),
            };
        }
        other => other?,
    };
    swap::recover(store)?;
    swap::check_names(store, keep)?;
    build::check_stopped(progress)?;
    let to = match held.layout {
        Layout::Upstream if embedded => Layout::Ours,
        layout => layout,
    };
    let template = if to == held.layout {
        None
    } else {
        let template = Connection::open_in_memory()?;
        create_schema(&template).map_err(SealError::Inner)?;
        Some(template)
    };
    let work = Work::begin(store, Task::Encrypt)?;
    let target = build::fill(&work.new_file(), false)?;
    rows::copy_tables(template.as_ref().unwrap_or(&held.connection), &target)?;
    step("tables");
    let device_columns = match held.layout {
        Layout::Upstream => rows::changed_columns(&held.connection)?,
        Layout::Ours => Vec::new(),
    };
    Ok(Some(Begun {
        numbers: rows::accounts(&held.connection, held.layout)?,
        held,
        work,
        target,
        to,
        template,
        device_columns,
    }))
}

/// An account of the keyring for each number, ready to be opened: bound to its store, and live if there is a device.
async fn make_accounts(keyring: &Keyring, numbers: &[(i32, bool)]) -> Result<Accounts> {
    let mut by_number = BTreeMap::new();
    for (number, has_device) in numbers {
        let state = if *has_device {
            AccountState::Live
        } else {
            AccountState::New
        };
        let account = job::make_account(keyring, &number.to_string(), state).await?;
        by_number.insert(*number, account);
    }
    Ok(job::accounts(by_number))
}
