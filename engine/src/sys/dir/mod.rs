//! Directories by descriptor: what is looked at, and removed, is in the directory that was opened,
//! whatever has taken its path since. Where the platform has no such calls it goes by paths.

use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::Stat;
use crate::fault::{Call, Op, around};

#[cfg(any(
    target_os = "linux",
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd"
))]
#[path = "at.rs"]
mod platform;
#[cfg(not(any(
    target_os = "linux",
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd"
)))]
#[path = "paths.rs"]
mod platform;

/// What has a name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) stat: Stat,
    pub(crate) is_file: bool,
    /// Bytes on the disk, which holes do not take; its length where the platform does not tell.
    pub(crate) allocated: u64,
}

/// What a listing says of an entry by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    Dir,
    File,
    /// To be looked at.
    Unknown,
    Other,
}

/// What a directory is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// Its entries are listed, and used.
    Listing,
    /// Its entries are used, for which it need not be readable.
    Entries,
}

/// A directory that is held open.
pub(crate) struct Dir {
    path: PathBuf,
    handle: platform::Handle,
}

impl Dir {
    /// Symlinks on the way are followed, and the last component is none.
    pub(crate) fn open(path: &Path, how: For) -> io::Result<Self> {
        let handle = around(Call::new(Op::OpenDir, path), || platform::open(path, how))?;
        let path = path.to_owned();
        Ok(Self { path, handle })
    }

    /// The directory `path`, which begins with this one's path. A symlink on the way is not
    /// followed: it is no directory, which is an error for which [`super::is::absent`] holds.
    pub(crate) fn open_below(&self, path: &Path, how: For) -> io::Result<Self> {
        let below = path
            .strip_prefix(&self.path)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        let handle = around(Call::new(Op::OpenDir, path), || {
            platform::open_below(&self.handle, below, how)
        })?;
        let path = path.to_owned();
        Ok(Self { path, handle })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the directory itself is.
    pub(crate) fn stat(&self) -> io::Result<Entry> {
        around(Call::new(Op::StatDir, &self.path), || {
            platform::stat(&self.handle)
        })
    }

    /// What is at `name`, a symlink itself included.
    pub(crate) fn look(&self, name: &OsStr) -> io::Result<Entry> {
        around(Call::new(Op::Stat, &self.path.join(name)), || {
            platform::look(&self.handle, name)
        })
    }

    pub(crate) fn unlink(&self, name: &OsStr) -> io::Result<()> {
        around(Call::new(Op::Unlink, &self.path.join(name)), || {
            platform::unlink(&self.handle, name)
        })
    }

    /// Tells `each` all entries, in the file system's order, until it breaks. Once for each time
    /// that the directory is opened.
    pub(crate) fn list(
        &self,
        each: &mut dyn FnMut(OsString, Listed) -> ControlFlow<()>,
    ) -> io::Result<()> {
        around(Call::new(Op::ReadDir, &self.path), || {
            platform::list(&self.handle, each)
        })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn temp_dir(name: &str) -> PathBuf {
        let name = format!("localfs-dir-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().canonicalize().unwrap().join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn a_symlink_on_the_way_is_not_followed() {
        let path = temp_dir("symlink");
        fs::create_dir_all(path.join("a/b")).unwrap();
        symlink(path.join("a"), path.join("link")).unwrap();
        symlink(path.join("a/b"), path.join("a/link")).unwrap();
        let root = Dir::open(&path, For::Entries).unwrap();
        for how in [For::Listing, For::Entries] {
            assert!(root.open_below(&path.join("a/b"), how).is_ok());
            for out in ["link", "link/b", "a/link", "a/none"] {
                let e = root.open_below(&path.join(out), how).err().unwrap();
                assert!(crate::sys::is::absent(&e), "{out}: {e}");
            }
            for no_name in ["a/..", "..", "a/../a"] {
                assert!(root.open_below(&path.join(no_name), how).is_err());
            }
        }
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_listing_tells_what_is_there() {
        let path = temp_dir("list");
        fs::create_dir(path.join("dir")).unwrap();
        fs::write(path.join("file"), "data").unwrap();
        symlink("file", path.join("link")).unwrap();
        let dir = Dir::open(&path, For::Listing).unwrap();
        let mut listed = Vec::new();
        let mut each = |name: OsString, _| {
            let entry = dir.look(&name).unwrap();
            listed.push((name, entry.stat.is_dir, entry.is_file));
            ControlFlow::Continue(())
        };
        dir.list(&mut each).unwrap();
        listed.sort();
        let expected = [
            ("dir", true, false),
            ("file", false, true),
            ("link", false, false),
        ];
        assert_eq!(listed, expected.map(|(name, d, f)| (name.into(), d, f)));
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_look_tells_what_std_does() {
        let path = temp_dir("look");
        fs::write(path.join("file"), "data").unwrap();
        let dir = Dir::open(&path, For::Entries).unwrap();
        let seen = dir.look(OsStr::new("file")).unwrap();
        assert_eq!(seen.stat, crate::sys::stat(&path.join("file")).unwrap());
        let m = fs::metadata(path.join("file")).unwrap();
        let blocks = std::os::unix::fs::MetadataExt::blocks(&m);
        assert_eq!(seen.allocated, blocks * 512);
        let own = dir.stat().unwrap().stat;
        assert_eq!((own.is_dir, own), (true, crate::sys::stat(&path).unwrap()));
        fs::remove_dir_all(path).unwrap();
    }
}
