//! After `lock`, and after everything was dropped, a dump of the process gives no store away: its memory
//! holds no passphrase, no key and nothing that was computed from one. A child process does what an
//! application does and searches itself; this one knows what to search for, and tells it masked only, so
//! that the search can't find itself. While the keyring is open, the same search finds the keys.
//!
//! What the library hands out (messages, sessions, the device) is the caller's, and no needle.
#![cfg(target_os = "linux")]

mod common;

#[path = "memory/child.rs"]
mod child;
#[path = "memory/needles.rs"]
mod needles;
#[path = "memory/scan.rs"]
mod scan;
#[path = "memory/work.rs"]
mod work;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use child::{ASK, Given, NOTE};
use needles::{Needles, Secret};
use rusqlite::{Connection, OpenFlags};
use scan::MASK;
use sealed_store::Suite;
use sha2::{Digest, Sha256};

/// Set for a child process, which is this test binary again.
const CHILD: &str = "SEALED_STORE_MEMORY_CHILD";

/// How the keyring is opened, and on which kind of runtime.
#[derive(Clone, Copy, PartialEq, Debug)]
enum By {
    Passphrase,
    RawKey,
}

#[test]
fn a_passphrase_leaves_nothing_on_many_threads() {
    parent(By::Passphrase, 2, Suite::Xaes256Gcm);
}

#[test]
fn a_passphrase_leaves_nothing_on_one_thread() {
    parent(By::Passphrase, 0, Suite::Xaes256Gcm);
}

#[test]
fn a_raw_key_leaves_nothing_on_many_threads() {
    parent(By::RawKey, 2, Suite::Xaes256Gcm);
}

#[test]
fn a_raw_key_leaves_nothing_on_one_thread() {
    parent(By::RawKey, 0, Suite::Xaes256Gcm);
}

#[test]
fn the_suite_without_aes_leaves_nothing() {
    parent(By::RawKey, 2, Suite::XChaCha20Poly1305);
}

/// No test of its own: what the others start.
#[test]
fn child_process() {
    if std::env::var_os(CHILD).is_some() {
        child::run();
    }
}

/// Starts a child, and tells it what to search for whenever it asks.
fn parent(by: By, workers: usize, suite: Suite) {
    let start = Instant::now();
    let folder = tempfile::tempdir().expect("a folder");
    let secrets: Vec<Secret> = (0..3).map(|number| secret(by, number)).collect();
    for (number, secret) in secrets.iter().enumerate() {
        if let Secret::RawKey(key) = secret {
            let path = folder.path().join(format!("key-{number}"));
            let mut options = std::fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(path);
            let written = file.and_then(|mut file| file.write_all(hex::encode(key).as_bytes()));
            written.expect("the key file is written");
        }
    }
    let given = Given {
        folder: folder.path().to_owned(),
        workers,
        suite,
        passphrase: by == By::Passphrase,
        secrets: secrets.iter().map(masked).collect(),
    };
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args([
            "child_process",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child process");
    let mut to_child = child.stdin.take().expect("its input");
    let mut tell = |line: String| {
        // A child that failed has closed its input, and its exit code says so.
        let _ = to_child
            .write_all(line.as_bytes())
            .and_then(|()| to_child.write_all(b"\n"))
            .and_then(|()| to_child.flush());
    };
    tell(serde_json::to_string(&given).expect("JSON"));
    let mut needles = Needles::default();
    let mut notes = 0;
    for line in BufReader::new(child.stdout.take().expect("its output")).lines() {
        let line = line.expect("text");
        if line == ASK {
            needles.add_all(&documents(&folder.path().join("keyring.db")), &secrets);
            for (account, records) in sessions(&folder.path().join("data.db")) {
                needles.add_records(&account.to_string(), &records);
            }
            tell(serde_json::to_string(&needles.masked()).expect("JSON"));
        } else if let Some(note) = line.strip_prefix(NOTE) {
            notes += 1;
            println!("{by:?}, {workers} workers, {suite:?}: {note}");
        }
    }
    let status = child.wait().expect("it ends");
    assert!(status.success(), "the child failed: its output says why");
    assert_eq!(notes, child::NOTES, "the child did all of its work");
    println!(
        "{by:?}, {workers} workers, {suite:?}: {:?}",
        start.elapsed()
    );
}

/// Computed here: the child's program must not hold it.
fn secret(by: By, number: u8) -> Secret {
    let bytes: [u8; 32] = Sha256::digest([number]).into();
    match by {
        By::RawKey => Secret::RawKey(bytes),
        By::Passphrase => Secret::Passphrase(hex::encode(bytes).into_bytes()),
    }
}

fn masked(secret: &Secret) -> Vec<u8> {
    let bytes: &[u8] = match secret {
        Secret::Passphrase(bytes) => bytes,
        Secret::RawKey(key) => key,
    };
    bytes.iter().map(|byte| byte ^ MASK).collect()
}

/// The keyring's documents as they are stored now.
fn documents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = open(path);
    let mut query = file
        .prepare("SELECT name, document FROM sealed_store_keyring")
        .expect("the keyring's table");
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.expect("rows").map(|row| row.expect("a row")).collect()
}

/// The records in the sessions of each device; account N is device N.
fn sessions(path: &Path) -> BTreeMap<i32, Vec<Vec<u8>>> {
    let file = open(path);
    let mut query = file
        .prepare("SELECT device_id, record FROM sessions")
        .expect("upstream's table");
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let mut sessions = BTreeMap::<_, Vec<_>>::new();
    for row in rows.expect("rows") {
        let (device, record) = row.expect("a row");
        sessions.entry(device).or_default().push(record);
    }
    sessions
}

fn open(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let file = Connection::open_with_flags(path, flags).expect("a file");
    file.busy_timeout(std::time::Duration::from_secs(10))
        .expect("a setting");
    file
}
