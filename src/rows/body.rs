//! What a row is to the client.

use wacore::appstate::hash::HashState;
use wacore::store::traits::{AppStateSyncKey, DeviceListRecord, LidPnMappingEntry, TcTokenEntry};
use zeroize::{Zeroize, Zeroizing};

pub(crate) type Text = Zeroizing<String>;
pub(crate) type Bytes = Zeroizing<Vec<u8>>;

/// The tables that both layouts have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Device,
    Session,
    Identity,
    PreKey,
    SignedPreKey,
    SenderKey,
    SyncKey,
    Version,
    MutationMac,
    SenderKeyDevice,
    LidMapping,
    BaseKey,
    DeviceList,
    GroupMetadata,
    TcToken,
    SentMessage,
    PendingInbound,
    MsgSecret,
}

impl Kind {
    /// All of them, devices first: mappings refer to them.
    pub(crate) const ALL: [Self; 18] = [
        Self::Device,
        Self::Session,
        Self::Identity,
        Self::PreKey,
        Self::SignedPreKey,
        Self::SenderKey,
        Self::SyncKey,
        Self::Version,
        Self::MutationMac,
        Self::SenderKeyDevice,
        Self::LidMapping,
        Self::BaseKey,
        Self::DeviceList,
        Self::GroupMetadata,
        Self::TcToken,
        Self::SentMessage,
        Self::PendingInbound,
        Self::MsgSecret,
    ];

    /// Its place among [`Kind::ALL`].
    pub(crate) const fn number(self) -> usize {
        self as usize
    }
}

/// A row, whole. Wiped when it is dropped.
pub(crate) struct Row {
    /// Upstream's number of a device.
    pub(crate) account: i32,
    pub(crate) body: Body,
    /// When the store wrote it, where its layout says so: no method of the client gives it back.
    pub(crate) written: Option<i64>,
}

/// What a row holds.
pub(crate) enum Body {
    /// As JSON: fields that upstream adds later survive.
    Device(Bytes),
    Session {
        address: Text,
        record: Bytes,
    },
    Identity {
        address: Text,
        key: Bytes,
    },
    PreKey {
        id: u32,
        record: Bytes,
        uploaded: i64,
    },
    SignedPreKey {
        id: u32,
        record: Bytes,
    },
    SenderKey {
        address: Text,
        record: Bytes,
    },
    SyncKey {
        id: Bytes,
        key: AppStateSyncKey,
    },
    Version {
        name: Text,
        /// It is large.
        state: Box<HashState>,
    },
    MutationMac {
        name: Text,
        index_mac: Bytes,
        version: i64,
        value_mac: Bytes,
    },
    SenderKeyDevice {
        group: Text,
        device: Text,
        has_key: i64,
    },
    LidMapping(LidPnMappingEntry),
    BaseKey {
        address: Text,
        message_id: Text,
        base_key: Bytes,
    },
    DeviceList(DeviceListRecord),
    GroupMetadata {
        group: Text,
        info: Bytes,
    },
    TcToken {
        jid: Text,
        entry: TcTokenEntry,
    },
    SentMessage {
        chat: Text,
        id: Text,
        payload: Bytes,
    },
    PendingInbound {
        chat: Text,
        sender: Text,
        id: Text,
        message: Bytes,
    },
    /// One row of upstream's; of ours, one of the secrets in a row.
    MsgSecret {
        chat: Text,
        sender: Text,
        id: Text,
        secret: Bytes,
        expires_at: i64,
        message_ts: i64,
    },
}

impl Body {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Device(_) => Kind::Device,
            Self::Session { .. } => Kind::Session,
            Self::Identity { .. } => Kind::Identity,
            Self::PreKey { .. } => Kind::PreKey,
            Self::SignedPreKey { .. } => Kind::SignedPreKey,
            Self::SenderKey { .. } => Kind::SenderKey,
            Self::SyncKey { .. } => Kind::SyncKey,
            Self::Version { .. } => Kind::Version,
            Self::MutationMac { .. } => Kind::MutationMac,
            Self::SenderKeyDevice { .. } => Kind::SenderKeyDevice,
            Self::LidMapping(_) => Kind::LidMapping,
            Self::BaseKey { .. } => Kind::BaseKey,
            Self::DeviceList(_) => Kind::DeviceList,
            Self::GroupMetadata { .. } => Kind::GroupMetadata,
            Self::TcToken { .. } => Kind::TcToken,
            Self::SentMessage { .. } => Kind::SentMessage,
            Self::PendingInbound { .. } => Kind::PendingInbound,
            Self::MsgSecret { .. } => Kind::MsgSecret,
        }
    }
}

impl Body {
    /// The parts of its key, for whoever asked to see them.
    pub(crate) fn key_text(&self) -> String {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        match self {
            Self::Device(_) => "device".to_owned(),
            Self::Session { address, .. }
            | Self::Identity { address, .. }
            | Self::SenderKey { address, .. } => address.to_string(),
            Self::PreKey { id, .. } | Self::SignedPreKey { id, .. } => id.to_string(),
            Self::SyncKey { id, .. } => hex(id),
            Self::Version { name, .. } => name.to_string(),
            Self::MutationMac {
                name, index_mac, ..
            } => format!("{} {}", **name, hex(index_mac)),
            Self::SenderKeyDevice { group, device, .. } => format!("{} {}", **group, **device),
            Self::LidMapping(entry) => format!("{} {}", entry.lid, entry.phone_number),
            Self::BaseKey {
                address,
                message_id,
                ..
            } => format!("{} {}", **address, **message_id),
            Self::DeviceList(list) => list.user.clone(),
            Self::GroupMetadata { group, .. } => group.to_string(),
            Self::TcToken { jid, .. } => jid.to_string(),
            Self::SentMessage { chat, id, .. } => format!("{} {}", **chat, **id),
            Self::PendingInbound {
                chat, sender, id, ..
            }
            | Self::MsgSecret {
                chat, sender, id, ..
            } => format!("{} {} {}", **chat, **sender, **id),
        }
    }
}

/// What the client's own types hold does not wipe itself; the rest does.
impl Drop for Body {
    fn drop(&mut self) {
        match self {
            Self::SyncKey { key, .. } => {
                key.key_data.zeroize();
                key.fingerprint.zeroize();
            }
            Self::Version { state, .. } => {
                state.hash.zeroize();
                state
                    .index_value_map
                    .values_mut()
                    .for_each(Zeroize::zeroize);
            }
            Self::LidMapping(entry) => {
                entry.lid.zeroize();
                entry.phone_number.zeroize();
                entry.learning_source.zeroize();
            }
            Self::DeviceList(list) => {
                list.user.zeroize();
                list.phash.zeroize();
            }
            Self::TcToken { entry, .. } => entry.token.zeroize(),
            Self::Device(_)
            | Self::Session { .. }
            | Self::Identity { .. }
            | Self::PreKey { .. }
            | Self::SignedPreKey { .. }
            | Self::SenderKey { .. }
            | Self::MutationMac { .. }
            | Self::SenderKeyDevice { .. }
            | Self::BaseKey { .. }
            | Self::GroupMetadata { .. }
            | Self::SentMessage { .. }
            | Self::PendingInbound { .. }
            | Self::MsgSecret { .. } => {}
        }
    }
}
