//! The life of a sealed store beyond reading and writing: what the command line does, as functions.

mod progress;

pub use progress::{Phase, Progress};
