//! What an operation is performed on, and how it is timed.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use wacore::store::traits::Backend;

use super::{Group, Operation};
use crate::contestant::Contestant;
use crate::data::mix;
use crate::process::{cpu_time, settle};
use crate::protocol::Measure;

/// The sizes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// The ones that are published.
    Full,
    /// Small ones, to see that everything works.
    Quick,
}

/// How many rows of each kind the store holds that most operations are performed on, and whose size is measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Mix {
    pub prekeys: u64,
    pub sessions: u64,
    pub identities: u64,
    pub sender_keys: u64,
    pub sync_keys: u64,
    pub mutation_macs: u64,
    pub sender_key_devices: u64,
    pub lid_mappings: u64,
    pub base_keys: u64,
    pub device_lists: u64,
    pub group_metadata: u64,
    pub tc_tokens: u64,
    pub sent_messages: u64,
    pub pending_inbound: u64,
    pub message_secrets: u64,
}

impl Mix {
    /// An account of some years: what the client keeps after it is paired and used for a while.
    pub const FULL: Self = Self {
        prekeys: 812,
        sessions: 2_000,
        identities: 2_000,
        sender_keys: 500,
        sync_keys: 8,
        mutation_macs: 5_000,
        sender_key_devices: 5_000,
        lid_mappings: 10_000,
        base_keys: 200,
        device_lists: 1_500,
        group_metadata: 120,
        tc_tokens: 500,
        sent_messages: 5_000,
        pending_inbound: 100,
        message_secrets: 95_000,
    };

    /// A small one.
    pub const QUICK: Self = Self {
        prekeys: 812,
        sessions: 500,
        identities: 500,
        sender_keys: 200,
        sync_keys: 8,
        mutation_macs: 200,
        sender_key_devices: 200,
        lid_mappings: 1_000,
        base_keys: 50,
        device_lists: 100,
        group_metadata: 20,
        tc_tokens: 50,
        sent_messages: 200,
        pending_inbound: 10,
        message_secrets: 2_000,
    };

    /// The mix at `scale`.
    pub fn at(scale: Scale) -> Self {
        match scale {
            Scale::Full => Self::FULL,
            Scale::Quick => Self::QUICK,
        }
    }
}

/// A contestant's folder and store, kept from operation to operation.
pub struct Stage {
    pub contestant: Contestant,
    pub scale: Scale,
    pub mix: Mix,
    folder: PathBuf,
    store: Mutex<Option<Arc<dyn Backend>>>,
}

impl Stage {
    /// The stage of `contestant` in `folder`.
    pub fn new(contestant: Contestant, folder: PathBuf, scale: Scale) -> Self {
        Self {
            contestant,
            scale,
            mix: Mix::at(scale),
            folder,
            store: Mutex::new(None),
        }
    }

    /// The file of the store.
    pub fn path(&self) -> PathBuf {
        self.folder.join("store.db")
    }

    /// The store, opened at its first use.
    pub async fn store(&self) -> Result<Arc<dyn Backend>> {
        let mut store = self.store.lock().await;
        if let Some(store) = &*store {
            return Ok(Arc::clone(store));
        }
        let opened = self.contestant.open(&self.path()).await?;
        *store = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Closes the store: all is in the database's own file then.
    pub async fn close(&self) -> Result<()> {
        let store = self.store.lock().await.take();
        match store {
            Some(store) => closed(store, &self.path()).await,
            None => Ok(()),
        }
    }

    /// Another, empty folder beside the store's.
    pub fn fresh(&self) -> Result<tempfile::TempDir> {
        Ok(tempfile::tempdir_in(&self.folder)?)
    }
}

/// Drops `store` and waits until its last connection has folded the log and is gone.
pub async fn closed(store: Arc<dyn Backend>, path: &std::path::Path) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(60);
    drop(store);
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = PathBuf::from(log);
    let begin = Instant::now();
    while log.exists() {
        ensure!(
            begin.elapsed() < PATIENCE,
            "the store was not closed in a minute"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// One round of one operation.
pub struct Turn {
    pub stage: Arc<Stage>,
    /// How many sessions a store that grows holds.
    pub grown: u64,
    group: Group,
    calls: u64,
    rows: u64,
    seed: u64,
}

impl Turn {
    pub fn new(stage: Arc<Stage>, operation: &Operation, round: u64, grown: u64) -> Self {
        let name = operation
            .id
            .bytes()
            .fold(0, |seed, byte| mix(seed ^ u64::from(byte)));
        let (calls, rows) = (
            operation.calls.at(stage.scale),
            operation.rows.at(stage.scale),
        );
        Self {
            group: operation.group,
            calls,
            rows,
            seed: mix(name ^ mix(round ^ (grown << 16))),
            stage,
            grown,
        }
    }

    /// A number for each call, which no other call of the run has.
    pub fn calls(&self) -> impl Iterator<Item = u64> + use<> {
        numbers(self.seed, self.calls)
    }

    /// A number for each row of the call `number`.
    pub fn rows(&self, number: u64) -> impl Iterator<Item = u64> + use<> {
        numbers(number ^ 0x0f0f, self.rows)
    }

    /// So many rows of `all`, as good as random and each another, for the call `number`.
    pub fn distinct(&self, number: u64, all: u64) -> impl Iterator<Item = u64> + use<> {
        let all = all.max(1);
        let mut seen = HashSet::new();
        // Not at a step: steps of one size meet in few pages of a table that is in the order of its rows.
        let rows = numbers(mix(number), u64::MAX).map(move |drawn| drawn % all);
        let new = move |row: &u64| {
            if seen.len() as u64 == all {
                seen.clear();
            }
            seen.insert(*row)
        };
        rows.filter(new).take(self.rows as usize)
    }

    /// Rows in a call.
    pub fn rows_in_call(&self) -> u64 {
        self.rows
    }

    /// Starts to count.
    pub fn clock(&self) -> Clock {
        Clock {
            cpu: cpu_time(),
            units: match self.group {
                Group::Batch | Group::BatchRead | Group::Concurrent => self.calls * self.rows,
                _ => self.calls,
            },
            inverse: self.group == Group::Concurrent,
        }
    }
}

fn numbers(seed: u64, count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |n| mix(seed.wrapping_add(n)))
}

/// Counts what an operation takes.
pub struct Clock {
    cpu: Duration,
    units: u64,
    inverse: bool,
}

impl Clock {
    /// The measurement, with the processor time until all is quiet again.
    pub async fn stop(self, took: Duration) -> Measure {
        settle().await;
        let cpu = cpu_time().saturating_sub(self.cpu);
        let each = |time: Duration| time.as_nanos() as f64 / self.units as f64;
        // A tenth of a nanosecond is less than anybody can measure.
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        Measure {
            value: tenths(if self.inverse {
                1e9 / each(took)
            } else {
                each(took)
            }),
            cpu: Some(tenths(each(cpu))),
        }
    }
}

/// Fails unless a store gives back what it was given: nobody is fast by forgetting.
pub fn same<T: PartialEq>(got: Option<T>, expected: T) -> Result<()> {
    let got = got.context("what was written is not there")?;
    ensure!(
        got == expected,
        "what was read is not what was written last"
    );
    Ok(())
}

/// Times calls of a store, one after the other, over values that were made before.
macro_rules! timed {
    ($values:expr, |$value:pat_param| $call:expr) => {{
        let begin = std::time::Instant::now();
        for $value in $values {
            std::hint::black_box($call.await?);
        }
        begin.elapsed()
    }};
}

/// As [`timed`], of calls that answer with an option: nothing may be missing.
macro_rules! timed_some {
    ($values:expr, |$value:pat_param| $call:expr) => {{
        let mut missing = 0u64;
        let begin = std::time::Instant::now();
        for $value in $values {
            let found = std::hint::black_box($call.await?);
            missing += u64::from(found.is_none());
        }
        let took = begin.elapsed();
        anyhow::ensure!(missing == 0, "{missing} rows are not there");
        took
    }};
}

pub(super) use {timed, timed_some};
