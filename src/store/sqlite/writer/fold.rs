//! Folding the write-ahead log into the database.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::{Shared, lock};

/// How long the end of a store waits for others who fold the log in, or write, besides what SQLite waits.
const FOLDING: Duration = Duration::from_secs(1);

impl Shared {
    /// Folds the log into the database, and says whether it was. Readers may keep it from folding everything in, and
    /// opening the file may fail: the next one does it then.
    pub(super) fn checkpoint(&self, how: &str) -> bool {
        let Some(files) = &self.files else {
            return true;
        };
        let mut kept = lock(&self.checkpoints);
        if kept.is_none() {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            *kept = Connection::open_with_flags(files.path(), flags).ok();
        }
        let Some(connection) = &*kept else {
            return false;
        };
        if files.check_new(connection).is_err() {
            return false;
        }
        let sql = format!("PRAGMA wal_checkpoint({how})");
        let since = Instant::now();
        loop {
            let done: rusqlite::Result<(i64, i64, i64)> =
                connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
            match done {
                Ok((0, ..)) => return true,
                // All of it is in the database, and others still look into the log.
                Ok((_, pages, folded)) if pages >= 0 && pages == folded => return true,
                // Somebody else is at it, for whom SQLite does not wait.
                _ if how == "TRUNCATE" && since.elapsed() < FOLDING => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                _ => return false,
            }
        }
    }
}
