//! The life of a sealed store beyond reading and writing: what the command line does, as functions.

mod benchmark;
mod build;
mod check;
mod convert;
mod decrypt;
mod documents;
mod encrypt;
mod error;
mod full;
mod header;
mod info;
mod init;
mod job;
mod opened;
mod peek;
mod progress;
mod recovery;
mod reencrypt;
mod shred;
mod source;
mod status;
mod step;
mod swap;
#[cfg(test)]
mod tests;
mod thread;

pub use benchmark::{Benchmark, SuiteSpeed, benchmark};
pub use build::TableRows;
pub use check::{CheckOptions, CheckReport, FaultKind, FaultyRows, check};
pub use decrypt::{DecryptOptions, DecryptSummary, decrypt};
pub use encrypt::{EncryptOptions, EncryptSummary, encrypt};
pub use error::{LifecycleError, LifecycleErrorKind};
pub use full::{FullOptions, FullSummary, NewSlotOf, reencrypt_fully};
pub use header::{
    BackedUp, HeaderRestored, RestoreOptions, backup_header, check_header, restore_header,
};
pub use info::{AccountNote, Info, KeyringNote, Protection, SchemaAge, info};
pub use init::{InitOptions, Initialised, check_new, init};
pub use peek::{Layout, Log};
pub use progress::{Phase, Progress};
pub use recovery::add_recovery_slot;
pub(crate) use reencrypt::finish;
pub use reencrypt::{ReencryptOptions, ReencryptSummary, reencrypt};
pub use shred::{Shred, ShredOptions, ShredSummary, shred};
pub use source::is_left_over;
pub use status::{AccountStatus, Status, TableStatus, Warning, status};
#[cfg(feature = "testing")]
pub use step::on_step;
