//! Message secrets, each in two inner rows.

use std::sync::Arc;

use async_trait::async_trait;
use wacore::store::error::Result as StoreResult;
use wacore::store::traits::{Backend, MessageSecret, MsgSecretEntry, MsgSecretStore};
use zeroize::Zeroize;

use super::SealedBackend;
use super::rows::{SECOND_HALF, SecretKey};
use crate::error::{Fault, SealError};
use crate::record::Table;

/// How often a pair is read that does not fit: a concurrent put may stand between the two reads.
const READS: usize = 3;

impl<B: Backend + ?Sized> SealedBackend<B> {
    /// Reads both halves with `read` until they fit, and opens them.
    async fn read_secret<T, F>(
        &self,
        name: [&str; 3],
        read: impl Fn(Arc<str>, Arc<str>) -> F,
        bytes: impl Fn(&T) -> &[u8],
    ) -> StoreResult<Option<(Vec<u8>, T, T)>>
    where
        F: Future<Output = StoreResult<Option<T>>>,
    {
        let SecretKey {
            token,
            name: sender,
        } = self.with(|sealer| sealer.secret_key(name))?;
        let second_sender: Arc<str> = SECOND_HALF.into();
        let mut misfit = None;
        for _ in 0..READS {
            let first = read(Arc::clone(&token), Arc::clone(&sender)).await?;
            let second = read(Arc::clone(&token), Arc::clone(&second_sender)).await?;
            let (first, second) = match (first, second) {
                (None, None) => return Ok(None),
                (Some(first), Some(second)) => (first, second),
                _ => {
                    misfit = Some(SealError::Corrupt {
                        table: Table::MsgSecret,
                        what: Fault::MissingHalf,
                    });
                    continue;
                }
            };
            let opened = self
                .attempt(|sealer| sealer.open_secret(name, bytes(&first), bytes(&second)))
                .await;
            match opened {
                Ok(secret) => return Ok(Some((secret, first, second))),
                Err(error) => misfit = Some(error),
            }
        }
        let error = misfit.unwrap_or(SealError::Corrupt {
            table: Table::MsgSecret,
            what: Fault::MissingHalf,
        });
        self.note_refused(Table::MsgSecret, &error, false);
        Err(error.into())
    }
}

/// Secrets that were handed to us, wiped when they are sealed.
struct Wiped(Vec<MsgSecretEntry>);

impl Drop for Wiped {
    fn drop(&mut self) {
        for entry in &mut self.0 {
            entry.secret.zeroize();
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl<B: Backend + ?Sized> MsgSecretStore for SealedBackend<B> {
    async fn put_msg_secret(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
        secret: &MessageSecret,
    ) -> StoreResult<()> {
        // The inner method of this name takes one row, and two puts could be torn: one batch.
        let entry = MsgSecretEntry {
            chat: chat.into(),
            sender: sender.into(),
            msg_id: msg_id.into(),
            secret: *secret,
            expires_at: 0,
            message_ts: 0,
        };
        self.put_msg_secrets(vec![entry]).await?;
        Ok(())
    }

    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> StoreResult<usize> {
        let entries = Wiped(entries);
        let (second, empty): (Arc<str>, Arc<str>) = (SECOND_HALF.into(), "".into());
        let rows = self
            .slices(&entries.0, 2 * entries.0.len(), |sealer, slice, rows| {
                for entry in slice {
                    rows.extend(sealer.seal_secret(entry, &second, &empty)?);
                }
                Ok(())
            })
            .await?;
        Ok(self.inner.put_msg_secrets(rows).await?.div_ceil(2))
    }

    async fn get_msg_secret(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> StoreResult<Option<Vec<u8>>> {
        let read = |chat: Arc<str>, sender: Arc<str>| async move {
            self.inner.get_msg_secret(&chat, &sender, "").await
        };
        let found = self
            .read_secret([chat, sender, msg_id], read, |half: &Vec<u8>| half)
            .await?;
        Ok(found.map(|(secret, _, _)| secret))
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> StoreResult<Option<(Vec<u8>, i64)>> {
        let read = |chat: Arc<str>, sender: Arc<str>| async move {
            self.inner.get_msg_secret_with_ts(&chat, &sender, "").await
        };
        let found = self
            .read_secret([chat, sender, msg_id], read, |half: &(Vec<u8>, i64)| {
                &half.0
            })
            .await?;
        Ok(found.map(|(secret, first, second)| (secret, first.1.max(second.1))))
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> StoreResult<u32> {
        let rows = self
            .inner
            .delete_expired_msg_secrets(cutoff_timestamp)
            .await?;
        Ok(rows.div_ceil(2))
    }
}
