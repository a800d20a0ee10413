//! Long work holds up no runtime, and ends when nobody waits for it: a program that closes a window, or a server with other
//! things to do, must not be stopped by a large store, nor find it held afterwards.

mod common;
#[path = "common/dump.rs"]
mod dump;
#[path = "common/plain.rs"]
mod plain;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::support::raw;
use dump::{assert_same, dump};
use sealed_store::lifecycle::{
    CheckOptions, DecryptOptions, EncryptOptions, FullOptions, LifecycleError, Phase, Progress,
    ReencryptOptions, Shred, ShredOptions, check, decrypt, encrypt, reencrypt, reencrypt_fully,
    shred,
};

/// Counts what it is told, and between which of it others had their turn.
#[derive(Default)]
struct Watch {
    told: AtomicUsize,
    /// What was told since the others had their turn.
    since: AtomicUsize,
    longest: AtomicUsize,
}

impl Watch {
    fn tell(&self) {
        self.told.fetch_add(1, Ordering::Relaxed);
        let since = 1 + self.since.fetch_add(1, Ordering::Relaxed);
        self.longest.fetch_max(since, Ordering::Relaxed);
    }
}

impl Progress for Watch {
    fn begin(&self, _: Phase, _: Option<u64>) {
        self.tell();
    }

    fn rows(&self, _: u64) {
        self.tell();
    }
}

const VERBS: [&str; 6] = ["encrypt", "check", "reencrypt", "full", "decrypt", "shred"];

async fn run(verb: &str, path: &Path, progress: &dyn Progress) -> Result<(), LifecycleError> {
    let key = raw(5);
    match verb {
        "encrypt" => {
            encrypt(path, &key, EncryptOptions::new(), progress).await?;
        }
        "check" => {
            let report = check(path, &key, CheckOptions::new(), progress).await?;
            assert!(report.is_sound(), "{:?}", report.faults);
        }
        "reencrypt" => {
            reencrypt(path, &key, ReencryptOptions::new(), progress).await?;
        }
        "full" => {
            let slots: [(&str, &dyn sealed_store::KeyProvider); 1] = [("one", &key)];
            reencrypt_fully(path, &key, &slots, FullOptions::new(), progress).await?;
        }
        "shred" => {
            shred(path, &key, &Shred::All, ShredOptions::new(), progress).await?;
        }
        _ => {
            decrypt(path, &key, DecryptOptions::new(), progress).await?;
        }
    }
    Ok(())
}

async fn store(folder: &Path, upstream: bool) -> PathBuf {
    let path = folder.join("w.db");
    plain::small(&path, upstream).await;
    path
}

/// On one thread: whatever else is to be done there has its turn between any two things that are told.
#[tokio::test]
async fn others_have_their_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = store(folder.path(), true).await;
    for verb in VERBS {
        if verb == "shred" {
            run("encrypt", &path, &()).await.unwrap();
        }
        let watch = Watch::default();
        let done = AtomicUsize::new(0);
        let work = async {
            run(verb, &path, &watch).await.unwrap();
            done.store(1, Ordering::Relaxed);
        };
        let others = async {
            while done.load(Ordering::Relaxed) == 0 {
                watch.since.store(0, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(work, others);
        let (told, longest) = (watch.told.into_inner(), watch.longest.into_inner());
        println!("{verb}: told {told} times, at most {longest} at once");
        assert!(told > 10, "{verb}: {told}");
        // What is told before the first thread is one's own.
        assert!(longest <= 2, "{verb}: {longest} of {told} at once");
    }
}

/// A future that is dropped after any number of things that were told: the store is whole at once for whoever comes next,
/// who finds nothing left over and does it again.
#[tokio::test]
async fn a_dropped_future_ends_its_work() {
    let folder = tempfile::tempdir().unwrap();
    let clear = store(folder.path(), true).await;
    let plain = dump(&clear);
    let sealed = folder.path().join("sealed.db");
    std::fs::copy(&clear, &sealed).unwrap();
    run("encrypt", &sealed, &()).await.unwrap();
    for verb in ["encrypt", "decrypt", "full", "reencrypt"] {
        let from = if verb == "encrypt" { &clear } else { &sealed };
        for stop in [1, 3, 10, 30, 45, 60] {
            let folder = tempfile::tempdir_in(folder.path()).unwrap();
            let path = folder.path().join("w.db");
            std::fs::copy(from, &path).unwrap();
            let watch = Watch::default();
            {
                let work = run(verb, &path, &watch);
                let enough = async {
                    while watch.told.load(Ordering::Relaxed) < stop {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    biased;
                    () = enough => {}
                    done = work => done.unwrap(),
                }
            }
            // Waits for the thread, which lets go when it next looks.
            let again = run(verb, &path, &()).await;
            let ended = matches!(
                again,
                Err(LifecycleError::AlreadySealed | LifecycleError::NotSealed)
            );
            assert!(
                again.is_ok() || ended,
                "{verb} dropped at {stop}: {again:?}"
            );
            if verb != "decrypt" {
                run("check", &path, &()).await.unwrap();
                run("decrypt", &path, &()).await.unwrap();
            }
            assert_same(&dump(&path), &plain);
            let left = std::fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(left, 1, "{verb} dropped at {stop}");
        }
    }
}
