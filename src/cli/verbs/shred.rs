use clap::{ArgGroup, Args};
use sealed_store::lifecycle::{self, Shred as What, ShredOptions};
use sealed_store::{KeyringOptions, Table};
use serde_json::json;

use crate::cli::args::{SecretArgs, StoreArgs};
use crate::cli::confirm::confirm;
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::{secret, store, text};

/// Destroys keys, and shows that no row of theirs opens any more
///
/// The rows stay, as noise; backups of the store are noise too. A backup of the keyring from before still opens them:
/// destroy those as well. The program that uses the store must be stopped.
#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub struct Shred {
    #[command(flatten)]
    store: StoreArgs,
    /// The account of this name: all its values and names
    #[arg(long, value_name = "NAME", group = "what")]
    account: Option<String>,
    /// The values of this table, of every account (names stay); may be given several times
    #[arg(long, value_name = "TABLE", group = "what", value_parser = text::table)]
    table: Vec<Table>,
    /// Every account
    #[arg(long, group = "what")]
    all: bool,
    /// Does not ask whether to go on
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    secret: SecretArgs,
}

impl Shred {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let db = &self.store.db;
        let about = store::look(&self.store)?;
        let (what, named) = match self.account {
            Some(name) => {
                let named = format!("account {}", text::plain(&name));
                (What::Account(name), named)
            }
            None if self.all => (What::All, "every account".to_owned()),
            None => {
                let names: Vec<_> = self.table.iter().map(|table| table.name()).collect();
                let named = format!("the tables {}", names.join(", "));
                (What::Tables(self.table), named)
            }
        };
        confirm(
            self.yes,
            &format!(
                "The keys of {named} in {} are destroyed for good.",
                text::plain(&shown(db))
            ),
            "shred",
        )?;
        let provider = secret::opening(&self.secret, db)?;
        let mut keyring = KeyringOptions::new();
        if let Some(slot) = self.secret.slot {
            keyring = keyring.slot(slot);
        }
        let mut options = ShredOptions::new().keyring(keyring);
        if let Some(file) = &self.store.keyring {
            options = options.keyring_file(file);
        }
        // A signal ends it at once: each account's keys go in one step, and running it again does the rest.
        let done = {
            let progress = output.progress();
            lifecycle::shred(db, &*provider, &what, options, &progress)
                .await
                .at(db)
                .map_err(|failure| failure.with_slots(&about))?
        };
        output.done(
            "shred",
            json!({
                "db": shown(db), "keys": done.keys, "rows": done.rows,
                "vacuumed": done.vacuumed, "log_left": done.log_left,
            }),
            &format!(
                "Destroyed {} keys of {named}. {} rows were tried with what is left, and none opened.",
                done.keys, done.rows
            ),
        )?;
        if done.log_left {
            output.note("Warning: somebody reads the keyring's file, and erased keys are left in its log: do this again when nobody does.");
        }
        if !done.vacuumed {
            output.note("Warning: the keyring's file could not be written anew (is there room for it twice?): do this again when it can.");
        }
        output.note("A backup of the keyring, or of its header, from before still opens them: destroy those too.");
        Ok(())
    }
}
