//! Sender-key devices, base keys, group metadata and trusted-contact tokens.

use wacore::store::traits::TcTokenEntry;
use zeroize::Zeroizing;

use super::{Sealer, corrupt, place};
use crate::blind::{NameColumn, TokenColumn};
use crate::error::{Fault, SealError};
use crate::record::{self, Nonce, Opened, Place, Table};

impl Sealer<'_> {
    /// `R(group)`.
    pub(crate) fn sender_key_group(&self, group: &str) -> Result<String, SealError> {
        self.blind()
            .name(NameColumn::SenderKeyGroup, &[group.as_bytes()])
    }

    /// `R(device)`, not bound to the group: rows of a device are deleted across groups.
    pub(crate) fn sender_key_device(&self, device: &str) -> Result<String, SealError> {
        self.blind()
            .name(NameColumn::SenderKeyDevice, &[device.as_bytes()])
    }

    pub(crate) fn read_sender_key_device(&self, key: &str) -> Result<String, SealError> {
        let [device] = self.blind().read_name(NameColumn::SenderKeyDevice, key)?;
        Ok(device)
    }

    pub(crate) fn read_sender_key_group(&self, key: &str) -> Result<String, SealError> {
        let [group] = self.blind().read_name(NameColumn::SenderKeyGroup, key)?;
        Ok(group)
    }

    /// `R(address)` and `R(address, message id)`.
    pub(crate) fn base_key_row(
        &self,
        address: &str,
        message_id: &str,
    ) -> Result<(String, String), SealError> {
        let address = address.as_bytes();
        Ok((
            self.blind().name(NameColumn::BaseKeyAddress, &[address])?,
            self.blind().name(
                NameColumn::BaseKeyMessage,
                &[address, message_id.as_bytes()],
            )?,
        ))
    }

    /// The base key under every generation that may have sealed it, the newest first: the inner store
    /// compares, so equal keys must give equal bytes.
    pub(crate) fn seal_base_key(
        &self,
        address: &str,
        message_id: &str,
        base_key: &[u8],
    ) -> Result<Vec<Vec<u8>>, SealError> {
        self.keys
            .table(Table::BaseKey)?
            .all()
            .map(|key| {
                record::siv_seal(
                    key,
                    Table::BaseKey,
                    &[address.as_bytes(), message_id.as_bytes()],
                    base_key,
                )
            })
            .collect()
    }

    /// The name and the value of a base key's row, which is compared and never opened otherwise.
    pub(crate) fn open_base_key(
        &self,
        row: (&str, &str),
        sealed: &[u8],
    ) -> Result<([String; 2], Zeroizing<Vec<u8>>), SealError> {
        let [address] = self.blind().read_name(NameColumn::BaseKeyAddress, row.0)?;
        let name: [String; 2] = self.blind().read_name(NameColumn::BaseKeyMessage, row.1)?;
        let [of_message, _] = &name;
        if *of_message != address {
            return Err(corrupt(Table::BaseKey, Fault::Name));
        }
        let value = record::siv_open(
            self.keys.table(Table::BaseKey)?,
            Table::BaseKey,
            &name.each_ref().map(|part| part.as_bytes()),
            sealed,
        )?;
        Ok((name, value))
    }

    /// `T(group)` of group metadata.
    pub(crate) fn group_key(&self, group: &str) -> Result<String, SealError> {
        self.blind().token(TokenColumn::Group, &[group.as_bytes()])
    }

    pub(crate) fn seal_group(
        &self,
        group: &str,
        blob: &[u8],
        nonce: &Nonce,
    ) -> Result<(String, Vec<u8>), SealError> {
        let key = self.group_key(group)?;
        let sealed = self.seal(
            place(Table::GroupMetadata, &[key.as_bytes()]),
            &[group.as_bytes()],
            blob,
            nonce,
        )?;
        Ok((key, sealed))
    }

    pub(crate) fn open_group(
        &self,
        key: &str,
        group: &str,
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        Ok(self
            .group_record(key, sealed)?
            .check_name([group.as_bytes()])?
            .into_value())
    }

    /// The record of the row `key`, whatever its group is.
    pub(crate) fn group_record(&self, key: &str, sealed: &[u8]) -> Result<Opened, SealError> {
        self.open(place(Table::GroupMetadata, &[key.as_bytes()]), sealed)
    }

    /// `R(jid)`.
    pub(crate) fn tc_token_key(&self, jid: &str) -> Result<String, SealError> {
        self.blind().name(NameColumn::TcTokenJid, &[jid.as_bytes()])
    }

    pub(crate) fn read_tc_token_key(&self, key: &str) -> Result<String, SealError> {
        let [jid] = self.blind().read_name(NameColumn::TcTokenJid, key)?;
        Ok(jid)
    }

    /// An empty token stays empty: expiry and newer-wins test for it. The time of the token is bound;
    /// the sender's can't be, the inner store advances it in place.
    pub(crate) fn seal_tc_token(
        &self,
        key: &str,
        jid: &str,
        token: &[u8],
        token_timestamp: i64,
        nonce: &Nonce,
    ) -> Result<Vec<u8>, SealError> {
        if token.is_empty() {
            return Ok(Vec::new());
        }
        let place = Place {
            table: Table::TcToken,
            key: &[key.as_bytes()],
            clear: &[&token_timestamp.to_le_bytes()],
        };
        self.seal(place, &[jid.as_bytes()], token, nonce)
    }

    pub(crate) fn open_tc_token(
        &self,
        key: &str,
        jid: &str,
        row: &TcTokenEntry,
    ) -> Result<TcTokenEntry, SealError> {
        let token = match self.tc_token_record(key, row)? {
            None => Vec::new(),
            Some(opened) => opened.check_name([jid.as_bytes()])?.into_value(),
        };
        Ok(TcTokenEntry {
            token,
            token_timestamp: row.token_timestamp,
            sender_timestamp: row.sender_timestamp,
        })
    }

    /// The record of the row `key`, whatever its contact is; `None` while there is no token.
    pub(crate) fn tc_token_record(
        &self,
        key: &str,
        row: &TcTokenEntry,
    ) -> Result<Option<Opened>, SealError> {
        let TcTokenEntry {
            token: sealed,
            token_timestamp,
            sender_timestamp: _,
        } = row;
        if sealed.is_empty() {
            return Ok(None);
        }
        let place = Place {
            table: Table::TcToken,
            key: &[key.as_bytes()],
            clear: &[&token_timestamp.to_le_bytes()],
        };
        self.open(place, sealed).map(Some)
    }
}
