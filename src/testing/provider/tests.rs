//! The suite finds what it is there to find: a sound provider, and the same one broken in one way each time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretBox};

use super::*;
use crate::provider::{
    Fields, NewSlot, Probe, ProviderError, ProviderErrorKind, Recipe, SlotContext,
};
use crate::secret;
use crate::thread::yield_now;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Broken {
    No,
    Kind,
    Reference,
    NoReference,
    Unbound,
    AnyKey,
    FixedSecret,
    ShownSecret,
    Overwrites,
    TwoSpellings,
    UnknownFields,
    Panics,
    DamageIsUnavailable,
    DamageIsDenied,
    LoudAdvice,
    NotReady,
    StuckAfterDrop,
    OneAtATime,
    OtherKindWhenDown,
    WorksWhenDown,
    HangsWhenDown,
    LoudWhenDown,
    ReadyWhenDown,
    CanNotRewrap,
    UnavailableForRewrap,
    RewrapsToAnother,
    RewrapsUnbound,
    RewrapEndsTheOld,
    RewrapsAnySlot,
    RewrapsAnything,
    RewrapsAnyKey,
    RewrapsToNowhere,
}

/// The slot of a secret that is given in any; nothing else asks for it.
const UNBOUND: u32 = 0xdead_beef;

type Service = Arc<Mutex<HashMap<String, (SlotContext, &'static str, [u8; 32])>>>;

/// Keeps each secret in a service under a handle.
struct Sample {
    service: Service,
    key: &'static str,
    broken: Broken,
    /// Why it can't work.
    down: Option<ProviderErrorKind>,
    used: AtomicUsize,
    inside: AtomicUsize,
}

fn error(kind: ProviderErrorKind) -> ProviderError {
    ProviderError::new(kind, "do something about it")
}

impl Sample {
    fn is(&self, broken: Broken) -> bool {
        self.broken == broken
    }

    /// Gives way in the middle, as a call over a network does.
    async fn give_way(&self) -> Result<(), ProviderError> {
        if let Some(kind) = self.down {
            return match self.broken {
                Broken::WorksWhenDown => Ok(()),
                Broken::OtherKindWhenDown => Err(error(ProviderErrorKind::Corrupt)),
                Broken::HangsWhenDown => std::future::pending().await,
                Broken::LoudWhenDown => Err(ProviderError::new(kind, "the service is busy")),
                _ => Err(error(kind)),
            };
        }
        let others = self.inside.fetch_add(1, Ordering::SeqCst);
        if self.is(Broken::OneAtATime) && others > 0 {
            self.inside.fetch_sub(1, Ordering::SeqCst);
            return Err(error(ProviderErrorKind::Unavailable));
        }
        struct Out<'a>(&'a AtomicUsize, bool);
        impl Drop for Out<'_> {
            fn drop(&mut self) {
                if !self.1 {
                    self.0.fetch_sub(1, Ordering::SeqCst);
                }
            }
        }
        let mut out = Out(&self.inside, self.is(Broken::StuckAfterDrop));
        if self.is(Broken::StuckAfterDrop) && others > 0 {
            return Err(error(ProviderErrorKind::Unavailable));
        }
        yield_now().await;
        yield_now().await;
        out.1 = false;
        Ok(())
    }

    fn damaged(&self) -> ProviderError {
        match self.broken {
            Broken::Panics => panic!("index out of bounds"),
            Broken::DamageIsUnavailable => error(ProviderErrorKind::Unavailable),
            Broken::DamageIsDenied => error(ProviderErrorKind::Denied),
            Broken::LoudAdvice => {
                ProviderError::new(ProviderErrorKind::Corrupt, "the token is locked")
            }
            _ => error(ProviderErrorKind::Corrupt),
        }
    }
}

#[async_trait]
impl KeyProvider for Sample {
    fn kind(&self) -> &str {
        if self.is(Broken::Kind) {
            "A sample"
        } else {
            "sample"
        }
    }

    fn reference(&self) -> Fields {
        let mut key = self.key.to_owned();
        if self.is(Broken::Reference) {
            key = self.used.load(Ordering::SeqCst).to_string();
        }
        if self.is(Broken::NoReference) {
            key.clear();
        }
        Fields::from([("key".to_owned(), key)])
    }

    async fn generate(&self, context: &SlotContext) -> Result<NewSlot, ProviderError> {
        self.give_way().await?;
        self.used.fetch_add(1, Ordering::SeqCst);
        let mut secret = *secret::random_key().unwrap().expose_secret();
        if self.is(Broken::FixedSecret) {
            secret = [7; 32];
        }
        let mut handle = hex::encode(secret::random_id().unwrap());
        if self.is(Broken::Overwrites) {
            handle = context.slot.to_string();
        }
        let kept = (*context, self.key, secret);
        self.service.lock().unwrap().insert(handle.clone(), kept);
        let mut material = Fields::from([("handle".to_owned(), handle)]);
        if self.is(Broken::ShownSecret) {
            material.insert("checked".to_owned(), hex::encode(secret));
        }
        Ok(NewSlot {
            secret: SecretBox::new(Box::new(secret)),
            material,
        })
    }

    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        self.give_way().await?;
        let fields = if self.is(Broken::ShownSecret) { 2 } else { 1 };
        if recipe.material.len() != fields && !self.is(Broken::UnknownFields) {
            return Err(self.damaged());
        }
        let handle = recipe
            .material
            .get("handle")
            .ok_or_else(|| self.damaged())?;
        let handle = match self.broken {
            Broken::TwoSpellings => handle.to_lowercase(),
            _ => handle.clone(),
        };
        let service = self.service.lock().unwrap();
        let kept = service.get(&handle);
        let (bound, key, secret) = match kept {
            Some(kept) => kept,
            None => {
                drop(service);
                return Err(self.damaged());
            }
        };
        if self.is(Broken::ShownSecret)
            && recipe.material.get("checked") != Some(&hex::encode(secret))
        {
            return Err(self.damaged());
        }
        if *key != self.key && !self.is(Broken::AnyKey) {
            return Err(error(ProviderErrorKind::WrongKey));
        }
        if bound != context && !self.is(Broken::Unbound) && bound.slot != UNBOUND {
            return Err(error(ProviderErrorKind::ContextMismatch));
        }
        Ok(SecretBox::new(Box::new(*secret)))
    }

    async fn rewrap(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
        to: &Fields,
    ) -> Result<Fields, ProviderError> {
        match self.broken {
            Broken::CanNotRewrap => return Err(error(ProviderErrorKind::BadRequest)),
            Broken::UnavailableForRewrap => return Err(error(ProviderErrorKind::Unavailable)),
            _ => {}
        }
        if *to != self.reference() && !self.is(Broken::RewrapsToNowhere) {
            return Err(error(ProviderErrorKind::BadRequest));
        }
        let handle = recipe.material.get("handle");
        let handle = handle.ok_or_else(|| self.damaged())?;
        let mut service = self.service.lock().unwrap();
        let mut kept = match service.get(handle) {
            Some(kept) => *kept,
            None if self.is(Broken::RewrapsAnything) => (*context, self.key, [7; 32]),
            None => {
                drop(service);
                return Err(self.damaged());
            }
        };
        if recipe.material.len() != 1 && !self.is(Broken::RewrapsAnything) {
            drop(service);
            return Err(self.damaged());
        }
        if kept.1 != self.key && !self.is(Broken::RewrapsAnyKey) {
            return Err(error(ProviderErrorKind::WrongKey));
        }
        if kept.0 != *context && !self.is(Broken::RewrapsAnySlot) {
            return Err(error(ProviderErrorKind::ContextMismatch));
        }
        let anew = hex::encode(secret::random_id().unwrap());
        match self.broken {
            Broken::RewrapsToAnother => kept.2[0] ^= 1,
            Broken::RewrapsUnbound => kept.0.slot = UNBOUND,
            Broken::RewrapEndsTheOld => drop(service.remove(handle)),
            _ => {}
        }
        service.insert(anew.clone(), kept);
        Ok(Fields::from([("handle".to_owned(), anew)]))
    }

    async fn probe(&self) -> Result<Probe, ProviderError> {
        if self.is(Broken::ReadyWhenDown) {
            return Ok(Probe::ready());
        }
        self.give_way().await?;
        let mut probe = Probe::ready();
        probe.ready = !self.is(Broken::NotReady);
        Ok(probe)
    }
}

/// The suite on a sample, which is broken in this way and says that it can rewrap.
fn suite(broken: Broken) -> Conformance {
    let service = Service::default();
    let make = |key, down| {
        let service = Arc::clone(&service);
        move || {
            let service = Arc::clone(&service);
            async move {
                Sample {
                    service,
                    key,
                    broken,
                    down,
                    used: AtomicUsize::new(0),
                    inside: AtomicUsize::new(0),
                }
            }
        }
    };
    let throttled = |retry_after| ProviderErrorKind::Throttled { retry_after };
    let minute = Some(Duration::from_secs(60));
    let mut suite = Conformance::new(make("one", None), make("two", None))
        .rewraps()
        .fails(
            ProviderErrorKind::Denied,
            make("one", Some(ProviderErrorKind::Denied)),
        )
        .fails(throttled(None), make("one", Some(throttled(minute))));
    if broken == Broken::HangsWhenDown {
        suite.longest = Duration::from_millis(20);
    }
    suite
}

async fn failed_of(suite: Conformance) -> Vec<&'static str> {
    let failures = suite.check().await;
    failures.iter().map(|failure| failure.behaviour).collect()
}

/// The names of the behaviours that fail.
async fn failed(broken: Broken) -> Vec<&'static str> {
    failed_of(suite(broken)).await
}

#[tokio::test]
async fn a_sound_provider_passes_and_each_broken_one_is_found() {
    assert_eq!(failed(Broken::No).await, [""; 0]);
    for (broken, by) in [
        (Broken::Kind, "direct::kind_has_its_shape"),
        (Broken::Reference, "direct::reference_is_stable"),
        (Broken::NoReference, "direct::reference_is_stable"),
        (Broken::Unbound, "direct::wrong_context"),
        (Broken::AnyKey, "direct::another_key"),
        (Broken::FixedSecret, "direct::round_trip"),
        (
            Broken::ShownSecret,
            "direct::recipe_does_not_show_the_secret",
        ),
        (Broken::Overwrites, "direct::round_trip"),
        (Broken::TwoSpellings, "tamper::every_bit"),
        (
            Broken::UnknownFields,
            "tamper::fields_removed_added_and_exchanged",
        ),
        (Broken::Panics, "tamper::every_length"),
        (
            Broken::DamageIsUnavailable,
            "tamper::emptied_grown_and_repeated",
        ),
        (Broken::DamageIsUnavailable, "keyring::tampered_recipe"),
        (Broken::DamageIsDenied, "tamper::every_bit"),
        (Broken::LoudAdvice, "tamper::every_bit"),
        (Broken::NotReady, "direct::probe"),
        (
            Broken::StuckAfterDrop,
            "cancel::unwrap_dropped_at_every_pause",
        ),
        (
            Broken::StuckAfterDrop,
            "cancel::generate_dropped_at_every_pause",
        ),
        (
            Broken::StuckAfterDrop,
            "cancel::probe_dropped_at_every_pause",
        ),
        (Broken::OneAtATime, "direct::concurrent_futures"),
        (Broken::OtherKindWhenDown, "errors::kinds"),
        (Broken::WorksWhenDown, "errors::kinds"),
        (Broken::HangsWhenDown, "errors::kinds"),
        (Broken::LoudWhenDown, "errors::kinds"),
        (Broken::ReadyWhenDown, "errors::kinds"),
        (Broken::CanNotRewrap, "rewrap::own_key"),
        (Broken::UnavailableForRewrap, "rewrap::own_key"),
        (Broken::RewrapsToAnother, "rewrap::own_key"),
        (Broken::RewrapsUnbound, "rewrap::own_key"),
        (Broken::RewrapEndsTheOld, "rewrap::own_key"),
        (Broken::RewrapsAnySlot, "rewrap::what_does_not_open"),
        (Broken::RewrapsAnything, "rewrap::what_does_not_open"),
        (Broken::RewrapsAnyKey, "rewrap::what_does_not_open"),
        (Broken::RewrapsToNowhere, "rewrap::what_does_not_open"),
    ] {
        let failed = failed(broken).await;
        assert!(failed.contains(&by), "{broken:?} fails only {failed:?}");
    }
}

#[tokio::test]
async fn what_was_not_promised_of_rewrap_is_bad_request() {
    let without = |broken| {
        let mut suite = suite(broken);
        suite.rewraps = false;
        failed_of(suite)
    };
    assert_eq!(without(Broken::CanNotRewrap).await, [""; 0]);
    for broken in [Broken::No, Broken::UnavailableForRewrap] {
        assert_eq!(without(broken).await, ["rewrap::own_key"], "{broken:?}");
    }
}

#[tokio::test]
async fn a_probe_that_can_not_know_is_not_asked() {
    let mut suite = suite(Broken::ReadyWhenDown);
    for failing in &mut suite.failing {
        failing.probes = false;
    }
    assert_eq!(failed_of(suite).await, [""; 0]);
}

#[test]
fn each_name_is_there_once() {
    let mut names = ALL.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
}
