use clap::Args;
use serde_json::json;

use crate::cli::args::{NewArgs, SecretArgs, StoreArgs};
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::{secret, store};

/// Adds a slot: another secret that opens the store
#[derive(Args)]
pub struct Add {
    #[command(flatten)]
    store: StoreArgs,
    /// A name for the slot, stored in the clear
    #[arg(long, default_value = "added")]
    label: String,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    new: NewArgs,
}

impl Add {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let db = &self.store.db;
        secret::check_apart(&self.secret, &self.new)?;
        let (keyring, _) = store::open(&self.store, &self.secret).await?;
        let new = secret::new(&self.new, output)?.provider().await?;
        let slot = keyring.add_slot(&self.label, &*new).await.at(db)?;
        output.done(
            "key add",
            json!({ "db": shown(db), "slot": slot, "kind": new.kind() }),
            &format!("Slot {slot} opens the store too."),
        )
    }
}
