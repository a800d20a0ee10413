//! A store that fails on purpose: [`FaultyBackend`] and the plan of its faults.

mod app_sync;
mod device;
mod msg_secret;
mod plan;
mod protocol;
mod signal;

use std::future::{Future, poll_fn};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use wacore::store::error::{Result, StoreError};
use wacore::store::traits::Backend;

use plan::{Call, Plan};
pub use plan::{Fault, InjectedFault, Lasting, When};

/// A store that passes every call to `B`, counts it, logs its name, and fails the calls it is told to.
///
/// Each of the 82 methods calls the inner method of the same name, once. Calls are numbered from 1, in the
/// order in which their futures are first polled. `resource_report` is counted like any other, but has no
/// error to return: a fault that falls on it does nothing.
///
/// The store can be shared and re-armed while it is in use; all settings take `&self`.
pub struct FaultyBackend<B: Backend + ?Sized> {
    inner: Arc<B>,
    plan: Mutex<Plan>,
}

impl<B: Backend + ?Sized> FaultyBackend<B> {
    /// Wraps `inner`, without faults: every call passes until [`arm`](Self::arm) or
    /// [`arm_random`](Self::arm_random).
    pub fn new(inner: Arc<B>) -> Self {
        Self {
            inner,
            plan: Mutex::default(),
        }
    }

    /// Wraps `inner` with random faults from the first call on; see [`arm_random`](Self::arm_random).
    pub fn seeded(inner: Arc<B>, seed: u64, one_in: u32) -> Self {
        let store = Self::new(inner);
        store.arm_random(seed, one_in);
        store
    }

    /// The wrapped store, to look behind the faults.
    pub fn inner(&self) -> &Arc<B> {
        &self.inner
    }

    /// Adds a fault to the plan. Several may be armed at once; where they meet, the one armed first fires.
    ///
    /// # Panics
    ///
    /// If `fault.call` is 0: calls count from 1, so such a fault is a mistake in the test.
    pub fn arm(&self, fault: Fault) {
        assert_ne!(fault.call, 0, "calls are counted from 1");
        self.plan().arm(fault);
    }

    /// Lets about one call in `one_in` fail from here on, half of them after their effect. 0 stops it.
    ///
    /// The same seed and the same order of calls give the same faults. The seed is part of every
    /// injected error, so that a failing test shows what to replay.
    pub fn arm_random(&self, seed: u64, one_in: u32) {
        self.plan().arm_random(seed, one_in);
    }

    /// Starts over: disarms all faults, sets the count of calls to 0 and empties the log.
    ///
    /// [`yields`](Self::yields) stays as it is. Call it after the set-up of a test, so that the numbers in
    /// [`Fault::call`] begin with the code under test.
    pub fn clear(&self) {
        self.plan().clear();
    }

    /// How many calls were begun since the store was made or [cleared](Self::clear), failed ones included.
    pub fn calls(&self) -> u64 {
        self.plan().calls()
    }

    /// The names of these calls, in order; no arguments.
    pub fn log(&self) -> Vec<&'static str> {
        self.plan().log()
    }

    /// Makes every call pending once before and once after its effect (off by default).
    ///
    /// A call that is to pause wakes its task at once, so nothing hangs; but whoever polls by hand gets a
    /// [`Poll::Pending`] at both places and can drop the future there, as a cancelled task would. Note
    /// that a call dropped at its second pause has already taken effect.
    pub fn yields(&self, on: bool) {
        self.plan().yields(on);
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // The plan is a few counters, whole at every point where a thread could have panicked.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call: `effect` is the inner future, which does nothing before it is polled.
    async fn around<T>(
        &self,
        method: &'static str,
        effect: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let call = self.plan().begin(method);
        pause(&call).await;
        call.fail(When::Before)?;
        let outcome = effect.await;
        pause(&call).await;
        // An error of the inner store is the truth about this call and goes first.
        let value = outcome?;
        call.fail(When::After)?;
        Ok(value)
    }

    /// As [`around`](Self::around), for the one method that cannot fail.
    async fn around_infallible<T>(
        &self,
        method: &'static str,
        effect: impl Future<Output = T>,
    ) -> T {
        let call = self.plan().begin(method);
        pause(&call).await;
        let value = effect.await;
        pause(&call).await;
        value
    }
}

impl Call {
    fn fail(&self, when: When) -> Result<()> {
        match self.fault {
            Some(fault) if fault.when == when => Err(StoreError::Io(io::Error::other(fault))),
            _ => Ok(()),
        }
    }
}

/// Pending exactly once, if this call is to yield.
async fn pause(call: &Call) {
    let mut pending = call.yields;
    poll_fn(|context| {
        if std::mem::take(&mut pending) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

#[cfg(test)]
mod tests;
