//! A slot whose secret is a data key of Vault's or OpenBao's Transit engine.

mod credentials;
mod failure;
mod transit;
mod uri;
mod wire;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use secrecy::{SecretBox, SecretString};

use credentials::Credentials;
use credentials::Token;
pub use credentials::VaultAppRole;
use transit::{derivation, stored};
use uri::Place;
use wire::Client;

use super::{
    Fields, KeyProvider, NewSlot, Probe, ProviderError, ProviderErrorKind, Recipe, Rights,
    SlotContext,
};
use crate::thread::{off_thread, within};

type Result<T> = std::result::Result<T, ProviderError>;

/// A slot by a Transit key of Vault or OpenBao: a 256-bit data key that the service made, stored encrypted under its key, and
/// decrypted by it each time the keyring is opened.
///
/// The Transit key must be made with `derived=true`: the slot's context (keyring id and slot number) then goes into the
/// derivation of the key that encrypts, and a recipe that is moved to another slot or keyring does not decrypt. A key that is
/// not derived would ignore the context; no slot is made with one.
///
/// Opening costs one request, `decrypt`; with [`Vault::app_role`] a login comes before the first one, and again after the
/// service refused a token that it once gave. Making a slot costs three: the data key, a decryption that must fail for
/// want of its context, and the keyring's own, which proves that the slot opens. Each request has a connection of its own; answers are read up to 64 KiB; redirects are not
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
    /// certificates that are trusted, instead of the public ones) and one of
    ///
    /// * `token_file`, as [`Self::token_file`];
    /// * `role_id` and `secret_id_file`, and `approle_mount` where it is not `approle`, as [`Self::app_role`];
    ///
    /// percent-encoded. `http` is taken for a loopback address only, written in digits. Without these, or one of the methods
    /// below, which replace them, the token is taken from the environment variable `VAULT_TOKEN`, at each use.
    ///
    /// ```
    /// # fn main() -> Result<(), sealed_store::ProviderError> {
    /// let vault = sealed_store::Vault::from_uri(
    ///     "vault:https://vault.example:8200/transit/keys/whatsapp?role_id=9b1c0e4e&secret_id_file=/etc/whatsapp/secret-id",
    /// )?;
    /// # let _ = vault;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProviderErrorKind::BadRequest`] for anything else, for both a token file and a role, and for a `ca` that holds no certificate;
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
                credentials: parsed.credentials,
                timeout: Duration::from_secs(5),
                session: Mutex::new(None),
            }),
        })
    }

    /// Whether the URI, or a method, says where the token comes from.
    pub(super) fn has_credentials(&self) -> bool {
        !matches!(self.inner.credentials, Credentials::Environment)
    }

    /// With this token.
    #[must_use]
    pub fn token(self, token: impl Into<SecretString>) -> Self {
        self.with(|inner| inner.present_with(Credentials::Token(Arc::new(token.into()))))
    }

    /// With the token in this file, which is read at each use, so that an agent can renew it: one line, at most 8 KiB. On Unix
    /// nobody but its owner and, to read, its group may have rights to it.
    #[must_use]
    pub fn token_file(self, path: impl Into<PathBuf>) -> Self {
        self.with(|inner| inner.present_with(Credentials::TokenFile(path.into())))
    }

    /// With a token that a login gives, when it is needed.
    #[must_use]
    pub fn app_role(self, role: VaultAppRole) -> Self {
        self.with(|inner| inner.present_with(Credentials::AppRole(role)))
    }

    /// How long a call may take, login included: 5 seconds by default.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|inner| inner.timeout = timeout)
    }

    fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        // A call whose future was dropped may have it still.
        let mut inner = Arc::try_unwrap(self.inner).unwrap_or_else(|shared| Inner {
            place: shared.place.clone(),
            client: shared.client.clone(),
            credentials: shared.credentials.clone(),
            timeout: shared.timeout,
            session: Mutex::new(None),
        });
        change(&mut inner);
        Self {
            inner: Arc::new(inner),
        }
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
        let limit = inner.timeout;
        let answer = off_thread("sealed-store-vault", move || work(&inner, deadline));
        let unavailable = |advice| ProviderError::new(ProviderErrorKind::Unavailable, advice);
        match within(limit, answer).await {
            Some(Some(answer)) => answer,
            Some(None) => Err(unavailable(
                "no thread could be started to ask the key service; try again",
            )),
            // The service's answers end by the deadline; files of tokens need not.
            None => Err(unavailable(
                "the key service, or the file of its credentials, did not answer in time; check both, then try again",
            )),
        }
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

    /// Under the newest version of the same key; Transit moves nothing to another one. Costs one request.
    async fn rewrap(&self, context: &SlotContext, recipe: &Recipe, to: &Fields) -> Result<Fields> {
        let own = self.reference();
        if recipe.reference != own {
            return Err(ProviderError::new(
                ProviderErrorKind::WrongKey,
                "the slot is of another Transit key than the one of this provider's URI",
            ));
        }
        if *to != own {
            return Err(ProviderError::new(
                ProviderErrorKind::BadRequest,
                "Transit encrypts anew under the same key only; put a slot of the other key in this one's place instead",
            ));
        }
        let ciphertext = stored(recipe)?;
        let context = derivation(context);
        self.ask(move |inner, deadline| inner.rewrap(&context, &ciphertext, deadline))
            .await
    }

    async fn probe(&self) -> Result<Probe> {
        let report = self.inspect().await?;
        // It was asked to decrypt, and did not refuse.
        let rights = Rights {
            open: Some(true),
            make: report.may_generate,
            rewrap: report.may_rewrap,
        };
        Ok(Probe::ready()
            .after(report.round_trip)
            .rights(rights)
            .key_version(report.latest_version))
    }
}

#[cfg(test)]
mod tests;
