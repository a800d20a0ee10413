//! A slot by a key in a PKCS#11 token, against SoftHSM. Each test runs alone in a process with tokens of its own.
#![cfg(feature = "pkcs11")]

#[path = "common/child.rs"]
mod child;
#[path = "common/services.rs"]
mod services;
#[path = "common/softhsm.rs"]
mod softhsm;
mod support;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11 as Raw};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use sealed_store::testing::provider::Conformance;
use sealed_store::{
    Fields, KeyProvider, NewSlot, Patience, Patient, Pkcs11, Pkcs11Wrap, Probe, ProviderError,
    ProviderErrorKind as Kind, Recipe, SealError, SlotContext,
};
use secrecy::{ExposeSecret, SecretBox};
use softhsm::{PIN, TOKEN, Tokens, alone};
use support::{Shelf, raw, refused};

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// A provider for a key of the token, with the PIN.
fn provider(tokens: &Tokens, key: &str) -> Pkcs11 {
    Pkcs11::from_uri(&tokens.uri(key)).unwrap().pin(PIN)
}

/// Makes a key and gives the provider for it.
fn made(tokens: &Tokens, key: &str) -> Pkcs11 {
    let provider = provider(tokens, key);
    wait(provider.make_key()).unwrap();
    provider
}

/// Remembers what it was asked for: a context can't be made outside the crate.
#[derive(Default)]
struct Asked(Mutex<Vec<SlotContext>>);

#[async_trait]
impl KeyProvider for Asked {
    fn kind(&self) -> &str {
        "asked"
    }
    async fn generate(&self, context: &SlotContext) -> Result<NewSlot, ProviderError> {
        self.0.lock().unwrap().push(*context);
        raw(7).generate(context).await
    }
    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        raw(7).unwrap_secret(context, recipe).await
    }
    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::ready())
    }
}

/// The context of a slot of some keyring.
fn context() -> SlotContext {
    let asked = Asked::default();
    drop(wait(Shelf::backend().create(&asked)).unwrap());
    let asked = asked.0.lock().unwrap();
    asked[0]
}

/// A slot made by `provider`, and its recipe.
fn slot(provider: &Pkcs11, context: &SlotContext) -> (NewSlot, Recipe) {
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

/// The module as another part of this process uses it, with a session that is logged in.
fn elsewhere(label: &str) -> (Raw, Session) {
    let module = Raw::new(softhsm::module()).unwrap();
    let _ = module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let slot = module
        .get_slots_with_token()
        .unwrap()
        .into_iter()
        .find(|slot| module.get_token_info(*slot).unwrap().label() == label)
        .unwrap();
    let session = module.open_rw_session(slot).unwrap();
    let _ = session.login(UserType::User, Some(&PIN.into()));
    (module, session)
}

/// An AES key as we would make it, but for these attributes.
fn odd_key(
    session: &Session,
    label: &str,
    id: u8,
    len: u64,
    attributes: &[Attribute],
) -> ObjectHandle {
    let mut template = vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(label.into()),
        Attribute::Id(vec![id]),
        Attribute::ValueLen(len.into()),
    ];
    for usual in [
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
    ] {
        let other = |one: &Attribute| one.attribute_type() == usual.attribute_type();
        template.push(
            attributes
                .iter()
                .find(|one| other(one))
                .cloned()
                .unwrap_or(usual),
        );
    }
    session
        .generate_key(&Mechanism::AesKeyGen, &template)
        .unwrap()
}

fn find(session: &Session, label: &str) -> Vec<ObjectHandle> {
    session
        .find_objects(&[Attribute::Label(label.into())])
        .unwrap()
}

fn private_file(path: &Path, content: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_keyring_opens_with_the_token_and_with_no_other_key_of_it() {
    alone(
        "a_keyring_opens_with_the_token_and_with_no_other_key_of_it",
        "",
        |tokens| {
            let token = made(tokens, "object=kek;id=%01");
            made(tokens, "object=other");
            wait(async {
                let shelf = Shelf::backend();
                let keyring = shelf.create(&token).await.unwrap();
                keyring.create_account("1").await.unwrap();
                let second = keyring.add_slot("spare", &raw(1)).await.unwrap();
                drop(keyring);

                // The PIN from a file.
                let pin = tokens.folder.join("pin");
                for content in [PIN.to_owned(), format!("{PIN}\n"), format!("{PIN}\r\n")] {
                    private_file(&pin, &content);
                    let uri = tokens.uri("object=kek;id=%01");
                    let from_file =
                        Pkcs11::from_uri(&format!("{uri}&pin-source=file:{}", pin.display()));
                    let keyring = shelf.open(&from_file.unwrap()).await.unwrap();
                    assert_eq!(keyring.accounts().await.unwrap().len(), 1);
                }
                let other = provider(tokens, "object=other");
                assert!(matches!(
                    refused(shelf.open(&other).await),
                    SealError::ForeignRecipe
                ));

                // Another slot of the same key, then without the first, then without the token.
                let keyring = shelf.open(&raw(1)).await.unwrap();
                let third = keyring.add_slot("again", &token).await.unwrap();
                keyring.remove_slot(1).await.unwrap();
                drop(keyring);
                let keyring = shelf.open(&token).await.unwrap();
                let opened: Vec<_> = keyring.slots().await.unwrap();
                assert!(
                    opened
                        .iter()
                        .any(|slot| slot.slot == third && slot.opened && slot.kind == "pkcs11")
                );
                keyring.remove_slot(third).await.unwrap();
                drop(keyring);
                assert!(shelf.open(&token).await.is_err());
                let keyring = shelf.open(&raw(1)).await.unwrap();
                assert_eq!(keyring.slots().await.unwrap()[0].slot, second);
            });
        },
    );
}

#[test]
fn a_recipe_that_was_moved_or_altered_does_not_open() {
    alone(
        "a_recipe_that_was_moved_or_altered_does_not_open",
        "",
        |tokens| {
            let token = made(tokens, "object=kek");
            let home = context();
            let (new, recipe) = slot(&token, &home);
            assert_eq!(recipe.material["wrap"], "aes-gcm");
            assert_eq!(
                open(&token, &home, &recipe),
                Ok(*new.secret.expose_secret())
            );

            let mut moved = home;
            moved.slot += 1;
            assert_eq!(open(&token, &moved, &recipe), Err(Kind::Corrupt));
            for byte in 0..16 {
                let mut moved = home;
                moved.keyring_id[byte] ^= 1;
                assert_eq!(open(&token, &moved, &recipe), Err(Kind::Corrupt));
            }
            let blob = data_encoding::BASE64
                .decode(recipe.material["blob"].as_bytes())
                .unwrap();
            for bit in 0..blob.len() * 8 {
                let mut other = blob.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                let recipe = with(&recipe, "blob", &data_encoding::BASE64.encode(&other));
                assert_eq!(
                    open(&token, &home, &recipe),
                    Err(Kind::Corrupt),
                    "bit {bit}"
                );
            }
            for len in (0..blob.len()).chain([61, 90, 4096]) {
                let mut other = blob.clone();
                other.resize(len, 0);
                let recipe = with(&recipe, "blob", &data_encoding::BASE64.encode(&other));
                assert_eq!(
                    open(&token, &home, &recipe),
                    Err(Kind::Corrupt),
                    "{len} bytes"
                );
            }
            for (field, value) in [
                ("blob", "!"),
                ("blob", ""),
                ("wrap", "aes-cbc"),
                ("wrap", ""),
                ("wrap", "AES-GCM"),
                ("wrap", "aes-key-wrap"),
                ("key-id", "x"),
                ("key-id", &"00".repeat(65)),
            ] {
                assert_eq!(
                    open(&token, &home, &with(&recipe, field, value)),
                    Err(Kind::Corrupt),
                    "{field} {value}"
                );
            }
            for field in ["blob", "wrap"] {
                let mut recipe = recipe.clone();
                recipe.material.remove(field);
                assert_eq!(
                    open(&token, &home, &recipe),
                    Err(Kind::Corrupt),
                    "no {field}"
                );
            }
            // The id is a hint, no more.
            for id in ["", "00"] {
                assert!(open(&token, &home, &with(&recipe, "key-id", id)).is_ok());
            }
        },
    );
}

#[test]
fn a_keyring_does_not_open_with_the_recipe_of_another_of_its_slots() {
    alone(
        "a_keyring_does_not_open_with_the_recipe_of_another_of_its_slots",
        "",
        |tokens| {
            let token = made(tokens, "object=kek");
            wait(async {
                let shelf = Shelf::backend();
                let keyring = shelf.create(&token).await.unwrap();
                keyring.add_slot("second", &token).await.unwrap();
                drop(keyring);
                drop(shelf.open(&token).await.unwrap());
                shelf
                    .edit("keyring", |body| {
                        let slots = body["slots"].as_array_mut().unwrap();
                        let [one, two] = [0, 1].map(|slot| slots[slot]["recipe"].take());
                        slots[0]["recipe"] = two;
                        slots[1]["recipe"] = one;
                    })
                    .await;
                let error = refused(shelf.open(&token).await);
                assert!(
                    matches!(&error, SealError::Provider(error) if error.kind() == Kind::Corrupt),
                    "{error:?}"
                );
            });
        },
    );
}

/// SoftHSM 2.6 takes the first name after the minus as a part of it.
const NO_GCM: &str = "slots.mechanisms = -,CKM_AES_GCM";
const ONLY_PAD: &str = "slots.mechanisms = -,CKM_AES_GCM,CKM_AES_KEY_WRAP";
const NOTHING: &str = "slots.mechanisms = -,CKM_AES_GCM,CKM_AES_KEY_WRAP,CKM_AES_KEY_WRAP_PAD";

fn key_wraps(tokens: &Tokens, name: &str) {
    let token = made(tokens, "object=kek");
    let home = context();
    let (new, recipe) = slot(&token, &home);
    assert_eq!(recipe.material["wrap"], name);
    assert_eq!(
        open(&token, &home, &recipe),
        Ok(*new.secret.expose_secret())
    );
    let blob = data_encoding::BASE64
        .decode(recipe.material["blob"].as_bytes())
        .unwrap();
    assert_eq!(blob.len(), 40);
    for bit in 0..blob.len() * 8 {
        let mut other = blob.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        let recipe = with(&recipe, "blob", &data_encoding::BASE64.encode(&other));
        assert_eq!(
            open(&token, &home, &recipe),
            Err(Kind::Corrupt),
            "bit {bit}"
        );
    }
    // The token can't bind a context here: the keyring does.
    wait(async {
        let shelf = Shelf::backend();
        let keyring = shelf.create(&token).await.unwrap();
        keyring.add_slot("second", &token).await.unwrap();
        drop(keyring);
        drop(shelf.open(&token).await.unwrap());
        shelf
            .edit("keyring", |body| {
                let slots = body["slots"].as_array_mut().unwrap();
                let [one, two] = [0, 1].map(|slot| slots[slot]["recipe"].take());
                slots[0]["recipe"] = two;
                slots[1]["recipe"] = one;
            })
            .await;
        assert!(matches!(
            refused(shelf.open(&token).await),
            SealError::WrongKey
        ));
    });
    // No secret stays behind in the token.
    let (_, session) = elsewhere(TOKEN);
    assert_eq!(session.find_objects(&[]).unwrap().len(), 1);
}

#[test]
fn a_token_without_gcm_wraps_keys() {
    alone("a_token_without_gcm_wraps_keys", NO_GCM, |tokens| {
        key_wraps(tokens, "aes-key-wrap")
    });
}

#[test]
fn a_token_with_padded_key_wrap_alone_uses_that() {
    alone(
        "a_token_with_padded_key_wrap_alone_uses_that",
        ONLY_PAD,
        |tokens| {
            key_wraps(tokens, "aes-key-wrap-pad");
        },
    );
}

#[test]
fn a_way_of_wrapping_is_never_replaced_by_another() {
    let test = "a_way_of_wrapping_is_never_replaced_by_another";
    alone(test, "", |tokens| {
        let token = provider(tokens, "object=kek");
        let kept = tokens.folder.join("recipe");
        if !tokens.is_first() {
            // The same token without GCM: what was wrapped with it does not open, and its key is not used in another way.
            let (home, recipe): ([u8; 16], Recipe) =
                serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
            let mut context = context();
            context.keyring_id = home;
            context.slot = 1;
            assert_eq!(open(&token, &context, &recipe), Err(Kind::BadRequest));
            assert_eq!(kind(wait(token.generate(&context))), Kind::BadRequest);
            assert_eq!(kind(wait(token.probe())), Kind::BadRequest);
            let new = provider(tokens, "object=new");
            assert_eq!(wait(new.make_key()).is_ok(), tokens.job != ["nothing"]);
            return;
        }
        wait(token.make_key()).unwrap();
        let mut home = context();
        home.slot = 1;
        let (_, recipe) = slot(&token, &home);
        std::fs::write(
            &kept,
            serde_json::to_vec(&(home.keyring_id, &recipe)).unwrap(),
        )
        .unwrap();

        // The token offers GCM, and the key may only wrap: refused, unless that is what was meant.
        let (_, session) = elsewhere(TOKEN);
        let uses = [
            Attribute::Encrypt(false),
            Attribute::Decrypt(false),
            Attribute::Wrap(true),
            Attribute::Unwrap(true),
        ];
        odd_key(&session, "wraps", 9, 32, &uses);
        let wraps = || provider(tokens, "object=wraps");
        assert_eq!(kind(wait(wraps().generate(&home))), Kind::BadRequest);
        assert_eq!(kind(wait(wraps().probe())), Kind::BadRequest);
        for way in [Pkcs11Wrap::AesKeyWrap, Pkcs11Wrap::AesKeyWrapPad] {
            let wraps = wraps().wrap(way);
            let (new, recipe) = slot(&wraps, &home);
            assert_eq!(
                open(&wraps, &home, &recipe),
                Ok(*new.secret.expose_secret())
            );
            // And who named another way does not get this one.
            let named = provider(tokens, "object=wraps").wrap(Pkcs11Wrap::AesGcm);
            assert_eq!(open(&named, &home, &recipe), Err(Kind::BadRequest));
        }
        drop(session);
        for (settings, job) in [(NO_GCM, "no gcm"), (NOTHING, "nothing")] {
            softhsm::configure(&tokens.folder, settings);
            tokens.again(test, job);
        }
    });
}

#[test]
fn a_key_that_could_leave_the_token_is_refused() {
    alone(
        "a_key_that_could_leave_the_token_is_refused",
        "",
        |tokens| {
            let (_, session) = elsewhere(TOKEN);
            let home = context();
            let good = made(tokens, "object=good");
            let (_, recipe) = slot(&good, &home);
            let odd: [(&str, u64, &[Attribute]); 4] = [
                ("extractable", 32, &[Attribute::Extractable(true)]),
                ("shown", 32, &[Attribute::Sensitive(false)]),
                ("short", 16, &[]),
                ("weak", 24, &[]),
            ];
            for (id, (label, len, attributes)) in odd.into_iter().enumerate() {
                odd_key(&session, label, id as u8, len, attributes);
                let token = provider(tokens, &format!("object={label}"));
                assert_eq!(
                    kind(wait(token.generate(&home))),
                    Kind::BadRequest,
                    "{label}"
                );
                assert_eq!(kind(wait(token.probe())), Kind::BadRequest, "{label}");
                assert_eq!(
                    open(&token, &home, &recipe),
                    Err(Kind::BadRequest),
                    "{label}"
                );
            }
            let generic = [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::GENERIC_SECRET),
                Attribute::Token(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Label("generic".into()),
                Attribute::Value(vec![7; 32]),
            ];
            session.create_object(&generic).unwrap();
            let token = provider(tokens, "object=generic");
            assert_eq!(kind(wait(token.generate(&home))), Kind::BadRequest);

            // Ours, as it is in the token.
            let key = find(&session, "good")[0];
            use cryptoki::object::AttributeType as Type;
            let asked = [
                Type::Token,
                Type::Private,
                Type::Modifiable,
                Type::Sensitive,
                Type::AlwaysSensitive,
                Type::Extractable,
                Type::NeverExtractable,
                Type::Local,
                Type::Encrypt,
                Type::Decrypt,
                Type::Wrap,
                Type::Unwrap,
                Type::Sign,
                Type::Verify,
                Type::Derive,
                Type::ValueLen,
                Type::KeyType,
            ];
            let found = session.get_attributes(key, &asked).unwrap();
            let expected = [
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Modifiable(false),
                Attribute::Sensitive(true),
                Attribute::AlwaysSensitive(true),
                Attribute::Extractable(false),
                Attribute::NeverExtractable(true),
                Attribute::Local(true),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::Wrap(false),
                Attribute::Unwrap(false),
                Attribute::Sign(false),
                Attribute::Verify(false),
                Attribute::Derive(false),
                Attribute::ValueLen(32.into()),
                Attribute::KeyType(KeyType::AES),
            ];
            assert_eq!(found, expected);
            assert!(
                session
                    .get_attributes(key, &[Type::Value])
                    .unwrap()
                    .is_empty()
            );
            // And it is not made twice.
            assert_eq!(kind(wait(good.make_key())), Kind::BadRequest);
            assert_eq!(find(&session, "good").len(), 1);
        },
    );
}

#[test]
fn a_key_that_opensc_made_as_documented_is_good() {
    let test = "a_key_that_opensc_made_as_documented_is_good";
    alone(test, "", |tokens| {
        // The command of docs/providers.md, with the names of this test.
        for (label, sensitive) in [("documented", true), ("shown", false)] {
            let mut command = std::process::Command::new("pkcs11-tool");
            command.arg("--module").arg(softhsm::module());
            command.args(["--token-label", TOKEN, "--login", "--pin", PIN]);
            command.args(["--keygen", "--key-type", "AES:32", "--label", label]);
            command.args(["--id", "01", "--usage-decrypt"]);
            if sensitive {
                command.arg("--sensitive");
            }
            let done = command.output().expect("run scripts/services");
            assert!(done.status.success(), "{done:?}");
        }
        wait(provider(tokens, "object=documented;id=%01").probe()).unwrap();
        let shown = provider(tokens, "object=shown;id=%01");
        assert_eq!(kind(wait(shown.probe())), Kind::BadRequest);
    });
}

#[test]
fn every_error_has_its_kind() {
    let test = "every_error_has_its_kind";
    alone(test, "", |tokens| {
        if !tokens.is_first() {
            wait(provider(tokens, "object=kek").probe()).unwrap();
            return;
        }
        softhsm::init(&tokens.folder, "twin", Some(PIN));
        softhsm::init(&tokens.folder, "twin", Some(PIN));
        let at = |uri: String| Pkcs11::from_uri(&uri).unwrap().pin(PIN);
        let module = softhsm::module();
        let by = |module: &str, key: &str| at(tokens.uri_by(Path::new(module), key));
        let token = |label: &str| {
            at(format!(
                "pkcs11:token={label};object=k?module-path={}",
                module.display()
            ))
        };
        let wrong = |pin: &str| {
            Pkcs11::from_uri(&tokens.uri("object=kek"))
                .unwrap()
                .pin(pin.to_owned())
        };
        let no_pin = Pkcs11::from_uri(&tokens.uri("object=kek")).unwrap();
        let open_file = tokens.folder.join("open-pin");
        std::fs::write(&open_file, PIN).unwrap();
        let empty_file = tokens.folder.join("empty-pin");
        private_file(&empty_file, "\n");
        let from = |path: PathBuf| {
            Pkcs11::from_uri(&format!(
                "{}&pin-source=file:{}",
                tokens.uri("object=kek"),
                path.display()
            ))
            .unwrap()
        };
        let libc = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib/aarch64-linux-gnu/libc.so.6",
            "/lib64/libc.so.6",
        ]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap();

        // Before anybody is logged in: a login is the process's.
        let before: Vec<(&str, Pkcs11, Kind)> = vec![
            (
                "no such library",
                by("/none.so", "object=k"),
                Kind::BadRequest,
            ),
            (
                "a library that is none of a token",
                by(libc, "object=k"),
                Kind::BadRequest,
            ),
            ("no such token", token("none"), Kind::Unavailable),
            ("two tokens of the name", token("twin"), Kind::BadRequest),
            ("no PIN", no_pin, Kind::NeedsInteraction),
            (
                "no PIN file",
                from(tokens.folder.join("none")),
                Kind::Unavailable,
            ),
            (
                "a PIN file that others can read",
                from(open_file),
                Kind::BadRequest,
            ),
            ("an empty PIN file", from(empty_file), Kind::BadRequest),
            (
                "a PIN that is too long",
                wrong(&"1".repeat(256)),
                Kind::BadRequest,
            ),
            ("a wrong PIN", wrong("1234"), Kind::Denied),
            ("a wrong PIN that is too short", wrong("1"), Kind::Denied),
            (
                "no such key",
                by(module.to_str().unwrap(), "object=none"),
                Kind::Destroyed,
            ),
            (
                "no such id",
                by(module.to_str().unwrap(), "id=%7f"),
                Kind::Destroyed,
            ),
        ];
        let home = context();
        for (what, provider, expected) in &before {
            for error in [
                wait(provider.generate(&home)).err().unwrap(),
                wait(provider.probe()).unwrap_err(),
            ] {
                assert_eq!(error.kind(), *expected, "{what}: {error}");
                let mut shown = format!("{error:?} {error}");
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    shown += &format!("{cause} {cause:?}");
                    source = cause.source();
                }
                for secret in [PIN, TOKEN, "kek", "1234", tokens.folder.to_str().unwrap()] {
                    assert!(!shown.contains(secret), "{what}: {shown}");
                }
            }
        }

        let kek = made(tokens, "object=kek;id=%01");
        let (_, recipe) = slot(&kek, &home);
        let (module, session) = elsewhere(TOKEN);
        // An owner takes the right to decrypt, and gives it back.
        odd_key(&session, "switched", 5, 32, &[]);
        let switched = provider(tokens, "object=switched");
        let (_, its) = slot(&switched, &home);
        let handle = find(&session, "switched")[0];
        session
            .update_attributes(handle, &[Attribute::Decrypt(false)])
            .unwrap();
        assert_eq!(open(&switched, &home, &its), Err(Kind::Disabled));
        session
            .update_attributes(handle, &[Attribute::Decrypt(true)])
            .unwrap();
        assert!(open(&switched, &home, &its).is_ok());
        // A second key of the name.
        odd_key(&session, "switched", 6, 32, &[]);
        assert_eq!(open(&switched, &home, &its), Err(Kind::BadRequest));
        // Another key under the name: not the one of the slot.
        session.destroy_object(handle).unwrap();
        assert_eq!(open(&switched, &home, &its), Err(Kind::WrongKey));
        for handle in find(&session, "switched") {
            session.destroy_object(handle).unwrap();
        }
        assert_eq!(open(&switched, &home, &its), Err(Kind::Destroyed));
        // Another key with the same id as well: it can't be told from damage.
        session.destroy_object(find(&session, "kek")[0]).unwrap();
        odd_key(&session, "kek", 1, 32, &[]);
        assert_eq!(open(&kek, &home, &recipe), Err(Kind::Corrupt));

        // The security officer is at it in this process.
        session.logout().unwrap();
        session
            .login(UserType::So, Some(&softhsm::SO_PIN.into()))
            .unwrap();
        assert_eq!(open(&kek, &home, &recipe), Err(Kind::Unavailable));
        session.logout().unwrap();
        assert_eq!(open(&kek, &home, &recipe), Err(Kind::Corrupt));
        drop((module, session));

        // The token is taken away.
        std::fs::rename(tokens.folder.join("tokens"), tokens.folder.join("away")).unwrap();
        assert_eq!(open(&kek, &home, &recipe), Err(Kind::Unavailable));
        std::fs::rename(tokens.folder.join("away"), tokens.folder.join("tokens")).unwrap();
        // SoftHSM believes that it is back in another process only.
        assert_eq!(open(&kek, &home, &recipe), Err(Kind::Unavailable));
        tokens.again(test, "back");
    });
}

#[test]
fn a_token_whose_user_has_no_pin_asks_for_one() {
    let test = "a_token_whose_user_has_no_pin_asks_for_one";
    alone(test, "", |tokens| {
        if tokens.is_first() {
            softhsm::init(&tokens.folder, "fresh", None);
            return tokens.again(test, "second");
        }
        let uri = tokens.uri("object=k").replace("canary%20token", "fresh");
        let fresh = Pkcs11::from_uri(&uri).unwrap().pin(PIN);
        assert_eq!(kind(wait(fresh.probe())), Kind::NeedsInteraction);
    });
}

#[test]
fn an_unlock_costs_one_use_of_the_key_and_a_wrong_pin_one_try() {
    alone(
        "an_unlock_costs_one_use_of_the_key_and_a_wrong_pin_one_try",
        "",
        |tokens| {
            let uri = tokens.uri_by(&softhsm::spy(), "object=kek");
            let token = Pkcs11::from_uri(&uri).unwrap().pin(PIN);
            wait(token.make_key()).unwrap();
            let shelf = Shelf::backend();
            drop(wait(shelf.create(&token)).unwrap());
            let count =
                |calls: &[String], name: &str| calls.iter().filter(|call| *call == name).count();
            tokens.calls();

            drop(wait(shelf.open(&token)).unwrap());
            let calls = tokens.calls();
            for (name, times) in [
                ("C_DecryptInit", 1),
                // The crate asks for the length first.
                ("C_Decrypt", 2),
                ("C_Login", 1),
                ("C_OpenSession", 1),
                ("C_CloseSession", 1),
                ("C_Logout", 0),
                ("C_Finalize", 0),
                ("C_EncryptInit", 0),
                ("C_UnwrapKey", 0),
            ] {
                assert_eq!(count(&calls, name), times, "{name}: {calls:?}");
            }

            // Three slots are tried with it, and it is tried again; also from many threads at once.
            let keyring = wait(shelf.open(&token)).unwrap();
            wait(keyring.add_slot("second", &token)).unwrap();
            wait(keyring.add_slot("third", &token)).unwrap();
            drop(keyring);
            tokens.calls();
            let wrong = Arc::new(Pkcs11::from_uri(&uri).unwrap().pin("1234"));
            let error = refused(wait(shelf.open(&*wrong)));
            assert!(matches!(&error, SealError::Provider(error) if error.kind() == Kind::Denied));
            let threads: Vec<_> = (0..8)
                .map(|_| Arc::clone(&wrong))
                .map(|wrong| std::thread::spawn(move || kind(wait(wrong.probe()))))
                .collect();
            for thread in threads {
                assert_eq!(thread.join().unwrap(), Kind::Denied);
            }
            let patient = Patient::new(Pkcs11::from_uri(&uri).unwrap().pin("1235"));
            assert_eq!(kind(wait(patient.probe())), Kind::Denied);
            assert_eq!(count(&tokens.calls(), "C_Login"), 2);

            // A file that holds another PIN now is a new try.
            let pin = tokens.folder.join("pin");
            private_file(&pin, "1236");
            let from_file =
                Pkcs11::from_uri(&format!("{uri}&pin-source=file:{}", pin.display())).unwrap();
            assert_eq!(kind(wait(from_file.probe())), Kind::Denied);
            private_file(&pin, PIN);
            wait(from_file.probe()).unwrap();
        },
    );
}

#[test]
fn many_threads_and_dropped_futures_do_not_disturb_each_other() {
    alone(
        "many_threads_and_dropped_futures_do_not_disturb_each_other",
        "",
        |tokens| {
            let token = Arc::new(made(tokens, "object=kek"));
            let home = context();
            let threads: Vec<_> = (0..12)
                .map(|number| {
                    let own = Arc::new(provider(tokens, "object=kek"));
                    let token = if number % 2 == 0 {
                        Arc::clone(&token)
                    } else {
                        own
                    };
                    std::thread::spawn(move || {
                        for _ in 0..12 {
                            let (new, recipe) = slot(&token, &home);
                            // Asked once and dropped at its first wait: the work goes on by itself.
                            let runtime = tokio::runtime::Builder::new_current_thread()
                                .build()
                                .unwrap();
                            runtime.block_on(async {
                                let mut dropped = token.unwrap_secret(&home, &recipe);
                                std::future::poll_fn(|context| {
                                    let _ = dropped.as_mut().poll(context);
                                    std::task::Poll::Ready(())
                                })
                                .await;
                            });
                            assert_eq!(
                                open(&*token, &home, &recipe),
                                Ok(*new.secret.expose_secret())
                            );
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
        },
    );
}

#[test]
fn who_is_logged_in_already_stays_logged_in() {
    alone("who_is_logged_in_already_stays_logged_in", "", |tokens| {
        let (_module, session) = elsewhere(TOKEN);
        let token = made(tokens, "object=kek");
        let home = context();
        let (new, recipe) = slot(&token, &home);
        // Nor is a PIN needed then.
        let no_pin = Pkcs11::from_uri(&tokens.uri("object=kek")).unwrap();
        for provider in [&token, &no_pin] {
            assert_eq!(
                open(provider, &home, &recipe),
                Ok(*new.secret.expose_secret())
            );
        }
        assert_eq!(
            session.get_session_info().unwrap().session_state(),
            SessionState::RwUser
        );
        drop(session);
        // The last session of the process took the login with it.
        assert_eq!(open(&no_pin, &home, &recipe), Err(Kind::NeedsInteraction));
        assert_eq!(
            open(&token, &home, &recipe),
            Ok(*new.secret.expose_secret())
        );
    });
}

/// Keeps all files of the tokens for itself, as another process may.
const HOLD: &str = "
import fcntl, glob, sys, time
held = [open(path, 'r+b') for path in glob.glob(sys.argv[1] + '/tokens/*/*')]
for file in held: fcntl.lockf(file, fcntl.LOCK_EX)
open(sys.argv[2] + '/held', 'w')
time.sleep(600)
";

#[test]
fn a_token_that_hangs_holds_nobody_up_and_comes_back() {
    alone(
        "a_token_that_hangs_holds_nobody_up_and_comes_back",
        "",
        |tokens| {
            let token = made(tokens, "object=kek");
            let home = context();
            let (new, recipe) = slot(&token, &home);
            let folder = tokens.folder.clone();
            let mut holder = services::Service::start(|own| {
                let mut command = std::process::Command::new("python3");
                command.arg("-c").arg(HOLD).arg(folder).arg(own);
                command
            });
            let mark = holder.folder.path().join("held");
            holder.wait_until(|| mark.exists());

            let patience = Patience::new().call(Duration::from_millis(300)).tries(2);
            let patient = Patient::new(token).patience(patience);
            let begun = Instant::now();
            let error = wait(patient.unwrap_secret(&home, &recipe)).err().unwrap();
            assert_eq!(error.kind(), Kind::Unavailable);
            // It did hang: the token said nothing.
            assert!(
                error.to_string().contains("did not answer in time"),
                "{error}"
            );
            assert!(begun.elapsed() < Duration::from_secs(20));
            holder.stop();
            let patience = Patience::new().total(Duration::from_secs(60));
            let patient = Patient::new(provider(tokens, "object=kek")).patience(patience);
            assert_eq!(
                open(&patient, &home, &recipe),
                Ok(*new.secret.expose_secret())
            );
        },
    );
}

#[test]
fn a_reference_names_the_key_and_nothing_of_this_machine() {
    let uri = "pkcs11:token=t;serial=1;object=k;id=%0a?module-path=/m.so&pin-source=file:/p";
    let provider = Pkcs11::from_uri(uri).unwrap();
    let expected = [
        ("id", "0a"),
        ("object", "k"),
        ("serial", "1"),
        ("token", "t"),
    ];
    let expected: Fields = expected
        .map(|(name, value)| (name.into(), value.into()))
        .into();
    assert_eq!(provider.reference(), expected);
    assert_eq!(provider.kind(), "pkcs11");
}

/// What every provider must do: see `sealed_store::testing::provider`.
#[test]
fn it_is_a_provider_as_every_other() {
    alone("it_is_a_provider_as_every_other", "", |tokens| {
        for key in ["object=k", "object=another"] {
            made(tokens, key);
        }
        let by = |uri: String| {
            move || {
                let provider = Pkcs11::from_uri(&uri).unwrap().pin(PIN);
                async { provider }
            }
        };
        let made = |key: &str| by(tokens.uri(key));
        let module = softhsm::module();
        let pulled = format!(
            "pkcs11:token=pulled;object=k?module-path={}",
            module.display()
        );
        // A wrong PIN is not seen here: the working instances have logged this process in.
        let suite = Conformance::new(made("object=k"), made("object=another"))
            .fails(Kind::Unavailable, by(pulled))
            .fails(Kind::Destroyed, made("object=none"))
            .notes(&["key-id"])
            .at_most(16);
        wait(suite.run_all());
    });
}
