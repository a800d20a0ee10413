//! Writes and reads of many rows in one call.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use super::stage::{Turn, same, timed};
use crate::data::{address, bytes, bytes32, mapping, new_secret, pick, sender_key_name, session};
use crate::protocol::Measure;

pub async fn put_sessions(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let rows = turn.stage.mix.sessions;
    let writes: Vec<Vec<(Arc<str>, Bytes)>> = turn
        .calls()
        .map(|n| {
            let records = turn.rows(n).map(session);
            let places = turn.distinct(n, rows).map(|row| address(row).into());
            places.zip(records).collect()
        })
        .collect();
    let clock = turn.clock();
    let took = timed!(&writes, |batch| store.put_sessions_batch(batch));
    let measure = clock.stop(took).await;
    let (address, record) = writes.last().and_then(|b| b.last()).context("no calls")?;
    same(store.get_session(address).await?, record.clone())?;
    Ok(measure)
}

pub async fn put_identities(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let rows = turn.stage.mix.identities;
    let writes: Vec<Vec<(Arc<str>, [u8; 32])>> = turn
        .calls()
        .map(|n| {
            let keys = turn.rows(n).map(bytes32);
            let places = turn.distinct(n, rows).map(|row| address(row).into());
            places.zip(keys).collect()
        })
        .collect();
    let clock = turn.clock();
    let took = timed!(&writes, |batch| store.put_identities_batch(batch));
    let measure = clock.stop(took).await;
    let (address, key) = writes.last().and_then(|b| b.last()).context("no calls")?;
    same(store.load_identity(address).await?, *key)?;
    Ok(measure)
}

pub async fn put_sender_keys(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let rows = turn.stage.mix.sender_keys;
    let writes: Vec<Vec<(Arc<str>, Bytes)>> = turn
        .calls()
        .map(|n| {
            let records = turn.rows(n).map(|n| bytes(n, 120).into());
            let places = turn
                .distinct(n, rows)
                .map(|row| sender_key_name(row).into());
            places.zip(records).collect()
        })
        .collect();
    let clock = turn.clock();
    let took = timed!(&writes, |batch| store.put_sender_keys_batch(batch));
    let measure = clock.stop(took).await;
    let (name, record) = writes.last().and_then(|b| b.last()).context("no calls")?;
    same(store.get_sender_key(name).await?, record.to_vec())?;
    Ok(measure)
}

pub async fn store_prekeys(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    // The client makes them in a row.
    let writes: Vec<Vec<(u32, Bytes)>> = turn
        .calls()
        .map(|n| {
            let records = turn.rows(n).map(|n| bytes(n, 74).into());
            (0..).zip(records).collect()
        })
        .collect();
    let clock = turn.clock();
    let took = timed!(&writes, |batch| store.store_prekeys_batch(batch, false));
    let measure = clock.stop(took).await;
    let (id, record) = writes.last().and_then(|b| b.last()).context("no calls")?;
    same(store.load_prekey(*id).await?, record.clone())?;
    Ok(measure)
}

pub async fn put_lid_mappings(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let all = turn.stage.mix.lid_mappings;
    let writes: Vec<Vec<_>> = turn
        .calls()
        .map(|n| {
            let rows = turn.distinct(n, all);
            rows.map(|row| mapping(row, n % (1 << 40))).collect()
        })
        .collect();
    let clock = turn.clock();
    let took = timed!(&writes, |batch| store.put_lid_mappings(batch));
    let measure = clock.stop(took).await;
    let last = writes.last().and_then(|b| b.last()).context("no calls")?;
    let read = store.get_lid_mapping(&last.lid).await?;
    same(read.map(|read| read.updated_at), last.updated_at)?;
    Ok(measure)
}

pub async fn put_msg_secrets(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let writes: Vec<Vec<_>> = turn
        .calls()
        .map(|n| turn.rows(n).map(new_secret).collect())
        .collect();
    let last = writes.last().and_then(|b| b.last()).context("no calls")?;
    let last = last.clone();
    let clock = turn.clock();
    let took = timed!(writes, |batch| store.put_msg_secrets(batch));
    let measure = clock.stop(took).await;
    let read = store.get_msg_secret(&last.chat, &last.sender, &last.msg_id);
    same(read.await?, last.secret.to_vec())?;
    Ok(measure)
}

pub async fn load_prekeys(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let ids: Vec<u32> = (0..turn.rows_in_call() as u32).collect();
    let clock = turn.clock();
    let took = timed!(turn.calls(), |_| store.load_prekeys_batch(&ids));
    let measure = clock.stop(took).await;
    let found = store.load_prekeys_batch(&ids).await?.len();
    ensure!(found == ids.len(), "{found} prekeys of {}", ids.len());
    Ok(measure)
}

pub async fn get_all_lid_mappings(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let clock = turn.clock();
    let took = timed!(turn.calls(), |_| store.get_all_lid_mappings());
    let measure = clock.stop(took).await;
    let all = store.get_all_lid_mappings().await?;
    let rows = turn.stage.mix.lid_mappings;
    ensure!(
        all.len() as u64 == rows && rows == turn.rows_in_call(),
        "{} mappings of {rows}",
        all.len()
    );
    let some = mapping(pick(1, rows), 0);
    ensure!(
        all.iter()
            .any(|entry| entry.lid == some.lid && entry.phone_number == some.phone_number),
        "a mapping is not there"
    );
    Ok(measure)
}
