//! Where the file, its folder or its disk can't be written, or not even be reached, a store does not open: it says what
//! to do, soon, and nothing on the disk has changed, by name, content, rights or time.
#![cfg(target_os = "linux")]

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/mounts.rs"]
mod mounts;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use child::{Child, command, job, say};
use sealed_store::store::sqlite::{SqliteFault, SqliteFaultKind, SqliteStore};
use sealed_store::{SealError, open};
use wacore::store::error::StoreError;
use wacore::store::traits::Backend;

/// Opens the store as what it is.
async fn opened(path: &Path, how: &str) -> Result<Arc<dyn Backend>, StoreError> {
    Ok(match how {
        "sealed" => Arc::new(open(path, &common::raw_key()).await?),
        _ => Arc::new(SqliteStore::open(path).await?),
    })
}

/// A file: its name, its bytes, its mode, and when it was changed.
type File = (String, Vec<u8>, u32, (i64, i64));

/// Everything about the files of a folder that a change would show in.
fn state(folder: &Path) -> Vec<File> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries
        .map(|entry| {
            let about = entry.metadata().unwrap();
            let name = entry.file_name().into_string().unwrap();
            let time = (about.mtime(), about.mtime_nsec());
            (name, fs::read(entry.path()).unwrap(), about.mode(), time)
        })
        .collect();
    files.sort();
    files
}

/// No test of its own: opens a store that must not open, and says why it did not.
#[test]
fn opener() {
    let Some(job) = job() else { return };
    say("ready");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let since = Instant::now();
    let opened = runtime.block_on(opened(Path::new(&job[0]), &job[1]));
    assert!(since.elapsed() < Duration::from_secs(5), "it waited");
    let Err(error) = opened else {
        return say("it was opened");
    };
    assert!(!error.is_database_busy_or_locked(), "{error:?}");
    let kind = SqliteFault::of(&error).map(SqliteFault::kind);
    let mut text = error.to_string();
    let mut layer = std::error::Error::source(&error);
    while let Some(source) = layer {
        text = format!("{text}: {source}");
        layer = source.source();
    }
    let typed = match (&error, kind) {
        (_, Some(SqliteFaultKind::ReadOnly | SqliteFaultKind::CannotOpen)) => true,
        // Rights that keep one from making the file are told as the system tells them.
        (StoreError::Io(_), _) => text.contains("Permission denied") || text.contains("Read-only"),
        _ => false,
    };
    assert!(typed && !text.contains(".db"), "{text}");
    assert!(!matches!(SealError::of(&error), Some(SealError::NoKeyring)));
    say(&format!("refused: {text}"));
}

/// A folder with a store in it that was closed, or whose process died and left its log.
async fn made(how: &str, with_log: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let store = opened(&path, how).await.unwrap();
    store.create().await.unwrap();
    store.put_session("55@c.us.0", b"ratchet").await.unwrap();
    if !with_log {
        drop(store);
        let log = folder.path().join("w.db-wal");
        common::support::eventually("closed", || !log.exists()).await;
        return folder;
    }
    let left = tempfile::tempdir().unwrap();
    for name in ["w.db", "w.db-wal"] {
        // By another program: closing a descriptor of it here would drop SQLite's own locks.
        let copied = Command::new("cp")
            .arg(folder.path().join(name))
            .arg(left.path())
            .status();
        assert!(copied.unwrap().success());
    }
    left
}

/// Opens `name` there, without the rights of root to pass by every mode; nothing may change.
fn refused(folder: &Path, name: &str, how: &str, what: &str) {
    let path = folder.join(name);
    let job = [path.to_str().unwrap(), how];
    let found = Command::new("setpriv").arg("--version").output();
    found.expect("no `setpriv` is found: install the package util-linux");
    let wrapper = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let wrapper: &[&str] = if mounts::is_root() { &wrapper } else { &[] };
    let said = Child::start(command(wrapper, "opener", &job)).finish();
    println!("{how}, {what}: {said:?}");
    assert!(said[1].starts_with("refused"), "{how}, {what}: {said:?}");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

async fn read_only(how: &str) {
    for with_log in [false, true] {
        let folder = made(how, with_log).await;
        let (folder, path) = (folder.path(), folder.path().join("w.db"));

        set_mode(&path, 0o400);
        let before = state(folder);
        refused(folder, "w.db", how, "a file for reading only");
        assert_eq!(state(folder), before);

        set_mode(&path, 0o600);
        set_mode(folder, 0o500);
        let before = state(folder);
        refused(folder, "w.db", how, "a folder for reading only");
        refused(folder, "new.db", how, "a new file in such a folder");
        assert_eq!(state(folder), before);

        set_mode(folder, 0o700);
        let before = state(folder);
        set_mode(folder, 0o000);
        refused(folder, "w.db", how, "a folder that can't be entered");
        refused(folder, "new.db", how, "a new file in such a folder");
        set_mode(folder, 0o700);
        assert_eq!(state(folder), before);

        // The whole disk. Its files can't change, so that they do not is no question.
        let disk = tempfile::tempdir().unwrap();
        let script = format!(
            "mount -t tmpfs none \"$0\" && cp -a '{}/.' \"$0\" && mount -o remount,ro \"$0\"",
            folder.display()
        );
        for name in ["w.db", "new.db"] {
            let at = disk.path().join(name);
            let job = [at.to_str().unwrap(), how];
            let child = mounts::with_script(disk.path(), &script, "opener", &job);
            let said = child.finish();
            println!("{how}, {name} on a disk for reading only: {said:?}");
            assert!(said[0].starts_with("refused"), "{how}, {name}: {said:?}");
        }

        // Nothing was wrong with it.
        let store = opened(&path, how).await.unwrap();
        let session = store.get_session("55@c.us.0").await.unwrap();
        assert_eq!(session.as_deref(), Some(&b"ratchet"[..]));
    }
}

#[tokio::test]
async fn a_plain_store_that_can_not_be_written_is_refused_and_stays_as_it_is() {
    read_only("plain").await;
}

#[tokio::test]
async fn a_sealed_store_that_can_not_be_written_is_refused_and_stays_as_it_is() {
    read_only("sealed").await;
}
