//! After a leak everything is to be new: no old copy of the keyring opens what is in the store then, and no row is lost on
//! the way, wherever the process is killed.

#[path = "common/child.rs"]
mod child;
mod common;

use std::path::Path;
use std::sync::Arc;

use child::{Child, job, say, stand_still_at};
use common::samples::{Sample, TABLES};
use common::support::{passphrase, raw};
use rusqlite::{Connection, OpenFlags};
use sealed_store::lifecycle::{
    CheckOptions, FullOptions, LifecycleErrorKind, check, reencrypt_fully,
};
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{KeyProvider, Keyring, SealError, SealedBackend, SqliteKeyring};
use wacore::store::traits::Backend;

fn samples(owner: u8) -> impl Iterator<Item = Sample> {
    TABLES
        .into_iter()
        .flat_map(move |table| (0..10).map(move |row| Sample { table, row, owner }))
}

/// A store that is open, and what is to be closed so that its files are free at once.
struct Opened {
    store: Arc<dyn Backend>,
    ours: Option<SqliteStore>,
}

impl Opened {
    async fn close(self) {
        drop(self.store);
        if let Some(ours) = self.ours {
            ours.close().await.unwrap();
        }
    }
}

/// The store of an account in the file, with what opens its keyring.
async fn open(path: &Path, layout: &str, account: i32, key: &dyn KeyProvider) -> Opened {
    let keyring = Keyring::open_or_create(SqliteKeyring::at(path), key)
        .await
        .unwrap();
    let of = keyring
        .account_or_create(&account.to_string())
        .await
        .unwrap();
    if layout == "ours" {
        let ours = SqliteStore::open(path).await.unwrap().for_account(account);
        let store = SealedBackend::open(Arc::new(ours.clone()), of)
            .await
            .unwrap();
        return Opened {
            store: Arc::new(store),
            ours: Some(ours),
        };
    }
    let store = common::sqlite_device(path, account).await;
    Opened {
        store: Arc::new(SealedBackend::open(store, of).await.unwrap()),
        ours: None,
    }
}

async fn fill(path: &Path, layout: &str) {
    for account in [1, 2] {
        let opened = open(path, layout, account, &raw(1)).await;
        opened.store.create().await.unwrap();
        for sample in samples(u8::try_from(account).unwrap()) {
            sample.put(&*opened.store).await.unwrap();
        }
        opened.close().await;
    }
}

async fn is_whole(path: &Path, layout: &str, key: &dyn KeyProvider) {
    for account in [1, 2] {
        let opened = open(path, layout, account, key).await;
        for sample in samples(u8::try_from(account).unwrap()) {
            let found = sample.get(&*opened.store).await.unwrap();
            assert_eq!(found, Some(sample.expected()), "{sample:?}");
        }
        opened.close().await;
    }
}

fn copy(from: &Path, to: &Path) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = Connection::open_with_flags(from, flags).unwrap();
    file.execute("VACUUM INTO ?1", [to.to_str().unwrap()])
        .unwrap();
}

#[tokio::test]
async fn nothing_that_opened_the_old_file_opens_the_new_one() {
    for layout in ["ours", "upstream"] {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("w.db"), folder.path().join("old.db"));
        fill(&path, layout).await;
        let keyring = Keyring::open(SqliteKeyring::at(&path), &raw(1))
            .await
            .unwrap();
        keyring.add_slot("lost laptop", &raw(2)).await.unwrap();
        drop(keyring);
        copy(&path, &old);

        let new = passphrase("a new passphrase");
        let (second, third) = (raw(3), raw(4));
        let slots: [(&str, &dyn KeyProvider); 3] =
            [("first", &new), ("second", &second), ("third", &third)];
        let done = reencrypt_fully(&path, &raw(1), &slots, FullOptions::new(), &())
            .await
            .unwrap();
        println!("{layout}: {done:?}");
        assert_eq!(done.dropped, ["lost laptop"]);
        assert_eq!(done.left_out, 0);
        for key in [&new as &dyn KeyProvider, &second, &third] {
            is_whole(&path, layout, key).await;
        }
        let report = check(&path, &third, CheckOptions::new(), &())
            .await
            .unwrap();
        assert!(report.is_sound(), "{report:?}");
        for key in [raw(1), raw(2)] {
            let refused = Keyring::open(SqliteKeyring::at(&path), &key).await;
            assert!(matches!(refused, Err(SealError::WrongKey)));
        }

        // Whoever kept the old keyring puts it into the new file.
        let file = Connection::open(&path).unwrap();
        file.execute("ATTACH ?1 AS old", [old.to_str().unwrap()])
            .unwrap();
        file.execute_batch(
            "DELETE FROM sealed_store_keyring;
             INSERT INTO sealed_store_keyring SELECT * FROM old.sealed_store_keyring;",
        )
        .unwrap();
        drop(file);
        let report = check(&path, &raw(2), CheckOptions::new(), &())
            .await
            .unwrap();
        assert!(!report.is_sound());
        assert_eq!(report.opened, 0, "{report:?}");
    }
}

/// Killed at each of its steps, in turn, the store is the old one or the new one, and the next run ends.
#[tokio::test]
async fn a_kill_at_any_step_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.db");
    fill(&whole, "ours").await;
    let new = raw(9);
    let slots: [(&str, &dyn KeyProvider); 1] = [("new", &new)];
    let (mut kills, mut were_new) = (0, 0);
    for step in 0.. {
        let place = folder.path().join(step.to_string());
        std::fs::create_dir(&place).unwrap();
        let path = place.join("w.db");
        copy(&whole, &path);
        let mut child = Child::run("killed", &[path.to_str().unwrap(), &step.to_string()]);
        let name = child.next().unwrap();
        if name == "done" {
            break;
        }
        child.kill();
        kills += 1;
        let is_new = Keyring::open(SqliteKeyring::at(&path), &new).await.is_ok();
        were_new += u32::from(is_new);
        let key = if is_new { raw(9) } else { raw(1) };
        is_whole(&path, "ours", &key).await;
        let done = reencrypt_fully(&path, &key, &slots, FullOptions::new(), &())
            .await
            .unwrap();
        // Killed after the swap: only the old file was left to be destroyed.
        assert!(is_new || !done.finished_earlier, "{name}: {done:?}");
        is_whole(&path, "ours", &new).await;
        let left: Vec<_> = std::fs::read_dir(&place)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with("w.db") || name.contains("work"))
            .collect();
        assert!(left.is_empty(), "{name}: {left:?}");
    }
    println!("{kills} kills, {were_new} after the swap");
    assert!(kills > 15 && were_new > 2, "{kills} {were_new}");
}

/// No test of its own: reencrypts everything, and stops for ever at the step of this number.
#[test]
fn killed() {
    let Some(job) = job() else { return };
    let at: u64 = job[1].parse().unwrap();
    stand_still_at(at);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let new = raw(9);
    let slots: [(&str, &dyn KeyProvider); 1] = [("new", &new)];
    runtime
        .block_on(reencrypt_fully(
            &job[0],
            &raw(1),
            &slots,
            FullOptions::new(),
            &(),
        ))
        .unwrap();
    say("done");
}

#[tokio::test]
async fn a_store_in_use_or_a_wrong_key_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    fill(&path, "ours").await;
    let new = raw(9);
    let slots: [(&str, &dyn KeyProvider); 1] = [("new", &new)];
    let user = open(&path, "ours", 1, &raw(1)).await;
    let refused = reencrypt_fully(&path, &raw(1), &slots, FullOptions::new(), &()).await;
    assert_eq!(refused.unwrap_err().kind(), LifecycleErrorKind::InUse);
    user.close().await;
    let refused = reencrypt_fully(&path, &raw(8), &slots, FullOptions::new(), &()).await;
    assert_eq!(refused.unwrap_err().kind(), LifecycleErrorKind::WrongKey);
    let refused = reencrypt_fully(&path, &raw(1), &[], FullOptions::new(), &()).await;
    assert_eq!(refused.unwrap_err().kind(), LifecycleErrorKind::Other);
    is_whole(&path, "ours", &raw(1)).await;
    assert!(!folder.path().join("w.db.sealed-store-work").exists());
}
