//! What a task knows of its own rows: what was acknowledged, and what was tried after that and may be there too.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use sealed_store::SealedBackend;
use sealed_store::store::sqlite::SqliteStore;
use wacore::store::error::StoreError;
use wacore::store::traits::SignalStore;

pub type Store = SealedBackend<SqliteStore>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Session,
    Identity,
}

/// The rows of one task, which nobody else writes.
#[derive(Default)]
pub struct Ledger {
    rows: BTreeMap<(Kind, String), Row>,
    pub acknowledged: u64,
}

#[derive(Default)]
struct Row {
    /// The last value whose write was acknowledged; 0 for none.
    written: u64,
    /// Those that were refused since. A write that fails is whole or not there at all.
    tried: Vec<u64>,
}

/// What reading a row back showed.
#[derive(Default, Clone, Copy)]
pub struct Found {
    pub rows: u64,
    pub lost: u64,
    pub wrong: u64,
}

impl std::ops::AddAssign for Found {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.lost += other.lost;
        self.wrong += other.wrong;
    }
}

impl Ledger {
    /// Writes `value`, a number greater than those before, into a row.
    pub async fn write(
        &mut self,
        store: &Store,
        kind: Kind,
        address: &str,
        value: u64,
    ) -> Result<(), StoreError> {
        let row = self.rows.entry((kind, address.to_owned())).or_default();
        row.tried.push(value);
        match kind {
            Kind::Session => store.put_session(address, &session(address, value)).await?,
            Kind::Identity => store.put_identity(address, identity(value)).await?,
        }
        row.written = value;
        row.tried.clear();
        self.acknowledged += 1;
        Ok(())
    }

    /// Reads a row back and compares.
    pub async fn read(
        &self,
        store: &Store,
        kind: Kind,
        address: &str,
    ) -> Result<Found, StoreError> {
        let Some(row) = self.rows.get(&(kind, address.to_owned())) else {
            return Ok(Found::default());
        };
        let found = match kind {
            Kind::Session => {
                let bytes = store.get_session(address).await?;
                bytes.map(|bytes| number_of_session(address, &bytes))
            }
            Kind::Identity => store.load_identity(address).await?.map(number_of_identity),
        };
        let is_right = |value: u64| value == row.written || row.tried.contains(&value);
        let (lost, wrong) = match found {
            None => (row.written > 0, false),
            // An older value: the last acknowledged write is not there.
            Some(Some(value)) if !is_right(value) => (value < row.written, value > row.written),
            Some(Some(_)) => (false, false),
            Some(None) => (false, true),
        };
        Ok(Found {
            rows: 1,
            lost: lost.into(),
            wrong: wrong.into(),
        })
    }

    /// Reads everything back.
    pub async fn verify(&self, store: &Store) -> Result<Found> {
        let mut all = Found::default();
        for (kind, address) in self.rows.keys() {
            let found = self.read(store, *kind, address).await;
            all += found.context("a row can't be read back")?;
        }
        Ok(all)
    }
}

/// As long as a session is, more or less, and different for each row and number.
fn session(address: &str, value: u64) -> Vec<u8> {
    format!("{value:020} {address} ").repeat(8).into_bytes()
}

fn number_of_session(address: &str, bytes: &[u8]) -> Option<u64> {
    let value = std::str::from_utf8(bytes.get(..20)?).ok()?.parse().ok()?;
    (session(address, value) == bytes).then_some(value)
}

fn identity(value: u64) -> [u8; 32] {
    let mut key = [0; 32];
    for part in key.chunks_mut(8) {
        part.copy_from_slice(&value.to_le_bytes());
    }
    key
}

fn number_of_identity(key: [u8; 32]) -> Option<u64> {
    let value = u64::from_le_bytes(*key.first_chunk()?);
    (identity(value) == key).then_some(value)
}
