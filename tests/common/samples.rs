//! One row of every table as a client writes and reads it.
//!
//! A row's *name* depends on its number alone, and its *value* on its owner too: two accounts hold
//! rows of the same names with different values, so that only keys and ids tell them apart.

use sealed_store::Table;
use sealed_store::testing::full_device;
use wacore::appstate::hash::HashState;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::Device;
use wacore::store::error::Result;
use wacore::store::traits::{
    AppStateSyncKey, Backend, DeviceInfo, DeviceListRecord, LidPnMappingEntry, MsgSecretEntry,
    TcTokenEntry,
};

/// The tables whose rows the five traits write and read.
pub const TABLES: [Table; 18] = [
    Table::Session,
    Table::Identity,
    Table::PreKey,
    Table::SignedPreKey,
    Table::SenderKey,
    Table::SyncKey,
    Table::Version,
    Table::MutationMac,
    Table::SenderKeyDevice,
    Table::LidMapping,
    Table::BaseKey,
    Table::DeviceList,
    Table::GroupMetadata,
    Table::SentMessage,
    Table::PendingInbound,
    Table::TcToken,
    Table::MsgSecret,
    Table::Device,
];

/// One row: which it is among its table's, and whose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    pub table: Table,
    pub row: u8,
    pub owner: u8,
}

pub const TIME: i64 = 1_750_000_000;

impl Sample {
    pub fn user(&self) -> String {
        format!("55119876{:05}", self.row)
    }

    pub fn address(&self) -> String {
        format!("{}:3@c.us.0", self.user())
    }

    pub fn group(&self) -> String {
        format!("1203630210332{:05}@g.us", self.row)
    }

    pub fn id(&self) -> String {
        format!("3EB0AABBCC{:04X}", self.row)
    }

    pub fn lid(&self) -> String {
        format!("1000000123{:05}", self.row)
    }

    pub fn number(&self) -> u32 {
        100 + u32::from(self.row)
    }

    pub fn index_mac(&self) -> [u8; 32] {
        [0x30 + self.row; 32]
    }

    pub fn bytes(&self, len: usize) -> Vec<u8> {
        let seed = [self.table.number() as u8, self.row, self.owner];
        let text = format!("value of {} {} {}, ", seed[0], seed[1], seed[2]);
        text.bytes().cycle().take(len).collect()
    }

    pub fn array(&self) -> [u8; 32] {
        self.bytes(32).try_into().expect("32 bytes")
    }

    pub fn sync_key(&self) -> AppStateSyncKey {
        AppStateSyncKey {
            key_data: self.bytes(32),
            fingerprint: self.bytes(9),
            timestamp: TIME + i64::from(self.owner),
        }
    }

    pub fn state(&self) -> HashState {
        HashState {
            version: 42 + u64::from(self.owner),
            hash: self.bytes(128).try_into().expect("128 bytes"),
            index_value_map: [("index".to_owned(), self.bytes(32))].into(),
            mac_mismatch_fatal: true,
        }
    }

    pub fn device_jid(&self) -> String {
        format!("5599{:03}{:03}:7@s.whatsapp.net", self.owner, self.row)
    }

    pub fn mapping(&self) -> LidPnMappingEntry {
        LidPnMappingEntry {
            lid: self.lid(),
            phone_number: self.user(),
            created_at: TIME,
            updated_at: TIME + 60,
            learning_source: format!("source {} {}", self.row, self.owner),
        }
    }

    pub fn device_list(&self) -> DeviceListRecord {
        DeviceListRecord {
            user: self.user(),
            devices: vec![DeviceInfo::new(u32::from(self.owner), Some(4))],
            timestamp: TIME,
            phash: Some(format!("2:{}", self.owner)),
            raw_id: Some(77),
        }
    }

    pub fn token(&self) -> TcTokenEntry {
        TcTokenEntry {
            token: self.bytes(24),
            token_timestamp: TIME,
            sender_timestamp: Some(TIME - 5),
        }
    }

    pub fn secret(&self) -> MsgSecretEntry {
        MsgSecretEntry {
            chat: self.group().into(),
            sender: self.address().into(),
            msg_id: self.id().into(),
            secret: self.array(),
            expires_at: TIME + 1000,
            message_ts: TIME,
        }
    }

    /// A paired device whose only difference to another owner's is a name.
    pub fn device(&self) -> Device {
        Device {
            push_name: format!("device of {}", self.owner),
            ..full_device()
        }
    }

    /// Writes the row.
    pub async fn put(&self, store: &dyn Backend) -> Result<()> {
        match self.table {
            Table::Session => store.put_session(&self.address(), &self.bytes(90)).await,
            Table::Identity => store.put_identity(&self.address(), self.array()).await,
            Table::PreKey => {
                let record = self.bytes(70);
                store.store_prekey(self.number(), &record, false).await
            }
            Table::SignedPreKey => {
                let record = self.bytes(70);
                store.store_signed_prekey(self.number(), &record).await
            }
            Table::SenderKey => store.put_sender_key(&self.address(), &self.bytes(80)).await,
            Table::SyncKey => store.set_sync_key(&[0, self.row], self.sync_key()).await,
            Table::Version => store.set_version(&self.group(), self.state()).await,
            Table::MutationMac => {
                let mac = AppStateMutationMAC {
                    index_mac: self.index_mac().to_vec(),
                    value_mac: self.bytes(32),
                };
                store.put_mutation_macs(&self.group(), 5, &[mac]).await
            }
            Table::SenderKeyDevice => {
                let device = self.device_jid();
                store
                    .set_sender_key_status(&self.group(), &[(&device, true)])
                    .await
            }
            Table::LidMapping => store.put_lid_mapping(&self.mapping()).await,
            Table::BaseKey => {
                store
                    .save_base_key(&self.address(), &self.id(), &self.bytes(33))
                    .await
            }
            Table::DeviceList => store.update_device_list(self.device_list()).await,
            Table::GroupMetadata => {
                store
                    .put_group_metadata(&self.group(), &self.bytes(90))
                    .await
            }
            Table::SentMessage => {
                store
                    .store_sent_message(&self.group(), &self.id(), &self.bytes(90))
                    .await
            }
            Table::PendingInbound => {
                store
                    .store_pending_inbound(
                        &self.group(),
                        &self.address(),
                        &self.id(),
                        &self.bytes(90),
                    )
                    .await
            }
            Table::TcToken => store.put_tc_token(&self.lid(), &self.token()).await,
            Table::MsgSecret => store.put_msg_secrets(vec![self.secret()]).await.map(drop),
            Table::Device => store.save(&self.device()).await,
            other => panic!("no method writes {other}"),
        }
    }

    /// What the store answers for the row, in one comparable form; `None` if it is absent.
    pub async fn get(&self, store: &dyn Backend) -> Result<Option<String>> {
        Ok(match self.table {
            Table::Session => text(store.get_session(&self.address()).await?),
            Table::Identity => text(store.load_identity(&self.address()).await?),
            Table::PreKey => text(store.load_prekey(self.number()).await?),
            Table::SignedPreKey => text(store.load_signed_prekey(self.number()).await?),
            Table::SenderKey => text(store.get_sender_key(&self.address()).await?),
            Table::SyncKey => store
                .get_sync_key(&[0, self.row])
                .await?
                .map(|key| format!("{key:?}")),
            Table::Version => {
                let state = store.get_version(&self.group()).await?;
                let absent = state.version == 0 && state.index_value_map.is_empty();
                (!absent).then(|| format!("{state:?}"))
            }
            Table::MutationMac => text(
                store
                    .get_mutation_mac(&self.group(), &self.index_mac())
                    .await?,
            ),
            Table::SenderKeyDevice => {
                let mut devices = store.get_sender_key_devices(&self.group()).await?;
                devices.sort();
                (!devices.is_empty()).then(|| format!("{devices:?}"))
            }
            Table::LidMapping => store
                .get_lid_mapping(&self.lid())
                .await?
                .map(|entry| format!("{entry:?}")),
            Table::BaseKey => {
                let key = self.bytes(33);
                let same = store
                    .has_same_base_key(&self.address(), &self.id(), &key)
                    .await?;
                text(same.then_some(key))
            }
            Table::DeviceList => store
                .get_devices(&self.user())
                .await?
                .map(|list| format!("{list:?}")),
            Table::GroupMetadata => text(store.get_group_metadata(&self.group()).await?),
            Table::SentMessage => {
                let payload = store.take_sent_message(&self.group(), &self.id()).await?;
                if let Some(payload) = &payload {
                    // Taken, so written again for the next reader.
                    store
                        .store_sent_message(&self.group(), &self.id(), payload)
                        .await?;
                }
                text(payload)
            }
            Table::PendingInbound => text(
                store
                    .get_pending_inbound(&self.group(), &self.address(), &self.id())
                    .await?,
            ),
            Table::TcToken => store
                .get_tc_token(&self.lid())
                .await?
                .map(|entry| format!("{entry:?}")),
            Table::MsgSecret => store
                .get_msg_secret_with_ts(&self.group(), &self.address(), &self.id())
                .await?
                .map(|found| format!("{found:?}")),
            Table::Device => store.load().await?.map(|device| device.push_name),
            other => panic!("no method reads {other}"),
        })
    }

    /// What [`Self::get`] answers when all is well.
    pub fn expected(&self) -> String {
        match self.table {
            Table::Session | Table::GroupMetadata | Table::SentMessage | Table::PendingInbound => {
                hex::encode(self.bytes(90))
            }
            Table::Identity | Table::MutationMac => hex::encode(self.bytes(32)),
            Table::PreKey | Table::SignedPreKey => hex::encode(self.bytes(70)),
            Table::SenderKey => hex::encode(self.bytes(80)),
            Table::SyncKey => format!("{:?}", self.sync_key()),
            Table::Version => format!("{:?}", self.state()),
            Table::SenderKeyDevice => format!("{:?}", [(self.device_jid(), true)]),
            Table::LidMapping => format!("{:?}", self.mapping()),
            Table::BaseKey => hex::encode(self.bytes(33)),
            Table::DeviceList => format!("{:?}", self.device_list()),
            Table::TcToken => format!("{:?}", self.token()),
            Table::MsgSecret => format!("{:?}", (self.array().to_vec(), TIME)),
            Table::Device => format!("device of {}", self.owner),
            other => panic!("no method reads {other}"),
        }
    }
}

fn text(bytes: Option<impl AsRef<[u8]>>) -> Option<String> {
    bytes.map(hex::encode)
}
