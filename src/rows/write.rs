//! Writing rows: many into a new file, or one in the place of another.

use rusqlite::{Connection, Statement};

use super::body::{Body, Kind, Row};
use super::cells;
use super::layout::Layout;
use super::walk::bind_key;
use super::{Result, RowsError};
use crate::store::sqlite::{Secret, put_secrets, replace_secret};

/// Writes new rows.
pub(crate) struct Inserter<'c> {
    connection: &'c Connection,
    layout: Layout,
    /// By [`Kind::number`]; made when they are needed.
    statements: [Option<Statement<'c>>; Kind::ALL.len()],
}

impl<'c> Inserter<'c> {
    pub(crate) fn new(connection: &'c Connection, layout: Layout) -> Self {
        Self {
            connection,
            layout,
            statements: [const { None }; Kind::ALL.len()],
        }
    }

    /// Writes rows, none of which may be there yet; those of one message's secrets come together.
    pub(crate) fn insert(&mut self, rows: &[Row]) -> Result<()> {
        let together = |a: &Row, b: &Row| {
            a.account == b.account
                && a.body.kind() == Kind::MsgSecret
                && b.body.kind() == Kind::MsgSecret
        };
        for some in rows.chunk_by(together) {
            let Some(first) = some.first() else { continue };
            if self.layout == Layout::Ours && first.body.kind() == Kind::MsgSecret {
                put_secrets(self.connection, first.account, some, secret)?;
            } else {
                some.iter().try_for_each(|row| self.insert_one(row))?;
            }
        }
        Ok(())
    }

    fn insert_one(&mut self, row: &Row) -> Result<()> {
        let kind = row.body.kind();
        let slot = self.statements.get_mut(kind.number());
        let statement = match slot {
            Some(Some(statement)) => statement,
            Some(slot) => slot.insert(self.connection.prepare(&insert_sql(self.layout, kind))?),
            // There is one for each kind.
            None => return Ok(()),
        };
        statement.raw_bind_parameter(1, row.account)?;
        for (number, cell) in (2..).zip(&cells::write(self.layout, row)?) {
            cell.bind(self.layout, statement, number)?;
        }
        statement.raw_execute()?;
        Ok(())
    }
}

fn insert_sql(layout: Layout, kind: Kind) -> String {
    let spec = layout.spec(kind);
    let marks = (1..=spec.columns.len() + 1)
        .map(|number| format!("?{number}"))
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "INSERT INTO {} ({}, {}) VALUES ({marks})",
        spec.table,
        spec.account,
        spec.columns.join(", ")
    )
}

/// A message secret as our layout writes it.
fn secret(row: &Row) -> Secret<'_> {
    match &row.body {
        Body::MsgSecret {
            chat,
            sender,
            id,
            secret,
            expires_at,
            message_ts,
        } => Secret {
            chat,
            message_id: id,
            sender,
            secret,
            expires_at: *expires_at,
            message_ts: *message_ts,
        },
        // The caller has looked.
        _ => Secret {
            chat: "",
            message_id: "",
            sender: "",
            secret: &[],
            expires_at: 0,
            message_ts: 0,
        },
    }
}

/// Puts the sealed column of `new` in the place of that of `old`, a row of the same key, if it is still what was read;
/// the columns beside it, which the store changes in place, stay as they are. Whether it was.
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "for resealing in place, which comes next")
)]
pub(crate) fn replace(
    connection: &Connection,
    layout: Layout,
    old: &Row,
    new: &Row,
) -> Result<bool> {
    let kind = old.body.kind();
    if (layout, kind) == (Layout::Ours, Kind::MsgSecret) {
        return Ok(replace_secret(
            connection,
            old.account,
            &secret(old),
            &secret(new),
        )?);
    }
    let spec = layout.spec(kind);
    let Some((sealed, place)) = sealed_column(layout, kind) else {
        return Err(RowsError::Row {
            table: spec.table,
            what: "it has no sealed column",
        });
    };
    let sql = format!(
        "UPDATE {} SET {sealed} = ?1 WHERE {sealed} = ?2 AND {}",
        spec.table,
        spec.at_key(3)
    );
    let mut statement = connection.prepare_cached(&sql)?;
    for (number, row) in [(1, new), (2, old)] {
        if let Some(cell) = cells::write(layout, row)?.get(place) {
            cell.bind(layout, &mut statement, number)?;
        }
    }
    bind_key(layout, spec, old, &mut statement, 3)?;
    Ok(statement.raw_execute()? == 1)
}

/// Puts `new` in the place of `old` under another key, if `old` is still what was read and nothing is there yet.
/// Whether it was.
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "for resealing in place, which comes next")
)]
pub(crate) fn relocate(
    connection: &Connection,
    layout: Layout,
    old: &Row,
    new: &Row,
) -> Result<bool> {
    let kind = old.body.kind();
    if (layout, kind) == (Layout::Ours, Kind::MsgSecret) {
        // A row of its own is made; of the old one its sender is taken.
        let savepoint = "SAVEPOINT sealed_store_relocate";
        connection.execute_batch(savepoint)?;
        let moved = (|| {
            if !crate::store::sqlite::remove_secret(connection, old.account, &secret(old))? {
                return Ok(false);
            }
            put_secrets(connection, new.account, std::slice::from_ref(new), secret)?;
            Ok::<_, rusqlite::Error>(true)
        })();
        connection.execute_batch(match moved {
            Ok(_) => "RELEASE sealed_store_relocate",
            Err(_) => "ROLLBACK TO sealed_store_relocate; RELEASE sealed_store_relocate",
        })?;
        return Ok(moved?);
    }
    let spec = layout.spec(kind);
    let sealed = sealed_column(layout, kind);
    let sets = (1..)
        .zip(
            spec.key_columns()
                .iter()
                .copied()
                .chain(sealed.map(|(column, _)| column)),
        )
        .map(|(number, column)| format!("{column} = ?{number}"))
        .collect::<Vec<_>>();
    let next = sets.len() + 1;
    let unchanged = sealed.map_or_else(String::new, |(column, _)| {
        format!("{column} = ?{next} AND ")
    });
    let at = next + usize::from(sealed.is_some());
    let sql = format!(
        "UPDATE OR IGNORE {} SET {} WHERE {unchanged}{}",
        spec.table,
        sets.join(", "),
        spec.at_key(at)
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let (new_cells, old_cells) = (cells::write(layout, new)?, cells::write(layout, old)?);
    let key = (1..).zip(new_cells.iter().take(spec.key));
    for (number, cell) in key {
        cell.bind(layout, &mut statement, number)?;
    }
    if let Some((_, place)) = sealed {
        for (number, cells) in [(next - 1, &new_cells), (next, &old_cells)] {
            if let Some(cell) = cells.get(place) {
                cell.bind(layout, &mut statement, number)?;
            }
        }
    }
    bind_key(layout, spec, old, &mut statement, at)?;
    Ok(statement.raw_execute()? == 1)
}

/// The sealed column, and its place among the columns.
fn sealed_column(layout: Layout, kind: Kind) -> Option<(&'static str, usize)> {
    let spec = layout.spec(kind);
    let sealed = spec.sealed?;
    let place = spec.columns.iter().position(|column| *column == sealed)?;
    Some((sealed, place))
}
