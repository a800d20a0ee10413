//! One row of each table, as the inner store gets it.

use std::collections::HashMap;
use std::sync::Arc;

use secrecy::SecretBox;
use serde_json::{Value, json};
use wacore::appstate::hash::HashState;
use wacore::store::Device;
use wacore::store::traits::{
    AppStateSyncKey, DeviceInfo, DeviceListRecord, LidPnMappingEntry, MsgSecretEntry, TcTokenEntry,
};

use super::{Fixed, Inputs, bytes, hex_of};
use crate::keyring::AccountKeys;
use crate::options::SealOptions;
use crate::record::{DataKey, Nonce, Table, TableKeys};
use crate::sealed::Sealer;
use crate::sealed::rows::{
    CANARY_KEY, Canary, MappingKey, SECOND_HALF, SignalTable, read_device, write_device,
};

impl Inputs<'_> {
    /// What an open account holds: in each table, 32 equal bytes as its data key.
    fn account(&self) -> AccountKeys {
        let tables = Table::ALL
            .into_iter()
            .map(|table| {
                let byte = 0x80 + u8::try_from(table.number()).unwrap();
                let key = SecretBox::new(Box::new([byte; 32]));
                let generation = self.0.int("generation");
                let suite = self.0.read("suite");
                let key = DataKey::new(&self.ids(), table, generation, suite, true, &key).unwrap();
                TableKeys::new(table, vec![key])
            })
            .collect();
        AccountKeys {
            blind: self.blind(),
            tables,
        }
    }

    pub(super) fn row(&self, given: Fixed<'_>) -> Value {
        let (keys, options) = (self.account(), SealOptions::default());
        let sealer = &Sealer {
            keys: &keys,
            options: &options,
        };
        let nonce = self.nonce();
        match given.read("table") {
            Table::Session => address_row(sealer, SignalTable::Session, given, &nonce),
            Table::Identity => address_row(sealer, SignalTable::Identity, given, &nonce),
            Table::SenderKey => address_row(sealer, SignalTable::SenderKey, given, &nonce),
            table @ (Table::PreKey | Table::SignedPreKey) => {
                let (id, value) = (given.int("id"), given.bytes("record"));
                let record = sealer.seal_by_id(table, id, &value, &nonce).unwrap();
                assert_eq!(sealer.open_by_id(table, id, &record).unwrap(), value);
                json!({ "record": hex_of(record) })
            }
            Table::SyncKey => sync_key_row(sealer, given, &nonce),
            Table::Version => version_row(sealer, given, &nonce),
            Table::MutationMac => {
                let (name, index) = (given.text("name"), given.bytes("index_mac"));
                let key = sealer.mutation_name(name).unwrap();
                let (index_mac, value_mac) = sealer
                    .seal_mutation(&key, name, &index, &given.bytes("value_mac"), &nonce)
                    .unwrap();
                json!({
                    "name": key,
                    "index_mac": hex_of(index_mac),
                    "value_mac": hex_of(value_mac),
                })
            }
            Table::SenderKeyDevice => json!({
                "group": sealer.sender_key_group(given.text("group")).unwrap(),
                "device": sealer.sender_key_device(given.text("device")).unwrap(),
            }),
            Table::LidMapping => mapping_row(sealer, given, &nonce),
            Table::BaseKey => {
                let (address, id) = (given.text("address"), given.text("message_id"));
                let row = sealer.base_key_row(address, id).unwrap();
                let sealed = sealer
                    .seal_base_key(address, id, &given.bytes("base_key"))
                    .unwrap();
                json!({ "address": row.0, "message_id": row.1, "base_key": hex_of(&sealed[0]) })
            }
            Table::DeviceList => device_list_row(sealer, given, &nonce),
            Table::GroupMetadata => {
                let (key, record) = sealer
                    .seal_group(given.text("group"), &given.bytes("blob"), &nonce)
                    .unwrap();
                json!({ "key": key, "record": hex_of(record) })
            }
            Table::SentMessage => {
                let (chat, id) = (given.text("chat"), given.text("id"));
                let key = sealer.sent_key(chat, id).unwrap();
                let record = sealer
                    .seal_sent(&key, chat, id, &given.bytes("payload"), &nonce)
                    .unwrap();
                json!({ "key": key, "record": hex_of(record) })
            }
            Table::PendingInbound => {
                let name = ["chat", "sender", "id"].map(|part| given.text(part));
                let key = sealer.pending_key(name[0], name[1], name[2]).unwrap();
                let record = sealer
                    .seal_pending(&key, name, &given.bytes("message"), &nonce)
                    .unwrap();
                json!({ "key": key, "record": hex_of(record) })
            }
            Table::TcToken => tc_token_row(sealer, given, &nonce),
            Table::MsgSecret => secret_rows(sealer, given),
            Table::Device => {
                let device: Device = serde_json::from_str(given.text("json")).unwrap();
                let json = write_device(&device).unwrap();
                let (key, record) = sealer.seal_device(&json, &nonce).unwrap();
                read_device(&sealer.device_record(&key, &record).unwrap()).unwrap();
                json!({ "key": key, "record": hex_of(record) })
            }
            Table::Canary => {
                let canary = Canary {
                    keyring: self.ids().keyring,
                    account: self.ids().account,
                    store: self.0.array("store_id"),
                };
                let row = sealer.seal_canary(&canary, &nonce).unwrap();
                let (read, sealed) = Canary::read(&row).unwrap();
                sealer.open_canary(&read, sealed).unwrap();
                json!({ "key": CANARY_KEY, "row": hex_of(row) })
            }
            Table::Snapshot => {
                let name = given.text("name");
                let key = sealer.snapshot_key(name).unwrap();
                let content = sealer
                    .seal_snapshot(&key, name, &given.bytes("content"), &nonce)
                    .unwrap();
                json!({ "name": key, "content": hex_of(content) })
            }
        }
    }
}

fn address_row(sealer: &Sealer<'_>, table: SignalTable, given: Fixed<'_>, nonce: &Nonce) -> Value {
    let (address, value) = (given.text("address"), given.bytes("record"));
    let (key, record) = sealer.seal_address(table, address, &value, nonce).unwrap();
    let opened = sealer.open_address(table, &key, address, &record).unwrap();
    assert_eq!(opened, value);
    json!({ "key": key, "record": hex_of(record) })
}

fn sync_key_row(sealer: &Sealer<'_>, given: Fixed<'_>, nonce: &Nonce) -> Value {
    let id = given.bytes("key_id");
    let key = AppStateSyncKey {
        key_data: given.bytes("key_data"),
        fingerprint: given.bytes("fingerprint"),
        timestamp: given.int("timestamp"),
    };
    let row = sealer.seal_sync_key(&id, &key, nonce).unwrap();
    let opened = sealer.open_sync_key(&id, &row).unwrap();
    assert_eq!(
        (opened.key_data, opened.fingerprint, opened.timestamp),
        (key.key_data, key.fingerprint, key.timestamp)
    );
    json!({
        "key_data": hex_of(row.key_data),
        "fingerprint": hex_of(row.fingerprint),
        "timestamp": row.timestamp,
    })
}

fn version_row(sealer: &Sealer<'_>, given: Fixed<'_>, nonce: &Nonce) -> Value {
    let name = given.text("name");
    let entries = given.0["index_value_map"].as_array().unwrap();
    let index_value_map: HashMap<String, Vec<u8>> = entries
        .iter()
        .map(|entry| (entry[0].as_str().unwrap().to_owned(), bytes(&entry[1])))
        .collect();
    let state = HashState {
        version: given.int("version"),
        hash: given.array("hash"),
        index_value_map,
        mac_mismatch_fatal: given.read("mac_mismatch_fatal"),
    };
    let (key, row) = sealer.seal_version(name, &state, nonce).unwrap();
    let opened = sealer.open_version(&key, name, &row).unwrap();
    assert_eq!(opened.hash, state.hash);
    assert_eq!(opened.index_value_map, state.index_value_map);
    json!({ "key": key, "s": hex_of(&row.index_value_map["s"]) })
}

fn mapping_row(sealer: &Sealer<'_>, given: Fixed<'_>, nonce: &Nonce) -> Value {
    let entry = LidPnMappingEntry {
        lid: given.text("lid").into(),
        phone_number: given.text("phone_number").into(),
        created_at: given.int("created_at"),
        updated_at: given.int("updated_at"),
        learning_source: given.text("learning_source").into(),
    };
    let row = sealer.seal_mapping(&entry, nonce).unwrap();
    let asked = MappingKey::Lid(&entry.lid);
    let opened = sealer.open_mapping_of(asked, &row).unwrap();
    assert_eq!(opened.learning_source, entry.learning_source);
    json!({
        "lid": row.lid,
        "phone_number": row.phone_number,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "learning_source": row.learning_source,
    })
}

fn device_list_row(sealer: &Sealer<'_>, given: Fixed<'_>, nonce: &Nonce) -> Value {
    let devices = given.0["devices"].as_array().unwrap();
    let list = DeviceListRecord {
        user: given.text("user").into(),
        devices: devices
            .iter()
            .map(|device| {
                let device = Fixed(device);
                DeviceInfo::new(device.int("device_id"), device.read("key_index"))
                    .with_hosting(device.read("is_hosted"))
            })
            .collect(),
        timestamp: given.int("timestamp"),
        phash: given.read("phash"),
        raw_id: given.read("raw_id"),
    };
    let row = sealer.seal_device_list(&list, nonce).unwrap();
    let opened = sealer.open_device_list(&list.user, &row).unwrap();
    assert_eq!(json!(opened), json!(list));
    json!({ "user": row.user, "phash": row.phash })
}

fn tc_token_row(sealer: &Sealer<'_>, given: Fixed<'_>, nonce: &Nonce) -> Value {
    let (jid, token) = (given.text("jid"), given.bytes("token"));
    let token_timestamp = given.int("token_timestamp");
    let key = sealer.tc_token_key(jid).unwrap();
    let sealed = sealer
        .seal_tc_token(&key, jid, &token, token_timestamp, nonce)
        .unwrap();
    let row = TcTokenEntry {
        token: sealed.clone(),
        token_timestamp,
        sender_timestamp: None,
    };
    assert_eq!(sealer.open_tc_token(&key, jid, &row).unwrap().token, token);
    json!({ "jid": key, "token": hex_of(sealed), "token_timestamp": token_timestamp })
}

fn secret_rows(sealer: &Sealer<'_>, given: Fixed<'_>) -> Value {
    let name = ["chat", "sender", "msg_id"].map(|part| given.text(part));
    let entry = MsgSecretEntry {
        chat: name[0].into(),
        sender: name[1].into(),
        msg_id: name[2].into(),
        secret: given.array("secret"),
        expires_at: 1,
        message_ts: 2,
    };
    let (second, empty): (Arc<str>, Arc<str>) = (SECOND_HALF.into(), "".into());
    let rows = sealer.seal_secret(&entry, &second, &empty).unwrap();
    let opened = sealer
        .open_secret(name, &rows[0].secret, &rows[1].secret)
        .unwrap();
    assert_eq!(opened, entry.secret);
    let [first, second] = rows.map(|row| {
        assert_eq!(&*row.msg_id, "");
        json!({ "chat": &*row.chat, "sender": &*row.sender, "secret": hex_of(row.secret) })
    });
    json!({ "first": first, "second": second })
}
