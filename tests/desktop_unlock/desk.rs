//! The real example in a terminal, and what a person does at it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};
use sealed_store::{Keyring, KeyringOptions, Passphrase, SealError, SlotInfo, SqliteKeyring};
use tempfile::TempDir;

/// Far longer than anything takes, in milliseconds.
const PATIENCE: Option<u64> = Some(120_000);

/// Long enough, as the other, for pieces of it to be found in freed memory, which loses its first 16 bytes.
pub const SECRET: &str = "tungsten-otter-vault-93 quietly under seven slow copper bridges";
pub const OTHER: &str = "marble kiwi lantern 41 outside while nine green ferries wait";

/// The example. Inside a private session there is no cargo's home, and the test outside has built it.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| match super::desktop::is_inside() {
    true => super::example::place("desktop_unlock"),
    false => super::example::built("desktop_unlock"),
});

/// Builds the example, where a private session will need it.
pub fn build() {
    LazyLock::force(&PROGRAM);
}

/// A login's folder for the app.
pub struct Desk {
    folder: TempDir,
}

impl Desk {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    /// With a store that [`SECRET`] opens and nothing else, and the answers kept.
    pub fn with_store() -> Self {
        let desk = Self::new();
        let mut app = desk.start_without_bus(&[]);
        app.chooses(SECRET);
        app.answers("Make one now? [y/n] ", "n");
        app.quits();
        desk
    }

    /// With a recovery code, which is the answer too.
    pub fn with_code() -> (Self, String) {
        let desk = Self::new();
        let mut app = desk.start_without_bus(&[]);
        app.chooses(SECRET);
        let code = app.takes_code();
        app.quits();
        (desk, code)
    }

    /// In a private session: with a slot in the keychain.
    pub fn with_keychain() -> Self {
        let desk = Self::new();
        let mut app = desk.start(&[]);
        app.chooses(SECRET);
        app.answers("Make one now? [y/n] ", "n");
        app.answers("Use the keychain? [y/n] ", "y");
        app.sees("The keychain opens the store from now on.");
        app.quits();
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("app").join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&*PROGRAM);
        command.args(arguments).arg(self.folder.path().join("app"));
        command
    }

    /// On the bus of the session that this is in.
    pub fn start(&self, arguments: &[&str]) -> App {
        App(spawn_command(self.command(arguments), PATIENCE).unwrap())
    }

    pub fn start_without_bus(&self, arguments: &[&str]) -> App {
        let mut command = self.command(arguments);
        let nowhere = format!("unix:path={}", self.folder.path().join("none").display());
        command.env("DBUS_SESSION_BUS_ADDRESS", nowhere);
        App(spawn_command(command, PATIENCE).unwrap())
    }

    /// The process of the app that runs in this folder.
    pub fn process(&self) -> String {
        let folder = self.path("");
        let folder = folder.to_str().unwrap().trim_end_matches('/');
        let mut found = Vec::new();
        for process in fs::read_dir("/proc").unwrap() {
            let path = process.unwrap().path();
            let line = fs::read_to_string(path.join("cmdline")).unwrap_or_default();
            if line.split('\0').any(|word| word == folder) {
                found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    /// Number and kind of each slot.
    pub fn slots(&self) -> Vec<(u32, String)> {
        let slots = wait(Keyring::unverified_slots(self.keyring())).unwrap();
        let pair = |slot: SlotInfo| (slot.slot, slot.kind);
        slots.into_iter().map(pair).collect()
    }

    pub fn kinds(&self) -> Vec<String> {
        self.slots().into_iter().map(|(_, kind)| kind).collect()
    }

    /// What the library says to a passphrase.
    pub fn opens_with(&self, passphrase: &str) -> bool {
        opens(self.keyring(), passphrase)
    }

    fn keyring(&self) -> SqliteKeyring {
        SqliteKeyring::at(self.path("whatsapp.db"))
    }

    pub fn settings(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.path("settings.json")).unwrap()).unwrap()
    }
}

pub fn opens(keyring: SqliteKeyring, passphrase: &str) -> bool {
    match wait(KeyringOptions::new().open(keyring, &Passphrase::new(passphrase))) {
        Ok(_) => true,
        Err(SealError::WrongKey) => false,
        Err(error) => panic!("{error}"),
    }
}

/// On a thread of its own, since a private session's test is on a runtime already.
pub fn wait<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| scope.spawn(|| pollster::block_on(work)).join().unwrap())
}

/// A run of the app.
pub struct App(pub PtySession);

impl App {
    #[track_caller]
    pub fn sees(&mut self, words: &str) -> String {
        match self.0.exp_string(words) {
            Ok(before) => before,
            Err(error) => panic!("{words:?} did not come: {error}"),
        }
    }

    /// Waits for a question and answers it; what stood before it.
    #[track_caller]
    pub fn answers(&mut self, question: &str, text: &str) -> String {
        let before = self.sees(question);
        self.0.send_line(text).unwrap();
        before
    }

    #[track_caller]
    pub fn does(&mut self, command: &str) -> String {
        self.answers("> ", command)
    }

    /// A new passphrase.
    #[track_caller]
    pub fn chooses(&mut self, passphrase: &str) {
        self.answers("New passphrase: ", passphrase);
        self.answers("The same again: ", passphrase);
    }

    #[track_caller]
    pub fn unlocks(&mut self, passphrase: &str) -> String {
        self.answers("Passphrase (forgotten: Enter): ", passphrase)
    }

    #[track_caller]
    pub fn takes_code(&mut self) -> String {
        self.answers("Make one now? [y/n] ", "y");
        let code = self.code();
        self.answers("last four characters: ", &code[code.len() - 4..]);
        self.sees("counts from now on");
        code
    }

    #[track_caller]
    pub fn code(&mut self) -> String {
        let found = self.0.exp_regex("REC1(-[02-9AC-HJ-NP-Z]{4}){8}");
        found.unwrap().1
    }

    /// Ends it at its prompt.
    #[track_caller]
    pub fn quits(mut self) {
        self.does("quit");
        let (shown, code) = self.ends();
        assert_eq!(code, 0, "{shown}");
    }

    /// What was shown until the end, and the exit code.
    #[track_caller]
    pub fn ends(mut self) -> (String, i32) {
        let shown = self.0.exp_eof().unwrap();
        match self.0.process().wait().unwrap() {
            WaitStatus::Exited(_, code) => (shown, code),
            other => panic!("{other:?}: {shown}"),
        }
    }

    #[track_caller]
    pub fn interrupt(mut self) {
        self.0.send_control('c').unwrap();
        let (shown, code) = self.ends();
        assert_eq!(code, 130, "{shown}");
    }

    pub fn kill(mut self) {
        self.0
            .process_mut()
            .signal(rexpect::process::Signal::SIGKILL)
            .unwrap();
        self.0.exp_eof().unwrap();
        self.0.process().wait().unwrap();
    }
}
