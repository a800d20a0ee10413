//! Ctrl-C: a task that can stop is asked to; everything else ends at once, with the terminal as it was.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::failure::{Code, Failure};

/// Whether a task runs that looks at [`stop_is_wanted`].
static STOPPABLE: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);
/// The terminal as it was before a prompt switched its echo off.
static TERMINAL: Mutex<Option<Terminal>> = Mutex::new(None);

/// Takes SIGINT and SIGTERM.
pub fn install() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        if let Some(terminal) = &*TERMINAL.lock().unwrap_or_else(PoisonError::into_inner) {
            terminal.restore();
        }
        if STOPPABLE.load(SeqCst) && !STOP.swap(true, SeqCst) {
            use std::io::Write;
            let _ = std::io::stderr()
                .write_all(b"stopping where it can be resumed; once more ends it at once (then run it again, which clears up)\n");
            return;
        }
        std::process::exit(i32::from(Code::Interrupted.number()));
    })
    .map_err(|error| Failure::other("the signals of this process can't be handled").because(error))
}

/// Whether the running task should stop.
pub fn stop_is_wanted() -> bool {
    STOP.load(SeqCst)
}

/// While it lives, the first Ctrl-C only asks.
pub struct Stoppable(());

/// Says that a task runs that looks at [`stop_is_wanted`].
pub fn stoppable() -> Stoppable {
    STOPPABLE.store(true, SeqCst);
    Stoppable(())
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        STOPPABLE.store(false, SeqCst);
    }
}

/// While it lives, the terminal is put back as it is now when a signal ends the program.
pub struct Guarded(());

/// Remembers the terminal, before a prompt, and switches its echo off: what is typed as soon as the question stands there is not
/// shown either.
pub fn guard_terminal() -> Guarded {
    let terminal = Terminal::now();
    if let Some(terminal) = &terminal {
        terminal.hide();
    }
    *TERMINAL.lock().unwrap_or_else(PoisonError::into_inner) = terminal;
    Guarded(())
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let terminal = TERMINAL
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(terminal) = terminal {
            terminal.restore();
        }
    }
}

#[cfg(unix)]
struct Terminal {
    file: std::fs::File,
    settings: rustix::termios::Termios,
}

#[cfg(unix)]
impl Terminal {
    fn now() -> Option<Self> {
        let file = std::fs::File::open("/dev/tty").ok()?;
        let settings = rustix::termios::tcgetattr(&file).ok()?;
        Some(Self { file, settings })
    }

    fn hide(&self) {
        let mut settings = self.settings.clone();
        settings
            .local_modes
            .remove(rustix::termios::LocalModes::ECHO);
        // The prompt does it again, and tells.
        let _ = rustix::termios::tcsetattr(
            &self.file,
            rustix::termios::OptionalActions::Now,
            &settings,
        );
    }

    fn restore(&self) {
        // There is nothing left to try.
        let _ = rustix::termios::tcsetattr(
            &self.file,
            rustix::termios::OptionalActions::Now,
            &self.settings,
        );
    }
}

#[cfg(not(unix))]
struct Terminal;

#[cfg(not(unix))]
impl Terminal {
    fn now() -> Option<Self> {
        None
    }

    fn hide(&self) {}

    fn restore(&self) {}
}
