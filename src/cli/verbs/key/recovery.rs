use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use sealed_store::RecoveryCode;
use sealed_store::lifecycle;
use sealed_store::secrecy::ExposeSecret;
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::args::{SecretArgs, StoreArgs};
use crate::cli::failure::{At, Failure, shown};
use crate::cli::output::Output;
use crate::cli::{store, text};

/// Makes a recovery code, shows it once, and adds a slot that it opens
///
/// The code is 128 random bits in nine groups of four characters, the last of which are a checksum. It opens the store
/// whatever becomes of passphrases: write it down and keep it off this machine. It is kept nowhere, and shown once.
#[derive(Args)]
pub struct Recovery {
    #[command(flatten)]
    store: StoreArgs,
    /// A name for the slot, stored in the clear
    #[arg(long, default_value = "recovery")]
    label: String,
    /// Writes the code to a new file of mode 0600 instead of showing it
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    /// Shows no QR code
    #[arg(long)]
    no_qr: bool,
    #[command(flatten)]
    secret: SecretArgs,
}

impl Recovery {
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let db = &self.store.db;
        if output.is_json() && self.code_file.is_none() {
            return Err(Failure::usage(
                "with --json the code is not shown, for logs keep that; say --code-file FILE",
            ));
        }
        if self.code_file.is_none() && goes_nowhere() {
            return Err(Failure::usage(
                "stdout is closed, or /dev/null, so the code would be lost; say --code-file FILE",
            ));
        }
        let (keyring, _) = store::open(&self.store, &self.secret).await?;
        let slot = match &self.code_file {
            Some(file) => {
                lifecycle::add_recovery_slot(&keyring, &self.label, |code| write(file, code))
                    .await
                    .at(file)?
            }
            None => {
                let qr = !self.no_qr && std::io::stdout().is_terminal();
                lifecycle::add_recovery_slot(&keyring, &self.label, |code| show(code, qr))
                    .await
                    .at(db)?
            }
        };
        let fields = json!({ "db": shown(db), "slot": slot, "code_file": self.code_file.as_deref().map(shown) });
        if output.is_json() {
            return output.done("key recovery", fields, "");
        }
        let kept = match &self.code_file {
            Some(file) => format!("the code in {}", text::plain(&shown(file))),
            None => "this code".to_owned(),
        };
        output.note(&format!(
            "Slot {slot} opens with {kept}, typed where the passphrase is asked for, or with --recovery-code-file. It is not kept \
             anywhere else: write it down now."
        ));
        Ok(())
    }
}

/// Whether nobody can see what is printed. (A stdout that was closed is /dev/null to a program in Rust.)
#[cfg(unix)]
fn goes_nowhere() -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let about = |path| std::fs::metadata(path).ok();
    match (about("/dev/fd/1"), about("/dev/null")) {
        (Some(ours), Some(null)) => ours.file_type().is_char_device() && ours.rdev() == null.rdev(),
        _ => false,
    }
}

#[cfg(not(unix))]
fn goes_nowhere() -> bool {
    false
}

fn show(code: &RecoveryCode, qr: bool) -> std::io::Result<()> {
    let text = code.to_text();
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", text.expose_secret())?;
    if qr {
        let drawn = QrCode::with_error_correction_level(text.expose_secret(), EcLevel::M)
            .map_err(std::io::Error::other)?
            .render::<Dense1x2>()
            .dark_color(Dense1x2::Dark)
            .light_color(Dense1x2::Light)
            .build();
        let drawn = Zeroizing::new(drawn);
        writeln!(stdout)?;
        for line in drawn.lines() {
            // Black on white, whatever the terminal's own colours are: not every reader takes the opposite.
            writeln!(stdout, "\u{1b}[30;107m{line}\u{1b}[0m")?;
        }
    }
    stdout.flush()
}

fn write(file: &Path, code: &RecoveryCode) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut opened = options.open(file)?;
    let text = code.to_text();
    let written = opened
        .write_all(text.expose_secret().as_bytes())
        .and_then(|()| opened.write_all(b"\n"))
        .and_then(|()| opened.sync_all());
    if written.is_err() {
        // The slot goes, too.
        let _ = std::fs::remove_file(file);
    }
    written
}
