//! `AppSyncStore`.

use proptest::prelude::*;
use wacore::store::traits::Backend;

use super::{Answer, calls};
use crate::differential::args::{BinaryName, Key, Mutation, SyncKey, Version};
use crate::differential::names::{Name, Part};

calls! {
    /// The calls of `AppSyncStore`.
    AppSync on store {
        2 get_sync_key(key_id: BinaryName) = store.get_sync_key(&key_id).await;
        4 set_sync_key(key_id: BinaryName, key: SyncKey) = store.set_sync_key(&key_id, key).await;
        2 get_version(name: Name) = store.get_version(name).await;
        3 set_version(name: Name, state: Version) = store.set_version(name, state).await;
        5 put_mutation_macs(name: Part, version: u64, mutations: Vec<Mutation>)
            = store.put_mutation_macs(name, version, &mutations).await;
        2 get_mutation_mac(name: Part, index: BinaryName) = store.get_mutation_mac(name, &index).await;
        3 get_mutation_macs(name: Part, indexes: Vec<Key>) = store.get_mutation_macs(name, &indexes).await;
        2 delete_mutation_macs(name: Part, indexes: Vec<BinaryName>)
            = store.delete_mutation_macs(name, &indexes).await;
        1 clear_mutation_macs(name: Part) = store.clear_mutation_macs(name).await;
        2 get_latest_sync_key_id() = store.get_latest_sync_key_id().await;
    }
}

impl AppSync {
    pub fn trail(&self) -> Vec<Self> {
        match self {
            Self::set_sync_key { key_id, .. } => vec![Self::get_sync_key { key_id: *key_id }],
            Self::put_mutation_macs {
                name, mutations, ..
            } => mutations
                .iter()
                .map(|mutation| Self::get_mutation_mac {
                    name: *name,
                    index: mutation.index,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    pub fn reads_of_all_names() -> Vec<Self> {
        let versions = Name::all().map(|name| Self::get_version { name });
        versions.chain([Self::get_latest_sync_key_id {}]).collect()
    }
}
