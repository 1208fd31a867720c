//! The lock file of a directory on a share: one, empty for ever, of which names lock bytes. It has
//! no byte on the disk, and is opened anew for each lock, since a lock belongs to the open file
//! (fcntl_locking(2)).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use super::host_lock::{lock_range, unlock_range};
use super::linux::fresh_links;
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
        // Asked of the server: another host may have removed it.
        if fresh_links(file.as_raw_fd())? > 0 {
            return Ok(Unlock::Byte(file, byte));
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
    let removed = match fresh_links(file.as_raw_fd())? {
        0 => Ok(()),
        _ => std::fs::remove_file(&path),
    };
    unlock_range(&file, ALL.0, ALL.1);
    removed
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

/// For all who may write in the directory, whatever this one's umask.
fn make(dir: &Path, path: &Path) -> io::Result<()> {
    let dir = std::fs::metadata(dir)?;
    let writers = dir.mode() & 0o222;
    let made = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .create_new(true)
        .open(path);
    let file = match made {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    };
    // Best effort: who is shut out is told so when it locks.
    let _ = fchown(&file, None, Some(dir.gid()));
    let permissions = PermissionsExt::from_mode(0o600 | writers | writers << 1);
    let _ = file.set_permissions(permissions);
    Ok(())
}
