//! The first run, and what is offered until it was answered.

use anyhow::Result;
use sealed_store::secrecy::{ExposeSecret, SecretString};
use sealed_store::{KeyProvider, Passphrase, RecoveryCode};

use super::app::{App, Store};
use super::terminal::{self, say};
use super::{rating, slots};

pub async fn make(app: &App) -> Result<Store> {
    say("This is the first run. A passphrase protects what this app keeps here.");
    let passphrase = Passphrase::new(new_passphrase()?);
    // Nothing was made before this line. After it the passphrase opens the store, whatever happens next.
    app.make(&passphrase).await?;
    Ok(app.open(&passphrase).await?)
}

/// Asks until the same was typed twice. What a bad one is worth is said, and it is taken: who chose it may know better.
pub fn new_passphrase() -> Result<SecretString> {
    loop {
        let first = terminal::secret("New passphrase")?;
        if first.expose_secret().is_empty() {
            say("An empty passphrase protects nothing.");
            continue;
        }
        let advice = rating::advice(first.expose_secret());
        if let Some(advice) = &advice {
            say(advice);
        }
        let again = match advice {
            Some(_) => "The same again, or Enter for another one",
            None => "The same again",
        };
        let second = terminal::secret(again)?;
        if first.expose_secret() == second.expose_secret() {
            return Ok(first);
        }
        if !second.expose_secret().is_empty() {
            say("The two differ. Once more, from the start.");
        }
    }
}

/// What the store does not have yet and nobody has declined.
pub async fn offers(app: &App, store: &Store) -> Result<()> {
    let chosen = app.settings.get();
    let slots = store.account().keyring().slots().await?;
    let has = |kind| slots.iter().any(|slot| slot.kind == kind);
    if !has("recovery") && !chosen.recovery_declined {
        say(
            "There is no recovery code yet. On paper, it opens the store when the passphrase is forgotten: there is no other way then.",
        );
        if terminal::yes("Make one now? [y/n]")? {
            recovery_code(app, store).await?;
        } else {
            app.settings
                .change(|chosen| chosen.recovery_declined = true)?;
        }
    }
    // Not offered where there is none, and not asked about: a question that nobody can say yes to.
    if !has("keychain") && !chosen.keychain_declined && app.keychain.probe().await.is_ok() {
        say(
            "This desktop's keychain can spare you the passphrase. Every program of your login can open the store with it then.",
        );
        if terminal::yes("Use the keychain? [y/n]")? {
            use_keychain(app, store).await?;
        } else {
            app.settings
                .change(|chosen| chosen.keychain_declined = true)?;
        }
    }
    Ok(())
}

/// Shows a new code, and adds its slot once the person has shown that it was written down: a slot whose code nobody has would
/// be counted on in vain. Whoever ends the app before that is offered another one the next time.
pub async fn recovery_code(app: &App, store: &Store) -> Result<()> {
    let code = RecoveryCode::generate()?;
    let text = code.to_text();
    terminal::show_code(text.expose_secret())?;
    let last = text.expose_secret().rsplit('-').next().unwrap_or_default();
    loop {
        let typed = terminal::line("Write it down. Then type its last four characters: ")?;
        if typed.trim().eq_ignore_ascii_case(last) {
            break;
        }
        say("That is not how it ends. Look again.");
    }
    slots::put(app, store, "recovery code", &code).await?;
    terminal::say_alone(
        "The recovery code counts from now on. It is not kept here, and not shown again.",
    );
    Ok(())
}

pub async fn use_keychain(app: &App, store: &Store) -> Result<()> {
    match slots::put(app, store, "keychain", &app.keychain).await {
        Ok(()) => {
            app.settings
                .change(|chosen| chosen.keychain_declined = false)?;
            say(
                "The keychain opens the store from now on. Keep the passphrase in mind: a keychain gets lost with its desktop.",
            );
        }
        // The passphrase opens the store as before, so this ends nothing.
        Err(error) => say(&format!(
            "The keychain did not take it: {}.",
            terminal::explain(&error)
        )),
    }
    Ok(())
}
