//! What the keyring's tests share: shelves to keep documents on and to tamper with them behind the
//! keyring's back, cheap providers, and edits of documents whose unkeyed checksum is put right again.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use sealed_store::{
    BackendKeyring, Fields, KdfCost, KeyProvider, Keyring, KeyringOptions, KeyringStore, LockGuard,
    LockMode, NewSlot, Occupied, Passphrase, Probe, ProviderError, RawKey, Recipe, Revision,
    SealError, SlotContext, SqliteKeyring, StoreFault,
};
use secrecy::SecretBox;
use sha2::{Digest, Sha256};
use wacore::store::InMemoryBackend;
use wacore::store::traits::SignalStore;

/// A raw key of one repeated byte: opens at once.
pub fn raw(byte: u8) -> RawKey {
    RawKey::new(SecretBox::new(Box::new([byte; 32])))
}

/// A passphrase at the least cost that a slot may have.
pub fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text).cost(KdfCost::FLOOR)
}

/// What a suite's random choices begin with: printed, and `SEALED_STORE_SEED` repeats it.
pub fn seed() -> u64 {
    let seed = std::env::var("SEALED_STORE_SEED").map_or_else(
        |_| rand::random(),
        |seed| seed.parse().expect("SEALED_STORE_SEED is a number"),
    );
    println!("SEALED_STORE_SEED={seed}");
    seed
}

/// The error of a call that must fail. (`Keyring` and `Account` have no `Debug`, on purpose.)
#[track_caller]
pub fn refused<T>(result: Result<T, SealError>) -> SealError {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error,
    }
}

/// A place to keep a keyring, whose documents can be read and replaced behind its back.
pub enum Shelf {
    Sqlite {
        folder: tempfile::TempDir,
    },
    Backend {
        inner: Arc<InMemoryBackend>,
        keyring: BackendKeyring<InMemoryBackend>,
    },
}

impl Shelf {
    pub fn sqlite() -> Self {
        Self::Sqlite {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn backend() -> Self {
        let inner = Arc::new(InMemoryBackend::new());
        Self::Backend {
            keyring: BackendKeyring::new(Arc::clone(&inner)),
            inner,
        }
    }

    /// One of each kind.
    pub fn both() -> [Self; 2] {
        [Self::sqlite(), Self::backend()]
    }

    /// A fresh handle of the store; for SQLite a connection of its own.
    pub fn store(&self) -> Store {
        match self {
            Self::Sqlite { .. } => Store(Arc::new(SqliteKeyring::at(self.path()))),
            Self::Backend { keyring, .. } => Store(Arc::new(keyring.clone())),
        }
    }

    /// The file of an SQLite shelf.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Sqlite { folder } => folder.path().join("keyring.db"),
            Self::Backend { .. } => panic!("no file"),
        }
    }

    /// The names of the files of an SQLite shelf.
    pub fn files(&self) -> Vec<String> {
        let Self::Sqlite { folder } = self else {
            return Vec::new();
        };
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A connection past the keyring. No keyring may be open meanwhile.
    pub fn raw_connection(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        // Durability is no part of an attack.
        connection
            .pragma_update(None, "synchronous", "OFF")
            .unwrap();
        connection
    }

    pub async fn get(&self, name: &str) -> Option<(Revision, Vec<u8>)> {
        match self {
            Self::Sqlite { .. } => self
                .raw_connection()
                .query_row(
                    "SELECT revision, document FROM sealed_store_keyring WHERE name = ?1",
                    [name],
                    |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)),
                )
                .optional()
                .unwrap(),
            Self::Backend { inner, .. } => {
                let row = inner.get_session(&row_key(name)).await.unwrap()?;
                let (revision, bytes) = row.split_first_chunk::<8>().unwrap();
                Some((u64::from_le_bytes(*revision), bytes.to_vec()))
            }
        }
    }

    /// As [`Shelf::get`], and `None` too where there is no file yet.
    pub async fn get_if_made(&self, name: &str) -> Option<(Revision, Vec<u8>)> {
        if matches!(self, Self::Sqlite { .. }) && !self.path().exists() {
            return None;
        }
        self.get(name).await
    }

    /// The document, which must be there.
    pub async fn document(&self, name: &str) -> (Revision, Vec<u8>) {
        self.get(name).await.expect("no such document")
    }

    /// Puts a document there as it is, whatever was there.
    pub async fn set(&self, name: &str, revision: Revision, bytes: &[u8]) {
        match self {
            Self::Sqlite { .. } => {
                self.raw_connection()
                    .execute(
                        "INSERT OR REPLACE INTO sealed_store_keyring (name, revision, document)
                         VALUES (?1, ?2, ?3)",
                        params![name, revision.cast_signed(), bytes],
                    )
                    .unwrap();
            }
            Self::Backend { inner, .. } => {
                let mut row = revision.to_le_bytes().to_vec();
                row.extend_from_slice(bytes);
                inner.put_session(&row_key(name), &row).await.unwrap();
            }
        }
    }

    pub async fn remove(&self, name: &str) {
        match self {
            Self::Sqlite { .. } => {
                self.raw_connection()
                    .execute("DELETE FROM sealed_store_keyring WHERE name = ?1", [name])
                    .unwrap();
            }
            Self::Backend { inner, .. } => inner.delete_session(&row_key(name)).await.unwrap(),
        }
    }

    /// Edits the JSON body of a document and puts its unkeyed checksum right, as whoever can write
    /// the file can. The MAC line stays.
    pub async fn edit(&self, name: &str, edit: impl FnOnce(&mut serde_json::Value)) {
        let (revision, bytes) = self.document(name).await;
        let text = String::from_utf8(bytes).unwrap();
        let (magic, json, mac) = split(&text);
        let mut body = serde_json::from_str(json).unwrap();
        edit(&mut body);
        let json = serde_json::to_string_pretty(&body).unwrap();
        self.set(name, revision, join(magic, &json, mac).as_bytes())
            .await;
    }

    pub async fn open(&self, provider: &dyn KeyProvider) -> Result<Keyring, SealError> {
        Keyring::open(self.store(), provider).await
    }

    pub async fn create(&self, provider: &dyn KeyProvider) -> Result<Keyring, SealError> {
        Keyring::create(self.store(), provider).await
    }

    pub async fn open_with(
        &self,
        options: KeyringOptions,
        provider: &dyn KeyProvider,
    ) -> Result<Keyring, SealError> {
        options.open(self.store(), provider).await
    }
}

fn row_key(name: &str) -> String {
    format!("sealed-store.document.{}", name.replace(':', "."))
}

/// The bytes of a file, none if it is not there. Read by another process: closing any descriptor of a
/// database file would drop SQLite's own locks in this one.
pub fn bytes_of(path: &Path) -> Vec<u8> {
    if !path.exists() {
        return Vec::new();
    }
    let output = Command::new("cat").arg(path).output().expect("cat runs");
    assert!(output.status.success(), "the file is read");
    output.stdout
}

/// Splits a document into its first line, its JSON and its MAC line.
pub fn split(text: &str) -> (&str, &str, &str) {
    let (magic, rest) = text.split_once('\n').unwrap();
    let (json, rest) = rest.rsplit_once("\nsha256 ").unwrap();
    let (_, mac) = rest.split_once('\n').unwrap();
    (magic, json, mac)
}

/// Joins what [`split`] gave, with the right unkeyed checksum.
pub fn join(magic: &str, json: &str, mac: &str) -> String {
    let head = format!("{magic}\n{json}\n");
    let sha = hex::encode(Sha256::digest(head.as_bytes()));
    format!("{head}sha256 {sha}\n{mac}")
}

/// Any keyring store, behind one type.
#[derive(Clone)]
pub struct Store(pub Arc<dyn KeyringStore>);

#[async_trait]
impl KeyringStore for Store {
    async fn get(&self, name: &str) -> Result<Option<(Revision, Vec<u8>)>, StoreFault> {
        self.0.get(name).await
    }
    async fn put(
        &self,
        name: &str,
        expected: Option<Revision>,
        bytes: &[u8],
    ) -> Result<Revision, StoreFault> {
        self.0.put(name, expected, bytes).await
    }
    async fn list(&self) -> Result<Option<Vec<String>>, StoreFault> {
        self.0.list().await
    }
    async fn occupied(&self) -> Result<Occupied, StoreFault> {
        self.0.occupied().await
    }
    async fn lock(&self, mode: LockMode) -> Result<LockGuard, StoreFault> {
        self.0.lock(mode).await
    }
}

/// A provider of one fixed secret with a reference of its own, which counts what it is asked.
pub struct Remote {
    pub key_id: &'static str,
    pub secret: [u8; 32],
    pub generated: AtomicUsize,
    pub unwrapped: AtomicUsize,
}

impl Remote {
    pub fn new(key_id: &'static str, secret: [u8; 32]) -> Self {
        Self {
            key_id,
            secret,
            generated: AtomicUsize::new(0),
            unwrapped: AtomicUsize::new(0),
        }
    }

    pub fn unwrapped(&self) -> usize {
        self.unwrapped.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl KeyProvider for Remote {
    fn kind(&self) -> &str {
        "remote"
    }
    fn reference(&self) -> Fields {
        Fields::from([("key_id".into(), self.key_id.into())])
    }
    async fn generate(&self, _: &SlotContext) -> Result<NewSlot, ProviderError> {
        self.generated.fetch_add(1, Ordering::SeqCst);
        Ok(NewSlot {
            secret: SecretBox::new(Box::new(self.secret)),
            material: Fields::from([("blob".into(), "00".into())]),
        })
    }
    async fn unwrap_secret(
        &self,
        _: &SlotContext,
        _: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        self.unwrapped.fetch_add(1, Ordering::SeqCst);
        Ok(SecretBox::new(Box::new(self.secret)))
    }
    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::ready())
    }
}

/// Waits until `condition` holds, a minute at most, without blocking the runtime.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "never came true: {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The JSON body of an account's document.
pub async fn account_body(shelf: &Shelf, name: &str) -> serde_json::Value {
    let (_, bytes) = shelf.document(&format!("account:{name}")).await;
    let text = String::from_utf8(bytes).unwrap();
    serde_json::from_str(split(&text).1).unwrap()
}

/// A keyring store that gives way once at every call, so that a future can be dropped there; and
/// that counts the calls.
#[derive(Clone)]
pub struct Yielding {
    inner: Store,
    calls: Arc<AtomicUsize>,
}

impl Yielding {
    pub fn new(inner: Store) -> Self {
        Self {
            inner,
            calls: Arc::default(),
        }
    }

    async fn give_way(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
}

#[async_trait]
impl KeyringStore for Yielding {
    async fn get(&self, name: &str) -> Result<Option<(Revision, Vec<u8>)>, StoreFault> {
        self.give_way().await;
        let result = self.inner.get(name).await;
        self.give_way().await;
        result
    }
    async fn put(
        &self,
        name: &str,
        expected: Option<Revision>,
        bytes: &[u8],
    ) -> Result<Revision, StoreFault> {
        self.give_way().await;
        let result = self.inner.put(name, expected, bytes).await;
        self.give_way().await;
        result
    }
    async fn list(&self) -> Result<Option<Vec<String>>, StoreFault> {
        self.give_way().await;
        self.inner.list().await
    }
    async fn occupied(&self) -> Result<Occupied, StoreFault> {
        self.give_way().await;
        self.inner.occupied().await
    }
    async fn lock(&self, mode: LockMode) -> Result<LockGuard, StoreFault> {
        self.give_way().await;
        let result = self.inner.lock(mode).await;
        self.give_way().await;
        result
    }
}

/// Drops `future` when it gives way for the `pauses + 1`st time. `Some` if it was ready before that.
pub async fn dropped_after<T>(pauses: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = pauses;
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// A sink that keeps what it is given.
#[derive(Clone, Default)]
pub struct Events(Arc<std::sync::Mutex<Vec<sealed_store::AuditEvent>>>);

impl sealed_store::AuditSink for Events {
    fn record(&self, event: &sealed_store::AuditEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Events {
    pub fn take(&self) -> Vec<sealed_store::AuditEvent> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    pub fn seen(&self) -> Vec<sealed_store::AuditEvent> {
        self.0.lock().unwrap().clone()
    }
}
