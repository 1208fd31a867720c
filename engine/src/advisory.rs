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

use crate::mount::Known;
use crate::place::{self, Place};
use crate::sys::{self, is};

/// Held until dropped.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    host: Option<sys::HeldLock>,
    dir: Option<sys::HeldLock>,
    /// Of a move.
    _source: Option<sys::HeldLock>,
}

impl Guard {
    /// Whether other processes are kept from the destination.
    pub(crate) fn excludes(&self) -> bool {
        self.host.is_some() || self.dir.is_some()
    }
}

/// What became of the wish for a lock.
#[derive(Debug)]
pub(crate) enum Locked {
    Yes(Guard),
    /// Another process has it.
    Busy,
    /// There is no lock to be had that excludes other processes.
    Unavailable,
}

/// Tries to lock the file `path`, which is at `place`, against other processes of this host. Never
/// waits; to be asked for with the path lock held, which excludes the threads of this one.
pub(crate) fn try_lock(path: &Path, place: &Place) -> Locked {
    let host = match sys::lock_on_host(place.key_on_host(), path) {
        Ok(lock) => Some(lock),
        Err(e) if is::locked(&e) => return Locked::Busy,
        Err(e) => {
            tracing::debug!(path = %path.display(), error = %e, "no lock file for this host");
            None
        }
    };
    let (dir, _) = place::split(path);
    let fact = &place.mount.dir_lock;
    let dir = match fact.may() {
        false => None,
        true => match sys::lock_dir(dir) {
            Ok(lock) => {
                if fact.known() == Known::Unknown {
                    // Once on each mount: a second handle of the directory must be shut out.
                    match sys::lock_dir(dir) {
                        Err(e) if is::locked(&e) => fact.works(),
                        _ => fact.refused(),
                    }
                }
                fact.may().then_some(lock)
            }
            Err(e) if is::locked(&e) => return Locked::Busy,
            Err(e) => {
                if !is::denied(&e) && !is::not_found(&e) {
                    fact.refused();
                }
                None
            }
        },
    };
    match (&host, &dir) {
        (None, None) => Locked::Unavailable,
        _ => Locked::Yes(Guard {
            host,
            dir,
            _source: None,
        }),
    }
}

/// As [`try_lock`] for a `source` that moves to `dest`, as far as there are locks: of the source
/// the host's byte only, since its directory may be the same. `None` if another process has one.
pub(crate) fn try_lock_both(source: (&Path, &Place), dest: (&Path, &Place)) -> Option<Guard> {
    let of_source = || sys::lock_on_host(source.1.key_on_host(), source.0);
    let mut guard = match try_lock(dest.0, dest.1) {
        Locked::Yes(guard) => guard,
        Locked::Busy => return None,
        Locked::Unavailable => Guard::default(),
    };
    if source.1.key_on_host() != dest.1.key_on_host() {
        guard._source = match of_source() {
            Ok(lock) => Some(lock),
            Err(e) if is::locked(&e) => return None,
            Err(_) => None,
        };
    }
    Some(guard)
}
