//! How a keyring is created and opened.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, RwLock};

use super::core::{Core, Open};
use super::derive::RootKeys;
use super::document::{self, ACCOUNTS, KEYRING, KeyringBody};
use super::lease::{self, Lease, Leased};
use super::store::{KeyringStore, LockGuard, Occupied, Revision, lock_shared};
use super::unlock::{Wanted, unlock_document};
use super::{Keyring, account, idle, rotate, slot};
use crate::audit::{self, AuditEvent, AuditSink, TracingSink, id_text};
use crate::error::SealError;
use crate::options::SealOptions;
use crate::provider::KeyProvider;
use crate::record::Suite;
use crate::secret;

/// Options for creating and opening a keyring.
#[derive(Clone)]
#[must_use]
pub struct KeyringOptions {
    seal: SealOptions,
    label: String,
    slot: Option<u32>,
    id: Option<[u8; 16]>,
    pins: BTreeMap<String, Revision>,
    lone: bool,
    audit: Arc<dyn AuditSink>,
    lease: Option<Lease>,
}

impl Default for KeyringOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyringOptions {
    /// The default [`SealOptions`], no pins, any slot, audit events through `tracing`.
    pub fn new() -> Self {
        Self {
            seal: SealOptions::default(),
            label: "first".to_owned(),
            slot: None,
            id: None,
            pins: BTreeMap::new(),
            lone: false,
            audit: Arc::new(TracingSink),
            lease: None,
        }
    }

    /// How the rows of the keyring's stores are sealed and opened, and with which suite. Default:
    /// [`SealOptions::default`].
    pub fn seal(mut self, options: SealOptions) -> Self {
        self.seal = options;
        self
    }

    /// The label of a new keyring's slot: at most 64 characters, not personal. Default: `first`.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Tries only this slot. Without it a passphrase is tried on each passphrase slot, at one key
    /// derivation each.
    pub fn slot(mut self, slot: u32) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Opens only the keyring of this id: another one is [`SealError::WrongKeyring`].
    pub fn pin_id(mut self, id: [u8; 16]) -> Self {
        self.id = Some(id);
        self
    }

    /// Refuses a document older than this revision with [`SealError::RolledBack`]. Documents are
    /// named as [`Keyring::revisions`] names them: `keyring`, `accounts`, `account:NAME`. Another name is
    /// refused when the keyring is opened.
    pub fn pin_revision(mut self, document: impl Into<String>, revision: Revision) -> Self {
        self.pins.insert(document.into(), revision);
        self
    }

    /// Whether a certain keyring is meant: it must be there then.
    pub(crate) fn is_pinned(&self) -> bool {
        self.id.is_some() || !self.pins.is_empty()
    }

    /// Allows slots that may be lost, in a keychain or a TPM ([`KeyProvider::may_be_lost`]), to be the only ones of the keyring:
    /// when it is made, and when others are removed, replaced or dropped. Losing them then loses every row. Default: refused with
    /// [`SealError::LoneSlot`].
    pub fn allow_lone_slot(mut self, allow: bool) -> Self {
        self.lone = allow;
        self
    }

    /// Refuses providers that may be lost as the only ones of a new keyring.
    pub(crate) fn check_lone<'a>(
        &self,
        providers: impl IntoIterator<Item = &'a dyn KeyProvider>,
    ) -> Result<(), SealError> {
        let lone = providers.into_iter().all(|provider| provider.may_be_lost());
        match lone && !self.lone {
            true => Err(SealError::LoneSlot),
            false => Ok(()),
        }
    }

    /// Where audit events go.
    pub fn audit(mut self, sink: Arc<dyn AuditSink>) -> Self {
        self.audit = sink;
        self
    }

    /// Asks the provider again while the keyring is open. Default: it is never asked after opening.
    pub fn lease(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Before anything is asked or made.
    fn check_lease(&self, provider: &dyn KeyProvider) -> Result<(), SealError> {
        match &self.lease {
            Some(lease) => lease.check_same(provider),
            None => Ok(()),
        }
    }

    /// As [`Keyring::create`].
    ///
    /// # Errors
    /// As [`Keyring::create`].
    pub async fn create(
        self,
        store: impl KeyringStore + 'static,
        provider: &dyn KeyProvider,
    ) -> Result<Keyring, SealError> {
        self.create_in(Arc::new(store), provider).await
    }

    /// As [`Keyring::open`].
    ///
    /// # Errors
    /// As [`Keyring::open`].
    pub async fn open(
        self,
        store: impl KeyringStore + 'static,
        provider: &dyn KeyProvider,
    ) -> Result<Keyring, SealError> {
        let audit = Arc::clone(&self.audit);
        note_missing(
            &*audit,
            provider,
            self.open_in(Arc::new(store), provider).await,
        )
    }

    /// As [`Keyring::open_or_create`].
    ///
    /// # Errors
    /// As [`Keyring::open_or_create`].
    pub async fn open_or_create(
        self,
        store: impl KeyringStore + 'static,
        provider: &dyn KeyProvider,
    ) -> Result<Keyring, SealError> {
        let store: Arc<dyn KeyringStore> = Arc::new(store);
        match self.clone().open_in(Arc::clone(&store), provider).await {
            // A pinned keyring must exist: making another would hide that it is gone.
            Err(SealError::NoKeyring) if !self.is_pinned() => {}
            other => return note_missing(&*self.audit, provider, other),
        }
        match self.clone().create_in(Arc::clone(&store), provider).await {
            Err(SealError::KeyringExists) => self.open_in(store, provider).await,
            other => other,
        }
    }

    async fn create_in(
        self,
        store: Arc<dyn KeyringStore>,
        provider: &dyn KeyProvider,
    ) -> Result<Keyring, SealError> {
        slot::check_label(&self.label)?;
        self.check_lone([provider])?;
        self.check_lease(provider)?;
        // In this order: accounts and rows that another creator makes come after its keyring, so
        // whoever sees them sees the keyring too.
        let occupied = store.occupied().await?;
        let accounts = store.get(ACCOUNTS).await?.is_some();
        if store.get(KEYRING).await?.is_some() {
            return Err(SealError::KeyringExists);
        }
        // Written after the keyring document and never removed: that one was lost, and a new keyring
        // would make the loss final.
        if accounts {
            return Err(SealError::CorruptKeyring {
                what: "its accounts are there but the keyring document is gone",
            });
        }
        if occupied == Occupied::Yes {
            return Err(SealError::Occupied);
        }
        let suite = self.seal.suite.unwrap_or_else(Suite::for_this_machine);
        let keyring_id = secret::random_id()?;
        let root = RootKeys::new(secret::random_key()?, 1, suite);
        let entry = slot::make(keyring_id, 1, self.label.clone(), provider, &root, suite).await?;
        let body = KeyringBody {
            keyring_id,
            revision: 1,
            root: 1,
            suite,
            next_slot: 2,
            slots: vec![entry],
            previous_root: None,
        };
        let bytes = document::write(&body, &root, KEYRING)?;
        let guard = lock_shared(&*store).await?;
        store
            .put(KEYRING, None, &bytes)
            .await
            .map_err(|fault| match SealError::from(fault) {
                SealError::Conflict => SealError::KeyringExists,
                other => other,
            })?;
        self.audit.record(&AuditEvent::KeyringCreated {
            keyring: id_text(&keyring_id),
        });
        let open = Open {
            suite,
            opening: 0,
            through: body.slots.into_iter().next(),
            root,
            previous: None,
            unconfirmed: Vec::new(),
        };
        self.keyring(store, keyring_id, open, guard)
    }

    async fn open_in(
        self,
        store: Arc<dyn KeyringStore>,
        provider: &dyn KeyProvider,
    ) -> Result<Keyring, SealError> {
        for name in self.pins.keys() {
            check_document(name)?;
        }
        self.check_lease(provider)?;
        // Looked for first: opening where nothing is must not leave a lock file behind.
        if store.get(KEYRING).await?.is_none() {
            return Err(SealError::NoKeyring);
        }
        let guard = lock_shared(&*store).await?;
        let wanted = Wanted {
            id: self.id,
            slot: self.slot,
            pins: &self.pins,
        };
        let (body, open) = unlock_document(&*store, &wanted, &*self.audit, provider).await?;
        self.audit.record(&AuditEvent::KeyringOpened {
            keyring: id_text(&body.keyring_id),
            slot: open.slot(),
        });
        let interrupted = open.previous.is_some();
        let keyring = self.keyring(store, body.keyring_id, open, guard)?;
        if interrupted {
            // Documents of either root can be read, so one that is damaged does not keep the others
            // from being used; the next opener tries again.
            if let Err(error) = rotate::finish_if_alone(&keyring.core).await {
                keyring.core.audit.record(&AuditEvent::RootRotationDelayed {
                    keyring: id_text(&keyring.core.id),
                    reason: audit::reason(&error),
                });
            }
        }
        Ok(keyring)
    }
}

/// A pin on a document of a name that none can have would pin nothing.
fn check_document(name: &str) -> Result<(), SealError> {
    match document::account_name(name) {
        Some(account) => account::check_name(account),
        None if matches!(name, KEYRING | ACCOUNTS) => Ok(()),
        None => Err(SealError::Invalid {
            what: "a pinned document is `keyring`, `accounts` or `account:NAME`",
        }),
    }
}

/// A keyring that is opened and not there is an event too: somebody may have taken it away.
fn note_missing(
    audit: &dyn AuditSink,
    provider: &dyn KeyProvider,
    result: Result<Keyring, SealError>,
) -> Result<Keyring, SealError> {
    result.inspect_err(|error| {
        if matches!(error, SealError::NoKeyring) {
            audit.record(&AuditEvent::OpenRefused {
                keyring: "unknown".to_owned(),
                provider: provider.kind().to_owned(),
                reason: audit::reason(error),
            });
        }
    })
}

impl KeyringOptions {
    fn keyring(
        self,
        store: Arc<dyn KeyringStore>,
        id: [u8; 16],
        open: Open,
        guard: LockGuard,
    ) -> Result<Keyring, SealError> {
        let keyring = Keyring {
            core: Arc::new(Core {
                store,
                audit: self.audit,
                seal: self.seal,
                id,
                pins: self.pins,
                named: Mutex::new(self.slot),
                lone: self.lone,
                open: RwLock::new(Some(open)),
                accounts: Mutex::default(),
                guard: Mutex::new(Some(guard)),
                holding: async_lock::Mutex::new(()),
                changing: async_lock::Mutex::new(()),
                idle: idle::Idle::default(),
                lease: Leased::new(self.lease),
            }),
        };
        // Dropped, and so wiped, if it fails.
        lease::start(&keyring.core)?;
        Ok(keyring)
    }
}

impl fmt::Debug for KeyringOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyringOptions")
            .field("seal", &self.seal)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}
