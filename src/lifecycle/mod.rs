//! The life of a sealed store beyond reading and writing: what the command line does, as functions.

mod benchmark;
mod error;
mod header;
mod info;
mod init;
mod peek;
mod progress;
mod recovery;
mod status;

pub use benchmark::{Benchmark, SuiteSpeed, benchmark};
pub use error::{LifecycleError, LifecycleErrorKind};
pub use header::{
    BackedUp, HeaderRestored, RestoreOptions, backup_header, check_header, restore_header,
};
pub use info::{AccountNote, Info, KeyringNote, Protection, info};
pub use init::{InitOptions, Initialised, check_new, init};
pub use peek::{Layout, Log};
pub use progress::{Phase, Progress};
pub use recovery::add_recovery_slot;
pub use status::{AccountStatus, Status, TableStatus, Warning, status};
