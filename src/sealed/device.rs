//! The device: the account's own keys, in a session row of their own.
//!
//! The inner store's device row holds the random keys of its `create`, used by nobody and never
//! rewritten, so that a client opened on the inner store by mistake can't overwrite the account.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use wacore::stats::StorageResourceReport;
use wacore::store::Device;
use wacore::store::error::Result as StoreResult;
use wacore::store::traits::{Backend, DeviceStore};

use super::{SealedBackend, nonce};
use crate::error::SealError;
use crate::keyring::AccountState;
use crate::record::Table;

impl<B: Backend + ?Sized> SealedBackend<B> {
    /// Opens the extra content of a snapshot, as `snapshot_db` sealed it under `name`.
    ///
    /// # Errors
    /// [`SealError::Corrupt`] if it was altered or belongs to another name or account,
    /// [`SealError::Unsealed`] if it was never sealed, [`SealError::UnknownGeneration`],
    /// [`SealError::UnsupportedVersion`], [`SealError::NotOpen`].
    pub async fn open_snapshot(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.opening(Table::Snapshot, |sealer| sealer.open_snapshot(name, sealed))
            .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl<B: Backend + ?Sized> DeviceStore for SealedBackend<B> {
    async fn save(&self, device: &Device) -> StoreResult<()> {
        // Not read anew: who was never told that there is a device does not mean to replace one.
        if self.account().state() != AccountState::Live {
            self.make_device(Some(device)).await?;
            return Ok(());
        }
        if !self.shared.device_row.load(Ordering::Acquire) {
            if !self.inner.exists().await? {
                self.inner.save(&Device::new()).await?;
            }
            self.shared.device_row.store(true, Ordering::Release);
        }
        Ok(self.put_device(device).await?)
    }

    async fn load(&self) -> StoreResult<Option<Device>> {
        if self.current_state().await? != AccountState::Live {
            return Ok(None);
        }
        match self.read_device().await? {
            Some(device) => Ok(Some(device)),
            None => Err(self.device_is_gone().await.into()),
        }
    }

    async fn exists(&self) -> StoreResult<bool> {
        if self.current_state().await? != AccountState::Live {
            return Ok(false);
        }
        let carrier = self.with(|sealer| sealer.device_key())?;
        if self.inner.exists().await? && self.inner.has_session(&carrier).await? {
            return Ok(true);
        }
        Err(self.device_is_gone().await.into())
    }

    async fn create(&self) -> StoreResult<i32> {
        // Not read anew, as in `save`.
        if self.account().state() == AccountState::Live {
            // A second create must not replace the identity: the inner store answers as it does. It
            // needs no key, but nothing works on a closed keyring.
            self.with(|_| Ok(()))?;
            return self.inner.create().await;
        }
        Ok(self.make_device(None).await?)
    }

    async fn snapshot_db(&self, name: &str, extra_content: Option<&[u8]>) -> StoreResult<()> {
        let nonce = nonce()?;
        let (key, content) = self.with(|sealer| {
            let key = sealer.snapshot_key(name)?;
            let content = extra_content
                .map(|content| sealer.seal_snapshot(&key, name, content, &nonce))
                .transpose()?;
            Ok((key, content))
        })?;
        self.inner.snapshot_db(&key, content.as_deref()).await
    }

    async fn resource_report(&self) -> StorageResourceReport {
        self.inner.resource_report().await
    }
}
