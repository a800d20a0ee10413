//! Between a row in the clear and what it is in a sealed store: pure functions, no storage.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use wacore::store::traits::{AppStateSyncKey, LidPnMappingEntry, MsgSecretEntry, TcTokenEntry};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Fault, SealError};
use crate::record::{Nonce, Table};
use crate::rows::{Body, Row};
use crate::sealed::rows::{
    CANARY_KEY, Canary, SECOND_HALF, SignalTable, read_device_list, read_state, read_sync_key,
};
use crate::sealed::{RawRow, Restored, Sealer};

/// The rows that a row becomes: one, or two of a message secret.
pub(super) type Sealed = SmallVec<[Row; 2]>;

/// What a sealed store's row is.
pub(super) enum Opened {
    /// A row of the client's.
    Row(Row),
    /// Says whose store it is.
    Canary,
    /// The device that the inner store made by itself, which nobody uses.
    Decoy,
}

fn text(text: String) -> Zeroizing<String> {
    Zeroizing::new(text)
}

fn bytes(bytes: Vec<u8>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes)
}

/// The row that says whose store it is, as `SealedBackend::open` writes it.
pub(super) fn canary(
    sealer: &Sealer<'_>,
    account: i32,
    canary: &Canary,
    nonce: &Nonce,
) -> Result<Row, SealError> {
    Ok(Row {
        account,
        body: Body::Session {
            address: text(CANARY_KEY.to_owned()),
            record: bytes(sealer.seal_canary(canary, nonce)?),
        },
        written: None,
    })
}

/// A row of the client's as a sealed store holds it.
pub(super) fn seal(sealer: &Sealer<'_>, row: &Row, nonce: &Nonce) -> Result<Sealed, SealError> {
    let body = match &row.body {
        Body::Device(json) => {
            let (address, record) = sealer.seal_device(json, nonce)?;
            session(address, record)
        }
        Body::Session { address, record } => {
            let (address, record) =
                sealer.seal_address(SignalTable::Session, address, record, nonce)?;
            session(address, record)
        }
        Body::Identity { address, key } => {
            let (address, record) =
                sealer.seal_address(SignalTable::Identity, address, key, nonce)?;
            session(address, record)
        }
        Body::PreKey {
            id,
            record,
            uploaded,
        } => Body::PreKey {
            id: *id,
            record: bytes(sealer.seal_by_id(Table::PreKey, *id, record, nonce)?),
            uploaded: *uploaded,
        },
        Body::SignedPreKey { id, record } => Body::SignedPreKey {
            id: *id,
            record: bytes(sealer.seal_by_id(Table::SignedPreKey, *id, record, nonce)?),
        },
        Body::SenderKey { address, record } => {
            let (address, record) =
                sealer.seal_address(SignalTable::SenderKey, address, record, nonce)?;
            Body::SenderKey {
                address: text(address),
                record: bytes(record),
            }
        }
        Body::SyncKey { id, key } => Body::SyncKey {
            id: id.clone(),
            key: sealer.seal_sync_key(id, key, nonce)?,
        },
        Body::Version { name, state } => {
            let (name, state) = sealer.seal_version(name, state, nonce)?;
            Body::Version {
                name: text(name),
                state,
            }
        }
        Body::MutationMac {
            name,
            index_mac,
            version,
            value_mac,
        } => {
            let key = sealer.mutation_name(name)?;
            let (index, sealed) = sealer.seal_mutation(&key, name, index_mac, value_mac, nonce)?;
            Body::MutationMac {
                name: text(key),
                index_mac: bytes(index.to_vec()),
                version: *version,
                value_mac: bytes(sealed),
            }
        }
        Body::SenderKeyDevice {
            group,
            device,
            has_key,
        } => Body::SenderKeyDevice {
            group: text(sealer.sender_key_group(group)?),
            device: text(sealer.sender_key_device(device)?),
            has_key: *has_key,
        },
        Body::LidMapping(entry) => Body::LidMapping(sealer.seal_mapping(entry, nonce)?),
        Body::BaseKey {
            address,
            message_id,
            base_key,
        } => {
            let (address_key, message_key) = sealer.base_key_row(address, message_id)?;
            let mut sealed = sealer
                .seal_base_key(address, message_id, base_key)?
                .into_iter();
            Body::BaseKey {
                address: text(address_key),
                message_id: text(message_key),
                // The newest generation's.
                base_key: bytes(sealed.next().ok_or(SealError::NotOpen)?),
            }
        }
        Body::DeviceList(list) => Body::DeviceList(sealer.seal_device_list(list, nonce)?),
        Body::GroupMetadata { group, info } => {
            let (group, info) = sealer.seal_group(group, info, nonce)?;
            Body::GroupMetadata {
                group: text(group),
                info: bytes(info),
            }
        }
        Body::TcToken { jid, entry } => {
            let key = sealer.tc_token_key(jid)?;
            let token =
                sealer.seal_tc_token(&key, jid, &entry.token, entry.token_timestamp, nonce)?;
            Body::TcToken {
                jid: text(key),
                entry: TcTokenEntry {
                    token,
                    token_timestamp: entry.token_timestamp,
                    sender_timestamp: entry.sender_timestamp,
                },
            }
        }
        Body::SentMessage { chat, id, payload } => {
            let key = sealer.sent_key(chat, id)?;
            let sealed = sealer.seal_sent(&key, chat, id, payload, nonce)?;
            let [chat, id] = key;
            Body::SentMessage {
                chat: text(chat),
                id: text(id),
                payload: bytes(sealed),
            }
        }
        Body::PendingInbound {
            chat,
            sender,
            id,
            message,
        } => {
            let key = sealer.pending_key(chat, sender, id)?;
            let sealed = sealer.seal_pending(&key, [chat, sender, id], message, nonce)?;
            let [chat, sender, id] = key;
            Body::PendingInbound {
                chat: text(chat),
                sender: text(sender),
                id: text(id),
                message: bytes(sealed),
            }
        }
        Body::MsgSecret { .. } => return seal_secret(sealer, row),
    };
    Ok(smallvec![Row {
        account: row.account,
        body,
        written: row.written,
    }])
}

fn session(address: String, record: Vec<u8>) -> Body {
    Body::Session {
        address: text(address),
        record: bytes(record),
    }
}

fn seal_secret(sealer: &Sealer<'_>, row: &Row) -> Result<Sealed, SealError> {
    let Body::MsgSecret {
        chat,
        sender,
        id,
        secret,
        expires_at,
        message_ts,
    } = &row.body
    else {
        return Ok(Sealed::new());
    };
    let secret = secret
        .as_slice()
        .try_into()
        .map_err(|_| SealError::Invalid {
            what: "a message secret is not 32 bytes long; delete its row, no client can use it",
        })?;
    let mut entry = MsgSecretEntry {
        chat: chat.as_str().into(),
        sender: sender.as_str().into(),
        msg_id: id.as_str().into(),
        secret,
        expires_at: *expires_at,
        message_ts: *message_ts,
    };
    let halves = sealer.seal_secret(&entry, &Arc::from(SECOND_HALF), &Arc::from(""));
    entry.secret.zeroize();
    Ok(halves?
        .into_iter()
        .map(|half| Row {
            account: row.account,
            body: Body::MsgSecret {
                chat: text(half.chat.to_string()),
                sender: text(half.sender.to_string()),
                id: text(half.msg_id.to_string()),
                secret: bytes(half.secret.to_vec()),
                expires_at: half.expires_at,
                message_ts: half.message_ts,
            },
            written: row.written,
        })
        .collect())
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

/// What a sealed store's row holds. `second` is the other half of a message secret's first.
pub(super) fn open(
    sealer: &Sealer<'_>,
    row: &Row,
    second: Option<&Row>,
) -> Result<Opened, SealError> {
    let raw = match &row.body {
        Body::Device(_) => return Ok(Opened::Decoy),
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
    let restored = sealer.restore(raw)?;
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
            state: read_state(&value).ok_or(length)?,
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
