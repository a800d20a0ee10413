//! Many tasks at once on one store.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::stage::{Turn, same};
use crate::data::{address, pick, session};
use crate::protocol::Measure;

/// Each call is a task, which writes its rows one after the other.
pub async fn write_sessions(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let all = turn.stage.mix.sessions;
    let work: Vec<Vec<_>> = turn
        .calls()
        .map(|n| {
            let numbers = turn.rows(n);
            numbers
                .map(|n| (address(pick(n, all)), session(n)))
                .collect()
        })
        .collect();
    // No other task writes where the last one writes last.
    let (last_address, last_record) = work
        .last()
        .and_then(|rows| rows.last())
        .cloned()
        .context("no calls")?;
    let others = work.len().saturating_sub(1);
    let alone = work
        .iter()
        .take(others)
        .flatten()
        .all(|(address, _)| *address != last_address);
    let mut tasks = JoinSet::new();
    let clock = turn.clock();
    let begin = Instant::now();
    for rows in work {
        let store = store.clone();
        tasks.spawn(async move {
            for (address, record) in rows {
                store.put_session(&address, &record).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let measure = clock.stop(begin.elapsed()).await;
    let read = store.get_session(&last_address).await?;
    if alone {
        same(read, last_record)?;
    } else {
        ensure!(read.is_some(), "a session is not there");
    }
    Ok(measure)
}

/// Each call is a task, which writes its rows in one batch.
pub async fn write_batches(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let all = turn.stage.mix.sessions;
    let work: Vec<Vec<(Arc<str>, Bytes)>> = turn
        .calls()
        .map(|n| {
            let numbers = turn.rows(n);
            numbers
                .map(|n| (address(pick(n, all)).into(), session(n).into()))
                .collect()
        })
        .collect();
    let last: Vec<Arc<str>> = work
        .last()
        .into_iter()
        .flatten()
        .map(|(address, _)| Arc::clone(address))
        .collect();
    let mut tasks = JoinSet::new();
    let clock = turn.clock();
    let begin = Instant::now();
    for batch in work {
        let store = store.clone();
        tasks.spawn(async move {
            store.put_sessions_batch(&batch).await?;
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let measure = clock.stop(begin.elapsed()).await;
    for address in last {
        let read = store.get_session(&address).await?;
        ensure!(read.is_some(), "a session is not there");
    }
    Ok(measure)
}

/// As [`write_sessions`], reading.
pub async fn read_sessions(turn: Turn) -> Result<Measure> {
    let store = turn.stage.store().await?;
    let all = turn.stage.mix.sessions;
    let work: Vec<Vec<_>> = turn
        .calls()
        .map(|n| turn.rows(n).map(|n| address(pick(n, all))).collect())
        .collect();
    let mut tasks = JoinSet::new();
    let clock = turn.clock();
    let begin = Instant::now();
    for rows in work {
        let store = store.clone();
        tasks.spawn(async move {
            for address in rows {
                let read = store.get_session(&address).await?;
                ensure!(read.is_some(), "a session is not there");
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(clock.stop(begin.elapsed()).await)
}
