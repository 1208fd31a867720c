//! Copying and renaming files that are there.

use std::io;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::lock::{self, PathGuard};
use crate::observe;
use crate::place::{self, Place};
use crate::publish::{Source, Step, remove};
use crate::staging::Staging;
use crate::sys::{self, Stat, is, same_error};
use crate::{Engine, Mode, dirs};

/// How often directories are made for one operation that others keep removing.
const DIRS_MADE: u32 = 100;

/// The two ends of an operation, locked.
struct Ends {
    from: Place,
    to: Place,
    source: Stat,
    _guard: PathGuard,
}

fn failed(from: &Path, to: &Path, e: io::Error) -> Error {
    Error::new("copy file from", from, e).to(to)
}

fn source_not_found(from: &Path) -> Error {
    Error::new("find the source", from, same_error::not_found()).kind_of(ErrorKind::NotFound)
}

/// Finds and locks both ends, makes the directories that the new name needs, and looks at the
/// source.
fn lock_ends(engine: &Engine, from: &Path, to: &Path) -> Result<Ends> {
    let from_place = engine.locate(from).map_err(|e| match is::not_found(&e) {
        true => source_not_found(from),
        false => failed(from, to, e),
    })?;
    let to_place = locate_sibling(engine, from, &from_place, to)?;
    let guard = lock::lock_both(from_place.key(), to_place.key());
    match observe::look(engine, from) {
        Ok(Some(source)) => Ok(Ends {
            from: from_place,
            to: to_place,
            source,
            _guard: guard,
        }),
        Ok(None) => Err(source_not_found(from)),
        Err(e) => Err(failed(from, to, e)),
    }
}

/// The place of the new name: one look less if it is in the same directory.
fn locate_sibling(engine: &Engine, from: &Path, from_place: &Place, to: &Path) -> Result<Place> {
    let ((from_dir, _), (to_dir, name)) = (place::split(from), place::split(to));
    if from_dir == to_dir {
        return Ok(from_place.sibling(name));
    }
    let mut dirs_made = 0;
    loop {
        match engine.locate(to) {
            Ok(place) => return Ok(place),
            Err(e) if is::not_found(&e) && dirs_made < DIRS_MADE => {
                // Nothing is made for a source that is not there.
                if matches!(observe::look(engine, from), Ok(None)) {
                    return Err(source_not_found(from));
                }
                dirs_made += 1;
                dirs::create_parents(engine, to)
                    .map_err(|e| Error::new("create dir", to_dir, e))?;
            }
            Err(e) => return Err(failed(from, to, e)),
        }
    }
}

/// Makes the new entry, and for a rename the loss of the old one, durable.
fn sync(engine: &Engine, to: &Path, from: Option<&Path>) -> Result<()> {
    if !engine.fsync {
        return Ok(());
    }
    let other_dir = from.filter(|from| place::split(from).0 != place::split(to).0);
    for path in std::iter::once(to).chain(other_dir) {
        dirs::sync_parent(engine, path).map_err(|e| {
            Error::new("sync data to disk for", path, e)
                .hint("it took effect, but may not survive a power failure")
        })?;
    }
    Ok(())
}

pub(crate) fn rename(engine: &Engine, from: &Path, to: &Path, mode: Mode) -> Result<()> {
    let mut dirs_made = 0;
    loop {
        match try_rename(engine, from, to, mode) {
            // Somebody who deletes empty directories was between our look and our rename.
            Err(e) if is::not_found(e.io_error()) && dirs_made < DIRS_MADE => {
                if e.kind() != ErrorKind::Other || !dirs::is_missing_above(to) {
                    return Err(e);
                }
                dirs_made += 1;
            }
            Err(e) => return Err(e),
            Ok(()) => return sync(engine, to, Some(from)),
        }
    }
}

fn try_rename(engine: &Engine, from: &Path, to: &Path, mode: Mode) -> Result<()> {
    let ends = lock_ends(engine, from, to)?;
    let step = ends.step(engine, from, to, Source::Object);
    match mode {
        Mode::Overwrite => {
            step.replace()?;
            // rename(2): "If oldpath and newpath are existing hard links referring to the same
            // file, then rename() does nothing, and returns a success status."
            match ends.source.nlink > 1 && !ends.source.is_dir {
                true => remove_other_link(engine, &ends, from, to),
                false => Ok(()),
            }
        }
        // Directories are not objects: what link(2) says of them is the answer.
        Mode::Create if ends.source.is_dir => {
            sys::link(from, to).map_err(|e| match is::exists(&e) {
                true => already_exists(to, e),
                false => failed(from, to, e),
            })
        }
        Mode::Create => step.create(),
    }
}

/// Removes the old name if it still stands beside the new one.
fn remove_other_link(engine: &Engine, ends: &Ends, from: &Path, to: &Path) -> Result<()> {
    let look = |path: &Path| {
        observe::look(engine, path).map_err(|e| Error::new("access metadata for", path, e))
    };
    let is_source = |s: Option<Stat>| s.is_some_and(|s| ends.is_source(&s));
    if !is_source(look(from)?) || !is_source(look(to)?) || ends.is_one_entry(from, to) {
        return Ok(());
    }
    remove(engine, from).map_err(|e| Error::new("delete file", from, e))
}

impl Ends {
    fn step<'a>(
        &'a self,
        engine: &'a Engine,
        from: &'a Path,
        to: &'a Path,
        source: Source,
    ) -> Step<'a> {
        Step::new(engine, &self.to.mount, from, to, &self.source, source)
    }

    /// Whether a hard link is worth a try, here and now.
    fn may_link(&self) -> bool {
        self.from.is_on_mount_of(&self.to) && self.to.mount.may_link()
    }

    fn is_source(&self, other: &Stat) -> bool {
        self.source.ino != 0
            && self.to.mount.has_stable_inodes()
            && (self.source.dev, self.source.ino) == (other.dev, other.ino)
    }

    fn has_one_link_more(&self, engine: &Engine, to: &Path) -> bool {
        observe::look(engine, to).is_ok_and(|now| {
            now.is_some_and(|now| self.is_source(&now) && now.nlink == self.source.nlink + 1)
        })
    }

    /// Two spellings of one directory entry, of which none may be removed.
    fn is_one_entry(&self, from: &Path, to: &Path) -> bool {
        if !self.from.is_same_entry(&self.to) {
            return false;
        }
        let ((dir, from), (_, to)) = (place::split(from), place::split(to));
        if from == to {
            return true;
        }
        // Alike but for case: two entries only where both are listed.
        let listed = |name| {
            std::fs::read_dir(dir)
                .is_ok_and(|entries| entries.flatten().any(|e| e.file_name() == name))
        };
        !(listed(from) && listed(to))
    }
}

fn already_exists(to: &Path, e: io::Error) -> Error {
    Error::new("create", to, e).kind_of(ErrorKind::AlreadyExists)
}

/// How a copy by hard link ended.
enum Linked {
    Done,
    /// The data must be copied: there is no link to be had.
    Refused,
}

pub(crate) fn copy(engine: &Engine, from: &Path, to: &Path, mode: Mode) -> Result<()> {
    let linked = {
        let ends = lock_ends(engine, from, to)?;
        match mode {
            Mode::Overwrite => link_over(engine, &ends, from, to),
            Mode::Create => link_new(engine, &ends, from, to),
        }?
    };
    match linked {
        Linked::Done => sync(engine, to, None),
        Linked::Refused => copy_data(engine, from, to, mode),
    }
}

fn link_over(engine: &Engine, ends: &Ends, from: &Path, to: &Path) -> Result<Linked> {
    let old = observe::look(engine, to).map_err(|e| failed(from, to, e))?;
    // It is its own copy already. Renaming a link of it over it would do nothing and leave the
    // link (rename(2)).
    if from == to || old.is_some_and(|old| ends.is_source(&old)) {
        return Ok(Linked::Done);
    }
    let Some(mut staging) = stage_link(engine, ends, from, to)? else {
        return Ok(Linked::Refused);
    };
    ends.step(engine, staging.path(), to, Source::StagingFile)
        .replace()?;
    match old {
        // Where inode numbers change it may have been the source all the same.
        Some(old) if old.nlink > 1 => staging.discard(),
        _ => staging.is_published(),
    }
    Ok(Linked::Done)
}

fn link_new(engine: &Engine, ends: &Ends, from: &Path, to: &Path) -> Result<Linked> {
    let mount = &ends.to.mount;
    if mount.is_native() && ends.may_link() {
        // One call, and what it answers is so.
        match sys::link(from, to) {
            Ok(()) => return Ok(Linked::Done),
            Err(e) if is::exists(&e) => return Err(already_exists(to, e)),
            // Another process's link would have been answered with EEXIST.
            Err(e) if is::ambiguous(&e) && ends.has_one_link_more(engine, to) => {
                engine.resolved("link", to, &e);
                return Ok(Linked::Done);
            }
            // Looked into below, with a name of our own.
            Err(_) => {}
        }
    }
    // A link that answers EEXIST after a reply was lost cannot be told from another process's link
    // of the same source. A staging name that is gone is proof, and so is an inode of our own.
    if !mount.may_rename_exclusively() {
        return Ok(Linked::Refused);
    }
    let Some(mut staging) = stage_link(engine, ends, from, to)? else {
        return Ok(Linked::Refused);
    };
    let step = ends.step(engine, staging.path(), to, Source::StagingFile);
    if !step.rename_exclusively()? {
        return Ok(Linked::Refused);
    }
    staging.is_published();
    Ok(Linked::Done)
}

/// A staging file that is a link of the source, or `None` where there are no links.
fn stage_link(engine: &Engine, ends: &Ends, from: &Path, to: &Path) -> Result<Option<Staging>> {
    if !ends.may_link() {
        return Ok(None);
    }
    match Staging::link(engine, from, &ends.source, to) {
        Ok(staging) => Ok(Some(staging)),
        // The mount has none, or this file has as many as it may, or they are on two devices.
        Err(e) if (is::unsupported_link(&e) || is::link_limit(&e)) && !ends.source.is_dir => {
            Ok(None)
        }
        Err(e) if is::not_found(&e) && matches!(observe::look(engine, from), Ok(None)) => {
            Err(source_not_found(from))
        }
        Err(e) => Err(failed(from, to, e)),
    }
}

/// The way that every mount has: a file of its own with the same bytes. The path lock is taken
/// when they are written.
fn copy_data(engine: &Engine, from: &Path, to: &Path, mode: Mode) -> Result<()> {
    engine.fell_back("link", to, "a copy of the data");
    let source = engine
        .retrying("open", from, || sys::open_read(from))
        .map_err(|e| match is::not_found(&e) {
            true => source_not_found(from),
            false => Error::new("open file", from, e),
        })?;
    let stat = engine
        .retrying("look at", from, || sys::stat_handle(&source, from))
        .map_err(|e| Error::new("access metadata for", from, e))?;
    let mut upload = engine.upload(to)?;
    upload.fill_from(&source, from, stat.size)?;
    upload.complete(mode)?;
    Ok(())
}
