//! The verbs of whole stores, as a user runs them: sealed, checked, given new keys, shredded and put back in the clear,
//! each with its exit code, and stopped by a signal where that is when users stop things.

mod cli;
mod common;
#[path = "common/dump.rs"]
mod dump;
#[path = "common/plain.rs"]
mod plain;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use cli::{Desk, PROGRAM, SECRET};
use dump::{assert_same, dump};
use rusqlite::Connection;
use sealed_store::store::sqlite::SqliteStore;
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

/// Starts the program and sends it SIGINT when it says that the phase began.
fn interrupted(desk: &Desk, arguments: &[&str], phase: &str) -> i32 {
    let mut child = Command::new(PROGRAM)
        .current_dir(desk.folder.path())
        .args(arguments)
        .args(["--passphrase-file", "secret", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut sent = false;
    for line in lines {
        if !sent && line.unwrap().contains(&format!("\"phase\":\"{phase}\"")) {
            // The shell's own: a small machine has no program of that name.
            let signal = format!("kill -INT {}", child.id());
            let killed = Command::new("sh").args(["-c", &signal]).status().unwrap();
            assert!(killed.success());
            sent = true;
        }
    }
    assert!(sent, "it never said {phase}");
    child.wait().unwrap().code().unwrap()
}

#[test]
fn a_signal_stops_what_can_go_on_later() {
    let desk = with_upstream();
    let before = dump(&desk.path("w.db"));
    // Starts over: nothing is there to be gone on with.
    let many = fill(&desk);
    let code = interrupted(&desk, &["encrypt", &many, "--kdf-ms", "1"], "converting");
    assert_eq!(code, 130);
    assert!(!desk.path("many.db.sealed-store-work").exists());
    desk.run(&[
        "encrypt",
        &many,
        "--kdf-ms",
        "1",
        "--passphrase-file",
        "secret",
    ])
    .ends(0);
    // Goes on where it was.
    let code = interrupted(&desk, &["reencrypt", &many, "--rate", "500"], "resealing");
    assert_eq!(code, 17);
    let done = desk.open(&["reencrypt", &many, "--json"]).ends(0).summary();
    assert_eq!(done["resumed"], true);
    desk.open(&["check", &many]).ends(0);
    assert_same(&before, &dump(&desk.path("w.db")));
}

/// A store of ours with enough rows for a signal to come in time.
fn fill(desk: &Desk) -> String {
    let path = desk.path("many.db");
    runtime().block_on(async {
        let store = SqliteStore::open(&path).await.unwrap();
        store.create().await.unwrap();
        for batch in 0..10u32 {
            let rows: Vec<_> = (0..1000u32)
                .map(|row| {
                    let address = format!("{batch}{row:04}:1@c.us.0");
                    (address.into(), vec![7; 200].into())
                })
                .collect();
            store.put_sessions_batch(&rows).await.unwrap();
        }
        store.close().await.unwrap();
    });
    "many.db".to_owned()
}
