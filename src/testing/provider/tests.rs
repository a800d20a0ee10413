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
}

type Service = Arc<Mutex<HashMap<String, (SlotContext, &'static str, [u8; 32])>>>;

/// Keeps each secret in a service under a handle.
struct Sample {
    service: Service,
    key: &'static str,
    broken: Broken,
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
        if bound != context && !self.is(Broken::Unbound) {
            return Err(error(ProviderErrorKind::ContextMismatch));
        }
        Ok(SecretBox::new(Box::new(*secret)))
    }

    async fn probe(&self) -> Result<Probe, ProviderError> {
        self.give_way().await?;
        let mut probe = Probe::ready();
        probe.ready = !self.is(Broken::NotReady);
        Ok(probe)
    }
}

/// The names of the behaviours that fail.
async fn failed(broken: Broken) -> Vec<&'static str> {
    let service = Service::default();
    let make = |key| {
        let service = Arc::clone(&service);
        move || {
            let service = Arc::clone(&service);
            async move {
                Sample {
                    service,
                    key,
                    broken,
                    used: AtomicUsize::new(0),
                    inside: AtomicUsize::new(0),
                }
            }
        }
    };
    let failures = Conformance::new(make("one"), make("two")).check().await;
    failures.iter().map(|failure| failure.behaviour).collect()
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
    ] {
        let failed = failed(broken).await;
        assert!(failed.contains(&by), "{broken:?} fails only {failed:?}");
    }
}

#[test]
fn each_name_is_there_once() {
    let mut names = ALL.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
}
