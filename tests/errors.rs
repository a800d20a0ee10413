//! wacore looks for two words in the text of an error and of all its sources, and tries up to six
//! times again where it finds one. An error of ours that holds one is retried for nothing (a
//! passphrase, a token with a PIN counter, a KMS), and one that holds a path or a name puts it into
//! logs. So none does, at any depth, whatever the thing below us says. (The list of all variants is
//! in `src/error/tests.rs`, where the compiler keeps it complete.)

mod support;

use std::error::Error;
use std::fmt;

use async_trait::async_trait;
use sealed_store::{
    KeyProvider, Keyring, NewSlot, Opaque, Probe, ProviderError, ProviderErrorKind, Recipe,
    SealError, SlotContext, StoreFault, StoreFaultKind, Table,
};
use secrecy::SecretBox;
use support::{Shelf, passphrase, raw, refused};
use wacore::store::error::StoreError;

/// What a driver, a service or a file system may say.
const NASTY: [&str; 5] = [
    "database is locked",
    "/home/alice/5511987650001.db is BUSY",
    "SQLITE_LOCKED_SHAREDCACHE",
    "the token is Locked: wrong PIN for alice",
    "{secret}",
];

#[derive(Debug)]
struct Nasty(&'static str);

impl fmt::Display for Nasty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
impl Error for Nasty {}

/// The text of an error and of all its sources, and its `Debug` form.
fn texts(error: &(dyn Error + 'static)) -> (Vec<String>, String) {
    let mut shown = Vec::new();
    let mut layer = Some(error);
    while let Some(current) = layer {
        shown.push(current.to_string());
        layer = current.source();
    }
    (shown, format!("{error:?} {error:#?}"))
}

/// No text at any depth holds one of wacore's words, or anything of `source`.
fn is_calm(error: SealError, source: Option<&str>) {
    let (shown, debug) = texts(&error);
    for text in &shown {
        assert!(!text.is_empty() && !text.contains('{'), "{text}");
        let lower = text.to_lowercase();
        assert!(
            !lower.contains("locked") && !lower.contains("busy"),
            "{text}"
        );
        if let Some(source) = source {
            assert!(!text.contains(source), "{text}");
        }
    }
    if let Some(source) = source {
        assert!(!debug.contains(source), "{debug}");
    }
    let variant = std::mem::discriminant(&error);
    let outer = StoreError::from(error);
    assert!(!outer.is_database_busy_or_locked(), "{shown:?}");
    let found = SealError::of(&outer).expect("it is lost in the wacore error");
    assert_eq!(std::mem::discriminant(found), variant);
}

const PROVIDER_KINDS: [ProviderErrorKind; 12] = [
    ProviderErrorKind::Throttled { retry_after: None },
    ProviderErrorKind::Unavailable,
    ProviderErrorKind::Denied,
    ProviderErrorKind::Disabled,
    ProviderErrorKind::Destroyed,
    ProviderErrorKind::WrongKey,
    ProviderErrorKind::ContextMismatch,
    ProviderErrorKind::Corrupt,
    ProviderErrorKind::BadRequest,
    ProviderErrorKind::NeedsInteraction,
    ProviderErrorKind::ExcessiveCost {
        needed: 2,
        allowed: 1,
    },
    ProviderErrorKind::CostOutOfBounds { parameter: "m_kib" },
];

const STORE_KINDS: [StoreFaultKind; 6] = [
    StoreFaultKind::Conflict,
    StoreFaultKind::InUse,
    StoreFaultKind::Io,
    StoreFaultKind::Corrupt,
    StoreFaultKind::NewerSchema,
    StoreFaultKind::Invalid,
];

#[test]
fn what_a_source_says_stays_out_of_every_text() {
    for nasty in NASTY {
        for kind in PROVIDER_KINDS {
            let error = || ProviderError::new(kind, "check the token").with_source(Nasty(nasty));
            is_calm(SealError::Provider(error()), Some(nasty));
            is_calm(SealError::from(error()), Some(nasty));
        }
        for kind in STORE_KINDS {
            let fault = || StoreFault::new(kind, "check the file").with_source(Nasty(nasty));
            is_calm(SealError::Keyring(fault()), Some(nasty));
            is_calm(SealError::from(fault()), Some(nasty));
        }
        // A wacore error as a source of ours is as foreign as any.
        let inner = StoreError::Database(Box::new(Nasty(nasty)));
        let fault = StoreFault::new(StoreFaultKind::Io, "see its own error").with_source(inner);
        is_calm(SealError::Keyring(fault), Some(nasty));

        // Who asks for it gets it.
        let opaque = Opaque::new(Nasty(nasty));
        assert_eq!(opaque.reveal().to_string(), nasty);
        assert!(opaque.reveal().downcast_ref::<Nasty>().is_some());
        assert!(opaque.source().is_none());
    }
}

/// The advice comes from whoever writes a provider or a store. It is his to word, but not to make
/// wacore try a PIN six times.
#[test]
fn an_unfortunate_advice_is_not_shown() {
    for advice in [
        "the token is locked; ask the administrator",
        "BUSY",
        "unlocked",
        "bLoCkEd by policy",
    ] {
        for kind in PROVIDER_KINDS {
            is_calm(SealError::Provider(ProviderError::new(kind, advice)), None);
        }
        for kind in STORE_KINDS {
            is_calm(SealError::Keyring(StoreFault::new(kind, advice)), None);
        }
    }
    let good = "not reachable; check the endpoint";
    let shown = ProviderError::new(ProviderErrorKind::Unavailable, good).to_string();
    assert_eq!(shown, good);
    assert_eq!(StoreFault::new(StoreFaultKind::Io, good).to_string(), good);
}

/// The inner store's own errors mean what they say: a database under contention is tried again.
#[test]
fn an_error_of_the_inner_store_passes_untouched() {
    for nasty in NASTY {
        let outer = StoreError::from(SealError::Inner(StoreError::Database(Box::new(Nasty(
            nasty,
        )))));
        let lower = nasty.to_lowercase();
        assert_eq!(
            outer.is_database_busy_or_locked(),
            lower.contains("locked") || lower.contains("busy")
        );
        let StoreError::Database(source) = outer else {
            panic!("another variant");
        };
        assert_eq!(source.downcast_ref::<Nasty>().unwrap().0, nasty);
    }
    let outer = StoreError::from(SealError::Inner(StoreError::DeviceNotFound(7)));
    assert!(matches!(outer, StoreError::DeviceNotFound(7)));
    assert!(SealError::of(&outer).is_none());

    // And whether it is worth another try is what the inner store says.
    let busy = StoreError::Database(Box::new(Nasty("database is locked")));
    assert!(SealError::Inner(busy).is_retryable());
    assert!(!SealError::Inner(StoreError::DeviceNotFound(7)).is_retryable());
}

#[test]
fn an_error_is_found_at_any_depth() {
    let error = StoreError::from(SealError::WrongKey);
    let deeper = StoreError::Connection(Box::new(error));
    let deepest = StoreError::Migration(Box::new(deeper));
    assert!(matches!(SealError::of(&deepest), Some(SealError::WrongKey)));
    let fault = StoreFault::new(StoreFaultKind::Io, "check the file");
    let error = StoreError::from(SealError::Keyring(fault));
    let Some(SealError::Keyring(fault)) = SealError::of(&error) else {
        panic!("{error:?}");
    };
    assert_eq!(fault.kind(), StoreFaultKind::Io);
    assert!(SealError::of(&StoreError::Database(Box::new(Nasty("busy")))).is_none());
}

struct Failing;

#[async_trait]
impl KeyProvider for Failing {
    fn kind(&self) -> &str {
        "failing"
    }
    async fn generate(&self, _: &SlotContext) -> Result<NewSlot, ProviderError> {
        Err(
            ProviderError::new(ProviderErrorKind::Denied, "access denied; check the policy")
                .with_source(Nasty(NASTY[1])),
        )
    }
    async fn unwrap_secret(
        &self,
        _: &SlotContext,
        _: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        Err(ProviderError::new(
            ProviderErrorKind::Denied,
            "access denied; check the policy",
        ))
    }
    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::ready())
    }
}

/// Real errors of real calls, with canaries in everything that a caller passes.
#[tokio::test]
async fn real_errors_are_calm_and_hold_nothing_of_their_arguments() {
    const CANARY: &str = "canary-busy-locked";
    let folder = tempfile::Builder::new().prefix(CANARY).tempdir().unwrap();
    let at = |name: &str| {
        sealed_store::SqliteKeyring::at(folder.path().join(format!("{CANARY}-{name}")))
    };
    let mut errors = vec![
        refused(Keyring::open(at("none"), &raw(1)).await),
        refused(Keyring::create(at("missing-folder/a/b"), &raw(1)).await),
        refused(Keyring::create(at("provider"), &Failing).await),
    ];
    std::fs::write(folder.path().join(format!("{CANARY}-rubbish")), [7; 999]).unwrap();
    errors.push(refused(Keyring::open(at("rubbish"), &raw(1)).await));

    let words = passphrase(CANARY);
    let keyring = Keyring::create(at("good"), &words).await.unwrap();
    keyring.create_account(CANARY).await.unwrap();
    let other = Keyring::open(at("good"), &words).await.unwrap();
    errors.extend([
        refused(Keyring::create(at("good"), &words).await),
        refused(keyring.create_account(CANARY).await),
        refused(keyring.account(&format!("{CANARY} {CANARY}")).await),
        refused(keyring.account(&format!("{CANARY}2")).await),
        refused(keyring.add_slot(&CANARY.repeat(9), &raw(1)).await),
        refused(keyring.rotate_root(&[(1, &words)], &[]).await),
        refused(keyring.remove_slot(1).await),
        refused(keyring.remove_slot(9).await),
        refused(keyring.change_passphrase(1, &passphrase("x"), &words).await),
        refused(Keyring::open(at("good"), &passphrase("canary-busy-locke")).await),
    ]);
    drop(other);
    keyring.lock();
    errors.push(refused(keyring.rotate_data_keys(&[Table::Session]).await));

    let shelf = Shelf::sqlite();
    drop(shelf.create(&words).await.unwrap());
    shelf.set("keyring", 1, CANARY.as_bytes()).await;
    errors.push(refused(shelf.open(&words).await));

    if let Err(error) = sealed_store::RawKey::from_file(folder.path().join(CANARY)) {
        errors.push(SealError::Provider(error));
    }
    if let Err(error) = sealed_store::RawKey::from_env(CANARY) {
        errors.push(SealError::Provider(error));
    }
    assert_eq!(errors.len(), 18);
    for error in errors {
        is_calm(error, Some("canary"));
    }
}

/// Every string of the library, apart from its tests: what is not there can't be printed.
#[test]
fn no_string_of_the_library_holds_one_of_the_words() {
    fn files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                // A module of tests in a file of its own.
                && !path.ends_with("tests.rs")
            {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    files(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    let mut strings = 0;
    for path in found {
        let source = std::fs::read_to_string(&path).unwrap();
        let library = source.split("#[cfg(test)]\nmod tests").next().unwrap();
        for line in library.lines() {
            let line = line.trim_start();
            if line.starts_with("//") {
                continue;
            }
            for string in line.split('"').skip(1).step_by(2) {
                strings += 1;
                let lower = string.to_lowercase();
                // The filter itself.
                if path.ends_with("error/opaque.rs") && ["locked", "busy"].contains(&string) {
                    continue;
                }
                assert!(
                    !lower.contains("locked") && !lower.contains("busy"),
                    "{}: {line}",
                    path.display()
                );
            }
        }
    }
    assert!(strings > 200, "{strings}");
}
