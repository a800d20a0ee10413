//! What KMS, the credentials' sources and the way to them say, in the words of [`ProviderErrorKind`].

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;

use crate::provider::ProviderErrorKind::{
    BadRequest, ContextMismatch, Denied, Destroyed, Disabled, Throttled, Unavailable, WrongKey,
};
use crate::provider::{ProviderError, ProviderErrorKind};

/// No service is believed that asks for a longer pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

pub(super) fn error(kind: ProviderErrorKind, advice: &'static str) -> ProviderError {
    ProviderError::new(kind, advice)
}

/// Every error of a call, and the only place where one is made of it.
pub(super) fn classify<E>(failure: SdkError<E>) -> ProviderError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let found = match &failure {
        SdkError::ServiceError(_) | SdkError::ResponseError(_) => answered(&failure),
        _ => unanswered(&failure),
    };
    found.with_source(failure)
}

/// A service answered: its code decides, and where it is none that we know, the status.
fn answered<E: ProvideErrorMetadata>(failure: &SdkError<E>) -> ProviderError {
    let status = failure
        .raw_response()
        .map_or(0, |response| response.status().as_u16());
    match failure.code().unwrap_or_default() {
        "DisabledException" | "KMSInvalidStateException" => unusable(),
        "NotFoundException" => error(
            Destroyed,
            "KMS has no such key; check the ARN, and if the key was deleted, open the keyring through another slot",
        ),
        "IncorrectKeyException" => error(
            WrongKey,
            "KMS says that this is of another key; configure the key that the slot was made with",
        ),
        "InvalidCiphertextException" => error(
            ContextMismatch,
            "KMS says that this was not made for this slot, or was altered; restore the keyring from a backup",
        ),
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "LimitExceededException" => throttled(failure),
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "RequestExpired"
        | "NotAuthorized"
        | "OptInRequired"
        | "InvalidIdentityToken"
        | "IDPRejectedClaim"
        | "InvalidGrantTokenException" => denied(),
        "KMSInternalException"
        | "KeyUnavailableException"
        | "DependencyTimeoutException"
        | "InternalFailure"
        | "InternalError"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "IDPCommunicationError"
        | "RequestTimeout"
        | "RequestTimeoutException" => unusable_now(),
        _ => match status {
            401 | 403 => denied(),
            429 => throttled(failure),
            400..=499 => refused(),
            _ => unusable_now(),
        },
    }
}

/// Nobody answered, or the request was not sent.
fn unanswered<E: Error + 'static>(failure: &SdkError<E>) -> ProviderError {
    if let Some(credentials) = find::<CredentialsError>(failure) {
        return without_credentials(credentials);
    }
    match failure {
        SdkError::ConstructionFailure(_) => refused(),
        SdkError::DispatchFailure(dispatch) if dispatch.is_user() => refused(),
        _ => error(
            Unavailable,
            "KMS is not reached; check the network, the endpoint and its certificate, then try again",
        ),
    }
}

fn without_credentials(credentials: &CredentialsError) -> ProviderError {
    if let Some(failure) = find::<SdkError<AssumeRoleError>>(credentials)
        && failure.raw_response().is_some()
    {
        return answered(failure);
    }
    if let Some(failure) = find::<SdkError<AssumeRoleWithWebIdentityError>>(credentials)
        && failure.raw_response().is_some()
    {
        return answered(failure);
    }
    match credentials {
        // The chain says the same of a metadata service that is not reached. Only where that is switched off nobody could have
        // given any.
        CredentialsError::CredentialsNotLoaded(_) if !metadata_is_off() => error(
            Unavailable,
            "no AWS credentials were found, or the metadata service of this machine that would give them is not reached; set \
             them up where the SDK looks for them, or try again",
        ),
        CredentialsError::CredentialsNotLoaded(_) => error(
            Denied,
            "no AWS credentials were found; set them up where the SDK looks for them",
        ),
        CredentialsError::InvalidConfiguration(_) => error(
            BadRequest,
            "the AWS profile or environment names credentials that can not be used; correct it",
        ),
        _ => error(
            Unavailable,
            "the source of the AWS credentials did not give them; check it, then try again",
        ),
    }
}

/// As the SDK reads its own variable.
fn metadata_is_off() -> bool {
    std::env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"))
}

/// The error of this type among the sources of `failure`.
fn find<'a, T: Error + 'static>(failure: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut source = failure.source();
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        source = error.source();
    }
    None
}

pub(super) fn unusable() -> ProviderError {
    error(
        Disabled,
        "the KMS key is disabled, about to be deleted or without its material; enable it, cancel the deletion, or open through another slot",
    )
}

pub(super) fn unusable_now() -> ProviderError {
    error(
        Unavailable,
        "KMS, or the key store behind it, can not do it just now; try again",
    )
}

fn denied() -> ProviderError {
    error(
        Denied,
        "KMS denies it; check the credentials, the clock, the IAM policy and the key policy, and that both name the encryption context",
    )
}

fn refused() -> ProviderError {
    error(
        BadRequest,
        "KMS does not take the request; check that the key is a symmetric one for encryption, and the endpoint",
    )
}

fn throttled<E>(failure: &SdkError<E>) -> ProviderError {
    let header = |name| failure.raw_response()?.headers().get(name)?.parse().ok();
    let retry_after = header("x-amz-retry-after")
        .map(Duration::from_millis)
        .or_else(|| header("retry-after").map(Duration::from_secs))
        .map(|pause| pause.min(LONGEST_PAUSE));
    error(
        Throttled { retry_after },
        "KMS asks to slow down; try again later, or ask AWS for a higher request quota",
    )
}
