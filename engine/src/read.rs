//! Reading: a stale handle is met by a fresh look at the path, and two versions are never mixed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::attributes::{Attributes, Reading};
use crate::error::{Error, ErrorKind, Result};
use crate::mount::{self, Known, Mount};
use crate::recoveries::count;
use crate::sys::{self, Seen, Stat, is, same_error};
use crate::{Engine, Version, place};

/// What there is to say of a file that is read or listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileInfo {
    /// Which version it is: equal to that of the write that made it.
    pub version: Version,
    /// When it was written.
    pub modified: SystemTime,
}

impl FileInfo {
    pub(crate) fn new(mount: &Mount, stat: &Stat) -> Self {
        Self {
            version: mount.version(stat),
            modified: stat.modified.unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}

/// A file that is open for reading, and was of one version from the first byte to the last.
#[derive(Debug)]
pub struct Reader {
    engine: Engine,
    path: PathBuf,
    file: File,
    stat: Stat,
    mount: Arc<Mount>,
}

impl Engine {
    /// Opens the file at `path`, symlinks followed, and looks at it: two calls. A directory opens
    /// too; see [`Reader::object`].
    pub fn open(&self, path: PathBuf) -> Result<Reader> {
        let opened = self.for_operation().open_and_see(&path);
        let (file, seen) = opened.map_err(|e| failed_to_open(&path, e))?;
        Ok(Reader {
            engine: self.clone(),
            mount: mount::of(&path, &seen.on),
            path,
            file,
            stat: seen.stat,
        })
    }

    /// All bytes of each of `ranges`, through one handle, if the file has them and nothing is in the
    /// way: then not even a look at it is needed. `None` says to go by [`Engine::open`], which meets
    /// what is in the way. An error is one that does not pass.
    pub fn read_at_once(&self, path: &Path, ranges: &[Range<u64>]) -> Option<Result<Vec<Vec<u8>>>> {
        // More is not asked for before it is known to be there.
        const MOST: u64 = 1 << 30;
        let len = |range: &Range<u64>| range.end.checked_sub(range.start);
        let total = ranges
            .iter()
            .try_fold(0_u64, |sum, range| sum.checked_add(len(range)?))?;
        if total > MOST {
            return None;
        }
        if self.refresh(path).is_err() {
            return None;
        }
        let file = match sys::open_read(path) {
            Ok(file) => file,
            Err(e) if may_pass(&e, || is_native(path)) => return None,
            Err(e) => return Some(Err(failed_to_open(path, e))),
        };
        let mut read = Vec::with_capacity(ranges.len());
        for range in ranges {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            match sys::read_at(&file, path, &mut bytes, range.start) {
                Ok(filled) if filled == bytes.len() => read.push(bytes),
                Ok(_) => return None,
                Err(e) => {
                    let is_native = || is_native(path);
                    let is_lost = is::stale(&e) || (is::not_found(&e) && !is_native());
                    return match is_lost || may_pass(&e, is_native) {
                        true => None,
                        false => Some(Err(Error::new("read data from file", path, e))),
                    };
                }
            }
        }
        Some(Ok(read))
    }

    fn open_and_see(&self, path: &Path) -> io::Result<(File, Seen)> {
        let mut handle_was_lost = false;
        self.refresh(path)?;
        self.rereading("open", path, || {
            let file = sys::open_read(path)?;
            if std::mem::take(&mut handle_was_lost) {
                self.reopened(path);
            }
            match sys::see_handle(&file, path) {
                Ok(seen) => Ok((file, seen)),
                // It was there a moment ago. DrvFs answers so for a file that was replaced since
                // (microsoft/WSL #8443); what is at the path now has to be asked there.
                Err(e) if is::not_found(&e) || is::stale(&e) => {
                    handle_was_lost = true;
                    Err(same_error::stale())
                }
                Err(e) => Err(e),
            }
        })
    }

    /// Makes a call that reads, again within the budget of this operation.
    pub(crate) fn rereading<T>(
        &self,
        step: &'static str,
        path: &Path,
        call: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        self.retrying_if(|e| may_pass(e, || is_native(path)), step, path, call)
    }

    /// The same for one of many calls, each of which has a budget of its own.
    pub(crate) fn rereading_one<T>(
        &self,
        step: &'static str,
        path: &Path,
        mut call: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        let again = |e: &io::Error| may_pass(e, || is_native(path));
        match call() {
            Err(e) if again(&e) => self.for_operation().retry_after(e, again, step, path, call),
            answer => answer,
        }
    }

    fn reopened(&self, path: &Path) {
        count(&self.counters.reopened_handles);
        tracing::warn!(
            step = "read",
            path = %path.display(),
            "a handle of a file that is read went stale; it was opened anew"
        );
    }
}

fn failed_to_open(path: &Path, e: io::Error) -> Error {
    let kind = match is::not_found(&e) {
        true => ErrorKind::NotFound,
        false => ErrorKind::Other,
    };
    Error::new("open file", path, e).kind_of(kind)
}

/// Whether the same question may have another answer. On a local disk EIO is the disk's.
fn may_pass(e: &io::Error, is_native: impl FnOnce() -> bool) -> bool {
    is::ambiguous(e) && !(is::data_loss(e) && is_native())
}

/// Asked after an error, when there is no handle to learn the mount from. What is at the path may
/// be the mount itself, so its directory is the second choice.
fn is_native(path: &Path) -> bool {
    let dir = place::split(path).0;
    let on = sys::stat_dir(path).or_else(|_| sys::stat_dir(dir));
    on.is_ok_and(|on| mount::of(path, &on).is_native())
}

impl Reader {
    /// What it is.
    pub fn info(&self) -> FileInfo {
        FileInfo::new(&self.mount, &self.stat)
    }

    /// Itself, unless it is a directory, of which there is no object.
    pub fn object(self) -> Result<Self> {
        match self.stat.is_dir {
            false => Ok(self),
            true => {
                let e = io::Error::new(io::ErrorKind::NotFound, "is directory");
                Err(Error::new("open file", &self.path, e).kind_of(ErrorKind::NotFound))
            }
        }
    }

    /// Whether it is on a local disk, where a handle stays good for as long as it is open.
    pub fn is_native(&self) -> bool {
        self.mount.is_native()
    }

    /// What the object was given when it was written. Where the mount keeps nothing of the kind,
    /// or has nothing to keep it in, none.
    ///
    /// One call (flistxattr), and one for each attribute; no call on a mount that is known to have
    /// no such thing.
    pub fn attributes(&mut self) -> Result<Attributes> {
        self.read_attributes(Reading::default())
    }

    /// For a copy of it: what may not be seen is an error.
    pub(crate) fn attributes_to_carry(&mut self) -> Result<Attributes> {
        self.read_attributes(Reading::to_carry())
    }

    fn read_attributes(&mut self, mut reading: Reading) -> Result<Attributes> {
        if !self.mount.xattrs.may() {
            return Ok(Attributes::NONE);
        }
        let found = self.reading(|file, path| reading.go_on(file, path))?;
        if !found.is_empty() {
            self.mount.xattrs.works();
        }
        if self.mount.xattrs.known() == Known::Yes || self.mount.may_write_in_place() {
            self.check_unchanged()?;
        }
        Ok(found)
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.stat.is_dir
    }

    /// In bytes.
    pub(crate) fn size(&self) -> u64 {
        self.stat.size
    }

    /// The handle and the path it was opened by.
    pub fn into_parts(self) -> (File, PathBuf) {
        (self.file, self.path)
    }

    /// The error of a read of this file that `reason` forbids.
    pub fn refuse(&self, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let e = io::Error::new(io::ErrorKind::InvalidInput, reason);
        Error::new("read", &self.path, e)
    }

    /// All bytes of `range`, and never those of another version.
    ///
    /// Each call has the whole budget of pauses. A handle that goes stale is opened anew by path.
    ///
    /// # Errors
    ///
    /// If the file has fewer bytes, or had when it was opened; if the handle went stale and another
    /// version, or none, is at the path by now.
    pub fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>> {
        if range.start > range.end {
            return Err(self.refuse(format!("the range {range:?} ends before it starts")));
        }
        let Range { start, end } = range;
        if start < end && end > self.stat.size {
            let size = self.stat.size;
            return Err(self.refuse(format!(
                "the range {start}..{end} is out of range: the file has {size} bytes"
            )));
        }
        let len = usize::try_from(end - start).map_err(|e| self.refuse(e))?;
        let mut bytes = vec![0; len];
        let filled = self.fill(&mut bytes, start)?;
        self.check_unchanged()?;
        if filled < len {
            let at = start + filled as u64;
            let e = format!("the file ends at {at}, and had {} bytes", self.stat.size);
            let e = io::Error::new(io::ErrorKind::UnexpectedEof, e);
            return Err(self.failed(e).hint(CHANGED));
        }
        Ok(bytes)
    }

    /// Where a mount may have no rename an object is written in its place, under a handle that is
    /// open.
    fn check_unchanged(&self) -> Result<()> {
        if !self.mount.may_write_in_place() {
            return Ok(());
        }
        match sys::see_handle(&self.file, &self.path) {
            Ok(now) if self.mount.version(&now.stat) != self.mount.version(&self.stat) => {
                let e = io::Error::other("it was written while it was read");
                Err(self.failed(e).hint(CHANGED))
            }
            // A handle that cannot be asked is not the one that is written through.
            _ => Ok(()),
        }
    }

    fn fill(&mut self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.reading(|file, path| sys::read_at(file, path, buf, offset))
    }

    /// Makes a call that reads, by another handle of the same version if this one goes stale.
    fn reading<T>(&mut self, mut call: impl FnMut(&File, &Path) -> io::Result<T>) -> Result<T> {
        let mut e = match call(&self.file, &self.path) {
            Ok(read) => return Ok(read),
            Err(e) => e,
        };
        let engine = self.engine.for_operation();
        let mut retry = engine.start_retry();
        loop {
            let lost = is::stale(&e) || is::not_found(&e) && !self.is_native();
            let again = lost || may_pass(&e, || self.is_native());
            if !again || !retry.again() {
                return Err(self.failed(e));
            }
            engine.retried("read", &self.path, &e);
            if lost {
                self.reopen(&engine)?;
            }
            match call(&self.file, &self.path) {
                Ok(read) => return Ok(read),
                Err(next) => e = next,
            }
        }
    }

    /// By path, and only if it is the same version.
    fn reopen(&mut self, engine: &Engine) -> Result<()> {
        let (file, seen) = engine.open_and_see(&self.path).map_err(|e| {
            let kind = match is::not_found(&e) {
                true => ErrorKind::NotFound,
                false => ErrorKind::Other,
            };
            self.failed(e).kind_of(kind)
        })?;
        if self.mount.version(&seen.stat) != self.mount.version(&self.stat) {
            let e = io::Error::other("the handle went stale, and another version is there by now");
            return Err(self.failed(e).hint(CHANGED));
        }
        self.file = file;
        self.engine.reopened(&self.path);
        Ok(())
    }

    fn failed(&self, e: io::Error) -> Error {
        Error::new("read data from file", &self.path, e)
    }
}

const CHANGED: &str = "the object changed while it was read; read it again from the start";

/// Those that are not empty, in order, with one for those that touch or overlap: no byte is read
/// that was not asked for, and none twice.
pub fn merged_ranges(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges.iter().filter(|r| !r.is_empty()).cloned().collect();
    sorted.sort_unstable_by_key(|range| range.start);
    sorted.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
    sorted
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of one range")]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_or_overlap_are_read_as_one() {
        for (ranges, read) in [
            (vec![], vec![]),
            (vec![3..3], vec![]),
            (vec![0..2, 2..4], vec![0..4]),
            (vec![2..4, 0..2, 9..9], vec![0..4]),
            (vec![0..9, 1..2, 3..4, 10..11], vec![0..9, 10..11]),
            (vec![5..6, 5..9, 0..1], vec![0..1, 5..9]),
        ] {
            assert_eq!(merged_ranges(&ranges), read, "{ranges:?}");
        }
    }
}
