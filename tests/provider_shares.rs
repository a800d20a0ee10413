//! A slot of shares opens with so many of them and not with fewer, and its keyring holds nothing of any of them.
#![cfg(feature = "shares")]

mod support;

use std::sync::Arc;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use sealed_store::testing::provider::Conformance;
use sealed_store::{
    Combined, KeyProvider, Keyring, ProviderErrorKind, SealError, Share, ShareError, SharesProvider,
};
use secrecy::ExposeSecret;
use support::{Shelf, passphrase, raw, refused};

/// What stands on paper.
fn printed(shares: &[Share]) -> Vec<String> {
    let text = |share: &Share| share.to_text().expose_secret().to_owned();
    shares.iter().map(text).collect()
}

fn typed(papers: &[&String]) -> Result<SharesProvider, ShareError> {
    let shares: Result<Vec<_>, _> = papers.iter().map(|paper| Share::parse(paper)).collect();
    SharesProvider::join(&shares?)
}

#[tokio::test]
async fn enough_shares_open_and_one_less_is_told() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&raw(9)).await.unwrap();
        let (provider, shares) = SharesProvider::split(3, 5).unwrap();
        let papers = printed(&shares);
        let slot = keyring.add_slot("custodians", &provider).await.unwrap();
        drop((keyring, provider, shares));

        for chosen in [[0, 1, 2], [4, 2, 0], [3, 4, 1]] {
            let provider = typed(&chosen.map(|at| &papers[at])).unwrap();
            let keyring = shelf.open(&provider).await.unwrap();
            assert_eq!(keyring.slots().await.unwrap()[1].kind, "shares");
        }
        let all: Vec<_> = papers.iter().collect();
        let provider = typed(&all).unwrap();
        drop(shelf.open(&provider).await.unwrap());
        assert_eq!(
            typed(&all[..2]).err().unwrap(),
            ShareError::TooFew {
                found: 2,
                needed: 3
            }
        );

        let keyring = shelf.open(&raw(9)).await.unwrap();
        keyring.remove_slot(slot).await.unwrap();
        drop(keyring);
        assert!(shelf.open(&provider).await.is_err());
    }
}

#[tokio::test]
async fn the_shares_of_another_set_open_nothing() {
    let shelf = Shelf::backend();
    let (provider, shares) = SharesProvider::split(2, 2).unwrap();
    drop(shelf.create(&provider).await.unwrap());
    let (other, others) = SharesProvider::split(2, 2).unwrap();
    assert!(matches!(
        refused(shelf.open(&other).await),
        SealError::ForeignRecipe
    ));
    let (papers, others) = (printed(&shares), printed(&others));
    assert_eq!(
        typed(&[&papers[0], &others[1]]).err().unwrap(),
        ShareError::OtherSet { number: 2 }
    );
    assert_eq!(
        typed(&[&papers[0], &papers[0]]).err().unwrap(),
        ShareError::Duplicate { number: 1 }
    );
}

/// With just as many as are needed nothing in the shares can tell that one was forged: the slot's commitment does.
#[tokio::test]
async fn a_forged_share_is_a_wrong_key() {
    let shelf = Shelf::backend();
    let (provider, shares) = SharesProvider::split(2, 2).unwrap();
    drop(shelf.create(&provider).await.unwrap());
    let papers = printed(&shares);
    // Share 2 of a set of the same id and numbers: the value of another set under this one's head.
    let (_, others) = SharesProvider::split(2, 2).unwrap();
    let forged = with_head_of(&papers[1], &printed(&others)[1]);
    let provider = typed(&[&papers[0], &forged]).unwrap();
    assert!(matches!(
        refused(shelf.open(&provider).await),
        SealError::WrongKey
    ));
}

/// What a share's text spells.
fn bytes(text: &str) -> Vec<u8> {
    let text = text.replace('-', "");
    let checked = CheckedHrpstring::new::<Bech32m>(&text).unwrap();
    checked.byte_iter().collect()
}

/// The value of `value`'s text behind the set and numbers of `head`'s.
fn with_head_of(head: &str, value: &str) -> String {
    let mixed = [&bytes(head)[..9], &bytes(value)[9..]].concat();
    let mut text = String::new();
    let hrp = Hrp::parse("shr").unwrap();
    bech32::encode_upper_to_fmt::<Bech32m, _>(&mut text, hrp, &mixed).unwrap();
    text
}

#[tokio::test]
async fn the_keyring_holds_no_share_and_no_secret() {
    let shelf = Shelf::sqlite();
    let (provider, shares) = SharesProvider::split(2, 3).unwrap();
    let keyring = shelf.create(&provider).await.unwrap();
    keyring.create_account("1").await.unwrap();
    drop(keyring);
    shelf
        .edit("keyring", |body| {
            let recipe = &body["slots"][0]["recipe"];
            let expected = serde_json::json!({
                "reference": { "set": shares[0].set(), "threshold": "2", "count": "3" },
                "material": {},
            });
            assert_eq!(*recipe, expected);
        })
        .await;
    let (_, document) = shelf.document("keyring").await;
    let document = String::from_utf8(document).unwrap().to_lowercase();
    for paper in printed(&shares) {
        let value = &bytes(&paper)[9..];
        assert!(!document.contains(&hex::encode(&value[..8])));
        assert!(!document.contains(&hex::encode(&value[24..])));
        assert!(!document.contains(&paper.to_lowercase()[20..40]));
    }
}

#[tokio::test]
async fn a_moved_or_altered_recipe_opens_nothing() {
    let shelf = Shelf::backend();
    let (provider, _) = SharesProvider::split(2, 3).unwrap();
    let keyring = shelf.create(&provider).await.unwrap();
    keyring.add_slot("again", &provider).await.unwrap();
    drop(keyring);
    shelf
        .edit("keyring", |body| {
            let slots = body["slots"].as_array_mut().unwrap();
            let (one, two) = slots.split_at_mut(1);
            for field in ["commitment", "wrapped_root", "recipe"] {
                std::mem::swap(&mut one[0][field], &mut two[0][field]);
            }
        })
        .await;
    assert!(matches!(
        refused(shelf.open(&provider).await),
        SealError::WrongKey
    ));

    type Change = fn(&mut serde_json::Value);
    let changes: [(Change, Option<ProviderErrorKind>); 4] = [
        (|recipe| recipe["reference"]["set"] = "00".into(), None),
        (|recipe| recipe["reference"]["threshold"] = "1".into(), None),
        (|recipe| recipe["reference"]["count"] = "2".into(), None),
        (
            |recipe| recipe["material"]["share"] = "".into(),
            Some(ProviderErrorKind::Corrupt),
        ),
    ];
    for (change, expected) in changes {
        let shelf = Shelf::backend();
        drop(shelf.create(&provider).await.unwrap());
        shelf
            .edit("keyring", |body| change(&mut body["slots"][0]["recipe"]))
            .await;
        match (refused(shelf.open(&provider).await), expected) {
            (SealError::ForeignRecipe, None) => {}
            (SealError::Provider(error), Some(kind)) => assert_eq!(error.kind(), kind),
            (error, _) => panic!("{error:?}"),
        }
    }
}

/// Custodians do not come together each time the root is new.
#[tokio::test]
async fn the_shares_outlive_a_rotation_of_the_root() {
    let shelf = Shelf::backend();
    let (provider, shares) = SharesProvider::split(2, 3).unwrap();
    let keyring = shelf.create(&provider).await.unwrap();
    keyring.rotate_root(&[(1, &provider)], &[]).await.unwrap();
    drop(keyring);
    let papers = printed(&shares);
    let provider = typed(&[&papers[2], &papers[1]]).unwrap();
    drop(shelf.open(&provider).await.unwrap());
}

#[tokio::test]
async fn shares_can_be_one_of_two_that_are_needed() {
    let shelf = Shelf::backend();
    let (provider, shares) = SharesProvider::split(2, 3).unwrap();
    let both = Combined::new(provider, passphrase("words"));
    drop(shelf.create(&both).await.unwrap());
    let papers = printed(&shares);
    let provider = || typed(&[&papers[2], &papers[1]]).unwrap();
    assert!(shelf.open(&provider()).await.is_err());
    let both = Combined::new(provider(), passphrase("words"));
    drop(shelf.open(&both).await.unwrap());
}

#[tokio::test]
async fn openings_at_once_all_open() {
    let shelf = Shelf::sqlite();
    let (provider, _) = SharesProvider::split(2, 3).unwrap();
    let provider: Arc<dyn KeyProvider> = Arc::new(provider);
    drop(shelf.create(&provider).await.unwrap());
    let openings: Vec<_> = (0..8)
        .map(|_| {
            let (store, provider) = (shelf.store(), Arc::clone(&provider));
            tokio::spawn(async move { Keyring::open(store, &provider).await })
        })
        .collect();
    for opening in openings {
        assert!(opening.await.unwrap().unwrap().is_open());
    }
}

/// What every provider must do: see `sealed_store::testing::provider`.
#[tokio::test]
async fn they_are_a_provider_as_every_other() {
    let made = || {
        let (_, shares) = SharesProvider::split(2, 3).unwrap();
        let papers = printed(&shares);
        move || {
            let provider = typed(&[&papers[0], &papers[2]]).unwrap();
            async { provider }
        }
    };
    let suite = Conformance::new(made(), made()).one_secret();
    suite.run_all().await;
}
