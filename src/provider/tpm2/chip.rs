//! A connection to the TPM, with its storage key.

use secrecy::ExposeSecret;
use tss_esapi::Context;
use tss_esapi::attributes::{ObjectAttributesBuilder, SessionAttributesBuilder};
use tss_esapi::constants::{PropertyTag, SessionType};
use tss_esapi::handles::{KeyHandle, ObjectHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Auth, Digest, EccParameter, EccPoint, Nonce, Private, Public, PublicBuilder,
    PublicEccParametersBuilder, SensitiveData, SymmetricDefinition, SymmetricDefinitionObject,
};

use super::Result;
use super::error::{self, Step, mapped};
use super::uri::Way;
use crate::provider::SlotContext;
use crate::secret::Key;

/// A TPM that was reached. What is made in it goes when this does: the library flushes each handle that it gave.
pub(super) struct Chip {
    context: Context,
    primary: KeyHandle,
    /// SHA-256 of the primary key's public area: its name, without the two bytes that say SHA-256.
    pub(super) primary_name: [u8; 32],
}

/// A session that a slot's policy was run in, and the digest that it came to.
pub(super) struct Policy {
    session: AuthSession,
    pub(super) digest: Digest,
}

/// Which parameters travel encrypted.
enum Hidden {
    Asked,
    Answered,
}

impl Chip {
    /// Connects, and makes the primary key. It comes out of the owner hierarchy's seed, the same each time until the TPM is
    /// cleared; nothing is left in the TPM's memory.
    pub(super) fn reach(way: &Way) -> Result<Self> {
        let mut context = connect(way)?;
        let made = context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.create_primary(Hierarchy::Owner, primary()?, None, None, None, None)
            })
            .map_err(|error| mapped(Step::Primary, error))?;
        let primary = made.key_handle;
        // The library checked that it is the name of the public area that it got.
        let name = context
            .tr_get_name(primary.into())
            .map_err(|error| mapped(Step::Primary, error))?;
        let primary_name = name
            .value()
            .strip_prefix(&[0x00, 0x0b])
            .and_then(|digest| digest.try_into().ok())
            .ok_or_else(error::malformed_name)?;
        Ok(Self {
            context,
            primary,
            primary_name,
        })
    }

    /// Whether the TPM takes no PIN at present.
    pub(super) fn is_in_lockout(&mut self) -> Result<bool> {
        let permanent = self
            .context
            .get_tpm_property(PropertyTag::Permanent)
            .map_err(|error| mapped(Step::Prepare, error))?;
        // TPMA_PERMANENT, bit 9: inLockout.
        Ok(permanent.is_some_and(|bits| bits & (1 << 9) != 0))
    }

    /// A session whose key is agreed on with the primary key, so that who listens can't compute it.
    fn session(&mut self, kind: SessionType, hidden: Hidden) -> tss_esapi::Result<AuthSession> {
        let session = self
            .context
            .start_auth_session(
                Some(self.primary),
                None,
                None,
                kind,
                SymmetricDefinition::AES_128_CFB,
                HashingAlgorithm::Sha256,
            )?
            .ok_or(tss_esapi::Error::WrapperError(
                tss_esapi::WrapperErrorKind::WrongValueFromTpm,
            ))?;
        let attributes = SessionAttributesBuilder::new();
        let (attributes, mask) = match hidden {
            Hidden::Asked => attributes.with_decrypt(true),
            Hidden::Answered => attributes.with_encrypt(true),
        }
        .build();
        self.context
            .tr_sess_set_attributes(session, attributes, mask)?;
        Ok(session)
    }

    /// Runs the policy of a slot: TPM2_PolicySecret of the primary key (whose authorisation is empty) with the slot's context as
    /// policyRef, then TPM2_PolicyAuthValue.
    pub(super) fn policy(&mut self, slot: &SlotContext) -> Result<Policy> {
        let mut reference = slot.keyring_id.to_vec();
        reference.extend(slot.slot.to_le_bytes());
        self.run_policy(reference)
            .map_err(|error| mapped(Step::Prepare, error))
    }

    fn run_policy(&mut self, reference: Vec<u8>) -> tss_esapi::Result<Policy> {
        let session = self.session(SessionType::Policy, Hidden::Answered)?;
        let policy = PolicySession::try_from(session)?;
        let primary = ObjectHandle::from(self.primary);
        let reference = Nonce::try_from(reference)?;
        self.context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.policy_secret(
                    policy,
                    primary.into(),
                    Nonce::default(),
                    Digest::default(),
                    reference,
                    None,
                )
            })?;
        self.context.policy_auth_value(policy)?;
        let digest = self.context.policy_get_digest(policy)?;
        Ok(Policy { session, digest })
    }

    /// Seals `secret` in an object of this form.
    pub(super) fn seal(
        &mut self,
        public: Public,
        auth: Auth,
        secret: &Key,
    ) -> Result<(Private, Public)> {
        let sealed = (|| {
            let session = self.session(SessionType::Hmac, Hidden::Asked)?;
            let secret = SensitiveData::try_from(secret.expose_secret().as_slice())?;
            let primary = self.primary;
            self.context.execute_with_session(Some(session), |context| {
                context.create(primary, public, Some(auth), Some(secret), None, None)
            })
        })();
        let sealed = sealed.map_err(|error| mapped(Step::Seal, error))?;
        Ok((sealed.out_private, sealed.out_public))
    }

    /// Loads what was sealed: the TPM checks that it is whole, and that it made it.
    pub(super) fn load(&mut self, private: Private, public: Public) -> Result<KeyHandle> {
        let primary = self.primary;
        self.context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.load(primary, private, public)
            })
            .map_err(|error| mapped(Step::Load, error))
    }

    /// What is in it: the one use of the secret, and of a PIN.
    pub(super) fn unseal(
        &mut self,
        object: KeyHandle,
        auth: Auth,
        policy: &Policy,
    ) -> Result<SensitiveData> {
        let object = ObjectHandle::from(object);
        self.context
            .tr_set_auth(object, auth)
            .and_then(|()| {
                self.context
                    .execute_with_session(Some(policy.session), |context| context.unseal(object))
            })
            .map_err(|error| mapped(Step::Unseal, error))
    }
}

fn connect(way: &Way) -> Result<Context> {
    check_device(way)?;
    way.tcti()
        .and_then(Context::new)
        .map_err(|error| diagnosed(way).unwrap_or_else(|| mapped(Step::Connect, error)))
}

/// Requests are never written into a file.
fn check_device(way: &Way) -> Result<()> {
    #[cfg(unix)]
    if let Way::Device(path) = way {
        use std::os::unix::fs::FileTypeExt;
        let about = std::fs::metadata(path).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::PermissionDenied => error::no_rights(cause),
            _ => error::no_device(cause),
        })?;
        if !about.file_type().is_char_device() {
            return Err(error::no_tpms_device());
        }
    }
    #[cfg(not(unix))]
    let _ = way;
    Ok(())
}

/// Why a device could not be opened, which the TSS does not say.
fn diagnosed(way: &Way) -> Option<crate::ProviderError> {
    let Way::Device(path) = way else { return None };
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path);
    match opened {
        Err(cause) if cause.kind() == std::io::ErrorKind::PermissionDenied => {
            Some(error::no_rights(cause))
        }
        _ => None,
    }
}

/// The TCG's storage root key: P-256 and AES-128-CFB, its authorisation empty (TCG TPM v2.0 Provisioning Guidance, 7.5.1).
fn primary() -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_decrypt(true)
        .build()?;
    let parameters = PublicEccParametersBuilder::new_restricted_decryption_key(
        SymmetricDefinitionObject::AES_128_CFB,
        EccCurve::NistP256,
    )
    .build()?;
    let zeros = || EccParameter::try_from(vec![0; 32]);
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters)
        .with_ecc_unique_identifier(EccPoint::new(zeros()?, zeros()?))
        .build()
}
