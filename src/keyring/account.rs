//! One account: its document, its keys in memory, and their generations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::derive::{RootKeys, WrapKind, WrapPlace};
use super::document::{
    ACCOUNTS, AccountBody, AccountState, AccountsBody, KeyEntry, KeyKind, KeyState,
    account_document,
};
use super::{CONFLICT_TRIES, Core, Keyring, now};
use crate::audit::{AuditEvent, AuditSink, id_text};
use crate::blind::Blind;
use crate::error::SealError;
use crate::options::SealOptions;
use crate::record::{DataKey, Ids, Suite, Table, TableKeys};
use crate::secret::{self, Key};
use crate::wipe;

/// The shortest time between two re-reads of an account's document that unknown generations cause.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);

/// One WhatsApp account inside a store, with keys of its own. Cheap to clone. Pass it to
/// [`SealedBackend::open`](crate::SealedBackend::open).
#[derive(Clone)]
pub struct Account {
    shared: Arc<AccountShared>,
}

pub(super) struct AccountShared {
    core: Arc<Core>,
    name: String,
    uid: [u8; 16],
    /// Held for synchronous work only, never across an await.
    loaded: RwLock<Loaded>,
    refreshed: Mutex<Option<Instant>>,
    /// Serialises the making of the account's device in this process.
    creating: async_lock::Mutex<()>,
}

struct Loaded {
    state: AccountState,
    store_id: Option<[u8; 16]>,
    /// `None` while the keyring is not open.
    keys: Option<Box<AccountKeys>>,
}

/// The expanded keys of an open account.
pub(crate) struct AccountKeys {
    pub(crate) ids: Ids,
    pub(crate) blind: Blind,
    /// By [`Table::index`].
    pub(crate) tables: Vec<TableKeys>,
}

impl AccountKeys {
    pub(crate) fn table(&self, table: Table) -> Result<&TableKeys, SealError> {
        self.tables.get(table.index()).ok_or(SealError::NotOpen)
    }

    /// Unwraps every key of `body`, which `root` signed.
    fn unwrap(body: &AccountBody, root: &RootKeys) -> Result<Self, SealError> {
        let ids = Ids {
            keyring: body.keyring_id,
            account: body.uid,
        };
        let mut by_table: BTreeMap<Table, Vec<DataKey>> = BTreeMap::new();
        let mut blind = None;
        check_keys(body)?;
        for entry in &body.keys {
            let place = place(body, entry)?;
            let Some(wrapped) = &entry.wrapped else {
                continue;
            };
            let active = entry.state == KeyState::Active;
            let key = root.wrapper.unwrap(&place, wrapped)?;
            match entry.table {
                Some(table) => {
                    let key = DataKey::new(table, entry.generation, entry.suite, active, &key);
                    by_table.entry(table).or_default().push(key);
                }
                None if active => blind = Some(Blind::new(ids, &key)?),
                None => {}
            }
        }
        Ok(Self {
            ids,
            blind: blind.ok_or(SealError::CorruptKeyring {
                what: "the account has no blind key",
            })?,
            tables: Table::ALL
                .into_iter()
                .map(|table| TableKeys::new(table, by_table.remove(&table).unwrap_or_default()))
                .collect(),
        })
    }
}

/// What must hold of the key entries, so that no writer's mistake makes a key seal that must not.
fn check_keys(body: &AccountBody) -> Result<(), SealError> {
    let corrupt = |what| Err(SealError::CorruptKeyring { what });
    let mut seen = BTreeSet::new();
    let mut newest: BTreeMap<Option<Table>, u32> = BTreeMap::new();
    for entry in &body.keys {
        if entry.generation == 0 || !seen.insert((entry.table, entry.generation)) {
            return corrupt("a key's generation is zero, or used twice");
        }
        if entry.wrapped.is_none() != (entry.state == KeyState::Destroyed) {
            return corrupt("a key is there and marked as destroyed, or the other way round");
        }
        let newest = newest.entry(entry.table).or_default();
        *newest = entry.generation.max(*newest);
    }
    for entry in &body.keys {
        if entry.state == KeyState::Active && newest.get(&entry.table) != Some(&entry.generation) {
            return corrupt("an old generation is marked as the active one");
        }
    }
    Ok(())
}

/// The whole place of a wrapped key; checks that the entry makes sense.
fn place(body: &AccountBody, entry: &KeyEntry) -> Result<WrapPlace, SealError> {
    let (kind, table) = match (entry.kind, entry.table) {
        (KeyKind::Data, Some(table)) => (WrapKind::Data, table.number()),
        (KeyKind::Blind, None) => (WrapKind::Blind, 0),
        _ => {
            return Err(SealError::CorruptKeyring {
                what: "a key entry names a table where it must not, or none where it must",
            });
        }
    };
    Ok(WrapPlace {
        keyring: body.keyring_id,
        account: body.uid,
        table,
        kind,
        generation: entry.generation,
        suite: entry.suite,
    })
}

/// Wraps `key` as a new active entry.
fn entry(
    body: &AccountBody,
    root: &RootKeys,
    table: Option<Table>,
    generation: u32,
    suite: Suite,
    key: &Key,
) -> Result<KeyEntry, SealError> {
    let mut entry = KeyEntry {
        kind: if table.is_some() {
            KeyKind::Data
        } else {
            KeyKind::Blind
        },
        table,
        generation,
        suite,
        state: KeyState::Active,
        created: now(),
        retired: None,
        wrapped: None,
    };
    let wrapped = root.wrapper.wrap(&place(body, &entry)?, key)?;
    entry.wrapped = Some(wrapped.try_into().map_err(|_| SealError::TooLarge)?);
    Ok(entry)
}

/// Puts a body that another root signed under `new`: every key is unwrapped and wrapped again.
pub(super) fn rewrap(
    body: &mut AccountBody,
    old: &RootKeys,
    new: &RootKeys,
) -> Result<(), SealError> {
    for index in 0..body.keys.len() {
        let Some(entry) = body.keys.get(index) else {
            continue;
        };
        let Some(wrapped) = &entry.wrapped else {
            continue;
        };
        let place = place(body, entry)?;
        let key = old.wrapper.unwrap(&place, wrapped)?;
        let again = new.wrapper.wrap(&place, &key)?;
        if let Some(entry) = body.keys.get_mut(index) {
            entry.wrapped = Some(again.try_into().map_err(|_| SealError::TooLarge)?);
        }
    }
    body.root = new.number;
    Ok(())
}

impl AccountShared {
    /// Wipes the keys at once.
    pub(super) fn wipe(&self) {
        self.loaded_mut().keys = None;
        wipe::stack();
    }

    fn loaded_mut(&self) -> std::sync::RwLockWriteGuard<'_, Loaded> {
        self.loaded.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the document again and unwraps its keys.
    pub(super) async fn reload(&self) -> Result<(), SealError> {
        let (_, body) = read(&self.core, &self.name).await?;
        self.take(&body)
    }

    /// Makes `body`, read and verified, the account in memory.
    fn take(&self, body: &AccountBody) -> Result<(), SealError> {
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
            *self.loaded_mut() = Loaded {
                state: body.state,
                store_id: body.store_id,
                keys,
            };
            Ok(())
        })
    }

    /// Reads the document, lets `change` alter it, and writes it durably, again and again while
    /// another process changes it first. `change` answers `false` where nothing is to be written.
    async fn change(
        &self,
        mut change: impl FnMut(&mut AccountBody, &RootKeys) -> Result<bool, SealError>,
    ) -> Result<(), SealError> {
        let _changing = self.core.changing.lock().await;
        self.core.ensure_shared().await?;
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

async fn read(core: &Core, name: &str) -> Result<(u64, AccountBody), SealError> {
    let (revision, body) = core
        .read::<AccountBody>(&account_document(name))
        .await?
        .ok_or(SealError::UnknownAccount)?;
    if body.name != name {
        return Err(SealError::CorruptKeyring {
            what: "an account document names another account",
        });
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
    let _changing = core.changing.lock().await;
    core.ensure_shared().await?;
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
            state: body.state,
            store_id: body.store_id,
            keys: None,
        }),
        refreshed: Mutex::new(None),
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

fn check_name(name: &str) -> Result<(), SealError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err(SealError::Invalid {
            what: "an account's name is 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'",
        });
    }
    Ok(())
}

impl Account {
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

    /// Gives `tables` new data keys: the new generation is durable before anything is sealed under
    /// it. Rows sealed before still open; they are resealed by the lifecycle tools.
    ///
    /// # Errors
    /// If the keyring is not open, or its store fails; the old keys stay in use then.
    pub async fn rotate_data_keys(&self, tables: &[Table]) -> Result<(), SealError> {
        let suite = self.shared.core.with_open(|open| Ok(open.suite))?;
        let mut made = Vec::new();
        self.shared
            .change(|body, root| {
                made.clear();
                for table in tables {
                    if made.iter().any(|(done, _)| done == table) {
                        continue;
                    }
                    let newest = body
                        .keys
                        .iter()
                        .filter(|key| key.table == Some(*table))
                        .map(|key| key.generation)
                        .max()
                        .unwrap_or(0);
                    let generation = newest.checked_add(1).ok_or(SealError::TooLarge)?;
                    for key in &mut body.keys {
                        if key.table == Some(*table) && key.state == KeyState::Active {
                            key.state = KeyState::Retained;
                            key.retired = Some(now());
                        }
                    }
                    let key = secret::random_key()?;
                    let entry = entry(body, root, Some(*table), generation, suite, &key)?;
                    body.keys.push(entry);
                    made.push((*table, generation));
                }
                Ok(!made.is_empty())
            })
            .await?;
        for (table, generation) in made {
            self.audit().record(&AuditEvent::GenerationCreated {
                account: id_text(&self.uid()),
                table,
                generation,
            });
        }
        Ok(())
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
        wipe::after(|| work(keys))
    }

    /// Reads the document again because a row names a generation that is not known. `false` if that
    /// was done a moment ago already.
    pub(crate) async fn refresh(&self) -> Result<bool, SealError> {
        {
            let mut refreshed = self
                .shared
                .refreshed
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if refreshed.is_some_and(|at| at.elapsed() < REFRESH_PAUSE) {
                return Ok(false);
            }
            *refreshed = Some(Instant::now());
        }
        self.shared.reload().await?;
        Ok(true)
    }

    /// Reads the document again, now.
    pub(crate) async fn reload(&self) -> Result<(), SealError> {
        self.shared.reload().await
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

impl Keyring {
    /// [`Account::rotate_data_keys`] for every account of the keyring, one after the other.
    ///
    /// # Errors
    /// As there; accounts before the failing one have their new keys already.
    pub async fn rotate_data_keys(&self, tables: &[Table]) -> Result<(), SealError> {
        for name in self.accounts().await? {
            match self.account(&name).await {
                Ok(account) => account.rotate_data_keys(tables).await?,
                // Listed and not made: a crash between the two. Shredded: nothing to rotate.
                Err(SealError::UnknownAccount | SealError::Shredded) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use secrecy::SecretBox;
    use wacore::store::InMemoryBackend;

    use super::*;
    use crate::keyring::store::BackendKeyring;
    use crate::provider::RawKey;

    fn raw() -> RawKey {
        RawKey::new(SecretBox::new(Box::new([7; 32])))
    }

    async fn keyring() -> Keyring {
        let store = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
        Keyring::create(store, &raw()).await.unwrap()
    }

    /// A token, as a stand-in for all keys.
    fn token(account: &Account) -> Result<String, SealError> {
        account.with_keys(|keys| keys.blind.token(crate::blind::TokenColumn::Device, &[b"x"]))
    }

    fn newest(account: &Account, table: Table) -> u32 {
        account
            .with_keys(|keys| Ok(keys.table(table)?.newest()?.generation))
            .unwrap()
    }

    #[tokio::test]
    async fn closing_takes_the_keys_of_open_accounts_and_unlock_brings_them_back() {
        let keyring = keyring().await;
        let account = keyring.create_account("1").await.unwrap();
        let again = keyring.account("1").await.unwrap();
        let before = token(&account).unwrap();
        keyring.lock();
        for handle in [&account, &again] {
            assert!(matches!(token(handle), Err(SealError::NotOpen)));
        }
        keyring.unlock(&raw()).await.unwrap();
        for handle in [&account, &again] {
            assert_eq!(token(handle).unwrap(), before, "the same keys");
        }
    }

    #[tokio::test]
    async fn a_new_root_changes_no_key_of_an_account() {
        let keyring = keyring().await;
        let account = keyring.create_account("1").await.unwrap();
        account.rotate_data_keys(&[Table::Session]).await.unwrap();
        let before = token(&account).unwrap();
        keyring.rotate_root(&[(1, &raw())], &[]).await.unwrap();
        account.reload().await.unwrap();
        assert_eq!(token(&account).unwrap(), before);
        assert_eq!(newest(&account, Table::Session), 2);
        assert_eq!(newest(&account, Table::Identity), 1);
    }

    #[tokio::test]
    async fn accounts_share_no_key() {
        let keyring = keyring().await;
        let one = keyring.create_account("1").await.unwrap();
        let two = keyring.create_account("2").await.unwrap();
        assert_ne!(token(&one).unwrap(), token(&two).unwrap());
    }

    #[tokio::test]
    async fn a_new_generation_seals_and_every_older_one_opens() {
        let keyring = keyring().await;
        let account = keyring.create_account("1").await.unwrap();
        for generation in 2..=4 {
            account.rotate_data_keys(&[Table::Session]).await.unwrap();
            assert_eq!(newest(&account, Table::Session), generation);
        }
        let all: Vec<u32> = account
            .with_keys(|keys| {
                let all = keys.table(Table::Session)?.all();
                Ok(all.map(|key| key.generation).collect())
            })
            .unwrap();
        assert_eq!(all, [4, 3, 2, 1]);
        assert_eq!(newest(&account, Table::Device), 1);
    }

    #[tokio::test]
    async fn a_store_is_bound_once_and_a_state_never_goes_back() {
        let store = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
        let keyring = Keyring::create(store.clone(), &raw()).await.unwrap();
        let account = keyring.create_account("1").await.unwrap();
        assert_eq!(account.store_id(), None);
        // Another process: the first one wins for both.
        let other = Keyring::open(store, &raw()).await.unwrap();
        let theirs = other.account("1").await.unwrap();
        let bound = account.bind_store().await.unwrap();
        assert_eq!(theirs.bind_store().await.unwrap(), bound);
        assert_eq!(account.bind_store().await.unwrap(), bound);
        assert_eq!(theirs.store_id(), Some(bound));

        account.advance(AccountState::Live).await.unwrap();
        theirs.advance(AccountState::Initialising).await.unwrap();
        assert_eq!(theirs.state(), AccountState::Live);
        theirs.advance(AccountState::Shredded).await.unwrap();
        account.advance(AccountState::New).await.unwrap();
        assert_eq!(account.state(), AccountState::Shredded);
        for handle in [&account, &theirs] {
            assert!(matches!(token(handle), Err(SealError::Shredded)));
        }
    }

    /// Rows of an unknown generation, in a flood, read the document once only.
    #[tokio::test]
    async fn a_refresh_is_made_once_in_a_while() {
        let store = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
        let keyring = Keyring::create(store.clone(), &raw()).await.unwrap();
        let account = keyring.create_account("1").await.unwrap();
        let other = Keyring::open(store, &raw()).await.unwrap();
        other.rotate_data_keys(&[Table::Session]).await.unwrap();
        assert_eq!(newest(&account, Table::Session), 1);
        assert!(account.refresh().await.unwrap());
        assert_eq!(newest(&account, Table::Session), 2);
        let start = Instant::now();
        let second = account.refresh().await.unwrap();
        assert!(!second || start.elapsed() >= REFRESH_PAUSE / 2);
    }
}
