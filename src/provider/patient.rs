//! Waiting for a provider: not forever, and again where that can help.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use secrecy::SecretBox;

use super::{
    Fields, KeyProvider, NewSlot, Probe, ProviderError, ProviderErrorKind, Recipe, SlotContext,
};
use crate::secret;
use crate::thread::{pause, within};

type Result<T> = std::result::Result<T, ProviderError>;

/// How long, and how often, a provider is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Patience {
    call: Duration,
    total: Duration,
    tries: u32,
}

/// The pause after the first try; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// No pause is longer, unless the service asks for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Default for Patience {
    /// 10 seconds a call, 4 tries, 30 seconds in all.
    fn default() -> Self {
        Self {
            call: Duration::from_secs(10),
            total: Duration::from_secs(30),
            tries: 4,
        }
    }
}

impl Patience {
    /// The default: 10 seconds a call, 4 tries, 30 seconds in all.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long one call may take.
    pub fn call(mut self, call: Duration) -> Self {
        self.call = call;
        self
    }

    /// How long all tries and the pauses between them may take.
    pub fn total(mut self, total: Duration) -> Self {
        self.total = total;
        self
    }

    /// How often it is tried, at least once.
    pub fn tries(mut self, tries: u32) -> Self {
        self.tries = tries.max(1);
        self
    }
}

/// A provider whose calls end in bounded time, and are made again where that can help.
///
/// Only [`ProviderErrorKind::Throttled`] and [`ProviderErrorKind::Unavailable`] are tried again: after a pause that doubles each
/// time and of which a random half is waited, or after the time that the service named. A call that takes too long is
/// given up and counts as unavailable. Dropping the future ends it all.
///
/// ```
/// use std::time::Duration;
///
/// use sealed_store::{Patience, Patient, RawKey};
///
/// # let key = RawKey::new(sealed_store::secrecy::SecretBox::new(Box::new([7; 32])));
/// let patience = Patience::new().call(Duration::from_secs(3)).tries(2);
/// let provider = Patient::new(key).patience(patience);
/// ```
pub struct Patient<P> {
    inner: P,
    patience: Patience,
}

impl<P: KeyProvider> Patient<P> {
    /// `inner`, with [`Patience::default`].
    pub fn new(inner: P) -> Self {
        Self {
            inner,
            patience: Patience::default(),
        }
    }

    /// With another patience.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The provider itself.
    pub fn inner(&self) -> &P {
        &self.inner
    }

    async fn tried<T, F: Future<Output = Result<T>>>(&self, call: impl FnMut() -> F) -> Result<T> {
        self.tried_pausing(call, pause).await
    }

    async fn tried_pausing<T, F: Future<Output = Result<T>>, W: Future<Output = ()>>(
        &self,
        mut call: impl FnMut() -> F,
        mut pause: impl FnMut(Duration) -> W,
    ) -> Result<T> {
        let begun = Instant::now();
        let left = || self.patience.total.saturating_sub(begun.elapsed());
        let mut backoff = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match within(self.patience.call.min(left()), call()).await {
                Some(Ok(answer)) => return Ok(answer),
                Some(Err(error)) => error,
                None => late(),
            };
            let wait = match error.kind() {
                ProviderErrorKind::Throttled {
                    retry_after: Some(after),
                } => after,
                kind if kind.is_retryable() => jittered(backoff)?,
                _ => return Err(error),
            };
            if tries >= self.patience.tries || wait >= left() {
                return Err(error);
            }
            pause(wait).await;
            backoff = (2 * backoff).min(LONGEST_PAUSE);
        }
    }
}

fn late() -> ProviderError {
    ProviderError::new(
        ProviderErrorKind::Unavailable,
        "the key provider did not answer in time; check it and the way to it, then try again",
    )
}

/// Between half of a pause and all of it, so that many who were refused at once do not come back at once.
fn jittered(pause: Duration) -> Result<Duration> {
    let mut random = [0; 2];
    secret::random(&mut random).map_err(|error| {
        ProviderError::new(ProviderErrorKind::Unavailable, "no random bytes; try again")
            .with_source(error)
    })?;
    let part = f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX);
    Ok(pause.mul_f64(0.5 + part / 2.0))
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl<P: KeyProvider> KeyProvider for Patient<P> {
    fn kind(&self) -> &str {
        self.inner.kind()
    }

    fn reference(&self) -> Fields {
        self.inner.reference()
    }

    fn may_be_lost(&self) -> bool {
        self.inner.may_be_lost()
    }

    async fn generate(&self, context: &SlotContext) -> Result<NewSlot> {
        self.tried(|| self.inner.generate(context)).await
    }

    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>> {
        self.tried(|| self.inner.unwrap_secret(context, recipe))
            .await
    }

    async fn rewrap(&self, context: &SlotContext, recipe: &Recipe, to: &Fields) -> Result<Fields> {
        self.tried(|| self.inner.rewrap(context, recipe, to)).await
    }

    async fn probe(&self) -> Result<Probe> {
        self.tried(|| self.inner.probe()).await
    }
}

#[cfg(test)]
mod tests;
