//! Secrets that a person writes down and types again: bech32m text (BIP-350) in groups of four.

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox, SecretString};
use zeroize::Zeroizing;

use crate::wipe;

/// What the text is written with: no `1`, `b`, `i` and `o`.
pub(super) const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// Characters of a group, as it is shown.
const GROUP: usize = 4;
/// Characters of the checksum.
const CHECKSUM: usize = 6;

/// How `N` bytes are spelled.
pub(super) struct Spelling<const N: usize> {
    /// How every text begins: bech32's human-readable part and its separator, a group in all.
    pub(super) prefix: &'static str,
}

/// Why a text is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mistake {
    /// It begins otherwise.
    Prefix,
    /// It has this many characters, not counting spaces and hyphens, and that is too few or too many.
    Length(usize),
    /// A character in this group, from 1 on, is none of the alphabet's.
    Character(usize),
    /// The checksum does not fit.
    Checksum,
}

impl<const N: usize> Spelling<N> {
    /// Characters without hyphens.
    pub(super) const fn len(&self) -> usize {
        self.prefix.len() + (8 * N).div_ceil(5) + CHECKSUM
    }

    /// Reads it in either case, with any spaces and hyphens, and with `1` or `I` for `L`, `O` for `0` and `B` for `8`.
    pub(super) fn read(&self, typed: &str) -> Result<SecretBox<[u8; N]>, Mistake> {
        let text = self.normalised(typed)?;
        wipe::after(|| {
            let checked = CheckedHrpstring::new::<Bech32m>(&text).map_err(|_| Mistake::Checksum)?;
            let mut bytes = SecretBox::new(Box::new([0; N]));
            for (to, from) in bytes
                .expose_secret_mut()
                .iter_mut()
                .zip(checked.byte_iter())
            {
                *to = from;
            }
            // The bits that are left over have one spelling.
            let again = self
                .spelled(bytes.expose_secret())
                .ok_or(Mistake::Checksum)?;
            again
                .eq_ignore_ascii_case(&text)
                .then_some(bytes)
                .ok_or(Mistake::Checksum)
        })
    }

    /// Whether `typed` was meant as one: it begins and is as long as one.
    pub(super) fn is_like(&self, typed: &str) -> bool {
        !matches!(
            self.normalised(typed),
            Err(Mistake::Prefix | Mistake::Length(_))
        )
    }

    /// As it is shown: uppercase, in groups of four with hyphens between them.
    pub(super) fn show(&self, bytes: &[u8; N]) -> SecretString {
        let spelled = wipe::after(|| self.spelled(bytes)).unwrap_or_default();
        let mut shown = String::with_capacity(self.len() + self.len() / GROUP);
        for (at, character) in spelled.chars().enumerate() {
            if at > 0 && at % GROUP == 0 {
                shown.push('-');
            }
            shown.push(character);
        }
        shown.into()
    }

    fn spelled(&self, bytes: &[u8; N]) -> Option<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::with_capacity(self.len()));
        let hrp = Hrp::parse(self.prefix.strip_suffix('1')?).ok()?;
        bech32::encode_upper_to_fmt::<Bech32m, _>(&mut *text, hrp, bytes).ok()?;
        Some(text)
    }

    /// The lowercase text without spaces and hyphens, look-alikes replaced.
    fn normalised(&self, typed: &str) -> Result<Zeroizing<String>, Mistake> {
        let prefix = self.prefix.as_bytes();
        let mut text = Zeroizing::new(String::with_capacity(self.len()));
        let (mut found, mut wrong) = (0, None);
        for character in typed.chars() {
            if character.is_whitespace() || matches!(character, '-' | '\u{2010}'..='\u{2015}') {
                continue;
            }
            let at = found;
            found += 1;
            let character = match character.to_ascii_lowercase() {
                'l' | 'i' if at + 1 == prefix.len() => '1',
                '1' | 'i' if at >= prefix.len() => 'l',
                'o' => '0',
                'b' => '8',
                other => other,
            };
            if at >= self.len() {
                continue;
            }
            let fits = match prefix.get(at) {
                Some(byte) if char::from(*byte) != character => return Err(Mistake::Prefix),
                Some(_) => true,
                None => ALPHABET.iter().any(|byte| char::from(*byte) == character),
            };
            if fits {
                text.push(character);
            } else {
                wrong = wrong.or(Some(at / GROUP + 1));
            }
        }
        if found < prefix.len() {
            return Err(Mistake::Prefix);
        }
        if found != self.len() {
            return Err(Mistake::Length(found));
        }
        match wrong {
            Some(group) => Err(Mistake::Character(group)),
            None => Ok(text),
        }
    }
}
