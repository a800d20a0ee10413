//! From a store in the clear to a sealed one, in its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::build::{self, TableRows, Tally, Unit};
use super::convert;
use super::error::LifecycleError;
use super::opened::{self, Opened};
use super::progress::{Phase, Progress};
use super::source::{self, Accounts, Held};
use super::step::step;
use super::swap::{self, LeftOver, Task, Work};
use crate::error::SealError;
use crate::keyring::store::SqliteKeyring;
use crate::keyring::{Account, AccountState, Keyring, KeyringOptions};
use crate::provider::KeyProvider;
use crate::rows::{self, Body, Inserter, Kind, Layout, Row};
use crate::sealed::rows::Canary;
use crate::sealed::{nonce, nonces};
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
/// The work is done on the thread that polls the future, which it does not leave free in between: use a thread for it. Memory
/// stays below 100 MB, whatever the size.
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
    let held = match source::take(&store, false) {
        // An earlier run of this, which was killed, may have left the old file, or one of the other way half of a new one.
        Err(LifecycleError::AlreadySealed) => {
            return match swap::recover(&store)? {
                LeftOver::Finished(Task::Encrypt) => Ok(EncryptSummary {
                    finished_earlier: true,
                    ..EncryptSummary::default()
                }),
                _ => Err(LifecycleError::AlreadySealed),
            };
        }
        other => other?,
    };
    swap::recover(&store)?;
    swap::check_names(&store, options.keep_plaintext.as_deref())?;
    build::check_stopped(progress)?;
    let layout = match held.layout {
        Layout::Upstream if options.embedded => Layout::Ours,
        layout => layout,
    };
    let work = Work::begin(&store, Task::Encrypt)?;
    let new = work.new_file();
    let target = build::fill(&new, false)?;
    let template = template(&held, layout)?;
    rows::copy_tables(template.as_ref().unwrap_or(&held.connection), &target)?;
    step("tables");
    let numbers = rows::accounts(&held.connection, held.layout)?;
    let keyring = options
        .keyring
        .create(SqliteKeyring::at(&new), provider)
        .await?;
    let accounts = make_accounts(&keyring, &numbers).await?;
    step("keyring");

    let mut summary = EncryptSummary {
        accounts: numbers.len(),
        kept: options.keep_plaintext.is_some(),
        ..EncryptSummary::default()
    };
    if held.layout == Layout::Upstream {
        summary.device_columns = rows::changed_columns(&held.connection)?;
    }
    let job = Job {
        source: &held.connection,
        from: held.layout,
        old: None,
        target: &target,
        to: layout,
        accounts: &accounts,
        progress,
    };
    let written = job.load(&mut summary)?;
    progress.begin(Phase::Indexing, None);
    rows::copy_indexes(template.as_ref().unwrap_or(&held.connection), &target)?;
    step("indexed");
    job.compare(&written)?;
    build::check_integrity(&target)?;
    step("compared");

    progress.begin(Phase::Finishing, None);
    target.close().map_err(|(_, error)| error)?;
    drop((accounts, keyring));
    build::check_stopped(progress)?;
    progress.begin(Phase::Destroying, None);
    work.swap(held.connection, options.keep_plaintext.as_deref())?;
    // What can't be looked at is not the error of what was done.
    summary.copies_in_the_clear =
        source::copies_in_the_clear(&store).map_or(0, |copies| copies.len());
    Ok(summary)
}

/// Where the new file's tables come from, if not from the store itself.
fn template(held: &Held, layout: Layout) -> Result<Option<Connection>> {
    if layout == held.layout {
        return Ok(None);
    }
    let template = Connection::open_in_memory()?;
    create_schema(&template).map_err(SealError::Inner)?;
    Ok(Some(template))
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
        let account = make_account(keyring, &number.to_string(), state).await?;
        by_number.insert(*number, account);
    }
    Ok(Accounts {
        by_number,
        unknown: Vec::new(),
        elsewhere: false,
    })
}

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

/// Rows go from one file to the other.
pub(super) struct Job<'a> {
    pub(super) source: &'a Connection,
    pub(super) from: Layout,
    /// The keys of the source's rows; none if they are in the clear.
    pub(super) old: Option<&'a Accounts>,
    pub(super) target: &'a Connection,
    pub(super) to: Layout,
    pub(super) accounts: &'a Accounts,
    pub(super) progress: &'a dyn Progress,
}

/// How many rows of each kind the new file has.
pub(super) type Written = [u64; Kind::ALL.len()];

impl Job<'_> {
    /// Hands the client's rows of a kind to `work`, page by page, with how many rows of the file they were. Of a sealed
    /// source the rows of shredded accounts are counted as left out: nobody can read them.
    fn pages(
        &self,
        kind: Kind,
        left_out: &mut u64,
        mut work: impl FnMut(Vec<Row>, usize) -> Result<()>,
    ) -> Result<()> {
        build::pages(self.source, self.from, kind, |found| {
            let met = found.len();
            let Some(old) = self.old else {
                return work(build::rows_of(self.from, kind, found, left_out)?, met);
            };
            let sealed = build::sealed_rows_of(self.from, kind, found)?;
            let units = build::units(self.source, self.from, sealed)?;
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

    fn account(&self, number: i32) -> Result<&Account> {
        self.accounts
            .by_number
            .get(&number)
            .ok_or_else(source::unknown_account)
    }

    /// Seals every row into the new file.
    pub(super) fn load(&self, summary: &mut EncryptSummary) -> Result<Written> {
        let mut written = [0; Kind::ALL.len()];
        let mut count = |rows: &[Row]| {
            for row in rows {
                if let Some(count) = written.get_mut(row.body.kind().number()) {
                    *count += 1;
                }
            }
        };
        let total = build::total(self.source, self.from)?;
        let mut tally = Tally::begin(self.progress, Phase::Converting, Some(total))?;
        let transaction = self.target.unchecked_transaction()?;
        let mut inserter = Inserter::new(self.target, self.to);
        for (number, account) in &self.accounts.by_number {
            let canary = Canary {
                keyring: account.keyring_id(),
                account: account.uid(),
                store: account.store_id().unwrap_or_default(),
            };
            let nonce = nonce()?;
            let row = build::with(account, |sealer| {
                convert::canary(sealer, *number, &canary, &nonce)
            })?;
            let rows = [row];
            inserter.insert(&rows)?;
            count(&rows);
        }
        for kind in Kind::ALL {
            let mut of_kind = 0;
            self.pages(kind, &mut summary.left_out, |rows, met| {
                of_kind += rows.len() as u64;
                for some in rows.chunk_by(|a, b| a.account == b.account) {
                    let sealed = self.seal(some)?;
                    inserter.insert(&sealed)?;
                    count(&sealed);
                }
                step("page");
                tally.add(met)
            })?;
            if of_kind > 0 {
                summary.tables.push(TableRows {
                    table: self.from.table(kind),
                    rows: of_kind,
                });
            }
        }
        drop(inserter);
        transaction.commit()?;
        step("loaded");
        Ok(written)
    }

    /// Seals rows of one account.
    fn seal(&self, rows: &[Row]) -> Result<Vec<Row>> {
        let Some(first) = rows.first() else {
            return Ok(Vec::new());
        };
        let account = self.account(first.account)?;
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

    /// Looks every row up in the new file, by the key that a sealed store asks for, opens it and compares it with what it was
    /// made of; and sees to it that there are no others.
    pub(super) fn compare(&self, written: &Written) -> Result<()> {
        let total = build::total(self.source, self.from)?;
        let mut tally = Tally::begin(self.progress, Phase::Checking, Some(total))?;
        for kind in Kind::ALL {
            self.pages(kind, &mut 0, |rows, met| {
                for some in rows.chunk_by(|a, b| a.account == b.account) {
                    self.compare_some(kind, some)?;
                }
                tally.add(met)
            })?;
        }
        for kind in Kind::ALL {
            // Of our layout's message secrets both halves share a row.
            let halves = kind == Kind::MsgSecret && self.to == Layout::Ours;
            let expected =
                written.get(kind.number()).copied().unwrap_or(0) / if halves { 2 } else { 1 };
            if rows::count(self.target, self.to, kind)? != expected {
                return Err(differs(self.to, kind));
            }
        }
        Ok(())
    }

    fn compare_some(&self, kind: Kind, rows: &[Row]) -> Result<()> {
        let differs = || differs(self.from, kind);
        let mut units = Vec::with_capacity(rows.len());
        for key in self.seal(rows)? {
            if matches!(key.body, Body::Device(_)) || opened::is_second_half(&key) {
                continue;
            }
            let found = rows::find(self.target, self.to, &key)?;
            units.push(found.ok_or_else(differs)?);
        }
        let units: Vec<Unit> = build::units(self.target, self.to, units)?;
        if units.len() != rows.len() {
            return Err(differs());
        }
        let mut expected = rows.iter();
        build::open(self.accounts, &units, |_, opened| {
            match (opened, expected.next()) {
                (Ok(Opened::Row(row)), Some(expected)) if self.same(&row, expected)? => Ok(()),
                _ => Err(differs()),
            }
        })
    }

    /// Whether a row came back as it was, in all that the new file's layout keeps.
    fn same(&self, row: &Row, expected: &Row) -> Result<bool> {
        let times = self.from != self.to || row.written == expected.written;
        Ok(times && row.same(expected, self.to)?)
    }
}

fn differs(layout: Layout, kind: Kind) -> LifecycleError {
    LifecycleError::Differs {
        table: layout.table(kind),
    }
}
