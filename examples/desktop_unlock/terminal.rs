//! Questions and answers, on Unix. A window does this its own way; what it must keep: secrets in buffers that are wiped and never
//! grow.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use sealed_store::Opaque;
use sealed_store::secrecy::SecretString;
use zeroize::Zeroizing;

/// A terminal's own limit for a line.
const LONGEST: usize = 4096;

pub fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Ctrl-C ends the app at once, anywhere, with the terminal as it was: a prompt may have switched its echo off. Nothing is put
/// right before that, for nothing needs it: every change of the store is whole or not there.
pub fn end_on_ctrl_c() -> Result<()> {
    let before = tcgetattr(io::stdin())?;
    ctrlc::set_handler(move || {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        std::process::exit(130);
    })?;
    Ok(())
}

pub fn say(text: &str) {
    println!("{text}");
}

/// An error with its sources, which say what to do next. Details of other libraries, which may name anything, are left out.
pub fn explain(error: &anyhow::Error) -> String {
    let layers = error.chain().filter(|layer| !layer.is::<Opaque>());
    let layers: Vec<_> = layers.map(ToString::to_string).collect();
    layers.join(": ")
}

/// The question that stands there and waits.
static QUESTION: Mutex<String> = Mutex::new(String::new());

fn ask(question: &str) {
    let mut standing = QUESTION.lock().unwrap_or_else(PoisonError::into_inner);
    question.clone_into(&mut standing);
    print!("{question}");
    // One that can't be shown fails at its answer.
    let _ = io::stdout().flush();
}

fn answered() {
    QUESTION
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
}

/// Takes everything from the screen, for it is not for whoever comes next, and says something in its place; from any thread,
/// also while a question waits. (A terminal may keep more of it than it can be told to forget.)
pub fn say_alone(text: &str) {
    let standing = QUESTION.lock().unwrap_or_else(PoisonError::into_inner);
    print!("\x1b[H\x1b[2J\x1b[3J{text}\n{standing}");
    let _ = io::stdout().flush();
}

/// A line, or none at the end of all input.
pub fn command(prompt: &str) -> Result<Option<String>> {
    ask(prompt);
    let mut line = String::new();
    let read = io::stdin().read_line(&mut line);
    answered();
    Ok((read? > 0).then_some(line))
}

/// A line that there must be.
pub fn line(question: &str) -> Result<String> {
    command(question)?.context("nothing was typed")
}

pub fn yes(question: &str) -> Result<bool> {
    loop {
        match line(&format!("{question} "))?.trim() {
            "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => say("y or n"),
        }
    }
}

/// A secret, without echo. Read in one piece into a buffer of its final length: one that grows, such as `rpassword`'s, leaves
/// pieces of the secret behind in freed memory, and an app like this one runs for days.
pub fn secret(question: &str) -> Result<SecretString> {
    let terminal = File::open("/dev/tty").context("the terminal can't be opened")?;
    let before = tcgetattr(&terminal)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    // First, so that nothing is shown of what is typed as soon as the question stands there.
    tcsetattr(&terminal, OptionalActions::Now, &hidden)?;
    ask(&format!("{question}: "));
    let mut typed = Zeroizing::new([0; LONGEST]);
    let read = (&terminal).read(&mut *typed);
    answered();
    tcsetattr(&terminal, OptionalActions::Now, &before)?;
    println!();
    let Some(line) = typed[..read?].strip_suffix(b"\n") else {
        bail!("nothing was typed");
    };
    let text = std::str::from_utf8(line).context("that is not UTF-8")?;
    Ok(SecretString::new(Box::from(text)))
}

/// As text, and for a telephone's camera.
pub fn show_code(code: &str) -> Result<()> {
    let drawn = QrCode::with_error_correction_level(code, EcLevel::M)?
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Dark)
        .light_color(Dense1x2::Light)
        .build();
    let drawn = Zeroizing::new(drawn);
    println!("\n{code}\n");
    for line in drawn.lines() {
        // Black on white, whatever the terminal's own colours are: not every reader takes the opposite.
        println!("\x1b[30;107m{line}\x1b[0m");
    }
    Ok(())
}
