//! From what a row is to the client to its columns.

use rusqlite::Statement;
use rusqlite::types::{ToSqlOutput, ValueRef};
use smallvec::SmallVec;
use wacore::store::traits::{DeviceListRecord, LidPnMappingEntry, TcTokenEntry};
use zeroize::Zeroizing;

use super::body::{Body, Bytes, Kind, Row, Text};
use super::layout::Layout;
use super::{Result, RowsError, device, wire};
use crate::store::sqlite::{pack, write_state};

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

/// Whether the store notes when it wrote a row.
pub(super) fn has_time(layout: Layout, kind: Kind) -> bool {
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

/// The columns of a row, as `stored.rs` reads them, without the account. Not for our layout's message secrets, which
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
