use std::fmt::Write;

use clap::Args;
use sealed_store::lifecycle::{self, AccountStatus, TableStatus, Warning};
use serde_json::{Value, json};

use crate::cli::args::{SecretArgs, StoreArgs};
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::{signal, store, text};

/// Opens a store and tells its accounts, rows, keys and slots, and what could be better
#[derive(Args)]
pub struct Status {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    secret: SecretArgs,
}

impl Status {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let db = &self.store.db;
        let (keyring, _) = store::open(&self.store, &self.secret).await?;
        let status = {
            let progress = output.progress();
            let _stoppable = signal::stoppable();
            lifecycle::status(db, self.store.keyring.as_deref(), &keyring, &progress)
                .await
                .at(db)?
        };
        output.result("status", json(db, &status), &describe(db, &status))
    }
}

fn json(db: &std::path::Path, status: &lifecycle::Status) -> Value {
    json!({
        "db": shown(db),
        "layout": status.layout.name(),
        "schema": status.schema,
        "keyring_id": text::hex(&status.keyring_id),
        "slots": status.slots.iter().map(text::slot_json).collect::<Vec<_>>(),
        "accounts": status.accounts.iter().map(|account| json!({
            "name": account.name,
            "state": account.state,
            "number": account.number,
            "rows": account.rows.iter()
                .map(|(table, count)| (table.clone(), json!(count)))
                .collect::<serde_json::Map<_, _>>(),
            "tables": account.tables.iter().map(|keys| json!({
                "table": keys.table.name(),
                "active": keys.active,
                "retained": keys.retained,
                "destroyed": keys.destroyed,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "warnings": status.warnings.iter().map(|warning| {
            let (slot, count) = match warning {
                Warning::CheapKdf { slot } => (Some(slot), None),
                Warning::RetainedGenerations { count }
                | Warning::UnmadeAccounts { count }
                | Warning::UnlistedAccounts { count }
                | Warning::Initialising { count } => (None, Some(count)),
                _ => (None, None),
            };
            json!({
                "name": warning.name(),
                "text": warning.to_string(),
                "slot": slot,
                "count": count,
            })
        }).collect::<Vec<_>>(),
    })
}

fn describe(db: &std::path::Path, status: &lifecycle::Status) -> String {
    let mut out = format!(
        "{}: sealed, keyring {}\nslots\n",
        text::plain(&shown(db)),
        text::hex(&status.keyring_id)
    );
    for slot in &status.slots {
        let _ = writeln!(out, "{}", text::slot(slot));
    }
    for account in &status.accounts {
        describe_account(account, &mut out);
    }
    if status.accounts.is_empty() {
        out.push_str("no account yet\n");
    }
    for warning in &status.warnings {
        let _ = writeln!(out, "WARNING: {warning}");
    }
    out
}

fn describe_account(account: &AccountStatus, out: &mut String) {
    let state = account.state.map_or("never made", |state| state.name());
    let _ = writeln!(out, "account {}: {state}", account.name);
    for (table, count) in &account.rows {
        let _ = writeln!(out, "  {count:>10}  rows in {}", text::plain(table));
    }
    if account.rows.is_empty() {
        out.push_str("  no rows\n");
    }
    // Tables with the same generations are told in one line, which is most of them.
    let mut alike: Vec<(&TableStatus, Vec<&str>)> = Vec::new();
    for keys in &account.tables {
        let same = |other: &&mut (&TableStatus, Vec<&str>)| {
            (other.0.active, &other.0.retained, &other.0.destroyed)
                == (keys.active, &keys.retained, &keys.destroyed)
        };
        match alike.iter_mut().find(same) {
            Some((_, names)) => names.push(keys.table.name()),
            None => alike.push((keys, vec![keys.table.name()])),
        }
    }
    for (keys, names) in &alike {
        let whose = match names.len() {
            all if all == account.tables.len() => "all tables".to_owned(),
            _ => names.join(", "),
        };
        let mut generations = match keys.active {
            Some(active) => format!("generation {active}"),
            None => "none".to_owned(),
        };
        for (what, numbers) in [("retained", &keys.retained), ("destroyed", &keys.destroyed)] {
            if !numbers.is_empty() {
                let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
                let _ = write!(generations, ", {what} {}", numbers.join(", "));
            }
        }
        let _ = writeln!(out, "  data keys of {whose}: {generations}");
    }
}
