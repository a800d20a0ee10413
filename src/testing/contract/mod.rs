//! The contract of a [`Backend`]: what every store must do, one function per behaviour.
//!
//! The contract is what upstream's `InMemoryBackend` and `SqliteStore` have in common. Where they differ
//! nothing is asked: the order of lists; sync keys that are not 32 bytes, or not stored in ascending order
//! of their ids; whether an update keeps `created_at`; where a phone number leads once two LIDs had it and
//! the newer one is not the one stored last; device-list times beyond 32 bits and prekey ids beyond 31;
//! users that are not numbers; whether a batch load repeats an id that is asked for twice; what a second
//! `create` returns; the device fields that `serde` skips.
//!
//! Nearly always, one call does it: [`run_all`]. To leave a behaviour out, or to count failures instead of
//! panicking, pick from [`ALL`] and use [`check`].
//!
//! A behaviour is documented at the private function of its name, in the file of its group. Those whose
//! names end in `row`, `delete`, `names`, `sizes` or `batch` ask mostly the same of every table, and are
//! documented in `cells.rs`.

mod app_sync;
mod base_keys;
mod cells;
mod device;
mod device_lists;
mod lid;
mod methods;
mod msg_secret;
mod mutation_macs;
mod pending;
mod prekeys;
mod protocol;
mod run;
mod sender_key_devices;
mod signal;
mod support;
mod tc_token;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use wacore::store::traits::Backend;

pub use methods::METHODS;
pub(super) use run::caught;
pub use run::{Failure, check, run_all};

/// The future of one behaviour; it panics if the store breaks the contract.
#[cfg(not(target_arch = "wasm32"))]
pub type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The future of one behaviour; it panics if the store breaks the contract.
#[cfg(target_arch = "wasm32")]
pub type Run = Pin<Box<dyn Future<Output = ()>>>;

/// One thing that a store must do.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Group and function, such as `signal::session_batch`. Unique.
    pub name: &'static str,
    /// The trait methods that it calls, each of them in [`METHODS`].
    pub methods: &'static [&'static str],
    /// Runs it on a store that is fresh and empty, even of a device row: every behaviour outside of the
    /// group `device` begins by creating that row, which upstream's SQLite needs for its foreign keys.
    pub run: fn(Arc<dyn Backend>) -> Run,
}

/// The whole contract.
pub const ALL: &[Behaviour] = &flatten();

const GROUPS: &[&[Behaviour]] = &[
    signal::ALL,
    prekeys::ALL,
    app_sync::ALL,
    mutation_macs::ALL,
    sender_key_devices::ALL,
    lid::ALL,
    base_keys::ALL,
    device_lists::ALL,
    protocol::ALL,
    tc_token::ALL,
    pending::ALL,
    msg_secret::ALL,
    device::ALL,
];

const fn count() -> usize {
    let mut total = 0;
    let mut group = 0;
    while group < GROUPS.len() {
        total += GROUPS[group].len();
        group += 1;
    }
    total
}

const fn flatten() -> [Behaviour; count()] {
    let mut all = [GROUPS[0][0]; count()];
    let (mut next, mut group) = (0, 0);
    while group < GROUPS.len() {
        let mut index = 0;
        while index < GROUPS[group].len() {
            all[next] = GROUPS[group][index];
            next += 1;
            index += 1;
        }
        group += 1;
    }
    all
}

/// Makes the table `ALL` of one group: each behaviour with the methods that it calls.
///
/// `prepare` runs before the behaviour, on the same store.
macro_rules! behaviours {
    ($group:literal, $prepare:path; $($run:ident: $($method:ident)*;)*) => {
        pub(super) const ALL: &[super::Behaviour] = &[$(super::Behaviour {
            name: concat!($group, "::", stringify!($run)),
            methods: &[$(stringify!($method)),*],
            run: |store| Box::pin(async move {
                $prepare(&*store).await;
                $run(store).await;
            }),
        }),*];
    };
}
use behaviours;

#[cfg(test)]
mod tests;
