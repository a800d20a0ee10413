//! Which store a database is.

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Connection, params};

use super::body::Kind;
use crate::store::sqlite::{SCHEMA_VERSION, pack, schema_version};

/// How rows are laid out in columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// whatsapp-rust's own store, 0.7.
    Upstream,
    /// The store of this library.
    Ours,
}

/// What a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// A store that can be worked on.
    Known(Layout),
    /// Upstream's, before 0.7.
    Older,
    /// Ours, of a version that whoever opens it brings up to date.
    OlderOurs,
    /// After the version that is known here, or with other columns.
    Unknown,
    /// Ours, of a newer version.
    Newer(i64),
    /// Something else.
    Foreign,
}

/// The last migration of whatsapp-rust 0.7's store, whose schema is the one that is known here.
const NEWEST: &str = "20260703000001";
const MIGRATIONS: i64 = 23;

/// Tables that a database may hold besides a store's.
const BESIDE: [&str; 3] = [
    "__diesel_schema_migrations",
    "sealed_store_schema",
    "sqlite_sequence",
];

/// Says what the database is. It reads the schema only.
pub(crate) fn look(connection: &Connection) -> rusqlite::Result<Store> {
    let tables = names(connection, "table")?;
    let has = |name: &str| tables.iter().any(|table| table == name);
    let layout = if has("__diesel_schema_migrations") {
        let (newest, count): (Option<String>, i64) = connection.query_row(
            "SELECT max(version), count(*) FROM __diesel_schema_migrations",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        match newest.as_deref() {
            // Of any other program that uses the same library.
            None => return Ok(Store::Foreign),
            Some(newest) if newest > NEWEST => return Ok(Store::Unknown),
            Some(newest) if newest < NEWEST || count < MIGRATIONS => return Ok(Store::Older),
            _ if count > MIGRATIONS => return Ok(Store::Unknown),
            _ => Layout::Upstream,
        }
    } else if has("sealed_store_schema") {
        let found = schema_version(connection)?;
        if found > SCHEMA_VERSION {
            return Ok(Store::Newer(found));
        }
        if found < SCHEMA_VERSION {
            return Ok(Store::OlderOurs);
        }
        Layout::Ours
    } else {
        return Ok(Store::Foreign);
    };
    for spec in layout.specs() {
        let mut expected: Vec<&str> = spec.columns.to_vec();
        expected.push(spec.account);
        expected.sort_unstable();
        let mut statement =
            connection.prepare("SELECT name FROM pragma_table_xinfo(?1) ORDER BY name")?;
        let columns = statement
            .query_map(params![spec.table], |row| row.get::<_, String>(0))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        if columns != expected {
            return Ok(Store::Unknown);
        }
    }
    Ok(Store::Known(layout))
}

/// Tables, views and triggers in the database that belong to no store: their names.
pub(crate) fn strangers(connection: &Connection, layout: Layout) -> rusqlite::Result<Vec<String>> {
    let known_table = |name: &String| {
        layout.specs().iter().any(|spec| spec.table == name)
            || BESIDE.contains(&name.as_str())
            || name.starts_with("sealed_store_keyring")
            || name.starts_with("sqlite_stat")
    };
    let mut strangers = names(connection, "table")?;
    strangers.retain(|name| !known_table(name));
    strangers.extend(names(connection, "view")?);
    strangers.extend(names(connection, "trigger")?);
    Ok(strangers)
}

fn names(connection: &Connection, kind: &str) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = ?1")?
        .query_map([kind], |row| row.get(0))?
        .collect()
}

impl Layout {
    /// Whether a session row of this key is there, under any account.
    pub(crate) fn has_session(self, connection: &Connection, key: &str) -> rusqlite::Result<bool> {
        let spec = self.spec(Kind::Session);
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM {} WHERE address = ?1)",
            spec.table
        );
        match self {
            Self::Upstream => connection.query_row(&sql, [key], |row| row.get(0)),
            Self::Ours => connection.query_row(&sql, [&pack(key)[..]], |row| row.get(0)),
        }
    }
}

/// Makes the tables of `from`, empty, in `to`, with the indexes that keep rows apart and the notes of the schema's version;
/// those of a keyring excepted.
pub(crate) fn copy_tables(from: &Connection, to: &Connection) -> rusqlite::Result<()> {
    let page_size: i64 = from.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    to.pragma_update(None, "page_size", page_size)?;
    for (name, sql) in statements(from, "table")? {
        let ours = name.starts_with("sealed_store_keyring") || name.starts_with("sqlite_");
        if !ours {
            make(to, &sql)?;
        }
    }
    for (_, sql) in statements(from, "index")? {
        if is_unique(&sql) {
            make(to, &sql)?;
        }
    }
    for (table, columns) in [
        ("__diesel_schema_migrations", "version, run_on"),
        ("sealed_store_schema", "version"),
    ] {
        if names(from, "table")?.iter().any(|name| name == table) {
            copy_rows(from, to, table, columns)?;
        }
    }
    Ok(())
}

/// Runs the one statement that made a table or an index. The file says what it is, so that whoever can write the file could
/// have others run with it, which copied what is written from then on to another file.
fn make(to: &Connection, sql: &str) -> rusqlite::Result<()> {
    let mut statements = rusqlite::Batch::new(to, sql);
    let Some(mut first) = statements.next()? else {
        return Ok(());
    };
    if statements.next()?.is_some() || !is_create(sql) {
        return Err(rusqlite::Error::MultipleStatement);
    }
    first.execute([]).map(drop)
}

fn is_create(sql: &str) -> bool {
    let mut words = sql.split_whitespace().map(str::to_ascii_uppercase);
    words.next().as_deref() == Some("CREATE")
        && matches!(words.next().as_deref(), Some("TABLE" | "INDEX" | "UNIQUE"))
}

fn is_unique(index: &str) -> bool {
    let mut words = index.split_whitespace();
    words.next();
    words
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("UNIQUE"))
}

/// Makes the other indexes of `from` in `to`, once its rows are there, and notes the numbers that were given.
pub(crate) fn copy_indexes(from: &Connection, to: &Connection) -> rusqlite::Result<()> {
    for (_, sql) in statements(from, "index")? {
        if !is_unique(&sql) {
            make(to, &sql)?;
        }
    }
    if names(from, "table")?
        .iter()
        .any(|name| name == "sqlite_sequence")
    {
        to.execute("DELETE FROM sqlite_sequence", [])?;
        copy_rows(from, to, "sqlite_sequence", "name, seq")?;
    }
    Ok(())
}

/// The statements that made tables or indexes; those that SQLite makes by itself have none.
fn statements(from: &Connection, kind: &str) -> rusqlite::Result<Vec<(String, String)>> {
    from.prepare(
        "SELECT name, sql FROM sqlite_schema WHERE type = ?1 AND sql IS NOT NULL ORDER BY rowid",
    )?
    .query_map([kind], |row| Ok((row.get(0)?, row.get(1)?)))?
    .collect()
}

fn copy_rows(
    from: &Connection,
    to: &Connection,
    table: &str,
    columns: &str,
) -> rusqlite::Result<()> {
    let count = columns.split(',').count();
    let values = vec!["?"; count].join(", ");
    let mut select = from.prepare(&format!("SELECT {columns} FROM {table} ORDER BY rowid"))?;
    let mut insert = to.prepare(&format!(
        "INSERT INTO {table} ({columns}) VALUES ({values})"
    ))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        for number in 0..count {
            let value: rusqlite::types::Value = row.get(number)?;
            insert.raw_bind_parameter(number + 1, value)?;
        }
        insert.raw_execute()?;
    }
    Ok(())
}
