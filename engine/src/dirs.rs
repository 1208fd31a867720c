//! Parent directories: made when they are missing, removed when they are empty.

use std::io;
use std::path::Path;

use crate::Engine;
use crate::mount::Mount;
use crate::names;
use crate::place;
use crate::sys::{self, is};

/// How often directories are made that others keep removing.
pub(crate) const DIRS_MADE: u32 = 100;

/// Makes the directories above `path`. With fsync, what was made is durable: each new directory is
/// synced, and the one that was there before, in which the first of them has its entry.
pub(crate) fn create_parents(engine: &Engine, path: &Path) -> io::Result<()> {
    let (parent, _) = place::split(path);
    // Seen before anything is made, so that what is new is known.
    let existing = engine
        .fsync
        .then(|| parent.ancestors().find(|dir| dir.exists()));
    let create = || engine.retrying("create directory", parent, || sys::create_dir_all(parent));
    let mut created = create();
    for _ in 0..DIRS_MADE {
        // Somebody removes them as fast; what stays in the way is told at the end.
        match &created {
            Err(e) if is::not_found(e) || is::exists(e) => created = create(),
            _ => break,
        }
    }
    created?;
    if let Some(existing) = existing {
        for dir in parent.ancestors() {
            match sync(engine, dir) {
                Err(e) if is::unsupported_sync(&e) => {}
                synced => synced?,
            }
            if Some(dir) == existing {
                break;
            }
        }
    }
    Ok(())
}

/// Whether the directory that `path` would be in is known not to be there.
pub(crate) fn is_missing_above(path: &Path) -> bool {
    sys::stat_dir(place::split(path).0).is_err_and(|e| is::not_found(&e))
}

/// Makes the entry of `path`, which is on `mount`, in its directory durable. No error where the
/// file system has no such thing: fsync(2) gives EINVAL, and EBADF and ENOTSUP are seen on network
/// mounts. It is not asked again then.
pub(crate) fn sync_parent(engine: &Engine, mount: &Mount, path: &Path) -> io::Result<()> {
    if !mount.dir_sync.may() {
        return Ok(());
    }
    match sync(engine, place::split(path).0) {
        Ok(()) => {
            mount.dir_sync.works();
            Ok(())
        }
        Err(e) if is::unsupported_sync(&e) => {
            mount.dir_sync.refused();
            Ok(())
        }
        Err(e) => Err(e),
    }
}

fn sync(engine: &Engine, dir: &Path) -> io::Result<()> {
    // Not after EIO: a second fsync would answer Ok for what the first has lost.
    let again = |e: &io::Error| is::stale(e) || is::interrupted(e);
    engine.retrying_if(again, "sync", dir, || sys::sync_dir(dir))
}

/// Removes the lock file of a directory that holds nothing else.
fn remove_lock_alone(engine: &Engine, dir: &Path) -> bool {
    let names = engine.rereading_one("read directory", dir, || sys::read_dir(dir));
    names.is_ok_and(|names| names.iter().all(|entry| entry.name == names::DIR_LOCK))
        && sys::remove_lock_in_dir(dir).is_ok()
}

/// Removes the directories above `path` that are empty, up to `root`, which stays.
pub(crate) fn remove_empty_parents(engine: &Engine, path: &Path, root: &Path) {
    for dir in path.ancestors().skip(1) {
        if dir == root || !dir.starts_with(root) {
            break;
        }
        let passes = |e: &io::Error| is::stale(e) || is::interrupted(e);
        let remove =
            || engine.retrying_if(passes, "remove directory", dir, || sys::remove_dir(dir));
        let removed = match remove() {
            Err(e) if is::not_empty(&e) && remove_lock_alone(engine, dir) => remove(),
            removed => removed,
        };
        match removed {
            // Removed by somebody else, or by a call whose reply was lost.
            Err(e) if !is::not_found(&e) => break,
            _ => {}
        }
    }
}
