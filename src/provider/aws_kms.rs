//! A slot whose secret is a data key of AWS KMS.

mod address;
mod errors;
mod service;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_lock::OnceCell;
use async_trait::async_trait;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeySpec, KeyState, KeyUsageType};
use data_encoding::BASE64;
use secrecy::{ExposeSecretMut, SecretBox};
use zeroize::Zeroizing;

use self::address::Address;
use self::errors::{classify, error};
use self::service::Service;
use super::{
    Fields, KeyProvider, NewSlot, Probe, ProviderError, ProviderErrorKind, Recipe, SlotContext,
};
use crate::audit::id_text;
use crate::secret::Key;

type Result<T> = std::result::Result<T, ProviderError>;

/// The field of [`Recipe::reference`]: the key's ARN.
const KEY: &str = "key";
/// The field of [`Recipe::material`]: what KMS made of the secret, in base64.
const CIPHERTEXT: &str = "ciphertext";
/// KMS takes no longer ciphertext, in bytes.
const MAX_CIPHERTEXT: usize = 6_144;
/// The names in the encryption context. Policies name them, so they never change.
const CONTEXT_KEYRING: &str = "sealed-store-keyring";
const CONTEXT_SLOT: &str = "sealed-store-slot";

/// Opens a slot with a symmetric key of AWS KMS: the secret is a data key of 32 bytes (`GenerateDataKey`), of which the slot
/// stores what KMS encrypted, and every opening is one `Decrypt`.
///
/// The key is pinned by its ARN, and the region is taken from it. Every call carries the encryption context
/// `sealed-store-keyring` (the keyring's id, 32 lowercase hexadecimal digits) and `sealed-store-slot` (the slot's number,
/// decimal), to which KMS binds the secret; a policy can ask for both.
///
/// Credentials are found by the SDK's own chain: environment, profile files (a role to assume and `credential_process`
/// too), web identity token, container, instance. Its IAM Identity Center part is not compiled in. They are looked up again
/// after KMS denied a call.
///
/// The SDK runs on a thread of the provider's own, started at the first call and ended with the provider, so that any executor
/// can wait for it. A call is tried once, in 9 seconds: wrap the provider in [`Patient`](super::Patient) to try again.
///
/// ```
/// use sealed_store::AwsKms;
///
/// let uri = "awskms:arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
/// let provider = AwsKms::from_uri(uri)?;
/// // An alias can be pointed at another key, so it is refused.
/// assert!(AwsKms::from_uri("awskms:arn:aws:kms:eu-central-1:111122223333:alias/whatsapp").is_err());
/// # Ok::<(), sealed_store::ProviderError>(())
/// ```
pub struct AwsKms {
    address: Address,
    timeout: Duration,
    service: OnceCell<Service>,
}

impl AwsKms {
    /// `awskms:ARN`, or `awskms:ARN?endpoint=URL` for a VPC endpoint. The ARN is
    /// `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`, its id a UUID or that of a multi-Region key (`mrk-…`). The endpoint is
    /// `https://HOST` or `https://HOST:PORT` with nothing after it; `http` is taken for this machine only (`127.…`, `[::1]`,
    /// `localhost`), since KMS answers with the secret itself. An endpoint that the SDK's environment or profile names is not
    /// followed.
    ///
    /// # Errors
    /// [`ProviderErrorKind::BadRequest`] for anything else: an alias, a key id alone, a wildcard, credentials, another
    /// parameter.
    pub fn from_uri(uri: &str) -> Result<Self> {
        Ok(Self {
            address: Address::parse(uri)?,
            timeout: Duration::from_secs(9),
            service: OnceCell::new(),
        })
    }

    /// How long one call may take, with all that it needs: looking up credentials, connecting (a third of it at most), the answer.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self {
            timeout,
            service: OnceCell::new(),
            ..self
        }
    }

    /// One call on the provider's own runtime.
    async fn call<T, F>(&self, call: impl FnOnce(Client) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let service = self
            .service
            .get_or_try_init(|| Service::start(self.timeout))
            .await?;
        let client = service.client(&self.address).await?;
        let answer = service.run(call(client)).await;
        if let Err(error) = &answer
            && matches!(
                error.kind(),
                ProviderErrorKind::Denied | ProviderErrorKind::BadRequest
            )
        {
            // Credentials in a file may have been replaced or mended: the SDK has read it, and would not again.
            service.forget_client().await;
        }
        answer
    }
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl KeyProvider for AwsKms {
    fn kind(&self) -> &str {
        "aws-kms"
    }

    /// The ARN alone: it names the key wherever it is reached, so a change of endpoint does not make a slot foreign.
    fn reference(&self) -> Fields {
        Fields::from([(KEY.to_owned(), self.address.arn().to_owned())])
    }

    async fn generate(&self, context: &SlotContext) -> Result<NewSlot> {
        let (arn, bound) = (self.address.arn().to_owned(), bound(context));
        let mut answer = self
            .call(|client| async move {
                let request = client
                    .generate_data_key()
                    .key_id(arn)
                    .number_of_bytes(32)
                    .set_encryption_context(Some(bound));
                request.send().await.map_err(classify)
            })
            .await?;
        let secret = secret(answer.plaintext.take())?;
        check_key(answer.key_id(), self.address.arn())?;
        Ok(NewSlot {
            secret,
            material: material(answer.ciphertext_blob())?,
        })
    }

    async fn unwrap_secret(
        &self,
        context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>> {
        let ciphertext = ciphertext(recipe)?;
        let (arn, bound) = (self.address.arn().to_owned(), bound(context));
        let mut answer = self
            .call(|client| async move {
                let request = client
                    .decrypt()
                    .key_id(arn)
                    .ciphertext_blob(ciphertext)
                    .set_encryption_context(Some(bound));
                request.send().await.map_err(classify)
            })
            .await?;
        let secret = secret(answer.plaintext.take())?;
        check_key(answer.key_id(), self.address.arn())?;
        Ok(secret)
    }

    /// By `ReEncrypt`, one call with the credentials of this provider: to the newest material of its own key, or to
    /// another key of the same region.
    async fn rewrap(&self, context: &SlotContext, recipe: &Recipe, to: &Fields) -> Result<Fields> {
        if recipe.reference != self.reference() {
            return Err(other_key());
        }
        let to = Address::of(to)?;
        if self.address.region() != to.region() {
            return Err(error(
                ProviderErrorKind::BadRequest,
                "KMS encrypts anew within one region only; put a slot of the other key in this one's place instead",
            ));
        }
        let ciphertext = ciphertext(recipe)?;
        let (from_arn, to_arn) = (self.address.arn().to_owned(), to.arn().to_owned());
        let bound = bound(context);
        let answer = self
            .call(|client| async move {
                let request = client
                    .re_encrypt()
                    .ciphertext_blob(ciphertext)
                    .source_key_id(from_arn)
                    .set_source_encryption_context(Some(bound.clone()))
                    .destination_key_id(to_arn)
                    .set_destination_encryption_context(Some(bound));
                request.send().await.map_err(classify)
            })
            .await?;
        check_key(answer.key_id(), to.arn())?;
        check_key(answer.source_key_id(), self.address.arn())?;
        material(answer.ciphertext_blob())
    }

    /// Asks for the key's state (`DescribeKey`). That says nothing about the right to decrypt.
    async fn probe(&self) -> Result<Probe> {
        let begun = Instant::now();
        let arn = self.address.arn().to_owned();
        let answer = self
            .call(|client| async move {
                client
                    .describe_key()
                    .key_id(arn)
                    .send()
                    .await
                    .map_err(classify)
            })
            .await?;
        let key = answer.key_metadata().ok_or_else(nonsense)?;
        check_key(key.arn(), self.address.arn())?;
        if key.key_usage() != Some(&KeyUsageType::EncryptDecrypt)
            || key.key_spec() != Some(&KeySpec::SymmetricDefault)
        {
            return Err(error(
                ProviderErrorKind::BadRequest,
                "this KMS key is not a symmetric key for encryption; name one that is",
            ));
        }
        match key.key_state() {
            Some(KeyState::Enabled | KeyState::Updating) => {
                Ok(Probe::ready().after(begun.elapsed()))
            }
            Some(KeyState::Creating | KeyState::Unavailable) => Err(errors::unusable_now()),
            Some(_) => Err(errors::unusable()),
            None => Err(nonsense()),
        }
    }
}

/// The encryption context of a slot.
fn bound(context: &SlotContext) -> HashMap<String, String> {
    HashMap::from([
        (CONTEXT_KEYRING.to_owned(), id_text(&context.keyring_id)),
        (CONTEXT_SLOT.to_owned(), context.slot.to_string()),
    ])
}

/// What a slot stores, checked before it is sent.
fn ciphertext(recipe: &Recipe) -> Result<Blob> {
    let damaged = || {
        error(
            ProviderErrorKind::Corrupt,
            "what the slot stores for KMS is damaged; restore the keyring from a backup",
        )
    };
    let text = recipe.material.get(CIPHERTEXT).ok_or_else(damaged)?;
    if recipe.material.len() != 1 || text.len() > BASE64.encode_len(MAX_CIPHERTEXT) {
        return Err(damaged());
    }
    let bytes = BASE64.decode(text.as_bytes()).map_err(|_| damaged())?;
    if bytes.is_empty() || bytes.len() > MAX_CIPHERTEXT {
        return Err(damaged());
    }
    Ok(Blob::new(bytes))
}

fn material(ciphertext: Option<&Blob>) -> Result<Fields> {
    let bytes = ciphertext.ok_or_else(nonsense)?.as_ref();
    if bytes.is_empty() || bytes.len() > MAX_CIPHERTEXT {
        return Err(nonsense());
    }
    Ok(Fields::from([(
        CIPHERTEXT.to_owned(),
        BASE64.encode(bytes),
    )]))
}

/// The data key of an answer, whose own copy is wiped.
fn secret(plaintext: Option<Blob>) -> Result<Key> {
    let plaintext = Zeroizing::new(plaintext.ok_or_else(nonsense)?.into_inner());
    let bytes: &[u8; 32] = plaintext.as_slice().try_into().map_err(|_| nonsense())?;
    let mut secret = Key::default();
    secret.expose_secret_mut().copy_from_slice(bytes);
    Ok(secret)
}

/// The answer must be of the key that was asked for.
fn check_key(answered: Option<&str>, asked: &str) -> Result<()> {
    if answered == Some(asked) {
        return Ok(());
    }
    Err(other_key())
}

fn other_key() -> ProviderError {
    error(
        ProviderErrorKind::WrongKey,
        "this is of another KMS key; configure the key that the slot was made with",
    )
}

fn nonsense() -> ProviderError {
    error(
        ProviderErrorKind::Unavailable,
        "KMS answered with something else; check what is at its endpoint, then try again",
    )
}

#[cfg(test)]
mod tests;
