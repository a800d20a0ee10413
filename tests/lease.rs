//! A keyring that is open holds its keys whatever becomes of the provider that opened it, unless it has a lease: then a key
//! that was taken away closes it, and a service that is only away does not, for as long as was said.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sealed_store::{
    AuditEvent, Fields, KeyProvider, Keyring, KeyringOptions, Lease, NewSlot, Probe, ProviderError,
    ProviderErrorKind, Recipe, SealError, SlotContext,
};
use secrecy::SecretBox;
use support::{Events, Shelf, eventually, raw, refused};
use tokio::sync::{Mutex, mpsc};

/// What the provider answers to one question.
enum Answer {
    Right,
    Other,
    Kind(ProviderErrorKind),
    Panic,
    Never,
}

/// What happened to a question.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Asked(u32),
    Dropped,
}

/// Answers each question as the test says, when the test says it.
struct Scripted {
    key: &'static str,
    answers: Mutex<mpsc::UnboundedReceiver<Answer>>,
    seen: mpsc::UnboundedSender<Seen>,
    calls: AtomicUsize,
    /// A slot was made and not opened yet, which the keyring does before it keeps it: that is no question of the test's.
    just_made: AtomicBool,
}

/// The test's end of a [`Scripted`].
struct Script {
    answers: mpsc::UnboundedSender<Answer>,
    seen: mpsc::UnboundedReceiver<Seen>,
}

impl Script {
    fn new(key: &'static str) -> (Arc<Scripted>, Self) {
        let (answers, answered) = mpsc::unbounded_channel();
        let (see, seen) = mpsc::unbounded_channel();
        let provider = Scripted {
            key,
            answers: Mutex::new(answered),
            seen: see,
            calls: AtomicUsize::new(0),
            just_made: AtomicBool::new(false),
        };
        (Arc::new(provider), Self { answers, seen })
    }

    fn answer(&self, answer: Answer) {
        assert!(self.answers.send(answer).is_ok());
    }

    /// Waits for the next question, and tells of which slot.
    async fn asked(&mut self) -> u32 {
        match self.next().await {
            Seen::Asked(slot) => slot,
            Seen::Dropped => panic!("the question was dropped"),
        }
    }

    async fn next(&mut self) -> Seen {
        let seen = tokio::time::timeout(Duration::from_secs(60), self.seen.recv()).await;
        seen.expect("nothing in a minute").unwrap()
    }
}

/// Tells when a question is dropped unanswered.
struct Tell<'a>(&'a Scripted, bool);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if !self.1 {
            let _ = self.0.seen.send(Seen::Dropped);
        }
    }
}

#[async_trait]
impl KeyProvider for Scripted {
    fn kind(&self) -> &str {
        "scripted"
    }

    fn reference(&self) -> Fields {
        Fields::from([("key".into(), self.key.into())])
    }

    async fn generate(&self, _: &SlotContext) -> Result<NewSlot, ProviderError> {
        self.just_made.store(true, Ordering::SeqCst);
        Ok(NewSlot {
            secret: SecretBox::new(Box::new([7; 32])),
            material: Fields::new(),
        })
    }

    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        _: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        if self.just_made.swap(false, Ordering::SeqCst) {
            return Ok(SecretBox::new(Box::new([7; 32])));
        }
        self.calls.fetch_add(1, Ordering::SeqCst);
        let _ = self.seen.send(Seen::Asked(context.slot));
        let mut tell = Tell(self, false);
        let answer = self.answers.lock().await.recv().await;
        let result = match answer {
            Some(Answer::Right) => Ok(SecretBox::new(Box::new([7; 32]))),
            Some(Answer::Other) => Ok(SecretBox::new(Box::new([8; 32]))),
            Some(Answer::Kind(kind)) => Err(ProviderError::new(kind, "as scripted")),
            Some(Answer::Panic) => {
                tell.1 = true;
                panic!("as scripted")
            }
            Some(Answer::Never) | None => std::future::pending().await,
        };
        tell.1 = true;
        result
    }

    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::ready())
    }
}

const SOON: Duration = Duration::from_millis(5);
const HOUR: Duration = Duration::from_secs(3600);

fn lease(provider: &Arc<Scripted>) -> Lease {
    Lease::new(Arc::clone(provider) as Arc<dyn KeyProvider>, SOON).call(HOUR)
}

async fn created(
    shelf: &Shelf,
    provider: &Arc<Scripted>,
    lease: Lease,
    events: &Events,
) -> Keyring {
    KeyringOptions::new()
        .lease(lease)
        .audit(Arc::new(events.clone()))
        .create(shelf.store(), provider)
        .await
        .unwrap()
}

/// The events of a lease and of the wiping, by their names.
fn told(events: &Events) -> Vec<&'static str> {
    let name = |event: &AuditEvent| match event {
        AuditEvent::LeaseUnreachable { .. } => Some("unreachable"),
        AuditEvent::LeaseRecovered { .. } => Some("recovered"),
        AuditEvent::LeaseEnded { .. } => Some("ended"),
        AuditEvent::KeysWiped { idle: false, .. } => Some("wiped"),
        _ => None,
    };
    events.seen().iter().filter_map(name).collect()
}

async fn closed(keyring: &Keyring) {
    eventually("the keyring is closed", || !keyring.is_open()).await;
}

#[tokio::test]
async fn without_a_lease_nothing_asks_after_the_opening() {
    let (provider, mut script) = Script::new("one");
    let shelf = Shelf::sqlite();
    drop(shelf.create(&provider).await.unwrap());
    script.answer(Answer::Right);
    let keyring = shelf.open(&provider).await.unwrap();
    assert_eq!(script.asked().await, 1);
    let account = keyring.create_account("1").await.unwrap();
    account
        .rotate_data_keys(&[sealed_store::Table::Session])
        .await
        .unwrap();
    keyring.add_slot("second", &raw(1)).await.unwrap();
    keyring.slots().await.unwrap();
    assert_eq!(provider.calls.load(Ordering::SeqCst), 1);
    assert_eq!(Arc::strong_count(&provider), 1);
}

#[tokio::test]
async fn each_answer_that_takes_access_away_closes_the_keyring_at_that_check() {
    for (answer, reason) in [
        (Answer::Kind(ProviderErrorKind::Denied), "as scripted"),
        (Answer::Kind(ProviderErrorKind::Disabled), "as scripted"),
        (Answer::Kind(ProviderErrorKind::Destroyed), "as scripted"),
        (Answer::Kind(ProviderErrorKind::WrongKey), "as scripted"),
        (Answer::Kind(ProviderErrorKind::Corrupt), "as scripted"),
        (Answer::Kind(ProviderErrorKind::BadRequest), "as scripted"),
        (
            Answer::Kind(ProviderErrorKind::ContextMismatch),
            "as scripted",
        ),
        (Answer::Other, "wrong key"),
        (Answer::Panic, "panicked"),
    ] {
        let (provider, mut script) = Script::new("one");
        let (shelf, events) = (Shelf::backend(), Events::default());
        // An hour of grace is for services that can't be reached, and for nothing else.
        let keyring = created(&shelf, &provider, lease(&provider).grace(HOUR), &events).await;
        script.answer(Answer::Right);
        assert_eq!(script.asked().await, 1);
        assert_eq!(script.asked().await, 1);
        assert!(keyring.is_open(), "closed before the answer");
        script.answer(answer);
        closed(&keyring).await;
        eventually("the wiping", || told(&events) == ["ended", "wiped"]).await;
        assert!(matches!(keyring.accounts().await, Err(SealError::NotOpen)));
        let expected = |event: &AuditEvent| {
            matches!(event, AuditEvent::LeaseEnded { slot: 1, provider, reason: why, .. }
                if provider == "scripted" && why.contains(reason))
        };
        assert!(events.seen().iter().any(expected), "{:?}", events.seen());
        // One question a check, and none after the last.
        assert_eq!(provider.calls.load(Ordering::SeqCst), 2);
        eventually("the thread is gone", || Arc::strong_count(&provider) == 2).await;
    }
}

#[tokio::test]
async fn a_service_that_is_away_is_tolerated_and_its_return_told() {
    let (provider, mut script) = Script::new("one");
    let (shelf, events) = (Shelf::backend(), Events::default());
    let keyring = created(&shelf, &provider, lease(&provider).grace(HOUR), &events).await;
    for kind in [
        ProviderErrorKind::Unavailable,
        ProviderErrorKind::Throttled { retry_after: None },
        ProviderErrorKind::Throttled {
            retry_after: Some(SOON),
        },
        ProviderErrorKind::NeedsInteraction,
    ] {
        assert_eq!(script.asked().await, 1);
        script.answer(Answer::Kind(kind));
    }
    assert_eq!(script.asked().await, 1);
    assert_eq!(told(&events), ["unreachable"]);
    script.answer(Answer::Right);
    assert_eq!(script.asked().await, 1);
    assert_eq!(told(&events), ["unreachable", "recovered"]);
    script.answer(Answer::Kind(ProviderErrorKind::Unavailable));
    assert_eq!(script.asked().await, 1);
    assert_eq!(told(&events), ["unreachable", "recovered", "unreachable"]);
    assert!(keyring.is_open());
}

#[tokio::test]
async fn a_service_that_stays_away_closes_the_keyring_when_the_grace_is_over() {
    for grace in [Duration::ZERO, Duration::from_millis(300)] {
        let (provider, script) = Script::new("one");
        let (shelf, events) = (Shelf::backend(), Events::default());
        let opened = Instant::now();
        let keyring = created(&shelf, &provider, lease(&provider).grace(grace), &events).await;
        for _ in 0..1000 {
            script.answer(Answer::Kind(ProviderErrorKind::Unavailable));
        }
        closed(&keyring).await;
        let after = opened.elapsed();
        println!("grace {grace:?}, interval {SOON:?}: closed after {after:?}");
        assert!(after >= grace);
        eventually("the wiping", || {
            told(&events).ends_with(&["ended", "wiped"])
        })
        .await;
        // Told once at most, and not where nothing is tolerated. (A machine that stands still for the whole grace tolerates nothing.)
        let told = told(&events);
        let before = &told[..told.len() - 2];
        assert!(
            before.is_empty() || (!grace.is_zero() && before == ["unreachable"]),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn a_service_that_asks_for_time_gets_it_up_to_the_end_of_the_grace() {
    let (provider, script) = Script::new("one");
    let (shelf, events) = (Shelf::backend(), Events::default());
    let grace = Duration::from_millis(300);
    let keyring = created(&shelf, &provider, lease(&provider).grace(grace), &events).await;
    for _ in 0..1000 {
        script.answer(Answer::Kind(ProviderErrorKind::Throttled {
            retry_after: Some(HOUR),
        }));
    }
    // Not after an hour.
    closed(&keyring).await;
    // The one that was told to wait, and the one at the end, which comes twice if the two clocks differ by a hair. At the
    // usual pace there are hundreds.
    let asked = provider.calls.load(Ordering::SeqCst);
    assert!(asked <= 3, "asked {asked} times");
}

#[tokio::test]
async fn a_service_that_hangs_counts_as_away() {
    let (provider, mut script) = Script::new("one");
    let (shelf, events) = (Shelf::backend(), Events::default());
    let call = Duration::from_millis(50);
    let keyring = created(&shelf, &provider, lease(&provider).call(call), &events).await;
    script.answer(Answer::Never);
    let opened = Instant::now();
    closed(&keyring).await;
    println!(
        "interval {SOON:?}, call {call:?}: closed after {:?}",
        opened.elapsed()
    );
    assert_eq!(script.next().await, Seen::Asked(1));
    assert_eq!(script.next().await, Seen::Dropped);
}

#[tokio::test]
async fn a_slot_that_another_provider_took_over_ends_the_lease() {
    for migrated in [false, true] {
        let (provider, mut script) = Script::new("one");
        let (shelf, events) = (Shelf::backend(), Events::default());
        let slow = lease(&provider).call(HOUR);
        let keyring = created(&shelf, &provider, slow, &events).await;
        assert_eq!(script.asked().await, 1);
        for _ in 0..1000 {
            script.answer(Answer::Right);
        }
        if migrated {
            keyring.replace_slot(1, &raw(3), &[], &[]).await.unwrap();
        } else {
            // It opens its slot once more for that.
            let new = raw(3);
            let changed = keyring.change_passphrase(1, &*provider, &new);
            changed.await.unwrap();
        }
        closed(&keyring).await;
        keyring.set_lease(None).unwrap();
        keyring.unlock(&raw(3)).await.unwrap();
    }
}

/// A log that can't be written must not leave a keyring open that nobody watches.
#[tokio::test]
async fn an_audit_sink_that_panics_closes_the_keyring() {
    struct Panics;
    impl sealed_store::AuditSink for Panics {
        fn record(&self, event: &AuditEvent) {
            assert!(
                !matches!(event, AuditEvent::LeaseUnreachable { .. }),
                "as the test says"
            );
        }
    }
    let (provider, script) = Script::new("one");
    let shelf = Shelf::backend();
    let options = KeyringOptions::new()
        .lease(lease(&provider).grace(HOUR))
        .audit(Arc::new(Panics));
    let keyring = options.create(shelf.store(), &*provider).await.unwrap();
    script.answer(Answer::Kind(ProviderErrorKind::Unavailable));
    closed(&keyring).await;
}

#[tokio::test]
async fn what_the_time_from_revocation_to_closing_was_is_printed() {
    let (every, mut longest) = (Duration::from_millis(100), Duration::ZERO);
    for _ in 0..5 {
        let (provider, script) = Script::new("one");
        let (shelf, events) = (Shelf::backend(), Events::default());
        let lease = Lease::new(Arc::clone(&provider) as Arc<dyn KeyProvider>, every);
        let keyring = created(&shelf, &provider, lease, &events).await;
        script.answer(Answer::Kind(ProviderErrorKind::Denied));
        let revoked = Instant::now();
        closed(&keyring).await;
        longest = longest.max(revoked.elapsed());
    }
    println!("interval {every:?}: closed at most {longest:?} after the revocation");
}

#[tokio::test]
async fn closing_and_dropping_end_a_question_at_once() {
    for drop_it in [false, true] {
        let (provider, mut script) = Script::new("one");
        let (shelf, events) = (Shelf::backend(), Events::default());
        let keyring = created(&shelf, &provider, lease(&provider).grace(HOUR), &events).await;
        assert_eq!(script.asked().await, 1);
        // It would wait for an answer for an hour.
        let kept = if drop_it {
            drop(keyring);
            None
        } else {
            keyring.lock();
            Some(keyring)
        };
        assert_eq!(script.next().await, Seen::Dropped);
        assert_eq!(told(&events), ["wiped"]);
        let left = 1 + usize::from(kept.is_some());
        eventually("the thread is gone", || {
            Arc::strong_count(&provider) == left
        })
        .await;
    }
}

#[tokio::test]
async fn closing_ends_the_wait_for_the_next_check_at_once() {
    let (provider, _script) = Script::new("one");
    let (shelf, events) = (Shelf::backend(), Events::default());
    let lease = Lease::new(Arc::clone(&provider) as Arc<dyn KeyProvider>, HOUR);
    let keyring = created(&shelf, &provider, lease, &events).await;
    eventually("the thread", || Arc::strong_count(&provider) == 3).await;
    keyring.lock();
    eventually("the thread is gone", || Arc::strong_count(&provider) == 2).await;
}

#[tokio::test]
async fn unlocking_starts_it_again() {
    let (provider, mut script) = Script::new("one");
    let (shelf, events) = (Shelf::backend(), Events::default());
    let keyring = created(&shelf, &provider, lease(&provider), &events).await;
    for _ in 0..3 {
        assert_eq!(script.asked().await, 1);
        script.answer(Answer::Kind(ProviderErrorKind::Disabled));
        closed(&keyring).await;
        script.answer(Answer::Right);
        keyring.unlock(&provider).await.unwrap();
        assert_eq!(script.asked().await, 1);
    }
    assert_eq!(script.asked().await, 1);
    assert!(keyring.is_open());
}

#[tokio::test]
async fn it_follows_the_slot_through_changes_and_ends_with_it() {
    let (provider, mut script) = Script::new("one");
    let (shelf, events) = (Shelf::backend(), Events::default());
    let slow = Lease::new(Arc::clone(&provider) as Arc<dyn KeyProvider>, HOUR);
    let keyring = created(&shelf, &provider, slow, &events).await;
    let second = keyring.add_slot("second", &raw(1)).await.unwrap();

    script.answer(Answer::Right);
    let slot = keyring
        .change_passphrase(1, &provider, &provider)
        .await
        .unwrap();
    assert_eq!(script.asked().await, 1);
    keyring.set_lease(Some(lease(&provider))).unwrap();
    assert_eq!(script.asked().await, slot);
    keyring.set_lease(None).unwrap();
    assert_eq!(script.next().await, Seen::Dropped);

    script.answer(Answer::Right);
    keyring
        .rotate_root(&[(slot, &provider), (second, &raw(1))], &[])
        .await
        .unwrap();
    assert_eq!(script.asked().await, slot);
    let opened = keyring.slots().await.unwrap();
    let slot = opened.iter().find(|slot| slot.opened).unwrap().slot;
    keyring.set_lease(Some(lease(&provider))).unwrap();
    assert_eq!(script.asked().await, slot);

    keyring.remove_slot(slot).await.unwrap();
    script.answer(Answer::Right);
    closed(&keyring).await;
    let removed = |event: &AuditEvent| matches!(event, AuditEvent::LeaseEnded { slot: 0, reason, .. } if reason.contains("removed"));
    eventually("the end", || events.seen().iter().any(removed)).await;
}

#[tokio::test]
async fn a_lease_for_another_provider_is_refused_before_any_is_asked() {
    let (provider, mut script) = Script::new("one");
    let (other, _) = Script::new("two");
    let shelf = Shelf::backend();
    let options = || KeyringOptions::new().lease(lease(&other));
    let invalid = |error| assert!(matches!(error, SealError::Invalid { .. }), "{error}");
    invalid(refused(options().create(shelf.store(), &provider).await));
    drop(shelf.create(&provider).await.unwrap());
    invalid(refused(options().open(shelf.store(), &provider).await));
    assert_eq!(provider.calls.load(Ordering::SeqCst), 0);

    script.answer(Answer::Right);
    let keyring = shelf.open(&provider).await.unwrap();
    assert_eq!(script.asked().await, 1);
    invalid(keyring.set_lease(Some(lease(&other))).unwrap_err());
    keyring.lock();
    // Failing over: the other one's lease, and its slot.
    keyring.set_lease(Some(lease(&other))).unwrap();
    invalid(refused(keyring.unlock(&provider).await));
    assert!(!keyring.is_open());
    assert_eq!(provider.calls.load(Ordering::SeqCst), 1);
}

/// Holds up whoever tells that the lease has ended, until the test lets him go.
struct Holding {
    ended: mpsc::UnboundedSender<bool>,
    go: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl sealed_store::AuditSink for Holding {
    fn record(&self, event: &AuditEvent) {
        if let AuditEvent::LeaseEnded { revoked, .. } = event {
            let _ = self.ended.send(*revoked);
            let _ = self.go.lock().unwrap().recv();
        }
    }
}

#[tokio::test]
async fn whoever_opens_it_at_once_keeps_his_keys_and_his_lease() {
    let (provider, mut script) = Script::new("one");
    let shelf = Shelf::backend();
    let (tell, mut ended) = mpsc::unbounded_channel();
    let (let_go, go) = std::sync::mpsc::channel();
    let sink = Holding {
        ended: tell,
        go: std::sync::Mutex::new(go),
    };
    let keyring = KeyringOptions::new()
        .lease(lease(&provider).grace(HOUR))
        .audit(Arc::new(sink))
        .create(shelf.store(), &provider)
        .await
        .unwrap();
    let account = keyring.create_account("1").await.unwrap();
    for (kind, revoked) in [
        (ProviderErrorKind::Denied, true),
        (ProviderErrorKind::Disabled, true),
        (ProviderErrorKind::Destroyed, true),
        (ProviderErrorKind::WrongKey, false),
    ] {
        assert_eq!(script.asked().await, 1);
        script.answer(Answer::Kind(kind));
        assert_eq!(ended.recv().await, Some(revoked), "{kind:?}");
        script.answer(Answer::Right);
        keyring.unlock(&provider).await.unwrap();
        assert_eq!(script.asked().await, 1);
        let_go.send(()).unwrap();
    }
    // The thread that told is gone when the only ones left are ours, the lease's and its thread's.
    eventually("it is gone", || Arc::strong_count(&provider) == 3).await;
    assert_eq!(script.asked().await, 1, "the lease goes on");
    account
        .rotate_data_keys(&[sealed_store::Table::Session])
        .await
        .expect("the account is open");
}
