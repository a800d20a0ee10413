//! What every [`KeyProvider`] must do, run against yours.
//!
//! Most of what a keyring relies on is not in the trait's signatures: that a recipe is of use in its own slot alone, that a
//! damaged one is told from a service that can't be reached, that a dropped future breaks nothing. [`Conformance`] writes it
//! down as behaviours, each run on instances of your provider and, where it is about slots, in a real keyring.
//!
//! ```
//! use sealed_store::testing::provider::Conformance;
//! use sealed_store::{KdfCost, Passphrase};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let made = |text: &'static str| move || async move { Passphrase::new(text).cost(KdfCost::FLOOR) };
//! Conformance::new(made("correct horse"), made("battery staple"))
//!     .unbound() // Argon2 is not told which slot it is for; the keyring binds it
//!     .at_most(4) // of each damage: each is one derivation
//!     .run_all()
//!     .await;
//! # });
//! ```
//!
//! # What a provider may leave to the keyring
//!
//! Two things are asked unless you say otherwise. [`Conformance::one_secret`] is for a provider whose secret comes from its
//! caller and is the same in every slot (a raw key); [`Conformance::unbound`] for one whose service is not told the slot. In
//! both cases the keyring still binds the secret, and the behaviours in `keyring` still hold.
//!
//! # What it must say when it can't work
//!
//! [`Conformance::fails`] takes instances that can't work and the kind that says why: a closed port is
//! [`Unavailable`](ProviderErrorKind::Unavailable), a token of nobody [`Denied`](ProviderErrorKind::Denied). Give one for each
//! kind that your service can be brought to. [`Conformance::rewraps`] is for a service that encrypts a secret anew.
//!
//! # What a recipe may hold
//!
//! One spelling of each field, and no field that the provider does not know: hexadecimal digits in one case, Base64 whose
//! last bits are zeros, numbers with no leading zero. What is altered in any way gives another secret or an error that is
//! neither retryable nor says that access ended (see [`ProviderErrorKind::is_revoked`], save
//! [`Destroyed`](ProviderErrorKind::Destroyed), for a handle that leads nowhere).
//!
//! # Providers of this crate
//!
//! `tests/provider_conformance.rs` runs it on those without a service and on `examples/custom_provider.rs`. One with a
//! service joins by a test in its own `tests/provider_NAME.rs`, which has the service started already:
//! `Conformance::new(move || provider(&uri), move || provider(&other_uri)).at_most(16).run_all().await`.

mod cancel;
mod direct;
mod errors;
mod keyring;
mod rewrap;
mod shelf;
mod support;
mod tamper;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use super::contract::Failure;
use super::contract::caught;
use crate::provider::{KeyProvider, ProviderErrorKind};

#[cfg(not(target_arch = "wasm32"))]
type Making = Pin<Box<dyn Future<Output = Arc<dyn KeyProvider>> + Send>>;
#[cfg(target_arch = "wasm32")]
type Making = Pin<Box<dyn Future<Output = Arc<dyn KeyProvider>>>>;

type Maker = Box<dyn Fn() -> Making + Send + Sync>;

fn maker<F, Fut, P>(make: F) -> Maker
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = P> + Send + 'static,
    P: KeyProvider + 'static,
{
    Box::new(move || {
        let made = make();
        Box::pin(async move { Arc::new(made.await) as Arc<dyn KeyProvider> })
    })
}

/// Instances that can't work.
struct Failing {
    kind: ProviderErrorKind,
    make: Maker,
    /// Whether a probe finds it out.
    probes: bool,
}

/// The suite, and what it has to know of the provider.
#[must_use]
pub struct Conformance {
    make: Maker,
    other: Maker,
    one_secret: bool,
    unbound: bool,
    kept_by_service: bool,
    rewraps: bool,
    failing: Vec<Failing>,
    notes: &'static [&'static str],
    at_most: usize,
    /// How long a call of one that can't work may take.
    longest: Duration,
}

/// The behaviours, in the order in which they run: group and function. Each function's documentation says what is asked.
macro_rules! behaviours {
    ($($group:ident::$name:ident,)*) => {
        /// The names of all behaviours. Each is the private function of that name in the file of its group.
        pub const ALL: &[&str] = &[$(concat!(stringify!($group), "::", stringify!($name))),*];

        impl Conformance {
            /// Runs every behaviour and returns those that failed.
            pub async fn check(&self) -> Vec<Failure> {
                let mut failures = Vec::new();
                $(
                    if let Err(message) = caught(Box::pin($group::$name(self))).await {
                        failures.push(Failure {
                            behaviour: concat!(stringify!($group), "::", stringify!($name)),
                            message,
                        });
                    }
                )*
                failures
            }
        }
    };
}

behaviours! {
    direct::kind_has_its_shape,
    direct::reference_is_stable,
    direct::round_trip,
    direct::recipe_does_not_show_the_secret,
    direct::wrong_context,
    direct::another_key,
    direct::generate_twice_in_one_slot,
    direct::probe,
    direct::concurrent_futures,
    direct::concurrent_threads_without_a_runtime,
    tamper::every_bit,
    tamper::every_length,
    tamper::emptied_grown_and_repeated,
    tamper::fields_removed_added_and_exchanged,
    cancel::generate_dropped_at_every_pause,
    cancel::unwrap_dropped_at_every_pause,
    cancel::probe_dropped_at_every_pause,
    errors::kinds,
    rewrap::own_key,
    rewrap::what_does_not_open,
    keyring::whole_life,
    keyring::another_key_opens_nothing,
    keyring::moved_recipe,
    keyring::tampered_recipe,
}

impl Conformance {
    /// `make` makes an instance of the provider under test, always for the same key; `other` one of the same kind that is
    /// configured for another key. Both are called often, and every instance must open the slots of the others.
    pub fn new<F, Fut, P, G, Gut, Q>(make: F, other: G) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = P> + Send + 'static,
        P: KeyProvider + 'static,
        G: Fn() -> Gut + Send + Sync + 'static,
        Gut: Future<Output = Q> + Send + 'static,
        Q: KeyProvider + 'static,
    {
        Self {
            make: maker(make),
            other: maker(other),
            one_secret: false,
            unbound: false,
            kept_by_service: false,
            rewraps: false,
            failing: Vec::new(),
            notes: &[],
            at_most: usize::MAX,
            longest: Duration::from_secs(60),
        }
    }

    /// The secret comes from the caller and is the same in every slot, so that fresh secrets do not differ and nothing but
    /// the keyring binds them.
    pub fn one_secret(mut self) -> Self {
        self.one_secret = true;
        self.unbound = true;
        self
    }

    /// The service does not know which slot it is asked for; the keyring alone binds the secret.
    pub fn unbound(mut self) -> Self {
        self.unbound = true;
        self
    }

    /// The service keeps the secret itself, under the slot's name, as a keychain does: the recipe leads nowhere else, and a second
    /// `generate` in one slot may be refused, since it would replace the first one's secret.
    pub fn kept_by_service(mut self) -> Self {
        self.kept_by_service = true;
        self
    }

    /// [`KeyProvider::rewrap`] works, to the provider's own key at least. Without this it must answer `BadRequest`.
    pub fn rewraps(mut self) -> Self {
        self.rewraps = true;
        self
    }

    /// `make` makes an instance that can't work (its service is away, its credentials are nobody's, its key is disabled): each
    /// call of it fails with exactly this kind, within a minute. The time of a
    /// [`Throttled`](ProviderErrorKind::Throttled) is not compared. An instance is dropped before another is made or asked, so it
    /// may be what keeps the service away. May be given for several kinds.
    pub fn fails<F, Fut, P>(mut self, kind: ProviderErrorKind, make: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = P> + Send + 'static,
        P: KeyProvider + 'static,
    {
        self.failing.push(Failing {
            kind,
            make: maker(make),
            probes: true,
        });
        self
    }

    /// As [`Self::fails`], where [`KeyProvider::probe`] can't know it: it is not asked.
    pub fn fails_in_use<F, Fut, P>(mut self, kind: ProviderErrorKind, make: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = P> + Send + 'static,
        P: KeyProvider + 'static,
    {
        self.failing.push(Failing {
            kind,
            make: maker(make),
            probes: false,
        });
        self
    }

    /// Fields of the material that only inform (what an error says, if there is one). The secret may be given where they
    /// were altered; the keyring refuses such a document itself.
    pub fn notes(mut self, fields: &'static [&'static str]) -> Self {
        self.notes = fields;
        self
    }

    /// At most so many damages of each sort and field, spread evenly. Default: all of them, which is seven calls for each
    /// character of a recipe.
    pub fn at_most(mut self, damages: usize) -> Self {
        self.at_most = damages.max(1);
        self
    }

    /// Runs every behaviour.
    ///
    /// # Panics
    ///
    /// If the provider lacks one, after all have run and with the names of those that failed. (Built with
    /// `panic = "abort"`, the first failure ends the process.)
    pub async fn run_all(&self) {
        let failures = self.check().await;
        let report: Vec<String> = failures.iter().map(Failure::to_string).collect();
        assert!(
            failures.is_empty(),
            "{} of {} behaviours failed:\n  {}",
            failures.len(),
            ALL.len(),
            report.join("\n  ")
        );
    }

    async fn made(&self) -> Arc<dyn KeyProvider> {
        (self.make)().await
    }

    async fn made_other(&self) -> Arc<dyn KeyProvider> {
        (self.other)().await
    }
}

#[cfg(test)]
mod tests;
