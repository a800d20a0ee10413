//! How far the plaintext of a record is filled with zeros, so that its length says less.

/// How the plaintext of a record (name, value and their lengths) is padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Padding {
    /// Up to the next multiple of `n` bytes; smaller values than 32 count as 32.
    Multiple(u32),
    /// Padmé (Nikitin et al., PETS 2019): the length keeps only its top bits, at most 12 % more
    /// bytes, and reveals O(log log n) bits of the length.
    Padme,
}

impl Padding {
    /// Length after padding; `None` on overflow. Never less than `len`.
    pub(crate) fn padded_len(self, len: usize) -> Option<usize> {
        match self {
            Self::Multiple(n) => len.checked_next_multiple_of((n.max(32)) as usize),
            Self::Padme => {
                // Padmé is undefined below 2 and leaks much of tiny lengths: start at 32.
                let len = len.max(32);
                let exponent = len.ilog2();
                let kept_bits = exponent.ilog2() + 1;
                let step = 1usize << (exponent - kept_bits);
                len.checked_next_multiple_of(step)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Padding;

    #[test]
    fn multiple_rounds_up_and_never_goes_under_32() {
        assert_eq!(Padding::Multiple(64).padded_len(0), Some(0));
        assert_eq!(Padding::Multiple(64).padded_len(1), Some(64));
        assert_eq!(Padding::Multiple(64).padded_len(64), Some(64));
        assert_eq!(Padding::Multiple(1).padded_len(33), Some(64));
        assert_eq!(Padding::Multiple(64).padded_len(usize::MAX), None);
    }

    #[test]
    fn padme_wastes_at_most_twelve_percent() {
        // L = 9: E = 3, S = 2, one low bit cleared, from the paper's definition.
        for len in 32usize..100_000 {
            let padded = Padding::Padme.padded_len(len).unwrap();
            assert!(padded >= len);
            assert!((padded - len) * 100 <= len * 12, "{len} -> {padded}");
        }
        assert_eq!(Padding::Padme.padded_len(1000), Some(1024));
    }
}
