//! What Vault and OpenBao say, in the words of the taxonomy.

use std::time::Duration;

use crate::provider::{ProviderError, ProviderErrorKind};

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Key,
    Login,
}

/// Why there is no answer to use.
pub(super) enum Refusal {
    Transport(ureq::Error),
    Answer {
        status: u16,
        retry_after: Option<Duration>,
        /// What the service says; `None` if it is not Vault that speaks.
        errors: Option<String>,
    },
}

impl Refusal {
    /// There is no time left to ask.
    pub(super) fn late() -> Self {
        Self::Transport(ureq::Error::Timeout(ureq::Timeout::Global))
    }

    /// What a use of a key with this state is refused with.
    pub(super) fn soft_deleted() -> Self {
        Self::Answer {
            status: 400,
            retry_after: None,
            errors: Some(SOFT_DELETED.to_owned()),
        }
    }

    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Transport(_) => None,
            Self::Answer { status, .. } => Some(*status),
        }
    }
}

const SOFT_DELETED: &str = "soft-deleted key";

/// The one place where refusals get their kinds.
pub(super) fn failure(task: Task, refusal: Refusal) -> ProviderError {
    match refusal {
        Refusal::Transport(error) => {
            let (kind, advice) = of_transport(&error);
            ProviderError::new(kind, advice).with_source(error)
        }
        Refusal::Answer {
            status,
            retry_after,
            errors,
        } => {
            let (kind, advice) = of_answer(task, status, retry_after, errors.as_deref());
            let errors = errors.unwrap_or_default();
            ProviderError::new(kind, advice).with_source(format!("HTTP {status}: {errors}"))
        }
    }
}

use ProviderErrorKind as Kind;

fn of_transport(error: &ureq::Error) -> (Kind, &'static str) {
    use ureq::Error;
    if is_untrusted(error) {
        return (
            Kind::BadRequest,
            "the certificate of the Vault server is not trusted for its name; check the host of the URI, its parameter ca, and the clock",
        );
    }
    match error {
        Error::Timeout(_) => (
            Kind::Unavailable,
            "Vault did not answer in time; check it and the way to it, then try again",
        ),
        Error::Io(_) | Error::HostNotFound | Error::ConnectionFailed => (
            Kind::Unavailable,
            "Vault can not be reached; check the URI, the server and the way to it, then try again",
        ),
        Error::BadUri(_) | Error::Http(_) => (
            Kind::BadRequest,
            "the request to Vault can not be written; check the URI and the token",
        ),
        _ => UNREADABLE,
    }
}

fn is_untrusted(error: &ureq::Error) -> bool {
    let tls = match error {
        ureq::Error::Rustls(tls) => Some(tls),
        ureq::Error::Io(io) => io.get_ref().and_then(|error| error.downcast_ref()),
        _ => None,
    };
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}

fn of_answer(
    task: Task,
    status: u16,
    retry_after: Option<Duration>,
    errors: Option<&str>,
) -> (Kind, &'static str) {
    let says = |words: &str| errors.is_some_and(|errors| errors.contains(words));
    match status {
        401 | 403 if task == Task::Login => LOGIN,
        401 | 403 => (
            Kind::Denied,
            "Vault denies it: check that the token is valid and that its policy allows the path",
        ),
        // It tells these apart by text only.
        400 if errors.is_some() && task == Task::Login => LOGIN,
        400 if says("encryption key not found") => GONE,
        400 if says(SOFT_DELETED) => (
            Kind::Disabled,
            "the Transit key is soft-deleted: its owner can restore it",
        ),
        400 if says("disallowed by policy (too old)") => (
            Kind::Disabled,
            "the slot's version of the Transit key may not decrypt any more: its owner can lower min_decryption_version, unless the version was trimmed",
        ),
        400 if says("message authentication failed") || says("missing 'context'") => (
            Kind::ContextMismatch,
            "the Transit key does not open what the slot stored: that is of another slot or keyring, was changed, or the key was made anew under its name",
        ),
        400 if says("version is too new") => (
            Kind::WrongKey,
            "the Transit key has no such version yet: it was made anew under its name, or restored from an older copy",
        ),
        400 if says("invalid ciphertext") => (
            Kind::Corrupt,
            "Vault can not read what the slot stored; use another slot, or a copy of the keyring",
        ),
        404 if errors.is_some() && task == Task::Login => (
            Kind::BadRequest,
            "Vault has no such namespace, or no AppRole at this mount; check both",
        ),
        404 if errors.is_some() => GONE,
        429 => (
            Kind::Throttled { retry_after },
            "Vault asks to slow down; wait, then try again",
        ),
        307 => (
            Kind::Unavailable,
            "a standby Vault server refers to the active one, and redirects are not followed; name the active one or a balancer in the URI",
        ),
        503 if says("by an administrator") => (
            Kind::Disabled,
            "an administrator has closed the namespace; ask for it to be opened",
        ),
        408 | 412 | 425 | 500.. => (
            Kind::Unavailable,
            "Vault can not serve now: it may be sealed, starting, or without its storage; check it, then try again",
        ),
        200..=299 => UNREADABLE,
        _ => (
            Kind::BadRequest,
            "Vault refuses the request; check the URI, and that it is a Vault that answers there",
        ),
    }
}

const GONE: (Kind, &str) = (
    Kind::Destroyed,
    "this Vault has no such key, Transit engine or namespace (any more): check that the URI names the right server and key, then use another slot",
);
const LOGIN: (Kind, &str) = (
    Kind::Denied,
    "Vault denies the login: check the mount of AppRole, the role id, the secret id file and where the request comes from",
);
const UNREADABLE: (Kind, &str) = (
    Kind::Unavailable,
    "what came back is no answer of Vault; check the URI and what stands between, then try again",
);

/// An answer that was granted, and is not what was asked for.
pub(super) fn not_vault() -> ProviderError {
    let (kind, advice) = UNREADABLE;
    ProviderError::new(kind, advice)
}

/// A mistake of whoever configured the provider.
pub(super) fn misconfigured(advice: &'static str) -> ProviderError {
    ProviderError::new(Kind::BadRequest, advice)
}
