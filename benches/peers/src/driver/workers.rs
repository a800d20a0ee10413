//! Contestants in processes of their own.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::contestant::{Contestant, Linked};
use crate::operations::{Operation, Scale};
use crate::protocol::{Answer, Measure, Request};

/// The two builds of this program.
pub struct Programs {
    own: PathBuf,
    sqlcipher: PathBuf,
    scale: Scale,
}

impl Programs {
    /// This program and `sqlcipher`.
    pub fn new(sqlcipher: PathBuf, scale: Scale) -> Result<Self> {
        ensure!(
            sqlcipher.exists(),
            "no program at {}: scripts/bench builds it",
            sqlcipher.display()
        );
        Ok(Self {
            own: std::env::current_exe()?,
            sqlcipher,
            scale,
        })
    }

    /// Starts a worker for `contestant`, whose files are in `home`.
    pub fn start(&self, contestant: Contestant, home: &Path) -> Result<Worker> {
        let program = match contestant {
            Contestant::Sqlcipher => &self.sqlcipher,
            _ => &self.own,
        };
        let scale = self.scale.to_possible_value().context("a scale's name")?;
        let mut child = Command::new(program)
            .args(["worker", &contestant.id()])
            .arg(home)
            .arg(scale.get_name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Worker {
            contestant,
            child,
            input,
            output,
        })
    }
}

/// One contestant's process. It waits on its pipe while another one is asked.
pub struct Worker {
    pub contestant: Contestant,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Has it perform one round of an operation.
    pub fn run(&mut self, operation: &Operation, round: u64, rows: u64) -> Result<Measure> {
        let request = Request::Run {
            operation: operation.id.to_owned(),
            round,
            rows,
        };
        match self.ask(&request)? {
            Answer::Measured(measure) => Ok(measure),
            Answer::Failed(why) => bail!("{}, {}: {why}", self.contestant.name(), operation.id),
            Answer::Linked(_) => bail!("{}: an answer to another question", self.contestant.name()),
        }
    }

    /// The SQLite that it is linked to.
    pub fn linked(&mut self) -> Result<Linked> {
        match self.ask(&Request::Linked)? {
            Answer::Linked(linked) => Ok(linked),
            answer => bail!("{}: {answer:?}", self.contestant.name()),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Answer> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.input.write_all(line.as_bytes())?;
        line.clear();
        let read = self.output.read_line(&mut line)?;
        ensure!(read > 0, "{} ended by itself", self.contestant.name());
        Ok(serde_json::from_str(&line)?)
    }

    /// Lets it close its store and end.
    pub fn end(self) -> Result<()> {
        let Self {
            contestant,
            mut child,
            input,
            output,
        } = self;
        drop((input, output));
        let status = child.wait()?;
        ensure!(
            status.success(),
            "{} ended with {status}",
            contestant.name()
        );
        Ok(())
    }
}
