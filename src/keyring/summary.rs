//! What a keyring says of itself and its accounts.

use super::Keyring;
use super::account;
use super::document::{
    AccountBody, AccountState, KEYRING, KeyState, KeyringBody, account_document, account_name,
};
use crate::error::SealError;
use crate::record::Table;

/// An account, as its verified document describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountInfo {
    /// Its name.
    pub name: String,
    /// Its id.
    pub uid: [u8; 16],
    /// How far it is.
    pub state: AccountState,
    /// Every key that it ever had: those of each table in the order of their generations, the blind key first.
    pub keys: Vec<KeyInfo>,
}

/// One key of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// The table whose rows it seals; none for the blind key.
    pub table: Option<Table>,
    /// Its generation.
    pub generation: u32,
    /// How far it is.
    pub state: KeyState,
    /// When it was made, in Unix seconds.
    pub created: u64,
    /// When it ceased to seal, in Unix seconds.
    pub retired: Option<u64>,
}

impl Keyring {
    /// An account and the states of its keys. `None` where the account is listed and was never made, which a crash
    /// leaves behind.
    ///
    /// # Errors
    /// If the keyring is not open, its store fails, or the account's document does not verify.
    pub async fn account_info(&self, name: &str) -> Result<Option<AccountInfo>, SealError> {
        account::check_name(name)?;
        let found = self
            .core
            .read::<AccountBody>(&account_document(name))
            .await?;
        Ok(found.map(|(_, body)| body.info()))
    }

    /// The names of accounts that the keyring's store holds and their index does not list, as after a restore of
    /// an older index. Empty where the store can't list.
    ///
    /// # Errors
    /// If the keyring is not open, or its store fails.
    pub async fn unlisted_accounts(&self) -> Result<Vec<String>, SealError> {
        let listed = self.accounts().await?;
        let documents = self.core.store.list().await?.unwrap_or_default();
        Ok(documents
            .iter()
            .filter_map(|document| account_name(document))
            .filter(|name| !listed.iter().any(|listed| listed == name))
            .map(str::to_owned)
            .collect())
    }

    /// Whether a root rotation was cut short, or is under way elsewhere: the next opener that is alone finishes it.
    ///
    /// # Errors
    /// If the keyring is not open, or its store fails.
    pub async fn is_rotating(&self) -> Result<bool, SealError> {
        let (_, body) = self
            .core
            .read::<KeyringBody>(KEYRING)
            .await?
            .ok_or(SealError::NoKeyring)?;
        Ok(body.previous_root.is_some())
    }
}

impl AccountBody {
    pub(crate) fn info(&self) -> AccountInfo {
        let mut keys: Vec<_> = self
            .keys
            .iter()
            .map(|key| KeyInfo {
                table: key.table,
                generation: key.generation,
                state: key.state,
                created: key.created,
                retired: key.retired,
            })
            .collect();
        keys.sort_by_key(|key| (key.table, key.generation));
        AccountInfo {
            name: self.name.clone(),
            uid: self.uid,
            state: self.state,
            keys,
        }
    }
}
