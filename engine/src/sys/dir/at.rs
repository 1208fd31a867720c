//! openat(2), fstatat(2), unlinkat(2).

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};
use std::time::{Duration, SystemTime};

#[cfg(not(target_os = "linux"))]
use libc::{fstat, fstatat, readdir, stat as RawStat};
#[cfg(target_os = "linux")]
use libc::{fstat64 as fstat, fstatat64 as fstatat, readdir64 as readdir, stat64 as RawStat};

use super::{Entry, For, Listed};
use crate::sys::Stat;

pub(super) type Handle = OwnedFd;

fn flags(how: For) -> libc::c_int {
    let access = match how {
        For::Listing => libc::O_RDONLY,
        // A walk through directories that may be entered and not read (open(2)); no request to a
        // FUSE server but the lookup.
        #[cfg(target_os = "linux")]
        For::Entries => libc::O_PATH,
        #[cfg(not(target_os = "linux"))]
        For::Entries => libc::O_RDONLY,
    };
    access | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC
}

fn open_at(at: RawFd, name: &OsStr, how: For) -> io::Result<OwnedFd> {
    let name = CString::new(name.as_bytes())?;
    // SAFETY: `name` is NUL-terminated and outlives the call.
    match unsafe { libc::openat(at, name.as_ptr(), flags(how)) } {
        -1 => Err(no_dir(io::Error::last_os_error())),
        // SAFETY: a new descriptor, which nobody else owns.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

/// A symlink is ELOOP, EMLINK or ENOTDIR, by the system.
fn no_dir(e: io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(libc::ELOOP | libc::EMLINK) => io::Error::from_raw_os_error(libc::ENOTDIR),
        _ => e,
    }
}

pub(super) fn open(path: &Path, how: For) -> io::Result<Handle> {
    open_at(libc::AT_FDCWD, path.as_os_str(), how)
}

pub(super) fn open_below(root: &Handle, below: &Path, how: For) -> io::Result<Handle> {
    let mut names = Vec::new();
    for component in below.components() {
        match component {
            Component::Normal(name) => names.push(name),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    let Some((last, parents)) = names.split_last() else {
        return open_at(root.as_raw_fd(), OsStr::new("."), how);
    };
    let mut at = None;
    for name in parents {
        let dir = at.as_ref().unwrap_or(root).as_raw_fd();
        at = Some(open_at(dir, name, For::Entries)?);
    }
    open_at(at.as_ref().unwrap_or(root).as_raw_fd(), last, how)
}

pub(super) fn stat(dir: &Handle) -> io::Result<Entry> {
    let mut out = MaybeUninit::<RawStat>::zeroed();
    // SAFETY: an open descriptor, and `out` is the system's struct.
    match unsafe { fstat(dir.as_raw_fd(), out.as_mut_ptr()) } {
        // SAFETY: zeroed above, and filled in by the system.
        0 => Ok(entry(&unsafe { out.assume_init() })),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(super) fn look(dir: &Handle, name: &OsStr) -> io::Result<Entry> {
    let name = CString::new(name.as_bytes())?;
    let mut out = MaybeUninit::<RawStat>::zeroed();
    // SAFETY: an open descriptor; `name` is NUL-terminated and outlives the call, and `out` is the
    // system's struct.
    let rc = unsafe {
        fstatat(
            dir.as_raw_fd(),
            name.as_ptr(),
            out.as_mut_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
        )
    };
    match rc {
        // SAFETY: zeroed above, and filled in by the system.
        0 => Ok(entry(&unsafe { out.assume_init() })),
        _ => Err(io::Error::last_os_error()),
    }
}

// The types of the fields are the system's own.
#[allow(clippy::unnecessary_cast)]
fn entry(raw: &RawStat) -> Entry {
    let kind = raw.st_mode & libc::S_IFMT;
    Entry {
        stat: Stat {
            is_dir: kind == libc::S_IFDIR,
            is_symlink: kind == libc::S_IFLNK,
            size: raw.st_size as u64,
            modified: time(raw.st_mtime as i64, raw.st_mtime_nsec as u64),
            changed: (raw.st_ctime as i64, raw.st_ctime_nsec as i64),
            dev: raw.st_dev as u64,
            ino: raw.st_ino as u64,
            nlink: raw.st_nlink as u64,
        },
        is_file: kind == libc::S_IFREG,
        // Of 512 bytes each, whatever st_blksize says (stat(3type)).
        allocated: (raw.st_blocks as u64).saturating_mul(512),
    }
}

fn time(seconds: i64, nanos: u64) -> Option<SystemTime> {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds {
        0.. => SystemTime::UNIX_EPOCH.checked_add(whole),
        _ => SystemTime::UNIX_EPOCH.checked_sub(whole),
    };
    time?.checked_add(Duration::from_nanos(nanos))
}

pub(super) fn unlink(dir: &Handle, name: &OsStr) -> io::Result<()> {
    let name = CString::new(name.as_bytes())?;
    // SAFETY: an open descriptor; `name` is NUL-terminated and outlives the call.
    match unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closed when it is dropped.
struct Stream(*mut libc::DIR);

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: an open stream, which is not used afterwards.
        unsafe { libc::closedir(self.0) };
    }
}

pub(super) fn list(
    dir: &Handle,
    each: &mut dyn FnMut(OsString, Listed) -> ControlFlow<()>,
) -> io::Result<()> {
    let fd = dir.try_clone()?.into_raw_fd();
    // SAFETY: an open descriptor of nobody else's; the stream owns it from here on.
    let stream = unsafe { libc::fdopendir(fd) };
    if stream.is_null() {
        let e = io::Error::last_os_error();
        // SAFETY: the stream was not made, so that the descriptor is ours still.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        return Err(e);
    }
    let stream = Stream(stream);
    loop {
        // The end and an error are told apart by errno alone (readdir(3)).
        // SAFETY: the thread's own errno.
        unsafe { *errno() = 0 };
        // SAFETY: an open stream, which no other thread uses.
        let entry = unsafe { readdir(stream.0) };
        if entry.is_null() {
            return match io::Error::last_os_error() {
                e if e.raw_os_error() == Some(0) => Ok(()),
                e => Err(e),
            };
        }
        // SAFETY: valid until the next call. By address: an entry may be shorter than its struct.
        let (name, kind) = unsafe {
            let name = CStr::from_ptr(std::ptr::addr_of!((*entry).d_name).cast());
            (name.to_bytes(), std::ptr::addr_of!((*entry).d_type).read())
        };
        if matches!(name, b"." | b"..") {
            continue;
        }
        let listed = match kind {
            libc::DT_DIR => Listed::Dir,
            libc::DT_REG => Listed::File,
            libc::DT_UNKNOWN => Listed::Unknown,
            _ => Listed::Other,
        };
        if each(OsString::from_vec(name.to_owned()), listed).is_break() {
            return Ok(());
        }
    }
}

#[cfg(target_os = "linux")]
use libc::__errno_location as errno;
#[cfg(not(target_os = "linux"))]
use libc::__error as errno;
