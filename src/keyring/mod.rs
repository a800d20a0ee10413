//! The keyring: slots, the root key, and the keys of every account.
//!
//! ```text
//! provider ── slot secret ──▶ slot key ── wraps ──▶ ROOT KEY (random)
//! ROOT KEY ──▶ document key, wrap key
//! wrap key ── wraps ──▶ data key  [account][table][generation]   random
//!                  └──▶ blind key [account]                      random
//! ```

mod account;
pub(crate) mod derive;
pub(crate) mod document;
mod idle;
mod options;
mod rotate;
mod slot;
pub(crate) mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

pub use account::Account;
pub(crate) use account::AccountKeys;
pub use document::AccountState;
pub use options::KeyringOptions;
pub use slot::SlotInfo;

use crate::audit::{AuditEvent, AuditSink, id_text};
use crate::error::SealError;
use crate::options::SealOptions;
use crate::provider::{KeyProvider, ProviderError, ProviderErrorKind, SlotContext};
use crate::record::Suite;
use account::AccountShared;
use derive::{RootKeys, SlotKeys, WrapKind, WrapPlace};
use document::{
    ACCOUNTS, AccountsBody, Body, Envelope, KEYRING, KeyringBody, MAX_SLOTS, SlotEntry,
};
use store::{KeyringStore, LockGuard, LockMode, Revision, StoreFault, StoreFaultKind};

/// How often a change is tried again when another process changed the same document first.
const CONFLICT_TRIES: usize = 8;

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

/// What all clones and accounts of a keyring share.
pub(crate) struct Core {
    store: Arc<dyn KeyringStore>,
    audit: Arc<dyn AuditSink>,
    seal: SealOptions,
    id: [u8; 16],
    pins: BTreeMap<String, Revision>,
    /// `None` while the keyring is not open. Held for synchronous work only, never across an await.
    open: RwLock<Option<Open>>,
    accounts: Mutex<BTreeMap<String, Weak<AccountShared>>>,
    guard: Mutex<Option<LockGuard>>,
    /// Serialises this process's changes, so that they do not conflict with each other.
    changing: async_lock::Mutex<()>,
    idle: idle::Idle,
}

/// The keys of an open keyring.
struct Open {
    suite: Suite,
    slot: u32,
    root: RootKeys,
    /// Present while an interrupted root rotation waits to be finished.
    previous: Option<RootKeys>,
    /// New roots whose write nobody confirmed: its future was dropped, or the store failed. One of
    /// them may be durable, and then it is met in the documents.
    unconfirmed: Vec<Unconfirmed>,
}

/// A new root that may or may not have replaced the present one.
struct Unconfirmed {
    root: RootKeys,
    /// The slot that this opener came in through, as numbered under it.
    slot: u32,
}

impl Open {
    /// The root that signed a document.
    fn root_of(&self, number: u32) -> Result<&RootKeys, SealError> {
        if number == self.root.number {
            return Ok(&self.root);
        }
        match &self.previous {
            Some(previous) if previous.number == number => return Ok(previous),
            _ => {}
        }
        match self
            .unconfirmed
            .iter()
            .find(|new| new.root.number == number)
        {
            Some(new) => Ok(&new.root),
            _ if number > self.root.number => Err(SealError::RootChanged),
            _ => Err(SealError::CorruptKeyring {
                what: "it belongs to a root key that is gone",
            }),
        }
    }

    fn is_unconfirmed(&self, number: u32) -> bool {
        self.unconfirmed.iter().any(|new| new.root.number == number)
    }

    /// Makes an unconfirmed root, now known to be durable, the root. `false` if there is none.
    fn confirm(&mut self, number: u32) -> bool {
        let found = self
            .unconfirmed
            .iter()
            .position(|new| new.root.number == number);
        let Some(position) = found else { return false };
        let new = self.unconfirmed.swap_remove(position);
        self.previous = Some(std::mem::replace(&mut self.root, new.root));
        self.slot = new.slot;
        // The others were written against a revision that is gone.
        self.unconfirmed.clear();
        true
    }
}

impl Keyring {
    /// Creates a keyring in `store`, with one slot that `provider` opens.
    ///
    /// # Errors
    /// [`SealError::KeyringExists`], [`SealError::Occupied`] where the store can see that the data
    /// store beside it holds rows, and whatever the provider or the store answers.
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
    /// If the keyring's store fails.
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
            if let Some((revision, _)) = self.core.store.get(&name).await? {
                revisions.insert(name, revision);
            }
        }
        Ok(revisions)
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
    /// that were open work again.
    ///
    /// # Errors
    /// As [`Keyring::open`]; the keyring stays closed then.
    pub async fn unlock(&self, provider: &dyn KeyProvider) -> Result<(), SealError> {
        let _changing = self.core.changing.lock().await;
        self.core.hold_shared().await?;
        let (body, open) = unlock_document(
            &*self.core.store,
            &self.core.pins,
            &*self.core.audit,
            provider,
            None,
        )
        .await?;
        if body.keyring_id != self.core.id {
            return Err(SealError::WrongKeyring);
        }
        let slot = open.slot;
        {
            // The idle time starts under the same guard: the watcher then finds these keys, also if
            // this future is dropped below.
            let mut keys = self.core.open_mut();
            *keys = Some(open);
            self.core.idle.touch();
        }
        for account in self.core.live_accounts() {
            if let Err(error) = account.reload().await {
                self.core.wipe(false);
                return Err(error);
            }
        }
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

impl Core {
    fn open_mut(&self) -> std::sync::RwLockWriteGuard<'_, Option<Open>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs synchronous work with the keys.
    fn with_open<T>(
        &self,
        work: impl FnOnce(&Open) -> Result<T, SealError>,
    ) -> Result<T, SealError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        work(open.as_ref().ok_or(SealError::NotOpen)?)
    }

    pub(crate) fn audit(&self) -> &dyn AuditSink {
        &*self.audit
    }

    fn wipe(&self, idle: bool) {
        let was_open = self.open_mut().take().is_some();
        for account in self.live_accounts() {
            account.wipe();
        }
        if was_open {
            self.audit.record(&AuditEvent::KeysWiped {
                keyring: id_text(&self.id),
                idle,
            });
        }
    }

    fn live_accounts(&self) -> Vec<Arc<AccountShared>> {
        self.accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Takes the keyring shared, unless this opener holds it already. (It does not only after an
    /// exclusive piece of work whose future was dropped.) Somebody else may have had it alone in
    /// between: a root that was rotated meanwhile is met here, before anything is written.
    async fn ensure_shared(&self) -> Result<(), SealError> {
        if self.guard_mut().is_some() {
            return Ok(());
        }
        let guard = self.store.lock(LockMode::Shared).await?;
        match self.read::<KeyringBody>(KEYRING).await {
            Ok(Some(_)) | Err(SealError::NotOpen) => {}
            Ok(None) => return Err(SealError::NoKeyring),
            Err(error) => return Err(error),
        }
        *self.guard_mut() = Some(guard);
        Ok(())
    }

    /// Takes the keyring shared, for work that reads every document anew.
    async fn hold_shared(&self) -> Result<(), SealError> {
        if self.guard_mut().is_some() {
            return Ok(());
        }
        let guard = self.store.lock(LockMode::Shared).await?;
        *self.guard_mut() = Some(guard);
        Ok(())
    }

    fn guard_mut(&self) -> std::sync::MutexGuard<'_, Option<LockGuard>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Trades the shared hold for the exclusive one, until the answer is dropped.
    async fn take_exclusive(&self) -> Result<Exclusive<'_>, SealError> {
        drop(self.guard_mut().take());
        match self.store.lock(LockMode::Exclusive).await {
            Ok(guard) => {
                *self.guard_mut() = Some(guard);
                Ok(Exclusive { core: self })
            }
            Err(fault) => {
                self.take_shared_again().await;
                Err(fault.into())
            }
        }
    }

    /// Holds the keyring shared again. What was done stands if that fails: where somebody else is at
    /// work on the keys by now, ours are wiped, and otherwise the next change takes it.
    async fn take_shared_again(&self) {
        if let Err(SealError::InUse) = self.ensure_shared().await {
            self.wipe(false);
        }
    }

    /// Runs `work` while nobody else has the keyring open.
    pub(crate) async fn exclusively<T>(
        &self,
        work: impl Future<Output = Result<T, SealError>>,
    ) -> Result<T, SealError> {
        let exclusive = self.take_exclusive().await?;
        let result = work.await;
        drop(exclusive);
        self.take_shared_again().await;
        result
    }

    /// Reads and verifies a document.
    async fn read<B: Body>(&self, name: &str) -> Result<Option<(Revision, B)>, SealError> {
        self.with_open(|_| Ok(()))?;
        let Some((revision, bytes)) = self.store.get(name).await? else {
            // A pinned document that is gone was rolled back to before it was made.
            check_pin(&self.pins, name, 0)?;
            return Ok(None);
        };
        let envelope = Envelope::<B>::read(&bytes)?;
        let number = envelope.body.root();
        let (body, unconfirmed) = self.with_open(|open| {
            let unconfirmed = open.is_unconfirmed(number);
            match envelope.verify(open.root_of(number)?, name, &self.id, revision) {
                // Somebody else's root has the number that ours would have got.
                Err(_) if unconfirmed => Err(SealError::RootChanged),
                other => Ok((other?, unconfirmed)),
            }
        })?;
        check_pin(&self.pins, name, revision)?;
        if unconfirmed {
            self.confirm_root(number);
        }
        Ok(Some((revision, body)))
    }

    /// A document under root `number` was verified, or written: that root is durable.
    fn confirm_root(&self, number: u32) {
        let confirmed = self
            .open_mut()
            .as_mut()
            .is_some_and(|open| open.confirm(number));
        if confirmed {
            self.audit.record(&AuditEvent::RootRotationStarted {
                keyring: id_text(&self.id),
                root: number,
            });
        }
    }

    /// Signs and writes a document whose body says `expected + 1` as its revision.
    async fn write<B: Body>(
        &self,
        name: &str,
        expected: Option<Revision>,
        body: &B,
    ) -> Result<(), SealError> {
        let bytes = self.with_open(|open| {
            if body.root() != open.root.number {
                return Err(SealError::RootChanged);
            }
            document::write(body, &open.root, name)
        })?;
        self.store.put(name, expected, &bytes).await?;
        Ok(())
    }

    /// Reads the keyring document, lets `change` alter it, and writes it, again and again while
    /// another process changes it first.
    async fn change_keyring<T>(
        &self,
        mut change: impl FnMut(&mut KeyringBody) -> Result<T, SealError>,
    ) -> Result<T, SealError> {
        for _ in 0..CONFLICT_TRIES {
            let (revision, mut body) = self
                .read::<KeyringBody>(KEYRING)
                .await?
                .ok_or(SealError::NoKeyring)?;
            let result = change(&mut body)?;
            body.revision = revision.checked_add(1).ok_or(SealError::Conflict)?;
            match self.write(KEYRING, Some(revision), &body).await {
                Err(SealError::Conflict) => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(result),
            }
        }
        Err(SealError::Conflict)
    }
}

/// Lets go of the keyring when it is dropped, so that a dropped future never keeps others out.
struct Exclusive<'a> {
    core: &'a Core,
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        drop(self.core.guard_mut().take());
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

fn check_pin(
    pins: &BTreeMap<String, Revision>,
    name: &str,
    found: Revision,
) -> Result<(), SealError> {
    match pins.get(name) {
        Some(pinned) if found < *pinned => Err(SealError::RolledBack {
            pinned: *pinned,
            found,
        }),
        _ => Ok(()),
    }
}

/// Unix seconds.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Reads the keyring document and opens it with `provider`: through `only`, if a slot is named, else
/// through any slot of the provider's kind.
async fn unlock_document(
    store: &dyn KeyringStore,
    pins: &BTreeMap<String, Revision>,
    audit: &dyn AuditSink,
    provider: &dyn KeyProvider,
    only: Option<u32>,
) -> Result<(KeyringBody, Open), SealError> {
    let (revision, bytes) = store.get(KEYRING).await?.ok_or(SealError::NoKeyring)?;
    let envelope = Envelope::<KeyringBody>::read(&bytes)?;
    let result = open_envelope(envelope, revision, pins, provider, only).await;
    if let Err((keyring, error)) = result {
        audit.record(&AuditEvent::OpenRefused {
            keyring: id_text(&keyring),
            provider: provider.kind().to_owned(),
            reason: error.to_string(),
        });
        return Err(error);
    }
    result.map_err(|(_, error)| error)
}

async fn open_envelope(
    envelope: Envelope<KeyringBody>,
    revision: Revision,
    pins: &BTreeMap<String, Revision>,
    provider: &dyn KeyProvider,
    only: Option<u32>,
) -> Result<(KeyringBody, Open), ([u8; 16], SealError)> {
    let keyring_id = envelope.body.keyring_id;
    let refused = |error: SealError| (keyring_id, error);
    let body = &envelope.body;
    if body.slots.is_empty() || body.slots.len() > MAX_SLOTS {
        return Err(refused(SealError::CorruptKeyring {
            what: "it has no slot, or too many",
        }));
    }
    if only.is_some_and(|slot| body.slots.iter().all(|entry| entry.slot != slot)) {
        return Err(refused(SealError::UnknownSlot));
    }
    let mut first_error = None;
    let mut opened = None;
    for entry in &body.slots {
        if entry.kind != provider.kind() || only.is_some_and(|slot| slot != entry.slot) {
            continue;
        }
        match open_slot(body, entry, provider).await {
            Ok(Some(root)) => {
                opened = Some((entry.slot, root));
                break;
            }
            Ok(None) => {}
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    let Some((slot, root)) = opened else {
        return Err(refused(first_error.unwrap_or(SealError::WrongKey)));
    };
    let root = RootKeys::new(root, body.root, body.suite);
    let body = envelope
        .verify(&root, KEYRING, &keyring_id, revision)
        .map_err(refused)?;
    check_pin(pins, KEYRING, revision).map_err(refused)?;
    let previous = match &body.previous_root {
        Some(previous) => {
            let place = WrapPlace::root(
                keyring_id,
                WrapKind::PreviousRoot,
                previous.root,
                body.suite,
            );
            let key = root
                .wrapper
                .unwrap(&place, &previous.wrapped)
                .map_err(refused)?;
            Some(RootKeys::new(key, previous.root, body.suite))
        }
        None => None,
    };
    let open = Open {
        suite: body.suite,
        slot,
        root,
        previous,
        unconfirmed: Vec::new(),
    };
    Ok((body, open))
}

/// The root key, if the provider's secret is the slot's.
async fn open_slot(
    body: &KeyringBody,
    entry: &SlotEntry,
    provider: &dyn KeyProvider,
) -> Result<Option<crate::secret::Key>, SealError> {
    // Whoever can write the file could name his own key: compared, never followed.
    if entry.recipe.reference != provider.reference() {
        return Err(SealError::ForeignRecipe);
    }
    let context = SlotContext {
        keyring_id: body.keyring_id,
        slot: entry.slot,
    };
    let secret = provider.unwrap_secret(&context, &entry.recipe).await?;
    let keys = SlotKeys::derive(&secret, &context, &entry.kind, body.suite)?;
    if !keys.commits_to(&entry.commitment) {
        return Ok(None);
    }
    let place = WrapPlace::root(body.keyring_id, WrapKind::Root, body.root, body.suite);
    keys.wrapper.unwrap(&place, &entry.wrapped_root).map(Some)
}
