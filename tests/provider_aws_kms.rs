//! A slot by AWS KMS opens with the key that it names, for the slot that it was made for, and with nothing else; and whatever
//! KMS and the way to it do, the error says what to do next, in bounded time. moto and LocalStack stand for KMS. Neither
//! throttles and neither fails inside: for these a recorded answer is given, and the test says so.
#![cfg(feature = "aws-kms")]

#[path = "aws_kms/front.rs"]
mod front;
#[path = "common/services.rs"]
mod services;
mod support;
#[path = "aws_kms/world.rs"]
mod world;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use data_encoding::BASE64;
use front::Mode;
use sealed_store::testing::provider::Conformance;
use sealed_store::{
    AwsKms, KeyProvider, NewSlot, Patience, Patient, Probe, ProviderError, ProviderErrorKind,
    Recipe, SealError, SlotContext,
};
use secrecy::{ExposeSecret, SecretBox};
use serde_json::json;
use support::{Shelf, raw, refused};
use world::{Cloud, alone, alone_with, aws_file, credentials, provider};

use ProviderErrorKind::{
    BadRequest, ContextMismatch, Denied, Destroyed, Disabled, Throttled, Unavailable, WrongKey,
};

/// Keeps the contexts that a keyring gives.
#[derive(Default)]
struct Catch(Mutex<Vec<SlotContext>>);

#[async_trait]
impl KeyProvider for Catch {
    fn kind(&self) -> &str {
        "catch"
    }

    async fn generate(&self, context: &SlotContext) -> Result<NewSlot, ProviderError> {
        self.0.lock().unwrap().push(*context);
        raw(1).generate(context).await
    }

    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        raw(1).unwrap_secret(context, recipe).await
    }

    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::ready())
    }
}

/// A slot's context can't be made outside the library, so it is caught where a keyring gives one.
struct Contexts;

impl Contexts {
    /// Those of slot 1 and slot 2 of a new keyring.
    async fn pair() -> (SlotContext, SlotContext) {
        let shelf = Shelf::backend();
        let catch = Catch::default();
        let keyring = shelf.create(&catch).await.unwrap();
        keyring.add_slot("second", &catch).await.unwrap();
        let caught = catch.0.lock().unwrap();
        (caught[0], caught[1])
    }
}

/// A recipe as a keyring would store it, and its secret.
async fn made(provider: &AwsKms, context: &SlotContext) -> (Recipe, SecretBox<[u8; 32]>) {
    let new = provider.generate(context).await.unwrap();
    let recipe = Recipe {
        reference: provider.reference(),
        material: new.material,
    };
    (recipe, new.secret)
}

fn kind<T>(result: Result<T, ProviderError>) -> Option<ProviderErrorKind> {
    result.err().map(|error| error.kind())
}

fn provider_kind(error: SealError) -> ProviderErrorKind {
    match error {
        SealError::Provider(error) => error.kind(),
        other => panic!("{other:?}"),
    }
}

/// On an executor that is not tokio's.
fn wait<T>(future: impl Future<Output = T>) -> T {
    futures_executor::block_on(future)
}

#[test]
fn a_keyring_opens_through_it_with_one_call_on_any_executor() {
    alone(
        "a_keyring_opens_through_it_with_one_call_on_any_executor",
        || {
            let cloud = Cloud::moto();
            let front = cloud.front();
            let kms = provider(&cloud.key(), &front.endpoint());
            wait(round_trip(&front, &kms));
            // tokio's smallest runtime, with no driver for sockets or time, and its largest.
            let small = tokio::runtime::Builder::new_current_thread().build();
            small.unwrap().block_on(round_trip(&front, &kms));
            let large = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build();
            large.unwrap().block_on(round_trip(&front, &kms));
        },
    );
}

async fn round_trip(front: &front::Front, kms: &AwsKms) {
    for shelf in Shelf::both() {
        let keyring = shelf.create(kms).await.unwrap();
        // The keyring opens each slot that it makes.
        assert_eq!(front.calls(), ["GenerateDataKey", "Decrypt"]);
        keyring.create_account("1").await.unwrap();
        drop(keyring);

        let keyring = shelf.open(kms).await.unwrap();
        assert_eq!(front.calls(), ["Decrypt"], "an opening is one call");
        keyring.account("1").await.unwrap();
        assert_eq!(keyring.slots().await.unwrap()[0].kind, "aws-kms");
        keyring.add_slot("raw", &raw(2)).await.unwrap();
        let second = keyring.add_slot("again", kms).await.unwrap();
        // The keyring opens each slot that it makes.
        assert_eq!(front.calls(), ["GenerateDataKey", "Decrypt"]);
        keyring.remove_slot(1).await.unwrap();
        keyring.remove_slot(second).await.unwrap();
        assert!(front.calls().is_empty());
        drop(keyring);

        refused(shelf.open(kms).await);
        assert!(front.calls().is_empty(), "there is no slot to ask for");
        shelf.open(&raw(2)).await.unwrap();
        assert!(kms.probe().await.unwrap().round_trip.is_some());
        assert_eq!(front.calls(), ["DescribeKey"]);
    }
}

#[test]
fn a_recipe_opens_in_its_own_slot_and_keyring_only() {
    alone("a_recipe_opens_in_its_own_slot_and_keyring_only", || {
        let cloud = Cloud::moto();
        let kms = cloud.provider(&cloud.key());
        let other = cloud.provider(&cloud.key());
        wait(async {
            let (first, second) = Contexts::pair().await;
            let (elsewhere, _) = Contexts::pair().await;
            let (recipe, secret) = made(&kms, &first).await;
            let opened = kms.unwrap_secret(&first, &recipe).await.unwrap();
            assert_eq!(opened.expose_secret(), secret.expose_secret());
            for context in [second, elsewhere] {
                let error = kind(kms.unwrap_secret(&context, &recipe).await);
                assert_eq!(error, Some(ContextMismatch));
            }
            let error = kind(other.unwrap_secret(&first, &recipe).await);
            // moto denies it; LocalStack and AWS say that it is of another key, see below.
            assert_eq!(error, Some(Denied));

            // The same by way of the documents.
            let shelf = Shelf::sqlite();
            let keyring = shelf.create(&kms).await.unwrap();
            keyring.add_slot("second", &kms).await.unwrap();
            drop(keyring);
            shelf
                .edit("keyring", |body| {
                    let slots = body["slots"].as_array_mut().unwrap();
                    let moved = slots[0]["recipe"].clone();
                    slots[1]["recipe"] = moved;
                    slots.remove(0);
                })
                .await;
            let error = refused(shelf.open(&kms).await);
            assert_eq!(provider_kind(error), ContextMismatch);
            let error = refused(shelf.open(&other).await);
            assert!(matches!(error, SealError::ForeignRecipe), "{error:?}");
        });
    });
}

#[test]
fn no_altered_recipe_opens() {
    alone("no_altered_recipe_opens", || {
        let cloud = Cloud::moto();
        let kms = cloud.provider(&cloud.key());
        let bits = match std::env::var_os("SEALED_STORE_LONG") {
            Some(_) => 0..8,
            None => 3..4,
        };
        wait(async {
            let (context, _) = Contexts::pair().await;
            let (recipe, _) = made(&kms, &context).await;
            let blob = BASE64
                .decode(recipe.material["ciphertext"].as_bytes())
                .unwrap();
            let with = |bytes: &[u8]| {
                let mut altered = recipe.clone();
                let text = BASE64.encode(bytes);
                altered.material.insert("ciphertext".into(), text);
                altered
            };
            for byte in 0..blob.len() {
                for bit in bits.clone() {
                    let mut bytes = blob.clone();
                    bytes[byte] ^= 1 << bit;
                    let error = kind(kms.unwrap_secret(&context, &with(&bytes)).await);
                    // moto's blob begins with the key's id, and it denies one that it does not know, if it is text.
                    let names_a_key = byte < 36 && bit < 7;
                    let expected = if names_a_key { Denied } else { ContextMismatch };
                    assert_eq!(error, Some(expected), "byte {byte}, bit {bit}");
                }
            }
            for bytes in [&blob[..blob.len() - 1], &blob[..1], &[0; 6_144]] {
                let error = kind(kms.unwrap_secret(&context, &with(bytes)).await);
                assert!(
                    matches!(error, Some(ContextMismatch | Denied)),
                    "{error:?} of {} bytes",
                    bytes.len()
                );
            }
        });
    });
}

#[test]
fn rewrap_keeps_the_secret_and_its_place_and_does_not_show_it() {
    alone(
        "rewrap_keeps_the_secret_and_its_place_and_does_not_show_it",
        || {
            let cloud = Cloud::moto();
            let front = cloud.front();
            let old = provider(&cloud.key(), &front.endpoint());
            let new = provider(&cloud.key(), &front.endpoint());
            wait(async {
                let (context, other) = Contexts::pair().await;
                let (recipe, secret) = made(&old, &context).await;
                front.calls();
                for to in [&old, &new] {
                    let reference = to.reference();
                    let material = old.rewrap(&context, &recipe, &reference).await.unwrap();
                    let moved = Recipe {
                        reference,
                        material,
                    };
                    assert_eq!(front.calls(), ["ReEncrypt"]);
                    assert_ne!(moved.material, recipe.material);
                    let opened = to.unwrap_secret(&context, &moved).await.unwrap();
                    assert_eq!(opened.expose_secret(), secret.expose_secret());
                    let error = kind(to.unwrap_secret(&other, &moved).await);
                    assert_eq!(error, Some(ContextMismatch));
                    front.calls();
                }
                let error = kind(old.rewrap(&other, &recipe, &new.reference()).await);
                assert_eq!(error, Some(ContextMismatch));
                front.calls();
                let error = kind(new.rewrap(&context, &recipe, &old.reference()).await);
                assert_eq!(error, Some(WrongKey));
                let arn = old.reference()["key"].replace("eu-central-1", "eu-west-1");
                let far = provider(&arn, &front.endpoint());
                let error = kind(old.rewrap(&context, &recipe, &far.reference()).await);
                assert_eq!(error, Some(BadRequest));
                assert!(front.calls().is_empty(), "neither was sent");
            });
        },
    );
}

/// A policy of docs/providers.md, for the key of the test. moto compares the actions of a KMS call alone: it knows neither the
/// key nor the encryption context of it, so these parts of the policy are not proven here.
fn documented(name: &str) -> String {
    let document = include_str!("../docs/providers.md");
    let (_, section) = document.split_once("## AWS KMS").unwrap();
    let (_, from) = section.split_once(name).unwrap();
    let (_, json) = from.split_once("```json\n").unwrap();
    let (json, _) = json.split_once("```").unwrap();
    let example = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let mut policy: serde_json::Value = serde_json::from_str(json).unwrap();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        assert_eq!(statement["Resource"], example);
        statement["Resource"] = json!("*");
        if statement["Sid"] != "Probe" {
            let condition = statement.as_object_mut().unwrap().remove("Condition");
            let names = &condition.unwrap()["Null"];
            assert_eq!(names["kms:EncryptionContext:sealed-store-keyring"], "false");
            assert_eq!(names["kms:EncryptionContext:sealed-store-slot"], "false");
        }
    }
    policy.to_string()
}

/// A new user with this policy, whose credentials this process gets.
fn user(cloud: &Cloud, name: &str, policy: &str) -> (String, String) {
    cloud.iam("CreateUser", &[("UserName", name)]);
    let parameters = [
        ("UserName", name),
        ("PolicyName", "kms"),
        ("PolicyDocument", policy),
    ];
    cloud.iam("PutUserPolicy", &parameters);
    let made = cloud.iam("CreateAccessKey", &[("UserName", name)]);
    let field = |name: &str| {
        let (_, rest) = made.split_once(&format!("<{name}>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    (field("AccessKeyId"), field("SecretAccessKey"))
}

#[test]
fn the_documented_policies_name_the_actions_that_are_needed_and_no_others() {
    alone(
        "the_documented_policies_name_the_actions_that_are_needed_and_no_others",
        || {
            let cloud = Cloud::moto();
            let arn = cloud.key();
            let opener = user(&cloud, "opener", &documented("`opener.json`"));
            let admin = user(&cloud, "administrator", &documented("`slots.json`"));
            let kms = cloud.provider(&arn);
            wait(async {
                let (context, _) = Contexts::pair().await;
                let (recipe, _) = made(&kms, &context).await;
                cloud.check_rights(true);

                // The provider has used other credentials already: a denial makes it look for them again.
                credentials(&opener.0, &opener.1);
                assert_eq!(kind(kms.probe().await), Some(Denied));
                kms.unwrap_secret(&context, &recipe).await.unwrap();
                kms.probe().await.unwrap();
                assert_eq!(kind(kms.generate(&context).await), Some(Denied));
                let error = kind(kms.rewrap(&context, &recipe, &kms.reference()).await);
                assert_eq!(error, Some(Denied));

                credentials(&admin.0, &admin.1);
                kms.generate(&context).await.unwrap();
                kms.rewrap(&context, &recipe, &kms.reference())
                    .await
                    .unwrap();
                kms.unwrap_secret(&context, &recipe).await.unwrap();
                kms.probe().await.unwrap();
            });
        },
    );
}

#[test]
fn each_refusal_has_its_kind() {
    alone("each_refusal_has_its_kind", || {
        let cloud = Cloud::moto();
        let arn = cloud.key();
        let (id, secret) = user(&cloud, "somebody", &documented("`opener.json`"));
        let gone = arn.replace(arn.rsplit('/').next().unwrap(), &"0".repeat(8));
        let gone = format!("{gone}-0000-0000-0000-000000000000");
        let asymmetric = cloud.key_for("ENCRYPT_DECRYPT", "RSA_2048");
        let signing = cloud.key_for("SIGN_VERIFY", "ECC_NIST_P256");
        let disabled = cloud.key();
        let id_of = |arn: &str| arn.rsplit('/').next().unwrap().to_owned();
        cloud.kms("DisableKey", json!({ "KeyId": id_of(&disabled) }));
        let doomed = cloud.key();
        let deletion = json!({ "KeyId": id_of(&doomed), "PendingWindowInDays": 7 });
        cloud.kms("ScheduleKeyDeletion", deletion);
        wait(async {
            let (context, _) = Contexts::pair().await;
            let (recipe, _) = made(&cloud.provider(&arn), &context).await;

            for (arn, expected) in [
                (&gone, Destroyed),
                (&asymmetric, BadRequest),
                (&signing, BadRequest),
                // moto goes on decrypting with these two, so only what it says of them is looked at here.
                (&disabled, Disabled),
                (&doomed, Disabled),
            ] {
                let error = kind(cloud.provider(arn).probe().await);
                assert_eq!(error, Some(expected), "{arn}");
            }
            let error = kind(cloud.provider(&gone).generate(&context).await);
            assert_eq!(error, Some(Destroyed));
            let error = kind(cloud.provider(&gone).unwrap_secret(&context, &recipe).await);
            assert_eq!(error, Some(Destroyed));

            cloud.check_rights(true);
            for (case, id, secret) in [
                ("an unknown access key", "AKIAIOSFODNN7EXAMPLE", "x"),
                ("a signature by another secret", id.as_str(), "x"),
            ] {
                credentials(id, secret);
                let error = kind(cloud.provider(&arn).unwrap_secret(&context, &recipe).await);
                assert_eq!(error, Some(Denied), "{case}");
            }
            credentials(&id, &secret);
            let kms = cloud.provider(&arn);
            kms.unwrap_secret(&context, &recipe).await.unwrap();

            std::fs::remove_file(aws_file("credentials")).unwrap();
            let none = cloud.provider(&arn);
            let error = kind(none.unwrap_secret(&context, &recipe).await);
            assert_eq!(error, Some(Denied), "no credentials at all");

            let profile = |text: &str| std::fs::write(aws_file("config"), text).unwrap();
            let role = "role_arn = arn:aws:iam::111122223333:role/x";
            profile(&format!(
                "[default]\n{role}\nsource_profile = x\n[profile x]\n{role}\nsource_profile = default\n"
            ));
            let error = kind(none.unwrap_secret(&context, &recipe).await);
            assert_eq!(error, Some(BadRequest), "a circle of roles");

            // A role is taken on at STS, which stands behind the endpoint of the profile.
            let sts = cloud.front();
            let endpoint = sts.endpoint();
            credentials("test", "test");
            profile(&format!(
                "[default]\nendpoint_url = {endpoint}\n{role}\nsource_profile = default\n"
            ));
            for (status, code, expected) in [
                ("403 Forbidden", "AccessDenied", Denied),
                ("403 Forbidden", "ExpiredToken", Denied),
                (
                    "400 Bad Request",
                    "Throttling",
                    Throttled { retry_after: None },
                ),
                ("503 Service Unavailable", "ServiceUnavailable", Unavailable),
            ] {
                let body = format!(
                    "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>No</Message></Error></ErrorResponse>"
                );
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
                sts.set(Mode::Answer((head + &body).into_bytes()));
                let error = kind(cloud.provider(&arn).unwrap_secret(&context, &recipe).await);
                assert_eq!(error, Some(expected), "STS says {code}");
                assert_eq!(sts.calls(), ["AssumeRole"]);
            }
            sts.set(Mode::Cut);
            let error = kind(cloud.provider(&arn).unwrap_secret(&context, &recipe).await);
            assert_eq!(error, Some(Unavailable), "STS says nothing");
            assert_eq!(sts.calls(), ["AssumeRole"]);
        });
    });
}

/// A machine of AWS's has its credentials from the metadata service: one that is not reached for a moment has taken nothing away.
#[test]
fn a_metadata_service_that_is_not_reached_is_no_denial() {
    // Nobody listens there.
    let endpoint = format!("http://127.0.0.1:{}", services::free_port());
    let variables = [
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint),
    ];
    let test = "a_metadata_service_that_is_not_reached_is_no_denial";
    alone_with(test, &variables, || {
        let cloud = Cloud::moto();
        let kms = cloud.provider(&cloud.key());
        wait(async {
            let (context, _) = Contexts::pair().await;
            let (recipe, _) = made(&kms, &context).await;
            std::fs::remove_file(aws_file("credentials")).unwrap();
            let none = cloud.provider(&kms.reference()["key"]);
            let error = kind(none.unwrap_secret(&context, &recipe).await);
            assert_eq!(error, Some(Unavailable));
        });
    });
}

#[test]
fn a_key_that_is_disabled_or_about_to_be_deleted_does_not_open() {
    alone(
        "a_key_that_is_disabled_or_about_to_be_deleted_does_not_open",
        || {
            let cloud = Cloud::localstack();
            let arn = cloud.key();
            let kms = cloud.provider(&arn);
            let other = cloud.provider(&cloud.key());
            let id = json!({ "KeyId": arn });
            wait(async {
                let (context, second) = Contexts::pair().await;
                let (recipe, _) = made(&kms, &context).await;
                let shelf = Shelf::sqlite();
                shelf.create(&kms).await.unwrap();
                shelf.open(&kms).await.unwrap();

                let error = kind(other.unwrap_secret(&context, &recipe).await);
                assert_eq!(error, Some(WrongKey));
                let error = kind(kms.unwrap_secret(&second, &recipe).await);
                assert_eq!(error, Some(ContextMismatch));

                cloud.kms("DisableKey", id.clone());
                assert_revoked(&kms, &context, &recipe, &shelf).await;
                cloud.kms("EnableKey", id.clone());
                shelf.open(&kms).await.unwrap();

                let deletion = json!({ "KeyId": arn, "PendingWindowInDays": 7 });
                cloud.kms("ScheduleKeyDeletion", deletion);
                assert_revoked(&kms, &context, &recipe, &shelf).await;
                cloud.kms("CancelKeyDeletion", id.clone());
                cloud.kms("EnableKey", id);
                shelf.open(&kms).await.unwrap();
                kms.probe().await.unwrap();
            });
        },
    );
}

async fn assert_revoked(kms: &AwsKms, context: &SlotContext, recipe: &Recipe, shelf: &Shelf) {
    let errors = [
        kind(kms.unwrap_secret(context, recipe).await),
        kind(kms.generate(context).await),
        kind(kms.rewrap(context, recipe, &kms.reference()).await),
        kind(kms.probe().await),
        Some(provider_kind(refused(shelf.open(kms).await))),
    ];
    assert_eq!(errors, [Some(Disabled); 5]);
}

/// What real KMS answers where the services here never do; the bodies are as its API reference gives them.
fn recorded(status: &str, headers: &str, code: &str) -> Mode {
    let body = format!(r#"{{"__type":"{code}","message":"Rate exceeded"}}"#);
    let length = body.len();
    let kind = "application/x-amz-json-1.1";
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n"
    );
    Mode::Answer((head + &body).into_bytes())
}

#[test]
fn answers_that_only_real_kms_gives_have_their_kind() {
    alone("answers_that_only_real_kms_gives_have_their_kind", || {
        let cloud = Cloud::moto();
        let front = cloud.front();
        let kms = provider(&cloud.key(), &front.endpoint());
        let after = |seconds| Throttled {
            retry_after: Some(Duration::from_secs(seconds)),
        };
        let slow = Throttled { retry_after: None };
        let bad = "400 Bad Request";
        let broken = "500 Internal Server Error";
        let table = [
            (bad, "", "ThrottlingException", slow),
            (bad, "Retry-After: 7\r\n", "ThrottlingException", after(7)),
            (
                bad,
                "x-amz-retry-after: 2000\r\n",
                "ThrottlingException",
                after(2),
            ),
            (
                bad,
                "Retry-After: 99999999999\r\n",
                "ThrottlingException",
                after(900),
            ),
            (
                bad,
                "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n",
                "ThrottlingException",
                slow,
            ),
            (bad, "", "LimitExceededException", slow),
            ("429 Too Many Requests", "", "SomethingNew", slow),
            (bad, "", "ExpiredTokenException", Denied),
            (bad, "", "UnrecognizedClientException", Denied),
            (bad, "", "AccessDeniedException", Denied),
            ("403 Forbidden", "", "SomethingNew", Denied),
            (
                bad,
                "",
                "com.amazonaws.kms#KMSInvalidStateException",
                Disabled,
            ),
            (bad, "", "IncorrectKeyException", WrongKey),
            (bad, "", "InvalidKeyUsageException", BadRequest),
            (bad, "", "ValidationException", BadRequest),
            (bad, "", "SomethingNew", BadRequest),
            (broken, "", "KMSInternalException", Unavailable),
            (broken, "", "KeyUnavailableException", Unavailable),
            (
                "503 Service Unavailable",
                "",
                "DependencyTimeoutException",
                Unavailable,
            ),
            ("502 Bad Gateway", "", "SomethingNew", Unavailable),
        ];
        wait(async {
            let (context, _) = Contexts::pair().await;
            let (recipe, _) = made(&kms, &context).await;
            for (status, headers, code, expected) in table {
                front.calls();
                front.set(recorded(status, headers, code));
                let error = kind(kms.unwrap_secret(&context, &recipe).await);
                assert_eq!(error, Some(expected), "{status} {headers:?} {code}");
                assert_eq!(front.calls(), ["Decrypt"], "nobody but Patient tries again");
            }

            let arn = kms.reference()["key"].clone();
            let other = arn.replace("eu-central-1", "eu-west-1");
            for (arn, bytes, expected) in [
                (&arn, 32, None),
                (&other, 32, Some(WrongKey)),
                (&arn, 31, Some(Unavailable)),
                (&arn, 33, Some(Unavailable)),
                (&arn, 0, Some(Unavailable)),
            ] {
                let text = BASE64.encode(&vec![7; bytes]);
                let body = json!({ "KeyId": arn, "Plaintext": text }).to_string();
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                front.set(Mode::Answer(answer.into_bytes()));
                let error = kind(kms.unwrap_secret(&context, &recipe).await);
                assert_eq!(error, expected, "{bytes} bytes of {arn}");
            }
            front.calls();

            let patient = Patient::new(kms).patience(Patience::new().tries(3));
            front.set(recorded(
                bad,
                "x-amz-retry-after: 10\r\n",
                "ThrottlingException",
            ));
            let error = kind(patient.unwrap_secret(&context, &recipe).await);
            assert!(matches!(error, Some(Throttled { .. })), "{error:?}");
            assert_eq!(front.calls(), ["Decrypt"; 3]);
            front.set(Mode::Pass);
            patient.unwrap_secret(&context, &recipe).await.unwrap();
        });
    });
}

#[test]
fn whatever_the_wire_does_it_ends_in_time_and_opens_when_it_is_mended() {
    alone(
        "whatever_the_wire_does_it_ends_in_time_and_opens_when_it_is_mended",
        || {
            let cloud = Cloud::moto();
            let front = cloud.front();
            let key = cloud.key();
            let kms = provider(&key, &front.endpoint());
            let hasty = provider(&key, &front.endpoint()).timeout(Duration::from_secs(2));
            wait(async {
                let (context, _) = Contexts::pair().await;
                let (recipe, secret) = made(&kms, &context).await;
                hasty.unwrap_secret(&context, &recipe).await.unwrap();
                for mode in [
                    Mode::Cut,
                    Mode::Half(0),
                    Mode::Half(40),
                    Mode::Half(400),
                    Mode::Answer(b"\0\xff garbage".to_vec()),
                    Mode::Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes".to_vec()),
                    Mode::Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec()),
                    Mode::Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{".to_vec()),
                    // These two answer nothing until the client goes.
                    Mode::Hang,
                    Mode::Stall(60),
                ] {
                    front.set(mode.clone());
                    let begun = Instant::now();
                    let error = kind(hasty.unwrap_secret(&context, &recipe).await);
                    assert_eq!(error, Some(Unavailable), "{mode:?}");
                    // Far from the limit, so that a slow machine does not decide.
                    assert!(begun.elapsed() < Duration::from_secs(60), "{mode:?}");
                    front.set(Mode::Pass);
                    let opened = kms.unwrap_secret(&context, &recipe).await.unwrap();
                    assert_eq!(opened.expose_secret(), secret.expose_secret());
                }

                // Nobody listens there.
                let closed = services::free_port();
                let nobody = provider(&key, &format!("http://127.0.0.1:{closed}"));
                let error = kind(nobody.unwrap_secret(&context, &recipe).await);
                assert_eq!(error, Some(Unavailable));

                // An endpoint of the profile is not followed, and this region has none of its own.
                let endpoint = front.endpoint();
                let profile = format!("[default]\nendpoint_url = {endpoint}\n");
                std::fs::write(aws_file("config"), profile).unwrap();
                front.calls();
                let arn = key.replace("eu-central-1", "eu-nowhere-7");
                let nowhere = AwsKms::from_uri(&format!("awskms:{arn}")).unwrap();
                let error = kind(nowhere.unwrap_secret(&context, &recipe).await);
                assert_eq!(error, Some(Unavailable));
                assert!(front.calls().is_empty());
            });
        },
    );
}

#[test]
fn many_can_use_it_at_once() {
    alone("many_can_use_it_at_once", || {
        let cloud = Cloud::moto();
        let kms = Arc::new(cloud.provider(&cloud.key()));
        let (first, second) = wait(Contexts::pair());
        let (recipe, secret) = wait(made(&kms, &first));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    wait(async {
                        for _ in 0..4 {
                            let opened = kms.unwrap_secret(&first, &recipe).await.unwrap();
                            assert_eq!(opened.expose_secret(), secret.expose_secret());
                            let error = kind(kms.unwrap_secret(&second, &recipe).await);
                            assert_eq!(error, Some(ContextMismatch));
                        }
                    });
                });
            }
        });
    });
}

#[test]
fn a_dropped_call_ends_and_the_next_one_works() {
    alone("a_dropped_call_ends_and_the_next_one_works", || {
        let cloud = Cloud::moto();
        let front = cloud.front();
        let kms = provider(&cloud.key(), &front.endpoint()).timeout(Duration::from_secs(600));
        wait(async {
            let (context, _) = Contexts::pair().await;
            // Dropped at once, before the runtime or the client are there.
            for _ in 0..3 {
                let mut call = kms.generate(&context);
                let mut noop = std::task::Context::from_waker(std::task::Waker::noop());
                let _ = call.as_mut().poll(&mut noop);
            }
            let (recipe, _) = made(&kms, &context).await;
            front.set(Mode::Hang);
            for count in 1..=3 {
                let mut call = kms.unwrap_secret(&context, &recipe);
                let mut noop = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(call.as_mut().poll(&mut noop).is_pending());
                front.wait_for_hanging(count);
                drop(call);
                front.wait_for_given_up(count);
            }
            front.set(Mode::Pass);
            kms.unwrap_secret(&context, &recipe).await.unwrap();
        });
    });
}

#[cfg(target_os = "linux")]
#[test]
fn its_thread_begins_with_the_first_call_and_ends_with_it() {
    alone(
        "its_thread_begins_with_the_first_call_and_ends_with_it",
        || {
            // The kernel keeps 15 characters of a name.
            let count = || {
                let tasks = std::fs::read_dir("/proc/self/task").unwrap();
                let names = tasks.filter_map(|task| {
                    std::fs::read_to_string(task.unwrap().path().join("comm")).ok()
                });
                names
                    .filter(|name| name.trim_end() == "sealed-store-aw")
                    .count()
            };
            let cloud = Cloud::moto();
            let kms = cloud.provider(&cloud.key());
            assert_eq!(count(), 0);
            wait(kms.probe()).unwrap();
            wait(kms.probe()).unwrap();
            assert_eq!(count(), 1);
            drop(kms);
            let begun = Instant::now();
            while count() != 0 {
                assert!(begun.elapsed() < Duration::from_secs(60));
                std::thread::yield_now();
            }
        },
    );
}

/// What every provider must do: see `sealed_store::testing::provider`.
#[test]
fn it_is_a_provider_as_every_other() {
    alone("it_is_a_provider_as_every_other", || {
        // moto says of another key's ciphertext that access is denied; KMS itself, and LocalStack, that the key is wrong.
        let cloud = Cloud::localstack();
        let at = |endpoint: String, arn: &str| {
            let arn = arn.to_owned();
            move || {
                let provider = provider(&arn, &endpoint);
                async { provider }
            }
        };
        let (key, another) = (cloud.key(), cloud.key());
        let nobody = format!("http://127.0.0.1:{}", services::free_port());
        let suite = Conformance::new(at(cloud.endpoint(), &key), at(cloud.endpoint(), &another))
            .rewraps()
            .fails(Unavailable, at(nobody, &key))
            .at_most(16);
        wait(suite.run_all());
    });
}
