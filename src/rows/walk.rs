//! Reading rows, a page at a time.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row as SqlRow, params};

use super::body::{Body, Kind, Row};
use super::layout::Layout;
use super::spec::Spec;
use super::{Result, RowsError};
use super::{cells, stored};
use crate::store::sqlite::{OwnedSecret, secrets_at, secrets_of};

/// A page that holds this many bytes ends early.
const PAGE_BYTES: usize = 4 << 20;

/// Where a page begins: after the last row of the one before.
#[derive(Clone, Default)]
pub(crate) enum Cursor {
    #[default]
    Start,
    Rowid(i64),
    /// The account and the key's columns.
    Key(Vec<Value>),
}

/// A row that was met.
pub(crate) enum Found {
    Row(Row),
    /// A row that is not what its store writes, and why.
    Bad(&'static str),
}

/// The next rows of `kind`, at most `limit` of the database's and some megabytes, in the order in which they were written where that counts; and where
/// to go on, or `None` at the end.
pub(crate) fn page(
    connection: &Connection,
    layout: Layout,
    kind: Kind,
    after: &Cursor,
    limit: usize,
) -> Result<(Vec<Found>, Option<Cursor>)> {
    let spec = layout.spec(kind);
    let columns = spec.columns.join(", ");
    let account = spec.account;
    let table = spec.table;
    let limit_sql = i64::try_from(limit).unwrap_or(i64::MAX);
    let (place, order, first) = if spec.rowid {
        let place = match after {
            Cursor::Start => String::new(),
            _ => "WHERE rowid > ?2".to_owned(),
        };
        ("rowid, ", place, "rowid".to_owned())
    } else {
        let key = std::iter::once(account)
            .chain(spec.key_columns().iter().copied())
            .collect::<Vec<_>>()
            .join(", ");
        let place = match after {
            Cursor::Key(values) => {
                let marks = (2..values.len() + 2)
                    .map(|number| format!("?{number}"))
                    .collect::<Vec<_>>()
                    .join(", ");
                format!("WHERE ({key}) > ({marks})")
            }
            _ => String::new(),
        };
        ("", place, key)
    };
    let sql = format!(
        "SELECT {place}{account}, {columns} FROM {table} {order} ORDER BY {first} LIMIT ?1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    statement.raw_bind_parameter(1, limit_sql)?;
    match after {
        Cursor::Start => {}
        Cursor::Rowid(rowid) => statement.raw_bind_parameter(2, rowid)?,
        Cursor::Key(values) => {
            for (number, value) in (2..).zip(values) {
                statement.raw_bind_parameter(number, value)?;
            }
        }
    }
    let mut rows = statement.raw_query();
    let mut found = Vec::with_capacity(limit);
    let (mut last, mut count, mut bytes) = (None, 0, 0);
    while bytes < PAGE_BYTES
        && let Some(row) = rows.next()?
    {
        count += 1;
        for column in 0..=spec.columns.len() {
            if let ValueRef::Text(value) | ValueRef::Blob(value) = row.get_ref(column)? {
                bytes += value.len();
            }
        }
        last = Some(if spec.rowid {
            Cursor::Rowid(row.get(0)?)
        } else {
            let key = (0..=spec.key).map(|number| row.get(number));
            Cursor::Key(key.collect::<rusqlite::Result<_>>()?)
        });
        read(layout, kind, row, usize::from(spec.rowid), &mut found)?;
    }
    Ok((
        found,
        last.filter(|_| count == limit || bytes >= PAGE_BYTES),
    ))
}

/// Reads one row of the database, which may be several to the client.
fn read(
    layout: Layout,
    kind: Kind,
    row: &SqlRow<'_>,
    at: usize,
    found: &mut Vec<Found>,
) -> Result<()> {
    if layout == Layout::Ours && kind == Kind::MsgSecret {
        match secrets_of(row, at) {
            Some(secrets) => {
                found.extend(secrets.into_iter().map(|secret| Found::Row(secret.into())))
            }
            None => found.push(Found::Bad("the secrets of a message can't be read")),
        }
        return Ok(());
    }
    match stored::read(layout, kind, row, at) {
        Ok(row) => found.push(Found::Row(row)),
        Err(RowsError::Row { what, .. }) => found.push(Found::Bad(what)),
        Err(error) => return Err(error),
    }
    Ok(())
}

impl From<OwnedSecret> for Row {
    fn from(secret: OwnedSecret) -> Self {
        let OwnedSecret {
            account,
            chat,
            message_id,
            sender,
            secret,
            expires_at,
            message_ts,
        } = secret;
        Self {
            account,
            body: Body::MsgSecret {
                chat,
                sender,
                id: message_id,
                secret,
                expires_at,
                message_ts,
            },
            written: None,
        }
    }
}

/// The row that is stored under the key of `like`.
pub(crate) fn find(connection: &Connection, layout: Layout, like: &Row) -> Result<Option<Row>> {
    let kind = like.body.kind();
    if let (Layout::Ours, Body::MsgSecret { sender, .. }) = (layout, &like.body) {
        let of_sender =
            |row: &Row| matches!(&row.body, Body::MsgSecret { sender: of, .. } if of == sender);
        let beside = secrets_beside(connection, layout, like)?;
        return Ok(beside.into_iter().find(of_sender));
    }
    let spec = layout.spec(kind);
    let sql = format!(
        "SELECT {}, {} FROM {} WHERE {}",
        spec.account,
        spec.columns.join(", "),
        spec.table,
        spec.at_key(1)
    );
    let mut statement = connection.prepare_cached(&sql)?;
    bind_key(layout, spec, like, &mut statement, 1)?;
    let mut rows = statement.raw_query();
    match rows.next()? {
        Some(row) => stored::read(layout, kind, row, 0).map(Some),
        None => Ok(None),
    }
}

/// Binds the account and the key's columns.
pub(super) fn bind_key(
    layout: Layout,
    spec: &Spec,
    row: &Row,
    statement: &mut rusqlite::Statement<'_>,
    first: usize,
) -> Result<()> {
    statement.raw_bind_parameter(first, row.account)?;
    if spec.key == 0 {
        return Ok(());
    }
    let cells = cells::write(layout, row)?;
    for (number, cell) in (first + 1..).zip(cells.iter().take(spec.key)) {
        cell.bind(layout, statement, number)?;
    }
    Ok(())
}

/// All secrets of the message that the secret `of` is of: in a sealed store, the two halves of one.
pub(crate) fn secrets_beside(
    connection: &Connection,
    layout: Layout,
    of: &Row,
) -> Result<Vec<Row>> {
    let Body::MsgSecret { chat, id, .. } = &of.body else {
        return Ok(Vec::new());
    };
    match layout {
        Layout::Upstream => {
            let spec = layout.spec(Kind::MsgSecret);
            // Found by the chat, whose rows are few: without the sign SQLite may take an index by account.
            let sql = format!(
                "SELECT {}, {} FROM {} WHERE chat = ?1 AND msg_id = ?2 AND +device_id = ?3",
                spec.account,
                spec.columns.join(", "),
                spec.table
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params![**chat, **id, of.account])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(stored::read(layout, Kind::MsgSecret, row, 0)?);
            }
            Ok(found)
        }
        Layout::Ours => {
            let found = secrets_at(connection, of.account, chat, id)?;
            Ok(found.into_iter().map(Row::from).collect())
        }
    }
}

/// How many rows of `kind` there are. Of our layout's message secrets: how many messages have some.
pub(crate) fn count(connection: &Connection, layout: Layout, kind: Kind) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM {}", layout.table(kind));
    let count: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// The numbers of all accounts that have a row, and of each whether it has a device.
pub(crate) fn accounts(connection: &Connection, layout: Layout) -> Result<Vec<(i32, bool)>> {
    let mut found = std::collections::BTreeMap::new();
    for kind in Kind::ALL {
        let spec = layout.spec(kind);
        let sql = format!("SELECT DISTINCT {} FROM {}", spec.account, spec.table);
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            let number = i32::try_from(number).map_err(|_| RowsError::Row {
                table: spec.table,
                what: "an account's number is out of bounds",
            })?;
            *found.entry(number).or_insert(false) |= kind == Kind::Device;
        }
    }
    Ok(found.into_iter().collect())
}
