//! What a company configures.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

/// A service on a sealed store that closes when its key is withdrawn.
#[derive(clap::Parser)]
pub struct Config {
    /// The store, made at the first run.
    pub database: PathBuf,
    /// The provider that opens it.
    #[arg(long, value_name = "URI")]
    pub provider: String,
    /// The provider that opens it where the first one can't be reached.
    #[arg(long, value_name = "URI")]
    pub second: String,
    /// How often the provider that opened is asked again.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub lease: Duration,
    /// How long a provider that can't be reached is tolerated.
    #[arg(long, default_value = "15m", value_parser = duration)]
    pub grace: Duration,
    /// How long one answer of a provider is waited for.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub call: Duration,
    /// How many tasks work at once.
    #[arg(long, default_value_t = 8)]
    pub tasks: usize,
    /// Where audit events go, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
}

/// `250ms`, `2s`, `15m`, `1h`.
fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u32 = digits.parse().context("a number and its unit, as in 60s")?;
    let unit = match &text[digits.len()..] {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => anyhow::bail!("its unit is ms, s, m or h"),
    };
    Ok(unit * number)
}
