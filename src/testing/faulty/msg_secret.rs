//! `MsgSecretStore`, passed through.

use async_trait::async_trait;
use wacore::store::error::Result;
use wacore::store::traits::{Backend, MessageSecret, MsgSecretEntry, MsgSecretStore};

use super::FaultyBackend;

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl<B: Backend + ?Sized> MsgSecretStore for FaultyBackend<B> {
    async fn put_msg_secret(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
        secret: &MessageSecret,
    ) -> Result<()> {
        self.around(
            "put_msg_secret",
            self.inner.put_msg_secret(chat, sender, msg_id, secret),
        )
        .await
    }

    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize> {
        self.around("put_msg_secrets", self.inner.put_msg_secrets(entries))
            .await
    }

    async fn get_msg_secret(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> Result<Option<Vec<u8>>> {
        self.around(
            "get_msg_secret",
            self.inner.get_msg_secret(chat, sender, msg_id),
        )
        .await
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> Result<Option<(Vec<u8>, i64)>> {
        self.around(
            "get_msg_secret_with_ts",
            self.inner.get_msg_secret_with_ts(chat, sender, msg_id),
        )
        .await
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.around(
            "delete_expired_msg_secrets",
            self.inner.delete_expired_msg_secrets(cutoff_timestamp),
        )
        .await
    }
}
