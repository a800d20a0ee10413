use clap::Args;
use sealed_store::{ProviderErrorKind, SealError};
use serde_json::json;

use crate::cli::args::{SecretArgs, StoreArgs};
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::secret;
use crate::cli::store;

/// Has the key service encrypt the slot's secret anew, unseen: under the newest version of its key, or under another key
///
/// For the slot that opens (--provider). Awskms: and vault: can do it, vault: under the same key only.
#[derive(Args)]
pub struct Rewrap {
    #[command(flatten)]
    store: StoreArgs,
    /// The provider with the other key; by itself, it is the one that opens
    #[arg(long, value_name = "URI")]
    to: Option<String>,
    #[command(flatten)]
    secret: SecretArgs,
}

impl Rewrap {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let db = &self.store.db;
        let to = match &self.to {
            Some(uri) => Some(secret::by_uri(uri, None)?),
            None => None,
        };
        let (keyring, from) = store::open(&self.store, &self.secret).await?;
        let slots = keyring.slots().await.at(db)?;
        let slot = slots
            .iter()
            .find(|slot| slot.opened)
            .ok_or(SealError::UnknownSlot)
            .at(db)?
            .slot;
        let to = to.as_ref().unwrap_or(&from);
        keyring
            .rewrap_slot(slot, &*from, &**to)
            .await
            .map_err(|error| match error {
                SealError::Provider(error) if error.kind() == ProviderErrorKind::BadRequest => {
                    Failure::usage(error.to_string())
                }
                other => other.into(),
            })
            .map_err(|failure| failure.at(db))?;
        output.done(
            "key rewrap",
            json!({ "db": shown(db), "slot": slot, "kind": to.kind() }),
            &format!("The secret of slot {slot} is encrypted anew; the slot keeps its number."),
        )?;
        output.note(
            "An old copy of the keyring still opens with the old key, as long as that can be used.",
        );
        Ok(())
    }
}
