//! Opens every row of a sealed store and says what is wrong with it, without writing anything.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::build::{self, TableRows, Tally, Unit};
use super::documents::Documents;
use super::error::LifecycleError;
use super::opened::Opened;
use super::progress::{Phase, Progress};
use super::source::{self, Accounts, Look, Said};
use super::swap;
use super::thread::{briefly, on_thread};
use crate::error::{Fault, SealError};
use crate::keyring::{AccountState, KeyringOptions};
use crate::provider::KeyProvider;
use crate::rows::{self, Body, Found, Kind, Layout};

type Result<T> = std::result::Result<T, LifecycleError>;

/// How a store is checked.
#[derive(Debug, Clone)]
#[must_use]
pub struct CheckOptions {
    percent: f64,
    seed: u64,
    reveal: bool,
    keyring_file: Option<PathBuf>,
    keyring: KeyringOptions,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            percent: 100.0,
            seed: 0,
            reveal: false,
            keyring_file: None,
            keyring: KeyringOptions::new(),
        }
    }
}

impl CheckOptions {
    /// Every row is opened, none is named, and the keyring is opened with [`KeyringOptions::new`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens about this part of the rows, in percent, chosen by `seed`: the same seed, the same rows. The others are read and
    /// not opened.
    pub fn sample(mut self, percent: f64, seed: u64) -> Self {
        self.percent = percent;
        self.seed = seed;
        self
    }

    /// Tells the key of a faulty row, as the store holds it: a token, or an address where a row is in the clear.
    pub fn reveal(mut self, reveal: bool) -> Self {
        self.reveal = reveal;
        self
    }

    /// The keyring is in this file. Default: in the store's own.
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

/// What is wrong with a row, or with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// A row in the clear, which no sealed store wrote.
    Plaintext,
    /// A row that does not open: altered, moved, or of another account or store.
    Altered,
    /// The other half of a message secret is missing.
    MissingHalf,
    /// Rows of an account's number that has no canary of this keyring.
    UnknownAccount,
    /// Sealed under a data key that the keyring does not have.
    UnknownGeneration,
    /// Of a format version that this code does not read.
    UnsupportedVersion,
    /// Columns that hold what no store writes.
    Unreadable,
    /// A table, view or trigger that belongs to no store: what is in it is in the clear.
    UnknownTable,
    /// A live account without its device.
    MissingDevice,
    /// An account of the keyring that was bound to a store, and has no canary in this one.
    MissingAccount,
    /// What a run that was cut short left beside the store: it may hold the store in the clear. Encrypt the store again, which
    /// clears it.
    LeftOver,
    /// A file beside the store whose name begins with the store's, and which is a store in the clear: a snapshot, or a copy.
    CopyInTheClear,
    /// SQLite says that the database is damaged.
    Damaged,
}

impl FaultKind {
    /// Its name, in lower case with underscores.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Altered => "altered",
            Self::MissingHalf => "missing_half",
            Self::UnknownAccount => "unknown_account",
            Self::UnknownGeneration => "unknown_generation",
            Self::UnsupportedVersion => "unsupported_version",
            Self::Unreadable => "unreadable",
            Self::UnknownTable => "unknown_table",
            Self::MissingDevice => "missing_device",
            Self::MissingAccount => "missing_account",
            Self::LeftOver => "left_over",
            Self::CopyInTheClear => "copy_in_the_clear",
            Self::Damaged => "damaged",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plaintext => "rows in the clear",
            Self::Altered => "rows that were altered, moved or belong elsewhere",
            Self::MissingHalf => "message secrets of which one half is missing",
            Self::UnknownAccount => "rows of an account that the keyring does not have",
            Self::UnknownGeneration => "rows under a key that the keyring does not have",
            Self::UnsupportedVersion => "rows of another format version",
            Self::Unreadable => "rows that no store writes",
            Self::UnknownTable => "tables of something else, in the clear",
            Self::MissingDevice => "live accounts without their device",
            Self::MissingAccount => "accounts of the keyring whose rows are not here",
            Self::LeftOver => "left by a run that was cut short",
            Self::CopyInTheClear => "copies in the clear beside the store",
            Self::Damaged => "damage that SQLite finds",
        })
    }
}

/// A kind of fault in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultyRows {
    /// The table, as the store's database names it; empty for the store as a whole.
    pub table: &'static str,
    /// What is wrong.
    pub kind: FaultKind,
    /// With how many rows.
    pub count: u64,
    /// The keys of the first ten, with [`CheckOptions::reveal`].
    pub keys: Vec<String>,
}

/// What [`check`] found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// How many accounts' rows could be opened.
    pub accounts: usize,
    /// The tables that have rows, and how many.
    pub tables: Vec<TableRows>,
    /// How many rows were opened.
    pub opened: u64,
    /// How many rows did not open because their keys were destroyed: that is no fault.
    pub shredded: u64,
    /// What is wrong; nothing, if all is well.
    pub faults: Vec<FaultyRows>,
}

impl CheckReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

/// How many keys of a fault are told.
const TOLD: usize = 10;

/// Opens every row of the sealed store at `path`, and reports what does not open and
/// what is in the clear. Nothing is written to the store. It may be open elsewhere: it is read as it is at one moment.
/// (Where it is not, and was left with a write-ahead log by a program that was killed, SQLite makes its index
/// file beside it.)
///
/// The work is done on a thread of its own, and stops when the future is dropped.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("whatsapp.db");
/// use sealed_store::lifecycle::{CheckOptions, check};
/// # use sealed_store::{KdfCost, Passphrase};
/// # use wacore::store::traits::DeviceStore;
/// # let passphrase = Passphrase::new(String::from("correct horse battery staple")).cost(KdfCost::FLOOR);
/// # let sealed = sealed_store::open(&path, &passphrase).await?;
/// # sealed.create().await?;
/// let report = check(&path, &passphrase, CheckOptions::new(), &()).await?;
/// assert!(report.is_sound());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Errors
/// Those of [`LifecycleError`] that their texts explain. What is wrong with rows is no error, but in the report.
pub async fn check(
    path: impl AsRef<Path>,
    provider: &dyn KeyProvider,
    options: CheckOptions,
    progress: &dyn Progress,
) -> Result<CheckReport> {
    let store = source::real(path.as_ref())?;
    progress.begin(Phase::Preparing, None);
    let (path, file) = (store.clone(), options.keyring_file.clone());
    let looked = briefly(move || look(&path, file.as_deref())).await?;
    let keyring = options.keyring.clone().open(looked.documents, provider);
    let keyring = keyring.await?;
    let accounts = source::accounts(&keyring, looked.canaries).await?;
    let (look, layout) = (looked.look, looked.layout);
    on_thread(progress, move |progress| {
        let check = Check {
            connection: &look.connection,
            layout,
            accounts: &accounts,
            options: &options,
            report: CheckReport::default(),
            faults: BTreeMap::new(),
            devices: Vec::new(),
            met: 0,
        };
        let report = check.run(&store, progress)?;
        look.end()?;
        Ok(report)
    })
    .await
}

/// What is read of a store before its keyring is opened.
struct Looked {
    look: Look,
    layout: Layout,
    documents: Documents,
    canaries: Vec<Said>,
}

fn look(store: &Path, keyring_file: Option<&Path>) -> Result<Looked> {
    let look = source::look_at(store)?;
    let layout = source::layout(&look.connection)?;
    if !source::is_sealed(&look.connection, layout)? {
        return Err(LifecycleError::NotSealed);
    }
    let documents = match keyring_file {
        Some(file) => {
            let file = source::look_at(&source::real(file)?)?;
            let documents = Documents::read(&file.connection)?;
            file.end()?;
            documents
        }
        None => Documents::read(&look.connection)?,
    };
    Ok(Looked {
        documents: documents.ok_or_else(source::no_keyring)?,
        canaries: source::canaries(&look.connection, layout)?,
        look,
        layout,
    })
}

struct Check<'a> {
    connection: &'a Connection,
    layout: Layout,
    accounts: &'a Accounts,
    options: &'a CheckOptions,
    report: CheckReport,
    faults: BTreeMap<(&'static str, FaultKind), FaultyRows>,
    /// Numbers of accounts whose device opened.
    devices: Vec<i32>,
    /// How many units were met, for the sample.
    met: u64,
}

impl Check<'_> {
    fn run(mut self, store: &Path, progress: &dyn Progress) -> Result<CheckReport> {
        if swap::is_left_over(store) {
            self.note("", FaultKind::LeftOver, None);
        }
        for copy in source::copies_in_the_clear(store)? {
            self.note("", FaultKind::CopyInTheClear, Some(copy));
        }
        self.rows(progress)?;
        self.accounts();
        for stranger in rows::strangers(self.connection, self.layout)? {
            self.note("", FaultKind::UnknownTable, Some(stranger));
        }
        match build::check_integrity(self.connection) {
            Ok(()) => {}
            Err(LifecycleError::Differs { .. }) => self.note("", FaultKind::Damaged, None),
            Err(error) => return Err(error),
        }
        self.report.accounts = self.accounts.by_number.len();
        self.report.faults = self.faults.into_values().collect();
        Ok(self.report)
    }

    fn note(&mut self, table: &'static str, kind: FaultKind, key: Option<String>) {
        let fault = self
            .faults
            .entry((table, kind))
            .or_insert_with(|| FaultyRows {
                table,
                kind,
                count: 0,
                keys: Vec::new(),
            });
        fault.count += 1;
        if let Some(key) = key.filter(|_| self.options.reveal && fault.keys.len() < TOLD) {
            fault.keys.push(key);
        }
    }

    fn rows(&mut self, progress: &dyn Progress) -> Result<()> {
        let total = build::total(self.connection, self.layout)?;
        let mut tally = Tally::begin(progress, Phase::Checking, Some(total))?;
        for kind in Kind::ALL {
            let table = self.layout.table(kind);
            let mut count = 0;
            let (connection, layout) = (self.connection, self.layout);
            build::pages(connection, layout, kind, |found| {
                let met = found.len();
                count += met as u64;
                let mut rows = Vec::with_capacity(found.len());
                for found in found {
                    match found {
                        Found::Row(row) => rows.push(row),
                        Found::Bad(_) => self.note(table, FaultKind::Unreadable, None),
                    }
                }
                let mut units = build::units(connection, layout, rows)?;
                units.retain(|unit| self.is_chosen(unit));
                self.open(table, &units)?;
                tally.add(met)
            })?;
            if count > 0 {
                self.report.tables.push(TableRows { table, rows: count });
            }
        }
        Ok(())
    }

    /// Whether a row is of the sample. Devices and canaries are, always.
    fn is_chosen(&mut self, unit: &Unit) -> bool {
        self.met += 1;
        if self.options.percent >= 100.0 || is_special(&unit.row.body) {
            return true;
        }
        // SplitMix64: any spread will do, for nobody is kept from knowing it.
        let mut z = self
            .options
            .seed
            .wrapping_add(self.met.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // The upper 53 bits are a number below 1, exactly.
        let point = (z >> 11) as f64 / (1u64 << 53) as f64;
        point * 100.0 < self.options.percent
    }

    fn open(&mut self, table: &'static str, units: &[Unit]) -> Result<()> {
        let accounts = self.accounts;
        build::open(accounts, units, |unit, opened| {
            let number = unit.row.account;
            match opened {
                Ok(Opened::Row(row)) => {
                    self.report.opened += 1;
                    if matches!(row.body, Body::Device(_)) {
                        self.devices.push(number);
                    }
                }
                Ok(Opened::Canary) => self.report.opened += 1,
                Ok(Opened::Decoy) => {
                    // The inner store's own device is a new one: one that was used is somebody's account in the clear.
                    if rows::is_used_device(&unit.row) {
                        self.note(table, FaultKind::Plaintext, Some(number.to_string()));
                    }
                }
                Err(SealError::NotOpen) => return Err(SealError::NotOpen.into()),
                Err(SealError::Shredded) => self.report.shredded += 1,
                Err(error) => {
                    let known = accounts.by_number.contains_key(&number);
                    let kind = if known {
                        fault(&error)
                    } else {
                        FaultKind::UnknownAccount
                    };
                    let key = self.options.reveal.then(|| unit.row.body.key_text());
                    self.note(table, kind, key);
                }
            }
            Ok(())
        })
    }

    /// That every live account has its device, and every bound one is here.
    fn accounts(&mut self) {
        let table = self.layout.table(Kind::Session);
        for (number, account) in &self.accounts.by_number {
            if account.state() == AccountState::Live && !self.devices.contains(number) {
                self.note(table, FaultKind::MissingDevice, Some(number.to_string()));
            }
        }
        if self.accounts.elsewhere {
            self.note("", FaultKind::MissingAccount, None);
        }
    }
}

/// Whether it may be a device or a canary: sessions and identities have an `@` in their key, almost always.
fn is_special(body: &Body) -> bool {
    match body {
        Body::Device(_) => true,
        Body::Session { address, .. } => !address.contains('@'),
        _ => false,
    }
}

fn fault(error: &SealError) -> FaultKind {
    match error {
        SealError::Unsealed { .. } => FaultKind::Plaintext,
        SealError::UnknownGeneration { .. } => FaultKind::UnknownGeneration,
        SealError::UnsupportedVersion { .. } => FaultKind::UnsupportedVersion,
        SealError::Corrupt {
            what: Fault::MissingHalf,
            ..
        } => FaultKind::MissingHalf,
        _ => FaultKind::Altered,
    }
}
