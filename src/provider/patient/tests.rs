use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use super::*;

/// Answers probes with these kinds, one after the other, then well; `None` never answers.
struct Script {
    answers: Mutex<Vec<Option<ProviderErrorKind>>>,
    calls: AtomicU32,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Option<ProviderErrorKind>>) -> Self {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.reverse();
        Self {
            answers: Mutex::new(answers),
            calls: AtomicU32::new(0),
        }
    }
}

#[async_trait]
impl KeyProvider for Script {
    fn kind(&self) -> &str {
        "script"
    }

    async fn generate(&self, _: &SlotContext) -> Result<NewSlot> {
        unreachable!()
    }

    async fn unwrap_secret(&self, _: &SlotContext, _: &Recipe) -> Result<SecretBox<[u8; 32]>> {
        unreachable!()
    }

    async fn probe(&self) -> Result<Probe> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let answer = self.answers.lock().unwrap().pop();
        match answer {
            None => Ok(Probe::ready()),
            Some(Some(kind)) => Err(ProviderError::new(kind, "as scripted")),
            Some(None) => std::future::pending().await,
        }
    }
}

const UNAVAILABLE: Option<ProviderErrorKind> = Some(ProviderErrorKind::Unavailable);

async fn asked(script: Script, patience: Patience) -> (Option<ProviderErrorKind>, u32) {
    let patient = Patient::new(script).patience(patience);
    let answer = patient.probe().await;
    let calls = patient.inner().calls.load(Ordering::Relaxed);
    (answer.err().map(|error| error.kind()), calls)
}

#[tokio::test]
async fn only_what_can_help_is_tried_again() {
    let patience = Patience::new().tries(3);
    let throttled = |retry_after| Some(ProviderErrorKind::Throttled { retry_after });
    let soon = throttled(Some(Duration::from_millis(1)));
    assert_eq!(
        asked(Script::new([UNAVAILABLE, soon]), patience).await,
        (None, 3)
    );
    assert_eq!(
        asked(Script::new([UNAVAILABLE; 5]), patience).await,
        (UNAVAILABLE, 3)
    );
    for kind in [
        ProviderErrorKind::Denied,
        ProviderErrorKind::Disabled,
        ProviderErrorKind::Destroyed,
        ProviderErrorKind::WrongKey,
        ProviderErrorKind::ContextMismatch,
        ProviderErrorKind::Corrupt,
        ProviderErrorKind::BadRequest,
        ProviderErrorKind::NeedsInteraction,
    ] {
        assert_eq!(
            asked(Script::new([Some(kind); 2]), patience).await,
            (Some(kind), 1)
        );
    }
    // Longer than anybody waits: it is told at once.
    let late = throttled(Some(Duration::from_secs(3600)));
    assert_eq!(asked(Script::new([late; 2]), patience).await, (late, 1));
}

#[tokio::test]
async fn one_that_hangs_is_given_up() {
    let patience = Patience::new().call(Duration::from_millis(20)).tries(2);
    assert_eq!(
        asked(Script::new([None, None]), patience).await,
        (UNAVAILABLE, 2)
    );
    assert_eq!(asked(Script::new([None]), patience).await, (None, 2));
    let patience = Patience::new().total(Duration::from_millis(20));
    assert_eq!(
        asked(Script::new([None, None]), patience).await,
        (UNAVAILABLE, 1)
    );
}

/// The pauses that are made between tries that end like this, without waiting for them.
async fn pauses(answers: Vec<Option<ProviderErrorKind>>, patience: Patience) -> Vec<Duration> {
    let patient = Patient::new(Script::new(answers)).patience(patience);
    let mut pauses = Vec::new();
    let pause = |time| {
        pauses.push(time);
        std::future::ready(())
    };
    let probe = || patient.inner().probe();
    let _ = patient.tried_pausing(probe, pause).await;
    pauses
}

#[tokio::test]
async fn each_pause_is_up_to_twice_as_long_as_the_one_before_and_a_random_half_of_it() {
    let patience = Patience::new().tries(8).total(Duration::from_secs(3600));
    let mut firsts = Vec::new();
    for _ in 0..16 {
        let pauses = pauses(vec![UNAVAILABLE; 8], patience).await;
        let longest = [200, 400, 800, 1600, 3200, 5000, 5000].map(Duration::from_millis);
        assert_eq!(pauses.len(), longest.len());
        for (pause, longest) in pauses.iter().zip(longest) {
            assert!(
                (longest / 2..=longest).contains(pause),
                "{pause:?} of {longest:?}"
            );
        }
        firsts.push(pauses[0]);
    }
    firsts.sort_unstable();
    firsts.dedup();
    assert!(
        firsts.len() > 1,
        "all who were refused at once come back at once"
    );
}

#[tokio::test]
async fn the_time_that_the_service_named_is_waited_as_it_is() {
    let throttled = |seconds| {
        Some(ProviderErrorKind::Throttled {
            retry_after: Some(Duration::from_secs(seconds)),
        })
    };
    // Longer than the longest pause of our own, and shorter than the first.
    let patience = Patience::new().tries(4).total(Duration::from_secs(3600));
    let pauses = pauses(vec![throttled(700), throttled(0), UNAVAILABLE], patience).await;
    assert_eq!(pauses[..2], [Duration::from_secs(700), Duration::ZERO]);
    assert!(
        pauses[2] >= Duration::from_millis(400),
        "it goes on growing"
    );
    assert_eq!(pauses.len(), 3);
}

#[test]
fn a_pause_is_between_half_and_all_of_it() {
    let whole = Duration::from_secs(1000);
    let many: Vec<_> = (0..1000).map(|_| jittered(whole).unwrap()).collect();
    assert!(many.iter().all(|one| (whole / 2..=whole).contains(one)));
    // Over all of that: a quarter is left out by chance in one of 10^124 runs.
    for quarter in 0..4 {
        let from = whole / 2 + whole / 8 * quarter;
        let inside = |one: &&Duration| (from..from + whole / 8).contains(*one);
        assert!(many.iter().any(|one| inside(&one)), "quarter {quarter}");
    }
    assert_eq!(jittered(Duration::ZERO).unwrap(), Duration::ZERO);
}

/// Counts its calls, and those that were dropped before they ended.
#[derive(Default)]
struct Counted {
    begun: AtomicU32,
    dropped: AtomicU32,
    /// What it answers; nothing ever, if it is `None`.
    answer: Option<ProviderErrorKind>,
}

impl Counted {
    async fn called<T>(&self) -> Result<T> {
        struct Guard<'a>(&'a AtomicU32, bool);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(u32::from(!self.1), Ordering::Relaxed);
            }
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        let mut guard = Guard(&self.dropped, false);
        let Some(kind) = self.answer else {
            return std::future::pending().await;
        };
        guard.1 = true;
        Err(ProviderError::new(kind, "as told"))
    }

    fn counts(&self) -> (u32, u32) {
        let of = |count: &AtomicU32| count.load(Ordering::Relaxed);
        (of(&self.begun), of(&self.dropped))
    }
}

#[async_trait]
impl KeyProvider for Counted {
    fn kind(&self) -> &str {
        "counted"
    }

    async fn generate(&self, _: &SlotContext) -> Result<NewSlot> {
        self.called().await
    }

    async fn unwrap_secret(&self, _: &SlotContext, _: &Recipe) -> Result<SecretBox<[u8; 32]>> {
        self.called().await
    }

    async fn rewrap(&self, _: &SlotContext, _: &Recipe, _: &Fields) -> Result<Fields> {
        self.called().await
    }

    async fn probe(&self) -> Result<Probe> {
        self.called().await
    }
}

/// Polls it once, and drops it. It must not have ended.
async fn dropped<T>(future: impl Future<Output = T>) {
    let mut future = Box::pin(future);
    let pending = poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await;
    assert!(pending, "it has ended");
}

#[tokio::test]
async fn a_dropped_future_ends_its_call_or_its_pause_and_makes_no_other() {
    let hour = Duration::from_secs(3600);
    let soon = ProviderErrorKind::Throttled {
        retry_after: Some(hour / 2),
    };
    // Dropped in its call, and in the pause after it.
    for (answer, is_dropped) in [(None, 1), (Some(soon), 0)] {
        let provider = Arc::new(Counted {
            answer,
            ..Counted::default()
        });
        let patience = Patience::new().call(hour).total(hour);
        let patient = Patient::new(Arc::clone(&provider)).patience(patience);
        let (context, recipe) = (SlotContext::default(), Recipe::default());
        let mut calls = 0;
        let mut counted = |what| {
            calls += 1;
            assert_eq!(provider.counts(), (calls, calls * is_dropped), "{what}");
        };
        dropped(patient.generate(&context)).await;
        counted("generate");
        dropped(patient.unwrap_secret(&context, &recipe)).await;
        counted("unwrap_secret");
        dropped(patient.rewrap(&context, &recipe, &Fields::new())).await;
        counted("rewrap");
        dropped(patient.probe()).await;
        counted("probe");
        // As a task that is ended from outside: it waits for nothing.
        let before = provider.counts().0;
        let task = {
            let provider = Arc::clone(&provider);
            let patient = Patient::new(provider).patience(patience);
            tokio::spawn(async move { patient.probe().await })
        };
        while provider.counts().0 == before {
            tokio::task::yield_now().await;
        }
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        counted("a task");
        drop(patient);
        assert_eq!(Arc::strong_count(&provider), 1, "somebody has it still");
    }
}
