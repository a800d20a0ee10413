//! A disk that is full while a verb works: the error says so and what to do, nothing is lost, and once there is room the next
//! run comes to the end. Full before it begins and from each of its steps on, on a real small disk; and from each write of
//! SQLite's on, as the system tells it.
//!
//! The usual run takes a sample of the writes; the long one, each:
//!
//! ```text
//! SEALED_STORE_LONG=1 cargo test --test lifecycle_disk_full -- --nocapture
//! ```
#![cfg(target_os = "linux")]

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/faults.rs"]
mod faults;
#[path = "common/full_disk.rs"]
mod full_disk;
#[path = "common/kept.rs"]
mod kept;
#[path = "common/mounts.rs"]
mod mounts;
#[path = "common/verbs.rs"]
mod verbs;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use child::{Child, command, job, say};
use faults::Fault;
use full_disk::{Ballast, is_advice};
use kept::Layout;
use sealed_store::lifecycle::on_step;
use verbs::{Scene, Verb, scenes};

/// No test of its own: runs a verb on the small disk, which is filled at one of its steps, from 1; before the first at 0.
#[test]
fn on_a_small_disk() {
    let Some(job) = job() else { return };
    say("ready");
    let [disk, from, verb, layout, stop] = &job[..] else {
        panic!("{job:?}")
    };
    let (disk, stop) = (PathBuf::from(disk), stop.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let scene = Scene::in_folder(Verb::of(verb), Layout::of(layout), Path::new(from));
    say(&runtime.block_on(full(&scene, &disk, stop)));
}

async fn full(scene: &Scene, disk: &Path, stop: u64) -> String {
    kept::copy(&scene.path(), disk);
    let ballast = Arc::new(Mutex::new(None));
    let fill = {
        let (ballast, disk) = (Arc::clone(&ballast), disk.to_owned());
        move |step| *ballast.lock().unwrap() = Some((step, Ballast::fill(&disk, 0)))
    };
    let met = AtomicU64::new(0);
    if stop == 0 {
        fill("start");
    } else {
        on_step(move |step| {
            if met.fetch_add(1, Ordering::Relaxed) + 1 == stop {
                fill(step);
            }
        });
    }
    let result = scene.verb.run(disk).await;
    let Some((step, ballast)) = ballast.lock().unwrap().take() else {
        result.unwrap();
        return "past".to_owned();
    };
    if let Err(error) = &result {
        is_advice(error);
    }
    ballast.remove();
    scene
        .converges(disk, result.is_ok(), &[], stop.is_multiple_of(2))
        .await;
    let outcome = if result.is_ok() { "fitted" } else { "full" };
    format!("{outcome} {step}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    for (verb, layout) in scenes() {
        let scene = Scene::of(verb, layout).await;
        let mut outcomes = Vec::new();
        for stop in 0.. {
            let job = [
                disk.to_str().unwrap(),
                scene.path().to_str().unwrap(),
                &format!("{verb:?}"),
                &format!("{layout:?}"),
                &stop.to_string(),
            ]
            .map(str::to_owned);
            let job: Vec<_> = job.iter().map(String::as_str).collect();
            let mut said = mounts::with_disk(&disk, "8m", "on_a_small_disk", &job).finish();
            let outcome = said.pop().unwrap();
            if outcome == "past" {
                break;
            }
            outcomes.push(outcome);
        }
        println!("{verb:?} {layout:?}: {}", outcomes.join(", "));
        assert!(
            outcomes.iter().any(|outcome| outcome.starts_with("full")),
            "{outcomes:?}"
        );
    }
}

/// No test of its own: runs a verb, and says whether its error was one of the disk.
#[test]
fn work() {
    let Some(job) = job() else { return };
    let [verb, folder] = &job[..] else {
        panic!("{job:?}")
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    match runtime.block_on(Verb::of(verb).run(Path::new(folder))) {
        Ok(()) => say("done"),
        Err(error) => {
            is_advice(&error);
            say("full");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_each_write_on() {
    for (verb, layout) in scenes() {
        let scene = Scene::of(verb, layout).await;
        let work_in = |folder: &Path| {
            let verb = format!("{verb:?}");
            command(&[], "work", &[&verb, folder.to_str().unwrap()])
        };
        let writes = {
            let folder = scene.fresh();
            let file = tempfile::NamedTempFile::new().unwrap();
            let mut counting = work_in(folder.path());
            faults::count(&mut counting, "pwrite", file.path());
            Child::start(counting).finish();
            match verb {
                // Its one file is written by the standard library.
                Verb::Backup => continue,
                _ => faults::counted(file.path()),
            }
        };
        let mut full = 0;
        for write in faults::sample(writes, 3, 5) {
            let folder = scene.fresh();
            let mut working = work_in(folder.path());
            let fault = Fault {
                calls: "pwrite",
                how: faults::FULL,
                at: (write, 0),
            };
            faults::inject(&mut working, fault);
            let said = Child::start(working).finish();
            let done = said.iter().any(|said| said == "done");
            full += u64::from(!done);
            scene
                .converges(folder.path(), done, &said, write % 2 == 0)
                .await;
        }
        println!("{verb:?} {layout:?}: {writes} writes, {full} times an error");
        assert!(full > 0);
    }
}
