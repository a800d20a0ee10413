//! A raw key comes from a file or the environment, and opens everything at once. A file that others
//! can read, or a key that is silently something else than was meant, must be refused before it is
//! used: a keyring made under it would be worth nothing, or could never be opened again.
#![cfg(unix)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sealed_store::{ProviderError, ProviderErrorKind, RawKey};
use support::{Shelf, raw};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, content: &[u8], mode: u32) -> PathBuf {
        let path = self.0.path().join("key");
        let _ = fs::remove_file(&path);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

fn kind(result: Result<RawKey, ProviderError>) -> ProviderErrorKind {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.kind(),
    }
}

/// Whether the key in `path` is `[7; 32]`.
async fn is_seven(path: impl AsRef<Path>) {
    let shelf = Shelf::backend();
    drop(shelf.create(&raw(7)).await.unwrap());
    shelf
        .open(&RawKey::from_file(path).unwrap())
        .await
        .expect("another key was read");
}

#[tokio::test]
async fn thirty_two_bytes_or_their_digits_are_a_key() {
    let folder = Folder::new();
    let digits = "07".repeat(32);
    is_seven(folder.file(&[7; 32], 0o600)).await;
    is_seven(folder.file(digits.as_bytes(), 0o600)).await;
    is_seven(folder.file(format!("{digits}\n").as_bytes(), 0o600)).await;
    is_seven(folder.file(format!("{digits}\r\n").as_bytes(), 0o600)).await;
    is_seven(folder.file(&[7; 32], 0o400)).await;

    let upper = folder.file("AB".repeat(32).as_bytes(), 0o600);
    let shelf = Shelf::backend();
    drop(shelf.create(&raw(0xab)).await.unwrap());
    shelf
        .open(&RawKey::from_file(upper).unwrap())
        .await
        .unwrap();
}

#[test]
fn any_other_content_is_refused() {
    let folder = Folder::new();
    let digits = "07".repeat(32);
    for content in [
        b"".to_vec(),
        vec![7],
        vec![7; 31],
        vec![7; 33],
        vec![7; 63],
        vec![7; 64],
        vec![7; 65],
        vec![7; 1_000_000],
        [[7; 32].as_slice(), b"\n"].concat(),
        digits.as_bytes()[..63].to_vec(),
        format!("{digits}0").into_bytes(),
        format!("{digits}\n\n").into_bytes(),
        format!("{digits}\r").into_bytes(),
        format!(" {digits}").into_bytes(),
        format!("0x{}", &digits[2..]).into_bytes(),
        format!("{digits}\n{digits}\n").into_bytes(),
        "zz".repeat(32).into_bytes(),
    ] {
        let path = folder.file(&content, 0o600);
        assert_eq!(
            kind(RawKey::from_file(path)),
            ProviderErrorKind::BadRequest,
            "{} bytes",
            content.len()
        );
    }
}

/// Holds for root too: the mode is looked at, not tried.
#[test]
fn a_file_that_others_can_use_is_refused() {
    let folder = Folder::new();
    for mode in [
        0o644, 0o640, 0o604, 0o660, 0o620, 0o602, 0o610, 0o601, 0o777,
    ] {
        assert_eq!(
            kind(RawKey::from_file(folder.file(&[7; 32], mode))),
            ProviderErrorKind::BadRequest,
            "mode {mode:o}"
        );
    }
    assert!(RawKey::from_file(folder.file(&[7; 32], 0o600)).is_ok());
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = Folder::new();
    assert_eq!(
        kind(RawKey::from_file(folder.0.path())),
        ProviderErrorKind::BadRequest
    );
    assert_eq!(
        kind(RawKey::from_file(folder.0.path().join("missing"))),
        ProviderErrorKind::Unavailable
    );
    assert_eq!(
        kind(RawKey::from_file("/dev/zero")),
        ProviderErrorKind::BadRequest
    );
}

/// Opening a pipe waits for its writer: a path that became one must not hang the host.
#[test]
fn a_pipe_is_refused_without_waiting_for_it() {
    let folder = Folder::new();
    let pipe = folder.0.path().join("pipe");
    let made = Command::new("mkfifo")
        .args(["-m", "600"])
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(kind(RawKey::from_file(pipe))));
    assert_eq!(
        receiver.recv_timeout(Duration::from_secs(20)),
        Ok(ProviderErrorKind::BadRequest),
        "it waited"
    );
}

const VARIABLE: &str = "SEALED_STORE_TEST_KEY";
const EXPECTED: &str = "SEALED_STORE_TEST_EXPECTED";

/// Only as a child of the test below, with a variable set. (A process can't set its own safely.)
#[tokio::test]
async fn child_reads_its_environment() {
    let Ok(expected) = std::env::var(EXPECTED) else {
        return;
    };
    let read = RawKey::from_env(VARIABLE);
    match expected.as_str() {
        "seven" => {
            let shelf = Shelf::backend();
            drop(shelf.create(&raw(7)).await.unwrap());
            shelf.open(&read.unwrap()).await.unwrap();
        }
        "misconfigured" => assert_eq!(kind(read), ProviderErrorKind::BadRequest),
        other => panic!("{other}"),
    }
}

#[test]
fn an_environment_variable_holds_digits_only() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let digits = "07".repeat(32);
    for (value, expected) in [
        (Some(digits.clone().into()), "seven"),
        (Some(format!("{digits}\n").into()), "seven"),
        (None, "misconfigured"),
        (Some(OsString::new()), "misconfigured"),
        (Some(digits[..62].into()), "misconfigured"),
        // 32 characters are no key here: a word of that length would be taken for one.
        (Some("a".repeat(32).into()), "misconfigured"),
        (Some(OsString::from_vec(vec![0xff; 64])), "misconfigured"),
    ] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "child_reads_its_environment", "--nocapture"])
            .env(EXPECTED, expected)
            .env_remove(VARIABLE);
        if let Some(value) = &value {
            child.env(VARIABLE, value);
        }
        let output = child.output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && stdout.contains("1 passed"),
            "{value:?}, {expected}: {stdout}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
