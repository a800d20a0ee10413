//! Looking into a database's file without changing anything: not the file, not its log, nothing beside it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

use super::error::LifecycleError;
use crate::sealed::rows::{CANARY_KEY, Canary};
use crate::store::sqlite::key;

/// How every SQLite database begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// How long a log's header is. What is no longer holds no change: a program was killed before its first.
const LOG_HEADER: u64 = 32;

/// What became of a write-ahead log beside the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Log {
    /// There is none, or an empty one.
    None,
    /// What was told includes what it holds: a program has the file open, or was killed.
    Read,
    /// It can't be read without its index, which is not there: what was told is what the file alone holds.
    Unread,
}

pub(super) struct Peek {
    pub(super) connection: Connection,
    pub(super) log: Log,
}

/// What is at `path`.
pub(super) enum Found {
    /// A file of no bytes, which a store can be made in.
    Empty,
    Database(Box<Peek>),
}

/// Opens the database at `path` for reading.
pub(super) fn open(path: &Path) -> Result<Found, LifecycleError> {
    let about = match std::fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(LifecycleError::NoStore);
        }
        Err(error) => return Err(error.into()),
    };
    if !about.is_file() {
        return Err(LifecycleError::Foreign);
    }
    if about.len() == 0 {
        return Ok(Found::Empty);
    }
    // Before SQLite has the file open: closing a descriptor of it would drop SQLite's own locks.
    let mut beginning = [0; MAGIC.len()];
    match File::open(path)?.read_exact(&mut beginning) {
        Ok(()) if beginning == *MAGIC => {}
        Ok(()) => return Err(LifecycleError::Foreign),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(LifecycleError::Foreign);
        }
        Err(error) => return Err(error.into()),
    }
    // The log is beside the file that a link leads to.
    let real = std::fs::canonicalize(path)?;
    let length = |suffix: &str| {
        let mut beside = real.clone().into_os_string();
        beside.push(suffix);
        std::fs::metadata(beside).map(|about| about.len()).ok()
    };
    let (log, index) = (length("-wal").unwrap_or(0), length("-shm"));
    let (parameters, log) = match (log, index) {
        // As a file that nobody can change: SQLite makes no log and no index beside it then.
        // Of a log that is a header alone, SQLite would say for ten seconds that others are in the way.
        (0..=LOG_HEADER, _) => ("immutable=1", Log::None),
        (_, Some(_)) => ("mode=ro&readonly_shm=1", Log::Read),
        (_, None) => ("immutable=1", Log::Unread),
    };
    let connection = connect(&real, parameters)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    let usable = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
    };
    let connection = match usable(&connection) {
        Ok(()) => connection,
        // A program that has the file open keeps the index: reading beside it changes the marks of readers in it.
        Err(_) if log == Log::Read => {
            let connection = connect(&real, "mode=ro")?;
            connection.busy_timeout(std::time::Duration::from_secs(5))?;
            usable(&connection)?;
            connection
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Found::Database(Box::new(Peek { connection, log })))
}

fn connect(path: &Path, parameters: &str) -> Result<Connection, LifecycleError> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push('?');
    uri.push_str(parameters);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    // The file may be anybody's: nothing of its schema calls functions that do more than compute.
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Whose tables a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// Nothing yet.
    Empty,
    /// This crate's own store.
    Ours,
    /// whatsapp-rust's own SQLite store.
    Upstream,
    /// A keyring and nothing else.
    KeyringAlone,
}

impl Layout {
    /// Its name in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Ours => "sealed-store",
            Self::Upstream => "whatsapp-rust",
            Self::KeyringAlone => "keyring",
        }
    }
}

/// An account's canary: whose rows those of this number are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CanaryIds {
    pub(super) number: i64,
    pub(super) keyring: [u8; 16],
    pub(super) account: [u8; 16],
}

impl Peek {
    pub(super) fn layout(&self) -> Result<Layout, LifecycleError> {
        if self.has_table("sealed_store_schema")? {
            return Ok(Layout::Ours);
        }
        if self.has_table("__diesel_schema_migrations")? {
            return Ok(Layout::Upstream);
        }
        let others: bool = self.connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table'
             AND name NOT GLOB 'sqlite_*' AND name NOT GLOB 'sealed_store_*')",
            [],
            |row| row.get(0),
        )?;
        match (others, self.has_table("sealed_store_keyring")?) {
            (true, _) => Err(LifecycleError::Foreign),
            (false, true) => Ok(Layout::KeyringAlone),
            (false, false) => Ok(Layout::Empty),
        }
    }

    /// The version of the store's schema, as it writes it: a number, or the name of the newest migration.
    pub(super) fn schema(&self, layout: Layout) -> Result<Option<String>, LifecycleError> {
        let sql = match layout {
            Layout::Ours => "SELECT CAST(MAX(version) AS TEXT) FROM sealed_store_schema",
            Layout::Upstream => "SELECT MAX(version) FROM __diesel_schema_migrations",
            Layout::Empty | Layout::KeyringAlone => return Ok(None),
        };
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    pub(super) fn has_table(&self, name: &str) -> Result<bool, LifecycleError> {
        Ok(self.connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
            [name],
            |row| row.get(0),
        )?)
    }

    /// The tables that hold rows of accounts, each with its column for the account's number.
    fn tables(&self, layout: Layout) -> Result<Vec<(String, &'static str)>, LifecycleError> {
        let column = match layout {
            Layout::Ours => "account",
            Layout::Upstream => "device_id",
            Layout::Empty | Layout::KeyringAlone => return Ok(Vec::new()),
        };
        let mut statement = self.connection.prepare(
            "SELECT t.name FROM sqlite_schema t WHERE t.type = 'table' AND EXISTS
             (SELECT 1 FROM pragma_table_info(t.name) c WHERE c.name = ?1)
             ORDER BY t.name",
        )?;
        let names = statement.query_map([column], |row| row.get::<_, String>(0))?;
        let mut tables = names
            .map(|name| name.map(|name| (name, column)))
            .collect::<Result<Vec<_>, _>>()?;
        if layout == Layout::Upstream && self.has_table("device")? {
            tables.push(("device".to_owned(), "id"));
        }
        tables.sort();
        Ok(tables)
    }

    /// How many rows each account has in each table, tables without rows left out: account, table, rows.
    pub(super) fn rows(
        &self,
        layout: Layout,
        mut each: impl FnMut(u64) -> Result<(), LifecycleError>,
    ) -> Result<Vec<(i64, String, u64)>, LifecycleError> {
        let (mut counted, mut total) = (Vec::new(), 0u64);
        for (table, column) in self.tables(layout)? {
            let quoted = table.replace('"', "\"\"");
            let mut statement = self.connection.prepare(&format!(
                "SELECT \"{column}\", count(*) FROM \"{quoted}\" GROUP BY 1 ORDER BY 1"
            ))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let count = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
                counted.push((row.get(0)?, table.clone(), count));
                total = total.saturating_add(count);
            }
            each(total)?;
        }
        Ok(counted)
    }

    pub(super) fn holds_rows(&self, layout: Layout) -> Result<bool, LifecycleError> {
        for (table, _) in self.tables(layout)? {
            let quoted = table.replace('"', "\"\"");
            let any: bool = self.connection.query_row(
                &format!("SELECT EXISTS (SELECT 1 FROM \"{quoted}\")"),
                [],
                |row| row.get(0),
            )?;
            if any {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whose rows they are, by what the canaries say in the clear.
    pub(super) fn canaries(&self, layout: Layout) -> Result<Vec<CanaryIds>, LifecycleError> {
        let (sql, key): (_, Box<dyn rusqlite::ToSql>) = match layout {
            Layout::Ours => (
                "SELECT account, record FROM sessions WHERE address = ?1",
                Box::new(key::pack(CANARY_KEY).to_vec()),
            ),
            Layout::Upstream => (
                "SELECT device_id, record FROM sessions WHERE address = ?1",
                Box::new(CANARY_KEY),
            ),
            Layout::Empty | Layout::KeyringAlone => return Ok(Vec::new()),
        };
        if !self.has_table("sessions")? {
            return Ok(Vec::new());
        }
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query(params![key])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            // What is no canary is for `check` to tell.
            let record = row.get_ref(1)?;
            if let Ok(Ok((canary, _))) = record.as_bytes().map(Canary::read) {
                found.push(CanaryIds {
                    number: row.get(0)?,
                    keyring: canary.keyring,
                    account: canary.account,
                });
            }
        }
        Ok(found)
    }
}
