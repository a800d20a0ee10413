//! From a keyring document and a provider to the root key.

use std::collections::BTreeMap;

use super::core::{Open, check_pin};
use super::derive::{RootKeys, SlotKeys, WrapKind, WrapPlace};
use super::document::{Envelope, KEYRING, KeyringBody, MAX_SLOTS, SlotEntry};
use super::slot::check_kind;
use super::store::{KeyringStore, Revision};
use crate::audit::{self, AuditEvent, AuditSink, id_text};
use crate::error::SealError;
use crate::provider::{KeyProvider, SlotContext};
use crate::secret;

/// Which keyring is to be opened, and through which slot.
pub(super) struct Wanted<'a> {
    pub(super) id: Option<[u8; 16]>,
    pub(super) slot: Option<u32>,
    pub(super) pins: &'a BTreeMap<String, Revision>,
}

/// Reads the keyring document and opens it with `provider`: through the slot that is wanted, or
/// through any of the provider's kind.
pub(super) async fn unlock_document(
    store: &dyn KeyringStore,
    wanted: &Wanted<'_>,
    audit: &dyn AuditSink,
    provider: &dyn KeyProvider,
) -> Result<(KeyringBody, Open), SealError> {
    check_kind(provider.kind())?;
    let (revision, bytes) = store.get(KEYRING).await?.ok_or(SealError::NoKeyring)?;
    let result = match Envelope::<KeyringBody>::read(&bytes) {
        Ok(envelope) => open_envelope(envelope, revision, wanted, provider).await,
        Err(error) => Err((None, error)),
    };
    result.map_err(|(keyring, error)| {
        audit.record(&AuditEvent::OpenRefused {
            keyring: keyring.map_or_else(|| "unknown".to_owned(), |id| id_text(&id)),
            provider: provider.kind().to_owned(),
            reason: audit::reason(&error),
        });
        error
    })
}

pub(super) async fn open_envelope(
    envelope: Envelope<KeyringBody>,
    revision: Revision,
    wanted: &Wanted<'_>,
    provider: &dyn KeyProvider,
) -> Result<(KeyringBody, Open), (Option<[u8; 16]>, SealError)> {
    let keyring_id = envelope.body.keyring_id;
    let refused = |error: SealError| (Some(keyring_id), error);
    let only = wanted.slot;
    let body = &envelope.body;
    // Before any provider is asked: a planted keyring must not make one work, or be contacted.
    if wanted.id.is_some_and(|id| id != keyring_id) {
        return Err(refused(SealError::WrongKeyring));
    }
    if body.slots.is_empty() || body.slots.len() > MAX_SLOTS {
        return Err(refused(SealError::CorruptKeyring {
            what: "it has no slot, or too many",
        }));
    }
    let mut numbers: Vec<u32> = body.slots.iter().map(|entry| entry.slot).collect();
    numbers.sort_unstable();
    // Each repetition would cost a person's token a try.
    if numbers
        .windows(2)
        .any(|pair| matches!(pair, [one, next] if one == next))
    {
        return Err(refused(SealError::CorruptKeyring {
            what: "two slots have the same number",
        }));
    }
    if only.is_some_and(|slot| body.slots.iter().all(|entry| entry.slot != slot)) {
        return Err(refused(SealError::UnknownSlot));
    }
    let mut first_error = None;
    let mut opened = None;
    for entry in &body.slots {
        if entry.kind != provider.kind() || only.is_some_and(|slot| slot != entry.slot) {
            continue;
        }
        match open_slot(body, entry, provider).await {
            Ok(Some(root)) => {
                opened = Some((entry.clone(), root));
                break;
            }
            Ok(None) => {}
            // The next slot would be asked of the same provider: that adds up waiting times.
            Err(error) if is_about_the_moment(&error) => {
                first_error = Some(error);
                break;
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    let Some((through, root)) = opened else {
        return Err(refused(first_error.unwrap_or(SealError::WrongKey)));
    };
    let root = RootKeys::new(root, body.root, body.suite);
    let body = envelope
        .verify(&root, KEYRING, &keyring_id, revision)
        .map_err(refused)?;
    check_pin(wanted.pins, KEYRING, revision).map_err(refused)?;
    let previous = match &body.previous_root {
        Some(previous) => {
            let place = WrapPlace::root(
                keyring_id,
                WrapKind::PreviousRoot,
                previous.root,
                body.suite,
            );
            let key = root
                .wrapper
                .unwrap(&place, &previous.wrapped)
                .map_err(refused)?;
            Some(RootKeys::new(key, previous.root, body.suite))
        }
        None => None,
    };
    let open = Open {
        suite: body.suite,
        opening: 0,
        through: Some(through),
        root,
        previous,
        unconfirmed: Vec::new(),
    };
    Ok((body, open))
}

/// Whether a provider's answer has nothing to do with the slot.
fn is_about_the_moment(error: &SealError) -> bool {
    match error {
        SealError::Provider(error) => error.is_retryable(),
        _ => false,
    }
}

/// Fails unless `provider` opens the slot, and audits that it did not.
pub(super) async fn prove(
    audit: &dyn AuditSink,
    body: &KeyringBody,
    entry: &SlotEntry,
    provider: &dyn KeyProvider,
) -> Result<(), SealError> {
    check_kind(provider.kind())?;
    let opened = if entry.kind == provider.kind() {
        open_slot(body, entry, provider).await
    } else {
        Ok(None)
    };
    match opened {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => Err(SealError::WrongKey),
        Err(error) => Err(error),
    }
    .inspect_err(|error| {
        audit.record(&AuditEvent::SlotRefused {
            keyring: id_text(&body.keyring_id),
            slot: entry.slot,
            provider: provider.kind().to_owned(),
            reason: audit::reason(error),
        });
    })
}

/// The root key, if the provider's secret is the slot's.
async fn open_slot(
    body: &KeyringBody,
    entry: &SlotEntry,
    provider: &dyn KeyProvider,
) -> Result<Option<crate::secret::Key>, SealError> {
    // Whoever can write the file could name his own key: compared, never followed.
    if entry.recipe.reference != provider.reference() {
        return Err(SealError::ForeignRecipe);
    }
    let context = SlotContext {
        keyring_id: body.keyring_id,
        slot: entry.slot,
    };
    let secret = provider.unwrap_secret(&context, &entry.recipe).await?;
    if secret::is_zero(&secret) {
        return Err(SealError::Invalid {
            what: "the provider gave an all-zero secret",
        });
    }
    let keys = SlotKeys::derive(&secret, &context, &entry.kind, body.suite)?;
    if !keys.commits_to(&entry.commitment) {
        return Ok(None);
    }
    let place = WrapPlace::root(body.keyring_id, WrapKind::Root, body.root, body.suite);
    keys.wrapper.unwrap(&place, &entry.wrapped_root).map(Some)
}
