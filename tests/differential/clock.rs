//! A clock for upstream's stores that only the test moves, so that what expires does not depend on
//! when a run crosses a second.
//!
//! wacore asks one provider for the wall-clock time. Here it answers with a time per thread: a machine
//! moves its own thread's, which is the store in memory's. The blocking threads on which upstream's
//! SQLite store works stay at the epoch; and where it leaves the time to SQLite itself, `stores.rs`
//! puts the test's time into its rows.

use std::cell::Cell;
use std::sync::Once;

use wacore::time::{TimeProvider, set_time_provider};

use super::args::EPOCH;

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(EPOCH) };
}

struct TestClock;

impl TimeProvider for TestClock {
    fn now_millis(&self) -> i64 {
        NOW.get() * 1000
    }
}

/// Sets the clock of this thread back to the epoch; the first call makes it the process's clock.
pub fn reset() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| set_time_provider(TestClock).expect("nothing asked for the time before"));
    NOW.set(EPOCH);
}

/// Moves the clock of this thread.
pub fn advance(seconds: u8) {
    NOW.set(now() + i64::from(seconds));
}

/// The time on this thread.
pub fn now() -> i64 {
    NOW.get()
}
