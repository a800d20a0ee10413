//! Wiping what can not be wiped by a destructor, and a buffer that wipes what it leaves behind.

#[cfg(all(test, target_os = "linux", feature = "testing"))]
mod depth;

use std::io;

use zeroize::{Zeroize, Zeroizing};

/// Bytes of stack that are wiped after work on rows, and after all else that is secret. Ciphers and
/// hashes leave round keys and midstates there, because Rust moves values by copying them. `depth.rs`
/// measures how deep they write, and wants a quarter more. Optimised, rows were seen to use 6 kB with
/// `aes` 0.9.2 and 12 kB with 0.9.4, whose VAES code spreads the round keys over the stack.
const ROW: usize = if cfg!(debug_assertions) { 64 } else { 16 } * 1024;
const DEEP: usize = if cfg!(debug_assertions) { 64 } else { 32 } * 1024;

/// Runs secret work in a frame of its own, then wipes the stack it used.
pub(crate) fn after<T>(work: impl FnOnce() -> T) -> T {
    run::<DEEP, T>(work)
}

/// As [`after`], for what every row costs: ciphers and tokens, and nothing that calls deeper.
pub(crate) fn after_row<T>(work: impl FnOnce() -> T) -> T {
    run::<ROW, T>(work)
}

fn run<const STACK: usize, T>(work: impl FnOnce() -> T) -> T {
    #[inline(never)]
    fn in_own_frame<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    #[cfg(all(test, target_os = "linux", feature = "testing"))]
    depth::before(STACK);
    let result = in_own_frame(work);
    #[cfg(all(test, target_os = "linux", feature = "testing"))]
    depth::after();
    zeroize::zeroize_stack::<STACK>();
    #[cfg(all(test, target_os = "linux", feature = "testing"))]
    depth::clear();
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
