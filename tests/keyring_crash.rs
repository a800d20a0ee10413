//! A change of the keyring that stops half-way loses nothing: rotations that were killed in between
//! left peers with mixed keys, or threw the old key away first. Each operation is stopped at each of
//! its writes, before and after the write took effect, by a kill (all in memory is gone), by one
//! failing write (the process goes on), and by dropping its future wherever it waits.

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sealed_store::{
    Keyring, KeyringStore, LockGuard, LockMode, Occupied, Revision, SealError, StoreFault,
    StoreFaultKind, Table,
};
use serde_json::Value;
use support::{Shelf, Store, Yielding, account_body, dropped_after, raw, refused, split};

/// When a write fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    /// It never happened.
    Before,
    /// It happened, and nobody was told.
    After,
}

/// What follows the failing write.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    /// Nothing works any more: the process was killed.
    Dead,
    /// All works again: it was one bad write.
    Fine,
}

#[derive(Default)]
struct Plan {
    writes: usize,
    fail: Option<(usize, When, Then)>,
    dead: bool,
}

/// A store that fails as planned.
#[derive(Clone)]
struct Faulty {
    inner: Store,
    plan: Arc<Mutex<Plan>>,
}

fn fault() -> StoreFault {
    StoreFault::new(StoreFaultKind::Io, "this test's store fails as planned")
}

impl Faulty {
    fn new(inner: Store) -> Self {
        Self {
            inner,
            plan: Arc::default(),
        }
    }

    /// Lets the write number `write`, from 1, fail.
    fn arm(&self, write: usize, when: When, then: Then) {
        *self.plan.lock().unwrap() = Plan {
            fail: Some((write, when, then)),
            ..Plan::default()
        };
    }

    fn disarm(&self) {
        *self.plan.lock().unwrap() = Plan::default();
    }

    fn check(&self) -> Result<(), StoreFault> {
        match self.plan.lock().unwrap().dead {
            true => Err(fault()),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl KeyringStore for Faulty {
    async fn get(&self, name: &str) -> Result<Option<(Revision, Vec<u8>)>, StoreFault> {
        self.check()?;
        self.inner.get(name).await
    }

    async fn put(
        &self,
        name: &str,
        expected: Option<Revision>,
        bytes: &[u8],
    ) -> Result<Revision, StoreFault> {
        self.check()?;
        let failing = {
            let mut plan = self.plan.lock().unwrap();
            plan.writes += 1;
            let failing = plan.fail.filter(|(write, ..)| *write == plan.writes);
            if let Some((_, _, then)) = failing {
                plan.dead = then == Then::Dead;
            }
            failing
        };
        match failing {
            None => self.inner.put(name, expected, bytes).await,
            Some((_, When::Before, _)) => Err(fault()),
            Some((_, When::After, _)) => {
                self.inner.put(name, expected, bytes).await?;
                Err(fault())
            }
        }
    }

    async fn list(&self) -> Result<Option<Vec<String>>, StoreFault> {
        self.check()?;
        self.inner.list().await
    }

    async fn occupied(&self) -> Result<Occupied, StoreFault> {
        self.check()?;
        self.inner.occupied().await
    }

    async fn lock(&self, mode: LockMode) -> Result<LockGuard, StoreFault> {
        self.check()?;
        self.inner.lock(mode).await
    }
}

const ACCOUNTS: [&str; 3] = ["a", "b", "c"];

/// What is stopped half-way.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Operation {
    CreateAccount,
    AddSlot,
    ChangePassphrase,
    RemoveSlot,
    RotateRoot,
    ReplaceSlot,
    RotateDataKeys,
}

impl Operation {
    const ALL: [Self; 7] = [
        Self::CreateAccount,
        Self::AddSlot,
        Self::ChangePassphrase,
        Self::RemoveSlot,
        Self::RotateRoot,
        Self::ReplaceSlot,
        Self::RotateDataKeys,
    ];

    async fn run(self, keyring: &Keyring) -> Result<(), SealError> {
        match self {
            Self::CreateAccount => keyring.create_account("d").await.map(drop),
            Self::AddSlot => keyring.add_slot("three", &raw(3)).await.map(drop),
            Self::ChangePassphrase => keyring
                .change_passphrase(1, &raw(1), &raw(4))
                .await
                .map(drop),
            Self::RemoveSlot => keyring.remove_slot(2).await,
            Self::RotateRoot => keyring.rotate_root(&[(1, &raw(1))], &[2]).await,
            Self::ReplaceSlot => keyring
                .replace_slot(1, &raw(4), &[(2, &raw(2))], &[])
                .await
                .map(drop),
            Self::RotateDataKeys => {
                keyring
                    .rotate_data_keys(&[Table::Session, Table::Identity])
                    .await
            }
        }
    }

    /// The raw keys that open the keyring before and after.
    fn openers(self) -> [&'static [u8]; 2] {
        match self {
            Self::CreateAccount | Self::RotateDataKeys => [&[1, 2], &[1, 2]],
            Self::AddSlot => [&[1, 2], &[1, 2, 3]],
            Self::ChangePassphrase | Self::ReplaceSlot => [&[1, 2], &[2, 4]],
            Self::RemoveSlot | Self::RotateRoot => [&[1, 2], &[1]],
        }
    }
}

/// The slots 1 and 2 of raw keys of these bytes, and three accounts.
async fn filled() -> (Shelf, Vec<[u8; 16]>) {
    let shelf = Shelf::backend();
    let uids = fill(&shelf).await;
    (shelf, uids)
}

async fn fill(shelf: &Shelf) -> Vec<[u8; 16]> {
    let keyring = shelf.create(&raw(1)).await.unwrap();
    keyring.add_slot("two", &raw(2)).await.unwrap();
    let mut uids = Vec::new();
    for name in ACCOUNTS {
        uids.push(keyring.create_account(name).await.unwrap().uid());
    }
    uids
}

async fn keyring_body(shelf: &Shelf) -> Value {
    let (_, bytes) = shelf.document("keyring").await;
    serde_json::from_str(split(&String::from_utf8(bytes).unwrap()).1).unwrap()
}

/// Which raw keys open the keyring. (Opening it alone finishes what was interrupted.)
async fn openers(shelf: &Shelf) -> Vec<u8> {
    let mut open = Vec::new();
    for byte in 1..=4 {
        match shelf.open(&raw(byte)).await {
            Ok(_) => open.push(byte),
            Err(SealError::WrongKey) => {}
            Err(error) => panic!("raw key {byte}: {error:?}"),
        }
    }
    open
}

/// All accounts are there, under their ids.
async fn readable(keyring: &Keyring, uids: &[[u8; 16]], what: &str) {
    let names = keyring.accounts().await.unwrap_or_else(|error| {
        panic!("{what}: the accounts: {error:?}");
    });
    for (name, uid) in ACCOUNTS.into_iter().zip(uids) {
        assert!(names.contains(&name.to_owned()), "{what}: {names:?}");
        let account = keyring.account(name).await.unwrap_or_else(|error| {
            panic!("{what}: account {name}: {error:?}");
        });
        assert_eq!(account.uid(), *uid, "{what}");
    }
    keyring.slots().await.unwrap_or_else(|error| {
        panic!("{what}: the slots: {error:?}");
    });
}

/// All accounts are there, and everything can be changed.
async fn works(keyring: &Keyring, uids: &[[u8; 16]], what: &str) {
    readable(keyring, uids, what).await;
    let result = async {
        keyring.rotate_data_keys(&[Table::Session]).await?;
        keyring.account_or_create("d").await?;
        let slot = keyring.add_slot("works", &raw(9)).await?;
        keyring.remove_slot(slot).await
    };
    result.await.unwrap_or_else(|error| {
        panic!("{what}: it can't be changed: {error:?}");
    });
}

/// The keyring is whole: it opens alone, everything is under one root, and nothing is left to do.
async fn whole(shelf: &Shelf, operation: Operation, uids: &[[u8; 16]], what: &str) -> Vec<u8> {
    let open = openers(shelf).await;
    assert!(
        operation.openers().contains(&open.as_slice()),
        "{what}: opened by {open:?}"
    );
    let body = keyring_body(shelf).await;
    assert!(body["previous_root"].is_null(), "{what}: unfinished");
    for byte in &open {
        let keyring = shelf.open(&raw(*byte)).await.unwrap();
        works(&keyring, uids, what).await;
    }
    for name in ACCOUNTS {
        let account = account_body(shelf, name).await;
        assert_eq!(account["root"], body["root"], "{what}: account {name}");
        // Exactly one key of each table seals, and it is the newest.
        let keys = account["keys"].as_array().unwrap();
        for table in Table::ALL {
            let of_table = keys.iter().filter(|key| key["table"] == table.name());
            let newest = of_table
                .clone()
                .max_by_key(|key| key["generation"].as_u64())
                .unwrap();
            let active: Vec<_> = of_table.filter(|key| key["state"] == "active").collect();
            assert_eq!(active, [newest], "{what}: {name}, {}", table.name());
        }
    }
    open
}

#[tokio::test]
async fn a_kill_at_any_write_loses_nothing() {
    for operation in Operation::ALL {
        let mut writes = 0;
        for write in 1.. {
            let mut done = false;
            for when in [When::Before, When::After] {
                let what = format!("{operation:?}, write {write} {when:?}");
                let (shelf, uids) = filled().await;
                let store = Faulty::new(shelf.store());
                let keyring = Keyring::open(store.clone(), &raw(1)).await.unwrap();
                let account = keyring.account("b").await.unwrap();
                store.arm(write, when, Then::Dead);
                let result = operation.run(&keyring).await;
                drop((keyring, account));
                let opened_by = whole(&shelf, operation, &uids, &what).await;
                if result.is_ok() {
                    // All its writes are done: what is acknowledged is there.
                    assert_eq!(opened_by, operation.openers()[1], "{what}");
                    done = true;
                }
            }
            if done {
                writes = write - 1;
                break;
            }
        }
        println!("{operation:?} was killed at each of its {writes} writes");
        let least = match operation {
            // The slots' numbers, the keyring, the index, three accounts, and the keyring again.
            Operation::RotateRoot | Operation::ReplaceSlot => 7,
            Operation::RotateDataKeys => 3,
            Operation::RemoveSlot => 1,
            _ => 2,
        };
        assert_eq!(writes, least, "{operation:?}");
    }
}

/// One failing write, and the process goes on with the handle it has.
#[tokio::test]
async fn after_a_failed_write_the_same_handle_works() {
    for operation in Operation::ALL {
        for write in 1.. {
            let mut done = false;
            for when in [When::Before, When::After] {
                let what = format!("{operation:?}, write {write} {when:?}, then fine");
                let (shelf, uids) = filled().await;
                let store = Faulty::new(shelf.store());
                let keyring = Keyring::open(store.clone(), &raw(1)).await.unwrap();
                let account = keyring.account("b").await.unwrap();
                store.arm(write, when, Then::Fine);
                let result = operation.run(&keyring).await;
                store.disarm();
                done |= result.is_ok();
                if let Err(error) = result {
                    assert!(
                        matches!(error, SealError::Keyring(_) | SealError::Conflict),
                        "{what}: {error:?}"
                    );
                }
                works(&keyring, &uids, &what).await;
                account
                    .rotate_data_keys(&[Table::Device])
                    .await
                    .unwrap_or_else(|error| panic!("{what}: {error:?}"));
                // Another one, beside it and after it.
                let beside = shelf.open(&raw(if write == 1 { 1 } else { 2 })).await;
                match beside {
                    Ok(beside) => works(&beside, &uids, &what).await,
                    Err(SealError::WrongKey) => {}
                    Err(error) => panic!("{what}: {error:?}"),
                }
                drop((keyring, account));
                whole(&shelf, operation, &uids, &what).await;
            }
            if done {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_kill_while_a_keyring_is_made_leaves_none_or_a_whole_one() {
    for when in [When::Before, When::After] {
        let shelf = Shelf::backend();
        let store = Faulty::new(shelf.store());
        store.arm(1, when, Then::Dead);
        let error = refused(Keyring::create(store, &raw(1)).await);
        assert!(matches!(error, SealError::Keyring(_)), "{error:?}");
        match when {
            When::Before => assert!(matches!(
                refused(shelf.open(&raw(1)).await),
                SealError::NoKeyring
            )),
            When::After => drop(shelf.open(&raw(1)).await.unwrap()),
        }
        let keyring = Keyring::open_or_create(shelf.store(), &raw(1)).await;
        keyring.unwrap().create_account("a").await.unwrap();
    }
    // The first account: its index is made too.
    for write in 1..=2 {
        for when in [When::Before, When::After] {
            let shelf = Shelf::backend();
            let store = Faulty::new(shelf.store());
            let keyring = Keyring::create(store.clone(), &raw(1)).await.unwrap();
            store.arm(write, when, Then::Dead);
            refused(keyring.create_account("a").await);
            drop(keyring);
            let keyring = shelf.open(&raw(1)).await.unwrap();
            let made = keyring.account("a").await;
            assert_eq!(made.is_ok(), (write, when) == (2, When::After));
            let uid = keyring.account_or_create("a").await.unwrap().uid();
            assert!(made.map_or(true, |made| made.uid() == uid));
            assert_eq!(keyring.accounts().await.unwrap(), ["a"]);
        }
    }
}

/// While somebody else has the keyring open, an interrupted rotation is left alone, and everything
/// can be read and changed all the same. The next who is alone finishes it.
#[tokio::test]
async fn an_interrupted_rotation_is_finished_by_the_next_who_is_alone() {
    for (write, when) in [
        // The first write claims the slots' numbers.
        (2, When::After),
        (3, When::Before),
        (3, When::After),
        (4, When::After),
        (5, When::Before),
        (6, When::After),
        (7, When::Before),
    ] {
        let what = format!("write {write} {when:?}");
        let (shelf, uids) = filled().await;
        let store = Faulty::new(shelf.store());
        let keyring = Keyring::open(store.clone(), &raw(1)).await.unwrap();
        store.arm(write, when, Then::Dead);
        refused(Operation::RotateRoot.run(&keyring).await);
        drop(keyring);
        let unfinished = |body: &Value| !body["previous_root"].is_null();
        assert!(unfinished(&keyring_body(&shelf).await), "{what}");

        let somebody = shelf.store().lock(LockMode::Shared).await.unwrap();
        let one = shelf.open(&raw(1)).await.unwrap();
        let other = shelf.open(&raw(1)).await.unwrap();
        readable(&one, &uids, &what).await;
        assert!(unfinished(&keyring_body(&shelf).await), "{what}");
        let error = refused(one.rotate_root(&[(3, &raw(1))], &[]).await);
        assert!(matches!(error, SealError::InUse), "{what}: {error:?}");
        works(&one, &uids, &what).await;
        works(&other, &uids, &what).await;
        one.lock();
        one.unlock(&raw(1)).await.unwrap();
        works(&one, &uids, &what).await;
        assert!(unfinished(&keyring_body(&shelf).await), "{what}");
        drop((one, other, somebody));

        let alone = shelf.open(&raw(1)).await.unwrap();
        assert!(!unfinished(&keyring_body(&shelf).await), "{what}");
        works(&alone, &uids, &what).await;
        drop(alone);
        whole(&shelf, Operation::RotateRoot, &uids, &what).await;
    }
}

/// A kill while the interrupted rotation is being finished is finished too.
#[tokio::test]
async fn a_kill_while_finishing_is_finished_by_the_next() {
    let (shelf, uids) = filled().await;
    let store = Faulty::new(shelf.store());
    let keyring = Keyring::open(store.clone(), &raw(1)).await.unwrap();
    store.arm(2, When::After, Then::Dead);
    refused(Operation::RotateRoot.run(&keyring).await);
    drop(keyring);
    // One write each time: the index, three accounts, and the keyring.
    for round in 1..=5 {
        let store = Faulty::new(shelf.store());
        store.arm(2, When::Before, Then::Dead);
        // What can't be finished now does not keep the keyring from being opened.
        drop(Keyring::open(store, &raw(1)).await.unwrap());
        let left = !keyring_body(&shelf).await["previous_root"].is_null();
        assert_eq!(left, round < 5, "round {round}");
    }
    whole(&shelf, Operation::RotateRoot, &uids, "finishing").await;
}

/// Runs `operation` on `shelf`, dropped at its pause number `pause`. `true` if it came to its end.
async fn dropped_at(pause: usize, operation: Operation, shelf: &Shelf, what: &str) -> bool {
    let uids = fill(shelf).await;
    let store = Yielding::new(shelf.store());
    let keyring = Keyring::open(store, &raw(1)).await.unwrap();
    let account = keyring.account("b").await.unwrap();
    let result = dropped_after(pause, operation.run(&keyring)).await;
    let done = result.is_some();
    if let Some(Err(error)) = result {
        panic!("{what}: {error:?}");
    }
    works(&keyring, &uids, what).await;
    account
        .rotate_data_keys(&[Table::Device])
        .await
        .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let beside: BTreeSet<u8> = openers(shelf).await.into_iter().collect();
    assert!(!beside.is_empty(), "{what}");
    works(&keyring, &uids, what).await;
    drop((keyring, account));
    whole(shelf, operation, &uids, what).await;
    done
}

#[tokio::test]
async fn a_future_that_is_dropped_anywhere_loses_nothing() {
    for operation in Operation::ALL {
        for pause in 0.. {
            let what = format!("{operation:?}, dropped at pause {pause}");
            if dropped_at(pause, operation, &Shelf::backend(), &what).await {
                println!("{operation:?} was dropped at each of its {pause} pauses");
                assert!(pause >= 4, "{operation:?}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_creation_that_is_dropped_anywhere_leaves_none_or_a_whole_one() {
    for make in [Shelf::backend, Shelf::sqlite] {
        for pause in 0.. {
            let shelf = make();
            let store = Yielding::new(shelf.store());
            let done = dropped_after(pause, Keyring::create(store, &raw(1)))
                .await
                .is_some();
            let keyring = Keyring::open_or_create(shelf.store(), &raw(1))
                .await
                .unwrap();
            keyring.create_account("a").await.unwrap();
            drop(keyring);
            shelf.open(&raw(1)).await.unwrap();
            if done {
                assert!(pause >= 4);
                break;
            }
        }
    }
}

/// In a file, a write that was begun runs to its end on its thread, whoever lost interest in it: the
/// change may become durable after its future was dropped.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_future_that_is_dropped_over_a_file_loses_nothing() {
    let long = std::env::var_os("SEALED_STORE_LONG").is_some_and(|value| value == "1");
    let seed = support::seed() as usize;
    for operation in Operation::ALL {
        let step = match operation {
            _ if long => 1,
            Operation::RotateRoot => 13,
            _ => 9,
        };
        let mut pause = seed % step;
        loop {
            let what = format!("{operation:?}, dropped at pause {pause} over a file");
            let shelf = Shelf::sqlite();
            let uids = fill(&shelf).await;
            let store = Yielding::new(shelf.store());
            let keyring = Keyring::open(store, &raw(1)).await.unwrap();
            let account = keyring.account("b").await.unwrap();
            let result = dropped_after(pause, operation.run(&keyring)).await;
            let done = result.is_some();
            if let Some(Err(error)) = result {
                panic!("{what}: {error:?}");
            }
            // At once, with the write perhaps still on its way.
            readable(&keyring, &uids, &what).await;
            support::eventually("the write came to its end", no_write_on_its_way).await;
            works(&keyring, &uids, &what).await;
            account.rotate_data_keys(&[Table::Device]).await.unwrap();
            drop((keyring, account));
            whole(&shelf, operation, &uids, &what).await;
            if done {
                break;
            }
            pause += step;
        }
    }
}

#[cfg(target_os = "linux")]
fn no_write_on_its_way() -> bool {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .all(|name| !name.starts_with("sealed-store-ke"))
}

/// Who gave up exclusive work half-way does not hold the keyring. Somebody else may rotate its root
/// then: what is written under the old one afterwards could never be read again.
#[tokio::test]
async fn who_lost_the_keyring_meets_a_new_root_before_writing() {
    let mut lost = 0;
    for pause in 0.. {
        let what = format!("dropped at pause {pause}");
        let shelf = Shelf::backend();
        drop(shelf.create(&raw(1)).await.unwrap());
        let one = Keyring::open(Yielding::new(shelf.store()), &raw(1))
            .await
            .unwrap();
        let rotated = dropped_after(pause, one.rotate_root(&[(1, &raw(1))], &[])).await;
        if rotated.is_some() {
            break;
        }
        let other = shelf.open(&raw(1)).await.unwrap();
        let slot = other.slots().await.unwrap()[0].slot;
        match other.rotate_root(&[(slot, &raw(1))], &[]).await {
            // It still holds the keyring.
            Err(SealError::InUse) => continue,
            other => other.unwrap(),
        }
        lost += 1;
        // Twice: the first refusal must not count as a look.
        for _ in 0..2 {
            let error = refused(one.create_account("a").await);
            assert!(matches!(error, SealError::RootChanged), "{what}: {error:?}");
        }
        assert!(shelf.get("accounts").await.is_none(), "{what}");
        other.create_account("a").await.unwrap();
        one.unlock(&raw(1)).await.unwrap();
        one.account("a").await.unwrap();
        one.create_account("b").await.unwrap();
    }
    assert!(lost > 4, "{lost}");
}

/// A second rotation finishes the first before it starts: the document has room for one old root, and
/// accounts under the one before that could never be read again.
#[tokio::test]
async fn a_rotation_after_an_interrupted_one_loses_nothing() {
    for write in 1..=6 {
        for when in [When::Before, When::After] {
            let what = format!("write {write} {when:?}");
            let (shelf, uids) = filled().await;
            let store = Faulty::new(shelf.store());
            let keyring = Keyring::open(store.clone(), &raw(1)).await.unwrap();
            store.arm(write, when, Then::Fine);
            refused(Operation::RotateRoot.run(&keyring).await);
            store.disarm();
            let slots = keyring.slots().await.unwrap();
            let drop_others: Vec<u32> = slots[1..].iter().map(|slot| slot.slot).collect();
            keyring
                .rotate_root(&[(slots[0].slot, &raw(1))], &drop_others)
                .await
                .unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert!(keyring_body(&shelf).await["previous_root"].is_null());
            works(&keyring, &uids, &what).await;
            drop(keyring);
            let open = whole(&shelf, Operation::RotateRoot, &uids, &what).await;
            assert_eq!(open, [1], "{what}");
        }
    }
}
