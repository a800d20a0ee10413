//! The life of a sealed store beyond reading and writing: what the command line does, as functions.

mod build;
mod check;
mod convert;
mod decrypt;
mod documents;
mod encrypt;
mod error;
mod full;
mod progress;
mod reencrypt;
mod shred;
mod source;
mod step;
mod swap;

pub use build::TableRows;
pub use check::{CheckOptions, CheckReport, FaultKind, FaultyRows, check};
pub use decrypt::{DecryptOptions, DecryptSummary, decrypt};
pub use encrypt::{EncryptOptions, EncryptSummary, encrypt};
pub use error::{LifecycleError, LifecycleErrorKind};
pub use full::{FullOptions, FullSummary, NewSlotOf, reencrypt_fully};
pub use progress::{Phase, Progress};
pub(crate) use reencrypt::finish;
pub use reencrypt::{ReencryptOptions, ReencryptSummary, reencrypt};
pub use shred::{Shred, ShredOptions, ShredSummary, shred};
#[cfg(feature = "testing")]
pub use step::on_step;
