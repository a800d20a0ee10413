//! A store must never look new, empty or device-less by mistake: a client that finds no device makes
//! one, saves it over the account, or pairs again. Each line of the table at the head of
//! `src/sealed/open.rs` is made for real here, over both of upstream's stores, and answered.
//! (`Shredded` has no public way to it yet: `src/sealed/open/shredded.rs`.)

#[path = "canary/damage.rs"]
mod damage;
#[path = "canary/gate.rs"]
mod gate;
#[path = "canary/scene.rs"]
mod scene;
mod support;

use std::sync::Arc;

use scene::{CANARY, Scene, emptied, unsealed};
use sealed_store::testing::{Fault, FaultyBackend, Lasting, When, assert_same_device, device_diff};
use sealed_store::{AccountState, Table};
use support::{dropped_after, refused};
use wacore::store::traits::{
    AppStateSyncKey, Backend, DeviceStore, LidPnMappingEntry, SignalStore, TcTokenEntry,
};
use whatsapp_rust::store::persistence_manager::PersistenceManager;

// absent, none, new: a first run.
#[tokio::test]
async fn an_empty_store_gets_its_canary_and_no_device() {
    for scene in Scene::both().await {
        assert!(!scene.has_canary().await);
        let store = scene.open().await.unwrap();
        assert!(scene.has_canary().await, "right away");
        assert_eq!(store.account().state(), AccountState::New);
        assert!(!store.exists().await.unwrap());
        assert!(store.load().await.unwrap().is_none());
        assert!(!scene.gate.exists().await.unwrap(), "nobody asked for one");
    }
}

// ours, none, new or initialising: go on.
#[tokio::test]
async fn a_store_that_was_opened_and_left_is_opened_again() {
    for scene in Scene::both().await {
        drop(scene.open().await.unwrap());
        let canary = scene.canary().await;
        let store = scene.open().await.unwrap();
        assert!(!store.exists().await.unwrap());
        assert_eq!(scene.canary().await, canary, "and not written again");
        drop(store);

        scene.crash(("create", 1), When::Before).await;
        assert_eq!(scene.state().await, "initialising");
        let store = scene.open().await.unwrap();
        assert!(!store.exists().await.unwrap(), "initialising is no device");
        assert!(store.load().await.unwrap().is_none());
        store.create().await.unwrap();
        assert_eq!(store.account().state(), AccountState::Live);
        assert!(store.exists().await.unwrap());
    }
}

// absent, none, initialising: go on, canary now.
#[tokio::test]
async fn a_crash_before_any_row_is_gone_on_from() {
    for scene in Scene::both().await {
        scene.crash(("create", 1), When::Before).await;
        scene.gate.delete_session(CANARY).await.unwrap();
        let store = scene.open().await.unwrap();
        assert!(scene.has_canary().await);
        assert!(!store.exists().await.unwrap());
        store.create().await.unwrap();
        drop(store);
        assert!(scene.open().await.unwrap().exists().await.unwrap());
    }
}

/// One row in the clear, of each kind that the trait shows. The last one needs a device row.
async fn plain_row(kind: usize, store: &dyn Backend) {
    match kind {
        0 => store.store_prekey(7, b"plain", false).await,
        1 => store.store_signed_prekey(7, b"plain").await,
        2 => {
            let key = AppStateSyncKey {
                key_data: vec![7; 32],
                ..Default::default()
            };
            store.set_sync_key(b"abc", key).await
        }
        3 => {
            let token = TcTokenEntry {
                token: vec![1],
                token_timestamp: 1,
                sender_timestamp: None,
            };
            store.put_tc_token("1@lid", &token).await
        }
        _ => {
            store.create().await.unwrap();
            let mapping = LidPnMappingEntry {
                lid: "1".into(),
                phone_number: "2".into(),
                created_at: 1,
                updated_at: 1,
                learning_source: "usync".into(),
            };
            store.put_lid_mapping(&mapping).await
        }
    }
    .unwrap();
}

// absent, none or there, new or initialising, but rows: somebody's data in the clear.
#[tokio::test]
async fn rows_in_the_clear_are_refused_and_nothing_is_written() {
    for kind in 0..5 {
        for crashed in [false, true] {
            for scene in Scene::both().await {
                if crashed {
                    scene.crash(("create", 1), When::Before).await;
                    scene.gate.delete_session(CANARY).await.unwrap();
                }
                plain_row(kind, &*scene.gate).await;
                if crashed && scene.gate.exists().await.unwrap() {
                    continue; // That is what a crash after the inner create leaves: see below.
                }
                let (document, device) = (scene.document().await, scene.plain_device().await);
                let error = refused(scene.open().await);
                assert!(unsealed(&error, None), "{kind}: {error:?}");
                assert!(!scene.has_canary().await);
                assert_eq!(scene.document().await, document, "not even bound");
                scene.same_plain_device(device).await;
            }
        }
    }
}

// absent or ours, there, new: a plain client's account.
#[tokio::test]
async fn a_plain_clients_account_is_never_sealed_over() {
    for opened_before in [false, true] {
        for scene in Scene::both().await {
            if opened_before {
                drop(scene.open().await.unwrap());
            }
            let manager = PersistenceManager::new(scene.gate.now()).await.unwrap();
            manager
                .modify_device(|device| device.push_name = "in the clear".into())
                .await;
            manager.flush().await.unwrap();
            drop(manager);
            let (document, device) = (scene.document().await, scene.plain_device().await);
            let canary = scene.canary().await;
            for _ in 0..2 {
                let error = refused(scene.open().await);
                assert!(unsealed(&error, None), "{error:?}");
            }
            assert_eq!(scene.canary().await, canary);
            assert_eq!(scene.document().await, document);
            scene.same_plain_device(device).await;
        }
    }
}

// ours, there, carrier opens, initialising: only the last step was missing.
#[tokio::test]
async fn a_crash_after_the_device_was_saved_is_finished_with_that_device() {
    for scene in Scene::both().await {
        scene.crash(("put_session", 1), When::After).await;
        assert_eq!(scene.state().await, "initialising");
        let carrier = scene.carrier().await.unwrap();
        let store = scene.open().await.unwrap();
        assert_eq!(store.account().state(), AccountState::Live);
        assert_eq!(scene.carrier().await.unwrap(), carrier, "not made again");
        assert!(store.exists().await.unwrap() && store.load().await.unwrap().is_some());
        drop(store);
        assert_eq!(scene.state().await, "live");
    }
}

// ours or absent, there, no carrier, initialising: the inner create was the last that happened.
#[tokio::test]
async fn a_crash_between_the_two_device_rows_is_finished() {
    for (call, when) in [
        (("create", 1), When::After),
        (("put_session", 1), When::Before),
    ] {
        for canary in [true, false] {
            for scene in Scene::both().await {
                scene.crash(call, when).await;
                assert_eq!(scene.state().await, "initialising");
                assert!(scene.gate.exists().await.unwrap());
                if !canary {
                    scene.gate.delete_session(CANARY).await.unwrap();
                }
                let plain = scene.plain_device().await.unwrap();
                let store = scene.open().await.unwrap();
                assert!(scene.has_canary().await);
                assert!(store.exists().await.unwrap());
                let device = store.load().await.unwrap().unwrap();
                let different = device_diff(&device, &plain);
                assert!(different.contains(&"identity_key"), "not the plain one");
                drop(store);
                let again = scene.open().await.unwrap().load().await.unwrap().unwrap();
                assert_same_device(&again, &device, &[]);
                assert_eq!(scene.state().await, "live");
            }
        }
    }
}

// The same, but the plain device is somebody's account by now.
#[tokio::test]
async fn a_device_in_the_clear_that_was_used_is_not_sealed_over() {
    for canary in [true, false] {
        for mark in 0..4 {
            for scene in Scene::both().await {
                scene.crash(("create", 1), When::After).await;
                if !canary {
                    scene.gate.delete_session(CANARY).await.unwrap();
                }
                let full = sealed_store::testing::full_device();
                let mut device = scene.plain_device().await.unwrap();
                match mark {
                    0 => device.push_name = full.push_name,
                    1 => device.pn = full.pn,
                    2 => device.lid = full.lid,
                    _ => device.account = full.account,
                }
                scene.gate.save(&device).await.unwrap();
                let document = scene.document().await;
                let error = refused(scene.open().await);
                assert!(unsealed(&error, Some(Table::Device)), "{error:?}");
                assert_eq!(scene.has_canary().await, canary);
                assert!(scene.carrier().await.is_none());
                assert_eq!(scene.document().await, document);
                scene.same_plain_device(Some(device)).await;
            }
        }
    }
}

// ours, there, carrier opens, live.
#[tokio::test]
async fn a_live_store_opens_with_the_device_that_was_saved() {
    for scene in Scene::both().await {
        let device = scene.live().await;
        for _ in 0..2 {
            let store = scene.open().await.unwrap();
            assert!(store.exists().await.unwrap());
            assert_same_device(&store.load().await.unwrap().unwrap(), &device, &[]);
            // Upstream's stores answer a second one differently, and neither replaces anything.
            let _ = store.create().await;
            let after = store.load().await.unwrap().unwrap();
            assert_same_device(&after, &device, &[]);
        }
    }
}

// absent or ours, none or no carrier, live.
#[tokio::test]
async fn a_live_account_without_its_device_is_an_emptied_store() {
    for canary in [true, false] {
        for device_row in [true, false] {
            for carrier in [true, false] {
                if device_row && carrier {
                    continue;
                }
                let what = format!("canary {canary}, row {device_row}, carrier {carrier}");
                for scene in Scene::both().await {
                    scene.live().await;
                    let open = scene.open().await.unwrap();
                    scene.keep(canary, device_row, carrier).await;
                    let told = scene::of(open.exists().await);
                    let error = &*told;
                    assert!(emptied(error), "exists, {what}: {error:?}");
                    if !carrier {
                        let told = scene::of(open.load().await);
                        let error = &*told;
                        assert!(emptied(error), "load, {what}: {error:?}");
                    }
                    drop(open);
                    let document = scene.document().await;
                    let error = refused(scene.open().await);
                    assert!(emptied(&error), "open, {what}: {error:?}");
                    assert_eq!(scene.has_canary().await, canary, "nothing was written");
                    assert_eq!(scene.document().await, document);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_client_on_a_store_that_was_emptied_makes_no_new_device() {
    for scene in Scene::both().await {
        scene.live().await;
        let open = Arc::new(scene.open().await.unwrap());
        scene.keep(false, false, false).await;
        for _ in 0..2 {
            let result = PersistenceManager::new(open.clone()).await;
            let told = scene::of(result.map(drop));
            let error = &*told;
            assert!(emptied(error), "{error:?}");
            assert!(!scene.gate.exists().await.unwrap(), "a new device row");
            assert!(scene.carrier().await.is_none(), "a new device");
        }
    }
}

/// Some stores take session rows only after their device row: the canary follows then.
#[tokio::test]
async fn a_store_that_refuses_rows_before_its_device_gets_the_canary_after_it() {
    for by_save in [false, true] {
        for scene in Scene::both().await {
            scene.gate.be_strict();
            for _ in 0..2 {
                let store = scene.open().await.unwrap();
                assert!(!scene.has_canary().await);
                assert!(!store.exists().await.unwrap());
            }
            let store = scene.open().await.unwrap();
            if by_save {
                let device = sealed_store::testing::full_device();
                store.save(&device).await.unwrap();
            } else {
                store.create().await.unwrap();
            }
            assert!(scene.has_canary().await);
            assert!(store.exists().await.unwrap());
            drop(store);
            assert!(scene.open().await.unwrap().exists().await.unwrap());
        }
    }
}

/// Wherever the making of a device is dropped, the store opens afterwards and there is one device.
#[tokio::test]
async fn a_create_that_is_dropped_anywhere_can_be_gone_on_from() {
    for strict in [false, true] {
        let mut seen = Vec::new();
        let mut pauses = 0;
        loop {
            let scene = Scene::memory().await;
            if strict {
                scene.gate.be_strict();
            }
            let faulty = Arc::new(FaultyBackend::new(scene.gate.clone()));
            let store = scene.open_on(faulty.clone()).await.unwrap();
            faulty.yields(true);
            let ended = dropped_after(pauses, store.create()).await;
            drop(store);
            let crashed = scene.state().await;
            let store = scene.open().await.unwrap();
            let made = store.exists().await.unwrap();
            seen.push((crashed, made));
            if !made {
                store.create().await.unwrap();
            }
            let device = store.load().await.unwrap().unwrap();
            drop(store);
            let again = scene.open().await.unwrap().load().await.unwrap().unwrap();
            assert_same_device(&again, &device, &[]);
            if ended.is_some() {
                break;
            }
            pauses += 1;
        }
        let at = |state: &str, made| {
            let mut seen = seen.iter();
            seen.any(|(s, m)| s == state && *m == made)
        };
        assert!(at("initialising", false) && at("initialising", true) && at("live", true));
    }
}

/// The same with a store that fails at each call, on either side of its effect.
#[tokio::test]
async fn a_create_that_fails_anywhere_can_be_gone_on_from() {
    for when in [When::Before, When::After] {
        let mut call = 1;
        loop {
            let scene = Scene::memory().await;
            let faulty = Arc::new(FaultyBackend::new(scene.gate.clone()));
            let store = scene.open_on(faulty.clone()).await.unwrap();
            faulty.clear();
            faulty.arm(Fault {
                call,
                when,
                lasting: Lasting::ForGood,
            });
            let ended = store.create().await.is_ok();
            faulty.clear();
            if ended {
                break;
            }
            // By the same opener, or after a crash.
            if call % 2 == 0 {
                drop(store);
            } else {
                store.create().await.unwrap();
                assert!(store.exists().await.unwrap());
                drop(store);
            }
            let store = scene.open().await.unwrap();
            if !store.exists().await.unwrap() {
                store.create().await.unwrap();
            }
            assert!(store.load().await.unwrap().is_some());
            call += 1;
        }
        assert!(call > 4, "{call}");
    }
}
