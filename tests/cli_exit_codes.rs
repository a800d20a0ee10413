//! Scripts decide by exit codes: each one is reached here, by the real program, and `--json` says the same. (17 and 130 are in
//! `cli_signals.rs` and `cli_prompts.rs`.)

mod cli;
#[path = "support/mod.rs"]
mod support;

use cli::{Desk, Ran};
use sha2::{Digest, Sha256};
use wacore::store::traits::DeviceStore;

/// The same with `--json` gives the same code, and an `error` that says so.
fn both(desk: &Desk, arguments: &[&str]) -> Ran {
    let plain = desk.run(arguments);
    let json = desk.run(&[arguments, &["--json"]].concat());
    assert_eq!(plain.code, json.code);
    if json.code != 0 {
        let line = json.lines().pop().unwrap();
        assert_eq!(line["type"], "error");
        assert_eq!(line["code"], json.code);
        assert_eq!(
            format!("sealed-store: {}\n", line["message"].as_str().unwrap()),
            json.stderr
        );
    }
    plain
}

#[test]
fn zero_where_all_went_well() {
    let desk = Desk::with_store();
    both(&desk, &["info", "w.db"]).ends(0);
    both(&desk, &["status", "w.db", "--passphrase-file", "secret"]).ends(0);
    desk.run(&["--help"]).ends(0);
    desk.run(&["--version"]).ends(0);
}

#[test]
fn one_for_a_change_that_is_refused_and_a_file_that_can_not_be_used() {
    let desk = Desk::with_store();
    both(
        &desk,
        &[
            "key",
            "remove",
            "w.db",
            "1",
            "--yes",
            "--passphrase-file",
            "secret",
        ],
    )
    .ends(1)
    .says("add one before removing the last");
    both(&desk, &["status", "w.db", "--passphrase-file", "nowhere"])
        .ends(1)
        .says("No such file");
    desk.run(&["header", "backup", "w.db", "backup"]).ends(0);
    both(&desk, &["header", "backup", "w.db", "backup"])
        .ends(1)
        .says("backup: there is a file of that name already");
}

#[test]
fn two_for_arguments_that_are_not_understood() {
    let desk = Desk::with_store();
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["info"],
        &["info", "w.db", "--frobnicate"],
        &["status", "w.db"],
        &[
            "status",
            "w.db",
            "--passphrase-file",
            "secret",
            "--key-file",
            "secret",
        ],
        &[
            "key",
            "remove",
            "w.db",
            "1",
            "--passphrase-file",
            "secret",
            "--slot",
            "x",
        ],
        &["header", "restore", "w.db", "backup", "--allow-lost-rows"],
    ] {
        desk.run(arguments).ends(2);
        let json = desk.run(&[&["--json"], arguments].concat()).ends(2);
        assert_eq!(json.lines().pop().unwrap()["name"], "usage");
    }
}

#[test]
fn ten_where_there_is_no_store() {
    let desk = Desk::new();
    desk.file("text", b"not a database, and longer than sixteen bytes");
    desk.file("short", b"x");
    rusqlite::Connection::open(desk.path("other.db"))
        .unwrap()
        .execute_batch("CREATE TABLE recipes (name TEXT)")
        .unwrap();
    std::fs::create_dir(desk.path("folder")).unwrap();
    for name in ["nowhere.db", "text", "short", "other.db", "folder"] {
        both(&desk, &["info", name]).ends(10).says(name);
        both(&desk, &["status", name, "--passphrase-file", "secret"]).ends(10);
        both(&desk, &["key", "list", name, "--passphrase-file", "secret"]).ends(10);
        both(&desk, &["header", "backup", name, "backup"]).ends(10);
    }
    assert!(!desk.path("nowhere.db").exists());
    // Nor is something else made into one.
    for name in ["text", "other.db", "folder"] {
        both(&desk, &["init", name, "--passphrase-file", "secret"]).ends(10);
    }
}

#[tokio::test]
async fn eleven_while_another_program_has_the_store_open() {
    let desk = Desk::with_store();
    desk.run(&["header", "backup", "w.db", "backup"]).ends(0);
    desk.damage("w.db", "accounts");
    let keyring = sealed_store::Keyring::open(
        sealed_store::SqliteKeyring::at(desk.path("w.db")),
        &sealed_store::Passphrase::new(cli::SECRET),
    )
    .await
    .unwrap();
    let restore = [
        "header",
        "restore",
        "w.db",
        "backup",
        "--passphrase-file",
        "secret",
    ];
    both(&desk, &restore).ends(11).says("close it there");
    drop(keyring);
    desk.run(&restore).ends(0);
}

#[test]
fn twelve_for_a_wrong_passphrase_key_or_code() {
    let desk = Desk::with_store();
    desk.file("key", &[7; 32]);
    desk.file("code", b"REC1-QQQS-YQCY-Q5RQ-WZQF-PG9S-CRGW-PUN3-U822");
    // A program that has just made a store may end before its last connection is closed, and leave an empty log.
    desk.run(&["key", "list", "w.db", "--passphrase-file", "secret"])
        .ends(0);
    for source in [
        ["--passphrase-file", "other"],
        ["--key-file", "key"],
        ["--recovery-code-file", "code"],
    ] {
        let before = cli::snapshot(desk.folder.path());
        both(&desk, &[&["status", "w.db"][..], &source].concat())
            .ends(12)
            .says("wrong key");
        assert!(cli::snapshot(desk.folder.path()) == before);
    }
    // A mistyped code is told from a wrong one.
    desk.file("code", b"REC1-QQQS-YQCY-Q5RQ-WZQF-PG9S-CRGW-PUN3-U82Z");
    both(&desk, &["status", "w.db", "--recovery-code-file", "code"])
        .ends(2)
        .says("mistyped");
}

#[test]
fn thirteen_for_damage() {
    for name in ["keyring", "accounts", "account:1"] {
        let desk = Desk::with_store();
        desk.damage("w.db", name);
        both(&desk, &["info", "w.db"]).ends(13);
        both(&desk, &["status", "w.db", "--passphrase-file", "secret"])
            .ends(13)
            .says("header restore");
        both(&desk, &["header", "backup", "w.db", "backup"]).ends(13);
        assert!(!desk.path("backup").exists());
    }
    let desk = Desk::with_store();
    let mut bytes = std::fs::read(desk.path("w.db")).unwrap();
    bytes[100..4096].fill(0xaa);
    desk.file("w.db", &bytes);
    both(&desk, &["info", "w.db"]).ends(13);
    both(&desk, &["status", "w.db", "--passphrase-file", "secret"]).ends(13);
}

#[tokio::test]
async fn fourteen_where_it_is_sealed_and_must_not_be_or_the_other_way_round() {
    let desk = Desk::with_store();
    both(&desk, &["init", "w.db", "--passphrase-file", "secret"])
        .ends(14)
        .says("sealed already");
    let plain = sealed_store::store::sqlite::SqliteStore::open(desk.path("plain.db"))
        .await
        .unwrap();
    plain.create().await.unwrap();
    plain.close().await.unwrap();
    let upstream = desk.path("upstream.db");
    let store = whatsapp_rust_sqlite_storage::SqliteStore::new(upstream.to_str().unwrap())
        .await
        .unwrap();
    store.create().await.unwrap();
    drop(store);
    for name in ["plain.db", "upstream.db"] {
        both(&desk, &["status", name, "--passphrase-file", "secret"]).ends(14);
        both(&desk, &["init", name, "--passphrase-file", "secret"]).ends(14);
        both(&desk, &["header", "backup", name, "backup"]).ends(14);
        let info = desk.run(&["info", name, "--json"]).ends(0).summary();
        assert_eq!(info["protection"], "clear");
    }
    // A keyring that is elsewhere is asked for.
    let apart = [
        "init",
        "apart.db",
        "--keyring",
        "keys.db",
        "--kdf-ms",
        "1",
        "--passphrase-file",
        "secret",
    ];
    desk.run(&apart).ends(0);
    both(
        &desk,
        &["status", "apart.db", "--passphrase-file", "secret"],
    )
    .ends(14)
    .says("--keyring");
    desk.open(&["status", "apart.db", "--keyring", "keys.db"])
        .ends(0);
}

#[test]
fn ten_for_an_emptied_file_too() {
    let desk = Desk::new();
    desk.file("empty.db", b"");
    for verb in ["status", "check", "reencrypt", "encrypt"] {
        both(&desk, &[verb, "empty.db", "--passphrase-file", "secret"])
            .ends(10)
            .says("sealed-store init");
    }
    desk.run(&["info", "empty.db"]).ends(0);
}

#[test]
fn sixteen_where_the_secret_can_not_be_had() {
    let desk = Desk::with_store();
    for command in ["no-such-program-anywhere", "false", "sh -c 'kill -9 $$'"] {
        both(&desk, &["status", "w.db", "--passphrase-command", command]).ends(16);
        both(&desk, &["init", "n.db", "--passphrase-command", command]).ends(16);
    }
    assert!(!desk.path("n.db").exists());
    let mut command = desk.command(&["status", "w.db"]);
    cli::ran(command.env("SEALED_STORE_PASSPHRASE_COMMAND", "false")).ends(16);
}

#[test]
fn fifteen_for_another_version() {
    let desk = Desk::with_store();
    let document = String::from_utf8(desk.document("w.db", "keyring")).unwrap();
    let newer = document.replacen("document 1", "document 2", 1);
    let (hashed, rest) = newer.split_once("sha256 ").unwrap();
    let mac = rest.split_once('\n').unwrap().1;
    let newer = format!(
        "{hashed}sha256 {}\n{mac}",
        hex::encode(Sha256::digest(hashed))
    );
    desk.put_document("w.db", "keyring", newer.as_bytes());
    both(&desk, &["info", "w.db"])
        .ends(15)
        .says("update sealed-store");
    both(&desk, &["status", "w.db", "--passphrase-file", "secret"]).ends(15);

    let desk = Desk::with_store();
    rusqlite::Connection::open(desk.path("w.db"))
        .unwrap()
        .execute("INSERT INTO sealed_store_keyring_schema VALUES (2)", [])
        .unwrap();
    both(&desk, &["info", "w.db"]).ends(15);
    both(&desk, &["status", "w.db", "--passphrase-file", "secret"]).ends(15);
}
