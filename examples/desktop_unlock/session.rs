//! What the app does while it is open.

use anyhow::{Result, bail};
use sealed_store::{Passphrase, SealError};

use super::app::{App, Store, duration};
use super::settings::Settings;
use super::terminal::{self, say};
use super::{End, contacts, first_run, slots, unlocking};

const HELP: &str = "add PHONE LID   save a contact        passwd             change the passphrase
list            show all contacts     recovery           make a new recovery code, in place of the old
lock            lock it now           keychain on|off    use the keychain, or not
quit            close it              idle 30s|5m|1h     when it locks itself
                                      slots              what opens it";

pub async fn run(app: &App, store: &Store) -> Result<()> {
    let keyring = store.account().keyring();
    say("`help` shows what there is to do.");
    while let Some(line) = terminal::command("> ")? {
        // The client's own reads and writes don't count as use: only a person does.
        keyring.touch();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => continue,
            ["help"] => say(HELP),
            ["quit"] => break,
            ["lock"] => lock(app, store)?,
            _ => unless_it_locks(act(app, store, &words).await)?,
        }
        keyring.touch();
    }
    Ok(())
}

/// Goes on where the store has locked itself while a question stood there, and where something was refused that leaves the app
/// as it was; not where it came to its end.
pub fn unless_it_locks(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is::<End>() => return Err(error),
        Err(error) if is_not_open(&error) => say(
            "It has locked itself meanwhile. See whether that was done, and do it again if not.",
        ),
        Err(error) => say(&terminal::explain(&error)),
        Ok(()) => {}
    }
    Ok(())
}

async fn act(app: &App, store: &Store, words: &[&str]) -> Result<()> {
    if !store.account().keyring().is_open() {
        unlocking::again(app, store).await?;
    }
    match words {
        ["add", phone, lid] => contacts::add(store, phone, lid).await,
        ["list"] => contacts::list(store).await,
        ["passwd"] => change_passphrase(app, store).await,
        ["recovery"] => first_run::recovery_code(app, store).await,
        ["keychain", "on"] => first_run::use_keychain(app, store).await,
        ["keychain", "off"] => {
            slots::keep_only(app, store, "keychain", 0).await?;
            app.settings
                .change(|chosen| chosen.keychain_declined = true)?;
            say("The keychain is not used any more.");
            Ok(())
        }
        ["idle", after] => {
            let Some(after) = duration(after) else {
                bail!("idle 30s, 5m or 1h");
            };
            store.account().keyring().auto_lock(Some(after))?;
            say("It locks itself after that time without use.");
            Ok(())
        }
        ["slots"] => {
            for slot in store.account().keyring().slots().await? {
                let opened = if slot.opened { ", which opened it" } else { "" };
                say(&format!(
                    "slot {}: {} ({}){opened}",
                    slot.slot, slot.label, slot.kind
                ));
            }
            Ok(())
        }
        _ => bail!("`help` shows what there is to do."),
    }
}

/// Before the client's keys go, its client is disconnected: here, and before the store is closed at the end.
fn lock(app: &App, store: &Store) -> Result<()> {
    store.account().keyring().lock();
    note_locked(&app.settings)?;
    terminal::say_alone("Locked: its keys are gone from memory.");
    Ok(())
}

/// Also for the next start of the app, see `unlocking.rs`.
pub fn note_locked(settings: &Settings) -> Result<()> {
    settings.change(|chosen| chosen.is_locked = true)
}

/// The old passphrase is asked for although the store is open: somebody else may sit at the desk.
async fn change_passphrase(app: &App, store: &Store) -> Result<()> {
    let keyring = store.account().keyring();
    let old = Passphrase::new(terminal::secret("Present passphrase")?);
    let slots = keyring.slots().await?;
    let slots: Vec<_> = slots
        .iter()
        .filter(|slot| slot.kind == "passphrase")
        .collect();
    // Before a new one is thought of. (A choice that was cut short has left two: either is right.)
    let mut proved = None;
    for slot in &slots {
        match app.prove(slot.slot, &old).await {
            Ok(()) => proved = Some(slot.slot),
            Err(SealError::WrongKey) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let Some(slot) = proved else {
        bail!("That is not the passphrase; nothing was changed.");
    };
    let new = Passphrase::new(first_run::new_passphrase()?);
    let slot = keyring.change_passphrase(slot, &old, &new).await?;
    slots::keep_only(app, store, "passphrase", slot).await?;
    say(
        "The passphrase is changed. Copies of the store from before, such as backups, still open with the old one. If somebody \
         may know that, make every key new: close the app, then `sealed-store reencrypt --full whatsapp.db`.",
    );
    Ok(())
}

fn is_not_open(error: &anyhow::Error) -> bool {
    let mut layers = error.chain();
    layers.any(|layer| matches!(layer.downcast_ref(), Some(SealError::NotOpen)))
}
