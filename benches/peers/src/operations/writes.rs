//! Writes of one row. Each ends with a look whether the last one can be read.

use anyhow::{Context, Result, ensure};
use sealed_store::testing::{device_diff, full_device};

use super::stage::{Turn, same, timed};
use crate::data::{
    address, bytes, bytes32, mapping, new_secret, pick, sender_key_name, sent, session,
};
use crate::protocol::Measure;

pub async fn put_session(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let writes: Vec<_> = turn
        .calls()
        .map(|n| (address(pick(n, turn.stage.mix.sessions)), session(n)))
        .collect();
    let clock = turn.clock();
    let took = timed!(&writes, |(address, record)| store
        .put_session(address, record));
    let measure = clock.stop(took).await;
    let (address, record) = writes.last().context("no calls")?;
    same(store.get_session(address).await?, record.clone())?;
    Ok(measure)
}

pub async fn put_identity(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let writes: Vec<_> = turn
        .calls()
        .map(|n| (address(pick(n, turn.stage.mix.identities)), bytes32(n)))
        .collect();
    let clock = turn.clock();
    let took = timed!(&writes, |(address, key)| store.put_identity(address, *key));
    let measure = clock.stop(took).await;
    let (address, key) = writes.last().context("no calls")?;
    same(store.load_identity(address).await?, *key)?;
    Ok(measure)
}

pub async fn store_prekey(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let writes: Vec<_> = turn
        .calls()
        .map(|n| (pick(n, turn.stage.mix.prekeys) as u32, bytes(n, 74)))
        .collect();
    let clock = turn.clock();
    let took = timed!(&writes, |(id, record)| store
        .store_prekey(*id, record, false));
    let measure = clock.stop(took).await;
    let (id, record) = writes.last().context("no calls")?;
    same(store.load_prekey(*id).await?, record.clone().into())?;
    Ok(measure)
}

pub async fn put_sender_key(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let rows = turn.stage.mix.sender_keys;
    let writes: Vec<_> = turn
        .calls()
        .map(|n| (sender_key_name(pick(n, rows)), bytes(n, 120)))
        .collect();
    let clock = turn.clock();
    let took = timed!(&writes, |(name, record)| store.put_sender_key(name, record));
    let measure = clock.stop(took).await;
    let (name, record) = writes.last().context("no calls")?;
    same(store.get_sender_key(name).await?, record.clone())?;
    Ok(measure)
}

pub async fn put_lid_mapping(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let rows = turn.stage.mix.lid_mappings;
    // Times of so many seconds are all different, and stay times.
    let writes: Vec<_> = turn
        .calls()
        .map(|n| mapping(pick(n, rows), n % (1 << 40)))
        .collect();
    let clock = turn.clock();
    let took = timed!(&writes, |entry| store.put_lid_mapping(entry));
    let measure = clock.stop(took).await;
    let entry = writes.last().context("no calls")?;
    let read = store.get_lid_mapping(&entry.lid).await?;
    same(
        read.map(|read| (read.phone_number, read.updated_at)),
        (entry.phone_number.clone(), entry.updated_at),
    )?;
    Ok(measure)
}

pub async fn store_sent_message(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let writes: Vec<_> = turn.calls().map(|n| (sent(n), bytes(n, 300))).collect();
    let clock = turn.clock();
    let took = timed!(&writes, |((chat, id), payload)| store
        .store_sent_message(chat, id, payload));
    let measure = clock.stop(took).await;
    let ((chat, id), payload) = writes.last().context("no calls")?;
    same(store.take_sent_message(chat, id).await?, payload.clone())?;
    Ok(measure)
}

pub async fn put_msg_secret(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let writes: Vec<_> = turn.calls().map(|n| vec![new_secret(n)]).collect();
    let last = writes.last().and_then(|w| w.first()).context("no calls")?;
    let last = last.clone();
    let clock = turn.clock();
    let took = timed!(writes, |entries| store.put_msg_secrets(entries));
    let measure = clock.stop(took).await;
    let read = store.get_msg_secret(&last.chat, &last.sender, &last.msg_id);
    same(read.await?, last.secret.to_vec())?;
    Ok(measure)
}

pub async fn device_save(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let device = store.load().await?.context("there is no device")?;
    let writes: Vec<_> = turn
        .calls()
        .map(|n| {
            let mut device = device.clone();
            device.login_counter = n as i32;
            device
        })
        .collect();
    let clock = turn.clock();
    let took = timed!(&writes, |device| store.save(device));
    let measure = clock.stop(took).await;
    let last = writes.last().context("no calls")?;
    let read = store.load().await?.context("the device is gone")?;
    let differs = device_diff(last, &read);
    ensure!(
        differs.is_empty(),
        "the device came back with another {differs:?}"
    );
    Ok(measure)
}

/// Makes the device that all the others need.
pub async fn make_device(store: &dyn wacore::store::traits::Backend) -> Result<()> {
    store.create().await?;
    store.save(&full_device()).await?;
    Ok(())
}
