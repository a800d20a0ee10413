use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::args::Arguments;
use crate::cli::failure::Failure;
use crate::cli::output::print;

/// Prints completions for a shell
#[derive(Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut Arguments::command(),
            "sealed-store",
            &mut script,
        );
        print(&String::from_utf8_lossy(&script))
    }
}
