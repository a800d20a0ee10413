//! A service that answers no question: it is away, it denies, its key is gone.

use std::future::Future;
use std::mem::discriminant;

use super::support::{check_text, fresh_context, gives, made, shown};
use super::{Conformance, Failing};
use crate::provider::ProviderError;
use crate::thread::within;

/// Every call of an instance that can't work says why, with the kind that was promised and a text that can be shown, and
/// ends; `probe` too, unless it was said that it can't know. The slot still opens with one that works.
pub(super) async fn kinds(suite: &Conformance) {
    let provider = suite.made().await;
    let slot = made(&*provider, fresh_context(1)).await;
    for failing in &suite.failing {
        let broken = (failing.make)().await;
        let context = fresh_context(2);
        fails(suite, failing, "generate", broken.generate(&context)).await;
        let unwrap = broken.unwrap_secret(&slot.context, &slot.recipe);
        fails(suite, failing, "unwrap_secret", unwrap).await;
        if failing.probes {
            fails(suite, failing, "probe", broken.probe()).await;
        }
    }
    gives(&*provider, &slot).await;
}

async fn fails<T>(
    suite: &Conformance,
    failing: &Failing,
    what: &str,
    call: impl Future<Output = Result<T, ProviderError>>,
) {
    let expected = failing.kind;
    match within(suite.longest, call).await {
        None => panic!(
            "{what}: no answer in {:?}, instead of {expected:?}",
            suite.longest
        ),
        Some(Ok(_)) => panic!("{what}: it works, instead of {expected:?}"),
        Some(Err(error)) => {
            check_text(&error);
            // A service names its own time to come back.
            assert!(
                discriminant(&error.kind()) == discriminant(&expected),
                "{what}: {}, instead of {expected:?}",
                shown(&error)
            );
        }
    }
}
