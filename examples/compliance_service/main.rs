//! A small service on the embedded store, as a company with rules about keys would run it: the store opens through a key of
//! OpenBao, a key of AWS KMS is the second way in, a lease asks again while it runs, and every step is told on a timeline.
//!
//! ```text
//! compliance_service --provider vault:https://bao.example:8200/transit/keys/whatsapp?token_file=/run/bao/token \
//!     --second awskms:arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab \
//!     --lease 60s --grace 15m --audit audit.jsonl whatsapp.db
//! ```
//!
//! Credentials are where each service looks for them (a token file, the environment, `~/.aws`), never in an argument. Its
//! operator steers it with lines on standard input: `rotate` (the keys were rotated at their services: both rewrap their
//! slots), `report` (after so many more writes, if a number follows), `note TEXT`, `stop`. At `stop` it closes, opens from the
//! disk again and reads everything back that was ever acknowledged; the exit code is 0 if all of it is there.
//!
//! It goes over to the second provider where the first one can't be reached, and not where its owner has withdrawn the key.
//!
//! The whole of it, with a real OpenBao and LocalStack on loopback, whose keys are rotated, withdrawn, given back and lost:
//!
//! ```sh
//! scripts/services aws-kms vault                              # once
//! cargo test --test compliance_service -- --nocapture
//! ```

mod audit;
mod config;
mod ledger;
mod load;
mod service;
mod timeline;
mod ways;

use std::process::ExitCode;

use clap::Parser;

use config::Config;
use timeline::Timeline;

#[tokio::main]
async fn main() -> ExitCode {
    let timeline = Timeline::new();
    match service::run(Config::parse(), timeline.clone()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            timeline.say("failed", format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
