//! Slots: the ways to open a keyring.

use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

use super::Keyring;
use super::core::now;
use super::derive::{RootKeys, SlotKeys, WrapKind, WrapPlace};
use super::document::{Envelope, KEYRING, KeyringBody, MAX_SLOTS, SlotEntry};
use super::store::KeyringStore;
use super::unlock::prove;
use crate::audit::{AuditEvent, id_text};
use crate::error::SealError;
use crate::provider::{
    KdfCost, KeyProvider, Passphrase, ProviderError, ProviderErrorKind, Recipe, SlotContext,
    cost_of,
};
use crate::record::Suite;

/// What a slot is, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotInfo {
    /// Its number, never reused in a keyring.
    pub slot: u32,
    /// The label it was given.
    pub label: String,
    /// The provider's kind.
    pub kind: String,
    /// When it was made, in Unix seconds.
    pub created: u64,
    /// What one derivation of its key costs, where its provider is a passphrase.
    pub kdf: Option<KdfCost>,
    /// Whether this opener came in through it.
    pub opened: bool,
    /// Whether it can be lost with a machine, a login or a desktop: a keychain, a TPM.
    pub may_be_lost: bool,
}

impl SlotEntry {
    /// `through`: the slot that opened, if one did.
    pub(crate) fn info(&self, through: Option<u32>) -> SlotInfo {
        SlotInfo {
            slot: self.slot,
            label: self.label.clone(),
            kind: self.kind.clone(),
            created: self.created,
            kdf: match self.kind.as_str() {
                Passphrase::KIND => cost_of(&self.recipe.material),
                _ => None,
            },
            opened: through == Some(self.slot),
            may_be_lost: self.may_be_lost,
        }
    }
}

impl Keyring {
    /// The slots, in number order.
    ///
    /// # Errors
    /// If the keyring is not open, or its store fails.
    pub async fn slots(&self) -> Result<Vec<SlotInfo>, SealError> {
        let (_, body) = self
            .core
            .read::<KeyringBody>(KEYRING)
            .await?
            .ok_or(SealError::NoKeyring)?;
        let through = self.core.with_open(|open| Ok(open.slot()))?;
        let mut slots: Vec<_> = body
            .slots
            .iter()
            .map(|entry| entry.info(Some(through)))
            .collect();
        // A changed slot keeps its place in the document under a newer number.
        slots.sort_by_key(|slot| slot.slot);
        Ok(slots)
    }

    /// The slots of a keyring that is not open, in number order: for telling what else may open it, where one provider is lost.
    /// Needs no key, so whoever can write the store can have put them there: nothing may be decided by them. A keyring that
    /// does not open says nothing of its slots by itself, for labels do not belong into logs.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use sealed_store::{BackendKeyring, Keyring, KeyringOptions, RawKey, RecoveryCode, SealError};
    /// # use sealed_store::secrecy::SecretBox;
    /// # use wacore::store::InMemoryBackend;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let store = BackendKeyring::new(Arc::new(InMemoryBackend::new()));
    /// # let [key, lost] = [7, 8].map(|byte| RawKey::new(SecretBox::new(Box::new([byte; 32]))));
    /// # let options = KeyringOptions::new().label("desktop");
    /// # let keyring = options.create(store.clone(), &key).await?;
    /// # keyring.add_slot("paper", &RecoveryCode::generate()?).await?;
    /// if let Err(SealError::WrongKey) = Keyring::open(store.clone(), &lost).await {
    ///     for slot in Keyring::unverified_slots(store).await? {
    ///         println!("try {} ({})", slot.label, slot.kind);
    ///     }
    /// }
    /// # Ok::<(), SealError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`SealError::NoKeyring`], [`SealError::CorruptKeyring`], or if the store fails.
    pub async fn unverified_slots(
        store: impl KeyringStore + 'static,
    ) -> Result<Vec<SlotInfo>, SealError> {
        let (_, bytes) = store.get(KEYRING).await?.ok_or(SealError::NoKeyring)?;
        let body = Envelope::<KeyringBody>::read(&bytes)?.body;
        let mut slots: Vec<_> = body.slots.iter().map(|entry| entry.info(None)).collect();
        slots.sort_by_key(|slot| slot.slot);
        Ok(slots)
    }

    /// Adds a slot that `provider` opens, and returns its number. `label` is stored in the clear:
    /// at most 64 characters, not personal.
    ///
    /// # Errors
    /// [`SealError::SlotCount`] beyond sixteen slots, [`SealError::Invalid`] for a label or kind that can't be
    /// stored, what the provider answers, and as [`Keyring::remove_slot`]. A number may be used up then.
    pub async fn add_slot(
        &self,
        label: &str,
        provider: &dyn KeyProvider,
    ) -> Result<u32, SealError> {
        check_label(label)?;
        self.core.ensure_shared().await?;
        let _changing = self.core.changing.lock().await;
        // The number goes into the slot's derivation, so it is claimed before the provider is asked.
        let slot = self
            .core
            .change_keyring(|body| {
                if body.slots.len() >= MAX_SLOTS {
                    return Err(SealError::SlotCount);
                }
                let slot = body.next_slot;
                body.next_slot = slot.checked_add(1).ok_or(SealError::SlotCount)?;
                Ok(slot)
            })
            .await?;
        let draft = self.draft(slot, label, provider).await?;
        self.core
            .change_keyring(|body| {
                if body.slots.len() >= MAX_SLOTS {
                    return Err(SealError::SlotCount);
                }
                body.slots.push(self.finish(&draft)?);
                Ok(())
            })
            .await?;
        self.core.audit.record(&AuditEvent::SlotAdded {
            keyring: id_text(&self.core.id),
            slot,
            provider: provider.kind().to_owned(),
        });
        Ok(slot)
    }

    /// Removes a slot. An old copy of the keyring still opens with its secret, and holds the same
    /// data keys: only new data keys, a new blind key and a new root end that.
    ///
    /// # Errors
    /// [`SealError::UnknownSlot`], [`SealError::SlotCount`] for the last one, [`SealError::LoneSlot`] for the last one
    /// that can't be lost ([`KeyringOptions::allow_lone_slot`](crate::KeyringOptions::allow_lone_slot)), [`SealError::NotOpen`],
    /// [`SealError::Conflict`] if others keep changing the keyring, [`SealError::Keyring`] if its store fails.
    pub async fn remove_slot(&self, slot: u32) -> Result<(), SealError> {
        self.core.ensure_shared().await?;
        let _changing = self.core.changing.lock().await;
        self.core
            .change_keyring(|body| {
                let position = position(body, slot)?;
                if body.slots.len() == 1 {
                    return Err(SealError::SlotCount);
                }
                let mut left = lost_ones(&body.slots);
                left.remove(position);
                check_left(self.core.lone, &body.slots, &left)?;
                body.slots.remove(position);
                Ok(())
            })
            .await?;
        if let Some(open) = &mut *self.core.open_mut() {
            open.through.take_if(|entry| entry.slot == slot);
        }
        self.core.audit.record(&AuditEvent::SlotRemoved {
            keyring: id_text(&self.core.id),
            slot,
        });
        Ok(())
    }

    /// Replaces a slot's secret at once, keeping its label: `old` must open it, `new` opens it from
    /// here on, under a new number, which is returned. No row is rewritten. As with
    /// [`Keyring::remove_slot`], an old copy of the keyring still opens with the old secret. A lease on `old` ends at its next
    /// check if `new` is another provider: set another ([`Keyring::set_lease`]).
    ///
    /// # Errors
    /// [`SealError::WrongKey`] if `old` does not open the slot, [`SealError::LoneSlot`] as [`Keyring::remove_slot`]; nothing was
    /// changed then. Otherwise as
    /// [`Keyring::add_slot`]: the old secret still opens.
    pub async fn change_passphrase(
        &self,
        slot: u32,
        old: &dyn KeyProvider,
        new: &dyn KeyProvider,
    ) -> Result<u32, SealError> {
        self.core.ensure_shared().await?;
        let _changing = self.core.changing.lock().await;
        let (_, body) = self
            .core
            .read::<KeyringBody>(KEYRING)
            .await?
            .ok_or(SealError::NoKeyring)?;
        let at = position(&body, slot)?;
        let entry = body.slots.get(at).ok_or(SealError::UnknownSlot)?;
        check_replaced(self.core.lone, &body, at, new.may_be_lost())?;
        prove(self.core.audit(), &body, entry, old).await?;
        let replacement = self
            .core
            .change_keyring(|body| {
                let slot = body.next_slot;
                body.next_slot = slot.checked_add(1).ok_or(SealError::SlotCount)?;
                Ok(slot)
            })
            .await?;
        let draft = self.draft(replacement, &entry.label, new).await?;
        let finished = self
            .core
            .change_keyring(|body| {
                let position = position(body, slot)?;
                let finished = self.finish(&draft)?;
                check_replaced(self.core.lone, body, position, finished.may_be_lost)?;
                *body.slots.get_mut(position).ok_or(SealError::UnknownSlot)? = finished.clone();
                Ok(finished)
            })
            .await?;
        if let Some(open) = &mut *self.core.open_mut()
            && open.slot() == slot
        {
            open.through = Some(finished);
        }
        self.core.audit.record(&AuditEvent::SlotChanged {
            keyring: id_text(&self.core.id),
            slot: replacement,
        });
        Ok(replacement)
    }

    async fn draft(
        &self,
        slot: u32,
        label: &str,
        provider: &dyn KeyProvider,
    ) -> Result<Draft, SealError> {
        let suite = self.core.with_open(|open| Ok(open.suite))?;
        draft(self.core.id, slot, label.to_owned(), provider, suite).await
    }

    fn finish(&self, draft: &Draft) -> Result<SlotEntry, SealError> {
        self.core
            .with_open(|open| draft.wrap(self.core.id, &open.root, open.suite))
    }
}

pub(super) fn position(body: &KeyringBody, slot: u32) -> Result<usize, SealError> {
    body.slots
        .iter()
        .position(|entry| entry.slot == slot)
        .ok_or(SealError::UnknownSlot)
}

/// Which slots may be lost.
fn lost_ones(slots: &[SlotEntry]) -> Vec<bool> {
    slots.iter().map(|entry| entry.may_be_lost).collect()
}

/// Refuses a change that leaves only slots that may be lost, unless that was allowed. One that takes nothing away from a
/// keyring which has no others anyhow is none.
pub(super) fn check_left(
    allowed: bool,
    before: &[SlotEntry],
    left: &[bool],
) -> Result<(), SealError> {
    let is_loss = left.len() < before.len() || before.iter().any(|entry| !entry.may_be_lost);
    match !allowed && is_loss && left.iter().all(|may_be_lost| *may_be_lost) {
        true => Err(SealError::LoneSlot),
        false => Ok(()),
    }
}

/// As [`check_left`], for a slot that is replaced.
pub(super) fn check_replaced(
    allowed: bool,
    body: &KeyringBody,
    at: usize,
    may_be_lost: bool,
) -> Result<(), SealError> {
    let mut left = lost_ones(&body.slots);
    if let Some(replaced) = left.get_mut(at) {
        *replaced = may_be_lost;
    }
    check_left(allowed, &body.slots, &left)
}

/// A slot whose secret is made, and whose root key is not wrapped yet.
pub(super) struct Draft {
    slot: u32,
    label: String,
    kind: String,
    recipe: Recipe,
    keys: SlotKeys,
    may_be_lost: bool,
}

impl Draft {
    pub(super) fn wrap(
        &self,
        keyring_id: [u8; 16],
        root: &RootKeys,
        suite: Suite,
    ) -> Result<SlotEntry, SealError> {
        let place = WrapPlace::root(keyring_id, WrapKind::Root, root.number, suite);
        let wrapped = self.keys.wrapper.wrap(&place, &root.root)?;
        Ok(SlotEntry {
            slot: self.slot,
            label: self.label.clone(),
            kind: self.kind.clone(),
            recipe: self.recipe.clone(),
            commitment: self.keys.commitment(),
            wrapped_root: wrapped.try_into().map_err(|_| SealError::TooLarge)?,
            created: now(),
            may_be_lost: self.may_be_lost,
        })
    }
}

/// A kind is stored in the clear and audited.
pub(super) fn check_kind(kind: &str) -> Result<(), SealError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if kind.is_empty() || kind.len() > 32 || !kind.bytes().all(plain) {
        return Err(SealError::Invalid {
            what: "a provider's kind is 1 to 32 characters of a-z, 0-9 and -",
        });
    }
    Ok(())
}

/// Asks `provider` for the secret of a new slot, and whether it opens it.
pub(super) async fn draft(
    keyring_id: [u8; 16],
    slot: u32,
    label: String,
    provider: &dyn KeyProvider,
    suite: Suite,
) -> Result<Draft, SealError> {
    let kind = provider.kind();
    check_kind(kind)?;
    let context = SlotContext { keyring_id, slot };
    let new = provider.generate(&context).await?;
    if crate::secret::is_zero(&new.secret) {
        return Err(SealError::Invalid {
            what: "the provider gave an all-zero secret",
        });
    }
    let recipe = Recipe {
        reference: provider.reference(),
        material: new.material,
    };
    // Credentials that may make secrets may not be allowed to open them. Not so a passphrase, which is only dear.
    if kind != Passphrase::KIND {
        let again = provider.unwrap_secret(&context, &recipe).await?;
        if !bool::from(again.expose_secret().ct_eq(new.secret.expose_secret())) {
            return Err(SealError::Provider(ProviderError::new(
                ProviderErrorKind::Corrupt,
                "the provider does not give back what it made, or that was damaged on its way; no slot was made: try again, then correct the provider",
            )));
        }
    }
    Ok(Draft {
        slot,
        label,
        kind: kind.to_owned(),
        recipe,
        keys: SlotKeys::derive(&new.secret, &context, kind, suite)?,
        may_be_lost: provider.may_be_lost(),
    })
}

/// A whole new slot.
pub(super) async fn make(
    keyring_id: [u8; 16],
    slot: u32,
    label: String,
    provider: &dyn KeyProvider,
    root: &RootKeys,
    suite: Suite,
) -> Result<SlotEntry, SealError> {
    draft(keyring_id, slot, label, provider, suite)
        .await?
        .wrap(keyring_id, root, suite)
}

pub(crate) fn check_label(label: &str) -> Result<(), SealError> {
    if label.is_empty() || label.chars().count() > 64 || label.chars().any(char::is_control) {
        return Err(SealError::Invalid {
            what: "a label is 1 to 64 characters with no control characters",
        });
    }
    Ok(())
}
