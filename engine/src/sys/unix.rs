//! POSIX, by std and libc. What only Linux has is in `linux.rs`.

use std::ffi::CString;
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

#[cfg(not(target_os = "linux"))]
use super::MountInfo;
#[cfg(target_os = "linux")]
pub(super) use super::dir_lock::remove_lock_in_dir;
pub(super) use super::host_lock::is_host_lock_dir;
use super::host_lock::{self, HostByte, Noted};
use super::{DirStat, Seen, Stat};

#[cfg(target_os = "linux")]
pub(super) use super::linux::{
    canonical_dir, clone_file, copy_in_kernel, create_unnamed, fresh_stat, has_fine_mtimes,
    mount_info, mounts_changed, refresh_dir, rename_exclusive, see, see_handle, stat_dir,
};

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

    pub(crate) fn not_empty(e: &io::Error) -> bool {
        any_of(e, &[libc::ENOTEMPTY, libc::EEXIST])
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

    /// The mount has no rename at all: ENOSYS from FUSE servers without it (mountpoint-s3),
    /// EOPNOTSUPP from others (Databricks Volumes).
    pub(crate) fn no_rename(e: &io::Error) -> bool {
        no_such_call(e)
    }

    /// The two names are on two mounts, or on two layers of one (overlayfs.rst, "renaming
    /// directories"; two bind mounts of one file system as well, rename(2)).
    pub(crate) fn cross_device(e: &io::Error) -> bool {
        any_of(e, &[libc::EXDEV])
    }

    /// Somebody has it open or uses it.
    pub(crate) fn busy(e: &io::Error) -> bool {
        any_of(e, &[libc::EBUSY, libc::ETXTBSY])
    }

    /// A lock that somebody else holds (flock(2), fcntl(2)).
    pub(crate) fn locked(e: &io::Error) -> bool {
        any_of(e, &[libc::EWOULDBLOCK, libc::EAGAIN])
    }

    /// The host has no such thing, or not for us: asked again it says the same.
    pub(crate) fn lasting(e: &io::Error) -> bool {
        e.kind() == io::ErrorKind::Unsupported
            || any_of(
                e,
                &[
                    libc::ENOENT,
                    libc::ENOTDIR,
                    libc::EROFS,
                    libc::EACCES,
                    libc::EPERM,
                    libc::ENOSYS,
                    libc::EINVAL,
                    libc::ENOTSUP,
                ],
            )
    }

    /// No room, of whichever kind: not to be met by another way of writing.
    #[cfg(target_os = "linux")]
    pub(crate) fn full(e: &io::Error) -> bool {
        any_of(e, &[libc::ENOSPC, libc::EDQUOT, libc::EFBIG])
    }

    /// link(2): EPERM where the file system has no hard links; FUSE servers also answer ENOSYS
    /// and EOPNOTSUPP.
    pub(crate) fn unsupported_link(e: &io::Error) -> bool {
        any_of(
            e,
            &[libc::EPERM, libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOTSUP],
        )
    }

    /// ioctl_ficlone(2): EOPNOTSUPP, and ENOTTY where the file system has no such request.
    pub(crate) fn unsupported_clone(e: &io::Error) -> bool {
        no_such_call(e) || any_of(e, &[libc::ENOTTY])
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

    pub(crate) fn stale() -> io::Error {
        io::Error::from_raw_os_error(libc::ESTALE)
    }
}

pub(super) fn stat(m: &Metadata) -> Stat {
    Stat {
        is_dir: m.is_dir(),
        is_symlink: m.is_symlink(),
        size: m.len(),
        modified: m.modified().ok(),
        changed: (m.ctime(), m.ctime_nsec()),
        dev: m.dev(),
        ino: m.ino(),
        nlink: m.nlink(),
    }
}

/// Of what std tells; the mount's id is not among it.
pub(super) fn seen(m: &Metadata) -> Seen {
    Seen {
        stat: stat(m),
        is_file: m.is_file(),
        on: DirStat {
            dev: m.dev(),
            ino: m.ino(),
            mount_id: 0,
            is_unique: false,
        },
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn see_handle(file: &File) -> io::Result<Seen> {
    file.metadata().map(|m| seen(&m))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn see(path: &Path) -> io::Result<Seen> {
    std::fs::metadata(path).map(|m| seen(&m))
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
        // SAFETY: the descriptor is open for as long as `file` is borrowed; the call takes no
        // pointer, and its failure changes nothing.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    let _ = file;
}

/// Whether there is a process of this id, be it one that has ended and was not waited for.
pub(super) fn has_process(pid: u32) -> bool {
    let Some(pid) = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0) else {
        return false;
    };
    // SAFETY: signal 0 is not sent (kill(2)).
    let rc = unsafe { libc::kill(pid, 0) };
    rc == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

pub(super) fn may_write_dir(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
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

pub(super) fn with_owner(mut permissions: Permissions) -> Option<Permissions> {
    permissions.set_mode(permissions.mode() | 0o600);
    Some(permissions)
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
        is_unique: false,
    })
}

/// macOS and the BSDs have renamex_np and nothing; link(2) serves all of them.
#[cfg(not(target_os = "linux"))]
pub(super) fn rename_exclusive(_from: &Path, _to: &Path) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn create_unnamed(path: &Path) -> io::Result<File> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn clone_file(_from: &File, _to: &File) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn copy_in_kernel(_from: &File, _to: &File, _at: u64, _len: u64) -> io::Result<u64> {
    Ok(0)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn has_fine_mtimes() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
pub(super) fn mounts_changed() -> bool {
    false
}

/// By statfs(2), which names the file system's type, unlike Linux's.
#[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
pub(super) fn mount_info(path: &Path, _dir: &DirStat) -> Option<MountInfo> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut out = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: `path` is NUL-terminated and outlives the call, `out` is a struct statfs.
    if unsafe { libc::statfs(path.as_ptr(), out.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: zeroed above, and filled in by the kernel.
    let out = unsafe { out.assume_init() };
    let text = |field: &[libc::c_char]| {
        let bytes: Vec<u8> = field
            .iter()
            .map(|c| *c as u8)
            .take_while(|b| *b != 0)
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Some(MountInfo {
        fs_type: text(&out.f_fstypename),
        source: text(&out.f_mntfromname),
        options: String::new(),
        mount_point: text(&out.f_mntonname).into(),
        root: "/".into(),
    })
}

/// Not asked: every mount counts as one that is not native, which costs looks, not promises.
#[cfg(not(any(
    target_os = "linux",
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd"
)))]
pub(super) fn mount_info(_path: &Path, _dir: &DirStat) -> Option<MountInfo> {
    None
}

/// What a lock is undone by.
#[derive(Debug)]
pub(super) enum Unlock {
    Host(HostByte),
    #[cfg(target_os = "linux")]
    Byte(super::dir_lock::DirByte),
    Whole(Noted, File),
}

pub(super) fn lock_on_host(byte: u64) -> io::Result<Unlock> {
    host_lock::lock_on_host(byte).map(Unlock::Host)
}

/// Undone, not only closed: a child that was forked meanwhile has the handle too.
pub(super) fn unlock(lock: Unlock) {
    match lock {
        Unlock::Host(lock) => lock.unlock(),
        #[cfg(target_os = "linux")]
        Unlock::Byte(lock) => lock.unlock(),
        Unlock::Whole(noted, file) => {
            // SAFETY: an open descriptor; the call takes no pointer.
            unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
            drop(noted);
        }
    }
}

pub(super) fn lock_dir(path: &Path) -> io::Result<Unlock> {
    let dir = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(path)?;
    // SAFETY: an open descriptor; the call takes no pointer.
    match unsafe { libc::flock(dir.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => {
            let noted = host_lock::note(&dir);
            Ok(Unlock::Whole(noted, dir))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(target_os = "linux")]
pub(super) fn lock_in_dir(dir: &Path, slot: u64) -> io::Result<Unlock> {
    super::dir_lock::lock_in_dir(dir, slot).map(Unlock::Byte)
}

/// macOS and the BSDs have no locks of an open file.
#[cfg(not(target_os = "linux"))]
pub(super) fn lock_in_dir(_dir: &Path, _slot: u64) -> io::Result<Unlock> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Unlock {
    /// See [`DirByte`](super::dir_lock::DirByte); of other locks there is none.
    pub(super) fn record(&self) -> io::Result<std::ffi::OsString> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Byte(lock) => lock.record(),
            _ => Ok(std::ffi::OsString::new()),
        }
    }

    pub(super) fn set_record(&self, _name: &std::ffi::OsStr) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Byte(lock) => lock.set_record(_name),
            _ => Ok(()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn remove_lock_in_dir(_dir: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn refresh_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn fresh_stat(path: &Path) -> io::Result<Stat> {
    std::fs::symlink_metadata(path).map(|m| stat(&m))
}

pub(super) fn set_modified(path: &Path, modified: SystemTime) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let time = timespec(modified)?;
    let keep = libc::timespec {
        tv_sec: 0,
        tv_nsec: libc::UTIME_OMIT,
    };
    // SAFETY: `path` is NUL-terminated, and both outlive the call.
    let rc = unsafe {
        // Of a link itself: what it leads to is another object.
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        libc::utimensat(libc::AT_FDCWD, path.as_ptr(), [keep, time].as_ptr(), flags)
    };
    match rc {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn timespec(time: SystemTime) -> io::Result<libc::timespec> {
    let out_of_range = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let since_1970 = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut out = libc::timespec {
        tv_sec: since_1970.as_secs().try_into().map_err(out_of_range)?,
        tv_nsec: 0,
    };
    out.tv_nsec = since_1970.subsec_nanos() as _;
    Ok(out)
}
