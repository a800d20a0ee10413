//! SIGKILL at random moments, on real SQLite files.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sealed_store::{
    AccountState, KeyProvider, Keyring, KeyringOptions, SealError, SealedBackend, SqliteKeyring,
    Table,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wacore::store::traits::DeviceStore;
use whatsapp_rust_sqlite_storage::SqliteStore;

use crate::child::{Child, hear, job, say};
use crate::common::{raw_key, raw_key_of, sqlite};
use crate::ledger::{KINDS, Ledger, write};
use crate::{long, seed};

/// What a child is killed at.
const MODES: [&str; 4] = ["write", "data-keys", "root", "slots"];

/// Does nothing in a normal run: it is what the children run.
#[test]
fn child() {
    let Some(job) = job() else { return };
    let [mode, path, from] = &job[..] else {
        panic!("a job has three parts")
    };
    let path = Path::new(path);
    let from: u64 = from.parse().expect("a number");
    runtime()
        .block_on(async {
            match mode.as_str() {
                "first" => first_run(path, from, say).await.map(drop),
                _ => work(mode, path, from).await,
            }
        })
        .expect("the child works until it is killed");
}

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

async fn open(path: &Path) -> Result<(Keyring, SealedBackend<SqliteStore>)> {
    let keyring = Keyring::open(SqliteKeyring::at(path), &raw_key()).await?;
    let account = keyring.account("1").await?;
    let store = SealedBackend::open(sqlite(path).await, account).await?;
    Ok((keyring, store))
}

/// Writes, and changes keys in between, until it is killed.
async fn work(mode: &str, path: &Path, from: u64) -> Result<()> {
    let (keyring, store) = open(path).await?;
    let mut extra = 10;
    if mode == "slots" {
        for slot in keyring.slots().await? {
            if !slot.opened {
                keyring.remove_slot(slot.slot).await?;
            }
        }
    }
    say("ready");
    for n in from.. {
        write(&store, n).await?;
        say(&format!("wrote {n}"));
        match mode {
            "data-keys" if n % 3 == 0 => {
                let all = Table::ALL;
                let some = &all[n as usize % all.len()..];
                store.account().rotate_data_keys(some).await?;
                say("rotated");
            }
            "root" if n % 2 == 0 => {
                // A kill among the slots may have left one more.
                let slots = keyring.slots().await?;
                let (keep, drop): (Vec<_>, Vec<_>) = slots.iter().partition(|slot| slot.opened);
                let drop: Vec<u32> = drop.iter().map(|slot| slot.slot).collect();
                let keep = (keep[0].slot, &raw_key() as &dyn KeyProvider);
                keyring.rotate_root(&[keep], &drop).await?;
                say("rotated");
            }
            "slots" => {
                // A hundred keys in turn; the parent knows what each step means for which key.
                let (a, b) = (raw_key_of(extra), raw_key_of(extra + 1));
                let slot = keyring.add_slot("extra", &a).await?;
                say(&format!("added {extra}"));
                let slot = keyring.change_passphrase(slot, &a, &b).await?;
                say(&format!("changed {extra}"));
                keyring.remove_slot(slot).await?;
                say(&format!("removed {extra}"));
                extra = 10 + (extra - 8) % 200;
            }
            _ => {}
        }
    }
    Ok(())
}

/// What an application does when it starts, on nothing, on a half-made store or on a whole one.
async fn first_run(path: &Path, how: u64, step: impl Fn(&str)) -> Result<String> {
    step("begun");
    // Applications do either first.
    let mut inner = None;
    if how.is_multiple_of(2) {
        inner = Some(sqlite(path).await);
    }
    let keyring = Keyring::open_or_create(SqliteKeyring::at(path), &raw_key()).await?;
    step("keyring");
    let account = keyring.account_or_create("1").await?;
    step("account");
    let inner = match inner {
        Some(inner) => inner,
        None => sqlite(path).await,
    };
    let store = SealedBackend::open(inner, account).await?;
    step("opened");
    if !store.exists().await? {
        store.create().await?;
    }
    let device = store.load().await?.context("a device that exists")?;
    ensure!(store.account().state() == AccountState::Live);
    let seen = hex::encode(device.identity_key.public_key.serialize());
    step(&format!("seen {seen}"));
    write(&store, 0).await?;
    step("wrote 0");
    Ok(seen)
}

/// Kills in a first run: afterwards the same start works, and an identity that was seen is the
/// identity.
#[test]
fn a_killed_first_run_is_finished_by_the_next() {
    let mut rng = StdRng::seed_from_u64(seed());
    let folder = TempDir::new().expect("a folder");
    let warm = folder.path().join("warm.db");
    let mut child = Child::run(
        "kill::child",
        &["first", warm.to_str().expect("UTF-8"), "0"],
    );
    assert_eq!(child.next().as_deref(), Some("begun"));
    let start = Instant::now();
    child.finish();
    let whole = start.elapsed();

    let kills = if long() { 80 } else { 7 };
    let mut stages = std::collections::BTreeMap::<String, u32>::new();
    for round in 0..kills {
        let path = folder.path().join(format!("{round}.db"));
        let how = rng.random_range(0..2u64).to_string();
        let job = ["first", path.to_str().expect("UTF-8"), &how];
        let mut child = Child::run("kill::child", &job);
        assert_eq!(child.next().as_deref(), Some("begun"));
        // The moment is the point here: somewhere between the first and the last write.
        std::thread::sleep(whole.mul_f64(rng.random_range(0.0..1.0)));
        let said = child.kill();
        let seen = said.iter().find_map(|said| said.strip_prefix("seen "));
        let stage = said
            .last()
            .and_then(|s| s.split(' ').next())
            .unwrap_or("begun");
        *stages.entry(stage.to_owned()).or_default() += 1;
        for _ in 0..2 {
            let now = runtime()
                .block_on(first_run(&path, u64::from(round % 2 == 0), |_| {}))
                .unwrap_or_else(|error| panic!("round {round}, after {said:?}: {error:?}"));
            if let Some(seen) = seen {
                assert_eq!(now, seen, "a second identity, after {said:?}");
            }
            let again = runtime().block_on(first_run(&path, 1, |_| {}));
            assert_eq!(again.expect("a whole store opens"), now);
        }
    }
    println!("{kills} first runs of {whole:?} were killed; the last thing they did: {stages:?}");
}

/// Kills while rows are written and keys of each kind are changed, all on one file.
#[test]
fn acknowledged_writes_survive_a_kill_at_any_moment() {
    let mut rng = StdRng::seed_from_u64(seed() ^ 1);
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("store.db");
    runtime()
        .block_on(first_run(&path, 0, |_| {}))
        .expect("a first run");
    let mut ledger = Ledger::default();
    ledger.acknowledge(0);

    let rounds = if long() { 40 } else { 5 };
    let (mut rotations, mut kills) = (0, 0);
    for round in 0..rounds {
        for mode in MODES {
            let from = (ledger.last + 1).to_string();
            let job = [mode, path.to_str().expect("UTF-8"), &from];
            let mut child = Child::run("kill::child", &job);
            assert_eq!(child.next().as_deref(), Some("ready"), "{mode}");
            let mut said = Vec::new();
            for _ in 0..rng.random_range(0..2 * KINDS) {
                said.push(child.next().expect("it works until it is killed"));
            }
            std::thread::sleep(Duration::from_micros(rng.random_range(0..20_000)));
            said.extend(child.kill());
            kills += 1;
            for line in &said {
                if let Some(n) = line.strip_prefix("wrote ") {
                    ledger.acknowledge(n.parse().expect("a number"));
                }
                rotations += u32::from(line == "rotated");
            }
            runtime()
                .block_on(check(&path, mode, &said, &ledger))
                .unwrap_or_else(|error| panic!("round {round}, {mode}: {error:?}"));
        }
    }
    println!(
        "{kills} kills, {} writes and {rotations} rotations acknowledged, {} places checked each time",
        ledger.last,
        ledger.places()
    );
    assert!(ledger.last > u64::from(kills as u32) && rotations > 0);
}

/// Opens what the kill left and looks at all of it.
async fn check(path: &Path, mode: &str, said: &[String], ledger: &Ledger) -> Result<()> {
    if mode == "slots" {
        check_slots(path, said).await?;
    }
    let (_keyring, store) = open(path).await?;
    ensure!(store.account().state() == AccountState::Live);
    ensure!(store.exists().await?, "the account looks new");
    ledger.check(&store).await
}

/// What the last step on a slot means for the keys that open the keyring now.
async fn check_slots(path: &Path, said: &[String]) -> Result<()> {
    let last = said.iter().rev().find_map(|line| {
        let (step, key) = line.split_once(' ')?;
        Some((step, key.parse::<u8>().ok()?)).filter(|_| step != "wrote")
    });
    let Some((step, key)) = last else {
        return Ok(());
    };
    let (before, after) = (opens(path, key).await?, opens(path, key + 1).await?);
    match step {
        "added" => ensure!(before != after, "the slot opens with neither or both keys"),
        // It may be removed already, but the old key is gone for good.
        "changed" => ensure!(!before, "the old key still opens"),
        "removed" => ensure!(!before && !after, "a removed slot still opens"),
        other => bail!("{other} is no step"),
    }
    Ok(())
}

async fn opens(path: &Path, key: u8) -> Result<bool> {
    match KeyringOptions::new()
        .open(SqliteKeyring::at(path), &raw_key_of(key))
        .await
    {
        Ok(_) => Ok(true),
        Err(SealError::WrongKey) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Does nothing in a normal run: a first run that starts on a signal, for `openers`.
#[test]
fn starter() {
    let Some(job) = job() else { return };
    let [path, how] = &job[..] else {
        panic!("a job has two parts")
    };
    say("ready");
    hear();
    let how: u64 = how.parse().expect("a number");
    match runtime().block_on(first_run(Path::new(path), how, |_| {})) {
        Ok(seen) => say(&format!("seen {seen}")),
        Err(error) => say(&format!("refused {}", crate::openers::kind_of(&error))),
    }
}
