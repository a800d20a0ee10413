//! From a sealed store's row to the client's: the way back of `convert.rs`, as pure.

use wacore::store::traits::{AppStateSyncKey, LidPnMappingEntry, TcTokenEntry};
use zeroize::Zeroize;

use smallvec::smallvec;

use super::convert::{Sealed, canary, seal, text};
use crate::error::{Fault, SealError};
use crate::record::{Nonce, Table};
use crate::rows::{Body, Row};
use crate::sealed::rows::{Canary, SECOND_HALF, read_device_list, read_state, read_sync_key};
use crate::sealed::{RawRow, Restored, Sealer};

/// What a sealed store's row is.
pub(super) enum Opened {
    /// A row of the client's.
    Row(Row),
    /// Says whose store it is.
    Canary,
    /// The device that the inner store made by itself, which nobody uses.
    Decoy,
}

/// Whether it is the second half of a message secret.
pub(super) fn is_second_half(row: &Row) -> bool {
    matches!(&row.body, Body::MsgSecret { sender, .. } if sender.as_str() == SECOND_HALF)
}

/// Whether both are halves of one message secret, the second of which is `second`.
pub(super) fn are_halves(first: &Row, second: &Row) -> bool {
    match (&first.body, &second.body) {
        (
            Body::MsgSecret { chat, id, .. },
            Body::MsgSecret {
                chat: of_second,
                id: second_id,
                ..
            },
        ) => {
            first.account == second.account
                && chat == of_second
                && id == second_id
                && !is_second_half(first)
                && is_second_half(second)
        }
        _ => false,
    }
}

/// Opens a sealed store's row; `None` for the device that the inner store made by itself. `second` is the other half of a
/// message secret's first.
fn restore(
    sealer: &Sealer<'_>,
    row: &Row,
    second: Option<&Row>,
) -> Result<Option<Restored>, SealError> {
    let raw = match &row.body {
        Body::Device(_) => return Ok(None),
        // A sealed store's identities are in its sessions.
        Body::Identity { .. } => {
            return Err(SealError::Unsealed {
                table: Some(Table::Identity),
            });
        }
        Body::Session { address, record } => RawRow::Session { address, record },
        Body::PreKey { id, record, .. } => RawRow::PreKey { id: *id, record },
        Body::SignedPreKey { id, record } => RawRow::SignedPreKey { id: *id, record },
        Body::SenderKey { address, record } => RawRow::SenderKey { address, record },
        Body::SyncKey { id, key } => RawRow::SyncKey { key_id: id, key },
        Body::Version { name, state } => RawRow::Version { name, state },
        Body::MutationMac {
            name,
            index_mac,
            value_mac,
            ..
        } => RawRow::MutationMac {
            name,
            index_mac,
            value_mac,
        },
        Body::SenderKeyDevice { group, device, .. } => RawRow::SenderKeyDevice { group, device },
        Body::LidMapping(entry) => RawRow::LidMapping(entry),
        Body::BaseKey {
            address,
            message_id,
            base_key,
        } => RawRow::BaseKey {
            address,
            message_id,
            base_key,
        },
        Body::DeviceList(list) => RawRow::DeviceList(list),
        Body::GroupMetadata { group, info } => RawRow::GroupMetadata { group, blob: info },
        Body::TcToken { jid, entry } => RawRow::TcToken { jid, entry },
        Body::SentMessage { chat, id, payload } => RawRow::SentMessage { chat, id, payload },
        Body::PendingInbound {
            chat,
            sender,
            id,
            message,
        } => RawRow::PendingInbound {
            chat,
            sender,
            id,
            message,
        },
        Body::MsgSecret {
            chat,
            sender,
            id,
            secret,
            ..
        } => {
            if !id.is_empty() {
                return Err(SealError::Unsealed {
                    table: Some(Table::MsgSecret),
                });
            }
            let Some(Body::MsgSecret { secret: second, .. }) = second.map(|row| &row.body) else {
                return Err(SealError::Corrupt {
                    table: Table::MsgSecret,
                    what: Fault::MissingHalf,
                });
            };
            RawRow::MsgSecret {
                chat,
                sender,
                first: secret,
                second,
            }
        }
    };
    sealer.restore(raw).map(Some)
}

/// What a sealed store's row holds. `second` is the other half of a message secret's first.
pub(super) fn open(
    sealer: &Sealer<'_>,
    row: &Row,
    second: Option<&Row>,
) -> Result<Opened, SealError> {
    let Some(restored) = restore(sealer, row, second)? else {
        return Ok(Opened::Decoy);
    };
    if restored.table == Table::Canary {
        return Ok(Opened::Canary);
    }
    Ok(Opened::Row(Row {
        account: row.account,
        body: plain(row, second, restored)?,
        // Both halves were written at once; where one was written again, that is when the secret was.
        written: row.written.max(second.and_then(|second| second.written)),
    }))
}

/// The table whose data key the value of the client's row is sealed with; none where only names are.
pub(super) fn table_of(row: &Row) -> Option<Table> {
    Some(match &row.body {
        Body::Device(_) => Table::Device,
        Body::Session { .. } => Table::Session,
        Body::Identity { .. } => Table::Identity,
        Body::PreKey { .. } => Table::PreKey,
        Body::SignedPreKey { .. } => Table::SignedPreKey,
        Body::SenderKey { .. } => Table::SenderKey,
        Body::SyncKey { .. } => Table::SyncKey,
        Body::Version { .. } => Table::Version,
        Body::MutationMac { .. } => Table::MutationMac,
        Body::SenderKeyDevice { .. } => return None,
        Body::LidMapping(_) => Table::LidMapping,
        Body::BaseKey { .. } => Table::BaseKey,
        Body::DeviceList(_) => Table::DeviceList,
        Body::GroupMetadata { .. } => Table::GroupMetadata,
        // An empty token is no value.
        Body::TcToken { entry, .. } if entry.token.is_empty() => return None,
        Body::TcToken { .. } => Table::TcToken,
        Body::SentMessage { .. } => Table::SentMessage,
        Body::PendingInbound { .. } => Table::PendingInbound,
        Body::MsgSecret { .. } => Table::MsgSecret,
    })
}

/// Which data key a sealed store's row is under; `None` for one that holds only names.
pub(super) fn sealed_under(
    sealer: &Sealer<'_>,
    row: &Row,
    second: Option<&Row>,
) -> Result<Option<(Table, u32)>, SealError> {
    let restored = restore(sealer, row, second)?;
    Ok(restored.and_then(|restored| Some((restored.table, restored.generation?))))
}

/// A sealed store's row under the newest data key of its table, if it is under one that `is_old`.
pub(super) fn reseal(
    sealer: &Sealer<'_>,
    row: &Row,
    second: Option<&Row>,
    is_old: impl FnOnce((Table, u32)) -> bool,
    nonce: &Nonce,
) -> Result<Option<Sealed>, SealError> {
    let Some(restored) = restore(sealer, row, second)? else {
        return Ok(None);
    };
    let table = restored.table;
    let old = restored
        .generation
        .is_some_and(|generation| is_old((table, generation)));
    if !old {
        return Ok(None);
    }
    if let (Table::Canary, Body::Session { record, .. }) = (table, &row.body) {
        let (read, _) = Canary::read(record)?;
        return Ok(Some(smallvec![canary(sealer, row.account, &read, nonce)?]));
    }
    let opened = Row {
        account: row.account,
        body: plain(row, second, restored)?,
        written: row.written,
    };
    seal(sealer, &opened, nonce).map(Some)
}

/// The row of the client's that was restored from `row`.
fn plain(row: &Row, second: Option<&Row>, restored: Restored) -> Result<Body, SealError> {
    let Restored {
        table, name, value, ..
    } = restored;
    let length = SealError::Corrupt {
        table,
        what: Fault::Length,
    };
    let mut parts = name.into_iter();
    let mut part = || {
        let mut part = parts.next().unwrap_or_default();
        String::from_utf8(std::mem::take(&mut *part))
            .map(text)
            .map_err(|error| {
                error.into_bytes().zeroize();
                SealError::Corrupt {
                    table,
                    what: Fault::Encoding,
                }
            })
    };
    let value = value.unwrap_or_default();
    Ok(match &row.body {
        Body::Session { .. } => match table {
            Table::Device => Body::Device(value),
            Table::Identity => Body::Identity {
                address: part()?,
                key: value,
            },
            _ => Body::Session {
                address: part()?,
                record: value,
            },
        },
        Body::PreKey { id, uploaded, .. } => Body::PreKey {
            id: *id,
            record: value,
            uploaded: *uploaded,
        },
        Body::SignedPreKey { id, .. } => Body::SignedPreKey {
            id: *id,
            record: value,
        },
        Body::SenderKey { .. } => Body::SenderKey {
            address: part()?,
            record: value,
        },
        Body::SyncKey { id, .. } => {
            let (key_data, fingerprint, timestamp) = read_sync_key(&value).ok_or(length)?;
            Body::SyncKey {
                id: id.clone(),
                key: AppStateSyncKey {
                    key_data: key_data.to_vec(),
                    fingerprint: fingerprint.to_vec(),
                    timestamp,
                },
            }
        }
        Body::Version { .. } => Body::Version {
            name: part()?,
            state: Box::new(read_state(&value).ok_or(length)?),
        },
        Body::MutationMac { version, .. } => Body::MutationMac {
            name: part()?,
            index_mac: parts.next().unwrap_or_default(),
            version: *version,
            value_mac: value,
        },
        Body::SenderKeyDevice { has_key, .. } => Body::SenderKeyDevice {
            group: part()?,
            device: part()?,
            has_key: *has_key,
        },
        Body::LidMapping(entry) => {
            let (mut lid, mut phone) = (part()?, part()?);
            Body::LidMapping(LidPnMappingEntry {
                lid: std::mem::take(&mut *lid),
                phone_number: std::mem::take(&mut *phone),
                created_at: entry.created_at,
                updated_at: entry.updated_at,
                learning_source: str::from_utf8(&value).map_err(|_| length)?.to_owned(),
            })
        }
        Body::BaseKey { .. } => Body::BaseKey {
            address: part()?,
            message_id: part()?,
            base_key: value,
        },
        Body::DeviceList(_) => Body::DeviceList(read_device_list(&part()?, &value).ok_or(length)?),
        Body::GroupMetadata { .. } => Body::GroupMetadata {
            group: part()?,
            info: value,
        },
        Body::TcToken { entry, .. } => {
            let mut value = value;
            Body::TcToken {
                jid: part()?,
                entry: TcTokenEntry {
                    token: std::mem::take(&mut *value),
                    token_timestamp: entry.token_timestamp,
                    sender_timestamp: entry.sender_timestamp,
                },
            }
        }
        Body::SentMessage { .. } => Body::SentMessage {
            chat: part()?,
            id: part()?,
            payload: value,
        },
        Body::PendingInbound { .. } => Body::PendingInbound {
            chat: part()?,
            sender: part()?,
            id: part()?,
            message: value,
        },
        Body::MsgSecret {
            expires_at,
            message_ts,
            ..
        } => {
            let (mut deadline, mut time) = (*expires_at, *message_ts);
            // A pair that was torn: as the inner store merges them.
            if let Some(Body::MsgSecret {
                expires_at,
                message_ts,
                ..
            }) = second.map(|row| &row.body)
            {
                deadline = match (deadline, *expires_at) {
                    (0, _) | (_, 0) => 0,
                    (first, second) => first.max(second),
                };
                time = time.max(*message_ts);
            }
            Body::MsgSecret {
                chat: part()?,
                sender: part()?,
                id: part()?,
                secret: value,
                expires_at: deadline,
                message_ts: time,
            }
        }
        Body::Device(_) | Body::Identity { .. } => return Err(length),
    })
}
