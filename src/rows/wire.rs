//! The protobuf messages in upstream's columns: sync keys, versions, and the server's certificates.

use buffa::DecodeError;
use buffa::encoding::WireType::{self, LengthDelimited, Varint};
use buffa::encoding::{Tag, skip_field};
use buffa::types::{
    decode_bool, decode_bytes, decode_int64, decode_string, decode_uint64, encode_bool,
    encode_bytes, encode_int64, encode_string, encode_uint64,
};
use wacore::appstate::hash::HashState;
use wacore::store::device::{CachedNoiseCert, CachedServerCertChain};
use wacore::store::traits::AppStateSyncKey;
use zeroize::Zeroizing;

use super::body::Bytes;

/// A message that grows without leaving copies behind: its capacity is reserved.
struct Message(Bytes);

impl Message {
    fn new(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    // Of each kind: a field that holds its default is left out, as proto3 has it.

    fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.bytes_always(field, value);
        }
    }

    fn bytes_always(&mut self, field: u32, value: &[u8]) {
        Tag::new(field, LengthDelimited).encode(&mut *self.0);
        encode_bytes(value, &mut *self.0);
    }

    fn int64(&mut self, field: u32, value: i64) {
        if value != 0 {
            Tag::new(field, Varint).encode(&mut *self.0);
            encode_int64(value, &mut *self.0);
        }
    }

    fn uint64(&mut self, field: u32, value: u64) {
        if value != 0 {
            Tag::new(field, Varint).encode(&mut *self.0);
            encode_uint64(value, &mut *self.0);
        }
    }

    fn bool(&mut self, field: u32, value: bool) {
        if value {
            Tag::new(field, Varint).encode(&mut *self.0);
            encode_bool(value, &mut *self.0);
        }
    }
}

/// What tags and lengths take besides the values, at most.
const OVERHEAD: usize = 64;

pub(super) fn write_sync_key(key: &AppStateSyncKey) -> Bytes {
    let AppStateSyncKey {
        key_data,
        fingerprint,
        timestamp,
    } = key;
    let mut message = Message::new(OVERHEAD + key_data.len() + fingerprint.len());
    message.bytes(1, key_data);
    message.bytes(2, fingerprint);
    message.int64(3, *timestamp);
    message.0
}

/// `None` for what upstream takes for absent; a key of any length is read.
pub(super) fn read_sync_key(bytes: &[u8]) -> Option<AppStateSyncKey> {
    let mut key = AppStateSyncKey {
        key_data: Vec::new(),
        fingerprint: Vec::new(),
        timestamp: 0,
    };
    fields(bytes, |field, rest| {
        match field {
            (1, LengthDelimited) => key.key_data = decode_bytes(rest)?,
            (2, LengthDelimited) => key.fingerprint = decode_bytes(rest)?,
            (3, Varint) => key.timestamp = decode_int64(rest)?,
            _ => return Ok(false),
        }
        Ok(true)
    })
    .ok()?;
    Some(key)
}

/// The entries of the map come in the order of their keys; upstream writes them in none.
pub(super) fn write_hash_state(state: &HashState) -> Bytes {
    let HashState {
        version,
        hash,
        index_value_map,
        mac_mismatch_fatal,
    } = state;
    let entry_len = |index: &str, value: &[u8]| OVERHEAD + index.len() + value.len();
    let entries = index_value_map
        .iter()
        .map(|(index, value)| entry_len(index, value))
        .sum::<usize>();
    let mut message = Message::new(OVERHEAD + hash.len() + entries);
    message.uint64(1, *version);
    message.bytes(2, hash);
    let mut sorted: Vec<_> = index_value_map.iter().collect();
    sorted.sort_unstable_by_key(|(index, _)| *index);
    for (index, value) in sorted {
        let mut entry = Message::new(entry_len(index, value));
        Tag::new(1, LengthDelimited).encode(&mut *entry.0);
        encode_string(index, &mut *entry.0);
        entry.bytes_always(2, value);
        message.bytes_always(3, &entry.0);
    }
    message.bool(4, *mac_mismatch_fatal);
    message.0
}

/// `None` for what upstream takes for a new collection.
pub(super) fn read_hash_state(bytes: &[u8]) -> Option<HashState> {
    let mut state = HashState::default();
    let mut hash = Vec::new();
    fields(bytes, |field, rest| {
        match field {
            (1, Varint) => state.version = decode_uint64(rest)?,
            (2, LengthDelimited) => hash = decode_bytes(rest)?,
            (3, LengthDelimited) => {
                let entry = decode_bytes(rest)?;
                let (mut index, mut value) = (String::new(), Vec::new());
                fields(&entry, |field, rest| {
                    match field {
                        (1, LengthDelimited) => index = decode_string(rest)?,
                        (2, LengthDelimited) => value = decode_bytes(rest)?,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                state.index_value_map.insert(index, value);
            }
            (4, Varint) => state.mac_mismatch_fatal = decode_bool(rest)?,
            _ => return Ok(false),
        }
        Ok(true)
    })
    .ok()?;
    state.hash = hash.try_into().ok()?;
    Some(state)
}

pub(super) fn write_cert_chain(chain: &CachedServerCertChain) -> Bytes {
    let CachedServerCertChain { intermediate, leaf } = chain;
    let mut message = Message::new(2 * (OVERHEAD + 64));
    for (field, cert) in [(1, intermediate), (2, leaf)] {
        let CachedNoiseCert {
            key,
            not_before,
            not_after,
        } = cert;
        let mut inner = Message::new(OVERHEAD + key.len());
        inner.bytes(1, key);
        inner.int64(2, *not_before);
        inner.int64(3, *not_after);
        message.bytes_always(field, &inner.0);
    }
    message.0
}

/// `None` for what upstream goes on without: the chain is a cache.
pub(super) fn read_cert_chain(bytes: &[u8]) -> Option<CachedServerCertChain> {
    let (mut intermediate, mut leaf) = (None, None);
    fields(bytes, |field, rest| {
        match field {
            (1, LengthDelimited) => intermediate = noise_cert(&decode_bytes(rest)?)?,
            (2, LengthDelimited) => leaf = noise_cert(&decode_bytes(rest)?)?,
            _ => return Ok(false),
        }
        Ok(true)
    })
    .ok()?;
    Some(CachedServerCertChain {
        intermediate: intermediate?,
        leaf: leaf?,
    })
}

fn noise_cert(bytes: &[u8]) -> Result<Option<CachedNoiseCert>, DecodeError> {
    let (mut key, mut not_before, mut not_after) = (Vec::new(), 0, 0);
    fields(bytes, |field, rest| {
        match field {
            (1, LengthDelimited) => key = decode_bytes(rest)?,
            (2, Varint) => not_before = decode_int64(rest)?,
            (3, Varint) => not_after = decode_int64(rest)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(key.try_into().ok().map(|key| CachedNoiseCert {
        key,
        not_before,
        not_after,
    }))
}

/// Hands each field of a message to `take`, which says whether it took it.
fn fields<'a>(
    mut bytes: &'a [u8],
    mut take: impl FnMut((u32, WireType), &mut &'a [u8]) -> Result<bool, DecodeError>,
) -> Result<(), DecodeError> {
    while !bytes.is_empty() {
        let tag = Tag::decode(&mut bytes)?;
        if !take((tag.field_number(), tag.wire_type()), &mut bytes)? {
            skip_field(tag, &mut bytes)?;
        }
    }
    Ok(())
}
