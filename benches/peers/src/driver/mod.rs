//! Asks the contestants, one after the other, round by round.

mod workers;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use crate::contestant::Contestant;
use crate::crypto;
use crate::operations::{GROWN, Group, Operation, Scale, TABLE, When, find};
use crate::protocol::Measure;
use crate::report::{self, Machine};
use crate::results::{Line, Results};
pub use workers::Programs;
use workers::Worker;

/// Where the published report is.
pub const PUBLISHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/benchmarks");
/// Where the report of a try goes.
const TRIED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/quick");
/// The same program linked to SQLCipher, as `scripts/bench` builds it.
const SQLCIPHER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/sqlcipher/release/peers"
);

/// How to run.
#[derive(Args)]
pub struct Options {
    /// Rounds that count; one more comes before them.
    #[arg(long, default_value_t = 15)]
    rounds: u64,
    /// Three rounds of small sizes, to see that everything works.
    #[arg(long)]
    quick: bool,
    /// Where the report goes: `docs/benchmarks`, or a folder under `target` for a try.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Let a try replace published results.
    #[arg(long)]
    force: bool,
    /// The program that is linked to SQLCipher.
    #[arg(long, default_value = SQLCIPHER)]
    sqlcipher: PathBuf,
    /// Perform only the operations whose ids contain this; nothing is written then but to the screen.
    #[arg(long)]
    only: Option<String>,
}

impl Options {
    fn scale(&self) -> Scale {
        if self.quick {
            Scale::Quick
        } else {
            Scale::Full
        }
    }

    fn rounds(&self) -> u64 {
        if self.quick { 3 } else { self.rounds.max(1) }
    }

    fn out(&self) -> Result<PathBuf> {
        let default = if self.quick { TRIED } else { PUBLISHED };
        let out = self.out.clone().unwrap_or_else(|| default.into());
        // Results that another version wrote and this one can't read are somebody's all the same.
        let published = || {
            Results::exist(&out) && Results::read(&out).map_or(true, |old| old.scale == Scale::Full)
        };
        ensure!(
            !self.quick || self.force || !published(),
            "a try does not replace the results in {}; --force if it shall",
            out.display()
        );
        Ok(out)
    }

    fn wants(&self, operation: &Operation) -> bool {
        self.only
            .as_ref()
            .is_none_or(|part| operation.id.contains(part.as_str()))
    }
}

/// One run.
struct Run<'a> {
    options: &'a Options,
    programs: Programs,
    folder: PathBuf,
    lines: Vec<Line>,
}

/// Measures everything and writes the report.
pub fn run(options: &Options) -> Result<()> {
    let out = options.out()?;
    let folder = tempfile::tempdir()?;
    let programs = Programs::new(options.sqlcipher.clone(), options.scale())?;
    let mut machine = Machine::find(folder.path())?;
    machine.linked(&programs, folder.path())?;
    let mut run = Run {
        options,
        programs,
        folder: folder.path().to_owned(),
        lines: vec![],
    };
    run.stores()?;
    run.fresh()?;
    run.growth()?;
    let crypto = if options.only.is_none() {
        crypto::compare(options.rounds(), options.scale())?
    } else {
        vec![]
    };
    machine.finish()?;
    let results = Results {
        scale: options.scale(),
        rounds: options.rounds(),
        machine,
        lines: run.lines,
        crypto,
    };
    if options.only.is_some() {
        return report::print(&results);
    }
    results.write(&out)?;
    report::write(&results, &out)?;
    report::print(&results)?;
    println!("\nThe report is in {}", out.display());
    Ok(())
}

impl Run<'_> {
    /// Whatever contestants perform in the processes that they keep.
    fn stores(&mut self) -> Result<()> {
        let mut workers = vec![];
        for contestant in Contestant::STORES {
            workers.push(self.programs.start(contestant, &self.home(contestant)?)?);
        }
        for operation in TABLE.iter().filter(|op| op.group != Group::Growth) {
            // All others need the store that the first one fills.
            let fills = operation.when == When::Once;
            if operation.when == When::InFreshProcess || !(fills || self.options.wants(operation)) {
                continue;
            }
            self.contest(operation, None, &mut workers)?;
        }
        for worker in workers {
            worker.end()?;
        }
        Ok(())
    }

    /// Whatever they perform in new ones, on the stores that are full and closed now.
    fn fresh(&mut self) -> Result<()> {
        let operations = TABLE
            .iter()
            .filter(|operation| operation.when == When::InFreshProcess);
        for operation in operations {
            if !self.options.wants(operation) {
                continue;
            }
            let mut rounds = BTreeMap::new();
            for round in 0..=self.options.rounds() {
                for contestant in rotated(&Contestant::STORES, round) {
                    let home = self.home(contestant)?;
                    let mut worker = self.programs.start(contestant, &home)?;
                    let measure = worker.run(operation, round, 0)?;
                    worker.end()?;
                    note(&mut rounds, round, contestant, measure);
                }
            }
            self.finish(operation, None, rounds);
        }
        Ok(())
    }

    /// The stores that grow.
    fn growth(&mut self) -> Result<()> {
        let operations: Vec<_> = TABLE
            .iter()
            .filter(|op| op.group == Group::Growth && op.when == When::EveryRound)
            .filter(|op| self.options.wants(op))
            .collect();
        if operations.is_empty() {
            return Ok(());
        }
        // The other stores are not needed any more, and the disk may be.
        for contestant in Contestant::STORES {
            std::fs::remove_dir_all(self.home(contestant)?)?;
        }
        let mut workers = vec![];
        for contestant in Contestant::GROWTH {
            workers.push(self.programs.start(contestant, &self.home(contestant)?)?);
        }
        for size in GROWN {
            let size = size.at(self.options.scale());
            for worker in &mut workers {
                worker.run(find("grow")?, 0, size)?;
            }
            for operation in &operations {
                self.contest(operation, Some(size), &mut workers)?;
            }
        }
        for worker in workers {
            worker.end()?;
        }
        Ok(())
    }

    /// All rounds of one operation. The one before the first warms up and does not count.
    fn contest(
        &mut self,
        operation: &'static Operation,
        grown: Option<u64>,
        workers: &mut [Worker],
    ) -> Result<()> {
        let mut rounds = BTreeMap::new();
        let (first, last) = match operation.when {
            When::Once => (1, 1),
            When::EveryRound | When::InFreshProcess => (0, self.options.rounds()),
        };
        for round in first..=last {
            let places: Vec<usize> = (0..workers.len()).collect();
            for place in rotated(&places, round) {
                let worker = &mut workers[place];
                let measure = worker.run(operation, round, grown.unwrap_or(0))?;
                note(&mut rounds, round, worker.contestant, measure);
            }
        }
        self.finish(operation, grown, rounds);
        Ok(())
    }

    fn finish(
        &mut self,
        operation: &Operation,
        grown: Option<u64>,
        rounds: BTreeMap<Contestant, Vec<Measure>>,
    ) {
        let line = Line {
            operation: operation.id.to_owned(),
            grown,
            rounds,
        };
        let (unit, size) = operation.group.unit();
        let figures: Vec<String> = line
            .rounds
            .keys()
            .filter_map(|who| Some((who, line.value(*who)?.per(size).median)))
            .map(|(who, median)| format!("{} {median:.2}", who.name()))
            .collect();
        let grown = grown.map_or(String::new(), |rows| format!(" of {rows} rows"));
        println!("{}{grown}: {} ({unit})", operation.what, figures.join(", "));
        self.lines.push(line);
    }

    /// A contestant's folder.
    fn home(&self, contestant: Contestant) -> Result<PathBuf> {
        let home = self.folder.join(contestant.id());
        std::fs::create_dir_all(&home)?;
        Ok(home)
    }
}

/// All of them, beginning with another one each round.
fn rotated<T: Copy>(all: &[T], round: u64) -> Vec<T> {
    let mut all = all.to_vec();
    if !all.is_empty() {
        let first = (round as usize) % all.len();
        all.rotate_left(first);
    }
    all
}

fn note(
    rounds: &mut BTreeMap<Contestant, Vec<Measure>>,
    round: u64,
    contestant: Contestant,
    measure: Measure,
) {
    if round > 0 {
        rounds.entry(contestant).or_default().push(measure);
    }
}
