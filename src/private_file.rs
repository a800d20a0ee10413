//! Files that only their owner may read, whatever the umask.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

/// SQLite makes files 0644: make it first, before SQLite holds any descriptor of it.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    match options().write(true).create_new(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Options that make a file with mode 0600.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Takes from all others what they may do with a database and the files beside it. By path, for a
/// descriptor of ours must not be closed on a file that SQLite has open.
pub(crate) fn tighten(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    // What SQLite makes beside a link it makes beside the file that the link leads to.
    let path = &match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        real => real?,
    };
    #[cfg(unix)]
    for suffix in ["", "-wal", "-shm", "-journal"] {
        use std::os::unix::fs::PermissionsExt;
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        let made = fs::metadata(&file).and_then(|metadata| {
            if metadata.permissions().mode() & 0o077 == 0 {
                return Ok(());
            }
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
        });
        match made {
            // Not there, or no longer: the last connection takes the log with it when it closes.
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether others can write the file, or its folder, where they could replace it; behind a link as well.
pub(crate) fn others_can_write(path: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|real| real != path && others_can_write_at(&real))
        || others_can_write_at(path)
}

fn others_can_write_at(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        [path, folder].iter().any(|place| {
            // In a sticky folder nobody replaces what is another's.
            fs::metadata(place).is_ok_and(|metadata| {
                let mode = metadata.permissions().mode();
                mode & 0o022 != 0 && mode & 0o1000 == 0
            })
        })
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// Whether others than the owner may read the file.
pub(crate) fn others_can_read(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o044 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

/// Makes a file that is not there yet, with `content`, and waits for the disk. It has its name only once it is whole:
/// whoever is killed leaves half of it under a name of ours, which the next run takes away.
pub(crate) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".sealed-store-part");
    let part = Path::new(&part);
    gone(part)?;
    // Before anything is written, and once more by the name itself.
    if fs::symlink_metadata(path).is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let mut file = options().write(true).create_new(true).open(part)?;
    let written = io::Write::write_all(&mut file, content)
        .and_then(|()| file.sync_all())
        .and_then(|()| name(part, path));
    drop(file);
    let removed = gone(part);
    written.and(removed)?;
    sync_folder(path).inspect_err(|_| {
        // Who is told that it failed finds none.
        let _ = fs::remove_file(path);
    })
}

/// Gives a file a name that no other file has.
fn name(part: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(part, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // Where a file has one name only: nobody had this one a moment ago.
        Err(_) if fs::symlink_metadata(path).is_err() => fs::rename(part, path),
        other => other,
    }
}

/// Removes a file that may not be there.
fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        fs::File::open(folder)?.sync_all()
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Ok(())
    }
}
