//! moto and LocalStack, asked as an administrator, and processes with credentials of their own.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use sealed_store::AwsKms;
use serde_json::{Value, json};

use crate::front::{Front, message};
use crate::services::{Service, free_port, program};

const REGION: &str = "eu-central-1";

/// Runs `body` in a process of its own: the SDK finds its credentials in the environment of the process, and a test must not
/// change that of the others. `test` is the test's name.
pub fn alone(test: &str, body: impl FnOnce()) {
    alone_with(test, &[("AWS_EC2_METADATA_DISABLED", "true")], body);
}

/// As [`alone`], with these variables.
pub fn alone_with(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) {
    const ALONE: &str = "SEALED_STORE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return body();
    }
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("AWS_") || text.to_lowercase().ends_with("_proxy") {
            child.env_remove(&name);
        }
    }
    let status = child
        .env(ALONE, "1")
        .env("HOME", home.path())
        .envs(variables.iter().copied())
        // Another region than the key's, so that following it is seen.
        .env("AWS_REGION", "us-east-2")
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

/// A file of this process's own `~/.aws`.
pub fn aws_file(name: &str) -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    home.join(".aws").join(name)
}

/// Writes the credentials that the SDK finds.
pub fn credentials(id: &str, secret: &str) {
    let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    std::fs::write(aws_file("credentials"), text).unwrap();
}

pub struct Cloud {
    _service: Service,
    pub address: SocketAddr,
}

impl Cloud {
    pub fn moto() -> Self {
        let port = free_port();
        let mut service = Service::start(|_| {
            let mut command = Command::new(program("moto", "moto_server"));
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        service.wait_for_port(address);
        credentials("test", "test");
        Self {
            _service: service,
            address,
        }
    }

    pub fn localstack() -> Self {
        let port = {
            let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
            listener.local_addr().unwrap().port()
        };
        let mut service = Service::start(|folder| {
            let mut command = Command::new(program("localstack", "python"));
            command
                .args(["-m", "localstack.runtime.main"])
                .env("HOME", folder)
                .env("FILESYSTEM_ROOT", folder)
                // With an IPv4 address it would listen to every network.
                .env("GATEWAY_LISTEN", format!("[::1]:{port}"))
                .env("SERVICES", "kms")
                .env("USE_SSL", "0")
                .env("DNS_ADDRESS", "0");
            for name in [
                "STRICT_SERVICE_LOADING",
                "EAGER_SERVICE_LOADING",
                "DISABLE_EVENTS",
                "SKIP_SSL_CERT_DOWNLOAD",
            ] {
                command.env(name, "1");
            }
            command
        });
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        service.wait_for_port(address);
        credentials("test", "test");
        Self {
            _service: service,
            address,
        }
    }

    pub fn front(&self) -> Front {
        Front::of(self.address)
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Calls KMS as its administrator.
    pub fn kms(&self, operation: &str, request: Value) -> Value {
        let head = format!("X-Amz-Target: TrentService.{operation}\r\n");
        let kind = "application/x-amz-json-1.1";
        let body = self.post("/", "kms", kind, &head, &request.to_string());
        serde_json::from_str(&body).unwrap_or_default()
    }

    /// Calls IAM as its administrator; the answer is XML.
    pub fn iam(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let mut body = format!("Action={action}&Version=2010-05-08");
        for (name, value) in parameters {
            let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            body += &format!("&{name}={value}");
        }
        self.post("/", "iam", "application/x-www-form-urlencoded", "", &body)
    }

    /// From here on moto asks for signatures and rights, or does not any more.
    pub fn check_rights(&self, does: bool) {
        let actions = if does { "0" } else { "inf" };
        self.post("/moto-api/reset-auth", "iam", "text/plain", "", actions);
    }

    fn post(&self, path: &str, service: &str, kind: &str, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        let address = self.address;
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=admin/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, \
             Signature=0\r\n{head}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let answer = String::from_utf8(message(&mut stream).unwrap()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{request}\n{answer}");
        body.to_owned()
    }

    /// The ARN of a new key.
    pub fn key(&self) -> String {
        self.key_for("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT")
    }

    pub fn key_for(&self, usage: &str, spec: &str) -> String {
        let made = self.kms("CreateKey", json!({ "KeyUsage": usage, "KeySpec": spec }));
        made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    pub fn provider(&self, arn: &str) -> AwsKms {
        provider(arn, &self.endpoint())
    }
}

pub fn provider(arn: &str, endpoint: &str) -> AwsKms {
    AwsKms::from_uri(&format!("awskms:{arn}?endpoint={endpoint}")).unwrap()
}
