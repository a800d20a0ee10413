//! The rows that a client keeps besides its Signal state: app-state sync, mappings, tokens, caches.
//!
//! They are a function of the party's label, so that they can be compared after a reopen.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wacore::appstate::hash::HashState;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::libsignal::protocol::{GenericSignedPreKey, PreKeyRecord, SignedPreKeyRecord};
use wacore::store::traits::{
    AppStateSyncKey, DeviceInfo, DeviceListRecord, LidPnMappingEntry, PendingInboundRow,
};
use whatsapp_rust::waproto::whatsapp::ADVSignedDeviceIdentity;

use super::{GROUP, NOW, PREKEYS, Party, Secrets};

const COLLECTION: &str = "regular_high";

/// Bytes that look random and are the same each time for the same `what`.
pub(super) fn made_up<const N: usize>(what: &str) -> [u8; N] {
    let mut seed = [0u8; 32];
    for (i, byte) in what.bytes().enumerate() {
        seed[i % 32] = seed[i % 32].wrapping_mul(31).wrapping_add(byte);
    }
    StdRng::from_seed(seed).random()
}

struct Records {
    sync_key_id: [u8; 6],
    sync_key: AppStateSyncKey,
    version: HashState,
    mutations: Vec<AppStateMutationMAC>,
    mappings: Vec<LidPnMappingEntry>,
    /// Contact, token, when it came.
    tokens: Vec<(String, [u8; 32], i64)>,
    devices: DeviceListRecord,
    group_metadata: String,
    /// Address, message id, base key.
    base_key: (String, String, [u8; 33]),
    /// Chat, sender, message id, message.
    pending: Vec<[String; 4]>,
    /// Chat, message id, message, its secret.
    sent: (String, String, String, [u8; 32]),
    nct_salt: Vec<u8>,
    account: ADVSignedDeviceIdentity,
}

impl Records {
    fn of(party: &Party) -> Self {
        let me = &party.label;
        let contacts: Vec<(String, String)> = (0..3)
            .map(|i| u64::from_le_bytes(made_up(&format!("{me}, contact {i}"))))
            .map(|n| {
                (
                    format!("2{:014}", n % 10u64.pow(14)),
                    format!("4477{:08}", n % 10u64.pow(8)),
                )
            })
            .collect();
        let mapping = |(i, (lid, phone_number)): (usize, &(String, String))| LidPnMappingEntry {
            lid: lid.clone(),
            phone_number: phone_number.clone(),
            created_at: NOW + i as i64,
            updated_at: NOW + 60 + i as i64,
            learning_source: "usync".into(),
        };
        let pending = |i: usize| {
            let text = format!("{me} has yet to process pending message {i}");
            let lid = format!("{}@lid", contacts[i].0);
            [
                lid.clone(),
                lid,
                format!("3A{}", hex(&made_up::<9>(&text))),
                text,
            ]
        };
        Self {
            sync_key_id: made_up(&format!("{me}, sync key id")),
            sync_key: AppStateSyncKey {
                key_data: made_up::<32>(&format!("{me}, sync key")).to_vec(),
                fingerprint: made_up::<24>(&format!("{me}, sync fingerprint")).to_vec(),
                timestamp: NOW,
            },
            version: HashState {
                version: 42,
                hash: made_up(&format!("{me}, app state hash")),
                ..HashState::default()
            },
            mutations: (0..5)
                .map(|i| AppStateMutationMAC {
                    index_mac: made_up::<32>(&format!("{me}, index MAC {i}")).to_vec(),
                    value_mac: made_up::<32>(&format!("{me}, value MAC {i}")).to_vec(),
                })
                .collect(),
            mappings: contacts.iter().enumerate().map(mapping).collect(),
            tokens: (contacts.iter().zip(1..))
                .map(|((lid, _), i)| (lid.clone(), made_up(&format!("{me}, token {i}")), NOW + i))
                .collect(),
            devices: DeviceListRecord {
                user: contacts[0].0.clone(),
                devices: vec![DeviceInfo::new(0, None), DeviceInfo::new(17, Some(4))],
                timestamp: NOW,
                phash: Some(format!("2:{}", hex(&made_up::<6>(&format!("{me}, phash"))))),
                raw_id: Some(1_234_567),
            },
            group_metadata: format!(
                r#"{{"participants":["{}","{}"],"subject":"The friends of {me}"}}"#,
                party.jid, contacts[0].1
            ),
            base_key: (
                format!("{}:17@lid.0", contacts[1].0),
                format!("3EB0{}", hex(&made_up::<9>(&format!("{me}, retried id")))),
                made_up(&format!("{me}, base key")),
            ),
            pending: (0..2).map(pending).collect(),
            sent: (
                format!("{}@lid", contacts[2].0),
                format!("3EB0{}", hex(&made_up::<9>(&format!("{me}, sent id")))),
                format!("{me} keeps this message in case that it is asked for again"),
                made_up(&format!("{me}, secret of the sent message")),
            ),
            nct_salt: made_up::<32>(&format!("{me}, nct salt")).to_vec(),
            account: ADVSignedDeviceIdentity {
                details: Some(made_up::<40>(&format!("{me}, details")).to_vec()),
                account_signature_key: Some(made_up::<32>(&format!("{me}, account key")).to_vec()),
                account_signature: Some(made_up::<64>(&format!("{me}, account sig")).to_vec()),
                device_signature: Some(made_up::<64>(&format!("{me}, device sig")).to_vec()),
            },
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Writes one or a few rows of everything that is not Signal state.
pub async fn bookkeeping(party: &Party, secrets: &mut Secrets) -> Result<()> {
    let (store, records) = (&party.backend, Records::of(party));

    store
        .set_sync_key(&records.sync_key_id, records.sync_key.clone())
        .await?;
    store
        .set_version(COLLECTION, records.version.clone())
        .await?;
    store
        .put_mutation_macs(COLLECTION, 42, &records.mutations)
        .await?;
    store.put_lid_mappings(&records.mappings).await?;
    for (contact, token, at) in &records.tokens {
        store
            .touch_tc_token_sender_timestamp(contact, at - 5)
            .await?;
        store.store_received_tc_token(contact, token, *at).await?;
    }
    store
        .update_device_lists(vec![records.devices.clone()])
        .await?;
    store
        .put_group_metadata(GROUP, records.group_metadata.as_bytes())
        .await?;
    let (address, retried, base_key) = &records.base_key;
    store.save_base_key(address, retried, base_key).await?;
    let pending: Vec<_> = records.pending.iter().map(row).collect();
    store.store_pending_inbound_batch(&pending).await?;
    let (chat, id, message, secret) = &records.sent;
    store
        .store_sent_message(chat, id, message.as_bytes())
        .await?;
    store
        .put_msg_secret(chat, &party.lid.to_non_ad_string(), id, secret)
        .await?;
    let salt = records.nct_salt.clone();
    let account = records.account.clone().into();
    let edit = party.manager.modify_device(|device| {
        device.nct_salt = Some(salt);
        device.account = Some(account);
        device.edge_routing_info = Some(b"edge routing info".to_vec());
    });
    edit.await;
    party.manager.flush().await?;

    let me = &party.label;
    secrets.address(COLLECTION);
    secrets.address(chat);
    secrets.address(id);
    secrets.messages.push(message.clone().into_bytes());
    secrets.key(format!("{me}, secret of the sent message"), secret);
    for LidPnMappingEntry {
        lid, phone_number, ..
    } in records.mappings
    {
        secrets.address(lid);
        secrets.address(phone_number);
    }
    secrets.address(address);
    secrets.address(retried);
    for [chat, sender, id, message] in records.pending {
        for address in [chat, sender, id] {
            secrets.address(address);
        }
        secrets.messages.push(message.into_bytes());
    }
    secrets.messages.push(records.group_metadata.into_bytes());
    secrets.key(format!("{me}, sync key"), &records.sync_key.key_data);
    secrets.key(
        format!("{me}, sync key fingerprint"),
        &records.sync_key.fingerprint,
    );
    secrets.key(format!("{me}, app state hash"), &records.version.hash);
    for mac in &records.mutations {
        secrets.key(format!("{me}, index MAC"), &mac.index_mac);
        secrets.key(format!("{me}, value MAC"), &mac.value_mac);
    }
    for (_, token, _) in &records.tokens {
        secrets.key(format!("{me}, tc token"), token);
    }
    secrets.key(
        format!("{me}, participant hash"),
        records.devices.phash.unwrap_or_default().as_bytes(),
    );
    secrets.key(format!("{me}, base key"), base_key);
    secrets.key(format!("{me}, nct salt"), &records.nct_salt);
    secrets.key(
        format!("{me}, account key"),
        &records.account.account_signature_key.unwrap_or_default(),
    );
    Ok(())
}

fn row([chat, sender, id, message]: &[String; 4]) -> PendingInboundRow<'_> {
    let message = message.as_bytes();
    PendingInboundRow {
        chat,
        sender,
        id,
        message,
    }
}

/// Reads back what [`bookkeeping`] wrote, and compares it.
pub async fn verify_bookkeeping(party: &Party) -> Result<()> {
    let (store, records) = (&party.backend, Records::of(party));
    macro_rules! same {
        ($found:expr, $expected:expr) => {{
            let (found, expected) = ($found, $expected);
            ensure!(
                found == expected,
                "{}: {found:?} is not {expected:?}",
                stringify!($found)
            );
        }};
    }

    let key = store
        .get_sync_key(&records.sync_key_id)
        .await?
        .unwrap_or_default();
    same!(key.key_data, records.sync_key.key_data);
    same!(key.fingerprint, records.sync_key.fingerprint);
    same!(key.timestamp, records.sync_key.timestamp);
    same!(
        store.get_latest_sync_key_id().await?,
        Some(records.sync_key_id.to_vec())
    );

    let state = store.get_version(COLLECTION).await?;
    same!(state.version, records.version.version);
    same!(state.hash, records.version.hash);
    let unknown = store.get_version("regular_low").await?;
    same!((unknown.version, unknown.hash), (0, [0; 128]));
    for mac in &records.mutations {
        let found = store.get_mutation_mac(COLLECTION, &mac.index_mac).await?;
        same!(found.as_ref(), Some(&mac.value_mac));
    }
    let index_macs: Vec<_> = (records.mutations.iter())
        .map(|mac| mac.index_mac.clone().try_into().unwrap_or_default())
        .collect();
    same!(
        store
            .get_mutation_macs(COLLECTION, &index_macs)
            .await?
            .len(),
        index_macs.len()
    );

    let view = |m: LidPnMappingEntry| {
        (
            m.lid,
            m.phone_number,
            m.created_at,
            m.updated_at,
            m.learning_source,
        )
    };
    for mapping in &records.mappings {
        let expected = Some(view(mapping.clone()));
        same!(
            store.get_lid_mapping(&mapping.lid).await?.map(view),
            expected.clone()
        );
        same!(
            store.get_pn_mapping(&mapping.phone_number).await?.map(view),
            expected
        );
    }
    same!(
        store.get_all_lid_mappings().await?.len(),
        records.mappings.len()
    );

    for (contact, token, at) in &records.tokens {
        let found = store.get_tc_token(contact).await?;
        let found = found.map(|t| (t.token, t.token_timestamp, t.sender_timestamp));
        same!(found, Some((token.to_vec(), *at, Some(at - 5))));
    }
    let mut contacts = store.get_all_tc_token_jids().await?;
    let mut expected: Vec<_> = records.tokens.iter().map(|token| token.0.clone()).collect();
    contacts.sort();
    expected.sort();
    same!(contacts, expected);

    let devices = store.get_devices(&records.devices.user).await?;
    same!(
        format!("{devices:?}"),
        format!("{:?}", Some(&records.devices))
    );
    same!(
        store.get_group_metadata(GROUP).await?,
        Some(records.group_metadata.into_bytes())
    );
    let (address, id, base_key) = &records.base_key;
    same!(store.has_same_base_key(address, id, base_key).await?, true);
    same!(store.has_same_base_key(address, id, &[5; 33]).await?, false);
    for [chat, sender, id, message] in &records.pending {
        let found = store.get_pending_inbound(chat, sender, id).await?;
        same!(found, Some(message.clone().into_bytes()));
    }

    // Sent messages can only be taken, so this one is put back.
    let (chat, id, message, secret) = &records.sent;
    let sent = store.take_sent_message(chat, id).await?;
    same!(sent.as_deref(), Some(message.as_bytes()));
    same!(store.take_sent_message(chat, id).await?, None);
    store
        .store_sent_message(chat, id, message.as_bytes())
        .await?;
    let found = store
        .get_msg_secret(chat, &party.lid.to_non_ad_string(), id)
        .await?;
    same!(found.as_deref(), Some(&secret[..]));

    let device = party.manager.get_device_snapshot();
    same!(device.nct_salt.as_ref(), Some(&records.nct_salt));
    same!(device.account.as_deref(), Some(&records.account));
    same!(
        device.edge_routing_info.as_deref(),
        Some(&b"edge routing info"[..])
    );

    // What `introduce` left: all prekeys but the few that were used, and the signed ones.
    let ids: Vec<u32> = (1..=PREKEYS).collect();
    let prekeys = store.load_prekeys_batch(&ids).await?;
    ensure!(
        !device.server_has_prekeys || prekeys.len() > ids.len() / 2,
        "prekeys are missing"
    );
    for (id, record) in prekeys {
        same!(PreKeyRecord::deserialize(&record)?.id()?, id.into());
    }
    let signed: HashMap<_, _> = store.load_all_signed_prekeys().await?.into_iter().collect();
    for id in 1..=device.signed_pre_key_id {
        // The first one is in the device alone, until another one takes its place.
        if device.signed_pre_key_id > 1 {
            let record = signed.get(&id).context("a signed prekey is missing")?;
            same!(SignedPreKeyRecord::deserialize(record)?.id()?, id.into());
        }
    }
    Ok(())
}
