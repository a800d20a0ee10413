//! The shapes that most statements have: the account is `?1`, the parts of the row's key follow, and then what is
//! written.

use rusqlite::types::Type;
use rusqlite::{Row, Statement};
use wacore::store::error::Result as StoreResult;

use super::SqliteStore;
use super::key::{Key, pack, unpack};

/// Binds the account and the key's parts, and says which parameter comes next.
fn bind(statement: &mut Statement<'_>, account: i32, key: &[Key]) -> rusqlite::Result<usize> {
    statement.raw_bind_parameter(1, account)?;
    for (number, part) in (2..).zip(key) {
        statement.raw_bind_parameter(number, &part[..])?;
    }
    Ok(key.len() + 2)
}

fn packed(key: &[&str]) -> Vec<Key> {
    key.iter().map(|part| pack(part)).collect()
}

/// The text in a column.
pub(super) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let bytes = row.get_ref(column)?.as_bytes()?;
    unpack(bytes).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            Type::Blob,
            "it is no text that this store writes; restore the database from a backup".into(),
        )
    })
}

impl SqliteStore {
    /// The value of one row.
    pub(super) async fn get_value(
        &self,
        sql: &'static str,
        key: &[&str],
    ) -> StoreResult<Option<Vec<u8>>> {
        let (account, key) = (self.account, packed(key));
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(sql)?;
            bind(&mut statement, account, &key)?;
            let mut rows = statement.raw_query();
            rows.next()?.map(|row| row.get(0)).transpose()
        })
        .await
    }

    /// Writes one row.
    pub(super) async fn put_value(
        &self,
        sql: &'static str,
        key: &[&str],
        value: &[u8],
    ) -> StoreResult<()> {
        self.put_values(sql, vec![(packed(key), value.to_vec())])
            .await
    }

    /// Writes a batch of rows.
    pub(super) async fn put_values<V: AsRef<[u8]> + Send + 'static>(
        &self,
        sql: &'static str,
        mut rows: Vec<(Vec<Key>, V)>,
    ) -> StoreResult<()> {
        if rows.is_empty() {
            return Ok(());
        }
        // In the order of their index, so that each of its pages is written once. Stable: the later one counts.
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        let account = self.account;
        self.write(rows.len(), move |connection| {
            let mut statement = connection.prepare_cached(sql)?;
            for (key, value) in &rows {
                let next = bind(&mut statement, account, key)?;
                statement.raw_bind_parameter(next, value.as_ref())?;
                statement.raw_execute()?;
            }
            Ok(())
        })
        .await
    }

    /// Runs a statement on each of these keys.
    pub(super) async fn run_on(&self, sql: &'static str, keys: Vec<Vec<Key>>) -> StoreResult<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let account = self.account;
        self.write(keys.len(), move |connection| {
            let mut statement = connection.prepare_cached(sql)?;
            for key in &keys {
                bind(&mut statement, account, key)?;
                statement.raw_execute()?;
            }
            Ok(())
        })
        .await
    }

    /// Runs a statement on one row.
    pub(super) async fn run(&self, sql: &'static str, key: &[&str]) -> StoreResult<()> {
        self.run_on(sql, vec![packed(key)]).await
    }
}
