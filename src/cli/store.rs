//! Opening a store's keyring, and being told early where that makes no sense.

use std::path::Path;

use sealed_store::lifecycle::{self, Info, Layout, LifecycleError, Protection};
use sealed_store::{Keyring, KeyringOptions, SealError, SqliteKeyring};

use super::args::{SecretArgs, StoreArgs};
use super::failure::{At, Failure};
use super::secret::{self, Provider};

/// The newest version of keyring documents that this program reads.
const FORMAT: u32 = 1;

/// What the store is, before anybody is asked for a secret.
pub fn look(store: &StoreArgs) -> Result<Info, Failure> {
    let about = lifecycle::info(&store.db, store.keyring.as_deref()).at(&store.db)?;
    let Some(keyring) = &about.keyring else {
        return Err(match about.protection {
            Protection::Sealed => Failure::keyring_elsewhere(),
            Protection::Empty if about.layout == Layout::Empty => Failure::no_store(
                "the file is empty: if a store was in it, restore a backup; `sealed-store init` makes a new one",
            ),
            _ => LifecycleError::NotSealed.into(),
        }
        .at(&store.db));
    };
    if let Some(found) = keyring.newer {
        let supported = FORMAT;
        return Err(SealError::UnsupportedVersion { found, supported }).at(&store.db);
    }
    if keyring.damaged.contains(&"keyring") {
        let what = "its own document is damaged or gone";
        return Err(SealError::CorruptKeyring { what }).at(keyring_file(store));
    }
    Ok(about)
}

/// Where the keyring is.
pub fn keyring_file(store: &StoreArgs) -> &Path {
    store.keyring.as_deref().unwrap_or(&store.db)
}

/// Opens the keyring, and gives the provider that did it.
pub async fn open(store: &StoreArgs, secrets: &SecretArgs) -> Result<(Keyring, Provider), Failure> {
    open_with(store, secrets, false).await
}

/// As [`open`], for changes of slots: `lone` if slots that may be lost may be the only ones left.
pub async fn open_with(
    store: &StoreArgs,
    secrets: &SecretArgs,
    lone: bool,
) -> Result<(Keyring, Provider), Failure> {
    let about = look(store)?;
    let provider = secret::opening(secrets, &store.db)?;
    let mut options = KeyringOptions::new().allow_lone_slot(lone);
    if let Some(slot) = secrets.slot {
        options = options.slot(slot);
    }
    let keyring = options
        .open(SqliteKeyring::at(keyring_file(store)), &*provider)
        .await
        .at(&store.db)
        .map_err(|failure| failure.with_slots(&about))?;
    Ok((keyring, provider))
}
