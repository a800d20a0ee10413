//! Filling a store with the mix, a history sync, and the memory that both need.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use wacore::appstate::hash::HashState;
use wacore::store::traits::{AppStateSyncKey, Backend, MsgSecretEntry};

use super::stage::{Turn, closed, same};
use super::writes::make_device;
use crate::data::{
    address, bytes, bytes32, device_list, group, mapping, mutation_mac, pick, secret,
    sender_key_name, sent, session, tc_token,
};
use crate::process::peak_memory;
use crate::protocol::Measure;

/// The row whose address and record are looked for in the closed file.
const CANARY: u64 = 7;

/// Fills the store, closes it, and measures its files.
pub async fn fill(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    make_device(&*store).await?;
    fill_signal(&turn, &*store).await?;
    fill_protocol(&turn, &*store).await?;
    let all = turn.stage.mix.message_secrets;
    let secrets: Vec<_> = (0..all).map(|row| secret(row, all, row)).collect();
    for batch in secrets.chunks(5_000) {
        store.put_msg_secrets(batch.to_vec()).await?;
    }
    drop(store);
    turn.stage.close().await?;

    let path = turn.stage.path();
    let file = std::fs::read(&path)?;
    let shows = |what: &[u8]| file.windows(what.len()).any(|window| window == what);
    let clear = shows(address(CANARY).as_bytes()) || shows(&session(CANARY)[..64]);
    ensure!(
        clear != turn.stage.contestant.encrypts(),
        "{} was to be {}, and its file shows the opposite",
        turn.stage.contestant.name(),
        if clear { "sealed" } else { "in the clear" }
    );
    let folder = path.parent().context("a file in no folder")?;
    let mut size = 0;
    for entry in std::fs::read_dir(folder)? {
        size += entry?.metadata()?.len();
    }
    Ok(Measure {
        value: size as f64,
        cpu: None,
    })
}

async fn fill_signal(turn: &Turn, store: &dyn Backend) -> Result<()> {
    let mix = &turn.stage.mix;
    let prekeys: Vec<_> = (0..mix.prekeys)
        .map(|id| (id as u32, Bytes::from(bytes(id, 74))))
        .collect();
    store.store_prekeys_batch(&prekeys, true).await?;
    store.store_signed_prekey(1, &bytes(1, 140)).await?;
    // In the flushes of a client, not in one go: a B-tree that grew has other gaps.
    let rows: Vec<u64> = (0..mix.sessions).collect();
    for rows in rows.chunks(64) {
        let sessions: Vec<(Arc<str>, Bytes)> = rows
            .iter()
            .map(|row| (address(*row).into(), session(*row)))
            .collect();
        store.put_sessions_batch(&sessions).await?;
    }
    let rows: Vec<u64> = (0..mix.identities).collect();
    for rows in rows.chunks(64) {
        let identities: Vec<(Arc<str>, [u8; 32])> = rows
            .iter()
            .map(|row| (address(*row).into(), bytes32(*row)))
            .collect();
        store.put_identities_batch(&identities).await?;
    }
    let rows: Vec<u64> = (0..mix.sender_keys).collect();
    for rows in rows.chunks(64) {
        let keys: Vec<(Arc<str>, Bytes)> = rows
            .iter()
            .map(|row| (sender_key_name(*row).into(), bytes(*row, 120).into()))
            .collect();
        store.put_sender_keys_batch(&keys).await?;
    }
    Ok(())
}

async fn fill_protocol(turn: &Turn, store: &dyn Backend) -> Result<()> {
    let mix = &turn.stage.mix;
    for row in 0..mix.sync_keys {
        let key = AppStateSyncKey {
            key_data: bytes(row, 32),
            fingerprint: bytes(row, 20),
            timestamp: row as i64,
        };
        store.set_sync_key(&bytes(row, 6), key).await?;
    }
    for (n, name) in [
        "critical_block",
        "critical_unblock_low",
        "regular",
        "regular_high",
        "regular_low",
    ]
    .into_iter()
    .enumerate()
    {
        let state = HashState {
            version: n as u64 + 1,
            ..HashState::default()
        };
        store.set_version(name, state).await?;
    }
    let macs: Vec<_> = (0..mix.mutation_macs).map(mutation_mac).collect();
    for macs in macs.chunks(500) {
        store.put_mutation_macs("regular", 3, macs).await?;
    }
    let devices: Vec<String> = (0..mix.sender_key_devices).map(address).collect();
    for (n, devices) in devices.chunks(100).enumerate() {
        let rows: Vec<_> = devices
            .iter()
            .map(|device| (device.as_str(), true))
            .collect();
        store.set_sender_key_status(&group(n as u64), &rows).await?;
    }
    let mappings: Vec<_> = (0..mix.lid_mappings).map(|row| mapping(row, row)).collect();
    for mappings in mappings.chunks(500) {
        store.put_lid_mappings(mappings).await?;
    }
    for row in 0..mix.base_keys {
        let id = format!("3EB0{row:016X}");
        store
            .save_base_key(&address(row), &id, &bytes(row, 33))
            .await?;
    }
    let lists: Vec<_> = (0..mix.device_lists)
        .map(|row| device_list(row, row))
        .collect();
    for lists in lists.chunks(100) {
        store.update_device_lists(lists.to_vec()).await?;
    }
    for row in 0..mix.group_metadata {
        store
            .put_group_metadata(&group(row), &bytes(row, 2_000))
            .await?;
    }
    for row in 0..mix.tc_tokens {
        let (jid, token) = tc_token(row);
        store.put_tc_token(&jid, &token).await?;
    }
    for row in 0..mix.sent_messages {
        let (chat, id) = sent(row);
        store
            .store_sent_message(&chat, &id, &bytes(row, 300))
            .await?;
    }
    for row in 0..mix.pending_inbound {
        let (chat, id) = sent(row);
        store
            .store_pending_inbound(&chat, &chat, &id, &bytes(row, 300))
            .await?;
    }
    Ok(())
}

/// The secrets of a history, in calls of so many.
fn history(turn: &Turn) -> Vec<Vec<MsgSecretEntry>> {
    let calls: Vec<u64> = turn.calls().collect();
    let each = turn.rows_in_call();
    let all = each * calls.len() as u64;
    (0..)
        .zip(&calls)
        .map(|(call, n)| {
            (call * each..(call + 1) * each)
                .map(|row| secret(row, all, n ^ row))
                .collect()
        })
        .collect()
}

/// A history sync into a new store.
pub async fn history_sync(turn: Turn) -> Result<Measure> {
    let folder = turn.stage.fresh()?;
    let path = folder.path().join("history.db");
    let store = turn.stage.contestant.open(&path).await?;
    make_device(&*store).await?;
    let calls = history(&turn);
    let last = calls.last().and_then(|call| call.last()).cloned();
    let last = last.context("no calls")?;
    let clock = turn.clock();
    let mut took = Duration::ZERO;
    for call in calls {
        let rows = call.len();
        let begin = Instant::now();
        let stored = store.put_msg_secrets(call).await?;
        took += begin.elapsed();
        ensure!(stored == rows, "{stored} secrets stored of {rows}");
    }
    let measure = clock.stop(took).await;
    let read = store.get_msg_secret(&last.chat, &last.sender, &last.msg_id);
    same(read.await?, last.secret.to_vec())?;
    closed(store, &path).await?;
    Ok(measure)
}

/// The peak of a process that does nothing but [`history_sync`].
pub async fn history_memory(turn: Turn) -> Result<Measure> {
    history_sync(turn).await?;
    peak()
}

/// The peak of a process that opens nothing.
pub async fn idle_memory(_turn: Turn) -> Result<Measure> {
    peak()
}

/// The peak of a process that opens the store and performs a client's mixture of calls.
pub async fn mixed_memory(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let mix = turn.stage.mix;
    for (call, n) in (0u64..).zip(turn.calls()) {
        let at = address(pick(n, mix.sessions));
        match call % 10 {
            0..3 => store.put_session(&at, &session(n)).await?,
            3..6 => drop(store.get_session(&at).await?),
            6 => {
                let (chat, id) = sent(n);
                store.store_sent_message(&chat, &id, &bytes(n, 300)).await?;
            }
            7 => {
                let lid = mapping(pick(n, mix.lid_mappings), 0).lid;
                drop(store.get_lid_mapping(&lid).await?);
            }
            8 => {
                let row = pick(n, mix.message_secrets);
                let key = secret(row, mix.message_secrets, 0);
                let read = store.get_msg_secret(&key.chat, &key.sender, &key.msg_id);
                drop(read.await?);
            }
            _ => {
                let batch: Vec<(Arc<str>, Bytes)> = (0..16)
                    .map(|k| (address(pick(n ^ k, mix.sessions)).into(), session(n ^ k)))
                    .collect();
                store.put_sessions_batch(&batch).await?;
            }
        }
    }
    drop(store);
    turn.stage.close().await?;
    peak()
}

fn peak() -> Result<Measure> {
    Ok(Measure {
        value: peak_memory()?,
        cpu: None,
    })
}
