//! `SignalStore`, passed through.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wacore::store::error::Result;
use wacore::store::traits::{Backend, SignalStore};

use super::FaultyBackend;

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl<B: Backend + ?Sized> SignalStore for FaultyBackend<B> {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<()> {
        self.around("put_identity", self.inner.put_identity(address, key))
            .await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> Result<()> {
        self.around(
            "put_identities_batch",
            self.inner.put_identities_batch(identities),
        )
        .await
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>> {
        self.around("load_identity", self.inner.load_identity(address))
            .await
    }

    async fn delete_identity(&self, address: &str) -> Result<()> {
        self.around("delete_identity", self.inner.delete_identity(address))
            .await
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>> {
        self.around("get_session", self.inner.get_session(address))
            .await
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        self.around("put_session", self.inner.put_session(address, session))
            .await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.around(
            "put_sessions_batch",
            self.inner.put_sessions_batch(sessions),
        )
        .await
    }

    async fn delete_session(&self, address: &str) -> Result<()> {
        self.around("delete_session", self.inner.delete_session(address))
            .await
    }

    async fn has_session(&self, address: &str) -> Result<bool> {
        self.around("has_session", self.inner.has_session(address))
            .await
    }

    async fn has_signal_state_for_user(&self, user: &str) -> Result<bool> {
        self.around(
            "has_signal_state_for_user",
            self.inner.has_signal_state_for_user(user),
        )
        .await
    }

    async fn store_prekey(&self, id: u32, record: &[u8], uploaded: bool) -> Result<()> {
        self.around(
            "store_prekey",
            self.inner.store_prekey(id, record, uploaded),
        )
        .await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], uploaded: bool) -> Result<()> {
        self.around(
            "store_prekeys_batch",
            self.inner.store_prekeys_batch(keys, uploaded),
        )
        .await
    }

    async fn load_prekey(&self, id: u32) -> Result<Option<Bytes>> {
        self.around("load_prekey", self.inner.load_prekey(id)).await
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> Result<Vec<(u32, Bytes)>> {
        self.around("load_prekeys_batch", self.inner.load_prekeys_batch(ids))
            .await
    }

    async fn mark_prekeys_uploaded(&self, ids: &[u32]) -> Result<()> {
        self.around(
            "mark_prekeys_uploaded",
            self.inner.mark_prekeys_uploaded(ids),
        )
        .await
    }

    async fn remove_prekey(&self, id: u32) -> Result<()> {
        self.around("remove_prekey", self.inner.remove_prekey(id))
            .await
    }

    async fn get_max_prekey_id(&self) -> Result<u32> {
        self.around("get_max_prekey_id", self.inner.get_max_prekey_id())
            .await
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> Result<()> {
        self.around(
            "store_signed_prekey",
            self.inner.store_signed_prekey(id, record),
        )
        .await
    }

    async fn load_signed_prekey(&self, id: u32) -> Result<Option<Vec<u8>>> {
        self.around("load_signed_prekey", self.inner.load_signed_prekey(id))
            .await
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        self.around(
            "load_all_signed_prekeys",
            self.inner.load_all_signed_prekeys(),
        )
        .await
    }

    async fn remove_signed_prekey(&self, id: u32) -> Result<()> {
        self.around("remove_signed_prekey", self.inner.remove_signed_prekey(id))
            .await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<()> {
        self.around("put_sender_key", self.inner.put_sender_key(address, record))
            .await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.around(
            "put_sender_keys_batch",
            self.inner.put_sender_keys_batch(sender_keys),
        )
        .await
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>> {
        self.around("get_sender_key", self.inner.get_sender_key(address))
            .await
    }

    async fn delete_sender_key(&self, address: &str) -> Result<()> {
        self.around("delete_sender_key", self.inner.delete_sender_key(address))
            .await
    }
}
