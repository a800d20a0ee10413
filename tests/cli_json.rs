//! Programs read `--json`: every line of every verb is an object, the summary has the fields that `docs/cli.md` lists and no
//! others, and no secret is in it.

mod cli;

use std::collections::BTreeSet;

use cli::Desk;

/// The fields of a verb's summary, by the page.
fn listed(verb: &str) -> BTreeSet<String> {
    let page = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md"),
    )
    .unwrap();
    let section = page
        .split(&format!("### `sealed-store {verb}`\n"))
        .nth(1)
        .unwrap_or_else(|| panic!("{verb} has no section"));
    let line = section
        .lines()
        .find_map(|line| line.strip_prefix("Summary fields: "))
        .unwrap();
    line.trim_end_matches('.')
        .split(", ")
        .map(|field| field.trim_matches('`').to_owned())
        .collect()
}

#[test]
fn every_summary_has_the_fields_of_the_page() {
    let desk = Desk::new();
    let secret = ["--passphrase-file", "secret"];
    let other = ["--new-passphrase-file", "other", "--kdf-ms", "1"];
    let verbs: [(&str, &[&str], &[&str]); 11] = [
        ("init", &["w.db", "--kdf-ms", "1"], &secret),
        ("info", &["w.db"], &[]),
        ("header backup", &["w.db", "backup"], &[]),
        ("status", &["w.db"], &secret),
        ("key add", &[&["w.db"], &other[..]].concat(), &secret),
        ("key list", &["w.db"], &secret),
        ("key recovery", &["w.db", "--code-file", "code"], &secret),
        ("key remove", &["w.db", "2", "--yes"], &secret),
        ("key passwd", &[&["w.db"], &other[..]].concat(), &secret),
        ("benchmark", &["--target-ms", "10"], &[]),
        ("man", &["."], &[]),
    ];
    let one = |verb: &str, arguments: &[&str], secret: &[&str]| {
        let words: Vec<&str> = verb.split(' ').collect();
        let ran = desk
            .run(&[&words[..], arguments, secret, &["--json"]].concat())
            .ends(0);
        let lines = ran.lines();
        for line in &lines[..lines.len() - 1] {
            assert_eq!(line["type"], "progress", "{line}");
            let keys: BTreeSet<_> = line.as_object().unwrap().keys().cloned().collect();
            assert_eq!(
                keys,
                ["type", "phase", "done", "total"].map(String::from).into()
            );
        }
        let summary = ran.summary();
        assert_eq!(summary["verb"], verb);
        let keys: BTreeSet<String> = summary
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| !["type", "verb"].contains(&key.as_str()))
            .cloned()
            .collect();
        assert_eq!(keys, listed(verb), "{verb}");
        if let Ok(code) = std::fs::read_to_string(desk.path("code")) {
            assert!(!ran.stdout.contains(code.trim_end()) && !ran.stderr.contains(code.trim_end()));
        }
    };
    for (verb, arguments, secret) in verbs {
        one(verb, arguments, secret);
    }
    one(
        "header restore",
        &["w.db", "backup", "--allow-older"],
        &secret,
    );
}

#[test]
fn a_failure_is_one_line_of_the_page_s_shape() {
    let desk = Desk::new();
    let line = desk
        .run(&["info", "nowhere.db", "--json"])
        .ends(10)
        .lines()
        .pop()
        .unwrap();
    let keys: BTreeSet<_> = line.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        keys,
        ["type", "code", "name", "message"].map(String::from).into()
    );
    assert_eq!(line["name"], "no_store");
}

#[test]
fn a_name_that_is_no_text_is_told_as_well_as_it_can_be() {
    use std::os::unix::ffi::OsStrExt;
    let desk = Desk::new();
    let mut command = desk.command(&["info", "--json"]);
    let ran = cli::ran(command.arg(std::ffi::OsStr::from_bytes(b"no\xff\n\x1b[2J.db"))).ends(10);
    assert_eq!(ran.stdout.lines().count(), 1);
    assert!(!ran.stderr.contains('\u{1b}'));
    ran.lines();
}
