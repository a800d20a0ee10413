//! Sessions, identities, prekeys, signed prekeys and sender keys.

use super::{Sealer, place};
use crate::blind::TokenColumn;
use crate::error::{Fault, SealError};
use crate::record::{Nonce, Opened, Table};

/// The tables whose rows are one record under one Signal address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignalTable {
    /// `T(user) @ T(address)` in the inner store's sessions.
    Session,
    /// The same user token, in the inner store's sessions too: its identities have room for 32 bytes.
    Identity,
    /// `T(address)`.
    SenderKey,
}

impl SignalTable {
    pub(crate) const fn table(self) -> Table {
        match self {
            Self::Session => Table::Session,
            Self::Identity => Table::Identity,
            Self::SenderKey => Table::SenderKey,
        }
    }
}

impl Sealer<'_> {
    /// The row's key in the inner store.
    pub(crate) fn address_key(
        &self,
        table: SignalTable,
        address: &str,
    ) -> Result<String, SealError> {
        match table {
            SignalTable::Session => self
                .blind()
                .signal_address(TokenColumn::SessionAddress, address),
            SignalTable::Identity => self
                .blind()
                .signal_address(TokenColumn::IdentityAddress, address),
            SignalTable::SenderKey => self
                .blind()
                .token(TokenColumn::SenderKeyAddress, &[address.as_bytes()]),
        }
    }

    /// What the inner store is asked with for all rows of one user.
    pub(crate) fn user_key(&self, user: &str) -> Result<String, SealError> {
        self.blind()
            .token(TokenColumn::SignalUser, &[user.as_bytes()])
    }

    pub(crate) fn seal_address(
        &self,
        table: SignalTable,
        address: &str,
        record: &[u8],
        nonce: &Nonce,
    ) -> Result<(String, Vec<u8>), SealError> {
        let key = self.address_key(table, address)?;
        let sealed = self.seal(
            place(table.table(), &[key.as_bytes()]),
            &[address.as_bytes()],
            record,
            nonce,
        )?;
        Ok((key, sealed))
    }

    pub(crate) fn open_address(
        &self,
        table: SignalTable,
        key: &str,
        address: &str,
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        Ok(self
            .address_record(table, key, sealed)?
            .check_name([address.as_bytes()])?
            .into_value())
    }

    /// The record of the row `key`, whatever its address is.
    pub(crate) fn address_record(
        &self,
        table: SignalTable,
        key: &str,
        sealed: &[u8],
    ) -> Result<Opened, SealError> {
        self.open(place(table.table(), &[key.as_bytes()]), sealed)
    }

    pub(crate) fn open_identity(
        &self,
        key: &str,
        address: &str,
        sealed: &[u8],
    ) -> Result<[u8; 32], SealError> {
        let value = zeroize::Zeroizing::new(self.open_address(
            SignalTable::Identity,
            key,
            address,
            sealed,
        )?);
        value
            .as_slice()
            .try_into()
            .map_err(|_| super::corrupt(Table::Identity, Fault::Length))
    }

    /// `table` is [`Table::PreKey`] or [`Table::SignedPreKey`], whose ids stay in the clear.
    pub(crate) fn seal_by_id(
        &self,
        table: Table,
        id: u32,
        record: &[u8],
        nonce: &Nonce,
    ) -> Result<Vec<u8>, SealError> {
        let id = id.to_le_bytes();
        self.seal(place(table, &[&id]), &[&id], record, nonce)
    }

    pub(crate) fn open_by_id(
        &self,
        table: Table,
        id: u32,
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        Ok(self.id_record(table, id, sealed)?.into_value())
    }

    /// The record of the row `id`, whose name is its id.
    pub(crate) fn id_record(
        &self,
        table: Table,
        id: u32,
        sealed: &[u8],
    ) -> Result<Opened, SealError> {
        let id = id.to_le_bytes();
        self.open(place(table, &[&id]), sealed)?.check_name([&id])
    }
}
