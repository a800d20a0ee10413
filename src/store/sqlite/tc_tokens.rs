//! Trusted-contact tokens.

use rusqlite::{OptionalExtension, params};
use wacore::store::error::Result as StoreResult;
use wacore::store::traits::TcTokenEntry;

use super::key::pack;
use super::rows::text;
use super::{MANY, SqliteStore};

impl SqliteStore {
    pub(super) async fn token(&self, jid: &str) -> StoreResult<Option<TcTokenEntry>> {
        let (account, jid) = (self.account, pack(jid));
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT token, token_timestamp, sender_timestamp FROM tc_tokens
                     WHERE account = ?1 AND jid = ?2",
                )?
                .query_row(params![account, &jid[..]], |row| {
                    Ok(TcTokenEntry {
                        token: row.get(0)?,
                        token_timestamp: row.get(1)?,
                        sender_timestamp: row.get(2)?,
                    })
                })
                .optional()
        })
        .await
    }

    pub(super) async fn put_token(&self, jid: &str, entry: &TcTokenEntry) -> StoreResult<()> {
        let (account, jid, entry) = (self.account, pack(jid), entry.clone());
        self.write(1, move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO tc_tokens (account, jid, token, token_timestamp, sender_timestamp)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (account, jid) DO UPDATE SET token = excluded.token,
                     token_timestamp = excluded.token_timestamp,
                     sender_timestamp = excluded.sender_timestamp",
                )?
                .execute(params![
                    account,
                    &jid[..],
                    entry.token,
                    entry.token_timestamp,
                    entry.sender_timestamp
                ])
                .map(drop)
        })
        .await
    }

    pub(super) async fn token_jids(&self) -> StoreResult<Vec<String>> {
        let account = self.account;
        self.read_many(move |connection| {
            connection
                .prepare_cached("SELECT jid FROM tc_tokens WHERE account = ?1")?
                .query_map(params![account], |row| text(row, 0))?
                .collect()
        })
        .await
    }

    pub(super) async fn delete_expired_tokens(
        &self,
        token_cutoff: i64,
        sender_cutoff: i64,
    ) -> StoreResult<u32> {
        let account = self.account;
        let gone = self
            .write(MANY, move |connection| {
                // Gone only if both sides are old or were never there.
                connection
                    .prepare_cached(
                        "DELETE FROM tc_tokens WHERE account = ?1
                         AND (token = x'' OR token_timestamp < ?2)
                         AND (sender_timestamp IS NULL OR sender_timestamp < ?3)",
                    )?
                    .execute(params![account, token_cutoff, sender_cutoff])
            })
            .await?;
        Ok(u32::try_from(gone).unwrap_or(u32::MAX))
    }

    pub(super) async fn touch_token(&self, jid: &str, sender_timestamp: i64) -> StoreResult<()> {
        let (account, jid) = (self.account, pack(jid));
        self.write(1, move |connection| {
            // Only forwards, and whatever token there is stays.
            connection
                .prepare_cached(
                    "INSERT INTO tc_tokens (account, jid, token, token_timestamp, sender_timestamp)
                     VALUES (?1, ?2, x'', ?3, ?3)
                     ON CONFLICT (account, jid) DO UPDATE SET sender_timestamp =
                     max(coalesce(sender_timestamp, excluded.sender_timestamp),
                         excluded.sender_timestamp)",
                )?
                .execute(params![account, &jid[..], sender_timestamp])
                .map(drop)
        })
        .await
    }

    pub(super) async fn store_received_token(
        &self,
        jid: &str,
        token: &[u8],
        token_timestamp: i64,
    ) -> StoreResult<()> {
        let (account, jid, token) = (self.account, pack(jid), token.to_vec());
        self.write(1, move |connection| {
            // Newer wins, and any token over a placeholder; the sender's time stays.
            connection
                .prepare_cached(
                    "INSERT INTO tc_tokens (account, jid, token, token_timestamp, sender_timestamp)
                     VALUES (?1, ?2, ?3, ?4, NULL)
                     ON CONFLICT (account, jid) DO UPDATE SET token = excluded.token,
                     token_timestamp = excluded.token_timestamp
                     WHERE token = x'' OR excluded.token_timestamp >= token_timestamp",
                )?
                .execute(params![account, &jid[..], token, token_timestamp])
                .map(drop)
        })
        .await
    }
}
