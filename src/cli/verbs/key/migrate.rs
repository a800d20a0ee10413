use clap::Args;
use sealed_store::SealError;
use serde_json::json;

use super::OLD_COPIES;
use crate::cli::args::{NewArgs, SecretArgs, StoreArgs};
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::slots::SlotsArgs;
use crate::cli::{secret, store};

/// Moves the store from one provider to another: a new slot, a new root key, and the old slot gone, in one step
///
/// The slot that goes is the one that opens, or that of --from, whose provider need not be there any more. Every other
/// slot is kept (--keep; the one that opens is by itself) or dropped (--drop). No row is rewritten.
#[derive(Args)]
pub struct Migrate {
    #[command(flatten)]
    store: StoreArgs,
    /// Replaces this slot, instead of the one that opens
    #[arg(long, value_name = "NUMBER")]
    from: Option<u32>,
    #[command(flatten)]
    slots: SlotsArgs,
    /// Lets slots that may be lost (a keychain's, a TPM's) be the only ones: the store is lost with them
    #[arg(long)]
    i_understand: bool,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    new: NewArgs,
}

impl Migrate {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let db = &self.store.db;
        secret::check_apart(&self.secret, &self.new)?;
        let (keyring, opening) =
            store::open_with(&self.store, &self.secret, self.i_understand).await?;
        let there = keyring.slots().await.at(db)?;
        let from = match self.from {
            Some(from) => from,
            None => there
                .iter()
                .find(|slot| slot.opened)
                .map(|slot| slot.slot)
                .ok_or(SealError::UnknownSlot)
                .at(db)?,
        };
        let slots = self.slots.resolve(&there, opening, Some(from))?;
        let new = secret::new(&self.new, output)?.provider().await?;
        let slot = keyring
            .replace_slot(from, &*new, &slots.numbered(), &slots.dropped)
            .await
            .at(db)?;
        let kept = slots.numbered().len();
        output.done(
            "key migrate",
            json!({
                "db": shown(db), "slot": slot, "replaced": from, "kind": new.kind(), "kept": kept, "dropped": slots.dropped,
            }),
            &format!(
                "Slot {slot} ({}) replaces slot {from}, the root key is new, and {kept} other slots were kept.",
                new.kind()
            ),
        )?;
        output.note(OLD_COPIES);
        Ok(())
    }
}
