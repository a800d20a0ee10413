//! TPMs in software, each in a process, with a folder and ports of loopback of its own. `scripts/services` installs swtpm and the tools.
#![allow(dead_code, reason = "each test file uses a part")]

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::services::Service;

/// Listeners on two ports in a row: commands, and control, which the TSS expects on the next port.
pub fn pair() -> [TcpListener; 2] {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let Some(next) = first.local_addr().unwrap().port().checked_add(1) else {
            continue;
        };
        if let Ok(second) = TcpListener::bind(("127.0.0.1", next)) {
            return [first, second];
        }
    }
}

pub fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// The URI of the TPM that listens there.
pub fn uri(port: u16) -> String {
    format!("tpm2:?tcti=swtpm:host=127.0.0.1,port={port}")
}

/// A TPM that ends with the test.
pub struct Swtpm {
    service: Service,
    state: tempfile::TempDir,
    pub port: u16,
}

impl Swtpm {
    /// A new one, with seeds of its own.
    pub fn start() -> Self {
        Self::with("not-need-init,startup-clear")
    }

    /// One that nobody started up.
    pub fn not_started_up() -> Self {
        Self::with("not-need-init")
    }

    fn with(flags: &str) -> Self {
        let state = tempfile::tempdir().unwrap();
        let (service, port) = run(state.path(), flags);
        Self {
            service,
            state,
            port,
        }
    }

    /// Switched off and on again: another process, on other ports.
    pub fn restart(&mut self) {
        self.service.stop();
        (self.service, self.port) = run(self.state.path(), "not-need-init,startup-clear");
    }

    /// Switched off; its ports are nobody's.
    pub fn stop(&mut self) {
        self.service.stop();
    }

    /// Takes away where it keeps its state: it goes into failure mode when it next writes there.
    pub fn lose_state(&self) {
        std::fs::remove_dir_all(self.state.path()).unwrap();
    }

    /// Stands still, or goes on.
    pub fn signal(&self, name: &str) {
        let id = self.service.id().to_string();
        let done = Command::new("kill").args(["-s", name, &id]).status();
        assert!(done.unwrap().success());
    }

    pub fn uri(&self) -> String {
        uri(self.port)
    }

    /// What one of tpm2-tools prints.
    pub fn tool(&self, name: &str, arguments: &[&str]) -> String {
        let (success, text) = self.tried(name, arguments);
        assert!(success, "{name} {arguments:?}: {text}");
        text
    }

    /// Whether it was a success, and what it prints.
    pub fn tried(&self, name: &str, arguments: &[&str]) -> (bool, String) {
        let tcti = format!("swtpm:host=127.0.0.1,port={}", self.port);
        let done = Command::new(name)
            .args(arguments)
            .env("TPM2TOOLS_TCTI", tcti)
            .current_dir(self.service.folder.path())
            .output()
            .unwrap_or_else(|error| panic!("{name}: {error}; run scripts/services"));
        let text = [done.stdout, done.stderr].concat();
        (
            done.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    /// The handles of objects and sessions that are in its memory.
    pub fn held(&self) -> String {
        [
            "handles-transient",
            "handles-loaded-session",
            "handles-saved-session",
        ]
        .map(|what| self.tool("tpm2_getcap", &[what]))
        .concat()
    }
}

fn run(state: &Path, flags: &str) -> (Service, u16) {
    let begun = Instant::now();
    loop {
        let port = {
            let [first, _second] = pair();
            first.local_addr().unwrap().port()
        };
        let mut service = Service::start(|_| {
            let mut command = Command::new("swtpm");
            command.args(["socket", "--tpm2", "--flags", flags, "--tpmstate"]);
            command.arg(format!("dir={}", state.display()));
            for (channel, port) in [("--server", port), ("--ctrl", port + 1)] {
                command.arg(channel);
                command.arg(format!("type=tcp,port={port},bindaddr=127.0.0.1"));
            }
            command
        });
        // Somebody else may have taken a port meanwhile, and answer there: then it ends at once.
        let ready = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let id = service.id();
            service.wait_until(|| listens(id, port) && listens(id, port + 1));
        }));
        match ready {
            Ok(()) => return (service, port),
            Err(_) if begun.elapsed() < Duration::from_secs(30) => {}
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Whether this process, and no other, listens there.
fn listens(id: u32, port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("0100007F:{port:04X}");
    let socket = table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_it = fields.get(1) == Some(&&*local) && fields.get(3) == Some(&"0A");
        is_it.then(|| format!("socket:[{}]", fields[9]))
    });
    // It may have ended.
    let files = std::fs::read_dir(format!("/proc/{id}/fd")).ok();
    files.into_iter().flatten().flatten().any(|file| {
        let target = std::fs::read_link(file.path()).unwrap_or_default();
        Some(target.as_os_str()) == socket.as_deref().map(std::ffi::OsStr::new)
    })
}

/// The commands of what was asked over one or more connections: each with its code, and all of it.
pub fn commands(asked: &[u8]) -> Vec<(u32, &[u8])> {
    let mut rest = asked;
    let mut found = Vec::new();
    while let Some(&[_, _, a, b, c, d, code @ ..]) = rest.first_chunk::<10>() {
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some((command, others)) = rest.split_at_checked(size) else {
            break;
        };
        found.push((u32::from_be_bytes(code), command));
        rest = others;
    }
    found
}

pub const UNSEAL: u32 = 0x15e;
pub const CREATE: u32 = 0x153;
pub const FLUSH: u32 = 0x165;
pub const START_SESSION: u32 = 0x176;
