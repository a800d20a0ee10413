use std::path::PathBuf;

use clap::Args;
use sealed_store::lifecycle::{self, FullOptions, ReencryptOptions};
use sealed_store::{KeyringOptions, Table};
use serde_json::json;

use crate::cli::args::{SecretArgs, StoreArgs};
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::slots::SlotsArgs;
use crate::cli::{secret, signal, store, text};

/// Gives a store new keys
///
/// By itself: new data keys, and every row resealed under them, while the store is in use. What is cut short goes on when it is run again. The
/// old keys are destroyed at the end, unless a program has the store open: then they are kept until it is next opened, or this is run,
/// with no other program there.
#[derive(Args)]
pub struct Reencrypt {
    #[command(flatten)]
    store: StoreArgs,
    /// Only this table; may be given several times
    #[arg(long = "tables", value_name = "TABLE", value_delimiter = ',', value_parser = text::table)]
    tables: Vec<Table>,
    /// At most so many rows a second, for the program beside it
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// A new root key instead, which every slot that is kept opens; no row is rewritten
    #[arg(long, conflicts_with_all = ["tables", "rate", "full"])]
    root: bool,
    /// Everything new, in a new file: data keys, blind keys and root. The answer to a leak; the store must not be in use
    #[arg(long, conflicts_with_all = ["tables", "rate", "keyring"])]
    full: bool,
    /// With --full: keeps the old file, with its keys, under this name, on the same disk
    #[arg(long, value_name = "FILE", requires = "full")]
    keep_old: Option<PathBuf>,
    #[command(flatten)]
    slots: SlotsArgs,
    /// Lets slots that may be lost (a keychain's, a TPM's) be the only ones: the store is lost with them
    #[arg(long, requires = "root")]
    i_understand: bool,
    #[command(flatten)]
    secret: SecretArgs,
}

impl Reencrypt {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        if self.full {
            return self.full(output).await;
        }
        if self.root {
            return self.root(output).await;
        }
        if !self.slots.is_empty() {
            return Err(Failure::usage("--keep and --drop go with --root or --full"));
        }
        let db = &self.store.db;
        let about = store::look(&self.store)?;
        let provider = secret::opening(&self.secret, db)?;
        let mut options = ReencryptOptions::new()
            .tables(self.tables)
            .keyring(keyring(&self.secret));
        if let Some(rate) = self.rate {
            options = options.rate(rate);
        }
        if let Some(file) = &self.store.keyring {
            options = options.keyring_file(file);
        }
        let done = {
            let _stoppable = signal::stoppable();
            let progress = output.progress();
            lifecycle::reencrypt(db, &*provider, options, &progress)
                .await
                .at(db)
                .map_err(|failure| failure.with_slots(&about))?
        };
        output.done(
            "reencrypt",
            json!({
                "db": shown(db),
                "resealed": done.resealed,
                "resumed": done.resumed,
                "destroyed": done.destroyed,
                "retained": done.retained,
                "log_left": done.log_left,
            }),
            &format!(
                "Resealed {} rows under new keys; {} old keys are destroyed, {} are retained.",
                done.resealed, done.destroyed, done.retained
            ),
        )?;
        if done.log_left {
            output.note("Warning: somebody reads the keyring's file, and destroyed keys are left in its log until the keyring is changed again.");
        }
        if done.retained > 0 {
            output.note(
                "Another program has the store open, so the old keys are retained. Run it again with no other program there, which destroys them; \
                 `sealed_store::open` does as well.",
            );
        }
        Ok(())
    }

    async fn root(self, output: &Output) -> Result<(), Failure> {
        let db = &self.store.db;
        let (keyring, opening) =
            store::open_with(&self.store, &self.secret, self.i_understand).await?;
        let slots = self
            .slots
            .resolve(&keyring.slots().await.at(db)?, opening, None)?;
        keyring
            .rotate_root(&slots.numbered(), &slots.dropped)
            .await
            .at(db)?;
        let kept = slots.numbered().len();
        output.done(
            "reencrypt",
            json!({ "db": shown(db), "root": true, "kept": kept, "dropped": slots.dropped }),
            &format!(
                "{} has a new root key; {kept} slots open it.",
                text::plain(&shown(db))
            ),
        )?;
        output.note(super::key::OLD_COPIES);
        Ok(())
    }

    async fn full(self, output: &Output) -> Result<(), Failure> {
        let db = &self.store.db;
        let (there, opening) = store::open(&self.store, &self.secret).await?;
        let slots = there.slots().await.at(db)?;
        drop(there);
        let slots = self.slots.resolve(&slots, opening.clone(), None)?;
        let options = FullOptions::new()
            .keep_old(self.keep_old.clone())
            .keyring(keyring(&self.secret));
        let done = {
            let _stoppable = signal::stoppable();
            let progress = output.progress();
            lifecycle::reencrypt_fully(db, &*opening, &slots.labelled(), options, &progress)
                .await
                .at(db)?
        };
        let path = text::plain(&shown(db));
        let said = if done.finished_earlier {
            format!(
                "{path} had all its keys new already by a run that was cut short, with the slots of that run; the old file is destroyed now. Run it again for other slots."
            )
        } else {
            format!(
                "Every key of {path} is new: {} rows. Copies of the keyring from before open nothing of it. Its slots are those that were kept, with the secrets that were given: give a new one if the old one may be known.",
                done.rows
            )
        };
        output.done(
            "reencrypt",
            json!({
                "db": shown(db),
                "full": true,
                "finished_earlier": done.finished_earlier,
                "rows": done.rows,
                "left_out": done.left_out,
                "dropped": done.dropped,
                "kept": self.keep_old.as_deref().filter(|_| done.kept).map(shown),
            }),
            &said,
        )?;
        if done.left_out > 0 {
            output.note(&format!(
                "{} rows of shredded accounts, which nobody can read, were left out.",
                done.left_out
            ));
        }
        output.note("Old copies of the file stay what they are: whoever has one, and an old secret, reads what it held.");
        Ok(())
    }
}

fn keyring(secret: &SecretArgs) -> KeyringOptions {
    match secret.slot {
        Some(slot) => KeyringOptions::new().slot(slot),
        None => KeyringOptions::new(),
    }
}
