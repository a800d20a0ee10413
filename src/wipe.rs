//! Wiping what can not be wiped by a destructor, and a buffer that wipes what it leaves behind.

use std::io;

use zeroize::{Zeroize, Zeroizing};

/// Bytes of stack to overwrite, about twice what was seen to be used: with the memory test, our code
/// optimised left residue at 8 KiB and none at 12, unoptimised it left some at 24 and none at 32.
const STACK: usize = if cfg!(debug_assertions) { 64 } else { 32 } * 1024;

/// Overwrites the stack below the caller. Ciphers and hashes leave round keys and midstates there,
/// because Rust moves values by copying them. Call it after a secret computation that was made in a
/// function of its own, marked `#[inline(never)]`.
pub(crate) fn stack() {
    zeroize::zeroize_stack::<STACK>();
}

/// Runs `work` in a frame of its own, then wipes the stack it used.
pub(crate) fn after<T>(work: impl FnOnce() -> T) -> T {
    #[inline(never)]
    fn in_own_frame<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    let result = in_own_frame(work);
    stack();
    result
}

/// A growing buffer that never leaves a copy of its content in freed memory.
#[derive(Default)]
pub(crate) struct Buffer(Zeroizing<Vec<u8>>);

impl Buffer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.max(self.0.capacity() * 2));
            larger.extend_from_slice(&self.0);
            self.0.zeroize();
            self.0 = Zeroizing::new(larger);
        }
        self.0.extend_from_slice(bytes);
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
