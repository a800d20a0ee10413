//! The verbs, one file each.

mod benchmark;
mod completions;
mod header;
mod info;
mod init;
mod key;
mod man;
mod status;

use clap::Subcommand;

use super::failure::Failure;
use super::output::Output;

/// What to do.
#[derive(Subcommand)]
pub enum Verb {
    Init(init::Init),
    Info(info::Info),
    Status(status::Status),
    Key(key::Key),
    Header(header::Header),
    Benchmark(benchmark::Benchmark),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Does it.
pub async fn run(verb: Verb, output: &Output) -> Result<(), Failure> {
    match verb {
        Verb::Init(verb) => verb.run(output).await,
        Verb::Info(verb) => verb.run(output),
        Verb::Status(verb) => verb.run(output).await,
        Verb::Key(verb) => verb.run(output).await,
        Verb::Header(verb) => verb.run(output).await,
        Verb::Benchmark(verb) => verb.run(output).await,
        Verb::Completions(verb) => verb.run(),
        Verb::Man(verb) => verb.run(output),
    }
}
