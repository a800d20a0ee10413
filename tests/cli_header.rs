//! A backup of the header is what stands between a damaged keyring and the loss of everything: it must come back over any
//! damage, never over the wrong store, and never take newer keys away unasked.

mod cli;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use cli::{Desk, SECRET, snapshot};
use rusqlite::Connection;
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{KdfCost, Keyring, Passphrase, SealedBackend, SqliteKeyring, Table};
use serde_json::Value;
use wacore::store::traits::{DeviceStore, SignalStore};

const ADDRESS: &str = "5511987650001:3@c.us.0";

fn passphrase() -> Passphrase {
    Passphrase::new(SECRET).cost(KdfCost::FLOOR)
}

/// Writes a session, and gives what is read back of all.
async fn write(desk: &Desk, address: &str) {
    let backend = sealed_store::open(desk.path("w.db"), &passphrase())
        .await
        .unwrap();
    if !backend.exists().await.unwrap() {
        backend.create().await.unwrap();
    }
    backend
        .put_session(address, address.as_bytes())
        .await
        .unwrap();
    backend.inner().close().await.unwrap();
}

async fn reads(desk: &Desk, address: &str) -> bool {
    let backend = sealed_store::open(desk.path("w.db"), &passphrase())
        .await
        .unwrap();
    match backend.get_session(address).await {
        Ok(Some(value)) => value == address.as_bytes(),
        _ => false,
    }
}

fn backup(desk: &Desk) {
    desk.run(&["header", "backup", "w.db", "backup"]).ends(0);
}

fn restore(desk: &Desk, more: &[&str]) -> cli::Ran {
    desk.open(&[&["header", "restore", "w.db", "backup", "--json"], more].concat())
}

#[track_caller]
fn restored(desk: &Desk, more: &[&str]) -> Value {
    restore(desk, more).ends(0).summary()
}

/// Changes the keyring through the library, with nobody else about.
async fn keyring(desk: &Desk) -> Keyring {
    Keyring::open(SqliteKeyring::at(desk.path("w.db")), &passphrase())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_store_comes_back_over_any_damage() {
    let desk = Desk::with_store();
    write(&desk, ADDRESS).await;
    backup(&desk);
    let mode = std::fs::metadata(desk.path("backup"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let sound = std::fs::read(desk.path("w.db")).unwrap();
    let damages: [(&str, &str, &[&str]); 8] = [
        ("flip", "keyring", &["keyring"]),
        ("flip", "accounts", &["accounts"]),
        ("flip", "account:1", &["account:1"]),
        (
            "UPDATE sealed_store_keyring SET document = zeroblob(5000000)",
            "",
            &["account:1", "accounts", "keyring"],
        ),
        (
            "DELETE FROM sealed_store_keyring WHERE name = 'keyring'",
            "",
            &["keyring"],
        ),
        (
            "DELETE FROM sealed_store_keyring",
            "",
            &["account:1", "accounts", "keyring"],
        ),
        (
            "UPDATE sealed_store_keyring SET document = 5, revision = 9000000",
            "",
            &["account:1", "accounts", "keyring"],
        ),
        (
            "DROP TABLE sealed_store_keyring; DROP TABLE sealed_store_keyring_schema",
            "",
            &["account:1", "accounts", "keyring"],
        ),
    ];
    for (damage, document, replaced) in damages {
        desk.file("w.db", &sound);
        match damage {
            "flip" => desk.damage("w.db", document),
            sql => Connection::open(desk.path("w.db"))
                .unwrap()
                .execute_batch(sql)
                .unwrap(),
        }
        let told = desk.open(&["status", "w.db"]);
        assert!([13, 14].contains(&told.code), "{damage} {document}");
        let done = restored(&desk, &[]);
        assert_eq!(
            done["replaced"],
            serde_json::json!(replaced),
            "{damage} {document}"
        );
        assert!(reads(&desk, ADDRESS).await, "{damage} {document}");
        // Once more changes nothing.
        let done = restored(&desk, &[]);
        assert_eq!(done["replaced"], serde_json::json!([]));
    }
}

#[tokio::test]
async fn a_keyring_in_a_file_of_its_own_comes_back_also_where_the_file_is_gone() {
    let desk = Desk::new();
    let at = [
        "w.db",
        "--keyring",
        "keys.db",
        "--passphrase-file",
        "secret",
    ];
    desk.run(&[&["init", "--kdf-ms", "1"], &at[..]].concat())
        .ends(0);
    desk.run(&["header", "backup", "w.db", "backup", "--keyring", "keys.db"])
        .ends(0);
    std::fs::remove_file(desk.path("keys.db")).unwrap();
    let restore = [
        "header",
        "restore",
        "w.db",
        "backup",
        "--keyring",
        "keys.db",
        "--passphrase-file",
        "secret",
    ];
    desk.run(&restore).ends(0);
    desk.run(&[&["status"], &at[..]].concat()).ends(0);
    let mode = std::fs::metadata(desk.path("keys.db"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // A store that is gone is not made of a header.
    std::fs::remove_file(desk.path("w.db")).unwrap();
    desk.run(&restore).ends(10);
}

#[tokio::test]
async fn what_does_not_verify_or_open_changes_nothing() {
    let desk = Desk::with_store();
    backup(&desk);
    desk.damage("w.db", "keyring");
    desk.run(&["status", "w.db", "--passphrase-file", "secret"])
        .ends(13);
    let good = std::fs::read(desk.path("backup")).unwrap();
    let unchanged = |what: &str, codes: &[i32], ran: cli::Ran, before| {
        assert!(
            codes.contains(&ran.code),
            "{what}: {} {}",
            ran.code,
            ran.stderr
        );
        assert!(snapshot(desk.folder.path()) == before, "{what}");
    };
    let before = snapshot(desk.folder.path());
    let other = [
        "header",
        "restore",
        "w.db",
        "backup",
        "--passphrase-file",
        "other",
    ];
    unchanged("wrong secret", &[12], desk.run(&other), before);
    for at in (0..good.len()).step_by(good.len() / 25) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        desk.file("backup", &bad);
        unchanged(
            "flipped",
            &[13],
            restore(&desk, &[]),
            snapshot(desk.folder.path()),
        );
        desk.file("backup", &good[..at]);
        unchanged(
            "cut",
            &[13],
            restore(&desk, &[]),
            snapshot(desk.folder.path()),
        );
    }
    // Altered by somebody who can count: the checksums fit, and the MAC does not.
    use sha2::{Digest, Sha256};
    let resum = |text: String| {
        let hashed = text.rsplit_once("sha256 ").unwrap().0.to_owned();
        format!("{hashed}sha256 {}\n", hex::encode(Sha256::digest(&hashed)))
    };
    let text = String::from_utf8(good.clone()).unwrap();
    let mut body: Value = serde_json::from_str(
        text.split_once('\n')
            .unwrap()
            .1
            .rsplit_once("sha256 ")
            .unwrap()
            .0,
    )
    .unwrap();
    for entry in body["documents"].as_array_mut().unwrap() {
        if entry["name"] == "account:1" {
            let document = entry["document"]
                .as_str()
                .unwrap()
                .replace("\"new\"", "\"live\"");
            let (hashed, rest) = document.split_once("sha256 ").unwrap();
            let mac = rest.split_once('\n').unwrap().1;
            entry["document"] = format!(
                "{hashed}sha256 {}\n{mac}",
                hex::encode(Sha256::digest(hashed))
            )
            .into();
        }
    }
    let forged = resum(format!(
        "sealed-store header 1\n{}\nsha256 \n",
        serde_json::to_string_pretty(&body).unwrap()
    ));
    desk.file("backup", forged.as_bytes());
    unchanged(
        "forged",
        &[13],
        restore(&desk, &[]),
        snapshot(desk.folder.path()),
    );
    let newer = resum(text.replacen("header 1", "header 2", 1));
    desk.file("backup", newer.as_bytes());
    unchanged(
        "newer",
        &[15],
        restore(&desk, &[]),
        snapshot(desk.folder.path()),
    );
    desk.file("backup", &good);
    restored(&desk, &[]);
}

#[tokio::test]
async fn another_keyrings_backup_is_refused_unless_told() {
    let desk = Desk::with_store();
    desk.init("two.db");
    desk.run(&["header", "backup", "two.db", "backup"]).ends(0);
    let before = snapshot(desk.folder.path());
    restore(&desk, &[]).ends(1).says("another keyring");
    restore(&desk, &["--allow-older"]).ends(1);
    // Neither the keyring nor anything of it is left: the rows say whose they are.
    Connection::open(desk.path("w.db"))
        .unwrap()
        .execute_batch("DELETE FROM sealed_store_keyring")
        .unwrap();
    restore(&desk, &[]).ends(1).says("another keyring");
    drop(before);
    restored(&desk, &["--allow-other-keyring"]);
    assert!(
        sealed_store::open(desk.path("w.db"), &passphrase())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_older_backup_brings_old_slots_back_only_if_told() {
    let desk = Desk::with_store();
    backup(&desk);
    desk.open(&[
        "key",
        "passwd",
        "w.db",
        "--new-passphrase-file",
        "other",
        "--kdf-ms",
        "1",
    ])
    .ends(0);
    let before = snapshot(desk.folder.path());
    restore(&desk, &[]).ends(1).says("--allow-older");
    assert!(snapshot(desk.folder.path()) == before);
    let done = restored(&desk, &["--allow-older"]);
    assert_eq!(done["older"], true);
    desk.open(&["status", "w.db"]).ends(0);
    desk.run(&["status", "w.db", "--passphrase-file", "other"])
        .ends(12);
}

#[tokio::test]
async fn newer_keys_of_rows_are_kept_beside_an_older_backup() {
    let desk = Desk::with_store();
    write(&desk, ADDRESS).await;
    backup(&desk);
    {
        let keyring = keyring(&desk).await;
        keyring.rotate_data_keys(&[Table::Session]).await.unwrap();
        keyring.create_account("second").await.unwrap();
    }
    write(&desk, "5511987650002:1@c.us.0").await;
    desk.damage("w.db", "keyring");
    let done = restored(&desk, &[]);
    assert_eq!(
        done["kept"],
        serde_json::json!(["account:1", "account:second"])
    );
    assert_eq!(done["not_compared"], serde_json::json!(["keyring"]));
    assert!(reads(&desk, ADDRESS).await && reads(&desk, "5511987650002:1@c.us.0").await);
    assert_eq!(
        keyring(&desk).await.accounts().await.unwrap(),
        ["1", "second"]
    );
    // Where the index is damaged too, it is written anew from the documents.
    desk.damage("w.db", "keyring");
    desk.damage("w.db", "accounts");
    restored(&desk, &[]);
    assert_eq!(
        keyring(&desk).await.accounts().await.unwrap(),
        ["1", "second"]
    );
    keyring(&desk).await.account("second").await.unwrap();
}

#[tokio::test]
async fn a_backup_that_lacks_keys_of_rows_is_refused_until_the_loss_is_accepted() {
    let desk = Desk::with_store();
    write(&desk, ADDRESS).await;
    backup(&desk);
    {
        // Another root: what is there does not verify with the backup's.
        let keyring = keyring(&desk).await;
        keyring.rotate_data_keys(&[Table::Session]).await.unwrap();
        keyring
            .rotate_root(&[(1, &passphrase())], &[])
            .await
            .unwrap();
    }
    write(&desk, "5511987650002:1@c.us.0").await;
    let before = snapshot(desk.folder.path());
    restore(&desk, &[]).ends(1).says("never open again");
    restore(&desk, &["--allow-older"])
        .ends(1)
        .says("--allow-lost-rows");
    // The lock file may have been touched, and nothing else.
    assert!(before["w.db"] == snapshot(desk.folder.path())["w.db"]);
    let done = restored(&desk, &["--allow-older", "--allow-lost-rows"]);
    assert_eq!(
        done["lost"],
        serde_json::json!([{ "account": "1", "table": "session" }])
    );
    assert!(reads(&desk, ADDRESS).await);
    assert!(!reads(&desk, "5511987650002:1@c.us.0").await);
}

#[tokio::test]
async fn a_backup_is_made_beside_a_program_that_uses_the_store() {
    let desk = Desk::with_store();
    let store = SqliteStore::open(desk.path("w.db")).await.unwrap();
    let keyring = keyring(&desk).await;
    let account = keyring.account("1").await.unwrap();
    let backend = SealedBackend::open(Arc::new(store), account).await.unwrap();
    backend.create().await.unwrap();
    backup(&desk);
    restore(&desk, &[]).ends(11);
    drop((backend, keyring));
    let done = restored(&desk, &[]);
    assert_eq!(done["replaced"], serde_json::json!([]));
}

#[tokio::test]
async fn what_went_another_way_since_is_not_lost_unasked() {
    let desk = Desk::with_store();
    write(&desk, ADDRESS).await;
    backup(&desk);
    std::fs::rename(desk.path("backup"), desk.path("first")).unwrap();
    // One branch, with a backup of it …
    keyring(&desk)
        .await
        .rotate_data_keys(&[Table::Session])
        .await
        .unwrap();
    desk.open(&[
        "key",
        "add",
        "w.db",
        "--new-passphrase-file",
        "other",
        "--kdf-ms",
        "1",
    ])
    .ends(0);
    backup(&desk);
    // … and another, from the first backup on, with another key of the same number.
    Connection::open(desk.path("w.db"))
        .unwrap()
        .execute_batch("DELETE FROM sealed_store_keyring")
        .unwrap();
    desk.open(&["header", "restore", "w.db", "first"]).ends(0);
    keyring(&desk)
        .await
        .rotate_data_keys(&[Table::Session])
        .await
        .unwrap();
    write(&desk, "5511987650002:1@c.us.0").await;
    restore(&desk, &[]).ends(1).says("never open again");
    assert!(reads(&desk, ADDRESS).await && reads(&desk, "5511987650002:1@c.us.0").await);
}

#[tokio::test]
async fn an_account_that_is_damaged_and_in_no_backup_is_not_removed_unasked() {
    let desk = Desk::with_store();
    backup(&desk);
    keyring(&desk).await.create_account("second").await.unwrap();
    desk.damage("w.db", "account:second");
    desk.damage("w.db", "keyring");
    let damaged = desk.document("w.db", "account:second");
    restore(&desk, &[]).ends(1).says("never open again");
    assert_eq!(desk.document("w.db", "account:second"), damaged);
    let done = restored(&desk, &["--allow-older", "--allow-lost-rows"]);
    assert_eq!(done["removed"], serde_json::json!(["account:second"]));
    assert_eq!(
        done["lost"],
        serde_json::json!([{ "account": "second", "table": null }])
    );
}

#[tokio::test]
async fn who_comes_through_a_link_meets_the_same_lock() {
    let desk = Desk::with_store();
    backup(&desk);
    std::os::unix::fs::symlink(desk.path("w.db"), desk.path("link.db")).unwrap();
    let _held = keyring(&desk).await;
    desk.open(&["header", "restore", "link.db", "backup"])
        .ends(11);
}
