use super::*;

fn pinned(pin: &str, slot: u32) -> Vec<u8> {
    let slot = SlotContext {
        keyring_id: [7; 16],
        slot,
    };
    let value = auth(Some(&SecretString::from(pin)), &slot).unwrap();
    value.value().to_vec()
}

#[test]
fn an_authorisation_is_of_its_pin_and_slot_and_never_ends_with_zero() {
    assert_eq!(pinned("1234", 1), pinned("1234", 1));
    assert_ne!(pinned("1234", 1), pinned("1235", 1));
    assert_ne!(pinned("1234", 1), pinned("1234", 2));
    let all: Vec<_> = (0..1024).map(|slot| pinned("1234", slot)).collect();
    assert!(all.iter().all(|value| value.last() != Some(&0)));
    // Some of them would.
    assert!(all.iter().any(|value| value.len() < 32));
    let empty = auth(None, &SlotContext::default()).unwrap();
    assert!(empty.value().is_empty());
}

/// HKDF-SHA-256 by itself, as `src/labels.rs` writes it.
#[test]
fn an_authorisation_is_what_the_labels_say() {
    let mut info = b"sealed-store v1 tpm2 pin".to_vec();
    info.extend([7; 16]);
    info.extend([1, 0, 0, 0]);
    let mut expected = [0; 32];
    let hkdf = Hkdf::<Sha256>::new(Some(&[0; 32]), b"1234");
    hkdf.expand(&info, &mut expected).unwrap();
    assert_eq!(pinned("1234", 1), expected);
}

#[test]
fn a_public_area_has_its_length_and_its_parts_their_places() {
    for has_pin in [true, false] {
        let digest = |byte| Digest::try_from(vec![byte; 32]).unwrap();
        let public = object(has_pin, digest(1), digest(2)).unwrap();
        let bytes = public.marshall().unwrap();
        assert_eq!(bytes.len(), PUBLIC_LEN);
        assert_eq!(bytes[POLICY_AT..POLICY_AT + 32], [1; 32]);
        assert_eq!(bytes[UNIQUE_AT..], [2; 32]);
        // fixedTPM, fixedParent, adminWithPolicy, and noDA without a PIN.
        let attributes = 0x2 | 0x10 | 0x80 | if has_pin { 0 } else { 0x400 };
        assert_eq!(bytes[4..8], u32::to_be_bytes(attributes));
    }
}
