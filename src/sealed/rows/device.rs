//! The device, the canary, and a snapshot's extra content.

use std::sync::Arc;

use wacore::client_profile::ClientProfile;
use wacore::store::Device;
use wacore::store::device::DEVICE_PROPS;

use super::{Sealer, corrupt, place};
use crate::blind::TokenColumn;
use crate::error::{Fault, SealError};
use crate::record::frame::Reader;
use crate::record::{Nonce, Opened, Place, Table};
use crate::wipe::{self, Buffer};

/// The canary's session row: a literal key that no client and no sealed row can have, because Signal
/// addresses contain an `@`, and tokens are letters, digits and `@`.
pub(crate) const CANARY_KEY: &str = "sealed-store.canary";
/// First bytes of a canary.
const CANARY_MAGIC: &[u8] = b"sealed-store canary 1\n";
/// The name inside the device's record.
const DEVICE_NAME: &[u8] = b"device";

/// Whose store it is, as its canary says in the clear.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Canary {
    pub(crate) keyring: [u8; 16],
    pub(crate) account: [u8; 16],
    pub(crate) store: [u8; 16],
}

impl Canary {
    /// Splits a canary row into what it says and its sealed record.
    pub(crate) fn read(row: &[u8]) -> Result<(Self, &[u8]), SealError> {
        let mut reader = Reader::new(row);
        if reader.take(CANARY_MAGIC.len()) != Some(CANARY_MAGIC) {
            return Err(corrupt(Table::Canary, Fault::Canary));
        }
        (|| {
            Some(Self {
                keyring: reader.array()?,
                account: reader.array()?,
                store: reader.array()?,
            })
        })()
        .map(|canary| (canary, reader.rest()))
        .ok_or(corrupt(Table::Canary, Fault::Length))
    }

    fn clear(&self) -> [&[u8]; 3] {
        [&self.keyring, &self.account, &self.store]
    }
}

/// A device as JSON: fields that upstream adds later survive, and its key pairs read back from a sequence.
pub(crate) fn write_device(device: &Device) -> Result<Buffer, SealError> {
    let mut json = Buffer::with_capacity(8 * 1024);
    wipe::after(|| serde_json::to_writer(&mut json, device)).map_err(|_| SealError::Invalid {
        what: "the device can not be serialised",
    })?;
    Ok(json)
}

/// The device of its record.
pub(crate) fn read_device(record: &Opened) -> Result<Device, SealError> {
    wipe::after(|| {
        let mut device: Device = serde_json::from_slice(record.value())
            .map_err(|_| corrupt(Table::Device, Fault::Encoding))?;
        // serde skips these three; they come back as upstream's SQLite store gives them.
        device.device_props = Arc::new(DEVICE_PROPS.clone());
        device.client_profile = ClientProfile::web();
        device.nct_salt_sync_seen = false;
        Ok(device)
    })
}

impl Sealer<'_> {
    pub(crate) fn seal_canary(&self, canary: &Canary, nonce: &Nonce) -> Result<Vec<u8>, SealError> {
        let place = Place {
            table: Table::Canary,
            key: &[CANARY_KEY.as_bytes()],
            clear: &canary.clear(),
        };
        let sealed = self.seal(place, &[CANARY_KEY.as_bytes()], &[], nonce)?;
        Ok([CANARY_MAGIC, &canary.clear().concat(), &sealed].concat())
    }

    pub(crate) fn open_canary(&self, canary: &Canary, sealed: &[u8]) -> Result<Opened, SealError> {
        let place = Place {
            table: Table::Canary,
            key: &[CANARY_KEY.as_bytes()],
            clear: &canary.clear(),
        };
        let opened = self
            .open(place, sealed)?
            .check_name([CANARY_KEY.as_bytes()])?;
        if opened.value().is_empty() {
            Ok(opened)
        } else {
            Err(corrupt(Table::Canary, Fault::Length))
        }
    }

    /// The session row that carries the device.
    pub(crate) fn device_key(&self) -> Result<String, SealError> {
        self.blind().token(TokenColumn::Device, &[DEVICE_NAME])
    }

    pub(crate) fn seal_device(
        &self,
        json: &[u8],
        nonce: &Nonce,
    ) -> Result<(String, Vec<u8>), SealError> {
        let key = self.device_key()?;
        let sealed = self.seal(
            place(Table::Device, &[key.as_bytes()]),
            &[DEVICE_NAME],
            json,
            nonce,
        )?;
        Ok((key, sealed))
    }

    /// The record of the device, as JSON.
    pub(crate) fn device_record(&self, key: &str, sealed: &[u8]) -> Result<Opened, SealError> {
        self.open(place(Table::Device, &[key.as_bytes()]), sealed)?
            .check_name([DEVICE_NAME])
    }

    /// `T(name)` of a snapshot, which upstream makes part of a file's name.
    pub(crate) fn snapshot_key(&self, name: &str) -> Result<String, SealError> {
        self.blind()
            .token(TokenColumn::SnapshotName, &[name.as_bytes()])
    }

    /// A snapshot's extra content, which upstream writes to a file as it is.
    pub(crate) fn seal_snapshot(
        &self,
        key: &str,
        name: &str,
        content: &[u8],
        nonce: &Nonce,
    ) -> Result<Vec<u8>, SealError> {
        self.seal(
            place(Table::Snapshot, &[key.as_bytes()]),
            &[name.as_bytes()],
            content,
            nonce,
        )
    }

    pub(crate) fn open_snapshot(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(self
            .snapshot_record(&self.snapshot_key(name)?, sealed)?
            .check_name([name.as_bytes()])?
            .into_value())
    }

    /// The record of the snapshot `key`, whatever its name is.
    pub(crate) fn snapshot_record(&self, key: &str, sealed: &[u8]) -> Result<Opened, SealError> {
        self.open(place(Table::Snapshot, &[key.as_bytes()]), sealed)
    }
}
