//! The keyring's documents, as text that a person can read.
//!
//! ```text
//! sealed-store document 1
//! { … JSON body … }
//! sha256 <64 hex digits over every byte before this line>
//! hmac-sha256 <64 hex digits over name, keyring id, revision and every byte before this line>
//! ```
//!
//! The unkeyed hash is checked first, so that damage is told from a wrong key. Nothing in a body is
//! trusted before its MAC but what is needed to reach the root key, and that is bounds-checked.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::derive::{RootKeys, WRAPPED_LEN};
use super::store::MAX_DOCUMENT;
use crate::error::SealError;
use crate::provider::Recipe;
use crate::record::{Suite, Table};

/// The format version that this build writes and reads.
pub(crate) const FORMAT: u32 = 1;
/// Most slots a keyring may have.
pub(crate) const MAX_SLOTS: usize = 16;

const MAGIC: &str = "sealed-store document ";
const SHA_LINE: &str = "sha256 ";
const MAC_LINE: &str = "hmac-sha256 ";

/// The name of the keyring document.
pub(crate) const KEYRING: &str = "keyring";
/// The name of the index of accounts.
pub(crate) const ACCOUNTS: &str = "accounts";

/// The name of an account's document.
pub(crate) fn account_document(name: &str) -> String {
    format!("account:{name}")
}

/// The account that a document's name is for.
pub(crate) fn account_name(document: &str) -> Option<&str> {
    document.strip_prefix("account:")
}

/// Which kind of document it is, without the name of an account.
pub(crate) fn kind(document: &str) -> &'static str {
    match document {
        KEYRING => "keyring",
        ACCOUNTS => "accounts",
        _ => "account",
    }
}

const fn corrupt(what: &'static str) -> SealError {
    SealError::CorruptKeyring { what }
}

/// What every body holds: whose it is, how new, and which root signed it.
pub(crate) trait Body: serde::Serialize + serde::de::DeserializeOwned {
    fn keyring_id(&self) -> &[u8; 16];
    fn revision(&self) -> u64;
    fn root(&self) -> u32;
}

macro_rules! body {
    ($name:ident) => {
        impl Body for $name {
            fn keyring_id(&self) -> &[u8; 16] {
                &self.keyring_id
            }
            fn revision(&self) -> u64 {
                self.revision
            }
            fn root(&self) -> u32 {
                self.root
            }
        }
    };
}

/// The keyring document.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyringBody {
    #[serde(with = "hex_array")]
    pub(crate) keyring_id: [u8; 16],
    pub(crate) revision: u64,
    /// The number of the root key.
    pub(crate) root: u32,
    /// The suite of wraps and of new data keys.
    pub(crate) suite: Suite,
    /// The number of the next slot: never reused.
    pub(crate) next_slot: u32,
    pub(crate) slots: Vec<SlotEntry>,
    /// During a root rotation.
    pub(crate) previous_root: Option<PreviousRoot>,
}
body!(KeyringBody);

/// One slot.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlotEntry {
    pub(crate) slot: u32,
    pub(crate) label: String,
    pub(crate) kind: String,
    pub(crate) recipe: Recipe,
    #[serde(with = "hex_array")]
    pub(crate) commitment: [u8; 32],
    #[serde(with = "hex_array")]
    pub(crate) wrapped_root: [u8; WRAPPED_LEN],
    /// Unix seconds.
    pub(crate) created: u64,
    /// As its provider said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) may_be_lost: bool,
}

/// The root key before a rotation, wrapped under the new one.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreviousRoot {
    pub(crate) root: u32,
    #[serde(with = "hex_array")]
    pub(crate) wrapped: [u8; WRAPPED_LEN],
}

/// The index of accounts.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountsBody {
    #[serde(with = "hex_array")]
    pub(crate) keyring_id: [u8; 16],
    pub(crate) revision: u64,
    pub(crate) root: u32,
    pub(crate) names: Vec<String>,
}
body!(AccountsBody);

/// One account's document.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountBody {
    #[serde(with = "hex_array")]
    pub(crate) keyring_id: [u8; 16],
    pub(crate) revision: u64,
    pub(crate) root: u32,
    pub(crate) name: String,
    #[serde(with = "hex_array")]
    pub(crate) uid: [u8; 16],
    /// Made when a store is first opened with the account.
    #[serde(with = "hex_option")]
    pub(crate) store_id: Option<[u8; 16]>,
    pub(crate) state: AccountState,
    pub(crate) keys: Vec<KeyEntry>,
    /// While rows are resealed under new data keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resealing: Option<Resealing>,
}
body!(AccountBody);

/// How far a resealing is. Under the document's MAC: whoever can write the file could otherwise have rows passed over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resealing {
    /// The tables whose rows are resealed, each under its newest generation when it began.
    pub(crate) targets: Vec<ResealingTarget>,
    /// The store's table that is being walked; those before it are done.
    pub(crate) place: String,
    /// The key of the last row of it that is done, as the walker has it; empty at its beginning.
    #[serde(with = "hex_bytes")]
    pub(crate) after: Vec<u8>,
    /// Whether all were walked: what is left is to prove that, and to destroy the old keys.
    pub(crate) walked: bool,
}

/// A table that is resealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResealingTarget {
    pub(crate) table: Table,
    pub(crate) generation: u32,
}

/// How far an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AccountState {
    /// Made, and no device yet.
    New,
    /// A device is being made: a crash here is finished at the next open.
    Initialising,
    /// It has a device, which must never look absent again.
    Live,
    /// Its keys are destroyed.
    Shredded,
}

impl AccountState {
    /// Its name in lower case, as keyring documents spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Initialising => "initialising",
            Self::Live => "live",
            Self::Shredded => "shredded",
        }
    }
}

/// What a wrapped key of an account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyKind {
    Data,
    Blind,
}

/// How far a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyState {
    /// Seals and opens.
    Active,
    /// Opens only.
    Retained,
    /// Marked for destruction; opens until it is erased.
    Destroying,
    /// Erased.
    Destroyed,
}

impl KeyState {
    /// Its name in lower case, as keyring documents spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retained => "retained",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
        }
    }
}

/// One wrapped key of an account.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyEntry {
    pub(crate) kind: KeyKind,
    /// None for the blind key.
    pub(crate) table: Option<Table>,
    /// At least 1, never reused.
    pub(crate) generation: u32,
    pub(crate) suite: Suite,
    pub(crate) state: KeyState,
    /// Unix seconds.
    pub(crate) created: u64,
    pub(crate) retired: Option<u64>,
    #[serde(with = "hex_option")]
    pub(crate) wrapped: Option<[u8; WRAPPED_LEN]>,
}

/// A document whose unkeyed hash is right, split but not yet believed.
pub(crate) struct Envelope<B> {
    pub(crate) body: B,
    content: Vec<u8>,
    mac: [u8; 32],
}

impl<B: Body> Envelope<B> {
    /// Checks magic, version, hash and shape.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, SealError> {
        if bytes.len() > MAX_DOCUMENT {
            return Err(corrupt("it is larger than any keyring document"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| corrupt("it is not text"))?;
        let (magic, _) = text.split_once('\n').ok_or(corrupt("it is cut short"))?;
        let version = magic
            .strip_prefix(MAGIC)
            .ok_or(corrupt("it does not start like a keyring document"))?;
        // The hash first: a flipped bit in the version is damage, not another version.
        let (content, mac) = split_last_line(text, MAC_LINE)?;
        let hashed = without_checksum(content)?;
        let found: u32 = version
            .parse()
            .ok()
            .filter(|found: &u32| found.to_string() == version)
            .ok_or(corrupt("its version is no number"))?;
        if found != FORMAT {
            return Err(SealError::UnsupportedVersion {
                found,
                supported: FORMAT,
            });
        }
        let json = hashed
            .get(magic.len() + 1..)
            .ok_or(corrupt("it is cut short"))?;
        let body: B =
            serde_json::from_str(json).map_err(|_| corrupt("its body has another shape"))?;
        Ok(Self {
            body,
            content: content.as_bytes().to_vec(),
            mac,
        })
    }

    /// The body, once the MAC and the store's revision column are right.
    pub(crate) fn verify(
        self,
        root: &RootKeys,
        name: &str,
        keyring_id: &[u8; 16],
        stored_revision: u64,
    ) -> Result<B, SealError> {
        let body = &self.body;
        if body.root() != root.number {
            return Err(corrupt("it belongs to another root key"));
        }
        if !root.verify(name, keyring_id, body.revision(), &self.content, &self.mac)? {
            return Err(corrupt(
                "it was altered, or belongs to another keyring or name",
            ));
        }
        if body.keyring_id() != keyring_id || body.revision() != stored_revision {
            return Err(corrupt(
                "its revision or keyring id differs from the stored one",
            ));
        }
        Ok(self.body)
    }
}

/// The bytes of a document, signed by `root`.
pub(crate) fn write<B: Body>(body: &B, root: &RootKeys, name: &str) -> Result<Vec<u8>, SealError> {
    let json = serde_json::to_string_pretty(body).map_err(|_| corrupt("it can not be written"))?;
    let mut text = format!("{MAGIC}{FORMAT}\n{json}\n");
    push_checksum(&mut text);
    let mac = root.sign(name, body.keyring_id(), body.revision(), text.as_bytes())?;
    text.push_str(MAC_LINE);
    text.push_str(&HEXLOWER.encode(&mac));
    text.push('\n');
    if text.len() > MAX_DOCUMENT {
        return Err(SealError::Invalid {
            what: "the document would outgrow 4 MiB: it holds too many generations of keys; make a new keyring",
        });
    }
    Ok(text.into_bytes())
}

/// Appends the line that is checked first: the SHA-256 of all that is there.
pub(crate) fn push_checksum(text: &mut String) {
    let sha = Sha256::digest(text.as_bytes());
    text.push_str(SHA_LINE);
    text.push_str(&HEXLOWER.encode(&sha));
    text.push('\n');
}

/// What stands before a line of [`push_checksum`], if its checksum fits.
pub(crate) fn without_checksum(text: &str) -> Result<&str, SealError> {
    let (hashed, sha) = split_last_line(text, SHA_LINE)?;
    if Sha256::digest(hashed.as_bytes()).as_slice() != sha {
        return Err(corrupt("its checksum does not fit, it is damaged"));
    }
    Ok(hashed)
}

/// Splits `…\n<label><64 hex digits>\n` into what is before the last line and its 32 bytes.
fn split_last_line<'a>(text: &'a str, label: &str) -> Result<(&'a str, [u8; 32]), SealError> {
    const CUT: SealError = corrupt("its last lines are missing or damaged");
    let line_len = label.len() + 64 + 1;
    let start = text.len().checked_sub(line_len).ok_or(CUT)?;
    let (before, line) = text.split_at_checked(start).ok_or(CUT)?;
    let digits = line
        .strip_prefix(label)
        .and_then(|line| line.strip_suffix('\n'))
        .ok_or(CUT)?;
    if !before.ends_with('\n') {
        return Err(CUT);
    }
    let mut value = [0; 32];
    match HEXLOWER.decode_mut(digits.as_bytes(), &mut value) {
        Ok(32) => Ok((before, value)),
        _ => Err(CUT),
    }
}

pub(crate) mod hex_array {
    use data_encoding::HEXLOWER;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<const N: usize, S: Serializer>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(bytes))
    }

    pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(deserializer)?;
        HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| D::Error::custom("not hexadecimal digits of the right length"))
    }
}

mod hex_bytes {
    use data_encoding::HEXLOWER;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        HEXLOWER
            .decode(text.as_bytes())
            .map_err(|_| D::Error::custom("not hexadecimal digits"))
    }
}

mod hex_option {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<const N: usize, S: Serializer>(
        bytes: &Option<[u8; N]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => super::hex_array::serialize(bytes, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<[u8; N]>, D::Error> {
        #[derive(Deserialize)]
        struct Digits<const N: usize>(#[serde(with = "super::hex_array")] [u8; N]);
        Ok(Option::<Digits<N>>::deserialize(deserializer)?.map(|digits| digits.0))
    }
}

#[cfg(test)]
mod tests;
