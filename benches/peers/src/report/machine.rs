//! The machine, and the versions of what was measured.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::contestant::{Contestant, Linked};
use crate::driver::Programs;

/// What this program was built from.
const LOCK: &str = include_str!("../../Cargo.lock");
/// The crates whose versions a reader wants to know.
const CRATES: [&str; 10] = [
    "sealed-store",
    "whatsapp-rust-sqlite-storage",
    "wacore",
    "diesel",
    "rusqlite",
    "libsqlite3-sys",
    "tokio",
    "aes-gcm",
    "matrix-sdk-store-encryption",
    "ring",
];

/// Everything that figures depend on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Machine {
    pub date: String,
    pub command: String,
    pub commit: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: f64,
    pub kernel: String,
    pub filesystem: String,
    pub rustc: String,
    /// Names and versions.
    pub crates: Vec<(String, String)>,
    pub sqlite: String,
    pub sqlite_of_sqlcipher: String,
    pub sqlcipher: String,
    /// The share of all processors' time that other programs used meanwhile.
    pub others: f64,
    #[serde(skip)]
    begin: Option<Usage>,
}

/// Processor time in clock ticks since the machine's start.
#[derive(Debug, Clone, Copy)]
struct Usage {
    all: u64,
    busy: u64,
    ours: u64,
}

impl Machine {
    /// This one, with `folder` on the disk that is measured.
    pub fn find(folder: &Path) -> Result<Self> {
        let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let memory: f64 = field(&memory, "MemTotal")
            .trim_end_matches(" kB")
            .parse()
            .context("the memory's size")?;
        Ok(Self {
            date: output("date", &["-u", "+%Y-%m-%d"]),
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            commit: output("git", &["describe", "--always", "--dirty"]),
            cpu: field(&cpu, "model name"),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: memory / 1024.0 / 1024.0,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            filesystem: filesystem(&folder.canonicalize()?)?,
            rustc: output("rustc", &["-V"]),
            crates: CRATES
                .iter()
                .map(|name| ((*name).to_owned(), locked(name)))
                .collect(),
            sqlite: String::new(),
            sqlite_of_sqlcipher: String::new(),
            sqlcipher: String::new(),
            others: 0.0,
            begin: Some(Usage::now()?),
        })
    }

    /// Asks both programs which SQLite they are linked to.
    pub fn linked(&mut self, programs: &Programs, folder: &Path) -> Result<()> {
        let ask = |contestant| -> Result<Linked> {
            let mut worker = programs.start(contestant, folder)?;
            let linked = worker.linked()?;
            worker.end()?;
            Ok(linked)
        };
        self.sqlite = ask(Contestant::Upstream)?.sqlite;
        let other = ask(Contestant::Sqlcipher)?;
        self.sqlite_of_sqlcipher = other.sqlite;
        self.sqlcipher = other.sqlcipher.context("that program has no SQLCipher")?;
        Ok(())
    }

    /// Notes what is known only when all workers have ended.
    pub fn finish(&mut self) -> Result<()> {
        let begin = self.begin.context("a run that never began")?;
        let end = Usage::now()?;
        let others = (end.busy - begin.busy).saturating_sub(end.ours - begin.ours);
        self.others = others as f64 / (end.all - begin.all).max(1) as f64;
        Ok(())
    }

    /// Whether others used so much that figures are no more than a first look.
    pub fn was_disturbed(&self) -> bool {
        const SHARE: f64 = 0.1;
        self.others > SHARE
    }
}

impl Usage {
    fn now() -> Result<Self> {
        let numbers = |text: &str| -> Vec<u64> {
            text.split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect()
        };
        // user, nice, system, idle, iowait, irq, softirq, steal
        let machine = std::fs::read_to_string("/proc/stat")?;
        let machine = numbers(machine.lines().next().unwrap_or_default());
        let machine = machine.get(..8).context("/proc/stat has another form")?;
        let all = machine.iter().sum();
        // The times of this process and of its children that ended stand twelve words after its name.
        let own = std::fs::read_to_string("/proc/self/stat")?;
        let (_, own) = own
            .rsplit_once(") ")
            .context("no name in /proc/self/stat")?;
        let words: Vec<_> = own.split(' ').skip(11).take(4).collect();
        Ok(Self {
            all,
            busy: all - machine[3] - machine[4],
            ours: numbers(&words.join(" ")).iter().sum(),
        })
    }
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> String {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map_or_else(|| "unknown".into(), |(_, value)| value.trim().to_owned())
}

fn output(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".into(), |text| text.trim().to_owned())
}

/// The kind of the file system that `folder` is on, and its device.
fn filesystem(folder: &Path) -> Result<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let found = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?, words.next()?))
        })
        .filter(|(_, place, _)| folder.starts_with(place))
        .max_by_key(|(_, place, _)| place.len());
    Ok(found.map_or_else(
        || "unknown".into(),
        |(device, _, kind)| format!("{kind} on {device}"),
    ))
}

/// The version of a crate in the lock file.
fn locked(name: &str) -> String {
    LOCK.split("[[package]]")
        .find(|package| {
            package
                .lines()
                .any(|line| line == format!("name = \"{name}\""))
        })
        .and_then(|package| {
            package
                .lines()
                .find_map(|line| line.strip_prefix("version = "))
        })
        .map_or_else(|| "?".into(), |version| version.replace('"', ""))
}
