//! The threat model promises what is sealed and what is not, and readers decide by it. Its table is
//! therefore rendered from code, the code is held against upstream's real schema and the keyring's
//! real documents, every "prevented" and "detected" names a test, and every test that it names exists.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use sealed_store::exposure::{self, EXPOSURE, KEYRING_EXPOSURE};
use sealed_store::{Keyring, Table};

const DOCUMENT: &str = "threat-model.md";

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT))
        .expect("the threat model is there")
}

/// Tables of the file that hold no row of the client: SQLite's, diesel's and the keyring's own.
fn is_bookkeeping(table: &str) -> bool {
    table.starts_with("sqlite_")
        || table.starts_with("sealed_store_")
        || table == "__diesel_schema_migrations"
}

#[tokio::test]
async fn the_table_lists_every_column_of_upstreams_schema_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.db");
    let store = common::sqlite(&path).await;
    let reader = Connection::open(&path).unwrap();
    let mut columns = reader
        .prepare(
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
             WHERE t.type = 'table'",
        )
        .unwrap();
    let found: BTreeSet<(String, String)> = columns
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .filter(|(table, _): &(String, String)| !is_bookkeeping(table))
        .collect();
    let listed: BTreeSet<(String, String)> = EXPOSURE
        .iter()
        .map(|line| (line.table.to_owned(), line.column.to_owned()))
        .collect();
    assert_eq!(found, listed);
    let tables: BTreeSet<&String> = found.iter().map(|(table, _)| table).collect();
    assert_eq!(tables.len(), 18);
    drop(store);
}

/// The paths of all fields of a document's body; lists of objects are walked, `recipe` is not: what
/// stands in it is the provider's.
fn fields(prefix: &str, value: &serde_json::Value, into: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(object) if !prefix.ends_with("recipe.") => {
            for (name, value) in object {
                fields(&format!("{prefix}{name}."), value, into);
            }
        }
        serde_json::Value::Array(items) if items.iter().any(serde_json::Value::is_object) => {
            for item in items {
                fields(prefix, item, into);
            }
        }
        _ => {
            into.insert(prefix.trim_end_matches('.').to_owned());
        }
    }
}

#[tokio::test]
async fn the_table_lists_every_field_of_the_keyrings_documents_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyring.db");
    let keyring: Keyring = common::file_keyring(&path).await;
    let account = keyring.create_account("1").await.unwrap();
    account.rotate_data_keys(&[Table::Session]).await.unwrap();
    let reader = Connection::open(&path).unwrap();
    let mut documents = reader
        .prepare("SELECT name, document FROM sealed_store_keyring")
        .unwrap();
    let mut found = BTreeSet::new();
    for document in documents
        .query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
        })
        .unwrap()
    {
        let (name, bytes) = document.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let body = &text[text.find('{').unwrap()..=text.rfind('}').unwrap()];
        let mut paths = BTreeSet::new();
        fields("", &serde_json::from_str(body).unwrap(), &mut paths);
        let (name, _) = name.split_once(':').unwrap_or((&name, ""));
        found.extend(paths.into_iter().map(|path| (name.to_owned(), path)));
    }
    // Outside a root rotation this one is null; inside it has the two fields that are listed.
    assert!(found.remove(&("keyring".to_owned(), "previous_root".to_owned())));
    found.insert(("keyring".to_owned(), "previous_root.root".to_owned()));
    found.insert(("keyring".to_owned(), "previous_root.wrapped".to_owned()));
    // Written where it is true.
    found.insert(("keyring".to_owned(), "slots.may_be_lost".to_owned()));
    let listed: BTreeSet<(String, String)> = KEYRING_EXPOSURE
        .iter()
        .map(|line| (line.table.to_owned(), line.column.to_owned()))
        .collect();
    assert_eq!(found, listed);
}

#[test]
fn the_documents_section_is_the_rendering_of_the_table() {
    let text = document();
    let [begin, end] = exposure::MARKERS;
    let (_, rest) = text.split_once(begin).expect("the begin marker");
    let (section, rest) = rest.split_once(end).expect("the end marker");
    assert!(
        !rest.contains(begin),
        "the section stands in the document once"
    );
    let rendering = exposure::markdown();
    if section.trim() != rendering.trim() {
        // Not committed by itself: a reader must see that the promise changes.
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exposure.md");
        fs::write(&path, &rendering).unwrap();
        panic!(
            "{DOCUMENT} differs from the code; the new section is in {}",
            path.display()
        );
    }
}

/// The names of the tests in a test file: of each function after a test attribute.
fn tests_of(source: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut attributed = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            attributed = true;
        } else if attributed && let Some((_, rest)) = line.split_once("fn ") {
            names.extend(rest.split('(').next());
            attributed = false;
        }
    }
    names
}

/// What stands between backquotes: the parts of odd number.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The tests that a text names, by file and function.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let references = quoted(text).filter_map(|reference| reference.split_once("::"));
    references.filter(|(file, _)| file.ends_with(".rs"))
}

#[test]
fn every_test_that_the_document_names_exists() {
    let text = document();
    for (file, test) in named(&text) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let source = fs::read_to_string(path).unwrap_or_default();
        let found = tests_of(&source).contains(test);
        assert!(found, "no such test: {file}::{test}");
    }
    let count = named(&text).count();
    assert!(count > 0, "the document names its proof");
    println!("{count} tests named");
}

/// Else nothing would look for it. A test's name is a sentence; columns are in the rendered section, and
/// elsewhere in the document no other word is as long.
#[test]
fn every_test_is_named_with_its_file() {
    let text = document();
    let [begin, end] = exposure::MARKERS;
    let (before, rest) = text.split_once(begin).expect("the begin marker");
    let (_, after) = rest.split_once(end).expect("the end marker");
    for word in quoted(before).chain(quoted(after)) {
        let plain = word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let sentence = plain && word.matches('_').count() >= 3;
        assert!(!sentence, "{word} is named without its file");
    }
}

/// The number of a footnote where it is referred to, if this is a reference.
fn superscript(mark: &str) -> Option<usize> {
    mark.chars().try_fold(0, |number, digit| {
        let digit = "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().position(|other| other == digit)?;
        Some(10 * number + digit)
    })
}

/// The text of a footnote under the matrix, up to the next one.
fn footnote(notes: &str, number: usize) -> String {
    let starts = |line: &str| {
        let (number, _) = line.split_once(". ")?;
        number.parse::<usize>().ok()
    };
    let from = notes
        .lines()
        .skip_while(|line| starts(line) != Some(number));
    let own = from.take_while(|line| starts(line).is_none_or(|other| other == number));
    own.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_prevention_and_detection_of_the_matrix_names_its_test() {
    let text = document();
    let (_, rest) = text.split_once("\n| A1 |").expect("the matrix");
    let (matrix, notes) = rest.split_once("\n\n").expect("its footnotes");
    let (notes, _) = notes.split_once("\n## ").expect("the next section");
    let (mut rows, mut promised) = (0, 0);
    for row in format!("| A1 |{matrix}").lines() {
        rows += 1;
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 11, "{row}");
        for cell in &cells[1..] {
            let mut words = cell.split(' ');
            let promises = match words.next() {
                Some("prevented" | "detected") => true,
                Some("not" | "–") => false,
                _ => panic!("{}: {cell:?} is no answer", cells[0]),
            };
            let mut proven = false;
            for mark in words {
                let number = superscript(mark).expect("a footnote's number");
                let note = footnote(notes, number);
                assert!(!note.is_empty(), "{}: no footnote {number}", cells[0]);
                proven |= named(&note).next().is_some();
            }
            assert!(proven || !promises, "{}: {cell:?} names no test", cells[0]);
            promised += usize::from(promises);
        }
    }
    assert_eq!(rows, 7, "adversaries");
    assert!(promised > 0, "something is promised");
    println!("{promised} cells promise something");
}
