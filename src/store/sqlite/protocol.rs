//! Sender-key devices, LID mappings, base keys, device lists, group metadata, trusted-contact tokens, sent
//! messages and pending inbound messages.

use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, params};
use wacore::store::error::{Result as StoreResult, StoreError};
use wacore::store::traits::{
    DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore,
    TcTokenEntry,
};

use super::key::{Key, pack, unpack};
use super::{MANY, SqliteStore, now};

const MAPPING: &str = "SELECT lid, phone, created_at, updated_at, source FROM lid_mappings";
const PUT_DEVICE_LIST: &str = "INSERT INTO device_lists
        (account, user, devices, timestamp, phash, raw_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (account, user) DO UPDATE SET devices = excluded.devices,
        timestamp = excluded.timestamp, phash = excluded.phash, raw_id = excluded.raw_id";
const PUT_PENDING: &str = "INSERT OR REPLACE INTO pending_inbound
        (account, chat, sender, message_id, message, inserted_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const DELETE_PENDING: &str = "DELETE FROM pending_inbound
    WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND message_id = ?4";

/// The text in a column.
fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let bytes = row.get_ref(column)?.as_bytes()?;
    unpack(bytes).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            Type::Blob,
            "it is no text that this store writes; restore the database from a backup".into(),
        )
    })
}

fn mapping(row: &Row<'_>) -> rusqlite::Result<LidPnMappingEntry> {
    Ok(LidPnMappingEntry {
        lid: text(row, 0)?,
        phone_number: text(row, 1)?,
        created_at: row.get(2)?,
        updated_at: row.get(3)?,
        learning_source: text(row, 4)?,
    })
}

/// A device list as it is stored.
struct ListRow {
    user: Key,
    devices: Vec<u8>,
    timestamp: i64,
    phash: Option<Key>,
    raw_id: Option<u32>,
}

impl ListRow {
    fn new(record: &DeviceListRecord) -> StoreResult<Self> {
        Ok(Self {
            user: pack(&record.user),
            devices: serde_json::to_vec(&record.devices)
                .map_err(|error| StoreError::Serialization(Box::new(error)))?,
            timestamp: record.timestamp,
            phash: record.phash.as_deref().map(pack),
            raw_id: record.raw_id,
        })
    }
}

impl SqliteStore {
    async fn put_lists(&self, rows: Vec<ListRow>) -> StoreResult<()> {
        let account = self.account;
        self.write(rows.len(), move |connection| {
            let mut statement = connection.prepare_cached(PUT_DEVICE_LIST)?;
            for row in &rows {
                statement.execute(params![
                    account,
                    &row.user[..],
                    row.devices,
                    row.timestamp,
                    row.phash.as_deref(),
                    row.raw_id
                ])?;
            }
            Ok(())
        })
        .await
    }

    async fn put_pending(&self, rows: Vec<([Key; 3], Vec<u8>)>) -> StoreResult<()> {
        let (account, now) = (self.account, now());
        self.write(rows.len(), move |connection| {
            let mut statement = connection.prepare_cached(PUT_PENDING)?;
            for ([chat, sender, id], message) in &rows {
                statement.execute(params![
                    account,
                    &chat[..],
                    &sender[..],
                    &id[..],
                    message,
                    now
                ])?;
            }
            Ok(())
        })
        .await
    }

    async fn delete_pending(&self, keys: Vec<[Key; 3]>) -> StoreResult<()> {
        let account = self.account;
        self.write(keys.len(), move |connection| {
            let mut statement = connection.prepare_cached(DELETE_PENDING)?;
            for [chat, sender, id] in &keys {
                statement.execute(params![account, &chat[..], &sender[..], &id[..]])?;
            }
            Ok(())
        })
        .await
    }

    /// Runs a deletion by (account, time), and says how many rows went.
    pub(super) async fn delete_older(&self, sql: &'static str, cutoff: i64) -> StoreResult<u32> {
        let account = self.account;
        let gone = self
            .write(MANY, move |connection| {
                connection
                    .prepare_cached(sql)?
                    .execute(params![account, cutoff])
            })
            .await?;
        Ok(u32::try_from(gone).unwrap_or(u32::MAX))
    }

    /// Runs a statement on (account, key).
    async fn run_on(&self, sql: &'static str, key: &str) -> StoreResult<()> {
        let (account, key) = (self.account, pack(key));
        self.write(1, move |connection| {
            connection
                .prepare_cached(sql)?
                .execute(params![account, &key[..]])
                .map(drop)
        })
        .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl ProtocolStore for SqliteStore {
    async fn get_sender_key_devices(&self, group_jid: &str) -> StoreResult<Vec<(String, bool)>> {
        let (account, group) = (self.account, pack(group_jid));
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT device, has_key FROM sender_key_devices
                     WHERE account = ?1 AND group_jid = ?2",
                )?
                .query_map(params![account, &group[..]], |row| {
                    Ok((text(row, 0)?, row.get(1)?))
                })?
                .collect()
        })
        .await
    }

    async fn set_sender_key_status(
        &self,
        group_jid: &str,
        entries: &[(&str, bool)],
    ) -> StoreResult<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let (account, group) = (self.account, pack(group_jid));
        let entries: Vec<(Key, bool)> = entries
            .iter()
            .map(|(device, has_key)| (pack(device), *has_key))
            .collect();
        self.write(entries.len(), move |connection| {
            let mut statement = connection.prepare_cached(
                "INSERT INTO sender_key_devices (account, group_jid, device, has_key)
                 VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (account, group_jid, device) DO UPDATE SET has_key = excluded.has_key",
            )?;
            for (device, has_key) in &entries {
                statement.execute(params![account, &group[..], &device[..], has_key])?;
            }
            Ok(())
        })
        .await
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> StoreResult<()> {
        self.run_on(
            "DELETE FROM sender_key_devices WHERE account = ?1 AND group_jid = ?2",
            group_jid,
        )
        .await
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> StoreResult<()> {
        if device_jids.is_empty() {
            return Ok(());
        }
        let account = self.account;
        let devices: Vec<Key> = device_jids.iter().map(|device| pack(device)).collect();
        self.write(devices.len(), move |connection| {
            let mut statement = connection.prepare_cached(
                "DELETE FROM sender_key_devices WHERE account = ?1 AND device = ?2",
            )?;
            for device in &devices {
                statement.execute(params![account, &device[..]])?;
            }
            Ok(())
        })
        .await
    }

    async fn clear_all_sender_key_devices(&self) -> StoreResult<()> {
        let account = self.account;
        self.write(MANY, move |connection| {
            connection
                .prepare_cached("DELETE FROM sender_key_devices WHERE account = ?1")?
                .execute(params![account])
                .map(drop)
        })
        .await
    }

    async fn get_lid_mapping(&self, lid: &str) -> StoreResult<Option<LidPnMappingEntry>> {
        let (account, lid) = (self.account, pack(lid));
        self.read(move |connection| {
            connection
                .prepare_cached(&format!("{MAPPING} WHERE account = ?1 AND lid = ?2"))?
                .query_row(params![account, &lid[..]], mapping)
                .optional()
        })
        .await
    }

    async fn get_pn_mapping(&self, phone: &str) -> StoreResult<Option<LidPnMappingEntry>> {
        let (account, phone) = (self.account, pack(phone));
        self.read(move |connection| {
            connection
                .prepare_cached(&format!(
                    "{MAPPING} WHERE account = ?1 AND phone = ?2
                     ORDER BY updated_at DESC, rowid LIMIT 1"
                ))?
                .query_row(params![account, &phone[..]], mapping)
                .optional()
        })
        .await
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> StoreResult<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> StoreResult<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let (account, entries) = (self.account, entries.to_vec());
        self.write(entries.len(), move |connection| {
            // Most are known already: then the index of phone numbers needs no change.
            let mut known = connection.prepare_cached(
                "UPDATE lid_mappings SET updated_at = ?4, source = ?5
                 WHERE account = ?1 AND lid = ?2 AND phone = ?3",
            )?;
            // The time at which a mapping was first learned stays.
            let mut put = connection.prepare_cached(
                "INSERT INTO lid_mappings (account, lid, phone, created_at, updated_at, source)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (account, lid) DO UPDATE SET phone = excluded.phone,
                 updated_at = excluded.updated_at, source = excluded.source",
            )?;
            for entry in &entries {
                let (lid, phone) = (pack(&entry.lid), pack(&entry.phone_number));
                let source = pack(&entry.learning_source);
                let updated = params![account, &lid[..], &phone[..], entry.updated_at, &source[..]];
                if known.execute(updated)? == 0 {
                    put.execute(params![
                        account,
                        &lid[..],
                        &phone[..],
                        entry.created_at,
                        entry.updated_at,
                        &source[..]
                    ])?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn get_all_lid_mappings(&self) -> StoreResult<Vec<LidPnMappingEntry>> {
        let account = self.account;
        self.read_many(move |connection| {
            connection
                .prepare_cached(&format!("{MAPPING} WHERE account = ?1"))?
                .query_map(params![account], mapping)?
                .collect()
        })
        .await
    }

    async fn save_base_key(
        &self,
        address: &str,
        message_id: &str,
        base_key: &[u8],
    ) -> StoreResult<()> {
        let (account, address, id) = (self.account, pack(address), pack(message_id));
        let base_key = base_key.to_vec();
        self.write(1, move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO base_keys (account, address, message_id, base_key)
                     VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (account, address, message_id)
                     DO UPDATE SET base_key = excluded.base_key",
                )?
                .execute(params![account, &address[..], &id[..], base_key])
                .map(drop)
        })
        .await
    }

    async fn has_same_base_key(
        &self,
        address: &str,
        message_id: &str,
        current_base_key: &[u8],
    ) -> StoreResult<bool> {
        let (account, address, id) = (self.account, pack(address), pack(message_id));
        let current = current_base_key.to_vec();
        self.read(move |connection| {
            let stored: Option<Vec<u8>> = connection
                .prepare_cached(
                    "SELECT base_key FROM base_keys
                     WHERE account = ?1 AND address = ?2 AND message_id = ?3",
                )?
                .query_row(params![account, &address[..], &id[..]], |row| row.get(0))
                .optional()?;
            Ok(stored.is_some_and(|stored| stored == current))
        })
        .await
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> StoreResult<()> {
        let (account, address, id) = (self.account, pack(address), pack(message_id));
        self.write(1, move |connection| {
            connection
                .prepare_cached(
                    "DELETE FROM base_keys
                     WHERE account = ?1 AND address = ?2 AND message_id = ?3",
                )?
                .execute(params![account, &address[..], &id[..]])
                .map(drop)
        })
        .await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> StoreResult<()> {
        self.put_lists(vec![ListRow::new(&record)?]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> StoreResult<()> {
        if records.is_empty() {
            return Ok(());
        }
        let rows = records.iter().map(ListRow::new).collect::<Result<_, _>>()?;
        self.put_lists(rows).await
    }

    async fn get_devices(&self, user: &str) -> StoreResult<Option<DeviceListRecord>> {
        let (account, key) = (self.account, pack(user));
        let found = self
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT devices, timestamp, phash, raw_id FROM device_lists
                         WHERE account = ?1 AND user = ?2",
                    )?
                    .query_row(params![account, &key[..]], |row| {
                        let phash = match row.get_ref(2)?.data_type() {
                            Type::Null => None,
                            _ => Some(text(row, 2)?),
                        };
                        let devices: Vec<u8> = row.get(0)?;
                        Ok((devices, row.get(1)?, phash, row.get(3)?))
                    })
                    .optional()
            })
            .await?;
        let Some((devices, timestamp, phash, raw_id)) = found else {
            return Ok(None);
        };
        Ok(Some(DeviceListRecord {
            user: user.to_owned(),
            devices: serde_json::from_slice(&devices)
                .map_err(|error| StoreError::Serialization(Box::new(error)))?,
            timestamp,
            phash,
            raw_id,
        }))
    }

    async fn delete_devices(&self, user: &str) -> StoreResult<()> {
        self.run_on(
            "DELETE FROM device_lists WHERE account = ?1 AND user = ?2",
            user,
        )
        .await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> StoreResult<Option<Vec<u8>>> {
        let (account, group) = (self.account, pack(group_jid));
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT info FROM group_metadata WHERE account = ?1 AND group_jid = ?2",
                )?
                .query_row(params![account, &group[..]], |row| row.get(0))
                .optional()
        })
        .await
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> StoreResult<()> {
        let (account, group, blob) = (self.account, pack(group_jid), blob.to_vec());
        self.write(1, move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO group_metadata (account, group_jid, info) VALUES (?1, ?2, ?3)
                     ON CONFLICT (account, group_jid) DO UPDATE SET info = excluded.info",
                )?
                .execute(params![account, &group[..], blob])
                .map(drop)
        })
        .await
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> StoreResult<()> {
        self.run_on(
            "DELETE FROM group_metadata WHERE account = ?1 AND group_jid = ?2",
            group_jid,
        )
        .await
    }

    async fn get_tc_token(&self, jid: &str) -> StoreResult<Option<TcTokenEntry>> {
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

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> StoreResult<()> {
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

    async fn delete_tc_token(&self, jid: &str) -> StoreResult<()> {
        self.run_on("DELETE FROM tc_tokens WHERE account = ?1 AND jid = ?2", jid)
            .await
    }

    async fn get_all_tc_token_jids(&self) -> StoreResult<Vec<String>> {
        let account = self.account;
        self.read_many(move |connection| {
            connection
                .prepare_cached("SELECT jid FROM tc_tokens WHERE account = ?1")?
                .query_map(params![account], |row| text(row, 0))?
                .collect()
        })
        .await
    }

    async fn delete_expired_tc_tokens(
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

    async fn touch_tc_token_sender_timestamp(
        &self,
        jid: &str,
        sender_timestamp: i64,
    ) -> StoreResult<()> {
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

    async fn store_received_tc_token(
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

    async fn store_sent_message(
        &self,
        chat_jid: &str,
        message_id: &str,
        payload: &[u8],
    ) -> StoreResult<()> {
        let (account, chat, id) = (self.account, pack(chat_jid), pack(message_id));
        let (payload, now) = (payload.to_vec(), now());
        self.write(1, move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO sent_messages (account, chat, message_id, payload, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (account, chat, message_id) DO UPDATE SET
                     payload = excluded.payload, created_at = excluded.created_at",
                )?
                .execute(params![account, &chat[..], &id[..], payload, now])
                .map(drop)
        })
        .await
    }

    async fn take_sent_message(
        &self,
        chat_jid: &str,
        message_id: &str,
    ) -> StoreResult<Option<Vec<u8>>> {
        let (account, chat, id) = (self.account, pack(chat_jid), pack(message_id));
        self.write(1, move |connection| {
            connection
                .prepare_cached(
                    "DELETE FROM sent_messages
                     WHERE account = ?1 AND chat = ?2 AND message_id = ?3 RETURNING payload",
                )?
                .query_row(params![account, &chat[..], &id[..]], |row| row.get(0))
                .optional()
        })
        .await
    }

    async fn delete_expired_sent_messages(&self, cutoff_timestamp: i64) -> StoreResult<u32> {
        self.delete_older(
            "DELETE FROM sent_messages WHERE account = ?1 AND created_at < ?2",
            cutoff_timestamp,
        )
        .await
    }

    async fn store_pending_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
        message: &[u8],
    ) -> StoreResult<()> {
        let key = [pack(chat), pack(sender), pack(id)];
        self.put_pending(vec![(key, message.to_vec())]).await
    }

    async fn get_pending_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
    ) -> StoreResult<Option<Vec<u8>>> {
        let account = self.account;
        let (chat, sender, id) = (pack(chat), pack(sender), pack(id));
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT message FROM pending_inbound
                     WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND message_id = ?4",
                )?
                .query_row(params![account, &chat[..], &sender[..], &id[..]], |row| {
                    row.get(0)
                })
                .optional()
        })
        .await
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> StoreResult<()> {
        self.delete_pending(vec![[pack(chat), pack(sender), pack(id)]])
            .await
    }

    async fn delete_expired_pending_inbound(&self, cutoff_timestamp: i64) -> StoreResult<u32> {
        self.delete_older(
            "DELETE FROM pending_inbound WHERE account = ?1 AND inserted_at < ?2",
            cutoff_timestamp,
        )
        .await
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> StoreResult<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let rows = rows.iter().map(|row| {
            let PendingInboundRow {
                chat,
                sender,
                id,
                message,
            } = *row;
            ([pack(chat), pack(sender), pack(id)], message.to_vec())
        });
        self.put_pending(rows.collect()).await
    }

    async fn delete_pending_inbound_batch(
        &self,
        keys: &[PendingInboundKey<'_>],
    ) -> StoreResult<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let keys = keys.iter().map(|key| {
            let PendingInboundKey { chat, sender, id } = *key;
            [pack(chat), pack(sender), pack(id)]
        });
        self.delete_pending(keys.collect()).await
    }
}
