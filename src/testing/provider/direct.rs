//! The provider by itself.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use secrecy::ExposeSecret;

use super::Conformance;
use super::support::{
    Made, about_the_question, check_text, context, fresh_context, gives, keeps, made, same, shown,
    texts,
};
use crate::provider::{KeyProvider, SlotContext};

/// No field name or value of a reference is longer, and it has no more fields.
const REFERENCE: usize = 2048;

/// 1 to 32 characters of `a-z`, `0-9` and `-`; the same in every instance.
pub(super) async fn kind_has_its_shape(suite: &Conformance) {
    let provider = suite.made().await;
    let kind = provider.kind();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    assert!(
        (1..=32).contains(&kind.len()) && kind.bytes().all(plain),
        "a kind is 1 to 32 characters of a-z, 0-9 and -, this is {kind:?}"
    );
    assert_eq!(provider.kind(), kind, "the kind changed");
    assert_eq!(
        suite.made().await.kind(),
        kind,
        "the kind of another instance"
    );
    assert_eq!(
        suite.made_other().await.kind(),
        kind,
        "the kind with another key"
    );
}

/// The reference is the configuration's: every instance says the same, before and after use, and one for another key says
/// something else (if it says anything).
pub(super) async fn reference_is_stable(suite: &Conformance) {
    let provider = suite.made().await;
    let reference = provider.reference();
    let slot = made(&*provider, fresh_context(1)).await;
    gives(&*provider, &slot).await;
    assert_eq!(provider.reference(), reference, "it changed with use");
    assert_eq!(
        suite.made().await.reference(),
        reference,
        "in another instance"
    );
    if !reference.is_empty() {
        let other = suite.made_other().await.reference();
        assert_ne!(other, reference, "another key has the same reference");
    }
    let longest = reference
        .iter()
        .map(|(name, value)| name.len().max(value.len()));
    assert!(
        reference.len() <= REFERENCE && longest.max().unwrap_or(0) <= REFERENCE,
        "a reference is short: it is stored in the clear in every slot"
    );
}

/// Slots of several keyrings: each secret is given again, in another order, twice, and by another instance. Fresh secrets
/// differ.
pub(super) async fn round_trip(suite: &Conformance) {
    let (provider, another) = (suite.made().await, suite.made().await);
    let mut slots = Vec::new();
    for keyring in 0..3 {
        let SlotContext { keyring_id, .. } = fresh_context(1);
        for slot in [1, 2, 256 + keyring, u32::MAX - keyring] {
            let context = SlotContext { keyring_id, slot };
            slots.push(made(&*provider, context).await);
        }
    }
    for slot in slots.iter().rev() {
        gives(&*provider, slot).await;
        gives(&*another, slot).await;
        gives(&*provider, slot).await;
    }
    let distinct: BTreeSet<_> = slots
        .iter()
        .map(|slot| *slot.secret.expose_secret())
        .collect();
    let expected = if suite.one_secret { 1 } else { slots.len() };
    assert_eq!(
        distinct.len(),
        expected,
        "different secrets of {} slots",
        slots.len()
    );
}

/// Nothing that is stored in the clear holds the secret, as text or in a usual encoding.
pub(super) async fn recipe_does_not_show_the_secret(suite: &Conformance) {
    let provider = suite.made().await;
    let slot = made(&*provider, fresh_context(1)).await;
    let secret = slot.secret.expose_secret();
    let spelled = [
        data_encoding::HEXLOWER.encode(secret),
        data_encoding::HEXUPPER.encode(secret),
        data_encoding::BASE64_NOPAD.encode(secret),
        data_encoding::BASE64URL_NOPAD.encode(secret),
    ];
    for text in texts(&slot.recipe) {
        for spelled in &spelled {
            assert!(
                !text.contains(spelled.as_str()),
                "the recipe holds the secret"
            );
        }
    }
}

/// The recipe of one slot never gives its secret in another slot or keyring.
pub(super) async fn wrong_context(suite: &Conformance) {
    if suite.unbound {
        return;
    }
    let provider = suite.made().await;
    let slot = made(&*provider, fresh_context(7)).await;
    let SlotContext { keyring_id, .. } = slot.context;
    let mut near = keyring_id;
    near[15] ^= 1;
    let other_slot = |slot| SlotContext { keyring_id, slot };
    let other_keyring = |keyring_id| SlotContext {
        keyring_id,
        slot: 7,
    };
    for (wrong, what) in [
        (other_slot(8), "the next slot"),
        (other_slot(7 << 24), "the slot's number turned around"),
        (other_slot(0), "slot 0"),
        (other_keyring(near), "a keyring that differs in one bit"),
        (other_keyring([0; 16]), "another keyring"),
        (fresh_context(9), "another keyring and slot"),
    ] {
        keeps(&*provider, &wrong, &slot.recipe, &slot.secret, what).await;
    }
    let second = made(&*provider, other_slot(8)).await;
    if !suite.kept_by_service {
        keeps(
            &*provider,
            &second.context,
            &slot.recipe,
            &second.secret,
            "the recipe of the slot before",
        )
        .await;
    }
    gives(&*provider, &slot).await;
}

/// A provider for another key does not give the secret.
pub(super) async fn another_key(suite: &Conformance) {
    let (provider, other) = (suite.made().await, suite.made_other().await);
    let slot = made(&*provider, fresh_context(1)).await;
    keeps(
        &*other,
        &slot.context,
        &slot.recipe,
        &slot.secret,
        "another key",
    )
    .await;
    // As if the keyring had compared nothing.
    let mut renamed = slot.recipe.clone();
    renamed.reference = other.reference();
    keeps(
        &*other,
        &slot.context,
        &renamed,
        &slot.secret,
        "another key, and its reference",
    )
    .await;
    gives(&*provider, &slot).await;
}

/// A second `generate` in one slot (the answer to the first was lost on its way) gives a slot that works, and the first
/// recipe never gives the second secret.
pub(super) async fn generate_twice_in_one_slot(suite: &Conformance) {
    let provider = suite.made().await;
    let context = fresh_context(3);
    let first = made(&*provider, context).await;
    if suite.kept_by_service
        && let Err(error) = provider.generate(&context).await
    {
        about_the_question(&error, "a second secret for the slot");
        gives(&*provider, &first).await;
        return;
    }
    let second = made(&*provider, context).await;
    gives(&*provider, &second).await;
    if !suite.one_secret {
        assert!(
            !same(&first.secret, &second.secret),
            "the two secrets are one"
        );
        keeps(
            &*provider,
            &context,
            &first.recipe,
            &second.secret,
            "the first recipe",
        )
        .await;
    }
}

/// `probe` says that it is ready, again and again, and changes nothing.
pub(super) async fn probe(suite: &Conformance) {
    let provider = suite.made().await;
    let slot = made(&*provider, fresh_context(1)).await;
    for _ in 0..3 {
        match provider.probe().await {
            Ok(found) => assert!(found.ready, "a provider that works is not ready"),
            Err(error) => panic!("probe failed: {}", shown(&error)),
        }
    }
    gives(&*provider, &slot).await;
}

/// All that one caller does; used by many at once.
async fn work(provider: &dyn KeyProvider, keyring: u8) {
    let id = fresh_context(1).keyring_id;
    for slot in 1..4 {
        let mut context = context(keyring, slot);
        context.keyring_id[..15].copy_from_slice(&id[..15]);
        let slot: Made = made(provider, context).await;
        gives(provider, &slot).await;
        if let Err(error) = provider.probe().await {
            check_text(&error);
            panic!("probe failed: {}", shown(&error));
        }
    }
}

/// Eight callers take turns on one instance, in one task.
pub(super) async fn concurrent_futures(suite: &Conformance) {
    let provider = suite.made().await;
    let mut running: Vec<_> = (0..8)
        .map(|caller| Some(Box::pin(work(&*provider, caller))))
        .collect();
    poll_fn(|context| {
        let mut pending = false;
        for slot in &mut running {
            if let Some(future) = slot {
                match Pin::new(future).poll(context) {
                    Poll::Ready(()) => *slot = None,
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
}

/// Four threads use one instance at the same time, and none of them has a runtime.
#[cfg(not(target_arch = "wasm32"))]
pub(super) async fn concurrent_threads_without_a_runtime(suite: &Conformance) {
    let provider = suite.made().await;
    let threads: Vec<_> = (0..4)
        .map(|caller| {
            let provider = std::sync::Arc::clone(&provider);
            crate::thread::start("conformance", move || {
                let run =
                    std::panic::AssertUnwindSafe(|| pollster::block_on(work(&*provider, caller)));
                std::panic::catch_unwind(run)
            })
            .expect("a thread")
        })
        .collect();
    for thread in threads {
        // Awaited, not joined: the provider may need this task's thread.
        if let Err(panic) = thread.await.expect("the thread ends") {
            std::panic::resume_unwind(panic);
        }
    }
}

/// There are no threads.
#[cfg(target_arch = "wasm32")]
pub(super) async fn concurrent_threads_without_a_runtime(_suite: &Conformance) {}
