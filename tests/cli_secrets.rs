//! Where secrets come from: exactly one source, exact bytes, never an argument and never an output. (Every run of the
//! program in these tests is searched for its secrets: `tests/cli/mod.rs`.)

mod cli;

use assert_cmd::Command;
use cli::{Desk, OTHER, PROGRAM, SECRET, ran};

const VARIABLE: &str = "SEALED_STORE_PASSPHRASE";

#[test]
fn every_source_gives_the_same_passphrase() {
    let desk = Desk::with_store();
    desk.file("line", format!("{SECRET}\n").as_bytes());
    desk.file("two", format!("{SECRET}\n\n").as_bytes());
    desk.file("return", format!("{SECRET}\r\n").as_bytes());
    let status = |source: &[&str]| desk.run(&[&["status", "w.db"], source].concat());
    status(&["--passphrase-file", "secret"]).ends(0);
    status(&["--passphrase-file", "line"]).ends(0);
    // One newline, and nothing else.
    status(&["--passphrase-file", "two"]).ends(12);
    status(&["--passphrase-file", "return"]).ends(12);
    status(&["--passphrase-command", "cat line"]).ends(0);
    status(&["--passphrase-command", &format!("printf '%s' {SECRET:?}")]).ends(0);

    let mut piped = desk.command(&["status", "w.db", "--passphrase-fd", "0"]);
    ran(piped.write_stdin(format!("{SECRET}\n"))).ends(0);
    let shell = |script: &str| {
        let mut shell = Command::new("sh");
        shell.current_dir(desk.folder.path());
        ran(shell.arg("-c").arg(script.replace("PROGRAM", PROGRAM)))
    };
    shell("exec PROGRAM status w.db --passphrase-fd 3 3<line").ends(0);
    shell("cat line | PROGRAM status w.db --passphrase-fd 3 3<&0 </dev/null").ends(0);
    shell("PROGRAM status w.db --passphrase-fd 77")
        .ends(2)
        .says("is it open?");

    for (name, value) in [("", SECRET), ("_FILE", "line"), ("_COMMAND", "cat line")] {
        let mut command = desk.command(&["status", "w.db"]);
        ran(command.env(format!("{VARIABLE}{name}"), value)).ends(0);
    }
}

#[test]
fn two_sources_are_one_too_many_and_an_option_goes_before_the_environment() {
    let desk = Desk::with_store();
    let mut both = desk.command(&["status", "w.db"]);
    both.env(VARIABLE, SECRET)
        .env(format!("{VARIABLE}_FILE"), "secret");
    ran(&mut both).ends(2).says("set one of them");
    let mut option = desk.command(&["status", "w.db", "--passphrase-file", "secret"]);
    ran(option.env(VARIABLE, OTHER)).ends(0);
    let mut one_fd = desk.command(&[
        "key",
        "passwd",
        "w.db",
        "--passphrase-fd",
        "0",
        "--new-passphrase-fd",
        "0",
    ]);
    ran(one_fd.write_stdin(SECRET)).ends(2).says("use two");
    desk.run(&["status", "w.db"])
        .ends(2)
        .says("--passphrase-file")
        .says("SEALED_STORE_PASSPHRASE");
    desk.open(&["key", "add", "w.db"])
        .ends(2)
        .says("--new-passphrase-file")
        .says("SEALED_STORE_NEW_PASSPHRASE");
    assert_eq!(desk.slots("w.db"), [1]);
}

#[test]
fn an_empty_or_endless_passphrase_is_refused() {
    let desk = Desk::with_store();
    for content in [&b""[..], b"\n"] {
        desk.file("empty", content);
        for arguments in [
            &["status", "w.db", "--passphrase-file", "empty"][..],
            &["status", "w.db", "--passphrase-command", "cat empty"],
            &["init", "new.db", "--passphrase-file", "empty"],
        ] {
            desk.run(arguments).ends(2).says("empty");
        }
    }
    let mut variable = desk.command(&["status", "w.db"]);
    ran(variable.env(VARIABLE, "")).ends(2).says("empty");
    desk.run(&["status", "w.db", "--passphrase-file", "/dev/zero"])
        .ends(2)
        .says("64 KiB");
    desk.run(&["status", "w.db", "--passphrase-command", "cat /dev/zero"])
        .ends(2);
    assert!(!desk.path("new.db").exists());
    // The longest there is.
    desk.file("long", &[b'x'; 65_536]);
    desk.run(&[
        "init",
        "new.db",
        "--passphrase-file",
        "long",
        "--kdf-ms",
        "1",
    ])
    .ends(0);
    desk.run(&["status", "new.db", "--passphrase-file", "long"])
        .ends(0);
    desk.file("longer", &[b'x'; 65_537]);
    desk.run(&["status", "new.db", "--passphrase-file", "longer"])
        .ends(2);
}

#[test]
fn a_passphrase_is_any_bytes() {
    let desk = Desk::new();
    for (number, bytes) in [
        &b"nul \0 and 'quotes\" and \\"[..],
        b"\xff\xfe not utf-8",
        b" spaces ",
        b"\r",
        b"-",
        "Zo\u{eb} \u{1f600}".as_bytes(),
    ]
    .into_iter()
    .enumerate()
    {
        desk.file("odd", bytes);
        let db = format!("{number}.db");
        desk.run(&["init", &db, "--passphrase-file", "odd", "--kdf-ms", "1"])
            .ends(0);
        desk.run(&["status", &db, "--passphrase-file", "odd"])
            .ends(0);
        desk.run(&["status", &db, "--passphrase-file", "secret"])
            .ends(12);
    }
}

#[test]
fn a_command_runs_without_a_shell_and_its_complaints_are_heard() {
    let desk = Desk::with_store();
    let status = |command: &str| desk.run(&["status", "w.db", "--passphrase-command", command]);
    // A shell would make two files of it, or none.
    status("cat secret > stolen; touch made").ends(16);
    assert!(!desk.path("stolen").exists() && !desk.path("made").exists());
    status("cat $SECRET")
        .ends(16)
        .says("$SECRET")
        .says("run it by itself");
    status("no-such-program-anywhere")
        .ends(16)
        .says("can't be started");
    status("cat 'secret").ends(2).says("quote");
    status("").ends(2);
    // Said, and then failed: what was said is not used.
    desk.file(
        "fails",
        b"#!/bin/sh\ncat secret\necho 'agent: no key' >&2\nexit 3\n",
    );
    desk.mode("fails", 0o700);
    status("./fails")
        .ends(16)
        .says("agent: no key")
        .says("exit status: 3");
    // It does not see our variables.
    desk.file(
        "sees",
        b"#!/bin/sh\nenv | grep SEALED_STORE >&2\ncat secret\n",
    );
    desk.mode("sees", 0o700);
    let mut command = desk.command(&["status", "w.db"]);
    let ran = ran(command.env(format!("{VARIABLE}_COMMAND"), "./sees"));
    assert!(!ran.ends(0).stderr.contains("SEALED_STORE"));
}

#[test]
fn a_key_file_is_32_bytes_or_64_digits_for_nobody_else() {
    let desk = Desk::new();
    // Bytes that a text reader would trim or refuse.
    let mut key = [0xff; 32];
    key[0] = b' ';
    key[30] = 0;
    key[31] = b'\n';
    desk.file("key", &key);
    desk.run(&["init", "w.db", "--key-file", "key"]).ends(0);
    let status = |name: &str| desk.run(&["status", "w.db", "--key-file", name]);
    status("key").ends(0);
    let digits = hex::encode(key);
    for (name, content) in [
        ("hex", digits.clone()),
        ("HEX", digits.to_uppercase()),
        ("line", format!("{digits}\n")),
        ("return", format!("{digits}\r\n")),
    ] {
        desk.file(name, content.as_bytes());
        status(name).ends(0);
    }
    for (name, content) in [
        ("short", &key[..31]),
        ("empty", b""),
        ("long", &[&key[..], b"x"].concat()),
        ("nothex", "g".repeat(64).as_bytes()),
        ("spaced", format!(" {digits}").as_bytes()),
    ] {
        desk.file(name, content);
        status(name).ends(1).says("32 bytes");
    }
    desk.file("zero", &[0; 32]);
    status("zero").ends(1).says("never filled");
    for mode in [0o604, 0o640, 0o660, 0o644, 0o777] {
        desk.mode("key", mode);
        status("key").ends(1).says("chmod 600");
        desk.mode("secret", mode);
        desk.run(&["status", "w.db", "--passphrase-file", "secret"])
            .ends(1)
            .says("chmod 600");
    }
    desk.mode("key", 0o400);
    status("key").ends(0);
    // A raw key is not stretched.
    desk.run(&["init", "n.db", "--key-file", "key", "--kdf-ms", "1"])
        .ends(2);
}

#[test]
fn no_secret_is_taken_as_an_argument() {
    let desk = Desk::with_store();
    let help = |verb: &[&str]| desk.run(&[verb, &["--help"]].concat()).ends(0).stdout;
    for verb in [
        &["init"][..],
        &["status"],
        &["key", "add"],
        &["key", "passwd"],
        &["key", "recovery"],
        &["header", "restore"],
    ] {
        let help = help(verb);
        for word in [
            "--passphrase ",
            "--passphrase=",
            "--password",
            "--recovery-code ",
            "--key ",
        ] {
            assert!(!help.contains(word), "{verb:?} {word}");
        }
    }
    desk.run(&["status", "w.db", "--passphrase", "x"]).ends(2);
}

#[test]
fn a_derivation_above_the_ceiling_is_refused_and_the_ceiling_can_be_raised() {
    let desk = Desk::with_store();
    // 19 MiB, 2 passes.
    desk.open(&["status", "w.db", "--kdf-ceiling", "37"])
        .ends(1)
        .says("--kdf-ceiling");
    desk.open(&["status", "w.db", "--kdf-ceiling", "38"])
        .ends(0);
}
