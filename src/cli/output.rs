//! What is printed: results on stdout; progress, hints and errors on stderr; with `--json` all but errors on stdout.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use sealed_store::lifecycle::{Phase, Progress};
use serde_json::{Value, json};

use super::failure::Failure;
use super::signal;

/// Where output goes.
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// What was asked for: as text, or as the summary of `--json`, whose fields are `fields`.
    pub fn result(&self, verb: &str, fields: Value, text: &str) -> Result<(), Failure> {
        if self.json {
            self.summary(verb, fields)
        } else {
            print(text)
        }
    }

    /// That something was done: nothing where it is to be quiet, but for the summary of `--json`.
    pub fn done(&self, verb: &str, fields: Value, text: &str) -> Result<(), Failure> {
        match (self.json, self.quiet) {
            (true, _) => self.summary(verb, fields),
            (false, true) => Ok(()),
            (false, false) => print(&format!("{text}\n")),
        }
    }

    fn summary(&self, verb: &str, fields: Value) -> Result<(), Failure> {
        let mut line = json!({ "type": "summary", "verb": verb });
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        print(&format!("{line}\n"))
    }

    /// What a person should know.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            complain(&format!("{text}\n"));
        }
    }

    /// What went wrong, in a line.
    pub fn failure(&self, failure: &Failure) {
        complain(&format!("sealed-store: {}\n", failure.chain()));
        if self.json {
            self.failure_line(failure);
        }
    }

    /// As [`Self::failure`], for programs alone.
    pub fn failure_line(&self, failure: &Failure) {
        let line = json!({
            "type": "error",
            "code": failure.code().number(),
            "name": failure.code().name(),
            "message": failure.chain(),
        });
        // The exit code tells it too.
        let _ = print(&format!("{line}\n"));
    }

    /// Where a long task tells how far it is.
    pub fn progress(&self) -> Reporter {
        let way = match (self.json, self.quiet, std::io::stderr().is_terminal()) {
            (true, ..) => Way::Json,
            (false, true, _) => Way::Silent,
            (false, false, true) => Way::Bar,
            (false, false, false) => Way::Lines,
        };
        Reporter {
            way,
            state: Mutex::new(State::default()),
        }
    }
}

/// Writes to stdout. Who closed it does not want to know, but a caller may.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(Failure::unprinted)
}

fn complain(text: &str) {
    // There is nowhere else to say it.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Json,
    Bar,
    Lines,
    Silent,
}

/// How often a program, or a log, is told.
const OFTEN: Duration = Duration::from_millis(500);
const SELDOM: Duration = Duration::from_secs(10);

/// Tells how far a task is.
pub struct Reporter {
    way: Way,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phase: Option<Phase>,
    total: Option<u64>,
    began: Option<Instant>,
    told: Option<Instant>,
    bar: Option<ProgressBar>,
    /// Whether it was told that all rows are done.
    ended: bool,
}

impl Reporter {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn tell(&self, state: &State, done: u64) {
        let Some(phase) = state.phase else { return };
        match self.way {
            Way::Json => {
                let line = json!({
                    "type": "progress",
                    "phase": phase.name(),
                    "done": done,
                    "total": state.total,
                });
                let _ = print(&format!("{line}\n"));
            }
            Way::Lines => {
                let seconds = state
                    .began
                    .map_or(0.0, |began| began.elapsed().as_secs_f64());
                let of = state
                    .total
                    .map_or_else(String::new, |total| format!(" of {total}"));
                let rate = match done {
                    0 => String::new(),
                    _ => format!(" rows, {:.0} a second", done as f64 / seconds.max(0.001)),
                };
                let count = match done {
                    0 => String::new(),
                    _ => format!(": {done}{of}"),
                };
                complain(&format!("{}{count}{rate}\n", phase.name()));
            }
            Way::Bar | Way::Silent => {}
        }
    }
}

impl Progress for Reporter {
    fn begin(&self, phase: Phase, total: Option<u64>) {
        let mut state = self.state();
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
        let now = Instant::now();
        // A phase that comes again, for the next account, is no news in a log.
        let again = self.way == Way::Lines && state.phase == Some(phase);
        *state = State {
            phase: Some(phase),
            total,
            began: Some(now),
            told: Some(now),
            bar: (self.way == Way::Bar).then(|| bar(phase, total)),
            ended: false,
        };
        if !again {
            self.tell(&state, 0);
        }
    }

    fn rows(&self, done: u64) {
        let mut state = self.state();
        if let Some(bar) = &state.bar {
            bar.set_position(done);
        }
        let pause = match self.way {
            Way::Json => OFTEN,
            _ => SELDOM,
        };
        // The end is told once.
        let all = state.total == Some(done) && !state.ended && self.way == Way::Json;
        state.ended |= all;
        if all || state.told.is_none_or(|told| told.elapsed() >= pause) {
            state.told = Some(Instant::now());
            self.tell(&state, done);
        }
    }

    fn stopped(&self) -> bool {
        signal::stop_is_wanted()
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if let Some(bar) = self.state().bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn bar(phase: Phase, total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = match total {
        Some(_) => "{msg:<11} {wide_bar} {pos}/{len} rows, {rate} a second, {eta} left",
        None => "{msg:<11} {spinner} {rows} {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        let rate = |state: &ProgressState, to: &mut dyn std::fmt::Write| {
            let _ = write!(to, "{:.0}", state.per_sec());
        };
        // Some phases have no rows.
        let rows = |state: &ProgressState, to: &mut dyn std::fmt::Write| {
            if state.pos() > 0 {
                let _ = write!(to, "{} rows, {:.0} a second,", state.pos(), state.per_sec());
            }
        };
        bar.set_style(style.with_key("rate", rate).with_key("rows", rows));
    }
    bar.set_message(phase.name());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
