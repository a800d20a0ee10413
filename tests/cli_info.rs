//! `info` is what a careful person runs first, on evidence or on a store in use: it must change nothing, whatever it looks at.

#[path = "common/child.rs"]
mod child;
mod cli;

use cli::{Desk, snapshot};
use sealed_store::{Passphrase, SealedBackend, SqliteKeyring};
use wacore::store::traits::{DeviceStore, SignalStore};

/// Runs `info` and sees that the folder is as it was, byte by byte, with its times.
#[track_caller]
fn info(desk: &Desk, arguments: &[&str]) -> serde_json::Value {
    let before = snapshot(desk.folder.path());
    let ran = desk.run(&[&["info", "--json"], arguments].concat()).ends(0);
    desk.run(&[&["info"], arguments].concat()).ends(0);
    let after = snapshot(desk.folder.path());
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    for (name, was) in &before {
        assert!(after[name] == *was, "{name} was changed");
    }
    ran.summary()
}

#[test]
fn a_store_that_is_closed() {
    let desk = Desk::with_store();
    let told = info(&desk, &["w.db"]);
    assert_eq!(told["layout"], "sealed-store");
    assert_eq!(told["protection"], "sealed");
    assert_eq!(told["log"], "none");
    assert_eq!(told["schema"], "1");
    let keyring = &told["keyring"];
    assert_eq!(told["keyring_ids"][0], keyring["id"]);
    assert_eq!(keyring["documents"], 3);
    assert_eq!(keyring["slots"][0]["kind"], "passphrase");
    assert_eq!(keyring["slots"][0]["label"], "first");
    assert_eq!(keyring["slots"][0]["kdf"]["passes"], 2);
    assert_eq!(keyring["slots"][0]["opened"], false);
    assert_eq!(keyring["accounts"][0]["name"], "1");
    // Also where nothing can be written.
    desk.mode("w.db", 0o400);
    desk.mode("", 0o500);
    info(&desk, &["w.db"]);
    desk.mode("", 0o700);
}

#[test]
fn a_file_with_nothing_in_it() {
    let desk = Desk::new();
    desk.file("empty.db", b"");
    let told = info(&desk, &["empty.db"]);
    assert_eq!(told["layout"], "empty");
    assert_eq!(told["keyring"], serde_json::Value::Null);
}

#[test]
fn a_keyring_in_a_file_of_its_own_and_a_name_that_needs_escapes() {
    let desk = Desk::new();
    let db = "a b?c=d#e%41\u{e9}.db";
    desk.run(&[
        "init",
        db,
        "--keyring",
        "k?.db",
        "--passphrase-file",
        "secret",
        "--kdf-ms",
        "1",
    ])
    .ends(0);
    let told = info(&desk, &[db, "--keyring", "k?.db"]);
    assert_eq!(told["protection"], "sealed");
    assert_eq!(told["keyring"]["id"], told["keyring_ids"][0]);
    let alone = info(&desk, &[db]);
    assert_eq!(alone["protection"], "sealed");
    assert_eq!(alone["keyring"], serde_json::Value::Null);
    assert_eq!(info(&desk, &["k?.db"])["layout"], "keyring");
    // Through a link, whose log would be beside the file that it leads to.
    std::os::unix::fs::symlink(desk.path(db), desk.path("link.db")).unwrap();
    assert_eq!(info(&desk, &["link.db"])["layout"], "sealed-store");
}

#[tokio::test]
async fn upstreams_file_with_a_keyring_in_it() {
    let desk = Desk::new();
    let path = desk.path("up.db");
    let store = whatsapp_rust_sqlite_storage::SqliteStore::new(path.to_str().unwrap())
        .await
        .unwrap();
    let provider = Passphrase::new(cli::SECRET).cost(sealed_store::KdfCost::FLOOR);
    let keyring = sealed_store::Keyring::create(SqliteKeyring::at(&path), &provider)
        .await
        .unwrap();
    let account = keyring.create_account("1").await.unwrap();
    let backend = SealedBackend::open(std::sync::Arc::new(store), account)
        .await
        .unwrap();
    backend.create().await.unwrap();
    backend
        .put_session("5511987650001:3@c.us.0", b"x")
        .await
        .unwrap();
    drop((backend, keyring));
    let told = desk.run(&["info", "up.db", "--json"]).ends(0).summary();
    assert_eq!(told["layout"], "whatsapp-rust");
    assert_eq!(told["protection"], "sealed");
    assert_eq!(told["keyring_ids"][0], told["keyring"]["id"]);
    let status = desk.open(&["status", "up.db", "--json"]).ends(0).summary();
    let account = &status["accounts"][0];
    assert_eq!(account["number"], 1);
    assert_eq!(account["state"], "live");
    // The canary, the device and the session.
    assert_eq!(account["rows"]["sessions"], 3);
}

/// The child of the tests below.
#[tokio::test]
async fn writer() {
    let Some(job) = child::job() else { return };
    let provider = Passphrase::new(cli::SECRET);
    let backend = sealed_store::open(&job[0], &provider).await.unwrap();
    backend.create().await.unwrap();
    for number in 0..50 {
        let address = format!("55119876500{number:02}:3@c.us.0");
        backend.put_session(&address, &[7; 500]).await.unwrap();
    }
    child::say("written");
    child::hear();
}

#[test]
fn a_store_in_use_and_one_that_was_killed() {
    let desk = Desk::with_store();
    let path = desk.path("w.db");
    let mut writer = child::Child::run("writer", &[path.to_str().unwrap()]);
    assert_eq!(writer.next().as_deref(), Some("written"));
    let log = std::fs::metadata(desk.path("w.db-wal")).unwrap().len();
    assert!(log > 0, "there is a log to be read");
    let told = info(&desk, &["w.db"]);
    assert_eq!(told["log"], "read");
    assert_eq!(told["keyring"]["accounts"][0]["state"], "live");
    let status = desk.open(&["status", "w.db", "--json"]).ends(0).summary();
    assert_eq!(status["accounts"][0]["rows"]["sessions"], 52);
    writer.kill();
    assert!(desk.path("w.db-wal").exists());
    let told = info(&desk, &["w.db"]);
    assert_eq!(told["log"], "read");
    assert_eq!(told["keyring"]["accounts"][0]["state"], "live");
    // A copy that took the log and not its index.
    std::fs::remove_file(desk.path("w.db-shm")).unwrap();
    assert_eq!(info(&desk, &["w.db"])["log"], "unread");
    // Opening it still finds everything.
    desk.open(&["key", "list", "w.db"]).ends(0);
}

#[test]
fn a_damaged_keyring_is_described_and_what_it_says_does_not_reach_the_terminal_raw() {
    let desk = Desk::with_store();
    desk.damage("w.db", "account:1");
    let before = snapshot(desk.folder.path());
    let ran = desk.run(&["info", "w.db", "--json"]).ends(13);
    assert!(snapshot(desk.folder.path()) == before);
    let lines = ran.lines();
    assert_eq!(lines[0]["keyring"]["damaged"][0], "account");
    assert_eq!(lines[1]["code"], 13);

    let desk = Desk::with_store();
    let document = String::from_utf8(desk.document("w.db", "keyring")).unwrap();
    let planted = document.replacen("\"first\"", "\"\\u001b[2Jfirst\\u202e\"", 1);
    let (hashed, rest) = planted.split_once("sha256 ").unwrap();
    let mac = rest.split_once('\n').unwrap().1;
    use sha2::{Digest, Sha256};
    let planted = format!(
        "{hashed}sha256 {}\n{mac}",
        hex::encode(Sha256::digest(hashed))
    );
    desk.put_document("w.db", "keyring", planted.as_bytes());
    let shown = desk.run(&["info", "w.db"]).ends(0).stdout;
    assert!(
        !shown.contains('\u{1b}') && !shown.contains('\u{202e}'),
        "{shown:?}"
    );
    // It does not verify, of course.
    desk.open(&["status", "w.db"]).ends(13);
}

#[test]
fn rows_and_tables_of_each_layout_are_told_apart() {
    let desk = Desk::new();
    // A keyring of another store put beside.
    desk.init("one.db");
    desk.init("two.db");
    let told = desk.run(&["info", "one.db", "--keyring", "two.db"]).ends(0);
    assert!(told.stdout.contains("another keyring"), "{}", told.stdout);
}
