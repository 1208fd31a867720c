//! What the kernel knows: one [`Node`] for each file it has looked up and not yet forgotten.
//!
//! A node holds its file by an `O_PATH` descriptor, as libfuse's `passthrough_ll` does. So renames
//! and removals need no bookkeeping, an unlinked file lives as long as the kernel knows of it, and
//! its inode number cannot be given to another file in the meantime. That is why the number of
//! the backing inode serves as the node's id: unique among the nodes there are, the same for all
//! names of a file, and the same again when the kernel comes back to a file it forgot. A number
//! that comes back for a new file after that is one that the kernel has let go of, so generations
//! are not needed.
//!
//! The price is a descriptor for each file that was ever looked up and still exists, since the
//! kernel forgets only when it needs the memory; see `sys::raise_open_file_limit`.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use super::{lock, sys};

/// The root's id, by FUSE's definition.
const ROOT: u64 = 1;

#[derive(Debug)]
pub(super) struct Inodes {
    device: u64,
    /// The inode number of the backing directory, which the kernel calls [`ROOT`].
    root: u64,
    known: Mutex<HashMap<u64, Known>>,
}

#[derive(Debug)]
struct Known {
    node: Arc<Node>,
    /// How often the kernel was told of it, less what it forgot.
    lookups: u64,
}

/// A file, directory or symlink of the backing directory.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: u64,
    pinned: File,
    state: Mutex<State>,
}

/// What the quirks remember of a node.
#[derive(Debug)]
pub(super) struct State {
    /// The last component of the name it was last found by.
    pub(super) name: OsString,
    /// Its attributes are gone, until it is found by name again.
    pub(super) lost_by_rename: bool,
    /// What `stat` shows until the file is closed.
    pub(super) unsettled: Option<Settled>,
    /// The inode number that `stat` shows.
    pub(super) shown_ino: u64,
}

/// The attributes of the last version that was closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    pub(super) mtime: SystemTime,
    pub(super) size: u64,
}

impl Inodes {
    pub(super) fn new(backing: &Path) -> io::Result<Inodes> {
        let pinned = pin(backing)?;
        let found = pinned.metadata()?;
        let node = Arc::new(Node::new(ROOT, pinned, OsStr::new("")));
        Ok(Inodes {
            device: found.dev(),
            root: found.ino(),
            // Known without a lookup, and not forgotten before the end.
            known: Mutex::new(HashMap::from([(ROOT, Known { node, lookups: 1 })])),
        })
    }

    /// The node of this id.
    pub(super) fn find(&self, id: u64) -> io::Result<Arc<Node>> {
        match lock(&self.known).get(&id) {
            Some(known) => Ok(Arc::clone(&known.node)),
            None => Err(io::Error::from_raw_os_error(libc::ESTALE)),
        }
    }

    /// Looks a name up, and counts it as told to the kernel.
    pub(super) fn enter(&self, dir: &Node, name: &OsStr) -> io::Result<Entry<'_>> {
        let pinned = pin(&dir.at(name))?;
        let found = pinned.metadata()?;
        if found.dev() != self.device {
            // Another device would number its inodes anew.
            return Err(io::Error::from_raw_os_error(libc::EXDEV));
        }
        let id = self.id(found.ino());
        let mut known = lock(&self.known);
        // If it is known already, then it is that very file: both descriptors hold it.
        let known = known.entry(id).or_insert_with(|| Known {
            node: Arc::new(Node::new(id, pinned, name)),
            lookups: 0,
        });
        known.lookups += 1;
        let node = Arc::clone(&known.node);
        name.clone_into(&mut node.state().name);
        Ok(Entry {
            inodes: self,
            node: Some(node),
        })
    }

    /// The node behind a name, if the kernel knows it.
    pub(super) fn known(&self, dir: &Node, name: &OsStr) -> Option<Arc<Node>> {
        let found = dir.at(name).symlink_metadata().ok()?;
        self.find(self.id(found.ino())).ok()
    }

    /// The kernel has dropped so many of the times it was told of this node.
    pub(super) fn forget(&self, id: u64, lookups: u64) {
        let mut known = lock(&self.known);
        let Some(entry) = known.get_mut(&id) else {
            return;
        };
        entry.lookups = entry.lookups.saturating_sub(lookups);
        if entry.lookups == 0 {
            known.remove(&id);
        }
    }

    fn id(&self, ino: u64) -> u64 {
        if ino == self.root { ROOT } else { ino }
    }
}

impl Node {
    fn new(id: u64, pinned: File, name: &OsStr) -> Node {
        Node {
            id,
            pinned,
            state: Mutex::new(State {
                name: name.to_owned(),
                lost_by_rename: false,
                unsettled: None,
                shown_ino: id,
            }),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn name(&self) -> OsString {
        self.state().name.clone()
    }

    /// What is really there.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.pinned.metadata()
    }

    /// The path of the file itself, wherever it is by now.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.pinned.as_raw_fd()))
    }

    /// The path of a name in this directory.
    pub(super) fn at(&self, name: &OsStr) -> PathBuf {
        self.path().join(name)
    }

    /// Where a symlink leads to.
    pub(super) fn target(&self) -> io::Result<Vec<u8>> {
        sys::readlink(&self.pinned)
    }

    /// Opens the file itself.
    pub(super) fn open(&self, flags: i32) -> io::Result<File> {
        open(&self.path(), flags, 0)
    }
}

/// A node that is counted as told to the kernel; forgotten again unless it is.
pub(super) struct Entry<'a> {
    inodes: &'a Inodes,
    node: Option<Arc<Node>>,
}

impl Entry<'_> {
    pub(super) fn node(&self) -> &Node {
        self.node.as_ref().expect("taken only with the entry")
    }

    /// The kernel is told now; it will forget by itself.
    pub(super) fn hand_over(mut self) -> Arc<Node> {
        self.node.take().expect("taken only with the entry")
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            self.inodes.forget(node.id, 1);
        }
    }
}

/// open(2) with the flags of a request.
pub(super) fn open(path: &Path, flags: i32, mode: u32) -> io::Result<File> {
    let access = flags & libc::O_ACCMODE;
    // The kernel has done the appending (a write comes with its offset), and direct I/O would ask
    // for aligned buffers.
    let flags = flags & !(libc::O_APPEND | libc::O_DIRECT);
    OpenOptions::new()
        .read(access != libc::O_WRONLY)
        .write(access != libc::O_RDONLY)
        .custom_flags(flags)
        .mode(mode)
        .open(path)
}

fn pin(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(path)
}
