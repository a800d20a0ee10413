//! One line of JSON each way between the driver and a worker.

use serde::{Deserialize, Serialize};

use crate::contestant::Linked;

/// What the driver asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Which SQLite are you linked to?
    Linked,
    /// Perform an operation of the table.
    Run {
        /// Its id.
        operation: String,
        /// The round: other rounds, other values.
        round: u64,
        /// How many sessions the store holds, for the operations that grow it.
        rows: u64,
    },
}

/// What the worker answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Request::Linked`].
    Linked(Linked),
    /// To [`Request::Run`].
    Measured(Measure),
    /// It failed, and the contestant's figures are worth nothing.
    Failed(String),
}

/// One measurement.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Measure {
    /// Nanoseconds of a unit, units a second, or bytes: as the operation's group says.
    pub value: f64,
    /// Nanoseconds of processor time of a unit, all threads and the work afterwards included.
    pub cpu: Option<f64>,
}
