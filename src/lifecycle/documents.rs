//! A keyring as it was read with its rows: what is opened while the file itself is held, or must not be written.

use async_trait::async_trait;
use rusqlite::Connection;

use crate::error::SealError;
use crate::keyring::store::{
    Document, KeyringStore, LockGuard, LockMode, Occupied, Revision, StoreFault, StoreFaultKind,
    documents,
};

/// The documents of one moment.
pub(super) struct Documents(Vec<Document>);

impl Documents {
    /// All that are in the file; `None` where there are none.
    pub(super) fn read(connection: &Connection) -> Result<Option<Self>, SealError> {
        Ok(documents(connection)?
            .filter(|all| !all.is_empty())
            .map(Self))
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl KeyringStore for Documents {
    async fn get(&self, name: &str) -> Result<Option<(Revision, Vec<u8>)>, StoreFault> {
        let found = self.0.iter().find(|(found, _, _)| found == name);
        Ok(found.map(|(_, revision, bytes)| (*revision, bytes.clone())))
    }

    async fn put(&self, _: &str, _: Option<Revision>, _: &[u8]) -> Result<Revision, StoreFault> {
        Err(StoreFault::new(
            StoreFaultKind::Invalid,
            "the keyring was opened for reading only; open it by itself to change it",
        ))
    }

    async fn list(&self) -> Result<Option<Vec<String>>, StoreFault> {
        Ok(Some(
            self.0.iter().map(|(name, _, _)| name.clone()).collect(),
        ))
    }

    async fn occupied(&self) -> Result<Occupied, StoreFault> {
        Ok(Occupied::Yes)
    }

    async fn lock(&self, mode: LockMode) -> Result<LockGuard, StoreFault> {
        match mode {
            // Whoever reads them holds the file, or one moment of it.
            LockMode::Shared => Ok(LockGuard::new(())),
            LockMode::Exclusive => Err(StoreFault::new(
                StoreFaultKind::InUse,
                "the keyring was opened for reading only; open it by itself to change it",
            )),
        }
    }
}
