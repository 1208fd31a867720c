//! Where a file is: its mount, and what the path lock knows it by.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fnv::Fnv;
use crate::lock::Key;
use crate::mount::{self, Mount};
use crate::sys::{self, DirStat};

/// A directory's identity, the same by whichever root or symlink it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Dir {
    /// Where the mount keeps inode numbers of directories.
    Inode(u64),
    /// Elsewhere: the path within the file system.
    Path(String),
}

/// Letter by letter in upper and then lower case, which makes one of `ß` and `SS`, `σ` and `ς`:
/// on a mount that ignores case two spellings are one file. On any other they are two that now and
/// then wait for each other, which is harmless.
fn folded(name: &OsStr) -> String {
    let name = name.to_string_lossy();
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

/// A file's place: it need not be there.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) mount: Arc<Mount>,
    dev: u64,
    dir: Dir,
    name: String,
    key: u64,
}

/// So many bits of a hash fit the offset of a byte in a file.
const KEY: u64 = u64::MAX >> 1;

impl Place {
    fn new(mount: Arc<Mount>, dev: u64, dir: Dir, name: &OsStr) -> Self {
        let name = folded(name);
        let mut hash = Fnv::default();
        hash.add(&dev.to_le_bytes());
        match &dir {
            Dir::Inode(inode) => hash.add(&inode.to_le_bytes()),
            Dir::Path(path) => hash.add(path.as_bytes()),
        }
        hash.add(b"/");
        hash.add(name.as_bytes());
        Self {
            mount,
            dev,
            dir,
            key: hash.finish() & KEY,
            name,
        }
    }

    /// Of the path lock and of the lock on this host, so that who holds the first shares the second
    /// with no other path of this process.
    pub(crate) fn key(&self) -> Key {
        Key(self.key)
    }

    /// Of the directory as a whole.
    pub(crate) fn dir_key(&self) -> Key {
        let mut hasher = DefaultHasher::new();
        ("directory", self.dev, &self.dir).hash(&mut hasher);
        Key(hasher.finish())
    }

    /// Of the name alone, the same on all hosts, whatever they know the directory by: one of
    /// [`SLOTS`](sys::SLOTS) locks that a directory has, so that two names may share one.
    pub(crate) fn slot_in_dir(&self) -> u64 {
        let mut hash = Fnv::default();
        hash.add(self.name.as_bytes());
        (hash.finish() & KEY) % sys::SLOTS
    }

    /// The place of another name in the same directory.
    pub(crate) fn sibling(&self, name: &OsStr) -> Self {
        Self::new(Arc::clone(&self.mount), self.dev, self.dir.clone(), name)
    }

    pub(crate) fn is_on_mount_of(&self, other: &Self) -> bool {
        self.dev == other.dev
    }
}

/// Whether two paths name one entry of one directory, letter by letter, be it through two mounts.
pub(crate) fn is_same_entry(a: (&Path, &Place), b: (&Path, &Place)) -> io::Result<bool> {
    let ((a_dir, a_name), (b_dir, b_name)) = (split(a.0), split(b.0));
    if a.1.dev != b.1.dev || a_name != b_name {
        return Ok(false);
    }
    let within = |dir, place: &Place| path_within(dir, &sys::stat_dir(dir)?, &place.mount);
    Ok(match (&a.1.dir, &b.1.dir) {
        (Dir::Inode(a), Dir::Inode(b)) => a == b,
        _ => within(a_dir, a.1)? == within(b_dir, b.1)?,
    })
}

/// Finds a file's place by one look at its directory; `NotFound` if that is not there.
pub(crate) fn locate(path: &Path) -> io::Result<Place> {
    let (dir, name) = split(path);
    let stat = sys::stat_dir(dir)?;
    in_dir(dir, &stat, name)
}

/// The path of a directory as its file system itself would tell it.
fn path_within(dir: &Path, stat: &DirStat, mount: &Mount) -> io::Result<PathBuf> {
    let canonical = sys::canonical_dir(dir)?;
    if stat.mount_id != 0 {
        return Ok(mount.path_within(canonical));
    }
    // Two bind mounts cannot be told apart by a number.
    let info = sys::mount_info(&canonical, stat);
    Ok(mount::path_within(info.as_ref(), canonical))
}

fn in_dir(dir: &Path, stat: &DirStat, name: &OsStr) -> io::Result<Place> {
    let mount = mount::of(dir, stat);
    let identity = if mount.has_stable_dirs() {
        Dir::Inode(stat.ino)
    } else {
        Dir::Path(folded(path_within(dir, stat, &mount)?.as_os_str()))
    };
    Ok(Place::new(mount, stat.dev, identity, name))
}

/// The directory that holds `path`, and the name in it.
pub(crate) fn split(path: &Path) -> (&Path, &OsStr) {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    (dir, path.file_name().unwrap_or_default())
}
