//! A lease at real services: a right or a key that is taken away there closes the store, with the reason in the audit; a way to
//! the service that is cut, or a service that hangs, is tolerated as long as was said; and without a lease nobody is asked.
#![cfg(all(feature = "aws-kms", feature = "vault"))]

#[path = "aws_kms/front.rs"]
mod front;
#[path = "common/openbao.rs"]
mod openbao;
#[path = "common/proxy.rs"]
mod proxy;
#[path = "common/services.rs"]
mod services;
mod support;
#[path = "aws_kms/world.rs"]
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use front::Mode;
use openbao::OpenBao;
use proxy::{Fault, Harm, Proxy, Way};
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{
    AuditEvent, KeyProvider, KeyringOptions, Lease, SealError, SealedBackend, Vault,
};
use serde_json::json;
use support::{Events, eventually};
use wacore::store::traits::SignalStore;
use world::{Cloud, alone};

const SOON: Duration = Duration::from_millis(50);
const HOUR: Duration = Duration::from_secs(3600);

/// A store that its provider opens, under a lease, and what the audit was told.
struct Scene {
    store: SealedBackend<SqliteStore>,
    events: Events,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn with(
        provider: impl KeyProvider + 'static,
        lease: impl FnOnce(Lease) -> Lease,
    ) -> Self {
        let provider: Arc<dyn KeyProvider> = Arc::new(provider);
        let lease = lease(Lease::new(Arc::clone(&provider), SOON).call(HOUR));
        let (folder, events) = (tempfile::tempdir().unwrap(), Events::default());
        let options = KeyringOptions::new()
            .lease(lease)
            .audit(Arc::new(events.clone()));
        let path = folder.path().join("whatsapp.db");
        let store = sealed_store::open_with(path, &provider, options)
            .await
            .unwrap();
        Self {
            store,
            events,
            _folder: folder,
        }
    }

    /// The store does its work.
    async fn works(&self) {
        let address = "5511987650001:3@c.us.0";
        self.store.put_session(address, b"ratchet").await.unwrap();
        let read = self.store.get_session(address).await.unwrap();
        assert_eq!(read.as_deref(), Some(&b"ratchet"[..]));
    }

    /// The events of the lease and of the wiping, by their names, with a reason and whether the owner ended it.
    fn told(&self) -> Vec<(&'static str, String, bool)> {
        let name = |event| match event {
            AuditEvent::LeaseUnreachable { reason, .. } => Some(("unreachable", reason, false)),
            AuditEvent::LeaseRecovered { .. } => Some(("recovered", String::new(), false)),
            AuditEvent::LeaseEnded {
                reason, revoked, ..
            } => Some(("ended", reason, revoked)),
            AuditEvent::KeysWiped { .. } => Some(("wiped", String::new(), false)),
            _ => None,
        };
        self.events.seen().into_iter().filter_map(name).collect()
    }

    async fn until(&self, names: &[&str]) {
        let same = || {
            self.told()
                .iter()
                .map(|told| told.0)
                .eq(names.iter().copied())
        };
        eventually(&format!("{names:?} in {:?}", self.told()), same).await;
    }

    /// Waits until this is the last that was told: a slow machine may have missed an answer before.
    async fn until_last(&self, name: &str) {
        let last = || self.told().last().is_some_and(|told| told.0 == name);
        eventually(&format!("{name} after {:?}", self.told()), last).await;
    }

    /// It is closed, for this reason and no other, and nothing works any more.
    async fn ends(&self, part: &str, revoked: bool) {
        self.until(&["ended", "wiped"]).await;
        let (_, reason, was_revoked) = &self.told()[0];
        assert!(reason.contains(part), "{reason}");
        assert_eq!(*was_revoked, revoked, "{reason}");
        assert!(!self.store.account().keyring().is_open());
        let error = self
            .store
            .get_session("5511987650001:3@c.us.0")
            .await
            .unwrap_err();
        assert!(
            matches!(SealError::of(&error), Some(SealError::NotOpen)),
            "{error:?}"
        );
    }
}

fn vault(uri: &str) -> Vault {
    // The lease's own limits are looked at here.
    Vault::from_uri(uri).unwrap().token("root").timeout(HOUR)
}

#[tokio::test]
async fn what_is_taken_away_at_openbao_closes_the_store() {
    let bao = OpenBao::start();
    bao.policy("all", r#"path "transit/*" { capabilities = ["update"] }"#);
    let token = bao.token("all");
    let (denied, destroyed, disabled) = ("denies it", "no such key", "soft-deleted");
    for (key, part, take) in [
        ("policy", denied, &["policy", "delete", "all"][..]),
        ("deleted", destroyed, &["delete", "transit/keys/deleted"]),
        (
            "soft",
            disabled,
            &["delete", "transit/keys/soft/soft-delete"],
        ),
    ] {
        bao.derived_key(key);
        let config = format!("transit/keys/{key}/config");
        bao.run(&["write", &config, "deletion_allowed=true"]);
        let token = if key == "policy" { &token } else { "root" };
        let provider = vault(&bao.uri(key)).token(token);
        // An hour of grace is for a service that can't be reached.
        let scene = Scene::with(provider, |lease| lease.grace(HOUR)).await;
        scene.works().await;
        let taken = Instant::now();
        bao.run(take);
        scene.ends(part, true).await;
        println!(
            "{key}: closed at most {:?} after the command began",
            taken.elapsed()
        );
    }
}

#[test]
fn what_is_taken_away_at_kms_closes_the_store() {
    alone("what_is_taken_away_at_kms_closes_the_store", || {
        let cloud = Cloud::localstack();
        run(async {
            for operation in ["DisableKey", "ScheduleKeyDeletion"] {
                let arn = cloud.key();
                let scene = Scene::with(cloud.provider(&arn), |lease| lease.grace(HOUR)).await;
                scene.works().await;
                let taken = Instant::now();
                cloud.kms(operation, json!({ "KeyId": arn }));
                scene.ends("disabled, about to be deleted", true).await;
                println!(
                    "{operation}: closed at most {:?} after the call began",
                    taken.elapsed()
                );
            }
        });
    });
}

fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future);
}

fn always(harm: Harm) -> Option<Fault> {
    Some(Fault {
        connection: None,
        way: Way::Asking,
        after: 0,
        harm,
    })
}

#[tokio::test]
async fn openbao_that_is_away_or_hangs_is_tolerated_for_the_grace_and_found_again() {
    let mut bao = OpenBao::start();
    bao.derived_key("k");
    let proxy = Proxy::to(bao.address());
    let provider = vault(&bao.uri_at(proxy.address(), "k"));
    let scene = Scene::with(provider, |lease| lease.grace(HOUR).call(SOON)).await;
    for harm in [Harm::Cut, Harm::Silence] {
        proxy.set(always(harm));
        scene.until_last("unreachable").await;
        scene.works().await;
        proxy.set(None);
        scene.until_last("recovered").await;
        scene.works().await;
    }
    // A server that was restarted and is sealed is away too.
    bao.seal();
    scene.until_last("unreachable").await;
    bao.unseal();
    scene.until_last("recovered").await;
    scene.works().await;

    for (harm, call, reason) in [
        (Some(Harm::Cut), HOUR, "can not be reached"),
        (Some(Harm::Silence), SOON, "did not answer in time"),
        (None, HOUR, "can not be reached"),
    ] {
        proxy.set(None);
        let provider = vault(&bao.uri_at(proxy.address(), "k"));
        let scene = Scene::with(provider, |lease| lease.call(call)).await;
        let begun = Instant::now();
        match harm {
            Some(harm) => proxy.set(always(harm)),
            None => bao.stop(),
        }
        scene.ends(reason, false).await;
        println!("{harm:?}, no grace: closed after {:?}", begun.elapsed());
    }
}

#[test]
fn kms_that_is_away_or_hangs_is_tolerated_for_the_grace_and_found_again() {
    let name = "kms_that_is_away_or_hangs_is_tolerated_for_the_grace_and_found_again";
    alone(name, || {
        let cloud = Cloud::localstack();
        let front = cloud.front();
        let arn = cloud.key();
        let provider = || world::provider(&arn, &front.endpoint()).timeout(HOUR);
        run(async {
            let scene = Scene::with(provider(), |lease| lease.grace(HOUR).call(SOON)).await;
            for mode in [Mode::Cut, Mode::Hang] {
                front.set(mode);
                scene.until_last("unreachable").await;
                scene.works().await;
                front.set(Mode::Pass);
                scene.until_last("recovered").await;
                scene.works().await;
            }
            drop(scene);
            for (mode, call, reason) in [
                (Mode::Cut, HOUR, "KMS"),
                (Mode::Hang, SOON, "did not answer in time"),
            ] {
                let scene = Scene::with(provider(), |lease| lease.call(call)).await;
                let begun = Instant::now();
                front.set(mode.clone());
                scene.ends(reason, false).await;
                println!("{mode:?}, no grace: closed after {:?}", begun.elapsed());
                front.set(Mode::Pass);
            }
        });
    });
}

/// Opens, works for a second, closes and unlocks; what the service was asked by each is told by `asked`.
async fn counted(provider: &dyn KeyProvider, once: &[&str], asked: impl Fn() -> Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whatsapp.db");
    drop(sealed_store::open(&path, provider).await.unwrap());
    asked();
    let store = sealed_store::open(&path, provider).await.unwrap();
    assert_eq!(asked(), once, "an opening is one call");
    let (begun, mut turns) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(1) || turns < 100 {
        let address = format!("551198765{turns:04}:3@c.us.0");
        store.put_session(&address, b"ratchet").await.unwrap();
        store.get_session(&address).await.unwrap();
        turns += 1;
    }
    let keyring = store.account().keyring();
    keyring.slots().await.unwrap();
    keyring.lock();
    assert_eq!(
        asked(),
        [""; 0],
        "nobody is asked while {turns} rows are written and read"
    );
    keyring.unlock(provider).await.unwrap();
    assert_eq!(asked(), once, "an unlock is one call");
}

#[tokio::test]
async fn without_a_lease_openbao_is_asked_once_for_an_unlock_and_never_while_working() {
    let bao = OpenBao::start();
    bao.derived_key("k");
    let proxy = Proxy::to(bao.address());
    let asked = || {
        let first = |asked: Vec<u8>| {
            String::from_utf8_lossy(&asked)
                .lines()
                .next()
                .map(str::to_owned)
        };
        let seen = proxy
            .seen()
            .into_iter()
            .filter_map(|seen| first(seen.asked))
            .collect();
        proxy.set(None);
        seen
    };
    let provider = vault(&bao.uri_at(proxy.address(), "k"));
    counted(&provider, &["POST /v1/transit/decrypt/k HTTP/1.1"], asked).await;
}

#[test]
fn without_a_lease_kms_is_asked_once_for_an_unlock_and_never_while_working() {
    let name = "without_a_lease_kms_is_asked_once_for_an_unlock_and_never_while_working";
    alone(name, || {
        let cloud = Cloud::localstack();
        let front = cloud.front();
        let provider = world::provider(&cloud.key(), &front.endpoint());
        run(counted(&provider, &["Decrypt"], || front.calls()));
    });
}
