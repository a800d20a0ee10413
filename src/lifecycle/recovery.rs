//! A slot for a recovery code, which somebody must have seen.

use super::error::LifecycleError;
use super::step::step;
use crate::keyring::Keyring;
use crate::provider::RecoveryCode;

/// Adds a slot that a fresh recovery code opens, and calls `show` with the code, once: it is kept nowhere. The slot is
/// durable by then. If `show` fails, the slot is removed again: a code that nobody saw is of no use.
///
/// # Errors
/// As [`Keyring::add_slot`], and the error of `show`.
pub async fn add_recovery_slot(
    keyring: &Keyring,
    label: &str,
    show: impl FnOnce(&RecoveryCode) -> std::io::Result<()>,
) -> Result<u32, LifecycleError> {
    let code = RecoveryCode::generate()?;
    let slot = keyring.add_slot(label, &code).await?;
    step("slot");
    if let Err(error) = show(&code) {
        keyring.remove_slot(slot).await?;
        return Err(error.into());
    }
    Ok(slot)
}
