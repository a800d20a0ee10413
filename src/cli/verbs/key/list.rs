use clap::Args;
use serde_json::json;

use crate::cli::args::{SecretArgs, StoreArgs};
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::{store, text};

/// Lists the slots, and marks the one that opened
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    secret: SecretArgs,
}

impl List {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let db = &self.store.db;
        let (keyring, _) = store::open(&self.store, &self.secret).await?;
        let slots = keyring.slots().await.at(db)?;
        let lines: String = slots.iter().map(|slot| text::slot(slot) + "\n").collect();
        output.result(
            "key list",
            json!({
                "db": shown(db),
                "slots": slots.iter().map(text::slot_json).collect::<Vec<_>>(),
            }),
            &lines,
        )
    }
}
