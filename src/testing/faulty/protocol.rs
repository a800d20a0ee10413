//! `ProtocolStore`, passed through.

use async_trait::async_trait;
use wacore::store::error::Result;
use wacore::store::traits::{
    Backend, DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow,
    ProtocolStore, TcTokenEntry,
};

use super::FaultyBackend;

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl<B: Backend + ?Sized> ProtocolStore for FaultyBackend<B> {
    async fn get_sender_key_devices(&self, group_jid: &str) -> Result<Vec<(String, bool)>> {
        self.around(
            "get_sender_key_devices",
            self.inner.get_sender_key_devices(group_jid),
        )
        .await
    }

    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> Result<()> {
        self.around(
            "set_sender_key_status",
            self.inner.set_sender_key_status(group_jid, entries),
        )
        .await
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> Result<()> {
        self.around(
            "clear_sender_key_devices",
            self.inner.clear_sender_key_devices(group_jid),
        )
        .await
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> Result<()> {
        self.around(
            "delete_sender_key_device_rows",
            self.inner.delete_sender_key_device_rows(device_jids),
        )
        .await
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        self.around(
            "clear_all_sender_key_devices",
            self.inner.clear_all_sender_key_devices(),
        )
        .await
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        self.around("get_lid_mapping", self.inner.get_lid_mapping(lid))
            .await
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        self.around("get_pn_mapping", self.inner.get_pn_mapping(phone))
            .await
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        self.around("put_lid_mapping", self.inner.put_lid_mapping(entry))
            .await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> Result<()> {
        self.around("put_lid_mappings", self.inner.put_lid_mappings(entries))
            .await
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        self.around("get_all_lid_mappings", self.inner.get_all_lid_mappings())
            .await
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> Result<()> {
        self.around(
            "save_base_key",
            self.inner.save_base_key(address, message_id, base_key),
        )
        .await
    }

    async fn has_same_base_key(
        &self,
        address: &str,
        message_id: &str,
        current_base_key: &[u8],
    ) -> Result<bool> {
        self.around(
            "has_same_base_key",
            self.inner
                .has_same_base_key(address, message_id, current_base_key),
        )
        .await
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> Result<()> {
        self.around(
            "delete_base_key",
            self.inner.delete_base_key(address, message_id),
        )
        .await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<()> {
        self.around("update_device_list", self.inner.update_device_list(record))
            .await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> Result<()> {
        self.around(
            "update_device_lists",
            self.inner.update_device_lists(records),
        )
        .await
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>> {
        self.around("get_devices", self.inner.get_devices(user))
            .await
    }

    async fn delete_devices(&self, user: &str) -> Result<()> {
        self.around("delete_devices", self.inner.delete_devices(user))
            .await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> Result<Option<Vec<u8>>> {
        self.around(
            "get_group_metadata",
            self.inner.get_group_metadata(group_jid),
        )
        .await
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> Result<()> {
        self.around(
            "put_group_metadata",
            self.inner.put_group_metadata(group_jid, blob),
        )
        .await
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> Result<()> {
        self.around(
            "delete_group_metadata",
            self.inner.delete_group_metadata(group_jid),
        )
        .await
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        self.around("get_tc_token", self.inner.get_tc_token(jid))
            .await
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        self.around("put_tc_token", self.inner.put_tc_token(jid, entry))
            .await
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<()> {
        self.around("delete_tc_token", self.inner.delete_tc_token(jid))
            .await
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>> {
        self.around("get_all_tc_token_jids", self.inner.get_all_tc_token_jids())
            .await
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        self.around(
            "delete_expired_tc_tokens",
            self.inner
                .delete_expired_tc_tokens(token_cutoff, sender_cutoff),
        )
        .await
    }

    async fn touch_tc_token_sender_timestamp(
        &self,
        jid: &str,
        sender_timestamp: i64,
    ) -> Result<()> {
        self.around(
            "touch_tc_token_sender_timestamp",
            self.inner
                .touch_tc_token_sender_timestamp(jid, sender_timestamp),
        )
        .await
    }

    async fn store_received_tc_token(
        &self,
        jid: &str,
        token: &[u8],
        token_timestamp: i64,
    ) -> Result<()> {
        self.around(
            "store_received_tc_token",
            self.inner
                .store_received_tc_token(jid, token, token_timestamp),
        )
        .await
    }

    async fn store_sent_message(
        &self,
        chat_jid: &str,
        message_id: &str,
        payload: &[u8],
    ) -> Result<()> {
        self.around(
            "store_sent_message",
            self.inner.store_sent_message(chat_jid, message_id, payload),
        )
        .await
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>> {
        self.around(
            "take_sent_message",
            self.inner.take_sent_message(chat_jid, message_id),
        )
        .await
    }

    async fn delete_expired_sent_messages(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.around(
            "delete_expired_sent_messages",
            self.inner.delete_expired_sent_messages(cutoff_timestamp),
        )
        .await
    }

    async fn store_pending_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
        message: &[u8],
    ) -> Result<()> {
        self.around(
            "store_pending_inbound",
            self.inner.store_pending_inbound(chat, sender, id, message),
        )
        .await
    }

    async fn get_pending_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
    ) -> Result<Option<Vec<u8>>> {
        self.around(
            "get_pending_inbound",
            self.inner.get_pending_inbound(chat, sender, id),
        )
        .await
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<()> {
        self.around(
            "delete_pending_inbound",
            self.inner.delete_pending_inbound(chat, sender, id),
        )
        .await
    }

    async fn delete_expired_pending_inbound(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.around(
            "delete_expired_pending_inbound",
            self.inner.delete_expired_pending_inbound(cutoff_timestamp),
        )
        .await
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        self.around(
            "store_pending_inbound_batch",
            self.inner.store_pending_inbound_batch(rows),
        )
        .await
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        self.around(
            "delete_pending_inbound_batch",
            self.inner.delete_pending_inbound_batch(keys),
        )
        .await
    }
}
