//! `DeviceStore` and `MsgSecretStore`.

use std::cell::RefCell;

use proptest::prelude::*;
use sealed_store::testing::full_device;
use wacore::store::Device;
use wacore::store::traits::Backend;

use super::{Answer, calls};
use crate::differential::args::{Arg, Blob, Key, SecretRow};
use crate::differential::names::{Name, Part};

calls! {
    /// The calls of `DeviceStore` and `MsgSecretStore`.
    Rest on store {
        3 save(device: SavedDevice) = store.save(&device).await;
        2 load() = store.load().await;
        2 exists() = store.exists().await;
        2 create() = store.create().await;
        1 snapshot_db(name: Name, extra: Option<Blob>) = store.snapshot_db(name, extra.as_deref()).await;
        1 resource_report() = Ok(store.resource_report().await);
        3 put_msg_secret(chat: Part, sender: Part, id: Part, secret: Key)
            = store.put_msg_secret(chat, sender, id, &secret).await;
        3 put_msg_secrets(entries: Vec<SecretRow>) = store.put_msg_secrets(entries).await;
        2 get_msg_secret(chat: Part, sender: Part, id: Part) = store.get_msg_secret(chat, sender, id).await;
        2 get_msg_secret_with_ts(chat: Part, sender: Part, id: Part)
            = store.get_msg_secret_with_ts(chat, sender, id).await;
        2 delete_expired_msg_secrets(cutoff: i64) = store.delete_expired_msg_secrets(cutoff).await;
    }
}

impl Rest {
    pub fn trail(&self) -> Vec<Self> {
        // The read with the time reads what the other reads.
        let read = |chat: &Part, sender: &Part, id: &Part| Self::get_msg_secret_with_ts {
            chat: *chat,
            sender: *sender,
            id: *id,
        };
        match self {
            Self::put_msg_secret {
                chat, sender, id, ..
            } => vec![read(chat, sender, id)],
            Self::put_msg_secrets { entries } => entries
                .iter()
                .map(|entry| read(&entry.chat, &entry.sender, &entry.id))
                .collect(),
            _ => Vec::new(),
        }
    }

    pub fn reads() -> Vec<Self> {
        vec![Self::exists {}, Self::load {}]
    }
}

/// A device to save: one of three that were made on this thread, altered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SavedDevice {
    which: u8,
    paired: bool,
    push_name: Name,
    number: u32,
    time: i64,
    routing: Option<Blob>,
    props_hash: Option<Name>,
    salt: Option<Blob>,
}

thread_local! {
    /// The keys of a device are random and take a while: no draw can make them.
    static MADE: RefCell<Vec<Device>> = const { RefCell::new(Vec::new()) };
}

impl Arg for SavedDevice {
    type Value = Device;

    fn any() -> BoxedStrategy<Self> {
        let numbers = (0..3u8, any::<bool>(), u32::any(), i64::any());
        let texts = (Name::any(), <Option<Name>>::any());
        (numbers, texts, <Option<Blob>>::any(), <Option<Blob>>::any())
            .prop_map(
                |((which, paired, number, time), (push_name, props_hash), routing, salt)| Self {
                    which,
                    paired,
                    push_name,
                    number,
                    time,
                    routing,
                    props_hash,
                    salt,
                },
            )
            .boxed()
    }

    fn get(&self) -> Device {
        let mut device = MADE.with_borrow_mut(|made| {
            if made.is_empty() {
                made.extend([Device::new(), full_device(), full_device()]);
            }
            made.get(usize::from(self.which)).cloned()
        });
        let device = device.get_or_insert_with(Device::new);
        let Self {
            which: _,
            paired,
            push_name,
            number,
            time,
            routing,
            props_hash,
            salt,
        } = self;
        if !paired {
            (device.pn, device.lid, device.account) = (None, None, None);
        }
        device.push_name = push_name.get().to_owned();
        device.next_pre_key_id = *number;
        device.app_version_tertiary = *number;
        device.login_counter = i32::from_le_bytes(number.to_le_bytes());
        device.last_signed_pre_key_rotation_ms = *time;
        device.edge_routing_info = routing.get();
        device.props_hash = props_hash.get().map(str::to_owned);
        device.nct_salt = salt.get();
        device.server_has_prekeys = number % 2 == 0;
        device.clone()
    }
}
