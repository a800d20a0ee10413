//! What a sealed store does where there is a choice.

use crate::record::{Padding, Suite, Table};

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

/// How rows are sealed and opened. Given to [`KeyringOptions::seal`](crate::KeyringOptions::seal) they
/// hold for every store of the keyring; [`SealedBackend::open_with`](crate::SealedBackend::open_with)
/// takes others for one store.
///
/// | option | default |
/// | --- | --- |
/// | [`suite`](Self::suite) | [`Suite::for_this_machine`] |
/// | [`on_corrupt`](Self::on_corrupt) | [`OnCorrupt::Fail`] |
/// | [`padding`](Self::padding) | Padmé for message payloads and snapshots, else a multiple of 64 bytes |
#[derive(Debug, Clone)]
#[must_use]
pub struct SealOptions {
    pub(crate) suite: Option<Suite>,
    pub(crate) on_corrupt: OnCorrupt,
    /// By [`Table::index`].
    padding: [Padding; Table::ALL.len()],
}

impl Default for SealOptions {
    fn default() -> Self {
        let mut options = Self {
            suite: None,
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

    /// The suite of a new keyring: of its wraps, and of every data key made in it. An existing
    /// keyring keeps its own.
    pub fn suite(mut self, suite: Suite) -> Self {
        self.suite = Some(suite);
        self
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
