//! Harm on the wire between Vault's provider and a real OpenBao: whatever happens to a connection, and wherever, a call ends in
//! the time that was configured, and gives the right secret or none.
//!
//! `SEALED_STORE_LONG=1 cargo test --test provider_vault_faults -- --nocapture` cuts, turns and replaces at each byte
//! instead of a sample.
#![cfg(feature = "vault")]

#[path = "common/openbao.rs"]
mod openbao;
#[path = "common/proxy.rs"]
mod proxy;
#[path = "common/services.rs"]
mod services;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openbao::OpenBao;
use proxy::{Fault, Harm, Proxy, Way};
use sealed_store::{
    BackendKeyring, KeyProvider, Keyring, Patience, Patient, ProviderErrorKind as Kind, SealError,
    Vault, VaultAppRole,
};
use wacore::store::InMemoryBackend;

type Shelf = BackendKeyring<InMemoryBackend>;

fn shelf() -> Shelf {
    BackendKeyring::new(Arc::new(InMemoryBackend::new()))
}

/// What a call may take where nothing answers, and where something does.
const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(20);
/// What a call that was given up may take beyond it, on a machine that does other things too.
const SLACK: Duration = Duration::from_secs(4);

fn is_long() -> bool {
    std::env::var_os("SEALED_STORE_LONG").is_some()
}

/// The first and last bytes, and some between; in the long form all, and more where each costs time.
fn places(length: usize, some: usize) -> Vec<usize> {
    if is_long() && some >= 12 {
        return (0..=length).collect();
    }
    let some = if is_long() { 8 * some } else { some };
    let mut places: Vec<_> = (0..=some).map(|part| part * length / some).collect();
    places.extend([1, length.saturating_sub(1)]);
    places.sort_unstable();
    places.dedup();
    places
}

/// Every fault at every place of a conversation that was recorded without one.
fn faults(proxy: &Proxy) -> Vec<Fault> {
    let harms = [
        (Harm::Cut, 12),
        (Harm::Flip, 12),
        (Harm::Garbage, 12),
        (Harm::Delay(Duration::from_millis(30)), 3),
        (Harm::Silence, 4),
        (Harm::Trickle(Duration::from_millis(40)), 3),
    ];
    let mut faults = Vec::new();
    for (connection, traffic) in proxy.seen().into_iter().enumerate() {
        for (way, bytes) in [
            (Way::Asking, &traffic.asked),
            (Way::Answering, &traffic.answered),
        ] {
            assert!(!bytes.is_empty(), "nothing was recorded");
            for (harm, some) in harms {
                faults.extend(places(bytes.len(), some).into_iter().map(|after| Fault {
                    connection: Some(connection),
                    way,
                    after,
                    harm,
                }));
            }
        }
    }
    faults
}

/// Cut, turned and replaced bytes end by themselves; silence and a trickle only by our time.
fn timeout(fault: &Fault) -> Duration {
    match fault.harm {
        Harm::Silence | Harm::Trickle(_) => SHORT,
        // The one who is garbled may wait for bytes that the other does not send.
        Harm::Flip | Harm::Garbage => 3 * SHORT,
        _ => LONG,
    }
}

#[derive(Default)]
struct Tally(BTreeMap<String, usize>);

impl Tally {
    fn count(&mut self, fault: &Fault, outcome: &str) {
        let harm = format!("{:?}", fault.harm);
        let harm = harm.split('(').next().unwrap_or_default();
        *self
            .0
            .entry(format!("{:?} {harm}: {outcome}", fault.way))
            .or_default() += 1;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        for (outcome, count) in &self.0 {
            println!("{count:5} {outcome}");
        }
    }
}

/// Opens a keyring under every fault.
async fn opened_under_faults(bao: &OpenBao) {
    bao.derived_key("k");
    let proxy = Proxy::to(bao.address());
    let uri = bao.uri_at(proxy.address(), "k");
    let vault = |timeout| {
        Vault::from_uri(&uri)
            .unwrap()
            .token("root")
            .timeout(timeout)
    };
    let shelf = shelf();
    let keyring = Keyring::create(shelf.clone(), &vault(LONG)).await.unwrap();
    keyring.create_account("1").await.unwrap();
    drop(keyring);
    proxy.set(None);
    drop(Keyring::open(shelf.clone(), &vault(LONG)).await.unwrap());
    let mut tally = Tally::default();
    for fault in faults(&proxy) {
        proxy.set(Some(fault));
        let limit = timeout(&fault);
        let begun = Instant::now();
        let answer = Keyring::open(shelf.clone(), &vault(limit)).await;
        assert!(begun.elapsed() < limit + SLACK, "{fault:?} hung");
        match answer {
            // Opened means right: the root key's wrap and the document's MAC were checked.
            Ok(keyring) => {
                assert_eq!(keyring.accounts().await.unwrap().len(), 1);
                tally.count(&fault, "opened");
            }
            Err(SealError::Provider(error)) => {
                let kind = error.kind();
                // What ends a connection, or holds it up, is never a verdict about the key.
                if !matches!(fault.harm, Harm::Flip | Harm::Garbage) || uri.contains("https") {
                    assert_eq!(kind, Kind::Unavailable, "{fault:?}: {error}");
                }
                tally.count(&fault, &format!("{kind:?}"));
            }
            // A secret that was changed in clear text on its way: the commitment tells.
            Err(SealError::WrongKey) => {
                let changed = matches!(fault.harm, Harm::Flip | Harm::Garbage);
                assert!(changed && uri.contains("http://"), "{fault:?}");
                tally.count(&fault, "WrongKey");
            }
            Err(error) => panic!("{fault:?}: {error}"),
        }
    }
    // And nothing of it stays.
    proxy.set(None);
    Keyring::open(shelf, &vault(LONG)).await.unwrap();
}

#[tokio::test]
async fn no_fault_hangs_or_opens_wrongly_over_tls() {
    opened_under_faults(&OpenBao::start_tls()).await;
}

#[tokio::test]
async fn no_fault_hangs_or_opens_wrongly_in_clear_text() {
    opened_under_faults(&OpenBao::start()).await;
}

/// A slot that was made opens, whatever happened to any of the requests that made it.
#[tokio::test]
async fn no_fault_makes_a_slot_that_does_not_open() {
    let bao = OpenBao::start();
    bao.derived_key("k");
    let proxy = Proxy::to(bao.address());
    let uri = bao.uri_at(proxy.address(), "k");
    let direct = Vault::from_uri(&bao.uri("k")).unwrap().token("root");
    let vault = |timeout| {
        Vault::from_uri(&uri)
            .unwrap()
            .token("root")
            .timeout(timeout)
    };
    Keyring::create(shelf(), &vault(LONG)).await.unwrap();
    assert_eq!(proxy.seen().len(), 3);
    let mut tally = Tally::default();
    for fault in faults(&proxy) {
        proxy.set(Some(fault));
        let limit = timeout(&fault);
        let shelf = shelf();
        let begun = Instant::now();
        let made = Keyring::create(shelf.clone(), &vault(limit))
            .await
            .map(drop);
        assert!(begun.elapsed() < limit + SLACK, "{fault:?} hung");
        match made {
            Ok(()) => {
                if let Err(error) = Keyring::open(shelf, &direct).await {
                    panic!("{fault:?} made a slot that does not open: {error}");
                }
                tally.count(&fault, "made");
            }
            Err(SealError::Provider(error)) => tally.count(&fault, &format!("{:?}", error.kind())),
            Err(error) => panic!("{fault:?}: {error}"),
        }
    }
}

/// A login is a connection of its own, before the one for the key.
#[tokio::test]
async fn no_fault_of_a_login_hangs_or_stays() {
    let bao = OpenBao::start();
    bao.derived_key("k");
    bao.policy(
        "open",
        r#"path "transit/decrypt/k" { capabilities = ["update"] }"#,
    );
    bao.run(&["auth", "enable", "approle"]);
    bao.run(&["write", "auth/approle/role/r", "token_policies=open"]);
    let role = bao.run(&["read", "-field=role_id", "auth/approle/role/r/role-id"]);
    let secret = bao.run(&[
        "write",
        "-f",
        "-field=secret_id",
        "auth/approle/role/r/secret-id",
    ]);
    let file = bao.folder().join("secret-id");
    std::fs::write(&file, secret).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();

    let proxy = Proxy::to(bao.address());
    let uri = bao.uri_at(proxy.address(), "k");
    let vault = |timeout| {
        Vault::from_uri(&uri)
            .unwrap()
            .app_role(VaultAppRole::new(&role, &file))
            .timeout(timeout)
    };
    vault(LONG).probe().await.unwrap();
    let mut tally = Tally::default();
    let of_login = |fault: &Fault| fault.connection == Some(0);
    for fault in faults(&proxy).into_iter().filter(of_login) {
        proxy.set(Some(fault));
        let limit = timeout(&fault);
        let tried = vault(limit);
        let begun = Instant::now();
        let answer = tried.probe().await;
        assert!(begun.elapsed() < limit + SLACK, "{fault:?} hung");
        match answer {
            Ok(_) => tally.count(&fault, "ready"),
            Err(error) => {
                tally.count(&fault, &format!("{:?}", error.kind()));
                // A session that came to nothing, or is none, is not kept.
                proxy.set(None);
                if let Err(error) = tried.timeout(LONG).probe().await {
                    panic!("{fault:?} stays: {error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_service_that_hangs_and_comes_back_is_waited_for() {
    let bao = OpenBao::start();
    bao.derived_key("k");
    let proxy = Proxy::to(bao.address());
    let uri = bao.uri_at(proxy.address(), "k");
    let vault = || Vault::from_uri(&uri).unwrap().token("root").timeout(SHORT);
    let shelf = shelf();
    let direct = Vault::from_uri(&bao.uri("k")).unwrap().token("root");
    Keyring::create(shelf.clone(), &direct).await.unwrap();
    let silent = Fault {
        connection: None,
        way: Way::Answering,
        after: 0,
        harm: Harm::Silence,
    };
    proxy.set(Some(silent));
    let patience = Patience::new().tries(1000).total(Duration::from_secs(50));
    let patient = Patient::new(vault()).patience(patience);
    let opening = tokio::spawn({
        let shelf = shelf.clone();
        async move { Keyring::open(shelf, &patient).await.map(drop) }
    });
    // It was asked twice for nothing before the service comes back.
    while proxy.seen().len() < 2 {
        assert!(!opening.is_finished(), "it did not go on asking");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    proxy.set(None);
    opening.await.unwrap().unwrap();

    // One that does not come back ends what waits for it, in time.
    proxy.set(Some(silent));
    let patience = Patience::new().tries(3).total(Duration::from_secs(2));
    let patient = Patient::new(vault()).patience(patience);
    let begun = Instant::now();
    let error = support::refused(Keyring::open(shelf, &patient).await);
    assert!(begun.elapsed() < Duration::from_secs(2) + SLACK);
    assert!(matches!(&error, SealError::Provider(error) if error.kind() == Kind::Unavailable));
}
