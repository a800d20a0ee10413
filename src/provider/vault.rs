//! A slot whose secret is a data key of Vault's or OpenBao's Transit engine.

mod credentials;
mod failure;
mod uri;
mod wire;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use data_encoding::{BASE64, HEXLOWER};
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

pub use credentials::VaultAppRole;
use credentials::{Credentials, Token};
use failure::{Refusal, Task, failure, misconfigured, not_vault};
use uri::Place;
use wire::Client;

use super::{
    Fields, KeyProvider, NewSlot, Probe, ProviderError, ProviderErrorKind, Recipe, SlotContext,
};
use crate::secret::Key;
use crate::thread::off_thread;

type Result<T> = std::result::Result<T, ProviderError>;

/// The one field of a slot's material.
const CIPHERTEXT: &str = "ciphertext";
/// A ciphertext that no key opens, for a probe: it is refused for its length after the right to decrypt, the key's being there
/// and its state were checked.
const NOTHING: &str = "vault:v1:";

/// A slot by a Transit key of Vault or OpenBao: a 256-bit data key that the service made, stored encrypted under its key, and
/// decrypted by it each time the keyring is opened.
///
/// The Transit key must be made with `derived=true`: the slot's context (keyring id and slot number) then goes into the
/// derivation of the key that encrypts, and a recipe that is moved to another slot or keyring does not decrypt. A key that is
/// not derived would ignore the context; no slot is made with one.
///
/// Opening costs one request, `decrypt`; with [`Vault::app_role`] a login comes before the first one, and again after the
/// service refused a token that it once gave. Making a slot costs three: the data key, and two decryptions that prove that it
/// opens, and only in its context. Each request has a connection of its own; answers are read up to 64 KiB; redirects are not
/// followed and no proxy of the environment is used.
///
/// A call ends within [`Vault::timeout`] and is not repeated: [`Patient`](crate::Patient) does that.
///
/// What [`KeyProvider::reference`] names is the engine, the key and the namespace, not the server: it may be moved.
///
/// `ureq` and `rustls` do not wipe their buffers, through which the token and the slot's secret pass.
///
/// ```
/// use std::time::Duration;
///
/// use sealed_store::{Patient, Vault};
///
/// # fn main() -> Result<(), sealed_store::ProviderError> {
/// let vault = Vault::from_uri("vault:https://vault.example:8200/transit/keys/whatsapp?namespace=team")?
///     .token_file("/run/vault/token")
///     .timeout(Duration::from_secs(3));
/// let provider = Patient::new(vault);
/// # let _ = provider;
/// # Ok(())
/// # }
/// ```
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    client: Client,
    credentials: Credentials,
    timeout: Duration,
    /// What the last login gave.
    session: Mutex<Option<Token>>,
}

/// What [`Vault::inspect`] found out. What the token may not see is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VaultReport {
    /// How long the service took for a request to decrypt, its connection included.
    pub round_trip: Duration,
    /// Whether the token may make data keys, so that slots can be made.
    pub may_generate: Option<bool>,
    /// Whether the token may rewrap.
    pub may_rewrap: Option<bool>,
    /// The newest version of the key.
    pub latest_version: Option<u32>,
    /// The oldest version whose ciphertexts are still decrypted.
    pub min_decryption_version: Option<u32>,
}

impl Vault {
    /// `vault:https://HOST[:PORT]/MOUNT/keys/NAME`, with the parameters `namespace` (a path), `ca` (a PEM file with the
    /// certificates that are trusted, instead of the public ones) and `token_file` (as [`Self::token_file`]), percent-encoded.
    /// `http` is taken for a loopback address only, written in digits. Without `token_file`, or one of the methods below, the
    /// token is taken from the environment variable `VAULT_TOKEN`, at each use.
    ///
    /// # Errors
    /// [`ProviderErrorKind::BadRequest`] for anything else, and for a `ca` that holds no certificate;
    /// [`ProviderErrorKind::Unavailable`] if it can't be read. No connection is made.
    pub fn from_uri(uri: &str) -> Result<Self> {
        let parsed = uri::parse(uri)?;
        let client = Client::new(
            &parsed.origin,
            parsed.namespace.as_deref(),
            parsed.ca.as_deref(),
        )?;
        Ok(Self {
            inner: Arc::new(Inner {
                place: parsed.place,
                client,
                credentials: parsed
                    .token_file
                    .map_or(Credentials::Environment, Credentials::TokenFile),
                timeout: Duration::from_secs(5),
                session: Mutex::new(None),
            }),
        })
    }

    /// With this token.
    #[must_use]
    pub fn token(self, token: impl Into<SecretString>) -> Self {
        self.with(|inner| inner.credentials = Credentials::Token(Arc::new(token.into())))
    }

    /// With the token in this file, which is read at each use, so that an agent can renew it: one line, at most 8 KiB. On Unix
    /// nobody but its owner and, to read, its group may have rights to it.
    #[must_use]
    pub fn token_file(self, path: impl Into<PathBuf>) -> Self {
        self.with(|inner| inner.credentials = Credentials::TokenFile(path.into()))
    }

    /// With a token that a login gives, when it is needed.
    #[must_use]
    pub fn app_role(self, role: VaultAppRole) -> Self {
        self.with(|inner| inner.credentials = Credentials::AppRole(role))
    }

    /// How long a call may take, login included: 5 seconds by default.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|inner| inner.timeout = timeout)
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        // Nobody else has it: it is handed out only to threads of a call, which borrows `self`.
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            change(inner);
        }
        self
    }

    /// Encrypts a slot's secret anew under the newest version of the key, without showing it: the material to store instead.
    /// Costs one request. Prove that it opens the slot before the old one is given up.
    ///
    /// # Errors
    /// As [`KeyProvider::unwrap_secret`], and [`ProviderErrorKind::WrongKey`] if the recipe names another key.
    pub async fn rewrap(&self, context: &SlotContext, recipe: &Recipe) -> Result<Fields> {
        if recipe.reference != self.reference() {
            return Err(ProviderError::new(
                ProviderErrorKind::WrongKey,
                "the slot is of another Transit key than the one of this provider's URI",
            ));
        }
        let ciphertext = stored(recipe)?;
        let context = derivation(context);
        self.ask(move |inner, deadline| {
            let answer = inner.key(
                "rewrap",
                &Question::of(&context, Some(&ciphertext)),
                deadline,
            )?;
            let answer: Answer<Encrypted> = answer.json()?;
            made(answer.data.ciphertext)
        })
        .await
    }

    /// Finds out more than [`KeyProvider::probe`]: what the token may do and which versions the key has. Costs three requests.
    ///
    /// # Errors
    /// As [`KeyProvider::probe`].
    pub async fn inspect(&self) -> Result<VaultReport> {
        self.ask(Inner::inspect).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, Instant) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        // A time that is too long to be added is a year.
        let now = Instant::now();
        let deadline = now
            .checked_add(inner.timeout)
            .unwrap_or_else(|| now + Duration::from_secs(365 * 86_400));
        off_thread("sealed-store-vault", move || work(&inner, deadline))
            .await
            .unwrap_or_else(|| {
                Err(ProviderError::new(
                    ProviderErrorKind::Unavailable,
                    "no thread could be started to ask the key service; try again",
                ))
            })
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl KeyProvider for Vault {
    fn kind(&self) -> &str {
        "vault"
    }

    fn reference(&self) -> Fields {
        let place = &self.inner.place;
        let mut reference = Fields::from([("key".to_owned(), place.path("keys"))]);
        if let Some(namespace) = self.inner.client.namespace() {
            reference.insert("namespace".to_owned(), namespace.to_owned());
        }
        reference
    }

    async fn generate(&self, context: &SlotContext) -> Result<NewSlot> {
        let context = derivation(context);
        self.ask(move |inner, deadline| inner.generate(&context, deadline))
            .await
    }

    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>> {
        let ciphertext = stored(recipe)?;
        let context = derivation(context);
        self.ask(move |inner, deadline| inner.decrypt(Some(&context), &ciphertext, deadline))
            .await
    }

    async fn probe(&self) -> Result<Probe> {
        let report = self.inspect().await?;
        Ok(Probe::ready().after(report.round_trip))
    }
}

/// What Transit is asked about a key.
#[derive(Serialize)]
struct Question<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<u32>,
}

impl<'a> Question<'a> {
    fn of(context: &'a str, ciphertext: Option<&'a str>) -> Self {
        Self {
            context: Some(context),
            ciphertext,
            bits: None,
        }
    }
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

// Borrowed, so that the one copy of a secret is in the answer's buffer, which is wiped. Base64 has nothing that JSON escapes.
#[derive(Deserialize)]
struct DataKey<'a> {
    ciphertext: &'a str,
    plaintext: &'a str,
}

#[derive(Deserialize)]
struct Decrypted<'a> {
    plaintext: &'a str,
}

#[derive(Deserialize)]
struct Encrypted<'a> {
    ciphertext: &'a str,
}

#[derive(Deserialize)]
struct KeyState {
    derived: bool,
    #[serde(default)]
    soft_deleted: bool,
    latest_version: u32,
    min_decryption_version: u32,
}

impl Inner {
    fn generate(&self, context: &str, deadline: Instant) -> Result<NewSlot> {
        let question = Question {
            bits: Some(256),
            ..Question::of(context, None)
        };
        let answer = self.key("datakey/plaintext", &question, deadline)?;
        let answer: Answer<DataKey> = answer.json()?;
        let secret = decoded(answer.data.plaintext)?;
        let material = made(answer.data.ciphertext)?;
        let ciphertext = answer.data.ciphertext;
        // A key that is not derived takes a context and ignores it.
        match self.decrypt(None, ciphertext, deadline) {
            Err(error) if error.kind() == ProviderErrorKind::ContextMismatch => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(not_derived()),
        }
        // A slot that does not open again must not be made: one that was damaged on its way, or by a token without that right.
        let again = self.decrypt(Some(context), ciphertext, deadline)?;
        if !same(&secret, &again) {
            return Err(not_vault());
        }
        Ok(NewSlot { secret, material })
    }

    fn decrypt(&self, context: Option<&str>, ciphertext: &str, deadline: Instant) -> Result<Key> {
        let question = Question {
            context,
            ciphertext: Some(ciphertext),
            bits: None,
        };
        let answer = self.key("decrypt", &question, deadline)?;
        let answer: Answer<Decrypted> = answer.json()?;
        decoded(answer.data.plaintext)
    }

    fn inspect(&self, deadline: Instant) -> Result<VaultReport> {
        let begun = Instant::now();
        let question = Question::of("c2VhbGVk", Some(NOTHING));
        match self.key("decrypt", &question, deadline) {
            Err(error) if error.kind() == ProviderErrorKind::Corrupt => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(not_vault()),
        }
        let mut report = VaultReport {
            round_trip: begun.elapsed(),
            may_generate: None,
            may_rewrap: None,
            latest_version: None,
            min_decryption_version: None,
        };
        let [datakey, rewrap, key] = [
            self.place.path("datakey/plaintext"),
            self.place.path("rewrap"),
            self.place.path("keys"),
        ];
        let paths = HashMap::from([("paths", [&datakey, &rewrap, &key])]);
        if let Some(answer) =
            self.permitted("POST", "sys/capabilities-self", Some(&paths), deadline)?
        {
            let rights: Answer<HashMap<String, Vec<String>>> = answer.json()?;
            let may = |path: &str| {
                let rights = rights.data.get(path)?;
                Some(
                    rights
                        .iter()
                        .any(|right| right == "update" || right == "root"),
                )
            };
            report.may_generate = may(&datakey);
            report.may_rewrap = may(&rewrap);
        }
        if let Some(answer) = self.permitted("GET", &key, None::<&()>, deadline)? {
            let state: Answer<KeyState> = answer.json()?;
            if !state.data.derived {
                return Err(not_derived());
            }
            if state.data.soft_deleted {
                return Err(failure(Task::Key, Refusal::soft_deleted()));
            }
            report.latest_version = Some(state.data.latest_version);
            report.min_decryption_version = Some(state.data.min_decryption_version);
        }
        Ok(report)
    }

    /// A question that the token need not be allowed to ask.
    fn permitted(
        &self,
        method: &str,
        path: &str,
        question: Option<&impl Serialize>,
        deadline: Instant,
    ) -> Result<Option<wire::Body>> {
        let question = question.map(wire::body).transpose()?;
        let (token, _) = self.present(deadline)?;
        // No login again: a secret id may have a number of uses.
        match self
            .client
            .send(method, path, Some(&token), question.as_ref(), deadline)
        {
            Ok(answer) => Ok(Some(answer)),
            Err(refusal) if refusal.status() == Some(403) => Ok(None),
            Err(refusal) => Err(failure(Task::Key, refusal)),
        }
    }

    /// One request about the key, with a login before it if there is no session, and once more with a new one if the service
    /// does not know the session any more.
    fn key(&self, verb: &str, question: &Question, deadline: Instant) -> Result<wire::Body> {
        let path = self.place.path(verb);
        let question = wire::body(question)?;
        let send = |token: &Token| {
            self.client
                .send("POST", &path, Some(token), Some(&question), deadline)
        };
        let refused = |refusal| failure(Task::Key, refusal);
        let (token, old) = self.present(deadline)?;
        match send(&token) {
            Err(refusal) if old && refusal.status() == Some(403) => {
                self.forget(&token);
                let (token, _) = self.present(deadline)?;
                send(&token).map_err(refused)
            }
            answer => answer.map_err(refused),
        }
    }
}

/// What is put into the derivation: printable, for it is base64 on the wire and hashed in the service's audit log.
fn derivation(context: &SlotContext) -> String {
    let keyring = HEXLOWER.encode(&context.keyring_id);
    BASE64.encode(format!("sealed-store keyring {keyring} slot {}", context.slot).as_bytes())
}

/// The ciphertext of a recipe, whose form was checked.
fn stored(recipe: &Recipe) -> Result<String> {
    recipe
        .material
        .get(CIPHERTEXT)
        .filter(|ciphertext| recipe.material.len() == 1 && is_ciphertext(ciphertext))
        .cloned()
        .ok_or_else(|| {
            ProviderError::new(
                ProviderErrorKind::Corrupt,
                "what the slot stored for Vault is damaged; use another slot, or a copy of the keyring",
            )
        })
}

/// The material of a ciphertext that the service made.
fn made(ciphertext: &str) -> Result<Fields> {
    if !is_ciphertext(ciphertext) {
        return Err(not_vault());
    }
    Ok(Fields::from([(
        CIPHERTEXT.to_owned(),
        ciphertext.to_owned(),
    )]))
}

/// `vault:vN:` and base64 of a nonce, 32 bytes and a tag, in the one spelling that the service writes: it would read others.
fn is_ciphertext(text: &str) -> bool {
    let parts = text
        .strip_prefix("vault:v")
        .filter(|_| text.len() <= 512)
        .and_then(|rest| rest.split_once(':'));
    parts.is_some_and(|(version, blob)| {
        version
            .parse::<u32>()
            .is_ok_and(|number| number > 0 && number.to_string() == version)
            && BASE64
                .decode(blob.as_bytes())
                .is_ok_and(|blob| (60..=256).contains(&blob.len()))
    })
}

fn decoded(plaintext: &str) -> Result<Key> {
    // 32 bytes are 43 characters and one of padding; the decoder wants room for 33.
    let mut buffer = zeroize::Zeroizing::new([0; 33]);
    let length = Some(plaintext)
        .filter(|text| text.len() == 44)
        .and_then(|text| BASE64.decode_mut(text.as_bytes(), &mut *buffer).ok());
    let (Some(32), Some(bytes)) = (length, buffer.first_chunk::<32>()) else {
        return Err(not_vault());
    };
    let mut secret = Key::default();
    secret.expose_secret_mut().copy_from_slice(bytes);
    Ok(secret)
}

fn same(one: &Key, other: &Key) -> bool {
    one.expose_secret().ct_eq(other.expose_secret()).into()
}

fn not_derived() -> ProviderError {
    misconfigured(
        "the Transit key is not derived, so it would not bind a slot's context; make one with derived=true",
    )
}

#[cfg(test)]
mod tests;
