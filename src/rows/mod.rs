//! Raw rows of the two SQLite layouts that this library knows: whatsapp-rust's own and ours.
//!
//! A row is read as what it is to the client ([`Body`]), with its account and every column that the client's traits do
//! not carry, and written again so that nothing is lost. Nothing here knows of keys: a sealed store's rows are
//! rows like any other. What the columns of a layout are stands in `spec.rs`, once.

mod body;
mod cells;
mod device;
mod layout;
mod spec;
mod stored;
#[cfg(test)]
mod tests;
mod walk;
mod wire;
mod write;

pub(crate) use body::{Body, Kind, Row};
pub(crate) use device::{changed_columns, fresh_device, is_used_device};
pub(crate) use layout::{Layout, Store, copy_indexes, copy_tables, look, strangers};
pub(crate) use walk::{Cursor, Found, accounts, count, find, page, secrets_beside};
pub(crate) use write::{Inserter, replace};

/// Why rows can't be read or written.
#[derive(Debug)]
pub(crate) enum RowsError {
    /// SQLite's own error.
    Sqlite(rusqlite::Error),
    /// A row is not what its store writes.
    Row {
        /// The table, as the database names it.
        table: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl From<rusqlite::Error> for RowsError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

pub(crate) type Result<T> = std::result::Result<T, RowsError>;
