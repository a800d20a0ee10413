mod backup;
mod restore;

use clap::{Args, Subcommand};

use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// Backs a store's header (its keyring) up, and puts it back
#[derive(Args)]
pub struct Header {
    #[command(subcommand)]
    verb: HeaderVerb,
}

#[derive(Subcommand)]
enum HeaderVerb {
    Backup(backup::Backup),
    Restore(restore::Restore),
}

impl Header {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        match self.verb {
            HeaderVerb::Backup(verb) => verb.run(output),
            HeaderVerb::Restore(verb) => verb.run(output).await,
        }
    }
}
