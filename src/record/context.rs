//! What a record is bound to: its associated data.

use smallvec::SmallVec;

use super::frame::{put_frame, put_parts};
use super::table::Table;
use crate::error::SealError;

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
    /// `beginning ‖ parts(inner key) ‖ parts(clear fields)`
    pub(crate) fn aad(&self, beginning: &[u8]) -> Result<Aad, SealError> {
        let mut aad = Aad::from_slice(beginning);
        put_parts(&mut aad, self.key)?;
        put_parts(&mut aad, self.clear)?;
        Ok(aad)
    }
}

/// `beginning ‖ parts(full name)`, for an SIV value.
pub(crate) fn siv_aad(beginning: &[u8], name: &[&[u8]]) -> Result<Aad, SealError> {
    let mut aad = Aad::from_slice(beginning);
    put_parts(&mut aad, name)?;
    Ok(aad)
}

/// `frame(label) ‖ header ‖ ids ‖ table u16`, how all associated data of one data key begins.
pub(super) fn beginning(
    label: &[u8],
    ids: &Ids,
    header: &[u8; HEADER_LEN],
    table: Table,
) -> Result<Vec<u8>, SealError> {
    let mut bytes = Vec::new();
    put_frame(&mut bytes, label)?;
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(&ids.keyring);
    bytes.extend_from_slice(&ids.account);
    bytes.extend_from_slice(&table.number().to_le_bytes());
    Ok(bytes)
}
