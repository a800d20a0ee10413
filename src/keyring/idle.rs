//! Locking by itself when the application is idle.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::Keyring;
use super::core::Core;
use crate::error::SealError;

/// A moment on both clocks: while a machine is suspended the monotonic one stands still, and the wall clock does not.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Moment(Instant, SystemTime);

impl Moment {
    /// How long a watcher sleeps at most, so that a machine that was suspended past a deadline meets it soon after it wakes.
    pub(super) const NAP: Duration = Duration::from_secs(5);

    pub(super) fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    /// On the clock that went further.
    pub(super) fn elapsed(self) -> Duration {
        let wall = self.1.elapsed().unwrap_or(Duration::ZERO);
        self.0.elapsed().max(wall)
    }
}

#[derive(Default)]
pub(super) struct Idle {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// `None`: no automatic locking.
    after: Option<Duration>,
    touched: Option<Moment>,
    watching: bool,
    closed: bool,
}

impl State {
    /// Time until the deadline; zero once it has passed on either clock.
    fn left(&self) -> Option<Duration> {
        let after = self.after?;
        Some(after.saturating_sub(self.touched?.elapsed()))
    }
}

impl Idle {
    pub(super) fn touch(&self) {
        let mut state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let was_waiting = state.touched.is_none();
        state.touched = Some(Moment::now());
        drop(state);
        if was_waiting {
            self.shared.changed.notify_all();
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let mut state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Keyring {
    /// Wipes every key once the application has not called [`Keyring::touch`] for `idle`; `None`
    /// ends automatic locking. A thread of its own watches the deadline, so no further call is
    /// needed, and no runtime.
    ///
    /// Only `touch` counts as use: a running client reads and writes by itself all the time, so its
    /// calls would never let the keyring lock.
    ///
    /// # Errors
    /// [`SealError::Invalid`] if the watching thread can't be started.
    pub fn auto_lock(&self, idle: Option<Duration>) -> Result<(), SealError> {
        let shared = &self.core.idle.shared;
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.after = idle;
        state.touched = Some(Moment::now());
        if idle.is_some() && !state.watching {
            let (watched, core) = (Arc::clone(shared), Arc::downgrade(&self.core));
            std::thread::Builder::new()
                .name("sealed-store-idle".into())
                .spawn(move || watch(&watched, &core))
                .map_err(|_| SealError::Invalid {
                    what: "no thread could be started to watch the idle time",
                })?;
            state.watching = true;
        }
        drop(state);
        shared.changed.notify_all();
        Ok(())
    }

    /// Says that a person uses the application: the idle time starts again.
    pub fn touch(&self) {
        self.core.idle.touch();
    }
}

fn watch(shared: &Shared, core: &Weak<Core>) {
    let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if state.closed {
            return;
        }
        state = match state.left() {
            Some(Duration::ZERO) => {
                let passed = state.touched;
                drop(state);
                let Some(core) = core.upgrade() else { return };
                core.wipe(true);
                // Dropping what may be the last handle runs Idle's destructor, which takes the state.
                drop(core);
                state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
                // Nothing to do until somebody touches or unlocks, unless that just happened.
                if state.touched == passed {
                    state.touched = None;
                }
                state
            }
            Some(left) => {
                shared
                    .changed
                    .wait_timeout(state, left.min(Moment::NAP))
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            None => shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
        };
    }
}
