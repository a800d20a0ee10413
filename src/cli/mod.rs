//! The command line: arguments, secrets, output and exit codes around the library's `lifecycle`.

mod args;
mod confirm;
mod failure;
mod output;
mod prompt;
mod rating;
mod secret;
mod signal;
mod slots;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use args::Arguments;
use failure::{Code, Failure};
use output::Output;

/// Reads the arguments, does what they say, and tells how it went.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refused(&error),
    };
    let output = Output::new(arguments.json, arguments.quiet);
    let done = signal::install()
        .and_then(|()| futures_executor::block_on(verbs::run(arguments.verb, &output)));
    match done {
        Ok(()) => Code::Ok.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.code().into()
        }
    }
}

/// What clap says of the arguments: help and versions are no errors.
fn refused(error: &clap::Error) -> ExitCode {
    let wanted = !error.use_stderr();
    // As every other output: nothing can be done where it can't be written.
    let _ = error.print();
    if wanted {
        return Code::Ok.into();
    }
    // The arguments were not understood, so whether JSON is wanted is read from them as they are.
    if std::env::args_os().any(|argument| argument == "--json") {
        let message = "the arguments are not understood; see --help";
        Output::new(true, false).failure_line(&Failure::usage(message));
    }
    Code::Usage.into()
}
