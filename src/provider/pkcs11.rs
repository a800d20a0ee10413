//! A slot whose secret is wrapped by a key in a PKCS#11 token, which never leaves it.

mod error;
mod key;
mod module;
mod uri;
mod wrap;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use subtle::ConstantTimeEq;

use self::error::REFUSED_BEFORE;
use self::key::Opened;
use self::module::{Module, held};
use self::uri::Uri;
pub use self::wrap::Pkcs11Wrap;
use super::{
    Fields, KeyProvider, NewSlot, Probe, ProviderError, ProviderErrorKind, Recipe, Rights,
    SlotContext, pin,
};
use crate::thread::{off_thread, within};

/// The default of [`Pkcs11::timeout`]. A token on a network needs a second or two, and others may be before us.
const TIMEOUT: Duration = Duration::from_secs(30);

type Result<T> = std::result::Result<T, ProviderError>;

/// Opens a slot with an AES-256 key in a PKCS#11 token (an HSM, a smart card, SoftHSM), which never leaves it.
///
/// Configured by a URI of RFC 7512. It names the token (`token`, `serial`, `manufacturer`, `model`), the key in it (`object`,
/// `id`), the token's library (`module-path`, absolute: whoever chooses it runs code in this process) and a file
/// with the PIN (`pin-source=file:…`, mode 0600). The PIN can also be given [in code](Self::pin), never in the URI.
///
/// The slot's secret is 32 random bytes that the token encrypts with AES-GCM, bound to keyring and slot; see [`Pkcs11Wrap`]
/// for tokens without it. A key that is not sensitive, that is extractable or that has not 32 bytes is refused.
///
/// Every call works on a session and a thread of its own. Nobody is logged out: a login is the whole process's, and a
/// token ends it with the process's last session. So a wrong PIN is not noticed while another part of the process is
/// logged in. A PIN that the token refused is not tried again by the same provider, and a token's last try is never used.
///
/// ```
/// use sealed_store::Pkcs11;
///
/// let uri = "pkcs11:token=production;object=sealed-store?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/secrets/pin";
/// let provider = Pkcs11::from_uri(uri)?;
/// # let _ = provider;
/// # Ok::<(), sealed_store::ProviderError>(())
/// ```
pub struct Pkcs11 {
    config: Config,
    timeout: Duration,
}

/// What a call takes with it to its thread.
#[derive(Clone)]
struct Config {
    uri: Arc<Uri>,
    module: Arc<Module>,
    pin: Option<Arc<SecretString>>,
    wrap: Option<Pkcs11Wrap>,
    /// The PIN that the token refused.
    refused: Arc<Mutex<Option<Arc<SecretString>>>>,
}

impl Pkcs11 {
    /// The key that a `pkcs11:` URI names, at most 4,096 bytes. Nothing is loaded or contacted yet.
    ///
    /// # Errors
    /// [`ProviderErrorKind::BadRequest`] if the URI is malformed, lacks token, key or `module-path`, holds an attribute that
    /// is not used here or is there twice, a `pin-value`, or a path that is not absolute.
    pub fn from_uri(uri: &str) -> Result<Self> {
        let uri = Uri::parse(uri)?;
        Ok(Self {
            config: Config {
                module: Module::of(&uri.module),
                uri: Arc::new(uri),
                pin: None,
                wrap: None,
                refused: Arc::default(),
            },
            timeout: TIMEOUT,
        })
    }

    /// The PIN of the token's user, at most 255 bytes; it goes before `pin-source`.
    #[must_use]
    pub fn pin(mut self, pin: impl Into<SecretString>) -> Self {
        self.config.pin = Some(Arc::new(pin.into()));
        self
    }

    /// Wraps in this way only, when a slot is made and when one is opened, whatever else the token offers.
    #[must_use]
    pub fn wrap(mut self, wrap: Pkcs11Wrap) -> Self {
        self.config.wrap = Some(wrap);
        self
    }

    /// Makes the key in the token, under the URI's `object` and `id` (16 random bytes if it has none). Its attributes:
    ///
    /// ```text
    /// CKA_CLASS = CKO_SECRET_KEY    CKA_TOKEN = true         CKA_SENSITIVE = true      CKA_DERIVE = false
    /// CKA_KEY_TYPE = CKK_AES        CKA_PRIVATE = true       CKA_EXTRACTABLE = false   CKA_SIGN = CKA_VERIFY = false
    /// CKA_VALUE_LEN = 32            CKA_MODIFIABLE = false
    /// CKA_ENCRYPT = CKA_DECRYPT = true, CKA_WRAP = CKA_UNWRAP = false    for AES-GCM; the other way round for key wrap
    /// ```
    ///
    /// # Errors
    /// [`ProviderErrorKind::BadRequest`] if there is such a key already, or if the token offers none of
    /// [`Pkcs11Wrap`]; otherwise as [`KeyProvider::generate`]. No key was made then.
    pub async fn make_key(&self) -> Result<()> {
        self.on_thread(|config| key::make(&config)).await
    }

    /// How long one call may take. Default: 30 seconds; the default [`Patience`](crate::Patience) of a
    /// [`Patient`](crate::Patient) around it is shorter.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(Config) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let config = self.config.clone();
        let unavailable = |advice| ProviderError::new(ProviderErrorKind::Unavailable, advice);
        let answer = off_thread("sealed-store-pkcs11", move || work(config));
        match within(self.timeout, answer).await {
            Some(Some(answer)) => answer,
            Some(None) => Err(unavailable(
                "no thread for the token could be started; free memory or threads, then try again",
            )),
            None => Err(unavailable(
                "the token did not answer in time; check it, and who else uses it, then try again",
            )),
        }
    }
}

impl Config {
    /// The PIN, if one is configured.
    fn read_pin(&self) -> Result<Option<Arc<SecretString>>> {
        pin::read(self.pin.as_ref(), self.uri.pin_source.as_deref())
    }

    fn check_not_refused(&self, pin: &SecretString) -> Result<()> {
        let refused = held(&self.refused);
        let same = refused.as_ref().is_some_and(|refused| {
            bool::from(
                refused
                    .expose_secret()
                    .as_bytes()
                    .ct_eq(pin.expose_secret().as_bytes()),
            )
        });
        if same {
            return Err(ProviderError::new(
                ProviderErrorKind::Denied,
                REFUSED_BEFORE,
            ));
        }
        Ok(())
    }
}

#[async_trait]
impl KeyProvider for Pkcs11 {
    fn kind(&self) -> &str {
        "pkcs11"
    }

    fn reference(&self) -> Fields {
        self.config.uri.reference()
    }

    async fn generate(&self, context: &SlotContext) -> Result<NewSlot> {
        let context = *context;
        self.on_thread(move |config| wrap::generate(&Opened::of(&config)?, &config, &context))
            .await
    }

    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>> {
        let context = *context;
        // Before the token is asked for anything.
        let material = wrap::Material::read(&recipe.material, self.config.wrap)?;
        self.on_thread(move |config| wrap::open(&Opened::of(&config)?, &material, &context))
            .await
    }

    /// Logs in and looks at the key, as the other calls do: a wrong PIN uses up a try.
    async fn probe(&self) -> Result<Probe> {
        self.on_thread(|config| {
            let begun = Instant::now();
            let opened = Opened::of(&config)?;
            wrap::choose(&opened, config.wrap)?;
            // The key's attributes say so.
            let rights = Rights {
                open: Some(true),
                make: Some(true),
                rewrap: Some(false),
            };
            Ok(Probe::ready().after(begun.elapsed()).rights(rights))
        })
        .await
    }
}
