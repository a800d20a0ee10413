//! Identities, sessions, prekeys, signed prekeys and sender keys.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wacore::store::error::Result as StoreResult;
use wacore::store::traits::{Backend, SignalStore};

use super::rows::SignalTable;
use super::{SealedBackend, nonce};
use crate::error::SealError;
use crate::record::Table;

impl<B: Backend + ?Sized> SealedBackend<B> {
    /// One record under one address, sealed.
    fn seal_at(
        &self,
        table: SignalTable,
        address: &str,
        record: &[u8],
    ) -> Result<(String, Vec<u8>), SealError> {
        let nonce = nonce()?;
        self.with(|sealer| sealer.seal_address(table, address, record, &nonce))
    }

    /// A batch of records under addresses, sealed, as the inner store's batches take them.
    async fn seal_all_at<R: AsRef<[u8]>>(
        &self,
        table: SignalTable,
        batch: &[(Arc<str>, R)],
    ) -> Result<Vec<(Arc<str>, Bytes)>, SealError> {
        self.seal_slices(batch, |sealer, (address, record), nonce| {
            let (key, sealed) = sealer.seal_address(table, address, record.as_ref(), nonce)?;
            Ok((key.into(), sealed.into()))
        })
        .await
    }

    fn key_at(&self, table: SignalTable, address: &str) -> Result<String, SealError> {
        self.with(|sealer| sealer.address_key(table, address))
    }
}

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl<B: Backend + ?Sized> SignalStore for SealedBackend<B> {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> StoreResult<()> {
        let (row, sealed) = self.seal_at(SignalTable::Identity, address, &key)?;
        self.inner.put_session(&row, &sealed).await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> StoreResult<()> {
        let rows = self.seal_all_at(SignalTable::Identity, identities).await?;
        self.inner.put_sessions_batch(&rows).await
    }

    async fn load_identity(&self, address: &str) -> StoreResult<Option<[u8; 32]>> {
        let row = self.key_at(SignalTable::Identity, address)?;
        let Some(sealed) = self.inner.get_session(&row).await? else {
            return Ok(None);
        };
        Ok(self
            .open_row(Table::Identity, |sealer| {
                sealer.open_identity(&row, address, &sealed)
            })
            .await?)
    }

    async fn delete_identity(&self, address: &str) -> StoreResult<()> {
        let row = self.key_at(SignalTable::Identity, address)?;
        self.inner.delete_session(&row).await
    }

    async fn get_session(&self, address: &str) -> StoreResult<Option<Bytes>> {
        let row = self.key_at(SignalTable::Session, address)?;
        let Some(sealed) = self.inner.get_session(&row).await? else {
            return Ok(None);
        };
        let session = self
            .open_row(Table::Session, |sealer| {
                sealer.open_address(SignalTable::Session, &row, address, &sealed)
            })
            .await?;
        Ok(session.map(Bytes::from))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> StoreResult<()> {
        let (row, sealed) = self.seal_at(SignalTable::Session, address, session)?;
        self.inner.put_session(&row, &sealed).await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> StoreResult<()> {
        let rows = self.seal_all_at(SignalTable::Session, sessions).await?;
        self.inner.put_sessions_batch(&rows).await
    }

    async fn delete_session(&self, address: &str) -> StoreResult<()> {
        let row = self.key_at(SignalTable::Session, address)?;
        self.inner.delete_session(&row).await
    }

    async fn has_session(&self, address: &str) -> StoreResult<bool> {
        let row = self.key_at(SignalTable::Session, address)?;
        self.inner.has_session(&row).await
    }

    async fn has_signal_state_for_user(&self, user: &str) -> StoreResult<bool> {
        let user = self.with(|sealer| sealer.user_key(user))?;
        self.inner.has_signal_state_for_user(&user).await
    }

    async fn store_prekey(&self, id: u32, record: &[u8], uploaded: bool) -> StoreResult<()> {
        let nonce = nonce()?;
        let sealed = self.with(|sealer| sealer.seal_by_id(Table::PreKey, id, record, &nonce))?;
        self.inner.store_prekey(id, &sealed, uploaded).await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], uploaded: bool) -> StoreResult<()> {
        let rows = self
            .seal_slices(keys, |sealer, (id, record), nonce| {
                let sealed = sealer.seal_by_id(Table::PreKey, *id, record, nonce)?;
                Ok((*id, Bytes::from(sealed)))
            })
            .await?;
        self.inner.store_prekeys_batch(&rows, uploaded).await
    }

    async fn load_prekey(&self, id: u32) -> StoreResult<Option<Bytes>> {
        let Some(sealed) = self.inner.load_prekey(id).await? else {
            return Ok(None);
        };
        let record = self
            .open_row(Table::PreKey, |sealer| {
                sealer.open_by_id(Table::PreKey, id, &sealed)
            })
            .await?;
        Ok(record.map(Bytes::from))
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> StoreResult<Vec<(u32, Bytes)>> {
        let rows = self.inner.load_prekeys_batch(ids).await?;
        Ok(self
            .open_slices(Table::PreKey, &rows, |sealer, (id, sealed)| {
                let record = sealer.open_by_id(Table::PreKey, *id, sealed)?;
                Ok((*id, Bytes::from(record)))
            })
            .await?)
    }

    async fn mark_prekeys_uploaded(&self, ids: &[u32]) -> StoreResult<()> {
        self.inner.mark_prekeys_uploaded(ids).await
    }

    async fn remove_prekey(&self, id: u32) -> StoreResult<()> {
        self.inner.remove_prekey(id).await
    }

    async fn get_max_prekey_id(&self) -> StoreResult<u32> {
        self.inner.get_max_prekey_id().await
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> StoreResult<()> {
        let nonce = nonce()?;
        let sealed =
            self.with(|sealer| sealer.seal_by_id(Table::SignedPreKey, id, record, &nonce))?;
        self.inner.store_signed_prekey(id, &sealed).await
    }

    async fn load_signed_prekey(&self, id: u32) -> StoreResult<Option<Vec<u8>>> {
        let Some(sealed) = self.inner.load_signed_prekey(id).await? else {
            return Ok(None);
        };
        Ok(self
            .open_row(Table::SignedPreKey, |sealer| {
                sealer.open_by_id(Table::SignedPreKey, id, &sealed)
            })
            .await?)
    }

    async fn load_all_signed_prekeys(&self) -> StoreResult<Vec<(u32, Vec<u8>)>> {
        let rows = self.inner.load_all_signed_prekeys().await?;
        Ok(self
            .open_slices(Table::SignedPreKey, &rows, |sealer, (id, sealed)| {
                Ok((*id, sealer.open_by_id(Table::SignedPreKey, *id, sealed)?))
            })
            .await?)
    }

    async fn remove_signed_prekey(&self, id: u32) -> StoreResult<()> {
        self.inner.remove_signed_prekey(id).await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> StoreResult<()> {
        let (row, sealed) = self.seal_at(SignalTable::SenderKey, address, record)?;
        self.inner.put_sender_key(&row, &sealed).await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> StoreResult<()> {
        let rows = self
            .seal_all_at(SignalTable::SenderKey, sender_keys)
            .await?;
        self.inner.put_sender_keys_batch(&rows).await
    }

    async fn get_sender_key(&self, address: &str) -> StoreResult<Option<Vec<u8>>> {
        let row = self.key_at(SignalTable::SenderKey, address)?;
        let Some(sealed) = self.inner.get_sender_key(&row).await? else {
            return Ok(None);
        };
        Ok(self
            .open_row(Table::SenderKey, |sealer| {
                sealer.open_address(SignalTable::SenderKey, &row, address, &sealed)
            })
            .await?)
    }

    async fn delete_sender_key(&self, address: &str) -> StoreResult<()> {
        let row = self.key_at(SignalTable::SenderKey, address)?;
        self.inner.delete_sender_key(&row).await
    }
}
