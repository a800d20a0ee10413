use clap::Args;
use sealed_store::SealError;
use serde_json::json;

use super::OLD_COPIES;
use crate::cli::args::{NewArgs, SecretArgs, StoreArgs};
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::{secret, store};

/// Replaces the secret of the slot that opens
///
/// At once, and no row is rewritten. An old copy of the keyring still opens with the old secret, and holds the same data
/// keys; only `reencrypt --full` ends that.
#[derive(Args)]
pub struct Passwd {
    #[command(flatten)]
    store: StoreArgs,
    /// Lets slots that may be lost (a keychain's, a TPM's) be the only ones: the store is lost with them
    #[arg(long)]
    i_understand: bool,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    new: NewArgs,
}

impl Passwd {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let db = &self.store.db;
        secret::check_apart(&self.secret, &self.new)?;
        let (keyring, old) = store::open_with(&self.store, &self.secret, self.i_understand).await?;
        let slots = keyring.slots().await.at(db)?;
        let slot = slots
            .iter()
            .find(|slot| slot.opened)
            .ok_or(SealError::UnknownSlot)
            .at(db)?;
        if slot.kind == "recovery" {
            return Err(Failure::usage(
                "this would replace the recovery code, which opened; to set a new passphrase with it, `key add` one, and \
                 `key remove` the slot of the old one",
            ));
        }
        let new = secret::new(&self.new, output)?.provider().await?;
        let number = keyring
            .change_passphrase(slot.slot, &*old, &*new)
            .await
            .at(db)?;
        output.done(
            "key passwd",
            json!({ "db": shown(db), "slot": number, "replaced": slot.slot, "kind": new.kind() }),
            &format!("Slot {number} replaces slot {}.", slot.slot),
        )?;
        output.note(OLD_COPIES);
        Ok(())
    }
}
