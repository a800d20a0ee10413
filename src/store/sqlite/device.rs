//! The device, snapshots, and what the store costs.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, backup, params};
use wacore::client_profile::ClientProfile;
use wacore::stats::StorageResourceReport;
use wacore::store::Device;
use wacore::store::device::DEVICE_PROPS;
use wacore::store::error::{Result as StoreResult, StoreError};
use wacore::store::traits::DeviceStore;
use zeroize::Zeroizing;

use super::error::{damaged, database, unfit};
use super::{SqliteStore, no_thread, now};
use crate::private_file;
use crate::thread::off_thread;

/// Longest name of a snapshot, which becomes part of a file's name.
const NAME_LEN: usize = 100;

impl SqliteStore {
    async fn insert_device(&self, sql: &'static str, device: &Device) -> StoreResult<()> {
        let account = self.account;
        let json = serde_json::to_vec(device)
            .map(Zeroizing::new)
            .map_err(|error| StoreError::Serialization(Box::new(error)))?;
        self.write(1, move |connection| {
            connection
                .prepare_cached(sql)?
                .execute(params![account, &json[..]])
                .map(drop)
        })
        .await
    }
}

/// The name as part of a file's name: what is no letter, digit, `_`, `-` or `.` becomes `_`.
fn file_part(name: &str) -> StoreResult<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let part: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    let part = part
        .split('.')
        .filter(|piece| !piece.is_empty())
        .collect::<Vec<_>>()
        .join(".");
    if part.is_empty() || part.len() > NAME_LEN {
        return Err(unfit(
            "a snapshot's name has 1 to 100 characters besides dots; choose another",
        ));
    }
    Ok(part)
}

/// Copies a database as it is at one moment, beside those who write to it.
fn copy(source: &Path, target: &Path, patience: Duration) -> StoreResult<()> {
    let from = Connection::open_with_flags(source, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(database)?;
    from.busy_timeout(patience).map_err(database)?;
    let mut to = Connection::open(target).map_err(database)?;
    // All pages in one step: between two, a write would make it begin again.
    let copied = backup::Backup::new(&from, &mut to)
        .and_then(|copy| copy.step(-1))
        .map_err(database)?;
    match copied {
        backup::StepResult::Done => Ok(()),
        _ => Err(unfit(
            "the database could not be read for a snapshot; try again",
        )),
    }
}

fn write_new(path: &Path, content: &[u8]) -> StoreResult<()> {
    let mut file = private_file::options()
        .write(true)
        .create_new(true)
        .open(path)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    Ok(written?)
}

#[deny(clippy::missing_trait_methods)]
#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl DeviceStore for SqliteStore {
    async fn save(&self, device: &Device) -> StoreResult<()> {
        self.insert_device(
            "INSERT INTO device (account, json) VALUES (?1, ?2)
             ON CONFLICT (account) DO UPDATE SET json = excluded.json",
            device,
        )
        .await
    }

    async fn load(&self) -> StoreResult<Option<Device>> {
        let account = self.account;
        let found: Option<Vec<u8>> = self
            .read(move |connection| {
                connection
                    .prepare_cached("SELECT json FROM device WHERE account = ?1")?
                    .query_row(params![account], |row| row.get(0))
                    .optional()
            })
            .await?;
        let Some(json) = found.map(Zeroizing::new) else {
            return Ok(None);
        };
        // Its own error may quote what is stored.
        let mut device: Device =
            serde_json::from_slice(&json).map_err(|_| damaged("the device can't be read"))?;
        // serde skips these three; they come back as upstream's store gives them.
        device.device_props = Arc::new(DEVICE_PROPS.clone());
        device.client_profile = ClientProfile::web();
        device.nct_salt_sync_seen = false;
        Ok(Some(device))
    }

    async fn exists(&self) -> StoreResult<bool> {
        let account = self.account;
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM device WHERE account = ?1)")?
                .query_row(params![account], |row| row.get(0))
        })
        .await
    }

    async fn create(&self) -> StoreResult<i32> {
        // A second one fails, as upstream's does: it would be another identity.
        self.insert_device(
            "INSERT INTO device (account, json) VALUES (?1, ?2)",
            &Device::new(),
        )
        .await?;
        Ok(self.account)
    }

    async fn snapshot_db(&self, name: &str, extra_content: Option<&[u8]>) -> StoreResult<()> {
        let part = file_part(name)?;
        let path = self.shared.location.path().ok_or_else(|| {
            unfit("a database in memory has no file beside which a snapshot could stand")
        })?;
        let content = extra_content.map(<[u8]>::to_vec);
        let (source, patience) = (path.to_owned(), self.shared.options.busy_timeout);
        let files = self.shared.files.clone();
        let taken = off_thread("sealed-store-snapshot", move || {
            let beside = |suffix: &str| {
                let mut file = source.as_os_str().to_owned();
                file.push(suffix);
                PathBuf::from(file)
            };
            let stem = format!(".snapshot-{}-{part}", now());
            let (target, partial) = (beside(&stem), beside(&format!("{stem}.partial")));
            let io = |error: std::io::Error| StoreError::Database(Box::new(error));
            // Under its own name only when it is whole. Whoever has the other name makes it.
            let made = private_file::options()
                .write(true)
                .create_new(true)
                .open(&partial);
            made.map_err(io)?;
            // One that is there already is kept: the name was used in this very second.
            let made = if target.exists() {
                Err(io(std::io::ErrorKind::AlreadyExists.into()))
            } else {
                copy(&source, &partial, patience)
            };
            let made = made
                // It reads on a connection of its own, which may have found another database.
                .and_then(|()| files.map_or(Ok(()), |files| files.check()))
                .and_then(|()| match content {
                    None => Ok(()),
                    Some(content) => write_new(&beside(&format!("{stem}.json")), &content),
                })
                .and_then(|()| fs::rename(&partial, &target).map_err(io));
            if made.is_err() {
                // That it can't be removed is not the error.
                let _ = fs::remove_file(&partial);
            }
            made
        });
        self.guarded(async { taken.await.unwrap_or_else(|| Err(no_thread())) })
            .await
    }

    async fn resource_report(&self) -> StorageResourceReport {
        let Some(pages) = self.shared.writer.page_count() else {
            return StorageResourceReport::default();
        };
        // Each connection keeps pages of its own: no more than it may, and no more than there are.
        let open = 1 + self
            .shared
            .readers
            .as_ref()
            .map_or(0, |readers| u64::from(readers.state().connections));
        let most = u64::from(self.shared.options.cache_kib) * 1024;
        StorageResourceReport {
            memory_bytes: Some(open * most.min(pages.saturating_mul(4096))),
            pages: Some(pages),
            ..StorageResourceReport::default()
        }
    }
}
