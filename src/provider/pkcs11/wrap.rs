//! How a slot's secret is wrapped, and what is stored for it.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use data_encoding::{BASE64, HEXLOWER};
use secrecy::{ExposeSecret, ExposeSecretMut};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::error::mapped;
use super::key::{Entered, Opened};
use super::uri::LONGEST_ID;
use super::{Config, Result};
use crate::labels;
use crate::provider::{Fields, NewSlot, ProviderError, ProviderErrorKind, SlotContext};
use crate::record::frame::put_frame;
use crate::secret::{self, Key};

const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const TAG_BITS: std::ffi::c_ulong = 128;
/// Nonce, ciphertext and tag.
const GCM_LEN: usize = NONCE_LEN + 32 + TAG_LEN;
/// RFC 3394's eight bytes of check and the secret; RFC 5649's padding adds none to 32 bytes.
const KEY_WRAP_LEN: usize = 8 + 32;

/// How a token wraps a slot's secret.
///
/// When a slot is made, the first of these that the token offers is used and recorded. A key that may not be used so is
/// refused, never used in the next way: name that way by [`Pkcs11::wrap`](crate::Pkcs11::wrap) if it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pkcs11Wrap {
    /// CKM_AES_GCM, 96-bit nonce, 128-bit tag, the slot's context as associated data: a blob that was moved to another slot or
    /// keyring does not decrypt.
    AesGcm,
    /// CKM_AES_KEY_WRAP, RFC 3394. It binds no context: that is left to the keyring's own derivation. The secret is a session
    /// object of the token for a moment, which every part of this process could read.
    AesKeyWrap,
    /// CKM_AES_KEY_WRAP_PAD, RFC 5649; otherwise as [`Self::AesKeyWrap`].
    AesKeyWrapPad,
}

impl Pkcs11Wrap {
    /// In the order in which they are preferred.
    const ALL: [Self; 3] = [Self::AesGcm, Self::AesKeyWrap, Self::AesKeyWrapPad];

    fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "aes-gcm",
            Self::AesKeyWrap => "aes-key-wrap",
            Self::AesKeyWrapPad => "aes-key-wrap-pad",
        }
    }

    fn blob_len(self) -> usize {
        match self {
            Self::AesGcm => GCM_LEN,
            Self::AesKeyWrap | Self::AesKeyWrapPad => KEY_WRAP_LEN,
        }
    }

    /// Of the two that are no encryption.
    fn key_wrap(self) -> Mechanism<'static> {
        match self {
            Self::AesKeyWrapPad => Mechanism::AesKeyWrapPad,
            _ => Mechanism::AesKeyWrap,
        }
    }
}

fn error(kind: ProviderErrorKind, advice: &'static str) -> ProviderError {
    ProviderError::new(kind, advice)
}

pub(super) fn no_random(cause: crate::SealError) -> ProviderError {
    error(ProviderErrorKind::Unavailable, "no random bytes; try again").with_source(cause)
}

/// What is used for new slots and keys: what was named, or the first that the token offers.
pub(super) fn offered(at: &Entered, named: Option<Pkcs11Wrap>) -> Result<Pkcs11Wrap> {
    for wrap in Pkcs11Wrap::ALL {
        if named.is_none_or(|named| named == wrap) && at.offers(wrap)? {
            return Ok(wrap);
        }
    }
    Err(error(
        ProviderErrorKind::BadRequest,
        "the token offers neither AES-GCM nor AES key wrap, or not the one that was named; use another token",
    ))
}

/// As [`offered`], if the key may be used so.
pub(super) fn choose(opened: &Opened, named: Option<Pkcs11Wrap>) -> Result<Pkcs11Wrap> {
    let wrap = offered(&opened.at, named)?;
    let may = &opened.may;
    let may = match wrap {
        Pkcs11Wrap::AesGcm => may.encrypt && may.decrypt,
        _ => may.wrap && may.unwrap,
    };
    if !may {
        return Err(error(
            ProviderErrorKind::BadRequest,
            "the token's key may not be used as it would be: encrypt and decrypt for AES-GCM, wrap and unwrap for AES \
             key wrap; make a new key, or name the way in code",
        ));
    }
    Ok(wrap)
}

/// The fields of [`Recipe::material`](crate::Recipe::material). The key's id only informs: it tells another key of the same name.
const WRAP: &str = "wrap";
const BLOB: &str = "blob";
const KEY_ID: &str = "key-id";

/// What a recipe holds, checked for its form.
pub(super) struct Material {
    wrap: Pkcs11Wrap,
    blob: Vec<u8>,
    /// CKA_ID of the key that wrapped it, as a hint: a copy of the key may have another.
    key_id: Option<Vec<u8>>,
}

impl Material {
    pub(super) fn read(fields: &Fields, named: Option<Pkcs11Wrap>) -> Result<Self> {
        let corrupt = || {
            error(
                ProviderErrorKind::Corrupt,
                "what the slot stored for the token is malformed; restore the keyring from a backup",
            )
        };
        let field = |name: &str| fields.get(name).map(String::as_str);
        if fields
            .keys()
            .any(|name| ![WRAP, BLOB, KEY_ID].contains(&name.as_str()))
        {
            return Err(corrupt());
        }
        let wrap = Pkcs11Wrap::ALL
            .into_iter()
            .find(|wrap| field(WRAP) == Some(wrap.name()))
            .ok_or_else(corrupt)?;
        if named.is_some_and(|named| named != wrap) {
            return Err(error(
                ProviderErrorKind::BadRequest,
                "the slot was wrapped in another way than the one named in code; name none, or make the slot again",
            ));
        }
        let text = field(BLOB)
            .filter(|text| text.len() == BASE64.encode_len(wrap.blob_len()))
            .ok_or_else(corrupt)?;
        let blob = BASE64.decode(text.as_bytes()).map_err(|_| corrupt())?;
        if blob.len() != wrap.blob_len() {
            return Err(corrupt());
        }
        let key_id = match field(KEY_ID) {
            Some(text) if text.len() > 2 * LONGEST_ID => return Err(corrupt()),
            Some(text) => Some(HEXLOWER.decode(text.as_bytes()).map_err(|_| corrupt())?),
            None => None,
        };
        Ok(Self { wrap, blob, key_id })
    }

    fn write(&self) -> Fields {
        let mut fields = Fields::from([
            (WRAP.to_owned(), self.wrap.name().to_owned()),
            (BLOB.to_owned(), BASE64.encode(&self.blob)),
        ]);
        if let Some(id) = &self.key_id {
            fields.insert(KEY_ID.to_owned(), HEXLOWER.encode(id));
        }
        fields
    }
}

/// `frame(label) ‖ keyring id[16] ‖ slot u32`.
fn associated_data(context: &SlotContext) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    put_frame(&mut data, labels::PKCS11_AD).map_err(no_random)?;
    data.extend(context.keyring_id);
    data.extend(context.slot.to_le_bytes());
    Ok(data)
}

/// A new secret, wrapped. It is opened again before it is given out: tokens exist that wrap what they don't unwrap.
pub(super) fn generate(opened: &Opened, config: &Config, context: &SlotContext) -> Result<NewSlot> {
    let wrap = choose(opened, config.wrap)?;
    let secret = secret::random_key().map_err(no_random)?;
    let blob = match wrap {
        Pkcs11Wrap::AesGcm => encrypt(opened, &secret, context)?,
        _ => wrap_key(opened, wrap, &secret)?,
    };
    let unfit = || {
        error(
            ProviderErrorKind::BadRequest,
            "the token does not give back what it wrapped; use another token, or name another way in code",
        )
    };
    if blob.len() != wrap.blob_len() {
        return Err(unfit());
    }
    let material = Material {
        wrap,
        blob,
        key_id: (1..=LONGEST_ID)
            .contains(&opened.id.len())
            .then(|| opened.id.clone()),
    };
    let again = open(opened, &material, context).map_err(|cause| unfit().with_source(cause))?;
    if bool::from(again.expose_secret().ct_ne(secret.expose_secret())) {
        return Err(unfit());
    }
    Ok(NewSlot {
        secret,
        material: material.write(),
    })
}

/// The secret again: one call of the key.
pub(super) fn open(opened: &Opened, material: &Material, context: &SlotContext) -> Result<Key> {
    let may = match material.wrap {
        Pkcs11Wrap::AesGcm => opened.may.decrypt,
        _ => opened.may.unwrap,
    };
    if !may {
        return Err(error(
            ProviderErrorKind::Disabled,
            "the token's key may not decrypt or unwrap any more; let its owner allow it again",
        ));
    }
    if !opened.at.offers(material.wrap)? {
        return Err(error(
            ProviderErrorKind::BadRequest,
            "the token no longer offers the way in which the slot was wrapped; check its settings and firmware",
        ));
    }
    let secret = match material.wrap {
        Pkcs11Wrap::AesGcm => decrypt(opened, &material.blob, context),
        wrap => unwrap_key(opened, wrap, &material.blob),
    };
    secret.map_err(|cause| {
        let other = material.key_id.as_ref().is_some_and(|id| *id != opened.id);
        if cause.kind() == ProviderErrorKind::Corrupt && other {
            return error(
                ProviderErrorKind::WrongKey,
                "the token's key of this name is not the one that wrapped the slot; look for the old one by its id",
            )
            .with_source(cause);
        }
        cause
    })
}

fn into_key(mut bytes: Vec<u8>) -> Result<Key> {
    let mut key = Key::default();
    let fits = bytes.len() == key.expose_secret().len();
    if fits {
        key.expose_secret_mut().copy_from_slice(&bytes);
    }
    bytes.zeroize();
    if fits {
        return Ok(key);
    }
    Err(error(
        ProviderErrorKind::Corrupt,
        "the token opened something that is no slot secret; restore the keyring from a backup",
    ))
}

fn encrypt(opened: &Opened, secret: &Key, context: &SlotContext) -> Result<Vec<u8>> {
    let data = associated_data(context)?;
    let mut nonce = [0; NONCE_LEN];
    secret::random(&mut nonce).map_err(no_random)?;
    let parameters = GcmParams::new(&mut nonce, &data, TAG_BITS.into()).map_err(mapped)?;
    let sealed = opened
        .at
        .session
        .encrypt(
            &Mechanism::AesGcm(parameters),
            opened.key,
            secret.expose_secret(),
        )
        .map_err(mapped)?;
    // Some tokens make the nonce themselves, and put it where ours was.
    Ok([&nonce[..], &sealed].concat())
}

fn decrypt(opened: &Opened, blob: &[u8], context: &SlotContext) -> Result<Key> {
    let data = associated_data(context)?;
    let (nonce, sealed) = blob.split_at_checked(NONCE_LEN).unwrap_or_default();
    let mut nonce = nonce.to_vec();
    let parameters = GcmParams::new(&mut nonce, &data, TAG_BITS.into()).map_err(mapped)?;
    let bytes = opened
        .at
        .session
        .decrypt(&Mechanism::AesGcm(parameters), opened.key, sealed)
        .map_err(mapped)?;
    into_key(bytes)
}

/// An object of the session that goes when this does.
struct Temporary<'a> {
    opened: &'a Opened,
    object: ObjectHandle,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // The end of the session destroys it otherwise.
        let _ = self.opened.at.session.destroy_object(self.object);
    }
}

/// A secret in the token, for this session.
fn template(sensitive: bool) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(sensitive),
        Attribute::Extractable(true),
    ]
}

fn wrap_key(opened: &Opened, wrap: Pkcs11Wrap, secret: &Key) -> Result<Vec<u8>> {
    let session = &opened.at.session;
    let mut template = template(true);
    template.push(Attribute::Value(secret.expose_secret().to_vec()));
    let object = session.create_object(&template).map_err(mapped);
    wipe(&mut template);
    let object = Temporary {
        opened,
        object: object?,
    };
    session
        .wrap_key(&wrap.key_wrap(), opened.key, object.object)
        .map_err(mapped)
}

fn unwrap_key(opened: &Opened, wrap: Pkcs11Wrap, blob: &[u8]) -> Result<Key> {
    let session = &opened.at.session;
    let object = session
        .unwrap_key(&wrap.key_wrap(), opened.key, blob, &template(false))
        .map_err(mapped)?;
    let object = Temporary { opened, object };
    let mut attributes = session
        .get_attributes(object.object, &[AttributeType::Value])
        .map_err(mapped)?;
    match attributes.pop() {
        Some(Attribute::Value(value)) => into_key(value),
        _ => Err(error(
            ProviderErrorKind::BadRequest,
            "the token does not show the secret that it unwrapped; use a token with AES-GCM",
        )),
    }
}

fn wipe(attributes: &mut Vec<Attribute>) {
    for attribute in attributes {
        if let Attribute::Value(value) = attribute {
            let _: Zeroizing<_> = std::mem::take(value).into();
        }
    }
}
