//! What each row is in the inner store: one pair of pure functions a table, no storage and no await.
//!
//! `T(x)` is a one-way token and `R(x)` a reversible name (`blind/`). A record is bound to its table,
//! the key of its row as the inner store sees it, and the clear fields beside it; the name inside it
//! must be the name that was asked for; in a list, where nothing was, the bound key stands for it.

mod app_sync;
mod device;
mod device_list;
mod mapping;
mod messages;
mod msg_secret;
mod protocol;
mod signal;

use std::str;

use data_encoding::BASE64URL_NOPAD;

#[cfg(feature = "sqlite")]
pub(crate) use app_sync::{read_state, read_sync_key};
pub(crate) use device::{CANARY_KEY, Canary, read_device, write_device};
#[cfg(feature = "sqlite")]
pub(crate) use device_list::read_device_list;
pub(crate) use mapping::MappingKey;
pub(crate) use msg_secret::{SECOND_HALF, SecretKey};
pub(crate) use signal::SignalTable;

use crate::blind::Blind;
use crate::error::{Fault, SealError};
use crate::keyring::AccountKeys;
use crate::options::SealOptions;
use crate::record::{self, Nonce, Opened, Place, Table};

/// The keys and options that rows are sealed and opened with.
pub(crate) struct Sealer<'a> {
    pub(crate) keys: &'a AccountKeys,
    pub(crate) options: &'a SealOptions,
}

impl Sealer<'_> {
    pub(crate) fn seal(
        &self,
        place: Place<'_>,
        name: &[&[u8]],
        value: &[u8],
        nonce: &Nonce,
    ) -> Result<Vec<u8>, SealError> {
        record::seal(
            self.keys.table(place.table)?,
            place,
            name,
            value,
            self.options.padding_of(place.table),
            nonce,
        )
    }

    fn open(&self, place: Place<'_>, record: &[u8]) -> Result<Opened, SealError> {
        self.open_owned(place, record.to_vec())
    }

    /// As [`Self::open`], in the record's own buffer.
    fn open_owned(&self, place: Place<'_>, record: Vec<u8>) -> Result<Opened, SealError> {
        record::open(self.keys.table(place.table)?, place, record)
    }

    fn blind(&self) -> &Blind {
        &self.keys.blind
    }
}

/// The place of a row without clear fields.
fn place<'a>(table: Table, key: &'a [&'a [u8]]) -> Place<'a> {
    Place {
        table,
        key,
        clear: &[],
    }
}

/// A sealed record in a text column.
fn to_text(record: &[u8]) -> String {
    BASE64URL_NOPAD.encode(record)
}

/// A record from a text column, in its one spelling.
fn of_text(table: Table, text: &str) -> Result<Vec<u8>, SealError> {
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| {
        // The magic's first 18 bits: text that never was a record is not sealed, rather than corrupt.
        if text.starts_with("pVM") {
            corrupt(table, Fault::Encoding)
        } else {
            SealError::Unsealed { table: Some(table) }
        }
    })
}

/// A part of a name that was text when it was sealed.
fn text_part(table: Table, part: &[u8]) -> Result<String, SealError> {
    str::from_utf8(part)
        .map(str::to_owned)
        .map_err(|_| corrupt(table, Fault::Encoding))
}

/// Fails unless the fields beside a record are as every sealed row leaves them.
fn check_default(table: Table, is_default: bool) -> Result<(), SealError> {
    if is_default {
        Ok(())
    } else {
        Err(corrupt(table, Fault::ClearField))
    }
}

fn corrupt(table: Table, what: Fault) -> SealError {
    SealError::Corrupt { table, what }
}
