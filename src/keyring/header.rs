//! All documents of a keyring at once, verified with a secret before any of them is put anywhere.

use std::collections::BTreeMap;

use super::account::check_name;
use super::core::Open;
use super::document::{
    self, ACCOUNTS, AccountBody, AccountsBody, Body, Envelope, KEYRING, KeyringBody, account_name,
};
use super::store::Revision;
use super::unlock::{Wanted, open_envelope};
use crate::error::SealError;
use crate::provider::KeyProvider;

/// Documents by name, each with the revision that its store says.
pub(crate) type Documents = BTreeMap<String, (Revision, Vec<u8>)>;

/// A document whose checksum fits. Nothing of it is believed yet.
pub(crate) enum Unverified {
    Keyring(Envelope<KeyringBody>),
    Accounts(Envelope<AccountsBody>),
    Account(Envelope<AccountBody>),
}

impl Unverified {
    /// Reads a document that is to be the one of this name.
    pub(crate) fn read(name: &str, bytes: &[u8]) -> Result<Self, SealError> {
        match name {
            KEYRING => Envelope::read(bytes).map(Self::Keyring),
            ACCOUNTS => Envelope::read(bytes).map(Self::Accounts),
            _ => {
                let account = account_name(name).ok_or(SealError::CorruptKeyring {
                    what: "a document has a name that none can have",
                })?;
                check_name(account)?;
                Envelope::read(bytes).map(Self::Account)
            }
        }
    }

    pub(crate) fn keyring_id(&self) -> [u8; 16] {
        match self {
            Self::Keyring(envelope) => envelope.body.keyring_id,
            Self::Accounts(envelope) => envelope.body.keyring_id,
            Self::Account(envelope) => envelope.body.keyring_id,
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        match self {
            Self::Keyring(envelope) => envelope.body.revision,
            Self::Accounts(envelope) => envelope.body.revision,
            Self::Account(envelope) => envelope.body.revision,
        }
    }
}

/// A keyring that opened, every document of it verified.
pub(crate) struct Verified {
    open: Open,
    pub(crate) keyring: KeyringBody,
    pub(crate) index: Option<AccountsBody>,
    pub(crate) accounts: BTreeMap<String, AccountBody>,
}

/// Opens the keyring of `documents` with `provider` and verifies each of them.
pub(crate) async fn verify(
    documents: &Documents,
    provider: &dyn KeyProvider,
) -> Result<Verified, SealError> {
    let (revision, bytes) = documents.get(KEYRING).ok_or(SealError::NoKeyring)?;
    let wanted = Wanted {
        id: None,
        slot: None,
        pins: &BTreeMap::new(),
    };
    let (keyring, open) = open_envelope(Envelope::read(bytes)?, *revision, &wanted, provider)
        .await
        .map_err(|(_, error)| error)?;
    let mut verified = Verified {
        open,
        keyring,
        index: None,
        accounts: BTreeMap::new(),
    };
    for (name, (revision, bytes)) in documents {
        match Unverified::read(name, bytes)? {
            Unverified::Keyring(_) => {}
            Unverified::Accounts(envelope) => {
                verified.index = Some(verified.one(envelope, name, *revision)?);
            }
            Unverified::Account(envelope) => {
                let body = verified.one(envelope, name, *revision)?;
                verified.accounts.insert(name.clone(), body);
            }
        }
    }
    Ok(verified)
}

impl Verified {
    fn one<B: Body>(
        &self,
        envelope: Envelope<B>,
        name: &str,
        revision: Revision,
    ) -> Result<B, SealError> {
        let root = self.open.root_of(envelope.body.root())?;
        envelope.verify(root, name, &self.keyring.keyring_id, revision)
    }

    /// The index, if it is one of this keyring's, of this or an earlier or a later day.
    pub(crate) fn index_of(
        &self,
        document: Unverified,
        revision: Revision,
    ) -> Option<AccountsBody> {
        match document {
            Unverified::Accounts(envelope) => self.one(envelope, ACCOUNTS, revision).ok(),
            _ => None,
        }
    }

    /// The account of the document `name`, if it is one of this keyring's.
    pub(crate) fn account_of(
        &self,
        document: Unverified,
        name: &str,
        revision: Revision,
    ) -> Option<AccountBody> {
        match document {
            Unverified::Account(envelope) => {
                let body = self.one(envelope, name, revision).ok()?;
                (account_name(name) == Some(body.name.as_str())).then_some(body)
            }
            _ => None,
        }
    }

    /// A document of the index, signed anew.
    pub(crate) fn sign_index(
        &self,
        names: Vec<String>,
        revision: Revision,
    ) -> Result<Vec<u8>, SealError> {
        let body = AccountsBody {
            keyring_id: self.keyring.keyring_id,
            revision,
            root: self.open.root.number,
            names,
        };
        document::write(&body, &self.open.root, ACCOUNTS)
    }
}
