//! The decorator: a wacore `Backend` around any other, in which nothing is in the clear but what the
//! threat model lists.
//!
//! One file for each wacore trait, and each of the 82 methods is written by hand and calls the inner
//! method of the same name, so that the inner store's batching, transactions and order are kept.
//! What a row is in the inner store stands in `rows/`, one pair of pure functions a table.

mod app_sync;
mod device;
pub mod exposure;
mod msg_secret;
mod open;
mod protocol;
mod restore;
pub(crate) mod rows;
mod signal;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wacore::store::traits::Backend;

pub use restore::{RawRow, Restored};
pub(crate) use rows::Sealer;
#[cfg(feature = "testing")]
pub(crate) use rows::SignalTable;

use crate::audit::{self, AuditEvent, id_text};
use crate::error::SealError;
use crate::keyring::Account;
use crate::options::{OnCorrupt, SealOptions};
use crate::record::{NONCE_LEN, Nonce, Table};
use crate::secret;
use crate::thread::yield_now;

/// How many records a batch works on before it lets other tasks of the runtime run: some tens of
/// microseconds. Runtimes look at timers and sockets only every so many turns (tokio: 61), so a slice
/// must be far shorter than what may be kept waiting.
pub const RECORDS_PER_POLL: usize = 32;

/// A sealed store around `B`. Cheap to clone.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use sealed_store::{Keyring, Passphrase, SealedBackend, SqliteKeyring};
/// # use wacore::store::InMemoryBackend;
/// # async fn example(inner: InMemoryBackend, secret: String) -> Result<(), sealed_store::SealError> {
/// let keyring = Keyring::open_or_create(SqliteKeyring::at("whatsapp.db"), &Passphrase::new(secret)).await?;
/// let account = keyring.account_or_create("1").await?;
/// let backend = SealedBackend::open(Arc::new(inner), account).await?;
/// # let _ = backend;
/// # Ok(())
/// # }
/// ```
///
/// `B` may be unsized: `Arc<dyn Backend>` works.
pub struct SealedBackend<B: ?Sized> {
    inner: Arc<B>,
    shared: Arc<Shared>,
}

struct Shared {
    account: Account,
    options: SealOptions,
    /// Whether the inner store is known to have its own device row.
    device_row: AtomicBool,
    /// Whether the inner store refused the canary before it had a device row.
    canary_pending: AtomicBool,
    /// Whether it was this opener, of all, that began to make the account's device.
    making: AtomicBool,
    refused: AtomicU64,
}

impl<B: ?Sized> Clone for SealedBackend<B> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<B: Backend + ?Sized> SealedBackend<B> {
    /// Opens `inner` as the sealed store of `account`, with the keyring's options.
    ///
    /// # Errors
    /// A store is never taken for new, empty or device-less by mistake: [`SealError::Unsealed`] if it
    /// holds rows in the clear, [`SealError::WrongKeyring`] if it belongs to another account or
    /// keyring, [`SealError::StoreEmptied`] if the account is live and its device is gone,
    /// [`SealError::Corrupt`], [`SealError::Shredded`], and what the inner store answers.
    pub async fn open(inner: Arc<B>, account: Account) -> Result<Self, SealError> {
        let options = account.seal_options().clone();
        Self::open_with(inner, account, options).await
    }

    /// As [`SealedBackend::open`], with options of its own.
    ///
    /// # Errors
    /// As [`SealedBackend::open`].
    pub async fn open_with(
        inner: Arc<B>,
        account: Account,
        options: SealOptions,
    ) -> Result<Self, SealError> {
        let backend = Self {
            inner,
            shared: Arc::new(Shared {
                account,
                options,
                device_row: AtomicBool::new(false),
                canary_pending: AtomicBool::new(false),
                making: AtomicBool::new(false),
                refused: AtomicU64::new(0),
            }),
        };
        if let Err(error) = backend.settle().await {
            backend.note_store_refused(&error);
            return Err(error);
        }
        Ok(backend)
    }

    /// The inner store.
    #[must_use]
    pub fn inner(&self) -> &Arc<B> {
        &self.inner
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.shared.account
    }

    /// How many rows did not open since this store was opened, those treated as missing included.
    #[must_use]
    pub fn refused_rows(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Runs synchronous work with the keys.
    fn with<T>(
        &self,
        work: impl FnOnce(&Sealer<'_>) -> Result<T, SealError>,
    ) -> Result<T, SealError> {
        self.shared.account.with_keys(|keys| {
            work(&Sealer {
                keys,
                options: &self.shared.options,
            })
        })
    }

    /// Runs synchronous work that opens rows of `table`. If one names a generation that is not known,
    /// the account's document is read again, once: another process may have rotated its keys.
    /// A refused row is counted and audited.
    async fn opening<T>(
        &self,
        table: Table,
        work: impl Fn(&Sealer<'_>) -> Result<T, SealError>,
    ) -> Result<T, SealError> {
        let result = self.attempt(&work).await;
        if let Err(error) = &result {
            self.note_refused(table, error, false);
        }
        result
    }

    async fn attempt<T>(
        &self,
        work: impl Fn(&Sealer<'_>) -> Result<T, SealError>,
    ) -> Result<T, SealError> {
        match self.with(&work) {
            Err(SealError::UnknownGeneration { .. }) => {
                self.shared.account.refresh().await?;
                self.with(&work)
            }
            other => other,
        }
    }

    /// As [`Self::opening`], for one row that is `None` where the options say so.
    async fn open_row<T>(
        &self,
        table: Table,
        work: impl Fn(&Sealer<'_>) -> Result<T, SealError>,
    ) -> Result<Option<T>, SealError> {
        match self.attempt(&work).await {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                let missing = self.shared.options.on_corrupt == OnCorrupt::TreatAsMissing
                    && table.heals_when_absent()
                    && error.is_authentication_failure();
                self.note_refused(table, &error, missing);
                if missing { Ok(None) } else { Err(error) }
            }
        }
    }

    fn note_store_refused(&self, error: &SealError) {
        let account = &self.shared.account;
        account.audit().record(&AuditEvent::StoreRefused {
            account: id_text(&account.uid()),
            reason: audit::reason(error),
        });
    }

    fn note_refused(&self, table: Table, error: &SealError, treated_as_missing: bool) {
        if note_refused(&self.shared.account, table, error, treated_as_missing) {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Works on a batch in slices, and lets other tasks run in between. What comes out, `capacity` of it
    /// in the end, is pushed.
    async fn slices<I, O>(
        &self,
        items: &[I],
        capacity: usize,
        work: impl Fn(&Sealer<'_>, &[I], &mut Vec<O>) -> Result<(), SealError>,
    ) -> Result<Vec<O>, SealError> {
        let mut made = Vec::with_capacity(capacity);
        let mut slices = items.chunks(RECORDS_PER_POLL).peekable();
        while let Some(slice) = slices.next() {
            self.with(|sealer| work(sealer, slice, &mut made))?;
            if slices.peek().is_some() {
                yield_now().await;
            }
        }
        Ok(made)
    }

    /// Seals a batch in slices, with one call for randomness a slice.
    async fn seal_slices<I, O>(
        &self,
        items: &[I],
        work: impl Fn(&Sealer<'_>, &I, &Nonce) -> Result<O, SealError>,
    ) -> Result<Vec<O>, SealError> {
        self.slices(items, items.len(), |sealer, slice, sealed| {
            for (item, nonce) in slice.iter().zip(&nonces(slice.len())?) {
                sealed.push(work(sealer, item, nonce)?);
            }
            Ok(())
        })
        .await
    }

    /// The names of a batch as the inner store knows them, made in slices.
    async fn name_slices<I, O>(
        &self,
        items: &[I],
        work: impl Fn(&Sealer<'_>, &I) -> Result<O, SealError>,
    ) -> Result<Vec<O>, SealError> {
        self.slices(items, items.len(), |sealer, slice, names| {
            for item in slice {
                names.push(work(sealer, item)?);
            }
            Ok(())
        })
        .await
    }

    /// Opens a batch in slices; it fails whole.
    async fn open_slices<I, O>(
        &self,
        table: Table,
        items: &[I],
        work: impl Fn(&Sealer<'_>, &I) -> Result<O, SealError>,
    ) -> Result<Vec<O>, SealError> {
        let mut opened = Vec::with_capacity(items.len());
        let mut slices = items.chunks(RECORDS_PER_POLL).peekable();
        while let Some(slice) = slices.next() {
            let part = self
                .opening(table, |sealer| {
                    slice
                        .iter()
                        .map(|item| work(sealer, item))
                        .collect::<Result<Vec<_>, _>>()
                })
                .await?;
            opened.extend(part);
            if slices.peek().is_some() {
                yield_now().await;
            }
        }
        Ok(opened)
    }
}

/// Audits a row that did not open, and says whether it is the row's fault.
fn note_refused(
    account: &Account,
    table: Table,
    error: &SealError,
    treated_as_missing: bool,
) -> bool {
    let refused = matches!(
        error,
        SealError::Corrupt { .. }
            | SealError::Unsealed { .. }
            | SealError::UnknownGeneration { .. }
            | SealError::UnsupportedVersion { .. }
    );
    if refused {
        account.audit().record(&AuditEvent::RowRefused {
            account: id_text(&account.uid()),
            table,
            reason: audit::reason(error),
            treated_as_missing,
        });
    }
    refused
}

/// A fresh nonce.
pub(crate) fn nonce() -> Result<Nonce, SealError> {
    let mut nonce = Nonce::default();
    secret::random(&mut nonce)?;
    Ok(nonce)
}

/// Fresh nonces, from one call to the operating system.
pub(crate) fn nonces(count: usize) -> Result<Vec<Nonce>, SealError> {
    let mut nonces = vec![[0; NONCE_LEN]; count];
    secret::random(nonces.as_flattened_mut())?;
    Ok(nonces)
}

impl<B: ?Sized> fmt::Debug for SealedBackend<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedBackend")
            .field("account", &self.shared.account)
            .finish_non_exhaustive()
    }
}
