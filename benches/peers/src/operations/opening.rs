//! Opening a store that holds rows, until it gave the first of them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::stage::{Turn, closed};
use crate::data::{address, pick};
use crate::protocol::Measure;

pub async fn open(turn: Turn) -> Result<Measure> {
    turn.stage.close().await?;
    let path = turn.stage.path();
    ensure!(path.exists(), "there is no store to open");
    let clock = turn.clock();
    let mut took = Duration::ZERO;
    for n in turn.calls() {
        let address = address(pick(n, turn.stage.mix.sessions));
        let begin = Instant::now();
        let store = turn.stage.contestant.open(&path).await?;
        let session = store.get_session(&address).await?;
        took += begin.elapsed();
        ensure!(session.is_some(), "a session is not there");
        closed(store, &path).await?;
    }
    Ok(clock.stop(took).await)
}
