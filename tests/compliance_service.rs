//! `examples/compliance_service` as its operator sees it: a real process on a real OpenBao and a real LocalStack, whose keys are
//! rotated, withdrawn, given back and lost while it works. It must close when a key is withdrawn, stay closed until it is given
//! back, go over to the second provider when the first is lost, and lose no write that it acknowledged. `-- --nocapture` shows
//! the timeline.
#![cfg(all(feature = "aws-kms", feature = "vault"))]

#[path = "common/example.rs"]
mod example;
#[path = "aws_kms/front.rs"]
mod front;
#[path = "common/openbao.rs"]
mod openbao;
#[path = "common/services.rs"]
mod services;
#[path = "aws_kms/world.rs"]
mod world;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use openbao::OpenBao;
use serde_json::{Value, json};
use world::{Cloud, alone};

const LEASE: Duration = Duration::from_millis(500);
// Long: a machine that does other things too must not make a service look like one that hangs.
const CALL: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_millis(1500);
const TASKS: usize = 8;

/// What the service may do while it makes slots and works, and what is left when that is withdrawn.
const RIGHTS: &str = r#"
path "transit/decrypt/whatsapp" { capabilities = ["update"] }
path "transit/datakey/plaintext/whatsapp" { capabilities = ["update"] }
path "transit/rewrap/whatsapp" { capabilities = ["update"] }
"#;
const NONE: &str = r#"path "transit/decrypt/whatsapp" { capabilities = ["deny"] }"#;

/// The running service: its lines in the order in which they are looked at, and its operator's.
struct Running {
    child: Child,
    input: ChildStdin,
    lines: Receiver<(Instant, String)>,
    seen: Vec<String>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                println!("{line}");
                if said.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take().unwrap();
        Self {
            child,
            input,
            lines,
            seen: Vec::new(),
        }
    }

    fn order(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    fn note(&mut self, text: &str) {
        self.order(&format!("note {text}"));
        self.wait("operator", text);
    }

    /// The next line of this event with this in it, and when it came. Lines before it are passed over.
    fn wait(&mut self, event: &str, part: &str) -> (Instant, String) {
        let begun = Instant::now();
        loop {
            // For all of them: a service that goes on trying says something all the time.
            let left = Duration::from_secs(60).saturating_sub(begun.elapsed());
            let next = self.lines.recv_timeout(left);
            let (at, line) = next
                .unwrap_or_else(|_| panic!("no `{event}` with `{part}`; last: {:#?}", self.seen));
            let told = line.get(8..).unwrap_or_default();
            assert!(
                !["FAILED", "BAD ROW", "failed"]
                    .iter()
                    .any(|bad| told.starts_with(bad)),
                "{line}"
            );
            self.seen.push(line.clone());
            if told.starts_with(event) && told.contains(part) {
                return (at, line);
            }
        }
    }

    /// What it has done so far, once so many more writes are acknowledged.
    fn report(&mut self, after: u64) -> String {
        self.order(&format!("report {after}"));
        let (_, line) = self.wait("report", "acknowledged");
        line.split(", ").next().unwrap()[8..].to_owned()
    }

    /// The lines since the last one of this event.
    fn since(&self, event: &str) -> Vec<&str> {
        let told = |line: &&String| !line[8..].starts_with(event);
        let mut lines: Vec<_> = self
            .seen
            .iter()
            .rev()
            .skip(1)
            .take_while(told)
            .map(String::as_str)
            .collect();
        lines.reverse();
        lines
    }

    /// After a key was withdrawn: why the lease is over, then the wiping, then that every task is refused. Tells how long it took.
    fn closes(&mut self, since: Instant, provider: &str, reason: &str, bound: Duration) {
        self.wait("lease over", &format!("{provider}, "));
        assert!(
            self.seen.last().unwrap().contains(reason),
            "{:?}",
            self.seen.last()
        );
        let (at, _) = self.wait("closed", "wiped");
        let took = at.saturating_duration_since(since).as_millis();
        self.wait(
            "refused",
            &format!("{TASKS} of {TASKS} tasks: the keyring is not open"),
        );
        let bound = bound.as_millis();
        self.note(&format!(
            "it closed {took} ms later; stated: {bound} ms at most"
        ));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The auditors' file.
fn audited(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn it_closes_when_a_key_is_withdrawn_and_loses_nothing() {
    alone(
        "it_closes_when_a_key_is_withdrawn_and_loses_nothing",
        || {
            let program = example::built("compliance_service");
            let mut bao = OpenBao::start();
            let cloud = Cloud::localstack();
            bao.derived_key("whatsapp");
            bao.policy("service", RIGHTS);
            let arn = cloud.key();
            let folder = tempfile::tempdir().unwrap();
            let token = folder.path().join("token");
            std::fs::write(&token, bao.token("service")).unwrap();
            std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
            let audit = folder.path().join("audit.jsonl");

            let mut command = Command::new(program);
            let time = |time: Duration| format!("{}ms", time.as_millis());
            command
                .args([
                    "--provider",
                    &format!("{}?token_file={}", bao.uri("whatsapp"), token.display()),
                ])
                .args([
                    "--second",
                    &format!("awskms:{arn}?endpoint={}", cloud.endpoint()),
                ])
                .args([
                    "--lease",
                    &time(LEASE),
                    "--grace",
                    &time(GRACE),
                    "--call",
                    &time(CALL),
                ])
                .args(["--tasks", &TASKS.to_string()])
                .arg("--audit")
                .arg(&audit)
                .arg(folder.path().join("whatsapp.db"));
            let mut service = Running::start(&mut command);
            service.wait("created", "keyring");
            service.wait("slot added", "slot 2, aws-kms");
            service.wait("working", "tasks");
            service.report(200);

            // Both keys get a new version, and the slots follow; then OpenBao decrypts nothing older any more.
            bao.run(&["write", "-f", "transit/keys/whatsapp/rotate"]);
            cloud.kms("RotateKeyOnDemand", json!({ "KeyId": arn }));
            service.note("the keys were rotated, at OpenBao and at AWS KMS");
            service.order("rotate");
            service.wait("rewrapped", "slot 1, vault");
            service.wait("rewrapped", "slot 2, aws-kms");
            bao.run(&[
                "write",
                "transit/keys/whatsapp/config",
                "min_decryption_version=2",
            ]);
            service.note("OpenBao decrypts with the new version alone");
            service.report(200);

            // Withdrawn at OpenBao: closed, and not opened by the other way round.
            bao.policy("service", NONE);
            let withdrawn = Instant::now();
            service.note("the policy was withdrawn at OpenBao");
            service.closes(withdrawn, "vault", "withdrawn", LEASE + CALL);
            for _ in 0..3 {
                service.wait("not opened", "vault");
            }
            bao.policy("service", RIGHTS);
            service.note("the policy is back");
            service.wait("opened", "through slot 1");
            assert!(
                !service
                    .since("closed")
                    .iter()
                    .any(|line| line.contains("aws-kms")),
                "the second provider was asked while the first one's owner says no"
            );
            service.wait("working", "tasks");
            service.report(200);

            // OpenBao is lost, with all its keys: over to the second one.
            bao.stop();
            let lost = Instant::now();
            service.note("OpenBao was killed");
            service.wait("tolerated", "vault");
            service.closes(lost, "vault", "given up", GRACE.max(LEASE) + CALL);
            service.wait("opened", "through slot 2");
            service.wait("lease", "second provider");
            service.wait("working", "tasks");
            service.report(200);

            // Withdrawn at AWS KMS.
            cloud.kms("DisableKey", json!({ "KeyId": arn }));
            let withdrawn = Instant::now();
            service.note("the key was disabled at AWS KMS");
            service.closes(withdrawn, "aws-kms", "withdrawn", LEASE + CALL);
            let so_far = service.report(0);
            service.wait("not opened", "aws-kms");
            assert_eq!(service.report(0), so_far, "it worked while it was closed");
            cloud.kms("EnableKey", json!({ "KeyId": arn }));
            service.note("the key was enabled again");
            service.wait("opened", "through slot 2");
            service.wait("working", "tasks");
            service.report(200);

            service.order("stop");
            let (_, verified) = service.wait("verified", "acknowledged writes");
            let right =
                "0 lost, 0 wrong, 0 done while closed, 0 failed otherwise, 0 audit events missed";
            assert!(verified.ends_with(right), "{verified}");
            assert!(service.child.wait().unwrap().success());

            // The same from the auditors' file.
            let told: Vec<_> = audited(&audit)
                .iter()
                .filter_map(|event| {
                    let detail = match event["event"].as_str()? {
                        "keyring_opened" | "slot_rewrapped" => &event["slot"],
                        "lease_ended" => &event["revoked"],
                        "keyring_created" | "keys_wiped" | "slot_added" => &Value::Null,
                        _ => return None,
                    };
                    Some(format!("{} {detail}", event["event"].as_str()?))
                })
                .collect();
            let expected = [
                "keyring_created null",
                "slot_added null",
                "slot_rewrapped 1",
                "slot_rewrapped 2",
                "lease_ended true",
                "keys_wiped null",
                "keyring_opened 1",
                "lease_ended false",
                "keys_wiped null",
                "keyring_opened 2",
                "lease_ended true",
                "keys_wiped null",
                "keyring_opened 2",
                "keys_wiped null",
                "keyring_opened 2",
                "keys_wiped null",
            ];
            assert_eq!(told, expected);
        },
    );
}
