//! The verbs, one file each.

mod benchmark;
mod check;
mod completions;
mod decrypt;
mod encrypt;
mod header;
mod info;
mod init;
mod key;
mod man;
mod provider;
mod reencrypt;
mod shred;
mod status;

use clap::Subcommand;

use super::failure::Failure;
use super::output::Output;

/// What to do.
#[derive(Subcommand)]
pub enum Verb {
    Init(init::Init),
    Encrypt(encrypt::Encrypt),
    Decrypt(decrypt::Decrypt),
    Info(info::Info),
    Status(status::Status),
    Check(check::Check),
    Key(key::Key),
    Header(header::Header),
    Provider(provider::Provider),
    Reencrypt(reencrypt::Reencrypt),
    Shred(shred::Shred),
    Benchmark(benchmark::Benchmark),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Does it.
pub async fn run(verb: Verb, output: &Output) -> Result<(), Failure> {
    match verb {
        Verb::Init(verb) => verb.run(output).await,
        Verb::Encrypt(verb) => verb.run(output).await,
        Verb::Decrypt(verb) => verb.run(output).await,
        Verb::Info(verb) => verb.run(output),
        Verb::Status(verb) => verb.run(output).await,
        Verb::Check(verb) => verb.run(output).await,
        Verb::Key(verb) => verb.run(output).await,
        Verb::Header(verb) => verb.run(output).await,
        Verb::Provider(verb) => verb.run(output).await,
        Verb::Reencrypt(verb) => verb.run(output).await,
        Verb::Shred(verb) => verb.run(output).await,
        Verb::Benchmark(verb) => verb.run(output).await,
        Verb::Completions(verb) => verb.run(),
        Verb::Man(verb) => verb.run(output),
    }
}
