//! Running behaviours one by one, each on its own store.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use wacore::store::traits::Backend;

use super::{ALL, Behaviour};

/// A behaviour that what was tested does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The [`Behaviour::name`], or the name that the suite of providers gives it.
    pub behaviour: &'static str,
    /// The text of the panic.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { behaviour, message } = self;
        write!(f, "{behaviour}: {message}")
    }
}

/// Runs the whole contract; `make` makes a fresh, empty store for each behaviour.
///
/// The stores are made and used one after the other. Any executor will do, as long as it is one that the
/// store accepts.
///
/// # Panics
///
/// If the store breaks the contract, after all behaviours have run and with the names of those that
/// failed. (Built with `panic = "abort"`, the first failure ends the process.)
pub async fn run_all<F, Fut>(make: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Arc<dyn Backend>>,
{
    let failures = check(ALL, make).await;
    let report: Vec<String> = failures.iter().map(Failure::to_string).collect();
    assert!(
        failures.is_empty(),
        "{} of {} behaviours failed:\n  {}",
        failures.len(),
        ALL.len(),
        report.join("\n  ")
    );
}

/// Runs the given behaviours, `make` making a fresh, empty store for each, and returns those that failed.
pub async fn check<'a, F, Fut>(
    behaviours: impl IntoIterator<Item = &'a Behaviour>,
    mut make: F,
) -> Vec<Failure>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Arc<dyn Backend>>,
{
    let mut failures = Vec::new();
    for behaviour in behaviours {
        let store = make().await;
        if let Err(message) = caught((behaviour.run)(store)).await {
            failures.push(Failure {
                behaviour: behaviour.name,
                message,
            });
        }
    }
    failures
}

/// Polls `run` to its end or to its panic, whose text becomes the error.
pub(in crate::testing) async fn caught(
    mut run: impl Future<Output = ()> + Unpin,
) -> Result<(), String> {
    poll_fn(|context| {
        // After a panic the future is dropped, never polled again.
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut run).poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(text(payload.as_ref()))),
        }
    })
    .await
}

fn text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<String>() {
        return text.clone();
    }
    match payload.downcast_ref::<&str>() {
        Some(text) => (*text).to_owned(),
        None => "a panic without a text".to_owned(),
    }
}
