//! A database as it is: every column of every row of every table, in an order of its own.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

/// A table's columns by name, and its rows.
pub type Dump = BTreeMap<String, (Vec<String>, Vec<Vec<String>>)>;

/// Everything in the database at `path`, which nobody has open.
pub fn dump(path: &Path) -> Dump {
    let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let tables: Vec<String> = file
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut dump = Dump::new();
    for table in tables {
        let mut statement = file.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns: Vec<String> = statement
            .column_names()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut rows: Vec<Vec<String>> = statement
            .query_map([], |row| {
                (0..columns.len())
                    .map(|column| {
                        let value = row.get_ref(column)?;
                        // The order of one message's secrets is of no account.
                        if columns[column] == "senders" {
                            return Ok(format!("{:?}", senders(value.as_blob().unwrap())));
                        }
                        Ok(format!("{value:?}"))
                    })
                    .collect()
            })
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        rows.sort();
        dump.insert(table, (columns, rows));
    }
    dump
}

/// The secrets in a row of our store: `src/store/sqlite/msg_secret/held.rs`.
fn senders(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let mut end = 0;
        for _ in 0..2 {
            let length = u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap());
            end += 4 + length as usize;
        }
        all.push(bytes[..end + 16].to_vec());
        bytes = &bytes[end + 16..];
    }
    all.sort();
    all
}

/// Fails at the first column that differs, and names it.
pub fn assert_same(left: &Dump, right: &Dump) {
    let names = |dump: &Dump| dump.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(left), names(right));
    for (table, (columns, rows)) in left {
        let (other_columns, other_rows) = &right[table];
        assert_eq!(columns, other_columns, "{table}");
        assert_eq!(rows.len(), other_rows.len(), "{table}");
        for (row, other) in rows.iter().zip(other_rows) {
            for ((column, cell), other) in columns.iter().zip(row).zip(other) {
                assert_eq!(cell, other, "{table}.{column}");
            }
        }
    }
}

/// The schema's statements.
pub fn schema(path: &Path) -> Vec<(String, Option<String>)> {
    let file = Connection::open(path).unwrap();
    let mut statement = file
        .prepare(
            "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sealed_store_keyring%'
             AND name NOT LIKE 'sqlite_autoindex_sealed_store_keyring%' ORDER BY name",
        )
        .unwrap();
    statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}
