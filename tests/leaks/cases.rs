//! A call of every method with a canary in every argument.

use std::sync::Arc;

use wacore::appstate::hash::HashState;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::device::account_serde;
use wacore::store::error::Result;
use wacore::store::traits::{AppStateSyncKey, Backend};
use wacore::store::{CachedNoiseCert, CachedServerCertChain, Device};

use super::canaries::Planter;
use super::protocol;

/// Calls `method`. A method that reads finds a row whose every field is a canary.
pub async fn call(store: &dyn Backend, method: &str, p: &mut Planter) -> Result<()> {
    p.method(method);
    match method {
        "put_identity" => {
            let (address, key) = (p.address("address"), p.array("key"));
            store.put_identity(&address, key).await?;
        }
        "put_identities_batch" => {
            let row = (Arc::from(p.address("address")), p.array("key"));
            store.put_identities_batch(&[row]).await?;
        }
        "load_identity" => {
            let (address, key) = (p.address("address"), p.array("key"));
            if p.prepare {
                store.put_identity(&address, key).await?;
            }
            store.load_identity(&address).await?;
        }
        "put_session" => {
            let (address, record) = (p.address("address"), p.bytes("session", 60));
            store.put_session(&address, &record).await?;
        }
        "put_sessions_batch" => {
            let row = (
                Arc::from(p.address("address")),
                p.bytes("session", 60).into(),
            );
            store.put_sessions_batch(&[row]).await?;
        }
        "get_session" | "has_session" => {
            let (address, record) = (p.address("address"), p.bytes("session", 60));
            if p.prepare {
                store.put_session(&address, &record).await?;
            }
            match method {
                "get_session" => drop(store.get_session(&address).await?),
                _ => drop(store.has_session(&address).await?),
            }
        }
        "delete_identity" | "delete_session" | "delete_sender_key" => {
            let address = p.address("address");
            p.all_transient();
            match method {
                "delete_identity" => store.delete_identity(&address).await?,
                "delete_session" => store.delete_session(&address).await?,
                _ => store.delete_sender_key(&address).await?,
            }
        }
        "has_signal_state_for_user" => {
            let user = p.digits("user");
            p.transient();
            store.has_signal_state_for_user(&user).await?;
        }
        "store_prekey" | "load_prekey" | "store_prekeys_batch" | "load_prekeys_batch" => {
            let id = p.u32("id");
            p.clear("prekeys", "id");
            let record = p.bytes("record", 60);
            match method {
                "store_prekey" => store.store_prekey(id, &record, true).await?,
                "store_prekeys_batch" => {
                    store
                        .store_prekeys_batch(&[(id, record.into())], false)
                        .await?;
                }
                _ if p.prepare => store.store_prekey(id, &record, false).await?,
                "load_prekey" => drop(store.load_prekey(id).await?),
                _ => drop(store.load_prekeys_batch(&[id]).await?),
            }
            if p.prepare {
                store.load_prekey(id).await?;
                store.load_prekeys_batch(&[id]).await?;
            }
        }
        "mark_prekeys_uploaded" | "remove_prekey" | "remove_signed_prekey" => {
            let id = p.u32("id");
            p.transient();
            match method {
                "mark_prekeys_uploaded" => store.mark_prekeys_uploaded(&[id]).await?,
                "remove_prekey" => store.remove_prekey(id).await?,
                _ => store.remove_signed_prekey(id).await?,
            }
        }
        "store_signed_prekey" | "load_signed_prekey" => {
            let id = p.u32("id");
            p.clear("signed_prekeys", "id");
            let record = p.bytes("record", 60);
            if p.prepare || method == "store_signed_prekey" {
                store.store_signed_prekey(id, &record).await?;
            }
            store.load_signed_prekey(id).await?;
        }
        "put_sender_key" => {
            let (address, record) = (p.address("address"), p.bytes("record", 60));
            store.put_sender_key(&address, &record).await?;
        }
        "put_sender_keys_batch" => {
            let row = (
                Arc::from(p.address("address")),
                p.bytes("record", 60).into(),
            );
            store.put_sender_keys_batch(&[row]).await?;
        }
        "get_sender_key" => {
            let (address, record) = (p.address("address"), p.bytes("record", 60));
            if p.prepare {
                store.put_sender_key(&address, &record).await?;
            }
            store.get_sender_key(&address).await?;
        }
        "set_sync_key" | "get_sync_key" => {
            let key_id = p.bytes("key_id", 12);
            p.clear("app_state_keys", "key_id");
            let key = AppStateSyncKey {
                key_data: p.bytes("key_data", 32),
                fingerprint: p.bytes("fingerprint", 20),
                timestamp: p.time("timestamp"),
            };
            if p.prepare || method == "set_sync_key" {
                store.set_sync_key(&key_id, key).await?;
            }
            store.get_sync_key(&key_id).await?;
        }
        "set_version" | "get_version" => {
            let name = p.text("name");
            let state = HashState {
                version: p.u64("version"),
                hash: p.array("hash"),
                index_value_map: [(p.text("index"), p.bytes("value MAC", 32))].into(),
                mac_mismatch_fatal: true,
            };
            if p.prepare || method == "set_version" {
                store.set_version(&name, state).await?;
            }
            store.get_version(&name).await?;
        }
        "put_mutation_macs" | "get_mutation_mac" | "get_mutation_macs" => {
            let name = p.text("name");
            let version = p.u64("version");
            p.clear("app_state_mutation_macs", "version");
            let index_mac: [u8; 32] = p.array("index_mac");
            let mac = AppStateMutationMAC {
                index_mac: index_mac.to_vec(),
                value_mac: p.bytes("value_mac", 32),
            };
            if p.prepare || method == "put_mutation_macs" {
                store.put_mutation_macs(&name, version, &[mac]).await?;
            }
            match method {
                "get_mutation_macs" => drop(store.get_mutation_macs(&name, &[index_mac]).await?),
                _ => drop(store.get_mutation_mac(&name, &index_mac).await?),
            }
        }
        "delete_mutation_macs" | "clear_mutation_macs" => {
            let (name, index_mac) = (p.text("name"), p.bytes("index_mac", 32));
            p.all_transient();
            match method {
                "delete_mutation_macs" => store.delete_mutation_macs(&name, &[index_mac]).await?,
                _ => store.clear_mutation_macs(&name).await?,
            }
        }
        "save" => store.save(&device(p)).await?,
        "snapshot_db" => {
            let (name, content) = (p.text("name"), p.bytes("extra_content", 90));
            store.snapshot_db(&name, Some(&content)).await?;
        }
        // No argument, and no row of their own.
        "load" => drop(store.load().await?),
        "exists" => drop(store.exists().await?),
        // Where a device exists, upstream's SQLite store refuses a second one.
        "create" => drop(store.create().await),
        "resource_report" => drop(store.resource_report().await),
        "get_max_prekey_id" => drop(store.get_max_prekey_id().await?),
        "load_all_signed_prekeys" => drop(store.load_all_signed_prekeys().await?),
        "get_latest_sync_key_id" => drop(store.get_latest_sync_key_id().await?),
        "get_all_lid_mappings" => drop(store.get_all_lid_mappings().await?),
        "get_all_tc_token_jids" => drop(store.get_all_tc_token_jids().await?),
        "clear_all_sender_key_devices" => store.clear_all_sender_key_devices().await?,
        _ => protocol::call(store, method, p).await?,
    }
    Ok(())
}

/// A device with a canary in every field that is stored.
fn device(p: &mut Planter) -> Device {
    let mut device = sealed_store::testing::full_device();
    for (name, pair) in [
        ("noise_key", &device.noise_key),
        ("identity_key", &device.identity_key),
        ("signed_pre_key", &device.signed_pre_key),
    ] {
        p.given(
            &format!("{name} (private)"),
            &pair.private_key.serialize()[..],
        );
        p.given(
            &format!("{name} (public)"),
            pair.public_key.public_key_bytes(),
        );
    }
    device.pn = format!("{}:7@s.whatsapp.net", p.digits("pn")).parse().ok();
    device.lid = format!("{}:7@lid", p.digits("lid")).parse().ok();
    assert!(device.pn.is_some() && device.lid.is_some());
    device.registration_id = p.u32("registration_id");
    device.signed_pre_key_id = p.u32("signed_pre_key_id");
    device.signed_pre_key_signature = p.array("signed_pre_key_signature");
    device.adv_secret_key = p.array("adv_secret_key");
    device.account = account_serde::from_bytes(&[]).ok().map(|mut account| {
        account.details = Some(p.bytes("account details", 20));
        account.account_signature_key = Some(p.bytes("account key", 32));
        account.account_signature = Some(p.bytes("account signature", 64));
        account.device_signature = Some(p.bytes("device signature", 64));
        Arc::new(account)
    });
    device.push_name = p.text("push_name");
    device.app_version_primary = p.u32("app_version_primary");
    device.app_version_secondary = p.u32("app_version_secondary");
    device.app_version_tertiary = p.u32("app_version_tertiary");
    device.app_version_last_fetched_ms = p.time("app_version_last_fetched_ms");
    device.edge_routing_info = Some(p.bytes("edge_routing_info", 20));
    device.props_hash = Some(p.text("props_hash"));
    device.next_pre_key_id = p.u32("next_pre_key_id");
    device.first_unupload_pre_key_id = p.u32("first_unupload_pre_key_id");
    device.nct_salt = Some(p.bytes("nct_salt", 32));
    let mut certificate = |name: &str| CachedNoiseCert {
        key: p.array(&format!("{name} certificate")),
        not_before: p.time(&format!("{name} not_before")),
        not_after: p.time(&format!("{name} not_after")),
    };
    device.server_cert_chain = Some(CachedServerCertChain {
        intermediate: certificate("intermediate"),
        leaf: certificate("leaf"),
    });
    device.login_counter = p.u32("login_counter") as i32;
    device.last_signed_pre_key_rotation_ms = p.time("last_signed_pre_key_rotation_ms");
    device
}
