//! A slot's secret encrypted anew by the service, without being shown.

use super::Conformance;
use super::support::{about_the_question, check_text, fresh_context, gives, keeps, made, shown};
use crate::provider::{Fields, KeyProvider, ProviderErrorKind, Recipe, SlotContext};

async fn refused(
    provider: &dyn KeyProvider,
    context: &SlotContext,
    recipe: &Recipe,
    to: &Fields,
    what: &str,
) {
    match provider.rewrap(context, recipe, to).await {
        Ok(_) => panic!("{what}: it was encrypted anew"),
        Err(error) => about_the_question(&error, what),
    }
}

/// Under its own key: the new material gives the same secret in the same slot, to this instance and to another, and in no
/// other slot; the old recipe still works, as a keyring may keep it. A provider that can't do it says `BadRequest`, and
/// nothing has changed.
pub(super) async fn own_key(suite: &Conformance) {
    let provider = suite.made().await;
    let mut slot = made(&*provider, fresh_context(7)).await;
    let to = provider.reference();
    let answer = provider.rewrap(&slot.context, &slot.recipe, &to).await;
    if !suite.rewraps {
        match answer {
            Ok(_) => panic!("it can encrypt anew: say so with Conformance::rewraps"),
            Err(error) => {
                check_text(&error);
                assert!(
                    error.kind() == ProviderErrorKind::BadRequest,
                    "{}, instead of BadRequest",
                    shown(&error)
                );
            }
        }
        gives(&*provider, &slot).await;
        return;
    }
    let material = answer.unwrap_or_else(|error| panic!("rewrap failed: {}", shown(&error)));
    let new = |material| Recipe {
        reference: to.clone(),
        material,
    };
    let old = std::mem::replace(&mut slot.recipe, new(material));
    gives(&*provider, &slot).await;
    gives(&*suite.made().await, &slot).await;
    if !suite.unbound {
        let mut next = slot.context;
        next.slot += 1;
        for (wrong, what) in [
            (next, "the next slot"),
            (fresh_context(7), "another keyring"),
        ] {
            let what = format!("encrypted anew, in {what}");
            keeps(&*provider, &wrong, &slot.recipe, &slot.secret, &what).await;
        }
    }
    // What was made anew can be made anew.
    let again = provider.rewrap(&slot.context, &slot.recipe, &to).await;
    let again = again.unwrap_or_else(|error| panic!("again: {}", shown(&error)));
    for recipe in [new(again), old] {
        slot.recipe = recipe;
        gives(&*provider, &slot).await;
    }
}

/// Nothing is encrypted anew that does not open: in another slot, altered, of another key; and not under a key that is none.
pub(super) async fn what_does_not_open(suite: &Conformance) {
    if !suite.rewraps {
        return;
    }
    let (provider, other) = (suite.made().await, suite.made_other().await);
    let slot = made(&*provider, fresh_context(7)).await;
    let to = provider.reference();
    if !suite.unbound {
        let mut next = slot.context;
        next.slot += 1;
        for (wrong, what) in [
            (next, "the next slot"),
            (fresh_context(7), "another keyring"),
        ] {
            refused(&*provider, &wrong, &slot.recipe, &to, what).await;
        }
    }
    for (what, material) in altered(suite, &slot.recipe.material) {
        let recipe = Recipe {
            reference: to.clone(),
            material,
        };
        refused(&*provider, &slot.context, &recipe, &to, &what).await;
    }
    let theirs = other.reference();
    refused(
        &*other,
        &slot.context,
        &slot.recipe,
        &theirs,
        "a recipe of another key",
    )
    .await;
    // As if the keyring had compared nothing.
    let mut renamed = slot.recipe.clone();
    renamed.reference = theirs.clone();
    refused(
        &*other,
        &slot.context,
        &renamed,
        &theirs,
        "another key, and its reference",
    )
    .await;
    if !to.is_empty() {
        let nowhere = Fields::new();
        refused(
            &*provider,
            &slot.context,
            &slot.recipe,
            &nowhere,
            "to no key",
        )
        .await;
    }
    gives(&*provider, &slot).await;
}

fn altered(suite: &Conformance, material: &Fields) -> Vec<(String, Fields)> {
    let mut altered = Vec::new();
    let mut with = |what: String, name: &str, value: String| {
        let mut changed = material.clone();
        changed.insert(name.to_owned(), value);
        altered.push((what, changed));
    };
    with("a field more".into(), "conformance", "1".into());
    let fields = || {
        material
            .iter()
            .filter(|(name, _)| !suite.notes.contains(&name.as_str()))
    };
    for (name, value) in fields() {
        with(format!("{name}: emptied"), name, String::new());
        with(format!("{name}: twice"), name, value.repeat(2));
        let count = value.chars().count();
        for at in [0, count / 2, count.saturating_sub(1)] {
            // Another character of the same sort, where there is one.
            let turned = value.chars().enumerate().map(|(place, old)| {
                let new = if old == 'A' { 'B' } else { 'A' };
                if place == at { new } else { old }
            });
            with(format!("{name}: character {at}"), name, turned.collect());
        }
    }
    for (name, _) in fields() {
        let mut without = material.clone();
        without.remove(name);
        altered.push((format!("{name} gone"), without));
    }
    altered
}
