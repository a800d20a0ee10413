//! Recipes that somebody altered. The keyring's MAC finds them all, but only after the provider was asked.

use super::Conformance;
use super::support::{Made, fresh_context, gives, keeps, made};
use crate::provider::{Fields, KeyProvider, Recipe};

/// Longer than anything that a recipe needs.
const HUGE: usize = 1 << 20;

/// What is altered, and the material after it.
type Damage = (String, Fields);

fn with(material: &Fields, name: &str, value: String) -> Fields {
    let mut material = material.clone();
    material.insert(name.to_owned(), value);
    material
}

/// `at_most` of them, spread evenly.
fn spread(damages: Vec<Damage>, at_most: usize) -> Vec<Damage> {
    let (all, taken) = (damages.len(), at_most.min(damages.len()));
    let mut next = 0;
    let mut damages: Vec<_> = damages.into_iter().map(Some).collect();
    std::iter::from_fn(|| {
        let damage = (next < taken).then(|| damages[next * all / taken].take())?;
        next += 1;
        damage
    })
    .collect()
}

/// Asks with each damaged recipe; the whole one still opens at the end.
async fn all_refused(provider: &dyn KeyProvider, slot: &Made, damages: Vec<Damage>) {
    for (what, material) in damages {
        if material == slot.recipe.material {
            continue;
        }
        let recipe = Recipe {
            reference: slot.recipe.reference.clone(),
            material,
        };
        keeps(provider, &slot.context, &recipe, &slot.secret, &what).await;
    }
    gives(provider, slot).await;
}

/// Runs `damages` on each field of a slot's material.
async fn each_field(suite: &Conformance, damages: impl Fn(&str) -> Vec<(String, String)>) {
    let provider = suite.made().await;
    let slot = made(&*provider, fresh_context(1)).await;
    let material = &slot.recipe.material;
    let mut chosen = Vec::new();
    for (name, value) in material {
        if suite.notes.contains(&name.as_str()) {
            continue;
        }
        let of_field = damages(value)
            .into_iter()
            .map(|(what, value)| (format!("{name}: {what}"), with(material, name, value)))
            .collect();
        chosen.extend(spread(of_field, suite.at_most));
    }
    all_refused(&*provider, &slot, chosen).await;
}

/// Each bit of each character of each field.
pub(super) async fn every_bit(suite: &Conformance) {
    each_field(suite, |value| {
        let mut damages = Vec::new();
        for (at, old) in value.char_indices() {
            // Seven bits: with the eighth an ASCII character would be no text.
            for bit in 0..7 {
                let Some(new) = char::from_u32(u32::from(old) ^ (1 << bit)) else {
                    continue;
                };
                let mut text = value.to_owned();
                text.replace_range(at..at + old.len_utf8(), new.encode_utf8(&mut [0; 4]));
                damages.push((format!("bit {bit} of the character at {at}"), text));
            }
        }
        damages
    })
    .await;
}

/// Each field cut to each shorter length, from either end.
pub(super) async fn every_length(suite: &Conformance) {
    each_field(suite, |value| {
        let cuts = value.char_indices().flat_map(|(at, _)| {
            [
                (format!("the first {at} bytes"), value[..at].to_owned()),
                (
                    format!("without its first {at} bytes"),
                    value[at..].to_owned(),
                ),
            ]
        });
        cuts.collect()
    })
    .await;
}

/// Each field emptied, with something before or behind it, doubled, and a mebibyte long.
pub(super) async fn emptied_grown_and_repeated(suite: &Conformance) {
    each_field(suite, |value| {
        let mut damages = vec![("emptied".to_owned(), String::new())];
        for more in ["0", "A", "=", " ", "\n", "\0", "é", "00", "AAAA"] {
            damages.push((format!("{more:?} behind it"), format!("{value}{more}")));
            damages.push((format!("{more:?} before it"), format!("{more}{value}")));
        }
        damages.push(("twice".to_owned(), value.repeat(2)));
        let times = HUGE / value.len().max(1) + 1;
        damages.push(("a mebibyte of it".to_owned(), value.repeat(times)));
        damages.push(("a mebibyte of zeros".to_owned(), "0".repeat(HUGE)));
        damages
    })
    .await;
}

/// A field is gone, all are, one is there that no such slot has, two have changed places, names are in another case.
pub(super) async fn fields_removed_added_and_exchanged(suite: &Conformance) {
    let provider = suite.made().await;
    let slot = made(&*provider, fresh_context(1)).await;
    let material = &slot.recipe.material;
    let mut damages: Vec<Damage> = vec![
        (
            "a field more".into(),
            with(material, "conformance", "1".into()),
        ),
        (
            "an empty field more".into(),
            with(material, "conformance", String::new()),
        ),
        (
            "a field without a name".into(),
            with(material, "", String::new()),
        ),
    ];
    let is_note = |name: &String| suite.notes.contains(&name.as_str());
    if !material.keys().all(is_note) {
        damages.push(("all fields gone".into(), Fields::new()));
    }
    for (name, value) in material {
        let mut without = material.clone();
        without.remove(name);
        if !is_note(name) {
            damages.push((format!("{name} gone"), without.clone()));
        }
        without.insert(name.to_uppercase(), value.clone());
        damages.push((format!("{name} in capitals"), without));
        for (second, other) in material.range(name.clone()..).skip(1) {
            if is_note(name) && is_note(second) {
                continue;
            }
            let mut exchanged = with(material, name, other.clone());
            exchanged.insert(second.clone(), value.clone());
            damages.push((format!("{name} and {second} exchanged"), exchanged));
        }
    }
    all_refused(&*provider, &slot, damages).await;
}
