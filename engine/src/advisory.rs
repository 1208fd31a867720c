//! The lock that excludes other processes, for mounts that have no step which creates exclusively.
//!
//! It is held by the kernel, and gone with its process however that ends. Two locks, taken
//! together, since each reaches where the other may not:
//!
//! - a byte of a file of the host's own (an open file description lock, fcntl_locking(2)), by a
//!   hash of the path: it holds whatever the mount does, for all who see the same `/dev/shm`;
//! - flock(2) of the directory on the mount, which containers with a `/dev/shm` of their own see
//!   as well, where two handles of the directory were seen to exclude each other.
//!
//! Neither leaves anything on the mount. Neither excludes other hosts.

use std::path::Path;

use crate::lock::{self, PathGuard};
use crate::mount::Known;
use crate::place::{self, Place};
use crate::sys::{self, is};

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    _name: Option<sys::HeldLock>,
    _dir: Option<sys::HeldLock>,
    /// The threads of this process wait for each other here, in their order, and not by asking the
    /// kernel again and again for the directory.
    _turn: Option<PathGuard>,
}

/// What became of the wish for a lock.
#[derive(Debug)]
pub(crate) enum Locked<T> {
    Yes(T),
    /// Another process has it.
    Busy,
    /// There is no lock to be had that excludes other processes.
    Unavailable,
}

/// Tries to lock the file `path`, which is at `place`, against other processes of this host that
/// would create it. Never waits for another process; to be asked for with the path lock held, which
/// excludes the threads of this one.
pub(crate) fn try_lock(path: &Path, place: &Place) -> Locked<Guard> {
    let (dir, _) = place::split(path);
    let fact = &place.mount.dir_lock;
    let mut turn = fact.may().then(|| lock::lock(place.dir_key()));
    let name = match try_lock_name(path, place) {
        Locked::Yes(lock) => Some(lock),
        Locked::Busy => return Locked::Busy,
        Locked::Unavailable => None,
    };
    let dir = match fact.may().then(|| sys::lock_dir(dir)) {
        None => None,
        Some(Ok(lock)) => {
            if fact.known() == Known::Unknown {
                // Once on each mount: a second handle of the directory must be shut out.
                match sys::lock_dir(dir) {
                    Err(e) if is::locked(&e) => fact.works(),
                    _ => fact.refused(),
                }
            }
            fact.may().then_some(lock)
        }
        Some(Err(e)) if is::locked(&e) => return Locked::Busy,
        Some(Err(e)) => {
            if is::no_such_call(&e) || is::unsupported_sync(&e) {
                fact.refused();
            }
            None
        }
    };
    if dir.is_none() {
        turn = None;
    }
    match (&name, &dir) {
        (None, None) => Locked::Unavailable,
        _ => Locked::Yes(Guard {
            _name: name,
            _dir: dir,
            _turn: turn,
        }),
    }
}

/// The same without the directory, for what takes long: whoever else uses `path` is excluded, as
/// far as it sees the same lock file.
pub(crate) fn try_lock_name(path: &Path, place: &Place) -> Locked<sys::HeldLock> {
    match sys::lock_on_host(place.key_on_host(), path) {
        Ok(lock) => Locked::Yes(lock),
        Err(e) if is::locked(&e) => Locked::Busy,
        Err(e) => {
            tracing::debug!(path = %path.display(), error = %e, "no lock file for this host");
            Locked::Unavailable
        }
    }
}

/// Locks the `source` of a move to `dest`, so that of all who move it one does; the destination is
/// locked by itself.
pub(crate) fn try_lock_source(
    source: (&Path, &Place),
    dest: &Place,
) -> Locked<Option<sys::HeldLock>> {
    if source.1.key_on_host() == dest.key_on_host() {
        return Locked::Yes(None);
    }
    match try_lock_name(source.0, source.1) {
        Locked::Yes(lock) => Locked::Yes(Some(lock)),
        Locked::Busy => Locked::Busy,
        Locked::Unavailable => Locked::Unavailable,
    }
}
