//! A slot's secret moves to another key of its service, unseen.

use super::Keyring;
use super::document::{KEYRING, KeyringBody};
use super::slot::{check_replaced, position};
use super::unlock::prove;
use crate::audit::{AuditEvent, id_text};
use crate::error::SealError;
use crate::provider::{KeyProvider, Recipe, SlotContext};

impl Keyring {
    /// Has a slot's service encrypt its secret anew, without showing it ([`KeyProvider::rewrap`]): under the newest version of
    /// `from`'s key where `to` is `from`, or under the key of `to`. What comes back is stored only once `to` has opened it. The slot
    /// keeps its number, its label and its secret, so an old copy of the keyring still opens with the old key: to end
    /// that, give the slot a new secret ([`Keyring::change_passphrase`], [`Keyring::replace_slot`]).
    ///
    /// Costs two calls: one of `from`, and one of `to`. A lease on `from` ends at its next check where `to` is another key: set
    /// another ([`Keyring::set_lease`]).
    ///
    /// # Errors
    /// [`SealError::WrongKey`] if the slot is not `from`'s or `to` opens another secret, [`SealError::UnknownSlot`],
    /// [`SealError::LoneSlot`] as [`Keyring::remove_slot`], [`SealError::Conflict`] if the slot was changed meanwhile, and what
    /// the providers answer: of a kind that can't do it, `BadRequest`. Nothing was changed then.
    pub async fn rewrap_slot(
        &self,
        slot: u32,
        from: &dyn KeyProvider,
        to: &dyn KeyProvider,
    ) -> Result<(), SealError> {
        let core = &self.core;
        core.ensure_shared().await?;
        let _changing = core.changing.lock().await;
        let (_, body) = core
            .read::<KeyringBody>(KEYRING)
            .await?
            .ok_or(SealError::NoKeyring)?;
        let at = position(&body, slot)?;
        let old = body.slots.get(at).ok_or(SealError::UnknownSlot)?;
        check_replaced(core.lone, &body, at, to.may_be_lost())?;
        if old.kind != from.kind() || old.recipe.reference != from.reference() {
            return Err(SealError::WrongKey);
        }
        let context = SlotContext {
            keyring_id: core.id,
            slot,
        };
        let reference = to.reference();
        let material = from.rewrap(&context, &old.recipe, &reference).await?;
        let mut new = old.clone();
        new.recipe = Recipe {
            reference,
            material,
        };
        new.may_be_lost = to.may_be_lost();
        prove(core.audit(), &body, &new, to).await?;
        core.change_keyring(|body| {
            let at = position(body, slot)?;
            check_replaced(core.lone, body, at, new.may_be_lost)?;
            let entry = body.slots.get_mut(at).ok_or(SealError::UnknownSlot)?;
            // A number is never reused, so it is the same slot; rewrapped by somebody else, it may be under a newer key.
            if entry.recipe != old.recipe {
                return Err(SealError::Conflict);
            }
            *entry = new.clone();
            Ok(())
        })
        .await?;
        if let Some(open) = &mut *core.open_mut()
            && open.slot() == slot
        {
            open.through = Some(new);
        }
        core.audit().record(&AuditEvent::SlotRewrapped {
            keyring: id_text(&core.id),
            slot,
            provider: to.kind().to_owned(),
        });
        Ok(())
    }
}
