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

use crate::advisory::{self, Locked};
use crate::error::{Error, ErrorKind, Result};
use crate::place::Place;
use crate::publish::{Around, Attempt, locked_by_others, not_supported, until_done};
use crate::read::Reader;
use crate::sys::{self, Stat, is, same_error};
use crate::upload::COPY_BUFFER;
use crate::{Engine, Exclusion, Mode, Version, dirs, lock, names, observe};

/// A file on a local disk that has no name: it is gone with its last handle, also after a crash.
#[derive(Debug)]
pub(crate) struct Spool {
    pub(crate) dest: PathBuf,
    pub(crate) place: Place,
    /// What stands for it in messages.
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
}

impl Spool {
    pub(crate) fn create(engine: &Engine, dest: &Path, place: Place) -> Result<Self> {
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

/// The destination as this pass has made it.
#[derive(Clone, Copy)]
struct Opened {
    /// What was there before; `None` if nothing was.
    before: Option<Stat>,
}

/// Writes all of `source` to `dest` from the beginning to the end, and closes it.
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
        let e = io::ErrorKind::Unsupported.into();
        return Err(not_supported(&place.mount, dest, e, "other hosts"));
    }
    let mut opened = None;
    let written = until_done(engine, || {
        let busy = || Ok(Attempt::Busy(locked_by_others(dest)));
        let Some(_guards) = around.lock()? else {
            return busy();
        };
        // Not of the directory: others write there meanwhile. Without it the exclusive open is an
        // exclusion by itself.
        let _others = match advisory::try_lock_name(dest, place) {
            Locked::Busy => return busy(),
            Locked::Yes(lock) => Some(lock),
            Locked::Unavailable => None,
        };
        around.check()?;
        let answer = write_once(engine, place, dest, source, mode, &mut opened);
        if answer.is_err() {
            if let Some(opened) = opened.take() {
                remove_partial(engine, dest, opened);
            }
        }
        if let Ok(Attempt::Done(_)) = &answer {
            opened = None;
            around.finish()?;
        }
        answer
    });
    if let (Err(_), Some(opened)) = (&written, opened) {
        let _guard = lock::lock(place.key());
        remove_partial(engine, dest, opened);
    }
    written
}

fn write_once(
    engine: &Engine,
    place: &Place,
    dest: &Path,
    source: &mut Source<'_>,
    mode: Mode,
    opened: &mut Option<Opened>,
) -> Result<Attempt<Version>> {
    let failed = |step, e| Error::new(step, dest, e);
    let look = || observe::look(engine, dest).map_err(|e| failed("access metadata for", e));
    let again = |step, e: io::Error| match is::stale(&e) || is::interrupted(&e) {
        true => Ok(Attempt::Again(failed(step, e))),
        false => Err(failed(step, e)),
    };

    let before = look()?;
    if mode == Mode::Create && before.is_some() && opened.is_none() {
        return Err(already_exists(dest, same_error::exists()));
    }
    // What an earlier attempt of ours has made is ours to cut off.
    let created = match mode == Mode::Create && opened.is_none() {
        true => sys::create_new(dest),
        false => sys::create_or_truncate(dest),
    };
    let file = match created {
        Ok(file) => file,
        Err(e) if mode == Mode::Create && is::exists(&e) => return Err(already_exists(dest, e)),
        Err(e) if is::not_found(&e) => {
            dirs::create_parents(engine, dest).map_err(|e| failed("create dir", e))?;
            return Ok(Attempt::Again(failed("open file", e)));
        }
        Err(e) if is::ambiguous(&e) => {
            // Nothing was there under both locks: an empty file is the one we asked for.
            let made = before.is_none() && look()?.is_some_and(|now| now.size == 0);
            if made {
                opened.get_or_insert(Opened { before: None });
            }
            return Ok(Attempt::Again(failed("open file", e)));
        }
        Err(e) => return Err(failed("open file", e)),
    };
    let before_us = opened.get_or_insert(Opened { before }).before;

    let mut at = 0;
    while at < source.len {
        let piece = source.piece(at)?;
        let mut rest = &piece[..];
        while !rest.is_empty() {
            match sys::write_at(&file, dest, rest, at) {
                Ok(written) => {
                    rest = &rest[written..];
                    at += written as u64;
                }
                Err(e) => return again("copy data to file", e),
            }
        }
    }
    if engine.fsync {
        if let Err(e) = sys::sync(&file, dest) {
            return again("sync data to disk for", e);
        }
    }
    if let Err(e) = sys::close(file, dest) {
        if is::data_loss(&e) || !is::ambiguous(&e) {
            return Err(failed("close", e)
                .hint("the file system may have lost data of this upload; nothing was published"));
        }
        let arrived = engine
            .open(dest.to_owned())
            .and_then(|mut file| source.is_same_as(&mut file));
        if !arrived.unwrap_or(false) {
            return Ok(Attempt::Again(failed("close", e)));
        }
        engine.resolved("close", dest, &e);
    }
    let size = |stat: Option<Stat>| stat.map_or(0, |s| s.size);
    let mut now = look()?;
    if size(now) != source.len {
        return Err(failed(
            "complete",
            io::Error::other(format!(
                "{} bytes were written, the file system holds {}",
                source.len,
                size(now)
            )),
        ));
    }
    if let (Some(before), Some(stat)) = (before_us, now) {
        if observe::make_distinct(engine, &place.mount, dest, &stat, &before).is_some() {
            now = look()?;
        }
    }
    match now {
        Some(now) => Ok(Attempt::Done(place.mount.version(&now))),
        None => Err(failed("find", same_error::not_found())),
    }
}

fn already_exists(dest: &Path, e: io::Error) -> Error {
    Error::new("create", dest, e).kind_of(ErrorKind::AlreadyExists)
}

/// After a pass that failed: a destination that is not what it was before is what this pass has
/// left of it. Some mounts keep the old object until the new one is closed whole; that one stays.
fn remove_partial(engine: &Engine, dest: &Path, opened: Opened) {
    let now = match observe::look(engine, dest) {
        Ok(None) => return,
        Ok(Some(now)) => Some(now),
        Err(_) => None,
    };
    if now.is_some() && now == opened.before {
        return;
    }
    if let Err(e) = crate::publish::remove(engine, dest) {
        tracing::warn!(
            path = %dest.display(),
            error = %e,
            "an object that was not written to its end stays behind"
        );
    }
}
