//! A process that is killed in any verb that writes leaves a store that opens with the old secret or with the new one, with
//! everything that was in it and everything that was acknowledged; and the next run comes to the end. With SIGKILL: at every
//! step, in the calls by which files are changed, and at random moments.
//!
//! The long form dies in each of these calls, once before it and once in the middle of it, and at 1,088 random moments:
//!
//! ```text
//! SEALED_STORE_LONG=1 cargo test --test lifecycle_killed -- --nocapture
//! ```
#![cfg(target_os = "linux")]

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/faults.rs"]
mod faults;
#[path = "common/kept.rs"]
mod kept;
#[path = "common/verbs.rs"]
mod verbs;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use child::{Child, command, job, say, stand_still_at};
use faults::Fault;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use verbs::{Scene, Verb, scenes};

/// No test of its own: runs a verb, and stands still at the step of a number, if there is one.
#[test]
fn work() {
    let Some(job) = job() else { return };
    let [verb, folder, stop] = &job[..] else {
        panic!("{job:?}")
    };
    if !stop.is_empty() {
        stand_still_at(stop.parse().unwrap());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    say("begins");
    runtime
        .block_on(Verb::of(verb).run(Path::new(folder)))
        .unwrap();
    say("done");
}

fn work_in(verb: Verb, folder: &Path, stop: &str) -> Command {
    let verb = format!("{verb:?}");
    command(&[], "work", &[&verb, folder.to_str().unwrap(), stop])
}

fn is_done(said: &[String]) -> bool {
    said.iter().any(|said| said == "done")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_every_step() {
    for (verb, layout) in scenes() {
        // Encryption and its way back have a test of their own: `encrypt_killed`.
        if matches!(verb, Verb::Encrypt | Verb::Decrypt) {
            continue;
        }
        let scene = Scene::of(verb, layout).await;
        let mut met = Vec::new();
        for stop in 0.. {
            let folder = scene.fresh();
            let mut child = Child::start(work_in(verb, folder.path(), &stop.to_string()));
            assert_eq!(child.next().as_deref(), Some("begins"));
            let mut said = Vec::new();
            let step = loop {
                let next = child.next().expect("it goes on");
                if next.starts_with("code ") {
                    said.push(next);
                } else {
                    break next;
                }
            };
            if step == "done" {
                break;
            }
            child.kill();
            println!("{verb:?} {layout:?}: killed at {step}");
            scene
                .converges(folder.path(), false, &said, stop % 2 == 0)
                .await;
            met.push(step);
        }
        for step in must_have(verb) {
            assert!(
                met.iter().any(|met| met == step),
                "{verb:?}: {step}, {met:?}"
            );
        }
    }
}

/// Steps without which the test would not have been at what it is for.
fn must_have(verb: Verb) -> &'static [&'static str] {
    match verb {
        Verb::Init | Verb::InitApart => &["new", "store", "keyring", "account", "canary", "closed"],
        Verb::Encrypt | Verb::Decrypt => &[],
        Verb::Reencrypt => &["begun", "walked", "marked", "erased", "finished"],
        Verb::Full => &["loaded", "compared", "named", "renamed", "destroyed"],
        Verb::Recovery => &["slot"],
        // Of the keyring alone, whose writes are the steps: the test of its calls.
        Verb::Root | Verb::AddSlot | Verb::ChangeSecret | Verb::RemoveSlot => &[],
        Verb::Backup => &["read", "written"],
        Verb::Restore | Verb::Repair => &["held", "planned", "replaced"],
        Verb::ShredAccount | Verb::ShredTables | Verb::ShredAll => {
            &["opened", "destroyed", "proved"]
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_calls_that_change_files() {
    for (verb, layout) in scenes() {
        let scene = Scene::of(verb, layout).await;
        let calls = {
            let folder = scene.fresh();
            let count = scene.path().join("count");
            let mut counting = work_in(verb, folder.path(), "");
            faults::count(&mut counting, "all", &count);
            assert!(is_done(&Child::start(counting).finish()));
            let calls = faults::counted(&count);
            std::fs::remove_file(count).unwrap();
            calls
        };
        let hows: &[&str] = match faults::long() {
            true => &["kill", "half+kill"],
            false => &["kill"],
        };
        let mut cut = 0;
        for how in hows {
            // A new file is in more states than one that is there. (In the long form it is each call.)
            let ends = match verb {
                Verb::Init | Verb::InitApart => 8,
                _ => 2,
            };
            for call in faults::sample(calls, ends, 4) {
                let folder = scene.fresh();
                let mut dying = work_in(verb, folder.path(), "");
                let at = (call, call);
                faults::inject(
                    &mut dying,
                    Fault {
                        calls: "all",
                        how,
                        at,
                    },
                );
                let (_, said) = Child::start(dying).ended();
                let done = is_done(&said);
                cut += u64::from(!done);
                scene
                    .converges(folder.path(), done, &said, call.is_multiple_of(2))
                    .await;
            }
        }
        println!("{verb:?} {layout:?}: {calls} calls, {cut} deaths");
        assert!(cut > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_random_moments() {
    // Each verb and layout as often: 32 of them.
    let rounds = if faults::long() { 34 } else { 1 };
    let seed = common::support::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let (mut kills, mut cut, mut after_it_began) = (0, 0, 0);
    for (number, (verb, layout)) in scenes().enumerate() {
        if !faults::long() && number % 3 != seed as usize % 3 {
            continue;
        }
        let scene = Scene::of(verb, layout).await;
        let whole = {
            let folder = scene.fresh();
            let mut child = Child::start(work_in(verb, folder.path(), ""));
            assert_eq!(child.next().as_deref(), Some("begins"));
            let begun = Instant::now();
            while child.next().expect("it ends") != "done" {}
            begun.elapsed()
        };
        for round in 0..rounds {
            let folder = scene.fresh();
            let mut child = Child::start(work_in(verb, folder.path(), ""));
            assert_eq!(child.next().as_deref(), Some("begins"));
            // Any moment will do: this only spreads them.
            let moment = Duration::from_micros(random.random_range(0..=whole.as_micros() as u64));
            std::thread::sleep(moment);
            let said = child.kill();
            let done = is_done(&said);
            kills += 1;
            cut += u32::from(!done);
            after_it_began += u32::from(!done && changed(&scene, folder.path()));
            scene
                .converges(folder.path(), done, &said, round % 2 == 0)
                .await;
        }
        println!("{verb:?} {layout:?}: whole {whole:?}, {rounds} kills");
    }
    println!(
        "{kills} kills, {cut} cut short, {after_it_began} of them after files were changed, 0 lost"
    );
    assert!(cut > 0 && after_it_began > 0);
    assert!(!faults::long() || kills >= 1000);
}

/// Whether anything in the folder is other than it was before.
fn changed(scene: &Scene, folder: &Path) -> bool {
    let before = scene.path();
    let names = kept::entries(folder);
    names != kept::entries(&before)
        || names.iter().any(|name| {
            let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap_or_default();
            read(folder) != read(&before)
        })
}
