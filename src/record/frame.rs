//! The one framing of the format: `frame(x)` = u32 length (little endian) followed by `x`.

use crate::error::SealError;

/// Where framed bytes are written.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl<const N: usize> Sink for smallvec::SmallVec<[u8; N]> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for crate::wipe::Buffer {
    fn put(&mut self, bytes: &[u8]) {
        self.extend(bytes);
    }
}

/// Appends `frame(bytes)`.
pub(crate) fn put_frame(sink: &mut impl Sink, bytes: &[u8]) -> Result<(), SealError> {
    let len = u32::try_from(bytes.len()).map_err(|_| SealError::TooLarge)?;
    sink.put(&len.to_le_bytes());
    sink.put(bytes);
    Ok(())
}

/// Appends `n u8 ‖ frame(part)…`.
pub(crate) fn put_parts(sink: &mut impl Sink, parts: &[&[u8]]) -> Result<(), SealError> {
    let count = u8::try_from(parts.len()).map_err(|_| SealError::TooLarge)?;
    sink.put(&[count]);
    for part in parts {
        put_frame(sink, part)?;
    }
    Ok(())
}

/// Length of `n u8 ‖ frame(part)…`, `None` on overflow.
pub(crate) fn parts_len(parts: &[&[u8]]) -> Option<usize> {
    parts.iter().try_fold(1usize, |sum, part| {
        sum.checked_add(4)?.checked_add(part.len())
    })
}

/// Reads what the writers above wrote. Every method gives `None` where the bytes do not fit, and
/// no input makes it panic or allocate.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn frame(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(usize::try_from(len).ok()?)
    }

    /// `Some(())` when nothing is left.
    pub(crate) fn end(self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }
}
