//! What a call answered, in a form that can be compared, whichever of the 82 methods it was.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use sealed_store::SealError;
use wacore::appstate::hash::HashState;
use wacore::libsignal::protocol::KeyPair;
use wacore::stats::StorageResourceReport;
use wacore::store::Device;
use wacore::store::device::account_serde;
use wacore::store::error::{Result as StoreResult, StoreError};
use wacore::store::traits::{
    AppStateSyncKey, DeviceInfo, DeviceListRecord, LidPnMappingEntry, TcTokenEntry,
};

use super::names::brief;

/// What a call answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Value(Seen),
    Failed(Failure),
}

/// A value. Every list of the traits is unordered: a bag is sorted, and keeps what is in it twice.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    Nothing,
    Flag(bool),
    Number(i128),
    Text(String),
    Bytes(Vec<u8>),
    Row(Vec<(&'static str, Seen)>),
    Bag(Vec<Seen>),
}

/// An error, by its kind: the variant of the store's own, or ours. Its text only informs.
#[derive(Clone)]
pub struct Failure {
    pub variant: &'static str,
    /// The `SealError` in it; an inner store's own error has none.
    pub ours: Option<String>,
    pub not_open: bool,
    text: String,
}

impl PartialEq for Failure {
    fn eq(&self, other: &Self) -> bool {
        self.variant == other.variant && self.ours == other.ours
    }
}

impl Eq for Failure {}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = if self.ours.is_some() { "ours, " } else { "" };
        write!(f, "{origin}{}: {}", self.variant, self.text)
    }
}

impl Answer {
    pub fn of<T: Comparable>(result: StoreResult<T>) -> Self {
        match result {
            Ok(value) => Self::Value(value.seen()),
            Err(error) => Self::Failed(Failure::of(&error)),
        }
    }

    /// Whether the keyring is not open.
    pub fn is_not_open(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.not_open)
    }

    pub fn value(&self) -> Option<&Seen> {
        match self {
            Self::Value(value) => Some(value),
            Self::Failed(_) => None,
        }
    }
}

impl Failure {
    fn of(error: &StoreError) -> Self {
        let ours = SealError::of(error);
        let mut text = error.to_string();
        let mut layer = error.source();
        while let Some(source) = layer {
            text = format!("{text}: {source}");
            layer = source.source();
        }
        Self {
            variant: match error {
                StoreError::Io(_) => "Io",
                StoreError::Serialization(_) => "Serialization",
                StoreError::Validation(_) => "Validation",
                StoreError::Connection(_) => "Connection",
                StoreError::Database(_) => "Database",
                StoreError::RetriesExhausted { .. } => "RetriesExhausted",
                StoreError::Migration(_) => "Migration",
                StoreError::InvalidConfig(_) => "InvalidConfig",
                StoreError::DeviceNotFound(_) => "DeviceNotFound",
                _ => "unknown",
            },
            ours: ours.map(ToString::to_string),
            not_open: matches!(ours, Some(SealError::NotOpen)),
            text,
        }
    }
}

impl Seen {
    /// A field of a row.
    pub fn field(&self, name: &str) -> Option<&Self> {
        let Self::Row(fields) = self else { return None };
        fields
            .iter()
            .find_map(|(field, value)| (*field == name).then_some(value))
    }

    /// The same row with another value in a field.
    pub fn with(&self, name: &str, value: &Self) -> Self {
        let mut row = self.clone();
        if let Self::Row(fields) = &mut row {
            for (field, old) in fields {
                if *field == name {
                    *old = value.clone();
                }
            }
        }
        row
    }

    /// The names of the fields in which two rows differ.
    pub fn differing(&self, other: &Self) -> Vec<&'static str> {
        let Self::Row(fields) = self else {
            return vec!["(not a row)"];
        };
        fields
            .iter()
            .filter(|(name, value)| other.field(name) != Some(value))
            .map(|(name, _)| *name)
            .collect()
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(&brief(text)),
            Self::Bytes(bytes) => {
                let start = bytes.get(..16).unwrap_or(bytes);
                write!(f, "{} bytes {}…", bytes.len(), HEXLOWER.encode(start))
            }
            Self::Row(fields) => f
                .debug_map()
                .entries(fields.iter().map(|(name, value)| (name, value)))
                .finish(),
            Self::Bag(items) => f.debug_list().entries(items).finish(),
        }
    }
}

/// What the methods answer with.
pub trait Comparable {
    fn seen(self) -> Seen;
}

macro_rules! comparable {
    ($($kind:ty: $value:pat => $seen:expr;)*) => {$(
        impl Comparable for $kind {
            fn seen(self) -> Seen {
                let $value = self;
                $seen
            }
        }
    )*};
}

comparable! {
    (): () => Seen::Nothing;
    bool: flag => Seen::Flag(flag);
    u32: number => Seen::Number(number.into());
    i32: number => Seen::Number(number.into());
    u64: number => Seen::Number(number.into());
    i64: number => Seen::Number(number.into());
    usize: number => Seen::Number(i128::try_from(number).unwrap_or(i128::MAX));
    String: text => Seen::Text(text);
    Vec<u8>: bytes => Seen::Bytes(bytes);
    Bytes: bytes => Seen::Bytes(bytes.to_vec());
    [u8; 32]: bytes => Seen::Bytes(bytes.to_vec());
    HashMap<[u8; 32], Vec<u8>>: map => bag(map);
    HashMap<String, Vec<u8>>: map => bag(map);
}

impl<T: Comparable> Comparable for Option<T> {
    fn seen(self) -> Seen {
        self.map_or(Seen::Nothing, T::seen)
    }
}

impl<A: Comparable, B: Comparable> Comparable for (A, B) {
    fn seen(self) -> Seen {
        Seen::Row(vec![("0", self.0.seen()), ("1", self.1.seen())])
    }
}

impl<T: Comparable> Comparable for Vec<T> {
    fn seen(self) -> Seen {
        bag(self)
    }
}

fn bag<T: Comparable>(items: impl IntoIterator<Item = T>) -> Seen {
    let mut items: Vec<Seen> = items.into_iter().map(T::seen).collect();
    items.sort();
    Seen::Bag(items)
}

/// Structs, taken apart whole: a field that upstream adds breaks the build of this list.
macro_rules! rows {
    ($($row:ident { $($field:ident: $value:expr),* $(,)? })*) => {$(
        impl Comparable for $row {
            fn seen(self) -> Seen {
                let $row { $($field),* } = self;
                Seen::Row(vec![$((stringify!($field), $value.seen())),*])
            }
        }
    )*};
}

rows! {
    AppStateSyncKey { key_data: key_data, fingerprint: fingerprint, timestamp: timestamp }
    HashState {
        version: version,
        hash: hash.to_vec(),
        index_value_map: index_value_map,
        mac_mismatch_fatal: mac_mismatch_fatal,
    }
    LidPnMappingEntry {
        lid: lid,
        phone_number: phone_number,
        created_at: created_at,
        updated_at: updated_at,
        learning_source: learning_source,
    }
    TcTokenEntry {
        token: token,
        token_timestamp: token_timestamp,
        sender_timestamp: sender_timestamp,
    }
    DeviceListRecord {
        user: user,
        devices: InOrder(devices),
        timestamp: timestamp,
        phash: phash,
        raw_id: raw_id,
    }
    DeviceInfo { device_id: device_id, key_index: key_index, is_hosted: is_hosted }
    Device {
        pn: pn.map(|jid| jid.to_string()),
        lid: lid.map(|jid| jid.to_string()),
        registration_id: registration_id,
        noise_key: noise_key,
        identity_key: identity_key,
        signed_pre_key: signed_pre_key,
        signed_pre_key_id: signed_pre_key_id,
        signed_pre_key_signature: signed_pre_key_signature.to_vec(),
        adv_secret_key: adv_secret_key,
        account: account.map(|account| account_serde::to_bytes(&account)),
        push_name: push_name,
        app_version_primary: app_version_primary,
        app_version_secondary: app_version_secondary,
        app_version_tertiary: app_version_tertiary,
        app_version_last_fetched_ms: app_version_last_fetched_ms,
        device_props: format!("{device_props:?}"),
        client_profile: format!("{client_profile:?}"),
        edge_routing_info: edge_routing_info,
        props_hash: props_hash,
        next_pre_key_id: next_pre_key_id,
        first_unupload_pre_key_id: first_unupload_pre_key_id,
        server_has_prekeys: server_has_prekeys,
        nct_salt: nct_salt,
        nct_salt_sync_seen: nct_salt_sync_seen,
        server_cert_chain: server_cert_chain.map(|chain| format!("{chain:?}")),
        login_counter: login_counter,
        lid_migrated: lid_migrated,
        last_signed_pre_key_rotation_ms: last_signed_pre_key_rotation_ms,
        read_receipts_disabled: read_receipts_disabled,
    }
    KeyPair {
        public_key: public_key.serialize().to_vec(),
        private_key: private_key.serialize().to_vec(),
    }
    StorageResourceReport {
        memory_bytes: memory_bytes,
        pages: pages,
        io_read_bytes: io_read_bytes,
        io_write_bytes: io_write_bytes,
    }
}

/// A list that is one value of its row, and keeps its order.
struct InOrder(Vec<DeviceInfo>);

impl Comparable for InOrder {
    fn seen(self) -> Seen {
        Seen::Row(
            self.0
                .into_iter()
                .map(|device| ("", device.seen()))
                .collect(),
        )
    }
}
