//! The columns whose values are blinded, with numbers that never change.

use crate::record::Table;

macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = ($table:ident, $number:literal),)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum $name { $($variant),* }

        impl $name {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub(crate) const fn index(self) -> usize {
                self as usize
            }

            pub(crate) const fn table(self) -> Table {
                match self { $(Self::$variant => Table::$table),* }
            }

            const fn number(self) -> u8 {
                match self { $(Self::$variant => $number),* }
            }

            /// `table u16 ‖ column u8`.
            pub(crate) const fn place(self) -> [u8; 3] {
                let [low, high] = self.table().number().to_le_bytes();
                [low, high, self.number()]
            }
        }
    };
}

columns! {
    /// Columns that hold one-way tokens. Where a later column's parts include the earlier ones, it
    /// says so: else equal values in two columns of one row would show.
    TokenColumn {
        // The user part of an address, shared by sessions and identities: one prefix query answers
        // `has_signal_state_for_user` for both.
        SignalUser = (Session, 1),
        SessionAddress = (Session, 2),
        IdentityAddress = (Identity, 1),
        SenderKeyAddress = (SenderKey, 1),
        VersionName = (Version, 1),
        MutationMacName = (MutationMac, 1),
        // (name, index MAC), all 32 bytes.
        MutationMacIndex = (MutationMac, 2),
        Lid = (LidMapping, 1),
        Phone = (LidMapping, 2),
        DeviceListUser = (DeviceList, 1),
        Group = (GroupMetadata, 1),
        SentChat = (SentMessage, 1),
        // (chat, id)
        SentId = (SentMessage, 2),
        PendingChat = (PendingInbound, 1),
        // (chat, sender)
        PendingSender = (PendingInbound, 2),
        // (chat, sender, id)
        PendingId = (PendingInbound, 3),
        // (chat, sender, id)
        MsgSecret = (MsgSecret, 1),
        // The row that carries the device.
        Device = (Device, 1),
        SnapshotName = (Snapshot, 1),
    }
}

columns! {
    /// Columns that hold reversible names, because a list gives them back.
    NameColumn {
        SenderKeyGroup = (SenderKeyDevice, 1),
        // The device alone: rows of one device are deleted across groups.
        SenderKeyDevice = (SenderKeyDevice, 2),
        BaseKeyAddress = (BaseKey, 1),
        // (address, message id)
        BaseKeyMessage = (BaseKey, 2),
        TcTokenJid = (TcToken, 1),
        // (chat, sender, id)
        MsgSecretName = (MsgSecret, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::{NameColumn, TokenColumn};
    use std::collections::HashSet;

    #[test]
    fn every_column_has_a_place_and_an_index_of_its_own() {
        for (position, column) in TokenColumn::ALL.iter().enumerate() {
            assert_eq!(column.index(), position);
        }
        for (position, column) in NameColumn::ALL.iter().enumerate() {
            assert_eq!(column.index(), position);
        }
        let tokens: HashSet<_> = TokenColumn::ALL.iter().map(|c| c.place()).collect();
        let names: HashSet<_> = NameColumn::ALL.iter().map(|c| c.place()).collect();
        assert_eq!(tokens.len(), TokenColumn::ALL.len());
        assert_eq!(names.len(), NameColumn::ALL.len());
    }
}
