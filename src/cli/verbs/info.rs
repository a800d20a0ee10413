use std::fmt::Write;

use clap::Args;
use sealed_store::SealError;
use sealed_store::lifecycle::{self, KeyringNote, Layout, Log, Protection, SchemaAge};
use serde_json::{Value, json};

use crate::cli::args::StoreArgs;
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::text;

/// Tells what a file is; needs no key and writes nothing
///
/// What it tells of a keyring is what the file says of itself; only opening it (`status`) verifies that. Ends with 13 if a
/// document of the keyring is damaged.
#[derive(Args)]
pub struct Info {
    #[command(flatten)]
    store: StoreArgs,
}

impl Info {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let db = &self.store.db;
        let info = lifecycle::info(db, self.store.keyring.as_deref()).at(db)?;
        output.result("info", json(db, &info), &describe(db, &info))?;
        match &info.keyring {
            Some(KeyringNote {
                newer: Some(found), ..
            }) => Err(SealError::UnsupportedVersion {
                found: *found,
                supported: 1,
            })
            .at(db),
            Some(keyring) if !keyring.damaged.is_empty() => Err(SealError::CorruptKeyring {
                what: "a document is damaged or gone",
            })
            .at(db),
            _ => Ok(()),
        }
    }
}

fn json(db: &std::path::Path, info: &lifecycle::Info) -> Value {
    json!({
        "db": shown(db),
        "layout": info.layout.name(),
        "schema": info.schema,
        "schema_age": info.schema_age.name(),
        "protection": info.protection.name(),
        "keyring_ids": info.keyring_ids.iter().map(|id| text::hex(id)).collect::<Vec<_>>(),
        "log": log(info.log),
        "open_to_others": info.open_to_others,
        "keyring": info.keyring.as_ref().map(|keyring| json!({
            "id": keyring.id.map(|id| text::hex(&id)),
            "revision": keyring.revision,
            "root": keyring.root,
            "suite": keyring.suite,
            "rotating": keyring.rotating,
            "documents": keyring.documents,
            "damaged": keyring.damaged,
            "slots": keyring.slots.iter().map(text::slot_json).collect::<Vec<_>>(),
            "accounts": keyring.accounts.iter().map(|account| json!({
                "name": account.name,
                "state": account.state,
                "generations": account.generations,
                "retained": account.retained,
                "destroyed": account.destroyed,
            })).collect::<Vec<_>>(),
        })),
    })
}

fn log(log: Log) -> &'static str {
    match log {
        Log::Read => "read",
        Log::Unread => "unread",
        _ => "none",
    }
}

fn describe(db: &std::path::Path, info: &lifecycle::Info) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(text::plain(&shown(db)));
    let schema = info.schema.as_ref().map_or_else(String::new, |schema| {
        format!(", schema {}", text::plain(schema))
    });
    let whose = match info.layout {
        Layout::Ours => "a store of sealed-store's own",
        Layout::Upstream => "whatsapp-rust's own store",
        Layout::KeyringAlone => "a keyring in a file of its own",
        _ => "empty",
    };
    line(format!("  file        {whose}{schema}"));
    let age = match (info.schema_age, info.layout) {
        (SchemaAge::Known, _) => None,
        (SchemaAge::Older, Layout::Upstream) => {
            Some("from before whatsapp-rust 0.7: open it once with 0.7, which brings it up to date")
        }
        (SchemaAge::Older, _) => Some("older than this program: open it once with the library"),
        (SchemaAge::Newer, _) => Some("newer than this program: update it"),
        _ => Some("not of a version that this program works on"),
    };
    if let Some(age) = age {
        line(format!("              {age}"));
    }
    line(format!(
        "  rows        {}",
        match info.protection {
            Protection::Sealed => "sealed",
            Protection::Clear => "IN THE CLEAR",
            _ => "none",
        }
    ));
    match &info.keyring {
        None if info.keyring_ids.is_empty() => line("  keyring     none".to_owned()),
        None => line(
            "  keyring     not in this file: name its file with --keyring; if it is gone, `header restore` puts a backup back"
                .to_owned(),
        ),
        Some(keyring) => describe_keyring(keyring, &mut line),
    }
    for id in &info.keyring_ids {
        let own = info.keyring.as_ref().and_then(|keyring| keyring.id);
        if own.is_some_and(|own| own != *id) {
            line(format!(
                "  WARNING     rows belong to another keyring, {}",
                text::hex(id)
            ));
        }
    }
    if info.open_to_others {
        line("  WARNING     others may read the file: chmod 600 it".to_owned());
    }
    match info.log {
        Log::Read => line("  log         a write-ahead log, read too: a program has the file open, or was killed".to_owned()),
        Log::Unread => line("  log         a write-ahead log that can't be read without its index: not all of it is told here".to_owned()),
        _ => {}
    }
    out
}

fn describe_keyring(keyring: &KeyringNote, line: &mut impl FnMut(String)) {
    let id = keyring
        .id
        .map_or_else(|| "unreadable".to_owned(), |id| text::hex(&id));
    line(format!("  keyring     {id}"));
    line(format!("  documents   {}", keyring.documents));
    if let Some(root) = keyring.root {
        line(format!("  root key    number {root}"));
    }
    if !keyring.damaged.is_empty() {
        line(format!(
            "  DAMAGED     documents of kind: {}",
            keyring.damaged.join(", ")
        ));
    }
    if keyring.rotating {
        line("  WARNING     a change of the root key is under way, or was cut short".to_owned());
    }
    line("  slots".to_owned());
    for slot in &keyring.slots {
        line(text::slot(slot));
    }
    line("  accounts".to_owned());
    for account in &keyring.accounts {
        let state = account.state.map_or("no document", |state| state.name());
        line(format!(
            "  {:>3}  {state}, {} generations of keys ({} retained, {} destroyed)",
            text::plain(&account.name),
            account.generations,
            account.retained,
            account.destroyed
        ));
    }
}
