//! Staging files: the private file next to a destination that the bytes go to first.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::place::{self, Place};
use crate::publish::warn_left_behind;
use crate::recoveries::count;
use crate::sys::{self, Stat, is, same_error};
use crate::{Engine, dirs, observe};

/// A staging file, removed when this is dropped unless it was published.
#[derive(Debug)]
pub(crate) struct Staging {
    engine: Engine,
    dest: PathBuf,
    path: PathBuf,
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
    ) -> Result<(Self, File)> {
        let (mut staging, file) = Self::make(engine, dest, known, sys::create_new)?;
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
        let renamed_to = private_path(&dest);
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
                self.place.mount.rename.refused();
                self.discard();
                return Ok(None);
            }
            Err(_) => {
                // It may have the new name.
                let _ = sys::unlink(&renamed_to);
            }
        }
        // Nothing was learned. The publish will tell.
        drop(self);
        Self::create(&engine, &dest, None).map(Some)
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
        let made = Self::make(engine, dest, known, |path| match sys::link(from, path) {
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
        });
        match made {
            Ok((staging, ())) => Ok(staging),
            Err(e) => Err(match e.into_io_error() {
                e if e.get_ref().is_some_and(|e| e.is::<SourceGone>()) => same_error::not_found(),
                e => e,
            }),
        }
    }

    fn make<T>(
        engine: &Engine,
        dest: &Path,
        mut known: Option<Place>,
        attempt: impl Fn(&Path) -> io::Result<T>,
    ) -> Result<(Self, T)> {
        let (dir, name) = place::split(dest);
        let mut retry = engine.start_retry();
        let mut dirs_made = 0;
        let mut cut_name = false;
        loop {
            let path = dir.join(staging_name(name, unique(), cut_name));
            let place = match known.take() {
                Some(place) => Ok(place),
                None => engine.locate(dest),
            };
            let made = place.and_then(|place| match attempt(&path) {
                Ok(made) => Ok((place, made)),
                Err(e) => {
                    // It may be there all the same; nobody else's has this name.
                    let made_below_us = is::exists(&e) && !place.mount.is_native();
                    if is::ambiguous(&e) || made_below_us {
                        let _ = sys::unlink(&path);
                    }
                    Err(e)
                }
            });
            let e = match made {
                Ok((place, made)) => {
                    let staging = Self {
                        engine: engine.clone(),
                        dest: dest.to_owned(),
                        path,
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

    /// It has another name now, or is nobody's any more.
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

impl Drop for Staging {
    fn drop(&mut self) {
        self.discard();
    }
}

/// A name of our own in the directory of `path`, hidden as a staging file's and short.
pub(crate) fn private_path(path: &Path) -> PathBuf {
    let (dir, _) = place::split(path);
    dir.join(staging_name(OsStr::new(""), unique(), false))
}

/// What upstream's shortest staging name adds to a name: `#` and a digit.
const SUFFIX: usize = 2;

/// Whether a staging file for `path` can have a name, on the file systems that allow 255 bytes.
pub(crate) fn has_room(path: &Path) -> bool {
    place::split(path).1.len() + SUFFIX <= 255
}

/// `{name}#{digits}`, with the name up to its first `#`: every version of object_store hides a
/// name of which all that follows the first `#` is digits. A name that is too long with its digits
/// is `cut`, so that the limit is upstream's: two bytes more than the name.
fn staging_name(name: &OsStr, digits: u64, cut: bool) -> OsString {
    let whole = name.to_string_lossy();
    let before_hash = whole.split_once('#').map(|(before, _)| before);
    if !cut {
        let mut staged = before_hash.map_or(name, OsStr::new).to_owned();
        staged.push(format!("#{digits:0DIGITS$}"));
        return staged;
    }
    let room = whole.len() + SUFFIX;
    let count = DIGITS.min(room - 1);
    let before = before_hash.unwrap_or(&whole);
    let before = cut_to(before, room - 1 - count);
    let digits = format!("{digits:0DIGITS$}");
    format!("{before}#{}", &digits[DIGITS - count..]).into()
}

/// As many as never repeat by chance.
const DIGITS: usize = 19;

/// Told apart from a directory that is missing.
#[derive(Debug)]
struct SourceGone;

impl std::fmt::Display for SourceGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the source is gone")
    }
}

impl std::error::Error for SourceGone {}

/// The longest part of `text` that ends within `len` bytes, at a character;
/// `str::floor_char_boundary` came with Rust 1.91.
fn cut_to(text: &str, len: usize) -> &str {
    let end = (0..=len.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// Nineteen digits that no other upload of any process draws: hashed with a random key that std
/// asks the system for.
fn unique() -> u64 {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let drawn = (
        std::process::id(),
        DRAWN.fetch_add(1, Relaxed),
        SystemTime::now(),
    );
    std::hash::RandomState::new().hash_one(drawn) % 10_u64.pow(19)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, cut: bool) -> String {
        staging_name(OsStr::new(name), 42, cut)
            .into_string()
            .unwrap()
    }

    #[test]
    fn a_staging_name_is_the_destination_and_digits() {
        assert_eq!(named("a.parquet", false), "a.parquet#0000000000000000042");
    }

    #[test]
    fn a_staging_name_has_one_hash() {
        // Upstream looks at what follows the first.
        for name in ["a#b", "part#1.parquet", "#", "##", "a#"] {
            for cut in [false, true] {
                let staged = named(name, cut);
                let (_, digits) = staged.split_once('#').unwrap();
                assert!(!digits.is_empty(), "{staged}");
                assert!(digits.bytes().all(|b| b.is_ascii_digit()), "{staged}");
            }
        }
    }

    #[test]
    fn a_short_name_that_is_cut_has_fewer_digits() {
        assert_eq!(named("x", true), "#42");
        assert_eq!(named("song.ogg", true), "#000000042");
    }

    #[test]
    fn a_name_that_is_cut_grows_by_two_bytes_at_the_most() {
        for name in ["x".repeat(253), "é".repeat(126), "🙀".repeat(63)] {
            let staged = named(&name, true);
            assert!(staged.len() <= name.len() + 2);
            assert!(staged.ends_with("#0000000000000000042"));
            assert!(name.starts_with(staged.split_once('#').unwrap().0));
        }
    }

    #[test]
    fn no_two_names_are_the_same() {
        let drawn: std::collections::HashSet<_> = (0..10_000).map(|_| unique()).collect();
        assert_eq!(drawn.len(), 10_000);
    }
}
