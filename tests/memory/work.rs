//! A few hundred calls that use every key of an account.

use std::sync::Arc;

use bytes::Bytes;
use wacore::store::traits::{Backend, LidPnMappingEntry, MsgSecretEntry};

use crate::common::samples::{Sample, TABLES, TIME};

pub async fn use_store(store: &dyn Backend, owner: u8) {
    for row in 0..4 {
        for table in TABLES {
            let sample = Sample { table, row, owner };
            sample.put(store).await.expect("it is written");
            let read = sample.get(store).await.expect("it is read");
            assert_eq!(read, Some(sample.expected()));
        }
    }
    batches(store).await.expect("batches are written and read");
}

/// More than the store works on at a time.
async fn batches(store: &dyn Backend) -> wacore::store::error::Result<()> {
    const COUNT: u32 = 200;
    let names: Vec<Arc<str>> = (0..COUNT)
        .map(|n| format!("4477009{n:05}:1@c.us.0").into())
        .collect();
    let value = Bytes::from(vec![0x42; 200]);
    let named: Vec<_> = names
        .iter()
        .map(|name| (Arc::clone(name), value.clone()))
        .collect();
    store.put_sessions_batch(&named).await?;
    store.put_sender_keys_batch(&named).await?;
    let keys: Vec<_> = (1000..1000 + COUNT).map(|id| (id, value.clone())).collect();
    store.store_prekeys_batch(&keys, false).await?;
    let ids: Vec<u32> = keys.iter().map(|(id, _)| *id).collect();
    assert_eq!(store.load_prekeys_batch(&ids).await?.len(), keys.len());
    let secrets = names
        .iter()
        .map(|name| MsgSecretEntry {
            chat: "120363021033200001@g.us".into(),
            sender: Arc::clone(name),
            msg_id: "3EB0AABBCCDD".into(),
            secret: [0x42; 32],
            expires_at: TIME + 1000,
            message_ts: TIME,
        })
        .collect();
    store.put_msg_secrets(secrets).await?;
    let mappings: Vec<_> = (0..COUNT)
        .map(|n| LidPnMappingEntry {
            lid: format!("2000000{n:08}"),
            phone_number: format!("4477009{n:05}"),
            created_at: TIME,
            updated_at: TIME,
            learning_source: "usync".into(),
        })
        .collect();
    store.put_lid_mappings(&mappings).await?;
    assert!(store.get_all_lid_mappings().await?.len() >= mappings.len());
    let entries: Vec<_> = names.iter().map(|name| (&**name, true)).collect();
    let group = "120363021033299999@g.us";
    store.set_sender_key_status(group, &entries).await?;
    let devices = store.get_sender_key_devices(group).await?;
    assert_eq!(devices.len(), entries.len());
    Ok(())
}
