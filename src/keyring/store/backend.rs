//! A keyring inside any wacore store, as session rows under literal keys.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use wacore::store::error::StoreError;
use wacore::store::traits::Backend;

use super::{KeyringStore, LockGuard, LockMode, Occupied, Revision, StoreFault, StoreFaultKind};
use crate::record::frame::Reader;

/// Start of a document's literal key. Like the canary's, no client and no sealed row can have it.
const DOCUMENT_PREFIX: &str = "sealed-store.document.";

/// Keeps the keyring in the inner store itself: for stores that are all a deployment has.
///
/// **One writing process.** wacore's `Backend` has no compare-and-swap, so two processes that change
/// such a keyring at the same time can lose one of the changes; within this process changes are
/// serialised for all clones. Its lock, too, is in-process. The inner store must accept session rows
/// before its device row. Where this is not good enough, keep the keyring in an
/// [`SqliteKeyring`](crate::SqliteKeyring) or write a [`KeyringStore`] of your own.
pub struct BackendKeyring<B: ?Sized> {
    inner: Arc<B>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    writing: async_lock::Mutex<()>,
    holders: Mutex<Holders>,
}

#[derive(Default)]
struct Holders {
    shared: usize,
    exclusive: bool,
}

impl<B: ?Sized> Clone for BackendKeyring<B> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<B: Backend + ?Sized> BackendKeyring<B> {
    /// A keyring in `inner`. Clone this value, rather than making another, to open it twice.
    pub fn new(inner: Arc<B>) -> Self {
        Self {
            inner,
            shared: Arc::default(),
        }
    }
}

/// `account:NAME` would be split by stores that cut keys at a colon.
fn row_key(name: &str) -> String {
    format!("{DOCUMENT_PREFIX}{}", name.replace(':', "."))
}

fn io(error: StoreError) -> StoreFault {
    StoreFault::new(
        StoreFaultKind::Io,
        "the inner store could not read or write a keyring document; see its own error",
    )
    .with_source(error)
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl<B: Backend + ?Sized> KeyringStore for BackendKeyring<B> {
    async fn get(&self, name: &str) -> Result<Option<(Revision, Vec<u8>)>, StoreFault> {
        let Some(row) = self.inner.get_session(&row_key(name)).await.map_err(io)? else {
            return Ok(None);
        };
        let mut reader = Reader::new(&row);
        let revision = reader.u64().ok_or_else(|| {
            StoreFault::new(
                StoreFaultKind::Corrupt,
                "a keyring document in the inner store is cut short; restore a backup",
            )
        })?;
        Ok(Some((revision, reader.rest().to_vec())))
    }

    async fn put(
        &self,
        name: &str,
        expected: Option<Revision>,
        bytes: &[u8],
    ) -> Result<Revision, StoreFault> {
        let _writing = self.shared.writing.lock().await;
        let found = self.get(name).await?.map(|(revision, _)| revision);
        if found != expected {
            return Err(StoreFault::new(
                StoreFaultKind::Conflict,
                "the keyring document changed meanwhile; read it again",
            ));
        }
        let revision = expected.unwrap_or(0).checked_add(1).ok_or_else(|| {
            StoreFault::new(StoreFaultKind::Invalid, "the revision number is used up")
        })?;
        let mut row = Vec::with_capacity(8 + bytes.len());
        row.extend_from_slice(&revision.to_le_bytes());
        row.extend_from_slice(bytes);
        self.inner
            .put_session(&row_key(name), &row)
            .await
            .map_err(io)?;
        // A store that alters what it keeps must not hold keys: compare before anybody relies on it.
        let stored = self.inner.get_session(&row_key(name)).await.map_err(io)?;
        if stored.as_deref() != Some(row.as_slice()) {
            return Err(StoreFault::new(
                StoreFaultKind::Corrupt,
                "the inner store did not give back the keyring document that was written; do not use it",
            ));
        }
        Ok(revision)
    }

    async fn list(&self) -> Result<Option<Vec<String>>, StoreFault> {
        Ok(None)
    }

    async fn occupied(&self) -> Result<Occupied, StoreFault> {
        if holds_rows(&*self.inner).await.map_err(io)? {
            Ok(Occupied::Yes)
        } else {
            Ok(Occupied::No)
        }
    }

    async fn lock(&self, mode: LockMode) -> Result<LockGuard, StoreFault> {
        let mut holders = self
            .shared
            .holders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let free = match mode {
            LockMode::Shared => !holders.exclusive,
            LockMode::Exclusive => !holders.exclusive && holders.shared == 0,
        };
        if !free {
            return Err(StoreFault::new(
                StoreFaultKind::InUse,
                "the keyring is in use by another opener in this process",
            ));
        }
        match mode {
            LockMode::Shared => holders.shared += 1,
            LockMode::Exclusive => holders.exclusive = true,
        }
        Ok(LockGuard::new(Held {
            shared: Arc::clone(&self.shared),
            mode,
        }))
    }
}

struct Held {
    shared: Arc<Shared>,
    mode: LockMode,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holders = self
            .shared
            .holders
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match self.mode {
            LockMode::Shared => holders.shared = holders.shared.saturating_sub(1),
            LockMode::Exclusive => holders.exclusive = false,
        }
    }
}

/// Whether a store holds any row that can be seen through the trait: a device, prekeys, sync keys,
/// mappings or tokens. (Session rows can't be listed, so our own documents do not count.)
pub(crate) async fn holds_rows<B: Backend + ?Sized>(inner: &B) -> Result<bool, StoreError> {
    Ok(inner.exists().await?
        || inner.get_max_prekey_id().await? != 0
        || !inner.load_all_signed_prekeys().await?.is_empty()
        || inner.get_latest_sync_key_id().await?.is_some()
        || !inner.get_all_lid_mappings().await?.is_empty()
        || !inner.get_all_tc_token_jids().await?.is_empty())
}

impl<B: ?Sized> fmt::Debug for BackendKeyring<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackendKeyring(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wacore::store::InMemoryBackend;

    #[tokio::test]
    async fn a_second_mode_is_refused_until_the_first_is_dropped() {
        let keyring = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
        let first = keyring.lock(LockMode::Shared).await.unwrap();
        let _second = keyring.clone().lock(LockMode::Shared).await.unwrap();
        assert_eq!(
            keyring
                .lock(LockMode::Exclusive)
                .await
                .err()
                .unwrap()
                .kind(),
            StoreFaultKind::InUse
        );
        drop((first, _second));
        let _alone = keyring.lock(LockMode::Exclusive).await.unwrap();
        assert!(keyring.lock(LockMode::Shared).await.is_err());
    }

    #[tokio::test]
    async fn a_write_on_a_stale_revision_changes_nothing() {
        let keyring = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
        assert_eq!(keyring.put("keyring", None, b"one").await.unwrap(), 1);
        for stale in [None, Some(0), Some(2)] {
            let fault = keyring.put("keyring", stale, b"two").await.unwrap_err();
            assert_eq!(fault.kind(), StoreFaultKind::Conflict);
        }
        assert_eq!(
            keyring.get("keyring").await.unwrap(),
            Some((1, b"one".to_vec()))
        );
    }
}
