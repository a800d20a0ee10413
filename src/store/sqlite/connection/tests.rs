//! How a file of an older version becomes one of this.

use super::*;

const FIRST: &str = "CREATE TABLE a (n INTEGER); INSERT INTO a VALUES (1)";
const SECOND: &str = "ALTER TABLE a ADD COLUMN m INTEGER; UPDATE a SET m = 10 * n";
const FAILING: &str = "UPDATE a SET n = 9; INSERT INTO missing VALUES (1)";

fn connection() -> Connection {
    Connection::open_in_memory().unwrap()
}

fn sum(connection: &Connection) -> i64 {
    connection
        .query_row("SELECT sum(n + m) FROM a", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn a_file_of_an_older_version_gets_the_steps_that_it_lacks() {
    let stepped = connection();
    migrate(&stepped, &[FIRST]).unwrap();
    assert_eq!(version(&stepped).unwrap(), 1);
    migrate(&stepped, &[FIRST, SECOND]).unwrap();
    let at_once = connection();
    migrate(&at_once, &[FIRST, SECOND]).unwrap();
    for connection in [stepped, at_once] {
        assert_eq!(version(&connection).unwrap(), 2);
        assert_eq!(sum(&connection), 11);
        // Again: nothing is left to do.
        migrate(&connection, &[FIRST, SECOND]).unwrap();
        assert_eq!(sum(&connection), 11);
    }
}

#[test]
fn a_step_that_fails_leaves_the_file_as_it_was() {
    let connection = connection();
    migrate(&connection, &[FIRST]).unwrap();
    assert!(migrate(&connection, &[FIRST, SECOND, FAILING]).is_err());
    assert_eq!(version(&connection).unwrap(), 1);
    let n: i64 = connection
        .query_row("SELECT n FROM a", [], |row| row.get(0))
        .unwrap();
    assert_eq!(n, 1);
    migrate(&connection, &[FIRST, SECOND]).unwrap();
    assert_eq!(sum(&connection), 11);
}

#[test]
fn a_file_of_a_newer_version_stays_as_it_is() {
    let connection = connection();
    migrate(&connection, &[FIRST, SECOND]).unwrap();
    assert!(migrate(&connection, &[FIRST]).is_err());
    assert_eq!(version(&connection).unwrap(), 2);
}

fn pragma(connection: &Connection, name: &str) -> i64 {
    connection
        .pragma_query_value(None, name, |row| row.get(0))
        .unwrap()
}

/// What an option says is what SQLite is told, on the connection that writes and on those that read.
#[test]
fn every_option_reaches_every_connection() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new()
        .synchronous(Synchronous::Full)
        .cache_size(777)
        .temp_store(TempStore::File)
        .foreign_keys(false);
    for (number, options, expected) in [
        (0, SqliteOptions::new(), [1, -2048, 2, 1]),
        (1, options, [2, -777, 1, 0]),
    ] {
        let path = folder.path().join(format!("{number}.db"));
        let writer = open_writer(&Location::File(path.clone()), &options).unwrap();
        let reader = Connection::open(&path).unwrap();
        configure_reader(&reader, &options).unwrap();
        for connection in [&writer, &reader] {
            let names = ["synchronous", "cache_size", "temp_store", "foreign_keys"];
            assert_eq!(names.map(|name| pragma(connection, name)), expected);
            let mode: String = connection
                .pragma_query_value(None, "journal_mode", |row| row.get(0))
                .unwrap();
            assert_eq!(mode, "wal");
        }
        assert_eq!(
            (pragma(&writer, "query_only"), pragma(&reader, "query_only")),
            (0, 1)
        );
    }
}
