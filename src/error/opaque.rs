//! Texts from elsewhere, which must not travel with ours.

use std::fmt;

/// The advice of a provider or a store, which may be written outside this crate, unless it holds one
/// of the words that wacore reads as contention: a wrong PIN would be tried six times.
pub(crate) fn calm(advice: &'static str) -> &'static str {
    let lower = advice.to_lowercase();
    if ["locked", "busy"].iter().any(|word| lower.contains(word)) {
        return "its advice is withheld, see the kind of the error";
    }
    advice
}

/// A foreign error whose text must not travel: it may hold a path, a name, or the words that wacore
/// reads as contention. It prints a fixed sentence, has no source, and gives the original only to a
/// caller who asks for it.
pub struct Opaque(Box<dyn std::error::Error + Send + Sync>);

impl Opaque {
    /// Hides `error` behind a fixed text.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }

    /// The original error. Its text may hold personal data: do not log it.
    #[must_use]
    pub fn reveal(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self.0.as_ref()
    }
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("details are withheld, see Opaque::reveal")
    }
}

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opaque(..)")
    }
}

impl std::error::Error for Opaque {}
