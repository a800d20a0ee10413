//! The form of documents, and what their MAC is over.

use super::*;
use crate::secret::Key;

fn root(byte: u8, number: u32) -> RootKeys {
    RootKeys::new(Key::new(Box::new([byte; 32])), number, Suite::Xaes256Gcm)
}

fn index() -> AccountsBody {
    AccountsBody {
        keyring_id: [1; 16],
        revision: 5,
        root: 1,
        names: vec!["1".into()],
    }
}

/// Each thing that a document's MAC is over, by itself: most have a second protection above.
#[test]
fn a_document_verifies_at_its_own_place_only() {
    let bytes = write(&index(), &root(9, 1), ACCOUNTS).unwrap();
    let verify = |root: &RootKeys, name: &str, id: [u8; 16], revision| {
        Envelope::<AccountsBody>::read(&bytes)
            .unwrap()
            .verify(root, name, &id, revision)
    };
    assert!(verify(&root(9, 1), ACCOUNTS, [1; 16], 5).is_ok());
    assert!(verify(&root(8, 1), ACCOUNTS, [1; 16], 5).is_err());
    assert!(verify(&root(9, 2), ACCOUNTS, [1; 16], 5).is_err());
    assert!(verify(&root(9, 1), "account", [1; 16], 5).is_err());
    assert!(verify(&root(9, 1), ACCOUNTS, [2; 16], 5).is_err());
    assert!(verify(&root(9, 1), ACCOUNTS, [1; 16], 6).is_err());
}

#[test]
fn the_mac_covers_name_keyring_revision_and_content() {
    let root = root(9, 1);
    let mac = root.sign("name", &[1; 16], 5, b"content").unwrap();
    let holds = |name, id: [u8; 16], revision, content: &[u8]| {
        root.verify(name, &id, revision, content, &mac).unwrap()
    };
    assert!(holds("name", [1; 16], 5, b"content"));
    assert!(!holds("names", [1; 16], 5, b"content"));
    assert!(!holds("name", [2; 16], 5, b"content"));
    assert!(!holds("name", [1; 16], 6, b"content"));
    assert!(!holds("name", [1; 16], 5, b"contents"));
}

/// The form that is written, as the specification draws it.
#[test]
fn a_document_is_text_of_four_parts() {
    let bytes = write(&index(), &root(9, 1), ACCOUNTS).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (body, last) = text.split_once("\nsha256 ").unwrap();
    assert_eq!(
        body,
        "sealed-store document 1\n{\n  \"keyring_id\": \"01010101010101010101010101010101\",\n  \
         \"revision\": 5,\n  \"root\": 1,\n  \"names\": [\n    \"1\"\n  ]\n}"
    );
    let lines: Vec<&str> = last.lines().collect();
    assert_eq!(lines[0], hex::encode(Sha256::digest(format!("{body}\n"))));
    let mac = lines[1].strip_prefix(MAC_LINE).unwrap();
    assert_eq!((mac.len(), lines.len()), (64, 2));
}

#[test]
fn no_input_panics() {
    let good = write(&index(), &root(9, 1), ACCOUNTS).unwrap();
    for len in 0..good.len() {
        assert!(Envelope::<AccountsBody>::read(&good[..len]).is_err());
    }
    // Characters of more than one byte wherever a line is looked for.
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad.splice(at..at, "é".bytes());
        assert!(Envelope::<AccountsBody>::read(&bad).is_err());
    }
}
