//! Sender-key devices, mappings, base keys, device lists, groups, tokens and messages.

use wacore::store::traits::{DeviceInfo, DeviceListRecord, LidPnMappingEntry, TcTokenEntry};
use zeroize::Zeroizing;

use super::{Sealer, check_default, corrupt, of_text, text_part, to_text};
use crate::blind::{NameColumn, TokenColumn};
use crate::error::{Fault, SealError};
use crate::record::frame::{Reader, Sink, put_frame};
use crate::record::{self, Nonce, Opened, Place, Table};
use crate::wipe::Buffer;

/// Which half of a mapping was asked for.
#[derive(Clone, Copy)]
pub(crate) enum MappingKey<'a> {
    Lid(&'a str),
    Phone(&'a str),
}

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

    /// `T(lid)` or `T(phone)`.
    pub(crate) fn mapping_key(&self, key: MappingKey<'_>) -> Result<String, SealError> {
        match key {
            MappingKey::Lid(lid) => self.blind().token(TokenColumn::Lid, &[lid.as_bytes()]),
            MappingKey::Phone(phone) => self.blind().token(TokenColumn::Phone, &[phone.as_bytes()]),
        }
    }

    /// The inner store keeps the first `created_at` and orders by `updated_at`: both stay in the
    /// clear, and the second is bound.
    pub(crate) fn seal_mapping(
        &self,
        entry: &LidPnMappingEntry,
        nonce: &Nonce,
    ) -> Result<LidPnMappingEntry, SealError> {
        let LidPnMappingEntry {
            lid,
            phone_number,
            created_at,
            updated_at,
            learning_source,
        } = entry;
        let lid_key = self.mapping_key(MappingKey::Lid(lid))?;
        let phone_key = self.mapping_key(MappingKey::Phone(phone_number))?;
        let place = Place {
            table: Table::LidMapping,
            key: &[lid_key.as_bytes(), phone_key.as_bytes()],
            clear: &[&updated_at.to_le_bytes()],
        };
        let sealed = self.seal(
            place,
            &[lid.as_bytes(), phone_number.as_bytes()],
            learning_source.as_bytes(),
            nonce,
        )?;
        Ok(LidPnMappingEntry {
            lid: lid_key,
            phone_number: phone_key,
            created_at: *created_at,
            updated_at: *updated_at,
            learning_source: to_text(&sealed),
        })
    }

    /// The name inside gives the row's keys: they were bound to it when both were sealed together. A caller
    /// that asked for a name compares it.
    pub(crate) fn open_mapping(
        &self,
        row: &LidPnMappingEntry,
    ) -> Result<LidPnMappingEntry, SealError> {
        let opened = self.mapping_record(row)?;
        let [lid, phone_number] = opened.name()?;
        Ok(LidPnMappingEntry {
            lid: text_part(Table::LidMapping, lid)?,
            phone_number: text_part(Table::LidMapping, phone_number)?,
            created_at: row.created_at,
            updated_at: row.updated_at,
            learning_source: text_part(Table::LidMapping, opened.value())?,
        })
    }

    /// The record of a mapping's row, whatever its name is.
    pub(crate) fn mapping_record(&self, row: &LidPnMappingEntry) -> Result<Opened, SealError> {
        const TABLE: Table = Table::LidMapping;
        let LidPnMappingEntry {
            lid: lid_key,
            phone_number: phone_key,
            created_at: _,
            updated_at,
            learning_source,
        } = row;
        let place = Place {
            table: TABLE,
            key: &[lid_key.as_bytes(), phone_key.as_bytes()],
            clear: &[&updated_at.to_le_bytes()],
        };
        self.open_owned(place, of_text(TABLE, learning_source)?)
    }

    /// As [`Self::open_mapping`], for a row that was asked for by one of its names.
    pub(crate) fn open_mapping_of(
        &self,
        asked: MappingKey<'_>,
        row: &LidPnMappingEntry,
    ) -> Result<LidPnMappingEntry, SealError> {
        let entry = self.open_mapping(row)?;
        let right = match asked {
            MappingKey::Lid(lid) => entry.lid == lid,
            MappingKey::Phone(phone) => entry.phone_number == phone,
        };
        if right {
            Ok(entry)
        } else {
            Err(corrupt(Table::LidMapping, Fault::Name))
        }
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

    /// `T(user)` of a device list.
    pub(crate) fn device_list_key(&self, user: &str) -> Result<String, SealError> {
        self.blind()
            .token(TokenColumn::DeviceListUser, &[user.as_bytes()])
    }

    pub(crate) fn seal_device_list(
        &self,
        list: &DeviceListRecord,
        nonce: &Nonce,
    ) -> Result<DeviceListRecord, SealError> {
        let key = self.device_list_key(&list.user)?;
        let value = write_device_list(list)?;
        let place = Place {
            table: Table::DeviceList,
            key: &[key.as_bytes()],
            clear: &[],
        };
        let sealed = self.seal(place, &[list.user.as_bytes()], &value, nonce)?;
        Ok(DeviceListRecord {
            user: key,
            devices: Vec::new(),
            timestamp: 0,
            phash: Some(to_text(&sealed)),
            raw_id: None,
        })
    }

    pub(crate) fn open_device_list(
        &self,
        user: &str,
        row: &DeviceListRecord,
    ) -> Result<DeviceListRecord, SealError> {
        let opened = self
            .device_list_record(row)?
            .check_name([user.as_bytes()])?;
        read_device_list(user, opened.value()).ok_or(corrupt(Table::DeviceList, Fault::Length))
    }

    /// The record of a device list's row, whatever its user is.
    pub(crate) fn device_list_record(&self, row: &DeviceListRecord) -> Result<Opened, SealError> {
        const TABLE: Table = Table::DeviceList;
        let DeviceListRecord {
            user: key,
            devices,
            timestamp,
            phash,
            raw_id,
        } = row;
        let text = phash
            .as_ref()
            .ok_or(SealError::Unsealed { table: Some(TABLE) })?;
        let opened = self.open_owned(place(TABLE, &[key.as_bytes()]), of_text(TABLE, text)?)?;
        check_default(
            TABLE,
            devices.is_empty() && *timestamp == 0 && raw_id.is_none(),
        )?;
        Ok(opened)
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

    /// `T(chat)`, `T(chat, id)` of a sent message.
    pub(crate) fn sent_key(&self, chat: &str, id: &str) -> Result<[String; 2], SealError> {
        let (chat, id) = (chat.as_bytes(), id.as_bytes());
        Ok([
            self.blind().token(TokenColumn::SentChat, &[chat])?,
            self.blind().token(TokenColumn::SentId, &[chat, id])?,
        ])
    }

    pub(crate) fn seal_sent(
        &self,
        key: &[String; 2],
        chat: &str,
        id: &str,
        payload: &[u8],
        nonce: &Nonce,
    ) -> Result<Vec<u8>, SealError> {
        let key = key.each_ref().map(|part| part.as_bytes());
        self.seal(
            place(Table::SentMessage, &key),
            &[chat.as_bytes(), id.as_bytes()],
            payload,
            nonce,
        )
    }

    pub(crate) fn open_sent(
        &self,
        key: &[String; 2],
        chat: &str,
        id: &str,
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        Ok(self
            .sent_record(key.each_ref().map(String::as_str), sealed)?
            .check_name([chat.as_bytes(), id.as_bytes()])?
            .into_value())
    }

    /// The record of the row `key`, whatever its name is.
    pub(crate) fn sent_record(&self, key: [&str; 2], sealed: &[u8]) -> Result<Opened, SealError> {
        self.open(place(Table::SentMessage, &key.map(str::as_bytes)), sealed)
    }

    /// `T(chat)`, `T(chat, sender)`, `T(chat, sender, id)` of a pending message.
    pub(crate) fn pending_key(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
    ) -> Result<[String; 3], SealError> {
        let (chat, sender, id) = (chat.as_bytes(), sender.as_bytes(), id.as_bytes());
        let blind = self.blind();
        Ok([
            blind.token(TokenColumn::PendingChat, &[chat])?,
            blind.token(TokenColumn::PendingSender, &[chat, sender])?,
            blind.token(TokenColumn::PendingId, &[chat, sender, id])?,
        ])
    }

    pub(crate) fn seal_pending(
        &self,
        key: &[String; 3],
        name: [&str; 3],
        message: &[u8],
        nonce: &Nonce,
    ) -> Result<Vec<u8>, SealError> {
        let key = key.each_ref().map(|part| part.as_bytes());
        self.seal(
            place(Table::PendingInbound, &key),
            &name.map(str::as_bytes),
            message,
            nonce,
        )
    }

    pub(crate) fn open_pending(
        &self,
        key: &[String; 3],
        name: [&str; 3],
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        Ok(self
            .pending_record(key.each_ref().map(String::as_str), sealed)?
            .check_name(name.map(str::as_bytes))?
            .into_value())
    }

    /// The record of the row `key`, whatever its name is.
    pub(crate) fn pending_record(
        &self,
        key: [&str; 3],
        sealed: &[u8],
    ) -> Result<Opened, SealError> {
        self.open(
            place(Table::PendingInbound, &key.map(str::as_bytes)),
            sealed,
        )
    }
}

fn place<'a>(table: Table, key: &'a [&'a [u8]]) -> Place<'a> {
    Place {
        table,
        key,
        clear: &[],
    }
}

fn put_option(value: &mut Buffer, option: Option<&[u8]>) -> Result<(), SealError> {
    match option {
        None => value.put(&[0]),
        Some(bytes) => {
            value.put(&[1]);
            put_frame(value, bytes)?;
        }
    }
    Ok(())
}

fn read_option<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a [u8]>> {
    match reader.u8()? {
        0 => Some(None),
        1 => Some(Some(reader.frame()?)),
        _ => None,
    }
}

/// All of a device list but the user, who is in the record's name.
fn write_device_list(list: &DeviceListRecord) -> Result<Buffer, SealError> {
    let DeviceListRecord {
        user: _,
        devices,
        timestamp,
        phash,
        raw_id,
    } = list;
    let mut value = Buffer::with_capacity(64 + 16 * devices.len());
    value.put(&timestamp.to_le_bytes());
    put_option(&mut value, phash.as_deref().map(str::as_bytes))?;
    put_option(
        &mut value,
        raw_id.map(u32::to_le_bytes).as_ref().map(|id| &id[..]),
    )?;
    let count = u32::try_from(devices.len()).map_err(|_| SealError::TooLarge)?;
    value.put(&count.to_le_bytes());
    for device in devices {
        let DeviceInfo {
            device_id,
            key_index,
            is_hosted,
        } = device;
        value.put(&device_id.to_le_bytes());
        put_option(
            &mut value,
            key_index.map(u32::to_le_bytes).as_ref().map(|id| &id[..]),
        )?;
        value.put(&[u8::from(*is_hosted)]);
    }
    Ok(value)
}

fn read_device_list(user: &str, value: &[u8]) -> Option<DeviceListRecord> {
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
    let optional = |bytes: Option<&[u8]>| match bytes {
        None => Some(None),
        Some(bytes) => number(bytes).map(Some),
    };
    let mut reader = Reader::new(value);
    let timestamp = reader.i64()?;
    let phash = match read_option(&mut reader)? {
        None => None,
        Some(text) => Some(std::str::from_utf8(text).ok()?.to_owned()),
    };
    let raw_id = optional(read_option(&mut reader)?)?;
    let count = reader.u32()?;
    let mut devices = Vec::new();
    for _ in 0..count {
        devices.push(DeviceInfo {
            device_id: reader.u32()?,
            key_index: optional(read_option(&mut reader)?)?,
            is_hosted: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            },
        });
    }
    reader.end()?;
    Some(DeviceListRecord {
        user: user.to_owned(),
        devices,
        timestamp,
        phash,
        raw_id,
    })
}
