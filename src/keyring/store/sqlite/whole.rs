//! A keyring's file as a whole: what a backup of the header takes and a restore puts back, and what is left in it of
//! documents that were replaced.

use rusqlite::{Connection, Row, TransactionBehavior, params};

use super::schema::has_keyring;
use super::{Shared, SqliteKeyring, StoreFault, StoreFaultKind, failed, fold_log, io};
use crate::keyring::header::Documents;
use crate::keyring::store::{LockGuard, MAX_DOCUMENT};
use crate::private_file;

impl SqliteKeyring {
    /// Every document, in one look. What can't be one (of another type, or too long) is an empty one, which is damaged.
    pub(crate) async fn documents(&self) -> Result<Documents, StoreFault> {
        self.run(|shared| {
            let mut held = shared.held();
            match shared.for_reading(&mut held, super::WAIT)? {
                Some(connection) => documents(connection).map_err(failed),
                None => Ok(Documents::new()),
            }
        })
        .await
    }

    /// Makes `documents` all that there is, in one transaction; makes the file if there is none. Whoever is `alone` is so until
    /// that is over, also if the future is dropped.
    pub(crate) async fn replace(
        &self,
        documents: Documents,
        alone: LockGuard,
    ) -> Result<(), StoreFault> {
        self.run(move |shared| {
            let replaced = shared.replace(&documents);
            drop(alone);
            replaced
        })
        .await
    }

    /// Writes the file anew, without free pages, and folds its log in, so that nothing is left of documents that were
    /// replaced, whoever replaced them. What can't be done is no error: the documents themselves are what they are.
    pub(crate) async fn sweep(&self) -> Result<Swept, StoreFault> {
        self.run(Shared::sweep).await
    }
}

/// What [`SqliteKeyring::sweep`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Whether the file was written anew: that takes room for it a second time.
    pub(crate) vacuumed: bool,
    /// Whether its log could not be folded in: somebody reads it.
    pub(crate) log_left: bool,
}

impl Shared {
    fn sweep(&self) -> Result<Swept, StoreFault> {
        let mut held = self.held();
        let connection = self.for_writing(&mut held)?;
        let vacuumed = connection.execute_batch("VACUUM").is_ok();
        Ok(Swept {
            vacuumed,
            log_left: !fold_log(connection),
        })
    }

    fn replace(&self, documents: &Documents) -> Result<(), StoreFault> {
        let mut held = self.held();
        let connection = self.for_writing(&mut held)?;
        private_file::tighten(&self.path).map_err(io)?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        transaction
            .execute("DELETE FROM sealed_store_keyring", [])
            .map_err(failed)?;
        for (name, (revision, bytes)) in documents {
            let revision = i64::try_from(*revision).map_err(|_| {
                StoreFault::new(StoreFaultKind::Invalid, "a revision number is impossible")
            })?;
            transaction
                .execute(
                    "INSERT INTO sealed_store_keyring (name, revision, document) VALUES (?1, ?2, ?3)",
                    params![name, revision, bytes],
                )
                .map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        fold_log(connection);
        Ok(())
    }
}

/// As [`SqliteKeyring::documents`], from a connection of somebody else's. None where there is no keyring.
pub(crate) fn documents_of(connection: &Connection) -> Result<Documents, StoreFault> {
    if !has_keyring(connection)? {
        return Ok(Documents::new());
    }
    documents(connection).map_err(failed)
}

fn documents(connection: &Connection) -> rusqlite::Result<Documents> {
    let mut statement = connection.prepare(
        "SELECT name, CASE WHEN typeof(revision) = 'integer' AND revision > 0 THEN revision ELSE 0 END,
         CASE WHEN typeof(document) = 'blob' AND length(document) <= ?1 THEN document ELSE x'' END
         FROM sealed_store_keyring WHERE typeof(name) = 'text'",
    )?;
    let document = |row: &Row<'_>| -> rusqlite::Result<_> {
        let revision = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
        let bytes = row.get_ref(2)?.as_bytes()?.to_vec();
        Ok((row.get_ref(0)?.as_bytes()?.to_vec(), (revision, bytes)))
    };
    let mut found = Documents::new();
    for row in statement.query_map([MAX_DOCUMENT as i64], document)? {
        let (name, document) = row?;
        if let Ok(name) = String::from_utf8(name) {
            found.insert(name, document);
        }
    }
    Ok(found)
}
