//! Takes over a database of whatsapp-rust's own store: every account, every row, once and whole.

mod tables;

use std::path::Path;
use std::sync::Arc;

use buffa::DecodeError;
use buffa::encoding::WireType::{self, LengthDelimited, Varint};
use buffa::encoding::{Tag, skip_field};
use buffa::types::{decode_bool, decode_bytes, decode_int64, decode_string, decode_uint64};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row, Transaction, TransactionBehavior, params};
use wacore::appstate::hash::HashState;
use wacore::client_profile::ClientProfile;
use wacore::libsignal::protocol::{KeyPair, PrivateKey, PublicKey};
use wacore::store::Device;
use wacore::store::device::{CachedNoiseCert, CachedServerCertChain, DEVICE_PROPS, account_serde};
use wacore::store::error::{Result as StoreResult, StoreError};
use zeroize::Zeroizing;

use super::app_sync::{SYNC_KEY_LEN, write_state};
use super::error::{advised, database, unfit};
use super::key::pack;
use super::msg_secret::{self, Secret};
use super::{Location, SqliteOptions, SqliteStore, connection, no_thread};
use crate::thread::off_thread;
use tables::{Holds, TABLES};

/// The last migration of whatsapp-rust 0.7's store: the schema that is read here.
const NEWEST: &str = "20260703000001";

impl SqliteStore {
    /// Copies a database of whatsapp-rust 0.7's own store, all accounts of it, into the file at `into`, which
    /// must hold nothing yet, and opens account 1. The source is read in one moment and stays as it is; a copy
    /// that fails or is killed leaves nothing behind in the target. Stop the client first: what it writes
    /// meanwhile is not copied.
    ///
    /// Rows that upstream itself takes for absent, because their bytes can't be read, are left out.
    ///
    /// # Errors
    /// [`StoreError::InvalidConfig`] if the source is no such database or of another version, or if the target
    /// holds rows; otherwise as [`SqliteStore::open`].
    pub async fn import_upstream(
        from: impl AsRef<Path>,
        into: impl AsRef<Path>,
    ) -> StoreResult<Self> {
        let (from, into) = (from.as_ref().to_path_buf(), into.as_ref().to_path_buf());
        let target = into.clone();
        off_thread("sealed-store-import", move || copy(&from, target))
            .await
            .unwrap_or_else(|| Err(no_thread()))?;
        Self::open(into).await
    }
}

fn copy(from: &Path, into: std::path::PathBuf) -> StoreResult<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags)
        .map_err(|error| StoreError::Connection(advised(error)))?;
    source
        .busy_timeout(SqliteOptions::new().busy_timeout)
        .map_err(database)?;
    // One moment for all tables.
    let source = source.unchecked_transaction().map_err(database)?;
    check(&source)?;
    let options = SqliteOptions::new();
    let target = connection::open_writer(&Location::File(into), &options)?;
    target
        .busy_timeout(options.busy_timeout)
        .map_err(database)?;
    let target =
        Transaction::new_unchecked(&target, TransactionBehavior::Immediate).map_err(database)?;
    if holds_anything(&target).map_err(database)? {
        return Err(unfit(
            "the database to import into holds rows or a keyring already; name a new file",
        ));
    }
    devices(&source, &target)?;
    for (select, insert, columns) in TABLES {
        table(&source, &target, select, insert, columns).map_err(database)?;
    }
    msg_secrets(&source, &target).map_err(database)?;
    sync_keys(&source, &target)?;
    versions(&source, &target)?;
    target.commit().map_err(database)
}

/// Whether there is a row in the target, or a keyring: what is imported is in the clear.
fn holds_anything(target: &Connection) -> rusqlite::Result<bool> {
    let mut tables = target.prepare(
        "SELECT name FROM sqlite_schema
         WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name <> 'sealed_store_schema'",
    )?;
    let mut names = tables.query([])?;
    while let Some(name) = names.next()? {
        let name: String = name.get(0)?;
        let any = format!("SELECT EXISTS (SELECT 1 FROM \"{name}\")");
        if name.starts_with("sealed_store_") || target.query_row(&any, [], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn check(source: &Connection) -> StoreResult<()> {
    let known: bool = source
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '__diesel_schema_migrations')",
            [],
            |row| row.get(0),
        )
        .map_err(database)?;
    if !known {
        return Err(unfit(
            "the database to import is not whatsapp-rust's own store",
        ));
    }
    let newest: Option<String> = source
        .query_row(
            "SELECT max(version) FROM __diesel_schema_migrations",
            [],
            |row| row.get(0),
        )
        .map_err(database)?;
    match newest.as_deref() {
        Some(NEWEST) => Ok(()),
        Some(newer) if newer > NEWEST => Err(unfit(
            "the database to import is of a newer whatsapp-rust; update this library",
        )),
        _ => Err(unfit(
            "the database to import is of an older whatsapp-rust; open it once with 0.7, then import it",
        )),
    }
}

fn table(
    source: &Connection,
    target: &Connection,
    select: &str,
    insert: &str,
    columns: &[Holds],
) -> rusqlite::Result<()> {
    let mut select = source.prepare(select)?;
    let mut insert = target.prepare(insert)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        for (number, holds) in columns.iter().enumerate() {
            let value = row.get_ref(number)?;
            match (holds, value) {
                (Holds::Text, ValueRef::Text(text)) => {
                    let text = str::from_utf8(text)?;
                    insert.raw_bind_parameter(number + 1, &pack(text)[..])?;
                }
                _ => insert
                    .raw_bind_parameter(number + 1, rusqlite::types::Value::try_from(value)?)?,
            }
        }
        insert.raw_execute()?;
    }
    Ok(())
}

/// Message secrets, some thousands at a time.
fn msg_secrets(source: &Connection, target: &Connection) -> rusqlite::Result<()> {
    type Row = (i32, String, String, String, Vec<u8>, i64, i64);
    fn secret(row: &Row) -> Secret<'_> {
        let (_, chat, message_id, sender, secret, expires_at, message_ts) = row;
        Secret {
            chat,
            message_id,
            sender,
            secret,
            expires_at: *expires_at,
            message_ts: *message_ts,
        }
    }
    let mut select = source.prepare(
        "SELECT device_id, chat, msg_id, sender, secret, expires_at, message_ts FROM msg_secrets
         ORDER BY device_id",
    )?;
    let mut rows = select.query_map([], |row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
            row.get(6)?,
        ))
    })?;
    loop {
        let some: Vec<Row> = rows.by_ref().take(4096).collect::<Result<_, _>>()?;
        if some.is_empty() {
            return Ok(());
        }
        for of_one in some.chunk_by(|a, b| a.0 == b.0) {
            let account = of_one.first().map_or(1, |row| row.0);
            msg_secret::put(target, account, of_one, secret)?;
        }
    }
}

fn devices(source: &Connection, target: &Connection) -> StoreResult<()> {
    let mut select = source
        .prepare(
            "SELECT id, pn, lid, registration_id, noise_key, identity_key, signed_pre_key,
             signed_pre_key_id, signed_pre_key_signature, adv_secret_key, account, push_name,
             app_version_primary, app_version_secondary, app_version_tertiary,
             app_version_last_fetched_ms, edge_routing_info, props_hash, next_pre_key_id,
             first_unupload_pre_key_id, server_has_prekeys, nct_salt, server_cert_chain,
             login_counter, lid_migrated, last_signed_pre_key_rotation_ms, read_receipts_disabled
             FROM device",
        )
        .map_err(database)?;
    let mut rows = select.query([]).map_err(database)?;
    while let Some(row) = rows.next().map_err(database)? {
        let account: i64 = row.get(0).map_err(database)?;
        let json = serde_json::to_vec(&device(row)?)
            .map(Zeroizing::new)
            .map_err(|error| StoreError::Serialization(Box::new(error)))?;
        target
            .execute(
                "INSERT INTO device (account, json) VALUES (?1, ?2)",
                params![account, &json[..]],
            )
            .map_err(database)?;
    }
    Ok(())
}

/// A device as upstream's store reads it.
fn device(row: &Row<'_>) -> StoreResult<Device> {
    fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, column: usize) -> StoreResult<T> {
        row.get(column).map_err(database)
    }
    let wrong = |what: &str| StoreError::Validation(format!("the device's {what} can't be read"));
    let pair = |column: usize| -> StoreResult<KeyPair> {
        let bytes = Zeroizing::new(get::<Vec<u8>>(row, column)?);
        let (private, public) = bytes
            .split_at_checked(32)
            .filter(|(_, public)| public.len() == 32)
            .ok_or_else(|| wrong("key pair"))?;
        let failed = |error| StoreError::Serialization(Box::new(error));
        Ok(KeyPair::new(
            PublicKey::from_djb_public_key_bytes(public).map_err(failed)?,
            PrivateKey::deserialize(private).map_err(failed)?,
        ))
    };
    let number = |column: usize| get::<i32>(row, column).map(i32::cast_unsigned);
    let account: Option<Vec<u8>> = get(row, 10)?;
    let account = account
        .map(|bytes| account_serde::from_bytes(&bytes))
        .transpose()
        .map_err(|error| StoreError::Serialization(Box::new(error)))?;
    let tertiary: i64 = get(row, 14)?;
    let chain: Option<Vec<u8>> = get(row, 22)?;
    Ok(Device {
        pn: get::<String>(row, 1)?.parse().ok(),
        lid: get::<String>(row, 2)?.parse().ok(),
        registration_id: number(3)?,
        noise_key: pair(4)?,
        identity_key: pair(5)?,
        signed_pre_key: pair(6)?,
        signed_pre_key_id: number(7)?,
        signed_pre_key_signature: get::<Vec<u8>>(row, 8)?
            .try_into()
            .map_err(|_| wrong("signature"))?,
        adv_secret_key: get::<Vec<u8>>(row, 9)?
            .try_into()
            .map_err(|_| wrong("secret"))?,
        account: account.map(Arc::new),
        push_name: get(row, 11)?,
        app_version_primary: number(12)?,
        app_version_secondary: number(13)?,
        app_version_tertiary: u32::try_from(tertiary).unwrap_or(0),
        app_version_last_fetched_ms: get(row, 15)?,
        device_props: Arc::new(DEVICE_PROPS.clone()),
        client_profile: ClientProfile::web(),
        edge_routing_info: get(row, 16)?,
        props_hash: get(row, 17)?,
        next_pre_key_id: number(18)?,
        first_unupload_pre_key_id: number(19)?,
        server_has_prekeys: get(row, 20)?,
        nct_salt: get(row, 21)?,
        nct_salt_sync_seen: false,
        // A cache: without it the next connection takes a round trip more.
        server_cert_chain: chain.and_then(|bytes| cert_chain(&bytes).ok().flatten()),
        login_counter: get(row, 23)?,
        lid_migrated: get(row, 24)?,
        last_signed_pre_key_rotation_ms: get(row, 25)?,
        read_receipts_disabled: get(row, 26)?,
    })
}

fn sync_keys(source: &Connection, target: &Connection) -> StoreResult<()> {
    let mut select = source
        .prepare("SELECT device_id, key_id, key_data FROM app_state_keys")
        .map_err(database)?;
    let mut insert = target
        .prepare(
            "INSERT INTO sync_keys (account, id, key_data, fingerprint, timestamp)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .map_err(database)?;
    let mut rows = select.query([]).map_err(database)?;
    while let Some(row) = rows.next().map_err(database)? {
        let (account, id): (i64, Vec<u8>) =
            (row.get(0).map_err(database)?, row.get(1).map_err(database)?);
        let blob = Zeroizing::new(row.get::<_, Vec<u8>>(2).map_err(database)?);
        let (mut key, mut fingerprint, mut time) = (Zeroizing::default(), Vec::new(), 0);
        let read = fields(&blob, |field, rest| {
            match field {
                (1, LengthDelimited) => key = Zeroizing::new(decode_bytes(rest)?),
                (2, LengthDelimited) => fingerprint = decode_bytes(rest)?,
                (3, Varint) => time = decode_int64(rest)?,
                _ => return Ok(false),
            }
            Ok(true)
        });
        if read.is_ok() && key.len() == SYNC_KEY_LEN {
            insert
                .execute(params![account, id, &key[..], fingerprint, time])
                .map_err(database)?;
        }
    }
    Ok(())
}

fn versions(source: &Connection, target: &Connection) -> StoreResult<()> {
    let mut select = source
        .prepare("SELECT device_id, name, state_data FROM app_state_versions")
        .map_err(database)?;
    let mut insert = target
        .prepare("INSERT INTO versions (account, name, state) VALUES (?1, ?2, ?3)")
        .map_err(database)?;
    let mut rows = select.query([]).map_err(database)?;
    while let Some(row) = rows.next().map_err(database)? {
        let (account, name): (i64, String) =
            (row.get(0).map_err(database)?, row.get(1).map_err(database)?);
        let blob: Vec<u8> = row.get(2).map_err(database)?;
        let Ok(Some(state)) = hash_state(&blob) else {
            continue;
        };
        let state = write_state(&state).ok_or_else(|| unfit("a version's state is too large"))?;
        insert
            .execute(params![account, &pack(&name)[..], state])
            .map_err(database)?;
    }
    Ok(())
}

/// Hands each field of a protobuf message to `take`, which says whether it took it.
fn fields<'a>(
    mut bytes: &'a [u8],
    mut take: impl FnMut((u32, WireType), &mut &'a [u8]) -> Result<bool, DecodeError>,
) -> Result<(), DecodeError> {
    while !bytes.is_empty() {
        let tag = Tag::decode(&mut bytes)?;
        if !take((tag.field_number(), tag.wire_type()), &mut bytes)? {
            skip_field(tag, &mut bytes)?;
        }
    }
    Ok(())
}

fn hash_state(bytes: &[u8]) -> Result<Option<HashState>, DecodeError> {
    let mut state = HashState::default();
    let mut hash = Vec::new();
    fields(bytes, |field, rest| {
        match field {
            (1, Varint) => state.version = decode_uint64(rest)?,
            (2, LengthDelimited) => hash = decode_bytes(rest)?,
            (3, LengthDelimited) => {
                let entry = decode_bytes(rest)?;
                let (mut index, mut value) = (String::new(), Vec::new());
                fields(&entry, |field, rest| {
                    match field {
                        (1, LengthDelimited) => index = decode_string(rest)?,
                        (2, LengthDelimited) => value = decode_bytes(rest)?,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                state.index_value_map.insert(index, value);
            }
            (4, Varint) => state.mac_mismatch_fatal = decode_bool(rest)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let Ok(hash) = hash.try_into() else {
        return Ok(None);
    };
    state.hash = hash;
    Ok(Some(state))
}

fn cert_chain(bytes: &[u8]) -> Result<Option<CachedServerCertChain>, DecodeError> {
    let (mut intermediate, mut leaf) = (None, None);
    fields(bytes, |field, rest| {
        match field {
            (1, LengthDelimited) => intermediate = noise_cert(&decode_bytes(rest)?)?,
            (2, LengthDelimited) => leaf = noise_cert(&decode_bytes(rest)?)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(intermediate
        .zip(leaf)
        .map(|(intermediate, leaf)| CachedServerCertChain { intermediate, leaf }))
}

fn noise_cert(bytes: &[u8]) -> Result<Option<CachedNoiseCert>, DecodeError> {
    let (mut key, mut not_before, mut not_after) = (Vec::new(), 0, 0);
    fields(bytes, |field, rest| {
        match field {
            (1, LengthDelimited) => key = decode_bytes(rest)?,
            (2, Varint) => not_before = decode_int64(rest)?,
            (3, Varint) => not_after = decode_int64(rest)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(key.try_into().ok().map(|key| CachedNoiseCert {
        key,
        not_before,
        not_after,
    }))
}
