//! A store whose every call can fail or be dropped, its own and its keyring's.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use sealed_store::testing::{Fault, FaultyBackend, InjectedFault};
use sealed_store::{
    BackendKeyring, Keyring, OnCorrupt, Opaque, SealError, SealOptions, SealedBackend,
};
use wacore::store::InMemoryBackend;
use wacore::store::error::StoreError;

use crate::common::raw_key;

pub type Faulty = FaultyBackend<InMemoryBackend>;
pub type Store = SealedBackend<Faulty>;

/// One in-memory store that holds the rows and the keyring, behind a faulty one.
pub struct World {
    pub inner: Arc<Faulty>,
    documents: BackendKeyring<Faulty>,
}

impl World {
    pub fn new() -> Self {
        let inner = Arc::new(FaultyBackend::new(Arc::new(InMemoryBackend::new())));
        let documents = BackendKeyring::new(Arc::clone(&inner));
        Self { inner, documents }
    }

    /// Another opener's keyring.
    pub async fn keyring(&self) -> Result<Keyring, SealError> {
        Keyring::open_or_create(self.documents.clone(), &raw_key()).await
    }

    /// As an application that starts.
    pub async fn open(&self) -> Result<Store, SealError> {
        Ok(self.open_with_keyring().await?.1)
    }

    /// As [`World::open`], with the keyring.
    pub async fn open_with_keyring(&self) -> Result<(Keyring, Store), SealError> {
        let keyring = self.keyring().await?;
        let account = keyring.account_or_create("1").await?;
        let options = SealOptions::new().on_corrupt(OnCorrupt::TreatAsMissing);
        let store = SealedBackend::open_with(Arc::clone(&self.inner), account, options).await?;
        Ok((keyring, store))
    }
}

/// How a piece of work is cut short.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// A call to the inner store fails.
    Fault(Fault),
    /// The future is dropped after so many polls; each call is pending twice.
    DropAfter(u32),
}

impl Cut {
    /// Does the work under this cut: its outcome, unless it was dropped, and whether the cut came
    /// before the end of the work. Afterwards nothing fails any more.
    pub async fn apply<T>(self, world: &World, work: impl Future<Output = T>) -> (Option<T>, bool) {
        world.inner.clear();
        match self {
            Self::Fault(fault) => {
                world.inner.arm(fault);
                let outcome = work.await;
                let struck = world.inner.calls() >= fault.call;
                world.inner.clear();
                (Some(outcome), struck)
            }
            Self::DropAfter(polls) => {
                world.inner.yields(true);
                let outcome = poll_times(work, polls);
                world.inner.yields(false);
                let dropped = outcome.is_none();
                (outcome, dropped)
            }
        }
    }
}

fn poll_times<T>(work: impl Future<Output = T>, polls: u32) -> Option<T> {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if let Poll::Ready(outcome) = work.as_mut().poll(&mut context) {
            return Some(outcome);
        }
    }
    None
}

/// Drives a future that waits for nothing but itself.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    poll_times(future, u32::MAX).expect("it ends")
}

/// Whether the error is the injected one, passed on, and not something that we made of it.
pub fn is_injected(error: &(dyn Error + 'static)) -> bool {
    let mut layer = Some(error);
    while let Some(current) = layer {
        let opaque = current.downcast_ref::<Opaque>();
        if opaque.is_some_and(|opaque| is_injected(opaque.reveal())) {
            return true;
        }
        if let Some(error) = current.downcast_ref::<StoreError>()
            && InjectedFault::of(error).is_some()
        {
            return true;
        }
        layer = current.source();
    }
    false
}
