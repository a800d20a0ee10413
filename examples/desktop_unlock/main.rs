//! A desktop app that keeps its WhatsApp store sealed: in a terminal, as its author would write it. Start here, and copy.
//!
//! ```sh
//! cargo run --release --example desktop_unlock -- my-folder                  # run it twice: the first run differs
//! cargo run --release --example desktop_unlock -- --lock-after 30s my-folder # leave it alone for half a minute
//! ```
//!
//! | file | what is there |
//! | --- | --- |
//! | `first_run.rs` | a passphrase, twice and rated; a recovery code; the keychain is offered |
//! | `unlocking.rs` | the keychain, else the passphrase with three tries, else the recovery code; a lost keychain |
//! | `session.rs` | what it does while it is open, and what it does once it has locked itself |
//! | `slots.rs` | replacing a slot: a new one, proved, then the old one goes |
//! | `app.rs` | the folder, how the store is opened, and what is told when it locks itself |
//! | `settings.rs` | what the person has chosen: nothing secret |
//! | `terminal.rs` | questions and answers: the part that a window replaces |
//! | `rating.rs` | what a new passphrase is worth |
//! | `contacts.rs` | the app's own work, through the client's `Backend` traits |

use std::fmt;
use std::process::ExitCode;

use anyhow::Result;

mod app;
mod contacts;
mod first_run;
mod rating;
mod session;
mod settings;
mod slots;
mod terminal;
mod unlocking;

use app::{App, Arguments};

/// An end that is no fault of the program: its words are for the person.
#[derive(Debug)]
struct End {
    code: u8,
    words: &'static str,
}

impl End {
    /// Nobody was let in.
    const REFUSED: u8 = 3;
    /// Started in a way in which it can't work.
    const USAGE: u8 = 2;
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words)
    }
}

impl std::error::Error for End {}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match rating::is_asked() {
        true => rating::answer(),
        false => run().await,
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    eprintln!("{}", terminal::explain(&error));
    let code = error.downcast_ref::<End>().map_or(1, |end| end.code);
    ExitCode::from(code)
}

async fn run() -> Result<()> {
    let arguments = Arguments::read()?;
    if !terminal::is_there() {
        return Err(End {
            code: End::USAGE,
            words: "This app asks for a passphrase, so it needs a terminal: start it in one, with nothing piped into or out of it.",
        }
        .into());
    }
    terminal::end_on_ctrl_c()?;
    let app = App::new(arguments)?;
    let _only = app.only_one()?;
    let store = match app.slots().await? {
        None => first_run::make(&app).await?,
        Some(slots) => unlocking::at_start(&app, &slots).await?,
    };
    app.remember_keyring(&store)?;
    session::unless_it_locks(contacts::prepare(&store).await)?;
    // Also of a first run that was cut short: what was answered is not asked again, and what was not is.
    session::unless_it_locks(first_run::offers(&app, &store).await)?;
    session::run(&app, &store).await?;
    // Keys first: closing the file may take a while.
    store.account().keyring().lock();
    store.inner().close().await?;
    Ok(())
}
