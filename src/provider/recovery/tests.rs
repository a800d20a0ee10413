use secrecy::ExposeSecret;

use super::*;
use crate::provider::typed::ALPHABET;

fn code(byte: u8) -> RecoveryCode {
    RecoveryCode::of(std::array::from_fn(|at| {
        byte.wrapping_mul(37).wrapping_add(at as u8)
    }))
}

fn text(code: &RecoveryCode) -> String {
    code.to_text().expose_secret().to_owned()
}

fn refusal(typed: &str) -> RecoveryCodeError {
    RecoveryCode::parse(typed).err().expect("it is refused")
}

#[test]
fn a_code_is_read_in_any_dress() {
    for byte in 0..50 {
        let shown = text(&code(byte));
        assert_eq!(shown.len(), 44);
        let plain = shown.replace('-', "");
        for typed in [
            shown.clone(),
            plain.clone(),
            shown.to_lowercase(),
            format!("  {}\n", shown.replace('-', "  ")),
            shown.replace('-', "\u{2013}"),
            // Look-alikes.
            format!("RECl{}", plain[4..].replace('L', "I").replace('0', "O")),
            format!("reci{}", plain[4..].replace('L', "1").replace('8', "B")),
        ] {
            let parsed = RecoveryCode::parse(&typed).unwrap();
            assert_eq!(text(&parsed), shown);
            assert_eq!(
                parsed.secret().expose_secret(),
                code(byte).secret().expose_secret()
            );
            assert!(RecoveryCode::is_like(&typed));
        }
    }
}

#[test]
fn every_single_mistake_and_every_swap_of_neighbours_is_noticed() {
    let shown = text(&code(3)).replace('-', "").to_lowercase();
    for at in 4..shown.len() {
        for other in ALPHABET {
            let mut typed = shown.clone().into_bytes();
            if typed[at] == *other {
                continue;
            }
            typed[at] = *other;
            let typed = String::from_utf8(typed).unwrap();
            assert_eq!(refusal(&typed), RecoveryCodeError::Mistyped);
        }
        if at + 1 < shown.len() && shown.as_bytes()[at] != shown.as_bytes()[at + 1] {
            let mut typed = shown.clone().into_bytes();
            typed.swap(at, at + 1);
            assert_eq!(
                refusal(std::str::from_utf8(&typed).unwrap()),
                RecoveryCodeError::Mistyped
            );
        }
    }
}

#[test]
fn what_is_wrong_is_told() {
    let shown = text(&code(3));
    for typed in ["", "re", "correct horse battery staple", "REX1-AAAA", "é"] {
        assert_eq!(refusal(typed), RecoveryCodeError::NotACode, "{typed}");
        assert!(!RecoveryCode::is_like(typed));
    }
    assert_eq!(
        refusal(&shown[..40]),
        RecoveryCodeError::Length { found: 32 }
    );
    assert_eq!(
        refusal(&format!("{shown}QQ")),
        RecoveryCodeError::Length { found: 38 }
    );
    let mut typed = shown.clone();
    typed.replace_range(10..11, "é");
    assert_eq!(refusal(&typed), RecoveryCodeError::Character { group: 3 });
    assert!(RecoveryCode::is_like(&typed));
}

/// Two bits of the last character before the checksum stand for nothing.
#[test]
fn a_code_has_one_spelling() {
    use bech32::{Bech32m, ByteIterExt, Fe32, Fe32IterExt, Hrp};
    let bits = *code(3).bits.expose_secret();
    let hrp = Hrp::parse("rec").unwrap();
    for stray in 0..4u8 {
        let mut symbols: Vec<Fe32> = bits.iter().copied().bytes_to_fes().collect();
        let last = symbols.pop().unwrap().to_u8();
        symbols.push(Fe32::try_from(last | stray).unwrap());
        let typed: String = symbols
            .into_iter()
            .with_checksum::<Bech32m>(&hrp)
            .chars()
            .collect();
        match stray {
            0 => drop(RecoveryCode::parse(&typed).unwrap()),
            _ => assert_eq!(refusal(&typed), RecoveryCodeError::Mistyped),
        }
    }
}

#[test]
fn no_two_codes_are_alike() {
    let [one, two] = [(); 2].map(|()| RecoveryCode::generate().unwrap());
    assert_ne!(text(&one), text(&two));
    assert_ne!(one.secret().expose_secret(), two.secret().expose_secret());
}
