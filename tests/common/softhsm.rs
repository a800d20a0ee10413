//! SoftHSM, and tests that run alone in a process with it: which tokens it shows is said by a variable of the process's
//! environment, and read once. `scripts/services` installs it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child;

/// The token that every test finds.
pub const TOKEN: &str = "canary token";
pub const PIN: &str = "pin-4321";
pub const SO_PIN: &str = "so-pin-87654321";
const CONF: &str = "SOFTHSM2_CONF";

/// The first of these that is there.
fn library(places: &[&str]) -> PathBuf {
    places
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{places:?} are missing: run scripts/services"))
}

/// SoftHSM's library.
pub fn module() -> PathBuf {
    library(&[
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
    ])
}

/// OpenSC's library that logs every call and hands it on to SoftHSM.
pub fn spy() -> PathBuf {
    library(&[
        "/usr/lib/x86_64-linux-gnu/pkcs11-spy.so",
        "/usr/lib/aarch64-linux-gnu/pkcs11-spy.so",
        "/usr/lib64/pkcs11-spy.so",
    ])
}

/// In the process of a test: its tokens.
pub struct Tokens {
    pub folder: PathBuf,
    /// What the job says besides.
    pub job: Vec<String>,
}

/// Runs `body` in a process of its own, which has one token. `test` is the name of the calling test; `settings` are lines of
/// SoftHSM's configuration.
pub fn alone(test: &str, settings: &str, body: impl FnOnce(&Tokens)) {
    if let Some(job) = child::job() {
        let conf = PathBuf::from(std::env::var_os(CONF).expect("it has its own configuration"));
        let folder = conf.parent().expect("a folder").to_owned();
        body(&Tokens { folder, job });
        return threads_ended();
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("tokens")).expect("a folder is made");
    configure(folder.path(), settings);
    init(folder.path(), TOKEN, Some(PIN));
    run(folder.path(), test, "first");
}

/// Waits for calls whose futures were dropped: SoftHSM is taken down at the end of a process under whoever is in it still.
fn threads_ended() {
    let name_of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_secs(60) {
        let tasks = std::fs::read_dir("/proc/self/task").expect("the process has threads");
        // A name is cut off after fifteen characters; a thread may end meanwhile.
        let ours = |name: String| name.starts_with("sealed-store-pk");
        if !tasks
            .flatten()
            .filter_map(|task| name_of(task).ok())
            .any(ours)
        {
            return;
        }
        std::thread::yield_now();
    }
    panic!("a call in the token does not end");
}

/// Writes SoftHSM's configuration, for processes that begin from here on.
pub fn configure(folder: &Path, settings: &str) {
    let tokens = folder.join("tokens");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n{settings}\n",
        tokens.display()
    );
    std::fs::write(folder.join("softhsm2.conf"), text).expect("it is written");
}

/// Makes a token; its user gets a PIN if one is given.
pub fn init(folder: &Path, label: &str, pin: Option<&str>) {
    let mut command = match pin {
        Some(pin) => {
            let mut command = Command::new("softhsm2-util");
            command.args([
                "--init-token",
                "--free",
                "--label",
                label,
                "--so-pin",
                SO_PIN,
            ]);
            command.args(["--pin", pin]);
            command
        }
        // The other tool asks for a PIN if none is given.
        None => {
            let mut command = Command::new("pkcs11-tool");
            command.arg("--module").arg(module());
            command.args([
                "--slot-index",
                "1",
                "--init-token",
                "--label",
                label,
                "--so-pin",
                SO_PIN,
            ]);
            command
        }
    };
    let done = command
        .env(CONF, folder.join("softhsm2.conf"))
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; run scripts/services"));
    assert!(done.status.success(), "{done:?}");
}

fn run(folder: &Path, test: &str, job: &str) {
    let mut command = child::command(&[], test, &[job]);
    command
        .env(CONF, folder.join("softhsm2.conf"))
        .env("PKCS11SPY", module())
        .env("PKCS11SPY_OUTPUT", folder.join("calls"));
    let (success, said) = child::Child::start(command).ended();
    assert!(success, "{test} failed in its own process: {said:?}");
}

impl Tokens {
    /// Runs the test again in another process with the same tokens, and this job.
    pub fn again(&self, test: &str, job: &str) {
        run(&self.folder, test, job);
    }

    pub fn is_first(&self) -> bool {
        self.job == ["first"]
    }

    /// A URI of a key of the token; `module` is the library.
    pub fn uri_by(&self, module: &Path, key: &str) -> String {
        format!(
            "pkcs11:token=canary%20token;{key}?module-path={}",
            module.display()
        )
    }

    pub fn uri(&self, key: &str) -> String {
        self.uri_by(&module(), key)
    }

    /// The calls that the spy saw since the last time.
    pub fn calls(&self) -> Vec<String> {
        let path = self.folder.join("calls");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::File::options()
            .write(true)
            .truncate(true)
            .open(&path)
            .expect("the spy's log is emptied");
        text.lines()
            .filter_map(|line| {
                line.split_once(": C_")
                    .map(|(_, name)| format!("C_{}", name.trim()))
            })
            .collect()
    }
}
