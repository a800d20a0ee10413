//! Keys that are text, kept as bytes: a token in 16 instead of 26, a name in three quarters.
//!
//! ```text
//! 0 ‖ the text itself                        anything else
//! 1 ‖ token[16]                              26 characters of lowercase base32
//! 2 ‖ token[16] ‖ token[16]                  the same twice, with an @ between
//! 3 ‖ bytes                                  64 or more characters of base64url
//! ```
//!
//! A text has one form: it is packed only where unpacking gives the same text again. A plain store's
//! addresses stay as they are, and those of one user stay neighbours in every form.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use smallvec::SmallVec;

const TEXT: u8 = 0;
const TOKEN: u8 = 1;
const ADDRESS: u8 = 2;
const NAME: u8 = 3;

/// Characters of a token.
const TOKEN_LEN: usize = 26;
/// Shorter names stay text, so that a plain store's short words stay readable.
const LEAST_NAME: usize = 64;

/// A key's bytes; ordinary ones stay off the heap.
pub(crate) type Key = SmallVec<[u8; 160]>;

/// The bytes of `text`.
pub(crate) fn pack(text: &str) -> Key {
    if let Some(token) = token(text) {
        return joined(TOKEN, &[&token]);
    }
    // Of this length only: a name is longer, and not searched.
    if text.len() == 2 * TOKEN_LEN + 1
        && let Some((user, whole)) = text.split_once('@')
        && let (Some(user), Some(whole)) = (token(user), token(whole))
    {
        return joined(ADDRESS, &[&user, &whole]);
    }
    if let Some(name) = name(text) {
        return joined(NAME, &[&name]);
    }
    joined(TEXT, &[text.as_bytes()])
}

/// The text that [`pack`] gave these bytes for, or `None` where it gives no such bytes.
pub(crate) fn unpack(bytes: &[u8]) -> Option<String> {
    let (kind, rest) = bytes.split_first()?;
    // One spelling only: a row must not be there twice under one name. Of the packed forms every one of the right
    // length is that spelling; a text is not where it could have been packed.
    match *kind {
        TEXT => {
            let text = str::from_utf8(rest).ok()?;
            (pack(text)[..] == *bytes).then(|| text.to_owned())
        }
        TOKEN => token_text(rest),
        ADDRESS => {
            let (user, whole) = rest.split_first_chunk::<16>()?;
            Some(format!("{}@{}", token_text(user)?, token_text(whole)?))
        }
        NAME => Some(BASE64URL_NOPAD.encode(rest)).filter(|text| text.len() >= LEAST_NAME),
        _ => None,
    }
}

/// The ranges, from inclusive to exclusive, in which every address of `user` lies.
pub(super) fn ranges_of(user: &str) -> Vec<(Key, Key)> {
    let mut ranges = Vec::with_capacity(3);
    // `user@…` and `user:…`; '@' and ':' are followed by 'A' and ';'.
    for (from, to) in [(b"@", b"A"), (b":", b";")] {
        ranges.push((
            joined(TEXT, &[user.as_bytes(), from]),
            joined(TEXT, &[user.as_bytes(), to]),
        ));
    }
    if let Some(token) = token(user) {
        let from = joined(ADDRESS, &[&token]);
        let mut to = from.clone();
        to.extend_from_slice(&[0xff; 17]);
        ranges.push((from, to));
    }
    ranges
}

fn joined(kind: u8, parts: &[&[u8]]) -> Key {
    let mut key = Key::from_slice(&[kind]);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

fn token(text: &str) -> Option<[u8; 16]> {
    let characters: &[u8; TOKEN_LEN] = text.as_bytes().try_into().ok()?;
    if characters.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut token = [0; 16];
    // Refuses stray bits, so no two texts give one token.
    let len = BASE32_NOPAD
        .decode_mut(&characters.to_ascii_uppercase(), &mut token)
        .ok()?;
    (len == 16).then_some(token)
}

fn token_text(token: &[u8]) -> Option<String> {
    let token: &[u8; 16] = token.try_into().ok()?;
    let mut text = BASE32_NOPAD.encode(token);
    text.make_ascii_lowercase();
    Some(text)
}

fn name(text: &str) -> Option<Vec<u8>> {
    if text.len() < LEAST_NAME {
        return None;
    }
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN_A: &str = "abcdefghijklmnopqrstuvwxye";
    const TOKEN_B: &str = "77777777777777777777777774";

    #[test]
    fn every_text_comes_back_and_no_two_share_a_key() {
        let long = "A".repeat(64);
        let texts = [
            "",
            "@",
            ":",
            "a@b",
            "5511987650001:3@c.us.0",
            "120363021033254949@g.us",
            "\0",
            "é@ü",
            TOKEN_A,
            TOKEN_B,
            // An uppercase token, one with stray bits, one too long.
            "ABCDEFGHIJKLMNOPQRSTUVWXYE",
            "abcdefghijklmnopqrstuvwxyz",
            "abcdefghijklmnopqrstuvwxyea",
            &format!("{TOKEN_A}@{TOKEN_B}"),
            &format!("{TOKEN_A}@{TOKEN_B}@"),
            &format!("{TOKEN_A}:{TOKEN_B}"),
            &format!("{TOKEN_A}@c.us"),
            &long,
            &long[..63],
            &format!("{long}B"),
            &format!("{long}-_"),
            &format!("{long}="),
            &"emoji 😀 ".repeat(2000),
        ];
        let mut keys = std::collections::HashSet::new();
        for text in texts {
            let key = pack(text);
            assert_eq!(unpack(&key).as_deref(), Some(text));
            assert!(keys.insert(key), "{text}");
        }
        assert_eq!(pack(TOKEN_A).len(), 17);
        assert_eq!(pack(&format!("{TOKEN_A}@{TOKEN_B}")).len(), 33);
        assert_eq!(pack(&long).len(), 49);
    }

    #[test]
    fn bytes_that_were_never_packed_give_no_text() {
        for bytes in [
            &[][..],
            &[4],
            &[0, 0xff],
            &[1],
            &[1; 16],
            &[1; 18],
            &[2; 17],
            &[2; 34],
            // A short name.
            &[3; 47],
        ] {
            assert_eq!(unpack(bytes), None, "{bytes:?}");
        }
        // What has a shorter form is not read in the longer one.
        let both = format!("{TOKEN_A}@{TOKEN_B}");
        for text in [TOKEN_A, &both, &"A".repeat(64)] {
            assert_eq!(unpack(&joined(TEXT, &[text.as_bytes()])), None, "{text}");
        }
    }

    #[test]
    fn the_addresses_of_a_user_and_no_others_lie_in_its_ranges() {
        let within = |user: &str, address: &str| {
            let key = pack(address);
            ranges_of(user)
                .iter()
                .any(|(from, to)| *from <= key && key < *to)
        };
        let addresses = |user: &str| {
            [
                format!("{user}@"),
                format!("{user}@c.us"),
                format!("{user}@{TOKEN_B}"),
                format!("{user}@😀"),
                format!("{user}:"),
                format!("{user}:3@c.us.0"),
            ]
        };
        for user in ["5511987650001", "", "a_b%", TOKEN_A] {
            for address in addresses(user) {
                assert!(within(user, &address), "{user} {address}");
            }
            for other in [
                user.to_owned(),
                format!("{user}1@c.us"),
                format!("{user}?c.us"),
                format!("1{user}@c.us"),
            ] {
                assert!(!within(user, &other), "{user} {other}");
            }
        }
        assert!(!within("5511987650001", "551198765000:1@c.us"));
        assert!(!within("A", "a@c.us"));
        assert!(!within(TOKEN_B, &format!("{TOKEN_A}@{TOKEN_B}")));
    }
}
