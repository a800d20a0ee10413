use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use sealed_store::lifecycle::{self, HeaderRestored, LifecycleError, RestoreOptions};
use serde_json::json;

use crate::cli::args::{SecretArgs, StoreArgs};
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::{secret, store, text};

/// Puts a backup of the header back, over a damaged one
///
/// The backup is opened with a secret of its day and verified as a whole before anything is changed. Documents of
/// accounts that are there, whole and newer are kept; the slots are those of the backup. Refused without further words: a
/// backup of another keyring, and one that is older than a keyring that is whole.
#[derive(Args)]
pub struct Restore {
    #[command(flatten)]
    store: StoreArgs,
    /// The backup, as `header backup` wrote it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Goes on though what is there is newer: removed slots, old secrets and destroyed keys are back
    #[arg(long)]
    allow_older: bool,
    /// Goes on, with --allow-older, though rows that were written since will never open again
    #[arg(long, requires = "allow_older")]
    allow_lost_rows: bool,
    /// Goes on though the store or what is there belongs to another keyring
    #[arg(long)]
    allow_other_keyring: bool,
    #[command(flatten)]
    secret: SecretArgs,
}

impl Restore {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        // A missing store is told before anybody is asked for a secret.
        match lifecycle::info(&self.store.db, None) {
            Ok(_) => {}
            // A keyring in it may be what is damaged.
            Err(LifecycleError::Seal(_)) => {}
            Err(error) => return Err(error).at(&self.store.db),
        }
        if self.secret.slot.is_some() {
            return Err(Failure::usage(
                "a restore tries each slot of the backup; leave out --slot",
            ));
        }
        lifecycle::check_header(&self.file).at(&self.file)?;
        let provider = secret::opening(&self.secret, &self.file)?;
        let mut options = RestoreOptions::new();
        if self.allow_older {
            options = options.allow_older();
        }
        if self.allow_lost_rows {
            options = options.allow_lost_rows();
        }
        if self.allow_other_keyring {
            options = options.allow_other_keyring();
        }
        let done = lifecycle::restore_header(
            store::keyring_file(&self.store),
            self.store.keyring.as_ref().map(|_| self.store.db.as_path()),
            &self.file,
            &*provider,
            options,
        )
        .await
        .at(&self.store.db)?;
        output.done(
            "header restore",
            json!({
                "db": shown(&self.store.db),
                "keyring_id": text::hex(&done.keyring_id),
                "replaced": done.replaced,
                "kept": done.kept,
                "removed": done.removed,
                "not_compared": done.not_compared,
                "older": done.older,
                "lost": done.lost.iter().map(|(account, table)| json!({
                    "account": account,
                    "table": table.map(|table| table.name()),
                })).collect::<Vec<_>>(),
                "revived": done.revived,
            }),
            &describe(&done),
        )
    }
}

fn describe(done: &HeaderRestored) -> String {
    if done.replaced.is_empty() && done.removed.is_empty() {
        return match done.kept.len() {
            0 => "The keyring is as the backup has it; nothing was changed.".to_owned(),
            kept => format!(
                "Nothing was changed: {kept} documents are newer than the backup's, and the others are the same. Make a new backup."
            ),
        };
    }
    let mut out = format!("Put back {} documents", done.replaced.len());
    if !done.kept.is_empty() {
        let _ = write!(out, ", kept {} newer ones", done.kept.len());
    }
    if !done.removed.is_empty() {
        let _ = write!(out, ", removed {}", done.removed.len());
    }
    out.push_str(". The slots, with their secrets, are those of the backup's day.");
    if !done.not_compared.is_empty() {
        out.push_str(
            " What was damaged may have been newer than the backup: run `sealed-store check` to see whether every row opens.",
        );
    }
    if !done.lost.is_empty() {
        let _ = write!(
            out,
            " {} tables have rows that may never open again.",
            done.lost.len()
        );
    }
    if !done.revived.is_empty() {
        out.push_str(" Destroyed keys are back.");
    }
    out
}
