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
        let cipher = Self::expand(suite, key.expose_secret());
        wipe::stack();
        cipher
    }

    #[inline(never)]
    fn expand(suite: Suite, key: &[u8; 32]) -> Self {
        match suite {
            Suite::Xaes256Gcm => Self::Xaes(Box::new(Xaes256Gcm::new(key.into()))),
            Suite::XChaCha20Poly1305 => Self::XChaCha(Box::new(XChaCha20Poly1305::new(key.into()))),
        }
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
