//! A process that is killed while it encrypts or decrypts leaves the store as it was or as it is to be, whole; and the next run
//! starts over or finishes, and leaves nothing of the other form behind. At every step, with SIGKILL.
//!
//! The long form kills at random moments, a thousand times:
//!
//! ```text
//! SEALED_STORE_LONG=1 cargo test --release --test encrypt_killed -- --nocapture
//! ```
#![cfg(unix)]

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/dump.rs"]
mod dump;
#[path = "common/plain.rs"]
mod plain;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use child::{Child, job, say};
use dump::{Dump, assert_same, dump};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sealed_store::lifecycle::{
    CheckOptions, DecryptOptions, EncryptOptions, LifecycleError, check, decrypt, encrypt, on_step,
};

/// No test of its own: works on a store, tells each step, and stands still at the one of a number.
#[test]
fn work_until_step() {
    let Some(job) = job() else { return };
    let [verb, path, stop] = &job[..] else {
        panic!("{job:?}")
    };
    let stop: usize = stop.parse().unwrap();
    let met = AtomicUsize::new(0);
    on_step(move |name| {
        say(name);
        if met.fetch_add(1, Ordering::Relaxed) == stop {
            say("stands");
            loop {
                std::thread::park();
            }
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    say("begins");
    runtime.block_on(run(verb, Path::new(path))).unwrap();
    say("done");
}

/// Starts the work, which stands still at a step, or goes to its end.
fn start(verb: &str, path: &Path, stop: usize) -> Child {
    let job = [verb, path.to_str().unwrap(), &stop.to_string()];
    let mut child = Child::run("work_until_step", &job);
    assert_eq!(child.next().as_deref(), Some("begins"));
    child
}

/// Kills the work at the step of a number.
fn kill_at(verb: &str, path: &Path, stop: usize) {
    let mut child = start(verb, path, stop);
    while child.next().expect("it reaches the step") != "stands" {}
    child.kill();
}

/// The steps that the work goes through.
fn steps(verb: &str, path: &Path) -> Vec<String> {
    let mut said = start(verb, path, usize::MAX).finish();
    assert_eq!(said.pop().as_deref(), Some("done"));
    said
}

async fn run(verb: &str, path: &Path) -> Result<bool, LifecycleError> {
    let key = common::raw_key();
    Ok(match verb {
        "encrypt" => {
            encrypt(path, &key, EncryptOptions::new(), &())
                .await?
                .finished_earlier
        }
        _ => {
            decrypt(path, &key, DecryptOptions::new(), &())
                .await?
                .finished_earlier
        }
    })
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What the file is, by a dump alone; it must be whole.
fn state(path: &Path, plain: &Dump) -> &'static str {
    assert_eq!(common::integrity(path), "ok");
    let found = dump(path);
    if found.contains_key("sealed_store_keyring") {
        return "sealed";
    }
    assert_same(&found, plain);
    "plain"
}

/// Brings a store that a killed run left to its end, and checks it.
async fn finish(verb: &str, path: &Path, before: &Dump, step: &str) {
    let wanted = if verb == "encrypt" { "sealed" } else { "plain" };
    let finished = run(verb, path).await;
    match finished {
        Ok(_) => {}
        // It had come to its end, and cleared up.
        Err(LifecycleError::AlreadySealed | LifecycleError::NotSealed) => {}
        Err(error) => panic!("{verb} killed at {step}: {error:?}"),
    }
    assert_eq!(state(path, before), wanted, "{verb} killed at {step}");
    assert_eq!(
        entries(path.parent().unwrap()),
        ["w.db"],
        "{verb} killed at {step}"
    );
    if wanted == "sealed" {
        let report = check(path, &common::raw_key(), CheckOptions::new(), &())
            .await
            .unwrap();
        assert!(report.is_sound(), "{step}: {:?}", report.faults);
        run("decrypt", path).await.unwrap();
        assert_eq!(state(path, before), "plain", "{verb} killed at {step}");
    }
}

struct Scene {
    folder: tempfile::TempDir,
    plain: Dump,
    sealed: std::path::PathBuf,
    clear: std::path::PathBuf,
}

async fn scene(upstream: bool) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let clear = folder.path().join("clear.db");
    let sealed = folder.path().join("sealed.db");
    plain::small(&clear, upstream).await;
    let plain = dump(&clear);
    std::fs::copy(&clear, &sealed).unwrap();
    run("encrypt", &sealed).await.unwrap();
    Scene {
        folder,
        plain,
        sealed,
        clear,
    }
}

impl Scene {
    /// A folder with a store for `verb` in it.
    fn fresh(&self, verb: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir_in(self.folder.path()).unwrap();
        let path = folder.path().join("w.db");
        let from = if verb == "encrypt" {
            &self.clear
        } else {
            &self.sealed
        };
        std::fs::copy(from, &path).unwrap();
        (folder, path)
    }
}

fn is_long() -> bool {
    std::env::var_os("SEALED_STORE_LONG").is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step() {
    for (upstream, verb, short) in [
        (true, "encrypt", true),
        (false, "encrypt", false),
        (true, "decrypt", false),
        (false, "decrypt", true),
    ] {
        if !short && !is_long() {
            continue;
        }
        let scene = scene(upstream).await;
        let steps = {
            let (_folder, path) = scene.fresh(verb);
            steps(verb, &path)
        };
        for expected in [
            "held",
            "folder",
            "state",
            "keyring",
            "tables",
            "page",
            "loaded",
            "indexed",
            "compared",
            "synced",
            "swapping",
            "named",
            "renamed",
            "placed",
            "overwritten",
            "destroyed",
            "cleared",
        ] {
            let there = steps.iter().any(|step| step == expected);
            assert!(there, "{verb}: no step {expected} in {steps:?}");
        }
        for (stop, step) in steps.iter().enumerate() {
            // Of the many of one name the first, the last, and one in between.
            let before = steps[..stop]
                .iter()
                .filter(|earlier| *earlier == step)
                .count();
            let after = steps[stop + 1..]
                .iter()
                .filter(|later| *later == step)
                .count();
            if !is_long() && before != 0 && after != 0 && before != after {
                continue;
            }
            let (_folder, path) = scene.fresh(verb);
            kill_at(verb, &path, stop);
            finish(verb, &path, &scene.plain, step).await;
        }
    }
}

/// Killed again while it finishes what was killed before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_while_it_finishes() {
    let scene = scene(true).await;
    let steps = {
        let (_folder, path) = scene.fresh("encrypt");
        steps("encrypt", &path)
    };
    for first in ["loaded", "named", "renamed", "overwritten"] {
        let stop = steps.iter().position(|step| step == first).unwrap();
        for again in 0.. {
            let (_folder, path) = scene.fresh("encrypt");
            kill_at("encrypt", &path, stop);
            let mut child = start("encrypt", &path, again);
            let said: Vec<_> = std::iter::from_fn(|| {
                child
                    .next()
                    .filter(|said| said != "stands" && said != "done")
            })
            .collect();
            child.kill();
            finish("encrypt", &path, &scene.plain, first).await;
            // Until it has nothing more to do, or has begun anew.
            if said.len() <= again || again == 3 {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments() {
    let kills = if is_long() { 1000 } else { 6 };
    let seed: u64 = std::env::var("SEALED_STORE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random);
    println!("SEALED_STORE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let scene = scene(true).await;
    let whole = {
        let (_folder, path) = scene.fresh("encrypt");
        let child = start("encrypt", &path, usize::MAX);
        let begun = std::time::Instant::now();
        child.finish();
        begun.elapsed()
    };
    let mut cut = 0;
    for kill in 0..kills {
        let verb = if kill % 2 == 0 { "encrypt" } else { "decrypt" };
        let (_folder, path) = scene.fresh(verb);
        let child = start(verb, &path, usize::MAX);
        // Any moment will do: this only spreads them.
        std::thread::sleep(Duration::from_micros(
            random.random_range(0..whole.as_micros() as u64),
        ));
        cut += usize::from(!child.kill().iter().any(|said| said == "done"));
        let moment = format!("random moment {kill}");
        finish(verb, &path, &scene.plain, &moment).await;
    }
    println!("{cut} of {kills} were cut short");
    assert!(cut > 0);
}

/// What a killed run left in the clear is overwritten by the next one, not only removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_run_left_is_overwritten() {
    use std::io::Read;
    for verb in ["encrypt", "decrypt"] {
        let scene = scene(true).await;
        let steps = {
            let (_folder, path) = scene.fresh(verb);
            steps(verb, &path)
        };
        let (_folder, path) = scene.fresh(verb);
        let mut old = std::fs::File::open(&path).unwrap();
        let stop = steps.iter().position(|step| step == "renamed").unwrap();
        kill_at(verb, &path, stop);
        assert!(run(verb, &path).await.unwrap(), "it was finished before");
        let mut blocks = Vec::new();
        old.read_to_end(&mut blocks).unwrap();
        assert!(!blocks.is_empty() && blocks.iter().all(|byte| *byte == 0));
    }
    // Half a file in the clear.
    let scene = scene(true).await;
    let steps = {
        let (_folder, path) = scene.fresh("decrypt");
        steps("decrypt", &path)
    };
    let (_folder, path) = scene.fresh("decrypt");
    let stop = steps.iter().position(|step| step == "compared").unwrap();
    kill_at("decrypt", &path, stop);
    let mut half = std::fs::File::open(path.with_file_name("w.db.sealed-store-work/new")).unwrap();
    // The store is sealed: clearing up is all there is to do.
    let already = run("encrypt", &path).await;
    assert!(
        matches!(already, Err(LifecycleError::AlreadySealed)),
        "{already:?}"
    );
    let mut blocks = Vec::new();
    half.read_to_end(&mut blocks).unwrap();
    assert!(!blocks.is_empty() && blocks.iter().all(|byte| *byte == 0));
}

/// From the first row to the last nobody else reads or writes the store, or works on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_in_while_it_works() {
    let scene = scene(true).await;
    for verb in ["encrypt", "decrypt"] {
        let steps = {
            let (_folder, path) = scene.fresh(verb);
            steps(verb, &path)
        };
        for step in ["held", "page", "compared", "named"] {
            let (_folder, path) = scene.fresh(verb);
            let stop = steps.iter().position(|other| other == step).unwrap();
            let mut child = start(verb, &path, stop);
            while child.next().unwrap() != "stands" {}
            let late = rusqlite::Connection::open(&path).unwrap();
            late.busy_timeout(Duration::ZERO).unwrap();
            let read = late.query_row("SELECT count(*) FROM sessions", [], |row| {
                row.get::<_, i64>(0)
            });
            let code = read.unwrap_err().sqlite_error_code();
            assert_eq!(code, Some(rusqlite::ErrorCode::DatabaseBusy), "{step}");
            drop(late);
            for other in ["encrypt", "decrypt"] {
                let error = run(other, &path).await.unwrap_err();
                assert!(matches!(error, LifecycleError::InUse), "{step}: {error:?}");
            }
            child.kill();
            finish(verb, &path, &scene.plain, step).await;
        }
    }
}
