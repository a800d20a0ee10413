//! The calls of [`super::cases`] for the protocol's tables and message secrets.

use wacore::store::error::Result;
use wacore::store::traits::{
    Backend, DeviceInfo, DeviceListRecord, LidPnMappingEntry, MsgSecretEntry, PendingInboundKey,
    PendingInboundRow, TcTokenEntry,
};

use super::canaries::Planter;

/// Calls `method`.
pub async fn call(store: &dyn Backend, method: &str, p: &mut Planter) -> Result<()> {
    match method {
        "set_sender_key_status" | "get_sender_key_devices" => {
            let (group, device) = (p.text("group_jid"), p.address("device_jid"));
            if p.prepare || method == "set_sender_key_status" {
                store
                    .set_sender_key_status(&group, &[(&device, true)])
                    .await?;
            }
            store.get_sender_key_devices(&group).await?;
        }
        "clear_sender_key_devices" => {
            let group = p.text("group_jid");
            p.transient();
            store.clear_sender_key_devices(&group).await?;
        }
        "delete_sender_key_device_rows" => {
            let device = p.address("device_jid");
            p.all_transient();
            store.delete_sender_key_device_rows(&[&device]).await?;
        }
        "put_lid_mapping" | "put_lid_mappings" | "get_lid_mapping" | "get_pn_mapping" => {
            let lid = p.digits("lid");
            let phone_number = p.digits("phone_number");
            let learning_source = p.text("learning_source");
            let created_at = p.time("created_at");
            p.clear("lid_pn_mapping", "created_at");
            let updated_at = p.time("updated_at");
            p.clear("lid_pn_mapping", "updated_at");
            let entry = LidPnMappingEntry {
                lid: lid.clone(),
                phone_number: phone_number.clone(),
                created_at,
                updated_at,
                learning_source,
            };
            match method {
                "put_lid_mapping" => store.put_lid_mapping(&entry).await?,
                _ if p.prepare || method == "put_lid_mappings" => {
                    store.put_lid_mappings(&[entry]).await?;
                }
                _ => {}
            }
            match method {
                "get_pn_mapping" => drop(store.get_pn_mapping(&phone_number).await?),
                _ => drop(store.get_lid_mapping(&lid).await?),
            }
        }
        "save_base_key" | "has_same_base_key" => {
            let (address, id) = (p.address("address"), p.text("message_id"));
            let key = p.bytes("base_key", 33);
            if p.prepare || method == "save_base_key" {
                store.save_base_key(&address, &id, &key).await?;
            }
            store.has_same_base_key(&address, &id, &key).await?;
        }
        "delete_base_key" => {
            let (address, id) = (p.address("address"), p.text("message_id"));
            p.all_transient();
            store.delete_base_key(&address, &id).await?;
        }
        "update_device_list" | "update_device_lists" | "get_devices" => {
            let user = p.digits("user");
            let device = DeviceInfo::new(p.u32("device_id"), Some(p.u32("key_index")));
            let timestamp = p.time("timestamp");
            // Upstream's SQLite store cuts it to 32 bits.
            p.transient();
            let list = DeviceListRecord {
                user: user.clone(),
                devices: vec![device],
                timestamp,
                phash: Some(p.text("phash")),
                raw_id: Some(p.u32("raw_id")),
            };
            match method {
                "update_device_list" => store.update_device_list(list).await?,
                _ if p.prepare || method == "update_device_lists" => {
                    store.update_device_lists(vec![list]).await?;
                }
                _ => {}
            }
            store.get_devices(&user).await?;
        }
        "delete_devices" => {
            let user = p.digits("user");
            p.transient();
            store.delete_devices(&user).await?;
        }
        "put_group_metadata" | "get_group_metadata" => {
            let (group, blob) = (p.text("group_jid"), p.bytes("blob", 60));
            if p.prepare || method == "put_group_metadata" {
                store.put_group_metadata(&group, &blob).await?;
            }
            store.get_group_metadata(&group).await?;
        }
        "delete_group_metadata" => {
            let group = p.text("group_jid");
            p.transient();
            store.delete_group_metadata(&group).await?;
        }
        "put_tc_token" | "get_tc_token" | "store_received_tc_token" => {
            let (jid, token) = (p.digits("jid"), p.bytes("token", 40));
            let token_timestamp = p.time("token_timestamp");
            p.clear("tc_tokens", "token_timestamp");
            if method == "store_received_tc_token" {
                store
                    .store_received_tc_token(&jid, &token, token_timestamp)
                    .await?;
                return Ok(());
            }
            let sender_timestamp = Some(p.time("sender_timestamp"));
            p.clear("tc_tokens", "sender_timestamp");
            let entry = TcTokenEntry {
                token,
                token_timestamp,
                sender_timestamp,
            };
            if p.prepare || method == "put_tc_token" {
                store.put_tc_token(&jid, &entry).await?;
            }
            store.get_tc_token(&jid).await?;
        }
        "touch_tc_token_sender_timestamp" => {
            let jid = p.digits("jid");
            let at = p.time("sender_timestamp");
            p.clear("tc_tokens", "sender_timestamp");
            store.touch_tc_token_sender_timestamp(&jid, at).await?;
        }
        "delete_tc_token" => {
            let jid = p.digits("jid");
            p.transient();
            store.delete_tc_token(&jid).await?;
        }
        "store_sent_message" | "take_sent_message" => {
            let (chat, id) = (p.text("chat_jid"), p.text("message_id"));
            let payload = p.bytes("payload", 90);
            if p.prepare || method == "store_sent_message" {
                store.store_sent_message(&chat, &id, &payload).await?;
            }
            if method == "take_sent_message" {
                store.take_sent_message(&chat, &id).await?;
                if p.prepare {
                    store.store_sent_message(&chat, &id, &payload).await?;
                }
            }
        }
        "store_pending_inbound" | "store_pending_inbound_batch" | "get_pending_inbound" => {
            let (chat, sender, id) = (p.text("chat"), p.address("sender"), p.text("id"));
            let message = p.bytes("message", 90);
            match method {
                "store_pending_inbound_batch" => {
                    let row = PendingInboundRow {
                        chat: &chat,
                        sender: &sender,
                        id: &id,
                        message: &message,
                    };
                    store.store_pending_inbound_batch(&[row]).await?;
                }
                _ if p.prepare || method == "store_pending_inbound" => {
                    store
                        .store_pending_inbound(&chat, &sender, &id, &message)
                        .await?;
                }
                _ => {}
            }
            store.get_pending_inbound(&chat, &sender, &id).await?;
        }
        "delete_pending_inbound" | "delete_pending_inbound_batch" => {
            let (chat, sender, id) = (p.text("chat"), p.address("sender"), p.text("id"));
            p.all_transient();
            let key = PendingInboundKey {
                chat: &chat,
                sender: &sender,
                id: &id,
            };
            match method {
                "delete_pending_inbound_batch" => {
                    store.delete_pending_inbound_batch(&[key]).await?;
                }
                _ => store.delete_pending_inbound(&chat, &sender, &id).await?,
            }
        }
        "delete_expired_tc_tokens" => {
            let (token, sender) = (p.cutoff("token_cutoff"), p.cutoff("sender_cutoff"));
            store.delete_expired_tc_tokens(token, sender).await?;
        }
        "delete_expired_sent_messages" => {
            let cutoff = p.cutoff("cutoff");
            store.delete_expired_sent_messages(cutoff).await?;
        }
        "delete_expired_pending_inbound" => {
            let cutoff = p.cutoff("cutoff");
            store.delete_expired_pending_inbound(cutoff).await?;
        }
        "delete_expired_msg_secrets" => {
            let cutoff = p.cutoff("cutoff");
            store.delete_expired_msg_secrets(cutoff).await?;
        }
        "put_msg_secret" | "put_msg_secrets" | "get_msg_secret" | "get_msg_secret_with_ts" => {
            msg_secret(store, method, p).await?;
        }
        unknown => panic!("{unknown} has no case: give it one, with a canary in every argument"),
    }
    Ok(())
}

async fn msg_secret(store: &dyn Backend, method: &str, p: &mut Planter) -> Result<()> {
    let (chat, sender, id) = (p.text("chat"), p.address("sender"), p.text("msg_id"));
    let secret: [u8; 32] = p.array("secret");
    if method == "put_msg_secret" {
        return store.put_msg_secret(&chat, &sender, &id, &secret).await;
    }
    let expires_at = p.time("expires_at");
    p.clear("msg_secrets", "expires_at");
    let message_ts = p.time("message_ts");
    p.clear("msg_secrets", "message_ts");
    if p.prepare || method == "put_msg_secrets" {
        let entry = MsgSecretEntry {
            chat: chat.as_str().into(),
            sender: sender.as_str().into(),
            msg_id: id.as_str().into(),
            secret,
            expires_at,
            message_ts,
        };
        store.put_msg_secrets(vec![entry]).await?;
    }
    match method {
        "get_msg_secret" => drop(store.get_msg_secret(&chat, &sender, &id).await?),
        _ => drop(store.get_msg_secret_with_ts(&chat, &sender, &id).await?),
    }
    Ok(())
}
