//! A disk that is full, and what an error must say then.
#![allow(dead_code, reason = "each test file uses a part")]

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use sealed_store::lifecycle::LifecycleError;
use sealed_store::store::sqlite::{SqliteFault, SqliteFaultKind};
use sealed_store::{SealError, StoreFaultKind};

/// It says that the disk is full, or failed, in its type and in words that say what to do.
pub fn is_advice(error: &LifecycleError) {
    let is_of_disk = |fault: SqliteFault| {
        use SqliteFaultKind as Kind;
        matches!(fault.kind(), Kind::Full | Kind::Io | Kind::LogLeft)
    };
    let typed = match error {
        LifecycleError::Sqlite(fault) => is_of_disk(*fault),
        LifecycleError::Io(error) => error.kind() == std::io::ErrorKind::StorageFull,
        LifecycleError::Seal(SealError::Keyring(fault)) => fault.kind() == StoreFaultKind::Io,
        LifecycleError::Seal(SealError::Inner(error)) => {
            SqliteFault::of(error).copied().is_some_and(is_of_disk)
        }
        _ => false,
    };
    assert!(typed, "{error:?}");
    let mut layer: Option<&(dyn Error + 'static)> = Some(error);
    let mut says = false;
    while let Some(current) = layer {
        let text = current.to_string();
        says |= text.contains("space") || text.contains("disk is full");
        layer = current.source();
    }
    assert!(says, "no word of a full disk: {error} {error:?}");
}

/// A file that takes up what room a disk has.
pub struct Ballast(PathBuf);

impl Ballast {
    /// Fills the disk of `folder` up to `room` bytes.
    pub fn fill(folder: &Path, room: u64) -> Self {
        let path = folder.join("ballast");
        let mut file = File::create(&path).unwrap();
        let mut size = 0u64;
        // As much as there is, and then less.
        while file.write_all(&[1; 4096]).is_ok() {
            size += 4096;
        }
        file.set_len(size.saturating_sub(room)).unwrap();
        Self(path)
    }

    pub fn remove(self) {
        std::fs::remove_file(self.0).unwrap();
    }
}
