//! The device in upstream's 26 columns.

use std::sync::Arc;

use wacore::client_profile::ClientProfile;
use wacore::libsignal::protocol::{KeyPair, PrivateKey, PublicKey};
use wacore::store::Device;
use wacore::store::device::{DEVICE_PROPS, account_serde};
use zeroize::Zeroizing;

use super::body::{Body, Bytes, Row};
use super::cells::{self, Cell};
use super::layout::Layout;
use super::stored::{self, Stored};
use super::{Result, RowsError, wire};

pub(super) const COLUMNS: &[&str] = &[
    "pn",
    "lid",
    "registration_id",
    "noise_key",
    "identity_key",
    "signed_pre_key",
    "signed_pre_key_id",
    "signed_pre_key_signature",
    "adv_secret_key",
    "account",
    "push_name",
    "app_version_primary",
    "app_version_secondary",
    "app_version_tertiary",
    "app_version_last_fetched_ms",
    "edge_routing_info",
    "props_hash",
    "next_pre_key_id",
    "first_unupload_pre_key_id",
    "server_has_prekeys",
    "nct_salt",
    "server_cert_chain",
    "login_counter",
    "lid_migrated",
    "last_signed_pre_key_rotation_ms",
    "read_receipts_disabled",
];

fn wrong(what: &'static str) -> RowsError {
    RowsError::Row {
        table: "device",
        what,
    }
}

/// The device as upstream's store reads it, as JSON.
pub(super) fn read(stored: &mut Stored<'_, '_>) -> Result<Bytes> {
    fn pair(bytes: &[u8]) -> Option<KeyPair> {
        let (private, public) = bytes.split_at_checked(32)?;
        let public: &[u8; 32] = public.try_into().ok()?;
        Some(KeyPair::new(
            PublicKey::from_djb_public_key_bytes(public).ok()?,
            PrivateKey::deserialize(private).ok()?,
        ))
    }
    fn number(value: i64) -> Result<u32> {
        i32::try_from(value)
            .map(i32::cast_unsigned)
            .map_err(|_| wrong("a number is out of bounds"))
    }
    fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
        bytes
            .try_into()
            .map_err(|_| wrong("a key or signature is of the wrong length"))
    }
    let keys = |bytes: Bytes| pair(&bytes).ok_or_else(|| wrong("a key pair can't be read"));
    let take = |bytes: Option<Bytes>| bytes.map(|mut bytes| std::mem::take(&mut *bytes));
    // Fields are read in the order of the columns.
    let device = Device {
        pn: stored.text()?.parse().ok(),
        lid: stored.text()?.parse().ok(),
        registration_id: number(stored.int()?)?,
        noise_key: keys(stored.bytes()?)?,
        identity_key: keys(stored.bytes()?)?,
        signed_pre_key: keys(stored.bytes()?)?,
        signed_pre_key_id: number(stored.int()?)?,
        signed_pre_key_signature: array(&stored.bytes()?)?,
        adv_secret_key: array(&stored.bytes()?)?,
        account: stored
            .bytes_or_null()?
            .map(|bytes| account_serde::from_bytes(&bytes).map(Arc::new))
            .transpose()
            .map_err(|_| wrong("its account can't be decoded"))?,
        push_name: std::mem::take(&mut *stored.text()?),
        app_version_primary: number(stored.int()?)?,
        app_version_secondary: number(stored.int()?)?,
        app_version_tertiary: u32::try_from(stored.int()?).unwrap_or(0),
        app_version_last_fetched_ms: stored.int()?,
        edge_routing_info: take(stored.bytes_or_null()?),
        props_hash: stored
            .text_or_null()?
            .map(|mut text| std::mem::take(&mut *text)),
        next_pre_key_id: number(stored.int()?)?,
        first_unupload_pre_key_id: number(stored.int()?)?,
        server_has_prekeys: stored.int()? != 0,
        nct_salt: take(stored.bytes_or_null()?),
        server_cert_chain: stored
            .bytes_or_null()?
            .and_then(|bytes| wire::read_cert_chain(&bytes)),
        login_counter: i32::try_from(stored.int()?)
            .map_err(|_| wrong("a number is out of bounds"))?,
        lid_migrated: stored.int()? != 0,
        last_signed_pre_key_rotation_ms: stored.int()?,
        read_receipts_disabled: stored.int()? != 0,
        // What upstream keeps in no column.
        device_props: Arc::new(DEVICE_PROPS.clone()),
        client_profile: ClientProfile::web(),
        nct_salt_sync_seen: false,
    };
    to_json(&device)
}

fn to_json(device: &Device) -> Result<Bytes> {
    // With room for any device, so that no part of it is left behind when the buffer grows.
    let mut json = Zeroizing::new(Vec::with_capacity(JSON_ROOM));
    serde_json::to_writer(&mut *json, device)
        .map_err(|_| wrong("the device can not be serialised"))?;
    Ok(json)
}

/// Bytes; a device takes about 4,000, most of it a certificate chain.
const JSON_ROOM: usize = 32 * 1024;

/// The columns in which upstream's store keeps the device of this JSON.
pub(super) fn write(json: &[u8]) -> Option<Vec<Cell<'static>>> {
    fn pair(pair: &KeyPair) -> Cell<'static> {
        let halves = [
            &pair.private_key.serialize()[..],
            pair.public_key.public_key_bytes(),
        ];
        Cell::OwnedBytes(Zeroizing::new(halves.concat()))
    }
    let text = |text: String| Cell::OwnedText(Zeroizing::new(text));
    let bytes = |bytes: Vec<u8>| Cell::OwnedBytes(Zeroizing::new(bytes));
    let number = |value: u32| Cell::Int(i64::from(value.cast_signed()));
    // Every field by name, so that a new one of upstream's does not get lost here.
    let Device {
        pn,
        lid,
        registration_id,
        noise_key,
        identity_key,
        signed_pre_key,
        signed_pre_key_id,
        signed_pre_key_signature,
        adv_secret_key,
        account,
        push_name,
        app_version_primary,
        app_version_secondary,
        app_version_tertiary,
        app_version_last_fetched_ms,
        device_props: _,
        client_profile: _,
        edge_routing_info,
        props_hash,
        next_pre_key_id,
        first_unupload_pre_key_id,
        server_has_prekeys,
        nct_salt,
        nct_salt_sync_seen: _,
        server_cert_chain,
        login_counter,
        lid_migrated,
        last_signed_pre_key_rotation_ms,
        read_receipts_disabled,
    } = serde_json::from_slice(json).ok()?;
    // In the order of the columns.
    Some(vec![
        text(pn.map(|jid| jid.to_string()).unwrap_or_default()),
        text(lid.map(|jid| jid.to_string()).unwrap_or_default()),
        number(registration_id),
        pair(&noise_key),
        pair(&identity_key),
        pair(&signed_pre_key),
        number(signed_pre_key_id),
        bytes(signed_pre_key_signature.to_vec()),
        bytes(adv_secret_key.to_vec()),
        account.map_or(Cell::Null, |account| {
            bytes(account_serde::to_bytes(&account))
        }),
        text(push_name),
        number(app_version_primary),
        number(app_version_secondary),
        Cell::Int(i64::from(app_version_tertiary)),
        Cell::Int(app_version_last_fetched_ms),
        edge_routing_info.map_or(Cell::Null, bytes),
        props_hash.map_or(Cell::Null, text),
        number(next_pre_key_id),
        number(first_unupload_pre_key_id),
        Cell::Int(i64::from(server_has_prekeys)),
        nct_salt.map_or(Cell::Null, bytes),
        server_cert_chain.map_or(Cell::Null, |chain| {
            Cell::OwnedBytes(wire::write_cert_chain(&chain))
        }),
        Cell::Int(i64::from(login_counter)),
        Cell::Int(i64::from(lid_migrated)),
        Cell::Int(last_signed_pre_key_rotation_ms),
        Cell::Int(i64::from(read_receipts_disabled)),
    ])
}

/// The row of a device that was just made: random keys, which nobody uses.
pub(crate) fn fresh_device(account: i32) -> Result<Row> {
    Ok(Row {
        account,
        body: Body::Device(to_json(&Device::new())?),
        written: None,
    })
}

/// Whether a device row is of a device that was paired or named: not one that a store made by itself.
pub(crate) fn is_used_device(row: &Row) -> bool {
    let Body::Device(json) = &row.body else {
        return false;
    };
    serde_json::from_slice(json).is_ok_and(|device: Device| {
        device.pn.is_some()
            || device.lid.is_some()
            || device.account.is_some()
            || !device.push_name.is_empty()
    })
}

/// Of upstream's device rows: the columns that hold what upstream itself does not read, so that they would be written
/// in another way.
pub(crate) fn changed_columns(connection: &rusqlite::Connection) -> Result<Vec<&'static str>> {
    let sql = format!("SELECT id, {} FROM device", COLUMNS.join(", "));
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut changed = Vec::new();
    while let Some(row) = rows.next()? {
        let device = stored::read(Layout::Upstream, super::Kind::Device, row, 0)?;
        let written = cells::write(Layout::Upstream, &device)?;
        for (number, (column, cell)) in COLUMNS.iter().zip(&written).enumerate() {
            if !cell.is(row.get_ref(number + 1)?) && !changed.contains(column) {
                changed.push(*column);
            }
        }
    }
    Ok(changed)
}
