//! Asking before something that can't be taken back.

use std::io::{BufRead, Write};

use super::failure::Failure;
use super::prompt;

/// Goes on if `yes` was given, or if somebody types `word`.
pub fn confirm(yes: bool, question: &str, word: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !prompt::can_ask() {
        return Err(Failure::usage(format!(
            "{question} Nobody is there to be asked: say --yes"
        )));
    }
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{question} Type {word} to go on: ");
    let _ = stderr.flush();
    drop(stderr);
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::other("the terminal could not be asked").because(error))?;
    if answer.trim() == word {
        Ok(())
    } else {
        Err(Failure::declined())
    }
}
