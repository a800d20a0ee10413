//! Slots by Vault's Transit engine, against a real OpenBao.
#![cfg(feature = "vault")]

mod cli;
#[path = "common/openbao.rs"]
mod openbao;
#[path = "common/proxy.rs"]
mod proxy;
#[path = "common/services.rs"]
mod services;
#[path = "support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use openbao::OpenBao;
use proxy::Proxy;
use sealed_store::testing::provider::Conformance;
use sealed_store::{
    BackendKeyring, Fields, KeyProvider, Keyring, NewSlot, Patience, Patient, Probe,
    ProviderCredentials, ProviderError, ProviderErrorKind as Kind, Recipe, SealError, SlotContext,
    Vault, VaultAppRole, provider_from_uri,
};
use secrecy::{ExposeSecret, SecretBox};
use wacore::store::InMemoryBackend;

type Shelf = BackendKeyring<InMemoryBackend>;

fn shelf() -> Shelf {
    BackendKeyring::new(Arc::new(InMemoryBackend::new()))
}

/// A raw key that keeps the context that it was asked for: nobody but a keyring makes one.
struct Spy(Mutex<Option<SlotContext>>);

#[async_trait]
impl KeyProvider for Spy {
    fn kind(&self) -> &str {
        "spy"
    }
    async fn generate(&self, context: &SlotContext) -> Result<NewSlot, ProviderError> {
        *self.0.lock().unwrap() = Some(*context);
        support::raw(7).generate(context).await
    }
    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        support::raw(7).unwrap_secret(context, recipe).await
    }
    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::ready())
    }
}

async fn a_context() -> SlotContext {
    let spy = Spy(Mutex::new(None));
    Keyring::create(shelf(), &spy).await.unwrap();
    spy.0.into_inner().unwrap().unwrap()
}

fn vault(uri: &str) -> Vault {
    Vault::from_uri(uri).unwrap().token("root")
}

/// A slot that is made, its recipe and its secret.
async fn made(vault: &Vault, context: &SlotContext) -> (Recipe, SecretBox<[u8; 32]>) {
    let slot = vault.generate(context).await.unwrap();
    let recipe = Recipe {
        reference: vault.reference(),
        material: slot.material,
    };
    (recipe, slot.secret)
}

fn with_ciphertext(recipe: &Recipe, ciphertext: &str) -> Recipe {
    Recipe {
        reference: recipe.reference.clone(),
        material: Fields::from([("ciphertext".to_owned(), ciphertext.to_owned())]),
    }
}

#[track_caller]
fn refused<T>(answer: Result<T, ProviderError>) -> Kind {
    match answer {
        Ok(_) => panic!("it was granted"),
        Err(error) => {
            let advice = error.to_string();
            assert!(!advice.contains("withheld"), "{advice}");
            println!("{:?}: {advice}", error.kind());
            error.kind()
        }
    }
}

async fn unwrap_kind(vault: &Vault, context: &SlotContext, recipe: &Recipe) -> Kind {
    refused(vault.unwrap_secret(context, recipe).await)
}

fn secret_file(path: &Path, text: &str) -> PathBuf {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    path.to_owned()
}

/// The requests that went through, by their first lines.
fn requests(proxy: &Proxy) -> Vec<String> {
    let first = |asked: Vec<u8>| {
        String::from_utf8_lossy(&asked)
            .lines()
            .next()
            .unwrap_or_default()
            .replace(" HTTP/1.1", "")
    };
    proxy
        .seen()
        .into_iter()
        .map(|seen| first(seen.asked))
        .collect()
}

#[tokio::test]
async fn a_keyring_opens_over_tls_with_an_own_ca() {
    let bao = OpenBao::start_tls();
    bao.derived_key("k");
    let shelf = shelf();
    let keyring = Keyring::create(shelf.clone(), &support::raw(1))
        .await
        .unwrap();
    let slot = keyring
        .add_slot("vault", &vault(&bao.uri("k")))
        .await
        .unwrap();
    keyring.create_account("1").await.unwrap();
    drop(keyring);
    let keyring = Keyring::open(shelf.clone(), &vault(&bao.uri("k")))
        .await
        .unwrap();
    assert_eq!(keyring.accounts().await.unwrap().len(), 1);
    keyring.remove_slot(slot).await.unwrap();
    drop(keyring);
    let error = support::refused(Keyring::open(shelf, &vault(&bao.uri("k"))).await);
    assert!(matches!(error, SealError::WrongKey), "{error}");

    // The same server without its CA, and under a name that its certificate does not have.
    let uri = format!("vault:https://{}/transit/keys/k", bao.address());
    assert_eq!(refused(vault(&uri).probe().await), Kind::BadRequest);
    let uri = bao.uri("k").replace("127.0.0.1", "127.0.0.2");
    let through = vault(&uri).probe().await;
    assert!(matches!(
        refused(through),
        Kind::Unavailable | Kind::BadRequest
    ));
}

#[tokio::test]
async fn opening_costs_one_request() {
    let bao = OpenBao::start();
    bao.derived_key("k");
    let proxy = Proxy::to(bao.address());
    let shelf = shelf();
    let uri = bao.uri_at(proxy.address(), "k");
    Keyring::create(shelf.clone(), &vault(&uri)).await.unwrap();
    assert_eq!(
        requests(&proxy),
        [
            "POST /v1/transit/datakey/plaintext/k",
            "POST /v1/transit/decrypt/k",
            "POST /v1/transit/decrypt/k"
        ]
    );
    proxy.set(None);
    Keyring::open(shelf.clone(), &vault(&uri)).await.unwrap();
    assert_eq!(requests(&proxy), ["POST /v1/transit/decrypt/k"]);

    // The server may be reached another way, and another key is not asked at all.
    Keyring::open(shelf.clone(), &vault(&bao.uri("k")))
        .await
        .unwrap();
    proxy.set(None);
    let other = vault(&bao.uri_at(proxy.address(), "other"));
    let error = support::refused(Keyring::open(shelf, &other).await);
    assert!(matches!(error, SealError::ForeignRecipe), "{error}");
    assert_eq!(requests(&proxy), [""; 0]);
}

#[tokio::test]
async fn each_refusal_of_the_service_has_its_kind() {
    let bao = OpenBao::start();
    let context = a_context().await;
    bao.derived_key("k");
    let k = vault(&bao.uri("k"));
    let (recipe, _) = made(&k, &context).await;
    let ciphertext = recipe.material["ciphertext"].clone();

    // What is damaged here is refused here, and what only the service can see by it.
    for wrong in [
        "",
        "garbage",
        "vault:v1:",
        "vault:v1:AAAA",
        &ciphertext.replace(":v1:", ":v0:"),
        &ciphertext.replace(":v1:", ":v01:"),
        &ciphertext.replace(":v1:", ":v+1:"),
        &format!("{ciphertext}\n"),
        &format!("{ciphertext}{}", "A".repeat(1 << 20)),
    ] {
        let recipe = with_ciphertext(&recipe, wrong);
        assert_eq!(unwrap_kind(&k, &context, &recipe).await, Kind::Corrupt);
    }
    let newer = with_ciphertext(&recipe, &ciphertext.replace(":v1:", ":v9:"));
    assert_eq!(unwrap_kind(&k, &context, &newer).await, Kind::WrongKey);
    // Of the alphabet still: what is none is refused before it is sent.
    let (before, from) = ciphertext.split_at(40);
    let other = if from.starts_with('A') { "B" } else { "A" };
    let changed = with_ciphertext(&recipe, &format!("{before}{other}{}", &from[1..]));
    assert_eq!(
        unwrap_kind(&k, &context, &changed).await,
        Kind::ContextMismatch
    );
    let mut moved = context;
    moved.slot += 1;
    assert_eq!(
        unwrap_kind(&k, &moved, &recipe).await,
        Kind::ContextMismatch
    );

    // Another cipher says it in other words.
    bao.run(&[
        "write",
        "-f",
        "transit/keys/chacha",
        "derived=true",
        "type=xchacha20-poly1305",
    ]);
    let chacha = vault(&bao.uri("chacha"));
    let (other, secret) = made(&chacha, &context).await;
    assert!(same(
        &secret,
        &chacha.unwrap_secret(&context, &other).await.unwrap()
    ));
    assert_eq!(
        unwrap_kind(&chacha, &moved, &other).await,
        Kind::ContextMismatch
    );

    // A key that would ignore the context, one that can't encrypt, none.
    bao.run(&["write", "-f", "transit/keys/plain"]);
    let plain = vault(&bao.uri("plain"));
    assert_eq!(refused(plain.generate(&context).await), Kind::BadRequest);
    assert_eq!(refused(plain.probe().await), Kind::BadRequest);
    bao.run(&[
        "write",
        "-f",
        "transit/keys/sign",
        "type=ed25519",
        "derived=true",
    ]);
    let sign = vault(&bao.uri("sign"));
    assert_eq!(refused(sign.generate(&context).await), Kind::BadRequest);
    let none = vault(&bao.uri("none"));
    assert_eq!(refused(none.generate(&context).await), Kind::Destroyed);
    assert_eq!(refused(none.probe().await), Kind::Destroyed);
    let mount = vault(&bao.uri("k").replace("transit", "elsewhere"));
    assert_eq!(refused(mount.probe().await), Kind::Destroyed);
    let namespace = vault(&format!("{}?namespace=none", bao.uri("k")));
    assert_eq!(refused(namespace.probe().await), Kind::Destroyed);

    // Denied: a token that is none, and none with the right.
    let stranger = Vault::from_uri(&bao.uri("k")).unwrap().token("s.none");
    assert_eq!(
        unwrap_kind(&stranger, &context, &recipe).await,
        Kind::Denied
    );
    assert_eq!(refused(stranger.probe().await), Kind::Denied);

    // Throttled, with and without a time.
    bao.run(&[
        "write",
        "sys/quotas/rate-limit/q",
        "path=transit",
        "rate=1",
        "interval=300s",
    ]);
    k.unwrap_secret(&context, &recipe).await.unwrap();
    let kind = unwrap_kind(&k, &context, &recipe).await;
    assert_eq!(kind, Kind::Throttled { retry_after: None });
    bao.run(&[
        "write",
        "sys/quotas/config",
        "enable_rate_limit_response_headers=true",
    ]);
    let kind = unwrap_kind(&k, &context, &recipe).await;
    assert!(
        matches!(kind, Kind::Throttled { retry_after: Some(time) } if time <= Duration::from_secs(300)),
        "{kind:?}"
    );
    bao.run(&["delete", "sys/quotas/rate-limit/q"]);

    // Disabled, and enabled again; then destroyed.
    bao.run(&["delete", "transit/keys/k/soft-delete"]);
    assert_eq!(unwrap_kind(&k, &context, &recipe).await, Kind::Disabled);
    assert_eq!(refused(k.generate(&context).await), Kind::Disabled);
    assert_eq!(refused(k.probe().await), Kind::Disabled);
    bao.run(&["write", "-f", "transit/keys/k/soft-delete-restore"]);
    k.unwrap_secret(&context, &recipe).await.unwrap();
    bao.run(&["write", "transit/keys/k/config", "deletion_allowed=true"]);
    bao.run(&["delete", "transit/keys/k"]);
    assert_eq!(unwrap_kind(&k, &context, &recipe).await, Kind::Destroyed);
    assert_eq!(refused(k.probe().await), Kind::Destroyed);

    // The name is there again, and the key is another.
    bao.derived_key("k");
    assert_eq!(
        unwrap_kind(&k, &context, &recipe).await,
        Kind::ContextMismatch
    );

    bao.run(&["secrets", "disable", "transit"]);
    assert_eq!(unwrap_kind(&k, &context, &recipe).await, Kind::Destroyed);
}

fn flipped(text: &str, byte: usize, bit: u32) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[byte] ^= 1 << bit;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn same(one: &SecretBox<[u8; 32]>, other: &SecretBox<[u8; 32]>) -> bool {
    one.expose_secret() == other.expose_secret()
}

#[tokio::test]
async fn a_changed_recipe_gives_no_secret() {
    let bao = OpenBao::start();
    bao.derived_key("k");
    let k = vault(&bao.uri("k"));
    let context = a_context().await;
    let (recipe, _) = made(&k, &context).await;
    let ciphertext = &recipe.material["ciphertext"];
    let step = if std::env::var_os("SEALED_STORE_LONG").is_some() {
        1
    } else {
        // Each of the seven bits has its turn.
        5
    };
    for place in (0..ciphertext.len() * 7).step_by(step) {
        let changed = with_ciphertext(&recipe, &flipped(ciphertext, place / 7, (place % 7) as u32));
        let error = k
            .unwrap_secret(&context, &changed)
            .await
            .map(|_| place)
            .unwrap_err();
        assert!(
            matches!(
                error.kind(),
                Kind::Corrupt | Kind::ContextMismatch | Kind::WrongKey
            ),
            "{place}: {error}"
        );
    }
    // Other fields, and none.
    let mut more = recipe.clone();
    more.material.insert("context".into(), "x".into());
    assert_eq!(unwrap_kind(&k, &context, &more).await, Kind::Corrupt);
    let none = Recipe {
        material: Fields::new(),
        ..recipe.clone()
    };
    assert_eq!(unwrap_kind(&k, &context, &none).await, Kind::Corrupt);
    // Another keyring, and another slot of the same one.
    for other in [a_context().await, {
        let mut other = context;
        other.slot = 9;
        other
    }] {
        assert_eq!(
            unwrap_kind(&k, &other, &recipe).await,
            Kind::ContextMismatch
        );
        assert_eq!(
            refused(k.rewrap(&other, &recipe, &k.reference()).await),
            Kind::ContextMismatch
        );
    }
}

#[tokio::test]
async fn a_rotated_key_opens_older_slots_until_it_may_not() {
    let bao = OpenBao::start();
    bao.derived_key("k");
    let k = vault(&bao.uri("k"));
    let context = a_context().await;
    let (old, secret) = made(&k, &context).await;
    bao.run(&["write", "-f", "transit/keys/k/rotate"]);
    assert!(same(
        &secret,
        &k.unwrap_secret(&context, &old).await.unwrap()
    ));

    let proxy = Proxy::to(bao.address());
    let through = vault(&bao.uri_at(proxy.address(), "k"));
    let material = through
        .rewrap(&context, &old, &k.reference())
        .await
        .unwrap();
    assert_eq!(requests(&proxy), ["POST /v1/transit/rewrap/k"]);
    let answer = String::from_utf8(proxy.seen()[0].answered.clone()).unwrap();
    assert!(!answer.contains("plaintext"), "{answer}");
    assert!(material["ciphertext"].starts_with("vault:v2:"));
    let new = Recipe {
        reference: k.reference(),
        material,
    };
    assert!(same(
        &secret,
        &k.unwrap_secret(&context, &new).await.unwrap()
    ));
    let foreign = Recipe {
        reference: Fields::new(),
        ..old.clone()
    };
    assert_eq!(
        refused(k.rewrap(&context, &foreign, &k.reference()).await),
        Kind::WrongKey
    );

    bao.run(&["write", "transit/keys/k/config", "min_decryption_version=2"]);
    assert_eq!(unwrap_kind(&k, &context, &old).await, Kind::Disabled);
    assert_eq!(
        refused(k.rewrap(&context, &old, &k.reference()).await),
        Kind::Disabled
    );
    assert!(same(
        &secret,
        &k.unwrap_secret(&context, &new).await.unwrap()
    ));
    let report = k.inspect().await.unwrap();
    assert_eq!(report.latest_version, Some(2));
    assert_eq!(report.min_decryption_version, Some(2));
    bao.run(&["write", "transit/keys/k/config", "min_decryption_version=1"]);
    assert!(same(
        &secret,
        &k.unwrap_secret(&context, &old).await.unwrap()
    ));
}

/// A policy of docs/providers.md, for the key of the test.
fn documented(name: &str) -> String {
    let document = include_str!("../docs/providers.md");
    let (_, section) = document.split_once("## Vault and OpenBao").unwrap();
    let (_, from) = section.split_once(name).unwrap();
    let (_, policy) = from.split_once("```hcl\n").unwrap();
    let (policy, _) = policy.split_once("```").unwrap();
    assert!(policy.contains("\"transit/decrypt/whatsapp\""), "{policy}");
    policy.replace("/whatsapp\"", "/k\"")
}

fn open_policy() -> String {
    documented("`whatsapp-open.hcl`")
}

fn admin_policy() -> String {
    documented("`whatsapp-admin.hcl`")
}

#[tokio::test]
async fn the_documented_policies_are_enough_and_no_more() {
    let bao = OpenBao::start();
    bao.derived_key("k");
    bao.policy("open", &open_policy());
    bao.policy("make", &admin_policy());
    bao.policy(
        "none",
        r#"path "transit/decrypt/other" { capabilities = ["update"] }"#,
    );
    bao.policy(
        "no-open",
        r#"path "transit/datakey/plaintext/k" { capabilities = ["update"] }"#,
    );
    let with = |policy| {
        Vault::from_uri(&bao.uri("k"))
            .unwrap()
            .token(bao.token(policy))
    };
    let context = a_context().await;

    let make = with("make");
    let (recipe, secret) = made(&make, &context).await;
    let report = make.inspect().await.unwrap();
    assert_eq!(report.may_generate, Some(true));
    assert_eq!(report.may_rewrap, Some(true));
    assert_eq!(report.latest_version, Some(1));
    make.rewrap(&context, &recipe, &make.reference())
        .await
        .unwrap();

    let open = with("open");
    assert!(same(
        &secret,
        &open.unwrap_secret(&context, &recipe).await.unwrap()
    ));
    assert!(open.probe().await.unwrap().ready);
    let report = open.inspect().await.unwrap();
    assert_eq!((report.may_generate, report.latest_version), (None, None));
    assert_eq!(refused(open.generate(&context).await), Kind::Denied);
    assert_eq!(
        refused(open.rewrap(&context, &recipe, &open.reference()).await),
        Kind::Denied
    );

    for policy in ["none", "no-open"] {
        let vault = with(policy);
        assert_eq!(unwrap_kind(&vault, &context, &recipe).await, Kind::Denied);
        assert_eq!(refused(vault.probe().await), Kind::Denied);
        // A slot that could not be opened is not made.
        assert_eq!(refused(vault.generate(&context).await), Kind::Denied);
    }
}

#[tokio::test]
async fn an_app_role_logs_in_when_it_must() {
    let bao = OpenBao::start();
    bao.derived_key("k");
    bao.policy("make", &admin_policy());
    bao.run(&["auth", "enable", "approle"]);
    bao.run(&[
        "write",
        "auth/approle/role/r",
        "token_policies=make",
        "token_ttl=1h",
    ]);
    let role_id = bao.run(&["read", "-field=role_id", "auth/approle/role/r/role-id"]);
    let secret_id = || {
        bao.run(&[
            "write",
            "-f",
            "-field=secret_id",
            "auth/approle/role/r/secret-id",
        ])
    };
    let file = secret_file(
        &bao.folder().join("secret-id"),
        &format!("{}\n", secret_id()),
    );
    let proxy = Proxy::to(bao.address());
    let uri = bao.uri_at(proxy.address(), "k");
    let role = |role_id: &str| VaultAppRole::new(role_id, &file);
    let vault = Vault::from_uri(&uri).unwrap().app_role(role(&role_id));
    let context = a_context().await;
    let (recipe, secret) = made(&vault, &context).await;

    let login = "POST /v1/auth/approle/login";
    let decrypt = "POST /v1/transit/decrypt/k";
    assert_eq!(requests(&proxy)[0], login);
    proxy.set(None);
    assert!(same(
        &secret,
        &vault.unwrap_secret(&context, &recipe).await.unwrap()
    ));
    assert_eq!(requests(&proxy), [decrypt]);

    // All tokens of the role end: refused once, logged in again, and granted.
    bao.run(&["lease", "revoke", "-prefix", "-sync", "auth/approle/login"]);
    proxy.set(None);
    assert!(same(
        &secret,
        &vault.unwrap_secret(&context, &recipe).await.unwrap()
    ));
    assert_eq!(requests(&proxy), [decrypt, login, decrypt]);

    // The right is gone: one more login, no third try.
    bao.policy("make", &open_policy().replace("update", "deny"));
    proxy.set(None);
    assert_eq!(unwrap_kind(&vault, &context, &recipe).await, Kind::Denied);
    assert_eq!(requests(&proxy), [decrypt, login, decrypt]);
    bao.policy("make", &admin_policy());

    // The secret id is destroyed, then another one is put into the file.
    let id = std::fs::read_to_string(&file).unwrap();
    let id = format!("secret_id={}", id.trim());
    bao.run(&["write", "auth/approle/role/r/secret-id/destroy", &id]);
    bao.run(&["lease", "revoke", "-prefix", "-sync", "auth/approle/login"]);
    assert_eq!(unwrap_kind(&vault, &context, &recipe).await, Kind::Denied);
    secret_file(&file, &secret_id());
    assert!(same(
        &secret,
        &vault.unwrap_secret(&context, &recipe).await.unwrap()
    ));

    let fresh = || Vault::from_uri(&uri).unwrap();
    for (role, kind) in [
        (role("nobody"), Kind::Denied),
        (role(&role_id).mount("elsewhere"), Kind::Denied),
        (role(&role_id).mount("../sys"), Kind::BadRequest),
        (
            VaultAppRole::new(&role_id, bao.folder().join("none")),
            Kind::Unavailable,
        ),
        (VaultAppRole::new(&role_id, bao.folder()), Kind::BadRequest),
    ] {
        let vault = fresh().app_role(role);
        assert_eq!(unwrap_kind(&vault, &context, &recipe).await, kind);
    }

    let nowhere = Vault::from_uri(&format!("{uri}?namespace=none")).unwrap();
    let nowhere = nowhere.app_role(role(&role_id));
    assert_eq!(
        unwrap_kind(&nowhere, &context, &recipe).await,
        Kind::BadRequest
    );

    // Many at once: each succeeds, whoever logs in.
    let vault = Arc::new(fresh().app_role(role(&role_id)));
    let calls = (0..12).map(|_| {
        let (vault, recipe) = (Arc::clone(&vault), recipe.clone());
        tokio::spawn(async move { vault.unwrap_secret(&context, &recipe).await.unwrap() })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(same(&secret, &call.await.unwrap()));
    }
}

/// The role of docs/providers.md, at this mount: its id, and a file with a secret id of its.
fn role_at(bao: &OpenBao, mount: &str) -> (String, PathBuf) {
    let path = format!("-path={mount}");
    bao.run(&["auth", "enable", &path, "approle"]);
    let role = format!("auth/{mount}/role/whatsapp");
    bao.run(&["write", &role, "token_policies=make", "token_ttl=10m"]);
    let role_id = bao.run(&["read", "-field=role_id", &format!("{role}/role-id")]);
    let file = bao.folder().join(format!("{mount} secret id"));
    (
        role_id,
        secret_file(&file, &new_secret_id(bao, mount, "whatsapp")),
    )
}

fn new_secret_id(bao: &OpenBao, mount: &str, role: &str) -> String {
    let path = format!("auth/{mount}/role/{role}/secret-id");
    bao.run(&["write", "-f", "-field=secret_id", &path])
}

#[tokio::test]
async fn a_uri_names_an_app_role_and_the_file_of_its_secret_id() {
    let bao = OpenBao::start();
    bao.derived_key("k");
    bao.policy("make", &admin_policy());
    let proxy = Proxy::to(bao.address());
    let shelf = shelf();
    for (mount, more) in [("approle", ""), ("bots", "&approle_mount=bots")] {
        let (role_id, file) = role_at(&bao, mount);
        let path = file.to_str().unwrap().replace(' ', "%20");
        let through = |address| {
            let uri = bao.uri_at(address, "k");
            format!("{uri}?role_id={role_id}&secret_id_file={path}{more}")
        };
        let uri = through(proxy.address());
        let patience = Patience::new().tries(1);
        let credentials = ProviderCredentials::new().patience(patience);
        let provider = || provider_from_uri(&uri, &credentials).unwrap();
        // Nothing of it is recorded in a slot: another role opens it.
        match mount {
            "approle" => drop(Keyring::create(shelf.clone(), &provider()).await.unwrap()),
            _ => drop(Keyring::open(shelf.clone(), &provider()).await.unwrap()),
        }
        let login = format!("POST /v1/auth/{mount}/login");
        let decrypt = "POST /v1/transit/decrypt/k";
        proxy.set(None);
        let open = provider();
        drop(Keyring::open(shelf.clone(), &open).await.unwrap());
        assert_eq!(requests(&proxy), [login.as_str(), decrypt]);
        proxy.set(None);
        drop(Keyring::open(shelf.clone(), &open).await.unwrap());
        assert_eq!(requests(&proxy), [decrypt]);

        // By the command line.
        let direct = through(bao.address());
        let desk = cli::Desk::with_store();
        let probed = desk.run(&["provider", "probe", &direct, "--try"]).ends(0);
        assert!(!probed.stdout.is_empty());
        desk.run(&["init", "by-role.db", "--provider", &direct])
            .ends(0);
        desk.run(&["status", "by-role.db", "--provider", &direct])
            .ends(0);

        // Each login reads the file again.
        let right = std::fs::read_to_string(&file).unwrap();
        proxy.set(None);
        let refusals = |kind: Kind, logins: usize, what: &'static str| {
            let provider = provider();
            let proxy = &proxy;
            let login = login.clone();
            async move {
                assert_eq!(refused(provider.probe().await), kind, "{what}");
                assert_eq!(requests(proxy), vec![login; logins], "{what}");
                proxy.set(None);
            }
        };
        secret_file(&file, "0b7f2bd5-0000-0000-0000-000000000000");
        refusals(Kind::Denied, 1, "a secret id of nobody").await;
        desk.run(&["provider", "probe", &direct])
            .says("denies the login");
        secret_file(&file, &format!("{right}\n{right}"));
        refusals(Kind::BadRequest, 0, "two lines").await;
        secret_file(&file, &"a".repeat(8193));
        refusals(Kind::BadRequest, 0, "more than 8 KiB").await;
        secret_file(&file, &right);
        for mode in [0o644, 0o660, 0o604] {
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            refusals(Kind::BadRequest, 0, "others may read or write it").await;
        }
        std::fs::remove_file(&file).unwrap();
        refusals(Kind::Unavailable, 0, "it is gone").await;
        secret_file(&file, &new_secret_id(&bao, mount, "whatsapp"));
        drop(Keyring::open(shelf.clone(), &provider()).await.unwrap());

        // Of another role, and of no role.
        bao.run(&[
            "write",
            &format!("auth/{mount}/role/other"),
            "token_policies=make",
        ]);
        secret_file(&file, &new_secret_id(&bao, mount, "other"));
        proxy.set(None);
        refusals(Kind::Denied, 1, "another role's secret id").await;
    }
}

#[tokio::test]
async fn a_token_file_is_read_at_each_use() {
    let bao = OpenBao::start();
    bao.derived_key("k");
    let file = secret_file(&bao.folder().join("to ken"), "root\n");
    let uri = bao.uri("k");
    let escaped = file.to_str().unwrap().replace(' ', "%20");
    let vault = Vault::from_uri(&format!("{uri}?token_file={escaped}")).unwrap();
    vault.probe().await.unwrap();
    secret_file(&file, "s.other");
    assert_eq!(refused(vault.probe().await), Kind::Denied);
    secret_file(&file, "root\r\n");
    vault.probe().await.unwrap();
    let long = "a".repeat(8193);
    for wrong in [
        "",
        "\n",
        "root\nroot",
        "ro ot",
        "r\u{f6}\u{f6}t",
        long.as_str(),
    ] {
        secret_file(&file, wrong);
        assert_eq!(refused(vault.probe().await), Kind::BadRequest, "{wrong}");
    }
    secret_file(&file, "root");
    for (mode, open) in [
        (0o640, true),
        (0o400, true),
        (0o644, false),
        (0o660, false),
        (0o606, false),
    ] {
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        let answer = vault.probe().await;
        if open {
            answer.unwrap();
        } else {
            assert_eq!(refused(answer), Kind::BadRequest, "{mode:o}");
        }
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(refused(vault.probe().await), Kind::Unavailable);
    // A pipe that nobody writes to would be waited for.
    let status = std::process::Command::new("mkfifo")
        .arg(&file)
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(refused(vault.probe().await), Kind::BadRequest);
}

/// What [`the_environment_has_the_token`] runs in a process of its own.
#[tokio::test]
async fn child_with_a_token_in_its_environment() {
    let Ok(uri) = std::env::var("SEALED_STORE_TEST_URI") else {
        return;
    };
    let vault = Vault::from_uri(&uri).unwrap();
    match std::env::var("SEALED_STORE_TEST_EXPECTED")
        .unwrap()
        .as_str()
    {
        "ready" => assert!(vault.probe().await.unwrap().ready),
        kind => assert_eq!(format!("{:?}", refused(vault.probe().await)), kind),
    }
}

#[test]
fn the_environment_has_the_token() {
    let bao = OpenBao::start();
    bao.derived_key("k");
    for (token, expected) in [
        (Some("root"), "ready"),
        (Some("other"), "Denied"),
        (Some(""), "BadRequest"),
        (None, "BadRequest"),
    ] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "child_with_a_token_in_its_environment"])
            .env_remove("VAULT_TOKEN")
            // A proxy that is nobody's: what went there would fail.
            .env("http_proxy", "http://127.0.0.1:1")
            .env("ALL_PROXY", "http://127.0.0.1:1")
            .env("SEALED_STORE_TEST_URI", bao.uri("k"))
            .env("SEALED_STORE_TEST_EXPECTED", expected);
        if let Some(token) = token {
            child.env("VAULT_TOKEN", token);
        }
        let output = child.output().unwrap();
        assert!(output.status.success(), "{token:?}: {output:?}");
    }
}

#[tokio::test]
async fn a_sealed_server_is_unavailable_until_it_is_unsealed() {
    let mut bao = OpenBao::start();
    bao.derived_key("k");
    let k = vault(&bao.uri("k"));
    let shelf = shelf();
    Keyring::create(shelf.clone(), &k).await.unwrap();
    bao.seal();
    assert_eq!(refused(k.probe().await), Kind::Unavailable);
    let error = support::refused(Keyring::open(shelf.clone(), &k).await);
    assert!(
        matches!(&error, SealError::Provider(error) if error.is_retryable()),
        "{error}"
    );

    // Patience waits for it.
    let patience = Patience::new().tries(100).total(Duration::from_secs(50));
    let patient = Patient::new(vault(&bao.uri("k"))).patience(patience);
    let waiting = tokio::spawn({
        let shelf = shelf.clone();
        async move { Keyring::open(shelf, &patient).await.map(drop) }
    });
    bao.unseal();
    waiting.await.unwrap().unwrap();

    bao.stop();
    assert_eq!(refused(k.probe().await), Kind::Unavailable);
}

#[tokio::test]
async fn a_namespace_is_asked_for_its_own_key() {
    let bao = OpenBao::start();
    bao.run(&["namespace", "create", "team"]);
    bao.run_in("team", &["secrets", "enable", "transit"]);
    bao.derived_key("k");
    bao.run_in("team", &["write", "-f", "transit/keys/k", "derived=true"]);
    let outer = vault(&bao.uri("k"));
    let team = vault(&format!("{}?namespace=/team/", bao.uri("k")));
    let context = a_context().await;
    let (recipe, secret) = made(&team, &context).await;
    assert!(same(
        &secret,
        &team.unwrap_secret(&context, &recipe).await.unwrap()
    ));
    assert_ne!(team.reference(), outer.reference());
    assert_eq!(
        unwrap_kind(&outer, &context, &recipe).await,
        Kind::ContextMismatch
    );
    // Closed by an administrator: that is his will, not a failure.
    let key = bao.run(&[
        "write",
        "-f",
        "-field=unlock_key",
        "sys/namespaces/api-lock/lock/team",
    ]);
    assert_eq!(unwrap_kind(&team, &context, &recipe).await, Kind::Disabled);
    let key = format!("unlock_key={key}");
    bao.run(&["write", "sys/namespaces/api-lock/unlock/team", &key]);
    assert!(same(
        &secret,
        &team.unwrap_secret(&context, &recipe).await.unwrap()
    ));
}

#[test]
fn it_works_under_any_executor_and_many_at_once() {
    let bao = OpenBao::start();
    bao.derived_key("k");
    let vault = Arc::new(vault(&bao.uri("k")));
    // No runtime: each thread polls its own.
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let vault = Arc::clone(&vault);
            std::thread::spawn(move || {
                futures_executor::block_on(async {
                    let context = a_context().await;
                    let (recipe, secret) = made(&vault, &context).await;
                    assert!(same(
                        &secret,
                        &vault.unwrap_secret(&context, &recipe).await.unwrap()
                    ));
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[tokio::test]
async fn a_dropped_future_leaves_nothing_behind() {
    let bao = OpenBao::start();
    bao.derived_key("k");
    let k = vault(&bao.uri("k"));
    let context = a_context().await;
    let (recipe, secret) = made(&k, &context).await;
    for polls in 0..20 {
        let mut call = k.unwrap_secret(&context, &recipe);
        for _ in 0..polls % 3 {
            let _ = futures_polled(&mut call).await;
        }
        drop(call);
        let mut call = k.generate(&context);
        let _ = futures_polled(&mut call).await;
        drop(call);
    }
    assert!(same(
        &secret,
        &k.unwrap_secret(&context, &recipe).await.unwrap()
    ));
}

/// Polls once.
async fn futures_polled<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    std::future::poll_fn(
        |context| match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(answer) => std::task::Poll::Ready(Some(answer)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        },
    )
    .await
}

/// Answers each request with these bytes, and says how many it had.
fn impostor(answer: Vec<u8>) -> (SocketAddr, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            *counted.lock().unwrap() += 1;
            let mut asked = Vec::new();
            let mut buffer = [0; 4096];
            // Headers and body come at once, or nearly: the body ends with the one closing brace.
            while !asked.ends_with(b"}") {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(got) => asked.extend_from_slice(&buffer[..got]),
                }
            }
            let _ = stream.write_all(&answer);
        }
    });
    (address, count)
}

#[tokio::test]
async fn what_is_no_answer_of_vault_is_none() {
    let answer = |head: &str, body: &str| {
        format!(
            "HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    let data = |plaintext: &str| format!(r#"{{"data":{{"plaintext":"{plaintext}"}}}}"#);
    let (elsewhere, asked_elsewhere) = impostor(answer("200 OK", &data(&"A".repeat(43))));
    let to = |status: &str| {
        answer(
            &format!("{status}\r\nLocation: http://{elsewhere}/v1/transit/decrypt/k"),
            "",
        )
    };
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 200 << 10]].concat();
    let headers = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"A: b\r\n".repeat(1 << 16)].concat();
    let table = [
        (to("307 Temporary Redirect"), Kind::Unavailable),
        (to("302 Found"), Kind::BadRequest),
        (to("308 Permanent Redirect"), Kind::BadRequest),
        (answer("404 Not Found", "<html>"), Kind::BadRequest),
        (answer("400 Bad Request", "<html>"), Kind::BadRequest),
        (answer("502 Bad Gateway", "<html>"), Kind::Unavailable),
        (answer("503 Service Unavailable", ""), Kind::Unavailable),
        (
            answer("500 Internal Server Error", r#"{"errors":["x"]}"#),
            Kind::Unavailable,
        ),
        (
            answer("412 Precondition Failed", r#"{"errors":[]}"#),
            Kind::Unavailable,
        ),
        (
            answer("405 Method Not Allowed", r#"{"errors":[]}"#),
            Kind::BadRequest,
        ),
        (
            answer("429 Too Many Requests\r\nRetry-After: 7", ""),
            Kind::Throttled {
                retry_after: Some(Duration::from_secs(7)),
            },
        ),
        (
            answer("429 Too Many Requests\r\nRetry-After: soon", ""),
            Kind::Throttled { retry_after: None },
        ),
        (answer("204 No Content", ""), Kind::Unavailable),
        (answer("200 OK", "{}"), Kind::Unavailable),
        (answer("200 OK", "null"), Kind::Unavailable),
        (answer("200 OK", &"[".repeat(60_000)), Kind::Unavailable),
        (answer("200 OK", &data("")), Kind::Unavailable),
        (answer("200 OK", &data(&"A".repeat(42))), Kind::Unavailable),
        (answer("200 OK", &data(&"A".repeat(44))), Kind::Unavailable),
        (
            answer("200 OK", &data(&format!("{}==", "A".repeat(42)))),
            Kind::Unavailable,
        ),
        (
            answer("200 OK", &data(&format!("{}*=", "A".repeat(42)))),
            Kind::Unavailable,
        ),
        (endless, Kind::Unavailable),
        (headers, Kind::Unavailable),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), Kind::Unavailable),
        (Vec::new(), Kind::Unavailable),
        (vec![0; 4096], Kind::Unavailable),
    ];
    let bao = OpenBao::start();
    bao.derived_key("k");
    let context = a_context().await;
    let (recipe, _) = made(&vault(&bao.uri("k")), &context).await;
    for (answer, kind) in table {
        let said = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        let (address, _) = impostor(answer);
        let vault = vault(&bao.uri_at(address, "k"));
        assert_eq!(unwrap_kind(&vault, &context, &recipe).await, kind, "{said}");
    }
    assert_eq!(
        *asked_elsewhere.lock().unwrap(),
        0,
        "a redirect was followed"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_given_up_in_time() {
    let bao_like = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = bao_like.local_addr().unwrap();
    let gone = services::free_port();
    for uri in [
        format!("vault:http://{silent}/transit/keys/k"),
        format!("vault:http://127.0.0.1:{gone}/transit/keys/k"),
        "vault:https://no-such-host.invalid/transit/keys/k".to_owned(),
    ] {
        let vault = vault(&uri).timeout(Duration::from_millis(300));
        let begun = Instant::now();
        assert_eq!(refused(vault.probe().await), Kind::Unavailable, "{uri}");
        // Time for a machine that does other things too.
        assert!(begun.elapsed() < Duration::from_secs(5), "{uri}");
    }
    let none = vault(&format!("vault:http://{silent}/transit/keys/k")).timeout(Duration::ZERO);
    assert_eq!(refused(none.probe().await), Kind::Unavailable);
}

/// What every provider must do: see `sealed_store::testing::provider`.
#[tokio::test]
async fn it_is_a_provider_as_every_other() {
    let bao = OpenBao::start();
    for key in ["off", "k", "another"] {
        bao.derived_key(key);
    }
    bao.run(&["delete", "transit/keys/off/soft-delete"]);
    let (uri, other) = (bao.uri("k"), bao.uri("another"));
    let by = |uri: String, token: &'static str| {
        move || {
            let provider = Vault::from_uri(&uri).unwrap().token(token);
            async { provider }
        }
    };
    let made = |uri| by(uri, "root");
    let nobody = bao.uri_at(([127, 0, 0, 1], services::free_port()).into(), "k");
    Conformance::new(made(uri.clone()), made(other))
        .rewraps()
        .fails(Kind::Unavailable, made(nobody))
        .fails(Kind::Denied, by(uri, "s.none"))
        .fails(Kind::Disabled, made(bao.uri("off")))
        .fails(Kind::Destroyed, made(bao.uri("none")))
        .at_most(16)
        .run_all()
        .await;
}
