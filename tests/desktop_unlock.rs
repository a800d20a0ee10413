//! `examples/desktop_unlock`, in a terminal, as a person uses it: the first run, later ones, locking itself, every way in and
//! every way in which one is refused, and what is in its memory then.
#![cfg(target_os = "linux")]

#[path = "desktop_unlock/desk.rs"]
mod desk;
#[path = "common/session.rs"]
mod desktop;
#[path = "common/example.rs"]
mod example;
#[path = "memory/needles.rs"]
#[allow(dead_code, reason = "the memory tests use more of it")]
mod needles;
#[path = "memory/scan.rs"]
#[allow(dead_code, reason = "the memory tests search themselves")]
mod scan;
#[path = "common/services.rs"]
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use desk::{App, Desk, OTHER, SECRET};
use desktop::{has_owner, keychain, session};
use needles::{Needles, Secret};
use rexpect::session::spawn_command;
use rusqlite::{Connection, OpenFlags};
use scan::Scanner;
use sealed_store::SqliteKeyring;

const CONTACT: &str = "add 5511987650001 161803398874989";
const SHOWN: &str = "+5511987650001 is 161803398874989@lid";

/// Runs `body` in a desktop's session, with its keychain open.
fn on_a_desktop(test: &str, body: impl FnOnce()) {
    desk::build();
    session(test, || async {
        let _daemon = keychain(true);
        body();
    });
}

fn secret_tool(arguments: &[&str]) -> String {
    let output = Command::new("secret-tool").args(arguments).output();
    let output = output.expect("secret-tool runs: see scripts/services");
    String::from_utf8(output.stdout).unwrap()
}

const SERVICE: [&str; 2] = ["service", "sealed-store.desktop-unlock"];

/// How many entries the app has in the keychain.
fn entries() -> usize {
    let found = secret_tool(&[&["search", "--all"], &SERVICE[..]].concat());
    found
        .lines()
        .filter(|line| line.starts_with("secret = "))
        .count()
}

#[test]
fn a_first_run_makes_a_store_that_is_open_again_later() {
    let desk = Desk::new();
    let mut app = desk.start_without_bus(&[]);
    app.sees("This is the first run.");
    app.chooses(SECRET);
    let code = app.takes_code();
    app.does(CONTACT);
    app.sees("Saved.");
    app.does("slots");
    app.sees("slot 1: passphrase (passphrase), which opened it");
    app.sees("recovery code (recovery)");
    app.quits();

    assert_eq!(desk.kinds(), ["passphrase", "recovery"]);
    let rights = |name: &str| fs::metadata(desk.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((rights(""), rights("whatsapp.db")), (0o700, 0o600));
    for file in fs::read_dir(desk.path("")).unwrap() {
        let content = fs::read(file.unwrap().path()).unwrap();
        for secret in ["5511987650001", "161803398874989", SECRET, &code] {
            let mut windows = content.windows(secret.len());
            assert!(
                !windows.any(|window| window == secret.as_bytes()),
                "{secret}"
            );
        }
    }

    let mut app = desk.start_without_bus(&[]);
    app.unlocks(SECRET);
    // Nothing is offered again: what there is to say no to is there, and there is no keychain.
    let said = app.does("list");
    assert!(
        said.contains("Unlocked.") && !said.contains("[y/n]"),
        "{said}"
    );
    app.sees(SHOWN);
    app.quits();
}

#[test]
fn a_new_passphrase_is_typed_twice_the_same_and_rated() {
    let desk = Desk::new();
    let mut app = desk.start_without_bus(&[]);
    app.answers("New passphrase: ", "");
    app.sees("An empty passphrase protects nothing.");
    app.answers("New passphrase: ", SECRET);
    app.answers("The same again: ", OTHER);
    app.sees("The two differ.");
    app.answers("New passphrase: ", "whatsapp1");
    let said = app.answers("Enter for another one: ", "");
    assert!(
        said.contains("It is weak") && !said.contains("whatsapp1"),
        "{said}"
    );
    assert!(!desk.path("whatsapp.db").exists());
    // It is taken by whoever insists.
    app.answers("New passphrase: ", "whatsapp1");
    app.answers("Enter for another one: ", "whatsapp1");
    app.answers("Make one now? [y/n] ", "n");
    app.quits();
    assert!(desk.opens_with("whatsapp1") && !desk.opens_with(SECRET));
}

#[test]
fn a_code_counts_once_it_was_written_down() {
    let desk = Desk::new();
    let mut app = desk.start_without_bus(&[]);
    app.chooses(SECRET);
    app.answers("Make one now? [y/n] ", "y");
    let code = app.code();
    let drawn = app.answers("last four characters: ", "????");
    // The session gives each byte as a character.
    assert!(
        drawn.matches("\u{e2}\u{96}").count() > 100,
        "a QR code is drawn"
    );
    app.sees("That is not how it ends.");
    app.sees("last four characters: ");
    assert_eq!(desk.kinds(), ["passphrase"]);
    app.0
        .send_line(&code[code.len() - 4..].to_lowercase())
        .unwrap();
    // Taken from the screen too.
    app.sees("\x1b[2J\x1b[3J");
    app.sees("counts from now on");
    assert_eq!(desk.kinds(), ["passphrase", "recovery"]);

    // A new one replaces it.
    app.does("recovery");
    let new = app.code();
    app.answers("last four characters: ", &new[new.len() - 4..]);
    app.sees("counts from now on");
    app.quits();
    assert_eq!(desk.kinds(), ["passphrase", "recovery"]);
    let mut app = desk.start_without_bus(&[]);
    app.unlocks("");
    app.answers("Recovery code (none: Enter): ", &code);
    assert_eq!(app.ends().1, 3);
}

#[test]
fn three_wrong_passphrases_come_to_a_clear_end() {
    let desk = Desk::with_store();
    let before = fs::read(desk.path("whatsapp.db")).unwrap();
    let mut app = desk.start_without_bus(&[]);
    for left in ["2 more.", "1 more.", "not it either."] {
        app.unlocks(OTHER);
        app.sees(left);
    }
    let said = app.answers("Recovery code (none: Enter): ", "");
    assert!(
        said.contains("The recovery code opens the store too."),
        "{said}"
    );
    let (said, code) = app.ends();
    assert!(said.contains("The store stays closed."), "{said}");
    assert_eq!(code, 3);
    assert!(fs::read(desk.path("whatsapp.db")).unwrap() == before);
    // And nothing is held against anybody.
    let mut app = desk.start_without_bus(&[]);
    app.unlocks(OTHER);
    app.unlocks(OTHER);
    app.unlocks(SECRET);
    app.sees("Unlocked.");
    app.quits();
}

#[test]
fn a_recovery_code_leads_to_a_new_passphrase() {
    let (desk, code) = Desk::with_code();
    let mut app = desk.start_without_bus(&[]);
    app.unlocks("");
    let mistyped = code.replace(&code[5..6], if &code[5..6] == "Q" { "P" } else { "Q" });
    app.answers("Recovery code (none: Enter): ", &mistyped);
    app.sees("mistyped");
    app.answers(
        "Recovery code (none: Enter): ",
        &code.to_lowercase().replace('-', " "),
    );
    app.sees("The recovery code fits");
    app.chooses(OTHER);
    app.sees("Unlocked.");
    app.quits();
    assert!(desk.opens_with(OTHER) && !desk.opens_with(SECRET));
    assert_eq!(
        desk.slots(),
        [(2, "recovery".to_owned()), (3, "passphrase".to_owned())]
    );

    // Cut short, everything opens as before.
    let mut app = desk.start_without_bus(&[]);
    app.unlocks("");
    app.answers("Recovery code (none: Enter): ", &code);
    app.sees("New passphrase: ");
    app.kill();
    assert!(desk.opens_with(OTHER));

    // A code of another store fits nothing.
    let (_, other) = Desk::with_code();
    let mut app = desk.start_without_bus(&[]);
    app.unlocks("");
    app.answers("Recovery code (none: Enter): ", &other);
    assert_eq!(app.ends().1, 3);
}

#[test]
fn a_changed_passphrase_opens_and_the_old_one_does_not() {
    let desk = Desk::with_store();
    let mut app = desk.start_without_bus(&[]);
    app.unlocks(SECRET);
    app.does("passwd");
    app.answers("Present passphrase: ", OTHER);
    app.sees("That is not the passphrase; nothing was changed.");
    app.does("passwd");
    app.answers("Present passphrase: ", SECRET);
    let copy = desk.path("copy.db");
    fs::copy(desk.path("whatsapp.db"), &copy).unwrap();
    app.chooses(OTHER);
    app.sees("The passphrase is changed.");
    app.sees("still open with the old one");
    app.sees("sealed-store reencrypt --full");
    app.quits();
    assert!(desk.opens_with(OTHER) && !desk.opens_with(SECRET));
    assert_eq!(desk.kinds(), ["passphrase"]);
    // As it said.
    assert!(desk::opens(SqliteKeyring::at(copy), SECRET));
    let mut app = desk.start_without_bus(&[]);
    app.unlocks(SECRET);
    app.unlocks(OTHER);
    app.sees("Unlocked.");
    app.quits();
}

/// Where the app is ended, and what the next run asks first.
#[test]
fn a_first_run_that_is_cut_short_anywhere_is_gone_on_with() {
    type Way = fn(&mut App);
    let questions: [(Way, &str, bool); 5] = [
        (|_| {}, "New passphrase: ", false),
        (
            |app| drop(app.answers("New passphrase: ", SECRET)),
            "The same again: ",
            false,
        ),
        (|app| app.chooses(SECRET), "Make one now? [y/n] ", true),
        (
            |app| {
                app.chooses(SECRET);
                app.answers("Make one now? [y/n] ", "y");
            },
            "last four characters: ",
            true,
        ),
        (
            |app| {
                app.chooses(SECRET);
                app.answers("Make one now? [y/n] ", "n");
            },
            "> ",
            true,
        ),
    ];
    for (way, question, is_made) in questions {
        for is_killed in [false, true] {
            let desk = Desk::new();
            let mut app = desk.start_without_bus(&[]);
            way(&mut app);
            app.sees(question);
            match is_killed {
                true => app.kill(),
                false => app.interrupt(),
            }
            let mut app = desk.start_without_bus(&[]);
            match is_made {
                true => drop(app.unlocks(SECRET)),
                false => app.chooses(SECRET),
            }
            // What was answered is not asked again.
            if question != "> " {
                app.takes_code();
            }
            app.does(CONTACT);
            app.sees("Saved.");
            app.quits();
            assert_eq!(desk.kinds().len(), if question == "> " { 1 } else { 2 });
        }
    }
}

/// A store file of a run that was killed before its keys were in it.
#[test]
fn a_file_without_keys_is_a_first_run_again() {
    let desk = Desk::new();
    fs::create_dir(desk.path("")).unwrap();
    let path = desk.path("whatsapp.db");
    desk::wait(async {
        let store = sealed_store::store::sqlite::SqliteStore::open(path).await;
        store.unwrap().close().await.unwrap();
    });
    let mut app = desk.start_without_bus(&[]);
    app.chooses(SECRET);
    app.answers("Make one now? [y/n] ", "n");
    app.quits();
    assert!(desk.opens_with(SECRET));
}

#[test]
fn a_store_that_is_gone_is_never_made_anew() {
    let desk = Desk::with_store();
    for name in ["whatsapp.db", "whatsapp.db-wal", "whatsapp.db-shm"] {
        let _ = fs::remove_file(desk.path(name));
    }
    let (said, code) = desk.start_without_bus(&[]).ends();
    assert!(
        said.contains("The store is gone") && code == 1,
        "{code}: {said}"
    );
    assert!(!desk.path("whatsapp.db").exists());

    // Nor is another one taken for it.
    let other = Desk::with_store();
    fs::copy(other.path("whatsapp.db"), desk.path("whatsapp.db")).unwrap();
    let mut app = desk.start_without_bus(&[]);
    app.unlocks(SECRET);
    let (said, code) = app.ends();
    assert!(
        said.contains("wrong keyring") && code == 1,
        "{code}: {said}"
    );
}

#[test]
fn a_second_one_in_the_same_folder_is_told() {
    let desk = Desk::with_store();
    let mut first = desk.start_without_bus(&[]);
    first.sees("Passphrase (forgotten: Enter): ");
    let (said, code) = desk.start_without_bus(&[]).ends();
    assert!(said.contains("in use") && code == 2, "{code}: {said}");
    first.0.send_line(SECRET).unwrap();
    first.quits();
    let mut next = desk.start_without_bus(&[]);
    next.unlocks(SECRET);
    next.quits();
}

#[test]
fn without_a_terminal_it_says_so() {
    let desk = Desk::new();
    let mut command = desk.command(&[]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("it needs a terminal"), "{said}");
    assert!(!desk.path("").exists());
    for wrong in [
        &["--lock-after"][..],
        &["--lock-after", "5"],
        &["--lock-after", "0s"],
        &["--what"],
    ] {
        let output = desk.command(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

/// In a shell, for the terminal outlives the app there.
#[test]
fn what_is_secret_is_not_echoed_and_the_echo_comes_back() {
    let desk = Desk::with_store();
    let command = desk.command(&[]);
    let folder = desk.path("");
    let mut shell = Command::new("sh");
    shell.current_dir(&folder).arg("-c").arg(format!(
        "stty echo; stty -a > before; trap '' INT; (trap - INT; {} {}); echo \"ended $?\"; stty -a > after",
        command.get_program().to_str().unwrap(),
        folder.to_str().unwrap(),
    ));
    let mut app = App(spawn_command(shell, Some(120_000)).unwrap());
    app.unlocks(OTHER);
    let shown = app.sees("Passphrase (forgotten: Enter): ");
    assert!(
        shown.contains("That is not it.") && !shown.contains(OTHER),
        "{shown}"
    );
    app.0.send_control('c').unwrap();
    let (said, _) = app.ends();
    assert!(
        said.contains("ended 130") && !said.contains(OTHER),
        "{said}"
    );
    let settings = |name| fs::read_to_string(desk.path(name)).unwrap();
    assert!(settings("before").contains(" echo "));
    assert_eq!(settings("before"), settings("after"));
}

#[test]
fn a_keychain_spares_the_passphrase() {
    on_a_desktop("a_keychain_spares_the_passphrase", || {
        let desk = Desk::with_keychain();
        assert_eq!(desk.kinds(), ["passphrase", "keychain"]);
        let mut app = desk.start(&[]);
        app.sees("Opened with the keychain.");
        app.does("slots");
        app.sees("slot 2: keychain (keychain), which opened it");
        // The passphrase is changed all the same, and asked for.
        app.does("passwd");
        app.answers("Present passphrase: ", SECRET);
        app.chooses(OTHER);
        app.sees("The passphrase is changed.");
        app.quits();
        assert!(desk.opens_with(OTHER) && !desk.opens_with(SECRET));

        // Given up: nothing is left of it, and it is not offered.
        assert_eq!(entries(), 1);
        let mut app = desk.start(&[]);
        app.does("keychain off");
        app.sees("not used any more");
        app.quits();
        assert_eq!((desk.kinds().len(), entries()), (1, 0));
        let mut app = desk.start(&[]);
        app.unlocks(OTHER);
        app.does("keychain on");
        app.sees("The keychain opens the store from now on.");
        app.quits();
        assert_eq!((desk.kinds().len(), entries()), (2, 1));
    });
}

#[test]
fn a_keychain_that_was_declined_is_not_offered_again() {
    on_a_desktop("a_keychain_that_was_declined_is_not_offered_again", || {
        let desk = Desk::new();
        let mut app = desk.start(&[]);
        app.chooses(SECRET);
        app.answers("Make one now? [y/n] ", "n");
        app.answers("Use the keychain? [y/n] ", "n");
        app.quits();
        let mut app = desk.start(&[]);
        app.unlocks(SECRET);
        let said = app.does("list");
        assert!(!said.contains("[y/n]"), "{said}");
        app.sees("0 contacts.");
        app.quits();
        assert_eq!((desk.kinds().len(), entries()), (1, 0));
    });
}

/// Its slot stays, for it may be there again: and it is.
#[test]
fn without_its_keychain_the_passphrase_opens() {
    desk::build();
    session("without_its_keychain_the_passphrase_opens", || async {
        let daemon = keychain(true);
        let desk = Desk::with_keychain();
        let mut app = desk.start_without_bus(&[]);
        app.sees("The keychain can't be used now");
        app.unlocks(SECRET);
        let said = app.does("list");
        assert!(!said.contains("[y/n]"), "{said}");
        app.quits();

        stopped(daemon);
        let daemon = keychain(false);
        let mut app = desk.start(&[]);
        app.sees("The keychain can't be used now: the keychain is closed");
        app.unlocks(SECRET);
        app.quits();

        stopped(daemon);
        let _daemon = keychain(true);
        let mut app = desk.start(&[]);
        app.sees("Opened with the keychain.");
        app.quits();
    });
}

/// Ends a daemon, and waits until the bus knows.
fn stopped(mut daemon: services::Service) {
    daemon.stop();
    let begun = std::time::Instant::now();
    while has_owner("org.freedesktop.secrets") {
        assert!(begun.elapsed().as_secs() < 60, "it is still there");
    }
}

#[test]
fn a_lost_keychain_is_named_and_its_slot_replaced() {
    on_a_desktop("a_lost_keychain_is_named_and_its_slot_replaced", || {
        let desk = Desk::with_keychain();
        secret_tool(&[&["clear"], &SERVICE[..]].concat());
        assert_eq!(entries(), 0);
        let mut app = desk.start(&[]);
        app.sees("The keychain has lost what opens this store");
        app.unlocks(SECRET);
        app.answers("Put a new entry into the keychain? [y/n] ", "y");
        app.sees("The keychain opens the store from now on.");
        app.quits();
        let slots = [(1, "passphrase".to_owned()), (3, "keychain".to_owned())];
        assert_eq!((&desk.slots()[..], entries()), (&slots[..], 1));
        let mut app = desk.start(&[]);
        app.sees("Opened with the keychain.");
        app.quits();

        // Another secret in its entry is as good as none.
        let user = secret_tool(&[&["search"], &SERVICE[..]].concat());
        let lookup = secret_tool(&[&["lookup"], &SERVICE[..]].concat());
        assert_eq!(lookup.len(), 64, "{user}");
        let user = format!("{}/3", keyring_id(&desk));
        put_entry(&user, &"ab".repeat(32));
        let mut app = desk.start(&[]);
        app.sees("The keychain has lost what opens this store");
        app.unlocks(SECRET);
        app.answers("Put a new entry into the keychain? [y/n] ", "n");
        app.sees("not used any more");
        app.quits();
        assert_eq!((desk.kinds().len(), entries()), (1, 0));
        let mut app = desk.start(&[]);
        let said = app.unlocks(SECRET);
        assert!(!said.contains("keychain"), "{said}");
        app.quits();
    });
}

fn keyring_id(desk: &Desk) -> String {
    let id = desk.settings()["keyring"].clone();
    hex::encode(serde_json::from_value::<Vec<u8>>(id).unwrap())
}

fn put_entry(user: &str, value: &str) {
    use std::io::Write;
    let mut child = Command::new("secret-tool")
        .args(["store", "--label=test"])
        .args(SERVICE)
        .args(["username", user])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(value.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
}

/// Whoever comes to an empty desk is not let in by the keychain of who left it, also not by starting the app anew.
#[test]
fn what_was_locked_is_opened_by_the_passphrase_alone() {
    on_a_desktop("what_was_locked_is_opened_by_the_passphrase_alone", || {
        let desk = Desk::with_keychain();
        let mut app = desk.start(&[]);
        app.sees("Opened with the keychain.");
        app.does("lock");
        app.sees("Locked: its keys are gone from memory.");
        app.does("list");
        app.sees("Passphrase (forgotten: Enter): ");
        app.kill();

        let mut app = desk.start(&[]);
        app.sees("the keychain does not open it");
        app.unlocks(SECRET);
        app.sees("Unlocked.");
        // Nobody has to be there: an app that locks itself does the same.
        app.does("idle 1s");
        app.sees("It has locked itself");
        app.quits();
        let mut app = desk.start(&[]);
        app.sees("the keychain does not open it");
        app.unlocks(SECRET);
        app.quits();

        let mut app = desk.start(&[]);
        app.sees("Opened with the keychain.");
        app.quits();
    });
}

/// The needles of the store as it is now, besides `secrets` themselves.
fn scanner(desk: &Desk, secrets: &[Secret]) -> Scanner {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let file = Connection::open_with_flags(desk.path("whatsapp.db"), flags).unwrap();
    let query = "SELECT name, document FROM sealed_store_keyring";
    let mut query = file.prepare(query).unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let documents: BTreeMap<String, Vec<u8>> = rows.unwrap().map(Result::unwrap).collect();
    let mut needles = Needles::default();
    needles.add_all(&documents, secrets);
    Scanner::new(needles.masked())
}

/// What is found in the app's memory, and where.
fn found(scanner: &Scanner, desk: &Desk) -> BTreeMap<String, BTreeSet<String>> {
    let scan = scanner.scan_of(&desk.process());
    assert!(scan.bytes > 1 << 20 && scan.stacks > 1, "it was not read");
    let mut found = BTreeMap::<_, BTreeSet<_>>::new();
    for (what, _, place) in scan.hits.into_keys() {
        found.entry(what).or_default().insert(place);
    }
    found
}

/// What an open keyring holds, among other forms; and no secret that opened it.
#[track_caller]
fn holds_keys(found: &BTreeMap<String, BTreeSet<String>>) {
    for what in ["root key", "token key, HMAC midstate", "SIV MAC key"] {
        assert!(found.contains_key(what), "{what}: {found:?}");
    }
    for what in [
        "passphrase",
        "slot secret",
        "slot key",
        "slot wrap key",
        "raw key",
    ] {
        assert!(!found.contains_key(what), "{what}: {found:?}");
    }
}

#[test]
fn once_it_has_locked_itself_no_key_is_in_its_memory() {
    on_a_desktop("once_it_has_locked_itself_no_key_is_in_its_memory", || {
        let desk = Desk::with_keychain();
        let entry = secret_tool(&[&["lookup"], &SERVICE[..]].concat());
        let entry: [u8; 32] = hex::decode(entry).unwrap().try_into().unwrap();
        let secrets = [Secret::Passphrase(SECRET.into()), Secret::RawKey(entry)];

        // It comes in by the keychain first.
        let mut app = desk.start(&["--lock-after", "1h"]);
        app.sees("Opened with the keychain.");
        app.does(CONTACT);
        app.sees("Saved.");
        app.sees("> ");
        let scanner = scanner(&desk, &secrets);
        holds_keys(&found(&scanner, &desk));
        app.0.send_line("idle 1s").unwrap();
        // Nobody touches a key for this to come.
        app.sees("It has locked itself, since nobody used it: its keys are gone from memory.");
        app.sees("> ");
        let after = found(&scanner, &desk);
        assert!(after.is_empty(), "locked: {after:?}");

        // Then by the passphrase.
        app.0.send_line("list").unwrap();
        app.unlocks(SECRET);
        app.sees(SHOWN);
        app.does("idle 1h");
        app.sees("It locks itself");
        app.sees("> ");
        holds_keys(&found(&scanner, &desk));
        app.0.send_line("idle 1s").unwrap();
        app.sees("It has locked itself");
        app.sees("> ");
        let after = found(&scanner, &desk);
        assert!(after.is_empty(), "locked again: {after:?}");
        // A wrong one that was typed is no business of the next reader either.
        app.0.send_line("list").unwrap();
        app.unlocks(OTHER);
        app.sees("Passphrase (forgotten: Enter): ");
        let wrong = [
            Secret::Passphrase(OTHER.into()),
            Secret::Passphrase(SECRET.into()),
        ];
        let after = found(&self::scanner(&desk, &wrong), &desk);
        assert!(after.is_empty(), "refused: {after:?}");
        app.0.send_line(SECRET).unwrap();
        app.quits();
    });
}

/// A scanner for what was typed.
fn scanner_of(typed: &str) -> Scanner {
    let mut needles = Needles::default();
    needles.add_all(&BTreeMap::new(), &[Secret::Passphrase(typed.into())]);
    Scanner::new(needles.masked())
}

/// Nor of what it was chosen and rated by, for as long as the app runs on.
#[test]
fn nothing_of_a_chosen_passphrase_stays_in_memory() {
    let desk = Desk::new();
    let mut app = desk.start_without_bus(&[]);
    let [secret, other] = [SECRET, OTHER].map(scanner_of);
    app.answers("New passphrase: ", SECRET);
    app.sees("The same again: ");
    // The control: the app has it now.
    assert!(!found(&secret, &desk).is_empty());
    app.0.send_line(SECRET).unwrap();
    app.answers("Make one now? [y/n] ", "y");
    let code = scanner_of(&{
        let code = app.code();
        app.sees("last four characters: ");
        app.0.send_line(&code[code.len() - 4..]).unwrap();
        code
    });
    app.does("passwd");
    app.answers("Present passphrase: ", SECRET);
    app.chooses(OTHER);
    app.sees("The passphrase is changed.");
    app.sees("> ");
    for scanner in [secret, other, code] {
        let found = found(&scanner, &desk);
        assert!(found.is_empty(), "{found:?}");
    }
    app.0.send_line("quit").unwrap();
    assert_eq!(app.ends().1, 0);
}

/// Whatever stands there when it does.
#[test]
fn it_locks_itself_at_a_question_too() {
    let desk = Desk::new();
    let mut app = desk.start_without_bus(&["--lock-after", "1s"]);
    app.chooses(SECRET);
    app.sees("It has locked itself");
    // Before the question came, on a slow machine.
    let either = app.0.exp_regex(r"(now\? \[y/n\] |> )").unwrap().1;
    if either != "> " {
        app.0.send_line("y").unwrap();
        let code = app.code();
        app.answers("last four characters: ", &code[code.len() - 4..]);
        app.sees("See whether that was done, and do it again if not.");
        app.sees("> ");
    }
    assert_eq!(desk.kinds(), ["passphrase"]);
    app.0.send_line("idle 1h").unwrap();
    app.unlocks(SECRET);
    app.sees("It locks itself after that time");
    app.does("recovery");
    let code = app.code();
    app.answers("last four characters: ", &code[code.len() - 4..]);
    app.sees("counts from now on");
    app.quits();
    assert_eq!(desk.kinds(), ["passphrase", "recovery"]);
}

#[test]
fn it_locks_itself_at_a_question_of_a_later_run_and_goes_on() {
    let (desk, code) = Desk::with_code();
    let mut app = desk.start_without_bus(&["--lock-after", "1s"]);
    app.unlocks("");
    app.answers("Recovery code (none: Enter): ", &code);
    app.sees("The recovery code fits");
    app.sees("New passphrase: ");
    app.sees("It has locked itself");
    app.0.send_line(OTHER).unwrap();
    app.answers("The same again: ", OTHER);
    app.sees("See whether that was done, and do it again if not.");
    app.sees("> ");
    assert!(desk.opens_with(SECRET) && !desk.opens_with(OTHER));
    app.0.send_line("idle 1h").unwrap();
    app.unlocks(SECRET);
    app.sees("It locks itself after that time");
    app.quits();
}
