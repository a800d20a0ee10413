//! Asking at the terminal.

use std::io::{ErrorKind, IsTerminal};

use zeroize::Zeroizing;

use super::failure::Failure;
use super::signal;

/// Whether somebody is there to be asked.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks for a secret, without echo.
pub fn secret(question: &str) -> Result<Zeroizing<String>, Failure> {
    let answer = {
        let _guarded = signal::guard_terminal();
        rpassword::prompt_password(format!("{question}: "))
    };
    match answer {
        Ok(answer) if answer.is_empty() => Err(Failure::usage(
            "nothing was typed; an empty passphrase protects nothing",
        )),
        Ok(answer) => Ok(Zeroizing::new(answer)),
        Err(error) => match error.kind() {
            ErrorKind::Interrupted => Err(Failure::interrupted()),
            ErrorKind::UnexpectedEof => Err(Failure::usage("nothing was typed")),
            _ => Err(Failure::other("the terminal could not be asked").because(error)),
        },
    }
}
