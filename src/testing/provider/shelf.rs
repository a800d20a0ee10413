//! Where the suite's keyrings are kept, so that their documents can be altered behind their back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::keyring::store::{
    KeyringStore, LockGuard, LockMode, Occupied, Revision, StoreFault, StoreFaultKind,
};

const KEYRING: &str = "keyring";

/// By name: revision and bytes.
type Documents = BTreeMap<String, (Revision, Vec<u8>)>;

/// Documents in memory. One opener, so nobody is kept out.
#[derive(Clone, Default)]
pub(super) struct Shelf {
    documents: Arc<Mutex<Documents>>,
}

impl Shelf {
    fn documents(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (Revision, Vec<u8>)>> {
        self.documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A shelf of its own with the same documents.
    pub(super) fn copy(&self) -> Self {
        Self {
            documents: Arc::new(Mutex::new(self.documents().clone())),
        }
    }

    /// The slots of the keyring's document.
    pub(super) fn slots(&self) -> Vec<Value> {
        let (_, body, _) = self.parts();
        body["slots"].as_array().expect("slots").clone()
    }

    /// Puts other slots there, with the checksum put right, as whoever can write the file can. The MAC stays.
    pub(super) fn set_slots(&self, slots: Vec<Value>) {
        let (magic, mut body, mac) = self.parts();
        body["slots"] = slots.into();
        let json = serde_json::to_string_pretty(&body).expect("JSON");
        let head = format!("{magic}\n{json}\n");
        let sum = data_encoding::HEXLOWER.encode(&Sha256::digest(head.as_bytes()));
        let text = format!("{head}sha256 {sum}\n{mac}");
        let mut documents = self.documents();
        let (_, bytes) = documents.get_mut(KEYRING).expect("a keyring");
        *bytes = text.into_bytes();
    }

    /// First line, body and MAC line.
    fn parts(&self) -> (String, Value, String) {
        let documents = self.documents();
        let (_, bytes) = documents.get(KEYRING).expect("a keyring");
        let text = std::str::from_utf8(bytes).expect("text");
        let (magic, rest) = text.split_once('\n').expect("a first line");
        let (json, rest) = rest.rsplit_once("\nsha256 ").expect("a checksum");
        let (_, mac) = rest.split_once('\n').expect("a MAC");
        let body = serde_json::from_str(json).expect("JSON");
        (magic.to_owned(), body, mac.to_owned())
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl KeyringStore for Shelf {
    async fn get(&self, name: &str) -> Result<Option<(Revision, Vec<u8>)>, StoreFault> {
        Ok(self.documents().get(name).cloned())
    }

    async fn put(
        &self,
        name: &str,
        expected: Option<Revision>,
        bytes: &[u8],
    ) -> Result<Revision, StoreFault> {
        let mut documents = self.documents();
        if documents.get(name).map(|(revision, _)| *revision) != expected {
            return Err(StoreFault::new(
                StoreFaultKind::Conflict,
                "the document has another revision",
            ));
        }
        let revision = expected.unwrap_or(0) + 1;
        documents.insert(name.to_owned(), (revision, bytes.to_vec()));
        Ok(revision)
    }

    async fn list(&self) -> Result<Option<Vec<String>>, StoreFault> {
        Ok(Some(self.documents().keys().cloned().collect()))
    }

    async fn occupied(&self) -> Result<Occupied, StoreFault> {
        Ok(Occupied::No)
    }

    async fn lock(&self, _mode: LockMode) -> Result<LockGuard, StoreFault> {
        Ok(LockGuard::new(()))
    }
}
