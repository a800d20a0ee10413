//! Stores that were called encrypted have left a field in the clear for years, and some encrypted
//! nothing at all. So every argument of every method gets a canary, and afterwards every file is
//! searched for every form of every canary. What may show is what `exposure` lists as clear, and
//! that table is held against the file too. A plain store is the control: there the search finds them.

mod common;

#[path = "leaks/canaries.rs"]
mod canaries;
#[path = "leaks/cases.rs"]
mod cases;
#[path = "leaks/columns.rs"]
mod columns;
#[path = "leaks/protocol.rs"]
mod protocol;
#[path = "leaks/texts.rs"]
mod texts;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use canaries::{Canary, Planter, Search};
use columns::{blank_clear_columns, describe, fits};
use common::raw_key;
use rusqlite::Connection;
use rusqlite::types::Value;
use sealed_store::exposure::{EXPOSURE, Shows};
use sealed_store::store::sqlite::SqliteStore as OurStore;
use sealed_store::testing::contract::METHODS;
use sealed_store::{
    JsonLinesSink, KdfCost, Keyring, KeyringOptions, Passphrase, RawKey, SealError, SealedBackend,
    SqliteKeyring,
};
use secrecy::SecretBox;
use texts::Collected;
use wacore::store::traits::{Backend, DeviceStore};
use whatsapp_rust_sqlite_storage::SqliteStore;

const SEED: u64 = 0x5EA1_ED01;

/// The names of all methods, read from the five files that implement the five traits. The lint
/// `missing_trait_methods` keeps those files complete, so no method can be forgotten here.
fn methods() -> Vec<String> {
    let mut names = Vec::new();
    for file in ["signal", "app_sync", "protocol", "msg_secret", "device"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/sealed/{file}.rs"));
        let source = fs::read_to_string(path).expect("a file of methods");
        let (_, block) = source
            .split_once("Store for SealedBackend<B> {\n")
            .expect("the trait's block");
        let (block, _) = block.split_once("\n}\n").expect("its end");
        names.extend(block.lines().filter_map(|line| {
            let (name, _) = line.strip_prefix("    async fn ")?.split_once('(')?;
            Some(name.to_owned())
        }));
    }
    // What deletes comes first, so that the rows of the others are there at the end.
    names.sort_by_key(|name| {
        let deletes = ["delete", "clear", "remove"]
            .iter()
            .any(|verb| name.starts_with(verb));
        !deletes
    });
    names
}

/// Calls every method once, and says what was planted.
async fn fill(store: &dyn Backend) -> Vec<Canary> {
    let mut planter = Planter::new(SEED, true);
    for method in methods() {
        if let Err(error) = cases::call(store, &method, &mut planter).await {
            panic!("{method} failed: {error:?}");
        }
    }
    planter.canaries
}

/// A sealed store with its keyring in the same file, filled with canaries.
struct Sealed {
    folder: tempfile::TempDir,
    store: SealedBackend<SqliteStore>,
    canaries: Vec<Canary>,
    audit: Collected,
}

const FILE: &str = "store.db";

async fn sealed() -> Sealed {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let mut planter = Planter::new(SEED + 1, true);
    planter.method("keyring");
    let passphrase = planter.text("passphrase");
    let raw_key = planter.array("raw key");
    let label = planter.text("label");
    planter.clear("keyring", "slots.label");
    let name = planter.text("account");
    planter.clear("accounts", "names");

    let audit = Collected::default();
    let keyring = KeyringOptions::new()
        .label(label)
        .audit(Arc::new(JsonLinesSink::new(audit.clone())))
        .create(
            SqliteKeyring::at(&path),
            &Passphrase::new(passphrase).cost(KdfCost::FLOOR),
        )
        .await
        .unwrap();
    let raw_key = RawKey::new(SecretBox::new(Box::new(raw_key)));
    keyring.add_slot("second", &raw_key).await.unwrap();
    let account = keyring.create_account(&name).await.unwrap();
    let inner = common::sqlite(&path).await;
    let store = SealedBackend::open(inner, account).await.unwrap();
    store.create().await.unwrap();
    let mut canaries = planter.canaries;
    canaries.extend(fill(&store).await);
    Sealed {
        folder,
        store,
        canaries,
        audit,
    }
}

/// A copy of a folder, made by another process: closing a database file in this one would drop the
/// locks that SQLite holds on it.
fn copy(folder: &Path) -> tempfile::TempDir {
    let target = tempfile::tempdir().unwrap();
    let status = Command::new("cp")
        .arg("-r")
        .arg(folder.join("."))
        .arg(target.path())
        .status()
        .expect("cp runs");
    assert!(status.success());
    target
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// What shows in the files of a folder, their names included.
fn shown(folder: &Path, search: &Search) -> BTreeSet<(usize, &'static str)> {
    let mut found = BTreeSet::new();
    for path in files(folder) {
        found.extend(search.find(&fs::read(&path).unwrap()));
        found.extend(search.find(path.file_name().unwrap().as_encoded_bytes()));
    }
    found
}

#[test]
fn every_method_is_known() {
    let mut found = methods();
    let mut known: Vec<_> = METHODS.iter().map(ToString::to_string).collect();
    found.sort();
    known.sort();
    assert_eq!(found, known);
    assert_eq!(found.len(), 82);
}

#[tokio::test]
async fn the_search_finds_what_a_plain_store_shows() {
    let folder = tempfile::tempdir().unwrap();
    let store = common::sqlite(&folder.path().join(FILE)).await;
    store.create().await.unwrap();
    let canaries = fill(&*store).await;
    let copy = copy(folder.path());
    let found: BTreeSet<usize> = shown(copy.path(), &Search::new(&canaries))
        .into_iter()
        .map(|(canary, _)| canary)
        .collect();
    let missed: Vec<&str> = canaries
        .iter()
        .enumerate()
        .filter(|(index, canary)| !canary.transient && !found.contains(index))
        .map(|(_, canary)| canary.what.as_str())
        .collect();
    println!(
        "seed {SEED:#x}: {} canaries, {} show",
        canaries.len(),
        found.len()
    );
    assert!(missed.is_empty(), "the search misses {missed:#?}");
}

/// Our own store keeps other columns than upstream's, and shows no more: what may show there may show here.
#[tokio::test]
async fn a_sealed_store_of_our_own_shows_no_more() {
    let mut unlisted = Vec::new();
    let mut last = Vec::new();
    for sealed in [false, true, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let canaries = if sealed {
            let store = sealed_store::open(&path, &raw_key()).await.unwrap();
            store.create().await.unwrap();
            fill(&store).await
        } else {
            let store = OurStore::open(&path).await.unwrap();
            store.create().await.unwrap();
            fill(&store).await
        };
        let copy = copy(folder.path());
        let found = shown(copy.path(), &Search::new(&canaries));
        println!(
            "sealed {sealed}: {} canaries, {} forms show",
            canaries.len(),
            found.len()
        );
        if sealed {
            let hidden = |(canary, _): &(usize, &str)| canaries[*canary].clear.is_none();
            unlisted.push(found.into_iter().filter(hidden).collect::<BTreeSet<_>>());
        } else {
            let found: BTreeSet<usize> = found.into_iter().map(|(canary, _)| canary).collect();
            let missed = canaries
                .iter()
                .enumerate()
                .filter(|(index, canary)| !canary.transient && !found.contains(index));
            assert_eq!(missed.count(), 0, "the search works here too");
        }
        last = canaries;
    }
    // By chance four bytes of a ciphertext look like an id, but not in both.
    let both = unlisted[0].intersection(&unlisted[1]).copied().collect();
    assert_eq!(describe(&last, &both), "", "in the clear");
}

#[tokio::test]
async fn a_sealed_store_shows_only_what_the_table_lists() {
    // Twice, with other keys and the same canaries: four bytes of a ciphertext can look like an id
    // by chance, but not in both.
    let first = unlisted(sealed().await);
    let second = sealed().await;
    let canaries = second.canaries.clone();
    let both = first.intersection(&unlisted(second)).copied().collect();
    assert_eq!(describe(&canaries, &both), "", "in the clear");
}

/// What shows in a sealed store's files though no column may show it.
fn unlisted(sealed: Sealed) -> BTreeSet<(usize, &'static str)> {
    let Sealed {
        folder,
        store,
        canaries,
        ..
    } = sealed;
    let copy = copy(folder.path());
    drop(store);
    let names: Vec<String> = files(copy.path())
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    for kind in [
        "store.db-wal",
        "store.db-shm",
        ".json",
        "store.db.snapshot-",
    ] {
        let searched = names.iter().any(|name| name.contains(kind));
        assert!(searched, "no {kind} among {names:?}");
    }
    let search = Search::new(&canaries);
    let found = shown(copy.path(), &search);
    let may = |(canary, _): &(usize, &str)| canaries[*canary].clear.is_some();
    let (clear, mut unlisted): (BTreeSet<_>, BTreeSet<_>) = found.into_iter().partition(may);
    println!(
        "seed {SEED:#x}: {} canaries, {} forms show",
        canaries.len(),
        clear.len()
    );
    assert!(!clear.is_empty(), "the search works here too");

    // What may show is where the table says and nowhere else: without those columns nothing is left.
    for file in files(copy.path()) {
        if file
            .file_name()
            .unwrap()
            .to_string_lossy()
            .contains("snapshot")
        {
            fs::remove_file(file).unwrap();
        }
    }
    blank_clear_columns(&copy.path().join(FILE), &canaries);
    unlisted.extend(shown(copy.path(), &search));
    unlisted
}

#[tokio::test]
async fn every_column_shows_what_the_table_says() {
    let Sealed { folder, store, .. } = sealed().await;
    let file = Connection::open(folder.path().join(FILE)).unwrap();
    let mut values = 0;
    let mut nonces = BTreeSet::new();
    let columns: BTreeSet<(&str, &str)> = EXPOSURE
        .iter()
        .map(|line| (line.table, line.column))
        .collect();
    for (table, column) in columns {
        let lines: Vec<Shows> = EXPOSURE
            .iter()
            .filter(|line| line.table == table && line.column == column)
            .map(|line| line.shows)
            .collect();
        let mut statement = file
            .prepare(&format!("SELECT {column} FROM {table}"))
            .unwrap();
        let found = statement
            .query_map([], |row| row.get::<_, Value>(0))
            .unwrap();
        for value in found.map(Result::unwrap) {
            values += 1;
            let fits = lines.iter().any(|shows| fits(*shows, table, &value));
            assert!(fits, "{table}.{column} holds {value:?}");
            // Header, nonce: the base keys and the message secrets have none.
            if let Value::Blob(bytes) = &value
                && let [0xA5, 0x53, 1, _, rest @ ..] = &bytes[..]
                && !matches!(table, "base_keys" | "msg_secrets")
            {
                assert!(nonces.insert(rest[4..28].to_vec()), "a nonce twice");
            }
        }
    }
    assert!(values > 200, "only {values} values were looked at");
    assert!(nonces.len() > 20, "only {} nonces", nonces.len());
    drop(store);
}

#[tokio::test]
async fn errors_and_events_name_nothing() {
    let collected = Collected::default();
    tracing::subscriber::set_global_default(collected.clone()).unwrap();
    let Sealed {
        folder,
        store,
        mut canaries,
        audit,
    } = sealed().await;
    let path = folder.path().join(FILE);
    let file = Connection::open(&path).unwrap();
    file.busy_timeout(std::time::Duration::from_secs(10))
        .unwrap();

    // The same canaries again. What reads comes first here, before the others write all anew.
    let mut reads_first = methods();
    reads_first.sort_by_key(|name| {
        let reads = ["get", "load", "take", "has"]
            .iter()
            .any(|verb| name.starts_with(verb));
        !reads
    });
    let mut kinds = BTreeSet::new();
    for damage in texts::DAMAGES {
        texts::damage(&file, damage);
        let mut planter = Planter::new(SEED, false);
        for method in &reads_first {
            if let Err(error) = cases::call(&store, method, &mut planter).await {
                collected.error(&error);
                kinds.extend(SealError::of(&error).map(ToString::to_string));
            }
        }
        // Whole rows for the next damage. (A second snapshot in one second is refused upstream.)
        let mut planter = Planter::new(SEED, true);
        for method in methods().iter().filter(|name| *name != "snapshot_db") {
            if let Err(error) = cases::call(&store, method, &mut planter).await {
                collected.error(&error);
            }
        }
    }
    assert!(
        kinds.len() > 30,
        "only {} errors were met: {kinds:#?}",
        kinds.len()
    );

    let mut planter = Planter::new(SEED + 2, false);
    planter.method("errors");
    let wrong = Passphrase::new(planter.text("wrong passphrase")).cost(KdfCost::FLOOR);
    let nowhere = folder.path().join(planter.text("path")).join("k.db");
    let name = planter.text("unknown account");
    let label = planter.text("label") + "\n";
    canaries.extend(planter.canaries);
    let keyring = Keyring::open(SqliteKeyring::at(&path), &raw_key()).await;
    let refused = [
        Keyring::open(SqliteKeyring::at(&path), &wrong).await.err(),
        keyring.err(),
        Keyring::create(SqliteKeyring::at(&nowhere), &wrong)
            .await
            .err(),
        Keyring::create(SqliteKeyring::at(&path), &wrong)
            .await
            .err(),
        KeyringOptions::new()
            .label(label)
            .create(SqliteKeyring::at(folder.path().join("other.db")), &wrong)
            .await
            .err(),
    ];
    for error in &refused {
        collected.error(error.as_ref().expect("refused"));
    }
    let other = folder.path().join("other.db");
    let keyring = common::file_keyring(&other).await;
    collected.error(&keyring.account(&name).await.expect_err("there is none"));

    let texts = [collected.text(), audit.text()].concat();
    for part in [
        "altered or moved",
        "row_refused",
        "sealed_store::audit",
        "wrong key",
    ] {
        let there = String::from_utf8_lossy(&texts).contains(part);
        assert!(there, "{part:?} is not among the texts that are searched");
    }
    let found = Search::new(&canaries).find(&texts);
    assert_eq!(describe(&canaries, &found), "", "in a text");
    println!(
        "seed {SEED:#x}: {} kinds of error, {} bytes of text",
        kinds.len(),
        texts.len()
    );
}
