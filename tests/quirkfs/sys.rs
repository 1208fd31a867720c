//! The system calls that std lacks.
//!
//! Files of the backing directory are named by `/proc/self/fd/N` and `/proc/self/fd/N/name`, where
//! N is an `O_PATH` descriptor (see `inodes.rs`): that makes at-functions of plain paths, and of
//! most of std::fs a way to call them.

use std::ffi::{CString, OsStr, c_void};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// renameat2(2), with any flags.
pub(super) fn rename(from: &Path, to: &Path, flags: u32) -> io::Result<()> {
    let (from, to) = (c_path(from)?, c_path(to)?);
    // SAFETY: two NUL-terminated strings that outlive the call.
    check(unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            flags,
        )
    })
}

/// linkat(2) to the file a `/proc/self/fd/N` stands for; std's hard link would link the symlink.
pub(super) fn link(proc_fd: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (c_path(proc_fd)?, c_path(to)?);
    // SAFETY: two NUL-terminated strings that outlive the call.
    check(unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    })
}

/// readlinkat(2) of the symlink that is open itself, which an empty path stands for.
pub(super) fn readlink(symlink: &File) -> io::Result<Vec<u8>> {
    let mut target = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: an open descriptor, an empty NUL-terminated string, and a buffer with its length.
    let length = unsafe {
        libc::readlinkat(
            symlink.as_raw_fd(),
            c"".as_ptr(),
            target.as_mut_ptr().cast(),
            target.len(),
        )
    };
    target.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
    Ok(target)
}

/// statvfs(3).
pub(super) fn statvfs(path: &Path) -> io::Result<libc::statvfs> {
    let path = c_path(path)?;
    let mut answer = MaybeUninit::uninit();
    // SAFETY: a NUL-terminated string, and room for the answer.
    check(unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) })?;
    // SAFETY: statvfs succeeded, so it filled the answer in.
    Ok(unsafe { answer.assume_init() })
}

/// getxattr(2). `None` asks for the size.
pub(super) fn getxattr(path: &Path, name: &OsStr, room: Option<usize>) -> io::Result<Xattr> {
    let (path, name) = (c_path(path)?, c_string(name)?);
    read_xattr(room, |buffer, size| {
        // SAFETY: NUL-terminated strings, and a buffer of `size` bytes, or none of 0.
        unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), buffer.cast(), size) }
    })
}

/// listxattr(2). `None` asks for the size.
pub(super) fn listxattr(path: &Path, room: Option<usize>) -> io::Result<Xattr> {
    let path = c_path(path)?;
    read_xattr(room, |buffer, size| {
        // SAFETY: a NUL-terminated string, and a buffer of `size` bytes, or none of 0.
        unsafe { libc::listxattr(path.as_ptr(), buffer.cast(), size) }
    })
}

/// What an xattr call answers.
pub(super) enum Xattr {
    Size(usize),
    Data(Vec<u8>),
}

fn read_xattr(
    room: Option<usize>,
    call: impl Fn(*mut c_void, usize) -> isize,
) -> io::Result<Xattr> {
    let mut buffer = vec![0u8; room.unwrap_or(0)];
    let size = call(buffer.as_mut_ptr().cast(), buffer.len());
    let size = usize::try_from(size).map_err(|_| io::Error::last_os_error())?;
    Ok(match room {
        None => Xattr::Size(size),
        Some(_) => {
            buffer.truncate(size);
            Xattr::Data(buffer)
        }
    })
}

/// setxattr(2).
pub(super) fn setxattr(path: &Path, name: &OsStr, value: &[u8], flags: i32) -> io::Result<()> {
    let (path, name) = (c_path(path)?, c_string(name)?);
    // SAFETY: NUL-terminated strings, and the value with its length.
    check(unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            flags,
        )
    })
}

/// removexattr(2).
pub(super) fn removexattr(path: &Path, name: &OsStr) -> io::Result<()> {
    let (path, name) = (c_path(path)?, c_string(name)?);
    // SAFETY: NUL-terminated strings that outlive the call.
    check(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) })
}

/// Whether this process may mount; if not, what to do about it.
pub(super) fn can_mount() -> Result<(), &'static str> {
    if !Path::new("/dev/fuse").exists() {
        return Err(
            "there is no /dev/fuse. Load the module (`modprobe fuse`); in a container add \
             `--device /dev/fuse --cap-add SYS_ADMIN`. Nothing else is to be installed.",
        );
    }
    // SAFETY: geteuid has no preconditions and always succeeds.
    if unsafe { libc::geteuid() } != 0 {
        return Err(
            "that needs root. Run `sudo -E env PATH=$PATH cargo test --features mount-tests`, or \
             leave the feature `mount-tests` out.",
        );
    }
    Ok(())
}

/// Lets the process open as many files as any may: each file the kernel knows of takes one here,
/// and the kernel knows every file it has once looked up, until it needs the memory.
///
/// Root may go beyond the limit it was given (getrlimit(2), CAP_SYS_RESOURCE), though not in every
/// container; then up to it.
pub(super) fn raise_open_file_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: room for the answer.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return;
    }
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open")
        .ok()
        .and_then(|most| most.trim().parse().ok())
        .unwrap_or(limit.rlim_max);
    for most in [most.max(limit.rlim_max), limit.rlim_max] {
        let raised = libc::rlimit {
            rlim_cur: most,
            rlim_max: most,
        };
        // SAFETY: a valid rlimit.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            return;
        }
    }
}

/// Has the allocator map the workers' buffers each time anew, of which only what is used takes
/// memory.
///
/// fuser gives each worker 16 MiB of zeroes. Once glibc has seen one freed it takes the next from
/// the heap (mallopt(3), `M_MMAP_THRESHOLD`) and zeroes it by hand: half a gigabyte for each mount.
pub(super) fn map_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt has no preconditions; a refusal changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 4 << 20);
    }
}

/// How an unmount went.
pub(super) enum Unmounted {
    /// Nobody used it any more: it is gone, and the kernel has hung up.
    Idle,
    /// It is out of the tree, and lives on until the last file of it is closed.
    Busy,
}

/// umount2(2): at once, if not after a moment, and as a last resort lazily.
pub(super) fn unmount(mountpoint: &Path) -> io::Result<Unmounted> {
    let mountpoint = c_path(mountpoint)?;
    // SAFETY: a NUL-terminated string that outlives the call.
    let unmount = |flags| check(unsafe { libc::umount2(mountpoint.as_ptr(), flags) });
    for _ in 0..20 {
        match unmount(libc::UMOUNT_NOFOLLOW) {
            // A file that was just closed by another thread or process may count for a moment.
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => sleep(Duration::from_millis(5)),
            done => return done.map(|()| Unmounted::Idle),
        }
    }
    unmount(libc::UMOUNT_NOFOLLOW | libc::MNT_DETACH).map(|()| Unmounted::Busy)
}

fn check(answer: libc::c_int) -> io::Result<()> {
    match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    c_string(path.as_os_str())
}

fn c_string(string: &OsStr) -> io::Result<CString> {
    Ok(CString::new(string.as_bytes())?)
}
