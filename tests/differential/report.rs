//! What a run did, counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use super::exceptions::EXCEPTIONS;

thread_local! {
    /// Of the machine that runs on this thread: proptest's traits hand nothing through.
    pub static REPORT: RefCell<Report> = RefCell::default();
}

/// The counts.
#[derive(Clone, Default)]
pub struct Report {
    /// Calls that both sides answered, by method.
    methods: BTreeMap<&'static str, u64>,
    /// Differences that an exception explained, by its number.
    exceptions: BTreeMap<usize, u64>,
    /// Reads of everything, in the middle and at the end of cases.
    pub reads: u64,
    /// Calls that a locked store refused.
    pub refused: u64,
    pub cases: u64,
}

impl Report {
    pub fn called(&mut self, method: &'static str) {
        *self.methods.entry(method).or_default() += 1;
    }

    pub fn explained(&mut self, exception: usize) {
        *self.exceptions.entry(exception).or_default() += 1;
    }

    pub fn operations(&self) -> u64 {
        self.methods.values().sum()
    }

    /// The methods that both sides answered at least once.
    pub fn methods(&self) -> Vec<&'static str> {
        self.methods.keys().copied().collect()
    }

    /// Adds another machine's counts.
    pub fn add(&mut self, other: &Self) {
        for (method, count) in &other.methods {
            *self.methods.entry(method).or_default() += count;
        }
        for (exception, count) in &other.exceptions {
            *self.exceptions.entry(*exception).or_default() += count;
        }
        self.reads += other.reads;
        self.refused += other.refused;
        self.cases += other.cases;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cases, {} operations, {} further reads, {} refused while locked; expected differences:",
            self.cases,
            self.operations(),
            self.reads,
            self.refused
        )?;
        for (number, count) in &self.exceptions {
            let method = EXCEPTIONS.get(*number).map_or("?", |e| e.method);
            write!(f, " {method}[{number}]={count}")?;
        }
        Ok(())
    }
}
