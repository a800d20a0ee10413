//! The pieces of work on rows, each short, on a thread that may wait.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::place::{Place, kinds};
use crate::error::SealError;
use crate::keyring::{Account, Generation, ResealingTarget};
use crate::lifecycle::LifecycleError;
use crate::lifecycle::build::{self, Unit};
use crate::lifecycle::convert::Sealed;
use crate::lifecycle::opened;
use crate::lifecycle::step::step;
use crate::options::SealOptions;
use crate::record::{NONCE_LEN, Nonce};
use crate::rows::{self, Cursor, Found, Layout};
use crate::sealed::Sealer;
use crate::secret;

type Result<T> = std::result::Result<T, LifecycleError>;

/// Rows that are read, and replaced, at once: a transaction of some milliseconds.
const PAGE: usize = 256;
/// How often a walk's place is written: the document waits for the disk.
const NOTED: Duration = Duration::from_secs(1);
/// Or after so many rows: no more than these are looked at again after a kill, however fast the walk is.
const NOTED_ROWS: u64 = 8192;

/// What works on the rows of one account.
pub(super) struct Hands {
    connection: Connection,
    layout: Layout,
    account: Account,
    number: i32,
    rate: Option<u32>,
    noted: Instant,
    /// Rows since then.
    seen: u64,
}

/// What became of a page.
pub(super) struct Walked {
    pub(super) seen: u64,
    pub(super) changed: u64,
    /// Why a row could not be resealed.
    pub(super) refused: Option<LifecycleError>,
    pub(super) next: Option<Cursor>,
    /// Whether it is time to write down how far the walk is.
    pub(super) noteworthy: bool,
}

/// What was found on a page.
pub(super) struct Proved {
    pub(super) seen: u64,
    /// Whether a row is under a generation that it must not be under.
    pub(super) left: bool,
    pub(super) next: Option<Cursor>,
}

/// The rows of a page.
struct Page {
    units: Vec<Unit>,
    seen: u64,
    next: Option<Cursor>,
    /// A row that no store writes, of whichever account.
    unreadable: Option<LifecycleError>,
}

/// Rows of the store that are one to the client, and what they become.
struct Change {
    old: Unit,
    new: Sealed,
}

impl Hands {
    pub(super) fn new(
        connection: Connection,
        layout: Layout,
        account: Account,
        number: i32,
        rate: Option<u32>,
    ) -> Self {
        Self {
            connection,
            layout,
            account,
            number,
            rate,
            noted: Instant::now(),
            seen: 0,
        }
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// How many rows there are, of all accounts.
    pub(super) fn total(&self) -> Result<u64> {
        let mut total = 0;
        for kind in kinds() {
            total += rows::count(&self.connection, self.layout, kind)?;
        }
        Ok(total)
    }

    /// The account's rows of the page at `at`, each with the other half of a message secret.
    fn page(&self, at: &Place, limit: usize) -> Result<Page> {
        // Of one moment: a message secret whose halves are written meanwhile would be torn.
        let reading = self.connection.unchecked_transaction()?;
        let (found, next) = rows::page(&self.connection, self.layout, at.kind, &at.after, limit)?;
        let seen = found.len() as u64;
        let mut page = Vec::with_capacity(found.len());
        let mut unreadable = None;
        for found in found {
            match found {
                Found::Row(row) if row.account == self.number => page.push(row),
                Found::Row(_) => {}
                Found::Bad(what) => {
                    unreadable = Some(LifecycleError::CorruptRow {
                        table: self.layout.table(at.kind),
                        what,
                    });
                }
            }
        }
        let units = build::units(&self.connection, self.layout, page)?;
        reading.commit()?;
        Ok(Page {
            units,
            seen,
            next,
            unreadable,
        })
    }

    /// Rows of a page: a quarter of a second's, so that a slow walk looks often whether it is to stop.
    fn limit(&self) -> usize {
        let slow = self
            .rate
            .map(|rate| usize::try_from(rate / 4).unwrap_or(PAGE));
        slow.map_or(PAGE, |slow| slow.clamp(1, PAGE))
    }

    /// Reseals what a page holds under older keys.
    pub(super) fn reseal(&mut self, at: &Place, targets: &[ResealingTarget]) -> Result<Walked> {
        let began = Instant::now();
        let Page {
            units,
            seen,
            next,
            unreadable: mut refused,
        } = self.page(at, self.limit())?;
        let mut changes = Vec::new();
        for unit in units {
            match self.resealed(&unit, targets) {
                Ok(Some(new)) => changes.push(Change { old: unit, new }),
                // What nobody can read needs no key.
                Ok(None) | Err(SealError::Shredded) => {}
                Err(error) => {
                    refused.get_or_insert(error.into());
                }
            }
        }
        step("sealed");
        let changed = self.replace(&changes)?;
        if let Some(rate) = self.rate {
            let due = Duration::from_secs_f64(seen as f64 / f64::from(rate));
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        self.seen += seen;
        let noteworthy = self.seen >= NOTED_ROWS || self.noted.elapsed() >= NOTED;
        if noteworthy {
            (self.noted, self.seen) = (Instant::now(), 0);
        }
        Ok(Walked {
            seen,
            changed,
            refused,
            next,
            noteworthy,
        })
    }

    /// What a row becomes, if it is under an older key of a table that is resealed.
    fn resealed(
        &self,
        unit: &Unit,
        targets: &[ResealingTarget],
    ) -> std::result::Result<Option<Sealed>, SealError> {
        self.with(|sealer| {
            let is_old = |(table, generation): Generation| {
                targets
                    .iter()
                    .any(|target| target.table == table && generation < target.generation)
            };
            let mut nonce: Nonce = [0; NONCE_LEN];
            secret::random(&mut nonce)?;
            opened::reseal(sealer, &unit.row, unit.second.as_ref(), is_old, &nonce)
        })
    }

    /// Runs synchronous work with the keys. The keys of a generation that another process made are fetched by the caller.
    fn with<T>(
        &self,
        work: impl Fn(&Sealer<'_>) -> std::result::Result<T, SealError>,
    ) -> std::result::Result<T, SealError> {
        let options: &SealOptions = self.account.seal_options();
        self.account
            .with_keys(|keys| work(&Sealer { keys, options }))
    }

    /// Puts new rows in the place of those that are still what was read, in one short transaction. How many were.
    fn replace(&self, changes: &[Change]) -> Result<u64> {
        if changes.is_empty() {
            return Ok(0);
        }
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let replaced = self.replace_all(changes);
        match replaced {
            Ok(_) => self.connection.execute_batch("COMMIT")?,
            Err(_) if !self.connection.is_autocommit() => {
                // The error that led here is the one that is told.
                let _ = self.connection.execute_batch("ROLLBACK");
            }
            Err(_) => {}
        }
        replaced
    }

    fn replace_all(&self, changes: &[Change]) -> Result<u64> {
        let mut replaced = 0;
        for change in changes {
            self.connection.execute_batch("SAVEPOINT row")?;
            let mut whole = true;
            let old = std::iter::once(&change.old.row).chain(&change.old.second);
            for (old, new) in old.zip(&change.new) {
                whole = whole && rows::replace(&self.connection, self.layout, old, new)?;
            }
            // Of a message secret both halves or none.
            self.connection.execute_batch(if whole {
                "RELEASE row"
            } else {
                "ROLLBACK TO row; RELEASE row"
            })?;
            replaced += u64::from(whole);
        }
        Ok(replaced)
    }

    /// Waits until everything that was written, by whomever, is on the disk: a power cut must not bring rows back that are
    /// under keys that are gone.
    pub(super) fn settle(&self) -> Result<()> {
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        let version: i64 = self
            .connection
            .pragma_query_value(None, "user_version", |row| row.get(0))?;
        // A commit that changes nothing, after which the log is synced from its beginning.
        self.connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; PRAGMA user_version = {version}; COMMIT"
        ))?;
        self.connection
            .pragma_update(None, "synchronous", "NORMAL")?;
        Ok(())
    }

    /// Looks on a page for rows under `doomed` generations.
    pub(super) fn prove(&self, at: &Place, doomed: &[Generation]) -> Result<Proved> {
        let Page {
            units,
            seen,
            next,
            unreadable,
        } = self.page(at, PAGE)?;
        if let Some(error) = unreadable {
            return Err(error);
        }
        let mut left = false;
        for unit in units {
            let under =
                self.with(|sealer| opened::sealed_under(sealer, &unit.row, unit.second.as_ref()));
            let under = match under {
                Err(SealError::Shredded) => continue,
                other => other?,
            };
            left |= under.is_some_and(|under| doomed.contains(&under));
        }
        Ok(Proved { seen, left, next })
    }
}
