//! Keys in memory: made by the operating system, derived with HKDF, used with AES-SIV.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;
use hkdf::Hkdf;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::error::SealError;
use crate::record::TAG_LEN;
use crate::wipe;

/// A 256-bit key, wiped on drop and never moved out of its box.
pub(crate) type Key = SecretBox<[u8; 32]>;

/// Fills `bytes` from the operating system's generator: one call, never kept for later.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), SealError> {
    getrandom::fill(bytes).map_err(|_| SealError::NoEntropy)
}

/// 16 random bytes that identify something.
pub(crate) fn random_id() -> Result<[u8; 16], SealError> {
    let mut id = [0; 16];
    random(&mut id)?;
    Ok(id)
}

/// A fresh random key.
pub(crate) fn random_key() -> Result<Key, SealError> {
    let mut key = Key::default();
    random(key.expose_secret_mut())?;
    Ok(key)
}

/// An all-zero key is a key that somebody forgot to fill.
pub(crate) fn is_zero(key: &Key) -> bool {
    key.expose_secret().ct_eq(&[0; 32]).into()
}

/// HKDF-SHA-256 expand of a uniform key; `info` is the concatenation of its parts.
pub(crate) fn expand(key: &Key, info: &[&[u8]]) -> Key {
    let mut out = Key::default();
    expand_into(key, info, out.expose_secret_mut());
    out
}

fn expand_into(key: &Key, info: &[&[u8]], out: &mut [u8]) {
    wipe::after(|| {
        // 32 bytes are a valid PRK and 32 or 64 a valid output length of HKDF-SHA-256; the
        // all-zero output that a failure would leave is caught by `is_zero` and by the tests.
        if let Ok(hkdf) = Hkdf::<Sha256>::from_prk(key.expose_secret()) {
            let _ = hkdf.expand_multi_info(info, out);
        }
    });
}

/// A 512-bit AES-256-SIV key (RFC 5297), expanded. The cipher works on `&mut self`, so it stands behind
/// a lock that is held for one short computation.
pub(crate) struct SivKey(Mutex<Box<Aes256Siv>>);

impl SivKey {
    pub(crate) fn derive(key: &Key, info: &[&[u8]]) -> Self {
        let mut out = SecretBox::new(Box::new([0; 64]));
        expand_into(key, info, out.expose_secret_mut());
        wipe::after(|| {
            Self(Mutex::new(Box::new(Aes256Siv::new(
                out.expose_secret().into(),
            ))))
        })
    }

    /// Appends `tag[16] ‖ ciphertext` of `value` to `out`. One associated-data string.
    pub(crate) fn encrypt(
        &self,
        aad: &[u8],
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let tag_at = out.len();
        out.extend_from_slice(&[0; TAG_LEN]);
        out.extend_from_slice(value);
        let (tag, text) = out
            .get_mut(tag_at..)
            .and_then(<[u8]>::split_first_chunk_mut::<TAG_LEN>)
            .ok_or(SealError::TooLarge)?;
        *tag = self
            .cipher()
            .encrypt_inout_detached([aad], text.into())
            .map_err(|_| SealError::TooLarge)?
            .into();
        Ok(())
    }

    /// Decrypts `tag[16] ‖ ciphertext` in place and gives the value, or `None` if it does not verify.
    pub(crate) fn decrypt<'a>(&self, aad: &[u8], sealed: &'a mut [u8]) -> Option<&'a [u8]> {
        let (tag, text) = sealed.split_first_chunk_mut::<TAG_LEN>()?;
        self.cipher()
            .decrypt_inout_detached([aad], (&mut *text).into(), (&*tag).into())
            .ok()?;
        Some(text)
    }

    fn cipher(&self) -> MutexGuard<'_, Box<Aes256Siv>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
