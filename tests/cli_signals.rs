//! A signal stops a task where it can be gone on with, or started over: the exit code tells which, and the same command again
//! gets to the end. A run that is done before the signal comes is repeated with twice the rows, so that time decides nothing.

mod cli;
mod common;
#[path = "common/dump.rs"]
mod dump;
#[path = "common/plain.rs"]
mod plain;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use cli::{Desk, PROGRAM};
use dump::{assert_same, dump};
use sealed_store::store::sqlite::SqliteStore;
use wacore::store::traits::{DeviceStore, SignalStore};

const SECRET: [&str; 2] = ["--passphrase-file", "secret"];

/// Starts the program and sends it a signal when it says that the phase began: its exit code, and the line of its error.
fn stopped(desk: &Desk, arguments: &[&str], signal: &str, phase: &str) -> (i32, String) {
    let mut child = Command::new(PROGRAM)
        .current_dir(desk.folder.path())
        .args(arguments)
        .args(SECRET)
        .arg("--json")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut sent, mut last) = (false, String::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        last = line.unwrap();
        if !sent && last.contains(&format!("\"phase\":\"{phase}\"")) {
            // The shell's own: a small machine has no program of that name.
            let kill = format!("kill -{signal} {}", child.id());
            assert!(
                Command::new("sh")
                    .args(["-c", &kill])
                    .status()
                    .unwrap()
                    .success()
            );
            sent = true;
        }
    }
    assert!(sent, "it never said {phase}");
    let code = child.wait().unwrap().code().unwrap();
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    if code != 0 {
        assert!(said.contains("once more ends it at once"), "{said}");
    }
    (code, last)
}

/// A store of ours with so many rows, `w.db`.
fn fill(desk: &Desk, rows: u32) {
    let path = desk.path("w.db");
    let _ = std::fs::remove_file(&path);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&path).await.unwrap();
        store.create().await.unwrap();
        for batch in 0..rows / 1000 {
            let rows: Vec<_> = (0..1000u32)
                .map(|row| {
                    (
                        format!("{batch}{row:04}:1@c.us.0").into(),
                        vec![7; 200].into(),
                    )
                })
                .collect();
            store.put_sessions_batch(&rows).await.unwrap();
        }
        store.close().await.unwrap();
        drop(store);
        plain::closed(&path).await;
    });
}

/// Stops the command in the phase with each signal, and runs it again.
fn each(sealed: bool, command: &[&str], phase: &str, code: i32, name: &str) {
    for signal in ["INT", "TERM"] {
        let mut rows = 8_000;
        let desk = loop {
            assert!(rows < 1_000_000, "no signal ever comes in time");
            let desk = Desk::new();
            fill(&desk, rows);
            if sealed {
                desk.open(&["encrypt", "w.db", "--kdf-ms", "1", "-q"])
                    .ends(0);
            }
            let before = (!sealed).then(|| dump(&desk.path("w.db")));
            let (ended, line) = stopped(&desk, command, signal, phase);
            if ended == 0 {
                rows *= 2;
                continue;
            }
            assert_eq!(ended, code, "{signal}: {line}");
            assert!(line.contains(&format!("\"name\":\"{name}\"")), "{line}");
            assert!(!desk.path("w.db.sealed-store-work").exists());
            match before {
                Some(before) => assert_same(&dump(&desk.path("w.db")), &before),
                None => drop(desk.open(&["check", "w.db"]).ends(0)),
            }
            break desk;
        };
        let done = desk
            .open(&[command, &["--json"]].concat())
            .ends(0)
            .summary();
        if code == 17 {
            assert_eq!(done["resumed"], true, "{done}");
            assert_eq!(done["retained"], 0, "{done}");
        }
        let info = desk.run(&["info", "w.db", "--json"]).ends(0).summary();
        if info["protection"] == "sealed" {
            desk.open(&["check", "w.db"]).ends(0);
        }
    }
}

#[test]
fn encrypt_starts_over() {
    for phase in ["converting", "checking"] {
        each(
            false,
            &["encrypt", "w.db", "--kdf-ms", "1"],
            phase,
            130,
            "interrupted",
        );
    }
}

#[test]
fn decrypt_starts_over() {
    for phase in ["converting", "checking"] {
        each(
            true,
            &["decrypt", "w.db", "--yes"],
            phase,
            130,
            "interrupted",
        );
    }
}

#[test]
fn reencrypt_full_starts_over() {
    for phase in ["converting", "checking"] {
        each(
            true,
            &["reencrypt", "w.db", "--full"],
            phase,
            130,
            "interrupted",
        );
    }
}

#[test]
fn reencrypt_goes_on_where_it_was() {
    for phase in ["resealing", "checking"] {
        each(true, &["reencrypt", "w.db"], phase, 17, "resumable");
    }
}
