//! The verbs of whole stores, as a user runs them: sealed, checked, given new keys, shredded and put back in the clear, each with its
//! exit code.

mod cli;
mod common;
#[path = "common/dump.rs"]
mod dump;
#[path = "common/plain.rs"]
mod plain;

use cli::{Desk, SECRET};
use dump::{assert_same, dump};
use rusqlite::Connection;
use wacore::store::traits::{DeviceStore, SignalStore};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A desk with whatsapp-rust's own database, `w.db`.
fn with_upstream() -> Desk {
    let desk = Desk::new();
    runtime().block_on(plain::upstream(&desk.path("w.db"), 3));
    desk
}

fn encrypt(desk: &Desk, more: &[&str]) -> cli::Ran {
    let basic = [
        "encrypt",
        "w.db",
        "--passphrase-file",
        "secret",
        "--kdf-ms",
        "1",
    ];
    desk.run(&[&basic[..], more].concat())
}

#[test]
fn a_store_is_sealed_checked_given_new_keys_and_put_back() {
    let desk = with_upstream();
    let before = dump(&desk.path("w.db"));
    let sealed = encrypt(&desk, &["--json"]).ends(0).summary();
    assert_eq!(sealed["accounts"], 3);
    assert!(sealed["rows"].as_u64().unwrap() > 100, "{sealed}");
    let checked = desk.open(&["check", "w.db", "--json"]).ends(0).summary();
    assert_eq!(checked["sound"], true);
    assert_eq!(checked["faults"].as_array().unwrap().len(), 0);
    desk.open(&["check", "w.db", "--sample", "5%", "--seed", "7"])
        .ends(0);
    let again = desk
        .open(&["reencrypt", "w.db", "--json"])
        .ends(0)
        .summary();
    assert!(again["resealed"].as_u64().unwrap() > 100, "{again}");
    assert_eq!(again["destroyed"], 60, "three accounts, twenty tables");
    let some = [
        "reencrypt",
        "w.db",
        "--tables",
        "session,identity",
        "--json",
    ];
    assert_eq!(desk.open(&some).ends(0).summary()["destroyed"], 6);
    desk.open(&["reencrypt", "w.db", "--root"]).ends(0);
    let full = desk
        .open(&["reencrypt", "w.db", "--full", "--json"])
        .ends(0)
        .summary();
    assert_eq!(full["left_out"], 0);
    desk.open(&["check", "w.db"]).ends(0);
    desk.open(&["decrypt", "w.db", "--yes"]).ends(0);
    assert_same(&before, &dump(&desk.path("w.db")));
    let left: Vec<_> = std::fs::read_dir(desk.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("w.db") && name != "w.db")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// From whatsapp-rust's database to a store that one line of code opens.
#[test]
fn an_embedded_store_comes_out_of_whatsapp_rusts_database() {
    let desk = with_upstream();
    encrypt(&desk, &["--embedded"]).ends(0);
    let info = desk.run(&["info", "w.db", "--json"]).ends(0).summary();
    assert_eq!(info["layout"], "sealed-store");
    desk.open(&["check", "w.db"]).ends(0);
    runtime().block_on(async {
        let secret = sealed_store::Passphrase::new(SECRET.to_owned());
        let store = sealed_store::open(desk.path("w.db"), &secret)
            .await
            .unwrap();
        assert!(store.exists().await.unwrap());
        assert!(!store.load_all_signed_prekeys().await.unwrap().is_empty());
    });
}

#[test]
fn every_refusal_has_its_code() {
    let desk = with_upstream();
    desk.open(&["check", "w.db"])
        .ends(14)
        .says("sealed-store encrypt");
    desk.open(&["decrypt", "w.db", "--yes"]).ends(14);
    desk.open(&["reencrypt", "w.db"]).ends(14);
    desk.open(&["shred", "w.db", "--all", "--yes"]).ends(14);
    desk.open(&["encrypt", "nowhere.db"]).ends(10);
    let user = runtime();
    let store = user.block_on(common::sqlite(&desk.path("w.db")));
    encrypt(&desk, &[]).ends(11).says("in use");
    drop((store, user));
    encrypt(&desk, &[]).ends(0);
    encrypt(&desk, &[]).ends(14).says("sealed already");
    let wrong = ["--passphrase-file", "other"];
    for verb in [
        &["check", "w.db"][..],
        &["reencrypt", "w.db"],
        &["decrypt", "w.db", "--yes"],
    ] {
        desk.run(&[verb, &wrong].concat()).ends(12);
    }
    desk.open(&["decrypt", "w.db"]).ends(2).says("--yes");
    desk.open(&["shred", "w.db", "--yes"]).ends(2);
    desk.open(&["reencrypt", "w.db", "--keep", "1"]).ends(2);
    desk.open(&["reencrypt", "w.db", "--root", "--drop", "9"])
        .ends(2);
    desk.open(&["check", "w.db", "--sample", "0"]).ends(2);
    let file = Connection::open(desk.path("w.db")).unwrap();
    file.execute(
        "UPDATE prekeys SET key = CAST(substr(key, 1, 40) || zeroblob(60) AS BLOB) WHERE id = (SELECT min(id) FROM prekeys)",
        [],
    )
    .unwrap();
    drop(file);
    let ran = desk.open(&["check", "w.db", "--json"]).ends(13);
    let lines = ran.lines();
    let summary = lines.iter().find(|line| line["type"] == "summary").unwrap();
    assert_eq!(summary["sound"], false);
    assert_eq!(summary["faults"][0]["table"], "prekeys");
    assert_eq!(summary["faults"][0]["keys"].as_array().unwrap().len(), 0);
    let revealed = desk.open(&["check", "w.db", "--reveal", "--json"]).ends(13);
    let lines = revealed.lines();
    let summary = lines.iter().find(|line| line["type"] == "summary").unwrap();
    let keys = summary["faults"][0]["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 3, "{summary}");
    desk.open(&["decrypt", "w.db", "--yes"]).ends(13);
}

#[test]
fn a_database_of_an_older_or_newer_schema_is_told_apart() {
    let desk = with_upstream();
    let file = Connection::open(desk.path("w.db")).unwrap();
    file.execute_batch("DROP TABLE pending_inbound_messages")
        .unwrap();
    file.execute(
        "DELETE FROM __diesel_schema_migrations WHERE version = (SELECT max(version) FROM __diesel_schema_migrations)",
        [],
    )
    .unwrap();
    drop(file);
    encrypt(&desk, &[]).ends(15);
}

#[test]
fn what_is_shredded_is_told_and_no_fault() {
    let desk = with_upstream();
    encrypt(&desk, &[]).ends(0);
    let done = desk
        .open(&["shred", "w.db", "--account", "2", "--yes", "--json"])
        .ends(0)
        .summary();
    assert_eq!(done["keys"], 21);
    let checked = desk.open(&["check", "w.db", "--json"]).ends(0).summary();
    assert!(checked["shredded"].as_u64().unwrap() >= done["rows"].as_u64().unwrap());
    desk.open(&["shred", "w.db", "--account", "nobody", "--yes"])
        .ends(1);
}

#[test]
fn a_journal_of_a_database_that_is_gone_is_no_hindrance() {
    let desk = Desk::new();
    std::fs::write(
        desk.path("new.db-journal"),
        "of a database that was removed",
    )
    .unwrap();
    let made = desk.run(&[
        "init",
        "new.db",
        "--passphrase-file",
        "secret",
        "--kdf-ms",
        "1",
        "--json",
    ]);
    assert_eq!(made.ends(0).summary()["account"], "1");
    assert!(!desk.path("new.db-journal").exists());
    desk.open(&["check", "new.db"]).ends(0);
}
