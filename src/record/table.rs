//! The kinds of record, with numbers that never change.

use std::fmt;

/// One kind of record. The number is part of the format: it is bound into every record and token.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[repr(u16)]
#[non_exhaustive]
pub enum Table {
    /// Signal sessions.
    Session = 1,
    /// Identity keys of other people's devices.
    Identity = 2,
    /// One-time prekeys.
    PreKey = 3,
    /// Signed prekeys.
    SignedPreKey = 4,
    /// Group sender keys.
    SenderKey = 5,
    /// App-state sync keys.
    SyncKey = 6,
    /// App-state collection versions.
    Version = 7,
    /// App-state mutation MACs.
    MutationMac = 8,
    /// Which devices hold a group's sender key.
    SenderKeyDevice = 9,
    /// LID to phone number mappings.
    LidMapping = 10,
    /// Base keys kept for collision detection.
    BaseKey = 11,
    /// Device lists of users.
    DeviceList = 12,
    /// Group metadata.
    GroupMetadata = 13,
    /// Sent messages kept for retries.
    SentMessage = 14,
    /// Inbound messages that wait for their commit.
    PendingInbound = 15,
    /// Trusted-contact tokens.
    TcToken = 16,
    /// Message secrets.
    MsgSecret = 17,
    /// The device itself: the account's own keys.
    Device = 18,
    /// The row that says whose store this is.
    Canary = 19,
    /// Extra content of a snapshot.
    Snapshot = 20,
}

impl Table {
    /// Every table, in number order.
    pub const ALL: [Table; 20] = [
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
        Self::SentMessage,
        Self::PendingInbound,
        Self::TcToken,
        Self::MsgSecret,
        Self::Device,
        Self::Canary,
        Self::Snapshot,
    ];

    /// The number of the table in the format.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Position in [`Table::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize - 1
    }

    /// The table's name in snake case, as keyring documents spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Identity => "identity",
            Self::PreKey => "pre_key",
            Self::SignedPreKey => "signed_pre_key",
            Self::SenderKey => "sender_key",
            Self::SyncKey => "sync_key",
            Self::Version => "version",
            Self::MutationMac => "mutation_mac",
            Self::SenderKeyDevice => "sender_key_device",
            Self::LidMapping => "lid_mapping",
            Self::BaseKey => "base_key",
            Self::DeviceList => "device_list",
            Self::GroupMetadata => "group_metadata",
            Self::SentMessage => "sent_message",
            Self::PendingInbound => "pending_inbound",
            Self::TcToken => "tc_token",
            Self::MsgSecret => "msg_secret",
            Self::Device => "device",
            Self::Canary => "canary",
            Self::Snapshot => "snapshot",
        }
    }

    /// Whether a row of this table that fails authentication may be read as absent. A session or a
    /// cache heals when it is absent; an identity, the device or a key does not, and a missing
    /// sender-key-device row would keep a removed member's key in use.
    pub(crate) const fn heals_when_absent(self) -> bool {
        matches!(
            self,
            Self::Session
                | Self::SenderKey
                | Self::DeviceList
                | Self::GroupMetadata
                | Self::Version
                | Self::TcToken
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn index_is_the_position_and_the_serialised_name_is_the_name() {
        for (position, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table.index(), position);
            assert_eq!(
                serde_json::to_value(table).unwrap(),
                serde_json::Value::from(table.name())
            );
        }
    }
}
