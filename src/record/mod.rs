//! One sealed record: what its bytes are, and how they are sealed and opened.
//!
//! ```text
//! header    = magic A5 53 ‖ version 01 ‖ suite u8 ‖ generation u32
//! record    = header[8] ‖ nonce[24] ‖ ciphertext ‖ tag[16]
//! plaintext = frame(name) ‖ frame(value) ‖ zeros        name = n u8 ‖ frame(part)…
//! SIV value = header[8] ‖ AES-SIV(k, AD; value)         (RFC 5297, 16 bytes longer than the value)
//! ```

pub(crate) mod context;
pub(crate) mod frame;
mod key;
mod pad;
mod suite;
mod table;

use std::ops::Range;

use zeroize::{Zeroize, Zeroizing};

pub(crate) use context::{HEADER_LEN, Ids, Place};
pub(crate) use key::{DataKey, TableKeys};
pub use pad::Padding;
pub use suite::Suite;
pub(crate) use suite::{Cipher, NONCE_LEN, Nonce, TAG_LEN};
pub use table::Table;

use crate::error::{Fault, SealError};
use frame::{Reader, parts_len, put_frame, put_parts};

/// First bytes of every sealed value. 0xA5 is no valid start of UTF-8 text, of the protobuf records
/// that the client stores, or of a serialised public key.
const MAGIC: [u8; 2] = [0xA5, 0x53];
/// The format version that this build writes and reads.
pub(crate) const VERSION: u8 = 1;

/// The first eight bytes of a sealed value.
pub(crate) struct Header {
    pub(crate) suite: Suite,
    pub(crate) generation: u32,
}

impl Header {
    pub(crate) fn bytes(suite: Suite, generation: u32) -> [u8; HEADER_LEN] {
        let [a, b] = MAGIC;
        let [g0, g1, g2, g3] = generation.to_le_bytes();
        [a, b, VERSION, suite.number(), g0, g1, g2, g3]
    }

    /// Checks magic, version and suite, in this order, and splits the header off.
    pub(crate) fn split(table: Table, bytes: &[u8]) -> Result<(Self, &[u8]), SealError> {
        let mut reader = Reader::new(bytes);
        if reader.array() != Some(MAGIC) {
            return Err(SealError::Unsealed { table: Some(table) });
        }
        let short = || SealError::Corrupt {
            table,
            what: Fault::Length,
        };
        let version = reader.u8().ok_or_else(short)?;
        if version != VERSION {
            return Err(SealError::UnsupportedVersion {
                found: version.into(),
                supported: VERSION.into(),
            });
        }
        let suite = Suite::of_number(reader.u8().ok_or_else(short)?).ok_or(SealError::Corrupt {
            table,
            what: Fault::Suite,
        })?;
        let generation = reader.u32().ok_or_else(short)?;
        Ok((Self { suite, generation }, reader.rest()))
    }
}

/// Seals `value` under the newest key of `keys`, with everything it is bound to.
///
/// One allocation of exactly the record's length; the plaintext exists only inside it, and is
/// encrypted in place.
pub(crate) fn seal(
    keys: &TableKeys,
    place: Place<'_>,
    name: &[&[u8]],
    value: &[u8],
    padding: Padding,
    nonce: &Nonce,
) -> Result<Vec<u8>, SealError> {
    let key = keys.newest()?;
    let aad = place.aad(&key.aad)?;

    let name_len = parts_len(name).ok_or(SealError::TooLarge)?;
    let plain_len = name_len
        .checked_add(value.len())
        .and_then(|n| n.checked_add(8))
        .and_then(|n| padding.padded_len(n))
        .filter(|n| u32::try_from(*n).is_ok())
        .ok_or(SealError::TooLarge)?;
    let start = HEADER_LEN + NONCE_LEN;
    let record_len = plain_len
        .checked_add(start + TAG_LEN)
        .ok_or(SealError::TooLarge)?;

    let mut record = Vec::with_capacity(record_len);
    record.extend_from_slice(&key.header);
    record.extend_from_slice(nonce);
    record.extend_from_slice(
        &u32::try_from(name_len)
            .map_err(|_| SealError::TooLarge)?
            .to_le_bytes(),
    );
    put_parts(&mut record, name)?;
    put_frame(&mut record, value)?;
    record.resize(start + plain_len, 0);
    let plaintext = record.get_mut(start..).unwrap_or_default();
    let tag = key
        .cipher
        .seal_in_place(nonce, &aad, plaintext)
        .map_err(|_| SealError::TooLarge)?;
    record.extend_from_slice(&tag);
    Ok(record)
}

/// A record that verified: the name and the value inside.
pub(crate) struct Opened {
    pub(crate) generation: u32,
    buffer: Zeroizing<Vec<u8>>,
    name: Range<usize>,
    value: Range<usize>,
    table: Table,
}

impl Opened {
    /// The parts of the name inside, exactly `N` of them.
    pub(crate) fn name<const N: usize>(&self) -> Result<[&[u8]; N], SealError> {
        let bad = || SealError::Corrupt {
            table: self.table,
            what: Fault::Name,
        };
        let mut reader = Reader::new(self.buffer.get(self.name.clone()).ok_or_else(bad)?);
        if reader.u8().map(usize::from) != Some(N) {
            return Err(bad());
        }
        let mut parts: [&[u8]; N] = [&[]; N];
        for part in &mut parts {
            *part = reader.frame().ok_or_else(bad)?;
        }
        reader.end().ok_or_else(bad)?;
        Ok(parts)
    }

    /// Fails unless the name inside is exactly `expected`.
    pub(crate) fn check_name<const N: usize>(
        self,
        expected: [&[u8]; N],
    ) -> Result<Self, SealError> {
        if self.name::<N>()? == expected {
            Ok(self)
        } else {
            Err(SealError::Corrupt {
                table: self.table,
                what: Fault::Name,
            })
        }
    }

    pub(crate) fn value(&self) -> &[u8] {
        self.buffer.get(self.value.clone()).unwrap_or_default()
    }

    /// The value alone, in the buffer it was decrypted in; all else in it is wiped.
    pub(crate) fn into_value(mut self) -> Vec<u8> {
        let len = self.value.len();
        self.buffer.copy_within(self.value.clone(), 0);
        self.buffer.get_mut(len..).unwrap_or_default().zeroize();
        let mut value = std::mem::take(&mut *self.buffer);
        value.truncate(len);
        value
    }
}

/// Opens a record at `place`, under whichever retained generation sealed it. It is decrypted in the
/// buffer it comes in.
pub(crate) fn open(
    keys: &TableKeys,
    place: Place<'_>,
    record: Vec<u8>,
) -> Result<Opened, SealError> {
    let table = place.table;
    let corrupt = |what| SealError::Corrupt { table, what };
    let mut buffer = Zeroizing::new(record);
    let (header, rest) = Header::split(table, &buffer)?;
    let key = keys.of(&header)?;
    let generation = header.generation;
    if rest.len() < NONCE_LEN + TAG_LEN {
        return Err(corrupt(Fault::Length));
    }
    let (nonce, text) = buffer
        .get_mut(HEADER_LEN..)
        .and_then(<[u8]>::split_first_chunk_mut::<NONCE_LEN>)
        .ok_or_else(|| corrupt(Fault::Length))?;
    let (text, tag) = text
        .split_last_chunk_mut::<TAG_LEN>()
        .ok_or_else(|| corrupt(Fault::Length))?;
    key.cipher
        .open_in_place(nonce, &place.aad(&key.aad)?, text, tag)
        .map_err(|_| corrupt(Fault::Authentication))?;

    let mut reader = Reader::new(text);
    let name_len = reader.frame().ok_or_else(|| corrupt(Fault::Length))?.len();
    let value_len = reader.frame().ok_or_else(|| corrupt(Fault::Length))?.len();
    if reader.rest().iter().any(|byte| *byte != 0) {
        return Err(corrupt(Fault::Padding));
    }
    let name_at = HEADER_LEN + NONCE_LEN + 4;
    let name = name_at..name_at + name_len;
    let value = name.end + 4..name.end + 4 + value_len;
    Ok(Opened {
        generation,
        buffer,
        name,
        value,
        table,
    })
}

/// Seals a fixed-size or compared value without a nonce: equal values of one row give equal bytes.
/// Returns `header ‖ SIV of the value`.
pub(crate) fn siv_seal(
    key: &DataKey,
    table: Table,
    name: &[&[u8]],
    value: &[u8],
) -> Result<Vec<u8>, SealError> {
    let siv = key.siv(table)?;
    let aad = context::siv_aad(&siv.aad, name)?;
    let mut bytes = Vec::with_capacity(HEADER_LEN + TAG_LEN + value.len());
    bytes.extend_from_slice(&key.header);
    bytes.extend_from_slice(&[0; TAG_LEN]);
    bytes.extend_from_slice(value);
    siv.key
        .encrypt(Some(&aad), bytes.get_mut(HEADER_LEN..).unwrap_or_default())?;
    Ok(bytes)
}

/// The generation that the header of a sealed value names.
pub(crate) fn generation(table: Table, bytes: &[u8]) -> Result<u32, SealError> {
    let (header, _) = Header::split(table, bytes)?;
    Ok(header.generation)
}

/// Opens `header ‖ SIV of a value`.
pub(crate) fn siv_open(
    keys: &TableKeys,
    table: Table,
    name: &[&[u8]],
    bytes: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (header, sealed) = Header::split(table, bytes)?;
    let siv = keys.of(&header)?.siv(table)?;
    let aad = context::siv_aad(&siv.aad, name)?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let value = siv
        .key
        .decrypt(Some(&aad), &mut buffer)
        .ok_or(SealError::Corrupt {
            table,
            what: Fault::Authentication,
        })?;
    Ok(Zeroizing::new(value.to_vec()))
}
