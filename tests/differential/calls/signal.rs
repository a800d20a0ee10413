//! `SignalStore`.

use proptest::prelude::*;
use wacore::store::traits::Backend;

use super::{Answer, calls};
use crate::differential::args::{Blob, IdentityRow, Key, PreKeyRow, SignalRow};
use crate::differential::names::Name;

calls! {
    /// The calls of `SignalStore`.
    Signal on store {
        3 put_identity(address: Name, key: Key) = store.put_identity(address, key).await;
        2 put_identities_batch(rows: Vec<IdentityRow>) = store.put_identities_batch(&rows).await;
        2 load_identity(address: Name) = store.load_identity(address).await;
        2 delete_identity(address: Name) = store.delete_identity(address).await;
        2 get_session(address: Name) = store.get_session(address).await;
        3 put_session(address: Name, record: Blob) = store.put_session(address, &record).await;
        2 put_sessions_batch(rows: Vec<SignalRow>) = store.put_sessions_batch(&rows).await;
        2 delete_session(address: Name) = store.delete_session(address).await;
        2 has_session(address: Name) = store.has_session(address).await;
        4 has_signal_state_for_user(user: Name) = store.has_signal_state_for_user(user).await;
        3 store_prekey(id: u32, record: Blob, uploaded: bool)
            = store.store_prekey(id, &record, uploaded).await;
        2 store_prekeys_batch(rows: Vec<PreKeyRow>, uploaded: bool)
            = store.store_prekeys_batch(&rows, uploaded).await;
        2 load_prekey(id: u32) = store.load_prekey(id).await;
        2 load_prekeys_batch(ids: Vec<u32>) = store.load_prekeys_batch(&ids).await;
        2 mark_prekeys_uploaded(ids: Vec<u32>) = store.mark_prekeys_uploaded(&ids).await;
        2 remove_prekey(id: u32) = store.remove_prekey(id).await;
        1 get_max_prekey_id() = store.get_max_prekey_id().await;
        3 store_signed_prekey(id: u32, record: Blob) = store.store_signed_prekey(id, &record).await;
        2 load_signed_prekey(id: u32) = store.load_signed_prekey(id).await;
        1 load_all_signed_prekeys() = store.load_all_signed_prekeys().await;
        2 remove_signed_prekey(id: u32) = store.remove_signed_prekey(id).await;
        3 put_sender_key(address: Name, record: Blob) = store.put_sender_key(address, &record).await;
        2 put_sender_keys_batch(rows: Vec<SignalRow>) = store.put_sender_keys_batch(&rows).await;
        2 get_sender_key(address: Name) = store.get_sender_key(address).await;
        2 delete_sender_key(address: Name) = store.delete_sender_key(address).await;
    }
}

impl Signal {
    pub fn trail(&self) -> Vec<Self> {
        match self {
            Self::store_prekey { id, .. } => vec![Self::load_prekey { id: *id }],
            Self::store_prekeys_batch { rows, .. } => rows
                .iter()
                .map(|row| Self::load_prekey { id: row.id })
                .collect(),
            _ => Vec::new(),
        }
    }

    pub fn reads_of_all_names() -> Vec<Self> {
        let mut reads = vec![Self::get_max_prekey_id {}, Self::load_all_signed_prekeys {}];
        for name in Name::all() {
            reads.extend([
                Self::load_identity { address: name },
                Self::get_session { address: name },
                Self::has_session { address: name },
                Self::has_signal_state_for_user { user: name },
                Self::get_sender_key { address: name },
            ]);
        }
        reads
    }
}
