//! The app keeps one slot of each kind: a passphrase, a recovery code, a keychain.

use anyhow::{Context, Result};
use sealed_store::KeyProvider;

use super::app::{App, Store};
use super::terminal::say;

/// Puts a slot in the place of all others of its kind, in this order: the new one, the proof that it opens, then the old ones go.
/// Cut short anywhere, the store opens with the old or with both.
pub async fn put(app: &App, store: &Store, label: &str, provider: &dyn KeyProvider) -> Result<()> {
    let keyring = store.account().keyring();
    let slot = keyring.add_slot(label, provider).await?;
    if let Err(error) = app.prove(slot, provider).await {
        remove(app, store, slot).await?;
        return Err(error)
            .context("What was just added does not open the store, so it was taken back");
    }
    keep_only(app, store, provider.kind(), slot).await
}

/// Removes all slots of a kind but this one; 0 removes them all.
pub async fn keep_only(app: &App, store: &Store, kind: &str, kept: u32) -> Result<()> {
    for slot in store.account().keyring().slots().await? {
        if slot.kind == kind && slot.slot != kept {
            remove(app, store, slot.slot).await?;
        }
    }
    Ok(())
}

async fn remove(app: &App, store: &Store, slot: u32) -> Result<()> {
    let keyring = store.account().keyring();
    let slots = keyring.slots().await?;
    keyring.remove_slot(slot).await?;
    let was_keychain = slots
        .iter()
        .any(|info| info.slot == slot && info.kind == "keychain");
    if was_keychain {
        // The library leaves the entry there. Old copies of the store open with it, so it must not lie around.
        if let Err(error) = app.keychain.forget(keyring.id(), slot).await {
            say(&format!(
                "(An entry of the keychain is left there: {error}.)"
            ));
        }
    }
    Ok(())
}
