//! The lock file of a directory on a share: one, empty for ever, of which names lock bytes. It has
//! no byte on the disk, and is opened anew for each lock, since a lock belongs to the open file
//! (fcntl_locking(2)).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use super::host_lock::{lock_range, note, unlock_range};
use super::linux::fresh_stat;
use super::unix::Unlock;

const NAME: &str = crate::names::DIR_LOCK;

/// A file that was removed meanwhile locks nobody out.
const REMOVED: u32 = 10;

/// To the end of the file and beyond (fcntl_locking(2)).
const ALL: (u64, u64) = (0, 0);

pub(in crate::sys) fn lock_in_dir(dir: &Path, byte: u64) -> io::Result<Unlock> {
    let path = dir.join(NAME);
    for _ in 0..REMOVED {
        let file = match open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make(dir, &path)?;
                continue;
            }
            opened => opened?,
        };
        lock_range(&file, byte, 1).map_err(locked)?;
        if is_there(&path, &file)? {
            let noted = note(&file);
            return Ok(Unlock::Byte(noted, file, byte));
        }
        unlock_range(&file, byte, 1);
    }
    Err(io::Error::other(
        "the directory's lock file is being removed",
    ))
}

/// Whoever has opened it by now and locks it later finds that it was removed.
pub(in crate::sys) fn remove_lock_in_dir(dir: &Path) -> io::Result<()> {
    let path = dir.join(NAME);
    let file = open(&path)?;
    lock_range(&file, ALL.0, ALL.1).map_err(locked)?;
    let removed = match is_there(&path, &file)? {
        true => std::fs::remove_file(&path),
        false => Ok(()),
    };
    unlock_range(&file, ALL.0, ALL.1);
    removed
}

/// Asked of the server, and by name: another host may have removed it, and NFS keeps what it removes
/// itself under another name while somebody has it open.
fn is_there(path: &Path, file: &File) -> io::Result<bool> {
    match fresh_stat(path) {
        Ok(now) => Ok(now.ino == file.metadata()?.ino()),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// fcntl(2) allows both numbers for a lock that somebody else holds.
fn locked(e: io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(libc::EACCES) => io::Error::from_raw_os_error(libc::EAGAIN),
        _ => e,
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// For all who may write in the directory, whoever makes it and whatever the umask: it has its owner
/// and mode before it has its name, where there are links.
fn make(dir: &Path, path: &Path) -> io::Result<()> {
    let of_dir = std::fs::metadata(dir)?;
    let writers = of_dir.mode() & 0o222;
    let create = |path: &Path| -> io::Result<()> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        // Best effort: who is shut out is told so when it locks.
        let _ = fchown(&file, Some(of_dir.uid()), Some(of_dir.gid()))
            .or_else(|_| fchown(&file, None, Some(of_dir.gid())));
        let _ = file.set_permissions(PermissionsExt::from_mode(writers | writers << 1));
        Ok(())
    };
    let draft = crate::names::private_path(path);
    create(&draft)?;
    let linked = std::fs::hard_link(&draft, path);
    let removed = std::fs::remove_file(&draft);
    match linked {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => match create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            created => created,
        },
        Ok(()) => removed,
    }
}
