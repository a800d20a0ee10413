//! What can't be encrypted or decrypted is refused with an error that says what to do, and nothing on the disk is other than
//! before: in use here or in another process, idle or not; sealed or not already; of another version; something else.

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/plain.rs"]
mod plain;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use child::{Child, hear, job, say};
use rusqlite::Connection;
use sealed_store::lifecycle::{
    CheckOptions, DecryptOptions, EncryptOptions, LifecycleError, LifecycleErrorKind, Phase,
    Progress, SchemaAge, check, decrypt, encrypt, info,
};
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{KeyringOptions, SealError, SealOptions};
use wacore::store::traits::{DeviceStore, SignalStore};

/// The files of a folder, whole, with their modes.
fn files(folder: &Path) -> BTreeMap<String, (Vec<u8>, u32)> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let about = entry.metadata().unwrap();
        let name = entry.file_name().into_string().unwrap();
        // SQLite's index of the log is shared memory.
        if name.ends_with("-shm") {
            continue;
        }
        #[cfg(unix)]
        let mode = std::os::unix::fs::PermissionsExt::mode(&about.permissions());
        #[cfg(not(unix))]
        let mode = 0;
        let bytes = if about.is_dir() {
            Vec::new()
        } else {
            std::fs::read(entry.path()).unwrap()
        };
        files.insert(name, (bytes, mode));
    }
    files
}

async fn try_encrypt(path: &Path) -> Result<(), LifecycleError> {
    encrypt(path, &common::raw_key(), EncryptOptions::new(), &())
        .await
        .map(drop)
}

async fn try_decrypt(path: &Path) -> Result<(), LifecycleError> {
    decrypt(path, &common::raw_key(), DecryptOptions::new(), &())
        .await
        .map(drop)
}

/// Refused, of this kind, with advice, and nothing changed.
async fn is_refused(path: &Path, kind: LifecycleErrorKind, what: &str) {
    let folder = path.parent().unwrap();
    let before = files(folder);
    let error = match what {
        "decrypt" => try_decrypt(path).await,
        _ => try_encrypt(path).await,
    };
    let error = error.expect_err("it was accepted");
    assert_eq!(error.kind(), kind, "{error:?}");
    let text = error.to_string();
    assert!(text.contains(';') || text.contains("check"), "{text}");
    assert!(
        !text.contains("whatsapp.db") && !text.contains('/'),
        "{text}"
    );
    assert!(files(folder) == before, "{error:?}: something changed");
}

/// No test of its own: has a store open, and does nothing.
#[test]
fn idle_elsewhere() {
    let Some(job) = job() else { return };
    let path = Path::new(&job[1]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let _upstream;
        let (_ours, _sealed);
        match job[0].as_str() {
            "upstream" => _upstream = common::sqlite(path).await,
            "ours" => {
                _ours = SqliteStore::open(path).await.unwrap();
                _ours.exists().await.unwrap();
            }
            _ => _sealed = sealed_store::open(path, &common::raw_key()).await.unwrap(),
        }
        say("open");
        hear();
    });
    // Killed, or ended: no destructor runs.
    std::process::exit(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_open_elsewhere_and_idle() {
    let folder = tempfile::tempdir().unwrap();
    for (how, verb) in [
        ("upstream", "encrypt"),
        ("ours", "encrypt"),
        ("sealed", "decrypt"),
    ] {
        let path = folder.path().join(format!("{how}.db"));
        match how {
            "upstream" => plain::upstream(&path, 1).await,
            _ => plain::ours(&path, 1).await,
        }
        if how == "sealed" {
            try_encrypt(&path).await.unwrap();
        }
        let mut other = Child::run("idle_elsewhere", &[how, path.to_str().unwrap()]);
        assert_eq!(other.next().as_deref(), Some("open"));
        is_refused(&path, LifecycleErrorKind::InUse, verb).await;
        other.tell("go");
        other.finish();
        // And then it works: its log is there, and nobody has it open.
        match verb {
            "encrypt" => try_encrypt(&path).await.unwrap(),
            _ => try_decrypt(&path).await.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_open_here() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    plain::upstream(&path, 1).await;
    {
        let store = common::sqlite(&path).await;
        is_refused(&path, LifecycleErrorKind::InUse, "encrypt").await;
        // And its own locks are still held: nobody else gets in between its statements.
        store.put_session("a@b", b"still works").await.unwrap();
        is_refused(&path, LifecycleErrorKind::InUse, "encrypt").await;
    }
    plain::closed(&path).await;
    try_encrypt(&path).await.unwrap();
    let keyring =
        sealed_store::Keyring::open(sealed_store::SqliteKeyring::at(&path), &common::raw_key())
            .await
            .unwrap();
    let error = try_decrypt(&path).await.unwrap_err();
    assert_eq!(
        error.kind(),
        LifecycleErrorKind::InUse,
        "the keyring is open"
    );
    drop(keyring);
    try_decrypt(&path).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_so_already() {
    let folder = tempfile::tempdir().unwrap();
    for upstream in [true, false] {
        let path = folder.path().join(format!("{upstream}.db"));
        match upstream {
            true => plain::upstream(&path, 1).await,
            false => plain::ours(&path, 1).await,
        }
        is_refused(&path, LifecycleErrorKind::WrongState, "decrypt").await;
        try_encrypt(&path).await.unwrap();
        is_refused(&path, LifecycleErrorKind::WrongState, "encrypt").await;
        // Also where the keyring was taken away: what is there is sealed.
        Connection::open(&path)
            .unwrap()
            .execute_batch("DELETE FROM sealed_store_keyring")
            .unwrap();
        is_refused(&path, LifecycleErrorKind::WrongState, "encrypt").await;
        is_refused(&path, LifecycleErrorKind::Other, "decrypt").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_or_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.db");
    plain::upstream(&whole, 1).await;
    let ours = folder.path().join("ours.db");
    plain::ours(&ours, 1).await;
    for (from, sql, kind) in [
        (
            &whole,
            "DELETE FROM __diesel_schema_migrations WHERE version = '20260703000001'",
            LifecycleErrorKind::UnsupportedVersion,
        ),
        (
            &whole,
            "DELETE FROM __diesel_schema_migrations WHERE version LIKE '202602%'",
            LifecycleErrorKind::UnsupportedVersion,
        ),
        (
            &whole,
            "INSERT INTO __diesel_schema_migrations (version) VALUES ('20270101000000')",
            LifecycleErrorKind::UnsupportedVersion,
        ),
        (
            &whole,
            "ALTER TABLE sessions ADD COLUMN more TEXT",
            LifecycleErrorKind::UnsupportedVersion,
        ),
        (
            &whole,
            "DROP TABLE tc_tokens",
            LifecycleErrorKind::UnsupportedVersion,
        ),
        (
            &whole,
            "CREATE TABLE notes (text TEXT)",
            LifecycleErrorKind::Other,
        ),
        (
            &whole,
            "DROP TABLE __diesel_schema_migrations",
            LifecycleErrorKind::NoStore,
        ),
        (
            &whole,
            "UPDATE device SET noise_key = x'00' WHERE id = 1",
            LifecycleErrorKind::Corrupt,
        ),
        (
            &whole,
            "UPDATE device_registry SET devices_json = '[' WHERE rowid = 1",
            LifecycleErrorKind::Corrupt,
        ),
        (
            &ours,
            "UPDATE sealed_store_schema SET version = 99",
            LifecycleErrorKind::UnsupportedVersion,
        ),
    ] {
        let path = folder.path().join("whatsapp.db");
        std::fs::copy(from, &path).unwrap();
        let file = Connection::open(&path).unwrap();
        // So that taking the store changes nothing in it.
        file.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
            .unwrap();
        file.execute_batch(sql).unwrap();
        drop(file);
        is_refused(&path, kind, sql).await;
        if kind == LifecycleErrorKind::UnsupportedVersion {
            let age = info(&path, None).unwrap().schema_age;
            assert_ne!(age, SchemaAge::Known, "{sql}");
            let older = sql.starts_with("DELETE FROM __diesel");
            assert_eq!(age == SchemaAge::Older, older, "{sql}");
        }
        std::fs::remove_file(&path).unwrap();
    }
    let path = folder.path().join("text.db");
    std::fs::write(
        &path,
        "no database, but a text that is long enough".repeat(100),
    )
    .unwrap();
    is_refused(&path, LifecycleErrorKind::NoStore, "encrypt").await;
    std::fs::write(&path, "").unwrap();
    is_refused(&path, LifecycleErrorKind::NoStore, "encrypt").await;
    is_refused(
        &folder.path().join("missing.db"),
        LifecycleErrorKind::NoStore,
        "encrypt",
    )
    .await;
    is_refused(
        &folder.path().join("missing.db"),
        LifecycleErrorKind::NoStore,
        "decrypt",
    )
    .await;
    let inner = folder.path().join("folder.db");
    std::fs::create_dir(&inner).unwrap();
    is_refused(&inner, LifecycleErrorKind::NoStore, "encrypt").await;
    let none = check(
        inner.join("x"),
        &common::raw_key(),
        CheckOptions::new(),
        &(),
    )
    .await;
    assert!(matches!(none, Err(LifecycleError::NoStore)));
}

/// Rows that upstream itself takes for absent do not keep the rest from being sealed; they are counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_nobody_reads_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    plain::upstream(&path, 2).await;
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "UPDATE app_state_keys SET key_data = x'ff' WHERE rowid = 1;
             UPDATE app_state_versions SET state_data = x'0102' WHERE rowid < 3;
             UPDATE device SET server_cert_chain = x'ffff' WHERE id = 2",
        )
        .unwrap();
    let done = encrypt(&path, &common::raw_key(), EncryptOptions::new(), &())
        .await
        .unwrap();
    assert_eq!(done.left_out, 3);
    assert_eq!(done.device_columns, ["server_cert_chain"]);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_names_and_strangers_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    plain::upstream(&path, 1).await;
    Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
        .unwrap();
    // A second name would be overwritten too.
    let second = folder.path().join("backup.db");
    std::fs::hard_link(&path, &second).unwrap();
    is_refused(&path, LifecycleErrorKind::Other, "encrypt").await;
    std::fs::remove_file(&second).unwrap();

    // What is in the way and not ours.
    let work = folder.path().join("whatsapp.db.sealed-store-work");
    std::fs::write(&work, "mine").unwrap();
    is_refused(&path, LifecycleErrorKind::Other, "encrypt").await;
    std::fs::remove_file(&work).unwrap();
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("thesis"), "mine").unwrap();
    is_refused(&path, LifecycleErrorKind::Other, "encrypt").await;
    std::fs::write(work.join("state"), "mine").unwrap();
    is_refused(&path, LifecycleErrorKind::Other, "encrypt").await;
    assert_eq!(std::fs::read(work.join("thesis")).unwrap(), b"mine");
    std::fs::remove_dir_all(&work).unwrap();

    // What is to be kept has a place of its own.
    let kept = folder.path().join("kept.db");
    std::fs::write(&kept, "mine").unwrap();
    let options = || EncryptOptions::new().keep_plaintext(Some(kept.clone()));
    let refused = encrypt(&path, &common::raw_key(), options(), &()).await;
    assert!(
        matches!(refused, Err(LifecycleError::Invalid { .. })),
        "{refused:?}"
    );
    assert_eq!(std::fs::read(&kept).unwrap(), b"mine");
    std::fs::remove_file(&kept).unwrap();
    let before = std::fs::read(&path).unwrap();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let done = encrypt(&link, &common::raw_key(), options(), &())
        .await
        .unwrap();
    assert!(done.kept);
    assert_eq!(std::fs::read(&kept).unwrap(), before);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    let report = check(&path, &common::raw_key(), CheckOptions::new(), &())
        .await
        .unwrap();
    assert!(report.is_sound());
}

/// The folder of a running task is not cleared by another, and the store is not worked on twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    plain::upstream(&path, 2).await;
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(try_encrypt(&path))
            })
        })
        .collect();
    let results: Vec<_> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
    assert_eq!(
        results.iter().filter(|result| result.is_ok()).count(),
        1,
        "{results:?}"
    );
    for error in results.into_iter().filter_map(Result::err) {
        let kind = error.kind();
        assert!(
            matches!(
                kind,
                LifecycleErrorKind::InUse | LifecycleErrorKind::WrongState
            ),
            "{error:?}"
        );
    }
    let report = check(&path, &common::raw_key(), CheckOptions::new(), &())
        .await
        .unwrap();
    assert!(report.is_sound());
}

struct Stop(Phase, std::sync::atomic::AtomicBool);

impl Progress for Stop {
    fn begin(&self, phase: Phase, _: Option<u64>) {
        if phase == self.0 {
            self.1.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    fn rows(&self, _: u64) {}
    fn stopped(&self) -> bool {
        self.1.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_and_wrong_keys_leave_the_store_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    plain::upstream(&path, 2).await;
    Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
        .unwrap();
    let before = files(folder.path());
    for phase in [
        Phase::Preparing,
        Phase::Converting,
        Phase::Checking,
        Phase::Finishing,
    ] {
        let stop = Stop(phase, false.into());
        let stopped = encrypt(&path, &common::raw_key(), EncryptOptions::new(), &stop).await;
        assert!(
            matches!(stopped, Err(LifecycleError::Stopped)),
            "{phase:?}: {stopped:?}"
        );
        assert!(files(folder.path()) == before, "{phase:?}");
    }
    // A label that no keyring takes: an error in the middle.
    let options = EncryptOptions::new().keyring(
        KeyringOptions::new()
            .label("x".repeat(99))
            .seal(SealOptions::new()),
    );
    let refused = encrypt(&path, &common::raw_key(), options, &()).await;
    assert!(
        matches!(refused, Err(LifecycleError::Seal(_))),
        "{refused:?}"
    );
    assert!(files(folder.path()) == before);

    try_encrypt(&path).await.unwrap();
    let sealed = std::fs::read(&path).unwrap();
    let wrong = decrypt(&path, &common::raw_key_of(9), DecryptOptions::new(), &()).await;
    assert!(
        matches!(&wrong, Err(LifecycleError::Seal(SealError::WrongKey))),
        "{wrong:?}"
    );
    assert_eq!(wrong.unwrap_err().kind(), LifecycleErrorKind::WrongKey);
    assert!(std::fs::read(&path).unwrap() == sealed);
    // A row that does not open.
    Connection::open(&path)
        .unwrap()
        .execute_batch("UPDATE sender_keys SET record = x'a553' WHERE rowid = 1")
        .unwrap();
    let sealed = std::fs::read(&path).unwrap();
    let corrupt = try_decrypt(&path).await.unwrap_err();
    assert_eq!(corrupt.kind(), LifecycleErrorKind::Corrupt, "{corrupt:?}");
    assert!(std::fs::read(&path).unwrap() == sealed);
}

/// The futures can be sent to another thread, as runtimes do.
#[test]
fn the_futures_are_send() {
    fn sent<T: Send>(_: &T) {}
    let key = Arc::new(common::raw_key());
    sent(&encrypt("x", &*key, EncryptOptions::new(), &()));
    sent(&decrypt("x", &*key, DecryptOptions::new(), &()));
    sent(&check("x", &*key, CheckOptions::new(), &()));
}

/// What a file says of its own tables is SQL that comes from outside: what is appended there must not run, let alone copy
/// everything that is written from then on to a file of somebody's choice.
#[tokio::test]
async fn what_a_schema_says_besides_its_tables_does_not_run() {
    for upstream in [true, false] {
        for statement in [
            "ATTACH 'EVIL' AS evil; CREATE TABLE evil.copied (address, record); \
             CREATE TEMP TRIGGER copying AFTER INSERT ON sessions BEGIN \
             INSERT INTO copied VALUES (new.address, new.record); END",
            "DELETE FROM sessions",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("w.db");
            plain::small(&path, upstream).await;
            let evil = folder.path().join("evil.db");
            let statement = statement.replace("EVIL", evil.to_str().unwrap());
            let file = Connection::open(&path).unwrap();
            file.execute_batch("PRAGMA writable_schema = ON").unwrap();
            let changed = file.execute(
                "UPDATE sqlite_schema SET sql = sql || '; ' || ?1 WHERE type = 'table' AND name = 'sessions'",
                [&statement],
            );
            assert_eq!(changed.unwrap(), 1);
            drop(file);
            // Refused, or sealed without it.
            let tried = try_encrypt(&path).await;
            println!("{upstream}: {tried:?}");
            assert!(!evil.exists(), "it ran");
            assert!(!folder.path().join("w.db.sealed-store-work").exists());
            if tried.is_ok() {
                let report = check(&path, &common::raw_key(), CheckOptions::new(), &()).await;
                assert!(report.unwrap().is_sound());
            }
        }
    }
}

/// A row that is not there does not fail to open: the device of an account that is in use is missed all the same.
#[tokio::test]
async fn a_store_whose_device_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    plain::small(&path, true).await;
    let key = common::raw_key();
    encrypt(&path, &key, EncryptOptions::new(), &())
        .await
        .unwrap();
    let file = Connection::open(&path).unwrap();
    let gone = file
        .execute("DELETE FROM sessions WHERE length(address) = 26", [])
        .unwrap();
    assert!(gone > 0);
    file.close().unwrap();
    for _ in 0..2 {
        let back = decrypt(&path, &key, DecryptOptions::new(), &()).await;
        assert_eq!(back.unwrap_err().kind(), LifecycleErrorKind::Corrupt);
        assert!(!folder.path().join("w.db.sealed-store-work").exists());
    }
}
