//! App-state sync keys, versions and mutation MACs.

use std::collections::HashMap;

use wacore::appstate::hash::HashState;
use wacore::store::traits::AppStateSyncKey;

use super::{Sealer, check_default, corrupt, place};
use crate::blind::TokenColumn;
use crate::error::{Fault, SealError};
use crate::record::frame::{Reader, Sink, put_frame};
use crate::record::{Nonce, Opened, Table};
use crate::wipe::Buffer;

/// The one entry of a sealed version's map.
const STATE: &str = "s";

impl Sealer<'_> {
    /// The key id stays in the clear, and the length of the key data: SQLite orders by the one and
    /// takes a key of another length than 32 bytes for absent.
    pub(crate) fn seal_sync_key(
        &self,
        key_id: &[u8],
        key: &AppStateSyncKey,
        nonce: &Nonce,
    ) -> Result<AppStateSyncKey, SealError> {
        let AppStateSyncKey {
            key_data,
            fingerprint,
            timestamp,
        } = key;
        let mut value = Buffer::with_capacity(16 + key_data.len() + fingerprint.len());
        put_frame(&mut value, key_data)?;
        put_frame(&mut value, fingerprint)?;
        value.put(&timestamp.to_le_bytes());
        let sealed = self.seal(place(Table::SyncKey, &[key_id]), &[key_id], &value, nonce)?;
        Ok(AppStateSyncKey {
            key_data: vec![0; key_data.len()],
            fingerprint: sealed,
            timestamp: 0,
        })
    }

    pub(crate) fn open_sync_key(
        &self,
        key_id: &[u8],
        row: &AppStateSyncKey,
    ) -> Result<AppStateSyncKey, SealError> {
        let opened = self.sync_key_record(key_id, row)?;
        let (key_data, fingerprint, timestamp) =
            read_sync_key(opened.value()).ok_or(corrupt(Table::SyncKey, Fault::Length))?;
        Ok(AppStateSyncKey {
            key_data: key_data.to_vec(),
            fingerprint: fingerprint.to_vec(),
            timestamp,
        })
    }

    /// The record of the row `key_id`, whose name is its id.
    pub(crate) fn sync_key_record(
        &self,
        key_id: &[u8],
        row: &AppStateSyncKey,
    ) -> Result<Opened, SealError> {
        let AppStateSyncKey {
            key_data: zeros,
            fingerprint: sealed,
            timestamp,
        } = row;
        let opened = self
            .open(place(Table::SyncKey, &[key_id]), sealed)?
            .check_name([key_id])?;
        let (key_data, _, _) =
            read_sync_key(opened.value()).ok_or(corrupt(Table::SyncKey, Fault::Length))?;
        check_default(
            Table::SyncKey,
            *timestamp == 0 && zeros.len() == key_data.len() && zeros.iter().all(|byte| *byte == 0),
        )?;
        Ok(opened)
    }

    /// `T(name)`.
    pub(crate) fn version_key(&self, name: &str) -> Result<String, SealError> {
        self.blind()
            .token(TokenColumn::VersionName, &[name.as_bytes()])
    }

    pub(crate) fn seal_version(
        &self,
        name: &str,
        state: &HashState,
        nonce: &Nonce,
    ) -> Result<(String, HashState), SealError> {
        let HashState {
            version,
            hash,
            index_value_map,
            mac_mismatch_fatal,
        } = state;
        let mut value = Buffer::with_capacity(160);
        value.put(&version.to_le_bytes());
        value.put(hash);
        value.put(&[u8::from(*mac_mismatch_fatal)]);
        let count = u32::try_from(index_value_map.len()).map_err(|_| SealError::TooLarge)?;
        value.put(&count.to_le_bytes());
        let mut entries: Vec<_> = index_value_map.iter().collect();
        entries.sort_unstable_by_key(|(index, _)| *index);
        for (index, mac) in entries {
            put_frame(&mut value, index.as_bytes())?;
            put_frame(&mut value, mac)?;
        }
        let key = self.version_key(name)?;
        let sealed = self.seal(
            place(Table::Version, &[key.as_bytes()]),
            &[name.as_bytes()],
            &value,
            nonce,
        )?;
        let row = HashState {
            index_value_map: HashMap::from([(STATE.to_owned(), sealed)]),
            ..HashState::default()
        };
        Ok((key, row))
    }

    /// An absent version is one whose every field is default.
    pub(crate) fn open_version(
        &self,
        key: &str,
        name: &str,
        row: &HashState,
    ) -> Result<HashState, SealError> {
        let Some(opened) = self.version_record(key, row)? else {
            return Ok(HashState::default());
        };
        let opened = opened.check_name([name.as_bytes()])?;
        read_state(opened.value()).ok_or(corrupt(Table::Version, Fault::Length))
    }

    /// The record of the row `key`, whatever its name is; `None` where the row is absent.
    pub(crate) fn version_record(
        &self,
        key: &str,
        row: &HashState,
    ) -> Result<Option<Opened>, SealError> {
        let HashState {
            version,
            hash,
            index_value_map,
            mac_mismatch_fatal,
        } = row;
        let default = *version == 0 && hash.iter().all(|byte| *byte == 0) && !mac_mismatch_fatal;
        if default && index_value_map.is_empty() {
            return Ok(None);
        }
        let sealed = index_value_map.get(STATE).ok_or(SealError::Unsealed {
            table: Some(Table::Version),
        })?;
        let opened = self.open(place(Table::Version, &[key.as_bytes()]), sealed)?;
        check_default(Table::Version, default && index_value_map.len() == 1)?;
        Ok(Some(opened))
    }

    /// `T(name)` of a collection of mutation MACs.
    pub(crate) fn mutation_name(&self, name: &str) -> Result<String, SealError> {
        self.blind()
            .token(TokenColumn::MutationMacName, &[name.as_bytes()])
    }

    /// The whole HMAC of the index MAC: 32 bytes, as the batch method takes them.
    pub(crate) fn mutation_index(
        &self,
        name: &str,
        index_mac: &[u8],
    ) -> Result<[u8; 32], SealError> {
        self.blind()
            .token_bytes(TokenColumn::MutationMacIndex, &[name.as_bytes(), index_mac])
    }

    pub(crate) fn seal_mutation(
        &self,
        name_key: &str,
        name: &str,
        index_mac: &[u8],
        value_mac: &[u8],
        nonce: &Nonce,
    ) -> Result<([u8; 32], Vec<u8>), SealError> {
        let index_key = self.mutation_index(name, index_mac)?;
        let sealed = self.seal(
            place(Table::MutationMac, &[name_key.as_bytes(), &index_key]),
            &[name.as_bytes(), index_mac],
            value_mac,
            nonce,
        )?;
        Ok((index_key, sealed))
    }

    pub(crate) fn open_mutation(
        &self,
        name_key: &str,
        index_key: &[u8; 32],
        name: &str,
        index_mac: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        Ok(self
            .mutation_record(name_key, index_key, sealed)?
            .check_name([name.as_bytes(), index_mac])?
            .into_value())
    }

    /// The record of the row `(name_key, index_key)`, whatever its name is.
    pub(crate) fn mutation_record(
        &self,
        name_key: &str,
        index_key: &[u8],
        sealed: &[u8],
    ) -> Result<Opened, SealError> {
        self.open(
            place(Table::MutationMac, &[name_key.as_bytes(), index_key]),
            sealed,
        )
    }
}

/// Key data, fingerprint and time.
pub(crate) fn read_sync_key(value: &[u8]) -> Option<(&[u8], &[u8], i64)> {
    let mut reader = Reader::new(value);
    let key = (reader.frame()?, reader.frame()?, reader.i64()?);
    reader.end()?;
    Some(key)
}

pub(crate) fn read_state(value: &[u8]) -> Option<HashState> {
    let mut reader = Reader::new(value);
    let version = reader.u64()?;
    let hash = reader.array()?;
    let mac_mismatch_fatal = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let count = reader.u32()?;
    let mut index_value_map = HashMap::new();
    let mut last: Option<&str> = None;
    for _ in 0..count {
        let index = std::str::from_utf8(reader.frame()?).ok()?;
        // Ascending, so that each state has one spelling and no index comes twice.
        if last.is_some_and(|last| last >= index) {
            return None;
        }
        last = Some(index);
        index_value_map.insert(index.to_owned(), reader.frame()?.to_vec());
    }
    reader.end()?;
    Some(HashState {
        version,
        hash,
        index_value_map,
        mac_mismatch_fatal,
    })
}
