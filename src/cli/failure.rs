//! How it went: the exit codes, and what is said where it did not go well.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sealed_store::lifecycle::{Info, LifecycleError, LifecycleErrorKind as Kind};
use sealed_store::{Opaque, SealError};

/// The exit codes. They never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Ok = 0,
    Other = 1,
    Usage = 2,
    NoStore = 10,
    InUse = 11,
    WrongKey = 12,
    Corrupt = 13,
    WrongState = 14,
    UnsupportedVersion = 15,
    Unreachable = 16,
    Resumable = 17,
    Interrupted = 130,
}

impl Code {
    #[cfg(test)]
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::Other,
        Self::Usage,
        Self::NoStore,
        Self::InUse,
        Self::WrongKey,
        Self::Corrupt,
        Self::WrongState,
        Self::UnsupportedVersion,
        Self::Unreachable,
        Self::Resumable,
        Self::Interrupted,
    ];

    /// Its name in `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Other => "other",
            Self::Usage => "usage",
            Self::NoStore => "no_store",
            Self::InUse => "in_use",
            Self::WrongKey => "wrong_key",
            Self::Corrupt => "corrupt",
            Self::WrongState => "wrong_state",
            Self::UnsupportedVersion => "unsupported_version",
            Self::Unreachable => "unreachable",
            Self::Resumable => "resumable",
            Self::Interrupted => "interrupted",
        }
    }

    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

/// The one place where errors become exit codes.
fn code_of(error: &LifecycleError) -> Code {
    match error.kind() {
        Kind::NoStore => Code::NoStore,
        Kind::InUse => Code::InUse,
        Kind::WrongKey => Code::WrongKey,
        Kind::Corrupt => Code::Corrupt,
        Kind::WrongState => Code::WrongState,
        Kind::UnsupportedVersion => Code::UnsupportedVersion,
        Kind::Unreachable => Code::Unreachable,
        Kind::Interrupted => Code::Resumable,
        Kind::Stopped => Code::Interrupted,
        _ => Code::Other,
    }
}

/// Why it did not go well.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    /// What it is about: a path or a setting, as the caller wrote it.
    about: Option<String>,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    /// What to do, where the library can't know.
    hint: Option<String>,
    /// Whether another slot may open what this one did not.
    unopened: bool,
}

impl Failure {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            about: None,
            message: message.into(),
            source: None,
            hint: None,
            unopened: false,
        }
    }

    /// Of the arguments or the environment.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// Of anything else than the store.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(Code::Other, message)
    }

    /// Somebody pressed Ctrl-C at a prompt.
    pub fn interrupted() -> Self {
        Self::new(Code::Interrupted, "interrupted; nothing was changed")
    }

    /// Somebody was asked, and did not say yes.
    pub fn declined() -> Self {
        Self::new(
            Code::Interrupted,
            "that was no confirmation; nothing was changed",
        )
    }

    /// There is no store, in a way that the library does not tell.
    pub fn no_store(message: impl Into<String>) -> Self {
        Self::new(Code::NoStore, message)
    }

    /// What gives the secret could not be reached.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Code::Unreachable, message)
    }

    /// The keyring is not where it was looked for.
    pub fn keyring_elsewhere() -> Self {
        Self::new(
            Code::WrongState,
            "the store is sealed and its keyring is not in this file; name its file with --keyring, or, if it is gone, put a \
             backup back with `sealed-store header restore`",
        )
    }

    /// What was to be printed could not be.
    pub fn unprinted(error: std::io::Error) -> Self {
        Self::other("the output could not be written").because(error)
    }

    /// Adds the cause.
    pub fn because(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Adds what it is about.
    pub fn about(mut self, what: impl Into<String>) -> Self {
        self.about = Some(what.into());
        self
    }

    /// Adds the path that the caller gave.
    pub fn at(self, path: &Path) -> Self {
        let path = path.display().to_string();
        self.about(path)
    }

    /// Where a slot did not open the store: tells which there are, and what another one is tried with.
    pub fn with_slots(mut self, about: &Info) -> Self {
        let Some(keyring) = about.keyring.as_ref().filter(|_| self.unopened) else {
            return self;
        };
        let slots: Vec<String> = keyring
            .slots
            .iter()
            .map(|slot| {
                let with = match slot.kind.as_str() {
                    "passphrase" => "--passphrase-file or the terminal",
                    "raw-key" => "--key-file",
                    "recovery" => "--recovery-code-file or the terminal",
                    _ => "--provider",
                };
                format!("{} {} ({}: {with})", slot.slot, slot.label, slot.kind)
            })
            .collect();
        if !slots.is_empty() {
            self.hint = Some(format!(
                "its slots, one of which must open: {}",
                slots.join(", ")
            ));
        }
        self
    }

    pub fn code(&self) -> Code {
        self.code
    }

    /// All of it in one line, with no control characters.
    pub fn chain(&self) -> String {
        let mut text = match &self.about {
            Some(about) => format!("{about}: {}", self.message),
            None => self.message.clone(),
        };
        let mut layer = self.source.as_deref().map(|source| source as &dyn Error);
        let mut said = self.message.clone();
        while let Some(error) = layer {
            layer = error.source();
            // Texts from elsewhere stay hidden, but for the system's own about a file.
            let line = match error.downcast_ref::<Opaque>() {
                Some(hidden) => match hidden.reveal().downcast_ref::<std::io::Error>() {
                    Some(system) => system.to_string(),
                    None => continue,
                },
                None => error.to_string(),
            };
            if line != said {
                // It is here, so it need not be announced.
                for announced in [
                    "; its own error says what to do",
                    "; its own error says why",
                ] {
                    if text.ends_with(announced) {
                        text.truncate(text.len() - announced.len());
                    }
                }
                let _ = write!(text, ": {line}");
                said = line;
            }
        }
        if let Some(hint) = &self.hint {
            let _ = write!(text, " ({hint})");
        }
        super::text::plain(&text)
    }
}

impl From<LifecycleError> for Failure {
    fn from(error: LifecycleError) -> Self {
        let hint = match &error {
            LifecycleError::Seal(SealError::CorruptKeyring { .. }) => {
                Some("`sealed-store header restore` puts a backup of the header back")
            }
            LifecycleError::Seal(SealError::ExcessiveKdfCost { .. }) => {
                Some("--kdf-ceiling raises it")
            }
            LifecycleError::OlderBackup { loses: true, .. } => {
                Some("--allow-older together with --allow-lost-rows")
            }
            LifecycleError::OlderBackup { .. } => Some("--allow-older"),
            LifecycleError::OtherKeyring => {
                Some("--allow-other-keyring puts it there all the same")
            }
            LifecycleError::Seal(SealError::LoneSlot) => {
                Some("--i-understand does, and the store is lost with that slot")
            }
            LifecycleError::NotSealed => Some("`sealed-store encrypt` does"),
            _ => None,
        };
        let unopened = matches!(
            &error,
            LifecycleError::Seal(
                SealError::WrongKey | SealError::ForeignRecipe | SealError::Provider(_)
            )
        );
        Self {
            hint: hint.map(str::to_owned),
            unopened,
            code: code_of(&error),
            about: None,
            message: error.to_string(),
            source: Some(Box::new(error)),
        }
    }
}

impl From<SealError> for Failure {
    fn from(error: SealError) -> Self {
        LifecycleError::from(error).into()
    }
}

/// Names the store in what went wrong with it.
pub trait At<T> {
    /// As [`Failure::at`].
    fn at(self, path: &Path) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> At<T> for Result<T, E> {
    fn at(self, path: &Path) -> Result<T, Failure> {
        self.map_err(|error| error.into().at(path))
    }
}

/// A path as JSON has it.
pub fn shown(path: &Path) -> String {
    PathBuf::from(path).display().to_string()
}
