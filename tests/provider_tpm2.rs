//! A slot that a TPM sealed, against swtpm.
#![cfg(feature = "tpm2")]

#[path = "common/child.rs"]
mod child;
mod cli;
#[path = "common/mounts.rs"]
mod mounts;
#[path = "common/proxy.rs"]
mod proxy;
#[path = "common/services.rs"]
mod services;
mod support;
#[path = "common/swtpm.rs"]
mod swtpm;

use std::future::Future;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use proxy::{Fault, Harm, Proxy, Way};
use sealed_store::testing::provider::Conformance;
use sealed_store::{
    KeyProvider, NewSlot, Patience, Patient, ProviderCredentials, ProviderError,
    ProviderErrorKind as Kind, Recipe, SealError, SlotContext, Tpm2, provider_from_uri,
};
use secrecy::ExposeSecret;
use support::{Shelf, raw, refused};
use swtpm::{CREATE, FLUSH, START_SESSION, Swtpm, UNSEAL, commands};

const PIN: &str = "canary-pin-4321";

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn at(tpm: &Swtpm) -> Tpm2 {
    Tpm2::from_uri(&tpm.uri()).unwrap()
}

fn with_pin(tpm: &Swtpm) -> Tpm2 {
    at(tpm).pin(PIN)
}

fn context(slot: u32) -> SlotContext {
    let mut context = SlotContext::default();
    context.keyring_id = [0xc5; 16];
    context.slot = slot;
    context
}

/// A slot made by `provider`, and its recipe.
fn slot(provider: &dyn KeyProvider, context: &SlotContext) -> (NewSlot, Recipe) {
    let new = wait(provider.generate(context)).unwrap();
    let recipe = Recipe {
        reference: provider.reference(),
        material: new.material.clone(),
    };
    (new, recipe)
}

fn open(
    provider: &dyn KeyProvider,
    context: &SlotContext,
    recipe: &Recipe,
) -> Result<[u8; 32], Kind> {
    wait(provider.unwrap_secret(context, recipe))
        .map(|secret| *secret.expose_secret())
        .map_err(|error| error.kind())
}

#[track_caller]
fn kind<T>(result: Result<T, ProviderError>) -> Kind {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.kind(),
    }
}

fn with(recipe: &Recipe, field: &str, value: &str) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.material.insert(field.into(), value.into());
    recipe
}

fn private_file(path: &Path, content: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A TPM behind proxies: its commands go through the first.
struct Watched {
    tpm: Swtpm,
    commands: Proxy,
    _control: Proxy,
    port: u16,
}

impl Watched {
    fn start() -> Self {
        let tpm = Swtpm::start();
        let [first, second] = swtpm::pair();
        let port = first.local_addr().unwrap().port();
        Self {
            commands: Proxy::on(first, swtpm::at(tpm.port)),
            _control: Proxy::on(second, swtpm::at(tpm.port + 1)),
            tpm,
            port,
        }
    }

    fn provider(&self) -> Tpm2 {
        Tpm2::from_uri(&swtpm::uri(self.port)).unwrap()
    }

    /// All that was asked and answered since the last time.
    fn seen(&self) -> (Vec<u8>, Vec<u8>) {
        let seen = self.commands.seen();
        self.commands.set(None);
        let asked = seen.iter().flat_map(|one| one.asked.clone()).collect();
        let answered = seen.iter().flat_map(|one| one.answered.clone()).collect();
        (asked, answered)
    }
}

fn count(asked: &[u8], code: u32) -> usize {
    commands(asked)
        .iter()
        .filter(|(one, _)| *one == code)
        .count()
}

fn codes(asked: &[u8]) -> Vec<u32> {
    commands(asked).iter().map(|(code, _)| *code).collect()
}

/// Each session's key is agreed on with a key in the TPM, not made of what anybody can hear.
fn check_sessions(asked: &[u8]) {
    for (_, command) in commands(asked)
        .iter()
        .filter(|(code, _)| *code == START_SESSION)
    {
        assert_eq!(command[10], 0x80, "the key of a session is in the TPM");
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Polled once, and dropped at its first wait.
fn dropped<T>(future: impl Future<Output = T>) {
    wait(async {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|context| {
            let _ = future.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
    });
}

#[test]
fn a_keyring_opens_with_its_tpm_and_with_no_other() {
    let mut tpm = Swtpm::start();
    let other = Swtpm::start();
    let folder = tempfile::tempdir().unwrap();
    let pin = folder.path().join("pin");
    wait(async {
        let shelf = Shelf::backend();
        // Never alone.
        let error = refused(shelf.create(&at(&tpm)).await);
        assert!(matches!(error, SealError::LoneSlot), "{error:?}");
        let keyring = shelf.create(&raw(1)).await.unwrap();
        keyring.create_account("1").await.unwrap();
        let second = keyring.add_slot("tpm", &at(&tpm)).await.unwrap();
        let third = keyring.add_slot("tpm and pin", &with_pin(&tpm)).await;
        let third = third.unwrap();
        let error = keyring.remove_slot(1).await.unwrap_err();
        assert!(matches!(error, SealError::LoneSlot), "{error:?}");
        drop(keyring);

        let keyring = shelf.open(&at(&tpm)).await.unwrap();
        let slots = keyring.slots().await.unwrap();
        assert!(slots[1].opened && slots[1].may_be_lost);
        assert_eq!((slots[1].slot, slots[1].kind.as_str()), (second, "tpm2"));
        drop(keyring);

        // The PIN in code, and in a file; after a restart, as the whole program uses it.
        tpm.restart();
        for content in [PIN.to_owned(), format!("{PIN}\n"), format!("{PIN}\r\n")] {
            private_file(&pin, &content);
            let uri = format!("{}&pin-file={}", tpm.uri(), pin.display());
            let from_file = provider_from_uri(&uri, &ProviderCredentials::new()).unwrap();
            let given = ProviderCredentials::new().pin(PIN);
            let in_code = provider_from_uri(&tpm.uri(), &given).unwrap();
            for provider in [from_file, in_code] {
                let keyring = shelf.open(&provider).await.unwrap();
                assert_eq!(keyring.accounts().await.unwrap(), ["1"]);
                let slots = keyring.slots().await.unwrap();
                assert!(slots.iter().any(|slot| slot.slot == third && slot.opened));
            }
        }

        let error = refused(shelf.open(&at(&other)).await);
        assert!(
            matches!(&error, SealError::Provider(error) if error.kind() == Kind::WrongKey
                && error.to_string().contains("another TPM")),
            "{error:?}"
        );
        // On the other machine: in through the slot that stays, a new slot by its TPM, the old ones away.
        let keyring = shelf.open(&raw(1)).await.unwrap();
        let fourth = keyring.add_slot("new machine", &at(&other)).await.unwrap();
        drop(keyring);
        // The first slots of the kind are of another TPM, and this one is found all the same.
        let keyring = shelf.open(&at(&other)).await.unwrap();
        let slots = keyring.slots().await.unwrap();
        assert!(slots.iter().any(|slot| slot.slot == fourth && slot.opened));
        keyring.remove_slot(second).await.unwrap();
        keyring.remove_slot(third).await.unwrap();
        drop(keyring);
        let error = refused(shelf.open(&at(&tpm)).await);
        assert!(
            matches!(&error, SealError::Provider(error) if error.kind() == Kind::WrongKey),
            "{error:?}"
        );
    });
    assert_eq!(tpm.held(), "");
    assert_eq!(other.held(), "");
}

#[test]
fn a_lost_tpm_is_told_with_the_slots_that_are_left() {
    let mut tpm = Swtpm::start();
    let other = Swtpm::start();
    let desk = cli::Desk::with_store();
    let add = ["key", "add", "w.db", "--label", "laptop", "--new-provider"];
    desk.open(&[&add[..], &[&tpm.uri()]].concat()).ends(0);
    desk.run(&["status", "w.db", "--provider", &tpm.uri()])
        .ends(0);
    desk.run(&["provider", "probe", &tpm.uri(), "--try"])
        .ends(0);
    // A slot that was made for the passphrase's place is refused.
    desk.run(&["init", "alone.db", "--provider", &tpm.uri()])
        .ends(1)
        .says("--i-understand");
    assert!(!desk.path("alone.db").exists());

    desk.run(&["status", "w.db", "--provider", &other.uri()])
        .ends(12)
        .says("another TPM")
        .says("1 first (passphrase")
        .says("2 laptop (tpm2: --provider)");
    tpm.stop();
    desk.run(&["status", "w.db", "--provider", &tpm.uri()])
        .ends(16)
        .says("the TPM is not to be had")
        .says("1 first (passphrase");
    desk.open(&["key", "remove", "w.db", "2", "--yes"]).ends(0);
    assert_eq!(desk.slots("w.db"), [1]);
    desk.open(&["status", "w.db"]).ends(0);
}

async fn conforms(make: impl Fn(&Swtpm) -> Tpm2 + Send + Sync + Copy + 'static) {
    let at_most = match std::env::var_os("SEALED_STORE_LONG") {
        Some(_) => usize::MAX,
        None => 16,
    };
    let tpms = Arc::new([Swtpm::start(), Swtpm::start()]);
    let made = |which: usize| {
        let tpms = Arc::clone(&tpms);
        move || {
            let provider = make(&tpms[which]);
            async { provider }
        }
    };
    // Nobody listens on its ports any more.
    let mut off = Swtpm::start();
    off.stop();
    let gone = move || {
        let provider = make(&off);
        async { provider }
    };
    let suite = Conformance::new(made(0), made(1))
        .fails(Kind::Unavailable, gone)
        .at_most(at_most);
    suite.run_all().await;
    for tpm in &*tpms {
        assert_eq!(tpm.held(), "");
    }
}

#[tokio::test]
async fn it_keeps_the_contract_of_providers() {
    conforms(at).await;
}

#[tokio::test]
async fn it_keeps_the_contract_of_providers_with_a_pin() {
    conforms(with_pin).await;
}

#[test]
fn a_recipe_that_was_moved_or_altered_does_not_open() {
    let tpm = Swtpm::start();
    for provider in [at(&tpm), with_pin(&tpm)] {
        let home = context(7);
        let (new, recipe) = slot(&provider, &home);
        let expected = Ok(*new.secret.expose_secret());
        assert_eq!(open(&provider, &home, &recipe), expected);

        let mut elsewhere: Vec<_> = (0..16)
            .map(|byte| {
                let mut moved = home;
                moved.keyring_id[byte] ^= 1;
                moved
            })
            .collect();
        elsewhere.extend([6, 8, 0, 7 << 24].map(context));
        for moved in elsewhere {
            let found = open(&provider, &moved, &recipe);
            assert_eq!(found, Err(Kind::ContextMismatch), "{moved:?}");
        }

        // The primary key's name stands for the TPM.
        let name = hex::decode(&recipe.material["primary"]).unwrap();
        assert_eq!(name.len(), 32);
        for byte in 0..name.len() {
            let mut other = name.clone();
            other[byte] ^= 1 << (byte % 8);
            let recipe = with(&recipe, "primary", &hex::encode(&other));
            assert_eq!(open(&provider, &home, &recipe), Err(Kind::WrongKey));
        }
        // Of all else the TPM checks each bit. A bit of each byte is tried, and all bits of some.
        for field in ["public", "private"] {
            let blob = BASE64.decode(recipe.material[field].as_bytes()).unwrap();
            for byte in 0..blob.len() {
                let bits = if byte % 16 == 0 {
                    0..8
                } else {
                    byte % 8..byte % 8 + 1
                };
                for bit in bits {
                    let mut other = blob.clone();
                    other[byte] ^= 1 << bit;
                    let recipe = with(&recipe, field, &BASE64.encode(&other));
                    let found = open(&provider, &home, &recipe);
                    assert_eq!(found, Err(Kind::Corrupt), "{field}, byte {byte}, bit {bit}");
                }
            }
            for len in [0, 1, blob.len() - 1, blob.len() + 1, 1024, 1025, 70_000] {
                let mut other = blob.clone();
                other.resize(len, 0);
                let recipe = with(&recipe, field, &BASE64.encode(&other));
                let found = open(&provider, &home, &recipe);
                assert_eq!(found, Err(Kind::Corrupt), "{field}, {len} bytes");
            }
        }
        // What another slot of this TPM stored does not go together with ours.
        let (_, second) = slot(&provider, &home);
        for field in ["public", "private"] {
            let mixed = with(&recipe, field, &second.material[field]);
            assert_eq!(
                open(&provider, &home, &mixed),
                Err(Kind::Corrupt),
                "{field}"
            );
        }
        assert_eq!(open(&provider, &home, &recipe), expected);
    }
    // No wrong PIN was counted by any of it.
    let properties = tpm.tool("tpm2_getcap", &["properties-variable"]);
    assert!(
        properties.contains("TPM2_PT_LOCKOUT_COUNTER: 0x0\n"),
        "{properties}"
    );
    assert_eq!(tpm.held(), "");
}

#[test]
fn the_pin_is_asked_for_and_checked_by_the_tpm() {
    let tpm = Swtpm::start();
    tpm.tool("tpm2_dictionarylockout", &["-s", "-n", "32"]);
    let home = context(1);
    let (new, recipe) = slot(&with_pin(&tpm), &home);
    let expected = Ok(*new.secret.expose_secret());
    assert_eq!(open(&with_pin(&tpm), &home, &recipe), expected);
    assert_eq!(open(&at(&tpm), &home, &recipe), Err(Kind::NeedsInteraction));
    for wrong in [
        "",
        "1",
        "canary-pin-432",
        "canary-pin-4321 ",
        "Canary-pin-4321",
    ] {
        let wrong = at(&tpm).pin(wrong);
        let found = open(&wrong, &home, &recipe);
        assert!(
            matches!(found, Err(Kind::Denied | Kind::BadRequest)),
            "{found:?}"
        );
    }
    assert_eq!(open(&with_pin(&tpm), &home, &recipe), expected);
    let long = "9".repeat(255);
    let (new, recipe) = slot(&at(&tpm).pin(long.clone()), &home);
    let found = open(&at(&tpm).pin(long), &home, &recipe);
    assert_eq!(found, Ok(*new.secret.expose_secret()));

    // A slot without a PIN is not taken for one with it.
    let (_, recipe) = slot(&at(&tpm), &home);
    let error = wait(with_pin(&tpm).unwrap_secret(&home, &recipe)).unwrap_err_kind();
    assert_eq!(error.kind(), Kind::BadRequest);
    assert!(
        error.to_string().contains("sealed without a PIN"),
        "{error}"
    );

    // Authorisations that end with zero, which TPMs leave out: those of one slot in 256.
    let ends_with_zero = |slot: u32| {
        let mut info = b"sealed-store v1 tpm2 pin".to_vec();
        info.extend(context(slot).keyring_id);
        info.extend(slot.to_le_bytes());
        let mut value = [0; 32];
        hkdf::Hkdf::<sha2::Sha256>::new(None, PIN.as_bytes())
            .expand(&info, &mut value)
            .unwrap();
        value[31] == 0
    };
    for number in (0..).filter(|slot| ends_with_zero(*slot)).take(3) {
        let home = context(number);
        let (new, recipe) = slot(&with_pin(&tpm), &home);
        let found = open(&with_pin(&tpm), &home, &recipe);
        assert_eq!(found, Ok(*new.secret.expose_secret()));
        assert_eq!(open(&at(&tpm).pin("1"), &home, &recipe), Err(Kind::Denied));
    }
    assert_eq!(tpm.held(), "");
}

#[test]
fn too_many_wrong_pins_shut_out_all_pins_until_the_owner_resets() {
    let tpm = Swtpm::start();
    tpm.tool(
        "tpm2_dictionarylockout",
        &["-s", "-n", "3", "-t", "1000", "-l", "1000"],
    );
    let home = context(1);
    let (new, with) = slot(&with_pin(&tpm), &home);
    let (free, without) = slot(&at(&tpm), &home);
    for _ in 0..3 {
        let error = wait(at(&tpm).pin("1234").unwrap_secret(&home, &with)).unwrap_err_kind();
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains("wrong PIN"), "{error}");
    }
    for pin in [PIN, "1234"] {
        let error = wait(at(&tpm).pin(pin).unwrap_secret(&home, &with)).unwrap_err_kind();
        assert_eq!(error.kind(), Kind::Denied);
        assert!(
            error.to_string().contains("tpm2_dictionarylockout"),
            "{error}"
        );
    }
    assert_eq!(kind(wait(with_pin(&tpm).probe())), Kind::Denied);
    assert_eq!(kind(wait(with_pin(&tpm).generate(&home))), Kind::Denied);
    // What has no PIN goes on.
    wait(at(&tpm).probe()).unwrap();
    assert_eq!(
        open(&at(&tpm), &home, &without),
        Ok(*free.secret.expose_secret())
    );
    slot(&at(&tpm), &home);

    tpm.tool("tpm2_dictionarylockout", &["--clear-lockout"]);
    wait(with_pin(&tpm).probe()).unwrap();
    assert_eq!(
        open(&with_pin(&tpm), &home, &with),
        Ok(*new.secret.expose_secret())
    );
    assert_eq!(tpm.held(), "");
}

trait ErrorOf {
    fn unwrap_err_kind(self) -> ProviderError;
}

/// A secret has no `Debug`.
impl<T> ErrorOf for Result<T, ProviderError> {
    #[track_caller]
    fn unwrap_err_kind(self) -> ProviderError {
        match self {
            Ok(_) => panic!("it was accepted"),
            Err(error) => error,
        }
    }
}

#[test]
fn every_error_has_its_kind() {
    let mut tpm = Swtpm::start();
    let home = context(1);
    let (new, recipe) = slot(&at(&tpm), &home);
    let (_, pinned) = slot(&with_pin(&tpm), &home);
    let expected = Ok(*new.secret.expose_secret());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        private_file(&path, content);
        path.display().to_string()
    };
    let (regular, empty) = (file("regular", "not a TPM"), file("empty", "\n"));
    let open_to_all = folder.path().join("open-to-all");
    std::fs::write(&open_to_all, PIN).unwrap();
    let missing = folder.path().join("none").display().to_string();
    let device = |path: &str| Tpm2::from_uri(&format!("tpm2:?tcti=device:{path}")).unwrap();
    let file_of = |path: &str| Tpm2::from_uri(&format!("{}&pin-file={path}", tpm.uri())).unwrap();
    let nobody = swtpm::pair()[0].local_addr().unwrap().port();

    let cases = [
        ("no such device", device(&missing), Kind::Unavailable),
        ("a folder", device("/tmp"), Kind::BadRequest),
        ("a file", device(&regular), Kind::BadRequest),
        (
            "a device that is no TPM",
            device("/dev/null"),
            Kind::Unavailable,
        ),
        (
            "nobody listens",
            Tpm2::from_uri(&swtpm::uri(nobody)).unwrap(),
            Kind::Unavailable,
        ),
        ("no PIN file", file_of(&missing), Kind::Unavailable),
        ("an empty PIN file", file_of(&empty), Kind::BadRequest),
        (
            "a PIN file that others can read",
            file_of(open_to_all.to_str().unwrap()),
            Kind::BadRequest,
        ),
        ("an empty PIN", at(&tpm).pin(""), Kind::BadRequest),
        (
            "a PIN that is too long",
            at(&tpm).pin("1".repeat(256)),
            Kind::BadRequest,
        ),
    ];
    for (what, provider, expected) in &cases {
        for error in [
            wait(provider.generate(&home)).unwrap_err_kind(),
            wait(provider.unwrap_secret(&home, &recipe)).unwrap_err_kind(),
            wait(provider.probe()).unwrap_err_kind(),
        ] {
            assert_eq!(error.kind(), *expected, "{what}: {error}");
            let mut shown = format!("{error:?} {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                shown += &format!("{cause} {cause:?}");
                source = cause.source();
            }
            for secret in [PIN, "1111", folder.path().to_str().unwrap()] {
                assert!(!shown.contains(secret), "{what}: {shown}");
            }
        }
    }
    assert_eq!(std::fs::read_to_string(regular).unwrap(), "not a TPM");

    // The owner's password, and his hierarchy.
    tpm.tool("tpm2_changeauth", &["-c", "owner", "owner-password"]);
    for error in [
        wait(at(&tpm).generate(&home)).unwrap_err_kind(),
        wait(at(&tpm).unwrap_secret(&home, &recipe)).unwrap_err_kind(),
        wait(at(&tpm).probe()).unwrap_err_kind(),
    ] {
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        assert!(error.to_string().contains("owner hierarchy has a password"));
    }
    tpm.tool("tpm2_changeauth", &["-c", "owner", "-p", "owner-password"]);
    assert_eq!(open(&at(&tpm), &home, &recipe), expected);
    tpm.tool("tpm2_hierarchycontrol", &["-C", "p", "shEnable", "clear"]);
    assert_eq!(open(&at(&tpm), &home, &recipe), Err(Kind::Disabled));
    assert_eq!(kind(wait(at(&tpm).generate(&home))), Kind::Disabled);
    assert_eq!(kind(wait(at(&tpm).probe())), Kind::Disabled);
    // A restart switches it on again.
    tpm.restart();
    assert_eq!(open(&at(&tpm), &home, &recipe), expected);

    // Cleared: its seed is another, and what it sealed before is lost.
    tpm.tool("tpm2_clear", &["-c", "p"]);
    let error = wait(at(&tpm).unwrap_secret(&home, &recipe)).unwrap_err_kind();
    assert_eq!(error.kind(), Kind::WrongKey);
    assert!(error.to_string().contains("cleared"), "{error}");
    assert_eq!(open(&with_pin(&tpm), &home, &pinned), Err(Kind::WrongKey));
    slot(&at(&tpm), &home);

    // It can't write its state any more, and goes into failure mode.
    let failing = Swtpm::start();
    slot(&at(&failing), &home);
    failing.lose_state();
    failing.tried("tpm2_dictionarylockout", &["-s", "-n", "9"]);
    let error = wait(at(&failing).probe()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(
        error.to_string().contains("until the machine is restarted"),
        "{error}"
    );

    // Nobody has started it up.
    let raw = Swtpm::not_started_up();
    assert_eq!(kind(wait(at(&raw).probe())), Kind::Unavailable);
    assert_eq!(tpm.held(), "");
}

/// A TPM full of what somebody else left in it.
#[test]
fn a_full_tpm_is_unavailable_and_comes_back() {
    let tpm = Swtpm::start();
    let home = context(1);
    let (new, recipe) = slot(&at(&tpm), &home);
    for _ in 0..3 {
        tpm.tool("tpm2_createprimary", &["-Q", "-C", "o", "-c", "left.ctx"]);
    }
    let held = tpm.held();
    assert_eq!(open(&at(&tpm), &home, &recipe), Err(Kind::Unavailable));
    assert_eq!(kind(wait(at(&tpm).generate(&home))), Kind::Unavailable);
    // Others' are not touched.
    assert_eq!(tpm.held(), held);
    let first = held.split_whitespace().nth(1).unwrap().to_owned();
    // One is not enough for key and secret, and the key goes again.
    tpm.tool("tpm2_flushcontext", &[&first]);
    assert_eq!(open(&at(&tpm), &home, &recipe), Err(Kind::Unavailable));
    assert_eq!(tpm.held().lines().count(), 2);
    tpm.tool("tpm2_flushcontext", &["-t"]);
    assert_eq!(
        open(&at(&tpm), &home, &recipe),
        Ok(*new.secret.expose_secret())
    );
    assert_eq!(tpm.held(), "");
}

/// Answers every command with one response code, and every control command with success.
fn says(code: u32) -> u16 {
    let [commands, control] = swtpm::pair();
    let port = commands.local_addr().unwrap().port();
    let serve = |listener: std::net::TcpListener, answer: Vec<u8>| {
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), answer) = (stream, answer.clone()) else {
                    continue;
                };
                std::thread::spawn(move || {
                    let mut asked = [0; 4096];
                    while stream.read(&mut asked).is_ok_and(|len| len > 0) {
                        let _ = stream.write_all(&answer);
                    }
                });
            }
        })
    };
    let mut answer = vec![0x80, 0x01, 0, 0, 0, 10];
    answer.extend(code.to_be_bytes());
    serve(commands, answer);
    serve(control, vec![0; 4]);
    port
}

#[test]
fn codes_that_this_tpm_does_not_say_have_their_kinds() {
    let throttled = Kind::Throttled { retry_after: None };
    for (name, code, expected) in [
        ("TPM_RC_RETRY", 0x922, throttled),
        ("TPM_RC_YIELDED", 0x908, throttled),
        ("TPM_RC_TESTING", 0x90a, throttled),
        ("TPM_RC_CANCELED", 0x909, throttled),
        ("TPM_RC_NV_RATE", 0x920, throttled),
        ("TPM_RC_NV_UNAVAILABLE", 0x923, Kind::Unavailable),
        ("TPM_RC_FAILURE", 0x101, Kind::Unavailable),
        ("TPM_RC_INITIALIZE", 0x100, Kind::Unavailable),
        ("TPM_RC_REBOOT", 0x130, Kind::Unavailable),
        ("TPM_RC_UPGRADE", 0x12d, Kind::Unavailable),
        ("TPM_RC_OBJECT_MEMORY", 0x902, Kind::Unavailable),
        ("TPM_RC_SESSION_HANDLES", 0x905, Kind::Unavailable),
        ("TPM_RC_CONTEXT_GAP", 0x901, Kind::Unavailable),
        ("TPM_RC_LOCKOUT", 0x921, Kind::Denied),
        ("TPM_RC_BAD_AUTH, session 1", 0x9a2, Kind::Denied),
        ("TPM_RC_HIERARCHY, handle 1", 0x185, Kind::Disabled),
        ("TPM_RC_CURVE, parameter 2", 0x2e6, Kind::BadRequest),
        ("TPM_RC_COMMAND_CODE", 0x143, Kind::BadRequest),
        (
            "TPM_RC_COMMAND_CODE of the resource manager",
            0xb0143,
            Kind::BadRequest,
        ),
        ("a maker's own", 0x541, Kind::BadRequest),
        ("one that is not known", 0x17f, Kind::BadRequest),
    ] {
        let provider = Tpm2::from_uri(&swtpm::uri(says(code))).unwrap();
        let error = wait(provider.probe()).unwrap_err();
        assert_eq!(error.kind(), expected, "{name}: {error}");
        let kind = kind(wait(provider.generate(&context(1))));
        assert_eq!(kind, expected, "{name}");
    }
}

#[test]
fn an_unlock_is_one_unseal_and_shows_nothing_on_the_wire() {
    let watched = Watched::start();
    let home = context(1);
    // The first use of a PIN after a start is asked for twice: the TPM writes first that it counts (TPM_RC_RETRY).
    slot(&watched.provider().pin(PIN), &home);
    for provider in [watched.provider(), watched.provider().pin(PIN)] {
        watched.seen();
        let (new, recipe) = slot(&provider, &home);
        let secret = *new.secret.expose_secret();
        let (asked, answered) = watched.seen();
        assert_eq!(count(&asked, CREATE), 1);
        assert_eq!(count(&asked, START_SESSION), 2);
        check_sessions(&asked);
        assert_eq!(
            count(&asked, UNSEAL),
            1,
            "it is opened before it is given out"
        );
        for bytes in [&asked, &answered] {
            assert!(!holds(bytes, &secret) && !holds(bytes, PIN.as_bytes()));
        }
        assert_eq!(open(&provider, &home, &recipe), Ok(secret));
        let (asked, answered) = watched.seen();
        assert_eq!(count(&asked, UNSEAL), 1);
        assert_eq!(count(&asked, START_SESSION), 1);
        check_sessions(&asked);
        // The key, the slot's object and the session, each flushed.
        assert_eq!(count(&asked, FLUSH), 3, "{:x?}", codes(&asked));
        for bytes in [&asked, &answered] {
            assert!(!holds(bytes, &secret) && !holds(bytes, PIN.as_bytes()));
        }
        println!("an unlock: {:x?}", codes(&asked));

        wait(provider.probe()).unwrap();
        assert_eq!(count(&watched.seen().0, UNSEAL), 0);
        // Nothing that is refused before is tried.
        let moved = open(&provider, &context(2), &recipe);
        assert_eq!(moved, Err(Kind::ContextMismatch));
        let foreign = with(&recipe, "primary", &"00".repeat(32));
        assert_eq!(open(&provider, &home, &foreign), Err(Kind::WrongKey));
        let (asked, _) = watched.seen();
        assert_eq!(count(&asked, UNSEAL), 0);
        let odd = with(&recipe, "more", "");
        assert_eq!(open(&provider, &home, &odd), Err(Kind::Corrupt));
        assert!(watched.seen().0.is_empty());
    }
    // A whole opening of a keyring.
    let shelf = Shelf::backend();
    let keyring = wait(shelf.create(&raw(1))).unwrap();
    wait(keyring.add_slot("tpm", &watched.provider())).unwrap();
    drop(keyring);
    watched.seen();
    drop(wait(shelf.open(&watched.provider())).unwrap());
    assert_eq!(count(&watched.seen().0, UNSEAL), 1);
}

#[test]
fn what_happens_on_the_wire_gives_no_wrong_secret_and_no_hang() {
    let watched = Watched::start();
    let home = context(1);
    let provider = watched.provider().timeout(Duration::from_millis(1500));
    let (new, recipe) = slot(&provider, &home);
    watched.seen();
    let expected = *new.secret.expose_secret();
    assert_eq!(open(&provider, &home, &recipe), Ok(expected));
    // The TSS makes a connection for each command.
    let seen = watched.commands.seen();
    let step = match std::env::var_os("SEALED_STORE_LONG") {
        Some(_) => 1,
        None => 61,
    };
    let mut kinds = std::collections::BTreeMap::new();
    for (connection, traffic) in seen.iter().enumerate() {
        for (way, len) in [
            (Way::Asking, traffic.asked.len()),
            (Way::Answering, traffic.answered.len()),
        ] {
            for (after, harm) in (0..len)
                .step_by(step)
                .flat_map(|after| [Harm::Cut, Harm::Flip, Harm::Garbage].map(|harm| (after, harm)))
            {
                watched.commands.set(Some(Fault {
                    connection: Some(connection),
                    way,
                    after,
                    harm,
                }));
                let begun = Instant::now();
                let found = open(&provider, &home, &recipe);
                assert!(begun.elapsed() < Duration::from_secs(20));
                if let Ok(secret) = found {
                    assert_eq!(secret, expected, "{connection} {way:?} {after} {harm:?}");
                }
                let name = found.map_or_else(|kind| format!("{kind:?}"), |_| "opens".into());
                *kinds.entry(format!("{harm:?}: {name}")).or_insert(0) += 1;
                // What waits for half a command is let go; what it left behind is nobody's: no resource manager is here.
                watched.commands.set(None);
                for what in ["-t", "-l", "-s"] {
                    watched.tpm.tool("tpm2_flushcontext", &[what]);
                }
            }
        }
    }
    println!("{kinds:#?}");
    watched.commands.set(None);
    assert_eq!(open(&provider, &home, &recipe), Ok(expected));
}

#[test]
fn a_tpm_that_hangs_holds_nobody_up_and_comes_back() {
    let tpm = Swtpm::start();
    let home = context(1);
    let (new, recipe) = slot(&at(&tpm), &home);
    let expected = Ok(*new.secret.expose_secret());
    tpm.signal("STOP");
    let patience = Patience::new().call(Duration::from_millis(300)).tries(2);
    for _ in 0..3 {
        let patient = Patient::new(at(&tpm)).patience(patience);
        let begun = Instant::now();
        let error = wait(patient.unwrap_secret(&home, &recipe)).unwrap_err_kind();
        assert_eq!(error.kind(), Kind::Unavailable);
        // It did hang: the TPM said nothing.
        assert!(
            error.to_string().contains("did not answer in time"),
            "{error}"
        );
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    let alone = at(&tpm).timeout(Duration::from_millis(300));
    assert_eq!(open(&alone, &home, &recipe), Err(Kind::Unavailable));
    let recipe_text = serde_json::to_string(&recipe).unwrap();
    let said = child::Child::run("waiter", &[&tpm.uri(), &recipe_text]).finish();
    assert_eq!(said, ["1"], "threads that wait for the TPM");
    tpm.signal("CONT");
    assert_eq!(open(&at(&tpm), &home, &recipe), expected);
    assert_eq!(tpm.held(), "");
}

#[test]
fn many_threads_and_dropped_futures_do_not_disturb_each_other() {
    let tpm = Arc::new(Swtpm::start());
    let shared = Arc::new(with_pin(&tpm));
    let threads: Vec<_> = (0..6)
        .map(|number| {
            let (tpm, shared) = (Arc::clone(&tpm), Arc::clone(&shared));
            std::thread::spawn(move || {
                let own = Arc::new(with_pin(&tpm));
                let provider = if number % 2 == 0 { shared } else { own };
                for round in 0..3 {
                    let home = context(number * 100 + round);
                    dropped(provider.generate(&home));
                    let (new, recipe) = slot(&*provider, &home);
                    dropped(provider.unwrap_secret(&home, &recipe));
                    dropped(provider.probe());
                    let found = open(&*provider, &home, &recipe);
                    assert_eq!(found, Ok(*new.secret.expose_secret()));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    // What was dropped has run to its end once it is our turn.
    wait(shared.probe()).unwrap();
    assert_eq!(tpm.held(), "");
}

/// In another process: asks a TPM that hangs again and again, and counts the threads that this keeps.
#[test]
fn waiter() {
    let Some(job) = child::job() else { return };
    let provider = || {
        let provider = Tpm2::from_uri(&job[0]).unwrap();
        provider.timeout(Duration::from_millis(200))
    };
    let recipe: Recipe = serde_json::from_str(&job[1]).unwrap();
    for _ in 0..4 {
        let found = open(&provider(), &context(1), &recipe);
        assert_eq!(found, Err(Kind::Unavailable));
        assert_eq!(kind(wait(provider().probe())), Kind::Unavailable);
    }
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // The system cuts names at 15 characters.
    let waits = |task: &std::io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(task.as_ref().unwrap().path().join("comm"));
        name.is_ok_and(|name| name.starts_with("sealed-store-tp"))
    };
    child::say(&tasks.filter(waits).count().to_string());
}

/// In another process: opens a slot again and again.
#[test]
fn opener() {
    let Some(job) = child::job() else { return };
    let provider = Tpm2::from_uri(&job[0]).unwrap();
    if job.len() == 1 {
        let error = wait(provider.probe()).unwrap_err();
        child::say(&format!("{:?}: {error}", error.kind()));
        return;
    }
    let recipe: Recipe = serde_json::from_str(&job[1]).unwrap();
    child::say("ready");
    // swtpm has no resource manager, and turns some of those away who come at once.
    let patience = Patience::new().tries(1000).total(Duration::from_secs(300));
    let provider = Patient::new(provider).patience(patience);
    for _ in 0..5 {
        let secret = open(&provider, &context(1), &recipe);
        child::say(&secret.map_or_else(|kind| format!("{kind:?}"), hex::encode));
    }
}

#[test]
fn several_processes_use_one_tpm() {
    let tpm = Swtpm::start();
    let (new, recipe) = slot(&at(&tpm), &context(1));
    let recipe = serde_json::to_string(&recipe).unwrap();
    let children: Vec<_> = (0..3)
        .map(|_| child::Child::run("opener", &[&tpm.uri(), &recipe]))
        .collect();
    let expected = hex::encode(new.secret.expose_secret());
    for child in children {
        let said = child.finish();
        assert_eq!(said.len(), 6, "{said:?}");
        assert!(said[1..].iter().all(|one| *one == expected), "{said:?}");
    }
    assert_eq!(tpm.held(), "");
}

#[test]
fn who_has_no_right_to_the_device_is_told_so() {
    // A device of root's that is no TPM; without the rights of root it is not opened.
    let uri = ["/dev/console", "/dev/kmsg", "/dev/mem", "/dev/tpmrm0"]
        .into_iter()
        .find(|path| {
            use std::os::unix::fs::{FileTypeExt, MetadataExt};
            std::fs::metadata(path).is_ok_and(|about| {
                about.file_type().is_char_device() && about.uid() == 0 && about.mode() & 0o006 == 0
            })
        })
        .map(|path| format!("tpm2:?tcti=device:{path}"))
        .expect("a device of root's");
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let wrapper: &[&str] = if mounts::is_root() { &nobody } else { &[] };
    let binary = std::env::current_exe().unwrap();
    assert!(binary.exists());
    let said = child::Child::start(child::command(wrapper, "opener", &[&uri])).finish();
    assert!(
        said[0].starts_with("Denied") && said[0].contains("group"),
        "{said:?}"
    );
}

#[test]
fn a_tpm_has_no_reference_and_may_be_lost() {
    let provider = Tpm2::from_uri("tpm2:").unwrap();
    assert!(provider.reference().is_empty() && provider.may_be_lost());
    assert_eq!(provider.kind(), "tpm2");
}
