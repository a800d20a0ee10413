//! A test binary that runs a part of itself as another process: a helper test that does nothing
//! unless [`JOB`] is set, and says what it did in lines that begin with `@ `.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

/// What the helper is to do.
const JOB: &str = "SEALED_STORE_TEST_JOB";

/// The helper's job, if this process is a child.
pub fn job() -> Option<Vec<String>> {
    let job = std::env::var(JOB).ok()?;
    Some(job.split('\n').map(str::to_owned).collect())
}

/// Says something to the parent.
pub fn say(line: &str) {
    println!("@ {line}");
}

/// Waits for the parent's next line.
pub fn hear() -> String {
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .expect("the parent speaks");
    line.trim_end().to_owned()
}

/// In a child: says the name of this step of a task in `lifecycle`, and goes no further, so that it is killed there.
pub fn stand_still_at(step: u64) {
    let steps = AtomicU64::new(0);
    sealed_store::lifecycle::on_step(move |name| {
        if steps.fetch_add(1, Ordering::Relaxed) == step {
            say(name);
            loop {
                std::thread::park();
            }
        }
    });
}

/// A running child.
pub struct Child {
    process: process::Child,
    output: BufReader<PipeReader>,
}

/// What runs the test `helper` of this binary, alone, with this job: through `wrapper`, if there is one, which is a
/// program and its arguments.
pub fn command(wrapper: &[&str], helper: &str, job: &[&str]) -> Command {
    let binary = std::env::current_exe().expect("a test has a binary");
    let mut command = match wrapper {
        [] => Command::new(binary),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
    };
    command
        .args(["--exact", helper, "--nocapture"])
        .env(JOB, job.join("\n"));
    command
}

impl Child {
    /// Runs the test `helper` of this binary, alone, with this job.
    pub fn run(helper: &str, job: &[&str]) -> Self {
        Self::start(command(&[], helper, job))
    }

    /// Starts what [`command`] made.
    pub fn start(command: Command) -> Self {
        Self::start_on(command).0
    }

    /// As [`Child::start`], and gives the pipe on which it speaks as well: who writes there is heard between what it
    /// says. While the pipe is kept, [`Child::next`] waits also once the child has ended.
    pub fn start_on(mut command: Command) -> (Self, PipeWriter) {
        let (output, pipe) = std::io::pipe().expect("a pipe is made");
        let process = command
            .stdin(Stdio::piped())
            .stdout(pipe.try_clone().expect("a pipe has two ends"))
            .spawn()
            .expect("a child starts");
        let output = BufReader::new(output);
        (Self { process, output }, pipe)
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next thing that it says; `None` once it has ended.
    pub fn next(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).expect("its output reads") == 0 {
                return None;
            }
            // The last line of a killed child may be cut short: then it was not said.
            if let (Some((_, said)), true) = (line.split_once("@ "), line.ends_with('\n')) {
                return Some(said.trim_end().to_owned());
            }
        }
    }

    /// Says something to it.
    pub fn tell(&mut self, line: &str) {
        let input = self.process.stdin.as_mut().expect("its input is piped");
        writeln!(input, "{line}").expect("it listens");
    }

    /// Hands its input over whole, and closes it.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut input = self.process.stdin.take().expect("its input is piped");
        input.write_all(bytes).expect("it listens");
    }

    /// SIGKILL, and what it had said before that was not heard yet.
    pub fn kill(mut self) -> Vec<String> {
        self.process.kill().expect("it can be killed");
        let rest = std::iter::from_fn(|| self.next()).collect();
        self.process.wait().expect("it is gone");
        rest
    }

    /// Waits for its end: whether it was a success, and what it said last.
    pub fn ended(mut self) -> (bool, Vec<String>) {
        let rest = std::iter::from_fn(|| self.next()).collect();
        let status = self.process.wait().expect("it ends");
        if !status.success() {
            eprintln!("the child ended with {status}");
        }
        (status.success(), rest)
    }

    /// Waits for its end, which must be a success, and gives what it said last.
    pub fn finish(mut self) -> Vec<String> {
        let rest: Vec<_> = std::iter::from_fn(|| self.next()).collect();
        let status = self.process.wait().expect("it ends");
        assert!(status.success(), "the child failed after saying {rest:?}");
        rest
    }
}

/// A test that fails leaves no process behind: one that stands still would do so for good.
impl Drop for Child {
    fn drop(&mut self) {
        // It has ended, mostly.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
