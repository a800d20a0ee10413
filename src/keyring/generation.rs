//! The keys of an account: what must hold of their entries, how they are wrapped, and their generations.

use std::collections::{BTreeMap, BTreeSet};

use super::core::now;
use super::derive::{RootKeys, WrapKind, WrapPlace};
use super::document::{AccountBody, KeyEntry, KeyKind, KeyState};
use super::{Account, Keyring};
use crate::audit::{AuditEvent, id_text};
use crate::blind::Blind;
use crate::error::SealError;
use crate::record::{DataKey, Ids, Suite, Table, TableKeys};
use crate::secret::{self, Key};

/// The expanded keys of an open account.
pub(crate) struct AccountKeys {
    pub(crate) blind: Blind,
    /// By [`Table::index`].
    pub(crate) tables: Vec<TableKeys>,
}

impl AccountKeys {
    pub(crate) fn table(&self, table: Table) -> Result<&TableKeys, SealError> {
        self.tables.get(table.index()).ok_or(SealError::NotOpen)
    }

    /// Unwraps every key of `body`, which `root` signed.
    pub(super) fn unwrap(body: &AccountBody, root: &RootKeys) -> Result<Self, SealError> {
        let ids = Ids {
            keyring: body.keyring_id,
            account: body.uid,
        };
        let mut by_table: BTreeMap<Table, Vec<DataKey>> = BTreeMap::new();
        let mut destroyed: BTreeMap<Table, Vec<u32>> = BTreeMap::new();
        let mut blind = None;
        check_keys(body)?;
        for entry in &body.keys {
            let place = place(body, entry)?;
            let Some(wrapped) = &entry.wrapped else {
                if let Some(table) = entry.table {
                    destroyed.entry(table).or_default().push(entry.generation);
                }
                continue;
            };
            let active = entry.state == KeyState::Active;
            let key = root.wrapper.unwrap(&place, wrapped)?;
            match entry.table {
                Some(table) => {
                    let key =
                        DataKey::new(&ids, table, entry.generation, entry.suite, active, &key)?;
                    by_table.entry(table).or_default().push(key);
                }
                None if active => blind = Some(Blind::new(&key)),
                None => {}
            }
        }
        Ok(Self {
            blind: blind.ok_or(SealError::CorruptKeyring {
                what: "the account has no blind key",
            })?,
            tables: Table::ALL
                .into_iter()
                .map(|table| {
                    TableKeys::new(table, by_table.remove(&table).unwrap_or_default())
                        .destroyed(destroyed.remove(&table).unwrap_or_default())
                })
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
pub(super) fn entry(
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

impl Account {
    /// Gives `tables` new data keys: the new generation is durable before anything is sealed under
    /// it. Rows sealed before still open; they are resealed by the lifecycle tools.
    ///
    /// # Errors
    /// If the keyring is not open, or its store fails; the old keys stay in use then.
    pub async fn rotate_data_keys(&self, tables: &[Table]) -> Result<(), SealError> {
        self.rotate_and(tables, |_, _| {}).await
    }

    /// Gives `tables` new data keys, and lets `also` alter the document in the same write.
    pub(super) async fn rotate_and(
        &self,
        tables: &[Table],
        mut also: impl FnMut(&mut AccountBody, &[(Table, u32)]),
    ) -> Result<(), SealError> {
        let suite = self.shared.core.with_open(|open| Ok(open.suite))?;
        let mut made = Vec::new();
        self.shared
            .change(|body, root| {
                made = rotate(body, root, suite, tables)?;
                also(body, &made);
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
}

/// Adds a new generation for each of `tables`, and retires those before.
fn rotate(
    body: &mut AccountBody,
    root: &RootKeys,
    suite: Suite,
    tables: &[Table],
) -> Result<Vec<(Table, u32)>, SealError> {
    let mut made: Vec<(Table, u32)> = Vec::with_capacity(tables.len());
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
    Ok(made)
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
