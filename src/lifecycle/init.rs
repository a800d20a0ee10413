//! Making a new sealed store.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::error::LifecycleError;
use super::info::{self, Protection};
use super::peek::Layout;
use super::step::step;
use super::swap::beside;
use super::thread::briefly;
use crate::error::SealError;
use crate::keyring::store::SqliteKeyring;
use crate::keyring::{Keyring, KeyringOptions};
use crate::options::SealOptions;
use crate::provider::KeyProvider;
use crate::record::Suite;
use crate::sealed::SealedBackend;
use crate::store::sqlite::SqliteStore;

/// The name of the first account, and upstream's number for it.
const ACCOUNT: &str = "1";

/// How a new store is made.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct InitOptions {
    label: Option<String>,
    suite: Option<Suite>,
    lone: bool,
}

impl InitOptions {
    /// The suite for this machine, and `first` as the slot's label.
    pub fn new() -> Self {
        Self::default()
    }

    /// The label of the first slot: 1 to 64 characters, stored in the clear.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The suite, instead of [`Suite::for_this_machine`].
    pub fn suite(mut self, suite: Suite) -> Self {
        self.suite = Some(suite);
        self
    }

    /// As [`KeyringOptions::allow_lone_slot`].
    pub fn allow_lone_slot(mut self, allow: bool) -> Self {
        self.lone = allow;
        self
    }
}

/// What [`init`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Initialised {
    /// The keyring's id.
    pub keyring_id: [u8; 16],
    /// The name of its account.
    pub account: String,
    /// The suite of wraps and data keys.
    pub suite: Suite,
}

/// Makes a sealed store at `path`, with a slot that `provider` opens, as [`sealed_store::open`](crate::open) does; its
/// keyring in the same file, or at `keyring`. There must be no file yet, or an empty one.
///
/// # Errors
/// [`LifecycleError::AlreadySealed`]; [`LifecycleError::NotSealed`] where rows in the clear are there;
/// [`SealError::KeyringExists`]; [`SealError::LoneSlot`] if the provider may be lost; and where a file can't be made.
pub async fn init(
    path: &Path,
    keyring: Option<&Path>,
    provider: &dyn KeyProvider,
    options: InitOptions,
) -> Result<Initialised, LifecycleError> {
    let new = KeyringOptions::new().allow_lone_slot(options.lone);
    new.check_lone([provider])?;
    let files = (path.to_owned(), keyring.map(Path::to_owned));
    briefly(move || check_new(&files.0, files.1.as_deref())).await?;
    step("new");
    let suite = options.suite.unwrap_or_else(Suite::for_this_machine);
    let mut keyring_options = new.seal(SealOptions::new().suite(suite));
    if let Some(label) = options.label {
        crate::keyring::check_label(&label)?;
        keyring_options = keyring_options.label(label);
    }
    // The store first: what is something else is refused before anything is written to it.
    let store = SqliteStore::open(path).await.map_err(SealError::Inner)?;
    step("store");
    let documents = match keyring {
        Some(keyring) => SqliteKeyring::at(keyring),
        None => SqliteKeyring::in_store(path, &store),
    };
    let made = make(&store, keyring_options.create(documents, provider)).await;
    // Also of one that failed: whoever tries again finds nothing of it open.
    let closed = store.close().await;
    let keyring_id = made?;
    closed.map_err(SealError::Inner)?;
    step("closed");
    Ok(Initialised {
        keyring_id,
        account: ACCOUNT.to_owned(),
        suite,
    })
}

/// An account of a new keyring, and the row that says whose the store is.
async fn make(
    store: &SqliteStore,
    keyring: impl Future<Output = Result<Keyring, SealError>>,
) -> Result<[u8; 16], SealError> {
    let keyring = keyring.await?;
    step("keyring");
    let account = keyring.create_account(ACCOUNT).await?;
    step("account");
    let backend = SealedBackend::open(Arc::new(store.clone()), account).await?;
    backend.require_canary().await?;
    step("canary");
    Ok(keyring.id())
}

/// Whether [`init`] would make a store there.
///
/// # Errors
/// As [`init`], of what is there already.
pub fn check_new(path: &Path, keyring: Option<&Path>) -> Result<(), LifecycleError> {
    for file in [Some(path), keyring].into_iter().flatten() {
        roll_back(file)?;
        match info::info(file, None) {
            Err(LifecycleError::NoStore) => {}
            Err(error) => return Err(error),
            Ok(there) if there.keyring.is_some() => return Err(LifecycleError::AlreadySealed),
            // Of a run that was killed: the table for the documents, and none in it.
            Ok(there) if there.layout == Layout::KeyringAlone && Some(file) == keyring => {}
            Ok(there) if there.protection == Protection::Sealed => {
                return Err(LifecycleError::AlreadySealed);
            }
            Ok(there) if there.protection == Protection::Clear => {
                return Err(LifecycleError::NotSealed);
            }
            Ok(there) if !matches!(there.layout, Layout::Empty | Layout::Ours) => {
                return Err(LifecycleError::Foreign);
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

/// What a run that was cut short left half-written is undone, as any program that opens the file would: looking at a file
/// does not do that.
fn roll_back(file: &Path) -> Result<(), LifecycleError> {
    let has_content = |path: &Path| std::fs::metadata(path).is_ok_and(|about| about.len() > 0);
    // Beside no file, or an empty one, it is of a database that is gone: SQLite removes it when it makes the new one.
    if !has_content(file) || !has_content(&beside(file, "-journal")) {
        return Ok(());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(())
}
