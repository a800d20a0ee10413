//! Altered records, and what each must be refused for.

use sealed_store::{Fault, Table};

use super::reading::{MOVED, Why};

const HEADER: usize = 8;
const NONCE_AND_TAG: usize = 24 + 16;

/// What an altered record must be refused for, by the order of the checks: magic, version, suite,
/// generation and length come before the cipher. Only generation 1 exists here.
pub fn refusal(table: Table, original: &[u8], altered: &[u8]) -> Why {
    let Some(magic) = altered.get(..2) else {
        return Why::Unsealed;
    };
    if magic != &original[..2] {
        return Why::Unsealed;
    }
    match altered.get(2) {
        None => return Why::Corrupt(Fault::Length),
        Some(1) => {}
        Some(_) => return Why::UnsupportedVersion,
    }
    match altered.get(3) {
        None => return Why::Corrupt(Fault::Length),
        Some(1 | 2) => {}
        Some(_) => return Why::Corrupt(Fault::Suite),
    }
    match altered.get(4..HEADER) {
        None => return Why::Corrupt(Fault::Length),
        Some([1, 0, 0, 0]) => {}
        Some(_) => return Why::UnknownGeneration,
    }
    if altered[3] != original[3] {
        return Why::Corrupt(Fault::Suite);
    }
    if table == Table::MsgSecret {
        let zeros = &altered[HEADER..16];
        return match (altered.len(), zeros == [0; 8]) {
            (64, false) => Why::Corrupt(Fault::Padding),
            _ => MOVED,
        };
    }
    if altered.len() < HEADER + NONCE_AND_TAG {
        return Why::Corrupt(Fault::Length);
    }
    MOVED
}

/// One bit turned.
pub fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut altered = bytes.to_vec();
    altered[bit / 8] ^= 1 << (bit % 8);
    altered
}

/// Every length but its own.
pub fn resized(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let shorter = (0..bytes.len()).map(|len| bytes[..len].to_vec());
    let longer = [1, 16].map(|more| [bytes, &vec![0; more]].concat());
    shorter.chain(longer)
}
