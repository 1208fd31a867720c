//! What a mount is and what it can do, learned from its answers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use parking_lot::RwLock;

use crate::sys::{self, DirStat, MountInfo};

/// File systems on Linux that keep what POSIX promises of a local disk: attributes and inode
/// numbers stay with the file, an error is what happened. The name is the kernel's, from
/// mountinfo, never a magic number of statfs(2), which 9P passes through from its host.
const NATIVE: &[&str] = &[
    "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "overlay", "ramfs",
    "tmpfs", "xfs", "zfs",
];

/// One mounted file system.
#[derive(Debug)]
pub(crate) struct Mount {
    info: Option<MountInfo>,
    native: bool,
    stable_dirs: bool,
    /// renameat2 with RENAME_NOREPLACE was refused.
    no_exclusive_rename: AtomicBool,
    /// link was refused.
    no_links: AtomicBool,
    /// A file's inode number was seen to change.
    inodes_change: AtomicBool,
}

/// By device and, where the kernel tells it, by the unique id of the mount: device numbers of FUSE
/// and network mounts are used again once they are gone.
type Table = RwLock<HashMap<(u64, u64), Arc<Mount>>>;

static TABLE: LazyLock<Table> = LazyLock::new(Table::default);

/// The mount of the directory `path`, which `dir` was learned from.
pub(crate) fn of(path: &Path, dir: &DirStat) -> Arc<Mount> {
    #[cfg(feature = "fault-injection")]
    if let Some(mount) = crate::fault::pretended_mount(path) {
        return mount;
    }
    let key = (dir.dev, dir.mount_id);
    if let Some(mount) = TABLE.read().get(&key) {
        return Arc::clone(mount);
    }
    let info = sys::mount_info(path, dir);
    let mount = Arc::new(Mount::new(info));
    tracing::debug!(
        path = %path.display(),
        fs_type = mount.fs_type(),
        native = mount.native,
        "met a mount"
    );
    Arc::clone(TABLE.write().entry(key).or_insert(mount))
}

impl Mount {
    fn new(info: Option<MountInfo>) -> Self {
        let fs_type = info.as_ref().map(|i| i.fs_type.as_str());
        let native = fs_type.is_some_and(|t| NATIVE.contains(&t));
        Self {
            native,
            // An overlay of layers on several file systems makes up inode numbers of directories
            // (overlayfs.rst, "Inode properties").
            stable_dirs: native && fs_type != Some("overlay"),
            info,
            no_exclusive_rename: AtomicBool::new(false),
            no_links: AtomicBool::new(false),
            inodes_change: AtomicBool::new(false),
        }
    }

    /// One of which nothing is known.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn unknown() -> Self {
        Self::new(None)
    }

    /// As the kernel names it; empty if unknown.
    pub(crate) fn fs_type(&self) -> &str {
        self.info.as_ref().map_or("", |i| &i.fs_type)
    }

    /// Nothing needs a second look here.
    pub(crate) fn is_native(&self) -> bool {
        self.native
    }

    /// A directory is known by its inode number.
    pub(crate) fn has_stable_dirs(&self) -> bool {
        self.stable_dirs
    }

    /// A file is known by its inode number, as far as has been seen.
    pub(crate) fn has_stable_inodes(&self) -> bool {
        !self.inodes_change.load(Relaxed)
    }

    pub(crate) fn saw_inode_change(&self) {
        self.inodes_change.store(true, Relaxed);
    }

    pub(crate) fn may_rename_exclusively(&self) -> bool {
        !self.no_exclusive_rename.load(Relaxed)
    }

    pub(crate) fn refused_exclusive_rename(&self) {
        self.no_exclusive_rename.store(true, Relaxed);
    }

    pub(crate) fn may_link(&self) -> bool {
        !self.no_links.load(Relaxed)
    }

    pub(crate) fn refused_link(&self) {
        self.no_links.store(true, Relaxed);
    }

    /// A path without symlinks, as the file system itself would tell it: two bind mounts of it
    /// agree.
    pub(crate) fn path_within(&self, canonical: PathBuf) -> PathBuf {
        match &self.info {
            Some(info) => match canonical.strip_prefix(&info.mount_point) {
                // Joined by components: no separator is left at the end of a root.
                Ok(rest) => info.root.components().chain(rest.components()).collect(),
                Err(_) => canonical,
            },
            None => canonical,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(fs_type: &str, root: &str, mount_point: &str) -> Mount {
        Mount::new(Some(MountInfo {
            fs_type: fs_type.into(),
            mount_point: mount_point.into(),
            root: root.into(),
        }))
    }

    #[test]
    fn two_bind_mounts_agree_on_a_path() {
        let whole = mount("nfs4", "/", "/mnt/share");
        let part = mount("nfs4", "/data", "/srv");
        // As the lock compares them, by letters: `Path` forgives a separator at the end.
        for (in_whole, in_part) in [("/mnt/share/data/a", "/srv/a"), ("/mnt/share/data", "/srv")] {
            assert_eq!(
                whole.path_within(in_whole.into()).as_os_str(),
                part.path_within(in_part.into()).as_os_str()
            );
        }
    }

    #[test]
    fn only_what_is_known_to_be_local_is_native() {
        for (fs_type, native) in [
            ("ext4", true),
            ("tmpfs", true),
            ("overlay", true),
            ("fuse", false),
            ("fuse.sshfs", false),
            ("9p", false),
            ("nfs4", false),
            ("cifs", false),
            ("exfat", false),
            ("vfat", false),
            ("something-new", false),
        ] {
            assert_eq!(mount(fs_type, "/", "/").is_native(), native, "{fs_type}");
        }
        assert!(!Mount::new(None).is_native());
    }
}
