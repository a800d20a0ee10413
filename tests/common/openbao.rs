//! A real OpenBao in memory, unsealed, with a Transit engine; set up by its own command line.
#![allow(dead_code, reason = "each test file uses a part")]

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;

use crate::services::{Service, program};

pub struct OpenBao {
    service: Service,
    port: u16,
    tls: bool,
}

impl OpenBao {
    pub fn start() -> Self {
        Self::started(false)
    }

    /// With a certificate of its own CA for 127.0.0.1.
    pub fn start_tls() -> Self {
        Self::started(true)
    }

    fn started(tls: bool) -> Self {
        let port = two_free_ports();
        let service = Service::start(|folder| {
            let mut command = Command::new(program("openbao", "bao"));
            command
                .args([
                    "server",
                    "-dev",
                    "-dev-root-token-id=root",
                    "-dev-no-store-token",
                ])
                .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
                .env("HOME", folder);
            if tls {
                command
                    .arg("-dev-tls")
                    .arg(format!("-dev-tls-cert-dir={}", folder.display()));
            }
            command
        });
        let mut bao = Self { service, port, tls };
        let address = bao.address();
        bao.service.wait_for_port(address);
        // The listener is there before the store is unsealed and the root token is made.
        let ready = "Root Token: root";
        let log = bao.service.folder.path().join("log");
        bao.service
            .wait_until(|| std::fs::read_to_string(&log).is_ok_and(|log| log.contains(ready)));
        bao.run(&["secrets", "enable", "transit"]);
        bao
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The CA of [`Self::start_tls`].
    pub fn ca(&self) -> PathBuf {
        std::fs::read_dir(self.service.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().ends_with("-ca.pem"))
            .expect("the server wrote its CA")
    }

    /// The URI of a Transit key of this server, through `address`.
    pub fn uri_at(&self, address: SocketAddr, key: &str) -> String {
        if self.tls {
            let ca = self.ca();
            format!(
                "vault:https://{address}/transit/keys/{key}?ca={}",
                ca.display()
            )
        } else {
            format!("vault:http://{address}/transit/keys/{key}")
        }
    }

    pub fn uri(&self, key: &str) -> String {
        self.uri_at(self.address(), key)
    }

    /// `bao ARGUMENTS` as root.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.run_with(arguments, "root", None)
    }

    pub fn run_in(&self, namespace: &str, arguments: &[&str]) -> String {
        self.run_with(arguments, "root", Some(namespace))
    }

    fn run_with(&self, arguments: &[&str], token: &str, namespace: Option<&str>) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let mut command = Command::new(program("openbao", "bao"));
        command
            .args(arguments)
            .env("HOME", self.service.folder.path())
            .env("BAO_ADDR", format!("{scheme}://{}", self.address()))
            .env("BAO_TOKEN", token);
        if self.tls {
            command.env("BAO_CACERT", self.ca());
        }
        if let Some(namespace) = namespace {
            command.env("BAO_NAMESPACE", namespace);
        }
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "bao {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stderr),
            self.service.log()
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn derived_key(&self, name: &str) {
        self.run(&[
            "write",
            "-f",
            &format!("transit/keys/{name}"),
            "derived=true",
        ]);
    }

    /// A policy, from its text.
    pub fn policy(&self, name: &str, text: &str) {
        let path = self.service.folder.path().join(format!("{name}.hcl"));
        std::fs::write(&path, text).unwrap();
        self.run(&["policy", "write", name, path.to_str().unwrap()]);
    }

    /// A token with this policy alone.
    pub fn token(&self, policy: &str) -> String {
        let policy = format!("-policy={policy}");
        self.run(&[
            "token",
            "create",
            "-no-default-policy",
            &policy,
            "-field=token",
        ])
    }

    pub fn seal(&self) {
        self.run(&["operator", "seal"]);
    }

    pub fn unseal(&self) {
        let log = self.service.log();
        let key = log
            .lines()
            .find_map(|line| line.strip_prefix("Unseal Key: "))
            .expect("the server says its unseal key");
        self.run(&["operator", "unseal", key]);
    }

    pub fn folder(&self) -> &std::path::Path {
        self.service.folder.path()
    }

    pub fn stop(&mut self) {
        self.service.stop();
    }
}

/// The server takes the next port too.
fn two_free_ports() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}
