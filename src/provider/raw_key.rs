//! A 32-byte key that the caller has already: no key derivation, so it opens at once.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use async_trait::async_trait;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use zeroize::Zeroizing;

use super::{KeyProvider, NewSlot, Probe, ProviderError, ProviderErrorKind, Recipe, SlotContext};
use crate::secret::{self, Key};

/// Opens a slot with 32 uniformly random bytes. For a passphrase use
/// [`Passphrase`](crate::Passphrase): a raw key is not stretched.
///
/// ```
/// use sealed_store::RawKey;
/// use secrecy::SecretBox;
///
/// let provider = RawKey::new(SecretBox::new(Box::new([7; 32])));
/// # let _ = provider;
/// ```
pub struct RawKey {
    key: Key,
}

impl RawKey {
    /// A key from the caller: 32 bytes. An all-zero key is refused when it is used.
    #[must_use]
    pub fn new(key: SecretBox<[u8; 32]>) -> Self {
        Self { key }
    }

    /// A key from a file: exactly 32 bytes, or 64 hexadecimal digits with an optional line end.
    ///
    /// # Errors
    /// [`ProviderErrorKind::Unavailable`] if it can't be read, and
    /// [`ProviderErrorKind::BadRequest`] if it is no regular file, is readable or writable by
    /// anyone but its owner (mode `0600` or less, on Unix), or has another content.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ProviderError> {
        // One byte more than the longest accepted content tells a longer file.
        let content = read_private(path.as_ref(), 67)?;
        Self::parse(&content)
    }

    /// A key from an environment variable: 64 hexadecimal digits. The process's environment keeps
    /// its copy, and child processes inherit it: prefer a file.
    ///
    /// # Errors
    /// [`ProviderErrorKind::BadRequest`] if it is not set, or has another content.
    pub fn from_env(name: impl AsRef<OsStr>) -> Result<Self, ProviderError> {
        let value = std::env::var_os(name).ok_or_else(|| {
            ProviderError::new(
                ProviderErrorKind::BadRequest,
                "the environment variable of the key is not set",
            )
        })?;
        let value = Zeroizing::new(value.into_encoded_bytes());
        if value.len() == 32 {
            return Err(malformed());
        }
        Self::parse(&value)
    }

    fn parse(content: &[u8]) -> Result<Self, ProviderError> {
        let mut key = Key::default();
        if let Ok(raw) = <&[u8; 32]>::try_from(content) {
            key.expose_secret_mut().copy_from_slice(raw);
            return Ok(Self { key });
        }
        let digits = content
            .strip_suffix(b"\n")
            .map_or(content, |rest| rest.strip_suffix(b"\r").unwrap_or(rest));
        if digits.len() != 64 {
            return Err(malformed());
        }
        data_encoding::HEXLOWER_PERMISSIVE
            .decode_mut(digits, key.expose_secret_mut())
            .map_err(|_| malformed())?;
        Ok(Self { key })
    }

    fn checked(&self) -> Result<Key, ProviderError> {
        if secret::is_zero(&self.key) {
            return Err(ProviderError::new(
                ProviderErrorKind::BadRequest,
                "the raw key is all zeros; it was never filled",
            ));
        }
        let mut copy = Key::default();
        copy.expose_secret_mut()
            .copy_from_slice(self.key.expose_secret());
        Ok(copy)
    }
}

/// The first `most` bytes of a file that only its owner may read.
pub(super) fn read_private(path: &Path, most: u16) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
    let unreadable = |error: std::io::Error| {
        ProviderError::new(
            ProviderErrorKind::Unavailable,
            "the secret's file can not be read; check its path and rights",
        )
        .with_source(error)
    };
    // Before it is opened: opening a pipe waits for its writer. After it: it may have changed.
    check_regular(&std::fs::metadata(path).map_err(unreadable)?)?;
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    check_regular(&metadata)?;
    check_mode(&metadata)?;
    let mut content = Zeroizing::new(Vec::with_capacity(usize::from(most) * 2));
    file.take(most.into())
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    Ok(content)
}

fn malformed() -> ProviderError {
    ProviderError::new(
        ProviderErrorKind::BadRequest,
        "a raw key is 32 bytes in a file, or 64 hexadecimal digits; this is neither",
    )
}

fn check_regular(metadata: &std::fs::Metadata) -> Result<(), ProviderError> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(ProviderError::new(
        ProviderErrorKind::BadRequest,
        "the secret's file is not a regular file",
    ))
}

#[cfg(unix)]
fn check_mode(metadata: &std::fs::Metadata) -> Result<(), ProviderError> {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(ProviderError::new(
            ProviderErrorKind::BadRequest,
            "the secret's file is open to others; restrict it with chmod 600",
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_metadata: &std::fs::Metadata) -> Result<(), ProviderError> {
    Ok(())
}

#[cfg_attr(target_arch = "wasm32", async_trait(?Send))]
#[cfg_attr(not(target_arch = "wasm32"), async_trait)]
impl KeyProvider for RawKey {
    fn kind(&self) -> &str {
        "raw-key"
    }

    async fn generate(&self, _context: &SlotContext) -> Result<NewSlot, ProviderError> {
        Ok(NewSlot {
            secret: self.checked()?,
            material: Default::default(),
        })
    }

    async fn unwrap_secret(
        &self,
        _context: &SlotContext,
        recipe: &Recipe,
    ) -> Result<SecretBox<[u8; 32]>, ProviderError> {
        recipe.check_no_material()?;
        self.checked()
    }

    async fn probe(&self) -> Result<Probe, ProviderError> {
        self.checked().map(|_| Probe::ready())
    }
}
