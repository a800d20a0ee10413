//! Sync keys, versions and mutation MACs.

use std::collections::HashMap;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};
use wacore::appstate::hash::HashState;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::error::Result as StoreResult;
use wacore::store::traits::{AppStateSyncKey, AppSyncStore};

use super::error::{damaged, unfit};
use super::key::pack;
use super::{MANY, SqliteStore};
use crate::record::frame::{Reader, put_frame};

/// Length of the keys that the client derives from; of another length there is no usable key.
const SYNC_KEY_LEN: usize = 32;

/// `version u64 ‖ hash[128] ‖ fatal u8 ‖ n u32 ‖ (frame(index) ‖ frame(value))…`
pub(crate) fn write_state(state: &HashState) -> Option<Vec<u8>> {
    let HashState {
        version,
        hash,
        index_value_map,
        mac_mismatch_fatal,
    } = state;
    let mut bytes = Vec::with_capacity(160 + 96 * index_value_map.len());
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(hash);
    bytes.push(u8::from(*mac_mismatch_fatal));
    bytes.extend_from_slice(&u32::try_from(index_value_map.len()).ok()?.to_le_bytes());
    for (index, value) in index_value_map {
        put_frame(&mut bytes, index.as_bytes()).ok()?;
        put_frame(&mut bytes, value).ok()?;
    }
    Some(bytes)
}

pub(crate) fn read_state(bytes: &[u8]) -> Option<HashState> {
    let mut reader = Reader::new(bytes);
    let mut state = HashState {
        version: reader.u64()?,
        hash: reader.array()?,
        ..HashState::default()
    };
    state.mac_mismatch_fatal = reader.u8()? != 0;
    for _ in 0..reader.u32()? {
        let index = str::from_utf8(reader.frame()?).ok()?.to_owned();
        let value = reader.frame()?.to_vec();
        state.index_value_map.insert(index, value);
    }
    reader.end()?;
    Some(state)
}

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl AppSyncStore for SqliteStore {
    async fn get_sync_key(&self, key_id: &[u8]) -> StoreResult<Option<AppStateSyncKey>> {
        let (account, key_id) = (self.account, key_id.to_vec());
        let found: Option<AppStateSyncKey> = self
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT key_data, fingerprint, timestamp FROM sync_keys
                         WHERE account = ?1 AND id = ?2",
                    )?
                    .query_row(params![account, key_id], |row| {
                        Ok(AppStateSyncKey {
                            key_data: row.get(0)?,
                            fingerprint: row.get(1)?,
                            timestamp: row.get(2)?,
                        })
                    })
                    .optional()
            })
            .await?;
        // As upstream: the client asks for a key again that it can't use.
        Ok(found.filter(|key| key.key_data.len() == SYNC_KEY_LEN))
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> StoreResult<()> {
        let (account, key_id) = (self.account, key_id.to_vec());
        self.write(1, move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO sync_keys (account, id, key_data, fingerprint, timestamp)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (account, id) DO UPDATE SET key_data = excluded.key_data,
                     fingerprint = excluded.fingerprint, timestamp = excluded.timestamp",
                )?
                .execute(params![
                    account,
                    key_id,
                    key.key_data,
                    key.fingerprint,
                    key.timestamp
                ])
                .map(drop)
        })
        .await
    }

    async fn get_version(&self, name: &str) -> StoreResult<HashState> {
        let (account, name) = (self.account, pack(name));
        let found: Option<Vec<u8>> = self
            .read(move |connection| {
                connection
                    .prepare_cached("SELECT state FROM versions WHERE account = ?1 AND name = ?2")?
                    .query_row(params![account, &name[..]], |row| row.get(0))
                    .optional()
            })
            .await?;
        // Upstream takes a state that it can't read for none, for the sake of rows in an older form. Ours has no
        // older form: it is damage, and says so.
        match found {
            None => Ok(HashState::default()),
            Some(state) => {
                read_state(&state).ok_or_else(|| damaged("the state of a version can't be read"))
            }
        }
    }

    async fn set_version(&self, name: &str, state: HashState) -> StoreResult<()> {
        let (account, name) = (self.account, pack(name));
        let state = write_state(&state)
            .ok_or_else(|| unfit("a version's state is too large; sync it from the beginning"))?;
        self.write(1, move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO versions (account, name, state) VALUES (?1, ?2, ?3)
                     ON CONFLICT (account, name) DO UPDATE SET state = excluded.state",
                )?
                .execute(params![account, &name[..], state])
                .map(drop)
        })
        .await
    }

    async fn put_mutation_macs(
        &self,
        name: &str,
        version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> StoreResult<()> {
        if mutations.is_empty() {
            return Ok(());
        }
        let (account, name) = (self.account, pack(name));
        // SQLite's integers are signed: the same 64 bits.
        let version = version.cast_signed();
        let mutations = mutations.to_vec();
        self.write(mutations.len(), move |connection| {
            let mut statement = connection.prepare_cached(
                "INSERT INTO mutation_macs (account, name, index_mac, version, value_mac)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (account, name, index_mac) DO UPDATE SET version = excluded.version,
                 value_mac = excluded.value_mac",
            )?;
            for mutation in &mutations {
                statement.execute(params![
                    account,
                    &name[..],
                    mutation.index_mac,
                    version,
                    mutation.value_mac
                ])?;
            }
            Ok(())
        })
        .await
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        let (account, name, index_mac) = (self.account, pack(name), index_mac.to_vec());
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT value_mac FROM mutation_macs
                     WHERE account = ?1 AND name = ?2 AND index_mac = ?3",
                )?
                .query_row(params![account, &name[..], index_mac], |row| row.get(0))
                .optional()
        })
        .await
    }

    async fn get_mutation_macs(
        &self,
        name: &str,
        index_macs: &[[u8; 32]],
    ) -> StoreResult<HashMap<[u8; 32], Vec<u8>>> {
        if index_macs.is_empty() {
            return Ok(HashMap::new());
        }
        let (account, name, index_macs) = (self.account, pack(name), index_macs.to_vec());
        self.read_many(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT value_mac FROM mutation_macs
                 WHERE account = ?1 AND name = ?2 AND index_mac = ?3",
            )?;
            let mut found = HashMap::with_capacity(index_macs.len());
            for index_mac in index_macs {
                let value = statement
                    .query_row(params![account, &name[..], index_mac], |row| row.get(0))
                    .optional()?;
                if let Some(value) = value {
                    found.insert(index_mac, value);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> StoreResult<()> {
        if index_macs.is_empty() {
            return Ok(());
        }
        let (account, name, index_macs) = (self.account, pack(name), index_macs.to_vec());
        self.write(index_macs.len(), move |connection| {
            let mut statement = connection.prepare_cached(
                "DELETE FROM mutation_macs WHERE account = ?1 AND name = ?2 AND index_mac = ?3",
            )?;
            for index_mac in &index_macs {
                statement.execute(params![account, &name[..], index_mac])?;
            }
            Ok(())
        })
        .await
    }

    async fn clear_mutation_macs(&self, name: &str) -> StoreResult<()> {
        let (account, name) = (self.account, pack(name));
        self.write(MANY, move |connection| {
            connection
                .prepare_cached("DELETE FROM mutation_macs WHERE account = ?1 AND name = ?2")?
                .execute(params![account, &name[..]])
                .map(drop)
        })
        .await
    }

    async fn get_latest_sync_key_id(&self) -> StoreResult<Option<Vec<u8>>> {
        let account = self.account;
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT id FROM sync_keys WHERE account = ?1 AND length(key_data) = ?2
                     ORDER BY id DESC LIMIT 1",
                )?
                .query_row(params![account, SYNC_KEY_LEN as i64], |row| row.get(0))
                .optional()
        })
        .await
    }
}
