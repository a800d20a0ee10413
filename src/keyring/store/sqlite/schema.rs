//! The keyring's tables, in a file that may hold those of a store too.

use rusqlite::{Connection, TransactionBehavior};

use super::failed;
use crate::keyring::store::{StoreFault, StoreFaultKind};

/// Numbered migrations, applied in order; the count is the schema's version.
const MIGRATIONS: &[&str] = &[include_str!(
    "../../../../migrations/keyring/0001_documents.sql"
)];

/// Whether the file holds a keyring; one of a newer version is refused.
pub(super) fn has_keyring(connection: &Connection) -> Result<bool, StoreFault> {
    if !has_table(connection, "sealed_store_keyring")? {
        return Ok(false);
    }
    check_version(version(connection)?).map(|()| true)
}

fn check_version(version: i64) -> Result<(), StoreFault> {
    if version > known_version() {
        return Err(StoreFault::new(
            StoreFaultKind::NewerSchema,
            "the keyring's file was written by a newer sealed-store; update this one",
        ));
    }
    Ok(())
}

fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreFault> {
    let known = known_version();
    if has_table(connection, "sealed_store_keyring_schema")? && version(connection)? == known {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    // A table of our own, not `user_version`: the file may belong to another store.
    transaction
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS sealed_store_keyring_schema (version INTEGER NOT NULL)",
        )
        .map_err(failed)?;
    let applied = version(&transaction)?;
    check_version(applied)?;
    for (number, sql) in (1i64..).zip(MIGRATIONS) {
        if number > applied {
            transaction.execute_batch(sql).map_err(failed)?;
            transaction
                .execute(
                    "INSERT INTO sealed_store_keyring_schema (version) VALUES (?1)",
                    [number],
                )
                .map_err(failed)?;
        }
    }
    transaction.commit().map_err(failed)
}

fn version(connection: &Connection) -> Result<i64, StoreFault> {
    connection
        .query_row(
            "SELECT COALESCE(MAX(version), 0) FROM sealed_store_keyring_schema",
            [],
            |row| row.get(0),
        )
        .map_err(failed)
}

fn has_table(connection: &Connection, name: &str) -> Result<bool, StoreFault> {
    connection
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
            [name],
            |row| row.get(0),
        )
        .map_err(failed)
}
