//! The provider as slots of a real keyring.

use serde_json::Value;

use super::Conformance;
use super::shelf::Shelf;
use super::support::check_text;
use crate::error::SealError;
use crate::keyring::KeyringOptions;
use crate::provider::KeyProvider;

/// A keyring with slots 1 and 2, both of this provider.
async fn two_slots(provider: &dyn KeyProvider) -> Shelf {
    let shelf = Shelf::default();
    let keyring = options()
        .create(shelf.clone(), provider)
        .await
        .expect("a keyring is made");
    let second = keyring.add_slot("second", provider).await;
    assert_eq!(second.expect("a slot is added"), 2);
    shelf
}

/// Slots that may be lost are welcome here.
fn options() -> KeyringOptions {
    KeyringOptions::new().allow_lone_slot(true)
}

async fn opens(shelf: &Shelf, slot: u32, provider: &dyn KeyProvider) -> Result<(), SealError> {
    let options = options().slot(slot);
    options.open(shelf.clone(), provider).await.map(drop)
}

/// The slot itself must be refused: with its secret accepted, only the document's MAC would be left, and the error would be
/// a damaged keyring.
async fn refused(shelf: &Shelf, slot: u32, provider: &dyn KeyProvider, what: &str) {
    match opens(shelf, slot, provider).await {
        Ok(()) => panic!("{what}: it opens"),
        Err(SealError::CorruptKeyring { what: found }) => {
            panic!("{what}: the secret was accepted, and only then: {found}")
        }
        Err(error) => {
            assert!(
                !error.is_retryable(),
                "{what}: {error} would be tried again"
            );
            if let SealError::Provider(error) = &error {
                check_text(error);
            }
        }
    }
}

/// Made, opened by another instance, closed and opened again, a second slot, the first one removed.
pub(super) async fn whole_life(suite: &Conformance) {
    let (provider, another) = (suite.made().await, suite.made().await);
    let shelf = two_slots(&*provider).await;
    opens(&shelf, 1, &*another).await.expect("slot 1 opens");
    opens(&shelf, 2, &*another).await.expect("slot 2 opens");
    let keyring = options()
        .open(shelf.clone(), &*another)
        .await
        .expect("it opens through any slot");
    keyring.create_account("1").await.expect("an account");
    keyring.lock();
    keyring.unlock(&*provider).await.expect("it opens again");
    keyring.remove_slot(1).await.expect("the slot is removed");
    drop(keyring);
    let keyring = options()
        .open(shelf, &*another)
        .await
        .expect("through slot 2");
    assert_eq!(keyring.accounts().await.expect("accounts"), ["1"]);
}

/// Neither key opens the slots of the other.
pub(super) async fn another_key_opens_nothing(suite: &Conformance) {
    let (provider, other) = (suite.made().await, suite.made_other().await);
    for (ours, theirs) in [(&provider, &other), (&other, &provider)] {
        let shelf = two_slots(&**ours).await;
        refused(&shelf, 1, &**theirs, "another key").await;
        opens(&shelf, 1, &**ours).await.expect("it opens");
    }
}

/// A recipe, or a whole slot, that was moved to another slot or to another keyring opens nothing there.
pub(super) async fn moved_recipe(suite: &Conformance) {
    let provider = suite.made().await;
    let provider = &*provider;
    let (ours, theirs) = (two_slots(provider).await, two_slots(provider).await);
    let (from, into) = (theirs.slots(), ours.slots());
    for (source, what) in [
        (&into[1], "the slot beside it"),
        (&from[0], "the slot of its number in another keyring"),
        (&from[1], "another slot in another keyring"),
    ] {
        let mut whole = into.clone();
        whole[0] = source.clone();
        whole[0]["slot"] = 1.into();
        // Else its number would be there twice.
        whole.truncate(1);
        let moved = ours.copy();
        moved.set_slots(whole);
        refused(&moved, 1, provider, what).await;

        let mut recipe = into.clone();
        recipe[0]["recipe"] = source["recipe"].clone();
        if recipe != into {
            let moved = ours.copy();
            moved.set_slots(recipe);
            refused(&moved, 1, provider, &format!("the recipe of {what}")).await;
        }
    }
    for slot in [1, 2] {
        opens(&ours, slot, provider)
            .await
            .expect("the slots that were not moved open");
    }
}

/// A recipe whose reference was altered is refused before the provider is asked, and one whose material was altered is
/// refused.
pub(super) async fn tampered_recipe(suite: &Conformance) {
    let provider = suite.made().await;
    let shelf = two_slots(&*provider).await;
    let slots = shelf.slots();
    let altered = |part: &str, field: &str, value: Option<Value>| {
        let mut slots = slots.clone();
        let fields = slots[0]["recipe"][part].as_object_mut().expect("fields");
        match value {
            Some(value) => fields.insert(field.to_owned(), value),
            None => fields.remove(field),
        };
        let altered = shelf.copy();
        altered.set_slots(slots);
        altered
    };
    for part in ["reference", "material"] {
        let fields = slots[0]["recipe"][part]
            .as_object()
            .expect("fields")
            .clone();
        let mut damaged = vec![(
            altered(part, "conformance", Some("1".into())),
            "a field more".to_owned(),
        )];
        for (name, value) in &fields {
            if part == "material" && suite.notes.contains(&name.as_str()) {
                continue;
            }
            let longer = format!("{}0", value.as_str().expect("text"));
            damaged.push((
                altered(part, name, Some(longer.into())),
                format!("{name} grown"),
            ));
            damaged.push((
                altered(part, name, Some("".into())),
                format!("{name} emptied"),
            ));
            damaged.push((altered(part, name, None), format!("{name} gone")));
        }
        for (shelf, what) in damaged {
            let what = format!("{part}: {what}");
            if part == "reference" {
                let error = opens(&shelf, 1, &*provider).await.expect_err(&what);
                let foreign = matches!(error, SealError::ForeignRecipe);
                assert!(foreign, "{what}: {error}");
            } else {
                refused(&shelf, 1, &*provider, &what).await;
            }
            opens(&shelf, 2, &*provider)
                .await
                .expect_err("the document is altered");
        }
    }
    opens(&shelf, 1, &*provider).await.expect("it opens");
}
