//! What one row holds: a message's secret, once for each id that its sender is known by.
//!
//! ```text
//! length u32 ‖ sender ‖ length u32 ‖ secret ‖ expires_at i64 ‖ message_ts i64, little-endian, one after the other
//! ```

use crate::store::sqlite::key::Key;

/// A secret under one of its senders.
pub(super) struct Held<'a> {
    /// Packed.
    pub(super) sender: Key,
    pub(super) secret: &'a [u8],
    /// 0 is never.
    pub(super) expires_at: i64,
    pub(super) message_ts: i64,
}

impl Held<'_> {
    /// Whether it is to go at `cutoff`.
    pub(super) fn expired(&self, cutoff: i64) -> bool {
        self.expires_at != 0 && self.expires_at <= cutoff
    }
}

/// Adds `new`, or merges it into what is held under its sender: the later deadline stays, and 0 before any; the
/// message's time is not lost.
pub(super) fn merge<'a>(held: &mut Vec<Held<'a>>, new: Held<'a>) {
    match held.iter_mut().find(|old| old.sender == new.sender) {
        Some(old) => {
            old.secret = new.secret;
            old.expires_at = match (old.expires_at, new.expires_at) {
                (0, _) | (_, 0) => 0,
                (old, new) => old.max(new),
            };
            old.message_ts = old.message_ts.max(new.message_ts);
        }
        None => held.push(new),
    }
}

/// The first deadline, or 0 if there is none.
pub(super) fn first_deadline(held: &[Held<'_>]) -> i64 {
    let deadlines = held.iter().map(|held| held.expires_at);
    deadlines.filter(|time| *time != 0).min().unwrap_or(0)
}

pub(super) fn write(held: &[Held<'_>], into: &mut Vec<u8>) {
    into.clear();
    for held in held {
        for part in [&held.sender[..], held.secret] {
            // SQLite has no values of 4 GiB.
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            into.extend_from_slice(&length.to_le_bytes());
            into.extend_from_slice(part);
        }
        into.extend_from_slice(&held.expires_at.to_le_bytes());
        into.extend_from_slice(&held.message_ts.to_le_bytes());
    }
}

/// `None` for what [`write`] does not write.
pub(super) fn read(mut bytes: &[u8]) -> Option<Vec<Held<'_>>> {
    let mut held = Vec::with_capacity(2);
    while !bytes.is_empty() {
        let sender = part(&mut bytes)?;
        let secret = part(&mut bytes)?;
        let (expires_at, rest) = bytes.split_first_chunk()?;
        let (message_ts, rest) = rest.split_first_chunk()?;
        bytes = rest;
        held.push(Held {
            sender: Key::from_slice(sender),
            secret,
            expires_at: i64::from_le_bytes(*expires_at),
            message_ts: i64::from_le_bytes(*message_ts),
        });
    }
    Some(held)
}

fn part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (part, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some<'a>(sender: &[u8], secret: &'a [u8], expires_at: i64, message_ts: i64) -> Held<'a> {
        Held {
            sender: Key::from_slice(sender),
            secret,
            expires_at,
            message_ts,
        }
    }

    fn plain(held: &[Held<'_>]) -> Vec<(Vec<u8>, Vec<u8>, i64, i64)> {
        let plain = |held: &Held<'_>| {
            (
                held.sender.to_vec(),
                held.secret.to_vec(),
                held.expires_at,
                held.message_ts,
            )
        };
        held.iter().map(plain).collect()
    }

    #[test]
    fn what_is_written_is_read_and_nothing_shorter_is() {
        let held = [
            some(b"", b"", i64::MIN, i64::MAX),
            some(b"one", &[7; 32], 0, 5),
            some(&[9; 300], b"x", 3, -1),
        ];
        let mut bytes = Vec::new();
        write(&held, &mut bytes);
        assert_eq!(plain(&read(&bytes).unwrap()), plain(&held));
        let whole = [0, 24, 24 + 3 + 32 + 24, bytes.len()];
        for length in 0..=bytes.len() {
            let read = read(&bytes[..length]);
            assert_eq!(read.is_some(), whole.contains(&length), "{length}");
        }
    }

    #[test]
    fn a_later_deadline_stays_and_never_before_any() {
        for (old, new, merged) in [(5, 3, 5), (3, 5, 5), (0, 5, 0), (5, 0, 0)] {
            let mut held = vec![some(b"other", b"o", 1, 1), some(b"one", b"a", old, 9)];
            merge(&mut held, some(b"one", b"b", new, 2));
            let expected = [some(b"other", b"o", 1, 1), some(b"one", b"b", merged, 9)];
            assert_eq!(plain(&held), plain(&expected));
        }
        let held = [
            some(b"a", b"", 0, 0),
            some(b"b", b"", 9, 0),
            some(b"c", b"", 4, 0),
        ];
        assert_eq!(first_deadline(&held), 4);
        assert_eq!(first_deadline(&held[..1]), 0);
    }
}
