//! The life of a sealed store beyond reading and writing: what the command line does, as functions.

mod error;
mod progress;

pub use error::{LifecycleError, LifecycleErrorKind};
pub use progress::{Phase, Progress};
