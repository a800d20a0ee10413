//! A secret that the TPM sealed, and what is stored for it.

use data_encoding::{BASE64, HEXLOWER};
use hkdf::Hkdf;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::structures::{
    Auth, Digest, KeyedHashScheme, Private, Public, PublicBuilder, PublicKeyedHashParameters,
    SensitiveData,
};
use tss_esapi::traits::Marshall;
use zeroize::Zeroizing;

use super::chip::{Chip, Policy};
use super::error::{self, Step, mapped};
use super::{Config, Result};
use crate::provider::{Fields, NewSlot, ProviderError, ProviderErrorKind, SlotContext};
use crate::secret::{self, Key};
use crate::{labels, wipe};

const PRIMARY: &str = "primary";
const PUBLIC: &str = "public";
const PRIVATE: &str = "private";

/// A TPMT_PUBLIC of ours: type, name algorithm and attributes, the policy's length; the policy; the scheme, the length of
/// what makes it unique; that.
const PUBLIC_LEN: usize = 10 + 32 + 4 + 32;
const POLICY_AT: usize = 10;
const UNIQUE_AT: usize = PUBLIC_LEN - 32;
/// The longest TPM2B_PRIVATE that is believed, without its length; of swtpm it has 174 bytes.
const LONGEST_PRIVATE: usize = 1024;

/// What a recipe holds, checked for its form. Bytes of it reach the TPM, and the library parses none of them.
pub(super) struct Material {
    /// The primary key's name, which tells another TPM.
    primary_name: [u8; 32],
    public: Public,
    private: Private,
    policy: Digest,
    /// Whether the TPM counts wrong authorisations of it: it has a PIN.
    has_pin: bool,
}

impl Material {
    pub(super) fn read(fields: &Fields) -> Result<Self> {
        Self::parsed(fields).ok_or_else(error::malformed)
    }

    fn parsed(fields: &Fields) -> Option<Self> {
        if fields.len() != 3 {
            return None;
        }
        let base64 = |name: &str, longest: usize| {
            let text = fields.get(name)?;
            // Before anything of its size is made.
            (text.len() <= BASE64.encode_len(longest))
                .then(|| BASE64.decode(text.as_bytes()).ok())
                .flatten()
        };
        let name = fields.get(PRIMARY).filter(|name| name.len() == 64)?;
        let name = HEXLOWER.decode(name.as_bytes()).ok()?;
        let private = base64(PRIVATE, LONGEST_PRIVATE)?;
        let public = base64(PUBLIC, PUBLIC_LEN)?;
        let digest =
            |at: usize| Digest::try_from(public.get(at..at.checked_add(32)?)?.to_vec()).ok();
        let (policy, unique) = (digest(POLICY_AT)?, digest(UNIQUE_AT)?);
        // All else of it is as we make it: with a PIN, or without.
        let (has_pin, public) = [true, false].into_iter().find_map(|has_pin| {
            let rebuilt = object(has_pin, policy.clone(), unique.clone()).ok()?;
            (rebuilt.marshall().ok()? == public).then_some((has_pin, rebuilt))
        })?;
        Some(Self {
            primary_name: name.try_into().ok()?,
            public,
            private: Private::try_from(private)
                .ok()
                .filter(|private| !private.value().is_empty())?,
            policy,
            has_pin,
        })
    }

    fn write(&self) -> Result<Fields> {
        let public = self
            .public
            .marshall()
            .map_err(|error| mapped(Step::Seal, error))?;
        Ok(Fields::from([
            (PRIMARY.to_owned(), HEXLOWER.encode(&self.primary_name)),
            (PUBLIC.to_owned(), BASE64.encode(&public)),
            (PRIVATE.to_owned(), BASE64.encode(self.private.value())),
        ]))
    }
}

/// The public area of a sealed secret. It can't leave its TPM and parent, and is had by its policy alone. What has no PIN does
/// not count wrong authorisations, nor heed those of others.
fn object(has_pin: bool, policy: Digest, unique: Digest) -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_user_with_auth(false)
        .with_admin_with_policy(true)
        .with_no_da(!has_pin)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(policy)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(unique)
        .build()
}

/// What authorises the use of the object: empty without a PIN. No TPM takes a PIN of any length, and none need see it.
fn auth(pin: Option<&SecretString>, slot: &SlotContext) -> Result<Auth> {
    let Some(pin) = pin else {
        return Ok(Auth::default());
    };
    let mut value = Zeroizing::new([0; 32]);
    wipe::after(|| {
        let info = [labels::TPM2_PIN, &slot.keyring_id, &slot.slot.to_le_bytes()];
        // 32 bytes are a valid length, so this does not fail.
        let _ = Hkdf::<Sha256>::new(None, pin.expose_secret().as_bytes())
            .expand_multi_info(&info, &mut *value);
    });
    // A TPM leaves zeros at the end of an authorisation out. So it is told without them, whatever the library does.
    let len = value
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    let value = value.get(..len).unwrap_or_default();
    Auth::try_from(value).map_err(|error| mapped(Step::Seal, error))
}

fn into_key(data: &SensitiveData) -> Result<Key> {
    let mut key = Key::default();
    if data.value().len() != key.expose_secret().len() {
        return Err(error::malformed());
    }
    key.expose_secret_mut().copy_from_slice(data.value());
    Ok(key)
}

/// A new secret, sealed. It is opened again before it is given out.
pub(super) fn generate(config: &Config, slot: &SlotContext) -> Result<NewSlot> {
    let pin = config.read_pin()?;
    let pin = pin.as_deref();
    let mut chip = Chip::reach(&config.uri.way)?;
    let policy = chip.policy(slot)?;
    let secret = secret::random_key().map_err(|cause| {
        ProviderError::new(ProviderErrorKind::Unavailable, "no random bytes; try again")
            .with_source(cause)
    })?;
    let public = object(pin.is_some(), policy.digest.clone(), Digest::default())
        .map_err(|error| mapped(Step::Seal, error))?;
    let value = auth(pin, slot)?;
    let (private, public) = wipe::after(|| chip.seal(public, value, &secret))?;
    let material = Material {
        primary_name: chip.primary_name,
        public,
        private,
        policy: policy.digest.clone(),
        has_pin: pin.is_some(),
    }
    .write()?;
    let again = Material::read(&material)
        .and_then(|material| opened(&mut chip, &policy, material, pin, slot));
    let unfit = |cause: Option<ProviderError>| {
        let error = ProviderError::new(
            ProviderErrorKind::BadRequest,
            "the TPM does not give back what it sealed; use another provider",
        );
        match cause {
            Some(cause) => error.with_source(cause),
            None => error,
        }
    };
    match again {
        Ok(again) if bool::from(again.expose_secret().ct_eq(secret.expose_secret())) => {
            Ok(NewSlot { secret, material })
        }
        Ok(_) => Err(unfit(None)),
        // What may go over, and a PIN that others' wrong ones keep out, are told as they are.
        Err(cause) if cause.is_retryable() || cause.kind() == ProviderErrorKind::Denied => {
            Err(cause)
        }
        Err(cause) => Err(unfit(Some(cause))),
    }
}

/// The secret again: one TPM2_Unseal.
pub(super) fn open(config: &Config, material: Material, slot: &SlotContext) -> Result<Key> {
    let pin = config.read_pin()?;
    let mut chip = Chip::reach(&config.uri.way)?;
    // Before a session is agreed on with it: something between could show a key of its own.
    if chip.primary_name != material.primary_name {
        return Err(error::another_tpm());
    }
    let policy = chip.policy(slot)?;
    opened(&mut chip, &policy, material, pin.as_deref(), slot)
}

fn opened(
    chip: &mut Chip,
    policy: &Policy,
    material: Material,
    pin: Option<&SecretString>,
    slot: &SlotContext,
) -> Result<Key> {
    // From here on the TPM vouches for the public area.
    let object = chip.load(material.private, material.public)?;
    // Before a PIN is tried, and counted. The TPM would refuse it as well.
    if material.policy != policy.digest {
        return Err(error::other_slot());
    }
    match (material.has_pin, pin) {
        (true, None) => return Err(error::pin_needed()),
        (false, Some(_)) => return Err(error::no_pin_set()),
        _ => {}
    }
    let value = auth(pin, slot)?;
    wipe::after(|| into_key(&chip.unseal(object, value, policy)?))
}

#[cfg(test)]
mod tests;
