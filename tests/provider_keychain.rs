//! A slot in the desktop's keychain, against a real GNOME Keyring on a private bus: it opens with its entry and with nothing
//! else, and everything that a desktop can do to it is told for what it is.
#![cfg(all(feature = "keychain", target_os = "linux"))]

#[path = "common/services.rs"]
mod services;
#[path = "common/session.rs"]
mod session_of_a_desktop;
mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_store::testing::provider::Conformance;
use sealed_store::{
    Fields, KeyProvider, Keychain, Keyring, NewSlot, Probe, ProviderError, ProviderErrorKind,
    Recipe, SealError, SlotContext, SlotInfo,
};
use secrecy::SecretBox;
use services::Service;
use session_of_a_desktop::{
    OPEN, has_owner, keychain, keychain_of, session, with_policy, without_bus,
};
use support::{Shelf, dropped_after, raw, refused};

fn provider() -> Keychain {
    Keychain::from_uri("keychain:sealed-store.test").unwrap()
}

#[track_caller]
fn kind(error: SealError) -> ProviderErrorKind {
    match error {
        SealError::Provider(error) => error.kind(),
        other => panic!("{other:?}"),
    }
}

/// A keyring with a slot of the keychain beside another one.
async fn made(shelf: &Shelf) -> (Keyring, u32) {
    let keyring = shelf.create(&raw(9)).await.unwrap();
    let slot = keyring.add_slot("desktop", &provider()).await.unwrap();
    (keyring, slot)
}

fn user(keyring: &Keyring, slot: u32) -> String {
    format!("{}/{slot}", hex::encode(keyring.id()))
}

/// The desktop's own program for entries.
fn secret_tool(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("secret-tool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("secret-tool runs: see scripts/services");
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(input.as_bytes()).unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn entry(user: &str) -> [&str; 4] {
    ["service", "sealed-store.test", "username", user]
}

fn store_entry(user: &str, more: &[&str], value: &str) {
    let arguments = [&["store", "--label=test"], &entry(user)[..], more].concat();
    secret_tool(&arguments, value);
}

fn signal(service: &Service, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), service.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_slot_opens_with_its_entry_and_with_nothing_else() {
    session(
        "a_slot_opens_with_its_entry_and_with_nothing_else",
        || async {
            let _daemon = keychain(true);
            for shelf in Shelf::both() {
                let (keyring, slot) = made(&shelf).await;
                let (id, own) = (keyring.id(), user(&keyring, slot));
                drop(keyring);
                let keyring = shelf.open(&provider()).await.unwrap();
                let slots: Vec<SlotInfo> = keyring.slots().await.unwrap();
                assert!(slots[1].opened && slots[1].may_be_lost);
                assert_eq!(slots[1].kind, "keychain");
                drop(keyring);

                // What is kept is 32 random bytes, in a form that every keychain keeps.
                let kept = secret_tool(&[&["lookup"], &entry(&own)[..]].concat(), "");
                assert_eq!(hex::decode(&kept).unwrap().len(), 32);

                let other = Keychain::new("another-service").unwrap();
                let error = refused(shelf.open(&other).await);
                assert!(matches!(error, SealError::ForeignRecipe), "{error:?}");

                let keyring = shelf.open(&raw(9)).await.unwrap();
                keyring.remove_slot(slot).await.unwrap();
                drop(keyring);
                let error = refused(shelf.open(&provider()).await);
                assert!(matches!(error, SealError::WrongKey), "{error:?}");
                assert!(provider().forget(id, slot).await.unwrap());
                assert!(!provider().forget(id, slot).await.unwrap());
            }
        },
    );
}

#[test]
fn the_slot_stores_nothing_secret() {
    session("the_slot_stores_nothing_secret", || async {
        let _daemon = keychain(true);
        let shelf = Shelf::backend();
        drop(made(&shelf).await);
        shelf
            .edit("keyring", |body| {
                let expected = serde_json::json!({
                    "reference": { "service": "sealed-store.test", "store": "secret-service" },
                    // What Linux calls the process: 15 characters.
                    "material": { "holder": "gnome-keyring-d" },
                });
                assert_eq!(body["slots"][1]["recipe"], expected);
            })
            .await;
    });
}

#[test]
fn an_opening_reads_one_secret_once() {
    session("an_opening_reads_one_secret_once", || async {
        let _daemon = keychain(true);
        let shelf = Shelf::backend();
        drop(made(&shelf).await);
        let mut monitor = Service::start(|_| {
            let mut command = Command::new("dbus-monitor");
            command.arg("--session");
            command
        });
        // It sees the question that is asked to find out.
        monitor.wait_until(|| has_owner("org.freedesktop.DBus"));
        wait_for(&mut monitor, "member=NameHasOwner");
        let keyring = shelf.open(&provider()).await.unwrap();
        keyring.create_account("1").await.unwrap();
        drop(keyring);
        // Later than all that the opening asked.
        provider().probe().await.unwrap();
        wait_for(&mut monitor, "member=ReadAlias");
        let log = monitor.log();
        let calls = |member: &str| {
            let is = |line: &&str| line.starts_with("method call") && line.contains(member);
            log.lines().filter(is).count()
        };
        assert_eq!(calls("member=GetSecret"), 1, "{log}");
        assert_eq!(calls("member=SearchItems"), 1);
    });
}

fn wait_for(monitor: &mut Service, what: &str) {
    let folder = monitor.folder.path().join("log");
    monitor.wait_until(|| {
        let _ = has_owner("org.freedesktop.DBus");
        std::fs::read_to_string(&folder)
            .unwrap_or_default()
            .contains(what)
    });
}

#[test]
fn what_became_of_an_entry_is_told() {
    session("what_became_of_an_entry_is_told", || async {
        let _daemon = keychain(true);
        // (what is in the entry, and beside it; the answer)
        let cases: [(Option<&str>, &[&str], ProviderErrorKind); 7] = [
            (None, &[], ProviderErrorKind::Destroyed),
            (Some("00"), &[], ProviderErrorKind::Corrupt),
            (Some(&"0".repeat(62)), &[], ProviderErrorKind::Corrupt),
            (Some(&"0".repeat(66)), &[], ProviderErrorKind::Corrupt),
            (Some(&"x".repeat(64)), &[], ProviderErrorKind::Corrupt),
            (Some(&"A".repeat(64)), &[], ProviderErrorKind::Corrupt),
            (Some("00"), &["more", "1"], ProviderErrorKind::Corrupt),
        ];
        for (value, more, expected) in cases {
            let shelf = Shelf::backend();
            let (keyring, slot) = made(&shelf).await;
            let own = user(&keyring, slot);
            drop(keyring);
            match value {
                None => drop(secret_tool(&[&["clear"], &entry(&own)[..]].concat(), "")),
                Some(value) => store_entry(&own, more, value),
            }
            assert_eq!(
                kind(refused(shelf.open(&provider()).await)),
                expected,
                "{value:?}"
            );
            drop(shelf.open(&raw(9)).await.unwrap());
        }
        // Another secret of the right form is a wrong key.
        let shelf = Shelf::backend();
        let (keyring, slot) = made(&shelf).await;
        store_entry(&user(&keyring, slot), &[], &"ab".repeat(32));
        drop(keyring);
        let error = refused(shelf.open(&provider()).await);
        assert!(matches!(error, SealError::WrongKey), "{error:?}");
    });
}

#[test]
fn a_closed_keychain_needs_somebody() {
    session("a_closed_keychain_needs_somebody", || async {
        let shelf = Shelf::backend();
        let daemon = keychain(true);
        drop(made(&shelf).await);
        stopped(daemon);
        let daemon = keychain(false);
        let begun = Instant::now();
        let provider = provider().timeout(Duration::from_secs(20));
        let error = refused(shelf.open(&provider).await);
        assert_eq!(kind(error), ProviderErrorKind::NeedsInteraction);
        let probed = provider.probe().await.unwrap_err();
        assert_eq!(probed.kind(), ProviderErrorKind::NeedsInteraction);
        let keyring = shelf.open(&raw(9)).await.unwrap();
        let adding = refused(keyring.add_slot("again", &provider).await);
        assert_eq!(kind(adding), ProviderErrorKind::NeedsInteraction);
        drop(keyring);
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it was waited for"
        );
        stopped(daemon);
        let _daemon = keychain(true);
        drop(shelf.open(&provider).await.unwrap());
    });
}

/// Ends a daemon, and waits until the bus knows.
fn stopped(mut daemon: Service) {
    daemon.stop();
    let begun = Instant::now();
    while has_owner("org.freedesktop.secrets") {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it is still there"
        );
    }
}

async fn every_call_is(expected: ProviderErrorKind) {
    let shelf = Shelf::backend();
    let keyring = shelf.create(&raw(9)).await.unwrap();
    let adding = refused(keyring.add_slot("desktop", &provider()).await);
    assert_eq!(kind(adding), expected);
    assert_eq!(keyring.slots().await.unwrap().len(), 1);
    assert_eq!(provider().probe().await.unwrap_err().kind(), expected);
    let forgetting: Result<bool, ProviderError> = provider().forget([0; 16], 1).await;
    assert_eq!(forgetting.unwrap_err().kind(), expected);
}

#[test]
fn without_a_bus_it_is_unavailable() {
    without_bus("without_a_bus_it_is_unavailable", || {
        every_call_is(ProviderErrorKind::Unavailable)
    });
}

#[test]
fn without_a_daemon_it_is_unavailable() {
    session("without_a_daemon_it_is_unavailable", || {
        every_call_is(ProviderErrorKind::Unavailable)
    });
}

#[test]
fn a_bus_that_forbids_it_denies() {
    let policy = format!("{OPEN}<deny send_destination=\"org.freedesktop.secrets\"/>");
    with_policy("a_bus_that_forbids_it_denies", &policy, || async {
        let _daemon = keychain(true);
        every_call_is(ProviderErrorKind::Denied).await;
    });
}

#[test]
fn a_daemon_that_hangs_holds_nobody_longer_than_told() {
    session(
        "a_daemon_that_hangs_holds_nobody_longer_than_told",
        || async {
            let daemon = keychain(true);
            let shelf = Shelf::backend();
            drop(made(&shelf).await);
            signal(&daemon, "STOP");
            let begun = Instant::now();
            let provider = provider().timeout(Duration::from_millis(500));
            let error = refused(shelf.open(&provider).await);
            assert_eq!(kind(error), ProviderErrorKind::Unavailable);
            // The daemon's own time is without end.
            assert!(begun.elapsed() < Duration::from_secs(10));
            signal(&daemon, "CONT");
            drop(
                shelf
                    .open(&provider.timeout(Duration::from_secs(60)))
                    .await
                    .unwrap(),
            );
        },
    );
}

#[test]
fn a_changed_desktop_is_named() {
    session("a_changed_desktop_is_named", || async {
        let shelf = Shelf::backend();
        let daemon = keychain(true);
        drop(made(&shelf).await);
        stopped(daemon);

        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other-wallet");
        std::fs::copy("/usr/bin/gnome-keyring-daemon", &other).unwrap();
        let daemon = keychain_of(other.to_str().unwrap(), true, Some(folder.path()));
        let error = refused(shelf.open(&provider()).await);
        let SealError::Provider(error) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.kind(), ProviderErrorKind::NeedsInteraction);
        assert!(
            error.to_string().contains("the desktop was changed"),
            "{error}"
        );
        stopped(daemon);

        let _daemon = keychain(true);
        drop(shelf.open(&provider()).await.unwrap());
    });
}

#[test]
fn a_moved_or_altered_recipe_opens_nothing() {
    session("a_moved_or_altered_recipe_opens_nothing", || async {
        let _daemon = keychain(true);
        type Change = fn(&mut serde_json::Value);
        let changes: [(Change, &str); 6] = [
            // Two slots exchanged.
            (
                |body| {
                    let slots = body["slots"].as_array_mut().unwrap();
                    let (one, two) = slots.split_at_mut(2);
                    for field in ["commitment", "wrapped_root"] {
                        std::mem::swap(&mut one[1][field], &mut two[0][field]);
                    }
                },
                "WrongKey",
            ),
            (
                |body| {
                    body["slots"][1]["slot"] = 7.into();
                    body["slots"][2]["slot"] = 8.into();
                },
                "Destroyed",
            ),
            (
                |body| body["keyring_id"] = "00".repeat(16).into(),
                "Destroyed",
            ),
            (
                |body| {
                    for at in [1, 2] {
                        body["slots"][at]["recipe"]["material"]["more"] = "".into();
                    }
                },
                "Corrupt",
            ),
            (
                |body| {
                    for at in [1, 2] {
                        body["slots"][at]["recipe"]["material"]["holder"] = "x".repeat(65).into();
                    }
                },
                "Corrupt",
            ),
            (
                |body| {
                    for at in [1, 2] {
                        body["slots"][at]["recipe"]["reference"]["store"] = "macos-keychain".into();
                    }
                },
                "ForeignRecipe",
            ),
        ];
        for (change, expected) in changes {
            let shelf = Shelf::backend();
            let (keyring, _) = made(&shelf).await;
            keyring.add_slot("second", &provider()).await.unwrap();
            drop(keyring);
            shelf.edit("keyring", change).await;
            let error = refused(shelf.open(&provider()).await);
            assert!(format!("{error:?}").contains(expected), "{error:?}");
        }
    });
}

/// An older copy of the keyring counts slots again from where it was.
#[test]
fn an_entry_that_is_there_is_never_overwritten() {
    session("an_entry_that_is_there_is_never_overwritten", || async {
        let _daemon = keychain(true);
        let shelf = Shelf::backend();
        let keyring = shelf.create(&raw(9)).await.unwrap();
        let taken = user(&keyring, 2);
        store_entry(&taken, &[], "of another copy");
        let error = refused(keyring.add_slot("desktop", &provider()).await);
        assert_eq!(kind(error), ProviderErrorKind::BadRequest);
        let kept = secret_tool(&[&["lookup"], &entry(&taken)[..]].concat(), "");
        assert_eq!(kept, "of another copy");
        assert_eq!(keyring.add_slot("desktop", &provider()).await.unwrap(), 3);
    });
}

#[test]
fn openings_at_once_and_a_dropped_probe_do_not_disturb_each_other() {
    session(
        "openings_at_once_and_a_dropped_probe_do_not_disturb_each_other",
        || async {
            let _daemon = keychain(true);
            let shelf = Shelf::sqlite();
            drop(made(&shelf).await);
            let provider = Arc::new(provider());
            for pauses in 0..3 {
                let _ = dropped_after(pauses, provider.probe()).await;
            }
            let openings: Vec<_> = (0..8)
                .map(|_| {
                    let (store, provider) = (shelf.store(), Arc::clone(&provider));
                    tokio::spawn(async move { Keyring::open(store, &provider).await })
                })
                .collect();
            for opening in openings {
                assert!(opening.await.unwrap().unwrap().is_open());
            }
        },
    );
}

#[test]
fn a_uri_is_a_service_and_nothing_else() {
    assert!(Keychain::from_uri("keychain:my-app_1.0").is_ok());
    assert!(Keychain::from_uri(&format!("keychain:{}", "a".repeat(64))).is_ok());
    for uri in [
        "",
        "keychain",
        "keychain:",
        "Keychain:app",
        "keychain://app",
        "keychain:app?x=1",
        "keychain:user:password@app",
        "keychain:app name",
        "keychain:äpp",
        "keychain:app\n",
        "vault:app",
        &format!("keychain:{}", "a".repeat(65)),
    ] {
        let error = Keychain::from_uri(uri).err().expect("it is refused");
        assert_eq!(error.kind(), ProviderErrorKind::BadRequest, "{uri}");
    }
}

/// A keychain whose daemon stands still for as long as this is there.
struct Still(Keychain, Arc<Service>);

impl Still {
    fn new(daemon: Arc<Service>) -> Self {
        signal(&daemon, "STOP");
        Self(provider().timeout(Duration::from_millis(500)), daemon)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        signal(&self.1, "CONT");
    }
}

#[async_trait::async_trait]
impl KeyProvider for Still {
    fn kind(&self) -> &str {
        self.0.kind()
    }
    fn reference(&self) -> Fields {
        self.0.reference()
    }
    async fn generate(&self, context: &SlotContext) -> Result<NewSlot, ProviderError> {
        self.0.generate(context).await
    }
    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        self.0.unwrap_secret(context, recipe).await
    }
    async fn probe(&self) -> Result<Probe, ProviderError> {
        self.0.probe().await
    }
}

/// What every provider must do: see `sealed_store::testing::provider`.
#[test]
fn it_is_a_provider_as_every_other() {
    session("it_is_a_provider_as_every_other", || async {
        let daemon = Arc::new(keychain(true));
        let made = |service: &'static str| move || async move { Keychain::new(service).unwrap() };
        let still = move || {
            let still = Still::new(Arc::clone(&daemon));
            async { still }
        };
        Conformance::new(made("sealed-store.test"), made("another"))
            .fails(ProviderErrorKind::Unavailable, still)
            .kept_by_service()
            .notes(&["holder"])
            .at_most(16)
            .run_all()
            .await;
    });
}
