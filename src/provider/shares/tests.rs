use super::*;
use crate::provider::typed::ALPHABET;

fn key(byte: u8) -> Key {
    Key::new(Box::new(std::array::from_fn(|at| {
        byte.wrapping_add(at as u8)
    })))
}

fn split(threshold: u8, count: u8) -> Vec<Share> {
    let (_, shares) = SharesProvider::split_secret([9; SET_LEN], threshold, count, key(1)).unwrap();
    shares
}

fn text(share: &Share) -> String {
    share.to_text().expose_secret().to_owned()
}

fn again(share: &Share) -> Share {
    Share::parse(&text(share)).unwrap()
}

fn refusal(typed: &str) -> ShareError {
    Share::parse(typed).err().expect("it is refused")
}

fn not_joined(shares: &[Share]) -> ShareError {
    SharesProvider::join(shares).err().expect("it is refused")
}

/// Every choice of `size` of `count`, as bits.
fn choices(count: u8, size: u32) -> impl Iterator<Item = u32> {
    (0..1u32 << count).filter(move |choice| choice.count_ones() == size)
}

fn chosen(shares: &[Share], choice: u32) -> Vec<Share> {
    let is_in = |share: &&Share| choice >> (share.number - 1) & 1 == 1;
    shares.iter().filter(is_in).map(again).collect()
}

#[test]
fn any_enough_shares_give_the_secret_and_one_less_does_not() {
    for count in 2..=6 {
        for threshold in 2..=count {
            let shares = split(threshold, count);
            assert_eq!(shares.len(), usize::from(count));
            for size in threshold..=count {
                for choice in choices(count, size.into()) {
                    let mut shares = chosen(&shares, choice);
                    shares.reverse();
                    let joined = SharesProvider::join(&shares).unwrap();
                    assert_eq!(joined.secret.expose_secret(), key(1).expose_secret());
                }
            }
            for choice in choices(count, u32::from(threshold) - 1) {
                let error = ShareError::TooFew {
                    found: threshold - 1,
                    needed: threshold,
                };
                let few = chosen(&shares, choice);
                assert_eq!(not_joined(&few), error);
                // And the scheme itself gives something else.
                if threshold > 2 {
                    let wrong = joined(&few).unwrap();
                    assert_ne!(wrong.expose_secret(), key(1).expose_secret());
                }
            }
        }
    }
    let shares = split(16, 16);
    assert!(SharesProvider::join(&shares).is_ok());
    assert!(SharesProvider::join(&shares[1..]).is_err());
    assert_eq!(
        not_joined(&[]),
        ShareError::TooFew {
            found: 0,
            needed: 2
        }
    );
}

/// One share, or two of three, must look the same whatever the secret is: each value as often as any other. A generator that
/// leaves out zero, or even numbers, tells the secret over some splits (two libraries did).
#[test]
fn fewer_shares_are_uniform_whatever_the_secret() {
    const SPLITS: usize = 2_000;
    for (threshold, secret) in [(2, 0), (2, 1), (3, 0), (3, 0xff)] {
        let mut seen = [[0u32; 256]; 3];
        for _ in 0..SPLITS {
            let secret = Key::new(Box::new([secret; 32]));
            let (_, shares) =
                SharesProvider::split_secret([0; SET_LEN], threshold, 3, secret).unwrap();
            let [one, two] = [&shares[0], &shares[1]].map(|share| *share.value.expose_secret());
            for (one, two) in one.into_iter().zip(two) {
                seen[0][usize::from(one)] += 1;
                seen[1][usize::from(two)] += 1;
                seen[2][usize::from(one ^ two)] += 1;
            }
        }
        let looked = if threshold == 2 { 2 } else { 3 };
        for (which, seen) in seen.iter().take(looked).enumerate() {
            let expected = (SPLITS * 32) as f64 / 256.0;
            let squares: f64 = seen
                .iter()
                .map(|count| (f64::from(*count) - expected).powi(2) / expected)
                .sum();
            // 255 degrees of freedom: 430 is passed by chance once in 10^11.
            assert!(squares < 430.0, "{threshold} {secret} {which}: {squares}");
        }
    }
}

#[test]
fn a_share_is_read_in_any_dress() {
    for share in split(3, 16) {
        let shown = text(&share);
        assert_eq!(shown.len(), 94);
        assert_eq!(shown.split('-').count(), 19);
        let plain = shown.replace('-', "");
        for typed in [
            shown.clone(),
            plain.clone(),
            shown.to_lowercase(),
            format!("  {}\n", shown.replace('-', "  ")),
            shown.replace('-', "\u{2013}"),
            format!("SHRl{}", plain[4..].replace('L', "I").replace('0', "O")),
            format!("shri{}", plain[4..].replace('L', "1").replace('8', "B")),
        ] {
            let parsed = Share::parse(&typed).unwrap();
            assert_eq!(text(&parsed), shown);
            assert_eq!(parsed.number(), share.number());
            assert_eq!((parsed.threshold(), parsed.count()), (3, 16));
            assert_eq!(parsed.set(), "09".repeat(7));
            assert!(Share::is_like(&typed));
        }
    }
}

#[test]
fn every_single_mistake_and_every_swap_of_neighbours_is_noticed() {
    let shown = text(&split(2, 3)[1]).replace('-', "").to_lowercase();
    for at in 4..shown.len() {
        for other in ALPHABET {
            let mut typed = shown.clone().into_bytes();
            if typed[at] != *other {
                typed[at] = *other;
                let typed = String::from_utf8(typed).unwrap();
                assert_eq!(refusal(&typed), ShareError::Mistyped);
            }
        }
        if at + 1 < shown.len() && shown.as_bytes()[at] != shown.as_bytes()[at + 1] {
            let mut typed = shown.clone().into_bytes();
            typed.swap(at, at + 1);
            let typed = String::from_utf8(typed).unwrap();
            assert_eq!(refusal(&typed), ShareError::Mistyped);
        }
    }
}

#[test]
fn what_is_wrong_with_a_text_is_told() {
    let shown = text(&split(2, 3)[1]);
    let code = crate::RecoveryCode::generate().unwrap().to_text();
    for typed in ["", "shr", "correct horse", code.expose_secret(), "é"] {
        assert_eq!(refusal(typed), ShareError::NotAShare, "{typed}");
        assert!(!Share::is_like(typed));
    }
    assert_eq!(refusal(&shown[..90]), ShareError::Length { found: 72 });
    let longer = format!("{shown}QQ");
    assert_eq!(refusal(&longer), ShareError::Length { found: 78 });
    let mut typed = shown.clone();
    typed.replace_range(10..11, "é");
    assert_eq!(refusal(&typed), ShareError::Character { group: 3 });
    assert!(Share::is_like(&typed));
}

/// What the numbers of a share say is checked after its checksum: other software may have made it.
#[test]
fn a_share_of_impossible_numbers_or_another_version_is_refused() {
    let written = |counts: [u8; 2]| {
        let mut bytes = [7; SHARE_LEN];
        bytes[SET_LEN..SET_LEN + 2].copy_from_slice(&counts);
        SPELLING.show(&bytes).expose_secret().to_owned()
    };
    assert!(
        Share::parse(&written([0x11, 0x22])).is_ok(),
        "3 of 3, 2 needed"
    );
    for counts in [
        [0x10, 0x22], // one needed
        [0x13, 0x22], // four of three needed
        [0x11, 0x23], // the fourth of three
        [0x01, 0x22],
        [0x21, 0x22],
    ] {
        assert_eq!(refusal(&written(counts)), ShareError::Unsupported);
    }
}

#[test]
fn shares_that_do_not_belong_together_are_named() {
    let shares = split(2, 3);
    let mut other = again(&shares[1]);
    other.set[6] ^= 1;
    let mistaken = [again(&shares[0]), other];
    assert_eq!(not_joined(&mistaken), ShareError::OtherSet { number: 2 });
    for change in [(|share| share.threshold = 3) as fn(&mut Share), |share| {
        share.count = 4
    }] {
        let mut other = again(&shares[2]);
        change(&mut other);
        let mistaken = [again(&shares[0]), other];
        assert_eq!(not_joined(&mistaken), ShareError::OtherSet { number: 3 });
    }
    let twice = [again(&shares[2]), again(&shares[1]), again(&shares[2])];
    assert_eq!(not_joined(&twice), ShareError::Duplicate { number: 3 });

    // A false share among more than are needed: in any place, any bit.
    for at in 0..3 {
        for bit in 0..256 {
            let mut shares: Vec<_> = shares.iter().map(again).collect();
            shares[at].value.expose_secret_mut()[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(not_joined(&shares), ShareError::Inconsistent);
        }
    }
}

#[test]
fn other_numbers_are_refused() {
    for (threshold, count) in [
        (0, 0),
        (0, 3),
        (1, 1),
        (1, 3),
        (4, 3),
        (2, 1),
        (2, 17),
        (17, 17),
    ] {
        let refused = SharesProvider::split(threshold, count);
        assert!(
            matches!(refused, Err(SealError::Invalid { .. })),
            "{threshold} of {count}"
        );
    }
}

#[test]
fn no_two_sets_are_alike() {
    let [(one, mine), (two, theirs)] = [(); 2].map(|()| SharesProvider::split(2, 2).unwrap());
    assert_ne!(one.set, two.set);
    assert_ne!(one.secret.expose_secret(), two.secret.expose_secret());
    assert_ne!(
        mine[0].value.expose_secret(),
        theirs[0].value.expose_secret()
    );
}
