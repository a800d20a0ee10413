//! LID mappings.

use wacore::store::traits::LidPnMappingEntry;

use super::{Sealer, corrupt, of_text, text_part, to_text};
use crate::blind::TokenColumn;
use crate::error::{Fault, SealError};
use crate::record::{Nonce, Opened, Place, Table};

/// Which half of a mapping was asked for.
#[derive(Clone, Copy)]
pub(crate) enum MappingKey<'a> {
    Lid(&'a str),
    Phone(&'a str),
}

impl Sealer<'_> {
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
}
