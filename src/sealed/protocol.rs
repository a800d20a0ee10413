//! Sender-key devices, LID mappings, base keys, device lists, group metadata, trusted-contact tokens,
//! sent messages and pending inbound messages.

use async_trait::async_trait;
use wacore::store::error::Result as StoreResult;
use wacore::store::traits::{
    Backend, DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow,
    ProtocolStore, TcTokenEntry,
};

use super::rows::MappingKey;
use super::{SealedBackend, nonce};
use crate::error::SealError;
use crate::record::Table;

impl<B: Backend + ?Sized> SealedBackend<B> {
    async fn get_mapping(
        &self,
        asked: MappingKey<'_>,
        row: Option<LidPnMappingEntry>,
    ) -> StoreResult<Option<LidPnMappingEntry>> {
        let Some(row) = row else { return Ok(None) };
        Ok(self
            .open_row(Table::LidMapping, |sealer| {
                sealer.open_mapping_of(asked, &row)
            })
            .await?)
    }

    fn pending_key(&self, name: [&str; 3]) -> Result<[String; 3], SealError> {
        let [chat, sender, id] = name;
        self.with(|sealer| sealer.pending_key(chat, sender, id))
    }
}

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl<B: Backend + ?Sized> ProtocolStore for SealedBackend<B> {
    async fn get_sender_key_devices(&self, group_jid: &str) -> StoreResult<Vec<(String, bool)>> {
        let group = self.with(|sealer| sealer.sender_key_group(group_jid))?;
        let rows = self.inner.get_sender_key_devices(&group).await?;
        Ok(self
            .open_slices(
                Table::SenderKeyDevice,
                &rows,
                |sealer, (device, has_key)| Ok((sealer.read_sender_key_device(device)?, *has_key)),
            )
            .await?)
    }

    async fn set_sender_key_status(
        &self,
        group_jid: &str,
        entries: &[(&str, bool)],
    ) -> StoreResult<()> {
        let group = self.with(|sealer| sealer.sender_key_group(group_jid))?;
        let rows = self
            .name_slices(entries, |sealer, (device, has_key)| {
                Ok((sealer.sender_key_device(device)?, *has_key))
            })
            .await?;
        let rows: Vec<(&str, bool)> = rows
            .iter()
            .map(|(device, has_key)| (device.as_str(), *has_key))
            .collect();
        self.inner.set_sender_key_status(&group, &rows).await
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> StoreResult<()> {
        let group = self.with(|sealer| sealer.sender_key_group(group_jid))?;
        self.inner.clear_sender_key_devices(&group).await
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> StoreResult<()> {
        let devices = self
            .name_slices(device_jids, |sealer, device| {
                sealer.sender_key_device(device)
            })
            .await?;
        let devices: Vec<&str> = devices.iter().map(String::as_str).collect();
        self.inner.delete_sender_key_device_rows(&devices).await
    }

    async fn clear_all_sender_key_devices(&self) -> StoreResult<()> {
        self.inner.clear_all_sender_key_devices().await
    }

    async fn get_lid_mapping(&self, lid: &str) -> StoreResult<Option<LidPnMappingEntry>> {
        let asked = MappingKey::Lid(lid);
        let key = self.with(|sealer| sealer.mapping_key(asked))?;
        let row = self.inner.get_lid_mapping(&key).await?;
        self.get_mapping(asked, row).await
    }

    async fn get_pn_mapping(&self, phone: &str) -> StoreResult<Option<LidPnMappingEntry>> {
        let asked = MappingKey::Phone(phone);
        let key = self.with(|sealer| sealer.mapping_key(asked))?;
        let row = self.inner.get_pn_mapping(&key).await?;
        self.get_mapping(asked, row).await
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> StoreResult<()> {
        let nonce = nonce()?;
        let row = self.with(|sealer| sealer.seal_mapping(entry, &nonce))?;
        self.inner.put_lid_mapping(&row).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> StoreResult<()> {
        let rows = self
            .seal_slices(entries, |sealer, entry, nonce| {
                sealer.seal_mapping(entry, nonce)
            })
            .await?;
        self.inner.put_lid_mappings(&rows).await
    }

    async fn get_all_lid_mappings(&self) -> StoreResult<Vec<LidPnMappingEntry>> {
        let rows = self.inner.get_all_lid_mappings().await?;
        Ok(self
            .open_slices(Table::LidMapping, &rows, |sealer, row| {
                sealer.open_mapping(row)
            })
            .await?)
    }

    async fn save_base_key(
        &self,
        address: &str,
        message_id: &str,
        base_key: &[u8],
    ) -> StoreResult<()> {
        let (row, sealed) = self.with(|sealer| {
            Ok((
                sealer.base_key_row(address, message_id)?,
                sealer.seal_base_key(address, message_id, base_key)?,
            ))
        })?;
        let newest = sealed.first().map_or(&[][..], Vec::as_slice);
        self.inner.save_base_key(&row.0, &row.1, newest).await
    }

    async fn has_same_base_key(
        &self,
        address: &str,
        message_id: &str,
        current_base_key: &[u8],
    ) -> StoreResult<bool> {
        for _ in 0..2 {
            let (row, candidates) = self.with(|sealer| {
                Ok((
                    sealer.base_key_row(address, message_id)?,
                    sealer.seal_base_key(address, message_id, current_base_key)?,
                ))
            })?;
            // The oldest first: a row that is resealed meanwhile goes from an older to a newer one.
            for candidate in candidates.iter().rev() {
                if self
                    .inner
                    .has_same_base_key(&row.0, &row.1, candidate)
                    .await?
                {
                    return Ok(true);
                }
            }
            // Somebody else may have sealed it under a newer key, which no row tells here.
            if !self.shared.account.reload_if_changed().await? {
                break;
            }
        }
        Ok(false)
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> StoreResult<()> {
        let row = self.with(|sealer| sealer.base_key_row(address, message_id))?;
        self.inner.delete_base_key(&row.0, &row.1).await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> StoreResult<()> {
        let nonce = nonce()?;
        let row = self.with(|sealer| sealer.seal_device_list(&record, &nonce))?;
        self.inner.update_device_list(row).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> StoreResult<()> {
        let rows = self
            .seal_slices(&records, |sealer, record, nonce| {
                sealer.seal_device_list(record, nonce)
            })
            .await?;
        self.inner.update_device_lists(rows).await
    }

    async fn get_devices(&self, user: &str) -> StoreResult<Option<DeviceListRecord>> {
        let key = self.with(|sealer| sealer.device_list_key(user))?;
        let Some(row) = self.inner.get_devices(&key).await? else {
            return Ok(None);
        };
        Ok(self
            .open_row(Table::DeviceList, |sealer| {
                sealer.open_device_list(user, &row)
            })
            .await?)
    }

    async fn delete_devices(&self, user: &str) -> StoreResult<()> {
        let key = self.with(|sealer| sealer.device_list_key(user))?;
        self.inner.delete_devices(&key).await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> StoreResult<Option<Vec<u8>>> {
        let key = self.with(|sealer| sealer.group_key(group_jid))?;
        let Some(sealed) = self.inner.get_group_metadata(&key).await? else {
            return Ok(None);
        };
        Ok(self
            .open_row(Table::GroupMetadata, |sealer| {
                sealer.open_group(&key, group_jid, &sealed)
            })
            .await?)
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> StoreResult<()> {
        let nonce = nonce()?;
        let (key, sealed) = self.with(|sealer| sealer.seal_group(group_jid, blob, &nonce))?;
        self.inner.put_group_metadata(&key, &sealed).await
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> StoreResult<()> {
        let key = self.with(|sealer| sealer.group_key(group_jid))?;
        self.inner.delete_group_metadata(&key).await
    }

    async fn get_tc_token(&self, jid: &str) -> StoreResult<Option<TcTokenEntry>> {
        let key = self.with(|sealer| sealer.tc_token_key(jid))?;
        let Some(row) = self.inner.get_tc_token(&key).await? else {
            return Ok(None);
        };
        let entry = self
            .open_row(Table::TcToken, |sealer| {
                sealer.open_tc_token(&key, jid, &row)
            })
            .await?;
        if entry.is_none() {
            // Left in place, a forged time would make newer-wins refuse every later token. Not what
            // was stored meanwhile: that is a good one.
            let now = self.inner.get_tc_token(&key).await?;
            if now.is_some_and(|now| now.token == row.token) {
                self.inner.delete_tc_token(&key).await?;
            }
        }
        Ok(entry)
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> StoreResult<()> {
        let TcTokenEntry {
            token,
            token_timestamp,
            sender_timestamp,
        } = entry;
        let nonce = nonce()?;
        let (key, token) = self.with(|sealer| {
            let key = sealer.tc_token_key(jid)?;
            let sealed = sealer.seal_tc_token(&key, jid, token, *token_timestamp, &nonce)?;
            Ok((key, sealed))
        })?;
        let row = TcTokenEntry {
            token,
            token_timestamp: *token_timestamp,
            sender_timestamp: *sender_timestamp,
        };
        self.inner.put_tc_token(&key, &row).await
    }

    async fn delete_tc_token(&self, jid: &str) -> StoreResult<()> {
        let key = self.with(|sealer| sealer.tc_token_key(jid))?;
        self.inner.delete_tc_token(&key).await
    }

    async fn get_all_tc_token_jids(&self) -> StoreResult<Vec<String>> {
        let keys = self.inner.get_all_tc_token_jids().await?;
        Ok(self
            .open_slices(Table::TcToken, &keys, |sealer, key| {
                sealer.read_tc_token_key(key)
            })
            .await?)
    }

    async fn delete_expired_tc_tokens(
        &self,
        token_cutoff: i64,
        sender_cutoff: i64,
    ) -> StoreResult<u32> {
        self.inner
            .delete_expired_tc_tokens(token_cutoff, sender_cutoff)
            .await
    }

    async fn touch_tc_token_sender_timestamp(
        &self,
        jid: &str,
        sender_timestamp: i64,
    ) -> StoreResult<()> {
        let key = self.with(|sealer| sealer.tc_token_key(jid))?;
        self.inner
            .touch_tc_token_sender_timestamp(&key, sender_timestamp)
            .await
    }

    async fn store_received_tc_token(
        &self,
        jid: &str,
        token: &[u8],
        token_timestamp: i64,
    ) -> StoreResult<()> {
        let nonce = nonce()?;
        let (key, sealed) = self.with(|sealer| {
            let key = sealer.tc_token_key(jid)?;
            let sealed = sealer.seal_tc_token(&key, jid, token, token_timestamp, &nonce)?;
            Ok((key, sealed))
        })?;
        self.inner
            .store_received_tc_token(&key, &sealed, token_timestamp)
            .await
    }

    async fn store_sent_message(
        &self,
        chat_jid: &str,
        message_id: &str,
        payload: &[u8],
    ) -> StoreResult<()> {
        let nonce = nonce()?;
        let (key, sealed) = self.with(|sealer| {
            let key = sealer.sent_key(chat_jid, message_id)?;
            let sealed = sealer.seal_sent(&key, chat_jid, message_id, payload, &nonce)?;
            Ok((key, sealed))
        })?;
        let [chat, id] = &key;
        self.inner.store_sent_message(chat, id, &sealed).await
    }

    async fn take_sent_message(
        &self,
        chat_jid: &str,
        message_id: &str,
    ) -> StoreResult<Option<Vec<u8>>> {
        let key = self.with(|sealer| sealer.sent_key(chat_jid, message_id))?;
        let [chat, id] = &key;
        let Some(sealed) = self.inner.take_sent_message(chat, id).await? else {
            return Ok(None);
        };
        let opened = self
            .opening(Table::SentMessage, |sealer| {
                sealer.open_sent(&key, chat_jid, message_id, &sealed)
            })
            .await;
        match opened {
            Ok(payload) => Ok(Some(payload)),
            Err(error) => {
                // Taking deletes before we can open: what does not open is not lost by looking.
                self.inner.store_sent_message(chat, id, &sealed).await?;
                Err(error.into())
            }
        }
    }

    async fn delete_expired_sent_messages(&self, cutoff_timestamp: i64) -> StoreResult<u32> {
        self.inner
            .delete_expired_sent_messages(cutoff_timestamp)
            .await
    }

    async fn store_pending_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
        message: &[u8],
    ) -> StoreResult<()> {
        let nonce = nonce()?;
        let (key, sealed) = self.with(|sealer| {
            let key = sealer.pending_key(chat, sender, id)?;
            let sealed = sealer.seal_pending(&key, [chat, sender, id], message, &nonce)?;
            Ok((key, sealed))
        })?;
        let [chat, sender, id] = &key;
        self.inner
            .store_pending_inbound(chat, sender, id, &sealed)
            .await
    }

    async fn get_pending_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
    ) -> StoreResult<Option<Vec<u8>>> {
        let name = [chat, sender, id];
        let key = self.pending_key(name)?;
        let [chat, sender, id] = &key;
        let Some(sealed) = self.inner.get_pending_inbound(chat, sender, id).await? else {
            return Ok(None);
        };
        Ok(self
            .open_row(Table::PendingInbound, |sealer| {
                sealer.open_pending(&key, name, &sealed)
            })
            .await?)
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> StoreResult<()> {
        let [chat, sender, id] = self.pending_key([chat, sender, id])?;
        self.inner.delete_pending_inbound(&chat, &sender, &id).await
    }

    async fn delete_expired_pending_inbound(&self, cutoff_timestamp: i64) -> StoreResult<u32> {
        self.inner
            .delete_expired_pending_inbound(cutoff_timestamp)
            .await
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> StoreResult<()> {
        let sealed = self
            .seal_slices(rows, |sealer, row, nonce| {
                let PendingInboundRow {
                    chat,
                    sender,
                    id,
                    message,
                } = *row;
                let key = sealer.pending_key(chat, sender, id)?;
                let sealed = sealer.seal_pending(&key, [chat, sender, id], message, nonce)?;
                Ok((key, sealed))
            })
            .await?;
        let rows: Vec<PendingInboundRow<'_>> = sealed
            .iter()
            .map(|([chat, sender, id], message)| PendingInboundRow {
                chat,
                sender,
                id,
                message,
            })
            .collect();
        self.inner.store_pending_inbound_batch(&rows).await
    }

    async fn delete_pending_inbound_batch(
        &self,
        keys: &[PendingInboundKey<'_>],
    ) -> StoreResult<()> {
        let blinded = self
            .name_slices(keys, |sealer, key| {
                let PendingInboundKey { chat, sender, id } = *key;
                sealer.pending_key(chat, sender, id)
            })
            .await?;
        let keys: Vec<PendingInboundKey<'_>> = blinded
            .iter()
            .map(|[chat, sender, id]| PendingInboundKey { chat, sender, id })
            .collect();
        self.inner.delete_pending_inbound_batch(&keys).await
    }
}
