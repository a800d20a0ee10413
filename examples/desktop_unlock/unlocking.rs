//! Later runs, and unlocking after the app has locked itself.
//!
//! A store that was locked is opened by the passphrase (or the recovery code), never by the keychain, also if the app was started
//! anew meanwhile. It locks itself because the person may have left the desk; the keychain is open as long as the login is, so
//! it would let in whoever sits down there. That holds against persons, not programs: one of the same login can ask the keychain
//! itself. Who wants more than that declines the keychain.

use anyhow::Result;
use sealed_store::secrecy::ExposeSecret;
use sealed_store::{
    KeyProvider, Keyring, Passphrase, ProviderErrorKind, RecoveryCode, SealError, SlotInfo,
};

use super::app::{App, Store};
use super::terminal::{self, say};
use super::{End, contacts, first_run, session, slots};

/// A person mistypes twice. The count is for a clear end, it protects nothing: whoever has the file guesses elsewhere, and what
/// holds him up is what each guess costs.
const TRIES: u32 = 3;

pub async fn at_start(app: &App, slots: &[SlotInfo]) -> Result<Store> {
    let mut is_lost = false;
    if slots.iter().any(|slot| slot.kind == "keychain") {
        if app.settings.get().is_locked {
            say("It was locked when it was last used, so the keychain does not open it.");
        } else {
            match app.open(&app.keychain).await {
                Ok(store) => {
                    say("Opened with the keychain.");
                    return Ok(store);
                }
                Err(error) => is_lost = is_keychain_lost(error)?,
            }
        }
    }
    let (store, by) = ask(async |provider| app.open(provider).await).await?;
    // It may lock itself at each of these questions, and is asked for again then.
    session::unless_it_locks(unlocked(app, &store, by).await)?;
    if is_lost {
        session::unless_it_locks(renew_keychain(app, &store).await)?;
    }
    Ok(store)
}

/// After [`Keyring::lock`], or when it has locked itself.
pub async fn again(app: &App, store: &Store) -> Result<()> {
    let keyring: Keyring = store.account().keyring();
    let ((), by) = ask(async |provider| keyring.unlock(provider).await).await?;
    unlocked(app, store, by).await
}

#[derive(PartialEq)]
enum By {
    Passphrase,
    RecoveryCode,
}

/// Asks until something opens the store, three times at most.
async fn ask<T>(open: impl AsyncFn(&dyn KeyProvider) -> Result<T, SealError>) -> Result<(T, By)> {
    for left in (0..TRIES).rev() {
        let typed = terminal::secret("Passphrase (forgotten: Enter)")?;
        if typed.expose_secret().is_empty() {
            break;
        }
        match open(&Passphrase::new(typed)).await {
            Ok(opened) => return Ok((opened, By::Passphrase)),
            Err(SealError::WrongKey) if left > 0 => {
                say(&format!("That is not it. {left} more."));
            }
            Err(SealError::WrongKey) => say("That is not it either."),
            // Not a matter of what was typed, so nothing is gained by asking again.
            Err(error) => return Err(error.into()),
        }
    }
    say(
        "The recovery code opens the store too. Nothing was changed, and nothing is lost by trying.",
    );
    let code = loop {
        let typed = terminal::secret("Recovery code (none: Enter)")?;
        if typed.expose_secret().is_empty() {
            return Err(refused());
        }
        // A slip of the pen is told by the checksum, before anything is tried.
        match RecoveryCode::parse(typed.expose_secret()) {
            Ok(code) => break code,
            Err(error) => say(&format!("{error}.")),
        }
    };
    match open(&code).await {
        Ok(opened) => Ok((opened, By::RecoveryCode)),
        Err(SealError::WrongKey) => Err(refused()),
        Err(error) => Err(error.into()),
    }
}

fn refused() -> anyhow::Error {
    let words = "The store stays closed. Start the app again when you have the passphrase or the recovery code; without either, \
                 nobody can open it.";
    let code = End::REFUSED;
    End { code, words }.into()
}

async fn unlocked(app: &App, store: &Store, by: By) -> Result<()> {
    if by == By::RecoveryCode {
        say(
            "The recovery code fits, and stays good. Choose a passphrase in place of the forgotten one.",
        );
        let new = Passphrase::new(first_run::new_passphrase()?);
        slots::put(app, store, "passphrase", &new).await?;
    }
    app.settings.change(|chosen| chosen.is_locked = false)?;
    say("Unlocked.");
    // If it had locked itself before that was done.
    contacts::prepare(store).await
}

/// What the keychain's refusal means: whether its entry is gone for good. An error if it is not about the keychain.
fn is_keychain_lost(error: SealError) -> Result<bool> {
    let (is_lost, why) = match &error {
        SealError::Provider(refused) => match refused.kind() {
            ProviderErrorKind::Destroyed | ProviderErrorKind::Corrupt => {
                (true, refused.to_string())
            }
            // A closed keychain, no desktop, another desktop, a sandbox: it may be there again the next time. Whatever it is,
            // the passphrase opens too.
            _ => (false, refused.to_string()),
        },
        SealError::WrongKey => (true, "its entry holds something else".to_owned()),
        SealError::ForeignRecipe => (false, "the store's slot is of another system's".to_owned()),
        _ => return Err(error.into()),
    };
    let what = match is_lost {
        true => "The keychain has lost what opens this store",
        false => "The keychain can't be used now",
    };
    say(&format!("{what}: {why}."));
    Ok(is_lost)
}

/// The slot of an entry that is gone opens nothing any more: this folder belongs to one desktop.
async fn renew_keychain(app: &App, store: &Store) -> Result<()> {
    if terminal::yes("Put a new entry into the keychain? [y/n]")? {
        return first_run::use_keychain(app, store).await;
    }
    slots::keep_only(app, store, app.keychain.kind(), 0).await?;
    app.settings
        .change(|chosen| chosen.keychain_declined = true)?;
    say("The keychain is not used any more.");
    Ok(())
}
