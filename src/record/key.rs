//! Data keys, expanded for use.

use secrecy::SecretBox;

use super::suite::{Cipher, Suite};
use super::{Header, Table};
use crate::error::{Fault, SealError};
use crate::labels;
use crate::secret::{self, SivKey};

/// The expanded keys of one generation of one table.
pub(crate) struct DataKey {
    pub(crate) generation: u32,
    pub(crate) suite: Suite,
    pub(crate) cipher: Cipher,
    /// Only for the tables that hold SIV values.
    siv: Option<SivKey>,
}

impl DataKey {
    pub(crate) fn new(
        table: Table,
        generation: u32,
        suite: Suite,
        data_key: &SecretBox<[u8; 32]>,
    ) -> Self {
        let record_key = secret::expand(data_key, &[labels::RECORD_KEY, &[suite.number()]]);
        let siv = matches!(table, Table::BaseKey | Table::MsgSecret)
            .then(|| SivKey::derive(data_key, &[labels::SIV_KEY]));
        Self {
            generation,
            suite,
            cipher: Cipher::new(suite, &record_key),
            siv,
        }
    }

    pub(crate) fn siv(&self, table: Table) -> Result<&SivKey, SealError> {
        self.siv.as_ref().ok_or(SealError::Corrupt {
            table,
            what: Fault::Suite,
        })
    }
}

/// All retained generations of one table, the newest last. Never empty.
pub(crate) struct TableKeys {
    table: Table,
    newest: DataKey,
    older: Vec<DataKey>,
}

impl TableKeys {
    /// `generations` in any order; `None` if there is none.
    pub(crate) fn new(table: Table, mut generations: Vec<DataKey>) -> Option<Self> {
        generations.sort_by_key(|key| key.generation);
        let newest = generations.pop()?;
        Some(Self {
            table,
            newest,
            older: generations,
        })
    }

    /// The key that seals.
    pub(crate) fn newest(&self) -> &DataKey {
        &self.newest
    }

    /// Every generation that opens, the newest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &DataKey> {
        std::iter::once(&self.newest).chain(self.older.iter().rev())
    }

    /// The key that a header names.
    pub(crate) fn of(&self, header: &Header) -> Result<&DataKey, SealError> {
        let key = self
            .all()
            .find(|key| key.generation == header.generation)
            .ok_or(SealError::UnknownGeneration {
                table: self.table,
                generation: header.generation,
            })?;
        if key.suite != header.suite {
            return Err(SealError::Corrupt {
                table: self.table,
                what: Fault::Suite,
            });
        }
        Ok(key)
    }
}
