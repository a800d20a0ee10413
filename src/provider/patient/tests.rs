use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

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
