//! A slot whose secret is sealed by this machine's TPM 2.0.

mod chip;
mod error;
mod sealed;
mod uri;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use secrecy::{SecretBox, SecretString};

use self::chip::Chip;
use self::sealed::Material;
use self::uri::{Uri, Way};
use super::{
    KeyProvider, NewSlot, Probe, ProviderError, ProviderErrorKind, Recipe, SlotContext, pin,
};
use crate::thread::{off_thread, within};

type Result<T> = std::result::Result<T, ProviderError>;

/// The default of [`Tpm2::timeout`]. A discrete TPM needs a second or two, and others may be before us.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Opens a slot with a random secret that this machine's TPM 2.0 sealed, with a PIN if one is given. It opens nowhere else; so a
/// keyring refuses it as its only slot ([`KeyringOptions::allow_lone_slot`](crate::KeyringOptions::allow_lone_slot)).
///
/// The secret is 32 bytes from the operating system, sealed under a storage key of the owner hierarchy (P-256) that is made anew
/// for each call: nothing is left in the TPM. The object's policy binds keyring and slot, and asks for the PIN. With a
/// PIN the TPM counts wrong ones, for all its users together. The PIN and the secret travel encrypted between this process and
/// the TPM. No state of the machine (PCR) is bound: whoever starts another system on it, without a PIN, has the secret.
///
/// The slot stores the name of the storage key, so that another TPM, or a TPM that was cleared, is told at once.
///
/// One call is made at a time in a process, on a thread of its own. Other processes need the kernel's resource manager between them
/// and the TPM, which `/dev/tpmrm0` is.
///
/// ```
/// use sealed_store::Tpm2;
///
/// let provider = Tpm2::from_uri("tpm2:")?.pin("correct horse");
/// let with_file = Tpm2::from_uri("tpm2:?tcti=device:/dev/tpmrm0&pin-file=/run/secrets/pin")?;
/// # let _ = (provider, with_file);
/// # Ok::<(), sealed_store::ProviderError>(())
/// ```
pub struct Tpm2 {
    config: Config,
    turn: Turn,
    timeout: Duration,
}

/// What a call takes with it to its thread.
#[derive(Clone)]
struct Config {
    uri: Arc<Uri>,
    pin: Option<Arc<SecretString>>,
}

impl Config {
    fn read_pin(&self) -> Result<Option<Arc<SecretString>>> {
        pin::read(self.pin.as_ref(), self.uri.pin_file.as_deref())
    }
}

/// Held by the thread that uses a TPM.
type Turn = Arc<async_lock::Mutex<()>>;

/// One for each TPM in the process.
fn turn(way: &Way) -> Turn {
    static TURNS: OnceLock<Mutex<HashMap<Way, Turn>>> = OnceLock::new();
    let turns = TURNS.get_or_init(Mutex::default);
    let mut turns = turns.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(turns.entry(way.clone()).or_default())
}

impl Tpm2 {
    /// The TPM that a `tpm2:` URI names, at most 4,096 bytes. Nothing is contacted yet.
    ///
    /// `tpm2:` alone is `/dev/tpmrm0`. After `tpm2:?` come, in any order and joined by `&`, `tcti=device:/dev/NAME` for another
    /// device (or `tcti=swtpm:host=127.0.0.1,port=2321`, a loopback address, for tests) and `pin-file=/PATH`, a file of mode 0600 with
    /// the PIN and at most one line end. Values are taken as they are, without percent-encoding.
    ///
    /// # Errors
    /// [`ProviderErrorKind::BadRequest`] for anything else, and for a PIN in it.
    pub fn from_uri(uri: &str) -> Result<Self> {
        let uri = Uri::parse(uri)?;
        Ok(Self {
            turn: turn(&uri.way),
            config: Config {
                uri: Arc::new(uri),
                pin: None,
            },
            timeout: TIMEOUT,
        })
    }

    /// The PIN of slots that are made, and of those that were made with one: 1 to 255 bytes. It goes before `pin-file`.
    #[must_use]
    pub fn pin(mut self, pin: impl Into<SecretString>) -> Self {
        self.config.pin = Some(Arc::new(pin.into()));
        self
    }

    /// How long one call may take, with the wait for its turn. Default: 30 seconds; the default
    /// [`Patience`](crate::Patience) of a [`Patient`](crate::Patient) around it is shorter.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// One visit to the TPM, on a thread of its own, once it is this call's turn. Who waits for his turn has no thread yet, so
    /// that a TPM that hangs keeps one.
    async fn visit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Config) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let config = self.config.clone();
        let turn = Arc::clone(&self.turn);
        let answer = within(self.timeout, async move {
            let turn = turn.lock_arc().await;
            off_thread("sealed-store-tpm2", move || {
                let answer = work(&config);
                drop(turn);
                answer
            })
            .await
        });
        match answer.await {
            Some(Some(answer)) => answer,
            Some(None) => Err(ProviderError::new(
                ProviderErrorKind::Unavailable,
                "no thread for the TPM could be started; free memory or threads, then try again",
            )),
            None => Err(ProviderError::new(
                ProviderErrorKind::Unavailable,
                "the TPM did not answer in time; check it, and who else uses it, then try again",
            )),
        }
    }
}

#[async_trait]
impl KeyProvider for Tpm2 {
    fn kind(&self) -> &str {
        "tpm2"
    }

    fn may_be_lost(&self) -> bool {
        true
    }

    async fn generate(&self, context: &SlotContext) -> Result<NewSlot> {
        let context = *context;
        self.visit(move |config| sealed::generate(config, &context))
            .await
    }

    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>> {
        let context = *context;
        // Before the TPM is asked for anything.
        let material = Material::read(&recipe.material)?;
        self.visit(move |config| sealed::open(config, material, &context))
            .await
    }

    /// Makes the storage key, as the other calls do, and reads the PIN. Only a slot tells whether a PIN is right.
    async fn probe(&self) -> Result<Probe> {
        self.visit(|config| {
            let begun = Instant::now();
            let pin = config.read_pin()?;
            let mut chip = Chip::reach(&config.uri.way)?;
            if pin.is_some() && chip.is_in_lockout()? {
                return Err(error::in_lockout());
            }
            Ok(Probe::ready().after(begun.elapsed()))
        })
        .await
    }
}
