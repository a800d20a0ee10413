//! Benchmarks of sealed-store beside its peers; `scripts/bench` builds and runs them.
//!
//! `peers run` drives; `peers worker` is one contestant in a process of its own, so that each can be linked to
//! its own SQLite and has its own memory. All of them perform the operations of one table (`operations`), and
//! the driver asks one after the other, round by round, in an order that rotates.

mod contestant;
mod crypto;
mod data;
mod driver;
mod operations;
mod process;
mod protocol;
mod report;
mod results;
mod worker;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use contestant::Contestant;
use operations::Scale;

/// Benchmarks of sealed-store beside its peers.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure everything and write the report.
    Run(driver::Options),
    /// Write the report again from the results of a run.
    Report {
        /// The folder of `results.json`.
        #[arg(default_value = driver::PUBLISHED)]
        folder: PathBuf,
    },
    /// Perform what the driver asks on standard input, as one contestant.
    Worker {
        contestant: Contestant,
        /// Where its files are.
        folder: PathBuf,
        scale: Scale,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run(options) => driver::run(&options),
        Command::Report { folder } => report::write(&results::Results::read(&folder)?, &folder),
        Command::Worker {
            contestant,
            folder,
            scale,
        } => worker::serve(contestant, folder, scale),
    }
}
