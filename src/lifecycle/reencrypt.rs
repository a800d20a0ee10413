//! New data keys for a store that stays in use: its rows are resealed in place, and the old keys destroyed.
//!
//! 1. The new generation is durable, and with it that a resealing began.
//! 2. The rows are walked in short transactions, each replaced only if it is still what was read, so that whoever
//!    writes beside it wins. How far the walk is stands in the account's document, under its MAC.
//! 3. Alone with the keyring: prove that no row is under an old generation, mark it, prove again, wait until all that is on
//!    the disk, erase it. While
//!    somebody else has the keyring open, the old keys are retained, and the next one who is alone finishes:
//!    a later run, or [`sealed_store::open`](crate::open()).
//!
//! A kill at any moment leaves every row under a key that the document has.

mod hands;
mod place;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::LifecycleError;
use super::progress::{Phase, Progress};
use super::source;
use super::step::step;
use super::thread::{briefly, lost};
use crate::error::SealError;
use crate::keyring::store::SqliteKeyring;
use crate::keyring::{
    Account, AccountState, Generation, Keyring, KeyringOptions, Resealing, ResealingTarget,
};
use crate::provider::KeyProvider;
use crate::record::Table;
use crate::rows::Layout;
use crate::store::sqlite::log_length;
use hands::{Hands, Walked};
use place::Place;

type Result<T> = std::result::Result<T, LifecycleError>;

/// How often rows that were written under an old key meanwhile are walked again before the old keys stay.
const WALKS: u32 = 3;

/// How to reencrypt.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct ReencryptOptions {
    tables: Vec<Table>,
    rate: Option<u32>,
    keyring_file: Option<PathBuf>,
    keyring: KeyringOptions,
}

impl ReencryptOptions {
    /// All tables, as fast as it goes, with the keyring in the store's own file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only these tables get new keys.
    pub fn tables(mut self, tables: impl IntoIterator<Item = Table>) -> Self {
        self.tables = tables.into_iter().collect();
        self
    }

    /// At most so many rows a second, at least 1, so that the application beside it is not held up.
    pub fn rate(mut self, rows_a_second: u32) -> Self {
        self.rate = Some(rows_a_second.max(1));
        self
    }

    /// The keyring is in this file.
    pub fn keyring_file(mut self, path: impl AsRef<Path>) -> Self {
        self.keyring_file = Some(path.as_ref().to_path_buf());
        self
    }

    /// How the keyring is opened: slot, pins, and where its audit events go.
    pub fn keyring(mut self, options: KeyringOptions) -> Self {
        self.keyring = options;
        self
    }
}

/// What [`reencrypt`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReencryptSummary {
    /// Rows that were looked at, each as often as it was.
    pub seen: u64,
    /// Rows that were resealed.
    pub resealed: u64,
    /// Whether an earlier run was gone on with.
    pub resumed: bool,
    /// Old data keys that were destroyed.
    pub destroyed: u64,
    /// Old data keys that are retained, because somebody else has the keyring open: run it again, or open the store,
    /// when nobody has.
    pub retained: u64,
    /// Whether somebody reads the keyring's file (a `check`, any SQLite program), so that destroyed keys are left in its
    /// write-ahead log until the next change of the keyring.
    pub log_left: bool,
}

/// Gives the accounts of the sealed store at `path` new data keys, reseals their rows and destroys the old keys. The
/// application may have the store open meanwhile, in this or another process: its other openers take the new keys up
/// when they meet them.
///
/// An old copy of the keyring still opens what was sealed before: only a new file with all keys new ends that.
///
/// # Errors
/// [`LifecycleError`] of kind `Interrupted` if `progress` asked to stop: run it again to go on. Of kind `Corrupt` if a row does
/// not open; all others are resealed then, and the old keys stay. Nothing is lost by any error.
pub async fn reencrypt(
    path: impl AsRef<Path>,
    provider: &dyn KeyProvider,
    options: ReencryptOptions,
    progress: &dyn Progress,
) -> Result<ReencryptSummary> {
    progress.begin(Phase::Preparing, None);
    let path = source::real(path.as_ref())?;
    let looked = path.clone();
    let (layout, canaries) = briefly(move || look(&looked)).await?;
    let file = options.keyring_file.as_deref().unwrap_or(&path);
    let keyring = options.keyring.clone();
    let keyring = keyring.open(SqliteKeyring::at(file), provider).await?;
    let accounts = source::accounts(&keyring, canaries).await?;
    if !accounts.unknown.is_empty() {
        return Err(source::unknown_account());
    }
    let tables = if options.tables.is_empty() {
        Table::ALL.to_vec()
    } else {
        options.tables.clone()
    };
    let mut summary = ReencryptSummary::default();
    let mut refused = None;
    for (number, account) in accounts.by_number {
        if account.state() == AccountState::Shredded {
            continue;
        }
        let opened = path.clone();
        let connection = briefly(move || connect(&opened)).await?;
        let hands = Hands::new(connection, layout, account.clone(), number, options.rate);
        let mut task = Task {
            account,
            hands: Some(hands),
            progress,
            summary: &mut summary,
        };
        // Every account has its turn, also after one with a row that does not open.
        match task.run(&tables).await {
            Err(error) if error.kind() == super::LifecycleErrorKind::Corrupt => {
                refused.get_or_insert(error);
            }
            other => other?,
        }
    }
    summary.log_left = summary.destroyed > 0 && log_length(file) > 0;
    match refused {
        Some(error) => Err(error),
        None => Ok(summary),
    }
}

/// Finishes what [`reencrypt`] left because somebody else had the keyring open, if nobody has it now: called before the store is
/// opened, for every account whose rows are all resealed. The old keys stay where that is not so.
pub(crate) async fn finish(path: &Path, keyring: &Keyring, opened: &Account) -> Result<()> {
    if !keyring.has_resealed(opened).await? {
        return Ok(());
    }
    let looked = path.to_owned();
    let (layout, canaries) = briefly(move || look(&looked)).await?;
    let accounts = source::accounts(keyring, canaries).await?;
    if !accounts.unknown.is_empty() {
        return Err(source::unknown_account());
    }
    let mut refused = None;
    for (number, account) in accounts.by_number {
        let Some(resealing) = account.resealing().await?.filter(|at| at.walked) else {
            continue;
        };
        let opened = path.to_owned();
        let connection = briefly(move || connect(&opened)).await?;
        let mut task = Task {
            hands: Some(Hands::new(
                connection,
                layout,
                account.clone(),
                number,
                None,
            )),
            account,
            progress: &(),
            summary: &mut ReencryptSummary::default(),
        };
        if let Err(error) = task.reseal(resealing).await {
            refused.get_or_insert(error);
        }
    }
    refused.map_or(Ok(()), Err)
}

/// What the sealed store at `path` is, and what its canaries say.
fn look(path: &Path) -> Result<(Layout, Vec<source::Said>)> {
    let connection = connect(path)?;
    let layout = source::layout(&connection)?;
    if !source::is_sealed(&connection, layout)? {
        return Err(LifecycleError::NotSealed);
    }
    Ok((layout, source::canaries(&connection, layout)?))
}

/// The resealing of one account.
struct Task<'a> {
    account: Account,
    /// Taken while a thread works.
    hands: Option<Hands>,
    progress: &'a dyn Progress,
    summary: &'a mut ReencryptSummary,
}

impl Task<'_> {
    async fn run(&mut self, tables: &[Table]) -> Result<()> {
        let mut left = tables.to_vec();
        if let Some(resealing) = self.account.resealing().await? {
            // What was begun is finished first: it may be of other tables.
            self.summary.resumed = true;
            let targets = resealing.targets.clone();
            let before = self.summary.retained;
            self.reseal(resealing).await?;
            // Since it was begun a table may have got a newer key by `Account::rotate_data_keys`: its rows are under keys
            // that this one did not end.
            let active = self.account.active_generations().await?;
            left.retain(|table| {
                let is_newest = |done: &ResealingTarget| {
                    done.table == *table && active.contains(&(done.table, done.generation))
                };
                !targets.iter().any(is_newest)
            });
            if !left.is_empty() {
                // What it retained is of the next one too.
                self.summary.retained = before;
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        self.account.begin_resealing(&left).await?;
        step("begun");
        match self.account.resealing().await? {
            Some(resealing) => self.reseal(resealing).await,
            // Another run of this came first.
            None => Ok(()),
        }
    }

    async fn reseal(&mut self, mut resealing: Resealing) -> Result<()> {
        for _ in 0..WALKS {
            if !resealing.walked {
                self.walk(&mut resealing).await?;
            }
            if self.destroy(&resealing).await? {
                return Ok(());
            }
            // Whoever had older keys in memory wrote beside the walk.
            place::restart(&mut resealing);
        }
        // Again and again: they stay, as where somebody has the keyring open.
        let left = doomed(&self.account, &resealing).await?;
        self.summary.retained += left.len() as u64;
        Ok(())
    }

    /// Reseals what is under an older key, from where it was left.
    async fn walk(&mut self, resealing: &mut Resealing) -> Result<()> {
        let total = self.work(|hands| hands.total()).await?;
        self.progress.begin(Phase::Resealing, Some(total));
        let targets = resealing.targets.clone();
        let (mut done, mut refused) = (0, None);
        while let Some(at) = place::next(self.layout()?, resealing)? {
            if self.progress.stopped() {
                return Err(LifecycleError::Interrupted {
                    what: "the rows that are left are resealed by running it again",
                });
            }
            let mut walked = self.page(&at, &targets).await?;
            if let Some(LifecycleError::Seal(SealError::UnknownGeneration { .. })) = walked.refused
            {
                // Somebody else made it meanwhile.
                self.account.reload().await?;
                walked = self.page(&at, &targets).await?;
            }
            done += walked.seen;
            self.summary.seen += walked.seen;
            self.summary.resealed += walked.changed;
            refused = refused.or(walked.refused);
            step("page");
            place::advance(self.layout()?, resealing, walked.next);
            if walked.noteworthy {
                self.account.note_resealing(resealing).await?;
                step("noted");
            }
            self.progress.rows(done);
        }
        if let Some(error) = refused {
            // The walk begins anew when it is mended: where it is now does not say what was passed over.
            place::restart(resealing);
            self.account.note_resealing(resealing).await?;
            return Err(error);
        }
        resealing.walked = true;
        self.account.note_resealing(resealing).await?;
        step("walked");
        Ok(())
    }

    async fn page(&mut self, at: &Place, targets: &[ResealingTarget]) -> Result<Walked> {
        let (at, targets) = (at.clone(), targets.to_vec());
        self.work(move |hands| hands.reseal(&at, &targets)).await
    }

    /// Destroys the older keys, if nobody else has the keyring open. `false` if rows are under them again.
    async fn destroy(&mut self, resealing: &Resealing) -> Result<bool> {
        let doomed = doomed(&self.account, resealing).await?;
        let account = self.account.clone();
        let mut failed = None;
        let outcome = account
            .exclusively(async {
                match self.destroy_alone(resealing, &doomed).await {
                    Ok(destroyed) => Ok(destroyed),
                    Err(LifecycleError::Seal(error)) => Err(error),
                    Err(error) => {
                        failed = Some(error);
                        Ok(false)
                    }
                }
            })
            .await;
        let count = doomed.len() as u64;
        match (outcome, failed) {
            (_, Some(error)) => Err(error),
            (Err(SealError::InUse), _) => {
                self.summary.retained += count;
                Ok(true)
            }
            (Err(error), _) => Err(error.into()),
            (Ok(destroyed), _) => {
                if destroyed {
                    self.summary.destroyed += count;
                }
                Ok(destroyed)
            }
        }
    }

    /// Prove, mark, prove, erase.
    async fn destroy_alone(
        &mut self,
        resealing: &Resealing,
        doomed: &[Generation],
    ) -> Result<bool> {
        // Nobody else can make keys now: what is known is all there is.
        self.account.reload().await?;
        if !self.prove(doomed).await? {
            return Ok(false);
        }
        step("proved");
        self.account.mark_destroying(doomed).await?;
        step("marked");
        if !self.prove(doomed).await? {
            self.account.keep_generations(doomed).await?;
            return Ok(false);
        }
        step("proved again");
        self.work(|hands| hands.settle()).await?;
        step("settled");
        self.account.erase_generations(doomed).await?;
        step("erased");
        self.account.end_resealing(resealing).await?;
        step("finished");
        Ok(true)
    }

    /// Whether no row is under one of these generations. Fails if one does not open, for it may be.
    async fn prove(&mut self, doomed: &[Generation]) -> Result<bool> {
        let total = self.work(|hands| hands.total()).await?;
        self.progress.begin(Phase::Checking, Some(total));
        let mut done = 0;
        let mut at = place::first(self.layout()?);
        while let Some(here) = at {
            if self.progress.stopped() {
                return Err(LifecycleError::Interrupted {
                    what: "the old keys are destroyed by running it again",
                });
            }
            let (doomed, layout) = (doomed.to_vec(), self.layout()?);
            let from = here.clone();
            let proved = self.work(move |hands| hands.prove(&from, &doomed)).await?;
            if proved.left {
                return Ok(false);
            }
            done += proved.seen;
            self.progress.rows(done);
            at = place::after(layout, &here, proved.next);
        }
        Ok(true)
    }

    fn layout(&self) -> Result<Layout> {
        Ok(self.hands.as_ref().ok_or_else(lost)?.layout())
    }

    /// Works on a thread that may wait.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Hands) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut hands = self.hands.take().ok_or_else(lost)?;
        let (hands, result) = briefly(move || {
            let result = work(&mut hands);
            Ok((hands, result))
        })
        .await?;
        self.hands = Some(hands);
        result
    }
}

/// The old generations of the tables that are resealed.
async fn doomed(account: &Account, resealing: &Resealing) -> Result<Vec<Generation>> {
    let mut doomed = account.old_generations().await?;
    doomed.retain(|(table, generation)| {
        resealing
            .targets
            .iter()
            .any(|target| target.table == *table && *generation < target.generation)
    });
    Ok(doomed)
}

/// A connection beside those of the application.
fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(15))?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}
