//! What a sealed store does where there is a choice.

use crate::record::{Padding, Table};

/// What happens with a row that fails authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnCorrupt {
    /// The call fails with [`SealError::Corrupt`](crate::SealError::Corrupt). The default.
    #[default]
    Fail,
    /// For bots that nobody watches: a row that fails authentication under a known generation reads
    /// as absent, in those tables that heal then: sessions, sender keys, device lists, group
    /// metadata, versions and trusted-contact tokens (whose row is deleted). Each case is counted and
    /// audited. Identities, sender-key devices, the device and all else still fail.
    TreatAsMissing,
}

/// Options of a sealed store. The suite is the keyring's, see
/// [`KeyringOptions::suite`](crate::KeyringOptions::suite).
#[derive(Debug, Clone)]
#[must_use]
pub struct SealOptions {
    pub(crate) on_corrupt: OnCorrupt,
    /// By [`Table::index`].
    padding: [Padding; Table::ALL.len()],
}

impl Default for SealOptions {
    /// [`OnCorrupt::Fail`]; message payloads padded with Padmé, all else to a multiple of 64 bytes.
    fn default() -> Self {
        let mut options = Self {
            on_corrupt: OnCorrupt::Fail,
            padding: [Padding::Multiple(64); Table::ALL.len()],
        };
        for payload in [Table::SentMessage, Table::PendingInbound, Table::Snapshot] {
            options = options.padding(payload, Padding::Padme);
        }
        options
    }
}

impl SealOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// What happens with a row that fails authentication.
    pub fn on_corrupt(mut self, on_corrupt: OnCorrupt) -> Self {
        self.on_corrupt = on_corrupt;
        self
    }

    /// How records of `table` are padded from now on. Any padding opens, so it may change any time.
    pub fn padding(mut self, table: Table, padding: Padding) -> Self {
        if let Some(slot) = self.padding.get_mut(table.index()) {
            *slot = padding;
        }
        self
    }

    pub(crate) fn padding_of(&self, table: Table) -> Padding {
        self.padding
            .get(table.index())
            .copied()
            .unwrap_or(Padding::Multiple(64))
    }
}
