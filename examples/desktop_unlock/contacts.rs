//! The app's own work. What the real client learns and keeps goes through the same traits: none of it knows that it is sealed.
//!
//! What was read is the app's: the library wipes its keys, not what it has handed out, and pieces of that stay in freed memory.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use wacore::store::traits::{DeviceStore, LidPnMappingEntry, ProtocolStore};

use super::app::Store;
use super::terminal::say;

/// The account's device, as the client makes it before it pairs.
pub async fn prepare(store: &Store) -> Result<()> {
    if !store.exists().await? {
        store.create().await?;
    }
    Ok(())
}

pub async fn add(store: &Store, phone: &str, lid: &str) -> Result<()> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    ensure!(
        is_number(phone) && is_number(lid),
        "add PHONE LID, both in digits"
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64;
    let contact = LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number: phone.to_owned(),
        created_at: now,
        updated_at: now,
        learning_source: "usync".to_owned(),
    };
    store.put_lid_mapping(&contact).await?;
    say("Saved.");
    Ok(())
}

pub async fn list(store: &Store) -> Result<()> {
    let mut contacts = store.get_all_lid_mappings().await?;
    contacts.sort_by(|a, b| a.phone_number.cmp(&b.phone_number));
    for contact in &contacts {
        say(&format!("+{} is {}@lid", contact.phone_number, contact.lid));
    }
    say(&format!("{} contacts.", contacts.len()));
    Ok(())
}
