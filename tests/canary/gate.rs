//! A store behind a gate: what is behind it can be changed while the gate stays in use, it remembers
//! under which names session rows were put, and it can refuse them before there is a device row, as
//! a store with foreign keys does.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use wacore::appstate::hash::HashState;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::stats::StorageResourceReport;
use wacore::store::Device;
use wacore::store::error::{Result, StoreError};
use wacore::store::traits::*;

pub struct Gate {
    behind: RwLock<Arc<dyn Backend>>,
    sessions: Mutex<BTreeSet<String>>,
    strict: AtomicBool,
}

impl Gate {
    pub fn new(behind: Arc<dyn Backend>) -> Self {
        Self {
            behind: RwLock::new(behind),
            sessions: Mutex::default(),
            strict: AtomicBool::new(false),
        }
    }

    /// What is behind it now.
    pub fn now(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.behind.read().unwrap())
    }

    /// Puts another store there.
    pub fn change(&self, behind: Arc<dyn Backend>) {
        *self.behind.write().unwrap() = behind;
    }

    /// From here on a session row needs the device row.
    pub fn be_strict(&self) {
        self.strict.store(true, Ordering::SeqCst);
    }

    /// The names of the session rows that were ever put.
    pub fn sessions(&self) -> Vec<String> {
        self.sessions.lock().unwrap().iter().cloned().collect()
    }

    async fn admit(&self, address: &str) -> Result<()> {
        if self.strict.load(Ordering::SeqCst) && !self.now().exists().await? {
            return Err(StoreError::Validation(
                "no device row for this session".into(),
            ));
        }
        self.sessions.lock().unwrap().insert(address.into());
        Ok(())
    }
}

macro_rules! pass {
    ($store:ident { $($own:tt)* }
     $($method:ident($($arg:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl $store for Gate {
            $($own)*
            $(async fn $method(&self, $($arg: $kind),*) -> $answer {
                self.now().$method($($arg),*).await
            })*
        }
    };
}

pass! { SignalStore
    { async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        self.admit(address).await?;
        self.now().put_session(address, session).await
    }
    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        for (address, _) in sessions {
            self.admit(address).await?;
        }
        self.now().put_sessions_batch(sessions).await
    } }
    put_identity(address: &str, key: [u8; 32]) -> Result<()>;
    put_identities_batch(identities: &[(Arc<str>, [u8; 32])]) -> Result<()>;
    load_identity(address: &str) -> Result<Option<[u8; 32]>>;
    delete_identity(address: &str) -> Result<()>;
    get_session(address: &str) -> Result<Option<Bytes>>;
    delete_session(address: &str) -> Result<()>;
    has_session(address: &str) -> Result<bool>;
    has_signal_state_for_user(user: &str) -> Result<bool>;
    store_prekey(id: u32, record: &[u8], uploaded: bool) -> Result<()>;
    store_prekeys_batch(keys: &[(u32, Bytes)], uploaded: bool) -> Result<()>;
    load_prekey(id: u32) -> Result<Option<Bytes>>;
    load_prekeys_batch(ids: &[u32]) -> Result<Vec<(u32, Bytes)>>;
    mark_prekeys_uploaded(ids: &[u32]) -> Result<()>;
    remove_prekey(id: u32) -> Result<()>;
    get_max_prekey_id() -> Result<u32>;
    store_signed_prekey(id: u32, record: &[u8]) -> Result<()>;
    load_signed_prekey(id: u32) -> Result<Option<Vec<u8>>>;
    load_all_signed_prekeys() -> Result<Vec<(u32, Vec<u8>)>>;
    remove_signed_prekey(id: u32) -> Result<()>;
    put_sender_key(address: &str, record: &[u8]) -> Result<()>;
    put_sender_keys_batch(sender_keys: &[(Arc<str>, Bytes)]) -> Result<()>;
    get_sender_key(address: &str) -> Result<Option<Vec<u8>>>;
    delete_sender_key(address: &str) -> Result<()>;
}
pass! { AppSyncStore {}
    get_sync_key(key_id: &[u8]) -> Result<Option<AppStateSyncKey>>;
    set_sync_key(key_id: &[u8], key: AppStateSyncKey) -> Result<()>;
    get_version(name: &str) -> Result<HashState>;
    set_version(name: &str, state: HashState) -> Result<()>;
    put_mutation_macs(name: &str, version: u64, mutations: &[AppStateMutationMAC]) -> Result<()>;
    get_mutation_mac(name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>>;
    get_mutation_macs(name: &str, index_macs: &[[u8; 32]]) -> Result<HashMap<[u8; 32], Vec<u8>>>;
    delete_mutation_macs(name: &str, index_macs: &[Vec<u8>]) -> Result<()>;
    clear_mutation_macs(name: &str) -> Result<()>;
    get_latest_sync_key_id() -> Result<Option<Vec<u8>>>;
}
pass! { ProtocolStore {}
    get_sender_key_devices(group_jid: &str) -> Result<Vec<(String, bool)>>;
    set_sender_key_status(group_jid: &str, entries: &[(&str, bool)]) -> Result<()>;
    clear_sender_key_devices(group_jid: &str) -> Result<()>;
    delete_sender_key_device_rows(device_jids: &[&str]) -> Result<()>;
    clear_all_sender_key_devices() -> Result<()>;
    get_lid_mapping(lid: &str) -> Result<Option<LidPnMappingEntry>>;
    get_pn_mapping(phone: &str) -> Result<Option<LidPnMappingEntry>>;
    put_lid_mapping(entry: &LidPnMappingEntry) -> Result<()>;
    put_lid_mappings(entries: &[LidPnMappingEntry]) -> Result<()>;
    get_all_lid_mappings() -> Result<Vec<LidPnMappingEntry>>;
    save_base_key(address: &str, message_id: &str, base_key: &[u8]) -> Result<()>;
    has_same_base_key(address: &str, message_id: &str, current_base_key: &[u8]) -> Result<bool>;
    delete_base_key(address: &str, message_id: &str) -> Result<()>;
    update_device_list(record: DeviceListRecord) -> Result<()>;
    update_device_lists(records: Vec<DeviceListRecord>) -> Result<()>;
    get_devices(user: &str) -> Result<Option<DeviceListRecord>>;
    delete_devices(user: &str) -> Result<()>;
    get_group_metadata(group_jid: &str) -> Result<Option<Vec<u8>>>;
    put_group_metadata(group_jid: &str, blob: &[u8]) -> Result<()>;
    delete_group_metadata(group_jid: &str) -> Result<()>;
    get_tc_token(jid: &str) -> Result<Option<TcTokenEntry>>;
    put_tc_token(jid: &str, entry: &TcTokenEntry) -> Result<()>;
    delete_tc_token(jid: &str) -> Result<()>;
    get_all_tc_token_jids() -> Result<Vec<String>>;
    delete_expired_tc_tokens(token_cutoff: i64, sender_cutoff: i64) -> Result<u32>;
    touch_tc_token_sender_timestamp(jid: &str, sender_timestamp: i64) -> Result<()>;
    store_received_tc_token(jid: &str, token: &[u8], token_timestamp: i64) -> Result<()>;
    store_sent_message(chat_jid: &str, message_id: &str, payload: &[u8]) -> Result<()>;
    take_sent_message(chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>>;
    delete_expired_sent_messages(cutoff_timestamp: i64) -> Result<u32>;
    store_pending_inbound(chat: &str, sender: &str, id: &str, message: &[u8]) -> Result<()>;
    get_pending_inbound(chat: &str, sender: &str, id: &str) -> Result<Option<Vec<u8>>>;
    delete_pending_inbound(chat: &str, sender: &str, id: &str) -> Result<()>;
    delete_expired_pending_inbound(cutoff_timestamp: i64) -> Result<u32>;
    store_pending_inbound_batch(rows: &[PendingInboundRow<'_>]) -> Result<()>;
    delete_pending_inbound_batch(keys: &[PendingInboundKey<'_>]) -> Result<()>;
}
pass! { MsgSecretStore {}
    put_msg_secret(chat: &str, sender: &str, msg_id: &str, secret: &MessageSecret) -> Result<()>;
    put_msg_secrets(entries: Vec<MsgSecretEntry>) -> Result<usize>;
    get_msg_secret(chat: &str, sender: &str, msg_id: &str) -> Result<Option<Vec<u8>>>;
    get_msg_secret_with_ts(chat: &str, sender: &str, msg_id: &str) -> Result<Option<(Vec<u8>, i64)>>;
    delete_expired_msg_secrets(cutoff_timestamp: i64) -> Result<u32>;
}
pass! { DeviceStore {}
    save(device: &Device) -> Result<()>;
    load() -> Result<Option<Device>>;
    exists() -> Result<bool>;
    create() -> Result<i32>;
    snapshot_db(name: &str, extra_content: Option<&[u8]>) -> Result<()>;
    resource_report() -> StorageResourceReport;
}
