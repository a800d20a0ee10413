//! Where a slot's secret comes from: a passphrase, a raw key, a recovery code, a keychain, an HSM, a KMS.
//!
//! A provider speaks in KMS words: [`generate`](KeyProvider::generate) gives a fresh secret and what
//! to store so that it can be had again, [`unwrap_secret`](KeyProvider::unwrap_secret) gives it back.
//! It never sees the root key: the keyring derives a slot key from the secret with HKDF, bound to the
//! keyring's id, the slot and the provider's kind, and wraps the root key itself. So every provider
//! is bound to its context, whatever the thing behind it can bind.

#[cfg(feature = "aws-kms")]
mod aws_kms;
mod combined;
#[cfg(feature = "keychain")]
mod keychain;
mod passphrase;
mod patient;
#[cfg(any(feature = "pkcs11", feature = "tpm2"))]
mod pin;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod raw_key;
mod recovery;
#[cfg(feature = "shares")]
mod shares;
#[cfg(feature = "tpm2")]
mod tpm2;
mod typed;
mod uri;
#[cfg(feature = "vault")]
mod vault;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
#[cfg(feature = "aws-kms")]
pub use aws_kms::AwsKms;
use secrecy::SecretBox;

pub use combined::Combined;
#[cfg(feature = "keychain")]
pub use keychain::Keychain;
pub(crate) use passphrase::cost_of;
pub use passphrase::{DEFAULT_KDF_CEILING, KdfCost, Passphrase, calibrate};
pub use patient::{Patience, Patient};
#[cfg(feature = "pkcs11")]
pub use pkcs11::{Pkcs11, Pkcs11Wrap};
pub use raw_key::RawKey;
pub use recovery::{RecoveryCode, RecoveryCodeError};
#[cfg(feature = "shares")]
pub use shares::{Share, ShareError, SharesProvider};
#[cfg(feature = "tpm2")]
pub use tpm2::Tpm2;
pub use uri::{ProviderCredentials, provider_from_uri};
#[cfg(feature = "vault")]
pub use vault::{Vault, VaultAppRole, VaultReport};

use crate::error::{Opaque, calm};

/// Text fields of a recipe, by name.
pub type Fields = BTreeMap<String, String>;

/// The slot that a secret is for. A provider that can bind context (an encryption context, a
/// derivation context) binds these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotContext {
    /// The keyring's id, 16 random bytes.
    pub keyring_id: [u8; 16],
    /// The slot's number in it, never reused.
    pub slot: u32,
}

/// What the keyring stores for a slot, besides the wrapped root key. It has no limit of its own; the whole
/// keyring document holds at most 4 MiB.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Which key this is: a key id, an endpoint, a path. Compared with
    /// [`KeyProvider::reference`], never followed: who can write the file could name his own.
    pub reference: Fields,
    /// What the provider needs besides: a salt, a cost, a ciphertext blob. Untrusted until the
    /// keyring's MAC was checked, so a provider bounds-checks it before it allocates or computes.
    pub material: Fields,
}

impl Recipe {
    /// That there is no material, of a provider that stores none.
    fn check_no_material(&self) -> Result<(), ProviderError> {
        if self.material.is_empty() {
            return Ok(());
        }
        Err(ProviderError::new(
            ProviderErrorKind::Corrupt,
            "the slot has material, which none of its kind has; the keyring was altered",
        ))
    }
}

/// A fresh slot secret and what to store for it.
pub struct NewSlot {
    /// 32 uniform bytes.
    pub secret: SecretBox<[u8; 32]>,
    /// Goes into [`Recipe::material`].
    pub material: Fields,
}

/// What [`KeyProvider::probe`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Probe {
    /// Whether a slot could be made or opened now.
    pub ready: bool,
    /// How long the check took, where it went to a service.
    pub round_trip: Option<Duration>,
    /// What these credentials may do, as far as the service tells without its being done.
    pub rights: Rights,
    /// The key's newest version, where the service counts them and tells.
    pub key_version: Option<u32>,
}

/// What credentials may do with a key; `None` is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rights {
    /// Open slots.
    pub open: Option<bool>,
    /// Make slots.
    pub make: Option<bool>,
    /// Have a slot's secret encrypted anew ([`KeyProvider::rewrap`]).
    pub rewrap: Option<bool>,
}

impl Probe {
    /// The answer of a provider that can be used now.
    #[must_use]
    pub fn ready() -> Self {
        Self {
            ready: true,
            round_trip: None,
            rights: Rights::default(),
            key_version: None,
        }
    }

    /// Adds how long the check took.
    #[must_use]
    pub fn after(mut self, round_trip: Duration) -> Self {
        self.round_trip = Some(round_trip);
        self
    }

    /// Adds what the credentials may do.
    #[must_use]
    pub fn rights(mut self, rights: Rights) -> Self {
        self.rights = rights;
        self
    }

    /// Adds the key's newest version.
    #[must_use]
    pub fn key_version(mut self, version: Option<u32>) -> Self {
        self.key_version = version;
        self
    }
}

/// Gives slots their secrets. No call blocks the thread that polls it: what blocks runs on a thread of its own, so that whoever
/// gives up waiting ([`Patient`], a [`Lease`](crate::Lease)) can. See the module's text; `examples/custom_provider.rs` shows one written
/// outside this crate.
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
pub trait KeyProvider: Send + Sync {
    /// A short, stable name of the kind (`passphrase`, `raw-key`, `aws-kms`, …): 1 to 32 characters
    /// of `a-z`, `0-9` and `-`. Stored in the slot; only slots of this kind are tried.
    fn kind(&self) -> &str;

    /// Which key this provider is configured for. A slot whose recipe says otherwise is not tried.
    fn reference(&self) -> Fields {
        Fields::new()
    }

    /// Whether this provider's key goes with a machine, a login or a desktop: lost there, it can't be had elsewhere, by nobody's
    /// fault. Recorded in the slot: a keyring refuses to be left with such slots alone, see
    /// [`KeyringOptions::allow_lone_slot`](crate::KeyringOptions::allow_lone_slot). Default: `false`.
    fn may_be_lost(&self) -> bool {
        false
    }

    /// A fresh, uniformly random or derived secret of 32 bytes for a new slot, and what to store for it.
    ///
    /// # Errors
    /// A [`ProviderError`] whose kind says whether trying again can help. Nothing was stored.
    async fn generate(&self, context: &SlotContext) -> Result<NewSlot, ProviderError>;

    /// The secret of an existing slot. `recipe.reference` equals [`Self::reference`] already. A
    /// secret that is merely wrong (a mistyped passphrase) may be returned as it is: the keyring
    /// compares a commitment and answers [`SealError::WrongKey`](crate::SealError::WrongKey).
    ///
    /// # Errors
    /// A [`ProviderError`] whose kind says whether trying again can help.
    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError>;

    /// Has the service encrypt a slot's secret anew, without showing it: under the newest version of this provider's key, where
    /// `to` is its own [`reference`](Self::reference), or under another key of the same service that `to` names. Gives the
    /// material to store instead, with `to` as the recipe's reference; the secret stays what it is. `to` comes from the
    /// caller's own provider, never from a recipe. [`Keyring::rewrap_slot`](crate::Keyring::rewrap_slot) calls it.
    ///
    /// # Errors
    /// [`ProviderErrorKind::BadRequest`] where the service can't do that, as by default, or not with that key;
    /// otherwise as [`Self::unwrap_secret`].
    async fn rewrap(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
        to: &Fields,
    ) -> Result<Fields, ProviderError> {
        let _ = (context, recipe, to);
        Err(ProviderError::new(
            ProviderErrorKind::BadRequest,
            "a provider of this kind can't encrypt a secret anew without showing it; give the slot a new secret instead",
        ))
    }

    /// Checks that the provider could work, at no cost to speak of.
    ///
    /// # Errors
    /// The [`ProviderError`] that using it would give.
    async fn probe(&self) -> Result<Probe, ProviderError>;
}

/// A provider behind a pointer.
macro_rules! behind {
    ($($pointer:ident),*) => {$(
        #[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
        #[cfg_attr(not(target_arch = "wasm32"), async_trait)]
        impl<P: KeyProvider + ?Sized> KeyProvider for $pointer<P> {
            fn kind(&self) -> &str {
                (**self).kind()
            }

            fn reference(&self) -> Fields {
                (**self).reference()
            }

            fn may_be_lost(&self) -> bool {
                (**self).may_be_lost()
            }

            async fn generate(&self, context: &SlotContext) -> Result<NewSlot, ProviderError> {
                (**self).generate(context).await
            }

            async fn unwrap_secret(
                &self,
                context: &SlotContext,
                recipe: &Recipe,
            ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
                (**self).unwrap_secret(context, recipe).await
            }

            async fn rewrap(
                &self,
                context: &SlotContext,
                recipe: &Recipe,
                to: &Fields,
            ) -> Result<Fields, ProviderError> {
                (**self).rewrap(context, recipe, to).await
            }

            async fn probe(&self) -> Result<Probe, ProviderError> {
                (**self).probe().await
            }
        }
    )*};
}

behind!(Box, Arc);

/// The kinds of provider error. Every provider maps its own errors to these, in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProviderErrorKind {
    /// Asked to slow down. Worth trying again, after this time if the service named one.
    Throttled {
        /// As the service said.
        retry_after: Option<Duration>,
    },
    /// Not to be had just now: not reachable, timed out, or this machine lacks the memory, threads or randomness. Worth trying
    /// again.
    Unavailable,
    /// Access is denied: credentials, a policy, or an owner. Until somebody changes them.
    Denied,
    /// The key is disabled, or about to be destroyed. Until somebody enables it again.
    Disabled,
    /// The key does not exist (any more), or a secret was removed. For good.
    Destroyed,
    /// The provider's key, or secret, is another than the slot's.
    WrongKey,
    /// The key is right, and what it was to open is of another slot, keyring or account. Where a service can't tell this from
    /// [`Self::WrongKey`] or [`Self::Corrupt`], it is the one of them that its provider documents.
    ContextMismatch,
    /// What the slot stored for the provider is damaged.
    Corrupt,
    /// The provider is configured wrongly, a file's rights are too wide, or the service refused the request as it is.
    BadRequest,
    /// Somebody must do something first: unlock a keychain, enter a PIN, touch a token.
    NeedsInteraction,
    /// The key-derivation cost is above the caller's ceiling; both in KiB passes.
    ExcessiveCost {
        /// What the slot asks for.
        needed: u64,
        /// What the caller allows.
        allowed: u64,
    },
    /// A key-derivation parameter is out of the format's bounds.
    CostOutOfBounds {
        /// Its name.
        parameter: &'static str,
    },
}

impl ProviderErrorKind {
    /// Whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unavailable)
    }

    /// Whether the provider said that this key is not to be had any more, by its owner's will: a keyring that holds what it
    /// gave before has to be closed.
    #[must_use]
    pub fn is_revoked(self) -> bool {
        matches!(self, Self::Denied | Self::Disabled | Self::Destroyed)
    }
}

/// A provider failed.
#[derive(Debug)]
pub struct ProviderError {
    kind: ProviderErrorKind,
    advice: &'static str,
    source: Option<Opaque>,
    /// Which provider inside another it was, the innermost first.
    parts: Vec<&'static str>,
}

impl ProviderError {
    /// An error of `kind`; `advice` is a fixed sentence that says what to do next and holds no
    /// path, label or message from elsewhere.
    #[must_use]
    pub fn new(kind: ProviderErrorKind, advice: &'static str) -> Self {
        Self {
            kind,
            advice,
            source: None,
            parts: Vec::new(),
        }
    }

    /// Attaches the original error. Its text is withheld from logs, see [`Opaque`].
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(Opaque::new(source));
        self
    }

    /// Says which provider inside another failed.
    pub(crate) fn of_part(mut self, part: &'static str) -> Self {
        self.parts.push(part);
        self
    }

    /// The advice as it was given.
    #[cfg(feature = "testing")]
    pub(crate) fn advice(&self) -> &'static str {
        self.advice
    }

    /// The kind of error.
    #[must_use]
    pub fn kind(&self) -> ProviderErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.parts.iter().rev() {
            write!(f, "{part}: ")?;
        }
        f.write_str(calm(self.advice))
    }
}

impl std::error::Error for ProviderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
