//! Every derivation and associated-data label of the format, on one page.
//!
//! All keys below the root come from HKDF-SHA-256 (RFC 5869), expand step only, because every input
//! key is uniform and long enough; only a recovery code, which is 16 bytes, two secrets that become one, and the PIN of a
//! TPM's slot, which makes no key but what the TPM is shown, are extracted first. In notation, with `‖` for concatenation and integers little endian:
//!
//! ```text
//! recovery secret = Expand(Extract(no salt, recovery code[16]), RECOVERY, 32)
//! TPM auth value  = Expand(Extract(no salt, PIN), TPM2_PIN ‖ keyring id[16] ‖ slot id u32, 32)
//! combined secret = Expand(Extract(no salt, first secret[32] ‖ second secret[32]),
//!                          COMBINED ‖ keyring id[16] ‖ slot id u32 ‖ frame(first kind) ‖ frame(second kind), 32)
//! slot key        = Expand(slot secret, SLOT ‖ keyring id[16] ‖ slot id u32 ‖ frame(provider kind), 32)
//! commitment      = Expand(slot key, SLOT_COMMITMENT, 32)
//! slot wrap key   = Expand(slot key, SLOT_WRAP ‖ suite u8, 32)
//! wrap key        = Expand(root key, WRAP ‖ suite u8, 32)
//! document key    = Expand(root key, DOCUMENT, 32)
//! record key      = Expand(data key, RECORD_KEY ‖ suite u8, 32)
//! SIV value key   = Expand(data key, SIV_KEY, 64)
//! token key       = Expand(blind key, TOKEN_KEY ‖ table u16 ‖ column u8, 32)
//! name key        = Expand(blind key, NAME_KEY ‖ table u16 ‖ column u8, 64)
//! ```

/// Recovery code to slot secret.
pub(crate) const RECOVERY: &[u8] = b"sealed-store v1 recovery code";
/// Two providers' secrets to slot secret.
pub(crate) const COMBINED: &[u8] = b"sealed-store v1 combined";
/// Slot secret to slot key.
pub(crate) const SLOT: &[u8] = b"sealed-store v1 slot";
/// Slot key to key commitment.
pub(crate) const SLOT_COMMITMENT: &[u8] = b"sealed-store v1 slot commitment";
/// Slot key to the key that wraps the root key.
pub(crate) const SLOT_WRAP: &[u8] = b"sealed-store v1 slot wrap";
/// Root key to the key that wraps data and blind keys.
pub(crate) const WRAP: &[u8] = b"sealed-store v1 wrap";
/// Root key to the key of the documents' MACs.
pub(crate) const DOCUMENT: &[u8] = b"sealed-store v1 document";
/// Data key to the AEAD key of records.
pub(crate) const RECORD_KEY: &[u8] = b"sealed-store v1 record key";
/// Data key to the AES-SIV key of fixed-size and compared values.
pub(crate) const SIV_KEY: &[u8] = b"sealed-store v1 siv key";
/// Blind key to the HMAC key of one column's tokens.
pub(crate) const TOKEN_KEY: &[u8] = b"sealed-store v1 token key";
/// Blind key to the AES-SIV key of one column's reversible names.
pub(crate) const NAME_KEY: &[u8] = b"sealed-store v1 name key";

/// Associated data of a record.
pub(crate) const RECORD_AD: &[u8] = b"sealed-store v1 record";
/// Associated data of an SIV value.
pub(crate) const SIV_AD: &[u8] = b"sealed-store v1 siv value";
/// Associated data of a wrapped key.
pub(crate) const WRAP_AD: &[u8] = b"sealed-store v1 wrapped key";
/// Associated data of a slot secret that a PKCS#11 token encrypts.
#[cfg(feature = "pkcs11")]
pub(crate) const PKCS11_AD: &[u8] = b"sealed-store v1 pkcs11 slot secret";
/// PIN to the authorisation value of what a TPM sealed.
#[cfg(feature = "tpm2")]
pub(crate) const TPM2_PIN: &[u8] = b"sealed-store v1 tpm2 pin";
