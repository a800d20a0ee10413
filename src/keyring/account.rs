//! One account: its document, its keys in memory, and their generations.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::core::{CONFLICT_TRIES, Core};
use super::derive::RootKeys;
use super::document::{ACCOUNTS, AccountBody, AccountState, AccountsBody, account_document};
use super::generation::{AccountKeys, entry, rewrap};
use super::store::Revision;
use crate::audit::{AuditEvent, AuditSink, id_text};
use crate::error::SealError;
use crate::options::SealOptions;
use crate::record::Table;
use crate::secret;
use crate::wipe;

/// How often unknown generations may cause an account's document to be read again, in one pause: rows
/// that nobody's generation sealed must not keep the keyring's store at work.
const REFRESHES: u32 = 8;
const REFRESH_PAUSE: Duration = Duration::from_millis(100);

/// One WhatsApp account inside a store, with keys of its own. Cheap to clone. Pass it to
/// [`SealedBackend::open`](crate::SealedBackend::open).
#[derive(Clone)]
pub struct Account {
    pub(super) shared: Arc<AccountShared>,
}

pub(super) struct AccountShared {
    pub(super) core: Arc<Core>,
    name: String,
    uid: [u8; 16],
    /// Held for synchronous work only, never across an await.
    loaded: RwLock<Loaded>,
    /// Since when, and how often, the document was read again for unknown generations.
    refreshed: async_lock::Mutex<(Option<Instant>, u32)>,
    /// Serialises the making of the account's device in this process.
    creating: async_lock::Mutex<()>,
}

struct Loaded {
    /// Of the document that all this is from.
    revision: Revision,
    state: AccountState,
    store_id: Option<[u8; 16]>,
    /// Whether all its rows are resealed and old keys wait for their end.
    #[cfg(feature = "sqlite")]
    resealed: bool,
    /// `None` while the keyring is not open.
    keys: Option<Box<AccountKeys>>,
}

impl AccountShared {
    /// Wipes the keys at once.
    pub(super) fn wipe(&self) {
        wipe::after(|| self.loaded_mut().keys = None);
    }

    fn loaded_mut(&self) -> std::sync::RwLockWriteGuard<'_, Loaded> {
        self.loaded.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the document again and unwraps its keys.
    pub(super) async fn reload(&self) -> Result<(), SealError> {
        let (_, body) = read(&self.core, &self.name).await?;
        self.take(&body)
    }

    /// Reads the document again if it was changed meanwhile, and says whether it was.
    pub(super) async fn reload_if_changed(&self) -> Result<bool, SealError> {
        let found = self.core.store.get(&account_document(&self.name)).await?;
        let known = self
            .loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .revision;
        if found.is_some_and(|(revision, _)| revision == known) {
            return Ok(false);
        }
        self.reload().await?;
        Ok(true)
    }

    /// Makes `body`, read and verified, the account in memory.
    fn take(&self, body: &AccountBody) -> Result<(), SealError> {
        self.unwrap(body)
            .inspect_err(|error| self.core.note_refused(&account_document(&self.name), error))
    }

    fn unwrap(&self, body: &AccountBody) -> Result<(), SealError> {
        if body.uid != self.uid {
            return Err(SealError::CorruptKeyring {
                what: "the account was replaced by another of the same name",
            });
        }
        // The keyring's guard is held until the keys are in place: a wipe that comes in between
        // would otherwise miss them.
        self.core.with_open(|open| {
            let keys = match body.state {
                AccountState::Shredded => None,
                _ => {
                    let root = open.root_of(body.root)?;
                    Some(Box::new(wipe::after(|| AccountKeys::unwrap(body, root))?))
                }
            };
            let mut loaded = self.loaded_mut();
            // A read that was overtaken by a change must not bring the old keys back.
            if loaded.keys.is_some() && body.revision < loaded.revision {
                return Ok(());
            }
            *loaded = Loaded {
                revision: body.revision,
                state: body.state,
                store_id: body.store_id,
                #[cfg(feature = "sqlite")]
                resealed: body.is_resealed(),
                keys,
            };
            Ok(())
        })
    }

    /// Reads the document, lets `change` alter it, and writes it durably, again and again while
    /// another process changes it first. `change` answers `false` where nothing is to be written.
    pub(super) async fn change(
        &self,
        mut change: impl FnMut(&mut AccountBody, &RootKeys) -> Result<bool, SealError>,
    ) -> Result<(), SealError> {
        self.core.ensure_shared().await?;
        let _changing = self.core.changing.lock().await;
        let document = account_document(&self.name);
        for _ in 0..CONFLICT_TRIES {
            let (revision, mut body) = read(&self.core, &self.name).await?;
            let altered = self.core.with_open(|open| {
                if body.root != open.root.number {
                    let old = open.root_of(body.root)?;
                    rewrap(&mut body, old, &open.root)?;
                }
                change(&mut body, &open.root)
            })?;
            if altered {
                body.revision = revision.checked_add(1).ok_or(SealError::Conflict)?;
                match self.core.write(&document, Some(revision), &body).await {
                    Err(SealError::Conflict) => continue,
                    other => other?,
                }
            }
            return self.take(&body);
        }
        Err(SealError::Conflict)
    }
}

pub(super) async fn read(core: &Core, name: &str) -> Result<(u64, AccountBody), SealError> {
    let (revision, body) = core
        .read::<AccountBody>(&account_document(name))
        .await?
        .ok_or(SealError::UnknownAccount)?;
    if body.name != name {
        let error = SealError::CorruptKeyring {
            what: "an account document names another account",
        };
        core.note_refused(&account_document(name), &error);
        return Err(error);
    }
    Ok((revision, body))
}

pub(super) async fn open(core: &Arc<Core>, name: &str) -> Result<Account, SealError> {
    check_name(name)?;
    core.ensure_shared().await?;
    let known = core
        .accounts
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(name)
        .and_then(std::sync::Weak::upgrade);
    if let Some(shared) = known {
        shared.reload().await?;
        return Ok(Account { shared });
    }
    let (_, body) = read(core, name).await?;
    adopt(core, &body)
}

pub(super) async fn create(core: &Arc<Core>, name: &str) -> Result<Account, SealError> {
    check_name(name)?;
    core.ensure_shared().await?;
    let _changing = core.changing.lock().await;
    // Also where a pinned document is gone, which reading tells.
    if core
        .read::<AccountBody>(&account_document(name))
        .await?
        .is_some()
    {
        return Err(SealError::AccountExists);
    }
    list(core, name).await?;
    let uid = secret::random_id()?;
    let body = core.with_open(|open| {
        let mut body = AccountBody {
            keyring_id: core.id,
            revision: 1,
            root: open.root.number,
            name: name.to_owned(),
            uid,
            store_id: None,
            state: AccountState::New,
            keys: Vec::new(),
            resealing: None,
        };
        for table in std::iter::once(None).chain(Table::ALL.map(Some)) {
            let key = secret::random_key()?;
            let entry = entry(&body, &open.root, table, 1, open.suite, &key)?;
            body.keys.push(entry);
        }
        Ok(body)
    })?;
    match core.write(&account_document(name), None, &body).await {
        Err(SealError::Conflict) => return Err(SealError::AccountExists),
        other => other?,
    }
    core.audit().record(&AuditEvent::AccountCreated {
        keyring: id_text(&core.id),
        account: id_text(&uid),
    });
    adopt(core, &body)
}

/// Writes `name` into the index of accounts, before its document: a store that can't list must not
/// lose sight of an account.
async fn list(core: &Core, name: &str) -> Result<(), SealError> {
    for _ in 0..CONFLICT_TRIES {
        let found = core.read::<AccountsBody>(ACCOUNTS).await?;
        let root = core.with_open(|open| Ok(open.root.number))?;
        let (expected, mut index) = match found {
            Some((revision, index)) => (Some(revision), index),
            None => (
                None,
                AccountsBody {
                    keyring_id: core.id,
                    revision: 0,
                    root,
                    names: Vec::new(),
                },
            ),
        };
        if index.names.iter().any(|listed| listed == name) {
            return Ok(());
        }
        index.names.push(name.to_owned());
        index.root = root;
        index.revision = expected
            .unwrap_or(0)
            .checked_add(1)
            .ok_or(SealError::Conflict)?;
        match core.write(ACCOUNTS, expected, &index).await {
            Err(SealError::Conflict) => {}
            other => return other,
        }
    }
    Err(SealError::Conflict)
}

/// Makes an account of a body that was read and verified, or just written.
fn adopt(core: &Arc<Core>, body: &AccountBody) -> Result<Account, SealError> {
    let shared = Arc::new(AccountShared {
        core: Arc::clone(core),
        name: body.name.clone(),
        uid: body.uid,
        loaded: RwLock::new(Loaded {
            revision: body.revision,
            state: body.state,
            store_id: body.store_id,
            #[cfg(feature = "sqlite")]
            resealed: false,
            keys: None,
        }),
        refreshed: async_lock::Mutex::new((None, 0)),
        creating: async_lock::Mutex::new(()),
    });
    // Listed before its keys are unwrapped, so that a wipe finds them.
    let shared = {
        let mut accounts = core.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        match accounts.get(&body.name).and_then(std::sync::Weak::upgrade) {
            Some(other) => other,
            None => {
                accounts.insert(body.name.clone(), Arc::downgrade(&shared));
                shared
            }
        }
    };
    shared.take(body)?;
    core.audit().record(&AuditEvent::AccountOpened {
        keyring: id_text(&core.id),
        account: id_text(&body.uid),
    });
    Ok(Account { shared })
}

pub(super) fn check_name(name: &str) -> Result<(), SealError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err(SealError::Invalid {
            what: "an account's name is 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'",
        });
    }
    Ok(())
}

impl Account {
    /// The keyring that it belongs to.
    #[must_use]
    pub fn keyring(&self) -> super::Keyring {
        super::Keyring {
            core: Arc::clone(&self.shared.core),
        }
    }

    /// The name it was created with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Its id, 16 random bytes, which every record is bound to.
    #[must_use]
    pub fn uid(&self) -> [u8; 16] {
        self.shared.uid
    }

    /// How far the account is, as last read.
    #[must_use]
    pub fn state(&self) -> AccountState {
        self.loaded().state
    }

    fn loaded(&self) -> std::sync::RwLockReadGuard<'_, Loaded> {
        self.shared
            .loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn audit(&self) -> &dyn AuditSink {
        self.shared.core.audit()
    }

    /// How rows are sealed unless a store is opened with other options.
    pub(crate) fn seal_options(&self) -> &SealOptions {
        &self.shared.core.seal
    }

    pub(crate) fn keyring_id(&self) -> [u8; 16] {
        self.shared.core.id
    }

    /// Runs synchronous work with the keys, and wipes the stack it used.
    pub(crate) fn with_keys<T>(
        &self,
        work: impl FnOnce(&AccountKeys) -> Result<T, SealError>,
    ) -> Result<T, SealError> {
        let loaded = self.loaded();
        if loaded.state == AccountState::Shredded {
            return Err(SealError::Shredded);
        }
        let keys = loaded.keys.as_deref().ok_or(SealError::NotOpen)?;
        wipe::after_row(|| work(keys))
    }

    /// Reads the document again because a row names a generation that is not known, unless somebody
    /// did meanwhile, or it was done too often a moment ago. The caller tries its row once more.
    pub(crate) async fn refresh(&self) -> Result<(), SealError> {
        let seen = self.loaded().revision;
        let mut refreshed = self.shared.refreshed.lock().await;
        if self.loaded().revision != seen {
            return Ok(());
        }
        let (since, count) = &mut *refreshed;
        if since.is_none_or(|since| since.elapsed() >= REFRESH_PAUSE) {
            (*since, *count) = (Some(Instant::now()), 0);
        }
        if *count < REFRESHES {
            self.shared.reload().await?;
            *count += 1;
        }
        Ok(())
    }

    /// Reads the document again, now.
    pub(crate) async fn reload(&self) -> Result<(), SealError> {
        self.shared.reload().await
    }

    /// Reads the document again if it was changed meanwhile, and says whether it was.
    pub(crate) async fn reload_if_changed(&self) -> Result<bool, SealError> {
        self.shared.reload_if_changed().await
    }

    /// Keeps this process from making the account's device twice at once.
    pub(crate) async fn creating(&self) -> async_lock::MutexGuard<'_, ()> {
        self.shared.creating.lock().await
    }

    /// Runs `work` while nobody else has the keyring open.
    pub(crate) async fn exclusively<T>(
        &self,
        work: impl Future<Output = Result<T, SealError>>,
    ) -> Result<T, SealError> {
        self.shared.core.exclusively(work).await
    }

    /// The id of the store that the account is bound to, if it is.
    pub(crate) fn store_id(&self) -> Option<[u8; 16]> {
        self.loaded().store_id
    }

    /// Whether all its rows are resealed and old keys wait for somebody who is alone.
    #[cfg(feature = "sqlite")]
    pub(crate) fn is_resealed(&self) -> bool {
        self.loaded().resealed
    }

    /// Whether rows of a table can be written: its keys were not destroyed.
    #[cfg(feature = "sqlite")]
    pub(crate) fn has_keys(&self, table: Table) -> bool {
        self.with_keys(|keys| keys.table(table)?.newest().map(drop))
            .is_ok()
    }

    /// Binds the account to a store: durably, once, and the first one wins.
    pub(crate) async fn bind_store(&self) -> Result<[u8; 16], SealError> {
        let fresh = secret::random_id()?;
        let mut bound = fresh;
        self.shared
            .change(|body, _| {
                bound = *body.store_id.get_or_insert(fresh);
                Ok(bound == fresh)
            })
            .await?;
        if bound == fresh {
            self.audit().record(&AuditEvent::StoreBound {
                account: id_text(&self.uid()),
                store: id_text(&bound),
            });
        }
        Ok(bound)
    }

    /// Goes on to `next`, durably. Never goes back: a state that another process reached stands.
    /// Whether it was this call that took the step, of all openers' calls.
    pub(crate) async fn advance(&self, next: AccountState) -> Result<bool, SealError> {
        let rank = |state: AccountState| match state {
            AccountState::New => 0,
            AccountState::Initialising => 1,
            AccountState::Live => 2,
            AccountState::Shredded => 3,
        };
        let mut moved = false;
        self.shared
            .change(|body, _| {
                moved = rank(body.state) < rank(next);
                if moved {
                    body.state = next;
                }
                Ok(moved)
            })
            .await?;
        if moved {
            self.audit().record(&AuditEvent::AccountState {
                account: id_text(&self.uid()),
                state: next.name().to_owned(),
            });
        }
        Ok(moved)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("uid", &id_text(&self.uid()))
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
