//! From a row in the clear to what it is in a sealed store: pure functions, no storage.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use wacore::store::traits::{MsgSecretEntry, TcTokenEntry};
use zeroize::{Zeroize, Zeroizing};

use crate::error::SealError;
use crate::record::{Nonce, Table};
use crate::rows::{Body, Row};
use crate::sealed::Sealer;
use crate::sealed::rows::{CANARY_KEY, Canary, SECOND_HALF, SignalTable};

/// The rows that a row becomes: one, or two of a message secret.
pub(super) type Sealed = SmallVec<[Row; 2]>;

pub(super) fn text(text: String) -> Zeroizing<String> {
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
                state: Box::new(state),
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
