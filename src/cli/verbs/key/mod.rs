mod add;
mod list;
mod migrate;
mod passwd;
mod recovery;
mod remove;
mod rewrap;

use clap::{Args, Subcommand};

use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// What must be said wherever a secret goes out of use.
pub(super) const OLD_COPIES: &str = "An old copy of the keyring (a backup of the file or of its header) still opens with the old \
                          secret, and holds the same data keys. Only `reencrypt --full` ends that.";

/// Adds, lists, changes and removes the slots that open a store
#[derive(Args)]
pub struct Key {
    #[command(subcommand)]
    verb: KeyVerb,
}

#[derive(Subcommand)]
enum KeyVerb {
    Add(add::Add),
    List(list::List),
    Passwd(passwd::Passwd),
    Migrate(migrate::Migrate),
    Rewrap(rewrap::Rewrap),
    Remove(remove::Remove),
    Recovery(recovery::Recovery),
}

impl Key {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        match self.verb {
            KeyVerb::Add(verb) => verb.run(output).await,
            KeyVerb::List(verb) => verb.run(output).await,
            KeyVerb::Passwd(verb) => verb.run(output).await,
            KeyVerb::Migrate(verb) => verb.run(output).await,
            KeyVerb::Rewrap(verb) => verb.run(output).await,
            KeyVerb::Remove(verb) => verb.run(output).await,
            KeyVerb::Recovery(verb) => verb.run(output).await,
        }
    }
}
