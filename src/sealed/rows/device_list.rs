//! Device lists, whole in one record.

use wacore::store::traits::{DeviceInfo, DeviceListRecord};

use super::{Sealer, check_default, corrupt, of_text, place, to_text};
use crate::blind::TokenColumn;
use crate::error::{Fault, SealError};
use crate::record::frame::{Reader, Sink, put_frame};
use crate::record::{Nonce, Opened, Table};
use crate::wipe::Buffer;

impl Sealer<'_> {
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
        let sealed = self.seal(
            place(Table::DeviceList, &[key.as_bytes()]),
            &[list.user.as_bytes()],
            &value,
            nonce,
        )?;
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

pub(crate) fn read_device_list(user: &str, value: &[u8]) -> Option<DeviceListRecord> {
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
