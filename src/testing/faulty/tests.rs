//! That the store passes everything on, and fails just where it was told to.

use std::collections::BTreeSet;
use std::pin::pin;
use std::task::{Context, Waker};

use wacore::store::in_memory::InMemoryBackend;
use wacore::store::traits::{DeviceStore, SignalStore};

use super::*;
use crate::testing::contract::{self, METHODS};

const ADDRESS: &str = "5511987650001:3@c.us.0";

fn memory() -> FaultyBackend<InMemoryBackend> {
    FaultyBackend::new(Arc::new(InMemoryBackend::new()))
}

async fn put(store: &FaultyBackend<InMemoryBackend>) -> bool {
    store.put_session(ADDRESS, b"ratchet").await.is_ok()
}

async fn stored(store: &FaultyBackend<InMemoryBackend>) -> bool {
    store.inner().has_session(ADDRESS).await.expect("in memory")
}

#[tokio::test]
async fn every_method_calls_the_inner_one_of_the_same_name_once() {
    let mut seen = BTreeSet::new();
    for behaviour in contract::ALL {
        let inner = Arc::new(memory());
        let outer = Arc::new(FaultyBackend::new(inner.clone()));
        (behaviour.run)(outer.clone()).await;
        assert_eq!(outer.log(), inner.log(), "{}", behaviour.name);
        assert_eq!(outer.calls(), outer.log().len() as u64);
        seen.extend(outer.log());
    }
    assert_eq!(seen, METHODS.iter().copied().collect());
}

#[tokio::test]
async fn it_wraps_a_trait_object_and_keeps_the_contract_while_yielding() {
    contract::run_all(|| async {
        let inner: Arc<dyn Backend> = Arc::new(InMemoryBackend::new());
        let store = FaultyBackend::new(inner);
        store.yields(true);
        Arc::new(store) as Arc<dyn Backend>
    })
    .await;
}

#[tokio::test]
async fn a_fault_before_the_effect_prevents_it_and_one_after_does_not() {
    for (when, effect) in [(When::Before, false), (When::After, true)] {
        let store = memory();
        let lasting = Lasting::Once;
        store.arm(Fault {
            call: 2,
            when,
            lasting,
        });
        assert!(store.has_session(ADDRESS).await.is_ok(), "call 1 passes");
        let error = store.put_session(ADDRESS, b"ratchet").await.unwrap_err();
        let fault = InjectedFault::of(&error).expect("an injected fault");
        assert_eq!(
            (fault.call, fault.method, fault.when),
            (2, "put_session", when)
        );
        assert_eq!(stored(&store).await, effect, "{when:?}");
        assert!(put(&store).await, "call 3 passes");
    }
}

#[tokio::test]
async fn a_fault_for_good_lasts_until_cleared() {
    let store = memory();
    store.arm(Fault {
        call: 2,
        when: When::Before,
        lasting: Lasting::ForGood,
    });
    assert!(put(&store).await);
    for _ in 0..3 {
        assert!(!put(&store).await);
    }
    assert_eq!(store.calls(), 4);
    let _ = store.resource_report().await;
    assert_eq!(store.calls(), 5, "a method without errors is counted");
    store.clear();
    assert_eq!((store.calls(), store.log().len()), (0, 0));
    assert!(put(&store).await && put(&store).await);
}

#[tokio::test]
async fn the_error_of_the_inner_store_comes_first() {
    let inner = Arc::new(memory());
    let store = FaultyBackend::new(inner.clone());
    let fault = Fault {
        call: 1,
        when: When::After,
        lasting: Lasting::Once,
    };
    inner.arm(Fault {
        call: 1,
        when: When::Before,
        lasting: Lasting::Once,
    });
    store.arm(fault);
    let error = store.put_session(ADDRESS, b"").await.unwrap_err();
    let fault = InjectedFault::of(&error).expect("an injected fault");
    assert_eq!(fault.when, When::Before, "the fault of the inner store");
}

#[tokio::test]
async fn random_faults_repeat_with_their_seed() {
    let outcomes = async |seed| {
        let store = FaultyBackend::seeded(Arc::new(InMemoryBackend::new()), seed, 4);
        let mut outcomes = Vec::new();
        for _ in 0..400 {
            let result = store.put_session(ADDRESS, b"").await;
            let fault = result
                .err()
                .and_then(|error| InjectedFault::of(&error).copied());
            outcomes.push(fault);
        }
        outcomes
    };
    let first = outcomes(7).await;
    assert_eq!(first, outcomes(7).await);
    assert_ne!(first, outcomes(8).await);
    let faults: Vec<_> = first.into_iter().flatten().collect();
    let after = faults
        .iter()
        .filter(|fault| fault.when == When::After)
        .count();
    assert!((60..140).contains(&faults.len()), "{} of 400", faults.len());
    assert!((20..80).contains(&after), "{after} after the effect");
    assert!(faults.iter().all(|fault| fault.seed == Some(7)));
}

#[tokio::test]
async fn no_random_faults_with_one_in_none() {
    let store = FaultyBackend::seeded(Arc::new(InMemoryBackend::new()), 7, 0);
    for _ in 0..100 {
        assert!(put(&store).await);
    }
}

#[tokio::test]
async fn no_error_looks_like_contention() {
    for (when, method) in [When::Before, When::After]
        .into_iter()
        .flat_map(|when| METHODS.iter().map(move |method| (when, *method)))
    {
        let fault = InjectedFault {
            call: 3,
            method,
            when,
            seed: Some(7),
        };
        let error = StoreError::Io(io::Error::other(fault));
        assert!(!error.is_database_busy_or_locked(), "{fault}");
        let text = format!("{fault} {error} {error:?}").to_lowercase();
        assert!(!text.contains("locked") && !text.contains("busy"), "{text}");
    }
}

#[test]
fn real_errors_are_not_taken_for_injected_ones() {
    let real = StoreError::Io(io::Error::other("disk on fire"));
    assert!(InjectedFault::of(&real).is_none());
    assert!(InjectedFault::of(&StoreError::DeviceNotFound(1)).is_none());
}

#[test]
fn faults_are_found_behind_other_errors() {
    let fault = InjectedFault {
        call: 1,
        method: "load",
        when: When::Before,
        seed: None,
    };
    let inner = StoreError::Io(io::Error::other(fault));
    let outer = StoreError::Database(Box::new(inner));
    assert_eq!(InjectedFault::of(&outer), Some(&fault));
}

#[test]
fn a_call_can_be_dropped_before_and_after_its_effect() {
    for (polls, effect) in [(0, false), (1, false), (2, true)] {
        let store = memory();
        store.yields(true);
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut call = pin!(store.put_session(ADDRESS, b"ratchet"));
            for _ in 0..polls {
                assert!(call.as_mut().poll(&mut context).is_pending());
            }
        }
        store.yields(false);
        let mut look = pin!(stored(&store));
        let Poll::Ready(there) = look.as_mut().poll(&mut context) else {
            panic!("the store in memory does not wait");
        };
        assert_eq!(there, effect, "dropped after {polls} polls");
        assert_eq!(store.calls(), u64::from(polls > 0));
    }
}

#[test]
#[should_panic(expected = "calls are counted from 1")]
fn there_is_no_call_zero() {
    memory().arm(Fault {
        call: 0,
        when: When::Before,
        lasting: Lasting::Once,
    });
}
