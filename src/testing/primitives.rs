//! The two primitives that everything costs, for the benchmark that compares them with raw ones.

use crate::blind::TokenColumn;
use crate::error::SealError;
use crate::keyring::Account;
use crate::options::SealOptions;
use crate::record::{Nonce, Place, Table};
use crate::sealed::{Sealer, SignalTable};
use crate::secret;

/// Seals records and makes tokens with an account's keys, without a store.
pub struct Primitives {
    account: Account,
    options: SealOptions,
}

impl Primitives {
    /// The primitives of `account`, with the default options.
    #[must_use]
    pub fn new(account: Account) -> Self {
        Self {
            account,
            options: SealOptions::default(),
        }
    }

    /// All that sealing one session costs beside its token: a nonce from the operating system,
    /// associated data, framing, padding, and the record in one allocation.
    ///
    /// # Errors
    /// If the keyring is not open.
    pub fn seal(&self, key: &str, address: &str, record: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = Nonce::default();
        secret::random(&mut nonce)?;
        self.account.with_keys(|keys| {
            let sealer = Sealer {
                keys,
                options: &self.options,
            };
            let place = Place {
                table: Table::Session,
                key: &[key.as_bytes()],
                clear: &[],
            };
            sealer.seal(place, &[address.as_bytes()], record, &nonce)
        })
    }

    /// Opens a record of [`Self::seal`]: all that reading one session costs beside its token.
    ///
    /// # Errors
    /// If the keyring is not open, and if the record is damaged or another one's.
    pub fn open(&self, key: &str, address: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.account.with_keys(|keys| {
            let sealer = Sealer {
                keys,
                options: &self.options,
            };
            sealer.open_address(SignalTable::Session, key, address, sealed)
        })
    }

    /// One-part tokens of `parts`, made in one go as a batch makes them.
    ///
    /// # Errors
    /// If the keyring is not open.
    pub fn tokens(&self, parts: &[&[u8]]) -> Result<Vec<String>, SealError> {
        self.account.with_keys(|keys| {
            parts
                .iter()
                .map(|part| keys.blind.token(TokenColumn::SenderKeyAddress, &[part]))
                .collect()
        })
    }
}
