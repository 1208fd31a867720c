//! The locks that exclude other processes and other hosts, besides the path lock, which excludes
//! the threads of this one.
//!
//! They are held by the kernel, and gone with their process however that ends:
//!
//! - a byte of a file of the host's own, by a hash of the path (fcntl_locking(2)): it holds whatever
//!   the mount does, for all who see the same `/dev/shm`;
//! - a byte of a file in the object's directory, by a hash of its name, which the server of the share
//!   keeps for all hosts (RFC 8881, section 18.10; MS-SMB2, section 2.2.26);
//! - flock(2) of the directory, for creations on a mount that has no step for them: containers with a
//!   `/dev/shm` of their own see it too. Nothing of it lies on the mount.
//!
//! None of them is waited for: who is refused lets go of the path lock and comes again.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::error::{Error, ErrorKind, Result};
use crate::lock::{self, Key, PathGuard};
use crate::mount::Known;
use crate::place::{self, Place};
use crate::sys::{self, is};
use crate::{Engine, Exclusion, names, publish};

/// What became of the wish for a lock.
#[derive(Debug)]
pub(crate) enum Locked<T> {
    Yes(T),
    /// Another process has it.
    Busy,
    /// There is no lock to be had that excludes other processes.
    Unavailable,
}

/// The locks of what is written, as far as the engine excludes others from updates.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// By the keys of the places: two at the most.
    on_host: [Option<(u64, sys::HeldLock)>; 2],
    /// By directory and slot: two names may have one lock.
    on_share: [Option<((Key, u64), sys::HeldLock)>; 2],
}

impl Others {
    /// Whether the place is locked on this host: it is not to be locked again.
    pub(crate) fn has(&self, place: &Place) -> bool {
        let key = place.key().0;
        self.on_host.iter().flatten().any(|(held, _)| *held == key)
    }

    /// Says on a share that the file `staging` is about to be published at the place, so that who comes
    /// after a holder who died keeps its rename from being made late.
    pub(crate) fn announce(&self, place: &Place, staging: &Path) -> Result<()> {
        // A local disk makes a rename or does not.
        if place.mount.is_native() {
            return Ok(());
        }
        match self.lock_on_share(place) {
            None => Ok(()),
            Some(lock) => lock
                .set_record(place::split(staging).1, staging)
                .map_err(|e| Error::new("announce the publish of", staging, e)),
        }
    }

    fn lock_on_share(&self, place: &Place) -> Option<&sys::HeldLock> {
        let key = on_share(place);
        let mut locks = self.on_share.iter().flatten();
        locks.find(|(held, _)| *held == key).map(|(_, lock)| lock)
    }
}

/// What the lock of a place for all hosts is known by.
fn on_share(place: &Place) -> (Key, u64) {
    (place.dir_key(), place.slot_in_dir())
}

/// Locks one or two `places`, whose path locks are held, against the others whom the engine excludes
/// from updates. `None` if one of them has it.
///
/// Writers that ask for no condition take part, or an update would swallow what they wrote.
pub(crate) fn exclude_others(
    engine: &Engine,
    places: &[(&Path, &Place)],
) -> Result<Option<Others>> {
    let mut others = Others::default();
    if engine.update_exclusion == Exclusion::OtherThreads {
        return Ok(Some(others));
    }
    for (nth, (path, place)) in places.iter().enumerate() {
        if others.has(place) {
            continue;
        }
        match try_lock_name(path, place)? {
            Locked::Yes(lock) => others.on_host[nth] = Some((place.key().0, lock)),
            Locked::Busy => return Ok(None),
            Locked::Unavailable if engine.exclusion_is_asked => return Err(no_lock_on_host(path)),
            Locked::Unavailable => warn_once(path),
        }
        if engine.update_exclusion == Exclusion::OtherHosts {
            // By another handle it would find its own lock taken.
            if others.lock_on_share(place).is_none() {
                match lock_on_share(engine, path, place)? {
                    None => return Ok(None),
                    Some(lock) => others.on_share[nth] = Some((on_share(place), lock)),
                }
            }
            // What another host did before it let go of the lock is to be seen.
            engine
                .refresh(path)
                .map_err(|e| Error::new("look at the directory of", path, e))?;
        }
    }
    Ok(Some(others))
}

/// A writer without a condition need not fail for it: with no lock on this host, no update takes
/// place on it either.
fn warn_once(path: &Path) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Relaxed) {
        tracing::warn!(
            path = %path.display(),
            "this host has no lock file, so writes do not wait for updates of other processes"
        );
    }
}

/// Locks the name in its directory's lock file. `None` if somebody has it.
fn lock_on_share(engine: &Engine, path: &Path, place: &Place) -> Result<Option<sys::HeldLock>> {
    let failed = |e| Error::new("lock for all hosts", path, e);
    place.mount.locks_for_all_hosts().map_err(|why| {
        failed(std::io::ErrorKind::Unsupported.into())
            .kind_of(ErrorKind::NotSupported)
            .hint(why)
    })?;
    let dir = place::split(path).0;
    let again = |e: &std::io::Error| is::ambiguous(e) && !is::locked(e);
    let lock = || sys::lock_in_dir(dir, place.slot_in_dir(), path);
    match engine.retrying_if(again, "lock for all hosts", path, lock) {
        Ok(lock) => {
            fence(engine, dir, &lock).map_err(failed)?;
            Ok(Some(lock))
        }
        // Or the directory was removed a moment ago: it is looked for again.
        Err(e) if is::locked(&e) || is::not_found(&e) => Ok(None),
        Err(e) => Err(failed(e).hint(
            "no write is made without the lock; with_update_exclusion says who is to be excluded",
        )),
    }
}

/// What the last holder announced and did not finish is kept from being published late: its file is
/// removed, so that a rename of it comes to nothing.
fn fence(engine: &Engine, dir: &Path, lock: &sys::HeldLock) -> std::io::Result<()> {
    let name = engine.retrying("read the lock file of", dir, || lock.record(dir))?;
    if !names::is_hidden(&name) || name == names::DIR_LOCK {
        return Ok(());
    }
    let staging = dir.join(name);
    tracing::warn!(
        path = %staging.display(),
        "whoever was publishing this file is gone; it is removed"
    );
    publish::remove(engine, &staging)
}

/// Whether `exclusion` can be had for objects in the directory `dir`; an error that says why not.
pub(crate) fn ask(engine: &Engine, dir: &Path, exclusion: Exclusion) -> Result<()> {
    let engine = Engine {
        update_exclusion: exclusion,
        ..engine.for_operation()
    };
    let probe = dir.join("probe");
    let place = engine
        .locate(&probe)
        .map_err(|e| Error::new("find the mount of", dir, e))?;
    if exclusion >= Exclusion::OtherProcesses {
        let _turn = lock::lock(place.key());
        if let Locked::Unavailable = try_lock_name(&probe, &place)? {
            return Err(no_lock_on_host(dir));
        }
    }
    if exclusion >= Exclusion::OtherHosts {
        let first = lock_on_share(&engine, &probe, &place)?;
        let second = lock_on_share(&engine, &probe, &place)?;
        if first.is_some() && second.is_some() {
            // Two handles of one file: a lock that both get excludes nobody.
            let e = std::io::ErrorKind::Unsupported.into();
            return Err(Error::new("lock for all hosts", dir, e)
                .kind_of(ErrorKind::NotSupported)
                .hint("the mount grants one lock twice"));
        }
    }
    Ok(())
}

pub(crate) fn no_lock_on_host(path: &Path) -> Error {
    Error::new(
        "exclude other processes from updates of",
        path,
        std::io::ErrorKind::Unsupported.into(),
    )
    .kind_of(ErrorKind::NotSupported)
    .hint(
        "this host has no lock file: neither /dev/shm nor /tmp can hold one, or the system has no \
         such locks; if no other process writes there, accept \
         with_update_exclusion(Exclusion::OtherThreads)",
    )
}

/// Held until dropped: of one who creates.
#[derive(Debug)]
pub(crate) struct Guard {
    _name: Option<sys::HeldLock>,
    _dir: Option<sys::HeldLock>,
    _share: Option<sys::HeldLock>,
    /// The threads of this process wait for each other here, in their order, and not by asking the
    /// kernel again and again for the directory.
    _turn: Option<PathGuard>,
}

/// Tries to lock the file `path`, which is at `place`, against the `excluded` who would create it.
/// Never waits for another process; to be asked for with the path lock held, which excludes the
/// threads of this one.
pub(crate) fn try_lock(
    engine: &Engine,
    path: &Path,
    place: &Place,
    held: &Others,
    excluded: Exclusion,
) -> Result<Locked<Guard>> {
    let (dir, _) = place::split(path);
    let fact = &place.mount.dir_lock;
    let mut turn = fact.may().then(|| lock::lock(place.dir_key()));
    let is_held = held.has(place);
    let name = match is_held {
        true => None,
        false => match try_lock_name(path, place)? {
            Locked::Yes(lock) => Some(lock),
            Locked::Busy => return Ok(Locked::Busy),
            Locked::Unavailable => None,
        },
    };
    let share = match excluded {
        Exclusion::OtherHosts if held.lock_on_share(place).is_none() => {
            match lock_on_share(engine, path, place)? {
                None => return Ok(Locked::Busy),
                lock => lock,
            }
        }
        _ => None,
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
        Some(Err(e)) if is::locked(&e) => return Ok(Locked::Busy),
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
    Ok(match (&name, &dir, &share) {
        (None, None, None) if !is_held => Locked::Unavailable,
        _ => Locked::Yes(Guard {
            _name: name,
            _dir: dir,
            _share: share,
            _turn: turn,
        }),
    })
}

/// The lock on this host alone, for what takes long: whoever else uses `path` is excluded, as far as
/// it sees the same lock file. To be asked for with the path lock held, and once.
///
/// # Errors
///
/// Of this process and this moment, such as a lack of handles: others may well have the lock.
pub(crate) fn try_lock_name(path: &Path, place: &Place) -> Result<Locked<sys::HeldLock>> {
    match sys::lock_on_host(place.key().0, path) {
        Ok(lock) => Ok(Locked::Yes(lock)),
        Err(e) if is::locked(&e) || is::interrupted(&e) => Ok(Locked::Busy),
        Err(e) if is::lasting(&e) => {
            tracing::debug!(path = %path.display(), error = %e, "no lock file for this host");
            Ok(Locked::Unavailable)
        }
        Err(e) => Err(Error::new("lock on this host", path, e)),
    }
}

/// Locks the `source` of a move on this host, so that of all who move it one does. `None` if another
/// has it.
pub(crate) fn try_lock_source(
    source: (&Path, &Place),
    dest: &Place,
    others: &Others,
) -> Result<Option<Option<sys::HeldLock>>> {
    if others.has(source.1) || source.1.key() == dest.key() {
        return Ok(Some(None));
    }
    Ok(match try_lock_name(source.0, source.1)? {
        Locked::Yes(lock) => Some(Some(lock)),
        Locked::Busy => None,
        Locked::Unavailable => Some(None),
    })
}
