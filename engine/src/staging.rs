//! Staging files: the private file next to a destination that the bytes go to first.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::names::{Naming, private_path};
use crate::place::{self, Place};
use crate::publish::{self, warn_left_behind};
use crate::recoveries::count;
use crate::sys::{self, Stat, is, same_error};
use crate::{Engine, dirs, observe};

/// A staging file, removed when this is dropped unless it was published.
#[derive(Debug)]
pub(crate) struct Staging {
    engine: Engine,
    dest: PathBuf,
    path: PathBuf,
    naming: Naming,
    place: Place,
    /// What it was when it was made; on a native mount nobody asks.
    birth: Option<Stat>,
    gone: bool,
}

impl Staging {
    /// Makes an empty staging file, and the directories it needs.
    /// Of the destination's place it may be `known` already.
    pub(crate) fn create(
        engine: &Engine,
        dest: &Path,
        known: Option<Place>,
        naming: &Naming,
    ) -> Result<(Self, File)> {
        let (mut staging, file) = Self::make(engine, dest, known, naming, sys::create_new)?;
        staging.remember(&file);
        Ok((staging, file))
    }

    fn remember(&mut self, file: &File) {
        if !self.place.mount.is_native() {
            self.birth = sys::stat_handle(file, &self.path).ok();
        }
    }

    /// Before much is written on a mount of a kind that may have no rename: has the staging file,
    /// empty as it is, renamed to another such name. `None` if there is no rename; nothing is left
    /// then.
    ///
    /// Closed first: DrvFs loses the attributes of a handle whose file was renamed
    /// (microsoft/WSL #8443).
    pub(crate) fn learn_rename(mut self, file: File) -> Result<Option<(Self, File)>> {
        let (engine, dest) = (self.engine.clone(), self.dest.clone());
        let naming = self.naming.clone();
        // Short, if it may be: the name that it has fits.
        let renamed_to = match &naming {
            Naming::Destination => private_path(&dest),
            Naming::After(_) => naming.draw(&dest, false),
        };
        let renamed =
            sys::close(file, &self.path).and_then(|()| sys::rename(&self.path, &renamed_to));
        match renamed {
            Ok(()) => {
                self.place.mount.rename.works();
                self.path = renamed_to;
                if let Ok(file) = self.open_by(sys::open_write) {
                    self.remember(&file);
                    return Ok(Some((self, file)));
                }
            }
            Err(e) if is::no_rename(&e) => {
                self.place.mount.lacks_rename();
                self.discard();
                return Ok(None);
            }
            Err(_) => {
                // It may have the new name.
                remove_draft(&engine, &renamed_to);
            }
        }
        // Nothing was learned. The publish will tell.
        drop(self);
        Self::create(&engine, &dest, None, &naming).map(Some)
    }

    /// Makes a staging file that is a hard link of `from`.
    pub(crate) fn link(
        engine: &Engine,
        from: &Path,
        source: Option<&Stat>,
        dest: &Path,
        place: &Place,
    ) -> io::Result<Self> {
        let is_source = |s: &Stat| source.is_some_and(|o| (s.dev, s.ino) == (o.dev, o.ino));
        let known = Some(place.clone());
        let made = Self::make(
            engine,
            dest,
            known,
            &Naming::Destination,
            |path| match sys::link(from, path) {
                // Nobody else draws this name: the reply to the first of two requests was lost.
                Err(e) if is::exists(&e) => match observe::look(engine, path)? {
                    Some(s) if is_source(&s) => {
                        engine.resolved("link", path, &e);
                        Ok(())
                    }
                    _ => Err(e),
                },
                // The directory is there, so it is the source that is gone: not to be met by making
                // directories.
                Err(e) if is::not_found(&e) && matches!(observe::look(engine, from), Ok(None)) => {
                    Err(io::Error::other(SourceGone))
                }
                done => done,
            },
        );
        match made {
            Ok((staging, ())) => Ok(staging),
            Err(e) => Err(match e.into_io_error() {
                e if e.get_ref().is_some_and(|e| e.is::<SourceGone>()) => same_error::not_found(),
                e => e,
            }),
        }
    }

    /// One that is there, closed and whole.
    pub(crate) fn adopt(engine: &Engine, dest: &Path, path: PathBuf, place: Place) -> Self {
        Self {
            engine: engine.clone(),
            dest: dest.to_owned(),
            path,
            naming: Naming::Destination,
            place,
            birth: None,
            gone: false,
        }
    }

    fn make<T>(
        engine: &Engine,
        dest: &Path,
        mut known: Option<Place>,
        naming: &Naming,
        attempt: impl Fn(&Path) -> io::Result<T>,
    ) -> Result<(Self, T)> {
        let (dir, _) = place::split(dest);
        let mut retry = engine.start_retry();
        let mut dirs_made = 0;
        let mut cut_name = false;
        loop {
            let path = naming.draw(dest, cut_name);
            let made = attempt(&path).inspect_err(|e| {
                // It may be there all the same; nobody else's has this name.
                let made_below_us = || engine.locate(dest).is_ok_and(|p| !p.mount.is_native());
                if is::ambiguous(e) || (is::exists(e) && made_below_us()) {
                    remove_draft(engine, &path);
                }
            });
            // Found now, when the directory cannot be removed any more.
            let made = made.and_then(|made| match known.take() {
                Some(place) => Ok((place, made)),
                None => match engine.locate(dest) {
                    Ok(place) => Ok((place, made)),
                    Err(e) => {
                        remove_draft(engine, &path);
                        Err(e)
                    }
                },
            });
            let e = match made {
                Ok((place, made)) => {
                    let staging = Self {
                        engine: engine.clone(),
                        dest: dest.to_owned(),
                        path,
                        naming: naming.clone(),
                        place,
                        birth: None,
                        gone: false,
                    };
                    return Ok((staging, made));
                }
                Err(e) => e,
            };
            if is::not_found(&e) && dirs_made < dirs::DIRS_MADE {
                dirs_made += 1;
                dirs::create_parents(engine, dest).map_err(|e| Error::new("create dir", dir, e))?;
            } else if is::name_too_long(&e) && !cut_name {
                cut_name = true;
            } else if (is::ambiguous(&e) || is::exists(&e)) && retry.again() {
                engine.retried("create", &path, &e);
            } else {
                // A cut name says nothing to who gave a long one.
                let path = if cut_name { dest } else { &path };
                return Err(Error::new("open file", path, e));
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn dest(&self) -> &Path {
        &self.dest
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Opens it anew after a handle of it went stale.
    pub(crate) fn reopen(&self) -> io::Result<File> {
        let file = self.open_by(sys::open_write)?;
        count(&self.engine.counters.reopened_handles);
        tracing::warn!(
            step = "write",
            path = %self.path.display(),
            "a handle of a staging file went stale; it was opened anew"
        );
        Ok(file)
    }

    /// Opens it for reading.
    pub(crate) fn open(&self) -> io::Result<File> {
        self.open_by(sys::open_read)
    }

    /// Opens it by path, and makes sure that it is the same file.
    fn open_by(&self, open: fn(&Path) -> io::Result<File>) -> io::Result<File> {
        let engine = self.engine.for_operation();
        let file = engine.retrying("reopen", &self.path, || open(&self.path))?;
        if let Some(birth) = &self.birth {
            let now = engine.retrying("look at", &self.path, || {
                sys::stat_handle(&file, &self.path)
            })?;
            let same = (now.dev, now.ino) == (birth.dev, birth.ino);
            if !same && self.place.mount.numbers_files() {
                return Err(io::Error::other(
                    "another file has taken the staging file's name",
                ));
            }
        }
        Ok(file)
    }

    /// Learns whether inode numbers stay with a file on this mount.
    pub(crate) fn compare_inode(&self, now: &Stat) {
        if self.birth.is_some_and(|birth| birth.ino != now.ino) {
            self.place.mount.saw_inode_change();
        }
    }

    /// It has another name now, or is to stay for another process.
    pub(crate) fn is_published(&mut self) {
        self.gone = true;
    }

    /// Removes it now, and says whether it was there, or if it could not. An error may be met by
    /// asking again.
    pub(crate) fn remove(&mut self) -> io::Result<bool> {
        let engine = self.engine.for_operation();
        let removed = match engine.retrying("remove", &self.path, || sys::unlink(&self.path)) {
            Ok(()) => Ok(true),
            Err(e) if is::absent(&e) => Ok(false),
            Err(e) => Err(e),
        };
        self.gone |= removed.is_ok();
        removed
    }

    /// Removes it unless it has another name by now. What cannot be removed stays hidden.
    pub(crate) fn discard(&mut self) {
        if self.gone {
            return;
        }
        if let Err(e) = self.remove() {
            warn_left_behind(&self.path, &e);
        }
    }
}

/// A name of ours at which a file may be, or not.
fn remove_draft(engine: &Engine, path: &Path) {
    if let Err(e) = publish::remove(&engine.for_operation(), path) {
        warn_left_behind(path, &e);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.discard();
    }
}

/// Told apart from a directory that is missing.
#[derive(Debug)]
struct SourceGone;

impl std::fmt::Display for SourceGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the source is gone")
    }
}

impl std::error::Error for SourceGone {}
