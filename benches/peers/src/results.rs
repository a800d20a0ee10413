//! What a run found, as it is kept in `results.json`, and the figures that are made of it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::contestant::Contestant;
use crate::operations::{Group, Operation, Scale, find};
use crate::protocol::Measure;
use crate::report::Machine;

/// The file's name.
const FILE: &str = "results.json";

/// Everything that a run measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    pub scale: Scale,
    pub rounds: u64,
    pub machine: Machine,
    /// The lines, in the order in which they were measured.
    pub lines: Vec<Line>,
    pub crypto: Vec<CryptoLine>,
}

/// All rounds of one operation.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    /// Its id in the table.
    pub operation: String,
    /// How many rows the store held, where it grew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grown: Option<u64>,
    /// The rounds of each contestant.
    pub rounds: BTreeMap<Contestant, Vec<Measure>>,
}

/// All rounds of one piece of cryptography: nanoseconds of a call.
#[derive(Debug, Serialize, Deserialize)]
pub struct CryptoLine {
    pub what: String,
    /// The libraries, ours first.
    pub rounds: Vec<(String, Vec<f64>)>,
}

impl Results {
    /// Reads them from `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("no results in {}", folder.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Whether there are results in `folder`.
    pub fn exist(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    /// Writes them to `folder`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        // A line of text for each line of the report.
        let mut text = serde_json::to_string(self)?.replace("{\"operation\"", "\n{\"operation\"");
        text.push('\n');
        Ok(std::fs::write(folder.join(FILE), text)?)
    }

    /// The lines of `group` that did not grow, with their operations.
    pub fn group(&self, group: Group) -> Result<Vec<(&'static Operation, &Line)>> {
        let mut found = vec![];
        for line in self.lines.iter().filter(|line| line.grown.is_none()) {
            let operation = find(&line.operation)?;
            if operation.group == group {
                found.push((operation, line));
            }
        }
        Ok(found)
    }

    /// The line of `operation` at `grown` rows.
    pub fn grown(&self, operation: &str, grown: u64) -> Option<&Line> {
        self.lines
            .iter()
            .find(|line| line.operation == operation && line.grown == Some(grown))
    }
}

impl Line {
    fn values(&self, contestant: Contestant, of: fn(&Measure) -> Option<f64>) -> Option<Vec<f64>> {
        self.rounds.get(&contestant)?.iter().map(of).collect()
    }

    /// The figures of a contestant.
    pub fn value(&self, contestant: Contestant) -> Option<Spread> {
        Spread::of(self.values(contestant, |measure| Some(measure.value))?)
    }

    /// One contestant's figures over another's, round by round.
    pub fn ratio(&self, of: Contestant, to: Contestant) -> Option<Spread> {
        let value = |measure: &Measure| Some(measure.value);
        ratio(&self.values(of, value)?, &self.values(to, value)?)
    }

    /// As [`Self::ratio`], of processor time.
    pub fn cpu_ratio(&self, of: Contestant, to: Contestant) -> Option<Spread> {
        let cpu = |measure: &Measure| measure.cpu;
        ratio(&self.values(of, cpu)?, &self.values(to, cpu)?)
    }
}

/// The spread of `a` over `b`, round by round.
pub fn ratio(a: &[f64], b: &[f64]) -> Option<Spread> {
    Spread::of(a.iter().zip(b).map(|(a, b)| a / b).collect())
}

/// The middle, both ends, and the quarters between.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
    /// Half of all values lie between these.
    pub quarters: [f64; 2],
}

impl Spread {
    /// Of at least one value.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        // Between two values in proportion, where a share of them does not fall on one.
        let share = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            values[below] + (values[above] - values[below]) * place.fract()
        };
        Some(Self {
            median: share(0.5),
            low,
            high,
            quarters: [share(0.25), share(0.75)],
        })
    }

    /// In a unit of so many.
    pub fn per(self, unit: f64) -> Self {
        Self {
            median: self.median / unit,
            low: self.low / unit,
            high: self.high / unit,
            quarters: self.quarters.map(|quarter| quarter / unit),
        }
    }
}
