//! The keyring: slots, the root key, and the keys of every account.
//!
//! ```text
//! provider ── slot secret ──▶ slot key ── wraps ──▶ ROOT KEY (random)
//! ROOT KEY ──▶ document key, wrap key
//! wrap key ── wraps ──▶ data key  [account][table][generation]   random
//!                  └──▶ blind key [account]                      random
//! ```

mod account;
mod core;
pub(crate) mod derive;
mod destroy;
pub(crate) mod document;
mod generation;
#[cfg(feature = "sqlite")]
pub(crate) mod header;
mod idle;
mod lease;
mod options;
#[cfg(feature = "sqlite")]
mod resealing;
mod rewrap;
mod rotate;
mod slot;
pub(crate) mod store;
mod summary;
mod unlock;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError};

#[cfg(feature = "sqlite")]
pub(crate) use self::core::now;
pub use account::Account;
pub use document::{AccountState, KeyState};
#[cfg(feature = "sqlite")]
pub(crate) use document::{Resealing, ResealingTarget};
pub(crate) use generation::AccountKeys;
pub use lease::Lease;
pub use options::KeyringOptions;
#[cfg(feature = "sqlite")]
pub(crate) use resealing::Generation;
pub use slot::SlotInfo;
#[cfg(feature = "sqlite")]
pub(crate) use slot::check_label;
pub use summary::{AccountInfo, KeyInfo};

use self::core::{Core, WipeUnlessDone};
use crate::audit::{AuditEvent, id_text};
use crate::error::SealError;
use crate::provider::{KeyProvider, ProviderError, ProviderErrorKind};
use document::{ACCOUNTS, AccountBody, AccountsBody, Body, KEYRING, KeyringBody};
use store::{KeyringStore, Revision, StoreFault, StoreFaultKind};
use unlock::{Wanted, unlock_document};

/// An open keyring. Cheap to clone; all clones share one set of keys, so one key derivation serves
/// every account of a process.
///
/// ```
/// # use std::sync::Arc;
/// # use sealed_store::{BackendKeyring, Keyring, RawKey};
/// # use secrecy::SecretBox;
/// # use wacore::store::InMemoryBackend;
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let inner = Arc::new(InMemoryBackend::new());
/// let key = RawKey::new(SecretBox::new(Box::new([7; 32])));
/// let keyring = Keyring::open_or_create(BackendKeyring::new(inner), &key).await?;
/// let account = keyring.account_or_create("1").await?;
/// assert_eq!(keyring.accounts().await?, ["1"]);
///
/// keyring.lock(); // every key is wiped, all accounts answer NotOpen
/// keyring.unlock(&key).await?; // … and work again
/// # let _ = account;
/// # Ok::<(), sealed_store::SealError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Keyring {
    core: Arc<Core>,
}

impl Keyring {
    /// Creates a keyring in `store`, with one slot that `provider` opens.
    ///
    /// # Errors
    /// [`SealError::KeyringExists`], [`SealError::Occupied`] where the store can see that the data
    /// store beside it holds rows, [`SealError::LoneSlot`] if the provider may be lost
    /// ([`KeyringOptions::allow_lone_slot`]), and whatever the provider or the store answers.
    pub async fn create(
        store: impl KeyringStore + 'static,
        provider: &dyn KeyProvider,
    ) -> Result<Self, SealError> {
        KeyringOptions::new().create(store, provider).await
    }

    /// Opens the keyring in `store`. It is never made anew, whatever the error.
    ///
    /// # Errors
    /// [`SealError::NoKeyring`], [`SealError::WrongKey`], [`SealError::CorruptKeyring`],
    /// [`SealError::ExcessiveKdfCost`] and the others that their texts explain.
    pub async fn open(
        store: impl KeyringStore + 'static,
        provider: &dyn KeyProvider,
    ) -> Result<Self, SealError> {
        KeyringOptions::new().open(store, provider).await
    }

    /// Opens the keyring, or creates it if there is none: the first-run convenience.
    ///
    /// # Errors
    /// As [`Keyring::open`] and [`Keyring::create`].
    pub async fn open_or_create(
        store: impl KeyringStore + 'static,
        provider: &dyn KeyProvider,
    ) -> Result<Self, SealError> {
        KeyringOptions::new().open_or_create(store, provider).await
    }

    /// The keyring's id: 16 random bytes, to be pinned with [`KeyringOptions::pin_id`].
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        self.core.id
    }

    /// The revision of each document, to be pinned with [`KeyringOptions::pin_revision`]: a copy of
    /// the keyring from before is refused then.
    ///
    /// # Errors
    /// [`SealError::NotOpen`], or as [`Keyring::account`] for a document that does not verify.
    pub async fn revisions(&self) -> Result<BTreeMap<String, Revision>, SealError> {
        let mut names = vec![KEYRING.to_owned(), ACCOUNTS.to_owned()];
        names.extend(
            self.accounts()
                .await?
                .iter()
                .map(|name| document::account_document(name)),
        );
        let mut revisions = BTreeMap::new();
        for name in names {
            let revision = match document::kind(&name) {
                "keyring" => self.revision::<KeyringBody>(&name).await?,
                "accounts" => self.revision::<AccountsBody>(&name).await?,
                _ => self.revision::<AccountBody>(&name).await?,
            };
            if let Some(revision) = revision {
                revisions.insert(name, revision);
            }
        }
        Ok(revisions)
    }

    /// The revision that a document says of itself, verified.
    async fn revision<B: Body>(&self, name: &str) -> Result<Option<Revision>, SealError> {
        let found = self.core.read::<B>(name).await?;
        Ok(found.map(|(revision, _)| revision))
    }

    /// Whether the keys are in memory.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.core
            .open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Wipes every key from memory at once. Operations in flight finish or fail whole; later ones
    /// answer [`SealError::NotOpen`] until [`Keyring::unlock`]. A running client whose saves fail
    /// stops saving for good: disconnect it first, and build it anew after `unlock`.
    pub fn lock(&self) {
        self.core.wipe(false);
    }

    /// Opens the keyring again after [`Keyring::lock`], re-reading every document. All accounts
    /// that were open work again. As when it was opened: every slot of the provider's kind is tried, a passphrase at one
    /// key derivation each, or only the slot that was named ([`KeyringOptions::slot`]).
    ///
    /// # Errors
    /// As [`Keyring::open`]; the keyring stays closed then.
    pub async fn unlock(&self, provider: &dyn KeyProvider) -> Result<(), SealError> {
        self.core.lease.check_same(provider)?;
        self.core.hold_shared().await?;
        let _changing = self.core.changing.lock().await;
        let wanted = Wanted {
            id: Some(self.core.id),
            slot: *self.core.named(),
            pins: &self.core.pins,
        };
        let (_, open) =
            unlock_document(&*self.core.store, &wanted, &*self.core.audit, provider).await?;
        let slot = open.slot();
        // Half of the accounts open would be neither open nor closed.
        let mut half_open = WipeUnlessDone(Some(&self.core));
        {
            // The idle time starts under the same guard: the watcher then finds these keys, also if
            // this future is dropped below.
            let mut keys = self.core.open_mut();
            *keys = Some(open);
            self.core.idle.touch();
        }
        // As the idle time, before anything is waited for.
        lease::start(&self.core)?;
        for account in self.core.live_accounts() {
            account.reload().await?;
        }
        half_open.0 = None;
        self.core.audit.record(&AuditEvent::KeyringOpened {
            keyring: id_text(&self.core.id),
            slot,
        });
        Ok(())
    }

    /// The names of all accounts, sorted.
    ///
    /// # Errors
    /// If the keyring is not open, or its store fails.
    pub async fn accounts(&self) -> Result<Vec<String>, SealError> {
        let mut names = match self.core.read::<AccountsBody>(ACCOUNTS).await? {
            Some((_, index)) => index.names,
            None => Vec::new(),
        };
        names.sort();
        Ok(names)
    }

    /// Opens an account.
    ///
    /// # Errors
    /// [`SealError::UnknownAccount`] if there is none of this name; it is not created.
    pub async fn account(&self, name: &str) -> Result<Account, SealError> {
        account::open(&self.core, name).await
    }

    /// Creates an account with fresh keys, atomically against a second creator.
    ///
    /// `name` is stored in the clear, so it must not be personal (no phone number): 1 to 64
    /// characters of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`. Upstream's device id does well.
    ///
    /// # Errors
    /// [`SealError::AccountExists`], or [`SealError::Invalid`] for another name.
    pub async fn create_account(&self, name: &str) -> Result<Account, SealError> {
        account::create(&self.core, name).await
    }

    /// Opens an account, or creates it if there is none: the first-run convenience.
    ///
    /// # Errors
    /// As [`Keyring::account`] and [`Keyring::create_account`].
    pub async fn account_or_create(&self, name: &str) -> Result<Account, SealError> {
        match self.account(name).await {
            Err(SealError::UnknownAccount) => {}
            other => return other,
        }
        match self.create_account(name).await {
            Err(SealError::AccountExists) => self.account(name).await,
            other => other,
        }
    }
}

impl From<StoreFault> for SealError {
    fn from(fault: StoreFault) -> Self {
        match fault.kind() {
            StoreFaultKind::Conflict => Self::Conflict,
            StoreFaultKind::InUse => Self::InUse,
            _ => Self::Keyring(fault),
        }
    }
}

impl From<ProviderError> for SealError {
    fn from(error: ProviderError) -> Self {
        match error.kind() {
            ProviderErrorKind::ExcessiveCost { needed, allowed } => {
                Self::ExcessiveKdfCost { needed, allowed }
            }
            ProviderErrorKind::CostOutOfBounds { parameter } => Self::KdfOutOfBounds { parameter },
            _ => Self::Provider(error),
        }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("id", &id_text(&self.core.id))
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}
