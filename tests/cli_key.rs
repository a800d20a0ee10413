//! Slots by the command line: what opens, what no longer does, and what is said about old copies.

mod cli;

use cli::{Desk, PROGRAM, ran};

const OLD_COPIES: &str = "still opens with the old secret";

#[test]
fn the_slot_that_opened_is_marked() {
    let desk = Desk::with_store();
    desk.open(&[
        "key",
        "add",
        "w.db",
        "--new-passphrase-file",
        "other",
        "--label",
        "laptop",
        "--kdf-ms",
        "1",
    ])
    .ends(0);
    for (file, opened) in [("secret", 1), ("other", 2)] {
        let list = ["key", "list", "w.db", "--passphrase-file", file];
        let slots = desk
            .run(&[&list[..], &["--json"]].concat())
            .ends(0)
            .summary()["slots"]
            .clone();
        for slot in slots.as_array().unwrap() {
            assert_eq!(slot["opened"], slot["slot"] == opened, "{slot}");
        }
        assert_eq!(slots[1]["label"], "laptop");
        let shown = desk.run(&list).ends(0).stdout;
        let marked: Vec<_> = shown
            .lines()
            .filter(|line| line.ends_with("<- opened"))
            .collect();
        assert_eq!(marked.len(), 1);
        assert!(
            marked[0].trim_start().starts_with(&opened.to_string()),
            "{shown}"
        );
    }
    // One slot can be named.
    desk.open(&["key", "list", "w.db", "--slot", "2"]).ends(12);
    desk.open(&["key", "list", "w.db", "--slot", "9"]).ends(1);
}

#[test]
fn a_changed_passphrase_opens_the_store_and_the_old_one_an_old_copy() {
    let desk = Desk::with_store();
    std::fs::copy(desk.path("w.db"), desk.path("copy.db")).unwrap();
    desk.open(&[
        "key",
        "passwd",
        "w.db",
        "--new-passphrase-file",
        "other",
        "--kdf-ms",
        "1",
    ])
    .ends(0)
    .says(OLD_COPIES);
    desk.run(&["status", "w.db", "--passphrase-file", "other"])
        .ends(0);
    desk.open(&["status", "w.db"]).ends(12);
    desk.open(&["status", "copy.db"]).ends(0);
    // A wrong one changes nothing.
    desk.open(&["key", "passwd", "w.db", "--new-passphrase-file", "secret"])
        .ends(12);
    desk.run(&["status", "w.db", "--passphrase-file", "other"])
        .ends(0);
}

#[test]
fn a_removed_slot_opens_no_more_and_the_last_one_stays() {
    let desk = Desk::with_store();
    desk.file("key", &[9; 32]);
    desk.open(&["key", "add", "w.db", "--new-key-file", "key"])
        .ends(0);
    desk.run(&["key", "remove", "w.db", "1", "--key-file", "key"])
        .ends(2)
        .says("--yes");
    desk.run(&["key", "remove", "w.db", "1", "--key-file", "key", "--yes"])
        .ends(0)
        .says(OLD_COPIES);
    desk.open(&["status", "w.db"]).ends(12);
    desk.run(&["key", "remove", "w.db", "2", "--key-file", "key", "--yes"])
        .ends(1)
        .says("add one before");
    desk.run(&["status", "w.db", "--key-file", "key"]).ends(0);
}

#[test]
fn a_recovery_code_opens_and_is_the_one_line_of_the_output() {
    let desk = Desk::with_store();
    let ran = desk
        .open(&["key", "recovery", "w.db"])
        .ends(0)
        .says("write it down");
    assert_eq!(ran.stdout.lines().count(), 1);
    let code = ran.stdout.trim_end();
    assert_eq!(code.len(), 44);
    assert!(!ran.stderr.contains(&code[5..9]));
    desk.file("code", ran.stdout.as_bytes());
    desk.run(&["status", "w.db", "--recovery-code-file", "code"])
        .ends(0);
    let mut piped = desk.command(&["status", "w.db", "--recovery-code-fd", "0"]);
    cli::ran(piped.write_stdin(code.to_lowercase())).ends(0);
    // It is no passphrase.
    desk.run(&["status", "w.db", "--passphrase-file", "code"])
        .ends(12);
    let raw = std::fs::read(desk.path("w.db")).unwrap();
    let plain = code.replace('-', "");
    for form in [code.to_owned(), plain.clone(), plain.to_lowercase()] {
        assert!(
            !raw.windows(form.len())
                .any(|window| window == form.as_bytes())
        );
    }
    let slots = desk
        .open(&["key", "list", "w.db", "--json"])
        .ends(0)
        .summary()["slots"]
        .clone();
    assert_eq!(slots[1]["kind"], "recovery");
    assert_eq!(slots[1]["kdf"], serde_json::Value::Null);
    let status = desk.open(&["status", "w.db"]).ends(0).stdout;
    assert!(!status.contains("no recovery code"), "{status}");
}

#[test]
fn a_code_that_nobody_saw_has_no_slot() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::with_store();
    // Every write there fails.
    let mut full = std::process::Command::new("sh");
    full.current_dir(desk.folder.path()).arg("-c").arg(format!(
        "exec {PROGRAM} key recovery w.db --passphrase-file secret >/dev/full"
    ));
    let output = full.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(desk.slots("w.db"), [1]);
    desk.file("there", b"x");
    desk.open(&["key", "recovery", "w.db", "--code-file", "there"])
        .ends(1);
    assert_eq!(desk.slots("w.db"), [1]);
    assert_eq!(std::fs::read(desk.path("there")).unwrap(), b"x");

    desk.open(&["key", "recovery", "w.db", "--json"])
        .ends(2)
        .says("--code-file");
    let ran = desk
        .open(&["key", "recovery", "w.db", "--json", "--code-file", "code"])
        .ends(0);
    assert_eq!(ran.summary()["code_file"], "code");
    assert!(!ran.stdout.contains("REC1"));
    let mode = std::fs::metadata(desk.path("code"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    desk.run(&["status", "w.db", "--recovery-code-file", "code"])
        .ends(0);
}

#[test]
fn quiet_says_nothing_but_what_was_asked_for() {
    let desk = Desk::with_store();
    let add = [
        "key",
        "add",
        "w.db",
        "--new-passphrase-file",
        "other",
        "--kdf-ms",
        "1",
        "-q",
    ];
    let ran = desk.open(&add).ends(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    let ran = desk.open(&["key", "list", "w.db", "-q"]).ends(0);
    assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (2, ""));
    let ran = desk.open(&["status", "w.db", "-q"]).ends(0);
    assert!(ran.stderr.is_empty() && !ran.stdout.is_empty());
}

#[test]
fn other_peoples_reading_is_told() {
    let desk = Desk::with_store();
    let names = |desk: &Desk| -> Vec<String> {
        let status = desk.open(&["status", "w.db", "--json"]).ends(0).summary();
        let warnings = status["warnings"].as_array().unwrap().clone();
        warnings
            .iter()
            .map(|warning| warning["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&desk), ["one_slot", "no_recovery_slot", "cheap_kdf"]);
    desk.mode("w.db", 0o644);
    assert_eq!(names(&desk)[0], "open_to_others");
    assert!(
        desk.run(&["info", "w.db"])
            .ends(0)
            .stdout
            .contains("chmod 600")
    );
}

#[test]
fn completions_and_man_pages_are_made() {
    let desk = Desk::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = ran(&mut desk.command(&["completions", shell])).ends(0);
        assert!(ran.stdout.contains("recovery-code-file"), "{shell}");
    }
    desk.run(&["man", "."]).ends(0);
    for page in [
        "sealed-store.1",
        "sealed-store-init.1",
        "sealed-store-key-recovery.1",
        "sealed-store-header-restore.1",
    ] {
        assert!(desk.path(page).exists(), "{page}");
    }
    desk.run(&["man", "nowhere"]).ends(1);
    let ran = desk.run(&["benchmark", "--target-ms", "20"]).ends(0);
    assert!(ran.stdout.contains("Argon2id") && ran.stdout.contains("xaes-256-gcm"));
}

#[test]
fn a_recovery_code_is_not_made_for_nobody_to_see() {
    let desk = Desk::with_store();
    for nowhere in [">/dev/null", ">&-"] {
        let status = std::process::Command::new("sh")
            .current_dir(desk.folder.path())
            .args([
                "-c",
                &format!(
                    "{} key recovery w.db --passphrase-file secret {nowhere}",
                    cli::PROGRAM
                ),
            ])
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(2), "{nowhere}");
    }
    assert_eq!(desk.slots("w.db"), [1]);
}
