//! The seam for faults in process: what must fail at a chosen moment, without root and on time.
//!
//! With the feature `fault-injection`, [`inject`] puts a hook before every system call that the
//! engine makes below a directory. Without it the seam is not compiled in.

use std::path::Path;

/// A system call of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// Creating a staging file, exclusively.
    Create,
    /// Opening a file that is there.
    Open,
    /// Writing part of a file.
    Write,
    /// Copying between two files inside the kernel.
    CopyRange,
    /// Reading a file.
    Read,
    /// fsync of a file.
    Sync,
    /// fsync of a directory.
    SyncDir,
    /// close.
    Close,
    /// fstat of an open handle.
    StatHandle,
    /// Setting the times of a file.
    SetTimes,
    /// flistxattr.
    ListXattr,
    /// fgetxattr.
    GetXattr,
    /// fsetxattr.
    SetXattr,
    /// fremovexattr.
    RemoveXattr,
    /// flock of a directory, or a lock of a byte in the host's lock file.
    Lock,
    /// lstat of a path; of what a listing shows, stat.
    Stat,
    /// stat of a destination's parent directory.
    StatDir,
    /// rename, replacing what is there.
    Rename,
    /// renameat2 with RENAME_NOREPLACE.
    RenameExclusive,
    /// link.
    Link,
    /// unlink.
    Unlink,
    /// mkdir, parents included.
    CreateDir,
    /// rmdir.
    RemoveDir,
    /// Opening a directory to list it.
    OpenDir,
    /// Reading the next entry of a directory, the one that is none included.
    ReadDir,
}

/// One system call, as a hook sees it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Which call.
    pub op: Op,
    /// What it is about; the new name of a rename or link.
    pub path: &'a Path,
    /// The old name of a rename or link.
    pub from: Option<&'a Path>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(op: Op, path: &'a Path) -> Self {
        let from = None;
        Self { op, path, from }
    }

    pub(crate) fn between(op: Op, from: &'a Path, path: &'a Path) -> Self {
        let from = Some(from);
        Self { op, path, from }
    }
}

#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub(crate) fn around<T>(
    _call: Call<'_>,
    make: impl FnOnce() -> std::io::Result<T>,
) -> std::io::Result<T> {
    make()
}

#[cfg(feature = "fault-injection")]
pub use injection::{Fault, Injected, RemoteMount, inject, pretend_remote};

#[cfg(feature = "fault-injection")]
pub(crate) use injection::{around, pretended_mount};

#[cfg(feature = "fault-injection")]
mod injection {
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use parking_lot::RwLock;

    use super::Call;
    use crate::mount::Mount;

    type Hook = dyn Fn(&Call<'_>) -> Fault + Send + Sync;
    type Then = Box<dyn FnOnce() + Send>;

    /// What is to happen to one call.
    #[derive(Default)]
    pub struct Fault {
        instead: bool,
        errno: Option<i32>,
        then: Option<Then>,
    }

    impl std::fmt::Debug for Fault {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Fault")
                .field("instead", &self.instead)
                .field("errno", &self.errno)
                .finish_non_exhaustive()
        }
    }

    impl Fault {
        /// The call is made as if there were no hook.
        pub fn none() -> Self {
            Self::default()
        }

        /// The call is not made, and answers `errno`.
        pub fn before_effect(errno: i32) -> Self {
            Self {
                instead: true,
                errno: Some(errno),
                then: None,
            }
        }

        /// The call is made, and answers `errno` all the same: a lost reply.
        pub fn after_effect(errno: i32) -> Self {
            Self {
                instead: false,
                errno: Some(errno),
                then: None,
            }
        }

        /// Whether the call is made, and answers an error all the same.
        pub fn is_after_effect(&self) -> bool {
            !self.instead && self.errno.is_some()
        }

        /// Runs `then` in the calling thread once the call is made, before it answers.
        #[must_use]
        pub fn then(mut self, then: impl FnOnce() + Send + 'static) -> Self {
            self.then = Some(Box::new(then));
            self
        }
    }

    struct Entry {
        id: usize,
        below: PathBuf,
        hook: Arc<Hook>,
    }

    static HOOKS: RwLock<Vec<Entry>> = RwLock::new(Vec::new());
    static INSTALLED: AtomicUsize = AtomicUsize::new(0);
    static NEXT_ID: AtomicUsize = AtomicUsize::new(0);

    /// Takes the hook out again when dropped.
    #[derive(Debug)]
    #[must_use = "the hook is gone as soon as this is dropped"]
    pub struct Injected {
        id: usize,
    }

    impl Drop for Injected {
        fn drop(&mut self) {
            HOOKS.write().retain(|e| e.id != self.id);
            INSTALLED.fetch_sub(1, Ordering::Release);
        }
    }

    /// Asks `hook` about every call on a path below `below`, until the answer is dropped. `below`
    /// is taken with symlinks resolved, as stores have it.
    pub fn inject(
        below: impl AsRef<Path>,
        hook: impl Fn(&Call<'_>) -> Fault + Send + Sync + 'static,
    ) -> Injected {
        let below = below.as_ref();
        let below = below.canonicalize().unwrap_or_else(|_| below.to_owned());
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        HOOKS.write().push(Entry {
            id,
            below,
            hook: Arc::new(hook),
        });
        INSTALLED.fetch_add(1, Ordering::Release);
        Injected { id }
    }

    static REMOTE: RwLock<Vec<(PathBuf, Arc<Mount>)>> = RwLock::new(Vec::new());

    /// Ends the pretence when dropped.
    #[derive(Debug)]
    #[must_use = "the mount is what it was as soon as this is dropped"]
    pub struct RemoteMount {
        mount: Arc<Mount>,
    }

    impl Drop for RemoteMount {
        fn drop(&mut self) {
            REMOTE.write().retain(|(_, m)| !Arc::ptr_eq(m, &self.mount));
            INSTALLED.fetch_sub(1, Ordering::Release);
        }
    }

    /// Takes the directory `below` for a mount of its own that is no local disk, until the answer
    /// is dropped.
    pub fn pretend_remote(below: impl AsRef<Path>) -> RemoteMount {
        let below = below.as_ref();
        let below = below.canonicalize().unwrap_or_else(|_| below.to_owned());
        let mount = Arc::new(Mount::unknown());
        REMOTE.write().push((below, Arc::clone(&mount)));
        INSTALLED.fetch_add(1, Ordering::Release);
        RemoteMount { mount }
    }

    pub(crate) fn pretended_mount(dir: &Path) -> Option<Arc<Mount>> {
        if INSTALLED.load(Ordering::Acquire) == 0 {
            return None;
        }
        let remote = REMOTE.read();
        let (_, mount) = remote.iter().find(|(below, _)| dir.starts_with(below))?;
        Some(Arc::clone(mount))
    }

    pub(crate) fn around<T>(call: Call<'_>, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if INSTALLED.load(Ordering::Acquire) == 0 {
            return make();
        }
        let hook = HOOKS
            .read()
            .iter()
            .find(|e| call.path.starts_with(&e.below))
            .map(|e| Arc::clone(&e.hook));
        let Some(hook) = hook else { return make() };
        let fault = hook(&call);
        let made = if fault.instead { None } else { Some(make()) };
        if let Some(then) = fault.then {
            then();
        }
        match (made, fault.errno) {
            (_, Some(errno)) => Err(io::Error::from_raw_os_error(errno)),
            (Some(answer), None) => answer,
            (None, None) => unreachable!("a call that is not made has an errno"),
        }
    }
}
