//! One store of sessions that grows to a million.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use super::Count;
use super::stage::{Stage, Turn, same, timed, timed_some};
use crate::contestant::Contestant;
use crate::data::{address, bytes, pick, token_address};
use crate::protocol::Measure;

/// The sizes at which it is measured.
pub const GROWN: [Count; 4] = [
    Count(1_000, 100),
    Count(10_000, 1_000),
    Count(100_000, 5_000),
    Count(1_000_000, 10_000),
];

/// Bytes of a session.
const RECORD: usize = 400;

fn place(stage: &Stage, row: u64) -> String {
    if stage.contestant == Contestant::OursKeyedAlike {
        token_address(row)
    } else {
        address(row)
    }
}

/// Adds rows until there are `turn.grown`, a call's rows in each batch. How long it takes is not reported.
pub async fn grow(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    if turn.grown == GROWN[0].at(turn.stage.scale) {
        super::writes::make_device(&*store).await?;
    }
    // What an earlier growth wrote is written again: the count is what matters.
    let before = GROWN
        .iter()
        .map(|count| count.at(turn.stage.scale))
        .filter(|size| *size < turn.grown)
        .max()
        .unwrap_or(0);
    let clock = turn.clock();
    let mut took = std::time::Duration::ZERO;
    let mut row = before;
    while row < turn.grown {
        let end = turn.grown.min(row + turn.rows_in_call());
        let batch: Vec<(Arc<str>, Bytes)> = (row..end)
            .map(|row| (place(&turn.stage, row).into(), bytes(row, RECORD).into()))
            .collect();
        took += timed!([&batch], |batch| store.put_sessions_batch(batch));
        row = end;
    }
    Ok(clock.stop(took).await)
}

pub async fn write(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let writes: Vec<_> = turn
        .calls()
        .map(|n| (place(&turn.stage, pick(n, turn.grown)), bytes(n, RECORD)))
        .collect();
    let clock = turn.clock();
    let took = timed!(&writes, |(address, record)| store
        .put_session(address, record));
    let measure = clock.stop(took).await;
    let (address, record) = writes.last().context("no calls")?;
    same(store.get_session(address).await?, record.clone().into())?;
    Ok(measure)
}

pub async fn read(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let keys: Vec<_> = turn
        .calls()
        .map(|n| place(&turn.stage, pick(n, turn.grown)))
        .collect();
    let clock = turn.clock();
    let took = timed_some!(&keys, |address| store.get_session(address));
    Ok(clock.stop(took).await)
}

pub async fn batch(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let writes: Vec<Vec<(Arc<str>, Bytes)>> = turn
        .calls()
        .map(|n| {
            turn.rows(n)
                .map(|n| {
                    let address = place(&turn.stage, pick(n, turn.grown));
                    (address.into(), bytes(n, RECORD).into())
                })
                .collect()
        })
        .collect();
    let clock = turn.clock();
    let took = timed!(&writes, |batch| store.put_sessions_batch(batch));
    let measure = clock.stop(took).await;
    let (address, _) = writes.last().and_then(|b| b.last()).context("no calls")?;
    ensure!(
        store.get_session(address).await?.is_some(),
        "a session is not there"
    );
    Ok(measure)
}
