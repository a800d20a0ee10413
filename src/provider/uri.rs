//! A provider by its URI, as a configuration file or a command line has it.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

#[cfg(doc)]
use super::Patient;
use super::{KeyProvider, Patience, ProviderError, ProviderErrorKind};

/// The longest URI, in bytes.
const LONGEST: usize = 4096;

/// What a provider needs besides its URI, which never holds a secret. Nothing is needed where the service's own way of
/// giving credentials is used: its environment variables, a token file or a PIN file that the URI names.
#[derive(Default)]
#[must_use]
pub struct ProviderCredentials {
    pin: Option<SecretString>,
    token: Option<SecretString>,
    #[allow(dead_code, reason = "read where a provider is built in")]
    patience: Option<Patience>,
}

impl ProviderCredentials {
    /// None, and the default [`Patience`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The PIN of a token (`pkcs11:`), or of a slot in the TPM (`tpm2:`).
    pub fn pin(mut self, pin: impl Into<SecretString>) -> Self {
        self.pin = Some(pin.into());
        self
    }

    /// The token of a Vault (`vault:`) whose URI names no token file and no role.
    pub fn token(mut self, token: impl Into<SecretString>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How long, and how often, the provider is waited for. Default: [`Patience::new`], and for `keychain:` one call of two
    /// minutes at most.
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = Some(patience);
        self
    }

    /// A keychain asks a person, who takes his time and is not to be asked again.
    #[allow(dead_code, reason = "asked where a provider is built in")]
    fn patience_for(&self, scheme: &str) -> Patience {
        let a_person = Duration::from_secs(120);
        self.patience.unwrap_or_else(|| match scheme {
            "keychain" => Patience::new().call(a_person).total(a_person).tries(1),
            _ => Patience::new(),
        })
    }

    /// A credential that a provider has no use for was meant for another one.
    #[allow(dead_code, reason = "asked where a provider is built in")]
    fn check_taken(&self, taken: &[&str]) -> Result<(), ProviderError> {
        let given = [("pin", self.pin.is_some()), ("token", self.token.is_some())];
        if given
            .iter()
            .any(|(name, is_given)| *is_given && !taken.contains(name))
        {
            return Err(ProviderError::new(
                ProviderErrorKind::BadRequest,
                "a provider of this scheme has no use for the PIN or token that was given; leave it out",
            ));
        }
        Ok(())
    }
}

#[cfg(feature = "vault")]
fn two_of_a_kind() -> ProviderError {
    ProviderError::new(
        ProviderErrorKind::BadRequest,
        "a token was given, and the URI says to take it from elsewhere; leave one of them out",
    )
}

/// The schemes: one line each, with the credential that may be given besides, unless the provider has it by its URI.
macro_rules! schemes {
    ($($scheme:literal $feature:tt $provider:ident [$($credential:ident $(unless $has:ident)?)?];)*) => {
        /// Each scheme with the Cargo feature that its provider is behind, and whether that was built in.
        #[cfg(test)]
        const SCHEMES: &[(&str, &str, bool)] = &[$(($scheme, $feature, cfg!(feature = $feature))),*];

        fn made(
            scheme: &str,
            uri: &str,
            credentials: &ProviderCredentials,
        ) -> Result<Arc<dyn KeyProvider>, ProviderError> {
            // Of no use where no provider is built in.
            let _ = (uri, credentials);
            match scheme {
                $(
                    #[cfg(feature = $feature)]
                    $scheme => {
                        credentials.check_taken(&[$(stringify!($credential))?])?;
                        let provider = super::$provider::from_uri(uri)?;
                        $(
                            let provider = match &credentials.$credential {
                                $(Some(_) if provider.$has() => return Err(two_of_a_kind()),)?
                                Some(secret) => provider.$credential(secret.clone()),
                                None => provider,
                            };
                        )?
                        Ok(Arc::new(super::Patient::new(provider).patience(credentials.patience_for(scheme))))
                    }
                    #[cfg(not(feature = $feature))]
                    $scheme => Err(ProviderError::new(
                        ProviderErrorKind::BadRequest,
                        concat!(
                            "this build has no provider for ", $scheme, ": URIs; build it with the Cargo feature `", $feature, "`"
                        ),
                    )),
                )*
                _ => Err(ProviderError::new(
                    ProviderErrorKind::BadRequest,
                    concat!("a provider's URI begins with one of", $(" ", $scheme, ":",)* " and this one does not"),
                )),
            }
        }
    };
}

schemes! {
    "awskms" "aws-kms" AwsKms [];
    "keychain" "keychain" Keychain [];
    "pkcs11" "pkcs11" Pkcs11 [pin];
    "tpm2" "tpm2" Tpm2 [pin];
    "vault" "vault" Vault [token unless has_credentials];
}

/// The provider that a URI names, with patience around it ([`Patient`]). Nothing is contacted yet.
///
/// | URI | provider | Cargo feature |
/// | --- | --- | --- |
/// | `awskms:arn:aws:kms:REGION:ACCOUNT:key/ID` | AWS KMS | `aws-kms` |
/// | `keychain:SERVICE` | the desktop's keychain | `keychain` |
/// | `pkcs11:token=…;object=…?module-path=…` (RFC 7512) | a PKCS#11 token | `pkcs11` |
/// | `tpm2:`, `tpm2:?tcti=…&pin-file=…` | this machine's TPM 2.0 | `tpm2` |
/// | `vault:https://HOST/MOUNT/keys/NAME` | Vault's or OpenBao's Transit engine | `vault` |
///
/// What a URI may hold besides is said at the provider's own `from_uri`. Schemes are in lower case.
///
/// ```
/// use sealed_store::{ProviderCredentials, ProviderErrorKind, provider_from_uri};
///
/// let error = provider_from_uri("https://example", &ProviderCredentials::new()).err().unwrap();
/// assert_eq!(error.kind(), ProviderErrorKind::BadRequest);
/// ```
///
/// # Errors
/// [`ProviderErrorKind::BadRequest`] for an unknown scheme, for one whose feature was not built in (it names the feature), for a
/// credential that the provider has no use for or that its URI has another source of, for more than 4,096 bytes or control characters, and as the
/// provider's own `from_uri`.
pub fn provider_from_uri(
    uri: &str,
    credentials: &ProviderCredentials,
) -> Result<Arc<dyn KeyProvider>, ProviderError> {
    if uri.len() > LONGEST || uri.chars().any(char::is_control) {
        return Err(ProviderError::new(
            ProviderErrorKind::BadRequest,
            "a provider's URI is at most 4096 bytes with no control characters; this is something else",
        ));
    }
    made(uri.split(':').next().unwrap_or_default(), uri, credentials)
}

#[cfg(test)]
mod tests;
