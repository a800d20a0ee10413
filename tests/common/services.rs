//! Real services on loopback, each in a folder of its own, started by a test and stopped with it. One that is missing is a
//! failure: `scripts/services` installs them.
#![allow(dead_code, reason = "each test file uses a part")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program of `target/services/<venv>/bin`.
pub fn program(venv: &str, name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/services");
    let path = path.join(venv).join("bin").join(name);
    assert!(path.exists(), "{venv} is missing: run scripts/services");
    path
}

/// A port of loopback that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A process that ends with the test.
pub struct Service {
    child: Child,
    pub folder: tempfile::TempDir,
}

impl Service {
    /// Starts `command` with what it says in `log` of its folder; `prepare` is told the folder.
    pub fn start(prepare: impl FnOnce(&Path) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = prepare(folder.path());
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; run scripts/services"));
        Self { child, folder }
    }

    /// Waits until `is_ready`, and fails if the process ends before.
    pub fn wait_until(&mut self, mut is_ready: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_ready() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status}:\n{}", self.log());
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it is not ready:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until somebody listens there.
    pub fn wait_for_port(&mut self, address: SocketAddr) {
        self.wait_until(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok());
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Its process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process now.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}
