//! A secret in shares, so many of which are needed.

use std::convert::Infallible;

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use rand_core::{TryCryptoRng, TryRng};
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox, SecretString};
use subtle::ConstantTimeEq;
use vsss_rs::{Gf256, IdentifierGf256};
use zeroize::{Zeroize, Zeroizing};

use super::typed::{Mistake, Spelling};
use super::{Fields, KeyProvider, NewSlot, Probe, ProviderError, Recipe, SlotContext};
use crate::error::SealError;
use crate::secret::{self, Key};
use crate::wipe;

/// Bytes of a set's id.
const SET_LEN: usize = 7;
/// Bytes of a share: set ‖ version, threshold, count and number in four bits each ‖ value.
const SHARE_LEN: usize = SET_LEN + 2 + 32;
/// The version of that.
const VERSION: u8 = 1;
/// Most shares of a set.
const MOST: u8 = 16;
/// 76 characters: the prefix, 66 of the share, 6 of the checksum.
const SPELLING: Spelling<SHARE_LEN> = Spelling { prefix: "shr1" };

/// One share of a secret, for one custodian to keep on paper. A person types it back with [`Share::parse`].
///
/// Its text is bech32m (BIP-350), 76 characters in nineteen groups of four, such as `SHR1-…-…`; it holds the set's id, the
/// share's number, how many there are and how many are needed, and a checksum. Fewer shares than are needed tell nothing of the
/// secret.
pub struct Share {
    set: [u8; SET_LEN],
    threshold: u8,
    count: u8,
    number: u8,
    value: Key,
}

/// Why a text is no share, or why shares do not give a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// It does not begin like one.
    #[error("this is no share: one begins with SHR1")]
    NotAShare,
    /// It has more or fewer characters.
    #[error(
        "a share has 76 characters in nineteen groups of four, this has {found}; look for what is missing or too much"
    )]
    Length {
        /// How many it has, without spaces and hyphens.
        found: usize,
    },
    /// A character that no share has.
    #[error("a character in group {group} is none of a share's; look at that group again")]
    Character {
        /// The group, from 1 on.
        group: usize,
    },
    /// The checksum does not fit.
    #[error(
        "the share is mistyped: its checksum does not fit; compare it with what was written down"
    )]
    Mistyped,
    /// Its text is right, and what it says is none that this version makes.
    #[error("the share is of another version of sealed-store; use the one that made it")]
    Unsupported,
    /// It belongs to another set than the first one.
    #[error(
        "share {number} belongs to another set than the first one; look for the one of this set"
    )]
    OtherSet {
        /// The number of the share.
        number: u8,
    },
    /// It is there twice.
    #[error("share {number} is there twice; give another one of the set")]
    Duplicate {
        /// The number of the share.
        number: u8,
    },
    /// More are needed.
    #[error("{needed} shares are needed, these are {found}; ask for more of the set")]
    TooFew {
        /// How many there are.
        found: u8,
        /// How many are needed.
        needed: u8,
    },
    /// There are more than are needed, and they do not agree: one of them was forged, or altered together with its checksum.
    #[error("the shares do not agree: one of them is false; try with fewer to find which")]
    Inconsistent,
}

impl From<Mistake> for ShareError {
    fn from(mistake: Mistake) -> Self {
        match mistake {
            Mistake::Prefix => Self::NotAShare,
            Mistake::Length(found) => Self::Length { found },
            Mistake::Character(group) => Self::Character { group },
            Mistake::Checksum => Self::Mistyped,
        }
    }
}

impl Share {
    /// A share as somebody typed it: in either case, with any spaces and hyphens, and with `1` or `I` for `L`, `O` for `0` and
    /// `B` for `8`. Up to four mistyped characters are always noticed.
    ///
    /// # Errors
    /// [`ShareError`], which says what is wrong with the text.
    pub fn parse(typed: &str) -> Result<Self, ShareError> {
        let bytes = SPELLING.read(typed)?;
        let (set, rest) = bytes
            .expose_secret()
            .split_first_chunk::<SET_LEN>()
            .ok_or(ShareError::Mistyped)?;
        let (&[high, low], value) = rest.split_first_chunk().ok_or(ShareError::Mistyped)?;
        let mut share = Self {
            set: *set,
            threshold: (high & 15) + 1,
            count: (low >> 4) + 1,
            number: (low & 15) + 1,
            value: Key::default(),
        };
        let fits = share.threshold >= 2
            && share.threshold <= share.count
            && share.number <= share.count
            && high >> 4 == VERSION;
        if !fits {
            return Err(ShareError::Unsupported);
        }
        for (to, from) in share.value.expose_secret_mut().iter_mut().zip(value) {
            *to = *from;
        }
        Ok(share)
    }

    /// Whether `typed` was meant as a share: it begins and is as long as one.
    #[must_use]
    pub fn is_like(typed: &str) -> bool {
        SPELLING.is_like(typed)
    }

    /// The share as it is printed: uppercase, nineteen groups of four with hyphens between them, 94 characters.
    #[must_use]
    pub fn to_text(&self) -> SecretString {
        let mut bytes = SecretBox::new(Box::new([0; SHARE_LEN]));
        let counts = [
            VERSION << 4 | self.threshold.wrapping_sub(1) & 15,
            self.count.wrapping_sub(1) << 4 | self.number.wrapping_sub(1) & 15,
        ];
        let value = self.value.expose_secret();
        let parts = self.set.iter().chain(&counts).chain(value);
        for (to, from) in bytes.expose_secret_mut().iter_mut().zip(parts) {
            *to = *from;
        }
        SPELLING.show(bytes.expose_secret())
    }

    /// The set's id, 14 hexadecimal digits: to print beside the share. It is no secret.
    #[must_use]
    pub fn set(&self) -> String {
        HEXLOWER.encode(&self.set)
    }

    /// Its number, 1 to [`Self::count`].
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// How many of the set are needed, 2 to [`Self::count`].
    #[must_use]
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// How many the set has, at most 16.
    #[must_use]
    pub fn count(&self) -> u8 {
        self.count
    }

    fn is_of_set(&self, other: &Self) -> bool {
        (self.set, self.threshold, self.count) == (other.set, other.threshold, other.count)
    }
}

/// Opens a slot with so many shares of a secret: dual control, where nobody opens it alone.
///
/// A random secret of 32 bytes is split by Shamir's scheme over GF(256). The slot stores the set's id and both numbers, never
/// a share. The same shares open every slot that was made with their set, also after a root rotation.
///
/// ```
/// use sealed_store::{Share, SharesProvider};
/// use sealed_store::secrecy::ExposeSecret;
///
/// let (provider, shares) = SharesProvider::split(2, 3)?; // any 2 of 3; make a slot with `provider`
/// let printed: Vec<_> = shares.iter().map(Share::to_text).collect();
/// # drop(provider);
///
/// let typed = [&printed[2], &printed[0]].map(|text| Share::parse(text.expose_secret()));
/// let [one, two] = typed;
/// let provider = SharesProvider::join(&[one?, two?])?; // opens it
/// # drop(provider);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SharesProvider {
    set: [u8; SET_LEN],
    threshold: u8,
    count: u8,
    secret: Key,
}

impl SharesProvider {
    /// Splits a fresh secret into `count` shares, of which any `threshold` open what is made with the provider. Drop the shares
    /// when they are printed.
    ///
    /// # Errors
    /// [`SealError::Invalid`] unless 2 ≤ `threshold` ≤ `count` ≤ 16; [`SealError::NoEntropy`].
    pub fn split(threshold: u8, count: u8) -> Result<(Self, Vec<Share>), SealError> {
        let mut set = [0; SET_LEN];
        secret::random(&mut set)?;
        Self::split_secret(set, threshold, count, secret::random_key()?)
    }

    fn split_secret(
        set: [u8; SET_LEN],
        threshold: u8,
        count: u8,
        secret: Key,
    ) -> Result<(Self, Vec<Share>), SealError> {
        const BOUNDS: SealError = SealError::Invalid {
            what: "a secret is split into 2 to 16 shares, of which 2 or more are needed, and no more than there are",
        };
        if threshold < 2 || threshold > count || count > MOST {
            return Err(BOUNDS);
        }
        let mut random = System { failed: false };
        let values = wipe::after(|| {
            Gf256::split_bytes_with_participant_ids_iter(
                usize::from(threshold),
                usize::from(count),
                secret.expose_secret(),
                &mut random,
                (1..=count).map(|number| IdentifierGf256(Gf256(number))),
            )
        });
        let values = Zeroizing::new(values.map_err(|_| BOUNDS)?);
        if random.failed {
            return Err(SealError::NoEntropy);
        }
        let mut shares = Vec::with_capacity(values.len());
        for share in values.iter() {
            let (&number, from) = share.split_first().ok_or(BOUNDS)?;
            let mut value = Key::default();
            if from.len() != value.expose_secret().len() {
                return Err(BOUNDS);
            }
            value.expose_secret_mut().copy_from_slice(from);
            shares.push(Share {
                set,
                threshold,
                count,
                number,
                value,
            });
        }
        let provider = Self {
            set,
            threshold,
            count,
            secret,
        };
        Ok((provider, shares))
    }

    /// Puts the secret together again from shares in any order. With more than are needed, all of them must agree.
    ///
    /// To take shares one at a time, call it after each: [`ShareError::TooFew`] is the answer as long as those that are there are
    /// in order.
    ///
    /// # Errors
    /// [`ShareError`]. Shares that are false in a way that they can't show give a provider that opens nothing:
    /// [`SealError::WrongKey`].
    pub fn join(shares: &[Share]) -> Result<Self, ShareError> {
        let Some(first) = shares.first() else {
            return Err(ShareError::TooFew {
                found: 0,
                needed: 2,
            });
        };
        for (at, share) in shares.iter().enumerate() {
            let number = share.number;
            if !share.is_of_set(first) {
                return Err(ShareError::OtherSet { number });
            }
            if shares.iter().take(at).any(|other| other.number == number) {
                return Err(ShareError::Duplicate { number });
            }
        }
        let (needed, found) = (first.threshold, shares.len().try_into().unwrap_or(MOST));
        let Some(enough) = shares.get(..usize::from(needed)) else {
            return Err(ShareError::TooFew { found, needed });
        };
        let secret = joined(enough)?;
        if found > needed {
            let all = joined(shares)?;
            if !bool::from(all.expose_secret().ct_eq(secret.expose_secret())) {
                return Err(ShareError::Inconsistent);
            }
        }
        Ok(Self {
            set: first.set,
            threshold: first.threshold,
            count: first.count,
            secret,
        })
    }

    fn secret(&self) -> Key {
        let mut copy = Key::default();
        copy.expose_secret_mut()
            .copy_from_slice(self.secret.expose_secret());
        copy
    }
}

/// The value at zero of the polynomials through these shares, which are of one set and of different numbers.
fn joined(shares: &[Share]) -> Result<Key, ShareError> {
    let mut points = Zeroizing::new(Vec::with_capacity(shares.len()));
    for share in shares {
        let mut point = Vec::with_capacity(33);
        point.push(share.number);
        point.extend_from_slice(share.value.expose_secret());
        points.push(point);
    }
    let found = wipe::after(|| Gf256::combine_bytes(points.as_slice()));
    let found = Zeroizing::new(found.map_err(|_| ShareError::Inconsistent)?);
    let mut secret = Key::default();
    if found.len() != secret.expose_secret().len() {
        return Err(ShareError::Inconsistent);
    }
    secret.expose_secret_mut().copy_from_slice(&found);
    Ok(secret)
}

/// The operating system's generator, for a library that can't be told of its failure: what was made then must be dropped.
struct System {
    failed: bool,
}

impl System {
    fn draw<const N: usize>(&mut self) -> Zeroizing<[u8; N]> {
        let mut bytes = Zeroizing::new([0; N]);
        self.failed |= secret::random(&mut *bytes).is_err();
        bytes
    }
}

impl TryRng for System {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(*self.draw()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(*self.draw()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        if secret::random(bytes).is_err() {
            self.failed = true;
            bytes.zeroize();
        }
        Ok(())
    }
}

impl TryCryptoRng for System {}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl KeyProvider for SharesProvider {
    fn kind(&self) -> &str {
        "shares"
    }

    fn reference(&self) -> Fields {
        Fields::from([
            ("set".to_owned(), HEXLOWER.encode(&self.set)),
            ("threshold".to_owned(), self.threshold.to_string()),
            ("count".to_owned(), self.count.to_string()),
        ])
    }

    async fn generate(&self, _context: &SlotContext) -> Result<NewSlot, ProviderError> {
        Ok(NewSlot {
            secret: self.secret(),
            material: Fields::new(),
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
