//! The system calls that std has not. Where a platform has not either, they answer ENOSYS.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{FlockOperation, XattrFlags, flock, getxattr, setxattr, statvfs};

/// Makes a file and opens it for writing only: std's own opens it for reading as well, which some
/// mounts of buckets refuse.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).open(path)
}

/// Renames, only if nothing is at `to`.
#[cfg(target_os = "linux")]
pub(super) fn rename_exclusively(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// Has the file system copy `len` bytes.
#[cfg(target_os = "linux")]
pub(super) fn copy_range(from: &File, to: &File, len: usize) -> io::Result<usize> {
    Ok(rustix::fs::copy_file_range(from, None, to, None, len)?)
}

/// Has two files share their data until one is changed.
#[cfg(target_os = "linux")]
pub(super) fn reflink(from: &File, to: &File) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(to, from)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn rename_exclusively(_from: &Path, _to: &Path) -> io::Result<()> {
    Err(rustix::io::Errno::NOSYS.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn copy_range(_from: &File, _to: &File, _len: usize) -> io::Result<usize> {
    Err(rustix::io::Errno::NOSYS.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn reflink(_from: &File, _to: &File) -> io::Result<()> {
    Err(rustix::io::Errno::NOSYS.into())
}

/// An advisory lock of a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lock {
    /// flock(2): of an open file.
    Flock,
    /// fcntl(2), F_OFD_SETLK: of an open file, by bytes.
    Ofd,
}

impl Lock {
    pub(super) fn call(self) -> &'static str {
        match self {
            Lock::Flock => "flock",
            Lock::Ofd => "fcntl(F_OFD_SETLK)",
        }
    }

    /// Takes it, or answers `false` if somebody else has it.
    pub(super) fn try_take(self, file: &File) -> io::Result<bool> {
        let taken = match self {
            Lock::Flock => {
                flock(file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)
            }
            Lock::Ofd => ofd(file, libc::F_WRLCK as _),
        };
        excluded_is_false(taken)
    }

    pub(super) fn release(self, file: &File) -> io::Result<()> {
        match self {
            Lock::Flock => Ok(flock(file, FlockOperation::Unlock)?),
            Lock::Ofd => ofd(file, libc::F_UNLCK as _),
        }
    }
}

fn excluded_is_false(taken: io::Result<()>) -> io::Result<bool> {
    use rustix::io::Errno;
    match taken {
        Ok(()) => Ok(true),
        // fcntl(2): "EACCES or EAGAIN".
        Err(e) if super::errno::is(&e, &[Errno::AGAIN, Errno::ACCESS]) => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(target_os = "linux")]
fn ofd(file: &File, kind: libc::c_short) -> io::Result<()> {
    // SAFETY: of this struct of integers, zeroes are a value: the whole file, from its start.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open while `file` is borrowed; `lock` outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
fn ofd(_file: &File, _kind: libc::c_short) -> io::Result<()> {
    Err(rustix::io::Errno::NOSYS.into())
}

/// Sets an extended attribute, and reads it.
pub(super) fn xattr(path: &Path, name: &str, value: &[u8]) -> io::Result<Vec<u8>> {
    setxattr(path, name, value, XattrFlags::CREATE)?;
    let mut read = vec![0; value.len() + 1];
    let len = getxattr(path, name, &mut read[..])?;
    read.truncate(len);
    Ok(read)
}

/// Bytes that may be written yet, and bytes in all.
pub(super) fn space(path: &Path) -> io::Result<(u64, u64)> {
    let found = statvfs(path)?;
    Ok((
        found.f_bavail.saturating_mul(found.f_frsize),
        found.f_blocks.saturating_mul(found.f_frsize),
    ))
}

/// Files that may be made yet, and files in all: 0 where the file system does not count them.
pub(super) fn files(path: &Path) -> io::Result<(u64, u64)> {
    let found = statvfs(path)?;
    Ok((found.f_favail, found.f_files))
}
