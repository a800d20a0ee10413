//! Two openers that make one account at once: one identity, never two.
//!
//! A loser may be told to try again; then, with the winner still there, he finds what the winner
//! made. What he must never be told is that the store is somebody's plain one, damaged or emptied.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sealed_store::testing::full_device;
use sealed_store::{Account, Keyring, SealError, SealedBackend, SqliteKeyring};
use tempfile::TempDir;
use wacore::store::error::StoreError;
use wacore::store::traits::{Backend, DeviceStore};

use crate::child::Child;
use crate::common::{raw_key, sqlite};
use crate::world::{World, run};
use crate::{long, seed};

type Identity = Vec<u8>;

/// What an opener ended with: what he saw, while he holds it, or why he was refused.
type Outcome<B> = Result<(Identity, SealedBackend<B>), anyhow::Error>;

/// The variant's name of an error of ours; else its whole text.
pub fn kind_of(error: &anyhow::Error) -> String {
    let ours = error.downcast_ref::<SealError>();
    let ours = ours.or_else(|| error.downcast_ref::<StoreError>().and_then(SealError::of));
    match ours {
        Some(ours) => format!("{ours:?}"),
        None => format!("{error:#}"),
    }
}

/// As a client that starts: makes a device if there is none, and looks at it. `saves`: one that has
/// its device already, as after a restore.
async fn start<B: Backend>(account: Account, inner: Arc<B>, saves: bool) -> Outcome<B> {
    let store = SealedBackend::open(inner, account).await?;
    if !store.exists().await? {
        if saves {
            store.save(&full_device()).await?;
        } else {
            store.create().await?;
        }
    }
    let device = store.load().await?;
    let device = device.ok_or_else(|| anyhow::anyhow!("the device is gone again"))?;
    let identity = device.identity_key.public_key.serialize().to_vec();
    Ok((identity, store))
}

/// Refused in words that say what to do: try again, or open what is there.
fn refused_well(kind: &str) -> bool {
    matches!(kind, "InUse" | "Conflict" | "AccountExists")
}

type Task<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Polls two futures in a random order until both are ready.
fn interleave<T>(rng: &mut StdRng, mut tasks: [Task<'_, T>; 2]) -> [T; 2] {
    let mut context = Context::from_waker(Waker::noop());
    let mut done = [None, None];
    for _ in 0..100_000 {
        let turn = rng.random_range(0..2);
        // In runs, so that one is often far ahead of the other.
        for _ in 0..rng.random_range(1..12) {
            if done[turn].is_none()
                && let Poll::Ready(value) = tasks[turn].as_mut().poll(&mut context)
            {
                done[turn] = Some(value);
            }
        }
        if done.iter().all(Option::is_some) {
            return done.map(|value| value.expect("just looked"));
        }
    }
    panic!("two openers wait for each other for ever");
}

/// Every order in which two openers' calls can fall, by chance: in memory, where every call of the
/// rows and of the keyring is a point at which the other may come in.
#[test]
fn one_identity_whatever_the_order_of_their_calls() {
    let mut rng = StdRng::seed_from_u64(seed() ^ 2);
    let rounds = if long() { 3_000 } else { 250 };
    let (mut both, mut one) = (0, 0);
    for round in 0..rounds {
        let world = World::new();
        world.inner.yields(true);
        let opener = |saves| {
            let world = &world;
            async move {
                let account = world.keyring().await?.account_or_create("1").await?;
                start(account, Arc::clone(&world.inner), saves).await
            }
        };
        let saves = [rng.random(), rng.random()];
        let outcomes = interleave(
            &mut rng,
            saves.map(|saves| Box::pin(opener(saves)) as Task<'_, Outcome<_>>),
        );
        world.inner.yields(false);
        let mut seen = BTreeSet::new();
        for outcome in &outcomes {
            match outcome {
                Ok((identity, _)) => drop(seen.insert(identity.clone())),
                Err(error) => assert!(refused_well(&kind_of(error)), "round {round}: {error:?}"),
            }
        }
        both += u32::from(outcomes.iter().all(Result::is_ok));
        one += u32::from(outcomes.iter().filter(|outcome| outcome.is_ok()).count() == 1);
        let again = run(opener(false));
        if seen.is_empty() {
            // Each stood in the other's way, and both are gone now.
            drop(outcomes);
            run(opener(false)).expect("nobody is in the way");
            continue;
        }
        let (now, _) = again.expect("what one opener made, another opens");
        seen.insert(now);
        assert_eq!(seen.len(), 1, "round {round}: a second identity");
        for (_, store) in outcomes.into_iter().flatten() {
            let device = run(store.load()).expect("it loads").expect("it is there");
            let identity = device.identity_key.public_key.serialize();
            assert!(
                seen.contains(identity.as_slice()),
                "round {round}: it changed"
            );
        }
    }
    println!("{rounds} orders: both came in {both} times, one was told to try again {one} times");
    assert!(
        both > 0 && one > 0,
        "the orders are not what they should be"
    );
}

/// Two handles on one SQLite file in one process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_identity_on_one_file_in_one_process() {
    let folder = TempDir::new().expect("a folder");
    for round in 0..if long() { 100 } else { 12 } {
        let path = folder.path().join(format!("{round}.db"));
        // Upstream's own migrations are not made for two at once.
        drop(sqlite(&path).await);
        let opener = |saves| {
            let path = path.clone();
            tokio::spawn(async move {
                let keyring = Keyring::open_or_create(SqliteKeyring::at(&path), &raw_key()).await?;
                let account = keyring.account_or_create("1").await?;
                start(account, sqlite(&path).await, saves).await
            })
        };
        let (first, second) = tokio::join!(opener(false), opener(round % 2 == 0));
        let outcomes = [first.expect("no panic"), second.expect("no panic")];
        let mut seen = BTreeSet::new();
        for outcome in &outcomes {
            match outcome {
                Ok((identity, _)) => drop(seen.insert(identity.clone())),
                Err(error) => assert!(refused_well(&kind_of(error)), "round {round}: {error:?}"),
            }
        }
        drop(outcomes);
        let again = opener(false).await.expect("no panic");
        seen.insert(again.expect("what was made opens").0);
        assert_eq!(seen.len(), 1, "round {round}: a second identity");
    }
}

/// Two processes on one SQLite file.
#[test]
fn one_identity_on_one_file_in_two_processes() {
    let folder = TempDir::new().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut refusals = Vec::new();
    for round in 0..if long() { 60 } else { 6 } {
        let path = folder.path().join(format!("{round}.db"));
        drop(runtime.block_on(sqlite(&path)));
        let start = |how| {
            let job = [path.to_str().expect("UTF-8"), how];
            let mut child = Child::run("kill::starter", &job);
            assert_eq!(child.next().as_deref(), Some("ready"));
            child
        };
        let mut children = [start("0"), start("1")];
        for child in &mut children {
            child.tell("go");
        }
        let mut seen = BTreeSet::new();
        for child in children {
            let said = child.finish().pop().expect("an outcome");
            match said.split_once(' ') {
                Some(("seen", identity)) => drop(seen.insert(identity.to_owned())),
                Some(("refused", kind)) if refused_well(kind) => {
                    refusals.push(kind.to_owned());
                }
                _ => panic!("round {round}: {said}"),
            }
        }
        let mut last = start("0");
        last.tell("go");
        let said = last.finish().pop().expect("an outcome");
        seen.insert(said.trim_start_matches("seen ").to_owned());
        assert_eq!(seen.len(), 1, "round {round}: {seen:?}");
    }
    println!("told to try again: {refusals:?}");
}
