//! The work: tasks that write and read sessions and identities, each in its own rows, all the time, also while the store is
//! closed, when every one of them must be refused.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use sealed_store::SealError;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wacore::store::error::StoreError;

use crate::audit::Closed;
use crate::ledger::{Found, Kind, Ledger, Store};
use crate::timeline::Timeline;

/// How often a client of this service comes.
const PACE: Duration = Duration::from_millis(4);
/// The rows of a task, of each kind.
const ROWS: u64 = 50;

/// What the tasks met, all together.
#[derive(Default)]
pub struct Counts {
    pub acknowledged: watch::Sender<u64>,
    pub read: AtomicU64,
    pub refused: AtomicU64,
    /// Reads of a value that is older, or another, than what was acknowledged.
    pub wrong: AtomicU64,
    /// Work that was done while nothing can have been open.
    pub done_while_closed: AtomicU64,
    /// Refusals that are not of a store that is closed.
    pub failed: AtomicU64,
}

impl Counts {
    pub fn of(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::SeqCst)
    }
}

struct Shared {
    store: Arc<Store>,
    closed: Arc<Closed>,
    counts: Counts,
    timeline: Timeline,
    over: AtomicBool,
    /// Which tasks worked, or tried to, within the closed time of this number.
    noticed: watch::Sender<(u64, BTreeSet<usize>)>,
}

pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<Ledger>,
}

impl Load {
    pub fn start(store: Arc<Store>, closed: Arc<Closed>, tasks: usize, timeline: Timeline) -> Self {
        let shared = Arc::new(Shared {
            store,
            closed,
            counts: Counts::default(),
            timeline,
            over: AtomicBool::new(false),
            noticed: watch::Sender::default(),
        });
        let work = |task| Arc::clone(&shared).work(task);
        let tasks = (0..tasks).map(work).collect();
        Self { shared, tasks }
    }

    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Waits until so many writes are acknowledged.
    pub async fn reached(&self, count: u64) {
        let mut acknowledged = self.shared.counts.acknowledged.subscribe();
        // The sender is ours.
        let _ = acknowledged.wait_for(|so_far| *so_far >= count).await;
    }

    /// Waits until every task has come since the store was closed.
    pub async fn all_came(&self) {
        let epoch = self.shared.closed.epoch();
        let all = self.tasks.len();
        let mut noticed = self.shared.noticed.subscribe();
        // The sender is ours.
        let _ = noticed
            .wait_for(|(at, tasks)| *at == epoch && tasks.len() == all)
            .await;
    }

    /// Ends the tasks: what each of them knows of its rows, and what they met.
    pub async fn stop(mut self) -> anyhow::Result<(Vec<Ledger>, Counts)> {
        self.shared.over.store(true, Ordering::SeqCst);
        let mut ledgers = Vec::new();
        while let Some(ledger) = self.tasks.join_next().await {
            ledgers.push(ledger.context("a task failed")?);
        }
        let shared = Arc::into_inner(self.shared).context("a task is still there")?;
        Ok((ledgers, shared.counts))
    }
}

impl Shared {
    async fn work(self: Arc<Self>, task: usize) -> Ledger {
        let mut ledger = Ledger::default();
        let mut pace = tokio::time::interval(PACE);
        let mut turn = 0;
        while !self.over.load(Ordering::SeqCst) {
            pace.tick().await;
            turn += 1;
            let before = self.closed.epoch();
            let (written, read) = self.turn(&mut ledger, task, turn).await;
            let closed = Closed::is_closed(before) && self.closed.epoch() == before;
            let was_read = matches!(read, Ok(found) if found.rows > 0);
            if closed && (written.is_ok() || was_read) {
                add(&self.counts.done_while_closed);
            }
            for error in [written.err(), read.err()].into_iter().flatten() {
                if is_closed(&error) {
                    add(&self.counts.refused);
                } else {
                    add(&self.counts.failed);
                    self.timeline.say("FAILED", error);
                }
            }
            if closed {
                self.notice(before, task);
            }
        }
        ledger
    }

    /// One client's call: a write of a row, and a read of another.
    async fn turn(
        &self,
        ledger: &mut Ledger,
        task: usize,
        turn: u64,
    ) -> (Result<(), StoreError>, Result<Found, StoreError>) {
        let kind = match turn % 2 {
            0 => Kind::Session,
            _ => Kind::Identity,
        };
        let address =
            |row: u64| format!("{}:{task}@s.whatsapp.net", 5_511_987_650_000 + row % ROWS);
        let (row, other) = (address(turn / 2), address(turn / 2 + ROWS / 2));
        let written = ledger.write(&self.store, kind, &row, turn).await;
        if written.is_ok() {
            self.counts.acknowledged.send_modify(|count| *count += 1);
        }
        let read = ledger.read(&self.store, kind, &other).await;
        if let Ok(Found { rows, lost, wrong }) = read {
            self.counts.read.fetch_add(rows, Ordering::SeqCst);
            self.counts.wrong.fetch_add(lost + wrong, Ordering::SeqCst);
        }
        (written, read)
    }

    fn notice(&self, epoch: u64, task: usize) {
        self.noticed.send_if_modified(|(at, tasks)| {
            if *at != epoch {
                (*at, *tasks) = (epoch, BTreeSet::new());
            }
            tasks.insert(task)
        });
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

/// Whether it is the typed error of a store whose keys are not there.
fn is_closed(error: &StoreError) -> bool {
    matches!(SealError::of(error), Some(SealError::NotOpen))
}
