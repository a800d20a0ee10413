//! Sessions, identities, prekeys, signed prekeys and sender keys.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use wacore::store::error::Result as StoreResult;
use wacore::store::traits::SignalStore;

use super::SqliteStore;
use super::error::damaged;
use super::key::{Key, pack, ranges_of};

const PUT_SESSION: &str = "INSERT INTO sessions (account, address, record) VALUES (?1, ?2, ?3)
    ON CONFLICT (account, address) DO UPDATE SET record = excluded.record";
const PUT_IDENTITY: &str = "INSERT INTO identities (account, address, key) VALUES (?1, ?2, ?3)
    ON CONFLICT (account, address) DO UPDATE SET key = excluded.key";
const PUT_SENDER_KEY: &str =
    "INSERT INTO sender_keys (account, address, record) VALUES (?1, ?2, ?3)
    ON CONFLICT (account, address) DO UPDATE SET record = excluded.record";
const PUT_PREKEY: &str =
    "INSERT INTO prekeys (account, id, record, uploaded) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (account, id) DO UPDATE SET record = excluded.record, uploaded = excluded.uploaded";

impl SqliteStore {
    /// The value at (account, id).
    async fn get_by_id(&self, sql: &'static str, id: u32) -> StoreResult<Option<Vec<u8>>> {
        let (account, id) = (self.account, signed(id));
        self.read(move |connection| {
            connection
                .prepare_cached(sql)?
                .query_row(params![account, id], |row| row.get(0))
                .optional()
        })
        .await
    }

    /// Runs a statement on (account, id).
    async fn run_by_id(&self, sql: &'static str, id: u32) -> StoreResult<()> {
        let (account, id) = (self.account, signed(id));
        self.write(1, move |connection| {
            connection
                .prepare_cached(sql)?
                .execute(params![account, id])
                .map(drop)
        })
        .await
    }
}

/// An id as upstream's store keeps it, which decides which one is the highest: the client's have 24 bits.
fn signed(id: u32) -> i32 {
    id.cast_signed()
}

/// Whether a row of `table` lies in a range.
fn any_in(
    connection: &Connection,
    table: &str,
    account: i32,
    ranges: &[(Key, Key)],
) -> rusqlite::Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM {table} WHERE account = ?1 AND address >= ?2 AND address < ?3)"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    for (from, to) in ranges {
        if statement.query_row(params![account, &from[..], &to[..]], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl SignalStore for SqliteStore {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> StoreResult<()> {
        self.put_value(PUT_IDENTITY, &[address], &key).await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> StoreResult<()> {
        let rows = identities
            .iter()
            .map(|(address, key)| (vec![pack(address)], *key));
        self.put_values(PUT_IDENTITY, rows.collect()).await
    }

    async fn load_identity(&self, address: &str) -> StoreResult<Option<[u8; 32]>> {
        let found = self
            .get_value(
                "SELECT key FROM identities WHERE account = ?1 AND address = ?2",
                &[address],
            )
            .await?;
        found
            .map(|key| key.try_into())
            .transpose()
            .map_err(|_| damaged("an identity key is not 32 bytes"))
    }

    async fn delete_identity(&self, address: &str) -> StoreResult<()> {
        self.run(
            "DELETE FROM identities WHERE account = ?1 AND address = ?2",
            &[address],
        )
        .await
    }

    async fn get_session(&self, address: &str) -> StoreResult<Option<Bytes>> {
        let found = self
            .get_value(
                "SELECT record FROM sessions WHERE account = ?1 AND address = ?2",
                &[address],
            )
            .await?;
        Ok(found.map(Bytes::from))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> StoreResult<()> {
        self.put_value(PUT_SESSION, &[address], session).await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> StoreResult<()> {
        let rows = sessions
            .iter()
            .map(|(address, record)| (vec![pack(address)], record.clone()));
        self.put_values(PUT_SESSION, rows.collect()).await
    }

    async fn delete_session(&self, address: &str) -> StoreResult<()> {
        self.run(
            "DELETE FROM sessions WHERE account = ?1 AND address = ?2",
            &[address],
        )
        .await
    }

    async fn has_session(&self, address: &str) -> StoreResult<bool> {
        let (account, key) = (self.account, pack(address));
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM sessions WHERE account = ?1 AND address = ?2)",
                )?
                .query_row(params![account, &key[..]], |row| row.get(0))
        })
        .await
    }

    async fn has_signal_state_for_user(&self, user: &str) -> StoreResult<bool> {
        let (account, ranges) = (self.account, ranges_of(user));
        self.read(move |connection| {
            Ok(any_in(connection, "sessions", account, &ranges)?
                || any_in(connection, "identities", account, &ranges)?)
        })
        .await
    }

    async fn store_prekey(&self, id: u32, record: &[u8], uploaded: bool) -> StoreResult<()> {
        let (account, id, record) = (self.account, signed(id), record.to_vec());
        self.write(1, move |connection| {
            connection
                .prepare_cached(PUT_PREKEY)?
                .execute(params![account, id, record, uploaded])
                .map(drop)
        })
        .await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], uploaded: bool) -> StoreResult<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let (account, keys) = (self.account, keys.to_vec());
        self.write(keys.len(), move |connection| {
            let mut statement = connection.prepare_cached(PUT_PREKEY)?;
            for (id, record) in &keys {
                statement.execute(params![account, signed(*id), &record[..], uploaded])?;
            }
            Ok(())
        })
        .await
    }

    async fn load_prekey(&self, id: u32) -> StoreResult<Option<Bytes>> {
        let found = self
            .get_by_id(
                "SELECT record FROM prekeys WHERE account = ?1 AND id = ?2",
                id,
            )
            .await?;
        Ok(found.map(Bytes::from))
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> StoreResult<Vec<(u32, Bytes)>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let account = self.account;
        // Each id once, as upstream answers.
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        self.read_many(move |connection| {
            let mut statement = connection
                .prepare_cached("SELECT record FROM prekeys WHERE account = ?1 AND id = ?2")?;
            let mut found = Vec::with_capacity(ids.len());
            for &id in &ids {
                let record: Option<Vec<u8>> = statement
                    .query_row(params![account, signed(id)], |row| row.get(0))
                    .optional()?;
                if let Some(record) = record {
                    found.push((id, Bytes::from(record)));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn mark_prekeys_uploaded(&self, ids: &[u32]) -> StoreResult<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let (account, ids) = (self.account, ids.to_vec());
        self.write(ids.len(), move |connection| {
            let mut statement = connection
                .prepare_cached("UPDATE prekeys SET uploaded = 1 WHERE account = ?1 AND id = ?2")?;
            for id in ids {
                statement.execute(params![account, signed(id)])?;
            }
            Ok(())
        })
        .await
    }

    async fn remove_prekey(&self, id: u32) -> StoreResult<()> {
        self.run_by_id("DELETE FROM prekeys WHERE account = ?1 AND id = ?2", id)
            .await
    }

    async fn get_max_prekey_id(&self) -> StoreResult<u32> {
        let account = self.account;
        self.read(move |connection| {
            let newest: Option<i32> = connection
                .prepare_cached("SELECT max(id) FROM prekeys WHERE account = ?1")?
                .query_row(params![account], |row| row.get(0))?;
            Ok(newest.unwrap_or(0).cast_unsigned())
        })
        .await
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> StoreResult<()> {
        let (account, id, record) = (self.account, signed(id), record.to_vec());
        self.write(1, move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO signed_prekeys (account, id, record) VALUES (?1, ?2, ?3)
                     ON CONFLICT (account, id) DO UPDATE SET record = excluded.record",
                )?
                .execute(params![account, id, record])
                .map(drop)
        })
        .await
    }

    async fn load_signed_prekey(&self, id: u32) -> StoreResult<Option<Vec<u8>>> {
        self.get_by_id(
            "SELECT record FROM signed_prekeys WHERE account = ?1 AND id = ?2",
            id,
        )
        .await
    }

    async fn load_all_signed_prekeys(&self) -> StoreResult<Vec<(u32, Vec<u8>)>> {
        let account = self.account;
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT id, record FROM signed_prekeys WHERE account = ?1")?
                .query_map(params![account], |row| {
                    let id: i32 = row.get(0)?;
                    Ok((id.cast_unsigned(), row.get(1)?))
                })?
                .collect()
        })
        .await
    }

    async fn remove_signed_prekey(&self, id: u32) -> StoreResult<()> {
        self.run_by_id(
            "DELETE FROM signed_prekeys WHERE account = ?1 AND id = ?2",
            id,
        )
        .await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> StoreResult<()> {
        self.put_value(PUT_SENDER_KEY, &[address], record).await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> StoreResult<()> {
        let rows = sender_keys
            .iter()
            .map(|(address, record)| (vec![pack(address)], record.clone()));
        self.put_values(PUT_SENDER_KEY, rows.collect()).await
    }

    async fn get_sender_key(&self, address: &str) -> StoreResult<Option<Vec<u8>>> {
        self.get_value(
            "SELECT record FROM sender_keys WHERE account = ?1 AND address = ?2",
            &[address],
        )
        .await
    }

    async fn delete_sender_key(&self, address: &str) -> StoreResult<()> {
        self.run(
            "DELETE FROM sender_keys WHERE account = ?1 AND address = ?2",
            &[address],
        )
        .await
    }
}
