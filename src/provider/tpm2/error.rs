//! What a TPM's errors mean.

use bitfield::BitRange;
use tss_esapi::Error;
use tss_esapi::constants::response_code::{Tss2ResponseCode, Tss2ResponseCodeKind as Code};

use crate::provider::ProviderError;
use crate::provider::ProviderErrorKind::{
    self, BadRequest, ContextMismatch, Corrupt, Denied, Disabled, NeedsInteraction, Throttled,
    Unavailable, WrongKey,
};

/// What was asked when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The way to the TPM.
    Connect,
    /// The primary key in the owner's hierarchy.
    Primary,
    /// Sessions, and all else that takes nothing of the slot.
    Prepare,
    /// A new secret.
    Seal,
    /// What the slot stored.
    Load,
    /// The slot's secret, with its PIN.
    Unseal,
}

/// Who speaks: bits 16 to 23 of a response code (TSS 2.0 Overview and Common Structures).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// The TPM itself, also through a resource manager.
    Tpm,
    /// The way to it.
    Tcti,
    /// The library, about what it got.
    Library,
}

/// The way exists, and does not answer. Of the base codes that all layers share.
const BASE_NO_CONNECTION: u32 = 8;
const BASE_TRY_AGAIN: u32 = 9;
const BASE_IO_ERROR: u32 = 10;
/// No library for this way is installed.
const BASE_NOT_SUPPORTED: u32 = 12;

fn layer_and_base(code: Tss2ResponseCode) -> (Layer, u32) {
    let raw: u32 = match code {
        Tss2ResponseCode::Success => 0,
        Tss2ResponseCode::FormatZero(code) => code.bit_range(31, 0),
        Tss2ResponseCode::FormatOne(code) => code.bit_range(31, 0),
    };
    let layer = match (raw >> 16) & 0xff {
        0 | 11 | 12 => Layer::Tpm,
        10 => Layer::Tcti,
        _ => Layer::Library,
    };
    (layer, raw & 0xffff)
}

/// The one place where errors of the crate, of the TSS and of TPMs get their kind.
pub(super) fn mapped(step: Step, error: Error) -> ProviderError {
    let (kind, advice) = match error {
        Error::Tss2Error(code) => match layer_and_base(code) {
            (Layer::Tpm, _) => of_tpm(step, code),
            (Layer::Tcti, BASE_NOT_SUPPORTED) if step == Step::Connect => (BadRequest, NO_TCTI),
            (Layer::Tcti, _)
            | (Layer::Library, BASE_NO_CONNECTION | BASE_TRY_AGAIN | BASE_IO_ERROR) => {
                (Unavailable, GONE)
            }
            (Layer::Library, _) => (BadRequest, ALTERED),
        },
        Error::WrapperError(_) => (BadRequest, ALTERED),
    };
    ProviderError::new(kind, advice).with_source(error)
}

fn of_tpm(step: Step, code: Tss2ResponseCode) -> (ProviderErrorKind, &'static str) {
    let Some(said) = code.kind() else {
        return (BadRequest, REFUSED);
    };
    match said {
        Code::Lockout => (Denied, LOCKOUT),
        Code::AuthFail if step == Step::Unseal => (Denied, WRONG_PIN),
        Code::AuthFail | Code::BadAuth | Code::AuthMissing | Code::AuthUnavailable
            if step == Step::Primary =>
        {
            (Denied, OWNER_PASSWORD)
        }
        Code::Hierarchy if step != Step::Load => (Disabled, SWITCHED_OFF),
        Code::PolicyFail if step == Step::Unseal => (ContextMismatch, OTHER_SLOT),

        Code::Retry | Code::Yielded | Code::Testing | Code::Canceled | Code::NvRate => {
            (Throttled { retry_after: None }, SLOW)
        }
        Code::Memory
        | Code::ObjectMemory
        | Code::ObjectHandles
        | Code::SessionMemory
        | Code::SessionHandles
        | Code::ContextGap
        | Code::TooManyContexts => (Unavailable, FULL),
        Code::Failure | Code::Initialize | Code::NeedsTest | Code::Reboot | Code::Upgrade => {
            (Unavailable, NOT_WORKING)
        }
        // What was there a moment ago is not: the TPM was reset, or somebody flushed what is ours.
        Code::ReferenceH0
        | Code::ReferenceH1
        | Code::ReferenceH2
        | Code::ReferenceS0
        | Code::ReferenceS1
        | Code::ReferenceS2
        | Code::NvUnavailable => (Unavailable, RESET),
        Code::Handle if step != Step::Primary => (Unavailable, RESET),

        Code::Sensitive => DAMAGED,
        // All that the TPM has to say of what it was given to load.
        _ if step == Step::Load && matches!(code, Tss2ResponseCode::FormatOne(_)) => DAMAGED,
        Code::Asymmetric
        | Code::Curve
        | Code::Symmetric
        | Code::Scheme
        | Code::Mode
        | Code::KeySize
        | Code::CommandCode
        | Code::Hash
        | Code::Kdf => (BadRequest, UNFIT),
        _ => (BadRequest, REFUSED),
    }
}

const GONE: &str = "the TPM is not to be had; check that the machine has one, that it is switched on in the firmware, and the \
                    configured device, then try again";
const NO_TCTI: &str =
    "the TSS has no library for the configured way to the TPM; install its TCTI libraries";
const ALTERED: &str = "what the TPM answered is not understood or was altered on its way; if it happens again, something is \
                       between the TPM and this machine, or the TSS is of another version";
const LOCKOUT: &str = "the TPM takes no PIN now, after too many wrong ones; it forgets one after another with time, or its owner \
                       resets it with tpm2_dictionarylockout";
const WRONG_PIN: &str =
    "wrong PIN of the slot, which the TPM counted; after a few it takes none for a while";
const OWNER_PASSWORD: &str = "the TPM's owner hierarchy has a password, which this program does not take; let the owner remove it, \
                              or use another slot";
const SWITCHED_OFF: &str = "the TPM's owner hierarchy is switched off; switch it on in the firmware or restart, or use another slot";
const OTHER_SLOT: &str = "what the slot stored was sealed for another slot or keyring; restore the keyring from a backup, or open it \
                          through another slot";
const SLOW: &str = "the TPM asks to be left alone for a moment; try again";
const FULL: &str = "the TPM is full of what others left in it; use its resource manager (/dev/tpmrm0), or flush it, then try again";
const NOT_WORKING: &str =
    "the TPM does not work until the machine is restarted; restart it, or use another slot";
const RESET: &str = "the TPM was reset meanwhile, or somebody flushed it; try again";
const DAMAGED: (ProviderErrorKind, &str) = (
    Corrupt,
    "the TPM does not take what the slot stored: it is damaged; restore the keyring from a backup or open it through another slot",
);
const UNFIT: &str =
    "the TPM lacks what is used here: P-256, AES-128-CFB and SHA-256; use another provider";
const REFUSED: &str =
    "the TPM refused the request as it is; check its settings and firmware, or use another slot";

pub(super) fn no_device(cause: std::io::Error) -> ProviderError {
    ProviderError::new(Unavailable, GONE).with_source(cause)
}

pub(super) fn no_rights(cause: std::io::Error) -> ProviderError {
    ProviderError::new(
        Denied,
        "this user may not use the TPM's device; add it to the device's group, which is tss mostly",
    )
    .with_source(cause)
}

pub(super) fn no_tpms_device() -> ProviderError {
    ProviderError::new(
        BadRequest,
        "the configured TPM is no device; name one, as /dev/tpmrm0",
    )
}

pub(super) fn another_tpm() -> ProviderError {
    ProviderError::new(
        WrongKey,
        "the slot was sealed by another TPM than this machine's, or by this one before it was cleared; open the keyring on that \
         machine or through another slot, then make a new slot here",
    )
}

pub(super) fn malformed() -> ProviderError {
    ProviderError::new(
        Corrupt,
        "what the slot stored for the TPM is malformed; restore the keyring from a backup",
    )
}

/// A name that is none of SHA-256, which was asked for.
pub(super) fn malformed_name() -> ProviderError {
    ProviderError::new(BadRequest, ALTERED)
}

pub(super) fn other_slot() -> ProviderError {
    ProviderError::new(ContextMismatch, OTHER_SLOT)
}

pub(super) fn pin_needed() -> ProviderError {
    ProviderError::new(
        NeedsInteraction,
        "the slot was sealed with a PIN; give it in code or by pin-file",
    )
}

pub(super) fn no_pin_set() -> ProviderError {
    ProviderError::new(
        BadRequest,
        "the slot was sealed without a PIN, and one was given; give none",
    )
}

pub(super) fn in_lockout() -> ProviderError {
    ProviderError::new(Denied, LOCKOUT)
}
