//! A recovery code: 128 random bits that a person writes down once and types when all else is lost.

use async_trait::async_trait;
use hkdf::Hkdf;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox, SecretString};
use sha2::Sha256;

use super::typed::{Mistake, Spelling};
use super::{KeyProvider, NewSlot, Probe, ProviderError, Recipe, SlotContext};
use crate::error::SealError;
use crate::labels;
use crate::secret::{self, Key};
use crate::wipe;

/// Bytes of a code.
const CODE_LEN: usize = 16;
/// 36 characters: the prefix, 26 of the code, 6 of the checksum.
const SPELLING: Spelling<CODE_LEN> = Spelling { prefix: "rec1" };

/// Opens a slot with a code that the operating system's generator made: 128 bits, as bech32m text
/// (BIP-350) in nine groups of four, such as `REC1-…-…`. Not stretched: there is nothing to guess.
///
/// ```
/// use sealed_store::RecoveryCode;
/// use sealed_store::secrecy::ExposeSecret;
///
/// let code = RecoveryCode::generate()?;
/// let shown = code.to_text(); // REC1-XXXX-XXXX-XXXX-XXXX-XXXX-XXXX-XXXX-XXXX
/// let typed = RecoveryCode::parse(&shown.expose_secret().to_lowercase().replace('-', " "))?;
/// assert_eq!(shown.expose_secret(), typed.to_text().expose_secret());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RecoveryCode {
    bits: SecretBox<[u8; CODE_LEN]>,
}

/// Why a text is no recovery code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryCodeError {
    /// It does not begin like one.
    #[error("this is no recovery code: one begins with REC1")]
    NotACode,
    /// It has more or fewer characters.
    #[error(
        "a recovery code has 36 characters in nine groups of four, this has {found}; look for what is missing or too much"
    )]
    Length {
        /// How many it has, without spaces and hyphens.
        found: usize,
    },
    /// A character that no code has.
    #[error("a character in group {group} is none of a recovery code's; look at that group again")]
    Character {
        /// The group, from 1 on.
        group: usize,
    },
    /// The checksum does not fit.
    #[error(
        "the recovery code is mistyped: its checksum does not fit; compare it with what was written down"
    )]
    Mistyped,
}

impl From<Mistake> for RecoveryCodeError {
    fn from(mistake: Mistake) -> Self {
        match mistake {
            Mistake::Prefix => Self::NotACode,
            Mistake::Length(found) => Self::Length { found },
            Mistake::Character(group) => Self::Character { group },
            Mistake::Checksum => Self::Mistyped,
        }
    }
}

impl RecoveryCode {
    /// A fresh code.
    ///
    /// # Errors
    /// [`SealError::NoEntropy`].
    pub fn generate() -> Result<Self, SealError> {
        let mut bits = SecretBox::<[u8; CODE_LEN]>::default();
        secret::random(bits.expose_secret_mut())?;
        Ok(Self { bits })
    }

    /// A code as somebody typed it: in either case, with any spaces and hyphens, and with `1` or `I`
    /// for `L`, `O` for `0` and `B` for `8`. Up to four mistyped characters are always noticed.
    ///
    /// # Errors
    /// [`RecoveryCodeError`], which tells a mistyped code from a wrong one: that one parses, and opens nothing.
    pub fn parse(typed: &str) -> Result<Self, RecoveryCodeError> {
        let bits = SPELLING.read(typed)?;
        Ok(Self { bits })
    }

    /// Whether `typed` was meant as a code: it begins and is as long as one.
    #[must_use]
    pub fn is_like(typed: &str) -> bool {
        SPELLING.is_like(typed)
    }

    /// The code as it is shown: uppercase, nine groups of four with hyphens between them, 44 characters.
    #[must_use]
    pub fn to_text(&self) -> SecretString {
        SPELLING.show(self.bits.expose_secret())
    }

    /// A code of known bits.
    #[cfg(test)]
    pub(crate) fn of(bits: [u8; CODE_LEN]) -> Self {
        Self {
            bits: SecretBox::new(Box::new(bits)),
        }
    }

    /// HKDF with its extract step, for the code is shorter than HKDF's keys.
    fn secret(&self) -> Key {
        let mut out = Key::default();
        wipe::after(|| {
            // 32 bytes are a valid length, so this does not fail; zeros would be refused.
            let _ = Hkdf::<Sha256>::new(None, self.bits.expose_secret())
                .expand(labels::RECOVERY, out.expose_secret_mut());
        });
        out
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl KeyProvider for RecoveryCode {
    fn kind(&self) -> &str {
        "recovery"
    }

    async fn generate(&self, _context: &SlotContext) -> Result<NewSlot, ProviderError> {
        Ok(NewSlot {
            secret: self.secret(),
            material: Default::default(),
        })
    }

    async fn unwrap_secret(
        &self,
        _context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        recipe.check_no_material()?;
        Ok(self.secret())
    }

    async fn probe(&self) -> Result<Probe, ProviderError> {
        Ok(Probe::ready())
    }
}

#[cfg(test)]
mod tests;
