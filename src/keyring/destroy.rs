//! Destroying data keys and whole accounts: what they sealed can't be read again.
//!
//! A wrapped key is erased from the account's document; keys are random and derived from nothing, so nothing else
//! gives them back but a copy of the document that was made before.

use super::Account;
use super::core::now;
use super::document::{AccountState, KeyEntry, KeyState};
use crate::audit::{AuditEvent, id_text};
use crate::error::SealError;
use crate::record::Table;

/// Whether the key was there.
pub(super) fn erase(entry: &mut KeyEntry) -> bool {
    if entry.state == KeyState::Destroyed {
        return false;
    }
    entry.state = KeyState::Destroyed;
    entry.wrapped = None;
    entry.retired.get_or_insert_with(now);
    true
}

impl Account {
    /// Destroys every data key of `tables`: no row of theirs opens again, in no copy of the store, unless somebody has a
    /// copy of the keyring from before. Names in key columns stay readable until the account is shredded. The answer is
    /// how many keys were destroyed.
    ///
    /// Runs alone: every other opener of the keyring must be closed. A table that is to be used again gets a new key by
    /// [`Account::rotate_data_keys`].
    ///
    /// # Errors
    /// [`SealError::InUse`] while somebody else has the keyring open; if the keyring is not open, or its store fails.
    pub async fn shred_tables(&self, tables: &[Table]) -> Result<usize, SealError> {
        self.exclusively(self.shred_tables_alone(tables)).await
    }

    /// As [`Account::shred_tables`], of who has the keyring alone.
    pub(crate) async fn shred_tables_alone(&self, tables: &[Table]) -> Result<usize, SealError> {
        let mut erased = Vec::new();
        self.shared
            .change(|body, _| {
                erased.clear();
                for entry in &mut body.keys {
                    if let Some(table) = entry.table
                        && tables.contains(&table)
                        && erase(entry)
                    {
                        erased.push((table, entry.generation));
                    }
                }
                Ok(!erased.is_empty())
            })
            .await?;
        self.note_destroyed(&erased);
        Ok(erased.len())
    }

    /// Destroys all keys of the account, its blind key too: no row and no name of it can be read again, in no copy of
    /// the store, unless somebody has a copy of the keyring from before. The account answers
    /// [`SealError::Shredded`] from then on. The answer is how many keys were destroyed.
    ///
    /// Runs alone: every other opener of the keyring must be closed.
    ///
    /// # Errors
    /// [`SealError::InUse`] while somebody else has the keyring open; if the keyring is not open, or its store fails.
    pub async fn shred(&self) -> Result<usize, SealError> {
        self.exclusively(self.shred_alone()).await
    }

    /// As [`Account::shred`], of who has the keyring alone.
    pub(crate) async fn shred_alone(&self) -> Result<usize, SealError> {
        let (mut erased, mut count, mut shredded) = (Vec::new(), 0, false);
        self.shared
            .change(|body, _| {
                erased.clear();
                count = 0;
                for entry in &mut body.keys {
                    if erase(entry) {
                        count += 1;
                        erased.extend(entry.table.map(|table| (table, entry.generation)));
                    }
                }
                shredded = body.state != AccountState::Shredded;
                body.state = AccountState::Shredded;
                body.resealing = None;
                Ok(shredded || count > 0)
            })
            .await?;
        self.note_destroyed(&erased);
        if shredded {
            self.audit().record(&AuditEvent::AccountState {
                account: id_text(&self.uid()),
                state: AccountState::Shredded.name().to_owned(),
            });
        }
        Ok(count)
    }

    pub(super) fn note_destroyed(&self, erased: &[(Table, u32)]) {
        for (table, generation) in erased {
            self.audit().record(&AuditEvent::GenerationDestroyed {
                account: id_text(&self.uid()),
                table: *table,
                generation: *generation,
            });
        }
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests;
