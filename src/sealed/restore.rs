//! Opening a row without being asked for it by name: from the keys and the raw row alone, its name and
//! its value come back. That is what makes a sealed store decryptable, checkable and resealable.

use wacore::appstate::hash::HashState;
use wacore::store::traits::{AppStateSyncKey, DeviceListRecord, LidPnMappingEntry, TcTokenEntry};
use zeroize::Zeroizing;

use super::rows::{CANARY_KEY, Canary, MappingKey, Sealer, SignalTable};
use super::{SealOptions, note_refused};
use crate::error::{Fault, SealError};
use crate::keyring::Account;
use crate::record::{self, Opened, Table};

/// A row of a sealed store as the inner store holds it, in the inner store's own terms.
///
/// A keyring that was kept in the inner store ([`BackendKeyring`](crate::BackendKeyring)) is session rows
/// too, whose keys begin with `sealed-store.document.`: they are no rows of an account.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum RawRow<'a> {
    /// A session row: a session or an identity (name: its address), the device (name: `device`, value:
    /// JSON) or the canary (name: its key, no value).
    Session {
        /// The row's key.
        address: &'a str,
        /// The row's record.
        record: &'a [u8],
    },
    /// A one-time prekey. Name: the id, as four little-endian bytes.
    PreKey {
        /// The row's key.
        id: u32,
        /// The row's record.
        record: &'a [u8],
    },
    /// A signed prekey. Name: the id, as four little-endian bytes.
    SignedPreKey {
        /// The row's key.
        id: u32,
        /// The row's record.
        record: &'a [u8],
    },
    /// A sender key. Name: its address.
    SenderKey {
        /// The row's key.
        address: &'a str,
        /// The row's record.
        record: &'a [u8],
    },
    /// An app-state sync key. Name: its id. Value: frames of key data and fingerprint, then the time.
    SyncKey {
        /// The row's key.
        key_id: &'a [u8],
        /// The rest of the row.
        key: &'a AppStateSyncKey,
    },
    /// An app-state version. Name: the collection.
    Version {
        /// The row's key.
        name: &'a str,
        /// The rest of the row.
        state: &'a HashState,
    },
    /// A mutation MAC. Name: the collection and the index MAC.
    MutationMac {
        /// The first part of the row's key.
        name: &'a str,
        /// The second part.
        index_mac: &'a [u8],
        /// The rest of the row.
        value_mac: &'a [u8],
    },
    /// A device that may hold a group's sender key. Name: group and device. It has no value.
    SenderKeyDevice {
        /// The first part of the row's key.
        group: &'a str,
        /// The second part.
        device: &'a str,
    },
    /// A LID mapping. Name: LID and phone number. Value: the learning source.
    LidMapping(&'a LidPnMappingEntry),
    /// A base key. Name: address and message id.
    BaseKey {
        /// The first part of the row's key.
        address: &'a str,
        /// The second part.
        message_id: &'a str,
        /// The rest of the row.
        base_key: &'a [u8],
    },
    /// A device list. Name: its user.
    DeviceList(&'a DeviceListRecord),
    /// Group metadata. Name: the group.
    GroupMetadata {
        /// The row's key.
        group: &'a str,
        /// The rest of the row.
        blob: &'a [u8],
    },
    /// A sent message. Name: chat and id.
    SentMessage {
        /// The first part of the row's key.
        chat: &'a str,
        /// The second part.
        id: &'a str,
        /// The rest of the row.
        payload: &'a [u8],
    },
    /// A pending inbound message. Name: chat, sender and id.
    PendingInbound {
        /// The first part of the row's key.
        chat: &'a str,
        /// The second part.
        sender: &'a str,
        /// The third part.
        id: &'a str,
        /// The rest of the row.
        message: &'a [u8],
    },
    /// A trusted-contact token. Name: its contact. Without a token the row has no value.
    TcToken {
        /// The row's key.
        jid: &'a str,
        /// The rest of the row.
        entry: &'a TcTokenEntry,
    },
    /// A message secret, which is two rows of the same `chat`: the first one's sender is a name, the
    /// second one's is `1`. Name: chat, sender and message id.
    MsgSecret {
        /// The `chat` of both rows.
        chat: &'a str,
        /// The first row's sender.
        sender: &'a str,
        /// The first row's secret.
        first: &'a [u8],
        /// The second row's secret.
        second: &'a [u8],
    },
    /// The extra content of a snapshot. Name: the snapshot's.
    Snapshot {
        /// The name that the inner store was given.
        name: &'a str,
        /// The content that the inner store was given.
        content: &'a [u8],
    },
}

/// What a row is. No `Debug`: it holds what was sealed.
#[non_exhaustive]
pub struct Restored {
    /// Which kind of record it is.
    pub table: Table,
    /// The parts of its name, as the client spelled them.
    pub name: Vec<Zeroizing<Vec<u8>>>,
    /// Its value, as the format writes it; `None` in rows that hold only names.
    pub value: Option<Zeroizing<Vec<u8>>>,
    /// The generation of the data key that sealed it; `None` in rows that hold only names.
    pub generation: Option<u32>,
}

impl RawRow<'_> {
    /// Its table; what is in the inner store's sessions says only inside which of several it is.
    fn table(&self) -> Table {
        match self {
            Self::Session { .. } => Table::Session,
            Self::PreKey { .. } => Table::PreKey,
            Self::SignedPreKey { .. } => Table::SignedPreKey,
            Self::SenderKey { .. } => Table::SenderKey,
            Self::SyncKey { .. } => Table::SyncKey,
            Self::Version { .. } => Table::Version,
            Self::MutationMac { .. } => Table::MutationMac,
            Self::SenderKeyDevice { .. } => Table::SenderKeyDevice,
            Self::LidMapping(_) => Table::LidMapping,
            Self::BaseKey { .. } => Table::BaseKey,
            Self::DeviceList(_) => Table::DeviceList,
            Self::GroupMetadata { .. } => Table::GroupMetadata,
            Self::SentMessage { .. } => Table::SentMessage,
            Self::PendingInbound { .. } => Table::PendingInbound,
            Self::TcToken { .. } => Table::TcToken,
            Self::MsgSecret { .. } => Table::MsgSecret,
            Self::Snapshot { .. } => Table::Snapshot,
        }
    }
}

impl Account {
    /// Opens a row of this account by itself. Everything that a read by name checks is checked, and
    /// the name inside must give the row's key again, so that a moved row does not open.
    ///
    /// # Errors
    /// As a read of the row through the sealed store; [`SealError::Unsealed`] if no sealed store wrote
    /// it. An unknown generation is not looked up in the keyring again.
    pub fn restore(&self, row: RawRow<'_>) -> Result<Restored, SealError> {
        let options = SealOptions::default();
        let table = row.table();
        self.with_keys(|keys| {
            let sealer = Sealer {
                keys,
                options: &options,
            };
            sealer.restore(row)
        })
        .inspect_err(|error| {
            note_refused(self, table, error, false);
        })
    }
}

impl Restored {
    /// A record whose name has `N` parts and was compared with the row's key.
    fn of<const N: usize>(table: Table, opened: Opened) -> Result<Self, SealError> {
        let name = opened
            .name::<N>()?
            .map(|part| Zeroizing::new(part.to_vec()));
        Ok(Self {
            table,
            name: name.into(),
            generation: Some(opened.generation),
            value: Some(Zeroizing::new(opened.into_value())),
        })
    }

    /// A row whose name is in its key columns.
    fn named<const N: usize>(table: Table, name: [String; N]) -> Self {
        Self {
            table,
            name: name.map(|part| Zeroizing::new(part.into_bytes())).into(),
            value: None,
            generation: None,
        }
    }
}

/// The parts of a name that was text.
fn text<const N: usize>(table: Table, opened: &Opened) -> Result<[&str; N], SealError> {
    let mut parts = [""; N];
    for (part, bytes) in parts.iter_mut().zip(opened.name::<N>()?) {
        *part = utf8(table, bytes)?;
    }
    Ok(parts)
}

fn utf8(table: Table, part: &[u8]) -> Result<&str, SealError> {
    std::str::from_utf8(part).map_err(|_| SealError::Corrupt {
        table,
        what: Fault::Encoding,
    })
}

/// Fails unless the name inside gives the row's key again.
fn check_key(table: Table, same: bool) -> Result<(), SealError> {
    if same {
        Ok(())
    } else {
        Err(SealError::Corrupt {
            table,
            what: Fault::Name,
        })
    }
}

impl Sealer<'_> {
    pub(crate) fn restore(&self, row: RawRow<'_>) -> Result<Restored, SealError> {
        match row {
            RawRow::Session { address, record } => self.restore_session(address, record),
            RawRow::PreKey { id, record } => {
                let opened = self.id_record(Table::PreKey, id, record)?;
                Restored::of::<1>(Table::PreKey, opened)
            }
            RawRow::SignedPreKey { id, record } => {
                let opened = self.id_record(Table::SignedPreKey, id, record)?;
                Restored::of::<1>(Table::SignedPreKey, opened)
            }
            RawRow::SenderKey { address, record } => {
                self.restore_address(SignalTable::SenderKey, address, record)
            }
            RawRow::SyncKey { key_id, key } => {
                Restored::of::<1>(Table::SyncKey, self.sync_key_record(key_id, key)?)
            }
            RawRow::Version { name: key, state } => {
                const TABLE: Table = Table::Version;
                let opened = self.version_record(key, state)?;
                let opened = opened.ok_or(SealError::Unsealed { table: Some(TABLE) })?;
                let [name] = text(TABLE, &opened)?;
                check_key(TABLE, self.version_key(name)? == key)?;
                Restored::of::<1>(TABLE, opened)
            }
            RawRow::MutationMac {
                name: key,
                index_mac: index_key,
                value_mac,
            } => {
                const TABLE: Table = Table::MutationMac;
                let opened = self.mutation_record(key, index_key, value_mac)?;
                let [name, index_mac] = opened.name()?;
                let name = utf8(TABLE, name)?;
                let same = self.mutation_name(name)? == key
                    && self.mutation_index(name, index_mac)? == index_key;
                check_key(TABLE, same)?;
                Restored::of::<2>(TABLE, opened)
            }
            RawRow::SenderKeyDevice { group, device } => {
                let name = [
                    self.read_sender_key_group(group)?,
                    self.read_sender_key_device(device)?,
                ];
                Ok(Restored::named(Table::SenderKeyDevice, name))
            }
            RawRow::LidMapping(row) => {
                const TABLE: Table = Table::LidMapping;
                let opened = self.mapping_record(row)?;
                let [lid, phone] = text(TABLE, &opened)?;
                let same = self.mapping_key(MappingKey::Lid(lid))? == row.lid
                    && self.mapping_key(MappingKey::Phone(phone))? == row.phone_number;
                check_key(TABLE, same)?;
                Restored::of::<2>(TABLE, opened)
            }
            RawRow::BaseKey {
                address,
                message_id,
                base_key,
            } => {
                let (name, value) = self.open_base_key((address, message_id), base_key)?;
                Ok(Restored {
                    value: Some(value),
                    generation: Some(record::generation(Table::BaseKey, base_key)?),
                    ..Restored::named(Table::BaseKey, name)
                })
            }
            RawRow::DeviceList(row) => {
                const TABLE: Table = Table::DeviceList;
                let opened = self.device_list_record(row)?;
                let [user] = text(TABLE, &opened)?;
                check_key(TABLE, self.device_list_key(user)? == row.user)?;
                Restored::of::<1>(TABLE, opened)
            }
            RawRow::GroupMetadata { group: key, blob } => {
                const TABLE: Table = Table::GroupMetadata;
                let opened = self.group_record(key, blob)?;
                let [group] = text(TABLE, &opened)?;
                check_key(TABLE, self.group_key(group)? == key)?;
                Restored::of::<1>(TABLE, opened)
            }
            RawRow::SentMessage { chat, id, payload } => {
                const TABLE: Table = Table::SentMessage;
                let key = [chat, id];
                let opened = self.sent_record(key, payload)?;
                let [chat, id] = text(TABLE, &opened)?;
                check_key(TABLE, self.sent_key(chat, id)? == key)?;
                Restored::of::<2>(TABLE, opened)
            }
            RawRow::PendingInbound {
                chat,
                sender,
                id,
                message,
            } => {
                const TABLE: Table = Table::PendingInbound;
                let key = [chat, sender, id];
                let opened = self.pending_record(key, message)?;
                let [chat, sender, id] = text(TABLE, &opened)?;
                check_key(TABLE, self.pending_key(chat, sender, id)? == key)?;
                Restored::of::<3>(TABLE, opened)
            }
            RawRow::TcToken { jid: key, entry } => {
                const TABLE: Table = Table::TcToken;
                let jid = self.read_tc_token_key(key)?;
                match self.tc_token_record(key, entry)? {
                    None => Ok(Restored::named(TABLE, [jid])),
                    Some(opened) => Restored::of::<1>(TABLE, opened.check_name([jid.as_bytes()])?),
                }
            }
            RawRow::MsgSecret {
                chat,
                sender,
                first,
                second,
            } => {
                let name = self.read_secret_name(chat, sender)?;
                let secret =
                    self.open_secret(name.each_ref().map(String::as_str), first, second)?;
                Ok(Restored {
                    value: Some(Zeroizing::new(secret)),
                    generation: Some(record::generation(Table::MsgSecret, first)?),
                    ..Restored::named(Table::MsgSecret, name)
                })
            }
            RawRow::Snapshot { name: key, content } => {
                const TABLE: Table = Table::Snapshot;
                let opened = self.snapshot_record(key, content)?;
                let [name] = text(TABLE, &opened)?;
                check_key(TABLE, self.snapshot_key(name)? == key)?;
                Restored::of::<1>(TABLE, opened)
            }
        }
    }

    /// The rows that share the inner store's sessions are told apart by their keys, and sessions from
    /// identities by which of the two opens.
    fn restore_session(&self, key: &str, record: &[u8]) -> Result<Restored, SealError> {
        if key == CANARY_KEY {
            let (canary, sealed) = Canary::read(record)?;
            let opened = self.open_canary(&canary, sealed)?;
            return Ok(Restored {
                value: None,
                ..Restored::of::<1>(Table::Canary, opened)?
            });
        }
        if key == self.device_key()? {
            return Restored::of::<1>(Table::Device, self.device_record(key, record)?);
        }
        let session = self.restore_address(SignalTable::Session, key, record);
        if session.is_ok() {
            return session;
        }
        match self.restore_address(SignalTable::Identity, key, record) {
            // It may be whole, under a key that a newer keyring has: not the same as altered.
            found @ (Ok(_) | Err(SealError::UnknownGeneration { .. })) => found,
            Err(_) => session,
        }
    }

    fn restore_address(
        &self,
        signal: SignalTable,
        key: &str,
        record: &[u8],
    ) -> Result<Restored, SealError> {
        let table = signal.table();
        let opened = self.address_record(signal, key, record)?;
        let [address] = text(table, &opened)?;
        check_key(table, self.address_key(signal, address)? == key)?;
        Restored::of::<1>(table, opened)
    }
}
