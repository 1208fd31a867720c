//! This host's lock file: one, empty for ever, of which paths lock bytes, so that nothing piles up
//! and nothing is left locked. Its name is hidden by every version of object_store.
//!
//! A process opens it once. On Linux a lock is of the open file (fcntl_locking(2)), so that two
//! engines in one process, in two libraries, exclude each other; a forked child closes its handle at
//! once, or it would hold the locks of a parent that dies. Elsewhere a lock is the process's.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{
    AtomicI32, AtomicPtr, Ordering::AcqRel, Ordering::Acquire, Ordering::Release,
};

use super::Stat;

const NAME: &str = crate::sweep::HOST_LOCK;

/// Not by TMPDIR: all processes must come to the same.
const DIRS: [&str; 2] = ["/dev/shm", "/tmp"];

#[cfg(target_os = "linux")]
const SET_LOCK: libc::c_int = libc::F_OFD_SETLK;
#[cfg(not(target_os = "linux"))]
const SET_LOCK: libc::c_int = libc::F_SETLK;

const WRITE: libc::c_short = libc::F_WRLCK as libc::c_short;
const UNLOCK: libc::c_short = libc::F_UNLCK as libc::c_short;

/// The handle of this process, and which file it is of: a program may close handles that are not
/// its own (closefrom(3)), and the number be another file's.
struct Opened {
    fd: RawFd,
    file: (u64, u64),
}

/// Null until it is needed. No lock, which a fork might find taken.
static OPENED: AtomicPtr<Opened> = AtomicPtr::new(ptr::null_mut());

/// By its identity: it may be reached by another path.
pub(in crate::sys) fn is_host_lock_dir(dir: &Stat) -> bool {
    DIRS.iter()
        .any(|path| std::fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == (dir.dev, dir.ino)))
}

/// A byte of it that is locked.
#[derive(Debug)]
pub(in crate::sys) struct HostByte {
    fd: RawFd,
    byte: u64,
}

/// Never of a byte that this process has locked already: it would have it twice, and free it once.
pub(in crate::sys) fn lock_on_host(byte: u64) -> io::Result<HostByte> {
    // A file that was removed meanwhile locks nobody out.
    const REMOVED: u32 = 10;
    for _ in 0..REMOVED {
        let opened = opened()?;
        let lock = HostByte {
            fd: opened.fd,
            byte,
        };
        match set_lock(opened.fd, byte, 1, WRITE) {
            Ok(()) if opened.is_there() => return Ok(lock),
            Ok(()) => lock.unlock(),
            Err(e) if e.raw_os_error() == Some(libc::EBADF) => {}
            Err(e) => return Err(e),
        }
        forget(opened);
    }
    Err(io::Error::other("the host's lock file is being removed"))
}

impl HostByte {
    pub(in crate::sys) fn unlock(self) {
        let _ = set_lock(self.fd, self.byte, 1, UNLOCK);
    }
}

impl Opened {
    fn is_there(&self) -> bool {
        // SAFETY: it is not closed here, and a number that is no handle is an error.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(self.fd) });
        let is_ours = |m: &Metadata| m.nlink() > 0 && (m.dev(), m.ino()) == self.file;
        file.metadata().is_ok_and(|m| is_ours(&m))
    }
}

fn opened() -> io::Result<&'static Opened> {
    let known = OPENED.load(Acquire);
    if !known.is_null() {
        // SAFETY: what is put there is never freed.
        return Ok(unsafe { &*known });
    }
    at_fork();
    let file = open()?;
    let metadata = file.metadata()?;
    let ours = Box::into_raw(Box::new(Opened {
        file: (metadata.dev(), metadata.ino()),
        fd: file.into_raw_fd(),
    }));
    let won = OPENED.compare_exchange(ptr::null_mut(), ours, AcqRel, Acquire);
    if let Err(theirs) = won {
        // SAFETY: nobody else has seen `ours`, which is freed, and its handle closed, once.
        unsafe { libc::close(Box::from_raw(ours).fd) };
        // SAFETY: as above; it was not null.
        return Ok(unsafe { &*theirs });
    }
    // SAFETY: as above.
    Ok(unsafe { &*ours })
}

/// Its handle stays open: others may have locked bytes by it. It happens when somebody removes the
/// file, not by itself.
fn forget(opened: &'static Opened) {
    let known = ptr::from_ref(opened).cast_mut();
    let _ = OPENED.compare_exchange(known, ptr::null_mut(), AcqRel, Acquire);
}

/// Handles of other locks, each of an open file of its own, that a forked child is not to keep.
static OTHERS: [AtomicI32; 256] = [const { AtomicI32::new(-1) }; 256];

/// A handle that has a lock; `None` in the rare case that there are too many, and a child keeps it.
#[derive(Debug)]
pub(in crate::sys) struct Noted(Option<usize>);

pub(in crate::sys) fn note(file: &File) -> Noted {
    let fd = file.as_raw_fd();
    at_fork();
    Noted(
        OTHERS
            .iter()
            .position(|slot| slot.compare_exchange(-1, fd, AcqRel, Acquire).is_ok()),
    )
}

impl Drop for Noted {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            OTHERS[slot].store(-1, Release);
        }
    }
}

fn at_fork() {
    static AT_FORK: Once = Once::new();
    AT_FORK.call_once(|| {
        // SAFETY: the function that is registered calls swap and close, which a forked child may.
        unsafe { libc::pthread_atfork(None, None, Some(close_in_child)) };
    });
}

extern "C" fn close_in_child() {
    for slot in &OTHERS {
        let fd = slot.swap(-1, AcqRel);
        if fd >= 0 {
            // SAFETY: the thread that would have closed it is not there in the child.
            unsafe { libc::close(fd) };
        }
    }
    let known = OPENED.swap(ptr::null_mut(), AcqRel);
    if !known.is_null() {
        // SAFETY: what is put there is never freed, and its handle is closed nowhere else.
        unsafe { libc::close((*known).fd) };
    }
}

/// All processes come to the same file: only a directory that can hold it for nobody is passed over.
fn open() -> io::Result<File> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for dir in DIRS.map(Path::new) {
        let path = dir.join(NAME);
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true);
            options.custom_flags(libc::O_NOFOLLOW).open(&path)
        };
        let opened = match open() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => make(dir, &path).and_then(|()| open()),
            opened => opened,
        };
        let nobody_can = |e: &io::Error| match e.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::EROFS) => true,
            // Nor may we make it there.
            Some(libc::EACCES | libc::EPERM) => !path.exists(),
            _ => false,
        };
        match opened {
            Err(e) if nobody_can(&e) => last = e,
            opened => return opened,
        }
    }
    Err(last)
}

/// For all users, whatever this one's umask: it has its mode before it has its name.
fn make(dir: &Path, path: &Path) -> io::Result<()> {
    let draft = crate::names::private_path(&dir.join("draft"));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&draft)?;
    let made = file
        .set_permissions(PermissionsExt::from_mode(0o666))
        .and_then(|()| std::fs::hard_link(&draft, path));
    let _ = std::fs::remove_file(&draft);
    match made {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn set_lock(fd: RawFd, start: u64, len: u64, kind: libc::c_short) -> io::Result<()> {
    // SAFETY: all zeroes is a struct flock, whatever fields a platform adds.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = start as libc::off_t;
    lock.l_len = len as libc::off_t;
    // SAFETY: a struct flock that outlives the call; a number that is no handle is an error.
    match unsafe { libc::fcntl(fd, SET_LOCK, &lock) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Locks `len` bytes of an open file from `start` on; to its end and beyond for 0. Never waits.
#[cfg(target_os = "linux")]
pub(in crate::sys) fn lock_range(file: &File, start: u64, len: u64) -> io::Result<()> {
    set_lock(file.as_raw_fd(), start, len, WRITE)
}

#[cfg(target_os = "linux")]
pub(in crate::sys) fn unlock_range(file: &File, start: u64, len: u64) {
    let _ = set_lock(file.as_raw_fd(), start, len, UNLOCK);
}
