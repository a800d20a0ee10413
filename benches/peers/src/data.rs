//! Addresses and values, the same for every contestant, and never the same value twice.
//!
//! Everything comes from a number by a mixing function, so that nothing has to be kept to be asked for again.

use std::sync::Arc;

use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::traits::{
    DeviceInfo, DeviceListRecord, LidPnMappingEntry, MsgSecretEntry, TcTokenEntry,
};

/// Chats that the message secrets are spread over.
const CHATS: u64 = 400;
/// Members of the groups among them.
const MEMBERS: u64 = 3000;
/// When all of this happens.
const NOW: i64 = 1_788_000_000;

/// Spreads a number over all 64 bits (SplitMix64's last step).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One of `rows` rows, as good as random.
pub fn pick(number: u64, rows: u64) -> u64 {
    mix(mix(number)) % rows.max(1)
}

/// `len` bytes that no other number gives.
pub fn bytes(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut state = mix(number);
    while bytes.len() < len {
        bytes.extend_from_slice(&state.to_le_bytes());
        state = mix(state);
    }
    bytes.truncate(len);
    bytes
}

/// As [`bytes`], 32 of them.
pub fn bytes32(number: u64) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(&bytes(number, 32));
    out
}

/// Thirteen digits of a telephone number.
fn phone(user: u64) -> String {
    format!("5511{:09}", mix(user) % 1_000_000_000)
}

/// The Signal address of a user's telephone or of their computer: each user has both.
pub fn address(row: u64) -> String {
    let user = phone(row / 2);
    match row % 2 {
        0 => format!("{user}@c.us.0"),
        _ => format!("{user}:3@c.us.0"),
    }
}

/// The same row under an address such as a seal makes of it: random text of that length and alphabet, and the
/// two of a user side by side.
pub fn token_address(row: u64) -> String {
    let token = |number: u64| {
        let mut text = BASE32_NOPAD.encode(&bytes(number, 16));
        text.make_ascii_lowercase();
        text
    };
    format!(
        "{}@{}",
        token((row / 2) ^ 0x5555_5555_0000_0000),
        token(row)
    )
}

/// The name of a sender key.
pub fn sender_key_name(row: u64) -> String {
    format!("{}:{}", group(row % 60), address(row))
}

/// A group's address.
pub fn group(row: u64) -> String {
    format!("120363{:012}@g.us", mix(row) % 1_000_000_000_000)
}

/// A session record of 400 to 2,000 bytes.
pub fn session(number: u64) -> Bytes {
    let len = 400 + (mix(number ^ 0x5e55) % 1601) as usize;
    bytes(number, len).into()
}

/// A mapping; `version` is what changes.
pub fn mapping(row: u64, version: u64) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: format!("1618{:011}", mix(row ^ 0x11d) % 100_000_000_000),
        phone_number: phone(row),
        created_at: NOW,
        updated_at: NOW + version as i64,
        learning_source: "usync".into(),
    }
}

/// The message secret `row` of `rows`. A history comes chat by chat, as the client reads it from the phone.
pub fn secret(row: u64, rows: u64, version: u64) -> MsgSecretEntry {
    secret_in(row * CHATS / rows.max(1), row, version)
}

/// The secret of a message that is new in one of the chats.
pub fn new_secret(number: u64) -> MsgSecretEntry {
    secret_in(pick(number, CHATS), mix(number) | 1 << 63, number)
}

fn secret_in(chat_row: u64, message: u64, version: u64) -> MsgSecretEntry {
    let is_group = chat_row % 10 < 3;
    let chat: Arc<str> = if is_group {
        group(chat_row).into()
    } else {
        format!("{}@s.whatsapp.net", phone(chat_row)).into()
    };
    let sender: Arc<str> = if is_group {
        format!("{}@s.whatsapp.net", phone(pick(message, MEMBERS))).into()
    } else {
        Arc::clone(&chat)
    };
    let (high, low) = (mix(message ^ 0x3eb0), mix(message ^ 0x0b3e) as u8);
    MsgSecretEntry {
        chat,
        sender,
        msg_id: format!("3EB0{high:016X}{low:02X}").into(),
        secret: bytes32(version),
        expires_at: NOW + 90 * 86_400,
        message_ts: NOW - (message % 10_000_000) as i64,
    }
}

/// The chat and the id of a sent message.
pub fn sent(number: u64) -> (String, String) {
    let chat = format!("{}@s.whatsapp.net", phone(pick(number, CHATS)));
    (chat, format!("3EB0{:016X}AA", mix(number)))
}

/// A user's devices.
pub fn device_list(row: u64, version: u64) -> DeviceListRecord {
    DeviceListRecord {
        user: phone(row),
        devices: (0..1 + (row % 4) as u32)
            .map(|id| DeviceInfo::new(id, Some(id)))
            .collect(),
        timestamp: NOW + version as i64,
        phash: Some(format!("2:{:08x}", mix(row) as u32)),
        raw_id: Some(row as u32),
    }
}

/// A contact's token.
pub fn tc_token(row: u64) -> (String, TcTokenEntry) {
    let entry = TcTokenEntry {
        token: bytes(row, 32),
        token_timestamp: NOW,
        sender_timestamp: Some(NOW),
    };
    (format!("{}@lid", mapping(row, 0).lid), entry)
}

/// An entry of the app state.
pub fn mutation_mac(row: u64) -> AppStateMutationMAC {
    AppStateMutationMAC {
        index_mac: bytes(row ^ 0x1d, 32),
        value_mac: bytes(row, 32),
    }
}
