//! The tables that are copied column by column.

/// What a column holds.
#[derive(Clone, Copy)]
pub(super) enum Holds {
    /// A key, or another text that is kept as one.
    Text,
    /// A number or bytes, kept as they are.
    Value,
}

use Holds::{Text, Value};

/// A table whose rows are copied column by column; the first is the account.
pub(super) const TABLES: &[(&str, &str, &[Holds])] = &[
    (
        "SELECT device_id, address, key FROM identities",
        "INSERT INTO identities (account, address, key) VALUES (?1, ?2, ?3)",
        &[Value, Text, Value],
    ),
    (
        "SELECT device_id, address, record FROM sessions",
        "INSERT INTO sessions (account, address, record) VALUES (?1, ?2, ?3)",
        &[Value, Text, Value],
    ),
    (
        "SELECT device_id, id, key, uploaded FROM prekeys",
        "INSERT INTO prekeys (account, id, record, uploaded) VALUES (?1, ?2, ?3, ?4)",
        &[Value, Value, Value, Value],
    ),
    (
        "SELECT device_id, id, record FROM signed_prekeys",
        "INSERT INTO signed_prekeys (account, id, record) VALUES (?1, ?2, ?3)",
        &[Value, Value, Value],
    ),
    (
        "SELECT device_id, address, record FROM sender_keys",
        "INSERT INTO sender_keys (account, address, record) VALUES (?1, ?2, ?3)",
        &[Value, Text, Value],
    ),
    (
        "SELECT device_id, name, index_mac, version, value_mac FROM app_state_mutation_macs",
        "INSERT INTO mutation_macs (account, name, index_mac, version, value_mac)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        &[Value, Text, Value, Value, Value],
    ),
    (
        "SELECT device_id, group_jid, device_jid, has_key FROM sender_key_devices",
        "INSERT INTO sender_key_devices (account, group_jid, device, has_key) VALUES (?1, ?2, ?3, ?4)",
        &[Value, Text, Text, Value],
    ),
    (
        "SELECT device_id, lid, phone_number, created_at, updated_at, learning_source
         FROM lid_pn_mapping",
        "INSERT INTO lid_mappings (account, lid, phone, created_at, updated_at, source)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        &[Value, Text, Text, Value, Value, Text],
    ),
    (
        "SELECT device_id, address, message_id, base_key FROM base_keys",
        "INSERT INTO base_keys (account, address, message_id, base_key) VALUES (?1, ?2, ?3, ?4)",
        &[Value, Text, Text, Value],
    ),
    (
        "SELECT device_id, user_id, CAST(devices_json AS BLOB), timestamp, phash, raw_id
         FROM device_registry",
        "INSERT INTO device_lists (account, user, devices, timestamp, phash, raw_id)
         VALUES (?1, ?2, ?3, ?4, ?5, CASE WHEN ?6 < 0 THEN ?6 + (1 << 32) ELSE ?6 END)",
        &[Value, Text, Value, Value, Text, Value],
    ),
    (
        "SELECT device_id, group_jid, info FROM group_metadata",
        "INSERT INTO group_metadata (account, group_jid, info) VALUES (?1, ?2, ?3)",
        &[Value, Text, Value],
    ),
    (
        "SELECT device_id, jid, token, token_timestamp, sender_timestamp FROM tc_tokens",
        "INSERT INTO tc_tokens (account, jid, token, token_timestamp, sender_timestamp)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        &[Value, Text, Value, Value, Value],
    ),
    (
        "SELECT device_id, chat_jid, message_id, payload, created_at FROM sent_messages",
        "INSERT INTO sent_messages (account, chat, message_id, payload, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        &[Value, Text, Text, Value, Value],
    ),
    (
        "SELECT device_id, chat, sender, id, message, inserted_at FROM pending_inbound_messages",
        "INSERT INTO pending_inbound (account, chat, sender, message_id, message, inserted_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        &[Value, Text, Text, Text, Value, Value],
    ),
];
