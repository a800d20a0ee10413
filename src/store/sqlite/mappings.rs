//! LID mappings.

use rusqlite::{OptionalExtension, Row, params};
use wacore::store::error::Result as StoreResult;
use wacore::store::traits::LidPnMappingEntry;

use super::SqliteStore;
use super::key::pack;
use super::rows::text;

const MAPPING: &str = "SELECT lid, phone, created_at, updated_at, source FROM lid_mappings";

fn mapping(row: &Row<'_>) -> rusqlite::Result<LidPnMappingEntry> {
    Ok(LidPnMappingEntry {
        lid: text(row, 0)?,
        phone_number: text(row, 1)?,
        created_at: row.get(2)?,
        updated_at: row.get(3)?,
        learning_source: text(row, 4)?,
    })
}

impl SqliteStore {
    pub(super) async fn mapping_of_lid(&self, lid: &str) -> StoreResult<Option<LidPnMappingEntry>> {
        let (account, lid) = (self.account, pack(lid));
        self.read(move |connection| {
            connection
                .prepare_cached(&format!("{MAPPING} WHERE account = ?1 AND lid = ?2"))?
                .query_row(params![account, &lid[..]], mapping)
                .optional()
        })
        .await
    }

    pub(super) async fn mapping_of_phone(
        &self,
        phone: &str,
    ) -> StoreResult<Option<LidPnMappingEntry>> {
        let (account, phone) = (self.account, pack(phone));
        self.read(move |connection| {
            connection
                .prepare_cached(&format!(
                    "{MAPPING} WHERE account = ?1 AND phone = ?2
                     ORDER BY updated_at DESC, rowid LIMIT 1"
                ))?
                .query_row(params![account, &phone[..]], mapping)
                .optional()
        })
        .await
    }

    pub(super) async fn put_mappings(&self, entries: &[LidPnMappingEntry]) -> StoreResult<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let (account, entries) = (self.account, entries.to_vec());
        self.write(entries.len(), move |connection| {
            // Most are known already: then the index of phone numbers needs no change.
            let mut known = connection.prepare_cached(
                "UPDATE lid_mappings SET updated_at = ?4, source = ?5
                 WHERE account = ?1 AND lid = ?2 AND phone = ?3",
            )?;
            // The time at which a mapping was first learned stays.
            let mut put = connection.prepare_cached(
                "INSERT INTO lid_mappings (account, lid, phone, created_at, updated_at, source)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (account, lid) DO UPDATE SET phone = excluded.phone,
                 updated_at = excluded.updated_at, source = excluded.source",
            )?;
            for entry in &entries {
                let (lid, phone) = (pack(&entry.lid), pack(&entry.phone_number));
                let source = pack(&entry.learning_source);
                let updated = params![account, &lid[..], &phone[..], entry.updated_at, &source[..]];
                if known.execute(updated)? == 0 {
                    put.execute(params![
                        account,
                        &lid[..],
                        &phone[..],
                        entry.created_at,
                        entry.updated_at,
                        &source[..]
                    ])?;
                }
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn all_mappings(&self) -> StoreResult<Vec<LidPnMappingEntry>> {
        let account = self.account;
        self.read_many(move |connection| {
            connection
                .prepare_cached(&format!("{MAPPING} WHERE account = ?1"))?
                .query_map(params![account], mapping)?
                .collect()
        })
        .await
    }
}
