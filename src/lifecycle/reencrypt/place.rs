//! Where a walk is, and how the account's document has it.

use rusqlite::types::Value;

use crate::keyring::Resealing;
use crate::lifecycle::LifecycleError;
use crate::rows::{Cursor, Kind, Layout};

/// A place in the walk: a table, and after which of its rows.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) after: Cursor,
}

/// Rows under keys are in all tables but these: the inner store's own device, which is a decoy, and its identities, which are
/// empty in a sealed store.
pub(super) fn kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL
        .into_iter()
        .filter(|kind| !matches!(kind, Kind::Device | Kind::Identity | Kind::SenderKeyDevice))
}

pub(super) fn first(_: Layout) -> Option<Place> {
    kinds().next().map(start)
}

fn start(kind: Kind) -> Place {
    Place {
        kind,
        after: Cursor::Start,
    }
}

/// Where to go on after a page of `at` that ended at `next`.
pub(super) fn after(_: Layout, at: &Place, next: Option<Cursor>) -> Option<Place> {
    match next {
        Some(after) => Some(Place {
            kind: at.kind,
            after,
        }),
        None => {
            let mut later = kinds().skip_while(|kind| *kind != at.kind);
            later.nth(1).map(start)
        }
    }
}

/// The place that a document names; `None` at the end.
pub(super) fn next(layout: Layout, at: &Resealing) -> Result<Option<Place>, LifecycleError> {
    if at.place.is_empty() {
        return Ok(first(layout));
    }
    if at.place == END {
        return Ok(None);
    }
    let kind = kinds().find(|kind| layout.table(*kind) == at.place);
    let place = kind.and_then(|kind| {
        Some(Place {
            kind,
            after: read(&at.after)?,
        })
    });
    // The document is ours, but the store's layout may have changed since: every row says under which key it is, so
    // that beginning anew loses nothing.
    Ok(place.or_else(|| first(layout)))
}

/// No table has this name.
const END: &str = "-";

/// Notes in the document's part that a page ended at `next`.
pub(super) fn advance(layout: Layout, at: &mut Resealing, next: Option<Cursor>) {
    let here = self::next(layout, at).ok().flatten();
    match here.and_then(|here| after(layout, &here, next)) {
        Some(place) => {
            at.place = layout.table(place.kind).to_owned();
            at.after = write(&place.after);
        }
        None => {
            at.place = END.to_owned();
            at.after = Vec::new();
        }
    }
}

pub(super) fn restart(at: &mut Resealing) {
    at.place = String::new();
    at.after = Vec::new();
    at.walked = false;
}

const ROWID: u8 = 1;
const KEY: u8 = 2;
const INTEGER: u8 = 1;
const TEXT: u8 = 2;
const BLOB: u8 = 3;
const REAL: u8 = 4;
const NULL: u8 = 5;

/// `01 ‖ rowid i64`, or `02` and for each column `01 ‖ i64`, `02 ‖ length u32 ‖ text`, `03 ‖ length u32 ‖ bytes`, `04 ‖ f64` or
/// `05`.
fn write(cursor: &Cursor) -> Vec<u8> {
    let mut bytes = Vec::new();
    match cursor {
        Cursor::Start => {}
        Cursor::Rowid(rowid) => {
            bytes.push(ROWID);
            bytes.extend(rowid.to_le_bytes());
        }
        Cursor::Key(columns) => {
            bytes.push(KEY);
            for column in columns {
                let (kind, content) = match column {
                    Value::Text(text) => (TEXT, text.as_bytes()),
                    Value::Blob(blob) => (BLOB, blob.as_slice()),
                    Value::Integer(number) => {
                        bytes.push(INTEGER);
                        bytes.extend(number.to_le_bytes());
                        continue;
                    }
                    // No store writes these, but the tables take them.
                    Value::Real(number) => {
                        bytes.push(REAL);
                        bytes.extend(number.to_le_bytes());
                        continue;
                    }
                    Value::Null => {
                        bytes.push(NULL);
                        continue;
                    }
                };
                bytes.push(kind);
                bytes.extend(u32::try_from(content.len()).unwrap_or(0).to_le_bytes());
                bytes.extend(content);
            }
        }
    }
    bytes
}

fn read(bytes: &[u8]) -> Option<Cursor> {
    let Some((kind, mut rest)) = bytes.split_first() else {
        return Some(Cursor::Start);
    };
    match *kind {
        ROWID => Some(Cursor::Rowid(i64::from_le_bytes(rest.try_into().ok()?))),
        KEY => {
            let mut columns = Vec::new();
            while let Some((kind, after)) = rest.split_first() {
                if *kind == NULL {
                    columns.push(Value::Null);
                    rest = after;
                    continue;
                }
                if matches!(*kind, INTEGER | REAL) {
                    let (number, after) = after.split_first_chunk()?;
                    columns.push(match *kind {
                        INTEGER => Value::Integer(i64::from_le_bytes(*number)),
                        _ => Value::Real(f64::from_le_bytes(*number)),
                    });
                    rest = after;
                    continue;
                }
                let (length, after) = after.split_first_chunk()?;
                let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
                let (content, after) = after.split_at_checked(length)?;
                columns.push(match *kind {
                    TEXT => Value::Text(String::from_utf8(content.to_vec()).ok()?),
                    BLOB => Value::Blob(content.to_vec()),
                    _ => return None,
                });
                rest = after;
            }
            Some(Cursor::Key(columns))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_and_nothing_shorter_does() {
        let columns = vec![
            Value::Integer(-7),
            Value::Text("é:1@c.us".into()),
            Value::Blob(vec![0, 255]),
            Value::Text(String::new()),
            Value::Real(0.5),
            Value::Null,
        ];
        for cursor in [
            Cursor::Start,
            Cursor::Rowid(i64::MIN),
            Cursor::Key(columns.clone()),
        ] {
            let bytes = write(&cursor);
            assert_eq!(write(&read(&bytes).unwrap()), bytes);
        }
        let bytes = write(&Cursor::Key(columns));
        for length in 1..bytes.len() {
            let cut = read(&bytes[..length]);
            // Whole columns may be missing; they are a place before.
            assert!(cut.is_none_or(|cut| write(&cut) == bytes[..length]));
        }
    }
}
