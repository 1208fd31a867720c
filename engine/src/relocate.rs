//! Copying and renaming files that are there.

use std::cell::Cell;
use std::io;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::lock::{self, PathGuard};
use crate::observe;
use crate::place::{self, Place};
use crate::publish::{Around, Attempt, Guards, Source, Step, Tried, remove, until_done};
use crate::staging::Staging;
use crate::sys::{self, Stat, is, same_error};
use crate::upload::Upload;
use crate::{Engine, Mode, advisory, dirs, names};

fn failed(from: &Path, to: &Path, e: io::Error) -> Error {
    Error::new("copy file from", from, e).to(to)
}

fn source_not_found(from: &Path) -> Error {
    Error::new("find the source", from, same_error::not_found()).kind_of(ErrorKind::NotFound)
}

fn already_exists(to: &Path, e: io::Error) -> Error {
    Error::new("create", to, e).kind_of(ErrorKind::AlreadyExists)
}

/// What link(2) says of a directory, or of a name without room for a staging file's digits.
fn link_plainly(from: &Path, to: &Path, mode: Mode) -> Result<()> {
    sys::link(from, to).map_err(|e| match is::exists(&e) && mode == Mode::Create {
        true => already_exists(to, e),
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
    _guard: PathGuard,
}

/// Finds and locks both ends, and makes the directories that the new name needs.
fn lock_ends<'a>(engine: &'a Engine, from: &'a Path, to: &'a Path) -> Result<Ends<'a>> {
    let from_place = engine.locate(from).map_err(|e| match is::not_found(&e) {
        true => source_not_found(from),
        false => failed(from, to, e),
    })?;
    let to_place = locate_sibling(engine, from, &from_place, to)?;
    Ok(Ends {
        engine,
        from_path: from,
        to_path: to,
        _guard: lock::lock_both(from_place.key(), to_place.key()),
        from: from_place,
        to: to_place,
    })
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

fn look_at_source(engine: &Engine, from: &Path, to: &Path) -> Result<Stat> {
    engine
        .retrying("look at", from, || sys::stat(from))
        .map_err(|e| match is::not_found(&e) {
            true => source_not_found(from),
            false => failed(from, to, e),
        })
}

/// Makes the new entry, and for a rename the loss of the old one, durable.
fn sync(engine: &Engine, to: &Path, from: Option<&Path>) -> Result<()> {
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
            let ends = lock_ends(engine, from, to)?;
            let tried = match mode {
                Mode::Overwrite => rename_over(&ends),
                Mode::Create => rename_new(&ends, &ends.look_at_source()?),
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
    let source = ends.look_at_source_if_needed()?;
    let mut step = ends.step(from, source, Source::Object);
    if from != to {
        step.make_distinct();
    }
    match step.replace()? {
        Tried::Done if from != to => {
            remove_other_link(ends)?;
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
fn remove_other_link(ends: &Ends<'_>) -> Result<()> {
    let (from, to) = (ends.from_path, ends.to_path);
    let look = |path: &Path| {
        observe::look(ends.engine, path).map_err(|e| Error::new("access metadata for", path, e))
    };
    let Some(old) = look(from)? else {
        return Ok(());
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
    if is_same_dir(from, to) && !are_both_listed(from, to) {
        return Ok(());
    }
    remove(ends.engine, from).map_err(|e| two_names(from, to, e))
}

/// Whether two paths lie in one directory, however they are spelled.
fn is_same_dir(a: &Path, b: &Path) -> bool {
    let (a, b) = (place::split(a).0, place::split(b).0);
    let same_inode = || match (sys::stat_dir(a), sys::stat_dir(b)) {
        (Ok(a), Ok(b)) => (a.dev, a.ino) == (b.dev, b.ino),
        // Not known: nothing is removed then.
        _ => true,
    };
    let same_path = || match (sys::canonical_dir(a), sys::canonical_dir(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => true,
    };
    a == b || same_inode() || same_path()
}

/// On a mount that ignores case, or how letters are composed, two spellings may be one entry. Two
/// they are only where the directory lists both, byte for byte.
fn are_both_listed(a: &Path, b: &Path) -> bool {
    let (dir, a) = place::split(a);
    let (_, b) = place::split(b);
    let listed = |name| {
        std::fs::read_dir(dir).is_ok_and(|entries| entries.flatten().any(|e| e.file_name() == name))
    };
    a != b && listed(a) && listed(b)
}

fn two_names(from: &Path, to: &Path, e: io::Error) -> Error {
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
    let removed = || {
        remove(ends.engine, from)
            .map(|()| Tried::Done)
            .map_err(|e| two_names(from, ends.to_path, e))
    };
    let step = ends.step(from, Some(*source), Source::Object);
    if !ends.to.mount.is_native() {
        match publish_link(ends, source)? {
            Some(Tried::Done) => return removed(),
            Some(Tried::Refused(e)) => {
                return match step.link(&e)? {
                    Tried::Done if take(ends, source)? => Ok(Tried::Done),
                    Tried::Done => Err(step.already_exists(same_error::exists())),
                    Tried::Refused(e) => step.create_under_lock(&ends.to, e),
                    tried => Ok(tried),
                };
            }
            Some(tried) => return Ok(tried),
            // Without links there is no better witness than the names themselves: a lost reply and
            // another's rename of this source look alike.
            None => {}
        }
    }
    // On a local disk one call, and what it answers is so.
    let refused = match step.rename_exclusively()? {
        Tried::Refused(e) => e,
        tried => return Ok(tried),
    };
    match step.link(&refused)? {
        Tried::Done => removed(),
        Tried::Refused(e) if is::cross_device(&e) => Ok(Tried::Refused(e)),
        Tried::Refused(e) => step.create_under_lock(&ends.to, e),
        tried => Ok(tried),
    }
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

/// Moves an object that no call moves, to another mount or on one that cannot rename: its bytes are
/// copied, published, and then the old name is removed. At every moment the object is whole under
/// at least one of its names.
fn move_data(
    engine: &Engine,
    from: &Path,
    to: &Path,
    mode: Mode,
    refused: io::Error,
) -> Result<()> {
    // How often a source is copied anew that others write meanwhile.
    const COPIES: u32 = 10;
    engine.fell_back("rename", to, "a copy of the data");
    let find = |path| engine.locate(path).map_err(|e| failed(from, to, e));
    let (from_place, to_place) = (find(from)?, find(to)?);
    let same_entry = place::is_same_entry((from, &from_place), (to, &to_place));
    if same_entry.map_err(|e| failed(from, to, e))? {
        return match mode {
            Mode::Overwrite => Ok(()),
            Mode::Create => Err(already_exists(to, same_error::exists())),
        };
    }
    for _ in 0..COPIES {
        let seen = look_at_source(engine, from, to)?;
        if seen.is_dir {
            return Err(failed(from, to, refused));
        }
        if mode == Mode::Create && matches!(observe::look(engine, to), Ok(Some(_))) {
            return Err(already_exists(to, same_error::exists()));
        }
        let upload = upload_copy(engine, from, to)?;
        let ends = Move {
            engine,
            from,
            to,
            from_place: &from_place,
            to_place: &to_place,
            seen,
            changed: Cell::new(false),
        };
        match upload.complete_around(mode, &ends) {
            Ok(_) => return sync(engine, to, Some(from)),
            Err(_) if ends.changed.get() => {}
            Err(e) => return Err(e),
        }
    }
    let e = io::Error::new(io::ErrorKind::ResourceBusy, "others keep writing it");
    Err(Error::new("move", from, e).to(to))
}

/// The two ends of a move by data, while its copy is published.
struct Move<'a> {
    engine: &'a Engine,
    from: &'a Path,
    to: &'a Path,
    from_place: &'a Place,
    to_place: &'a Place,
    /// The source when it was copied.
    seen: Stat,
    changed: Cell<bool>,
}

impl Around for Move<'_> {
    fn lock(&self) -> Result<Option<Guards>> {
        let path = lock::lock_both(self.from_place.key(), self.to_place.key());
        // Of all who move one source, one moves it.
        Ok(
            advisory::try_lock_both((self.from, self.from_place), (self.to, self.to_place)).map(
                |others| Guards {
                    _path: path,
                    others: Some(others),
                },
            ),
        )
    }

    fn check(&self) -> Result<()> {
        let now = look_at_source(self.engine, self.from, self.to)?;
        let mount = &self.from_place.mount;
        if mount.version(&now) == mount.version(&self.seen) {
            return Ok(());
        }
        self.changed.set(true);
        let e = io::Error::new(io::ErrorKind::ResourceBusy, "it was written meanwhile");
        Err(Error::new("move", self.from, e).to(self.to))
    }

    fn finish(&self) -> Result<()> {
        if self.engine.fsync {
            dirs::sync_parent(self.engine, &self.to_place.mount, self.to)
                .map_err(|e| Error::new("sync data to disk for", self.to, e))?;
        }
        // One entry in two spellings has its new bytes.
        if is_same_dir(self.from, self.to) && !are_both_listed(self.from, self.to) {
            return Ok(());
        }
        remove(self.engine, self.from).map_err(|e| two_names(self.from, self.to, e))
    }
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
            ends.from.mount.rename.refused();
            return match sys::unlink(from) {
                Ok(()) => Ok(true),
                Err(e) if is::absent(&e) => Ok(false),
                Err(e) => Err(two_names(from, ends.to_path, e)),
            };
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
    if let Err(e) = remove(engine, &taken_to) {
        tracing::warn!(
            path = %taken_to.display(),
            error = %e,
            "a link of the object stays behind; it is hidden from listings"
        );
    }
    Ok(true)
}

/// How a copy by hard link ended.
enum Linked {
    Done,
    /// The data must be copied: there is no link to be had.
    Refused,
}

pub(crate) fn copy(engine: &Engine, from: &Path, to: &Path, mode: Mode) -> Result<()> {
    let linked = until_done(engine, || {
        let ends = lock_ends(engine, from, to)?;
        if let Some(linked) = link_at_once(&ends, mode)? {
            return Ok(Attempt::Done(linked));
        }
        match mode {
            Mode::Overwrite => link_over(&ends),
            Mode::Create => link_new(&ends),
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
        Err(e) if is::exists(&e) && mode == Mode::Create => Err(already_exists(ends.to_path, e)),
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
    let source = ends.look_at_source_if_needed()?;
    let Some(mut staging) = stage_link(ends, source.as_ref())? else {
        return Ok(Attempt::Done(Linked::Refused));
    };
    let step = ends.step(staging.path(), source, Source::StagingFile);
    if step.is_alike() {
        // A link has the mtime of its source: here another version with the same e_tag.
        return Ok(Attempt::Done(Linked::Refused));
    }
    match step.replace()? {
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
        Ok(staging) => return Ok(Some(staging)),
        Err(e) => e,
    };
    // EPERM may be this one file: another user's (proc_sys_fs(5), protected_hardlinks), or on a
    // local disk one that is immutable (ioctl_iflags(2)).
    let is_local = ends.to.mount.is_native();
    if is::unsupported_link(&e) && !is_local && (is::no_such_call(&e) || sys::is_own(from)) {
        ends.to.mount.links.refused();
    }
    // The mount has none, or this file has as many as it may, or they are on two devices, or the
    // name leaves no room for a staging file's.
    if is::unsupported_link(&e) || is::link_limit(&e) || is::name_too_long(&e) {
        return match look_at_source(engine, from, to)?.is_dir {
            true => Err(failed(from, to, e)),
            false => Ok(None),
        };
    }
    match is::not_found(&e) {
        true => look_at_source(engine, from, to).and(Err(failed(from, to, e))),
        false => Err(failed(from, to, e)),
    }
}

/// The way that every mount has: a file of its own with the same bytes. The path lock is taken
/// when they are written.
fn copy_data(engine: &Engine, from: &Path, to: &Path, mode: Mode) -> Result<()> {
    engine.fell_back("link", to, "a copy of the data");
    if mode == Mode::Create && matches!(observe::look(engine, to), Ok(Some(_))) {
        return Err(already_exists(to, same_error::exists()));
    }
    upload_copy(engine, from, to)?.complete(mode).map(|_| ())
}

/// An upload to `to` of all that `from` holds.
fn upload_copy(engine: &Engine, from: &Path, to: &Path) -> Result<Upload> {
    let source = engine.open(from.to_owned()).map_err(|e| match e.kind() {
        ErrorKind::NotFound => source_not_found(from),
        _ => e,
    })?;
    let upload = Upload::begin(&engine.for_operation(), to, false)?;
    upload.fill_from(source)?;
    Ok(upload)
}
