//! The one table of operations, which workers perform and the report explains.

mod batches;
mod bulk;
mod concurrent;
mod growth;
mod opening;
mod reads;
mod stage;
mod table;
mod writes;

use anyhow::Result;
use futures_util::future::BoxFuture;

pub use growth::GROWN;
pub use stage::{Mix, Scale, Stage};
pub use table::TABLE;

use crate::contestant::Contestant;
use crate::protocol::Measure;
use stage::Turn;

/// What belongs together in the report: one unit, one set of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Writes of one row.
    Write,
    /// Reads of one row.
    Read,
    /// Writes of many rows in one call.
    Batch,
    /// Reads of many rows in one call.
    BatchRead,
    /// Many tasks at once.
    Concurrent,
    /// Opening a store that holds rows.
    Open,
    /// Bytes on the disk.
    Size,
    /// Bytes in memory.
    Memory,
    /// A store that grows to a million rows.
    Growth,
}

impl Group {
    /// In the report's order.
    pub const ALL: [Self; 9] = [
        Self::Write,
        Self::Read,
        Self::Batch,
        Self::BatchRead,
        Self::Concurrent,
        Self::Open,
        Self::Size,
        Self::Memory,
        Self::Growth,
    ];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Write => "Writes of one row",
            Self::Read => "Reads of one row",
            Self::Batch => "Writes of many rows in one call",
            Self::BatchRead => "Reads of many rows in one call",
            Self::Concurrent => "64 tasks at once",
            Self::Open => "Cold open",
            Self::Size => "Size on disk",
            Self::Memory => "Peak memory",
            Self::Growth => "Growth",
        }
    }

    /// Its unit, and how many of [`Measure::value`]'s make one.
    pub fn unit(self) -> (&'static str, f64) {
        match self {
            Self::Write | Self::Read | Self::Growth => ("µs a call", 1e3),
            Self::Batch | Self::BatchRead => ("µs a row", 1e3),
            Self::Concurrent => ("thousand rows a second", 1e3),
            Self::Open => ("ms", 1e6),
            Self::Size | Self::Memory => ("MiB", 1024.0 * 1024.0),
        }
    }

    /// What our sealed store should reach.
    fn targets(self) -> &'static [Target] {
        use Contestant::{Sqlcipher, Upstream};
        const WRITE: &[Target] = &[
            Target::at_most(0.40, Upstream),
            Target::at_most(0.22, Sqlcipher),
        ];
        const READ: &[Target] = &[Target::at_most(0.80, Upstream)];
        const BATCH: &[Target] = &[
            Target::at_most(0.55, Upstream),
            Target::at_most(0.40, Sqlcipher),
        ];
        const OPEN: &[Target] = &[Target::at_most(1.0, Upstream)];
        const SIZE: &[Target] = &[Target::at_most(1.6, Upstream)];
        match self {
            Self::Write => WRITE,
            Self::Read => READ,
            Self::Batch => BATCH,
            Self::Open => OPEN,
            Self::Size => SIZE,
            Self::BatchRead | Self::Concurrent | Self::Memory | Self::Growth => &[],
        }
    }
}

/// A limit for the ratio of our sealed store's figure to another's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// The ratio.
    pub limit: f64,
    /// Whether more is better.
    pub at_least: bool,
    /// Whose figure it is a ratio to.
    pub against: Contestant,
}

impl Target {
    const fn at_most(limit: f64, against: Contestant) -> Self {
        Self {
            limit,
            at_least: false,
            against,
        }
    }

    const fn at_least(limit: f64, against: Contestant) -> Self {
        Self {
            limit,
            at_least: true,
            against,
        }
    }

    /// Whether `ratio` reaches it.
    pub fn is_met(&self, ratio: f64) -> bool {
        if self.at_least {
            ratio >= self.limit
        } else {
            ratio <= self.limit
        }
    }
}

/// How often an operation is measured, and in which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Every round, in the process that the contestant keeps.
    EveryRound,
    /// Every round, in a process that has done nothing else.
    InFreshProcess,
    /// Once: nothing in it varies.
    Once,
}

/// So many at full size, and so many for a quick try.
#[derive(Debug, Clone, Copy)]
pub struct Count(pub u64, pub u64);

impl Count {
    /// The number at `scale`.
    pub fn at(self, scale: Scale) -> u64 {
        match scale {
            Scale::Full => self.0,
            Scale::Quick => self.1,
        }
    }
}

type Perform = fn(Turn) -> BoxFuture<'static, Result<Measure>>;

/// One line of the report.
pub struct Operation {
    /// Its name in requests and results.
    pub id: &'static str,
    /// What the reader is told.
    pub what: &'static str,
    /// Where it stands in the report.
    pub group: Group,
    /// How often, and where.
    pub when: When,
    /// Calls in a round.
    pub calls: Count,
    /// Rows in a call.
    pub rows: Count,
    /// Targets instead of the group's.
    own_targets: Option<&'static [Target]>,
    perform: Perform,
}

impl Operation {
    const fn new(
        group: Group,
        id: &'static str,
        what: &'static str,
        calls: Count,
        rows: Count,
        perform: Perform,
    ) -> Self {
        Self {
            id,
            what,
            group,
            when: When::EveryRound,
            calls,
            rows,
            own_targets: None,
            perform,
        }
    }

    const fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    const fn targets_instead(mut self, targets: &'static [Target]) -> Self {
        self.own_targets = Some(targets);
        self
    }

    /// What our sealed store should reach.
    pub fn targets(&self) -> &'static [Target] {
        self.own_targets.unwrap_or_else(|| self.group.targets())
    }

    /// Performs it on `stage`.
    pub fn perform(
        &'static self,
        stage: std::sync::Arc<Stage>,
        round: u64,
        grown: u64,
    ) -> BoxFuture<'static, Result<Measure>> {
        (self.perform)(Turn::new(stage, self, round, grown))
    }
}

/// The operation of that id.
pub fn find(id: &str) -> Result<&'static Operation> {
    TABLE
        .iter()
        .find(|operation| operation.id == id)
        .ok_or_else(|| anyhow::anyhow!("no operation is called {id}"))
}
