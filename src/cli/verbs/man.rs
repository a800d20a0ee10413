use std::path::PathBuf;

use clap::{Args, CommandFactory};
use serde_json::json;

use crate::cli::args::Arguments;
use crate::cli::failure::{Failure, shown};
use crate::cli::output::Output;
use crate::cli::text;

/// Writes man pages, one for each verb, into a folder
#[derive(Args)]
pub struct Man {
    /// The folder, which must be there; pages of the same names are written over
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Man {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        clap_mangen::generate_to(Arguments::command(), &self.folder).map_err(|error| {
            Failure::other("the pages can't be written there")
                .because(error)
                .at(&self.folder)
        })?;
        output.done(
            "man",
            json!({ "folder": shown(&self.folder) }),
            &format!(
                "Wrote the man pages to {}.",
                text::plain(&shown(&self.folder))
            ),
        )
    }
}
