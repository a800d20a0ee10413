//! A child whose calls that write to files fail, or kill it, at a number of the caller's choice: see `faults.c`.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What happens to which calls.
#[derive(Clone, Copy, Debug)]
pub struct Fault<'a> {
    /// `pwrite`, `fsync`, `ftruncate` or `any` of them; or `all`, those of our own code too: see `faults.c`.
    pub calls: &'a str,
    /// The number of an error, or `kill`; `half+` before it for a write that is made by half first.
    pub how: &'a str,
    /// The first and the last call that it happens to, from 1; the last is 0 for ever.
    pub at: (u64, u64),
}

/// `ENOSPC`: the disk is full.
pub const FULL: &str = "28";
/// `EIO`: the disk is broken.
pub const BROKEN: &str = "5";

/// `faults.c`, compiled by the compiler that compiled SQLite.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::create_dir_all(folder).expect("a folder for it");
        let ours = folder.join(format!("faults-{}.so", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/faults.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&ours)
            .args([source, "-ldl"])
            .status()
            .expect("no `cc` is found: install the packages gcc and libc6-dev");
        assert!(compiled.success(), "faults.c is compiled");
        // Other tests do the same at this time: whole, or not there.
        let library = folder.join("faults.so");
        std::fs::rename(ours, &library).expect("it gets its name");
        library
    })
}

/// Has `fault` happen in the command's process.
pub fn inject(command: &mut Command, fault: Fault<'_>) {
    let Fault { calls, how, at } = fault;
    command.env("LD_PRELOAD", library()).env(
        "SEALED_STORE_FAULT",
        format!("{calls} {how} {} {}", at.0, at.1),
    );
}

/// Has the calls counted, and nothing happen to them: the number stands in the file at `count` in the end.
pub fn count(command: &mut Command, calls: &str, count: &Path) {
    command
        .env("LD_PRELOAD", library())
        .env("SEALED_STORE_FAULT", format!("{calls} 0 0 0"))
        .env("SEALED_STORE_FAULT_COUNT", count);
}

/// What [`count`] counted. None at all would mean that the library was not loaded.
pub fn counted(count: &Path) -> u64 {
    let count = std::fs::read_to_string(count).expect("the calls were counted");
    let count = count.parse().expect("a number");
    assert!(count > 0, "calls that write were seen");
    count
}

/// Whether the long form was asked for.
pub fn long() -> bool {
    std::env::var_os("SEALED_STORE_LONG").is_some()
}

/// The calls to try of so many: all of them, or the first and the last and some between.
pub fn sample(count: u64, ends: u64, between: u64) -> Vec<u64> {
    if long() || count <= 2 * ends + between {
        return (1..=count).collect();
    }
    let step = (count - 2 * ends) as f64 / (between + 1) as f64;
    let middle = (1..=between).map(|n| ends + (step * n as f64) as u64);
    (1..=ends)
        .chain(middle)
        .chain(count - ends + 1..=count)
        .collect()
}
