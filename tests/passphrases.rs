//! A passphrase is any bytes, taken as they are. A quote that broke a peer's SQL, a NUL that cut a
//! passphrase short, or a normalisation that made two passphrases one would each weaken it or lock
//! its owner out.

mod support;

use std::time::Duration;

use sealed_store::{
    DEFAULT_KDF_CEILING, KdfCost, Keyring, KeyringOptions, Passphrase, SealError, calibrate,
};
use secrecy::SecretSlice;
use support::{Shelf, passphrase, raw, refused};

fn bytes(bytes: &[u8]) -> Passphrase {
    Passphrase::from_bytes(SecretSlice::from(bytes.to_vec())).cost(KdfCost::FLOOR)
}

/// Opens a fresh keyring under `right`, and nothing else of `wrong`.
async fn opens_with_exactly(right: &[u8], wrong: &[&[u8]]) {
    let shelf = Shelf::backend();
    drop(shelf.create(&bytes(right)).await.unwrap());
    shelf.open(&bytes(right)).await.unwrap();
    for wrong in wrong {
        let error = refused(shelf.open(&bytes(wrong)).await);
        assert!(
            matches!(error, SealError::WrongKey),
            "{right:?} and {wrong:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn nul_quotes_and_line_ends_are_part_of_a_passphrase() {
    opens_with_exactly(b"pass\0word", &[b"pass", b"pass\0", b"pass\0worD"]).await;
    opens_with_exactly(b"\0", &[b"\0\0", b"0", b" "]).await;
    opens_with_exactly(
        b"it's \"quoted\"; DROP TABLE keyring; --",
        &[b"it''s \"quoted\"; DROP TABLE keyring; --"],
    )
    .await;
    opens_with_exactly(b"line\n", &[b"line", b"line\r\n", b"line\\n"]).await;
    opens_with_exactly(b" spaced ", &[b"spaced", b" spaced"]).await;
}

#[tokio::test]
async fn bytes_that_are_no_text_are_a_passphrase() {
    opens_with_exactly(
        b"\xff\xfe\x80",
        &[b"\xff\xfe", "\u{fffd}\u{fffd}\u{fffd}".as_bytes()],
    )
    .await;
}

#[tokio::test]
async fn every_byte_of_a_long_passphrase_counts() {
    let long: Vec<u8> = (0..10_000u32).map(|n| (n % 251) as u8).collect();
    let mut last = long.clone();
    *last.last_mut().unwrap() ^= 1;
    opens_with_exactly(&long, &[&last, &long[..9_999], &long[..72], &long[..64]]).await;
}

/// As typed, with no normalisation: the documentation says that the same letters entered in another
/// form are another passphrase.
#[tokio::test]
async fn unicode_is_taken_as_typed() {
    let composed = "caf\u{e9}".as_bytes();
    let combining = "cafe\u{301}".as_bytes();
    opens_with_exactly(composed, &[combining, b"cafe", "CAF\u{c9}".as_bytes()]).await;
    opens_with_exactly(combining, &[composed]).await;
    opens_with_exactly("🔑".as_bytes(), &["🗝".as_bytes()]).await;
}

#[tokio::test]
async fn text_and_its_bytes_are_the_same_passphrase() {
    let shelf = Shelf::sqlite();
    drop(shelf.create(&passphrase("ein Schlüssel")).await.unwrap());
    shelf
        .open(&bytes("ein Schlüssel".as_bytes()))
        .await
        .unwrap();
}

/// "Raw" and "passphrase" were confused in a peer: 32 bytes are a key to one and text to the other.
#[tokio::test]
async fn the_bytes_of_a_passphrase_are_no_raw_key() {
    let shelf = Shelf::backend();
    drop(shelf.create(&bytes(&[7; 32])).await.unwrap());
    assert!(matches!(
        refused(shelf.open(&raw(7)).await),
        SealError::WrongKey
    ));
    let shelf = Shelf::backend();
    drop(shelf.create(&raw(7)).await.unwrap());
    assert!(matches!(
        refused(shelf.open(&bytes(&[7; 32])).await),
        SealError::WrongKey
    ));
}

/// Two slots with one passphrase must not show it: each has a salt of its own.
#[tokio::test]
async fn the_same_passphrase_twice_does_not_show() {
    let shelf = Shelf::sqlite();
    let keyring = shelf.create(&passphrase("same")).await.unwrap();
    keyring
        .add_slot("again", &passphrase("same"))
        .await
        .unwrap();
    drop(keyring);
    let (_, document) = shelf.document("keyring").await;
    let text = String::from_utf8(document).unwrap();
    let body: serde_json::Value = serde_json::from_str(support::split(&text).1).unwrap();
    let [one, two] = [0, 1].map(|slot| body["slots"][slot].clone());
    for field in ["commitment", "wrapped_root"] {
        assert_ne!(one[field], two[field], "{field}");
    }
    assert_ne!(
        one["recipe"]["material"]["salt"],
        two["recipe"]["material"]["salt"]
    );
}

/// A named slot costs one derivation, however many passphrase slots there are.
#[tokio::test]
async fn only_a_named_slot_is_tried() {
    for shelf in Shelf::both() {
        let keyring = shelf.create(&passphrase("one")).await.unwrap();
        let second = keyring.add_slot("two", &passphrase("two")).await.unwrap();
        drop(keyring);
        let options = |slot| KeyringOptions::new().slot(slot);
        let opened = shelf
            .open_with(options(second), &passphrase("two"))
            .await
            .unwrap();
        let through: Vec<u32> = opened
            .slots()
            .await
            .unwrap()
            .iter()
            .filter(|slot| slot.opened)
            .map(|slot| slot.slot)
            .collect();
        assert_eq!(through, [second]);
        let error = refused(shelf.open_with(options(1), &passphrase("two")).await);
        assert!(matches!(error, SealError::WrongKey), "{error:?}");
        let error = refused(shelf.open_with(options(9), &passphrase("two")).await);
        assert!(matches!(error, SealError::UnknownSlot), "{error:?}");
        // Named, and of another kind.
        let error = refused(shelf.open_with(options(1), &raw(1)).await);
        assert!(matches!(error, SealError::WrongKey), "{error:?}");
    }
}

#[tokio::test]
async fn a_calibrated_cost_makes_a_slot_that_opens() {
    let cost = calibrate(Duration::from_millis(20)).await.unwrap();
    assert!(cost.m_kib >= KdfCost::FLOOR.m_kib && cost.passes >= KdfCost::FLOOR.passes);
    assert!(cost.kib_passes() <= DEFAULT_KDF_CEILING);
    let shelf = Shelf::backend();
    let provider = Passphrase::new("calibrated").cost(cost);
    drop(Keyring::create(shelf.store(), &provider).await.unwrap());
    Keyring::open(shelf.store(), &provider).await.unwrap();
}
