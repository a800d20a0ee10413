//! A new file in the place of an old one: whole at every moment, and the old one destroyed.
//!
//! All that is on the disk besides the store is in a folder of its own beside it, `<store>.sealed-store-work`:
//!
//! ```text
//! state      which task made the folder; held with a lock of the system while the task runs
//! new        the new file, with whatever SQLite has beside it
//! swapping   written and synced once `new` is whole: the file numbers of the old file and of the new one
//! old        a second name of the old file, made after `swapping` and before `new` is renamed over the store
//! ```
//!
//! So a later run can tell what was left: the store's file number says whether the rename came about. If it did, the old
//! file is destroyed now; if not, its second name goes.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::error::LifecycleError;
use super::step::step;
use crate::private_file;

type Result<T> = std::result::Result<T, LifecycleError>;

/// What a task leaves on the disk, in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Encrypt,
    Decrypt,
}

/// First line of `state`.
const MAGIC: &str = "sealed-store work folder 1\n";

impl Task {
    const fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt\n",
            Self::Decrypt => "decrypt\n",
        }
    }
}

/// Names of what may be in the folder, in the order in which it is removed: `state` last.
const NAMES: [&str; 8] = [
    "new-journal",
    "new-wal",
    "new-shm",
    "new.keyring-lock",
    "new",
    "old",
    "swapping",
    "state",
];

/// Bytes that are overwritten at once.
const CHUNK: usize = 1 << 20;

/// `path` with something appended to its last part.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn folder_of(store: &Path) -> PathBuf {
    beside(store, ".sealed-store-work")
}

/// The folder of a running task. Dropped, it is removed with all that is in it, and the store stays as it is.
pub(super) struct Work {
    store: PathBuf,
    folder: PathBuf,
    task: Task,
    /// Held until the folder is gone.
    _state: File,
    done: bool,
}

/// What an earlier run had left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftOver {
    Nothing,
    /// Half a file, which was removed: the store is as it was.
    Abandoned,
    /// The old file, after the new one had taken its place: it was destroyed.
    Finished,
}

/// Whether an earlier run of this or another task left something, or runs now.
pub(super) fn is_left_over(store: &Path) -> bool {
    fs::symlink_metadata(folder_of(store)).is_ok()
}

/// Clears what an earlier run left.
pub(super) fn recover(store: &Path) -> Result<LeftOver> {
    let folder = folder_of(store);
    match fs::symlink_metadata(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(LeftOver::Nothing),
        Err(error) => return Err(error.into()),
        Ok(about) if !about.is_dir() || !is_private(&about, store)? => return Err(stranger()),
        Ok(_) => {}
    }
    let path = folder.join("state");
    let state = match private_file::options().read(true).write(true).open(&path) {
        Ok(state) => state,
        // Killed before it was made. A folder with anything in it is somebody else's.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match fs::remove_dir(&folder) {
                Ok(()) => Ok(LeftOver::Abandoned),
                Err(_) => Err(stranger()),
            };
        }
        Err(error) => return Err(error.into()),
    };
    match state.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(LifecycleError::InUse),
        Err(fs::TryLockError::Error(error)) => return Err(error.into()),
    }
    let mut text = String::new();
    (&state).take(256).read_to_string(&mut text)?;
    let task = match text.strip_prefix(MAGIC) {
        Some("encrypt\n") => Task::Encrypt,
        Some("decrypt\n") => Task::Decrypt,
        // Killed while it was written: then nothing else is there.
        _ if MAGIC.starts_with(&text) || text.starts_with(MAGIC) => Task::Decrypt,
        _ => return Err(stranger()),
    };
    let work = Work {
        store: store.to_owned(),
        folder,
        task,
        _state: state,
        done: true,
    };
    let finished = work.recover()?;
    work.remove()?;
    Ok(if finished {
        LeftOver::Finished
    } else {
        LeftOver::Abandoned
    })
}

/// Whether nobody but the store's owner, or root, can have put anything into the folder: what it says is destroyed.
#[cfg(unix)]
fn is_private(folder: &fs::Metadata, store: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(store)?.uid();
    Ok(folder.mode() & 0o077 == 0 && [owner, 0].contains(&folder.uid()))
}

#[cfg(not(unix))]
fn is_private(_: &fs::Metadata, _: &Path) -> io::Result<bool> {
    Ok(true)
}

fn stranger() -> LifecycleError {
    LifecycleError::Invalid {
        what: "a file or folder whose name ends in .sealed-store-work is beside the store, and this program did not make it; look at it and move it away",
    }
}

impl Work {
    /// Makes the folder.
    pub(super) fn begin(store: &Path, task: Task) -> Result<Self> {
        let folder = folder_of(store);
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(&folder)
            .map_err(|error| match error.kind() {
                // Cleared a moment ago: somebody else began.
                ErrorKind::AlreadyExists => LifecycleError::InUse,
                _ => error.into(),
            })?;
        step("folder");
        let state = private_file::options()
            .write(true)
            .create_new(true)
            .open(folder.join("state"))?;
        let mut work = Self {
            store: store.to_owned(),
            folder,
            task,
            _state: state,
            done: false,
        };
        if work._state.try_lock().is_err() {
            // Somebody is about to clear the folder of a run that was killed: this one.
            work.done = true;
            return Err(LifecycleError::InUse);
        }
        work._state
            .write_all([MAGIC, task.name()].concat().as_bytes())?;
        work._state.sync_all()?;
        step("state");
        private_file::create(&work.new_file())?;
        Ok(work)
    }

    /// The new file, empty at first, which only its owner can read.
    pub(super) fn new_file(&self) -> PathBuf {
        self.folder.join("new")
    }

    /// Puts the new file, which nobody has open, in the place of the store, which `held` holds; and destroys the old one,
    /// or keeps it under another name. After an error the store is what it was, or what it is to be.
    pub(super) fn swap(mut self, held: Connection, keep: Option<&Path>) -> Result<()> {
        let new = self.new_file();
        for suffix in ["-journal", "-wal", "-shm"] {
            gone(&beside(&new, suffix))?;
        }
        give(&new, &self.store)?;
        File::open(&new)?.sync_all()?;
        sync_folder(&self.folder)?;
        step("synced");
        // Of the store SQLite has no file left beside it: it is held in the mode without a log.
        for suffix in ["-wal", "-shm", "-journal"] {
            if fs::symlink_metadata(beside(&self.store, suffix)).is_ok() {
                return Err(LifecycleError::InUse);
            }
        }
        let numbers = (number(&self.store)?, number(&new)?);
        let mut swapping = private_file::options()
            .write(true)
            .create_new(true)
            .open(self.folder.join("swapping"))?;
        writeln!(swapping, "{} {}", numbers.0, numbers.1)?;
        swapping.sync_all()?;
        drop(swapping);
        sync_folder(&self.folder)?;
        step("swapping");
        if let Some(keep) = keep {
            name_again(&self.store, keep)?;
            sync_folder(folder(keep))?;
            step("kept");
        }
        let old = self.folder.join("old");
        // Opened before the rename, where a second name can't be had. (Closing it earlier would take SQLite's own hold of
        // the file away.)
        let mut opened = None;
        if keep.is_none() && fs::hard_link(&self.store, &old).is_err() {
            opened = Some(File::options().read(true).write(true).open(&self.store)?);
        }
        sync_folder(&self.folder)?;
        step("named");
        // What is asked for is done from here on, also if something fails: a later run clears the rest.
        #[cfg(not(unix))]
        drop(held);
        if let Err(error) = fs::rename(&new, &self.store) {
            if let Some(keep) = keep {
                // It is the store itself, which stays.
                let _ = fs::remove_file(keep);
            }
            return Err(error.into());
        }
        self.done = true;
        step("renamed");
        sync_folder(folder(&self.store))?;
        step("placed");
        #[cfg(unix)]
        drop(held);
        match &mut opened {
            Some(file) => overwrite(file)?,
            None => destroy(&old)?,
        }
        drop(opened);
        self.forget_lock()?;
        step("destroyed");
        self.remove()
    }

    /// Finishes, or undoes, what an earlier run left; says which.
    fn recover(&self) -> Result<bool> {
        // Cut short while it was written: nothing was renamed yet, and there is no second name.
        let Some((before, after)) = self.swapping()? else {
            return Ok(false);
        };
        let old = self.folder.join("old");
        let second = match number(&old) {
            Ok(second) if second != before => return Err(odd()),
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error.into()),
        };
        let store = number(&self.store)?;
        if store == after {
            destroy(&old)?;
            self.forget_lock()?;
            return Ok(true);
        }
        if second && store != before {
            return Err(odd());
        }
        // The same file, or none: only its second name goes.
        gone(&old)?;
        Ok(false)
    }

    /// A store in the clear has no keyring, whose openers would be told apart by this file.
    fn forget_lock(&self) -> io::Result<()> {
        if self.task == Task::Decrypt {
            gone(&beside(&self.store, ".keyring-lock"))?;
        }
        Ok(())
    }

    /// The file numbers of the old file and of the new one, once they are written whole.
    fn swapping(&self) -> Result<Option<(String, String)>> {
        let text = match fs::read_to_string(self.folder.join("swapping")) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let numbers = text
            .strip_suffix('\n')
            .and_then(|line| line.split_once(' '));
        Ok(numbers.map(|(before, after)| (before.to_owned(), after.to_owned())))
    }

    /// Removes the folder. What a decryption left in it is overwritten first.
    fn remove(&self) -> Result<()> {
        for name in NAMES {
            let path = self.folder.join(name);
            if self.task == Task::Decrypt && name.starts_with("new") {
                destroy(&path)?;
            } else {
                gone(&path)?;
            }
        }
        fs::remove_dir(&self.folder)?;
        sync_folder(folder(&self.store))?;
        step("cleared");
        Ok(())
    }
}

fn odd() -> LifecycleError {
    LifecycleError::Invalid {
        what: "an earlier run was cut short, and the store was replaced since; in the folder beside it whose name ends in .sealed-store-work is the file that was there before: look at it, and move the folder away",
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.done {
            // The error that led here is the one that is told; a later run clears the rest.
            let _ = fs::remove_file(self.folder.join("old"));
            let _ = self.remove();
        }
    }
}

/// Gives the file a second name. One that it has already is taken for it.
fn name_again(path: &Path, name: &Path) -> Result<()> {
    match fs::hard_link(path, name) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if number(path)? == number(name)? {
                return Ok(());
            }
            Err(LifecycleError::Invalid {
                what: "there is a file where the old one is to be kept; name another, or remove it",
            })
        }
        Err(error) if error.kind() == ErrorKind::CrossesDevices => Err(LifecycleError::Invalid {
            what: "the old file can be kept only on the disk that it is on; name another place, and copy it from there",
        }),
        Err(error) => Err(error.into()),
    }
}

/// Fails where the file has names besides these: whoever made them means to keep what is in it.
pub(super) fn check_names(store: &Path, keep: Option<&Path>) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let about = fs::metadata(store)?;
        let kept = keep
            .and_then(|keep| fs::metadata(keep).ok())
            .is_some_and(|keep| (keep.dev(), keep.ino()) == (about.dev(), about.ino()));
        if about.nlink() > 1 + u64::from(kept) {
            return Err(LifecycleError::Invalid {
                what: "the store's file has a second name (a hard link), and what is in it would be destroyed under that name too; remove it, or make a copy",
            });
        }
    }
    if keep.is_some_and(|keep| fs::symlink_metadata(keep).is_ok()) {
        return name_again(store, keep.unwrap_or(store));
    }
    Ok(())
}

/// A file's number, by which it is known again under another name.
fn number(path: &Path) -> io::Result<String> {
    let about = fs::symlink_metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Ok(format!("{}:{}", about.dev(), about.ino()))
    }
    #[cfg(not(unix))]
    {
        // Both times are kept by a rename, and no two files have both.
        let time = |time: io::Result<std::time::SystemTime>| {
            time.ok()
                .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
                .map_or(0, |since| since.as_nanos())
        };
        Ok(format!("{}:{}", time(about.created()), about.len()))
    }
}

/// Gives the new file the old one's owner: who is root works on stores of others.
fn give(new: &Path, store: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, chown};
        let (made, wanted) = (fs::metadata(new)?, fs::metadata(store)?);
        if (made.uid(), made.gid()) != (wanted.uid(), wanted.gid()) {
            chown(new, Some(wanted.uid()), Some(wanted.gid())).map_err(|error| match error.kind() {
                ErrorKind::PermissionDenied => LifecycleError::Invalid {
                    what: "the store belongs to another user, who could not open the new file; do this as that user",
                },
                _ => error.into(),
            })?;
        }
    }
    #[cfg(not(unix))]
    let _ = (new, store);
    Ok(())
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Removes a file that may not be there.
fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Overwrites a file that may not be there, and removes it.
fn destroy(path: &Path) -> io::Result<()> {
    // Of a link, only the link is ours.
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_file() => {
            let mut file = File::options().write(true).open(path)?;
            overwrite(&mut file)?;
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    gone(path)
}

/// Overwrites what is in a file with zeros, from the start: it is no database then, to whoever still has it open, and
/// never an empty one. What the disk itself keeps of the old content is beyond a program's reach.
fn overwrite(file: &mut File) -> io::Result<()> {
    let mut left = file.metadata()?.len();
    let zeros = vec![0; CHUNK];
    file.seek(SeekFrom::Start(0))?;
    while left > 0 {
        let some = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        file.write_all(zeros.get(..some).unwrap_or(&zeros))?;
        if u64::try_from(some).unwrap_or(u64::MAX) < left {
            step("overwriting");
        }
        left -= some as u64;
    }
    file.sync_all()?;
    step("overwritten");
    Ok(())
}
