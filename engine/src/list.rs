//! Listing: a directory tree, depth first, in the order of its directories or in that of keys,
//! symlinks followed.
//!
//! What vanishes meanwhile is left out. A directory is read whole before anything of it is told, so
//! that one whose handle went stale half way can be read again.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use crate::Engine;
use crate::error::{Error, Result};
use crate::keys::{After, Keys, Place, Sorted};
use crate::mount::{self, Mount};
use crate::observe;
use crate::read::FileInfo;
use crate::sys::{self, DirEntry, Kind, Seen, is};

/// How far down a listing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The directory's own entries; everything that is no directory is a file.
    One,
    /// Everything below; what is neither file nor directory is left out.
    All,
}

/// An entry that a listing came by.
#[derive(Debug)]
pub struct Listed {
    path: PathBuf,
    is_dir: bool,
    /// Of what a symlink leads to.
    seen: Option<Seen>,
}

impl Listed {
    /// The listed directory's path and the names below it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a directory, or a symlink to one.
    pub fn is_dir(&self) -> bool {
        self.is_dir
    }
}

/// A walk through a directory tree. Holds no handle between two entries; in memory are the names
/// of each directory from the first one down to the current one.
#[derive(Debug)]
pub struct Lister {
    engine: Engine,
    depth: Depth,
    /// What is told, if that is in the order of keys.
    keys: Option<Keys>,
    /// What is to be read next, and how the keys in it begin.
    next: Option<(PathBuf, Vec<u8>)>,
    levels: Vec<Level>,
    /// The mount of the last file.
    last: Option<(u64, u64, Arc<Mount>)>,
}

#[derive(Debug)]
struct Level {
    dir: PathBuf,
    entries: Entries,
}

#[derive(Debug)]
enum Entries {
    AsRead(vec::IntoIter<DirEntry>),
    Sorted(Sorted),
}

impl Engine {
    /// Walks what is in `dir`. A directory that is not there has no entries.
    pub fn list(&self, dir: PathBuf, depth: Depth) -> Lister {
        self.lister(depth, None, Some((dir, Vec::new())))
    }

    /// Walks what is in `dir` in the order of keys, and tells those of `keys` only. What is not told
    /// is neither looked at nor, if it is a directory, read.
    pub fn list_keys(&self, dir: PathBuf, depth: Depth, keys: Keys) -> Lister {
        let is_over = |after: &After| after.is_past_all_of(&keys.prefix);
        let first = match keys.after.as_ref().is_some_and(is_over) {
            true => None,
            false => Some((dir, keys.dir.clone().into_bytes())),
        };
        self.lister(depth, Some(keys), first)
    }

    fn lister(&self, depth: Depth, keys: Option<Keys>, next: Option<(PathBuf, Vec<u8>)>) -> Lister {
        Lister {
            engine: self.clone(),
            depth,
            keys,
            next,
            levels: Vec::new(),
            last: None,
        }
    }
}

/// An error is told in its place, and the walk goes on.
impl Iterator for Lister {
    type Item = Result<Listed>;

    fn next(&mut self) -> Option<Result<Listed>> {
        loop {
            if let Some((dir, key)) = self.next.take() {
                if let Err(e) = self.enter(dir, key) {
                    return Some(Err(e));
                }
            }
            let level = self.levels.last_mut()?;
            let Some((name, kind, place)) = level.entries.next(self.keys.as_ref()) else {
                self.levels.pop();
                continue;
            };
            let listed = match self.meet(self.levels.last()?.dir.join(&name), kind) {
                Ok(Some(listed)) => listed,
                Ok(None) => continue,
                Err(e) => return Some(Err(e)),
            };
            match (place, listed.is_dir) {
                (Some(Place::File), true) => self.levels.last_mut()?.entries.put_back(name),
                (Some(Place::Dir), false) => {}
                (_, is_dir) => {
                    if is_dir && self.depth == Depth::All {
                        let key = self.levels.last()?.entries.key_of_dir(&name);
                        self.next = Some((listed.path.clone(), key));
                    }
                    return Some(Ok(listed));
                }
            }
        }
    }
}

impl Entries {
    fn next(&mut self, keys: Option<&Keys>) -> Option<(OsString, Kind, Option<Place>)> {
        match self {
            Self::AsRead(entries) => entries.next().map(|e| (e.name, e.kind, None)),
            Self::Sorted(entries) => entries.next(keys?).map(|e| (e.name, e.kind, Some(e.place))),
        }
    }

    fn put_back(&mut self, dir: OsString) {
        if let Self::Sorted(entries) = self {
            entries.put_back(dir);
        }
    }

    fn key_of_dir(&self, name: &OsStr) -> Vec<u8> {
        match self {
            Self::AsRead(_) => Vec::new(),
            Self::Sorted(entries) => entries.key_of_dir(name),
        }
    }
}

impl Lister {
    /// In the order of keys: what follows is told from here on.
    pub fn skip_to(&mut self, after: After) {
        if let Some(keys) = &mut self.keys {
            keys.after = Some(after);
        }
    }

    fn enter(&mut self, dir: PathBuf, key: Vec<u8>) -> Result<()> {
        let read = || sys::read_dir(&dir);
        match self.engine.rereading_one("read directory", &dir, read) {
            Ok(entries) => {
                let entries = match &self.keys {
                    None => Entries::AsRead(entries.into_iter()),
                    Some(keys) => Entries::Sorted(Sorted::new(key, entries, keys)),
                };
                self.levels.push(Level { dir, entries });
                Ok(())
            }
            Err(e) if is::not_found(&e) || self.is_taken_by_a_file(&dir, &e) => Ok(()),
            // No key begins with a name that no file can have.
            Err(e) if is::name_too_long(&e) && self.keys.is_some() && self.levels.is_empty() => {
                Ok(())
            }
            Err(e) => Err(Error::new("read directory", &dir, e)),
        }
    }

    /// A directory that was replaced by a file has vanished. The first one may never have been a
    /// directory, but then it must be there, as upstream has it; keys are of no directories.
    fn is_taken_by_a_file(&self, dir: &Path, e: &io::Error) -> bool {
        e.kind() == io::ErrorKind::NotADirectory
            && (!self.levels.is_empty() || self.keys.is_some() || self.see(dir).is_ok())
    }

    fn meet(&self, path: PathBuf, kind: Kind) -> Result<Option<Listed>> {
        let seen = match kind {
            Kind::Symlink => match self.follow(&path) {
                Ok(seen) => Some(seen),
                // It leads to nothing, or is gone.
                Err(e) if is::not_found(&e) || self.is_gone(&path) => return Ok(None),
                Err(e) => return Err(Error::new("follow symlink", &path, e)),
            },
            _ => None,
        };
        let is_dir = kind == Kind::Dir || seen.is_some_and(|seen| seen.stat.is_dir);
        Ok(Some(Listed { path, is_dir, seen }))
    }

    /// With its directory, which may be a file by now.
    fn is_gone(&self, path: &Path) -> bool {
        matches!(observe::look(&self.engine.for_operation(), path), Ok(None))
    }

    fn follow(&self, path: &Path) -> io::Result<Seen> {
        let seen = self.see(path)?;
        if seen.stat.is_dir {
            // By paths: inode numbers may change with every look.
            let target = self.canonical(path)?;
            for level in &self.levels {
                if self.canonical(&level.dir)? == target {
                    let above = target.display();
                    let e = format!("it leads back to {above}, above it: a loop");
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, e));
                }
            }
        }
        Ok(seen)
    }

    fn canonical(&self, dir: &Path) -> io::Result<PathBuf> {
        let resolve = || sys::canonical_dir(dir);
        self.engine.rereading_one("resolve", dir, resolve)
    }

    fn see(&self, path: &Path) -> io::Result<Seen> {
        self.engine
            .rereading_one("look at", path, || sys::see(path))
    }

    /// What a file is, by one call; `None` if it is gone, or none of those that are listed.
    pub fn look(&mut self, listed: &Listed) -> Result<Option<FileInfo>> {
        let seen = match listed.seen {
            Some(seen) => seen,
            None => match self.see(&listed.path) {
                Ok(seen) => seen,
                // There may well be a file, of which nothing can be learned.
                Err(e) if is::ambiguous(&e) => {
                    return Err(Error::new("access metadata for", &listed.path, e));
                }
                Err(_) => return Ok(None),
            },
        };
        let is_listed = match self.depth {
            Depth::One => !seen.stat.is_dir,
            Depth::All => seen.is_file,
        };
        if !is_listed {
            return Ok(None);
        }
        let mount = self.mount_of(&listed.path, &seen);
        Ok(Some(FileInfo::new(mount, &seen.stat)))
    }

    fn mount_of(&mut self, path: &Path, seen: &Seen) -> &Mount {
        let key = (seen.on.dev, seen.on.mount_id);
        let last = self.last.take();
        let known = last.filter(|(dev, id, _)| (*dev, *id) == key);
        let (_, _, mount) = self
            .last
            .insert(known.unwrap_or_else(|| (key.0, key.1, mount::of(path, &seen.on))));
        mount
    }
}
