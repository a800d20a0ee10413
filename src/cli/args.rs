//! The arguments.

use std::path::PathBuf;

use clap::{Args, Parser};

use super::verbs::Verb;

/// Makes, looks into and keeps sealed stores: WhatsApp client databases whose every record is encrypted.
///
/// A store is one SQLite file. Its keys are in a keyring, in the same file or in one of its own (--keyring). The keyring
/// opens through any of its slots: a passphrase, a key file, a recovery code, or a provider (a key service, a token, this
/// machine's TPM, a keychain).
#[derive(Parser)]
#[command(
    name = "sealed-store",
    bin_name = "sealed-store",
    version,
    propagate_version = true,
    after_help = "Begin with `sealed-store encrypt whatsapp.db` for a database that you have, or with `sealed-store init whatsapp.db` \
                  for a new one. Exit codes: 0 ok, 1 other, 2 usage, 10 no such store, \
                  11 in use, 12 wrong passphrase or key, 13 corrupt, 14 not sealed or sealed already, 15 unsupported version, \
                  16 provider unreachable, 17 interrupted and resumable, 130 interrupted. All of it is in docs/cli.md."
)]
pub struct Arguments {
    /// Prints one JSON object a line on stdout, for programs
    #[arg(long, global = true)]
    pub json: bool,
    /// Prints no progress, hints or confirmations
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// Which store.
#[derive(Args, Clone)]
pub struct StoreArgs {
    /// The store's database file
    #[arg(value_name = "DB")]
    pub db: PathBuf,
    /// The keyring's file, if it is not in DB
    #[arg(long, value_name = "FILE")]
    pub keyring: Option<PathBuf>,
}

/// The secret that opens. Without any of these, and of SEALED_STORE_PASSPHRASE{,_FILE,_COMMAND}, a terminal asks.
#[derive(Args, Default)]
#[command(
    next_help_heading = "What opens the store: one of these, SEALED_STORE_PASSPHRASE{,_FILE,_COMMAND}, or the terminal asks"
)]
pub struct SecretArgs {
    /// Reads the passphrase from a file; one newline at its end is left out
    #[arg(long, value_name = "FILE", group = "secret")]
    pub passphrase_file: Option<PathBuf>,
    /// Reads the passphrase from an open file descriptor, to its end
    #[arg(long, value_name = "N", group = "secret")]
    pub passphrase_fd: Option<u32>,
    /// Runs a program, without a shell, and reads the passphrase from what it prints
    #[arg(long, value_name = "COMMAND", group = "secret")]
    pub passphrase_command: Option<String>,
    /// Opens with a raw key: a file of 32 bytes or 64 hexadecimal digits, mode 0600
    #[arg(long, value_name = "FILE", group = "secret")]
    pub key_file: Option<PathBuf>,
    /// Opens with a recovery code from a file
    #[arg(long, value_name = "FILE", group = "secret")]
    pub recovery_code_file: Option<PathBuf>,
    /// Opens with a recovery code from an open file descriptor
    #[arg(long, value_name = "N", group = "secret")]
    pub recovery_code_fd: Option<u32>,
    /// Opens with a provider: awskms:…, keychain:…, pkcs11:…, tpm2: or vault:…, never with a secret in it
    #[arg(long, value_name = "URI", group = "secret")]
    pub provider: Option<String>,
    /// Reads the provider's PIN from a file, mode 0600; one newline at its end is left out
    #[arg(long, value_name = "FILE", requires = "provider")]
    pub pin_file: Option<PathBuf>,
    /// Tries this slot only; without it, each of the secret's kind
    #[arg(long, value_name = "NUMBER")]
    pub slot: Option<u32>,
    /// The most that a passphrase's derivation may cost, in MiB of memory times passes
    #[arg(long, value_name = "MIB-PASSES", default_value_t = 4096)]
    pub kdf_ceiling: u32,
}

/// The first secret of a store.
#[derive(Args)]
#[command(
    next_help_heading = "The first secret: one of these, SEALED_STORE_PASSPHRASE{,_FILE,_COMMAND}, or the terminal asks, twice"
)]
pub struct FirstArgs {
    /// Reads the passphrase from a file; one newline at its end is left out
    #[arg(long, value_name = "FILE", group = "first")]
    pub passphrase_file: Option<PathBuf>,
    /// Reads the passphrase from an open file descriptor, to its end
    #[arg(long, value_name = "N", group = "first")]
    pub passphrase_fd: Option<u32>,
    /// Runs a program, without a shell, and reads the passphrase from what it prints
    #[arg(long, value_name = "COMMAND", group = "first")]
    pub passphrase_command: Option<String>,
    /// Uses a raw key: a file of 32 random bytes or 64 hexadecimal digits, mode 0600
    #[arg(long, value_name = "FILE", group = "first")]
    pub key_file: Option<PathBuf>,
    /// Uses a provider: awskms:…, keychain:…, pkcs11:…, tpm2: or vault:…, never with a secret in it
    #[arg(long, value_name = "URI", group = "first")]
    pub provider: Option<String>,
    /// Reads the provider's PIN from a file, mode 0600; one newline at its end is left out
    #[arg(long, value_name = "FILE", requires = "provider")]
    pub pin_file: Option<PathBuf>,
    /// Stretches the passphrase for about so many milliseconds, measured here
    #[arg(long, value_name = "MS")]
    pub kdf_ms: Option<u32>,
    /// Lets slots that may be lost (a keychain's, a TPM's) be the only ones: the store is lost with them
    #[arg(long)]
    pub i_understand: bool,
}

/// A new secret.
#[derive(Args)]
#[command(
    next_help_heading = "The new secret: one of these, SEALED_STORE_NEW_PASSPHRASE{,_FILE,_COMMAND}, or the terminal asks, twice"
)]
pub struct NewArgs {
    /// Reads the new passphrase from a file; one newline at its end is left out
    #[arg(long, value_name = "FILE", group = "new")]
    pub new_passphrase_file: Option<PathBuf>,
    /// Reads the new passphrase from an open file descriptor, to its end
    #[arg(long, value_name = "N", group = "new")]
    pub new_passphrase_fd: Option<u32>,
    /// Runs a program, without a shell, and reads the new passphrase from what it prints
    #[arg(long, value_name = "COMMAND", group = "new")]
    pub new_passphrase_command: Option<String>,
    /// Uses a raw key: a file of 32 random bytes or 64 hexadecimal digits, mode 0600
    #[arg(long, value_name = "FILE", group = "new")]
    pub new_key_file: Option<PathBuf>,
    /// Uses a provider: awskms:…, keychain:…, pkcs11:…, tpm2: or vault:…, never with a secret in it
    #[arg(long, value_name = "URI", group = "new")]
    pub new_provider: Option<String>,
    /// Reads the new provider's PIN from a file, mode 0600; one newline at its end is left out
    #[arg(long, value_name = "FILE", requires = "new_provider")]
    pub new_pin_file: Option<PathBuf>,
    /// Stretches the new passphrase for about so many milliseconds, measured here
    #[arg(long, value_name = "MS")]
    pub kdf_ms: Option<u32>,
}
