//! Canaries and devices that are damaged, or somebody else's, and documents that were rolled back.

use sealed_store::testing::When;
use sealed_store::{Fault, SealError, Table};
use wacore::store::traits::{DeviceStore, SignalStore};

use crate::scene::{self, CANARY, Scene, authentication, corrupt_canary, unsealed, wrong_keyring};
use crate::support::refused;

// other keyring, account or store id; and ours, does not open: whatever else holds.
#[tokio::test]
async fn a_canary_that_is_not_ours_or_damaged_is_told_in_every_state() {
    for state in ["new", "initialising", "created", "live"] {
        for scene in Scene::both().await {
            match state {
                "new" => drop(scene.open().await.unwrap()),
                "initialising" => scene.crash(("create", 1), When::Before).await,
                "created" => scene.crash(("create", 1), When::After).await,
                _ => drop(scene.live().await),
            }
            let document = scene.document().await;
            let ours = scene.canary().await.unwrap();
            let carrier = scene.carrier().await;
            for (foreign, what) in [
                (Scene::of_another_keyring().await, "keyring"),
                (scene.of_another_account().await, "account"),
                (scene.of_another_store().await, "store"),
            ] {
                assert_ne!(foreign, ours);
                scene.gate.put_session(CANARY, &foreign).await.unwrap();
                let error = refused(scene.open().await);
                assert!(wrong_keyring(&error), "{state}, {what}: {error:?}");
            }
            // Each of the three ids counts, not only the record that proves them.
            for at in [22, 22 + 16, 22 + 32] {
                let mut foreign = ours.clone();
                foreign[at] ^= 1;
                scene.gate.put_session(CANARY, &foreign).await.unwrap();
                let error = refused(scene.open().await);
                assert!(wrong_keyring(&error), "{state}, {at}: {error:?}");
            }
            for at in [0, ours.len() / 2 + 20, ours.len() - 1] {
                let mut bad = ours.clone();
                bad[at] ^= 1;
                scene.gate.put_session(CANARY, &bad).await.unwrap();
                let error = refused(scene.open().await);
                if at == 0 {
                    assert!(corrupt_canary(&error, Fault::Canary), "{error:?}");
                } else {
                    assert!(authentication(&error, Table::Canary), "{error:?}");
                }
            }
            for length in [0, 21, 40, ours.len() - 1] {
                let cut = &ours[..length];
                scene.gate.put_session(CANARY, cut).await.unwrap();
                let error = refused(scene.open().await);
                assert!(
                    matches!(
                        error,
                        SealError::Corrupt {
                            table: Table::Canary,
                            ..
                        }
                    ),
                    "{state}, {length}: {error:?}"
                );
            }
            // Nothing was changed by any of it.
            scene.gate.put_session(CANARY, &ours).await.unwrap();
            assert_eq!(scene.document().await, document);
            assert_eq!(scene.carrier().await, carrier);
            scene.open().await.unwrap();
        }
    }
}

// The same where the account never had a store of its own.
#[tokio::test]
async fn a_store_of_somebody_else_is_told_by_an_account_without_one() {
    for scene in Scene::both().await {
        let other = Scene::of_another_keyring().await;
        for foreign in [other, scene.of_another_account().await] {
            scene.gate.put_session(CANARY, &foreign).await.unwrap();
            let document = scene.document().await;
            let error = refused(scene.open().await);
            assert!(wrong_keyring(&error), "{error:?}");
            assert_eq!(scene.document().await, document, "not bound");
        }
    }
}

// `exists` and `load` say so too, where the device is gone.
#[tokio::test]
async fn a_store_that_was_exchanged_under_a_client_is_told() {
    for scene in Scene::both().await {
        scene.live().await;
        let open = scene.open().await.unwrap();
        let ours = scene.canary().await.unwrap();
        scene.keep(true, true, false).await;
        let foreign = Scene::of_another_keyring().await;
        scene.gate.put_session(CANARY, &foreign).await.unwrap();
        for told in [scene::of(open.exists().await), scene::of(open.load().await)] {
            let error = &*told;
            assert!(wrong_keyring(error), "{error:?}");
        }
        let mut bad = ours;
        *bad.last_mut().unwrap() ^= 1;
        scene.gate.put_session(CANARY, &bad).await.unwrap();
        for told in [scene::of(open.exists().await), scene::of(open.load().await)] {
            let error = &*told;
            assert!(authentication(error, Table::Canary), "{error:?}");
        }
    }
}

// anything else.
#[tokio::test]
async fn a_device_without_its_canary_is_damage() {
    for live in [true, false] {
        for scene in Scene::both().await {
            if live {
                scene.live().await;
            } else {
                scene.crash(("put_session", 1), When::After).await;
            }
            let carrier = scene.carrier().await;
            scene.gate.delete_session(CANARY).await.unwrap();
            let error = refused(scene.open().await);
            assert!(corrupt_canary(&error, Fault::Canary), "{error:?}");
            assert!(!scene.has_canary().await, "not healed by opening");
            assert_eq!(scene.carrier().await, carrier);
        }
    }
}

#[tokio::test]
async fn a_device_that_does_not_open_is_damage() {
    for live in [true, false] {
        for scene in Scene::both().await {
            if live {
                scene.live().await;
            } else {
                scene.crash(("put_session", 1), When::After).await;
            }
            let mut bad = scene.carrier().await.unwrap();
            *bad.last_mut().unwrap() ^= 1;
            let key = scene.carrier_key().unwrap();
            scene.gate.put_session(&key, &bad).await.unwrap();
            let error = refused(scene.open().await);
            assert!(authentication(&error, Table::Device), "{error:?}");
            assert_eq!(scene.carrier().await.unwrap(), bad);
        }
    }
}

#[tokio::test]
async fn an_account_rolled_back_to_before_its_store_does_not_open() {
    for live in [true, false] {
        for scene in Scene::both().await {
            let unbound = scene.document().await;
            drop(scene.open().await.unwrap());
            let bound = scene.document().await;
            if live {
                scene.live().await;
            }
            let (canary, carrier) = (scene.canary().await, scene.carrier().await);
            scene.put_document(&unbound).await;
            let error = refused(scene.open().await);
            assert!(corrupt_canary(&error, Fault::Canary), "{error:?}");
            if live {
                // To before the device: the plain row there can't be told from a client's.
                scene.put_document(&bound).await;
                let error = refused(scene.open().await);
                assert!(unsealed(&error, None), "{error:?}");
                // And with the canary taken away as well.
                scene.put_document(&unbound).await;
                scene.gate.delete_session(CANARY).await.unwrap();
                let error = refused(scene.open().await);
                assert!(unsealed(&error, None), "{error:?}");
                assert!(!scene.has_canary().await);
            } else {
                assert_eq!(scene.canary().await, canary);
            }
            assert_eq!(scene.carrier().await, carrier);
        }
    }
}
