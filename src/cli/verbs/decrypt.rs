use std::path::PathBuf;

use clap::Args;
use sealed_store::KeyringOptions;
use sealed_store::lifecycle::{self, DecryptOptions};
use serde_json::json;

use crate::cli::args::{SecretArgs, StoreArgs};
use crate::cli::confirm::confirm;
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::{secret, signal, store, text};

/// Puts a store back in the clear, in its place
///
/// In the layout that it has; the program that uses it must be stopped. The sealed file, with its keys, is destroyed.
/// Nothing is lost wherever this is cut short: run it again.
#[derive(Args)]
pub struct Decrypt {
    /// The store's database file
    #[arg(value_name = "DB")]
    db: PathBuf,
    /// Keeps the sealed file, with its keys, under this name, on the same disk
    #[arg(long, value_name = "FILE")]
    keep_sealed: Option<PathBuf>,
    /// Does not ask whether to go on
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    secret: SecretArgs,
}

impl Decrypt {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let db = &self.db;
        let about = match lifecycle::is_left_over(db) {
            true => None,
            false => Some(store::look(&StoreArgs {
                db: db.clone(),
                keyring: None,
            })?),
        };
        let path = text::plain(&shown(db));
        confirm(
            self.yes,
            &format!(
                "Whoever can read {path} can then read every message key and take over the account."
            ),
            "decrypt",
        )?;
        let provider = secret::opening(&self.secret, db)?;
        let mut keyring = KeyringOptions::new();
        if let Some(slot) = self.secret.slot {
            keyring = keyring.slot(slot);
        }
        let options = DecryptOptions::new()
            .keep_sealed(self.keep_sealed.clone())
            .keyring(keyring);
        let done = {
            let _stoppable = signal::stoppable();
            let progress = output.progress();
            lifecycle::decrypt(db, &*provider, options, &progress)
                .await
                .at(db)
                .map_err(|failure| match &about {
                    Some(about) => failure.with_slots(about),
                    None => failure,
                })?
        };
        let said = if done.finished_earlier {
            format!(
                "{path} was decrypted already by a run that was cut short; the sealed file is destroyed now."
            )
        } else {
            format!(
                "Decrypted {path}: {} rows of {} accounts are in the clear.",
                done.rows(),
                done.accounts
            )
        };
        let fields = json!({
            "db": shown(db),
            "finished_earlier": done.finished_earlier,
            "accounts": done.accounts,
            "rows": done.rows(),
            "left_out": done.left_out,
            "kept": self.keep_sealed.as_deref().filter(|_| done.kept).map(shown),
        });
        output.done("decrypt", fields, &said)?;
        if done.left_out > 0 {
            output.note(&format!(
                "{} rows whose keys were destroyed, which nobody can read, were left out.",
                done.left_out
            ));
        }
        Ok(())
    }
}
