//! After `lock`, and after the idle time, no key is left to use: a desktop that is left alone, or a
//! process that is dumped, must not give its store away. And `unlock` brings everything back, or
//! leaves it closed.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_store::{AuditEvent, Keyring, KeyringOptions, SealError, Table};
use support::{Events, Shelf, Yielding, dropped_after, eventually, passphrase, raw, refused};

#[tokio::test]
async fn a_closed_keyring_does_nothing() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        let account = keyring.create_account("1").await.unwrap();
        keyring.add_slot("two", &raw(2)).await.unwrap();
        let revisions = keyring.revisions().await.unwrap();
        let clone = keyring.clone();
        assert!(keyring.is_open());
        clone.lock();
        clone.lock();
        assert!(!keyring.is_open(), "clones share their keys");
        let none: &[(u32, &dyn sealed_store::KeyProvider)] = &[];
        for result in [
            keyring.accounts().await.map(drop),
            keyring.account("1").await.map(drop),
            keyring.account("2").await.map(drop),
            keyring.create_account("2").await.map(drop),
            keyring.account_or_create("2").await.map(drop),
            keyring.slots().await.map(drop),
            keyring.revisions().await.map(drop),
            keyring.add_slot("more", &raw(3)).await.map(drop),
            keyring.remove_slot(1).await,
            keyring
                .change_passphrase(1, &raw(1), &raw(3))
                .await
                .map(drop),
            keyring
                .rotate_root(&[(1, &raw(1)), (2, &raw(2))], &[])
                .await,
            keyring.rotate_root(none, &[]).await,
            keyring.rotate_data_keys(&[Table::Session]).await,
            account.rotate_data_keys(&[Table::Session]).await,
        ] {
            let error = refused(result);
            assert!(matches!(error, SealError::NotOpen), "{error:?}");
        }
        // What is no secret is still there.
        assert_eq!(account.name(), "1");
        keyring.unlock(&raw(2)).await.unwrap();
        assert_eq!(keyring.revisions().await.unwrap(), revisions);
    }
}

#[tokio::test]
async fn unlock_brings_back_accounts_that_were_open() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&passphrase("right")).await.unwrap();
        let account = keyring.create_account("1").await.unwrap();
        keyring.lock();
        for wrong in ["wrong", "Right"] {
            let error = refused(keyring.unlock(&passphrase(wrong)).await);
            assert!(matches!(error, SealError::WrongKey), "{error:?}");
            assert!(!keyring.is_open());
            assert!(matches!(
                refused(keyring.accounts().await),
                SealError::NotOpen
            ));
        }
        keyring.unlock(&passphrase("right")).await.unwrap();
        assert!(keyring.is_open());
        account.rotate_data_keys(&[Table::Session]).await.unwrap();
        assert_eq!(keyring.account("1").await.unwrap().uid(), account.uid());

        // While it is open, a wrong provider changes nothing, and a right one does no harm.
        refused(keyring.unlock(&passphrase("wrong")).await);
        assert!(keyring.is_open());
        keyring.unlock(&passphrase("right")).await.unwrap();
        account.rotate_data_keys(&[Table::Session]).await.unwrap();
    }
}

/// What was changed while it was closed holds after `unlock`.
#[tokio::test]
async fn unlock_reads_everything_again() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        let account = keyring.create_account("1").await.unwrap();
        keyring.add_slot("two", &raw(2)).await.unwrap();
        keyring.lock();
        let other = shelf.open(&raw(2)).await.unwrap();
        other.remove_slot(1).await.unwrap();
        other.create_account("2").await.unwrap();
        other.rotate_data_keys(&[Table::Session]).await.unwrap();
        drop(other);
        assert!(matches!(
            refused(keyring.unlock(&raw(1)).await),
            SealError::WrongKey
        ));
        keyring.unlock(&raw(2)).await.unwrap();
        assert_eq!(keyring.accounts().await.unwrap(), ["1", "2"]);
        assert_eq!(keyring.slots().await.unwrap().len(), 1);
        account.rotate_data_keys(&[Table::Session]).await.unwrap();
        assert_eq!(keyring.revisions().await.unwrap()["account:1"], 3);
    }
}

/// What was damaged, replaced or removed while it was closed keeps it closed.
#[tokio::test]
async fn unlock_over_damaged_documents_stays_closed() {
    for [shelf, other] in [Shelf::sqlite, Shelf::backend].map(|make| [make(), make()]) {
        drop(other.create(&raw(1)).await.unwrap());
        let keyring = shelf.create(&raw(1)).await.unwrap();
        let account = keyring.create_account("1").await.unwrap();
        let (revision, good) = shelf.document("account:1").await;
        let mut bad = good.clone();
        bad[100] ^= 1;
        keyring.lock();
        shelf.set("account:1", revision, &bad).await;
        let error = refused(keyring.unlock(&raw(1)).await);
        assert!(
            matches!(error, SealError::CorruptKeyring { .. }),
            "{error:?}"
        );
        assert!(!keyring.is_open());
        shelf.remove("account:1").await;
        assert!(matches!(
            refused(keyring.unlock(&raw(1)).await),
            SealError::UnknownAccount
        ));
        assert!(!keyring.is_open());
        shelf.set("account:1", revision, &good).await;

        // Another whole keyring, which the same key opens.
        let (revision, good) = shelf.document("keyring").await;
        let (_, theirs) = other.document("keyring").await;
        shelf.set("keyring", revision, &theirs).await;
        assert!(matches!(
            refused(keyring.unlock(&raw(1)).await),
            SealError::WrongKeyring
        ));
        assert!(!keyring.is_open());
        shelf.remove("keyring").await;
        assert!(matches!(
            refused(keyring.unlock(&raw(1)).await),
            SealError::NoKeyring
        ));
        assert!(!keyring.is_open());
        shelf.set("keyring", revision, &good).await;
        keyring.unlock(&raw(1)).await.unwrap();
        account.rotate_data_keys(&[Table::Session]).await.unwrap();
    }
}

/// A rolled-back document is refused by `unlock` as it is by `open`.
#[tokio::test]
async fn unlock_heeds_the_pins() {
    let shelf = Shelf::sqlite();
    let keyring = shelf.create(&raw(1)).await.unwrap();
    let (_, old) = shelf.document("keyring").await;
    keyring.add_slot("two", &raw(2)).await.unwrap();
    let pinned = keyring.revisions().await.unwrap()["keyring"];
    drop(keyring);
    let options = KeyringOptions::new().pin_revision("keyring", pinned);
    let keyring = shelf.open_with(options, &raw(1)).await.unwrap();
    keyring.lock();
    shelf.set("keyring", 1, &old).await;
    assert!(matches!(
        refused(keyring.unlock(&raw(1)).await),
        SealError::RolledBack { found: 1, .. }
    ));
    assert!(!keyring.is_open());
}

async fn watched(shelf: &Shelf) -> (Keyring, Events) {
    let events = Events::default();
    let keyring = KeyringOptions::new()
        .audit(Arc::new(events.clone()))
        .open_or_create(shelf.store(), &raw(1))
        .await
        .unwrap();
    (keyring, events)
}

fn wiped_by_idle(events: &Events) -> usize {
    events
        .seen()
        .iter()
        .filter(|event| matches!(event, AuditEvent::KeysWiped { idle: true, .. }))
        .count()
}

/// Seen through the sink alone: no call goes into the library meanwhile.
#[tokio::test]
async fn the_idle_time_wipes_the_keys_with_no_further_call() {
    let shelf = Shelf::backend();
    let (keyring, events) = watched(&shelf).await;
    let account = keyring.create_account("1").await.unwrap();
    keyring.auto_lock(Some(Duration::from_millis(50))).unwrap();
    eventually("wiped", || wiped_by_idle(&events) == 1).await;
    assert!(!keyring.is_open());
    assert!(matches!(
        refused(account.rotate_data_keys(&[Table::Session]).await),
        SealError::NotOpen
    ));

    // And again after each unlock, once each time.
    for round in 2..=3 {
        keyring.unlock(&raw(1)).await.unwrap();
        eventually("wiped again", || wiped_by_idle(&events) == round).await;
        assert!(!keyring.is_open());
    }
}

/// Use by a running client is not use by a person: only `touch` counts.
#[tokio::test]
async fn work_does_not_defer_the_deadline() {
    let shelf = Shelf::backend();
    let (keyring, _) = watched(&shelf).await;
    let account = keyring.create_account("1").await.unwrap();
    keyring.auto_lock(Some(Duration::from_millis(200))).unwrap();
    let start = Instant::now();
    while account.rotate_data_keys(&[Table::Session]).await.is_ok() {
        assert!(start.elapsed() < Duration::from_secs(60), "never wiped");
        keyring.accounts().await.ok();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!keyring.is_open());
}

#[tokio::test]
async fn touch_defers_the_deadline() {
    const IDLE: Duration = Duration::from_millis(500);
    let shelf = Shelf::backend();
    let (keyring, events) = watched(&shelf).await;
    // A machine that stalls longer than the idle time proves nothing: try again then.
    for _ in 0..20 {
        keyring.unlock(&raw(1)).await.unwrap();
        events.take();
        keyring.auto_lock(Some(IDLE)).unwrap();
        let (start, mut last) = (Instant::now(), Instant::now());
        let mut stalled = false;
        while start.elapsed() < 3 * IDLE {
            tokio::time::sleep(Duration::from_millis(10)).await;
            stalled |= last.elapsed() > IDLE / 2;
            last = Instant::now();
            keyring.touch();
        }
        if stalled {
            continue;
        }
        assert_eq!(wiped_by_idle(&events), 0, "it was wiped in spite of touch");
        assert!(keyring.is_open());
        eventually("wiped", || wiped_by_idle(&events) == 1).await;
        assert!(last.elapsed() >= IDLE, "wiped before its time");
        return;
    }
    panic!("the machine stalled twenty times");
}

#[tokio::test]
async fn none_ends_automatic_locking() {
    const IDLE: Duration = Duration::from_millis(200);
    let shelf = Shelf::backend();
    let (keyring, events) = watched(&shelf).await;
    for _ in 0..20 {
        keyring.unlock(&raw(1)).await.unwrap();
        events.take();
        let start = Instant::now();
        keyring.auto_lock(Some(IDLE)).unwrap();
        keyring.auto_lock(None).unwrap();
        if start.elapsed() > IDLE / 2 {
            continue;
        }
        tokio::time::sleep(2 * IDLE).await;
        assert_eq!(wiped_by_idle(&events), 0);
        assert!(keyring.is_open());
        // And it can be switched on again.
        keyring.auto_lock(Some(Duration::ZERO)).unwrap();
        eventually("wiped", || wiped_by_idle(&events) == 1).await;
        return;
    }
    panic!("the machine stalled twenty times");
}

#[tokio::test]
async fn a_shorter_idle_time_holds_at_once() {
    let shelf = Shelf::backend();
    let (keyring, events) = watched(&shelf).await;
    keyring.auto_lock(Some(Duration::from_secs(3_600))).unwrap();
    keyring.auto_lock(Some(Duration::from_millis(30))).unwrap();
    eventually("wiped", || wiped_by_idle(&events) == 1).await;
}

/// A watcher that kept the keyring alive would keep its keys in memory, and the store in use.
#[tokio::test]
async fn the_watcher_does_not_keep_a_dropped_keyring() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(1)).await.unwrap();
        let other = shelf.open(&raw(1)).await.unwrap();
        keyring.auto_lock(Some(Duration::from_secs(3_600))).unwrap();
        drop(keyring);
        other.rotate_root(&[(1, &raw(1))], &[]).await.unwrap();
    }
}

/// An unlock that is given up half-way must not leave keys in memory that no deadline watches.
#[tokio::test]
async fn an_unlock_that_is_dropped_leaves_no_unwatched_keys() {
    let shelf = Shelf::backend();
    let events = Events::default();
    let keyring = KeyringOptions::new()
        .audit(Arc::new(events.clone()))
        .create(Yielding::new(shelf.store()), &raw(1))
        .await
        .unwrap();
    let account = keyring.create_account("1").await.unwrap();
    // How many polls a whole one takes.
    let mut whole = 0;
    keyring.lock();
    while dropped_after(whole, keyring.unlock(&raw(1)))
        .await
        .is_none()
    {
        keyring.lock();
        whole += 1;
    }
    assert!(whole >= 4, "it is never dropped half-way");
    for polls in 0..=whole {
        events.take();
        keyring.auto_lock(Some(Duration::ZERO)).unwrap();
        eventually("wiped", || wiped_by_idle(&events) == 1).await;
        // The deadline may also pass in its middle: then it fails, and is closed too.
        let _ = dropped_after(polls, keyring.unlock(&raw(1))).await;
        eventually("closed again", || !keyring.is_open()).await;
        // And a whole one works after it.
        keyring.auto_lock(None).unwrap();
        keyring.unlock(&raw(1)).await.unwrap();
        account.rotate_data_keys(&[Table::Session]).await.unwrap();
    }
}

/// A service that opens keyrings all day must not gather threads. (A pool's workers used to stay for
/// half a minute each, until the process could start no more and was aborted.)
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_dropped_keyring_leaves_no_thread_behind() {
    const TIMES: usize = 150;
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let shelf = Shelf::sqlite();
    drop(shelf.create(&raw(1)).await.unwrap());
    for _ in 0..TIMES {
        drop(shelf.open(&raw(1)).await.unwrap());
        refused(shelf.open(&raw(2)).await);
    }
    // Some are those of the tests beside this one.
    let left = threads();
    assert!(left < TIMES, "{left} threads");
}
