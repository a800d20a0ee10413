//! A slot whose secret is in the desktop's keychain.

mod platform;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use keyring_core::{CredentialStore, Entry};
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use zeroize::{Zeroize, Zeroizing};

use super::{
    Fields, KeyProvider, NewSlot, Probe, ProviderError, ProviderErrorKind, Recipe, SlotContext,
};
use crate::secret::{self, Key};
use crate::thread::{off_thread, within};

type Result<T> = std::result::Result<T, ProviderError>;

/// What the material calls the program that held the keychain when the slot was made.
const HOLDER: &str = "holder";
/// No program has a longer name here.
const HOLDER_LEN: usize = 64;
/// The default of [`Keychain::timeout`]: a person may have to type a password.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Opens a slot with a random secret that the desktop's keychain keeps: the Secret Service (GNOME Keyring, KDE Wallet,
/// KeePassXC), macOS's keychain, or Windows' Credential Manager. It spares its user the passphrase; never bet an account on it
/// alone, for a keychain is lost with the machine, the login or the desktop: a keyring refuses it as its only slot
/// ([`KeyringOptions::allow_lone_slot`](crate::KeyringOptions::allow_lone_slot)).
///
/// Each slot has an entry of its own, named by the service, the keyring's id and the slot. What the slot itself stores is no
/// secret: which kind of keychain it is, and which program held it, so that a changed desktop is named. A keychain that is closed
/// asks its user, where there is somebody to ask.
///
/// Only the Secret Service is tested. Buffers of the libraries in between (D-Bus messages and the session's cipher) are not wiped.
pub struct Keychain {
    service: String,
    timeout: Duration,
}

impl Keychain {
    /// Entries of this service: 1 to 64 characters of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`, such as the application's name.
    ///
    /// # Errors
    /// [`ProviderErrorKind::BadRequest`] for another name.
    pub fn new(service: impl Into<String>) -> Result<Self> {
        let service = service.into();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if service.is_empty() || service.len() > 64 || !service.bytes().all(plain) {
            return Err(ProviderError::new(
                ProviderErrorKind::BadRequest,
                "a keychain's service is 1 to 64 characters of A-Z, a-z, 0-9, dot, underscore and hyphen",
            ));
        }
        Ok(Self {
            service,
            timeout: TIMEOUT,
        })
    }

    /// As [`Keychain::new`], from `keychain:SERVICE`.
    ///
    /// # Errors
    /// [`ProviderErrorKind::BadRequest`] for any other text.
    pub fn from_uri(uri: &str) -> Result<Self> {
        let service = uri.strip_prefix("keychain:").ok_or(ProviderError::new(
            ProviderErrorKind::BadRequest,
            "a keychain is configured by keychain:SERVICE, with nothing after it",
        ))?;
        Self::new(service)
    }

    /// How long one call may take, with the time that a person needs to answer the keychain's question. Default: 60 seconds. The
    /// default [`Patience`](crate::Patience) of a [`Patient`](crate::Patient) around it is shorter.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Removes a slot's entry from the keychain. For after [`Keyring::remove_slot`](crate::Keyring::remove_slot), which leaves it
    /// there: other copies of the keyring may still want it. `false` if there was none.
    ///
    /// # Errors
    /// As [`KeyProvider::unwrap_secret`].
    pub async fn forget(&self, keyring_id: [u8; 16], slot: u32) -> Result<bool> {
        let context = SlotContext { keyring_id, slot };
        self.with_entry(&context, |entry| match entry.delete_credential() {
            Ok(()) => Ok(true),
            Err(keyring_core::Error::NoEntry) => Ok(false),
            Err(error) => Err(from_store(error)),
        })
        .await
    }

    /// One visit to the keychain, on a thread of its own.
    async fn visit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let answer = within(self.timeout, off_thread("sealed-store-keychain", work)).await;
        match answer {
            Some(Some(answer)) => answer,
            Some(None) => Err(ProviderError::new(
                ProviderErrorKind::Unavailable,
                "no thread could ask the keychain; try again",
            )),
            None => Err(ProviderError::new(
                ProviderErrorKind::Unavailable,
                "the keychain did not answer in time; look whether it waits for somebody, then try again",
            )),
        }
    }

    async fn with_entry<T: Send + 'static>(
        &self,
        context: &SlotContext,
        work: impl FnOnce(&Entry) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let service = self.service.clone();
        let user = format!("{}/{}", HEXLOWER.encode(&context.keyring_id), context.slot);
        self.visit(move || {
            let store: Arc<CredentialStore> = platform::store().map_err(from_store)?;
            let entry = Entry::new_in_store(&store, &service, &user).map_err(from_store)?;
            work(&entry)
        })
        .await
    }
}

/// What the keychain's library says, as this crate's taxonomy. Text of the entry itself is dropped, not kept as a source.
fn from_store(error: keyring_core::Error) -> ProviderError {
    use keyring_core::Error as Keychain;
    let (kind, advice) = match &error {
        Keychain::NoEntry => (
            ProviderErrorKind::Destroyed,
            "the keychain has no entry of this slot (any more); open with another slot, then make a new one",
        ),
        Keychain::NoStorageAccess(_) => (
            ProviderErrorKind::NeedsInteraction,
            "the keychain is closed and nobody opened it; log in to the desktop or answer its question, then try again",
        ),
        Keychain::PlatformFailure(source) => platform::failure(&**source),
        Keychain::BadEncoding(_) | Keychain::BadDataFormat(..) => return damaged(error),
        Keychain::BadStoreFormat(_) => (
            ProviderErrorKind::Corrupt,
            "the keychain is damaged; repair it with its own program, or open with another slot",
        ),
        Keychain::Ambiguous(_) => (
            ProviderErrorKind::Corrupt,
            "the keychain has several entries of this slot; remove those that are not its own",
        ),
        _ => (
            ProviderErrorKind::BadRequest,
            "this system's keychain can not keep the entry; use another provider",
        ),
    };
    ProviderError::new(kind, advice).with_source(error)
}

fn damaged(error: keyring_core::Error) -> ProviderError {
    if let keyring_core::Error::BadEncoding(mut bytes)
    | keyring_core::Error::BadDataFormat(mut bytes, _) = error
    {
        bytes.zeroize();
    }
    ProviderError::new(
        ProviderErrorKind::Corrupt,
        "the keychain's entry of this slot holds something else; open with another slot, then make a new one",
    )
}

/// The secret of an entry: 64 hexadecimal digits, since some keychains keep text only.
fn read(mut text: Vec<u8>) -> Result<Key> {
    let mut secret = Key::default();
    let right = text.len() == 64
        && HEXLOWER
            .decode_mut(&text, secret.expose_secret_mut())
            .is_ok();
    text.zeroize();
    if right {
        return Ok(secret);
    }
    Err(damaged(keyring_core::Error::BadEncoding(text)))
}

/// The entry is not there: because it is gone, or because this is another keychain.
fn missing(made_with: Option<String>) -> ProviderError {
    match (made_with, platform::holder()) {
        (Some(then), Some(now)) if then != now => ProviderError::new(
            ProviderErrorKind::NeedsInteraction,
            "another program holds the keychain than when this slot was made: the desktop was changed; log in to the other one, or open with another slot",
        )
        .with_source(format!("made with {then}, now it is {now}")),
        _ => from_store(keyring_core::Error::NoEntry),
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl KeyProvider for Keychain {
    fn kind(&self) -> &str {
        "keychain"
    }

    fn reference(&self) -> Fields {
        Fields::from([
            ("service".to_owned(), self.service.clone()),
            ("store".to_owned(), platform::STORE.to_owned()),
        ])
    }

    fn may_be_lost(&self) -> bool {
        true
    }

    async fn generate(&self, context: &SlotContext) -> Result<NewSlot> {
        let (secret, holder) = self
            .with_entry(context, |entry| {
                // A copy of the keyring that went another way has a slot of this number, and its secret is here.
                match entry.get_secret() {
                    Err(keyring_core::Error::NoEntry) => {}
                    Err(error) => return Err(from_store(error)),
                    Ok(mut secret) => {
                        secret.zeroize();
                        return Err(ProviderError::new(
                            ProviderErrorKind::BadRequest,
                            "the keychain has an entry of this slot already, from another copy of the keyring; add the slot again: it gets the next number",
                        ));
                    }
                }
                let secret = secret::random_key().map_err(|error| {
                    ProviderError::new(ProviderErrorKind::Unavailable, "no random bytes; try again")
                        .with_source(error)
                })?;
                let mut text = Zeroizing::new([0; 64]);
                HEXLOWER.encode_mut(secret.expose_secret(), &mut *text);
                entry.set_secret(&*text).map_err(from_store)?;
                Ok((secret, platform::holder()))
            })
            .await?;
        let holder = holder.map(|holder| (HOLDER.to_owned(), holder));
        Ok(NewSlot {
            secret,
            material: holder.into_iter().collect(),
        })
    }

    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>> {
        let material = &recipe.material;
        let made_with = material.get(HOLDER).cloned();
        let fits = made_with.iter().all(|holder| holder.len() <= HOLDER_LEN);
        if !fits || material.keys().any(|name| name != HOLDER) {
            return Err(ProviderError::new(
                ProviderErrorKind::Corrupt,
                "the slot of a keychain has other fields than it should; restore the keyring from a backup",
            ));
        }
        self.with_entry(context, move |entry| match entry.get_secret() {
            Ok(text) => read(text),
            Err(keyring_core::Error::NoEntry) => Err(missing(made_with)),
            Err(error) => Err(from_store(error)),
        })
        .await
    }

    async fn probe(&self) -> Result<Probe> {
        let begun = Instant::now();
        self.visit(|| platform::probe().map_err(from_store)).await?;
        Ok(Probe::ready().after(begun.elapsed()))
    }
}
