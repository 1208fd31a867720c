//! Copying and renaming files that are there.

use std::io;
use std::path::Path;

use crate::advisory::{self, Others};
use crate::by_data::{copy_data, move_data};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{self, PathGuard};
use crate::observe;
use crate::place::{self, Place};
use crate::publish::{Attempt, Source, Step, Tried, locked_by_others, remove, until_done};
use crate::staging::Staging;
use crate::sys::{self, Stat, is, same_error};
use crate::{Engine, Mode, dirs, names};

pub(crate) fn failed(from: &Path, to: &Path, e: io::Error) -> Error {
    Error::new("copy file from", from, e).to(to)
}

pub(crate) fn source_not_found(from: &Path) -> Error {
    Error::new("find the source", from, same_error::not_found()).kind_of(ErrorKind::NotFound)
}

/// What link(2) says of a directory, or of a name without room for a staging file's digits.
fn link_plainly(from: &Path, to: &Path, mode: Mode) -> Result<()> {
    sys::link(from, to).map_err(|e| match is::exists(&e) && mode == Mode::Create {
        true => Error::already_exists(to, e),
        false => failed(from, to, e),
    })
}

/// The two ends of an operation, locked.
struct Ends<'a> {
    engine: &'a Engine,
    from_path: &'a Path,
    to_path: &'a Path,
    from: Place,
    to: Place,
    others: Others,
    _guard: PathGuard,
}

/// What becomes of the two ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Copy(Mode),
    Rename(Mode),
}

/// Finds and locks both ends, and makes the directories that the new name needs. `None` if another
/// process has locked one of those that change.
fn lock_ends<'a>(
    engine: &'a Engine,
    from: &'a Path,
    to: &'a Path,
    change: Change,
) -> Result<Option<Ends<'a>>> {
    let from_place = engine.locate(from).map_err(|e| match is::not_found(&e) {
        true => source_not_found(from),
        false => failed(from, to, e),
    })?;
    let to_place = locate_sibling(engine, from, &from_place, to)?;
    let guard = lock::lock_both(from_place.key(), to_place.key());
    if guard.has_waited() {
        // Whoever held it may have removed a directory, and another be there.
        let is_there = |path, place: &Place| matches!(engine.locate(path), Ok(now) if now.key() == place.key());
        if !is_there(from, &from_place) || !is_there(to, &to_place) {
            drop(guard);
            return lock_ends(engine, from, to, change);
        }
    }
    let native = to_place.mount.is_native();
    let (from_end, to_end) = ((from, &from_place), (to, &to_place));
    let changed = match change {
        Change::Copy(Mode::Create) if native => &[][..],
        Change::Copy(_) => &[to_end],
        Change::Rename(Mode::Create) if native => &[from_end],
        Change::Rename(_) => &[from_end, to_end],
    };
    let others = advisory::exclude_others(engine, changed)?;
    Ok(others.map(|others| Ends {
        engine,
        from_path: from,
        to_path: to,
        from: from_place,
        to: to_place,
        others,
        _guard: guard,
    }))
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
            Err(e) if is::not_found(&e) && dirs_made < dirs::DIRS_MADE => {
                // Nothing is made for a source that is not there.
                look_at_source(engine, from, to)?;
                dirs_made += 1;
                dirs::create_parents(engine, to)
                    .map_err(|e| Error::new("create dir", to_dir, e))?;
            }
            Err(e) => return Err(failed(from, to, e)),
        }
    }
}

pub(crate) fn look_at_source(engine: &Engine, from: &Path, to: &Path) -> Result<Stat> {
    engine
        .retrying("look at", from, || sys::stat(from))
        .map_err(|e| match is::not_found(&e) {
            true => source_not_found(from),
            false => failed(from, to, e),
        })
}

/// Makes the new entry, and for a rename the loss of the old one, durable.
pub(crate) fn sync(engine: &Engine, to: &Path, from: Option<&Path>) -> Result<()> {
    if !engine.fsync {
        return Ok(());
    }
    let other_dir = from.filter(|from| place::split(from).0 != place::split(to).0);
    for path in std::iter::once(to).chain(other_dir) {
        let synced = engine
            .locate(path)
            .and_then(|place| dirs::sync_parent(engine, &place.mount, path));
        synced.map_err(|e| {
            Error::new("sync data to disk for", path, e)
                .hint("it took effect, but may not survive a power failure")
        })?;
    }
    Ok(())
}

impl Ends<'_> {
    fn look_at_source(&self) -> Result<Stat> {
        look_at_source(self.engine, self.from_path, self.to_path)
    }

    /// A local disk tells whether the source is there when it is used.
    fn look_at_source_if_needed(&self) -> Result<Option<Stat>> {
        match self.to.mount.is_native() {
            true => Ok(None),
            false => self.look_at_source().map(Some),
        }
    }

    fn step<'a>(&'a self, from: &'a Path, ours: Option<Stat>, source: Source) -> Step<'a> {
        Step::new(
            self.engine,
            &self.to.mount,
            from,
            self.to_path,
            ours,
            source,
        )
    }

    /// Whether a hard link is worth a try, here and now.
    fn may_link(&self) -> bool {
        self.from.is_on_mount_of(&self.to) && self.to.mount.links.may()
    }

    fn is_same_file(&self, source: &Stat, other: &Stat) -> bool {
        source.ino != 0
            && self.to.mount.has_stable_inodes()
            && (source.dev, source.ino) == (other.dev, other.ino)
    }
}

pub(crate) fn rename(engine: &Engine, from: &Path, to: &Path, mode: Mode) -> Result<()> {
    let mut dirs_made = 0;
    loop {
        let renamed = until_done(engine, || {
            let Some(ends) = lock_ends(engine, from, to, Change::Rename(mode))? else {
                return Ok(Attempt::Busy(locked_by_others(to)));
            };
            let tried = match mode {
                Mode::Create => rename_new(&ends, &ends.look_at_source()?),
                _ => rename_over(&ends),
            };
            Ok(match tried? {
                Tried::Done => Attempt::Done(None),
                Tried::Again(e) => Attempt::Again(e),
                Tried::Busy(e) => Attempt::Busy(e),
                Tried::Refused(e) => Attempt::Done(Some(e)),
            })
        });
        match renamed {
            Ok(None) => return sync(engine, to, Some(from)),
            Ok(Some(refused)) => return move_data(engine, from, to, mode, refused),
            Err(e) if is::not_found(e.io_error()) && e.kind() == ErrorKind::Other => {
                // Somebody who moved the source was between our look and our rename, or somebody
                // who deletes empty directories; others may have made them again since.
                look_at_source(engine, from, to)?;
                if dirs_made == dirs::DIRS_MADE {
                    return Err(e);
                }
                dirs_made += 1;
            }
            Err(e) => return Err(e),
        }
    }
}

fn rename_over(ends: &Ends<'_>) -> Result<Tried> {
    let (from, to) = (ends.from_path, ends.to_path);
    let source = match ends.to.mount.repeats_mtimes(None) {
        true => Some(ends.look_at_source()?),
        false => ends.look_at_source_if_needed()?,
    };
    let mut step = ends.step(from, source, Source::Object);
    step.look_at_replaced();
    let has_other_names = source.is_some_and(|s| s.nlink > 1);
    if from != to && (step.is_alike() || step.is_no_later()) {
        if has_other_names {
            // They would have another e_tag with it: a file of its own is moved.
            return Ok(Tried::Refused(io::ErrorKind::Unsupported.into()));
        }
        step.make_distinct();
    }
    let tried = step.replace(Mode::Overwrite);
    if !matches!(tried, Ok(Tried::Done)) {
        step.restore(source.as_ref());
    }
    match tried? {
        Tried::Done if from != to => {
            remove_other_link(ends, source.as_ref())?;
            Ok(Tried::Done)
        }
        tried => Ok(tried),
    }
}

/// rename(2): "If oldpath and newpath are existing hard links referring to the same file, then
/// rename() does nothing, and returns a success status." Then the old name is removed here.
///
/// Looked at afterwards, since somebody may have linked the two a moment ago. Where inode numbers
/// do not tell, two links of one file are what both names say alike: a size, an mtime, two links.
fn remove_other_link(ends: &Ends<'_>, source: Option<&Stat>) -> Result<()> {
    let (from, to) = (ends.from_path, ends.to_path);
    let look = |path: &Path| {
        observe::look(&ends.engine.for_operation(), path).map_err(|e| {
            Error::new("access metadata for", path, e).hint(format!(
                "it was renamed to {}; whether its old name is gone is unknown",
                to.display()
            ))
        })
    };
    let old = match look(from) {
        Ok(Some(old)) => old,
        Ok(None) => return Ok(()),
        // It had one name.
        Err(_) if source.is_some_and(|s| s.nlink < 2) => return Ok(()),
        Err(e) => return Err(e),
    };
    let alike = |new: &Stat| {
        !ends.to.mount.numbers_files()
            && (old.size, old.modified, old.nlink) == (new.size, new.modified, new.nlink)
    };
    let same_file = look(to)?.is_some_and(|new| ends.is_same_file(&old, &new) || alike(&new));
    if !same_file || old.nlink < 2 || old.is_dir {
        // A new object at the old name, or one entry in two spellings.
        return Ok(());
    }
    remove_old_name(ends.engine, from, to)
}

/// Unless it is the new name in another spelling.
pub(crate) fn remove_old_name(engine: &Engine, from: &Path, to: &Path) -> Result<()> {
    let engine = engine.for_operation();
    is_one_entry(&engine, from, to)
        .and_then(|is_one| match is_one {
            true => Ok(()),
            false => remove(&engine, from),
        })
        .map_err(|e| two_names(from, to, e))
}

/// Whether two paths are two spellings of one entry: on a mount that ignores case, or how letters
/// are composed. Two entries they are where their directories are two, or where their directory
/// lists both, byte for byte.
fn is_one_entry(engine: &Engine, a: &Path, b: &Path) -> io::Result<bool> {
    let ((a_dir, a_name), (b_dir, b_name)) = (place::split(a), place::split(b));
    if a_dir != b_dir && !is_one_dir(engine, a_dir, b_dir)? {
        return Ok(false);
    }
    let names = engine.rereading_one("read directory", a_dir, || sys::read_dir(a_dir))?;
    let listed = |name| names.iter().any(|entry| entry.name == name);
    Ok(a_name == b_name || !listed(a_name) || !listed(b_name))
}

fn is_one_dir(engine: &Engine, a: &Path, b: &Path) -> io::Result<bool> {
    let stat = |dir: &Path| engine.rereading_one("look at", dir, || sys::stat_dir(dir));
    let (of_a, of_b) = (stat(a)?, stat(b)?);
    if of_a.ino != 0 && (of_a.dev, of_a.ino) == (of_b.dev, of_b.ino) {
        return Ok(true);
    }
    // Inode numbers may change with every look.
    let canonical = |dir: &Path| engine.rereading_one("resolve", dir, || sys::canonical_dir(dir));
    Ok(canonical(a)? == canonical(b)?)
}

pub(crate) fn two_names(from: &Path, to: &Path, e: io::Error) -> Error {
    Error::new("delete file", from, e).hint(format!(
        "the object is at {} too: remove the name that is too many",
        to.display()
    ))
}

/// Renames a source that others may rename at the same time: of all, one is told that it did.
fn rename_new(ends: &Ends<'_>, source: &Stat) -> Result<Tried> {
    let from = ends.from_path;
    // Directories are not objects: what link(2) says of them is the answer.
    if source.is_dir {
        return link_plainly(from, ends.to_path, Mode::Create).map(|()| Tried::Done);
    }
    if !ends.to.mount.rename.may() {
        // Nor can the source be taken from others who rename it.
        return Ok(Tried::Refused(io::ErrorKind::Unsupported.into()));
    }
    if !ends.to.mount.is_native() {
        return rename_new_looking(ends);
    }
    // On a local disk one call, and what it answers is so.
    let step = ends.step(from, Some(*source), Source::Object);
    let refused = match step.rename_exclusively()? {
        Tried::Refused(e) => e,
        tried => return Ok(tried),
    };
    match step.link(&refused)? {
        Tried::Done => removed_source(ends),
        Tried::Refused(e) if is::cross_device(&e) => Ok(Tried::Refused(e)),
        Tried::Refused(e) => step.create_under_lock(&ends.to, &ends.others, e),
        tried => Ok(tried),
    }
}

/// Where an answer is no proof: of the processes of this host that rename the source, one at a time.
fn rename_new_looking(ends: &Ends<'_>) -> Result<Tried> {
    let from = ends.from_path;
    let source = (from, &ends.from);
    let Some(_source) = advisory::try_lock_source(source, &ends.to, &ends.others)? else {
        return Ok(Tried::Busy(locked_by_others(from)));
    };
    let source = ends.look_at_source()?;
    let step = ends.step(from, Some(source), Source::Object);
    match publish_link(ends, &source)? {
        Some(Tried::Done) => removed_source(ends),
        Some(Tried::Refused(e)) => match step.link(&e)? {
            Tried::Done if take(ends, &source)? => Ok(Tried::Done),
            Tried::Done => Err(Error::already_exists(ends.to_path, same_error::exists())),
            Tried::Refused(e) => step.create_under_lock(&ends.to, &ends.others, e),
            tried => Ok(tried),
        },
        Some(tried) => Ok(tried),
        // Without links there is no better witness than the names themselves, and a lost reply looks
        // like another's rename of this source, from which the others are kept.
        None => match step.rename_exclusively()? {
            Tried::Refused(e) if is::cross_device(&e) => Ok(Tried::Refused(e)),
            Tried::Refused(e) => step.create_under_lock(&ends.to, &ends.others, e),
            tried => Ok(tried),
        },
    }
}

/// The new name is a link: the old one goes.
fn removed_source(ends: &Ends<'_>) -> Result<Tried> {
    remove(ends.engine, ends.from_path)
        .map(|()| Tried::Done)
        .map_err(|e| two_names(ends.from_path, ends.to_path, e))
}

/// Renames a link of the source, with a name of our own, exclusively to its destination: that the
/// name is gone is proof that it was ours which did it. `None` where there are no links.
fn publish_link(ends: &Ends<'_>, source: &Stat) -> Result<Option<Tried>> {
    if ends.may_link() && !ends.to.mount.exclusive_rename.may() {
        return Ok(Some(Tried::Refused(io::ErrorKind::Unsupported.into())));
    }
    let Some(mut staging) = stage_link(ends, Some(source))? else {
        return Ok(None);
    };
    let published = ends
        .step(staging.path(), Some(*source), Source::StagingFile)
        .rename_exclusively()?;
    if matches!(published, Tried::Done) {
        staging.is_published();
    }
    Ok(Some(published))
}

/// Of those who find the destination to be a link of the source, be it by their own request whose
/// reply was lost or by another's, the one who takes the source's name away has made the rename.
/// It is taken to a name of our own, since what is there tells, and an answer may not.
fn take(ends: &Ends<'_>, source: &Stat) -> Result<bool> {
    let (engine, from) = (ends.engine, ends.from_path);
    let taken_to = names::private_path(from);
    let mut retry = engine.start_retry();
    while let Err(e) = sys::rename(from, &taken_to) {
        if is::no_rename(&e) {
            return take_by_unlink(ends);
        }
        let look = |path| {
            observe::look_closely(engine, &ends.from.mount, path)
                .map_err(|e| Error::new("look at", path, e))
        };
        if look(&taken_to)?.is_some_and(|s| s.size == source.size) {
            engine.resolved("rename", &taken_to, &e);
            break;
        }
        if look(from)?.is_none() {
            return Ok(false);
        }
        if !retry.again() {
            return Err(two_names(from, ends.to_path, e));
        }
        engine.retried("rename", from, &e);
    }
    let mount = &ends.from.mount;
    let taken = observe::look_closely(engine, mount, &taken_to);
    let is_source = |s: &Stat| mount.version(s) == mount.version(source);
    if taken.is_ok_and(|taken| taken.is_some_and(|taken| !is_source(&taken))) {
        // Another process wrote a new object in between: as if right after this rename. If nothing
        // newer is there by now, it gets its name back.
        if let Err(e) = sys::link(&taken_to, from) {
            tracing::debug!(path = %from.display(), error = %e, "a newer object is there");
        }
    }
    if let Err(e) = remove(&engine.for_operation(), &taken_to) {
        tracing::warn!(
            path = %taken_to.display(),
            error = %e,
            "a link of the object stays behind; it is hidden from listings"
        );
    }
    Ok(true)
}

/// Where a name cannot be taken to another one: who removes it has it.
fn take_by_unlink(ends: &Ends<'_>) -> Result<bool> {
    let from = ends.from_path;
    let mut replies_lost = 0;
    let removed = ends.engine.retrying("remove", from, || {
        sys::unlink(from).inspect_err(|e| replies_lost += u32::from(is::ambiguous(e)))
    });
    match removed {
        Ok(()) => Ok(true),
        Err(e) if is::absent(&e) => Ok(replies_lost > 0),
        Err(e) => Err(two_names(from, ends.to_path, e)),
    }
}

/// How a copy by hard link ended.
enum Linked {
    Done,
    /// The data must be copied: there is no link to be had.
    Refused,
}

pub(crate) fn copy(engine: &Engine, from: &Path, to: &Path, mode: Mode) -> Result<()> {
    let linked = until_done(engine, || {
        let Some(ends) = lock_ends(engine, from, to, Change::Copy(mode))? else {
            return Ok(Attempt::Busy(locked_by_others(to)));
        };
        if let Some(linked) = link_at_once(&ends, mode)? {
            return Ok(Attempt::Done(linked));
        }
        match mode {
            Mode::Create => link_new(&ends),
            _ => link_over(&ends),
        }
    });
    let copied = linked.and_then(|linked| match linked {
        Linked::Done => Ok(()),
        Linked::Refused => copy_data(engine, from, to, mode),
    });
    match copied {
        // No room for a staging name: here upstream needs none.
        Err(e) if mode == Mode::Create && is::name_too_long(e.io_error()) => {
            link_plainly(from, to, mode)?;
        }
        done => done?,
    }
    sync(engine, to, None)
}

/// On a local disk: one call that creates, and what it answers is so. `None` if it did not.
fn link_at_once(ends: &Ends<'_>, mode: Mode) -> Result<Option<Linked>> {
    // A name that is too long to be replaced is too long to be made: one limit for all.
    if !ends.to.mount.is_native() || !ends.may_link() || !names::has_room(ends.to_path) {
        return Ok(None);
    }
    match sys::link(ends.from_path, ends.to_path) {
        Ok(()) => Ok(Some(Linked::Done)),
        Err(e) if is::exists(&e) && mode == Mode::Create => {
            Err(Error::already_exists(ends.to_path, e))
        }
        Err(e) if is::ambiguous(&e) && mode == Mode::Create => {
            // Ours, or that of another process which copies the same source.
            match observe::look(ends.engine, ends.to_path) {
                Ok(None) => Ok(None),
                _ => Err(failed(ends.from_path, ends.to_path, e)
                    .hint("the outcome is unknown: look at the destination before you copy again")),
            }
        }
        Err(_) => Ok(None),
    }
}

fn link_new(ends: &Ends<'_>) -> Result<Attempt<Linked>> {
    let source = ends.look_at_source()?;
    if source.is_dir {
        return link_plainly(ends.from_path, ends.to_path, Mode::Create)
            .map(|()| Attempt::Done(Linked::Done));
    }
    Ok(match publish_link(ends, &source)? {
        Some(Tried::Done) => Attempt::Done(Linked::Done),
        Some(Tried::Again(e)) => Attempt::Again(e),
        Some(Tried::Busy(e)) => Attempt::Busy(e),
        // A plain link cannot be told from another process's link of the same source.
        Some(Tried::Refused(_)) | None => Attempt::Done(Linked::Refused),
    })
}

fn link_over(ends: &Ends<'_>) -> Result<Attempt<Linked>> {
    let (from, to) = (ends.from_path, ends.to_path);
    if from == to {
        let source = ends.look_at_source()?;
        return match source.is_dir {
            true => Err(failed(from, to, same_error::not_permitted())),
            false => Ok(Attempt::Done(Linked::Done)),
        };
    }
    let source = match ends.to.mount.repeats_mtimes(None) {
        true => Some(ends.look_at_source()?),
        false => ends.look_at_source_if_needed()?,
    };
    let Some(mut staging) = stage_link(ends, source.as_ref())? else {
        return Ok(Attempt::Done(Linked::Refused));
    };
    let mut step = ends.step(staging.path(), source, Source::StagingFile);
    step.look_at_replaced();
    if step.is_alike() || step.is_no_later() {
        // A link has the mtime of its source: here another version may have had the same e_tag.
        return Ok(Attempt::Done(Linked::Refused));
    }
    ends.others.announce(&ends.to, staging.path())?;
    match step.replace(Mode::Overwrite)? {
        Tried::Done => {
            // If the destination was a link of the source already, or another process made it one
            // meanwhile, the rename did nothing and left ours (rename(2)).
            staging.discard();
            Ok(Attempt::Done(Linked::Done))
        }
        Tried::Again(e) => Ok(Attempt::Again(e)),
        Tried::Busy(e) => Ok(Attempt::Busy(e)),
        Tried::Refused(_) => Ok(Attempt::Done(Linked::Refused)),
    }
}

/// A staging file that is a link of the source, or `None` where there are no links.
fn stage_link(ends: &Ends<'_>, source: Option<&Stat>) -> Result<Option<Staging>> {
    if !ends.may_link() {
        return Ok(None);
    }
    let (engine, from, to) = (ends.engine, ends.from_path, ends.to_path);
    let e = match Staging::link(engine, from, source, to, &ends.to) {
        Ok(staging) => {
            ends.to.mount.links.works();
            return Ok(Some(staging));
        }
        Err(e) => e,
    };
    // The mount has none, or this file has as many as it may, or they are on two devices, or the
    // name leaves no room for a staging file's.
    if is::unsupported_link(&e) || is::link_limit(&e) || is::name_too_long(&e) {
        if look_at_source(engine, from, to)?.is_dir {
            return Err(failed(from, to, e));
        }
        // EPERM may be this one file: another user's (proc_sys_fs(5), protected_hardlinks), or one
        // that is immutable (ioctl_iflags(2)). The copy's own file will tell.
        if is::no_such_call(&e) {
            ends.to.mount.links.refused();
        }
        return Ok(None);
    }
    match is::not_found(&e) {
        true => look_at_source(engine, from, to).and(Err(failed(from, to, e))),
        false => Err(failed(from, to, e)),
    }
}
