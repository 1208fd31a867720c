//! Deleting a file.

use std::io;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::lock::PathGuard;
use crate::observe::{self, Before};
use crate::place::{self, Place};
use crate::publish::{Attempt, locked_by_others, until_done};
use crate::sys::{self, Stat, is, same_error};
use crate::{Engine, advisory, lock};

fn failed(path: &Path, e: io::Error) -> Error {
    let kind = match is::not_found(&e) {
        true => ErrorKind::NotFound,
        false => ErrorKind::Other,
    };
    Error::new("delete file", path, e).kind_of(kind)
}

pub(crate) fn delete(engine: &Engine, path: &Path) -> Result<()> {
    // Kept over all attempts: a file that was there at the first is one that we deleted.
    let mut was_there = false;
    until_done(engine, || {
        let (place, _guard) = lock_at(engine, path)?;
        let Some(_others) = advisory::exclude_others(engine, &[(path, &place)])? else {
            return Ok(Attempt::Busy(locked_by_others(path)));
        };
        let before = Before::look(engine, &place.mount, path);
        match before {
            Before::Absent if !was_there => return Err(failed(path, same_error::not_found())),
            Before::There(_) => was_there = true,
            Before::Absent | Before::NotLooked => {}
        }
        let Err(e) = sys::unlink(path) else {
            return Ok(Attempt::Done(()));
        };
        // It was there a moment ago: the reply to the first of two requests was lost.
        if is::not_found(&e) && was_there {
            engine.resolved("unlink", path, &e);
            return Ok(Attempt::Done(()));
        }
        let in_use =
            is::denied(&e) && !place.mount.is_native() && sys::may_write_dir(place::split(path).0);
        if !is::ambiguous(&e) && !in_use {
            return Err(failed(path, e));
        }
        match observe::look(engine, path) {
            Ok(None) => {
                engine.resolved("unlink", path, &e);
                Ok(Attempt::Done(()))
            }
            Ok(Some(now)) if now.is_dir => Err(failed(path, e)),
            // It went, and another one has been put there since.
            Ok(Some(now)) if is_another(&place, &before, &now) => {
                engine.resolved("unlink", path, &e);
                Ok(Attempt::Done(()))
            }
            Ok(Some(_)) => Ok(Attempt::Again(failed(path, e))),
            Err(_) => Err(failed(path, e).hint("whether it took effect is unknown")),
        }
    })
}

/// By what the mount keeps: an inode number may change with every look.
fn is_another(place: &Place, before: &Before, now: &Stat) -> bool {
    let version = |stat| place.mount.version(stat);
    matches!(before, Before::There(before) if version(before) != version(now))
}

/// Finds the file's place and locks it there: whoever held the lock may have removed the directory,
/// and another be there by now.
fn lock_at(engine: &Engine, path: &Path) -> Result<(Place, PathGuard)> {
    loop {
        let place = engine.locate(path).map_err(|e| failed(path, e))?;
        let guard = lock::lock(place.key());
        if !guard.has_waited() {
            return Ok((place, guard));
        }
        let now = engine.locate(path).map_err(|e| failed(path, e))?;
        if now.key() == place.key() {
            return Ok((place, guard));
        }
    }
}
