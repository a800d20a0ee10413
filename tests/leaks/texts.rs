//! Every text that the library lets out: errors at every depth, audit events and tracing.

use std::error::Error;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::types::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Text that several writers share.
#[derive(Clone, Default)]
pub struct Collected(Arc<Mutex<Vec<u8>>>);

impl Collected {
    pub fn text(&self) -> Vec<u8> {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone()
    }

    /// All that an error says, to a person and to a developer.
    pub fn error(&self, error: &(dyn Error + 'static)) {
        self.add(format!("{error:?}"));
        let mut layer = Some(error);
        while let Some(current) = layer {
            self.add(current.to_string());
            layer = current.source();
        }
    }

    fn add(&self, line: String) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.extend(line.bytes());
        text.push(b'\n');
    }
}

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every span and event of the process, with all their fields.
impl Subscriber for Collected {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Fields(self));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Fields(self));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.add(event.metadata().target().to_owned());
        event.record(&mut Fields(self));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Fields<'a>(&'a Collected);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.add(format!("{field}={value:?}"));
    }
}

/// The columns that carry records.
const CARRIERS: [(&str, &str); 14] = [
    ("sessions", "record"),
    ("prekeys", "key"),
    ("signed_prekeys", "record"),
    ("sender_keys", "record"),
    ("app_state_keys", "key_data"),
    ("app_state_versions", "state_data"),
    ("app_state_mutation_macs", "value_mac"),
    ("lid_pn_mapping", "learning_source"),
    ("device_registry", "phash"),
    ("group_metadata", "info"),
    ("sent_messages", "payload"),
    ("pending_inbound_messages", "message"),
    ("tc_tokens", "token"),
    ("msg_secrets", "secret"),
];

/// One way to damage the bytes of a column.
pub type Damage = fn(&mut Vec<u8>);

pub const DAMAGES: [Damage; 5] = [
    // A letter of base64 for another, and a byte of a tag or of a ciphertext.
    |bytes| *bytes.iter_mut().rev().nth(9).expect("a byte") ^= 1,
    |bytes| bytes.truncate(bytes.len() / 2),
    |bytes| bytes.fill(b'x'),
    // The generation, in a record that stands by itself.
    |bytes| bytes[4] ^= 0x60,
    // The version.
    |bytes| bytes[2] ^= 0x60,
];

/// Damages every carrier of the file but the canary's, and some reversible names.
pub fn damage(file: &Connection, how: Damage) {
    for (table, column) in CARRIERS {
        let rows: Vec<(i64, Value)> = file
            .prepare(&format!(
                "SELECT rowid, {column} FROM {table} WHERE length({column}) > 8"
            ))
            .and_then(|mut all| {
                all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .expect("the rows");
        for (row, value) in rows {
            let damaged = match value {
                Value::Blob(mut bytes) if !bytes.starts_with(b"sealed-store") => {
                    how(&mut bytes);
                    Value::Blob(bytes)
                }
                Value::Text(text) => {
                    let mut bytes = text.into_bytes();
                    how(&mut bytes);
                    Value::Text(String::from_utf8(bytes).expect("still text"))
                }
                other => other,
            };
            file.execute(
                &format!("UPDATE {table} SET {column} = ?1 WHERE rowid = ?2"),
                (damaged, row),
            )
            .expect("the row is damaged");
        }
    }
    file.execute_batch("UPDATE sender_key_devices SET device_jid = 'A' || device_jid")
        .expect("the names are damaged");
}
