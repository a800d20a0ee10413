//! From a row's columns to what it is to the client.

use rusqlite::Row as SqlRow;
use rusqlite::types::ValueRef;
use wacore::store::traits::{AppStateSyncKey, DeviceListRecord, LidPnMappingEntry, TcTokenEntry};
use zeroize::Zeroizing;

use super::body::{Body, Bytes, Kind, Row, Text};
use super::cells::has_time;
use super::layout::Layout;
use super::{Result, RowsError, device, wire};
use crate::store::sqlite::{read_state, unpack};

/// The columns of a row, from the `at`-th, one after the other.
pub(super) struct Stored<'a, 'b> {
    row: &'a SqlRow<'b>,
    at: usize,
    layout: Layout,
    table: &'static str,
}

impl<'a> Stored<'a, '_> {
    fn wrong(&self, what: &'static str) -> RowsError {
        RowsError::Row {
            table: self.table,
            what,
        }
    }

    fn next(&mut self) -> Result<ValueRef<'a>> {
        let value = self.row.get_ref(self.at)?;
        self.at += 1;
        Ok(value)
    }

    fn null(&mut self) -> Result<bool> {
        let null = matches!(self.row.get_ref(self.at)?, ValueRef::Null);
        self.at += usize::from(null);
        Ok(null)
    }

    pub(super) fn int(&mut self) -> Result<i64> {
        match self.next()? {
            ValueRef::Integer(value) => Ok(value),
            _ => Err(self.wrong("a number is of another type")),
        }
    }

    pub(super) fn int_or_null(&mut self) -> Result<Option<i64>> {
        if self.null()? {
            return Ok(None);
        }
        self.int().map(Some)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes> {
        match self.next()? {
            ValueRef::Blob(value) => Ok(Zeroizing::new(value.to_vec())),
            _ => Err(self.wrong("bytes are of another type")),
        }
    }

    pub(super) fn bytes_or_null(&mut self) -> Result<Option<Bytes>> {
        if self.null()? {
            return Ok(None);
        }
        self.bytes().map(Some)
    }

    pub(super) fn text(&mut self) -> Result<Text> {
        let text = match (self.layout, self.next()?) {
            (Layout::Upstream, ValueRef::Text(text)) => {
                str::from_utf8(text).ok().map(str::to_owned)
            }
            (Layout::Ours, ValueRef::Blob(packed)) => unpack(packed),
            _ => None,
        };
        text.map(Zeroizing::new)
            .ok_or_else(|| self.wrong("a text is of another type, or no UTF-8"))
    }

    pub(super) fn text_or_null(&mut self) -> Result<Option<Text>> {
        if self.null()? {
            return Ok(None);
        }
        self.text().map(Some)
    }

    /// An id, which both layouts keep as the same 32 bits with a sign.
    fn id(&mut self) -> Result<u32> {
        i32::try_from(self.int()?)
            .map(i32::cast_unsigned)
            .map_err(|_| self.wrong("a number is out of bounds"))
    }

    /// A number that only upstream keeps with a sign.
    fn raw_id(&mut self) -> Result<u32> {
        match self.layout {
            Layout::Upstream => self.id(),
            Layout::Ours => {
                u32::try_from(self.int()?).map_err(|_| self.wrong("a number is out of bounds"))
            }
        }
    }

    /// The last column of most of upstream's tables, and of a few of ours.
    fn written(&mut self, kind: Kind) -> Result<Option<i64>> {
        if has_time(self.layout, kind) {
            return self.int().map(Some);
        }
        Ok(None)
    }
}

/// Reads the account at `at` and the columns of `kind` after it.
pub(super) fn read(layout: Layout, kind: Kind, row: &SqlRow<'_>, at: usize) -> Result<Row> {
    let mut stored = Stored {
        row,
        at,
        layout,
        table: layout.table(kind),
    };
    let account = stored.int()?;
    let account =
        i32::try_from(account).map_err(|_| stored.wrong("an account's number is out of bounds"))?;
    let body = body(layout, kind, &mut stored)?;
    Ok(Row {
        account,
        body,
        written: stored.written(kind)?,
    })
}

fn body(layout: Layout, kind: Kind, stored: &mut Stored<'_, '_>) -> Result<Body> {
    Ok(match kind {
        Kind::Device => Body::Device(match layout {
            Layout::Upstream => device::read(stored)?,
            Layout::Ours => stored.bytes()?,
        }),
        Kind::Session => Body::Session {
            address: stored.text()?,
            record: stored.bytes()?,
        },
        Kind::Identity => Body::Identity {
            address: stored.text()?,
            key: stored.bytes()?,
        },
        Kind::PreKey => Body::PreKey {
            id: stored.id()?,
            record: stored.bytes()?,
            uploaded: stored.int()?,
        },
        Kind::SignedPreKey => Body::SignedPreKey {
            id: stored.id()?,
            record: stored.bytes()?,
        },
        Kind::SenderKey => Body::SenderKey {
            address: stored.text()?,
            record: stored.bytes()?,
        },
        Kind::SyncKey => {
            let id = stored.bytes()?;
            let key = match layout {
                Layout::Upstream => wire::read_sync_key(&stored.bytes()?)
                    .ok_or_else(|| stored.wrong("a sync key can't be decoded"))?,
                Layout::Ours => AppStateSyncKey {
                    key_data: std::mem::take(&mut *stored.bytes()?),
                    fingerprint: std::mem::take(&mut *stored.bytes()?),
                    timestamp: stored.int()?,
                },
            };
            Body::SyncKey { id, key }
        }
        Kind::Version => {
            let name = stored.text()?;
            let state = stored.bytes()?;
            let state = match layout {
                Layout::Upstream => wire::read_hash_state(&state),
                Layout::Ours => read_state(&state),
            };
            let state = state.ok_or_else(|| stored.wrong("a version's state can't be decoded"))?;
            Body::Version {
                name,
                state: Box::new(state),
            }
        }
        Kind::MutationMac => Body::MutationMac {
            name: stored.text()?,
            index_mac: stored.bytes()?,
            version: stored.int()?,
            value_mac: stored.bytes()?,
        },
        Kind::SenderKeyDevice => Body::SenderKeyDevice {
            group: stored.text()?,
            device: stored.text()?,
            has_key: stored.int()?,
        },
        Kind::LidMapping => Body::LidMapping(LidPnMappingEntry {
            lid: std::mem::take(&mut *stored.text()?),
            phone_number: std::mem::take(&mut *stored.text()?),
            created_at: stored.int()?,
            updated_at: stored.int()?,
            learning_source: std::mem::take(&mut *stored.text()?),
        }),
        Kind::BaseKey => Body::BaseKey {
            address: stored.text()?,
            message_id: stored.text()?,
            base_key: stored.bytes()?,
        },
        Kind::DeviceList => Body::DeviceList(device_list(stored)?),
        Kind::GroupMetadata => Body::GroupMetadata {
            group: stored.text()?,
            info: stored.bytes()?,
        },
        Kind::TcToken => Body::TcToken {
            jid: stored.text()?,
            entry: TcTokenEntry {
                token: std::mem::take(&mut *stored.bytes()?),
                token_timestamp: stored.int()?,
                sender_timestamp: stored.int_or_null()?,
            },
        },
        Kind::SentMessage => Body::SentMessage {
            chat: stored.text()?,
            id: stored.text()?,
            payload: stored.bytes()?,
        },
        Kind::PendingInbound => Body::PendingInbound {
            chat: stored.text()?,
            sender: stored.text()?,
            id: stored.text()?,
            message: stored.bytes()?,
        },
        Kind::MsgSecret => Body::MsgSecret {
            chat: stored.text()?,
            sender: stored.text()?,
            id: stored.text()?,
            secret: stored.bytes()?,
            expires_at: stored.int()?,
            message_ts: stored.int()?,
        },
    })
}

fn device_list(stored: &mut Stored<'_, '_>) -> Result<DeviceListRecord> {
    let mut user = stored.text()?;
    // JSON in both layouts, which ours does not pack.
    let devices = match stored.next()? {
        ValueRef::Text(json) | ValueRef::Blob(json) => serde_json::from_slice(json).ok(),
        _ => None,
    };
    let devices = devices.ok_or_else(|| stored.wrong("a device list can't be decoded"))?;
    let timestamp = stored.int()?;
    let phash = stored
        .text_or_null()?
        .map(|mut text| std::mem::take(&mut *text));
    let raw_id = if stored.null()? {
        None
    } else {
        Some(stored.raw_id()?)
    };
    Ok(DeviceListRecord {
        user: std::mem::take(&mut *user),
        devices,
        timestamp,
        phash,
        raw_id,
    })
}
