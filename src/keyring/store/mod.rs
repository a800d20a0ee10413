//! Where keyring documents are kept.

mod backend;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::any::Any;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

pub use backend::BackendKeyring;
pub(crate) use backend::holds_rows;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteKeyring;
#[cfg(feature = "sqlite")]
pub(crate) use sqlite::{Swept, documents_of};

use crate::error::{Opaque, calm};
use crate::thread::pause;

/// No document is larger than this many bytes; a reader checks it before it parses one.
pub(crate) const MAX_DOCUMENT: usize = 4 * 1024 * 1024;

/// A document's revision: 1 when it is made, one more with each write.
pub type Revision = u64;

/// Whether the data store that a keyring belongs to holds rows already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupied {
    /// It does: no new keyring is made over it.
    Yes,
    /// It does not.
    No,
    /// The keyring's store can't see the data store.
    Unknown,
}

/// How a keyring is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// By every opener.
    Shared,
    /// By work that nobody else may run beside.
    Exclusive,
}

/// Holds the keyring until it is dropped.
pub struct LockGuard(
    #[expect(dead_code, reason = "held for its destructor")] Box<dyn Any + Send + Sync>,
);

impl LockGuard {
    /// A guard that releases by dropping `held`.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Box::new(held))
    }
}

/// How often a lock that somebody has is tried for again: for a quarter of a second in all. A process that is just being
/// started has a copy of every descriptor until it runs, and with it of a lock that was let go of here: that is over in a
/// moment, and nobody else is waited for.
pub(crate) const LOCK_TRIES: u32 = 10;

/// Waits until it is worth trying.
pub(crate) async fn pause_for_lock() {
    pause(Duration::from_millis(25)).await;
}

/// Takes a keyring that nobody has open alone.
#[cfg(feature = "sqlite")]
pub(crate) async fn lock_alone(store: &dyn KeyringStore) -> Result<LockGuard, StoreFault> {
    lock_patiently(store, LockMode::Exclusive).await
}

/// Takes a keyring beside its other openers. (Who holds it already and wants it alone tries again by himself, and holds it
/// shared meanwhile.)
pub(crate) async fn lock_shared(store: &dyn KeyringStore) -> Result<LockGuard, StoreFault> {
    lock_patiently(store, LockMode::Shared).await
}

async fn lock_patiently(store: &dyn KeyringStore, mode: LockMode) -> Result<LockGuard, StoreFault> {
    let mut tries = 0;
    loop {
        match store.lock(mode).await {
            Err(fault)
                if fault.kind() == StoreFaultKind::InUse
                    && tries < LOCK_TRIES
                    && store.lock_may_pass() => {}
            taken_or_failed => return taken_or_failed,
        }
        tries += 1;
        pause_for_lock().await;
    }
}

/// Keeps named documents, each with a revision, replaced by compare-and-swap.
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
pub trait KeyringStore: Send + Sync {
    /// A document and its revision, or `None` if there is none of this name. Never creates anything. What it
    /// gives is not trusted: the caller checks length, hash and MAC.
    ///
    /// # Errors
    /// A [`StoreFault`] if the store can't be read; never for a document that is not there.
    async fn get(&self, name: &str) -> Result<Option<(Revision, Vec<u8>)>, StoreFault>;

    /// Writes a document, at most 4 MiB of UTF-8 text, if its revision is still `expected` (`None`: if it does not exist), durably,
    /// and returns the new revision: `expected + 1`, or 1.
    ///
    /// # Errors
    /// [`StoreFaultKind::Conflict`] if the revision is another, and then nothing was written. After any other
    /// error it may have been.
    async fn put(
        &self,
        name: &str,
        expected: Option<Revision>,
        bytes: &[u8],
    ) -> Result<Revision, StoreFault>;

    /// The names of all documents, in any order, or `None` where the store can't list.
    ///
    /// # Errors
    /// A [`StoreFault`] if the store can't be read.
    async fn list(&self) -> Result<Option<Vec<String>>, StoreFault>;

    /// Whether the data store beside it holds rows. Never creates anything.
    ///
    /// # Errors
    /// A [`StoreFault`] if the store can't be read.
    async fn occupied(&self) -> Result<Occupied, StoreFault>;

    /// Takes the keyring, without waiting: ready when it is first polled, or else a future that is dropped in exclusive work
    /// leaves the keyring unheld, with its keys in memory, until its next change.
    ///
    /// # Errors
    /// [`StoreFaultKind::InUse`] if another opener holds it in a mode that excludes this one.
    async fn lock(&self, mode: LockMode) -> Result<LockGuard, StoreFault>;

    /// Whether a lock that somebody seems to have may be free in a moment without anybody's doing, so that it is worth
    /// trying for again. Default: no.
    fn lock_may_pass(&self) -> bool {
        false
    }
}

/// The kinds of keyring-store error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreFaultKind {
    /// The document has another revision than expected.
    Conflict,
    /// Another opener holds the keyring.
    InUse,
    /// Reading or writing failed: rights, space, or a device error.
    Io,
    /// What is stored is not what this store writes.
    Corrupt,
    /// The store's schema is newer than this code.
    NewerSchema,
    /// The name or document can't be taken.
    Invalid,
}

/// A keyring store failed.
#[derive(Debug)]
pub struct StoreFault {
    kind: StoreFaultKind,
    advice: &'static str,
    source: Option<Opaque>,
}

impl StoreFault {
    /// A fault of `kind`; `advice` is a fixed sentence that says what to do next.
    #[must_use]
    pub fn new(kind: StoreFaultKind, advice: &'static str) -> Self {
        Self {
            kind,
            advice,
            source: None,
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

    /// The kind of fault.
    #[must_use]
    pub fn kind(&self) -> StoreFaultKind {
        self.kind
    }

    /// Whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, StoreFaultKind::InUse | StoreFaultKind::Io)
    }
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(calm(self.advice))
    }
}

impl std::error::Error for StoreFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
