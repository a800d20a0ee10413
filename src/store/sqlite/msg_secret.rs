//! Message secrets.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};
use wacore::store::error::Result as StoreResult;
use wacore::store::traits::{MessageSecret, MsgSecretEntry, MsgSecretStore};

use super::SqliteStore;
use super::key::pack;

// The later deadline stays, and 0, which is never, before any; the parent's time is not lost.
const PUT: &str = "INSERT INTO msg_secrets
        (account, chat, sender, message_id, secret, expires_at, message_ts)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (account, chat, sender, message_id) DO UPDATE SET
        secret = excluded.secret,
        expires_at = CASE WHEN expires_at = 0 OR excluded.expires_at = 0 THEN 0
            ELSE max(expires_at, excluded.expires_at) END,
        message_ts = max(message_ts, excluded.message_ts)";

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl MsgSecretStore for SqliteStore {
    async fn put_msg_secret(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
        secret: &MessageSecret,
    ) -> StoreResult<()> {
        let entry = MsgSecretEntry {
            chat: chat.into(),
            sender: sender.into(),
            msg_id: msg_id.into(),
            secret: *secret,
            expires_at: 0,
            message_ts: 0,
        };
        self.put_msg_secrets(vec![entry]).await.map(drop)
    }

    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> StoreResult<usize> {
        if entries.is_empty() {
            return Ok(0);
        }
        let account = self.account;
        self.write(entries.len(), move |connection| {
            let mut statement = connection.prepare_cached(PUT)?;
            let mut stored = 0;
            for entry in &entries {
                stored += statement.execute(params![
                    account,
                    &pack(&entry.chat)[..],
                    &pack(&entry.sender)[..],
                    &pack(&entry.msg_id)[..],
                    entry.secret,
                    entry.expires_at,
                    entry.message_ts
                ])?;
            }
            Ok(stored)
        })
        .await
    }

    async fn get_msg_secret(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> StoreResult<Option<Vec<u8>>> {
        let found = self.get_msg_secret_with_ts(chat, sender, msg_id).await?;
        Ok(found.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> StoreResult<Option<(Vec<u8>, i64)>> {
        let account = self.account;
        let (chat, sender, id) = (pack(chat), pack(sender), pack(msg_id));
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT secret, message_ts FROM msg_secrets
                     WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND message_id = ?4",
                )?
                .query_row(params![account, &chat[..], &sender[..], &id[..]], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()
        })
        .await
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> StoreResult<u32> {
        self.delete_older(
            "DELETE FROM msg_secrets
             WHERE account = ?1 AND expires_at <> 0 AND expires_at <= ?2",
            cutoff_timestamp,
        )
        .await
    }
}
