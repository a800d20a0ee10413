//! What the person has chosen, in a small file. Nothing in it is secret. Whoever alters it can make the app ask more, offer again
//! what was declined, or let the keychain open a store that had locked itself: as a program of this login he could ask the keychain himself.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chosen {
    /// Which keyring is ours: a store that is gone, or another one in its place, is noticed by it.
    pub keyring: Option<[u8; 16]>,
    /// No keychain; not offered again.
    pub keychain_declined: bool,
    /// No recovery code; not offered again.
    pub recovery_declined: bool,
    /// It was locked and not unlocked since: the keychain does not open it, see `unlocking.rs`.
    pub is_locked: bool,
}

pub struct Settings {
    path: PathBuf,
    chosen: Mutex<Chosen>,
}

impl Settings {
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("settings.json");
        let chosen = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged; remove it", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Chosen::default(),
            Err(error) => return Err(error).context(format!("{} can't be read", path.display())),
        };
        let chosen = Mutex::new(chosen);
        Ok(Self { path, chosen })
    }

    pub fn get(&self) -> Chosen {
        let chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        chosen.clone()
    }

    /// Kept in memory also where the file can't be written.
    pub fn change(&self, change: impl FnOnce(&mut Chosen)) -> Result<()> {
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut chosen);
        let text = serde_json::to_vec_pretty(&*chosen)?;
        self.write(&text)
            .with_context(|| format!("{} can't be written", self.path.display()))
    }

    /// Whole or not at all, also where the power fails.
    fn write(&self, text: &[u8]) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)
    }
}
