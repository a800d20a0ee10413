//! What all handles of a keyring share: its keys, its documents, and how it is held.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use super::account::AccountShared;
use super::derive::RootKeys;
use super::document::{self, Body, Envelope, KEYRING, KeyringBody, SlotEntry};
use super::store::{
    KeyringStore, LOCK_TRIES, LockGuard, LockMode, Revision, StoreFaultKind, lock_shared,
    pause_for_lock,
};
use super::{idle, lease};
use crate::audit::{self, AuditEvent, AuditSink, id_text};
use crate::error::SealError;
use crate::options::SealOptions;
use crate::record::Suite;

/// How often a change is tried again when another process changed the same document first.
pub(super) const CONFLICT_TRIES: usize = 8;

/// What all clones and accounts of a keyring share.
pub(crate) struct Core {
    pub(super) store: Arc<dyn KeyringStore>,
    pub(super) audit: Arc<dyn AuditSink>,
    pub(super) seal: SealOptions,
    pub(super) id: [u8; 16],
    pub(super) pins: BTreeMap<String, Revision>,
    /// The slot that is tried alone, if one was named; it follows that slot's number while the keyring is open.
    pub(super) named: Mutex<Option<u32>>,
    /// Whether slots that may be lost are allowed to be the only ones.
    pub(super) lone: bool,
    /// `None` while the keyring is not open. Held for synchronous work only, never across an await.
    pub(super) open: RwLock<Option<Open>>,
    pub(super) accounts: Mutex<BTreeMap<String, Weak<AccountShared>>>,
    pub(super) guard: Mutex<Option<LockGuard>>,
    /// Whose turn it is to change how the keyring is held. Taken before `changing`, never after it.
    pub(super) holding: async_lock::Mutex<()>,
    /// Serialises this process's changes, so that they do not conflict with each other.
    pub(super) changing: async_lock::Mutex<()>,
    pub(super) idle: idle::Idle,
    pub(super) lease: lease::Leased,
}

/// The keys of an open keyring.
pub(super) struct Open {
    pub(super) suite: Suite,
    /// Which of the openings under a lease this is, from 1.
    pub(super) opening: u64,
    /// The slot that this opener came in through, as it is now; `None` once it was removed.
    pub(super) through: Option<SlotEntry>,
    pub(super) root: RootKeys,
    /// Present while an interrupted root rotation waits to be finished.
    pub(super) previous: Option<RootKeys>,
    /// New roots whose write nobody confirmed: its future was dropped, or the store failed. One of
    /// them may be durable, and then it is met in the documents.
    pub(super) unconfirmed: Vec<Unconfirmed>,
}

/// A new root that may or may not have replaced the present one.
pub(super) struct Unconfirmed {
    pub(super) root: RootKeys,
    /// The slot that this opener came in through, as it is under it.
    pub(super) through: Option<SlotEntry>,
}

impl Open {
    /// The number of the slot that this opener came in through; 0 (which none has) once it was removed.
    pub(super) fn slot(&self) -> u32 {
        self.through.as_ref().map_or(0, |entry| entry.slot)
    }

    /// The root that signed a document.
    pub(super) fn root_of(&self, number: u32) -> Result<&RootKeys, SealError> {
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

    pub(super) fn is_unconfirmed(&self, number: u32) -> bool {
        self.unconfirmed.iter().any(|new| new.root.number == number)
    }

    /// Makes an unconfirmed root, now known to be durable, the root. `false` if there is none.
    pub(super) fn confirm(&mut self, number: u32) -> bool {
        let found = self
            .unconfirmed
            .iter()
            .position(|new| new.root.number == number);
        let Some(position) = found else { return false };
        let new = self.unconfirmed.swap_remove(position);
        self.previous = Some(std::mem::replace(&mut self.root, new.root));
        self.through = new.through;
        // The others were written against a revision that is gone.
        self.unconfirmed.clear();
        true
    }
}

impl Core {
    pub(super) fn open_mut(&self) -> std::sync::RwLockWriteGuard<'_, Option<Open>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs synchronous work with the keys.
    pub(super) fn with_open<T>(
        &self,
        work: impl FnOnce(&Open) -> Result<T, SealError>,
    ) -> Result<T, SealError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        work(open.as_ref().ok_or(SealError::NotOpen)?)
    }

    pub(crate) fn audit(&self) -> &dyn AuditSink {
        &*self.audit
    }

    pub(super) fn named(&self) -> std::sync::MutexGuard<'_, Option<u32>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wipe(&self, idle: bool) {
        self.wipe_if(|_| true, None, idle);
    }

    /// Wipes every key if the keyring has not been closed and opened since: why, goes before that into the audit.
    pub(super) fn wipe_opening(&self, opening: u64, why: &AuditEvent) {
        let is_meant =
            |open: &Option<Open>| open.as_ref().is_some_and(|open| open.opening == opening);
        self.wipe_if(is_meant, Some(why), false);
    }

    fn wipe_if(
        &self,
        is_meant: impl FnOnce(&Option<Open>) -> bool,
        why: Option<&AuditEvent>,
        idle: bool,
    ) {
        // All under one guard: the keys and the lease of whoever opens it again at once are not ended by this.
        let mut open = self.open_mut();
        if !is_meant(&open) {
            return;
        }
        let opened = open.take();
        let was_open = opened.is_some();
        if let (Some(named), Some(opened)) = (&mut *self.named(), opened)
            && opened.through.is_some()
        {
            *named = opened.slot();
        }
        self.lease.stop();
        let accounts = self.live_accounts();
        for account in &accounts {
            account.wipe();
        }
        drop(open);
        if was_open {
            if let Some(why) = why {
                self.audit.record(why);
            }
            self.audit.record(&AuditEvent::KeysWiped {
                keyring: id_text(&self.id),
                idle,
            });
        }
    }

    pub(super) fn live_accounts(&self) -> Vec<Arc<AccountShared>> {
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
    pub(super) async fn ensure_shared(&self) -> Result<(), SealError> {
        if self.guard_mut().is_some() {
            return Ok(());
        }
        // Exclusive work of this process, if there is any, comes to its end first.
        let _turn = self.holding.lock().await;
        self.take_shared().await
    }

    pub(super) async fn take_shared(&self) -> Result<(), SealError> {
        if self.guard_mut().is_some() {
            return Ok(());
        }
        let guard = lock_shared(&*self.store).await?;
        match self.read::<KeyringBody>(KEYRING).await {
            Ok(Some(_)) | Err(SealError::NotOpen) => {}
            Ok(None) => return Err(SealError::NoKeyring),
            Err(error) => return Err(error),
        }
        *self.guard_mut() = Some(guard);
        Ok(())
    }

    /// Takes the keyring shared, for work that reads every document anew.
    pub(super) async fn hold_shared(&self) -> Result<(), SealError> {
        let _turn = self.holding.lock().await;
        if self.guard_mut().is_some() {
            return Ok(());
        }
        let guard = lock_shared(&*self.store).await?;
        *self.guard_mut() = Some(guard);
        Ok(())
    }

    pub(super) fn guard_mut(&self) -> std::sync::MutexGuard<'_, Option<LockGuard>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Trades the shared hold for the exclusive one, until the answer is dropped.
    pub(super) async fn take_exclusive(&self) -> Result<Exclusive<'_>, SealError> {
        let turn = self.holding.lock().await;
        let mut exclusive = Exclusive {
            core: self,
            over: false,
            _turn: turn,
        };
        let mut tries = 0;
        loop {
            drop(self.guard_mut().take());
            match self.store.lock(LockMode::Exclusive).await {
                Ok(guard) => {
                    *self.guard_mut() = Some(guard);
                    return Ok(exclusive);
                }
                Err(fault) => {
                    // Nobody may come in between while it waits: rows may be on their way under the keys of now.
                    self.take_shared_again().await;
                    let passes =
                        fault.kind() == StoreFaultKind::InUse && self.store.lock_may_pass();
                    if !passes || tries == LOCK_TRIES {
                        exclusive.over = true;
                        return Err(fault.into());
                    }
                    tries += 1;
                    pause_for_lock().await;
                }
            }
        }
    }

    /// Holds the keyring shared again. What was done stands if that fails: where somebody else is, or
    /// was, at work on the keys, ours are wiped, and otherwise the next change takes it.
    pub(super) async fn take_shared_again(&self) {
        let taken = async {
            self.take_shared().await?;
            // Somebody may have been alone in between, and have destroyed what is the newest key here.
            for account in self.live_accounts() {
                account.reload_if_changed().await?;
            }
            Ok(())
        };
        if let Err(
            SealError::InUse
            | SealError::RootChanged
            | SealError::NoKeyring
            | SealError::UnknownAccount
            | SealError::CorruptKeyring { .. },
        ) = taken.await
        {
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
        exclusive.end().await;
        result
    }

    /// Reads and verifies a document.
    pub(super) async fn read<B: Body>(
        &self,
        name: &str,
    ) -> Result<Option<(Revision, B)>, SealError> {
        self.with_open(|_| Ok(()))?;
        let Some((revision, bytes)) = self.store.get(name).await? else {
            // A pinned document that is gone was rolled back to before it was made.
            check_pin(&self.pins, name, 0).inspect_err(|error| self.note_refused(name, error))?;
            return Ok(None);
        };
        self.verify(name, revision, &bytes)
            .inspect_err(|error| self.note_refused(name, error))
            .map(|body| Some((revision, body)))
    }

    fn verify<B: Body>(
        &self,
        name: &str,
        revision: Revision,
        bytes: &[u8],
    ) -> Result<B, SealError> {
        let envelope = Envelope::<B>::read(bytes)?;
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
        Ok(body)
    }

    /// Audits that a document was refused.
    pub(super) fn note_refused(&self, name: &str, error: &SealError) {
        // Of no use to an auditor: that the keys were gone meanwhile.
        if !matches!(error, SealError::NotOpen) {
            self.audit.record(&AuditEvent::DocumentRefused {
                keyring: id_text(&self.id),
                document: document::kind(name).to_owned(),
                reason: audit::reason(error),
            });
        }
    }

    /// A document under root `number` was verified, or written: that root is durable.
    pub(super) fn confirm_root(&self, number: u32) {
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
    pub(super) async fn write<B: Body>(
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
    pub(super) async fn change_keyring<T>(
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

/// Trades the hold for a shared one when it is dropped, so that a dropped future never keeps others out, nor lets them in as if
/// nobody had the keyring open.
pub(super) struct Exclusive<'a> {
    core: &'a Core,
    over: bool,
    _turn: async_lock::MutexGuard<'a, ()>,
}

impl Exclusive<'_> {
    /// Trades it for the shared hold, before anybody else in this process has a turn.
    pub(super) async fn end(mut self) {
        drop(self.core.guard_mut().take());
        self.core.take_shared_again().await;
        self.over = true;
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let taken = {
            let mut guard = self.core.guard_mut();
            drop(guard.take());
            match at_once(self.core.store.lock(LockMode::Shared)) {
                Some(Ok(taken)) => {
                    *guard = Some(taken);
                    true
                }
                Some(Err(_)) => false,
                // A store that can't tell at once: the next change takes it.
                None => true,
            }
        };
        if !taken {
            // Somebody else is at work on the keys.
            self.core.wipe(false);
        }
    }
}

/// What a future gives if it is asked once.
fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.wipe(false);
    }
}

/// Wipes the keys when it is dropped with the keyring still in it.
pub(super) struct WipeUnlessDone<'a>(pub(super) Option<&'a Core>);

impl Drop for WipeUnlessDone<'_> {
    fn drop(&mut self) {
        if let Some(core) = self.0 {
            core.wipe(false);
        }
    }
}

pub(super) fn check_pin(
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
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
