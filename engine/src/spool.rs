//! Mounts that cannot rename: the bytes are collected on a local disk and written to their
//! destination at the end, in one sequential pass.
//!
//! What is left of the promise to readers is what the mount does with a file that is being
//! written: a bucket's mount shows it, whole, when it is closed; others show it as it grows. While
//! the pass lasts the path is locked, in this process and for other processes of the host.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::advisory::{self, Locked};
use crate::attributes::{Attributes, Target};
use crate::error::{Error, Result};
use crate::mount::Mount;
use crate::place::Place;
use crate::publish::{Around, Attempt, locked_by_others, not_supported, until_done};
use crate::read::Reader;
use crate::sys::{self, Stat, is, same_error};
use crate::upload::{COPY_BUFFER, permit};
use crate::{Engine, Exclusion, Mode, Version, dirs, names, observe, publish};

/// A file on a local disk that has no name: it is gone with its last handle, also after a crash.
#[derive(Debug)]
pub(crate) struct Spool {
    pub(crate) dest: PathBuf,
    pub(crate) place: Place,
    /// What stands for it in messages.
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    /// It has the permissions of what it is a copy of.
    pub(crate) is_copy: AtomicBool,
    /// What the destination is to have.
    attributes: Attributes,
}

impl Spool {
    pub(crate) fn create(
        engine: &Engine,
        dest: &Path,
        place: Place,
        attributes: Attributes,
    ) -> Result<Self> {
        let default;
        let dir = match &engine.spool_dir {
            Some(dir) => &**dir,
            None => {
                default = std::env::temp_dir();
                &default
            }
        };
        let path = names::private_path(&dir.join("spool"));
        let file = sys::create_unnamed(&path).map_err(|e| {
            Error::new("make a spool file in", dir, e).to(dest).hint(
                "the mount cannot rename, so an upload is collected in a local directory first: \
                 name one that has room by with_spool_dir",
            )
        })?;
        engine.fell_back("rename", dest, "a spooled file, written in one pass");
        Ok(Self {
            dest: dest.to_owned(),
            place,
            path,
            file: Arc::new(file),
            is_copy: AtomicBool::new(false),
            attributes,
        })
    }

    pub(crate) fn publish(
        &self,
        engine: &Engine,
        len: u64,
        mode: Mode,
        around: &dyn Around,
    ) -> Result<Version> {
        let mut source = Source {
            len,
            read: &mut |range: Range<u64>| self.read(range),
            like: self.is_copy.load(Relaxed).then_some(&*self.file),
            attributes: &self.attributes,
        };
        write_out(engine, &self.place, &self.dest, &mut source, mode, around)
    }

    /// Gives its room back: what was in it is in place.
    pub(crate) fn release(&self) {
        if let Err(e) = self.file.set_len(0) {
            tracing::debug!(path = %self.path.display(), error = %e, "a spool file keeps its room");
        }
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let filled = sys::read_at(&self.file, &self.path, &mut bytes, range.start);
        match filled {
            Ok(filled) if filled == bytes.len() => Ok(bytes),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(e) => Err(e),
        }
        .map_err(|e| Error::new("read", &self.path, e))
    }
}

/// What is written to the destination.
pub(crate) struct Source<'a> {
    pub(crate) len: u64,
    /// Gives all bytes of a range within `len`.
    pub(crate) read: &'a mut dyn FnMut(Range<u64>) -> Result<Vec<u8>>,
    /// Whose permissions it is to have.
    pub(crate) like: Option<&'a File>,
    pub(crate) attributes: &'a Attributes,
}

impl Source<'_> {
    /// The bytes at an offset, as many as are written at once; none at the end.
    fn piece(&mut self, at: u64) -> Result<Vec<u8>> {
        (self.read)(at..self.len.min(at + COPY_BUFFER as u64))
    }

    /// Whether `file` holds the same bytes and no more.
    pub(crate) fn is_same_as(&mut self, file: &mut Reader) -> Result<bool> {
        if file.size() != self.len {
            return Ok(false);
        }
        let mut at = 0;
        while at < self.len {
            let piece = self.piece(at)?;
            let end = at + piece.len() as u64;
            if piece != file.read(at..end)? {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }
}

/// Writes all of `source` to `dest` from the beginning to the end, and closes it.
///
/// The path is locked from the first attempt to the last, pauses included: what is there in between
/// is a part of this object.
pub(crate) fn write_out(
    engine: &Engine,
    place: &Place,
    dest: &Path,
    source: &mut Source<'_>,
    mode: Mode,
    around: &dyn Around,
) -> Result<Version> {
    if mode == Mode::Create && engine.exclusive_create == Exclusion::OtherHosts {
        // A bucket's mount finds out at close, if at all, that another host has made it.
        place.mount.locks_for_all_hosts().map_err(|_| {
            let e = io::ErrorKind::Unsupported.into();
            not_supported(&place.mount, dest, e, "other hosts")
        })?;
    }
    until_done(engine, || {
        let busy = || Ok(Attempt::Busy(locked_by_others(dest)));
        let Some(guards) = around.lock()? else {
            return busy();
        };
        // Not of the directory: others write there meanwhile.
        let others = match guards.others.has(place) {
            true => Locked::Yes(None),
            false => match advisory::try_lock_name(dest, place)? {
                Locked::Yes(lock) => Locked::Yes(Some(lock)),
                Locked::Busy => Locked::Busy,
                Locked::Unavailable => Locked::Unavailable,
            },
        };
        if let Locked::Busy = others {
            return busy();
        }
        let before = match mode {
            Mode::Update(expected) => {
                Some(publish::expect(engine, place, dest, &guards, expected)?)
            }
            _ => observe::look(engine, dest)
                .map_err(|e| Error::new("access metadata for", dest, e))?,
        };
        around.check()?;
        if mode == Mode::Create && before.is_some() {
            return Err(Error::already_exists(dest, same_error::exists()));
        }
        let mut pass = Pass {
            engine,
            mount: &place.mount,
            dest,
            mode,
            before,
            is_alone: matches!(others, Locked::Yes(_)),
            is_ours: false,
        };
        let mut retry = engine.start_retry();
        loop {
            let e = match pass.make(source) {
                Ok(version) => {
                    around.finish()?;
                    return Ok(Attempt::Done(version));
                }
                Err(Failed::Passing(e)) if retry.again() => {
                    engine.retried("write", dest, e.io_error());
                    continue;
                }
                Err(Failed::Passing(e)) => e.hint(format!(
                    "{} attempts to write the destination",
                    retry.made()
                )),
                Err(Failed::ForGood(e)) => e,
            };
            pass.remove_partial();
            return Err(e);
        }
    })
}

/// How an attempt failed.
enum Failed {
    /// It may be made again.
    Passing(Error),
    ForGood(Error),
}

/// One object on its way to its destination, under the lock.
struct Pass<'a> {
    engine: &'a Engine,
    mount: &'a Mount,
    dest: &'a Path,
    mode: Mode,
    /// What was there before.
    before: Option<Stat>,
    /// No other process of this host creates it.
    is_alone: bool,
    /// What is there by now is what an attempt has left.
    is_ours: bool,
}

impl Pass<'_> {
    fn failed(&self, step: &'static str, e: io::Error) -> Failed {
        Failed::ForGood(Error::new(step, self.dest, e))
    }

    fn judged(&self, step: &'static str, e: io::Error) -> Failed {
        match is::stale(&e) || is::interrupted(&e) {
            true => Failed::Passing(Error::new(step, self.dest, e)),
            false => self.failed(step, e),
        }
    }

    fn look(&self) -> Result<Option<Stat>, Failed> {
        observe::look(self.engine, self.dest).map_err(|e| self.failed("access metadata for", e))
    }

    /// Opens the destination, empty.
    fn open(&mut self) -> Result<File, Failed> {
        let (engine, dest) = (self.engine, self.dest);
        // A link's target, or what another name shows, is another object: only this name is to
        // have the new bytes.
        let shared = |s: &Stat| s.is_symlink || s.nlink > 1;
        if !self.is_ours && self.before.as_ref().is_some_and(shared) {
            publish::remove(engine, dest).map_err(|e| self.failed("delete file", e))?;
            self.is_ours = true;
        }
        let exclusively = self.mode == Mode::Create && !self.is_ours;
        let opened = match exclusively {
            true => sys::create_new(dest),
            false => sys::create_or_truncate(dest),
        };
        let e = match opened {
            Ok(file) => {
                self.is_ours = true;
                return Ok(file);
            }
            Err(e) => e,
        };
        if is::exists(&e) && exclusively {
            // Nothing was there a moment ago, under both locks: an empty file is the one that the
            // first of two requests has made.
            if !self.is_alone || self.look()?.is_none_or(|now| now.size > 0) {
                return Err(Failed::ForGood(Error::already_exists(dest, e)));
            }
            self.is_ours = true;
            return Err(Failed::Passing(Error::new("open file", dest, e)));
        }
        if is::not_found(&e) {
            dirs::create_parents(engine, dest).map_err(|e| self.failed("create dir", e))?;
            return Err(Failed::Passing(Error::new("open file", dest, e)));
        }
        if is::denied(&e) && !self.is_ours && self.before.is_some() {
            // One's own read-only file: a rename would have replaced it.
            publish::remove(engine, dest).map_err(|_| self.failed("open file", e))?;
            self.is_ours = true;
            return self.open();
        }
        if is::ambiguous(&e) {
            // It may have been made, or cut off.
            self.is_ours |= self.look()? != self.before;
            return Err(Failed::Passing(Error::new("open file", dest, e)));
        }
        Err(self.failed("open file", e))
    }

    fn make(&mut self, source: &mut Source<'_>) -> Result<Version, Failed> {
        let mut file = self.open()?;
        let (engine, dest) = (self.engine, self.dest);
        self.describe(source.attributes, &mut file)?;
        if let Some(like) = source.like {
            permit(like, &file, dest, false);
        }
        let mut at = 0;
        while at < source.len {
            let piece = source.piece(at).map_err(Failed::ForGood)?;
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let written = sys::write_at(&file, dest, rest, at)
                    .map_err(|e| self.judged("copy data to file", e))?;
                rest = &rest[written..];
                at += written as u64;
            }
        }
        if engine.fsync {
            sys::sync(&file, dest).map_err(|e| self.judged("sync data to disk for", e))?;
        }
        if let Err(e) = sys::close(file, dest) {
            if is::data_loss(&e) || !is::ambiguous(&e) {
                return Err(Failed::ForGood(Error::new("close", dest, e).hint(
                    "the file system may have lost data of this upload; nothing was published",
                )));
            }
            let arrived = engine
                .open(dest.to_owned())
                .and_then(|mut file| source.is_same_as(&mut file));
            if !arrived.unwrap_or(false) {
                return Err(Failed::Passing(Error::new("close", dest, e)));
            }
            engine.resolved("close", dest, &e);
        }
        let Some(now) = self.look()? else {
            return Err(self.failed("find", same_error::not_found()));
        };
        if now.size != source.len {
            let held = now.size;
            return Err(self.failed(
                "complete",
                io::Error::other(format!(
                    "{} bytes were written, the file system holds {held}",
                    source.len
                )),
            ));
        }
        let moved = self.before.and_then(|before| {
            observe::make_distinct(engine, self.mount, dest, &now, &before, true)
        });
        Ok(self.mount.version(&moved.unwrap_or(now)))
    }

    /// Replaces the attributes of what was there, before the first byte.
    fn describe(&self, attributes: &Attributes, file: &mut File) -> Result<(), Failed> {
        let target = Target {
            engine: self.engine,
            mount: self.mount,
            dest: self.dest,
            path: self.dest,
            reopen: &|| sys::open_write(self.dest),
        };
        let cleared = match self.before {
            Some(_) => target.clear(file),
            None => Ok(()),
        };
        let done = cleared.and_then(|()| target.give(attributes, file));
        done.map_err(
            |e| match is::stale(e.io_error()) || is::interrupted(e.io_error()) {
                true => Failed::Passing(e),
                false => Failed::ForGood(e),
            },
        )
    }

    /// After the last attempt: a destination that is not what it was before is what this one has
    /// left of it. Some mounts keep the old object until the new one is closed whole; that stays.
    fn remove_partial(&self) {
        let engine = self.engine.for_operation();
        if !self.is_ours {
            return;
        }
        match observe::look(&engine, self.dest) {
            Ok(None) => return,
            Ok(now) if now == self.before => return,
            _ => {}
        }
        if let Err(e) = publish::remove(&engine, self.dest) {
            tracing::warn!(
                path = %self.dest.display(),
                error = %e,
                "an object that was not written to its end stays behind"
            );
        }
    }
}
