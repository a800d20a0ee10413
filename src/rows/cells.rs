//! Between a row's columns and what it is to the client.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Row as SqlRow, Statement};
use smallvec::SmallVec;
use wacore::store::traits::{AppStateSyncKey, DeviceListRecord, LidPnMappingEntry, TcTokenEntry};
use zeroize::Zeroizing;

use super::body::{Body, Bytes, Kind, Row, Text};
use super::layout::Layout;
use super::{Result, RowsError, device, wire};
use crate::store::sqlite::{pack, read_state, unpack, write_state};

/// A value on its way into a column.
pub(super) enum Cell<'a> {
    Null,
    Int(i64),
    /// Our layout packs it.
    Text(&'a str),
    Bytes(&'a [u8]),
    OwnedText(Text),
    OwnedBytes(Bytes),
}

pub(super) type Cells<'a> = SmallVec<[Cell<'a>; 8]>;

impl PartialEq for Cell<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Int(a), Self::Int(b)) => a == b,
            _ => match (self.content(), other.content()) {
                (Some(a), Some(b)) => a == b,
                _ => false,
            },
        }
    }
}

impl Cell<'_> {
    fn content(&self) -> Option<&[u8]> {
        match self {
            Self::Null | Self::Int(_) => None,
            Self::Text(text) => Some(text.as_bytes()),
            Self::Bytes(bytes) => Some(bytes),
            Self::OwnedText(text) => Some(text.as_bytes()),
            Self::OwnedBytes(bytes) => Some(bytes),
        }
    }

    /// Whether upstream's column holds this already.
    pub(super) fn is(&self, stored: ValueRef<'_>) -> bool {
        match (self, stored) {
            (Self::Null, ValueRef::Null) => true,
            (Self::Int(value), ValueRef::Integer(stored)) => *value == stored,
            (_, ValueRef::Text(stored) | ValueRef::Blob(stored)) => self.content() == Some(stored),
            _ => false,
        }
    }

    pub(super) fn bind(
        &self,
        layout: Layout,
        statement: &mut Statement<'_>,
        number: usize,
    ) -> rusqlite::Result<()> {
        let text = |statement: &mut Statement<'_>, text: &str| match layout {
            Layout::Upstream => statement.raw_bind_parameter(number, text),
            Layout::Ours => statement.raw_bind_parameter(number, &pack(text)[..]),
        };
        match self {
            Self::Null => {
                let null = ToSqlOutput::Borrowed(ValueRef::Null);
                statement.raw_bind_parameter(number, null)
            }
            Self::Int(value) => statement.raw_bind_parameter(number, value),
            Self::Text(value) => text(statement, value),
            Self::OwnedText(value) => text(statement, value),
            Self::Bytes(value) => statement.raw_bind_parameter(number, *value),
            Self::OwnedBytes(value) => statement.raw_bind_parameter(number, &value[..]),
        }
    }
}

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

/// Whether the store notes when it wrote a row.
fn has_time(layout: Layout, kind: Kind) -> bool {
    match kind {
        Kind::SentMessage | Kind::PendingInbound => true,
        Kind::SenderKeyDevice
        | Kind::BaseKey
        | Kind::DeviceList
        | Kind::GroupMetadata
        | Kind::TcToken
        | Kind::MsgSecret => layout == Layout::Upstream,
        _ => false,
    }
}

fn id_cell(id: u32) -> Cell<'static> {
    Cell::Int(i64::from(id.cast_signed()))
}

fn raw_id_cell(layout: Layout, id: u32) -> Cell<'static> {
    Cell::Int(match layout {
        Layout::Upstream => i64::from(id.cast_signed()),
        Layout::Ours => i64::from(id),
    })
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
            Body::Version { name, state }
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

/// The columns of a row, as [`read`] takes them, without the account. Not for our layout's message secrets, which
/// share a row.
pub(super) fn write(layout: Layout, row: &Row) -> Result<Cells<'_>> {
    let kind = row.body.kind();
    let mut cells = Cells::new();
    put_body(layout, &row.body, &mut cells)?;
    if has_time(layout, kind) {
        // A row that comes from a layout without it was written at no known time.
        cells.push(Cell::Int(row.written.unwrap_or(0)));
    }
    Ok(cells)
}

fn put_body<'a>(layout: Layout, body: &'a Body, cells: &mut Cells<'a>) -> Result<()> {
    let unfit = |what| RowsError::Row {
        table: layout.table(body.kind()),
        what,
    };
    match body {
        Body::Device(json) => match layout {
            Layout::Upstream => {
                let columns =
                    device::write(json).ok_or_else(|| unfit("a device can't be decoded"))?;
                cells.extend(columns);
            }
            Layout::Ours => cells.push(Cell::Bytes(json)),
        },
        Body::Session { address, record } | Body::SenderKey { address, record } => {
            cells.extend([Cell::Text(address), Cell::Bytes(record)]);
        }
        Body::Identity { address, key } => cells.extend([Cell::Text(address), Cell::Bytes(key)]),
        Body::PreKey {
            id,
            record,
            uploaded,
        } => cells.extend([id_cell(*id), Cell::Bytes(record), Cell::Int(*uploaded)]),
        Body::SignedPreKey { id, record } => {
            cells.extend([id_cell(*id), Cell::Bytes(record)]);
        }
        Body::SyncKey { id, key } => {
            cells.push(Cell::Bytes(id));
            match layout {
                Layout::Upstream => cells.push(Cell::OwnedBytes(wire::write_sync_key(key))),
                Layout::Ours => cells.extend([
                    Cell::Bytes(&key.key_data),
                    Cell::Bytes(&key.fingerprint),
                    Cell::Int(key.timestamp),
                ]),
            }
        }
        Body::Version { name, state } => {
            let state = match layout {
                Layout::Upstream => wire::write_hash_state(state),
                Layout::Ours => write_state(state)
                    .map(Zeroizing::new)
                    .ok_or_else(|| unfit("a version's state is too large"))?,
            };
            cells.extend([Cell::Text(name), Cell::OwnedBytes(state)]);
        }
        Body::MutationMac {
            name,
            index_mac,
            version,
            value_mac,
        } => cells.extend([
            Cell::Text(name),
            Cell::Bytes(index_mac),
            Cell::Int(*version),
            Cell::Bytes(value_mac),
        ]),
        Body::SenderKeyDevice {
            group,
            device,
            has_key,
        } => cells.extend([Cell::Text(group), Cell::Text(device), Cell::Int(*has_key)]),
        Body::LidMapping(LidPnMappingEntry {
            lid,
            phone_number,
            created_at,
            updated_at,
            learning_source,
        }) => cells.extend([
            Cell::Text(lid),
            Cell::Text(phone_number),
            Cell::Int(*created_at),
            Cell::Int(*updated_at),
            Cell::Text(learning_source),
        ]),
        Body::BaseKey {
            address,
            message_id,
            base_key,
        } => cells.extend([
            Cell::Text(address),
            Cell::Text(message_id),
            Cell::Bytes(base_key),
        ]),
        Body::DeviceList(DeviceListRecord {
            user,
            devices,
            timestamp,
            phash,
            raw_id,
        }) => {
            let json =
                serde_json::to_string(devices).map_err(|_| unfit("a device list is no JSON"))?;
            cells.push(Cell::Text(user));
            cells.push(match layout {
                Layout::Upstream => Cell::OwnedText(Zeroizing::new(json)),
                Layout::Ours => Cell::OwnedBytes(Zeroizing::new(json.into_bytes())),
            });
            cells.push(Cell::Int(*timestamp));
            cells.push(phash.as_deref().map_or(Cell::Null, Cell::Text));
            cells.push(raw_id.map_or(Cell::Null, |id| raw_id_cell(layout, id)));
        }
        Body::GroupMetadata { group, info } => cells.extend([Cell::Text(group), Cell::Bytes(info)]),
        Body::TcToken {
            jid,
            entry:
                TcTokenEntry {
                    token,
                    token_timestamp,
                    sender_timestamp,
                },
        } => cells.extend([
            Cell::Text(jid),
            Cell::Bytes(token),
            Cell::Int(*token_timestamp),
            sender_timestamp.map_or(Cell::Null, Cell::Int),
        ]),
        Body::SentMessage { chat, id, payload } => {
            cells.extend([Cell::Text(chat), Cell::Text(id), Cell::Bytes(payload)]);
        }
        Body::PendingInbound {
            chat,
            sender,
            id,
            message,
        } => cells.extend([
            Cell::Text(chat),
            Cell::Text(sender),
            Cell::Text(id),
            Cell::Bytes(message),
        ]),
        Body::MsgSecret {
            chat,
            sender,
            id,
            secret,
            expires_at,
            message_ts,
        } => cells.extend([
            Cell::Text(chat),
            Cell::Text(sender),
            Cell::Text(id),
            Cell::Bytes(secret),
            Cell::Int(*expires_at),
            Cell::Int(*message_ts),
        ]),
    }
    Ok(())
}

impl Row {
    /// Whether `layout` would write both rows alike.
    pub(crate) fn same(&self, other: &Self, layout: Layout) -> Result<bool> {
        Ok(self.account == other.account
            && self.body.kind() == other.body.kind()
            && write(layout, self)? == write(layout, other)?)
    }
}
