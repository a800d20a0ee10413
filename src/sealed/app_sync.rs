//! App-state sync keys, versions and mutation MACs.

use std::collections::HashMap;

use async_trait::async_trait;
use wacore::appstate::hash::HashState;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::error::Result as StoreResult;
use wacore::store::traits::{AppStateSyncKey, AppSyncStore, Backend};
use zeroize::Zeroize;

use super::{SealedBackend, nonce};
use crate::record::Table;

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl<B: Backend + ?Sized> AppSyncStore for SealedBackend<B> {
    async fn get_sync_key(&self, key_id: &[u8]) -> StoreResult<Option<AppStateSyncKey>> {
        let Some(row) = self.inner.get_sync_key(key_id).await? else {
            return Ok(None);
        };
        Ok(self
            .open_row(Table::SyncKey, |sealer| sealer.open_sync_key(key_id, &row))
            .await?)
    }

    async fn set_sync_key(&self, key_id: &[u8], mut key: AppStateSyncKey) -> StoreResult<()> {
        let nonce = nonce()?;
        let sealed = self.with(|sealer| sealer.seal_sync_key(key_id, &key, &nonce));
        key.key_data.zeroize();
        let row = sealed?;
        self.inner.set_sync_key(key_id, row).await
    }

    async fn get_version(&self, name: &str) -> StoreResult<HashState> {
        let key = self.with(|sealer| sealer.version_key(name))?;
        let row = self.inner.get_version(&key).await?;
        let state = self
            .open_row(Table::Version, |sealer| {
                sealer.open_version(&key, name, &row)
            })
            .await?;
        Ok(state.unwrap_or_default())
    }

    async fn set_version(&self, name: &str, state: HashState) -> StoreResult<()> {
        let nonce = nonce()?;
        let (key, row) = self.with(|sealer| sealer.seal_version(name, &state, &nonce))?;
        self.inner.set_version(&key, row).await
    }

    async fn put_mutation_macs(
        &self,
        name: &str,
        version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> StoreResult<()> {
        let key = self.with(|sealer| sealer.mutation_name(name))?;
        let rows = self
            .seal_slices(mutations, |sealer, mutation, nonce| {
                let AppStateMutationMAC {
                    index_mac,
                    value_mac,
                } = mutation;
                let (index_mac, value_mac) =
                    sealer.seal_mutation(&key, name, index_mac, value_mac, nonce)?;
                Ok(AppStateMutationMAC {
                    index_mac: index_mac.to_vec(),
                    value_mac,
                })
            })
            .await?;
        self.inner.put_mutation_macs(&key, version, &rows).await
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        let (key, index) = self.with(|sealer| {
            Ok((
                sealer.mutation_name(name)?,
                sealer.mutation_index(name, index_mac)?,
            ))
        })?;
        let Some(sealed) = self.inner.get_mutation_mac(&key, &index).await? else {
            return Ok(None);
        };
        Ok(self
            .open_row(Table::MutationMac, |sealer| {
                sealer.open_mutation(&key, &index, name, index_mac, &sealed)
            })
            .await?)
    }

    async fn get_mutation_macs(
        &self,
        name: &str,
        index_macs: &[[u8; 32]],
    ) -> StoreResult<HashMap<[u8; 32], Vec<u8>>> {
        let key = self.with(|sealer| sealer.mutation_name(name))?;
        let blinded = self
            .name_slices(index_macs, |sealer, index_mac| {
                sealer.mutation_index(name, index_mac)
            })
            .await?;
        let rows = self.inner.get_mutation_macs(&key, &blinded).await?;
        // Only what was asked for is looked at: an inner store may answer with more.
        let found: Vec<_> = index_macs
            .iter()
            .zip(&blinded)
            .filter_map(|(index_mac, index)| Some((index_mac, index, rows.get(index)?)))
            .collect();
        let opened = self
            .open_slices(
                Table::MutationMac,
                &found,
                |sealer, (index_mac, index, sealed)| {
                    let value =
                        sealer.open_mutation(&key, index, name, index_mac.as_slice(), sealed)?;
                    Ok((**index_mac, value))
                },
            )
            .await?;
        Ok(opened.into_iter().collect())
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> StoreResult<()> {
        let key = self.with(|sealer| sealer.mutation_name(name))?;
        let blinded = self
            .name_slices(index_macs, |sealer, index_mac| {
                Ok(sealer.mutation_index(name, index_mac)?.to_vec())
            })
            .await?;
        self.inner.delete_mutation_macs(&key, &blinded).await
    }

    async fn clear_mutation_macs(&self, name: &str) -> StoreResult<()> {
        let key = self.with(|sealer| sealer.mutation_name(name))?;
        self.inner.clear_mutation_macs(&key).await
    }

    async fn get_latest_sync_key_id(&self) -> StoreResult<Option<Vec<u8>>> {
        self.inner.get_latest_sync_key_id().await
    }
}
