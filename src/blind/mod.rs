//! What an inner store sees instead of an address.
//!
//! ```text
//! token T = base32(HMAC-SHA-256(k, table u16 ‖ column u8 ‖ frame(part)…)[..16])     26 characters
//! name  R = base64url(AES-SIV(k; frame(name) zero-padded to a multiple of 32))
//!           name = n u8 ‖ frame(part)…      no associated data: the key is the place's own
//! ```
//!
//! Every table and column of every account has keys of its own, so that equal addresses give unequal tokens
//! in different places, and a name from another place does not decrypt. Tokens are lowercase base32 without padding because inner stores match
//! addresses with SQL `LIKE` (which folds case and takes `_` as a wildcard) and some split keys at
//! `:`. No canonicalisation: the client's bytes are the bytes that are blinded.

mod address;
mod column;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
use sha2::Sha256;
use smallvec::SmallVec;
use zeroize::Zeroizing;

pub(crate) use column::{NameColumn, TokenColumn};

use crate::error::{Fault, SealError};
use crate::labels;
use crate::record::TAG_LEN;
use crate::record::frame::{Reader, Sink, parts_len, put_parts};
use crate::secret::{self, Key, SivKey};
use crate::wipe;

/// Length of a token in characters.
pub(crate) const TOKEN_LEN: usize = 26;
/// Names are padded to a multiple of this many bytes before they are encrypted.
const NAME_PAD: usize = 32;

/// The token and name keys of one account, derived once when it opens.
pub(crate) struct Blind {
    #[expect(
        clippy::vec_box,
        reason = "made in their boxes: a move would leave a copy behind"
    )]
    tokens: Vec<Box<Hmac<Sha256>>>,
    names: Vec<SivKey>,
}

impl Blind {
    pub(crate) fn new(blind_key: &Key) -> Self {
        let tokens = TokenColumn::ALL
            .iter()
            .map(|column| {
                let key = secret::expand(blind_key, &[labels::TOKEN_KEY, &column.place()]);
                wipe::after(|| {
                    // Its place is absorbed once, here.
                    let mut mac = boxed_hmac(key.expose_secret());
                    mac.update(&column.place());
                    mac
                })
            })
            .collect();
        let names = NameColumn::ALL
            .iter()
            .map(|column| SivKey::derive(blind_key, &[labels::NAME_KEY, &column.place()]))
            .collect();
        Self { tokens, names }
    }

    /// All 32 bytes of a token's HMAC.
    pub(crate) fn token_bytes(
        &self,
        column: TokenColumn,
        parts: &[&[u8]],
    ) -> Result<[u8; 32], SealError> {
        let state = self.tokens.get(column.index()).ok_or(SealError::NotOpen)?;
        let mut mac = Hmac::clone(state);
        for part in parts {
            let len = u32::try_from(part.len()).map_err(|_| SealError::TooLarge)?;
            mac.update(&len.to_le_bytes());
            mac.update(part);
        }
        let mut out = [0; 32];
        mac.finalize_into((&mut out).into());
        Ok(out)
    }

    /// A one-way token of 26 characters.
    pub(crate) fn token(&self, column: TokenColumn, parts: &[&[u8]]) -> Result<String, SealError> {
        let mut text = String::with_capacity(TOKEN_LEN);
        self.push_token(&mut text, column, parts)?;
        Ok(text)
    }

    fn push_token(
        &self,
        text: &mut String,
        column: TokenColumn,
        parts: &[&[u8]],
    ) -> Result<(), SealError> {
        let mac = self.token_bytes(column, parts)?;
        let (half, _) = mac.split_first_chunk::<16>().ok_or(SealError::TooLarge)?;
        let mut token = [0u8; TOKEN_LEN];
        BASE32_NOPAD.encode_mut(half, &mut token);
        token.make_ascii_lowercase();
        text.push_str(str::from_utf8(&token).map_err(|_| SealError::TooLarge)?);
        Ok(())
    }

    /// A reversible name.
    pub(crate) fn name(&self, column: NameColumn, parts: &[&[u8]]) -> Result<String, SealError> {
        let framed = parts_len(parts).ok_or(SealError::TooLarge)?;
        let padded = framed
            .checked_add(4)
            .and_then(|len| len.checked_next_multiple_of(NAME_PAD))
            .ok_or(SealError::TooLarge)?;
        let framed = u32::try_from(framed).map_err(|_| SealError::TooLarge)?;
        let key = self.name_key(column)?;
        // Ordinary names stay off the heap.
        let mut sealed = SmallVec::<[u8; 192]>::with_capacity(TAG_LEN + padded);
        sealed.put(&[0; TAG_LEN]);
        sealed.put(&framed.to_le_bytes());
        put_parts(&mut sealed, parts)?;
        sealed.resize(TAG_LEN + padded, 0);
        key.encrypt(None, &mut sealed)?;
        Ok(BASE64URL_NOPAD.encode(&sealed))
    }

    /// The `N` parts of a reversible name, which must be text.
    pub(crate) fn read_name<const N: usize>(
        &self,
        column: NameColumn,
        text: &str,
    ) -> Result<[String; N], SealError> {
        let corrupt = |what| SealError::Corrupt {
            table: column.table(),
            what,
        };
        // data-encoding takes one spelling only: it refuses stray bits and other alphabets.
        let len = BASE64URL_NOPAD
            .decode_len(text.len())
            .map_err(|_| corrupt(Fault::Encoding))?;
        // Ordinary names stay on the stack, which is wiped.
        let (mut small, mut large) = ([0; 192], Zeroizing::new(Vec::new()));
        let sealed = match small.get_mut(..len) {
            Some(small) => small,
            None => {
                large.resize(len, 0);
                &mut large[..]
            }
        };
        BASE64URL_NOPAD
            .decode_mut(text.as_bytes(), sealed)
            .map_err(|_| corrupt(Fault::Encoding))?;
        let plain = self
            .name_key(column)?
            .decrypt(None, sealed)
            .ok_or_else(|| corrupt(Fault::Authentication))?;
        let mut reader = Reader::new(plain);
        let framed = reader.frame().ok_or_else(|| corrupt(Fault::Length))?;
        let padding = reader.rest();
        if plain.len() % NAME_PAD != 0
            || padding.len() >= NAME_PAD
            || padding.iter().any(|byte| *byte != 0)
        {
            return Err(corrupt(Fault::Padding));
        }
        let mut reader = Reader::new(framed);
        if reader.u8().map(usize::from) != Some(N) {
            return Err(corrupt(Fault::Name));
        }
        let mut parts: [String; N] = std::array::from_fn(|_| String::new());
        for part in &mut parts {
            let bytes = reader.frame().ok_or_else(|| corrupt(Fault::Length))?;
            *part = String::from_utf8(bytes.to_vec()).map_err(|_| corrupt(Fault::Encoding))?;
        }
        reader.end().ok_or_else(|| corrupt(Fault::Length))?;
        Ok(parts)
    }

    fn name_key(&self, column: NameColumn) -> Result<&SivKey, SealError> {
        self.names.get(column.index()).ok_or(SealError::NotOpen)
    }
}

/// An HMAC under `key`, made in its box.
#[inline(never)]
fn boxed_hmac(key: &[u8; 32]) -> Box<Hmac<Sha256>> {
    let mut block = Zeroizing::new([0u8; 64]);
    let (head, _) = block.split_at_mut(32);
    head.copy_from_slice(key);
    // HMAC pads a short key with zeros to the block: this is the same key, by the infallible path.
    Box::new(<Hmac<Sha256> as KeyInit>::new((&*block).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_gives_the_rfc_4231_test_cases() {
        // HMAC fills a key up to the block with zeros, so a shorter key is a 32-byte key that ends
        // with zeros. Test cases 1 to 4; the others have longer keys.
        let counting = (1..=25).collect::<Vec<u8>>();
        let cases: [(&[u8], &[u8], &str); 4] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                &counting,
                &[0xcd; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
        ];
        for (short, message, expected) in cases {
            let mut key = [0; 32];
            key[..short.len()].copy_from_slice(short);
            let mut mac = *boxed_hmac(&key);
            mac.update(message);
            assert_eq!(hex::encode(mac.finalize().into_bytes()), expected);
        }
    }
}
