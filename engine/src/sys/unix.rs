//! POSIX, by std and libc. What only Linux has is in `linux.rs`.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::Stat;
#[cfg(not(target_os = "linux"))]
use super::{DirStat, MountInfo};

#[cfg(target_os = "linux")]
pub(super) use super::linux::{canonical_dir, mount_info, rename_exclusive, stat_dir};

/// What an error number means to us.
pub(crate) mod is {
    use std::io;

    fn any_of(e: &io::Error, codes: &[i32]) -> bool {
        e.raw_os_error().is_some_and(|code| codes.contains(&code))
    }

    /// After such an error the call may or may not have taken effect, on any mount.
    pub(crate) fn ambiguous(e: &io::Error) -> bool {
        any_of(
            e,
            &[
                libc::ESTALE,
                libc::EIO,
                libc::ETIMEDOUT,
                libc::EINTR,
                libc::EAGAIN,
                libc::EBUSY,
            ],
        )
    }

    /// The handle or the cached name is out of date; a fresh look at the path helps.
    pub(crate) fn stale(e: &io::Error) -> bool {
        any_of(e, &[libc::ESTALE])
    }

    /// Nothing was done and the same call may be made again.
    pub(crate) fn interrupted(e: &io::Error) -> bool {
        any_of(e, &[libc::EINTR, libc::EAGAIN])
    }

    /// Data was or may have been lost: EIO at a close or a write is never retried away.
    pub(crate) fn data_loss(e: &io::Error) -> bool {
        any_of(e, &[libc::EIO])
    }

    /// The error that a sharing violation gives on SMB and DrvFs, and a missing right anywhere.
    pub(crate) fn denied(e: &io::Error) -> bool {
        any_of(e, &[libc::EACCES, libc::EPERM])
    }

    pub(crate) fn not_found(e: &io::Error) -> bool {
        any_of(e, &[libc::ENOENT])
    }

    pub(crate) fn exists(e: &io::Error) -> bool {
        any_of(e, &[libc::EEXIST])
    }

    pub(crate) fn name_too_long(e: &io::Error) -> bool {
        any_of(e, &[libc::ENAMETOOLONG])
    }

    /// renameat2(2): EINVAL where the file system has no flags, ENOSYS where the kernel or the
    /// FUSE server has no such call.
    pub(crate) fn unsupported_rename_flags(e: &io::Error) -> bool {
        any_of(
            e,
            &[libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOTSUP],
        )
    }

    /// Not an answer to these names, but to the call.
    pub(crate) fn no_such_call(e: &io::Error) -> bool {
        any_of(e, &[libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOTSUP])
    }

    /// link(2): EPERM where the file system has no hard links; FUSE servers also answer ENOSYS
    /// and EOPNOTSUPP.
    pub(crate) fn unsupported_link(e: &io::Error) -> bool {
        any_of(
            e,
            &[libc::EPERM, libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOTSUP],
        )
    }

    /// No link of this file, or not to there, though the mount has links.
    pub(crate) fn link_limit(e: &io::Error) -> bool {
        any_of(e, &[libc::EMLINK, libc::EXDEV])
    }

    /// `{name}#{digits}` may be too long or malformed to be looked up; there is no such file then.
    pub(crate) fn absent(e: &io::Error) -> bool {
        any_of(e, &[libc::ENOENT, libc::ENOTDIR])
    }

    pub(crate) fn unsupported_sync(e: &io::Error) -> bool {
        any_of(
            e,
            &[libc::EINVAL, libc::EBADF, libc::ENOTSUP, libc::EOPNOTSUPP],
        )
    }
}

/// Errors that this crate makes itself, with the number the system would have used.
pub(crate) mod same_error {
    use std::io;

    pub(crate) fn not_found() -> io::Error {
        io::Error::from_raw_os_error(libc::ENOENT)
    }

    pub(crate) fn exists() -> io::Error {
        io::Error::from_raw_os_error(libc::EEXIST)
    }

    pub(crate) fn not_permitted() -> io::Error {
        io::Error::from_raw_os_error(libc::EPERM)
    }
}

pub(super) fn stat(m: &Metadata) -> Stat {
    Stat {
        is_dir: m.is_dir(),
        size: m.len(),
        modified: m.modified().ok(),
        changed: (m.ctime(), m.ctime_nsec()),
        dev: m.dev(),
        ino: m.ino(),
        nlink: m.nlink(),
    }
}

pub(super) fn write_at(file: &File, buf: &[u8], offset: u64) -> io::Result<usize> {
    file.write_at(buf, offset)
}

pub(super) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buf, offset)
}

pub(super) fn close(file: File) -> io::Result<()> {
    // SAFETY: the descriptor was owned by `file`, which gave it up; nobody else closes it. After
    // an error it is closed all the same on Linux (close(2)), so it is not closed again.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(super) fn forget_cached(file: &File) {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open for as long as `file` is borrowed; the call takes no
        // pointer, and its failure changes nothing.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let _ = file;
}

pub(super) fn may_write_dir(path: &Path) -> bool {
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else {
        return true;
    };
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    unsafe {
        libc::faccessat(
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::W_OK | libc::X_OK,
            libc::AT_EACCESS,
        ) == 0
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn canonical_dir(path: &Path) -> io::Result<std::path::PathBuf> {
    std::fs::canonicalize(path)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn stat_dir(path: &Path) -> io::Result<DirStat> {
    let m = std::fs::metadata(path)?;
    Ok(DirStat {
        dev: m.dev(),
        ino: m.ino(),
        mount_id: 0,
    })
}

/// macOS and the BSDs have renamex_np and nothing; link(2) serves all of them.
#[cfg(not(target_os = "linux"))]
pub(super) fn rename_exclusive(_from: &Path, _to: &Path) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// Not asked yet: every mount counts as one that is not native, which costs looks, not promises.
#[cfg(not(target_os = "linux"))]
pub(super) fn mount_info(_path: &Path, _dir: &DirStat) -> Option<MountInfo> {
    None
}
