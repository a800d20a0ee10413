//! Rows of the file as an intruder sees them: columns and bytes, read and written by SQL.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use sealed_store::Table;
use wacore::appstate::hash::HashState;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::error::Result;
use wacore::store::traits::{
    AppStateSyncKey, Backend, DeviceListRecord, LidPnMappingEntry, MsgSecretEntry, TcTokenEntry,
};

use super::wire;

/// One row of one SQL table.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw {
    pub sql: &'static str,
    pub cells: Vec<(String, Value)>,
    /// The primary key's columns.
    pub keys: Vec<String>,
}

/// The SQL table that holds the rows of a table.
pub fn sql_table(table: Table) -> &'static str {
    match table {
        Table::Session | Table::Identity | Table::Device | Table::Canary => "sessions",
        Table::PreKey => "prekeys",
        Table::SignedPreKey => "signed_prekeys",
        Table::SenderKey => "sender_keys",
        Table::SyncKey => "app_state_keys",
        Table::Version => "app_state_versions",
        Table::MutationMac => "app_state_mutation_macs",
        Table::SenderKeyDevice => "sender_key_devices",
        Table::LidMapping => "lid_pn_mapping",
        Table::BaseKey => "base_keys",
        Table::DeviceList => "device_registry",
        Table::GroupMetadata => "group_metadata",
        Table::SentMessage => "sent_messages",
        Table::PendingInbound => "pending_inbound_messages",
        Table::TcToken => "tc_tokens",
        Table::MsgSecret => "msg_secrets",
        other => panic!("{other} is no row"),
    }
}

/// The column of the carrier; none where a row is all name.
pub fn carrier_column(table: Table) -> Option<&'static str> {
    Some(match table {
        Table::Session | Table::Identity | Table::Device | Table::Canary => "record",
        Table::SignedPreKey | Table::SenderKey => "record",
        Table::PreKey => "key",
        Table::SyncKey => "key_data",
        Table::Version => "state_data",
        Table::MutationMac => "value_mac",
        Table::LidMapping => "learning_source",
        Table::BaseKey => "base_key",
        Table::DeviceList => "phash",
        Table::GroupMetadata => "info",
        Table::SentMessage => "payload",
        Table::PendingInbound => "message",
        Table::TcToken => "token",
        Table::MsgSecret => "secret",
        _ => return None,
    })
}

/// All rows of one account in one SQL table.
pub fn rows(file: &Connection, sql: &'static str, device: i32) -> Vec<Raw> {
    let keys: Vec<String> = file
        .prepare_cached("SELECT name FROM pragma_table_info(?1) WHERE pk > 0")
        .and_then(|mut keys| keys.query_map([sql], |row| row.get(0))?.collect())
        .expect("the key's columns");
    let mut statement = file
        .prepare_cached(&format!("SELECT * FROM {sql} WHERE device_id = ?1"))
        .expect("a table");
    let names: Vec<String> = statement
        .column_names()
        .iter()
        .map(|n| n.to_string())
        .collect();
    statement
        .query_map([device], |row| {
            let cells = names
                .iter()
                .enumerate()
                .map(|(at, name)| Ok((name.clone(), row.get(at)?)))
                .collect::<rusqlite::Result<_>>()?;
            Ok(Raw {
                sql,
                cells,
                keys: keys.clone(),
            })
        })
        .and_then(Iterator::collect)
        .expect("the rows")
}

impl Raw {
    pub fn get(&self, column: &str) -> &Value {
        let found = self.cells.iter().find(|(name, _)| name == column);
        &found.unwrap_or_else(|| panic!("no column {column}")).1
    }

    pub fn set(&mut self, column: &str, value: Value) {
        let found = self.cells.iter_mut().find(|(name, _)| name == column);
        found.unwrap_or_else(|| panic!("no column {column}")).1 = value;
    }

    pub fn with(&self, column: &str, value: impl Into<Value>) -> Self {
        let mut changed = self.clone();
        changed.set(column, value.into());
        changed
    }

    pub fn bytes(&self, column: &str) -> Vec<u8> {
        match self.get(column) {
            Value::Blob(bytes) => bytes.clone(),
            Value::Text(text) => text.clone().into_bytes(),
            other => panic!("{column} holds {other:?}"),
        }
    }

    pub fn text(&self, column: &str) -> String {
        String::from_utf8(self.bytes(column)).expect("text")
    }

    pub fn int(&self, column: &str) -> i64 {
        match self.get(column) {
            Value::Integer(number) => *number,
            other => panic!("{column} holds {other:?}"),
        }
    }

    pub fn same_key(&self, other: &Self) -> bool {
        self.sql == other.sql && self.keys.iter().all(|key| self.get(key) == other.get(key))
    }

    /// Writes the row over whatever has its key.
    pub fn write(&self, file: &Connection) {
        let names: Vec<&str> = self.cells.iter().map(|(name, _)| name.as_str()).collect();
        let marks = vec!["?"; names.len()].join(", ");
        let sql = format!(
            "INSERT OR REPLACE INTO {} ({}) VALUES ({marks})",
            self.sql,
            names.join(", ")
        );
        file.prepare_cached(&sql)
            .and_then(|mut insert| {
                insert.execute(params_from_iter(self.cells.iter().map(|(_, value)| value)))
            })
            .expect("the row is written");
    }

    pub fn delete(&self, file: &Connection) {
        let clause: Vec<String> = self.keys.iter().map(|key| format!("{key} IS ?")).collect();
        let sql = format!("DELETE FROM {} WHERE {}", self.sql, clause.join(" AND "));
        file.prepare_cached(&sql)
            .and_then(|mut delete| {
                delete.execute(params_from_iter(self.keys.iter().map(|key| self.get(key))))
            })
            .expect("the row is deleted");
    }
}

/// A row as the client counts: one SQL row, or the two of a message secret.
#[derive(Clone, Debug)]
pub struct Stored {
    pub table: Table,
    pub parts: Vec<Raw>,
}

impl Stored {
    pub fn row(&self) -> &Raw {
        &self.parts[0]
    }

    /// The sealed record, out of whatever the column wraps it in.
    pub fn carrier(&self) -> Option<Vec<u8>> {
        let column = carrier_column(self.table)?;
        let bytes = self.row().bytes(column);
        Some(match self.table {
            Table::SyncKey => wire::get(&bytes, 2).expect("a fingerprint"),
            Table::Version => {
                wire::get(&wire::get(&bytes, 3).expect("an entry"), 2).expect("its value")
            }
            Table::LidMapping | Table::DeviceList => data_encoding::BASE64URL_NOPAD
                .decode(&bytes)
                .expect("base64"),
            Table::MsgSecret => [bytes, self.parts[1].bytes(column)].concat(),
            _ => bytes,
        })
    }

    /// The same row with another record in its carrier, wrapped as the column wants it.
    pub fn with_carrier(&self, record: &[u8]) -> Self {
        let mut changed = self.clone();
        let Some(column) = carrier_column(self.table) else {
            return changed;
        };
        let old = self.row().bytes(column);
        let value = match self.table {
            Table::SyncKey => Value::Blob(wire::set(&old, 2, record)),
            Table::Version => {
                let entry = wire::get(&old, 3).expect("an entry");
                Value::Blob(wire::set(&old, 3, &wire::set(&entry, 2, record)))
            }
            Table::LidMapping | Table::DeviceList => {
                Value::Text(data_encoding::BASE64URL_NOPAD.encode(record))
            }
            Table::MsgSecret => {
                let (first, second) = record.split_at(record.len().min(32));
                changed.parts[1].set(column, Value::Blob(second.to_vec()));
                Value::Blob(first.to_vec())
            }
            _ => Value::Blob(record.to_vec()),
        };
        changed.parts[0].set(column, value);
        changed
    }

    pub fn write(&self, file: &Connection) {
        self.parts.iter().for_each(|part| part.write(file));
    }

    pub fn delete(&self, file: &Connection) {
        self.parts.iter().for_each(|part| part.delete(file));
    }

    /// Puts the row into another inner store, through that store's own methods.
    pub async fn place(&self, inner: &dyn Backend) -> Result<()> {
        let row = self.row();
        let number = |column: &str| u32::try_from(row.int(column)).expect("a number");
        match self.table {
            Table::Session | Table::Identity | Table::Device | Table::Canary => {
                inner
                    .put_session(&row.text("address"), &row.bytes("record"))
                    .await
            }
            Table::PreKey => {
                let record = row.bytes("key");
                inner
                    .store_prekey(number("id"), &record, row.int("uploaded") != 0)
                    .await
            }
            Table::SignedPreKey => {
                inner
                    .store_signed_prekey(number("id"), &row.bytes("record"))
                    .await
            }
            Table::SenderKey => {
                inner
                    .put_sender_key(&row.text("address"), &row.bytes("record"))
                    .await
            }
            Table::SyncKey => {
                inner
                    .set_sync_key(&row.bytes("key_id"), sync_key(&row.bytes("key_data")))
                    .await
            }
            Table::Version => {
                inner
                    .set_version(&row.text("name"), hash_state(&row.bytes("state_data")))
                    .await
            }
            Table::MutationMac => {
                let mac = AppStateMutationMAC {
                    index_mac: row.bytes("index_mac"),
                    value_mac: row.bytes("value_mac"),
                };
                inner.put_mutation_macs(&row.text("name"), 5, &[mac]).await
            }
            Table::SenderKeyDevice => {
                let entry = (&*row.text("device_jid"), row.int("has_key") != 0);
                inner
                    .set_sender_key_status(&row.text("group_jid"), &[entry])
                    .await
            }
            Table::LidMapping => inner.put_lid_mapping(&mapping(row)).await,
            Table::BaseKey => {
                let (address, id) = (row.text("address"), row.text("message_id"));
                inner
                    .save_base_key(&address, &id, &row.bytes("base_key"))
                    .await
            }
            Table::DeviceList => inner.update_device_list(device_list(row)).await,
            Table::GroupMetadata => {
                inner
                    .put_group_metadata(&row.text("group_jid"), &row.bytes("info"))
                    .await
            }
            Table::SentMessage => {
                let (chat, id) = (row.text("chat_jid"), row.text("message_id"));
                inner
                    .store_sent_message(&chat, &id, &row.bytes("payload"))
                    .await
            }
            Table::PendingInbound => {
                let [chat, sender, id] = ["chat", "sender", "id"].map(|column| row.text(column));
                inner
                    .store_pending_inbound(&chat, &sender, &id, &row.bytes("message"))
                    .await
            }
            Table::TcToken => inner.put_tc_token(&row.text("jid"), &token(row)).await,
            Table::MsgSecret => {
                let halves = self.parts.iter().map(secret_half).collect();
                inner.put_msg_secrets(halves).await.map(drop)
            }
            other => panic!("{other} is no row"),
        }
    }
}

/// The one snapshot's extra content that upstream wrote in a folder: its key and its bytes.
pub fn snapshot(folder: &Path) -> (String, Vec<u8>) {
    let mut files = fs::read_dir(folder).expect("a folder");
    let file = files
        .find_map(|file| {
            let path = file.expect("a file").path();
            path.extension()
                .is_some_and(|kind| kind == "json")
                .then_some(path)
        })
        .expect("the content's file");
    let stem = file.file_stem().and_then(|stem| stem.to_str());
    let (_, key) = stem.and_then(|stem| stem.rsplit_once('-')).expect("a key");
    (key.to_owned(), fs::read(&file).expect("its bytes"))
}

pub fn sync_key(wrapped: &[u8]) -> AppStateSyncKey {
    let times = wire::decode(wrapped).expect("a message");
    AppStateSyncKey {
        key_data: wire::get(wrapped, 1).unwrap_or_default(),
        fingerprint: wire::get(wrapped, 2).unwrap_or_default(),
        timestamp: times
            .into_iter()
            .find_map(|(number, field)| match field {
                wire::Field::Varint(value) if number == 3 => Some(value as i64),
                _ => None,
            })
            .unwrap_or(0),
    }
}

pub fn hash_state(wrapped: &[u8]) -> HashState {
    let mut state = HashState::default();
    for (number, field) in wire::decode(wrapped).expect("a message") {
        match (number, field) {
            (1, wire::Field::Varint(version)) => state.version = version,
            (2, wire::Field::Bytes(hash)) => state.hash = hash.try_into().expect("128 bytes"),
            (3, wire::Field::Bytes(entry)) => {
                let key = String::from_utf8(wire::get(&entry, 1).unwrap_or_default());
                let value = wire::get(&entry, 2).unwrap_or_default();
                state.index_value_map.insert(key.expect("text"), value);
            }
            (4, wire::Field::Varint(flag)) => state.mac_mismatch_fatal = flag != 0,
            other => panic!("unknown field {other:?}"),
        }
    }
    state
}

pub fn mapping(row: &Raw) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: row.text("lid"),
        phone_number: row.text("phone_number"),
        created_at: row.int("created_at"),
        updated_at: row.int("updated_at"),
        learning_source: row.text("learning_source"),
    }
}

pub fn device_list(row: &Raw) -> DeviceListRecord {
    DeviceListRecord {
        user: row.text("user_id"),
        devices: serde_json::from_str(&row.text("devices_json")).expect("JSON"),
        timestamp: row.int("timestamp"),
        phash: (*row.get("phash") != Value::Null).then(|| row.text("phash")),
        raw_id: match row.get("raw_id") {
            Value::Integer(id) => Some(*id as u32),
            _ => None,
        },
    }
}

pub fn token(row: &Raw) -> TcTokenEntry {
    TcTokenEntry {
        token: row.bytes("token"),
        token_timestamp: row.int("token_timestamp"),
        sender_timestamp: match row.get("sender_timestamp") {
            Value::Integer(at) => Some(*at),
            _ => None,
        },
    }
}

fn secret_half(row: &Raw) -> MsgSecretEntry {
    MsgSecretEntry {
        chat: row.text("chat").into(),
        sender: row.text("sender").into(),
        msg_id: row.text("msg_id").into(),
        secret: row.bytes("secret").try_into().expect("32 bytes"),
        expires_at: row.int("expires_at"),
        message_ts: row.int("message_ts"),
    }
}

/// A record as the session methods take it.
pub fn shared(bytes: Vec<u8>) -> Bytes {
    Bytes::from(bytes)
}
