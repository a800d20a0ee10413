//! `docs/cli.md` is a contract: what the program takes and answers is what the page says.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};

use super::args::Arguments;
use super::failure::Code;
use super::secret;

fn page() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    std::fs::read_to_string(path).unwrap()
}

/// Every verb that does something, with its whole name.
fn verbs(command: &Command, name: &str, into: &mut Vec<(String, Command)>) {
    if command.has_subcommands() {
        for verb in command.get_subcommands() {
            verbs(verb, &format!("{name} {}", verb.get_name()), into);
        }
    } else {
        into.push((name.to_owned(), command.clone()));
    }
}

fn all_verbs() -> Vec<(String, Command)> {
    let mut all = Vec::new();
    verbs(&Arguments::command(), "sealed-store", &mut all);
    all
}

/// The `--options` in a text.
fn options(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| word.starts_with("--") && !word.ends_with('-'))
        .map(|word| word.trim_start_matches('-').to_owned())
        .collect()
}

/// The options in a column of the table of secrets.
fn group(page: &str, column: usize) -> BTreeSet<String> {
    let table = page.split("## Secrets").nth(1).unwrap();
    let table = table.split("## Verbs").next().unwrap();
    table
        .lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| line.split('|').nth(column + 1))
        .flat_map(options)
        .collect()
}

#[test]
fn the_program_is_well_made() {
    Arguments::command().debug_assert();
}

#[test]
fn the_page_has_every_verb_with_every_option_and_no_other() {
    let page = page();
    let groups = [
        ("[OPENING]", group(&page, 1)),
        ("[FIRST]", group(&page, 2)),
        ("[NEW]", group(&page, 3)),
    ];
    assert!(groups.iter().all(|(_, options)| options.len() > 3));
    let mut sections: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### `"))
        .map(|rest| rest.trim_end_matches('`').to_owned())
        .collect();
    for (name, command) in all_verbs() {
        assert!(sections.remove(&name), "{name} has no section");
        let section = page.split(&format!("### `{name}`\n")).nth(1).unwrap();
        let synopsis = section.split("```").nth(1).unwrap();
        assert!(synopsis.trim().starts_with(&name), "{name}");
        let mut listed = options(synopsis);
        for (group, members) in &groups {
            if synopsis.contains(group) {
                listed.extend(members.clone());
            }
        }
        let taken: BTreeSet<String> = command
            .get_arguments()
            .filter(|argument| !argument.is_global_set())
            .filter_map(|argument| argument.get_long())
            .filter(|long| !["help", "version"].contains(long))
            .map(str::to_owned)
            .collect();
        assert_eq!(listed, taken, "options of {name}");
        let places: Vec<String> = command
            .get_positionals()
            .map(|argument| argument.get_value_names().unwrap()[0].to_string())
            .collect();
        let shown: Vec<String> = synopsis
            .split('<')
            .skip(1)
            .map(|rest| rest.split('>').next().unwrap().to_owned())
            .collect();
        assert_eq!(shown, places, "arguments of {name}");
    }
    assert!(sections.is_empty(), "no such verbs: {sections:?}");
}

#[test]
fn the_page_has_every_exit_code_and_no_other() {
    let page = page();
    let table = page.split("## Exit codes").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let listed: Vec<(String, String)> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .map(|line| {
            let mut cells = line.split(" | ");
            let number = cells.next().unwrap().to_owned();
            (number, cells.next().unwrap().trim_matches('`').to_owned())
        })
        .collect();
    let ours: Vec<(String, String)> = Code::ALL
        .iter()
        .map(|code| (code.number().to_string(), code.name().to_owned()))
        .collect();
    assert_eq!(listed, ours);
    // The help of the program lists them too.
    let help = Arguments::command().render_long_help().to_string();
    for code in Code::ALL {
        assert!(help.contains(&code.number().to_string()), "{code:?}");
    }
}

#[test]
fn the_page_has_every_variable() {
    let page = page();
    for name in secret::OPENING.iter().chain(&secret::NEW) {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}
