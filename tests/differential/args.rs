//! The arguments of a call as the generator makes them: small numbers that shrink, compare and print,
//! and become what the method takes when the call runs.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use wacore::appstate::hash::HashState;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::traits::{
    AppStateSyncKey, DeviceInfo, DeviceListRecord, LidPnMappingEntry, MsgSecretEntry, TcTokenEntry,
};

use super::names::{Name, Part};

/// An argument: how it is drawn, and what the method gets.
pub trait Arg: Clone + fmt::Debug + 'static {
    type Value;

    fn any() -> BoxedStrategy<Self>;

    fn get(&self) -> Self::Value;
}

/// The lengths at which blocks, tags and paddings begin and end.
const EDGES: &[u32] = &[32, 0, 1, 15, 16, 17, 31, 33, 63, 64, 65];
const MEBIBYTE: u32 = 1 << 20;

/// Times at which something overflows, and small ones that collide.
const ODD_TIMES: &[i64] = &[
    0,
    1,
    -1,
    2,
    5,
    i64::MAX,
    i64::MIN,
    i32::MAX as i64,
    i32::MAX as i64 + 1,
    i32::MIN as i64 - 1,
    u32::MAX as i64,
    1 << 40,
];

/// The first second of the test's clock, see `clock.rs`.
pub const EPOCH: i64 = 1_750_000_000;

impl Arg for Name {
    type Value = &'static str;

    fn any() -> BoxedStrategy<Self> {
        Name::any()
    }

    fn get(&self) -> &'static str {
        self.text()
    }
}

impl Arg for Part {
    type Value = &'static str;

    fn any() -> BoxedStrategy<Self> {
        Part::any()
    }

    fn get(&self) -> &'static str {
        self.text()
    }
}

/// A time or a cut-off: around the test's now, at the extremes, or before 1970.
impl Arg for i64 {
    type Value = i64;

    fn any() -> BoxedStrategy<Self> {
        prop_oneof![6 => EPOCH - 4..EPOCH + 24, 3 => select(ODD_TIMES), 1 => any::<i64>()].boxed()
    }

    fn get(&self) -> i64 {
        *self
    }
}

/// A prekey id and every other number of 32 bits.
impl Arg for u32 {
    type Value = u32;

    fn any() -> BoxedStrategy<Self> {
        prop_oneof![
            8 => 0..8u32,
            3 => 0..400u32,
            1 => select(&[i32::MAX as u32, i32::MAX as u32 + 1, u32::MAX][..]),
        ]
        .boxed()
    }

    fn get(&self) -> u32 {
        *self
    }
}

impl Arg for u64 {
    type Value = u64;

    fn any() -> BoxedStrategy<Self> {
        prop_oneof![8 => 0..5u64, 1 => select(&[u64::MAX, 1 << 63, 1 << 32][..])].boxed()
    }

    fn get(&self) -> u64 {
        *self
    }
}

impl Arg for bool {
    type Value = bool;

    fn any() -> BoxedStrategy<Self> {
        any::<bool>().boxed()
    }

    fn get(&self) -> bool {
        *self
    }
}

/// Some bytes: how many, and which of four contents, so that equal ones come again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blob {
    pub size: u32,
    pub seed: u8,
}

impl Arg for Blob {
    type Value = Vec<u8>;

    fn any() -> BoxedStrategy<Self> {
        let size = prop_oneof![
            1000 => select(EDGES),
            200 => 66..5_000u32,
            10 => 5_000..20_000u32,
            1 => Just(MEBIBYTE),
        ];
        (size, 0..4u8)
            .prop_map(|(size, seed)| Self { size, seed })
            .boxed()
    }

    fn get(&self) -> Vec<u8> {
        // Every value of a byte, and no period that a block cipher would see.
        (0..=250u8)
            .cycle()
            .skip(usize::from(self.seed))
            .take(self.size as usize)
            .collect()
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes #{}", self.size, self.seed)
    }
}

/// 32 bytes: an identity, a message secret or an index MAC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u8);

impl Arg for Key {
    type Value = [u8; 32];

    fn any() -> BoxedStrategy<Self> {
        prop_oneof![3 => 0..6u8, 1 => any::<u8>()]
            .prop_map(Self)
            .boxed()
    }

    fn get(&self) -> [u8; 32] {
        let mut key = [self.0; 32];
        key[31] = !self.0;
        key
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key #{}", self.0)
    }
}

/// An index MAC or a key id: bytes that name a row, 32 of them or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BinaryName {
    Whole(Key),
    Odd(u8, u8),
}

impl Arg for BinaryName {
    type Value = Vec<u8>;

    fn any() -> BoxedStrategy<Self> {
        prop_oneof![
            3 => Key::any().prop_map(Self::Whole),
            1 => (select(&[0, 1, 2, 6, 31, 33][..]), 0..3u8).prop_map(|(size, byte)| Self::Odd(size, byte)),
        ]
        .boxed()
    }

    fn get(&self) -> Vec<u8> {
        match self {
            Self::Whole(key) => key.get().to_vec(),
            Self::Odd(size, byte) => vec![*byte; usize::from(*size)],
        }
    }
}

impl fmt::Debug for BinaryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(key) => key.fmt(f),
            Self::Odd(size, byte) => write!(f, "{size} times {byte}"),
        }
    }
}

impl<T: Arg> Arg for Option<T> {
    type Value = Option<T::Value>;

    fn any() -> BoxedStrategy<Self> {
        proptest::option::of(T::any()).boxed()
    }

    fn get(&self) -> Self::Value {
        self.as_ref().map(T::get)
    }
}

/// A batch: most are small, some cross the slices in which a sealed store works, with duplicates.
impl<T: Arg> Arg for Vec<T> {
    type Value = Vec<T::Value>;

    fn any() -> BoxedStrategy<Self> {
        prop_oneof![
            16 => vec(T::any(), 0..6),
            3 => vec(T::any(), 6..=40),
            1 => vec(T::any(), 100..=300),
        ]
        .boxed()
    }

    fn get(&self) -> Self::Value {
        self.iter().map(T::get).collect()
    }
}

/// A short list inside of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Few<T>(Vec<T>);

impl<T: Arg> Arg for Few<T> {
    type Value = Vec<T::Value>;

    fn any() -> BoxedStrategy<Self> {
        vec(T::any(), 0..4).prop_map(Self).boxed()
    }

    fn get(&self) -> Self::Value {
        self.0.get()
    }
}

/// Makes the arguments that are rows: named fields, each drawn by itself.
macro_rules! rows {
    ($($(#[$doc:meta])* $row:ident { $($field:ident: $kind:ty),* $(,)? } => $value:ty = $make:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $row { $(pub $field: $kind),* }

        impl Arg for $row {
            type Value = $value;

            fn any() -> BoxedStrategy<Self> {
                ($(<$kind as Arg>::any(),)*)
                    .prop_map(|($($field,)*)| Self { $($field),* })
                    .boxed()
            }

            fn get(&self) -> $value {
                let Self { $($field),* } = self;
                $(let $field = $field.get();)*
                $make
            }
        }
    )*};
}

rows! {
    IdentityRow { address: Name, key: Key } => (Arc<str>, [u8; 32]) = (address.into(), key);
    /// A session or a sender key.
    SignalRow { address: Name, record: Blob } => (Arc<str>, Bytes) = (address.into(), record.into());
    PreKeyRow { id: u32, record: Blob } => (u32, Bytes) = (id, record.into());
    SyncKey { data: Blob, fingerprint: Blob, timestamp: i64 } => AppStateSyncKey = AppStateSyncKey {
        key_data: data,
        fingerprint,
        timestamp,
    };
    Version { version: u64, hash: u8, entries: Few<MapEntry>, fatal: bool } => HashState = HashState {
        version,
        hash: [hash; 128],
        index_value_map: entries.into_iter().collect(),
        mac_mismatch_fatal: fatal,
    };
    MapEntry { index: Name, mac: Blob } => (String, Vec<u8>) = (index.to_owned(), mac);
    Mutation { index: BinaryName, value: Blob } => AppStateMutationMAC = AppStateMutationMAC {
        index_mac: index,
        value_mac: value,
    };
    DeviceStatus { device: Name, has_key: bool } => (&'static str, bool) = (device, has_key);
    Mapping { lid: Name, phone: Name, created_at: i64, updated_at: i64, source: Name }
        => LidPnMappingEntry = LidPnMappingEntry {
            lid: lid.to_owned(),
            phone_number: phone.to_owned(),
            created_at,
            updated_at,
            learning_source: source.to_owned(),
        };
    ListedDevice { device_id: u32, key_index: Option<u32>, is_hosted: bool } => DeviceInfo = DeviceInfo {
        device_id,
        key_index,
        is_hosted,
    };
    DeviceList { user: Name, devices: Few<ListedDevice>, timestamp: i64, phash: Option<Name>, raw_id: Option<u32> }
        => DeviceListRecord = DeviceListRecord {
            user: user.to_owned(),
            devices,
            timestamp,
            phash: phash.map(str::to_owned),
            raw_id,
        };
    TcToken { token: Blob, token_timestamp: i64, sender_timestamp: Option<i64> } => TcTokenEntry = TcTokenEntry {
        token,
        token_timestamp,
        sender_timestamp,
    };
    PendingKey { chat: Part, sender: Part, id: Part } => [&'static str; 3] = [chat, sender, id];
    PendingRow { key: PendingKey, message: Blob } => ([&'static str; 3], Vec<u8>) = (key, message);
    SecretRow { chat: Part, sender: Part, id: Part, secret: Key, expires_at: i64, message_ts: i64 }
        => MsgSecretEntry = MsgSecretEntry {
            chat: chat.into(),
            sender: sender.into(),
            msg_id: id.into(),
            secret,
            expires_at,
            message_ts,
        };
}

/// A byte that only marks which content it is.
impl Arg for u8 {
    type Value = u8;

    fn any() -> BoxedStrategy<Self> {
        (0..4u8).boxed()
    }

    fn get(&self) -> u8 {
        *self
    }
}
