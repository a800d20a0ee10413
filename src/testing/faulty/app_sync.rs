//! `AppSyncStore`, passed through.

use std::collections::HashMap;

use async_trait::async_trait;
use wacore::appstate::hash::HashState;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::error::Result;
use wacore::store::traits::{AppStateSyncKey, AppSyncStore, Backend};

use super::FaultyBackend;

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl<B: Backend + ?Sized> AppSyncStore for FaultyBackend<B> {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        self.around("get_sync_key", self.inner.get_sync_key(key_id))
            .await
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> Result<()> {
        self.around("set_sync_key", self.inner.set_sync_key(key_id, key))
            .await
    }

    async fn get_version(&self, name: &str) -> Result<HashState> {
        self.around("get_version", self.inner.get_version(name))
            .await
    }

    async fn set_version(&self, name: &str, state: HashState) -> Result<()> {
        self.around("set_version", self.inner.set_version(name, state))
            .await
    }

    async fn put_mutation_macs(
        &self,
        name: &str,
        version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> Result<()> {
        self.around(
            "put_mutation_macs",
            self.inner.put_mutation_macs(name, version, mutations),
        )
        .await
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>> {
        self.around(
            "get_mutation_mac",
            self.inner.get_mutation_mac(name, index_mac),
        )
        .await
    }

    async fn get_mutation_macs(
        &self,
        name: &str,
        index_macs: &[[u8; 32]],
    ) -> Result<HashMap<[u8; 32], Vec<u8>>> {
        self.around(
            "get_mutation_macs",
            self.inner.get_mutation_macs(name, index_macs),
        )
        .await
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        self.around(
            "delete_mutation_macs",
            self.inner.delete_mutation_macs(name, index_macs),
        )
        .await
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<()> {
        self.around("clear_mutation_macs", self.inner.clear_mutation_macs(name))
            .await
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        self.around(
            "get_latest_sync_key_id",
            self.inner.get_latest_sync_key_id(),
        )
        .await
    }
}
