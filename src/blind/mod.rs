//! What an inner store sees instead of an address.
//!
//! ```text
//! token T = base32(HMAC-SHA-256(k, table u16 ‖ column u8 ‖ frame(part)…)[..16])     26 characters
//! name  R = base64url(AES-SIV(k, AD; frame(name) zero-padded to a multiple of 32))
//!           name = n u8 ‖ frame(part)…      AD = frame(label) ‖ ids ‖ table u16 ‖ column u8
//! ```
//!
//! Every table and column has keys of its own, so that equal addresses give unequal tokens in
//! different places. Tokens are lowercase base32 without padding because inner stores match
//! addresses with SQL `LIKE` (which folds case and takes `_` as a wildcard) and some split keys at
//! `:`. No canonicalisation: the client's bytes are the bytes that are blinded.

mod address;
mod column;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
use sha2::Sha256;

pub(crate) use column::{NameColumn, TokenColumn};

use crate::error::{Fault, SealError};
use crate::labels;
use crate::record::Ids;
use crate::record::frame::{Reader, put_frame, put_parts};
use crate::secret::{self, Key, SivKey};
use crate::wipe;

/// Length of a token in characters.
pub(crate) const TOKEN_LEN: usize = 26;
/// Names are padded to a multiple of this many bytes before they are encrypted.
const NAME_PAD: usize = 32;

/// The token and name keys of one account, derived once when it opens.
pub(crate) struct Blind {
    ids: Ids,
    #[expect(
        clippy::vec_box,
        reason = "made in their boxes: a move would leave a copy behind"
    )]
    tokens: Vec<Box<Hmac<Sha256>>>,
    names: Vec<SivKey>,
}

impl Blind {
    pub(crate) fn new(ids: Ids, blind_key: &Key) -> Self {
        let tokens = TokenColumn::ALL
            .iter()
            .map(|column| {
                let key = secret::expand(blind_key, &[labels::TOKEN_KEY, &column.place()]);
                wipe::after(|| boxed_hmac(key.expose_secret()))
            })
            .collect();
        let names = NameColumn::ALL
            .iter()
            .map(|column| SivKey::derive(blind_key, &[labels::NAME_KEY, &column.place()]))
            .collect();
        Self { ids, tokens, names }
    }

    /// All 32 bytes of a token's HMAC.
    pub(crate) fn token_bytes(
        &self,
        column: TokenColumn,
        parts: &[&[u8]],
    ) -> Result<[u8; 32], SealError> {
        let state = self.tokens.get(column.index()).ok_or(SealError::NotOpen)?;
        let mut mac = Hmac::clone(state);
        mac.update(&column.place());
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

    pub(crate) fn push_token(
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
        text.extend(token.iter().copied().map(char::from));
        Ok(())
    }

    /// A reversible name.
    pub(crate) fn name(&self, column: NameColumn, parts: &[&[u8]]) -> Result<String, SealError> {
        let mut plain = wipe::Buffer::with_capacity(256);
        let mut framed = wipe::Buffer::with_capacity(256);
        put_parts(&mut framed, parts)?;
        put_frame(&mut plain, &framed)?;
        let missing = plain.len().next_multiple_of(NAME_PAD) - plain.len();
        plain.extend([0u8; NAME_PAD].get(..missing).unwrap_or_default());
        let mut sealed = Vec::with_capacity(plain.len() + 16);
        self.name_key(column)?
            .encrypt(&self.name_ad(column)?, &plain, &mut sealed)?;
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
        let sealed = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| corrupt(Fault::Encoding))?;
        let plain = self
            .name_key(column)?
            .decrypt(&self.name_ad(column)?, &sealed)
            .ok_or_else(|| corrupt(Fault::Authentication))?;
        let mut reader = Reader::new(&plain);
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

    pub(crate) fn name_ad(&self, column: NameColumn) -> Result<Vec<u8>, SealError> {
        let mut ad = Vec::with_capacity(64);
        put_frame(&mut ad, labels::NAME_AD)?;
        ad.extend_from_slice(&self.ids.keyring);
        ad.extend_from_slice(&self.ids.account);
        ad.extend_from_slice(&column.place());
        Ok(ad)
    }
}

#[inline(never)]
fn boxed_hmac(key: &[u8; 32]) -> Box<Hmac<Sha256>> {
    let mut block = zeroize::Zeroizing::new([0u8; 64]);
    let (head, _) = block.split_at_mut(32);
    head.copy_from_slice(key);
    // HMAC pads a short key with zeros to the block: this is the same key, by the infallible path.
    Box::new(<Hmac<Sha256> as KeyInit>::new((&*block).into()))
}
