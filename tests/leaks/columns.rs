//! What each column of a sealed store's file shows, held against the table in `exposure`.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value;
use sealed_store::exposure::{EXPOSURE, Exposure, KEYRING_EXPOSURE, Shows};

use super::canaries::{Canary, Content, Search};

pub fn describe(canaries: &[Canary], found: &BTreeSet<(usize, &'static str)>) -> String {
    let lines = found
        .iter()
        .map(|(canary, form)| format!("{} as {form}", canaries[*canary].what));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_listed(lines: &[Exposure], (table, column): (&str, &str)) -> bool {
    lines.iter().any(|line| {
        line.table == table && line.column == column && matches!(line.shows, Shows::Clear(_))
    })
}

/// Checks that each clear canary stands in its column, then blanks those columns.
pub fn blank_clear_columns(path: &Path, canaries: &[Canary]) {
    let file = Connection::open(path).unwrap();
    for canary in canaries {
        let Some((table, column)) = canary.clear else {
            continue;
        };
        if is_listed(KEYRING_EXPOSURE, (table, column)) {
            continue;
        }
        assert!(
            is_listed(EXPOSURE, (table, column)),
            "{table}.{column} is not listed as clear"
        );
        let sql = format!("SELECT count(*) FROM {table} WHERE {column} = ?1");
        let count: i64 = match &canary.content {
            Content::Bytes(bytes) => file.query_row(&sql, [bytes], |row| row.get(0)),
            Content::U32(number) => file.query_row(&sql, [number], |row| row.get(0)),
            Content::U64(number) => file.query_row(&sql, [*number as i64], |row| row.get(0)),
            Content::Text(text) => file.query_row(&sql, [text], |row| row.get(0)),
        }
        .unwrap();
        assert!(count > 0, "{} is not in {table}.{column}", canary.what);
    }
    for Exposure { table, column, .. } in EXPOSURE.iter().filter(|line| {
        let others = EXPOSURE.iter().filter(|other| {
            other.table == line.table
                && other.column == line.column
                && !matches!(other.shows, Shows::Clear(_))
        });
        matches!(line.shows, Shows::Clear(_)) && others.count() == 0 && line.column != "device_id"
    }) {
        file.execute_batch(&format!("UPDATE {table} SET {column} = rowid"))
            .unwrap();
    }
    let documents: Vec<Vec<u8>> = file
        .prepare("SELECT document FROM sealed_store_keyring")
        .and_then(|mut all| all.query_map([], |row| row.get(0))?.collect())
        .unwrap();
    let mut text: String = documents
        .into_iter()
        .map(|document| String::from_utf8(document).unwrap())
        .collect();
    for (field, canary) in [("label", "keyring.label"), ("name", "keyring.account")] {
        let canary = canaries.iter().find(|found| found.what == canary).unwrap();
        let Content::Text(value) = &canary.content else {
            panic!("a label is text");
        };
        assert!(text.contains(&format!("\"{field}\": \"{value}\"")));
        text = text.replace(value, "");
    }
    let left = Search::new(canaries).find(text.as_bytes());
    assert!(
        left.is_empty(),
        "in the keyring:\n{}",
        describe(canaries, &left)
    );
    file.execute_batch(
        "DELETE FROM sealed_store_keyring; VACUUM; PRAGMA journal_mode = DELETE; VACUUM",
    )
    .unwrap();
}

/// Whether a value is what a line of the table says.
pub fn fits(shows: Shows, row_is: &str, value: &Value) -> bool {
    let letters = |text: &str| {
        text.len() == 26
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
    };
    match (shows, value) {
        // The second half of a message secret has no header of its own.
        (Shows::Sealed, Value::Blob(bytes)) if row_is == "msg_secrets" => bytes.len() == 32,
        (Shows::Sealed, Value::Blob(bytes)) => bytes
            .windows(4)
            .any(|window| matches!(window, [0xA5, 0x53, 1, 1 | 2])),
        (Shows::Sealed, Value::Text(text)) => text.starts_with("pVMB"),
        (Shows::Token, Value::Text(text)) => text.split('@').all(letters),
        (Shows::Token, Value::Blob(bytes)) => bytes.len() == 32,
        (Shows::Name, Value::Text(text)) => data_encoding::BASE64URL_NOPAD
            .decode(text.as_bytes())
            .is_ok_and(|bytes| bytes.len() > 16 && bytes.len() % 32 == 16),
        (Shows::Constant("NULL"), Value::Null) => true,
        (Shows::Constant("empty"), Value::Text(text)) => text.is_empty(),
        (Shows::Constant("upstream's default"), Value::Integer(number)) => {
            let device = wacore::store::Device::new();
            let defaults = [
                device.app_version_primary,
                device.app_version_secondary,
                device.app_version_tertiary,
            ];
            defaults.map(i64::from).contains(number)
        }
        (Shows::Constant(what), Value::Integer(number)) => number.to_string() == what,
        (Shows::Constant(what), Value::Text(text)) => what.starts_with(&format!("`{text}`")),
        (Shows::Clear(_), Value::Blob(bytes)) if row_is == "sessions" => {
            bytes.starts_with(b"sealed-store canary 1\n")
        }
        (Shows::Clear(_), Value::Blob(bytes)) if row_is == "tc_tokens" => bytes.is_empty(),
        (Shows::Clear(_), _) => true,
        _ => false,
    }
}
