//! What a record is bound to: its associated data.

use smallvec::SmallVec;

use super::frame::{put_frame, put_parts};
use super::table::Table;
use crate::error::SealError;
use crate::labels;

/// Length of a header in bytes.
pub(crate) const HEADER_LEN: usize = 8;

/// Associated data; long names spill to the heap, ordinary ones do not.
pub(crate) type Aad = SmallVec<[u8; 320]>;

/// Whose keys these are: bound into everything they seal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) keyring: [u8; 16],
    pub(crate) account: [u8; 16],
}

/// The place of a record: its table, the key of its row in the inner store, and the fields of the
/// row that stay in the clear beside it.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: Table,
    pub(crate) key: &'a [&'a [u8]],
    pub(crate) clear: &'a [&'a [u8]],
}

impl Place<'_> {
    /// `frame(label) ‖ header ‖ ids ‖ table u16 ‖ parts(inner key) ‖ parts(clear fields)`
    pub(crate) fn aad(&self, ids: &Ids, header: &[u8; HEADER_LEN]) -> Result<Aad, SealError> {
        let mut aad = start(labels::RECORD_AD, ids, header, self.table)?;
        put_parts(&mut aad, self.key)?;
        put_parts(&mut aad, self.clear)?;
        Ok(aad)
    }
}

/// `frame(label) ‖ header ‖ ids ‖ table u16 ‖ parts(full name)`, for an SIV value.
pub(crate) fn siv_aad(
    ids: &Ids,
    header: &[u8; HEADER_LEN],
    table: Table,
    name: &[&[u8]],
) -> Result<Aad, SealError> {
    let mut aad = start(labels::SIV_AD, ids, header, table)?;
    put_parts(&mut aad, name)?;
    Ok(aad)
}

fn start(
    label: &[u8],
    ids: &Ids,
    header: &[u8; HEADER_LEN],
    table: Table,
) -> Result<Aad, SealError> {
    let mut aad = Aad::new();
    put_frame(&mut aad, label)?;
    aad.extend_from_slice(header);
    aad.extend_from_slice(&ids.keyring);
    aad.extend_from_slice(&ids.account);
    aad.extend_from_slice(&table.number().to_le_bytes());
    Ok(aad)
}
