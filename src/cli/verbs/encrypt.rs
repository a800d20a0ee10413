use std::path::PathBuf;

use clap::Args;
use sealed_store::KeyringOptions;
use sealed_store::lifecycle::{self, EncryptOptions, LifecycleError, Protection};
use serde_json::json;

use crate::cli::args::FirstArgs;
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::{secret, signal, text};

/// Seals a store that is in the clear, in its place
///
/// whatsapp-rust's database, or one of this library's own stores. The program that uses it must be stopped. Nothing is
/// lost wherever this is cut short: run it again. The old file is overwritten and removed; what the disk itself keeps of
/// it, and copies that were made before, are beyond reach.
#[derive(Args)]
pub struct Encrypt {
    /// The store's database file
    #[arg(value_name = "DB")]
    db: PathBuf,
    /// Makes a store of sealed-store's own layout out of whatsapp-rust's database, for `sealed_store::open`
    #[arg(long)]
    embedded: bool,
    /// Keeps the old file, in the clear, under this name, on the same disk
    #[arg(long, value_name = "FILE")]
    keep_plaintext: Option<PathBuf>,
    /// A name for the first slot, stored in the clear
    #[arg(long, default_value = "first")]
    label: String,
    #[command(flatten)]
    secret: FirstArgs,
}

impl Encrypt {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let db = &self.db;
        // Told before anybody is asked for a secret; a run that was cut short after the swap has a sealed store.
        let about = lifecycle::info(db, None).at(db)?;
        match about.protection {
            _ if lifecycle::is_left_over(db) => {}
            Protection::Sealed => return Err(LifecycleError::AlreadySealed).at(db),
            Protection::Empty if about.keyring.is_some() => {
                return Err(LifecycleError::AlreadySealed).at(db);
            }
            Protection::Empty => {
                return Err(Failure::no_store(
                    "it holds no rows, so there is nothing to seal; `sealed-store init` makes a new sealed store",
                )
                .at(db));
            }
            _ => {}
        }
        let provider = secret::first(&self.secret, output)?.provider().await?;
        let options = EncryptOptions::new()
            .embedded(self.embedded)
            .keep_plaintext(self.keep_plaintext.clone())
            .keyring(
                KeyringOptions::new()
                    .label(self.label)
                    .allow_lone_slot(self.secret.i_understand),
            );
        let done = {
            let _stoppable = signal::stoppable();
            let progress = output.progress();
            lifecycle::encrypt(db, &*provider, options, &progress)
                .await
                .at(db)?
        };
        let fields = json!({
            "db": shown(db),
            "finished_earlier": done.finished_earlier,
            "accounts": done.accounts,
            "rows": done.rows(),
            "left_out": done.left_out,
            "device_columns": done.device_columns,
            "kept": self.keep_plaintext.as_deref().filter(|_| done.kept).map(shown),
        });
        let path = text::plain(&shown(db));
        if done.finished_earlier {
            let said = format!(
                "{path} was sealed already by a run that was cut short, with the secret of that run; the old file is destroyed now."
            );
            return output.done("encrypt", fields, &said);
        }
        let fate = match &self.keep_plaintext {
            Some(kept) => format!(
                "The old file, in the clear, is {}.",
                text::plain(&shown(kept))
            ),
            None => "The old file is overwritten and removed.".to_owned(),
        };
        let said = format!(
            "Sealed {path}: {} rows of {} accounts. {fate} Its secret can't be recovered: make a recovery code now \
             (`sealed-store key recovery {word}`), and keep a backup of the header (`sealed-store header backup {word} FILE`).",
            done.rows(),
            done.accounts,
            word = text::word(db),
        );
        output.done("encrypt", fields, &said)?;
        if done.left_out > 0 {
            output.note(&format!(
                "{} sync keys or app-state versions, which whatsapp-rust itself can't read, were left out.",
                done.left_out
            ));
        }
        if self.keep_plaintext.is_none() {
            output.note(
                "Flash storage, snapshots and journals may keep what was overwritten, and backups from before are in the clear: \
                 for keys that may have been copied, pair the device anew.",
            );
        }
        Ok(())
    }
}
