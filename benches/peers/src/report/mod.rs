//! The report: tables for people, plots, and the raw figures.

mod bars;
mod growth;
mod machine;
mod markdown;
mod plots;

use std::path::Path;

use anyhow::Result;

pub use machine::Machine;

use crate::results::Results;

/// Writes the tables and the plots to `folder`.
pub fn write(results: &Results, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("README.md"), markdown::page(results)?)?;
    plots::draw(results, folder)
}

/// Prints the tables.
pub fn print(results: &Results) -> Result<()> {
    println!("\n{}", markdown::tables(results)?);
    Ok(())
}
