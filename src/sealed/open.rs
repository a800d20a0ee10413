//! Opening a store: it is never taken for new, empty or device-less by mistake.
//!
//! A canary row says in the clear whose store it is and proves it with a sealed record; the account's
//! document says how far the account is. The first line that fits:
//!
//! | canary | inner device row | account | answer |
//! | --- | --- | --- | --- |
//! | any | any | shredded | `Shredded` |
//! | other keyring, account or store | any | any | `WrongKeyring` |
//! | ours, does not open | any | any | `Corrupt` |
//! | absent | none | new, initialising | go on if the store holds no rows, else `Unsealed`; canary now |
//! | absent | there | new | `Unsealed` |
//! | absent | there, no carrier | initialising | canary, then "finish" |
//! | ours | none | new, initialising | go on |
//! | ours | there | new | `Unsealed` |
//! | ours | there, carrier opens | initialising | live, open |
//! | ours | there, no carrier | initialising | finish, if the plain device is unused, else `Unsealed` |
//! | ours | there, carrier opens | live | open |
//! | absent, or ours | none, or no carrier | live | `StoreEmptied` |
//! | anything else | | | `Corrupt` |

#[cfg(test)]
mod shredded;

use std::sync::atomic::Ordering;

use wacore::store::Device;
use wacore::store::traits::Backend;

use super::rows::{CANARY_KEY, Canary, read_device, write_device};
use super::{SealedBackend, nonce};
use crate::error::{Fault, SealError};
use crate::keyring::AccountState::{self, Initialising, Live, New, Shredded};
use crate::keyring::store::holds_rows;
use crate::record::Table;

const CANARY_MISFIT: SealError = SealError::Corrupt {
    table: Table::Canary,
    what: Fault::Canary,
};

/// How often a store is looked at again because another opener was at work on it.
const LOOKS: usize = 8;

impl<B: Backend + ?Sized> SealedBackend<B> {
    /// The table above. Its three columns are read one after the other, so an answer that says the
    /// store is not what it should be counts only if none of them moved meanwhile: another opener
    /// may be making the account's device right now.
    pub(super) async fn settle(&self) -> Result<(), SealError> {
        let account = self.account();
        account.reload().await?;
        let mut looks = 0;
        loop {
            looks += 1;
            let before = (account.state(), account.store_id());
            let answer = self.look().await;
            let doubtful = matches!(
                &answer,
                Err(SealError::Unsealed { .. }
                    | SealError::StoreEmptied
                    | SealError::Corrupt {
                        table: Table::Canary,
                        ..
                    })
            );
            if !doubtful || looks == LOOKS {
                return answer;
            }
            account.reload().await?;
            let device_row = self.inner.exists().await.map_err(SealError::Inner)?;
            if (account.state(), account.store_id()) == before
                && device_row == self.shared.device_row.load(Ordering::Acquire)
            {
                return answer;
            }
        }
    }

    async fn look(&self) -> Result<(), SealError> {
        if self.account().state() == Shredded {
            return Err(SealError::Shredded);
        }
        let canary = self.read_canary().await?;
        let device_row = self.inner.exists().await.map_err(SealError::Inner)?;
        self.shared.device_row.store(device_row, Ordering::Release);
        match (canary, device_row, self.account().state()) {
            (false, false, New | Initialising) => {
                if holds_rows(&*self.inner).await.map_err(SealError::Inner)? {
                    return Err(SealError::Unsealed { table: None });
                }
                self.bind().await?;
                match self.put_canary().await {
                    // Two accounts may be opening one empty store: whose canary stands, has it.
                    Ok(()) => self.read_canary().await.map(drop),
                    // Some stores take rows only after their device row: `create` writes it then.
                    Err(SealError::Inner(_)) => {
                        self.shared.canary_pending.store(true, Ordering::Release);
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            }
            (true, false, New | Initialising) => Ok(()),
            (_, true, New) => Err(SealError::Unsealed { table: None }),
            (canary, true, Initialising) => {
                let account = self.account().clone();
                let _creating = account.creating().await;
                // Another opener may be in the middle of it right now: only alone is it a crash.
                account.exclusively(self.finish(canary)).await
            }
            (canary, device_row, Live) => match (device_row, self.read_device().await?) {
                (true, Some(_)) if canary => Ok(()),
                (true, Some(_)) => Err(CANARY_MISFIT),
                _ => Err(SealError::StoreEmptied),
            },
            (_, _, Shredded) => Err(SealError::Shredded),
        }
    }

    /// Finishes a `create` that a crash cut short, with nobody else about.
    async fn finish(&self, canary: bool) -> Result<(), SealError> {
        self.account().reload().await?;
        let carrier = self.read_device().await?.is_some();
        match (canary, carrier, self.account().state()) {
            (true, true, Initialising) => self.account().advance(Live).await.map(drop),
            (true, true, Live) => Ok(()),
            (_, false, Initialising) => {
                self.check_plain_device_unused().await?;
                if !canary {
                    self.put_canary().await?;
                }
                self.put_device(&Device::new()).await?;
                self.account().advance(Live).await.map(drop)
            }
            (_, false, Live) => Err(SealError::StoreEmptied),
            _ => Err(CANARY_MISFIT),
        }
    }

    /// A plain device that was used is somebody's account in the clear: never sealed over.
    async fn check_plain_device_unused(&self) -> Result<(), SealError> {
        let plain = self.inner.load().await.map_err(SealError::Inner)?;
        let unused = plain.is_none_or(|device| {
            device.pn.is_none()
                && device.lid.is_none()
                && device.account.is_none()
                && device.push_name.is_empty()
        });
        if unused {
            Ok(())
        } else {
            Err(SealError::Unsealed {
                table: Some(Table::Device),
            })
        }
    }

    /// Whether the canary is there and ours. One that is not ours, or does not open, is an error.
    async fn read_canary(&self) -> Result<bool, SealError> {
        let row = self
            .inner
            .get_session(CANARY_KEY)
            .await
            .map_err(SealError::Inner)?;
        let Some(row) = row else { return Ok(false) };
        let (canary, sealed) = Canary::read(&row)?;
        if canary.keyring != self.account().keyring_id()
            || canary.account != self.account().uid()
            || self
                .account()
                .store_id()
                .is_some_and(|store| store != canary.store)
        {
            return Err(SealError::WrongKeyring);
        }
        self.opening(Table::Canary, |sealer| sealer.open_canary(&canary, sealed))
            .await?;
        // A store is bound before its canary is written: a document that does not know it is older.
        if self.account().store_id().is_none() {
            return Err(CANARY_MISFIT);
        }
        Ok(true)
    }

    /// Binds the account to this store, durably, if it is not bound yet.
    async fn bind(&self) -> Result<[u8; 16], SealError> {
        match self.account().store_id() {
            Some(store) => Ok(store),
            None => self.account().bind_store().await,
        }
    }

    /// For a store that takes rows without a device row: if it did not take the canary when it was opened, that was a
    /// failure. Rows that are written without it would never be opened again.
    #[cfg(feature = "sqlite")]
    pub(crate) async fn require_canary(&self) -> Result<(), SealError> {
        if self.shared.canary_pending.load(Ordering::Acquire) {
            self.put_canary().await?;
            self.read_canary().await?;
        }
        Ok(())
    }

    async fn put_canary(&self) -> Result<(), SealError> {
        let canary = Canary {
            keyring: self.account().keyring_id(),
            account: self.account().uid(),
            store: self.bind().await?,
        };
        let nonce = nonce()?;
        let row = self.with(|sealer| sealer.seal_canary(&canary, &nonce))?;
        self.inner
            .put_session(CANARY_KEY, &row)
            .await
            .map_err(SealError::Inner)?;
        self.shared.canary_pending.store(false, Ordering::Release);
        Ok(())
    }

    /// Goes from a store without a device to a live account. `device`: what to save; a new one if
    /// none. Every step is durable before the next, and `settle` finishes what a crash cuts short.
    /// Answers the inner store's id of the device.
    ///
    /// Of all openers only one may do it, or the second's device replaces the one that the first has
    /// shown to its client already. The account's document decides who: it becomes `initialising`
    /// once, for one of them.
    pub(super) async fn make_device(&self, device: Option<&Device>) -> Result<i32, SealError> {
        let account = self.account().clone();
        let _creating = account.creating().await;
        if account.advance(Initialising).await? {
            self.shared.making.store(true, Ordering::Release);
        }
        if account.state() == Initialising && !self.shared.making.load(Ordering::Acquire) {
            // Somebody else began it: only alone is that a crash, to be finished here.
            return account.exclusively(self.make(device)).await;
        }
        self.make(device).await
    }

    async fn make(&self, device: Option<&Device>) -> Result<i32, SealError> {
        let account = self.account();
        account.reload().await?;
        match account.state() {
            New | Initialising => {}
            Live => return self.made_meanwhile(device).await,
            Shredded => return Err(SealError::Shredded),
        }
        if self.shared.canary_pending.load(Ordering::Acquire) {
            // Tried again now, and once more when the device row is there.
            let _ = self.put_canary().await;
        }
        let id = self.make_inner_row(device.is_none()).await?;
        if self.shared.canary_pending.load(Ordering::Acquire) {
            self.put_canary().await?;
        }
        let fresh;
        let device = match device {
            Some(device) => device,
            None => {
                fresh = Device::new();
                &fresh
            }
        };
        // Another account's opener may have written its own over ours meanwhile.
        if !self.read_canary().await? {
            return Err(CANARY_MISFIT);
        }
        self.put_device(device).await?;
        account.advance(Live).await?;
        self.shared.making.store(false, Ordering::Release);
        Ok(id)
    }

    /// The inner store's own device row, whose random keys nobody uses. `by_create`: through the
    /// inner `create`, whose id is the answer.
    async fn make_inner_row(&self, by_create: bool) -> Result<i32, SealError> {
        let mut id = 1;
        if self.inner.exists().await.map_err(SealError::Inner)? {
            // An earlier attempt's, or a plain client's that came in between.
            self.check_plain_device_unused().await?;
        } else {
            if by_create {
                id = self.inner.create().await.map_err(SealError::Inner)?;
            }
            if !self.inner.exists().await.map_err(SealError::Inner)? {
                self.inner
                    .save(&Device::new())
                    .await
                    .map_err(SealError::Inner)?;
            }
        }
        self.shared.device_row.store(true, Ordering::Release);
        Ok(id)
    }

    /// Another opener of the account made the device first, and its client has seen it: only that
    /// device may be saved.
    async fn made_meanwhile(&self, device: Option<&Device>) -> Result<i32, SealError> {
        let made = self.read_device().await?.ok_or(SealError::StoreEmptied)?;
        match device {
            Some(device)
                if device.identity_key.public_key.serialize()
                    == made.identity_key.public_key.serialize() =>
            {
                self.put_device(device).await?;
                Ok(1)
            }
            _ => Err(SealError::AccountExists),
        }
    }

    /// Seals and saves the device.
    pub(super) async fn put_device(&self, device: &Device) -> Result<(), SealError> {
        let nonce = nonce()?;
        let json = write_device(device)?;
        let (key, sealed) = self.with(|sealer| sealer.seal_device(&json, &nonce))?;
        self.inner
            .put_session(&key, &sealed)
            .await
            .map_err(SealError::Inner)
    }

    /// The device, or `None` where its row is missing.
    pub(super) async fn read_device(&self) -> Result<Option<Device>, SealError> {
        let key = self.with(|sealer| sealer.device_key())?;
        let sealed = self
            .inner
            .get_session(&key)
            .await
            .map_err(SealError::Inner)?;
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let record = self
            .opening(Table::Device, |sealer| sealer.device_record(&key, &sealed))
            .await?;
        read_device(&record)
            .inspect_err(|error| self.note_refused(Table::Device, error, false))
            .map(Some)
    }

    /// Why a live account's device can't be found.
    pub(super) async fn device_is_gone(&self) -> SealError {
        let error = match self.read_canary().await {
            Err(error) => error,
            Ok(_) => SealError::StoreEmptied,
        };
        self.note_store_refused(&error);
        error
    }

    /// The account's state, read anew unless it is live: another opener may have made the device.
    pub(super) async fn current_state(&self) -> Result<AccountState, SealError> {
        if self.account().state() != Live {
            self.account().reload().await?;
        }
        match self.account().state() {
            // Never "no device": the client would make a new one.
            Shredded => Err(SealError::Shredded),
            state => Ok(state),
        }
    }
}
