//! What a new passphrase is worth.
//!
//! The search for it leaves the passphrase in freed memory, where it would stay for as long as the app runs, locked or not. So
//! the app starts itself for that, as a process that ends with the answer.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use zeroize::Zeroizing;
use zxcvbn::{Score, zxcvbn};

/// The only argument of such a process. The passphrase comes through a pipe.
const ASKED: &str = "--rate-a-passphrase";

pub fn is_asked() -> bool {
    std::env::args_os().skip(1).eq([ASKED])
}

/// What such a process does.
pub fn answer() -> Result<()> {
    let mut passphrase = Zeroizing::new(String::new());
    std::io::stdin().read_to_string(&mut passphrase)?;
    print!("{}", rate(&passphrase));
    Ok(())
}

/// What is to be said of a passphrase that is soon guessed; nothing of a good one.
pub fn advice(passphrase: &str) -> Option<String> {
    match ask(passphrase) {
        Ok(advice) => Some(advice).filter(|advice| !advice.is_empty()),
        Err(error) => Some(format!("It could not be rated: {error:#}.")),
    }
}

fn ask(passphrase: &str) -> Result<String> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(ASKED)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pipe = child.stdin.take().context("it has no input")?;
    pipe.write_all(passphrase.as_bytes())?;
    drop(pipe);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn rate(passphrase: &str) -> String {
    let rated = zxcvbn(passphrase, &["sealed-store", "whatsapp"]);
    if rated.score() >= Score::Three {
        return String::new();
    }
    let guesses = rated.guesses_log10();
    let mut text = format!("It is weak: about 10^{guesses:.0} guesses find it.");
    if let Some(warning) = rated.feedback().and_then(|feedback| feedback.warning()) {
        text.push_str(&format!(" {warning}"));
    }
    text.push_str(" Five or more random words are good.");
    text
}
