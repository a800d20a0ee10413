//! The store that is worked on: what it is, and how it is held.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::documents::Documents;
use super::error::LifecycleError;
use super::step::step;
use super::swap::beside;
use crate::error::SealError;
use crate::keyring::store::{LockGuard, SqliteKeyring, lock_alone};
use crate::keyring::{Account, AccountState, Keyring, KeyringOptions};
use crate::provider::KeyProvider;
use crate::record::Table;
use crate::rows::{self, Body, Layout, Row, Store};
use crate::sealed::rows::{CANARY_KEY, Canary};
use crate::store::sqlite::{SqliteFault, log_length};

type Result<T> = std::result::Result<T, LifecycleError>;

/// The file itself, where the path leads to it by links.
pub(super) fn real(path: &Path) -> Result<PathBuf> {
    let real = std::fs::canonicalize(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => LifecycleError::NoStore,
        _ => LifecycleError::Io(error),
    })?;
    if !std::fs::metadata(&real)?.is_file() {
        return Err(LifecycleError::Foreign);
    }
    Ok(real)
}

/// What the database is, if it can be worked on.
pub(super) fn layout(connection: &Connection) -> Result<Layout> {
    match rows::look(connection) {
        Ok(Store::Known(layout)) => Ok(layout),
        Ok(Store::Older) => Err(LifecycleError::OlderUpstream),
        Ok(Store::OlderOurs) => Err(LifecycleError::Invalid {
            what: "the store is of an older version of sealed-store; open it once with this one, then try again",
        }),
        Ok(Store::Unknown) => Err(LifecycleError::UnknownSchema),
        Ok(Store::Newer(found)) => Err(LifecycleError::NewerSchema {
            found,
            supported: crate::store::sqlite::SCHEMA_VERSION,
        }),
        Ok(Store::Foreign) => Err(LifecycleError::Foreign),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
            Err(LifecycleError::Foreign)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the store was sealed: it has a keyring, or rows that say so.
pub(super) fn is_sealed(connection: &Connection, layout: Layout) -> Result<bool> {
    Ok(Documents::read(connection)?.is_some()
        || layout.has_session(connection, CANARY_KEY)?
        || layout.has_session(connection, "sealed-store.document.keyring")?)
}

/// A program that was just stopped, or a store that was just dropped, may take a moment to let go of its files.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// A store that nobody else can use until it is dropped.
pub(super) struct Held {
    pub(super) connection: Connection,
    pub(super) layout: Layout,
}

/// Takes the store, which must be sealed or must not be, and folds its write-ahead log in. One that is refused stays as
/// it is.
pub(super) fn take(path: &Path, sealed: bool) -> Result<Held> {
    let began = Instant::now();
    loop {
        match try_take(path, sealed) {
            Err(LifecycleError::InUse) if began.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
}

fn try_take(path: &Path, sealed: bool) -> Result<Held> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    if connection.is_readonly("main")? {
        return Err(LifecycleError::Sqlite(SqliteFault::READ_ONLY));
    }
    connection.busy_timeout(Duration::ZERO)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let keep_log =
        |keep| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep);
    keep_log(log_length(path) > 0)?;
    check(&connection, sealed)?;
    keep_log(false)?;
    // Fails while any other connection, of this or another process, has the write-ahead log open, idle or not.
    let mode: String =
        connection.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
    if mode != "delete" {
        return Err(LifecycleError::InUse);
    }
    connection.execute_batch("BEGIN EXCLUSIVE")?;
    // Somebody may have been there in between.
    let layout = check(&connection, sealed)?;
    step("held");
    Ok(Held { connection, layout })
}

/// A held store that is sealed, and holds its keyring, with what was read of it.
pub(super) struct Sealed {
    held: Held,
    documents: Documents,
    canaries: Vec<Said>,
}

/// Its keyring, open.
pub(super) struct Unlocked {
    pub(super) held: Held,
    pub(super) keyring: Keyring,
    pub(super) accounts: Accounts,
    /// Whoever has the keyring open has this too.
    pub(super) alone: LockGuard,
}

impl Sealed {
    pub(super) fn read(held: Held) -> Result<Self> {
        let documents = Documents::read(&held.connection)?.ok_or_else(no_keyring)?;
        let canaries = canaries(&held.connection, held.layout)?;
        Ok(Self {
            held,
            documents,
            canaries,
        })
    }

    /// Opens the keyring of the store at `path`, each of whose rows must be of an account of it. Unless the file is `kept`
    /// its accounts must have no rows anywhere else.
    pub(super) async fn open(
        self,
        path: &Path,
        options: KeyringOptions,
        provider: &dyn KeyProvider,
        kept: bool,
    ) -> Result<Unlocked> {
        let alone = lock_alone(&SqliteKeyring::at(path))
            .await
            .map_err(SealError::from)?;
        let keyring = options.open(self.documents, provider).await?;
        let accounts = accounts(&keyring, self.canaries).await?;
        if !accounts.unknown.is_empty() {
            return Err(unknown_account());
        }
        if accounts.elsewhere && !kept {
            return Err(LifecycleError::Invalid {
                what: "the keyring has an account whose rows are not in this file, and its keys would be destroyed; keep the old file under another name",
            });
        }
        Ok(Unlocked {
            held: self.held,
            keyring,
            accounts,
            alone,
        })
    }
}

fn check(connection: &Connection, sealed: bool) -> Result<Layout> {
    let layout = layout(connection)?;
    if !rows::strangers(connection, layout)?.is_empty() {
        return Err(LifecycleError::Invalid {
            what: "the database holds tables of something else, which would be lost; move them to a file of their own",
        });
    }
    match (sealed, is_sealed(connection, layout)?) {
        (false, true) => Err(LifecycleError::AlreadySealed),
        (true, false) => Err(LifecycleError::NotSealed),
        _ => Ok(layout),
    }
}

/// A store that is looked at, as it is at one moment.
pub(super) struct Look {
    pub(super) connection: Connection,
    /// Of a file that nobody had open: what it was, in full, so that a change is noticed.
    before: Option<(PathBuf, Moment)>,
}

/// Length, time of the last change, and whether anything is beside the file.
type Moment = (u64, std::time::SystemTime, bool);

fn moment(path: &Path) -> std::io::Result<Moment> {
    let about = std::fs::metadata(path)?;
    let beside = ["-wal", "-journal"]
        .into_iter()
        .any(|suffix| std::fs::symlink_metadata(beside(path, suffix)).is_ok());
    Ok((about.len(), about.modified()?, beside))
}

/// Opens the store for reading. Where nobody has it open, not even SQLite's own files come to be beside it.
pub(super) fn look_at(path: &Path) -> Result<Look> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let now = moment(path)?;
    let (connection, before) = match uri(path) {
        // Nobody has it open, or it would have a log.
        Some(uri) if !now.2 => {
            let connection = Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?;
            (connection, Some((path.to_owned(), now)))
        }
        _ => (Connection::open_with_flags(path, flags)?, None),
    };
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.execute_batch("BEGIN")?;
    Ok(Look { connection, before })
}

impl Look {
    /// Fails if the file was changed meanwhile: then nothing that was read counts.
    pub(super) fn end(&self) -> Result<()> {
        match &self.before {
            Some((path, before)) if moment(path)? != *before => Err(LifecycleError::InUse),
            _ => Ok(()),
        }
    }
}

/// The path as SQLite takes it for a file that does not change.
fn uri(path: &Path) -> Option<String> {
    let mut uri = String::from("file:");
    for byte in path.to_str()?.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    // A path of Windows has a letter and backslashes: it is opened as any other.
    cfg!(unix).then(|| uri + "?immutable=1")
}

/// The keys of a sealed store's accounts, by the inner store's number.
pub(super) struct Accounts {
    pub(super) by_number: BTreeMap<i32, Account>,
    /// Numbers with rows, but without a canary of this keyring.
    pub(super) unknown: Vec<i32>,
    /// Whether the keyring has an account in use whose rows are not in this file.
    pub(super) elsewhere: bool,
}

/// What the canary of an account's number says, if there is one.
pub(super) type Said = (i32, std::result::Result<Option<Canary>, SealError>);

/// What the canaries say of each number with rows.
pub(super) fn canaries(connection: &Connection, layout: Layout) -> Result<Vec<Said>> {
    let mut canaries = Vec::new();
    for (number, _) in rows::accounts(connection, layout)? {
        let like = Row {
            account: number,
            body: Body::Session {
                address: CANARY_KEY.to_owned().into(),
                record: Vec::new().into(),
            },
            written: None,
        };
        let found = rows::find(connection, layout, &like)?;
        let canary = match found.as_ref().map(|row| &row.body) {
            Some(Body::Session { record, .. }) => {
                Canary::read(record).map(|(canary, _)| Some(canary))
            }
            _ => Ok(None),
        };
        canaries.push((number, canary));
    }
    Ok(canaries)
}

/// Opens the account of every canary that is there. Names are the caller's: it is the canary that says whose rows they are.
pub(super) async fn accounts(keyring: &Keyring, canaries: Vec<Said>) -> Result<Accounts> {
    let mut opened = Vec::new();
    for name in keyring.accounts().await? {
        match keyring.account(&name).await {
            Ok(account) => opened.push(account),
            // Listed before its document was written.
            Err(SealError::UnknownAccount) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut accounts = Accounts {
        by_number: BTreeMap::new(),
        unknown: Vec::new(),
        elsewhere: false,
    };
    for (number, canary) in canaries {
        let account = canary.ok().flatten().and_then(|canary| {
            let of = opened
                .iter()
                .find(|account| account.uid() == canary.account)?;
            let bound = of.store_id() == Some(canary.store) && canary.keyring == keyring.id();
            bound.then(|| of.clone())
        });
        match account {
            // Two numbers with one canary: a copy, whose rows would not be looked at where the account's are.
            Some(account)
                if accounts
                    .by_number
                    .values()
                    .any(|of| of.uid() == account.uid()) =>
            {
                accounts.unknown.push(number);
            }
            Some(account) => {
                accounts.by_number.insert(number, account);
            }
            None => accounts.unknown.push(number),
        }
    }
    accounts.elsewhere = opened.iter().any(|account| {
        let here = accounts.by_number.values();
        account.state() != AccountState::Shredded
            && account.store_id().is_some()
            && !here.into_iter().any(|of| of.uid() == account.uid())
    });
    Ok(accounts)
}

/// That a sealed store's rows are of no account of its keyring.
pub(super) fn unknown_account() -> LifecycleError {
    LifecycleError::Seal(SealError::Unsealed {
        table: Some(Table::Canary),
    })
}

/// The store is sealed, but its keyring is elsewhere.
pub(super) fn no_keyring() -> LifecycleError {
    LifecycleError::Invalid {
        what: "the store is sealed, and its keyring is not in the same file; this works only on stores that hold their keyring",
    }
}

/// Whether an [`encrypt`](super::encrypt), [`decrypt`](super::decrypt) or [`reencrypt_fully`](super::reencrypt_fully) of the
/// store at `path` was cut short, or runs now: calling it again clears what is left, which may be in the clear.
#[must_use]
pub fn is_left_over(path: impl AsRef<Path>) -> bool {
    real(path.as_ref()).is_ok_and(|store| super::swap::is_left_over(&store))
}

/// Files beside the store, of a name that begins with the store's, that are stores in the clear: snapshots and copies.
pub(super) fn copies_in_the_clear(store: &Path) -> Result<Vec<String>> {
    let (Some(folder), Some(name)) = (
        store.parent(),
        store.file_name().and_then(|name| name.to_str()),
    ) else {
        return Ok(Vec::new());
    };
    let mut copies = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let beside = entry.file_name();
        let Some(beside) = beside.to_str().filter(|beside| *beside != name) else {
            continue;
        };
        if !beside.starts_with(name) || !entry.file_type()?.is_file() {
            continue;
        }
        // By SQLite alone: a file that this process has open as a database must not be opened and closed by other means.
        let clear = look_at(&entry.path()).and_then(|look| {
            let layout = layout(&look.connection)?;
            Ok(!is_sealed(&look.connection, layout)?)
        });
        if clear.unwrap_or(false) {
            copies.push(beside.to_owned());
        }
    }
    copies.sort();
    Ok(copies)
}
