//! A keyring with one account, and one store for it that can be taken apart.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use sealed_store::testing::{Fault, FaultyBackend, Lasting, When, assert_same_device, full_device};
use sealed_store::{Fault as RowFault, Revision, SealError, SealedBackend, Table};
use wacore::store::error::StoreError;
use wacore::store::traits::{Backend, DeviceStore, SignalStore};
use wacore::store::{Device, InMemoryBackend};
use whatsapp_rust_sqlite_storage::SqliteStore;

use crate::gate::Gate;
use crate::support::{Shelf, account_body, raw};

pub const CANARY: &str = "sealed-store.canary";

pub struct Scene {
    shelf: Shelf,
    folder: Option<tempfile::TempDir>,
    /// The account's document before it knew a store.
    unbound: (Revision, Vec<u8>),
    pub gate: Arc<Gate>,
}

impl Scene {
    /// One over each of upstream's stores.
    pub async fn both() -> [Self; 2] {
        [Self::memory().await, Self::sqlite().await]
    }

    pub async fn memory() -> Self {
        Self::make(None, Arc::new(InMemoryBackend::new())).await
    }

    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = plain(folder.path().join("data.db")).await;
        Self::make(Some(folder), store).await
    }

    async fn make(folder: Option<tempfile::TempDir>, behind: Arc<dyn Backend>) -> Self {
        let shelf = Shelf::backend();
        let keyring = shelf.create(&raw(1)).await.unwrap();
        keyring.create_account("1").await.unwrap();
        let gate = Arc::new(Gate::new(behind));
        let unbound = shelf.document("account:1").await;
        Self {
            shelf,
            folder,
            unbound,
            gate,
        }
    }

    /// Opens the keyring anew, and with it the store.
    pub async fn open(&self) -> Result<SealedBackend<Gate>, SealError> {
        self.open_on(self.gate.clone()).await
    }

    pub async fn open_on<B: Backend>(&self, store: Arc<B>) -> Result<SealedBackend<B>, SealError> {
        let keyring = self.shelf.open(&raw(1)).await?;
        SealedBackend::open(store, keyring.account("1").await?).await
    }

    /// Makes the account live, with a device that is nobody else's.
    pub async fn live(&self) -> Device {
        let store = self.open().await.unwrap();
        store.create().await.unwrap();
        store.save(&full_device()).await.unwrap();
        store.load().await.unwrap().unwrap()
    }

    /// Crashes while the device is made, before or after the effect of the nth call of a method.
    pub async fn crash(&self, (method, nth): (&str, usize), when: When) {
        // Where that call comes is seen on a store that does not fail.
        let twin = FaultyBackend::new(Arc::new(InMemoryBackend::new()));
        let shelf = Shelf::backend();
        let keyring = shelf.create(&raw(1)).await.unwrap();
        let account = keyring.create_account("1").await.unwrap();
        let twin = SealedBackend::open(Arc::new(twin), account).await.unwrap();
        twin.inner().clear();
        twin.create().await.unwrap();
        let log = twin.inner().log();
        let mut places = log.iter().zip(1..).filter(|(name, _)| **name == method);
        let (_, call) = places.nth(nth - 1).expect("a call of this name");

        let faulty = Arc::new(FaultyBackend::new(self.gate.clone()));
        let store = self.open_on(faulty.clone()).await.unwrap();
        faulty.clear();
        faulty.arm(Fault {
            call,
            when,
            lasting: Lasting::ForGood,
        });
        store.create().await.unwrap_err();
        assert_eq!(faulty.log().last(), Some(&method));
    }

    pub async fn canary(&self) -> Option<Vec<u8>> {
        let row = self.gate.get_session(CANARY).await.unwrap();
        row.map(|row| row.to_vec())
    }

    pub async fn has_canary(&self) -> bool {
        self.canary().await.is_some()
    }

    /// Under which name the device was saved, if it ever was.
    pub fn carrier_key(&self) -> Option<String> {
        let mut names = self.gate.sessions();
        names.retain(|name| name != CANARY);
        assert!(names.len() <= 1, "{names:?}");
        names.pop()
    }

    pub async fn carrier(&self) -> Option<Vec<u8>> {
        let row = self.gate.get_session(&self.carrier_key()?).await.unwrap();
        row.map(|row| row.to_vec())
    }

    /// The inner store's own device row.
    pub async fn plain_device(&self) -> Option<Device> {
        self.gate.load().await.unwrap()
    }

    pub async fn same_plain_device(&self, before: Option<Device>) {
        match (self.plain_device().await, before) {
            (Some(now), Some(before)) => assert_same_device(&now, &before, &[]),
            (now, before) => assert_eq!(now.is_some(), before.is_some()),
        }
    }

    /// Takes the store apart, under whoever has it open; what is `true` stays.
    pub async fn keep(&self, canary: bool, device_row: bool, carrier: bool) {
        for (name, stays) in [
            (CANARY.to_owned(), canary),
            (self.carrier_key().unwrap(), carrier),
        ] {
            if !stays {
                self.gate.delete_session(&name).await.unwrap();
            }
        }
        if device_row {
            return;
        }
        let mut rows = Vec::new();
        for name in self.gate.sessions() {
            if let Some(row) = self.gate.get_session(&name).await.unwrap() {
                rows.push((name, row));
            }
        }
        // The store is let go of before its file is changed.
        let empty = Arc::new(InMemoryBackend::new());
        self.gate.change(empty.clone());
        match &self.folder {
            Some(folder) => {
                let path = folder.path().join("data.db");
                let file = Connection::open(&path).unwrap();
                assert_eq!(file.execute("DELETE FROM device", []).unwrap(), 1);
                file.close().unwrap();
                self.gate.change(plain(path).await);
            }
            None => {
                for (name, row) in rows {
                    empty.put_session(&name, &row).await.unwrap();
                }
            }
        }
        assert!(!self.gate.exists().await.unwrap());
        assert_eq!(self.has_canary().await, canary);
        assert_eq!(self.carrier().await.is_some(), carrier);
    }

    /// The account's document as it is kept.
    pub async fn document(&self) -> (Revision, Vec<u8>) {
        self.shelf.document("account:1").await
    }

    pub async fn put_document(&self, (revision, bytes): &(Revision, Vec<u8>)) {
        self.shelf.set("account:1", *revision, bytes).await;
    }

    /// The account's state as it is kept.
    pub async fn state(&self) -> String {
        let body = account_body(&self.shelf, "1").await;
        body["state"].as_str().unwrap().to_owned()
    }

    /// The canary that an account of another keyring writes.
    pub async fn of_another_keyring() -> Vec<u8> {
        let other = Self::memory().await;
        other.open().await.unwrap();
        other.canary().await.unwrap()
    }

    /// The canary that another account of the same keyring writes.
    pub async fn of_another_account(&self) -> Vec<u8> {
        let keyring = self.shelf.open(&raw(1)).await.unwrap();
        let account = keyring.account_or_create("2").await.unwrap();
        canary_of(account).await
    }

    /// The canary that the same account wrote in another store: its document was put back to before
    /// it knew a store, and the present one is put back afterwards.
    pub async fn of_another_store(&self) -> Vec<u8> {
        let now = self.document().await;
        let keyring = self.shelf.open(&raw(1)).await.unwrap();
        self.put_document(&self.unbound).await;
        let canary = canary_of(keyring.account("1").await.unwrap()).await;
        self.put_document(&now).await;
        canary
    }
}

async fn canary_of(account: sealed_store::Account) -> Vec<u8> {
    let store = Arc::new(InMemoryBackend::new());
    SealedBackend::open(store.clone(), account).await.unwrap();
    let row = store.get_session(CANARY).await.unwrap();
    row.unwrap().to_vec()
}

async fn plain(path: PathBuf) -> Arc<dyn Backend> {
    Arc::new(SqliteStore::new(path.to_str().unwrap()).await.unwrap())
}

/// What a call of wacore's traits says, as an error of ours.
pub struct Told(StoreError);

impl Deref for Told {
    type Target = SealError;

    fn deref(&self) -> &SealError {
        SealError::of(&self.0).expect("an error of ours")
    }
}

/// The error of a call that must fail.
#[track_caller]
pub fn of<T>(result: Result<T, StoreError>) -> Told {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => Told(error),
    }
}

pub fn emptied(error: &SealError) -> bool {
    matches!(error, SealError::StoreEmptied)
}

pub fn wrong_keyring(error: &SealError) -> bool {
    matches!(error, SealError::WrongKeyring)
}

pub fn unsealed(error: &SealError, expected: Option<Table>) -> bool {
    matches!(error, SealError::Unsealed { table } if *table == expected)
}

pub fn corrupt_canary(error: &SealError, fault: RowFault) -> bool {
    matches!(error, SealError::Corrupt { table: Table::Canary, what } if *what == fault)
}

pub fn authentication(error: &SealError, expected: Table) -> bool {
    matches!(error, SealError::Corrupt { table, what: RowFault::Authentication } if *table == expected)
}
