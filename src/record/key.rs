//! Data keys, expanded for use.

use secrecy::SecretBox;

use super::context::{self, HEADER_LEN, Ids};
use super::suite::{Cipher, Suite};
use super::{Header, Table};
use crate::error::{Fault, SealError};
use crate::labels;
use crate::secret::{self, SivKey};

/// The expanded keys of one generation of one table.
pub(crate) struct DataKey {
    pub(crate) generation: u32,
    pub(crate) suite: Suite,
    /// Whether it may seal.
    active: bool,
    pub(crate) cipher: Cipher,
    pub(crate) header: [u8; HEADER_LEN],
    /// How the associated data of its records begins.
    pub(crate) aad: Vec<u8>,
    /// Only for the tables that hold SIV values.
    siv: Option<Siv>,
}

/// The key of SIV values, and how their associated data begins.
pub(crate) struct Siv {
    pub(crate) key: SivKey,
    pub(crate) aad: Vec<u8>,
}

impl DataKey {
    pub(crate) fn new(
        ids: &Ids,
        table: Table,
        generation: u32,
        suite: Suite,
        active: bool,
        data_key: &SecretBox<[u8; 32]>,
    ) -> Result<Self, SealError> {
        let record_key = secret::expand(data_key, &[labels::RECORD_KEY, &[suite.number()]]);
        let header = Header::bytes(suite, generation);
        let siv = match table {
            Table::BaseKey | Table::MsgSecret => Some(Siv {
                key: SivKey::derive(data_key, &[labels::SIV_KEY]),
                aad: context::beginning(labels::SIV_AD, ids, &header, table)?,
            }),
            _ => None,
        };
        Ok(Self {
            generation,
            suite,
            active,
            cipher: Cipher::new(suite, &record_key),
            header,
            aad: context::beginning(labels::RECORD_AD, ids, &header, table)?,
            siv,
        })
    }

    pub(crate) fn siv(&self, table: Table) -> Result<&Siv, SealError> {
        self.siv.as_ref().ok_or(SealError::Corrupt {
            table,
            what: Fault::Suite,
        })
    }
}

/// All generations of one table that are not destroyed.
pub(crate) struct TableKeys {
    table: Table,
    /// The newest first.
    keys: Vec<DataKey>,
    /// Generations whose keys are gone.
    destroyed: Vec<u32>,
}

impl TableKeys {
    /// `keys` in any order, each generation once.
    pub(crate) fn new(table: Table, mut keys: Vec<DataKey>) -> Self {
        keys.sort_by_key(|key| std::cmp::Reverse(key.generation));
        Self {
            table,
            keys,
            destroyed: Vec::new(),
        }
    }

    /// With the generations whose keys are gone: what they sealed is shredded, and not of an unknown generation.
    pub(crate) fn destroyed(mut self, destroyed: Vec<u32>) -> Self {
        self.destroyed = destroyed;
        self
    }

    /// The key that seals.
    pub(crate) fn newest(&self) -> Result<&DataKey, SealError> {
        self.keys
            .first()
            .filter(|key| key.active)
            .ok_or(SealError::Shredded)
    }

    /// Every generation that opens, the newest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &DataKey> {
        self.keys.iter()
    }

    /// The key that a header names.
    pub(crate) fn of(&self, header: &Header) -> Result<&DataKey, SealError> {
        if self.keys.is_empty() || self.destroyed.contains(&header.generation) {
            return Err(SealError::Shredded);
        }
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
