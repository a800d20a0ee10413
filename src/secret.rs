//! Keys in memory: made by the operating system, derived with HKDF, used with AES-SIV.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;
use hkdf::Hkdf;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

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
        Self::new(&out)
    }

    fn new(key: &SecretBox<[u8; 64]>) -> Self {
        wipe::after(|| {
            Self(Mutex::new(Box::new(Aes256Siv::new(
                key.expose_secret().into(),
            ))))
        })
    }

    /// Encrypts in place what stands behind 16 bytes for the tag: `tag[16] ‖ ciphertext`. One string of
    /// associated data, or none.
    pub(crate) fn encrypt(&self, aad: Option<&[u8]>, sealed: &mut [u8]) -> Result<(), SealError> {
        let (tag, text) = sealed
            .split_first_chunk_mut::<TAG_LEN>()
            .ok_or(SealError::TooLarge)?;
        match self
            .cipher()
            .encrypt_inout_detached(aad, (&mut *text).into())
        {
            Ok(made) => *tag = made.into(),
            Err(_) => {
                text.zeroize();
                return Err(SealError::TooLarge);
            }
        }
        Ok(())
    }

    /// Decrypts `tag[16] ‖ ciphertext` in place and gives the value, or `None` if it does not verify.
    pub(crate) fn decrypt<'a>(&self, aad: Option<&[u8]>, sealed: &'a mut [u8]) -> Option<&'a [u8]> {
        let (tag, text) = sealed.split_first_chunk_mut::<TAG_LEN>()?;
        self.cipher()
            .decrypt_inout_detached(aad, (&mut *text).into(), (&*tag).into())
            .ok()?;
        Some(text)
    }

    fn cipher(&self) -> MutexGuard<'_, Box<Aes256Siv>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digits: &str) -> Key {
        Key::new(Box::new(hex::decode(digits).unwrap().try_into().unwrap()))
    }

    #[test]
    fn hkdf_expand_gives_rfc_5869_test_case_1() {
        // The test case gives 42 bytes; a shorter output is their beginning.
        let prk = key("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
        let okm = hex::decode(
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        )
        .unwrap();
        let info = hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap();
        // In one part and in several: the parts are concatenated.
        for parts in [vec![&info[..]], vec![&info[..3], b"", &info[3..]]] {
            assert_eq!(expand(&prk, &parts).expose_secret()[..], okm[..32]);
            let mut longer = [0; 64];
            expand_into(&prk, &parts, &mut longer);
            assert_eq!(longer[..42], okm[..]);
        }
        assert_ne!(expand(&prk, &[&info[1..]]).expose_secret()[..], okm[..32]);
    }

    #[test]
    fn aes_256_siv_gives_a_known_vector_and_opens_nothing_else() {
        // RFC 5297 gives AES-128 only; this is its A.1 under a longer key, from crate aes-siv.
        let key = hex::decode(
            "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f06f6e6d6c6b6a69686766656463626160\
             f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff000102030405060708090a0b0c0d0e0f",
        )
        .unwrap();
        let siv = SivKey::new(&SecretBox::new(Box::new(key.try_into().unwrap())));
        let aad = hex::decode("101112131415161718191a1b1c1d1e1f2021222324252627").unwrap();
        let plain = hex::decode("112233445566778899aabbccddee").unwrap();
        let expected = "f125274c598065cfc26b0e71575029088b035217e380cac8919ee800c126";

        let mut sealed = [&[0; TAG_LEN], &plain[..]].concat();
        siv.encrypt(Some(&aad), &mut sealed).unwrap();
        assert!(siv.encrypt(Some(&aad), &mut [0; TAG_LEN - 1]).is_err());
        assert_eq!(hex::encode(&sealed), expected);
        let opens = |aad: Option<&[u8]>, sealed: &[u8]| {
            let mut buffer = sealed.to_vec();
            siv.decrypt(aad, &mut buffer).map(<[u8]>::to_vec)
        };
        assert_eq!(opens(Some(&aad), &sealed).unwrap(), plain);

        for bit in 0..sealed.len() * 8 {
            let mut other = sealed.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(opens(Some(&aad), &other).is_none(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(opens(Some(&aad), &sealed[..len]).is_none(), "{len} bytes");
        }
        assert!(opens(Some(&aad[1..]), &sealed).is_none());
        // An empty string is not the same as none.
        assert!(opens(Some(&[]), &sealed).is_none());
        assert!(opens(None, &sealed).is_none());
    }

    #[test]
    fn only_a_key_of_zeros_is_zero() {
        assert!(is_zero(&Key::default()));
        for byte in 0..32 {
            let mut key = Key::default();
            key.expose_secret_mut()[byte] = 1;
            assert!(!is_zero(&key));
        }
        let [one, two] = [(); 2].map(|()| random_key().unwrap());
        assert!(!is_zero(&one) && !is_zero(&two));
        assert_ne!(one.expose_secret(), two.expose_secret());
    }
}
