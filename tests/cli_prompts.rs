//! At a terminal: secrets are asked for without echo, new ones twice and rated, a recovery code is taken where a passphrase
//! is, and Ctrl-C leaves the terminal as it was.

mod cli;

use std::process::Command;

use cli::{Desk, OTHER, PROGRAM, SECRET};
use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};

/// Far longer than anything takes.
const PATIENCE: Option<u64> = Some(120_000);

fn terminal(desk: &Desk, arguments: &[&str]) -> PtySession {
    let mut command = Command::new(PROGRAM);
    command.current_dir(desk.folder.path()).args(arguments);
    spawn_command(command, PATIENCE).unwrap()
}

/// What was shown until the end, and the exit code.
fn end(mut session: PtySession) -> (String, i32) {
    let shown = session.exp_eof().unwrap();
    match session.process().wait().unwrap() {
        WaitStatus::Exited(_, code) => (shown, code),
        other => panic!("{other:?}"),
    }
}

/// Waits for a question, answers it, and sees that nothing of the answer is shown.
fn answer(session: &mut PtySession, question: &str, text: &str) -> String {
    let before = session.exp_string(question).unwrap();
    session.send_line(text).unwrap();
    before
}

#[test]
fn a_new_passphrase_is_asked_for_twice_and_never_shown() {
    let desk = Desk::new();
    let mut session = terminal(&desk, &["init", "w.db", "--kdf-ms", "1"]);
    answer(&mut session, "New passphrase: ", SECRET);
    answer(&mut session, "The same again: ", SECRET);
    let (shown, code) = end(session);
    assert_eq!(code, 0, "{shown}");
    assert!(
        !shown.contains("otter") && !shown.contains("weak"),
        "{shown}"
    );
    desk.run(&["status", "w.db", "--passphrase-file", "secret"])
        .ends(0);

    let mut session = terminal(&desk, &["key", "list", "w.db"]);
    answer(
        &mut session,
        "Passphrase or recovery code of w.db: ",
        SECRET,
    );
    let (shown, code) = end(session);
    assert_eq!(code, 0, "{shown}");
    assert!(
        !shown.contains("otter") && shown.contains("<- opened"),
        "{shown}"
    );
}

#[test]
fn two_that_differ_make_nothing() {
    let desk = Desk::new();
    let mut session = terminal(&desk, &["init", "w.db"]);
    answer(&mut session, "New passphrase: ", SECRET);
    answer(&mut session, "The same again: ", OTHER);
    let (shown, code) = end(session);
    assert_eq!(code, 2);
    assert!(shown.contains("the two differ"), "{shown}");
    assert!(!desk.path("w.db").exists());
}

#[test]
fn a_weak_passphrase_is_told_and_taken() {
    let desk = Desk::new();
    let mut session = terminal(&desk, &["init", "w.db", "--kdf-ms", "1"]);
    answer(&mut session, "New passphrase: ", "whatsapp1");
    let said = answer(&mut session, "The same again: ", "whatsapp1");
    assert!(
        said.contains("weak") && !said.contains("whatsapp1"),
        "{said}"
    );
    assert_eq!(end(session).1, 0);
}

#[test]
fn a_recovery_code_is_shown_once_and_typed_where_the_passphrase_is() {
    let desk = Desk::with_store();
    let mut session = terminal(
        &desk,
        &["key", "recovery", "w.db", "--passphrase-file", "secret"],
    );
    let (_, code) = session.exp_regex("REC1(-[02-9AC-HJ-NP-Z]{4}){8}").unwrap();
    let (shown, status) = end(session);
    assert_eq!(status, 0);
    // The session gives each byte as a character.
    let drawn = shown.matches("\u{e2}\u{96}").count();
    assert!(drawn > 100, "a QR code is drawn: {shown}");
    assert!(shown.contains("write it"), "{shown}");
    assert_eq!(desk.slots("w.db"), [1, 2]);

    let sloppy = code.to_lowercase().replace('-', " ");
    let mut session = terminal(&desk, &["key", "list", "w.db"]);
    answer(&mut session, "recovery code of w.db: ", &sloppy);
    let (shown, status) = end(session);
    assert_eq!(status, 0, "{shown}");
    assert!(shown.contains("recovery  <- opened"), "{shown}");

    // One wrong letter is told as such.
    let last = if code.ends_with('Q') { 'P' } else { 'Q' };
    let mistyped = format!("{}{last}", &code[..code.len() - 1]);
    let mut session = terminal(&desk, &["key", "list", "w.db"]);
    answer(&mut session, "recovery code of w.db: ", &mistyped);
    let (shown, status) = end(session);
    assert_eq!(status, 2);
    assert!(shown.contains("mistyped"), "{shown}");

    // The code is not spent by a new passphrase.
    let mut session = terminal(&desk, &["key", "passwd", "w.db"]);
    answer(&mut session, "recovery code of w.db: ", &code);
    let (shown, status) = end(session);
    assert_eq!(status, 2);
    assert!(shown.contains("key add"), "{shown}");
}

#[test]
fn a_slot_is_removed_after_a_typed_yes_alone() {
    let desk = Desk::with_store();
    desk.open(&[
        "key",
        "add",
        "w.db",
        "--new-passphrase-file",
        "other",
        "--kdf-ms",
        "1",
    ])
    .ends(0);
    let remove = ["key", "remove", "w.db", "1", "--passphrase-file", "secret"];
    for (typed, code, left) in [("y", 130, &[1, 2][..]), ("yes", 0, &[2])] {
        let mut session = terminal(&desk, &remove);
        let asked = answer(&mut session, "Type yes to go on: ", typed);
        assert!(asked.contains("It is the one that opened"), "{asked}");
        assert_eq!(end(session).1, code);
        assert_eq!(desk.slots("w.db"), left);
    }
    desk.run(&["key", "remove", "w.db", "2", "--passphrase-file", "other"])
        .ends(1);
}

#[test]
fn without_an_answer_nothing_is_done() {
    let desk = Desk::with_store();
    let mut session = terminal(&desk, &["key", "list", "w.db"]);
    answer(&mut session, "w.db: ", "");
    assert_eq!(end(session).1, 2);
    let mut session = terminal(&desk, &["key", "list", "w.db"]);
    session.exp_string("w.db: ").unwrap();
    session.send_control('d').unwrap();
    assert_eq!(end(session).1, 2);
}

/// In a shell, for the terminal outlives the program there.
#[test]
fn ctrl_c_ends_with_130_and_puts_the_echo_back() {
    let desk = Desk::with_store();
    for signal in ["typed", "INT", "TERM"] {
        let mut shell = Command::new("sh");
        shell.current_dir(desk.folder.path()).arg("-c").arg(format!(
            "stty -a > before; trap '' INT; (trap - INT; echo $$; exec sh -c 'echo pid $$; exec {PROGRAM} key list w.db'); \
             echo \"ended $?\"; stty -a > after"
        ));
        let mut session = spawn_command(shell, PATIENCE).unwrap();
        let (_, pid) = session.exp_regex("pid [0-9]+").unwrap();
        session.exp_string("w.db: ").unwrap();
        if signal == "typed" {
            session.send_control('c').unwrap();
        } else {
            let pid = pid.trim_start_matches("pid ");
            let kill = Command::new("sh")
                .arg("-c")
                .arg(format!("kill -{signal} {pid}"))
                .status();
            assert!(kill.unwrap().success());
        }
        let (shown, _) = end(session);
        assert!(shown.contains("ended 130"), "{signal}: {shown}");
        let settings = |name| std::fs::read_to_string(desk.path(name)).unwrap();
        assert_eq!(settings("before"), settings("after"), "{signal}");
    }
    desk.run(&["status", "w.db", "--passphrase-file", "secret"])
        .ends(0);
}

/// Nothing is there to be gone on with, and nothing was changed.
#[test]
fn ctrl_c_at_any_question_ends_with_130() {
    let desk = Desk::with_store();
    let before = cli::snapshot(desk.folder.path());
    let open = ["--passphrase-file", "secret"];
    let questions: [(&[&str], &str); 5] = [
        (&["decrypt", "w.db"], "Type decrypt to go on: "),
        (&["shred", "w.db", "--all"], "Type shred to go on: "),
        (
            &["key", "passwd", "w.db", open[0], open[1]],
            "New passphrase: ",
        ),
        (&["init", "n.db"], "New passphrase: "),
        (&["reencrypt", "w.db"], "recovery code of w.db: "),
    ];
    for (arguments, question) in questions {
        let mut session = terminal(&desk, arguments);
        session.exp_string(question).unwrap();
        session.send_control('c').unwrap();
        let (shown, code) = end(session);
        assert_eq!(code, 130, "{arguments:?}: {shown}");
    }
    let after = cli::snapshot(desk.folder.path());
    assert!(after["w.db"] == before["w.db"] && !after.contains_key("n.db"));
}
