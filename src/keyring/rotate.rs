//! Root rotation: several documents, and a kill between any two of them is finished later.
//!
//! 1. The keyring document is replaced, in one write, by one with the new root: every slot that
//!    stays wraps it, and it holds the old root wrapped under the new one.
//! 2. The index and every account document are rewritten under the new root.
//! 3. The old root is dropped from the keyring document.
//!
//! Until 3, whoever opens reads documents of either root and finishes the work when alone.

use super::core::{CONFLICT_TRIES, Core, Unconfirmed};
use super::derive::{RootKeys, WrapKind, WrapPlace};
use super::document::{
    ACCOUNTS, AccountBody, AccountsBody, KEYRING, KeyringBody, SlotEntry, account_document,
    account_name,
};
use super::generation;
use super::store::StoreFaultKind;
use super::unlock::prove;
use super::{Keyring, slot};
use crate::audit::{AuditEvent, id_text};
use crate::error::SealError;
use crate::provider::KeyProvider;
use crate::secret;

impl Keyring {
    /// Replaces the root key. `keep` names every slot that stays, with a provider that opens it:
    /// each gets a fresh recipe under the new root. All other slots are dropped, and must be named
    /// in `drop`, so that none is lost by omission.
    ///
    /// Runs alone: every other opener must be closed. A kill at any moment is finished by the next
    /// open. An old copy of the keyring still opens under the old root and holds the same data
    /// keys; only new data keys and a new blind key end that.
    ///
    /// # Errors
    /// [`SealError::InUse`] while somebody else has the keyring open, [`SealError::WrongKey`] if a
    /// provider does not open its slot, [`SealError::Invalid`] if a slot is named twice or not at
    /// all, [`SealError::SlotCount`] if none stays, [`SealError::LoneSlot`] if only those stay that may be lost and others are
    /// dropped ([`KeyringOptions::allow_lone_slot`](crate::KeyringOptions::allow_lone_slot)). Nothing was changed then, but that an earlier rotation
    /// which was cut short was finished first, and that slot numbers may be used up. After another error (the store failed, the
    /// keyring was locked meanwhile) it may have happened all the same: see which provider opens before you destroy anything.
    pub async fn rotate_root(
        &self,
        keep: &[(u32, &dyn KeyProvider)],
        drop: &[u32],
    ) -> Result<(), SealError> {
        self.rotate(&Plan {
            keep,
            drop,
            replace: None,
        })
        .await?;
        Ok(())
    }

    /// Moves a keyring from one provider to another: puts a slot that `new` opens in the place of `slot`, under its label
    /// and a new number, which is returned, and replaces the root key, all in one write. The provider of the slot that
    /// goes need not be there any more. Every other slot is named in `keep`, with a provider that opens it, or in `drop`, as for
    /// [`Keyring::rotate_root`]; all that is said there holds here. A lease on the slot that goes ends at its next check: set
    /// another ([`Keyring::set_lease`]).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use sealed_store::{BackendKeyring, Keyring, KeyringOptions, RawKey, RecoveryCode};
    /// # use sealed_store::secrecy::SecretBox;
    /// # use wacore::store::InMemoryBackend;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let store = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
    /// # let [old, new] = [7, 8].map(|byte| RawKey::new(SecretBox::new(Box::new([byte; 32]))));
    /// # let code = RecoveryCode::generate()?;
    /// let keyring = Keyring::open_or_create(store.clone(), &old).await?; // slot 1
    /// let paper = keyring.add_slot("paper", &code).await?;
    /// keyring.replace_slot(1, &new, &[(paper, &code)], &[]).await?;
    /// drop(keyring);
    /// assert!(Keyring::open(store.clone(), &old).await.is_err());
    /// Keyring::open(store, &new).await?;
    /// # Ok::<(), sealed_store::SealError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`Keyring::rotate_root`], and what `new` answers, in which case nothing was changed.
    pub async fn replace_slot(
        &self,
        slot: u32,
        new: &dyn KeyProvider,
        keep: &[(u32, &dyn KeyProvider)],
        drop: &[u32],
    ) -> Result<u32, SealError> {
        let plan = Plan {
            keep,
            drop,
            replace: Some((slot, new)),
        };
        self.rotate(&plan).await?.ok_or(SealError::UnknownSlot)
    }

    async fn rotate(&self, plan: &Plan<'_>) -> Result<Option<u32>, SealError> {
        let core = &self.core;
        core.ensure_shared().await?;
        core.exclusively(async {
            let _changing = core.changing.lock().await;
            rotate(core, plan).await
        })
        .await
    }
}

/// What becomes of each slot.
struct Plan<'a> {
    keep: &'a [(u32, &'a dyn KeyProvider)],
    drop: &'a [u32],
    replace: Option<(u32, &'a dyn KeyProvider)>,
}

impl Plan<'_> {
    fn check_named_once(&self, body: &KeyringBody) -> Result<(), SealError> {
        if self.keep.is_empty() && self.replace.is_none() {
            return Err(SealError::SlotCount);
        }
        let stay = self.keep.iter().chain(&self.replace);
        let mut named: Vec<u32> = stay.map(|(slot, _)| *slot).collect();
        named.extend_from_slice(self.drop);
        named.sort_unstable();
        let mut present: Vec<u32> = body.slots.iter().map(|entry| entry.slot).collect();
        present.sort_unstable();
        if named != present {
            return Err(SealError::Invalid {
                what: "name every slot of the keyring once, to keep or to drop",
            });
        }
        Ok(())
    }
}

/// Finishes an interrupted rotation if nobody else has the keyring open; else the next one does.
pub(super) async fn finish_if_alone(core: &Core) -> Result<(), SealError> {
    let finished = core
        .exclusively(async {
            let _changing = core.changing.lock().await;
            finish(core).await
        })
        .await;
    match finished {
        Err(SealError::InUse) => Ok(()),
        other => other,
    }
}

/// Gives the number of the slot that took another's place.
async fn rotate(core: &Core, plan: &Plan<'_>) -> Result<Option<u32>, SealError> {
    // An earlier rotation first: the document has room for one previous root.
    finish(core).await?;
    let stay = plan.keep.iter().chain(&plan.replace);
    let left: Vec<bool> = stay.clone().map(|(_, one)| one.may_be_lost()).collect();
    let (_, body) = core
        .read::<KeyringBody>(KEYRING)
        .await?
        .ok_or(SealError::NoKeyring)?;
    plan.check_named_once(&body)?;
    slot::check_left(core.lone, &body.slots, &left)?;
    for (number, provider) in plan.keep {
        prove(core.audit(), &body, entry_of(&body, *number)?, *provider).await?;
    }
    // The numbers go into the slots' derivations, so they are claimed before any is made: a provider that keeps secrets itself
    // makes none twice for a number.
    let mut next_slot = core
        .change_keyring(|body| {
            let first = body.next_slot;
            let claimed = u32::try_from(left.len()).map_err(|_| SealError::SlotCount)?;
            body.next_slot = first.checked_add(claimed).ok_or(SealError::SlotCount)?;
            Ok(first)
        })
        .await?;
    let (revision, body) = core
        .read::<KeyringBody>(KEYRING)
        .await?
        .ok_or(SealError::NoKeyring)?;
    plan.check_named_once(&body)?;
    slot::check_left(core.lone, &body.slots, &left)?;

    let suite = body.suite;
    // Above the numbers of roots that may yet turn out to be durable.
    let newest = core.with_open(|open| {
        let unconfirmed = open.unconfirmed.iter().map(|new| new.root.number);
        Ok(unconfirmed.fold(body.root, u32::max))
    })?;
    let number = newest.checked_add(1).ok_or(SealError::TooLarge)?;
    let new = RootKeys::new(secret::random_key()?, number, suite);
    let mut slots = Vec::with_capacity(left.len());
    let mut replaced = None;
    let mut through = None;
    let came_through = core.with_open(|open| Ok(open.slot()))?;
    for (number, provider) in stay {
        let entry = entry_of(&body, *number)?;
        if plan.replace.is_some_and(|(slot, _)| slot == *number) {
            replaced = Some(next_slot);
        }
        let fresh = slot::make(
            core.id,
            next_slot,
            entry.label.clone(),
            *provider,
            &new,
            suite,
        )
        .await?;
        if *number == came_through {
            through = Some(fresh.clone());
        }
        next_slot = next_slot.checked_add(1).ok_or(SealError::SlotCount)?;
        slots.push(fresh);
    }

    let (old, wrapped) = core.with_open(|open| {
        let place = WrapPlace::root(core.id, WrapKind::PreviousRoot, open.root.number, suite);
        let wrapped = new.wrapper.wrap(&place, &open.root.root)?;
        Ok((open.root.number, wrapped))
    })?;
    let rotated = KeyringBody {
        revision: revision.checked_add(1).ok_or(SealError::Conflict)?,
        root: number,
        slots,
        previous_root: Some(super::document::PreviousRoot {
            root: old,
            wrapped: wrapped.try_into().map_err(|_| SealError::TooLarge)?,
        }),
        ..body
    };
    let bytes = super::document::write(&rotated, &new, KEYRING)?;
    // Kept before it is written: whatever becomes of this future or of the store's answer, the new
    // root may be durable from here on.
    match &mut *core.open_mut() {
        Some(open) => open.unconfirmed.push(Unconfirmed { root: new, through }),
        None => return Err(SealError::NotOpen),
    }
    match core.store.put(KEYRING, Some(revision), &bytes).await {
        Err(fault) if fault.kind() == StoreFaultKind::Conflict => {
            if let Some(open) = &mut *core.open_mut() {
                open.unconfirmed.retain(|new| new.root.number != number);
            }
            return Err(fault.into());
        }
        other => other?,
    };
    // Wiped meanwhile by `lock`: stays wiped, and the next open finishes.
    core.confirm_root(number);
    finish(core).await?;
    Ok(replaced)
}

fn entry_of(body: &KeyringBody, slot: u32) -> Result<&SlotEntry, SealError> {
    let mut slots = body.slots.iter();
    slots
        .find(|entry| entry.slot == slot)
        .ok_or(SealError::UnknownSlot)
}

/// Steps 2 and 3. Does nothing where no rotation is under way.
async fn finish(core: &Core) -> Result<(), SealError> {
    let number = core.with_open(|open| Ok(open.previous.as_ref().map(|_| open.root.number)))?;
    let Some(number) = number else { return Ok(()) };

    let names = match core.read::<AccountsBody>(ACCOUNTS).await? {
        Some((revision, mut index)) => {
            if index.root != number {
                index.root = number;
                index.revision = revision.checked_add(1).ok_or(SealError::Conflict)?;
                core.write(ACCOUNTS, Some(revision), &index).await?;
            }
            index.names
        }
        None => Vec::new(),
    };
    for name in with_unlisted(core, names).await? {
        rewrite_account(core, &name).await?;
    }
    core.change_keyring(|body| {
        body.previous_root = None;
        Ok(())
    })
    .await?;
    if let Some(open) = &mut *core.open_mut() {
        open.previous = None;
    }
    core.audit().record(&AuditEvent::RootRotationFinished {
        keyring: id_text(&core.id),
        root: number,
    });
    Ok(())
}

/// The accounts of the index, and those that the store can list besides: after a partial restore the
/// index may be older than a document, whose keys would be lost with the old root.
async fn with_unlisted(core: &Core, mut names: Vec<String>) -> Result<Vec<String>, SealError> {
    for document in core.store.list().await?.unwrap_or_default() {
        if let Some(name) = account_name(&document)
            && !names.iter().any(|listed| listed == name)
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

async fn rewrite_account(core: &Core, name: &str) -> Result<(), SealError> {
    let document = account_document(name);
    for _ in 0..CONFLICT_TRIES {
        // Listed and not made: a crash between the two.
        let Some((revision, mut body)) = core.read::<AccountBody>(&document).await? else {
            return Ok(());
        };
        let done = core.with_open(|open| {
            if body.root == open.root.number {
                return Ok(true);
            }
            let old = open.root_of(body.root)?;
            generation::rewrap(&mut body, old, &open.root)?;
            Ok(false)
        })?;
        if done {
            return Ok(());
        }
        body.revision = revision.checked_add(1).ok_or(SealError::Conflict)?;
        match core.write(&document, Some(revision), &body).await {
            Err(SealError::Conflict) => {}
            other => return other,
        }
    }
    Err(SealError::Conflict)
}
