use clap::Args;
use sealed_store::SealError;
use serde_json::json;

use super::OLD_COPIES;
use crate::cli::args::{SecretArgs, StoreArgs};
use crate::cli::confirm::confirm;
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::{store, text};

/// Removes a slot, never the last one
///
/// An old copy of the keyring still opens with the removed secret, and holds the same data keys; only
/// `reencrypt --full` ends that.
#[derive(Args)]
pub struct Remove {
    #[command(flatten)]
    store: StoreArgs,
    /// The slot's number, as `key list` has it
    #[arg(value_name = "NUMBER")]
    number: u32,
    /// Does not ask
    #[arg(long)]
    yes: bool,
    /// Lets slots that may be lost (a keychain's, a TPM's) be the only ones: the store is lost with them
    #[arg(long)]
    i_understand: bool,
    #[command(flatten)]
    secret: SecretArgs,
}

impl Remove {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let db = &self.store.db;
        let (keyring, _) = store::open_with(&self.store, &self.secret, self.i_understand).await?;
        let slots = keyring.slots().await.at(db)?;
        let slot = slots
            .iter()
            .find(|slot| slot.slot == self.number)
            .ok_or(SealError::UnknownSlot)
            .at(db)?;
        if slots.len() == 1 {
            return Err(SealError::SlotCount).at(db);
        }
        let own = if slot.opened {
            " It is the one that opened just now: be sure that you have the secret of another."
        } else {
            ""
        };
        let question = format!(
            "Slot {} ({}, \"{}\") will not open the store any more.{own}",
            slot.slot,
            text::plain(&slot.kind),
            text::plain(&slot.label)
        );
        confirm(self.yes, &question, "yes")?;
        keyring.remove_slot(self.number).await.at(db)?;
        output.done(
            "key remove",
            json!({ "db": shown(db), "slot": self.number }),
            &format!("Slot {} is removed.", self.number),
        )?;
        output.note(OLD_COPIES);
        Ok(())
    }
}
