//! After `encrypt` no file of the folder holds a byte of what was in the clear: a canary is planted in every column of every
//! table, and every file is searched, also the old file's blocks, which another process has open. After `decrypt` no key and
//! nothing sealed is left. Nothing in the clear is in a file beside the store while the work goes on either.

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/plain.rs"]
mod plain;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::Connection;
use sealed_store::Table;
use sealed_store::lifecycle::{DecryptOptions, EncryptOptions, decrypt, encrypt, on_step};
use sealed_store::store::sqlite::SqliteStore;
use wacore::store::traits::Backend;

/// What is in the clear and told by no sealed store: every one is in some column of the store.
fn needles() -> Vec<(String, Vec<u8>)> {
    let mut needles = Vec::new();
    for table in common::samples::TABLES {
        for row in 0..2 {
            let sample = common::samples::Sample {
                table,
                row,
                owner: 1,
            };
            if !matches!(
                table,
                Table::SenderKeyDevice | Table::Device | Table::LidMapping | Table::DeviceList
            ) {
                needles.push((format!("value of {table} {row}"), sample.bytes(24)));
            }
            needles.push(("user".to_owned(), sample.user().into_bytes()));
            needles.push(("group".to_owned(), sample.group().into_bytes()));
            needles.push(("message id".to_owned(), sample.id().into_bytes()));
            needles.push(("lid".to_owned(), sample.lid().into_bytes()));
            needles.push(("device".to_owned(), sample.device_jid().into_bytes()));
            needles.push(("source".to_owned(), format!("source {row} 1").into_bytes()));
            needles.push(("index MAC".to_owned(), sample.index_mac().to_vec()));
        }
    }
    needles.push(("push name".to_owned(), b"device of 1".to_vec()));
    needles.push(("name".to_owned(), "before\0after".as_bytes().to_vec()));
    needles.push((
        "name".to_owned(),
        "emoji \u{1f600} emoji".as_bytes().to_vec(),
    ));
    needles
}

fn found(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// All files below a folder.
fn all(folder: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all(&path, into);
        } else {
            into.push((path.clone(), std::fs::read(path).unwrap()));
        }
    }
}

/// The keys of the device of account 1 as the columns hold them.
fn device_keys(path: &Path) -> Vec<Vec<u8>> {
    let file = Connection::open(path).unwrap();
    let columns = [
        "noise_key",
        "identity_key",
        "signed_pre_key",
        "signed_pre_key_signature",
        "adv_secret_key",
    ];
    columns
        .iter()
        .map(|column| {
            file.query_row(
                &format!("SELECT {column} FROM device WHERE id = 1"),
                [],
                |row| row.get(0),
            )
            .unwrap()
        })
        .collect()
}

async fn fill(path: &Path, upstream: bool) {
    let inner: std::sync::Arc<dyn Backend> = match upstream {
        true => common::sqlite(path).await,
        false => std::sync::Arc::new(SqliteStore::open(path).await.unwrap()),
    };
    plain::fill(&*inner, 1, 2).await;
    drop(inner);
    plain::closed(path).await;
}

/// What was seen at the steps of the work: files that are not the store or the one that takes its place.
static SEEN: Mutex<Vec<(String, PathBuf, Vec<u8>)>> = Mutex::new(Vec::new());
static WATCHED: Mutex<Option<PathBuf>> = Mutex::new(None);

fn watch() {
    on_step(|step| {
        let watched = WATCHED.lock().unwrap().clone();
        let Some(folder) = watched else { return };
        let mut files = Vec::new();
        all_but_open(&folder, &mut files);
        let mut seen = SEEN.lock().unwrap();
        for (path, bytes) in files {
            seen.push((step.to_owned(), path, bytes));
        }
    });
}

/// As [`all`], without the database files: SQLite holds them here, and reading them would take its locks away.
fn all_but_open(folder: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            all_but_open(&path, into);
        } else if !matches!(name.as_str(), "w.db" | "new" | "old") {
            // It may be gone by now.
            if let Ok(bytes) = std::fs::read(&path) {
                into.push((path, bytes));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_holds_anything_of_it() {
    watch();
    for upstream in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.db");
        fill(&path, upstream).await;
        let before = std::fs::read(&path).unwrap();
        let mut needles = needles();
        for (what, needle) in &needles {
            assert!(found(&before, needle), "{what} is not planted: {upstream}");
        }
        if upstream {
            needles.extend(
                device_keys(&path)
                    .into_iter()
                    .map(|key| ("device key".to_owned(), key)),
            );
        }
        // Its blocks, whatever name they have.
        let mut old = File::open(&path).unwrap();

        *WATCHED.lock().unwrap() = Some(folder.path().to_owned());
        encrypt(&path, &common::raw_key(), EncryptOptions::new(), &())
            .await
            .unwrap();
        *WATCHED.lock().unwrap() = None;

        let mut files = Vec::new();
        all(folder.path(), &mut files);
        assert_eq!(files.len(), 1);
        let mut blocks = Vec::new();
        old.seek(SeekFrom::Start(0)).unwrap();
        old.read_to_end(&mut blocks).unwrap();
        assert_eq!(blocks.len(), before.len(), "it was cut short");
        files.push((PathBuf::from("the old file"), blocks));
        for (what, needle) in &needles {
            for (file, bytes) in &files {
                assert!(!found(bytes, needle), "{what} is in {}", file.display());
            }
            for (step, file, bytes) in SEEN.lock().unwrap().iter() {
                assert!(
                    !found(bytes, needle),
                    "{what} is in {} at {step}",
                    file.display()
                );
            }
        }
        assert!(
            files
                .iter()
                .any(|(_, bytes)| bytes.iter().all(|byte| *byte == 0))
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }

        // And back: nothing of the keyring, and the sealed file is gone.
        let sealed = std::fs::read(&path).unwrap();
        let document = b"sealed-store document 1";
        assert!(found(&sealed, document));
        let mut old = File::open(&path).unwrap();
        *WATCHED.lock().unwrap() = Some(folder.path().to_owned());
        decrypt(&path, &common::raw_key(), DecryptOptions::new(), &())
            .await
            .unwrap();
        *WATCHED.lock().unwrap() = None;
        let mut files = Vec::new();
        all(folder.path(), &mut files);
        assert_eq!(files.len(), 1);
        assert!(!found(&files[0].1, document) && !found(&files[0].1, b"sealed-store.canary"));
        let mut blocks = Vec::new();
        old.read_to_end(&mut blocks).unwrap();
        assert!(blocks.len() == sealed.len() && blocks.iter().all(|byte| *byte == 0));
        for (what, needle) in &needles {
            for (step, file, bytes) in SEEN.lock().unwrap().iter() {
                assert!(
                    !found(bytes, needle),
                    "{what} is in {} at {step}",
                    file.display()
                );
            }
        }
    }
}

/// Who had the old file open sees no empty database, but none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_it_open_finds_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    fill(&path, true).await;
    // Without a log an idle connection is not in the way.
    let late = Connection::open(&path).unwrap();
    late.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
        .unwrap();
    let _: i64 = late
        .query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))
        .unwrap();
    encrypt(&path, &common::raw_key(), EncryptOptions::new(), &())
        .await
        .unwrap();
    let error = late
        .query_row("SELECT count(*) FROM prekeys", [], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap_err();
    assert_eq!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::NotADatabase),
        "{error}"
    );
}
