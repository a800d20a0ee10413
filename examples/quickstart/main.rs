//! The main job, end to end, with the real client parts and no network.
//!
//! Two accounts in one sealed file: they meet (X3DH), talk, join a group and do the client's
//! bookkeeping; everything is closed, opened again with the passphrase, and they talk on. Then it
//! shows what is on the disk, beside the same conversation in upstream's own store in the clear, and
//! searches every file for every address, key and message.
//!
//! `cargo run --release --example quickstart`, on this crate's store; with `-- upstream`, upstream's
//! own store is what is sealed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use comfy_table::{Table, presets};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{Keyring, Passphrase, SealError, SealedBackend, SqliteKeyring};
use wacore::store::traits::Backend;
use whatsapp_rust_sqlite_storage::SqliteStore as UpstreamStore;

mod conversation;
mod offline;

use conversation::{Party, Secrets};

const PASSPHRASE: &str = "correct horse battery staple";

/// What an account is called, its phone JID and its LID.
const ALICE: [&str; 3] = [
    "Alice Example",
    "5511987650001:3@s.whatsapp.net",
    "161803398874989:3@lid",
];
const BOB: [&str; 3] = [
    "Bob Example",
    "447700900123:7@s.whatsapp.net",
    "200000087654321:7@lid",
];

/// The store that is sealed.
#[derive(Clone, Copy)]
enum Inner {
    Ours,
    Upstream,
}

/// Prints each part of the work with the time it took.
struct Clock(Instant);

impl Clock {
    fn done(&mut self, what: &str) {
        println!("  {:>8.1?}  {what}", self.0.elapsed());
        self.0 = Instant::now();
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let inner = match std::env::args().nth(1).as_deref() {
        None => Inner::Ours,
        Some("upstream") => Inner::Upstream,
        Some(_) => anyhow::bail!("the only argument is `upstream`"),
    };
    let folder = tempfile::tempdir()?;
    let (sealed, plain) = (
        folder.path().join("whatsapp.db"),
        folder.path().join("in-the-clear.db"),
    );
    let mut secrets = Secrets::default();

    println!("\n1. A sealed store, used by two accounts\n");
    let mut clock = Clock(Instant::now());
    let keyring = open_keyring(&sealed, PASSPHRASE).await?;
    clock.done("keyring created, one key derivation (Argon2id)");
    let (alice, bob) = (
        party(ALICE, sealed_backend(inner, &sealed, 1, &keyring).await?).await?,
        party(BOB, sealed_backend(inner, &sealed, 2, &keyring).await?).await?,
    );
    clock.done("two accounts and their devices created");
    talk(&alice, &bob, &mut secrets, &mut clock).await?;
    close(alice, bob).await?;
    drop(keyring);
    clock.done("closed");

    println!("\n2. Opened again with the passphrase\n");
    let keyring = open_keyring(&sealed, PASSPHRASE).await?;
    clock.done("keyring opened");
    let (alice, bob) = (
        party(ALICE, sealed_backend(inner, &sealed, 1, &keyring).await?).await?,
        party(BOB, sealed_backend(inner, &sealed, 2, &keyring).await?).await?,
    );
    conversation::verify_bookkeeping(&alice).await?;
    conversation::verify_bookkeeping(&bob).await?;
    clock.done("every row read back as it was written");
    let messages = conversation::exchange(&alice, &bob, 20, &mut secrets).await?;
    let group = conversation::group(&alice, &bob, 10, &mut secrets).await?;
    clock.done(&format!(
        "{messages} more messages and {group} in the group, no new handshake"
    ));
    let bot = offline::offline_bot(Arc::clone(&alice.backend)).await?;
    ensure!(bot.client().push_name() == ALICE[0], "the bot is Alice's");
    drop(bot);
    clock.done("a whatsapp-rust Bot built on the sealed store (no network: not run)");
    let (found, all, _) = search(&sealed, &secrets)?;
    ensure!(found.is_empty(), "an open store shows {found:?}");
    clock.done(&format!(
        "its files searched while it is open, write-ahead log included: 0 of {all} found"
    ));
    close(alice, bob).await?;
    drop(keyring);

    println!("\n3. A wrong passphrase\n");
    match open_keyring(&sealed, "correct horse battery stable").await {
        Err(error) => match error.downcast_ref::<SealError>() {
            Some(SealError::WrongKey) => println!("  refused: {error:#}"),
            _ => return Err(error.context("a wrong passphrase gave another error")),
        },
        Ok(_) => anyhow::bail!("a wrong passphrase opened the keyring"),
    }

    println!("\n4. What is on the disk: the same rows in the clear and sealed\n");
    let mut clock = Clock(Instant::now());
    let (alice, bob) = (
        party(ALICE, plain_store(&plain, 1).await?).await?,
        party(BOB, plain_store(&plain, 2).await?).await?,
    );
    let mut known = Secrets::default();
    talk(&alice, &bob, &mut known, &mut clock).await?;
    close(alice, bob).await?;
    println!("\n{}", rows(&plain, &sealed, inner)?);

    println!("\n5. A search of every file for every address, key and message\n");
    for (path, secrets, expected) in [(&plain, &known, true), (&sealed, &secrets, false)] {
        let (found, all, bytes) = search(path, secrets)?;
        println!(
            "  {}: {} of {} addresses, keys and messages found in {bytes} bytes",
            path.file_name().unwrap_or_default().display(),
            found.len(),
            all
        );
        for what in found.iter().take(if expected { 0 } else { 20 }) {
            println!("    FOUND: {what}");
        }
        ensure!(
            found.len() == if expected { all } else { 0 },
            "the search must find all in the clear and nothing sealed"
        );
    }
    println!("\nDone: the sealed files show nothing of what was searched for.");
    Ok(())
}

async fn open_keyring(path: &Path, passphrase: &str) -> Result<Keyring> {
    Ok(Keyring::open_or_create(SqliteKeyring::at(path), &Passphrase::new(passphrase)).await?)
}

async fn plain_store(path: &Path, device: i32) -> Result<Arc<UpstreamStore>> {
    let path = path.to_str().context("a UTF-8 path")?;
    Ok(Arc::new(UpstreamStore::new_for_device(path, device).await?))
}

async fn sealed_backend(
    inner: Inner,
    path: &Path,
    device: i32,
    keyring: &Keyring,
) -> Result<Arc<dyn Backend>> {
    let account = keyring.account_or_create(&device.to_string()).await?;
    Ok(match inner {
        // For one account, `sealed_store::open` is all of this in one line.
        Inner::Ours => {
            let store = SqliteStore::open(path).await?.for_account(device);
            Arc::new(SealedBackend::open(Arc::new(store), account).await?)
        }
        Inner::Upstream => {
            Arc::new(SealedBackend::open(plain_store(path, device).await?, account).await?)
        }
    })
}

async fn party(who: [&str; 3], backend: Arc<dyn Backend>) -> Result<Party> {
    let [label, jid, lid] = who;
    Party::open(label, jid, lid, backend).await
}

async fn close(alice: Party, bob: Party) -> Result<()> {
    alice.close().await?;
    bob.close().await
}

async fn talk(alice: &Party, bob: &Party, secrets: &mut Secrets, clock: &mut Clock) -> Result<()> {
    conversation::introduce(alice, bob, secrets).await?;
    clock.done("introduced: 812 prekeys each, a prekey bundle, X3DH");
    let messages = conversation::exchange(alice, bob, 100, secrets).await?;
    clock.done(&format!(
        "{messages} ratcheted messages, both ways, some out of order"
    ));
    let group = conversation::group(alice, bob, 30, secrets).await?;
    clock.done(&format!("{group} group messages under sender keys"));
    conversation::bookkeeping(alice, secrets).await?;
    conversation::bookkeeping(bob, secrets).await?;
    clock.done("sync keys, versions, mappings, tokens, device lists, message secrets …");
    Ok(())
}

/// Columns of both files that hold the same, upstream's name of it first.
const COLUMNS: &[[&str; 4]] = &[
    ["sessions", "address", "sessions", "address"],
    ["sessions", "record", "sessions", "record"],
    ["prekeys", "id", "prekeys", "id"],
    ["prekeys", "key", "prekeys", "record"],
    ["sender_keys", "address", "sender_keys", "address"],
    ["lid_pn_mapping", "lid", "lid_mappings", "lid"],
    ["lid_pn_mapping", "phone_number", "lid_mappings", "phone"],
    ["lid_pn_mapping", "updated_at", "lid_mappings", "updated_at"],
    ["tc_tokens", "jid", "tc_tokens", "jid"],
    ["tc_tokens", "token", "tc_tokens", "token"],
    ["msg_secrets", "chat", "msg_secrets", "chat"],
    ["msg_secrets", "secret", "msg_secrets", "senders"],
    ["sent_messages", "payload", "sent_messages", "payload"],
    [
        "device",
        "push_name",
        "device",
        "CAST(json AS TEXT) ->> 'push_name'",
    ],
];

/// A few rows of both files, side by side.
fn rows(plain: &Path, sealed: &Path, inner: Inner) -> Result<Table> {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
        "table, column",
        "in the clear",
        "sealed",
    ]);
    let (plain, sealed) = (Connection::open(plain)?, Connection::open(sealed)?);
    for [name, column, our_name, our_column] in COLUMNS {
        // Not the canary, whose key is no address, nor an identity, which is kept among the sessions.
        let upstream = |connection: &Connection| match *name {
            "device" => cell(connection, name, column, "id = 1"),
            "sessions" => cell(
                connection,
                name,
                column,
                "device_id = 1 AND address LIKE '%@%'",
            ),
            _ => cell(connection, name, column, "device_id = 1"),
        };
        let sealed = match (inner, *our_name) {
            (Inner::Upstream, _) => upstream(&sealed)?,
            (Inner::Ours, "sessions") => cell(
                &sealed,
                our_name,
                our_column,
                "account = 1 AND length(address) = 33 AND length(record) > 500",
            )?,
            (Inner::Ours, _) => cell(&sealed, our_name, our_column, "account = 1")?,
        };
        table.add_row([format!("{name}.{column}"), upstream(&plain)?, sealed]);
    }
    Ok(table)
}

fn cell(connection: &Connection, table: &str, column: &str, filter: &str) -> Result<String> {
    let sql = format!("SELECT {column} FROM {table} WHERE {filter} ORDER BY 1 LIMIT 1");
    Ok(connection.query_row(&sql, [], |row| Ok(shown(row.get_ref(0)?)))?)
}

/// A value as a person reads it, cut short.
fn shown(value: ValueRef<'_>) -> String {
    const MOST: usize = 30;
    let (text, length) = match value {
        ValueRef::Integer(number) => return number.to_string(),
        ValueRef::Text([]) => return "(empty)".into(),
        ValueRef::Text(text) => (String::from_utf8_lossy(text).into_owned(), text.len()),
        ValueRef::Blob(bytes) => (format!("x'{}", hex::encode(bytes)), bytes.len()),
        ValueRef::Null | ValueRef::Real(_) => return "-".into(),
    };
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}… ({length} bytes)", &text[..end]),
        None => text,
    }
}

/// Searches a database file and everything beside it of the same name.
fn search(path: &Path, secrets: &Secrets) -> Result<(BTreeSet<String>, usize, usize)> {
    let folder = path.parent().context("a folder")?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&*name) {
            bytes.extend(raw(&entry.path())?);
        }
    }
    let found = secrets.found_in(&bytes);
    let all: BTreeSet<String> = secrets.needles().map(|(what, _)| what).collect();
    Ok((found, all.len(), bytes.len()))
}

/// A file's bytes, read by a child process: closing a database file's descriptor here would drop
/// SQLite's own locks of this process, if a connection were still open.
fn raw(path: &Path) -> Result<Vec<u8>> {
    let output = Command::new("cat").arg(path).output()?;
    ensure!(output.status.success(), "cat could not read a file");
    Ok(output.stdout)
}
