//! That the suite covers what it says, and that it can fail.

use std::collections::BTreeSet;
use std::sync::Arc;

use wacore::store::in_memory::InMemoryBackend;
use wacore::store::traits::Backend;

use super::{ALL, METHODS, check, run_all};
use crate::testing::{Fault, FaultyBackend, Lasting, When};

type Memory = FaultyBackend<InMemoryBackend>;

fn memory() -> Arc<Memory> {
    Arc::new(FaultyBackend::new(Arc::new(InMemoryBackend::new())))
}

#[test]
fn every_method_is_named_by_a_behaviour() {
    let named: BTreeSet<_> = ALL.iter().flat_map(|behaviour| behaviour.methods).collect();
    let all: BTreeSet<_> = METHODS.iter().collect();
    assert_eq!(METHODS.len(), 82);
    assert_eq!(all.len(), 82, "no method is listed twice");
    assert_eq!(named, all);
}

#[test]
fn names_are_unique() {
    let names: BTreeSet<_> = ALL.iter().map(|behaviour| behaviour.name).collect();
    assert_eq!(names.len(), ALL.len());
}

#[tokio::test]
async fn a_behaviour_calls_the_methods_that_it_names_and_no_others() {
    for behaviour in ALL {
        let store = memory();
        (behaviour.run)(store.clone()).await;
        let mut called: BTreeSet<_> = store.log().into_iter().collect();
        if !behaviour.name.starts_with("device::") {
            // The preparation, which is no part of the behaviour.
            called.remove("exists");
            called.remove("create");
        }
        let named: BTreeSet<_> = behaviour.methods.iter().copied().collect();
        assert_eq!(called, named, "{}", behaviour.name);
    }
}

#[tokio::test]
async fn the_store_in_memory_keeps_the_contract() {
    run_all(|| async { Arc::new(InMemoryBackend::new()) as Arc<dyn Backend> }).await;
}

#[tokio::test]
async fn a_failing_store_fails_with_every_behaviour_named() {
    let failures = check(ALL, || async {
        let store = memory();
        store.arm(Fault {
            call: 1,
            when: When::After,
            lasting: Lasting::ForGood,
        });
        store as Arc<dyn Backend>
    })
    .await;
    assert_eq!(failures.len(), ALL.len());
    for (failure, behaviour) in failures.iter().zip(ALL) {
        assert_eq!(failure.behaviour, behaviour.name);
        assert!(
            failure.message.contains("injected fault after"),
            "{failure}"
        );
    }
}
