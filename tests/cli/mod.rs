//! The real program, run as a user runs it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use assert_cmd::Command;
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

/// A secret that is looked for in every output.
pub const SECRET: &str = "tungsten-otter-vault-93 quietly";
/// Another one.
pub const OTHER: &str = "marble kiwi lantern 41 outside";

/// Where the program is.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_sealed-store");

/// What a run of the program left.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Its end was this code.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }

    /// Its stderr has these words.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(
            self.stderr.contains(words),
            "{words:?} is not in: {}",
            self.stderr
        );
        self
    }

    /// The lines of `--json`.
    pub fn lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect()
    }

    /// The last line of `--json`, which is the summary.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let line = self.lines().pop().expect("a summary");
        assert_eq!(line["type"], "summary", "{line}");
        line
    }
}

/// A folder with files of secrets in it.
pub struct Desk {
    pub folder: TempDir,
}

impl Desk {
    pub fn new() -> Self {
        let desk = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        desk.file("secret", SECRET.as_bytes());
        desk.file("other", OTHER.as_bytes());
        desk
    }

    /// With a sealed store `w.db`, which the file `secret` opens.
    pub fn with_store() -> Self {
        let desk = Self::new();
        desk.init("w.db");
        desk
    }

    pub fn init(&self, name: &str) {
        self.run(&["init", name, "--passphrase-file", "secret", "--kdf-ms", "1"])
            .ends(0);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a file of mode 0600.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        self.mode(name, 0o600);
        path
    }

    pub fn mode(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The program, in the folder, with none of our variables and no terminal.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.folder.path()).args(arguments);
        for name in ["PASSPHRASE", "NEW_PASSPHRASE"] {
            for suffix in ["", "_FILE", "_COMMAND"] {
                command.env_remove(format!("SEALED_STORE_{name}{suffix}"));
            }
        }
        command.write_stdin("");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        ran(&mut self.command(arguments))
    }

    /// With `secret`, which opens.
    pub fn open(&self, arguments: &[&str]) -> Ran {
        self.run(&[arguments, &["--passphrase-file", "secret"]].concat())
    }

    /// The numbers of the slots.
    pub fn slots(&self, db: &str) -> Vec<u64> {
        let info = self.run(&["info", db, "--json"]).ends(0).summary();
        let slots = info["keyring"]["slots"].as_array().unwrap();
        slots
            .iter()
            .map(|slot| slot["slot"].as_u64().unwrap())
            .collect()
    }

    /// A document of the keyring in `db`, as text.
    pub fn document(&self, db: &str, name: &str) -> Vec<u8> {
        let connection = Connection::open(self.path(db)).unwrap();
        connection
            .query_row(
                "SELECT document FROM sealed_store_keyring WHERE name = ?1",
                [name],
                |row| row.get(0),
            )
            .unwrap()
    }

    pub fn put_document(&self, db: &str, name: &str, document: &[u8]) {
        let connection = Connection::open(self.path(db)).unwrap();
        let changed = connection
            .execute(
                "UPDATE sealed_store_keyring SET document = ?2 WHERE name = ?1",
                (name, document),
            )
            .unwrap();
        assert_eq!(changed, 1);
    }

    /// Flips a bit in the middle of a document.
    pub fn damage(&self, db: &str, name: &str) {
        let mut document = self.document(db, name);
        let middle = document.len() / 2;
        document[middle] ^= 1;
        self.put_document(db, name, &document);
    }
}

pub fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let ran = Ran {
        code: output.status.code().expect("it ended by itself"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    for secret in [SECRET, OTHER] {
        assert!(!ran.stdout.contains(secret), "a secret on stdout");
        assert!(!ran.stderr.contains(secret), "a secret on stderr");
    }
    ran
}

/// Everything of a folder that a program could change: names, bytes, modes and times of writing. (Not the time of the last
/// change of an inode: SQLite, run by root, gives the index of a log to the owner that it has already.)
pub fn snapshot(folder: &Path) -> BTreeMap<String, (Vec<u8>, u32, SystemTime)> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let about = entry.metadata().unwrap();
            (
                entry.file_name().into_string().unwrap(),
                (
                    std::fs::read(entry.path()).unwrap(),
                    about.permissions().mode(),
                    about.modified().unwrap(),
                ),
            )
        })
        .collect()
}
