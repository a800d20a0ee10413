//! Device lists.

use rusqlite::types::Type;
use rusqlite::{OptionalExtension, params};
use wacore::store::error::{Result as StoreResult, StoreError};
use wacore::store::traits::DeviceListRecord;

use super::SqliteStore;
use super::error::damaged;
use super::key::{Key, pack};
use super::rows::text;

const PUT_DEVICE_LIST: &str = "INSERT INTO device_lists
        (account, user, devices, timestamp, phash, raw_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (account, user) DO UPDATE SET devices = excluded.devices,
        timestamp = excluded.timestamp, phash = excluded.phash, raw_id = excluded.raw_id";

/// A device list as it is stored.
pub(super) struct ListRow {
    user: Key,
    devices: Vec<u8>,
    timestamp: i64,
    phash: Option<Key>,
    raw_id: Option<u32>,
}

impl ListRow {
    pub(super) fn new(record: &DeviceListRecord) -> StoreResult<Self> {
        Ok(Self {
            user: pack(&record.user),
            devices: serde_json::to_vec(&record.devices)
                .map_err(|error| StoreError::Serialization(Box::new(error)))?,
            timestamp: record.timestamp,
            phash: record.phash.as_deref().map(pack),
            raw_id: record.raw_id,
        })
    }
}

impl SqliteStore {
    pub(super) async fn put_lists(&self, rows: Vec<ListRow>) -> StoreResult<()> {
        let account = self.account;
        self.write(rows.len(), move |connection| {
            let mut statement = connection.prepare_cached(PUT_DEVICE_LIST)?;
            for row in &rows {
                statement.execute(params![
                    account,
                    &row.user[..],
                    row.devices,
                    row.timestamp,
                    row.phash.as_deref(),
                    row.raw_id
                ])?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn device_list(&self, user: &str) -> StoreResult<Option<DeviceListRecord>> {
        let (account, key) = (self.account, pack(user));
        let found = self
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT devices, timestamp, phash, raw_id FROM device_lists
                         WHERE account = ?1 AND user = ?2",
                    )?
                    .query_row(params![account, &key[..]], |row| {
                        let phash = match row.get_ref(2)?.data_type() {
                            Type::Null => None,
                            _ => Some(text(row, 2)?),
                        };
                        let devices: Vec<u8> = row.get(0)?;
                        Ok((devices, row.get(1)?, phash, row.get(3)?))
                    })
                    .optional()
            })
            .await?;
        let Some((devices, timestamp, phash, raw_id)) = found else {
            return Ok(None);
        };
        Ok(Some(DeviceListRecord {
            user: user.to_owned(),
            // Its own error may quote what is stored.
            devices: serde_json::from_slice(&devices)
                .map_err(|_| damaged("a device list can't be read"))?,
            timestamp,
            phash,
            raw_id,
        }))
    }
}
