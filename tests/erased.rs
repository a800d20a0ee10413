//! A passphrase is changed because the old one got about: then what it opens must be gone from the keyring's
//! files, free pages and log included, or whoever carves them has the root key all the same. (Copies from
//! before are another matter, and the threat model says so.)

mod common;

use std::path::Path;
use std::sync::Arc;

use common::support::{bytes_of, passphrase, raw, split};
use rusqlite::{Connection, OpenFlags};
use sealed_store::{Keyring, SealedBackend, SqliteKeyring};
use wacore::store::traits::{DeviceStore, SignalStore};

/// What the keyring document says of a slot and a thief needs, in pieces that are long enough to be found
/// nowhere by chance.
fn pieces(path: &Path, slot: u32) -> Vec<String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let document: Vec<u8> = Connection::open_with_flags(path, flags)
        .and_then(|file| {
            let query = "SELECT document FROM sealed_store_keyring WHERE name = 'keyring'";
            file.query_row(query, [], |row| row.get(0))
        })
        .unwrap();
    let text = String::from_utf8(document).unwrap();
    let body: serde_json::Value = serde_json::from_str(split(&text).1).unwrap();
    let slots = body["slots"].as_array().unwrap();
    let slot = slots.iter().find(|entry| entry["slot"] == slot).unwrap();
    let salt = &slot["recipe"]["material"]["salt"];
    let pieces: Vec<String> = [&slot["wrapped_root"], &slot["commitment"], salt]
        .iter()
        .filter_map(|field| field.as_str())
        .flat_map(|hex| hex.as_bytes().chunks_exact(16))
        .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
        .collect();
    assert!(pieces.len() >= 13, "{pieces:?}");
    pieces
}

/// How many of the pieces are in the database file or in what lies beside it.
fn found(path: &Path, pieces: &[String]) -> usize {
    let mut bytes = Vec::new();
    for suffix in ["", "-wal", "-journal"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        bytes.extend(bytes_of(file.as_ref()));
    }
    let shows = |piece: &&String| {
        let piece = piece.as_bytes();
        bytes.windows(piece.len()).any(|window| window == piece)
    };
    pieces.iter().filter(shows).count()
}

/// Removes a slot and changes a passphrase, and looks for what they were.
async fn erases(keyring: &Keyring, path: &Path) {
    let slot = keyring.add_slot("lost", &raw(2)).await.unwrap();
    let lost = pieces(path, slot);
    assert_eq!(found(path, &lost), lost.len(), "the search finds a slot");
    keyring.remove_slot(slot).await.unwrap();
    assert_eq!(found(path, &lost), 0, "a removed slot is still there");

    let [old, new] = ["old", "new"].map(passphrase);
    let slot = keyring.add_slot("daily", &old).await.unwrap();
    let known = pieces(path, slot);
    assert_eq!(found(path, &known), known.len(), "the search finds a slot");
    let slot = keyring.change_passphrase(slot, &old, &new).await.unwrap();
    assert_eq!(found(path, &known), 0, "an old passphrase is still there");
    let kept = pieces(path, slot);
    assert_eq!(found(path, &kept), kept.len(), "the search still finds");
}

#[tokio::test]
async fn what_a_slot_was_is_gone_from_a_keyrings_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyring.db");
    let keyring = Keyring::create(SqliteKeyring::at(&path), &raw(1)).await;
    erases(&keyring.unwrap(), &path).await;
}

/// Upstream's store keeps its connections open, with a write-ahead log.
#[tokio::test]
async fn what_a_slot_was_is_gone_from_a_data_file_in_use_and_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    let inner = common::sqlite(&path).await;
    let keyring = Keyring::create(SqliteKeyring::at(&path), &raw(1)).await;
    let keyring = keyring.unwrap();
    let account = keyring.create_account("1").await.unwrap();
    let store = SealedBackend::open(Arc::clone(&inner), account).await;
    let store = store.unwrap();
    store.create().await.unwrap();
    store.put_session("55@c.us.0", b"ratchet").await.unwrap();
    let mut log = path.clone().into_os_string();
    log.push("-wal");
    assert!(Path::new(&log).exists(), "there is a log");
    erases(&keyring, &path).await;
}
