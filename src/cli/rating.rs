//! What a new passphrase is worth. Advice, never a refusal: who chose it may know better.

use zxcvbn::{Score, zxcvbn};

/// What is to be said of a passphrase that is soon guessed; none for a good one.
///
/// The search makes copies of parts of it that are not wiped before the program ends, which is soon.
pub fn advice(passphrase: &str) -> Option<String> {
    let rated = zxcvbn(passphrase, &["sealed-store", "whatsapp"]);
    if rated.score() >= Score::Three {
        return None;
    }
    let mut text = format!(
        "This passphrase is weak: about 10^{:.0} guesses find it.",
        rated.guesses_log10()
    );
    if let Some(feedback) = rated.feedback() {
        if let Some(warning) = feedback.warning() {
            text.push_str(&format!(" {warning}"));
        }
        for suggestion in feedback.suggestions() {
            text.push_str(&format!(" {suggestion}"));
        }
    }
    text.push_str(" Five or more random words are good.");
    Some(text)
}
