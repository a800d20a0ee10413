//! Where a walk is stands in the account's document: who alters it has no row passed over and no key destroyed too early,
//! and neither has who puts a whole older document back.

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/resealing.rs"]
mod resealing;

use std::path::{Path, PathBuf};

use resealing::{
    LAYOUTS, Walk, checks, connect, copy, document, fill, is_whole, key, keys, one_key_a_table,
    open, put_document, walking as child_walks,
};
use sealed_store::lifecycle::{LifecycleErrorKind, ReencryptOptions, reencrypt};
use sealed_store::{Keyring, RawKey, SealError, SqliteKeyring};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A store whose walk was killed, with all rows seen and none of the old keys gone.
async fn killed(folder: &Path, layout: &str) -> PathBuf {
    let path = folder.join("w.db");
    drop(fill(&path, layout).await);
    let mut walk = Walk::start(&path, &[]);
    walk.until("walked");
    walk.kill();
    path
}

/// Puts the unkeyed checksum right, as whoever can write the file can.
fn with_checksum(head: &[u8], mac: &[u8]) -> Vec<u8> {
    let sha = hex::encode(Sha256::digest(head));
    [head, b"sha256 ", sha.as_bytes(), b"\n", mac].concat()
}

/// What is before the checksum, and what is after it.
fn parts(document: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let text = std::str::from_utf8(document).unwrap();
    let at = text.rfind("\nsha256 ").unwrap() + 1;
    let mac = at + text[at..].find('\n').unwrap() + 1;
    (document[..at].to_vec(), document[mac..].to_vec())
}

fn rows(path: &Path) -> Vec<Vec<u8>> {
    let file = connect(path);
    let mut query = file
        .prepare("SELECT record FROM sessions ORDER BY rowid")
        .unwrap();
    let rows = query.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

async fn account(path: &Path, key: &RawKey) -> Result<(), SealError> {
    let keyring = Keyring::open(SqliteKeyring::at(path), key).await?;
    keyring.account("1").await.map(drop)
}

#[tokio::test]
async fn an_altered_bit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = killed(folder.path(), "ours").await;
    let (revision, original) = document(&path, 1);
    let (head, mac) = parts(&original);
    let text = std::str::from_utf8(&head).unwrap();
    let from = text.find("\"resealing\"").unwrap();
    let long = std::env::var_os("SEALED_STORE_LONG").is_some();
    // All bits of what says where it is; of the list of targets every seventh, unless it is the long form.
    let place = text.find("\"place\"").unwrap();
    let keyring = Keyring::open(SqliteKeyring::at(&path), &key())
        .await
        .unwrap();
    let mut tried = 0;
    for bit in 8 * from..8 * head.len() {
        if !long && bit < 8 * place && bit % 7 != 0 {
            continue;
        }
        let mut altered = head.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        put_document(&path, 1, &(revision, with_checksum(&altered, &mac)));
        assert!(
            matches!(
                keyring.account("1").await,
                Err(SealError::CorruptKeyring { .. } | SealError::UnsupportedVersion { .. })
            ),
            "bit {bit} of {text}"
        );
        tried += 1;
    }
    println!("{tried} bits");
    drop(keyring);
    put_document(&path, 1, &(revision, original));
    assert!(account(&path, &key()).await.is_ok());
}

#[tokio::test]
async fn an_edited_or_missing_field_is_refused_and_changes_nothing() {
    let edits: &[fn(&mut Value)] = &[
        |body| drop(body.as_object_mut().unwrap().remove("resealing")),
        |body| body["resealing"] = Value::Null,
        |body| drop(body["resealing"].as_object_mut().unwrap().remove("targets")),
        |body| drop(body["resealing"].as_object_mut().unwrap().remove("place")),
        |body| drop(body["resealing"].as_object_mut().unwrap().remove("after")),
        |body| drop(body["resealing"].as_object_mut().unwrap().remove("walked")),
        |body| body["resealing"]["walked"] = false.into(),
        |body| body["resealing"]["place"] = "sessions".into(),
        |body| body["resealing"]["after"] = "01ffffffffffffff7f".into(),
        |body| body["resealing"]["targets"] = json!([]),
        |body| body["resealing"]["targets"][0]["generation"] = 9.into(),
        |body| drop(body["resealing"]["targets"].as_array_mut().unwrap().pop()),
        |body| body["resealing"]["more"] = 1.into(),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = killed(folder.path(), "ours").await;
    let (revision, original) = document(&path, 1);
    let before = rows(&path);
    for (number, edit) in edits.iter().enumerate() {
        let text = String::from_utf8(original.clone()).unwrap();
        let (magic, json, mac) = common::support::split(&text);
        let mut body = serde_json::from_str(json).unwrap();
        edit(&mut body);
        let json = serde_json::to_string_pretty(&body).unwrap();
        let altered = common::support::join(magic, &json, mac).into_bytes();
        put_document(&path, 1, &(revision, altered.clone()));
        let error = reencrypt(&path, &key(), ReencryptOptions::new(), &())
            .await
            .unwrap_err();
        assert_eq!(
            error.kind(),
            LifecycleErrorKind::Corrupt,
            "{number}: {error}"
        );
        assert!(sealed_store::open(&path, &key()).await.is_err(), "{number}");
        assert_eq!(document(&path, 1), (revision, altered), "{number}");
        assert_eq!(rows(&path), before, "{number}");
    }
    put_document(&path, 1, &(revision, original));
    is_whole(&*open(&path, "ours").await).await;
    one_key_a_table(&path, 2);
}

/// At each step of a run the document of each earlier step is put back, and another run begun.
#[tokio::test]
async fn a_whole_older_document_loses_no_row() {
    for layout in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.db");
        drop(fill(&path, layout).await);
        // Two runs: of the one the old keys end, of the next they are marked.
        let mut states: Vec<(PathBuf, (i64, Vec<u8>))> = Vec::new();
        for _ in 0..2 {
            let mut walk = Walk::start(&path, &[]);
            while let Some(step) = walk.step() {
                let wanted = ["begun", "walked", "marked", "erased", "finished"];
                if wanted.contains(&step.as_str()) {
                    let copied = folder.path().join(format!("{}-{step}.db", states.len()));
                    copy(&path, &copied);
                    states.push((copied, document(&path, 1)));
                }
                walk.go_on();
            }
        }
        let (mut ended, mut refused) = (0, 0);
        for (number, (rows_of, right)) in states.iter().enumerate() {
            for (older, (_, back)) in states.iter().enumerate().take(number) {
                let path = folder.path().join("rolled.db");
                let _ = std::fs::remove_file(&path);
                copy(rows_of, &path);
                put_document(&path, 1, back);
                match reencrypt(&path, &key(), ReencryptOptions::new(), &()).await {
                    // It had all keys that the rows need: they are all there.
                    Ok(_) => {
                        ended += 1;
                        checks(&path).await;
                        is_whole(&*open(&path, layout).await).await;
                    }
                    // It had not: nothing was destroyed, and with the right document all are there.
                    Err(error) => {
                        refused += 1;
                        let keys = keys(&path);
                        let before = String::from_utf8(back.1.clone()).unwrap();
                        let count = |text: &str| text.matches("\"destroyed\"").count();
                        let now = keys.values().filter(|state| *state == "destroyed").count();
                        assert_eq!(now, count(&before), "{older} to {number}: {error}");
                        put_document(&path, 1, right);
                        checks(&path).await;
                        is_whole(&*open(&path, layout).await).await;
                    }
                }
            }
        }
        println!("{layout}: {ended} ended, {refused} refused");
        assert!(ended > 5 && refused > 5, "{ended} {refused}");
    }
}

/// No test of its own: the child of a walk.
#[test]
fn walking() {
    child_walks();
}
