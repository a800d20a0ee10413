//! The life of a sealed store beyond reading and writing: what the command line does, as functions.

mod build;
mod check;
mod convert;
mod decrypt;
mod documents;
mod encrypt;
mod error;
mod opened;
mod progress;
mod source;
mod step;
mod swap;
#[cfg(test)]
mod tests;

pub use build::TableRows;
pub use check::{CheckOptions, CheckReport, FaultKind, FaultyRows, check};
pub use decrypt::{DecryptOptions, DecryptSummary, decrypt};
pub use encrypt::{EncryptOptions, EncryptSummary, encrypt};
pub use error::{LifecycleError, LifecycleErrorKind};
pub use progress::{Phase, Progress};
#[cfg(feature = "testing")]
pub use step::on_step;
