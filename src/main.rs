//! The program `sealed-store`: see `docs/cli.md`, or `sealed-store --help`.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
