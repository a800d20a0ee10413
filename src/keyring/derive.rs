//! From a slot secret to the root key, and from the root key to everything it wraps.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::error::SealError;
use crate::labels;
use crate::provider::SlotContext;
use crate::record::frame::put_frame;
use crate::record::{Cipher, NONCE_LEN, Nonce, Suite, TAG_LEN};
use crate::secret::{self, Key};
use crate::wipe;

/// The version of a wrapped key's own layout.
const WRAP_VERSION: u8 = 1;
/// Length of a wrapped key: version ‖ suite ‖ nonce ‖ key ‖ tag.
pub(crate) const WRAPPED_LEN: usize = 2 + NONCE_LEN + 32 + TAG_LEN;

/// What kind of key a wrap holds. The number is part of the format.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WrapKind {
    /// The root key, wrapped by a slot.
    Root = 1,
    /// The root key before a rotation, wrapped by the new one until every account is rewritten.
    PreviousRoot = 2,
    /// A data key.
    Data = 3,
    /// A blind key.
    Blind = 4,
}

/// The whole place of a wrapped key, all of it associated data.
pub(crate) struct WrapPlace {
    pub(crate) keyring: [u8; 16],
    /// Zeros for root keys.
    pub(crate) account: [u8; 16],
    /// Zero where no table is meant.
    pub(crate) table: u16,
    pub(crate) kind: WrapKind,
    /// The generation; for root keys, the root's number.
    pub(crate) generation: u32,
    /// The suite that the wrapped key is for.
    pub(crate) suite: Suite,
}

impl WrapPlace {
    /// The place of root key number `root`.
    pub(crate) fn root(keyring: [u8; 16], kind: WrapKind, root: u32, suite: Suite) -> Self {
        Self {
            keyring,
            account: [0; 16],
            table: 0,
            kind,
            generation: root,
            suite,
        }
    }

    pub(crate) fn aad(&self, wrapped_by: Suite) -> Result<Vec<u8>, SealError> {
        let mut aad = Vec::with_capacity(80);
        put_frame(&mut aad, labels::WRAP_AD)?;
        aad.extend_from_slice(&[WRAP_VERSION, wrapped_by.number()]);
        aad.extend_from_slice(&self.keyring);
        aad.extend_from_slice(&self.account);
        aad.extend_from_slice(&self.table.to_le_bytes());
        aad.push(self.kind as u8);
        aad.extend_from_slice(&self.generation.to_le_bytes());
        aad.push(self.suite.number());
        Ok(aad)
    }
}

/// Wraps keys: `version ‖ suite ‖ nonce[24] ‖ ciphertext[32] ‖ tag[16]`, 74 bytes.
pub(crate) struct Wrapper {
    suite: Suite,
    cipher: Cipher,
}

impl Wrapper {
    fn new(suite: Suite, key: &Key) -> Self {
        Self {
            suite,
            cipher: Cipher::new(suite, key),
        }
    }

    pub(crate) fn wrap(&self, place: &WrapPlace, key: &Key) -> Result<Vec<u8>, SealError> {
        let mut nonce = Nonce::default();
        secret::random(&mut nonce)?;
        let mut sealed = SecretBox::<[u8; 32]>::default();
        sealed
            .expose_secret_mut()
            .copy_from_slice(key.expose_secret());
        let tag = self
            .cipher
            .seal_in_place(
                &nonce,
                &place.aad(self.suite)?,
                sealed.expose_secret_mut().as_mut_slice(),
            )
            .map_err(|_| SealError::TooLarge)?;
        let mut bytes = Vec::with_capacity(WRAPPED_LEN);
        bytes.extend_from_slice(&[WRAP_VERSION, self.suite.number()]);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(sealed.expose_secret());
        bytes.extend_from_slice(&tag);
        Ok(bytes)
    }

    pub(crate) fn unwrap(&self, place: &WrapPlace, wrapped: &[u8]) -> Result<Key, SealError> {
        const DAMAGED: SealError = SealError::CorruptKeyring {
            what: "a wrapped key does not open at its place",
        };
        let (&[version, suite], rest) = wrapped.split_first_chunk::<2>().ok_or(DAMAGED)?;
        if version != WRAP_VERSION || suite != self.suite.number() {
            return Err(DAMAGED);
        }
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(DAMAGED)?;
        let (ciphertext, tag) = rest.split_first_chunk::<32>().ok_or(DAMAGED)?;
        let tag = <&[u8; TAG_LEN]>::try_from(tag).map_err(|_| DAMAGED)?;
        let mut key = Key::default();
        key.expose_secret_mut().copy_from_slice(ciphertext);
        self.cipher
            .open_in_place(
                nonce,
                &place.aad(self.suite)?,
                key.expose_secret_mut().as_mut_slice(),
                tag,
            )
            .map_err(|_| DAMAGED)?;
        if secret::is_zero(&key) {
            return Err(SealError::CorruptKeyring {
                what: "a wrapped key is all zeros",
            });
        }
        Ok(key)
    }
}

/// The keys of one slot.
pub(crate) struct SlotKeys {
    commitment: Key,
    pub(crate) wrapper: Wrapper,
}

impl SlotKeys {
    pub(crate) fn derive(
        slot_secret: &Key,
        context: &SlotContext,
        kind: &str,
        suite: Suite,
    ) -> Result<Self, SealError> {
        let mut framed_kind = Vec::new();
        put_frame(&mut framed_kind, kind.as_bytes())?;
        let slot_key = secret::expand(
            slot_secret,
            &[
                labels::SLOT,
                &context.keyring_id,
                &context.slot.to_le_bytes(),
                &framed_kind,
            ],
        );
        let wrap_key = secret::expand(&slot_key, &[labels::SLOT_WRAP, &[suite.number()]]);
        Ok(Self {
            commitment: secret::expand(&slot_key, &[labels::SLOT_COMMITMENT]),
            wrapper: Wrapper::new(suite, &wrap_key),
        })
    }

    /// What the slot stores, so that a wrong secret is told from damage before any decryption, and
    /// no slot opens to two secrets (partitioning oracles: Len, Grubbs, Ristenpart 2021).
    pub(crate) fn commitment(&self) -> [u8; 32] {
        *self.commitment.expose_secret()
    }

    /// Compares in constant time.
    pub(crate) fn commits_to(&self, stored: &[u8; 32]) -> bool {
        self.commitment.expose_secret().ct_eq(stored).into()
    }
}

/// A root key and what is derived from it.
pub(crate) struct RootKeys {
    pub(crate) number: u32,
    pub(crate) root: Key,
    pub(crate) wrapper: Wrapper,
    document: Key,
}

impl RootKeys {
    pub(crate) fn new(root: Key, number: u32, suite: Suite) -> Self {
        let wrap_key = secret::expand(&root, &[labels::WRAP, &[suite.number()]]);
        Self {
            number,
            wrapper: Wrapper::new(suite, &wrap_key),
            document: secret::expand(&root, &[labels::DOCUMENT]),
            root,
        }
    }

    /// HMAC-SHA-256 of `frame(document name) ‖ keyring id ‖ revision u64 ‖ content`.
    fn document_mac(
        &self,
        name: &str,
        keyring: &[u8; 16],
        revision: u64,
        content: &[u8],
    ) -> Result<Hmac<Sha256>, SealError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.document.expose_secret())
            .map_err(|_| SealError::NotOpen)?;
        let mut head = Vec::with_capacity(64);
        put_frame(&mut head, name.as_bytes())?;
        head.extend_from_slice(keyring);
        head.extend_from_slice(&revision.to_le_bytes());
        mac.update(&head);
        mac.update(content);
        Ok(mac)
    }

    pub(crate) fn sign(
        &self,
        name: &str,
        keyring: &[u8; 16],
        revision: u64,
        content: &[u8],
    ) -> Result<[u8; 32], SealError> {
        wipe::after(|| {
            Ok(self
                .document_mac(name, keyring, revision, content)?
                .finalize()
                .into_bytes()
                .into())
        })
    }

    /// Whether `mac` is the document's, compared in constant time.
    pub(crate) fn verify(
        &self,
        name: &str,
        keyring: &[u8; 16],
        revision: u64,
        content: &[u8],
        mac: &[u8; 32],
    ) -> Result<bool, SealError> {
        wipe::after(|| {
            Ok(self
                .document_mac(name, keyring, revision, content)?
                .verify_slice(mac)
                .is_ok())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> WrapPlace {
        WrapPlace {
            keyring: [1; 16],
            account: [2; 16],
            table: 3,
            kind: WrapKind::Data,
            generation: 4,
            suite: Suite::Xaes256Gcm,
        }
    }

    fn root(suite: Suite) -> RootKeys {
        RootKeys::new(Key::new(Box::new([9; 32])), 1, suite)
    }

    /// A key that opens at another place than its own could be put there by whoever can write the
    /// document and knows the root, an old root for instance.
    #[test]
    fn a_wrapped_key_opens_at_its_own_place_only() {
        let key = Key::new(Box::new([7; 32]));
        for suite in [Suite::Xaes256Gcm, Suite::XChaCha20Poly1305] {
            let wrapper = root(suite).wrapper;
            let wrapped = wrapper.wrap(&place(), &key).unwrap();
            assert_eq!(wrapped.len(), WRAPPED_LEN);
            let opened = wrapper.unwrap(&place(), &wrapped).unwrap();
            assert_eq!(opened.expose_secret(), key.expose_secret());

            let elsewhere: [fn(&mut WrapPlace); 7] = [
                |place| place.keyring[15] ^= 1,
                |place| place.account[15] ^= 1,
                |place| place.table ^= 1,
                |place| place.kind = WrapKind::Blind,
                |place| place.kind = WrapKind::PreviousRoot,
                |place| place.generation ^= 1,
                |place| place.suite = Suite::XChaCha20Poly1305,
            ];
            for (number, change) in elsewhere.into_iter().enumerate() {
                let mut other = place();
                change(&mut other);
                assert!(wrapper.unwrap(&other, &wrapped).is_err(), "change {number}");
            }
            for bit in 0..wrapped.len() * 8 {
                let mut bad = wrapped.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(wrapper.unwrap(&place(), &bad).is_err(), "bit {bit}");
            }
            for len in 0..wrapped.len() {
                assert!(wrapper.unwrap(&place(), &wrapped[..len]).is_err());
            }
            let longer = [&wrapped[..], &[0]].concat();
            assert!(wrapper.unwrap(&place(), &longer).is_err());
        }
    }

    /// A root key is bound to its number, so that an old one can't come back as the new one.
    #[test]
    fn a_wrapped_root_is_bound_to_its_number_and_its_part() {
        let suite = Suite::Xaes256Gcm;
        let wrapper = root(suite).wrapper;
        let key = Key::new(Box::new([7; 32]));
        let at = |kind, number| WrapPlace::root([1; 16], kind, number, suite);
        let wrapped = wrapper.wrap(&at(WrapKind::Root, 1), &key).unwrap();
        assert!(wrapper.unwrap(&at(WrapKind::Root, 1), &wrapped).is_ok());
        assert!(wrapper.unwrap(&at(WrapKind::Root, 2), &wrapped).is_err());
        let previous = at(WrapKind::PreviousRoot, 1);
        assert!(wrapper.unwrap(&previous, &wrapped).is_err());
    }

    #[test]
    fn a_wrapped_key_of_zeros_is_refused() {
        let wrapper = root(Suite::Xaes256Gcm).wrapper;
        let wrapped = wrapper.wrap(&place(), &Key::default()).unwrap();
        assert!(wrapper.unwrap(&place(), &wrapped).is_err());
    }

    #[test]
    fn the_same_key_is_never_wrapped_to_the_same_bytes() {
        let wrapper = root(Suite::Xaes256Gcm).wrapper;
        let key = Key::new(Box::new([7; 32]));
        let [one, two] = [(); 2].map(|()| wrapper.wrap(&place(), &key).unwrap());
        assert_ne!(one, two);
    }

    /// Two secrets that a slot can't tell apart would let one passphrase be tested against many.
    #[test]
    fn a_slot_commits_to_one_secret_at_one_place() {
        let secret = Key::new(Box::new([5; 32]));
        let context = SlotContext {
            keyring_id: [1; 16],
            slot: 1,
        };
        let suite = Suite::Xaes256Gcm;
        let keys = SlotKeys::derive(&secret, &context, "kind", suite).unwrap();
        let commitment = keys.commitment();
        assert!(keys.commits_to(&commitment));
        let derive = |secret: [u8; 32], keyring_id, slot, kind| {
            let context = SlotContext { keyring_id, slot };
            SlotKeys::derive(&Key::new(Box::new(secret)), &context, kind, suite).unwrap()
        };
        for other in [
            derive([6; 32], [1; 16], 1, "kind"),
            derive([5; 32], [2; 16], 1, "kind"),
            derive([5; 32], [1; 16], 2, "kind"),
            derive([5; 32], [1; 16], 1, "kinds"),
        ] {
            assert!(!other.commits_to(&commitment));
        }
        for bit in 0..256 {
            let mut other = commitment;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!keys.commits_to(&other));
        }
    }
}
