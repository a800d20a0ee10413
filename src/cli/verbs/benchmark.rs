use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use sealed_store::SealError;
use sealed_store::lifecycle;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::text;

/// Measures key derivation and ciphers here, and recommends settings
#[derive(Args)]
pub struct Benchmark {
    /// How long opening with a passphrase may take, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    target_ms: u32,
}

impl Benchmark {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let target = Duration::from_millis(u64::from(self.target_ms));
        let found = lifecycle::benchmark(target).await?;
        let name = |suite| {
            serde_json::to_value(suite)
                .ok()
                .and_then(|name| name.as_str().map(str::to_owned))
                .ok_or(SealError::TooLarge)
        };
        let mut ciphers = Vec::new();
        let mut out = format!(
            "key derivation (Argon2id, one core)\n  default      {:<22} {:>6} ms\n  recommended  {:<22} {:>6} ms   --kdf-ms {}\n\
             ciphers (records of 1,200 bytes a second, one core)\n",
            text::cost(sealed_store::KdfCost::default()),
            found.default_took.as_millis(),
            text::cost(found.recommended),
            found.recommended_took.as_millis(),
            self.target_ms,
        );
        for suite in &found.suites {
            let called = name(suite.suite)?;
            let best = if suite.suite == found.suite {
                "   default here"
            } else {
                ""
            };
            let _ = writeln!(
                out,
                "  {called:<20} {:>10.0} sealed {:>10.0} opened{best}",
                suite.seals_per_second, suite.opens_per_second
            );
            ciphers.push(json!({
                "suite": called,
                "seals_per_second": suite.seals_per_second.round(),
                "opens_per_second": suite.opens_per_second.round(),
            }));
        }
        output.result(
            "benchmark",
            json!({
                "target_ms": self.target_ms,
                "default": text::cost_json(sealed_store::KdfCost::default()),
                "default_ms": found.default_took.as_secs_f64() * 1000.0,
                "recommended": text::cost_json(found.recommended),
                "recommended_ms": found.recommended_took.as_secs_f64() * 1000.0,
                "suite": name(found.suite)?,
                "ciphers": ciphers,
            }),
            &out,
        )
    }
}
