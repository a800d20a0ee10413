//! A plain store and a sealed one of the same kind, and what is done to the sealed one alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{BackendKeyring, Keyring, SealError, SealedBackend, SqliteKeyring, Table};
use tempfile::TempDir;
use wacore::store::InMemoryBackend;
use wacore::store::traits::Backend;

use super::args::EPOCH;
use super::clock;
use super::exceptions::Kind;
use crate::child::Child;
use crate::common::{raw_key, sqlite};

/// The two stores.
pub struct Pair {
    pub plain: Arc<dyn Backend>,
    /// `None` only while it is reopened.
    opened: Option<Opened>,
    /// Another process that gives the sealed side new keys and reseals its rows, over and over.
    resealing: Option<Resealing>,
    home: Home,
}

/// How often that made all keys new while the tested side had the keyring open, so that it met rows of keys that it did
/// not know and the old ones were retained; and how many rows were resealed then. In all cases.
pub static RESEALED: AtomicU64 = AtomicU64::new(0);
pub static RESEALED_ROWS: AtomicU64 = AtomicU64::new(0);

/// How often one store gets new keys at most: its account's document grows with each.
pub const ROUNDS: u32 = 6;
/// So many steps are made before the next new keys are waited for.
const STEPS: u32 = 20;

/// The other process.
struct Resealing {
    child: Child,
    steps: u32,
    rounds: u32,
}

impl Resealing {
    fn step(&mut self) {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS) && self.rounds < ROUNDS {
            let said = self.child.next().expect("it goes on until it is killed");
            self.count(&said);
        }
    }

    fn count(&mut self, said: &str) {
        let mut words = said.split(' ').skip(1).map(str::parse::<u64>);
        let (Some(Ok(rows)), Some(Ok(retained))) = (words.next(), words.next()) else {
            panic!("{said}");
        };
        self.rounds += 1;
        if rows > 0 && retained > 0 {
            RESEALED.fetch_add(1, Ordering::Relaxed);
            RESEALED_ROWS.fetch_add(rows, Ordering::Relaxed);
        }
    }
}

/// The side that is tested.
enum Opened {
    Sealed {
        sealed: SealedBackend<dyn Backend>,
        keyring: Keyring,
    },
    Plain(SqliteStore),
}

/// What outlives the closing of the sealed side.
enum Home {
    Memory {
        inner: Arc<InMemoryBackend>,
        keys: BackendKeyring<InMemoryBackend>,
    },
    Sqlite(Box<Files>),
}

/// Two files, and connections that see in them what no method reads.
struct Files {
    kind: Kind,
    folder: TempDir,
    plain: Connection,
    sealed: Connection,
}

const PLAIN_FILE: &str = "plain.db";
const SEALED_FILE: &str = "sealed.db";

/// A time after all of the test's, and before any that a machine's clock shows today.
const BEFORE_REAL_NOW: i64 = EPOCH + 1_000_000;

/// What the traits write and never read, as upstream's tables and ours tell it: each answers with rows that must
/// be the same on both sides.
const UNREAD: &[(&str, &str)] = &[
    (
        "SELECT id, uploaded FROM prekeys ORDER BY id",
        "SELECT id, uploaded FROM prekeys ORDER BY id",
    ),
    (
        "SELECT version, count(*) FROM app_state_mutation_macs GROUP BY version ORDER BY version",
        "SELECT version, count(*) FROM mutation_macs GROUP BY version ORDER BY version",
    ),
    (
        "SELECT created_at, count(*) FROM sent_messages GROUP BY created_at ORDER BY created_at",
        "SELECT created_at, count(*) FROM sent_messages GROUP BY created_at ORDER BY created_at",
    ),
    (
        "SELECT inserted_at, count(*) FROM pending_inbound_messages GROUP BY inserted_at
         ORDER BY inserted_at",
        "SELECT inserted_at, count(*) FROM pending_inbound GROUP BY inserted_at ORDER BY inserted_at",
    ),
];

impl Pair {
    pub async fn new(kind: Kind) -> Self {
        let (plain, home): (Arc<dyn Backend>, Home) = match kind {
            Kind::Memory => {
                let keys = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
                let inner = Arc::new(InMemoryBackend::new());
                (
                    Arc::new(InMemoryBackend::new()),
                    Home::Memory { inner, keys },
                )
            }
            Kind::Sqlite | Kind::Ours | Kind::OursSealed => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let plain = sqlite(&folder.path().join(PLAIN_FILE)).await;
                // Makes the file, so that it can be connected to.
                match kind {
                    Kind::Sqlite => drop(sqlite(&folder.path().join(SEALED_FILE)).await),
                    _ => drop(ours(&folder.path().join(SEALED_FILE)).await),
                }
                let files = Files {
                    kind,
                    plain: connect(&folder.path().join(PLAIN_FILE)),
                    sealed: connect(&folder.path().join(SEALED_FILE)),
                    folder,
                };
                (plain, Home::Sqlite(Box::new(files)))
            }
        };
        let mut pair = Self {
            plain,
            opened: None,
            resealing: None,
            home,
        };
        pair.reopen().await;
        pair
    }

    /// From here on another process reseals the sealed side.
    pub fn start_resealing(&mut self) {
        if let Home::Sqlite(files) = &self.home {
            let path = files.folder.path().join(SEALED_FILE);
            let path = path.to_str().expect("a UTF-8 path");
            self.resealing = Some(Resealing {
                child: Child::run("resealing", &[path]),
                steps: 0,
                rounds: 0,
            });
        }
    }

    /// Whether another process works on the sealed side meanwhile.
    pub fn is_shared(&self) -> bool {
        self.resealing.is_some()
    }

    /// A step is made: from time to time not before the other process has made new keys, so that both go on side by side
    /// however fast each is.
    pub fn step(&mut self) {
        if let Some(resealing) = &mut self.resealing {
            resealing.step();
        }
    }

    /// Closes the sealed side, its keyring and (if it is a file) its inner store, and opens all anew.
    pub async fn reopen(&mut self) {
        self.opened = None;
        // While the other process destroys old keys, it is alone.
        while let Err(error) = self.try_reopen().await {
            assert!(
                matches!(error, SealError::InUse) && self.resealing.is_some(),
                "the sealed store opens: {error:?}"
            );
        }
    }

    async fn try_reopen(&mut self) -> Result<(), SealError> {
        let (inner, keyring): (Arc<dyn Backend>, _) = match &self.home {
            Home::Memory { inner, keys } => {
                let keyring = Keyring::open_or_create(keys.clone(), &raw_key()).await;
                (Arc::clone(inner) as _, keyring)
            }
            Home::Sqlite(files) => {
                let path = files.folder.path().join(SEALED_FILE);
                let inner: Arc<dyn Backend> = match files.kind {
                    Kind::Ours => {
                        self.opened = Some(Opened::Plain(ours(&path).await));
                        return Ok(());
                    }
                    Kind::OursSealed => Arc::new(ours(&path).await),
                    Kind::Memory | Kind::Sqlite => sqlite(&path).await,
                };
                let keyring = Keyring::open_or_create(SqliteKeyring::at(&path), &raw_key()).await;
                (inner, keyring)
            }
        };
        let keyring = keyring?;
        let account = keyring.account_or_create("1").await?;
        let sealed = SealedBackend::open(inner, account).await?;
        self.opened = Some(Opened::Sealed { sealed, keyring });
        Ok(())
    }

    fn opened(&self) -> &Opened {
        self.opened.as_ref().expect("the store is open")
    }

    pub fn tested(&self) -> &dyn Backend {
        match self.opened() {
            Opened::Sealed { sealed, .. } => sealed,
            Opened::Plain(store) => store,
        }
    }

    pub fn inner(&self) -> &dyn Backend {
        match self.opened() {
            Opened::Sealed { sealed, .. } => &**sealed.inner(),
            Opened::Plain(store) => store,
        }
    }

    pub fn refused_rows(&self) -> u64 {
        match self.opened() {
            Opened::Sealed { sealed, .. } => sealed.refused_rows(),
            Opened::Plain(_) => 0,
        }
    }

    pub fn is_locked(&self) -> bool {
        matches!(self.opened(), Opened::Sealed { keyring, .. } if !keyring.is_open())
    }

    pub fn lock(&self) {
        if let Opened::Sealed { keyring, .. } = self.opened() {
            keyring.lock();
        }
    }

    pub async fn unlock(&self) {
        if let Opened::Sealed { keyring, .. } = self.opened() {
            let unlocked = keyring.unlock(&raw_key()).await;
            unlocked.expect("the keyring opens again");
        }
    }

    pub async fn rotate(&self, tables: &[Table]) -> Result<(), SealError> {
        match self.opened() {
            Opened::Sealed { sealed, .. } => sealed.account().rotate_data_keys(tables).await,
            Opened::Plain(_) => Ok(()),
        }
    }

    /// Gives rows that SQLite stamped with its own time the test's time, as if that had been its time.
    pub fn settle_time(&self) {
        let Home::Sqlite(files) = &self.home else {
            return;
        };
        // Our store asks the test's clock.
        let of_upstream = match files.kind {
            Kind::Memory | Kind::Sqlite => &[&files.plain, &files.sealed][..],
            Kind::Ours | Kind::OursSealed => &[&files.plain],
        };
        for connection in of_upstream {
            for (table, column) in [
                ("sent_messages", "created_at"),
                ("pending_inbound_messages", "inserted_at"),
            ] {
                let statement = format!("UPDATE {table} SET {column} = ?1 WHERE {column} > ?2");
                connection
                    .prepare_cached(&statement)
                    .and_then(|mut update| update.execute([clock::now(), BEFORE_REAL_NOW]))
                    .expect("the time is set");
            }
        }
    }

    /// Compares what the traits write and never read. Answers what differs.
    pub fn compare_unread(&self) -> Result<(), String> {
        let Home::Sqlite(files) = &self.home else {
            return Ok(());
        };
        self.settle_time();
        for (query, of_ours) in UNREAD {
            let of_tested = match files.kind {
                Kind::Memory | Kind::Sqlite => query,
                Kind::Ours | Kind::OursSealed => of_ours,
            };
            let (plain, sealed) = (rows(&files.plain, query), rows(&files.sealed, of_tested));
            if plain != sealed {
                return Err(format!("{query}: plain {plain:?}, sealed {sealed:?}"));
            }
        }
        Ok(())
    }
}

async fn ours(path: &Path) -> SqliteStore {
    SqliteStore::open(path).await.expect("our store opens")
}

fn connect(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("a connection to the file");
    connection
        .busy_timeout(std::time::Duration::from_secs(30))
        .expect("it waits");
    connection
}

fn rows(connection: &Connection, query: &str) -> Vec<(i64, i64)> {
    let mut statement = connection
        .prepare_cached(query)
        .expect("the table is there");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.and_then(Iterator::collect).expect("its rows are read")
}
