//! What the behaviours share: contexts, slots, and what is asked of every answer and error.

use secrecy::{ExposeSecret, SecretBox};

use crate::error::calm;
use crate::provider::{KeyProvider, ProviderError, ProviderErrorKind, Recipe, SlotContext};
use crate::secret;

/// A made slot, as a keyring knows it while it is open.
pub(super) struct Made {
    pub(super) context: SlotContext,
    pub(super) recipe: Recipe,
    pub(super) secret: SecretBox<[u8; 32]>,
}

/// Context of slot `slot` in keyring number `keyring`.
pub(super) fn context(keyring: u8, slot: u32) -> SlotContext {
    SlotContext {
        keyring_id: [keyring; 16],
        slot,
    }
}

/// A context that no other run had: a service may remember.
pub(super) fn fresh_context(slot: u32) -> SlotContext {
    SlotContext {
        keyring_id: secret::random_id().expect("random bytes"),
        slot,
    }
}

/// A slot that must be made.
pub(super) async fn made(provider: &dyn KeyProvider, context: SlotContext) -> Made {
    match provider.generate(&context).await {
        Ok(new) => {
            assert!(
                !secret::is_zero(&new.secret),
                "the fresh secret is all zeros"
            );
            Made {
                context,
                recipe: Recipe {
                    reference: provider.reference(),
                    material: new.material,
                },
                secret: new.secret,
            }
        }
        Err(error) => panic!("generate failed: {}", shown(&error)),
    }
}

/// The slot's own secret must be given.
pub(super) async fn gives(provider: &dyn KeyProvider, slot: &Made) {
    match provider.unwrap_secret(&slot.context, &slot.recipe).await {
        Ok(found) => assert!(same(&found, &slot.secret), "another secret was given"),
        Err(error) => panic!("unwrap_secret failed: {}", shown(&error)),
    }
}

/// What a wrong question may be answered with: another secret, or an error about the question.
pub(super) async fn keeps(
    provider: &dyn KeyProvider,
    context: &SlotContext,
    recipe: &Recipe,
    secret: &SecretBox<[u8; 32]>,
    what: &str,
) {
    match provider.unwrap_secret(context, recipe).await {
        Ok(found) => assert!(!same(&found, secret), "{what}: the secret was given"),
        Err(error) => about_the_question(&error, what),
    }
}

/// An error that says that the question was wrong, not the moment.
pub(super) fn about_the_question(error: &ProviderError, what: &str) {
    check_text(error);
    let kind = error.kind();
    assert!(
        !kind.is_retryable(),
        "{what}: {kind:?} would be tried again, for nothing"
    );
    let about_the_moment = matches!(
        kind,
        ProviderErrorKind::Denied
            | ProviderErrorKind::Disabled
            | ProviderErrorKind::NeedsInteraction
    );
    assert!(
        !about_the_moment,
        "{what}: {kind:?} sends somebody to change something that is right"
    );
}

/// Constant time is of no use in a test.
pub(super) fn same(one: &SecretBox<[u8; 32]>, two: &SecretBox<[u8; 32]>) -> bool {
    one.expose_secret() == two.expose_secret()
}

/// A text that can be shown and logged, and that wacore does not take for contention.
pub(super) fn check_text(error: &ProviderError) {
    let advice = error.advice();
    assert_eq!(
        calm(advice),
        advice,
        "wacore would take this advice for contention, and try again"
    );
    let one_line = !advice.trim().is_empty() && !advice.chars().any(char::is_control);
    assert!(one_line, "an advice is one line of text: {advice:?}");
}

/// For a report: kind, advice, and the original error that users are not shown.
pub(super) fn shown(error: &ProviderError) -> String {
    check_text(error);
    let mut text = format!("{:?}: {}", error.kind(), error.advice());
    if let Some(source) = std::error::Error::source(error)
        && let Some(opaque) = source.downcast_ref::<crate::error::Opaque>()
    {
        text.push_str(&format!(" ({})", opaque.reveal()));
    }
    text
}

/// All texts of a recipe.
pub(super) fn texts(recipe: &Recipe) -> impl Iterator<Item = &str> {
    recipe
        .reference
        .iter()
        .chain(&recipe.material)
        .flat_map(|(name, value)| [name.as_str(), value.as_str()])
}
