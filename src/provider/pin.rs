//! PINs, as they are given in code or by a file.

use std::path::Path;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::raw_key::read_private;
use super::{ProviderError, ProviderErrorKind};

/// The longest PIN, in bytes; what a token takes is often shorter.
const LONGEST: usize = 255;

/// The PIN that was given, or else the one in `file`, or none. A line end after it is left out.
pub(super) fn read(
    given: Option<&Arc<SecretString>>,
    file: Option<&Path>,
) -> Result<Option<Arc<SecretString>>, ProviderError> {
    let odd = || {
        ProviderError::new(
            ProviderErrorKind::BadRequest,
            "a PIN is 1 to 255 bytes of UTF-8; the given one is not",
        )
    };
    let pin = match (given, file) {
        (Some(pin), _) => Arc::clone(pin),
        (None, None) => return Ok(None),
        (None, Some(path)) => {
            // Two bytes more for a line end, one more tells a longer file.
            let content = read_private(path, 255 + 3)?;
            let text = std::str::from_utf8(&content).map_err(|_| odd())?;
            let line = text.strip_suffix('\n').unwrap_or(text);
            Arc::new(SecretString::from(line.strip_suffix('\r').unwrap_or(line)))
        }
    };
    if pin.expose_secret().is_empty() || pin.expose_secret().len() > LONGEST {
        return Err(odd());
    }
    Ok(Some(pin))
}
