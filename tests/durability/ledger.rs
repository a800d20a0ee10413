//! Numbered writes: which number a row holds can be read back, and every byte of it is checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use sealed_store::SealedBackend;
use wacore::store::traits::{
    Backend, DeviceStore, LidPnMappingEntry, MsgSecretEntry, MsgSecretStore, ProtocolStore,
    SignalStore, TcTokenEntry,
};

/// Rows of each kind that are written in turn.
const PLACES: u64 = 5;
/// How many kinds of write there are.
pub const KINDS: u64 = 10;

/// What was acknowledged: the last number of each kind and place.
#[derive(Default)]
pub struct Ledger {
    acknowledged: BTreeMap<(u64, u64), u64>,
    pub last: u64,
}

/// What write number `n` is: its kind and its place.
fn place_of(n: u64) -> (u64, u64) {
    (n % KINDS, n / KINDS % PLACES)
}

/// Bytes of many lengths that no other number has.
fn value(n: u64) -> Vec<u8> {
    let filler = (0..n * 131 % 2_500).map(|i| (i ^ n) as u8);
    n.to_le_bytes().into_iter().chain(filler).collect()
}

/// The number of a value, if it is whole.
fn number(bytes: &[u8]) -> Result<u64> {
    let head = bytes.first_chunk().context("a value is cut short")?;
    let n = u64::from_le_bytes(*head);
    ensure!(bytes == value(n), "value {n} is torn");
    Ok(n)
}

fn identity(n: u64) -> [u8; 32] {
    std::array::from_fn(|i| n.to_le_bytes()[i % 8])
}

fn address(kind: u64, place: u64) -> String {
    format!("55119{kind}{place:03}:3@c.us.0")
}

fn group(place: u64) -> Vec<Arc<str>> {
    (0..8)
        .map(|i| format!("{place}9{i}@lid").as_str().into())
        .collect()
}

fn secrets(n: u64) -> Vec<MsgSecretEntry> {
    let entry = |i: u64| MsgSecretEntry {
        chat: "120363021033254949@g.us".into(),
        sender: "5511987650001@c.us".into(),
        msg_id: format!("3EB0{n}.{i}").as_str().into(),
        secret: identity(n + i),
        expires_at: 0,
        message_ts: n as i64,
    };
    (0..3).map(entry).collect()
}

fn prekeys(place: u64) -> Vec<u32> {
    let first = 1 + 50 * place as u32;
    (first..first + 50).collect()
}

/// Write number `n`.
pub async fn write<B: Backend + ?Sized>(store: &SealedBackend<B>, n: u64) -> Result<()> {
    let (kind, place) = place_of(n);
    let (at, bytes) = (address(kind, place), value(n));
    match kind {
        0 => store.put_session(&at, &bytes).await?,
        1 => {
            let rows: Vec<_> = group(place)
                .into_iter()
                .map(|at| (at, bytes.clone().into()))
                .collect();
            store.put_sessions_batch(&rows).await?;
        }
        2 => store.put_sender_key(&at, &bytes).await?,
        3 => store.store_pending_inbound(&at, "s", "id", &bytes).await?,
        4 => drop(store.put_msg_secrets(secrets(n)).await?),
        5 => {
            let mut device = store.load().await?.context("the device is gone")?;
            device.push_name = n.to_string();
            store.save(&device).await?;
        }
        6 => {
            let rows: Vec<_> = prekeys(place)
                .into_iter()
                .map(|id| (id, bytes.clone().into()))
                .collect();
            store.store_prekeys_batch(&rows, false).await?;
        }
        7 => {
            let mapping = LidPnMappingEntry {
                lid: at,
                phone_number: place.to_string(),
                created_at: 1,
                updated_at: n as i64,
                learning_source: n.to_string(),
            };
            store.put_lid_mapping(&mapping).await?;
        }
        8 => {
            let token = TcTokenEntry {
                token: bytes,
                token_timestamp: n as i64,
                sender_timestamp: None,
            };
            store.put_tc_token(&at, &token).await?;
        }
        _ => store.put_identity(&at, identity(n)).await?,
    }
    Ok(())
}

/// The number that the place of write `n` holds now; every row of it must hold the same.
async fn read<B: Backend + ?Sized>(store: &SealedBackend<B>, n: u64) -> Result<u64> {
    let (kind, place) = place_of(n);
    let at = address(kind, place);
    let gone = || format!("a row of kind {kind} is gone");
    match kind {
        0 => number(&store.get_session(&at).await?.with_context(gone)?),
        1 => {
            let mut numbers = Vec::new();
            for at in group(place) {
                numbers.push(number(&store.get_session(&at).await?.with_context(gone)?)?);
            }
            // The inner store's transaction is kept: a batch is there whole or not at all.
            ensure!(
                numbers.windows(2).all(|pair| pair[0] == pair[1]),
                "{numbers:?}"
            );
            Ok(numbers[0])
        }
        2 => number(&store.get_sender_key(&at).await?.with_context(gone)?),
        3 => number(
            &store
                .get_pending_inbound(&at, "s", "id")
                .await?
                .with_context(gone)?,
        ),
        4 => {
            for entry in secrets(n) {
                let found = store
                    .get_msg_secret_with_ts(&entry.chat, &entry.sender, &entry.msg_id)
                    .await?;
                ensure!(found == Some((entry.secret.to_vec(), entry.message_ts)));
            }
            Ok(n)
        }
        5 => {
            let device = store.load().await?.with_context(gone)?;
            Ok(device.push_name.parse()?)
        }
        6 => {
            let rows = store.load_prekeys_batch(&prekeys(place)).await?;
            ensure!(rows.len() == 50, "{} of 50 prekeys", rows.len());
            let first = number(&rows[0].1)?;
            ensure!(rows.iter().all(|(_, record)| *record == value(first)));
            Ok(first)
        }
        7 => {
            let row = store.get_lid_mapping(&at).await?.with_context(gone)?;
            ensure!(row.learning_source == row.updated_at.to_string());
            Ok(u64::try_from(row.updated_at)?)
        }
        8 => number(&store.get_tc_token(&at).await?.with_context(gone)?.token),
        _ => {
            let key = store.load_identity(&at).await?.with_context(gone)?;
            let n = u64::from_le_bytes(*key.first_chunk().context("short")?);
            ensure!(key == identity(n), "a torn identity");
            Ok(n)
        }
    }
}

impl Ledger {
    /// Write `n` returned.
    pub fn acknowledge(&mut self, n: u64) {
        self.acknowledged.insert(place_of(n), n);
        self.last = n;
    }

    /// How many places hold something.
    pub fn places(&self) -> usize {
        self.acknowledged.len()
    }

    /// Every acknowledged write opens, and holds what was acknowledged or the one write after that
    /// may have been under way.
    pub async fn check<B: Backend + ?Sized>(&self, store: &SealedBackend<B>) -> Result<()> {
        for (&(kind, place), &n) in &self.acknowledged {
            let found = read(store, n)
                .await
                .with_context(|| format!("write {n}, kind {kind}, place {place}"))?;
            // All places of the device are one row.
            let newest = self.acknowledged.iter().filter(|entry| entry.0.0 == kind);
            let least = match kind {
                5 => newest.map(|entry| *entry.1).max().unwrap_or(n),
                _ => n,
            };
            ensure!(
                found >= least,
                "{least} was acknowledged, {found} is there: kind {kind}"
            );
            ensure!(
                found == least || found == self.last + 1,
                "{found} was never written here: kind {kind}, place {place}"
            );
        }
        Ok(())
    }
}
