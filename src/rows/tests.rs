use rusqlite::Connection;

use super::*;
use crate::store::sqlite::create_schema;

fn text(text: &str) -> body::Text {
    text.to_owned().into()
}

fn secret(sender: &str, value: u8) -> Row {
    Row {
        account: 1,
        body: Body::MsgSecret {
            chat: text("chat"),
            sender: text(sender),
            id: text("id"),
            secret: vec![value; 32].into(),
            expires_at: 5,
            message_ts: 6,
        },
        written: None,
    }
}

fn session(address: &str, record: &[u8]) -> Row {
    Row {
        account: 1,
        body: Body::Session {
            address: text(address),
            record: record.to_vec().into(),
        },
        written: None,
    }
}

fn device(group: &str) -> Row {
    Row {
        account: 1,
        body: Body::SenderKeyDevice {
            group: text(group),
            device: text("device"),
            has_key: 1,
        },
        written: None,
    }
}

fn ours(rows: &[Row]) -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    create_schema(&connection).unwrap();
    Inserter::new(&connection, Layout::Ours)
        .insert(rows)
        .unwrap();
    connection
}

fn found(connection: &Connection, like: &Row) -> Option<Row> {
    find(connection, Layout::Ours, like).unwrap()
}

fn is(connection: &Connection, row: &Row) -> bool {
    found(connection, row).is_some_and(|found| found.same(row, Layout::Ours).unwrap())
}

#[test]
fn a_row_is_replaced_only_if_it_is_what_was_read() {
    for (old, new, other) in [
        (
            session("a", b"old"),
            session("a", b"new"),
            session("a", b"other"),
        ),
        (secret("s", 1), secret("s", 2), secret("s", 3)),
    ] {
        let connection = ours(&[secret("beside", 9), session("b", b"beside"), new_of(&old)]);
        assert!(!replace(&connection, Layout::Ours, &other, &new).unwrap());
        assert!(is(&connection, &old));
        assert!(replace(&connection, Layout::Ours, &old, &new).unwrap());
        assert!(is(&connection, &new));
        assert!(!replace(&connection, Layout::Ours, &old, &other).unwrap());
        assert!(is(&connection, &secret("beside", 9)) && is(&connection, &session("b", b"beside")));
    }
    // Nothing is there.
    let connection = ours(&[]);
    let (old, new) = (secret("s", 1), secret("s", 2));
    assert!(!replace(&connection, Layout::Ours, &old, &new).unwrap());
    // Names have no sealed column.
    assert!(replace(&connection, Layout::Ours, &device("a"), &device("b")).is_err());
}

/// The same row again.
fn new_of(row: &Row) -> Row {
    match &row.body {
        Body::Session { address, record } => session(address, record),
        Body::MsgSecret {
            sender,
            secret: value,
            ..
        } => secret(sender, value[0]),
        _ => device("a"),
    }
}

/// However small the pages are, every row comes once, and in the order of writing where there is one.
#[test]
fn pages_hold_every_row_once() {
    let rows: Vec<Row> = (0..50u8)
        .flat_map(|n| {
            let name = format!("{:02}", (u16::from(n) * 7) % 50);
            [session(&name, &[n]), secret(&name, n), device(&name)]
        })
        .collect();
    let connection = ours(&rows);
    for kind in [Kind::Session, Kind::MsgSecret, Kind::SenderKeyDevice] {
        for limit in [1, 7, 50, 51] {
            let (mut cursor, mut met) = (Some(Cursor::Start), Vec::new());
            while let Some(after) = cursor {
                let (found, next) = page(&connection, Layout::Ours, kind, &after, limit).unwrap();
                for found in found {
                    match found {
                        Found::Row(row) => met.push(row.body.key_text()),
                        Found::Bad(what) => panic!("{what}"),
                    }
                }
                cursor = next;
            }
            let written: Vec<_> = rows
                .iter()
                .filter(|row| row.body.kind() == kind)
                .map(|row| row.body.key_text())
                .collect();
            if kind == Kind::Session {
                assert_eq!(met, written);
            }
            let sorted = |mut keys: Vec<String>| {
                keys.sort();
                keys
            };
            assert_eq!(sorted(met), sorted(written), "{kind:?} {limit}");
        }
    }
}

#[test]
fn every_column_of_our_schema_is_known() {
    assert_eq!(look(&ours(&[])).unwrap(), Store::Known(Layout::Ours));
    assert!(strangers(&ours(&[]), Layout::Ours).unwrap().is_empty());
    let connection = ours(&[]);
    connection
        .execute_batch("ALTER TABLE sessions ADD COLUMN more")
        .unwrap();
    assert_eq!(look(&connection).unwrap(), Store::Unknown);
}
