//! Sender-key devices, LID mappings, base keys, device lists, group metadata, trusted-contact tokens, sent
//! messages and pending inbound messages.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};
use wacore::store::error::Result as StoreResult;
use wacore::store::traits::{
    DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore,
    TcTokenEntry,
};

use super::device_lists::ListRow;
use super::key::{Key, pack};
use super::rows::text;
use super::{MANY, SqliteStore, now};

const PUT_PENDING: &str = "INSERT OR REPLACE INTO pending_inbound
        (account, chat, sender, message_id, message, inserted_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const DELETE_PENDING: &str = "DELETE FROM pending_inbound
    WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND message_id = ?4";

impl SqliteStore {
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
        let (account, group) = (self.account, pack(group_jid));
        self.write(MANY, move |connection| {
            connection
                .prepare_cached(
                    "DELETE FROM sender_key_devices WHERE account = ?1 AND group_jid = ?2",
                )?
                .execute(params![account, &group[..]])
                .map(drop)
        })
        .await
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> StoreResult<()> {
        let keys = device_jids.iter().map(|device| vec![pack(device)]);
        self.run_on(
            "DELETE FROM sender_key_devices WHERE account = ?1 AND device = ?2",
            keys.collect(),
        )
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
        self.mapping_of_lid(lid).await
    }

    async fn get_pn_mapping(&self, phone: &str) -> StoreResult<Option<LidPnMappingEntry>> {
        self.mapping_of_phone(phone).await
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> StoreResult<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> StoreResult<()> {
        self.put_mappings(entries).await
    }

    async fn get_all_lid_mappings(&self) -> StoreResult<Vec<LidPnMappingEntry>> {
        self.all_mappings().await
    }

    async fn save_base_key(
        &self,
        address: &str,
        message_id: &str,
        base_key: &[u8],
    ) -> StoreResult<()> {
        self.put_value(
            "INSERT INTO base_keys (account, address, message_id, base_key)
             VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (account, address, message_id)
             DO UPDATE SET base_key = excluded.base_key",
            &[address, message_id],
            base_key,
        )
        .await
    }

    async fn has_same_base_key(
        &self,
        address: &str,
        message_id: &str,
        current_base_key: &[u8],
    ) -> StoreResult<bool> {
        let stored = self
            .get_value(
                "SELECT base_key FROM base_keys
                 WHERE account = ?1 AND address = ?2 AND message_id = ?3",
                &[address, message_id],
            )
            .await?;
        Ok(stored.is_some_and(|stored| stored == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> StoreResult<()> {
        self.run(
            "DELETE FROM base_keys WHERE account = ?1 AND address = ?2 AND message_id = ?3",
            &[address, message_id],
        )
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
        self.device_list(user).await
    }

    async fn delete_devices(&self, user: &str) -> StoreResult<()> {
        self.run(
            "DELETE FROM device_lists WHERE account = ?1 AND user = ?2",
            &[user],
        )
        .await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> StoreResult<Option<Vec<u8>>> {
        self.get_value(
            "SELECT info FROM group_metadata WHERE account = ?1 AND group_jid = ?2",
            &[group_jid],
        )
        .await
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> StoreResult<()> {
        self.put_value(
            "INSERT INTO group_metadata (account, group_jid, info) VALUES (?1, ?2, ?3)
             ON CONFLICT (account, group_jid) DO UPDATE SET info = excluded.info",
            &[group_jid],
            blob,
        )
        .await
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> StoreResult<()> {
        self.run(
            "DELETE FROM group_metadata WHERE account = ?1 AND group_jid = ?2",
            &[group_jid],
        )
        .await
    }

    async fn get_tc_token(&self, jid: &str) -> StoreResult<Option<TcTokenEntry>> {
        self.token(jid).await
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> StoreResult<()> {
        self.put_token(jid, entry).await
    }

    async fn delete_tc_token(&self, jid: &str) -> StoreResult<()> {
        self.run(
            "DELETE FROM tc_tokens WHERE account = ?1 AND jid = ?2",
            &[jid],
        )
        .await
    }

    async fn get_all_tc_token_jids(&self) -> StoreResult<Vec<String>> {
        self.token_jids().await
    }

    async fn delete_expired_tc_tokens(
        &self,
        token_cutoff: i64,
        sender_cutoff: i64,
    ) -> StoreResult<u32> {
        self.delete_expired_tokens(token_cutoff, sender_cutoff)
            .await
    }

    async fn touch_tc_token_sender_timestamp(
        &self,
        jid: &str,
        sender_timestamp: i64,
    ) -> StoreResult<()> {
        self.touch_token(jid, sender_timestamp).await
    }

    async fn store_received_tc_token(
        &self,
        jid: &str,
        token: &[u8],
        token_timestamp: i64,
    ) -> StoreResult<()> {
        self.store_received_token(jid, token, token_timestamp).await
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
        self.get_value(
            "SELECT message FROM pending_inbound
             WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND message_id = ?4",
            &[chat, sender, id],
        )
        .await
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> StoreResult<()> {
        self.run(DELETE_PENDING, &[chat, sender, id]).await
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
            vec![pack(chat), pack(sender), pack(id)]
        });
        self.run_on(DELETE_PENDING, keys.collect()).await
    }
}
