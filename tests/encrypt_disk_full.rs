//! A disk that is full while a store is encrypted or decrypted: the error says so, the store is whole, and nothing is left
//! beside it; once there is room it works.
//!
//! The long form is the same with many sizes, so that the disk is full at other moments:
//!
//! ```text
//! SEALED_STORE_LONG=1 cargo test --test encrypt_disk_full
//! ```
#![cfg(target_os = "linux")]

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/dump.rs"]
mod dump;
#[path = "common/full_disk.rs"]
mod full_disk;
#[path = "common/mounts.rs"]
mod mounts;
#[path = "common/plain.rs"]
mod plain;

use std::path::Path;

use child::{job, say};
use dump::{assert_same, dump};
use full_disk::{Ballast, is_advice};
use sealed_store::lifecycle::{
    CheckOptions, DecryptOptions, EncryptOptions, LifecycleError, check, decrypt, encrypt,
};

async fn run(verb: &str, path: &Path) -> Result<(), LifecycleError> {
    let key = common::raw_key();
    match verb {
        "encrypt" => encrypt(path, &key, EncryptOptions::new(), &())
            .await
            .map(drop),
        _ => decrypt(path, &key, DecryptOptions::new(), &())
            .await
            .map(drop),
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// No test of its own: what happens on the small disk.
#[test]
fn on_a_small_disk() {
    let Some(job) = job() else { return };
    say("ready");
    let [folder, from, verb, room] = &job[..] else {
        panic!("{job:?}")
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let outcome = runtime.block_on(full(
        Path::new(folder),
        Path::new(from),
        verb,
        room.parse().unwrap(),
    ));
    say(outcome);
}

/// Fills the disk up to `room` bytes, and works on a store there.
async fn full(folder: &Path, from: &Path, verb: &str, room: u64) -> &'static str {
    let path = folder.join("w.db");
    std::fs::copy(from, &path).unwrap();
    let mut ballast = Some(Ballast::fill(folder, room));
    let result = run(verb, &path).await;
    let outcome = match result {
        Ok(()) => "fitted",
        Err(error) => {
            is_advice(&error);
            let mut left = entries(folder);
            // Any opener of the keyring leaves it.
            left.retain(|name| name != "w.db.keyring-lock");
            assert_eq!(left, ["ballast", "w.db"], "{error:?}");
            assert_same(&dump(&path), &dump(from));
            ballast.take().unwrap().remove();
            run(verb, &path).await.unwrap();
            "full"
        }
    };
    if let Some(ballast) = ballast {
        ballast.remove();
    }
    let mut left = entries(folder);
    left.retain(|name| name != "w.db.keyring-lock");
    assert_eq!(left, ["w.db"]);
    if verb == "encrypt" {
        let report = check(&path, &common::raw_key(), CheckOptions::new(), &())
            .await
            .unwrap();
        assert!(report.is_sound(), "{:?}", report.faults);
    }
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_the_store_stays_whole() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    for upstream in [true, false] {
        let clear = folder.path().join("clear.db");
        plain::small(&clear, upstream).await;
        // So that the copy on the disk is as it is when it was taken.
        rusqlite::Connection::open(&clear)
            .unwrap()
            .query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
            .unwrap();
        let sealed = folder.path().join("sealed.db");
        std::fs::copy(&clear, &sealed).unwrap();
        run("encrypt", &sealed).await.unwrap();
        let rooms: Vec<u64> = if std::env::var_os("SEALED_STORE_LONG").is_some() {
            (0..100).map(|n| n * 4096).collect()
        } else {
            vec![0, 2, 8, 20, 40, 1000]
                .into_iter()
                .map(|n| n * 4096)
                .collect()
        };
        for (verb, from) in [("encrypt", &clear), ("decrypt", &sealed)] {
            let mut outcomes = Vec::new();
            for room in &rooms {
                let job = [
                    disk.to_str().unwrap(),
                    from.to_str().unwrap(),
                    verb,
                    &room.to_string(),
                ];
                let child = mounts::with_disk(&disk, "8m", "on_a_small_disk", &job);
                outcomes.extend(child.finish());
            }
            assert!(
                outcomes.iter().any(|outcome| outcome == "full"),
                "{outcomes:?}"
            );
            assert_eq!(
                outcomes.last().map(String::as_str),
                Some("fitted"),
                "{outcomes:?}"
            );
        }
        std::fs::remove_file(&clear).unwrap();
    }
}
