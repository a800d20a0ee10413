//! Asking the provider again while the keyring is open, so that a key that was taken away closes it.

mod watch;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_channel::oneshot;

use self::watch::Watch;
use super::Keyring;
use super::core::Core;
use super::derive::SlotKeys;
use super::document::SlotEntry;
use super::idle::Moment;
use crate::audit;
use crate::error::SealError;
use crate::provider::{KeyProvider, ProviderErrorKind, SlotContext};
use crate::record::Suite;
use crate::secret;
use crate::thread::within;

/// How long one answer is waited for, unless said otherwise.
const CALL: Duration = Duration::from_secs(30);

/// How an open keyring asks its provider again whether the key is still to be had.
///
/// At each interval the secret of the slot that opened is asked for once more: one call, compared with the slot's
/// commitment in constant time and dropped. Then:
///
/// * The same secret: all is well.
/// * `Unavailable`, `Throttled`, `NeedsInteraction`, or no answer in [`Lease::call`]: the keyring stays open while the last good
///   answer is no older than [`Lease::grace`]. It is asked again after a quarter of the interval, or after the longer time that
///   the service named with `Throttled`, but no later than when the grace ends.
/// * Anything else (`Denied`, `Disabled`, `Destroyed`, another secret, a slot that was removed through this handle, a provider that panics): every key
///   is wiped at once, as by [`Keyring::lock`](crate::Keyring::lock).
///
/// So a revoked key closes the keyring within `every + call`, and a service that can't be reached within
/// `max(every, grace) + call` of its last good answer. A machine that was suspended asks when it wakes.
/// [`AuditEvent::LeaseUnreachable`](crate::AuditEvent::LeaseUnreachable), `LeaseRecovered` and `LeaseEnded` tell of it.
/// [`Keyring::unlock`](crate::Keyring::unlock) starts it again.
///
/// The provider is asked on a thread of the lease's own with no runtime; those of this crate need none.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use sealed_store::{KeyringOptions, Lease, RawKey};
///
/// # let key = RawKey::new(sealed_store::secrecy::SecretBox::new(Box::new([7; 32])));
/// let provider = Arc::new(key); // a KMS, usually
/// let lease = Lease::new(provider.clone(), Duration::from_secs(60)).grace(Duration::from_secs(15 * 60));
/// let options = KeyringOptions::new().lease(lease); // … .open(store, &provider)
/// # let _ = options;
/// ```
#[derive(Clone)]
#[must_use]
pub struct Lease {
    provider: Arc<dyn KeyProvider>,
    every: Duration,
    grace: Duration,
    call: Duration,
}

impl Lease {
    /// Asks `provider`, the one that opens the keyring, at this interval (at least a millisecond). A service that can't be
    /// reached is not tolerated, unless [`Lease::grace`] says so.
    pub fn new(provider: Arc<dyn KeyProvider>, every: Duration) -> Self {
        Self {
            provider,
            every: every.max(Duration::from_millis(1)),
            grace: Duration::ZERO,
            call: CALL,
        }
    }

    /// How long after its last good answer a provider that can't be reached is tolerated. Of use if it is longer than the
    /// interval. Default: not at all.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long one answer is waited for. Default: 30 seconds.
    pub fn call(mut self, call: Duration) -> Self {
        self.call = call;
        self
    }

    /// Fails unless the keyring's provider is the lease's, before any is asked.
    pub(super) fn check_same(&self, provider: &dyn KeyProvider) -> Result<(), SealError> {
        if self.provider.kind() != provider.kind()
            || self.provider.reference() != provider.reference()
        {
            return Err(SealError::Invalid {
                what: "the lease is for another provider than the one that opens the keyring; give it that one",
            });
        }
        Ok(())
    }

    /// The answer to one question. The future is dropped as soon as `cancelled` is.
    fn ask(&self, question: &Question, cancelled: &mut oneshot::Receiver<()>) -> Answer {
        let entry = &question.entry;
        if entry.kind != self.provider.kind() || entry.recipe.reference != self.provider.reference()
        {
            return Answer::ended("the slot that opened is another provider's now");
        }
        let call = AssertUnwindSafe(|| {
            let unwrap = self
                .provider
                .unwrap_secret(&question.context, &entry.recipe);
            pollster::block_on(unless(cancelled, within(self.call, unwrap)))
        });
        let secret = match catch_unwind(call) {
            Err(_) => return Answer::ended("the provider panicked"),
            Ok(None) => return Answer::Cancelled,
            Ok(Some(None)) => {
                return Answer::Unreachable {
                    reason: "the provider did not answer in time".to_owned(),
                    retry_after: None,
                };
            }
            Ok(Some(Some(Ok(secret)))) => secret,
            Ok(Some(Some(Err(error)))) => {
                let tolerated =
                    error.is_retryable() || error.kind() == ProviderErrorKind::NeedsInteraction;
                let revoked = error.kind().is_revoked();
                let retry_after = match error.kind() {
                    ProviderErrorKind::Throttled { retry_after } => retry_after,
                    _ => None,
                };
                let reason = audit::reason(&error.into());
                return match tolerated {
                    true => Answer::Unreachable {
                        reason,
                        retry_after,
                    },
                    false => Answer::Ended { reason, revoked },
                };
            }
        };
        let keys = SlotKeys::derive(&secret, &question.context, &entry.kind, question.suite);
        match keys {
            Ok(keys) if !secret::is_zero(&secret) && keys.commits_to(&entry.commitment) => {
                Answer::Good
            }
            Ok(_) => Answer::ended(SealError::WrongKey),
            Err(error) => Answer::ended(error),
        }
    }
}

/// Until one that could not answer is asked again: as long as it said itself, and not past the grace that is left, when its
/// answer decides.
fn until_next(every: Duration, retry_after: Option<Duration>, left: Duration) -> Duration {
    (every / 4).max(retry_after.unwrap_or_default()).min(left)
}

/// What `future` gives, or `None` once the other end of `cancelled` is gone.
async fn unless<T>(
    cancelled: &mut oneshot::Receiver<()>,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| {
        if Pin::new(&mut *cancelled).poll(context).is_ready() {
            return Poll::Ready(None);
        }
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// The slot that opened, as it is now.
struct Question {
    context: SlotContext,
    entry: SlotEntry,
    suite: Suite,
}

enum Answer {
    Good,
    Unreachable {
        reason: String,
        /// As the service said.
        retry_after: Option<Duration>,
    },
    Ended {
        reason: String,
        revoked: bool,
    },
    Cancelled,
}

impl Answer {
    /// The lease is over for another reason than the owner's will.
    fn ended(reason: impl ToString) -> Self {
        Self::Ended {
            reason: reason.to_string(),
            revoked: false,
        }
    }
}

/// The lease of a keyring, and the thread that watches it while the keyring is open.
#[derive(Default)]
pub(super) struct Leased {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lease: Option<Lease>,
    openings: u64,
    watching: Option<Watching>,
}

/// Ends its thread when it is dropped, also out of a provider's call.
struct Watching {
    signal: Arc<Signal>,
    _cancel: oneshot::Sender<()>,
}

#[derive(Default)]
struct Signal {
    over: Mutex<bool>,
    changed: Condvar,
}

impl Drop for Watching {
    fn drop(&mut self) {
        *self
            .signal
            .over
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.signal.changed.notify_all();
    }
}

impl Signal {
    /// Waits until `time` after `since`, or for the end, which it then tells.
    fn is_over_within(&self, since: Moment, time: Duration) -> bool {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if *over {
                return true;
            }
            let left = time.saturating_sub(since.elapsed());
            if left.is_zero() {
                return false;
            }
            over = self
                .changed
                .wait_timeout(over, left.min(Moment::NAP))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Leased {
    pub(super) fn new(lease: Option<Lease>) -> Self {
        let leased = Self::default();
        leased.state().lease = lease;
        leased
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Lease::check_same`], where there is a lease.
    pub(super) fn check_same(&self, provider: &dyn KeyProvider) -> Result<(), SealError> {
        match &self.state().lease {
            Some(lease) => lease.check_same(provider),
            None => Ok(()),
        }
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        let watching = self.state().watching.take();
        drop(watching);
    }
}

/// Starts the lease of a keyring that was just opened, if it has one. The keyring is to be wiped if that fails.
pub(super) fn start(core: &Arc<Core>) -> Result<(), SealError> {
    let lease = {
        let mut state = core.lease.state();
        state.watching = None;
        state.lease.clone()
    };
    let Some(lease) = lease else { return Ok(()) };
    let opening = {
        // Keys first, then the state: as everywhere.
        let mut open = core.open_mut();
        let mut state = core.lease.state();
        state.openings += 1;
        match &mut *open {
            Some(open) => open.opening = state.openings,
            // Closed again already.
            None => return Ok(()),
        }
        state.openings
    };
    let signal = Arc::<Signal>::default();
    let (cancel, cancelled) = oneshot::channel();
    let watch = Watch {
        core: Arc::downgrade(core),
        lease,
        opening,
        signal: Arc::clone(&signal),
        cancelled,
        opened: Moment::now(),
    };
    std::thread::Builder::new()
        .name("sealed-store-lease".into())
        .spawn(move || watch.run())
        .map_err(|_| SealError::Invalid {
            what: "no thread could be started to watch the lease",
        })?;
    let watching = Watching {
        signal,
        _cancel: cancel,
    };
    let open = core.open_mut();
    let still = open.as_ref().is_some_and(|open| open.opening == opening);
    if still {
        core.lease.state().watching = Some(watching);
    }
    Ok(())
}

impl Keyring {
    /// Gives an open keyring another lease, or none; it counts from now. [`Keyring::unlock`] uses it too. To go on with
    /// another provider, lock the keyring, set that one's lease, and unlock it.
    ///
    /// # Errors
    /// [`SealError::Invalid`] if the lease's provider is not that of the slot that opened, or if the watching thread can't be
    /// started, in which case the keyring is closed.
    pub fn set_lease(&self, lease: Option<Lease>) -> Result<(), SealError> {
        if let (Some(lease), Some(open)) = (&lease, &*self.core.open_mut()) {
            let same = open.through.as_ref().is_some_and(|entry| {
                entry.kind == lease.provider.kind()
                    && entry.recipe.reference == lease.provider.reference()
            });
            if !same {
                return Err(SealError::Invalid {
                    what: "the lease is for another provider than the one that opened the keyring; give it that one",
                });
            }
        }
        self.core.lease.state().lease = lease;
        start(&self.core).inspect_err(|_| self.core.wipe(false))
    }
}

#[cfg(test)]
mod tests;
