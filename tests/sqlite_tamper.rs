//! Whoever can write our own store's file makes no sealed row read as something else: every byte of every
//! column that holds bytes is altered, cut and extended, and every row then reads as it was, is refused, or is
//! absent because its key is another. Never a wrong value, never a panic.
//!
//! (Numbers are left alone, and not compared where they lie among bytes, as a message secret's times do: what may
//! be done with `has_key` and with times is in the threat model, and holds here as in upstream's store.)

mod common;

use std::collections::BTreeMap;

use common::samples::{Sample, TABLES};
use rusqlite::{Connection, params};
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{SealedBackend, Table, open};
use wacore::store::traits::DeviceStore;

const OWNER: u8 = 1;

fn samples() -> impl Iterator<Item = Sample> {
    TABLES.into_iter().flat_map(|table| {
        let rows = if table == Table::Device { 1 } else { 2 };
        (0..rows).map(move |row| Sample {
            table,
            row,
            owner: OWNER,
        })
    })
}

/// What the rows answer: a value, nothing, or a refusal.
async fn answers(store: &SealedBackend<SqliteStore>) -> Vec<Result<Option<String>, ()>> {
    let mut answers = Vec::new();
    for sample in samples() {
        answers.push(sample.get(store).await.map_err(drop));
    }
    answers
}

/// The columns of bytes of each table.
fn columns(file: &Connection) -> BTreeMap<String, Vec<String>> {
    let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut statement = file
        .prepare(
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
             WHERE t.type = 'table' AND t.name NOT GLOB 'sealed_store_*' AND c.type = 'BLOB'",
        )
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    for (table, column) in rows.map(Result::unwrap) {
        columns.entry(table).or_default().push(column);
    }
    columns
}

/// Altered forms of a stored value: a bit of a byte, a length, and a byte more; at most some sixty places of a
/// long one, its beginning among them.
fn altered(bytes: &[u8]) -> Vec<Vec<u8>> {
    let step = bytes.len().div_ceil(64).max(1);
    let places = || (0..bytes.len()).filter(move |at| *at < 40 || at % step == 0);
    let mut forms: Vec<Vec<u8>> = places()
        .map(|at| {
            let mut form = bytes.to_vec();
            form[at] ^= 1 << (at % 8);
            form
        })
        .collect();
    forms.extend(places().step_by(4).map(|len| bytes[..len].to_vec()));
    forms.push([bytes, &[0]].concat());
    forms
}

/// An answer without the time that is in the clear in a row's bytes.
fn without_time(table: Table, answer: &str) -> String {
    match answer.rsplit_once(", ") {
        Some((secret, _time)) if table == Table::MsgSecret => secret.to_owned(),
        _ => answer.to_owned(),
    }
}

#[tokio::test]
async fn no_altered_column_reads_as_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let store = open(&path, &common::raw_key()).await.unwrap();
    store.create().await.unwrap();
    for sample in samples() {
        sample.put(&store).await.unwrap();
    }
    let whole = answers(&store).await;
    for (sample, answer) in samples().zip(&whole) {
        assert_eq!(
            answer.as_ref().unwrap().as_deref(),
            Some(&*sample.expected()),
            "{sample:?}"
        );
    }
    let file = Connection::open(&path).unwrap();
    file.busy_timeout(std::time::Duration::from_secs(10))
        .unwrap();
    file.pragma_update(None, "synchronous", "OFF").unwrap();

    let (mut count, mut refused, mut absent) = (0, 0, 0);
    for (table, columns) in columns(&file) {
        for column in &columns {
            let mut values = file
                .prepare(&format!("SELECT DISTINCT {column} FROM {table}"))
                .unwrap();
            let values: Vec<Vec<u8>> = values
                .query_map([], |row| row.get::<_, Option<Vec<u8>>>(0))
                .unwrap()
                .filter_map(Result::unwrap)
                .collect();
            for (bytes, form) in values
                .iter()
                .flat_map(|bytes| altered(bytes).into_iter().map(move |form| (bytes, form)))
            {
                let update =
                    format!("UPDATE OR IGNORE {table} SET {column} = ?1 WHERE {column} = ?2");
                let changed = file.execute(&update, params![form, bytes]).unwrap();
                if changed == 0 {
                    continue;
                }
                count += 1;
                for ((sample, before), now) in samples().zip(&whole).zip(answers(&store).await) {
                    match now {
                        Err(()) => refused += 1,
                        Ok(None) => absent += 1,
                        // In the threat model: a token cut to nothing reads as a placeholder.
                        Ok(Some(now)) if table == "tc_tokens" && form.is_empty() => {
                            let token = now.contains("token: []");
                            let whole = now == *before.as_ref().unwrap().as_ref().unwrap();
                            assert!(token || whole, "{now}");
                        }
                        Ok(now) => assert_eq!(
                            now.map(|now| without_time(sample.table, &now)),
                            before
                                .as_ref()
                                .unwrap()
                                .as_ref()
                                .map(|before| without_time(sample.table, before)),
                            "{table}.{column}: {sample:?} with {form:?}"
                        ),
                    }
                }
                // A take that was refused puts its row back: the row is written as it was.
                let restore = format!("UPDATE {table} SET {column} = ?1 WHERE {column} = ?2");
                file.execute(&restore, params![bytes, form]).unwrap();
            }
            assert_eq!(
                answers(&store).await,
                whole,
                "{table}.{column} is whole again"
            );
        }
    }
    println!("{count} alterations: {refused} refused, {absent} absent");
    assert!(
        count > 3000 && refused > 1000 && absent > 500,
        "{count} {refused} {absent}"
    );
}

/// Each value is put into each other row of its column, over the one that is there, and the rows then read as they
/// were, are refused, or are absent: a value is bound to its row.
#[tokio::test]
async fn no_value_that_is_moved_to_another_row_reads_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let store = open(&path, &common::raw_key()).await.unwrap();
    store.create().await.unwrap();
    for sample in samples() {
        sample.put(&store).await.unwrap();
    }
    let whole = answers(&store).await;
    let file = Connection::open(&path).unwrap();
    file.busy_timeout(std::time::Duration::from_secs(10))
        .unwrap();
    file.execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF")
        .unwrap();

    let (mut count, mut refused, mut absent) = (0, 0, 0);
    for (table, columns) in columns(&file) {
        file.execute_batch(&format!(
            "DROP TABLE IF EXISTS temp.kept; CREATE TEMP TABLE kept AS SELECT * FROM {table}"
        ))
        .unwrap();
        for column in &columns {
            let mut values = file
                .prepare(&format!(
                    "SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL"
                ))
                .unwrap();
            let values: Vec<Vec<u8>> = values
                .query_map([], |row| row.get(0))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            for (from, to) in values
                .iter()
                .flat_map(|from| values.iter().map(move |to| (from, to)))
                .filter(|(from, to)| from != to)
            {
                let update =
                    format!("UPDATE OR IGNORE {table} SET {column} = ?1 WHERE {column} = ?2");
                if file.execute(&update, params![from, to]).unwrap() == 0 {
                    continue;
                }
                count += 1;
                for ((sample, before), now) in samples().zip(&whole).zip(answers(&store).await) {
                    let before = before.as_ref().unwrap().as_deref().unwrap();
                    match now {
                        Err(()) => refused += 1,
                        Ok(None) => absent += 1,
                        // In the threat model: whole rows of these, which are names alone, move between groups.
                        Ok(Some(_)) if sample.table == Table::SenderKeyDevice => {}
                        Ok(Some(now)) => assert_eq!(
                            without_time(sample.table, &now),
                            without_time(sample.table, before),
                            "{table}.{column}: {sample:?}"
                        ),
                    }
                }
                file.execute_batch(&format!(
                    "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM temp.kept"
                ))
                .unwrap();
            }
        }
    }
    assert_eq!(answers(&store).await, whole, "all is whole again");
    println!("{count} moves: {refused} refused, {absent} absent");
    assert!(
        count > 60 && refused > 40 && absent > 15,
        "{count} {refused} {absent}"
    );
}

/// Damage is an error in a plain store too: a version that reads as none would be synced from the beginning.
#[tokio::test]
async fn damaged_rows_of_a_plain_store_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.create().await.unwrap();
    let tables = [
        Table::Version,
        Table::Identity,
        Table::DeviceList,
        Table::Device,
    ];
    for table in tables {
        Sample {
            table,
            row: 0,
            owner: OWNER,
        }
        .put(&store)
        .await
        .unwrap();
    }
    let file = Connection::open(&path).unwrap();
    file.execute_batch(
        "UPDATE versions SET state = substr(state, 1, 100);
         UPDATE identities SET key = x'00';
         UPDATE device_lists SET devices = x'5b';
         UPDATE device SET json = x'7b';",
    )
    .unwrap();
    for table in tables {
        let sample = Sample {
            table,
            row: 0,
            owner: OWNER,
        };
        assert!(sample.get(&store).await.is_err(), "{table}");
    }
}
