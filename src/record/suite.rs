//! The AEADs a record can be sealed with.
//!
//! Both take a 256-bit key, a random 192-bit nonce and give a 128-bit tag, so that a key may seal
//! 2^80 records before nonces are likely to repeat. Plain AES-GCM with random 96-bit nonces is
//! deliberately not among them (2^32 records a key).

use chacha20poly1305::XChaCha20Poly1305;
use secrecy::{ExposeSecret, SecretBox};
use xaes_256_gcm::Xaes256Gcm;
use xaes_256_gcm::aead::{AeadInOut, KeyInit};

use crate::wipe;

/// Length of a record's nonce in bytes.
pub(crate) const NONCE_LEN: usize = 24;
/// Length of an authentication tag in bytes.
pub(crate) const TAG_LEN: usize = 16;

/// A random nonce.
pub(crate) type Nonce = [u8; NONCE_LEN];

/// An AEAD suite. The number is part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
#[non_exhaustive]
pub enum Suite {
    /// XAES-256-GCM (C2SP). The default where the processor has AES instructions.
    #[serde(rename = "xaes-256-gcm")]
    Xaes256Gcm = 1,
    /// XChaCha20-Poly1305. The default elsewhere.
    #[serde(rename = "xchacha20-poly1305")]
    XChaCha20Poly1305 = 2,
}

impl Suite {
    /// The suite's number in the format.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The suite of a number, if this build knows it.
    pub(crate) const fn of_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Xaes256Gcm),
            2 => Some(Self::XChaCha20Poly1305),
            _ => None,
        }
    }

    /// The suite to prefer on this processor: XAES-256-GCM with AES and carry-less multiplication
    /// instructions, where software AES would be slow and leak through the cache otherwise.
    #[must_use]
    pub fn for_this_machine() -> Self {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        let fast = std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq");
        #[cfg(target_arch = "aarch64")]
        let fast = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
        let fast = false;
        if fast {
            Self::Xaes256Gcm
        } else {
            Self::XChaCha20Poly1305
        }
    }
}

/// An expanded AEAD key, kept in its box so that no move leaves a copy of it behind.
pub(crate) enum Cipher {
    Xaes(Box<Xaes256Gcm>),
    XChaCha(Box<XChaCha20Poly1305>),
}

/// The tag did not verify, or the input is beyond the suite's limits.
#[derive(Debug)]
pub(crate) struct AeadFailure;

impl Cipher {
    /// Expands `key`. Wiped on drop, by the `zeroize` features of the cipher crates.
    pub(crate) fn new(suite: Suite, key: &SecretBox<[u8; 32]>) -> Self {
        let key = key.expose_secret().into();
        wipe::after(|| match suite {
            Suite::Xaes256Gcm => Self::Xaes(Box::new(Xaes256Gcm::new(key))),
            Suite::XChaCha20Poly1305 => Self::XChaCha(Box::new(XChaCha20Poly1305::new(key))),
        })
    }

    /// Encrypts `buffer` in place and returns the tag.
    pub(crate) fn seal_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_LEN], AeadFailure> {
        let tag = match self {
            Self::Xaes(c) => c.encrypt_inout_detached(nonce.into(), aad, buffer.into()),
            Self::XChaCha(c) => c.encrypt_inout_detached(nonce.into(), aad, buffer.into()),
        };
        tag.map(Into::into).map_err(|_| AeadFailure)
    }

    /// Verifies and decrypts `buffer` in place. On failure nothing in it is to be used.
    pub(crate) fn open_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AeadFailure> {
        match self {
            Self::Xaes(c) => c.decrypt_inout_detached(nonce.into(), aad, buffer.into(), tag.into()),
            Self::XChaCha(c) => {
                c.decrypt_inout_detached(nonce.into(), aad, buffer.into(), tag.into())
            }
        }
        .map_err(|_| AeadFailure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seals and opens one published vector, and refuses it with any one thing altered.
    fn vector(suite: Suite, key: [u8; 32], nonce: Nonce, aad: &[u8], plain: &[u8], sealed: &str) {
        let sealed = hex::decode(sealed).unwrap();
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG_LEN>().unwrap();
        let cipher = Cipher::new(suite, &SecretBox::new(Box::new(key)));
        let mut buffer = plain.to_vec();
        assert_eq!(
            &cipher.seal_in_place(&nonce, aad, &mut buffer).unwrap(),
            tag
        );
        assert_eq!(buffer, ciphertext);
        cipher.open_in_place(&nonce, aad, &mut buffer, tag).unwrap();
        assert_eq!(buffer, plain);

        let opens = |nonce: &Nonce, aad: &[u8], ciphertext: &[u8], tag: &[u8; TAG_LEN]| {
            let mut buffer = ciphertext.to_vec();
            cipher.open_in_place(nonce, aad, &mut buffer, tag).is_ok()
        };
        for bit in 0..8 * NONCE_LEN {
            let mut other = nonce;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!opens(&other, aad, ciphertext, tag), "nonce bit {bit}");
        }
        for bit in 0..8 * TAG_LEN {
            let mut other = *tag;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!opens(&nonce, aad, ciphertext, &other), "tag bit {bit}");
        }
        for byte in 0..ciphertext.len() {
            let mut other = ciphertext.to_vec();
            other[byte] ^= 1;
            assert!(!opens(&nonce, aad, &other, tag), "ciphertext byte {byte}");
        }
        assert!(!opens(&nonce, &[aad, b"\0"].concat(), ciphertext, tag));
        assert!(!opens(&nonce, aad, &ciphertext[1..], tag));
    }

    #[test]
    fn xaes_256_gcm_gives_the_c2sp_vectors() {
        // c2sp.org/XAES-256-GCM. (Its accumulated vector needs SHAKE128, which is no dependency.)
        let nonce = *b"ABCDEFGHIJKLMNOPQRSTUVWX";
        vector(
            Suite::Xaes256Gcm,
            [1; 32],
            nonce,
            b"",
            b"XAES-256-GCM",
            "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
        );
        vector(
            Suite::Xaes256Gcm,
            [3; 32],
            nonce,
            b"c2sp.org/XAES-256-GCM",
            b"XAES-256-GCM",
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        );
    }

    #[test]
    fn xchacha20_poly1305_gives_the_drafts_vector() {
        // draft-irtf-cfrg-xchacha-03, appendix A.3.1.
        vector(
            Suite::XChaCha20Poly1305,
            std::array::from_fn(|n| 0x80 + n as u8),
            std::array::from_fn(|n| 0x40 + n as u8),
            &hex::decode("50515253c0c1c2c3c4c5c6c7").unwrap(),
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
              future, sunscreen would be it.",
            "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440b\
             f3a82f4eda7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3f\
             ac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13b52e\
             c0875924c1c7987947deafd8780acf49",
        );
    }

    #[test]
    fn a_number_names_one_suite() {
        for number in 0..=u8::MAX {
            match Suite::of_number(number) {
                Some(suite) => assert_eq!(suite.number(), number),
                None => assert!(number == 0 || number > 2),
            }
        }
    }
}
