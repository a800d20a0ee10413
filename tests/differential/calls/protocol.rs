//! `ProtocolStore`.

use proptest::prelude::*;
use wacore::store::traits::{Backend, PendingInboundKey, PendingInboundRow};

use super::{Answer, calls};
use crate::differential::args::{
    Blob, DeviceList, DeviceStatus, Mapping, PendingKey, PendingRow, TcToken,
};
use crate::differential::names::{Name, Part};

calls! {
    /// The calls of `ProtocolStore`.
    Protocol on store {
        2 get_sender_key_devices(group: Name) = store.get_sender_key_devices(group).await;
        4 set_sender_key_status(group: Name, entries: Vec<DeviceStatus>)
            = store.set_sender_key_status(group, &entries).await;
        1 clear_sender_key_devices(group: Name) = store.clear_sender_key_devices(group).await;
        1 delete_sender_key_device_rows(devices: Vec<Name>)
            = store.delete_sender_key_device_rows(&devices).await;
        1 clear_all_sender_key_devices() = store.clear_all_sender_key_devices().await;
        2 get_lid_mapping(lid: Name) = store.get_lid_mapping(lid).await;
        2 get_pn_mapping(phone: Name) = store.get_pn_mapping(phone).await;
        3 put_lid_mapping(entry: Mapping) = store.put_lid_mapping(&entry).await;
        2 put_lid_mappings(entries: Vec<Mapping>) = store.put_lid_mappings(&entries).await;
        1 get_all_lid_mappings() = store.get_all_lid_mappings().await;
        3 save_base_key(address: Part, message: Part, key: Blob)
            = store.save_base_key(address, message, &key).await;
        3 has_same_base_key(address: Part, message: Part, key: Blob)
            = store.has_same_base_key(address, message, &key).await;
        1 delete_base_key(address: Part, message: Part) = store.delete_base_key(address, message).await;
        2 update_device_list(record: DeviceList) = store.update_device_list(record).await;
        2 update_device_lists(records: Vec<DeviceList>) = store.update_device_lists(records).await;
        2 get_devices(user: Name) = store.get_devices(user).await;
        1 delete_devices(user: Name) = store.delete_devices(user).await;
        2 get_group_metadata(group: Name) = store.get_group_metadata(group).await;
        2 put_group_metadata(group: Name, blob: Blob) = store.put_group_metadata(group, &blob).await;
        1 delete_group_metadata(group: Name) = store.delete_group_metadata(group).await;
        2 get_tc_token(jid: Name) = store.get_tc_token(jid).await;
        3 put_tc_token(jid: Name, entry: TcToken) = store.put_tc_token(jid, &entry).await;
        1 delete_tc_token(jid: Name) = store.delete_tc_token(jid).await;
        1 get_all_tc_token_jids() = store.get_all_tc_token_jids().await;
        1 delete_expired_tc_tokens(token_cutoff: i64, sender_cutoff: i64)
            = store.delete_expired_tc_tokens(token_cutoff, sender_cutoff).await;
        3 touch_tc_token_sender_timestamp(jid: Name, timestamp: i64)
            = store.touch_tc_token_sender_timestamp(jid, timestamp).await;
        3 store_received_tc_token(jid: Name, token: Blob, timestamp: i64)
            = store.store_received_tc_token(jid, &token, timestamp).await;
        3 store_sent_message(chat: Part, id: Part, payload: Blob)
            = store.store_sent_message(chat, id, &payload).await;
        3 take_sent_message(chat: Part, id: Part) = store.take_sent_message(chat, id).await;
        1 delete_expired_sent_messages(cutoff: i64) = store.delete_expired_sent_messages(cutoff).await;
        3 store_pending_inbound(key: PendingKey, message: Blob)
            = { let [chat, sender, id] = key; store.store_pending_inbound(chat, sender, id, &message).await };
        2 get_pending_inbound(key: PendingKey)
            = { let [chat, sender, id] = key; store.get_pending_inbound(chat, sender, id).await };
        2 delete_pending_inbound(key: PendingKey)
            = { let [chat, sender, id] = key; store.delete_pending_inbound(chat, sender, id).await };
        1 delete_expired_pending_inbound(cutoff: i64) = store.delete_expired_pending_inbound(cutoff).await;
        2 store_pending_inbound_batch(rows: Vec<PendingRow>)
            = store.store_pending_inbound_batch(&pending_rows(&rows)).await;
        1 delete_pending_inbound_batch(keys: Vec<PendingKey>)
            = store.delete_pending_inbound_batch(&pending_keys(&keys)).await;
    }
}

fn pending_rows<'a>(rows: &'a [([&'static str; 3], Vec<u8>)]) -> Vec<PendingInboundRow<'a>> {
    rows.iter()
        .map(|([chat, sender, id], message)| PendingInboundRow {
            chat,
            sender,
            id,
            message,
        })
        .collect()
}

fn pending_keys(keys: &[[&'static str; 3]]) -> Vec<PendingInboundKey<'static>> {
    keys.iter()
        .map(|[chat, sender, id]| PendingInboundKey { chat, sender, id })
        .collect()
}

impl Protocol {
    pub fn trail(&self) -> Vec<Self> {
        let pending = |key: &PendingKey| Self::get_pending_inbound { key: key.clone() };
        match self {
            Self::save_base_key {
                address,
                message,
                key,
            } => vec![Self::has_same_base_key {
                address: *address,
                message: *message,
                key: *key,
            }],
            Self::store_pending_inbound { key, .. } => vec![pending(key)],
            Self::store_pending_inbound_batch { rows } => {
                rows.iter().map(|row| pending(&row.key)).collect()
            }
            _ => Vec::new(),
        }
    }

    pub fn takings(&self) -> Vec<Self> {
        match self {
            Self::store_sent_message { chat, id, .. } => vec![Self::take_sent_message {
                chat: *chat,
                id: *id,
            }],
            _ => Vec::new(),
        }
    }

    pub fn expire_all() -> Vec<Self> {
        vec![
            Self::delete_expired_sent_messages { cutoff: i64::MAX },
            Self::delete_expired_pending_inbound { cutoff: i64::MAX },
            Self::delete_expired_tc_tokens {
                token_cutoff: i64::MAX,
                sender_cutoff: i64::MAX,
            },
        ]
    }

    pub fn reads_of_all_names() -> Vec<Self> {
        let mut reads = vec![
            Self::get_all_lid_mappings {},
            Self::get_all_tc_token_jids {},
        ];
        for name in Name::all() {
            reads.extend([
                Self::get_sender_key_devices { group: name },
                Self::get_lid_mapping { lid: name },
                Self::get_pn_mapping { phone: name },
                Self::get_devices { user: name },
                Self::get_group_metadata { group: name },
                Self::get_tc_token { jid: name },
            ]);
        }
        reads
    }
}
