use std::fmt::Write;

use clap::Args;
use sealed_store::KeyringOptions;
use sealed_store::lifecycle::{self, CheckOptions, LifecycleError};
use serde_json::json;

use crate::cli::args::{SecretArgs, StoreArgs};
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::{secret, signal, store, text};

/// Opens every row, and tells what is wrong
///
/// What does not open, what is in the clear, rows of others, missing halves. Writes nothing; the store may be in use. Ends
/// with 13 if anything is wrong.
#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    store: StoreArgs,
    /// Opens a part of the rows only, such as 5%
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    sample: Option<f64>,
    /// Which part: the same number, the same rows. By default another one each time
    #[arg(long, value_name = "NUMBER", requires = "sample")]
    seed: Option<u64>,
    /// Names the faulty rows, as the store holds them; an address, where a row is in the clear
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    secret: SecretArgs,
}

/// `5%` or `5`, above 0 and up to 100.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("a part in percent, above 0 and up to 100".to_owned()),
    }
}

impl Check {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let db = &self.store.db;
        let about = store::look(&self.store)?;
        let provider = secret::opening(&self.secret, db)?;
        let mut keyring = KeyringOptions::new();
        if let Some(slot) = self.secret.slot {
            keyring = keyring.slot(slot);
        }
        let percent = self.sample.unwrap_or(100.0);
        let seed = match self.seed {
            Some(seed) => seed,
            None => text::any_number()?,
        };
        let mut options = CheckOptions::new()
            .sample(percent, seed)
            .reveal(self.reveal)
            .keyring(keyring);
        if let Some(file) = &self.store.keyring {
            options = options.keyring_file(file);
        }
        let report = {
            let _stoppable = signal::stoppable();
            let progress = output.progress();
            lifecycle::check(db, &*provider, options, &progress)
                .await
                .at(db)
                .map_err(|failure| failure.with_slots(&about))?
        };
        let rows: u64 = report.tables.iter().map(|table| table.rows).sum();
        let faults: Vec<_> = report
            .faults
            .iter()
            .map(|fault| {
                json!({
                    "table": fault.table,
                    "kind": fault.kind.name(),
                    "count": fault.count,
                    "keys": fault.keys,
                })
            })
            .collect();
        let fields = json!({
            "db": shown(db),
            "sound": report.is_sound(),
            "accounts": report.accounts,
            "rows": rows,
            "opened": report.opened,
            "shredded": report.shredded,
            "percent": percent,
            "seed": seed,
            "faults": faults,
        });
        let mut said = format!(
            "{} records opened, in {rows} rows of {} accounts",
            report.opened, report.accounts
        );
        if percent < 100.0 {
            let _ = write!(said, " (a sample of {percent}%, seed {seed})");
        }
        if report.shredded > 0 {
            let _ = write!(said, ", {} rows of shredded keys", report.shredded);
        }
        if report.is_sound() {
            said.push_str(": all is well\n");
        } else {
            said.push_str("; wrong:\n");
        }
        for fault in &report.faults {
            let table = match fault.table {
                "" => "the store",
                table => table,
            };
            let _ = writeln!(said, "  {table}: {} ({})", fault.kind, fault.count);
            for key in &fault.keys {
                let _ = writeln!(said, "    {}", text::plain(key));
            }
        }
        output.result("check", fields, &said)?;
        if report.is_sound() {
            Ok(())
        } else {
            Err(LifecycleError::Unsound).at(db)
        }
    }
}
