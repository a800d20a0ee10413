//! What a token's errors mean.

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};

use crate::provider::ProviderError;
use crate::provider::ProviderErrorKind::{
    self, BadRequest, Corrupt, Denied, NeedsInteraction, Unavailable,
};

/// PKCS#11 3.0's CKR_AEAD_DECRYPT_FAILED, which the crate has no name for.
const AEAD_DECRYPT_FAILED: std::ffi::c_ulong = 0x35;

/// The one place where errors of the crate and of tokens get their kind.
pub(super) fn mapped(error: Error) -> ProviderError {
    let (kind, advice) = match &error {
        Error::Pkcs11(code, function) => of_code(*code, *function),
        Error::LibraryLoading(_) | Error::MissingSymbol(_) | Error::NullFunctionPointer => (
            BadRequest,
            "the token's library can not be loaded, or is none; check module-path",
        ),
        _ => (
            BadRequest,
            "the token's library gave an answer that is not understood; check its version",
        ),
    };
    ProviderError::new(kind, advice).with_source(error)
}

fn of_code(code: RvError, function: Function) -> (ProviderErrorKind, &'static str) {
    use RvError as Rv;
    let opens = matches!(
        function,
        Function::DecryptInit | Function::Decrypt | Function::UnwrapKey
    );
    match code {
        Rv::EncryptedDataInvalid
        | Rv::EncryptedDataLenRange
        | Rv::WrappedKeyInvalid
        | Rv::WrappedKeyLenRange => DAMAGED,
        Rv::UnknownErrorCode(code) if code == AEAD_DECRYPT_FAILED => DAMAGED,
        // All that some tokens say of a blob that does not verify, SoftHSM among them.
        Rv::GeneralError | Rv::FunctionFailed | Rv::DataInvalid if opens => DAMAGED,

        Rv::PinIncorrect | Rv::PinInvalid | Rv::PinLenRange => (Denied, WRONG_PIN),
        Rv::PinLocked => (Denied, NO_TRY_LEFT),
        Rv::PinExpired | Rv::PinTooWeak => (
            NeedsInteraction,
            "the token wants its PIN to be changed; do that with its own tool, then try again",
        ),
        Rv::UserPinNotInitialized => (NeedsInteraction, NO_PIN_SET),
        Rv::UserNotLoggedIn => (NeedsInteraction, PIN_NEEDED),
        // Never tried again of itself: it may have used up a try.
        Rv::VendorDefined(_) if matches!(function, Function::Login) => (
            Denied,
            "the token refused the login for a reason of its maker's; check it with the token's own tool",
        ),
        Rv::ActionProhibited | Rv::FunctionRejected | Rv::TokenWriteProtected => (
            Denied,
            "the token refused; check its policy and the rights of its user",
        ),
        Rv::UserAnotherAlreadyLoggedIn | Rv::UserTooManyTypes | Rv::SessionReadWriteSoExists => (
            Unavailable,
            "this process is logged in to the token as another user; log out there, then try again",
        ),
        // A key that was found a moment ago: it is gone, or somebody logged out. Finding it again will tell.
        Rv::KeyHandleInvalid
        | Rv::ObjectHandleInvalid
        | Rv::UnwrappingKeyHandleInvalid
        | Rv::WrappingKeyHandleInvalid => (
            Unavailable,
            "the token's key went away meanwhile, or somebody logged out; try again",
        ),
        Rv::TokenNotPresent
        | Rv::TokenNotRecognized
        | Rv::SlotIdInvalid
        | Rv::DeviceError
        | Rv::DeviceMemory
        | Rv::DeviceRemoved
        | Rv::HostMemory
        | Rv::GeneralError
        | Rv::FunctionFailed
        | Rv::FunctionCanceled
        | Rv::Cancel
        | Rv::CantLock
        | Rv::OperationActive
        | Rv::SessionClosed
        | Rv::SessionHandleInvalid
        | Rv::SessionCount
        | Rv::CryptokiNotInitialized
        | Rv::VendorDefined(_) => (Unavailable, GONE),
        _ => (
            BadRequest,
            "the token refused the request as it is; check its key's attributes and what the token offers",
        ),
    }
}

pub(super) const GONE: &str =
    "the token is not to be had; check that it is there and that its service runs, then try again";
const DAMAGED: (ProviderErrorKind, &str) = (
    Corrupt,
    "the token's key does not open what the slot stored: it is damaged, of another slot, or of another key; \
     restore the keyring from a backup or open it through another slot",
);
pub(super) const PIN_NEEDED: &str =
    "the token wants its PIN; give it in code or by pin-source, or log in to the token first";
const NO_PIN_SET: &str = "the token's user has no PIN yet; set one with the token's own tool";
const WRONG_PIN: &str =
    "wrong PIN of the token, which used up one try; check it before you try again";
const FEW_TRIES: &str =
    "wrong PIN of the token, which warns that tries were used up; the right PIN gives them back";
const LAST_TRY: &str = "one try of the token's PIN is left, and it was not used; log in with the token's own \
     tool and the right PIN, which gives the tries back";
const NO_TRY_LEFT: &str = "the token took its last wrong PIN and accepts none now; its security officer can set a new one";
pub(super) const REFUSED_BEFORE: &str =
    "the token refused this PIN before, so it was not tried again; give the right one";

/// How many tries of a PIN are at stake, as far as a token says: it has flags, no count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tries {
    /// It warns of nothing.
    All,
    /// Some were used up.
    Few,
    /// The next wrong PIN is the last.
    Last,
    /// No PIN is accepted any more.
    None,
}

impl Tries {
    pub(super) fn of(token: &cryptoki::slot::TokenInfo) -> Self {
        if token.user_pin_locked() {
            Self::None
        } else if token.user_pin_final_try() {
            Self::Last
        } else if token.user_pin_count_low() {
            Self::Few
        } else {
            Self::All
        }
    }

    /// Before a PIN is tried: whether to. The last try is left to a person.
    pub(super) fn allow(self) -> Result<(), ProviderError> {
        match self {
            Self::All | Self::Few => Ok(()),
            Self::Last => Err(ProviderError::new(Denied, LAST_TRY)),
            Self::None => Err(ProviderError::new(Denied, NO_TRY_LEFT)),
        }
    }

    /// After a wrong PIN: what it cost.
    pub(super) fn after_a_wrong_pin(self, error: Error) -> ProviderError {
        let advice = match self {
            Self::All => WRONG_PIN,
            Self::Few => FEW_TRIES,
            Self::Last => LAST_TRY_LEFT,
            Self::None => NO_TRY_LEFT,
        };
        ProviderError::new(Denied, advice).with_source(error)
    }
}

const LAST_TRY_LEFT: &str = "wrong PIN of the token, and one try is left, which this program will not use; log in with the \
     token's own tool and the right PIN, which gives the tries back";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_try_of_a_pin_is_never_used() {
        assert!(Tries::All.allow().is_ok() && Tries::Few.allow().is_ok());
        for none in [Tries::Last, Tries::None] {
            assert_eq!(none.allow().unwrap_err().kind(), Denied);
        }
        let texts = [Tries::All, Tries::Few, Tries::Last, Tries::None].map(|tries| {
            let error = tries.after_a_wrong_pin(Error::PinNotSet);
            assert_eq!(error.kind(), Denied);
            error.to_string()
        });
        assert!(texts[0].contains("one try") && texts[1].contains("warns"));
        assert!(texts[2].contains("one try is left") && texts[3].contains("security officer"));
    }

    /// Those that no token here can be brought to say; the others are in `tests/provider_pkcs11.rs`.
    #[test]
    fn codes_of_other_tokens_have_their_kinds() {
        use Function::{Decrypt, EncryptInit, Login, OpenSession, UnwrapKey};
        for (code, function, kind) in [
            (RvError::UnknownErrorCode(0x35), Decrypt, Corrupt),
            (RvError::EncryptedDataInvalid, Decrypt, Corrupt),
            (RvError::WrappedKeyInvalid, UnwrapKey, Corrupt),
            (RvError::GeneralError, OpenSession, Unavailable),
            (RvError::DeviceRemoved, Decrypt, Unavailable),
            (RvError::TokenNotPresent, OpenSession, Unavailable),
            (RvError::SessionCount, OpenSession, Unavailable),
            (RvError::PinLocked, Login, Denied),
            (RvError::VendorDefined(0x8000_0001), Login, Denied),
            (RvError::VendorDefined(0x8000_0001), Decrypt, Unavailable),
            (RvError::PinExpired, Login, NeedsInteraction),
            (RvError::UserNotLoggedIn, EncryptInit, NeedsInteraction),
            (RvError::MechanismInvalid, EncryptInit, BadRequest),
            (RvError::KeyFunctionNotPermitted, EncryptInit, BadRequest),
        ] {
            let error = mapped(Error::Pkcs11(code, function));
            assert_eq!(error.kind(), kind, "{code:?} {function:?}");
        }
    }
}
