//! The folder that the app keeps everything in, and how its store is opened.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sealed_store::store::sqlite::SqliteStore;
use sealed_store::{
    AuditEvent, AuditSink, KeyProvider, Keychain, Keyring, KeyringOptions, SealError,
    SealedBackend, SlotInfo, SqliteKeyring, TracingSink,
};

use super::settings::Settings;
use super::{End, session, terminal};

/// Whose entries they are in the keychain.
const SERVICE: &str = "sealed-store.desktop-unlock";

pub type Store = SealedBackend<SqliteStore>;

/// What the app was started with.
pub struct Arguments {
    folder: PathBuf,
    lock_after: Duration,
}

impl Arguments {
    pub fn read() -> Result<Self> {
        let usage = || End {
            code: End::USAGE,
            words: "usage: desktop_unlock [--lock-after 30s|5m|1h] FOLDER",
        };
        let mut folder = None;
        let mut lock_after = Duration::from_secs(5 * 60);
        let mut arguments = std::env::args_os().skip(1);
        while let Some(argument) = arguments.next() {
            if argument == "--lock-after" {
                let text = arguments.next().ok_or_else(usage)?;
                lock_after = text.to_str().and_then(duration).ok_or_else(usage)?;
            } else if folder.is_none() && !argument.as_encoded_bytes().starts_with(b"-") {
                folder = Some(PathBuf::from(argument));
            } else {
                return Err(usage().into());
            }
        }
        let folder = folder.ok_or_else(usage)?;
        Ok(Self { folder, lock_after })
    }
}

/// `30s`, `5m` or `1h`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(seconds)?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

pub struct App {
    folder: PathBuf,
    db: PathBuf,
    lock_after: Duration,
    pub settings: Arc<Settings>,
    pub keychain: Keychain,
}

impl App {
    pub fn new(arguments: Arguments) -> Result<Self> {
        let folder = arguments.folder;
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&folder);
        made.with_context(|| format!("{} can't be made", folder.display()))?;
        Ok(Self {
            db: folder.join("whatsapp.db"),
            lock_after: arguments.lock_after,
            settings: Arc::new(Settings::load(&folder)?),
            keychain: Keychain::new(SERVICE)?,
            folder,
        })
    }

    /// Held while the app runs. The store itself may be open twice, for its own tools; a client may not run twice.
    pub fn only_one(&self) -> Result<File> {
        let path = self.folder.join("running");
        let file =
            File::create(&path).with_context(|| format!("{} can't be made", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(End {
                code: End::USAGE,
                words: "This folder is in use: the app runs already. Close it there first.",
            }
            .into()),
            Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// The slots of the store, or none if this is the first run. They are read without a key, so they only tell what to try.
    pub async fn slots(&self) -> Result<Option<Vec<SlotInfo>>> {
        match Keyring::unverified_slots(SqliteKeyring::at(&self.db)).await {
            Ok(slots) => Ok(Some(slots)),
            // A first run that was cut short has left a file without a keyring at most: it is simply done again.
            Err(SealError::NoKeyring) if self.settings.get().keyring.is_none() => Ok(None),
            // Never a new store in place of one that was there: that would be the last of the old one.
            Err(SealError::NoKeyring) => bail!(
                "The store is gone from {}, and it was there before. Put a backup of whatsapp.db back; to start over with \
                 nothing, remove the whole folder.",
                self.folder.display()
            ),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the store. It is opened by [`App::open`] afterwards, which proves that the secret opens it.
    pub async fn make(&self, provider: &dyn KeyProvider) -> Result<()> {
        let options = sealed_store::lifecycle::InitOptions::new().label("passphrase");
        sealed_store::lifecycle::init(&self.db, None, provider, options).await?;
        Ok(())
    }

    pub async fn open(&self, provider: &dyn KeyProvider) -> Result<Store, SealError> {
        let watch = Watch(Arc::clone(&self.settings));
        let mut options = KeyringOptions::new().audit(Arc::new(watch));
        // Another store that somebody put here is told from ours, and a missing one is not made anew.
        if let Some(id) = self.settings.get().keyring {
            options = options.pin_id(id);
        }
        let store = sealed_store::open_with(&self.db, provider, options).await?;
        // From the first moment on: a question that nobody answers may stand there for days.
        store.account().keyring().auto_lock(Some(self.lock_after))?;
        Ok(store)
    }

    /// Fails unless `provider` opens the store, and through this slot.
    pub async fn prove(&self, slot: u32, provider: &dyn KeyProvider) -> Result<(), SealError> {
        let options = KeyringOptions::new().slot(slot);
        let opened = options.open(SqliteKeyring::at(&self.db), provider).await?;
        drop(opened);
        Ok(())
    }

    /// Which keyring is ours, from now on.
    pub fn remember_keyring(&self, store: &Store) -> Result<()> {
        let id = store.account().keyring().id();
        match self.settings.get().keyring {
            Some(_) => Ok(()),
            None => self.settings.change(|chosen| chosen.keyring = Some(id)),
        }
    }
}

/// Hears of everything that happens to the keys; the app cares for one of it.
struct Watch(Arc<Settings>);

impl AuditSink for Watch {
    /// Called on the library's own thread, after the keys were wiped: so the person is told while the app waits at its prompt.
    ///
    /// A client that runs is to be disconnected *before* that, or it loses what it saves from here on, and stops saving for good
    /// after ten failures: let a timer of your own, a little shorter than `auto_lock` and restarted with each `touch`, disconnect
    /// it and call `Keyring::lock`; `auto_lock` is for the day on which that timer hangs. After unlocking, build it anew.
    fn record(&self, event: &AuditEvent) {
        if let AuditEvent::KeysWiped { idle: true, .. } = event {
            let mut text =
                "It has locked itself, since nobody used it: its keys are gone from memory."
                    .to_owned();
            if let Err(error) = session::note_locked(&self.0) {
                text.push_str(&format!(
                    " (But the settings could not be written: {error:#}.)"
                ));
            }
            terminal::say_alone(&text);
        }
        TracingSink.record(event);
    }
}
