//! What a mount is and what it can do, learned from its answers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::UNIX_EPOCH;

use parking_lot::RwLock;

use crate::Version;
use crate::sys::{self, DirStat, MountInfo, Stat};

/// File systems that keep what POSIX promises of a local disk: attributes and inode numbers stay
/// with the file, an error is what happened. The name is the kernel's, from mountinfo, never a
/// magic number of statfs(2), which 9P passes through from its host.
const NATIVE: &[&str] = &[
    "apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "jfs", "nilfs2", "overlay",
    "ramfs", "tmpfs", "xfs", "zfs",
];

/// Others on which an inode number stays with a file, because the server or the disk keeps it.
/// Not among them: FUSE, whose servers mostly number what the kernel has in its cache (libfuse
/// without `use_ino`), and vfat and exFAT, for which the kernel does (`iunique` in fs/inode.c).
const NUMBERS_FILES: &[&str] = &[
    "9p", "afs", "ceph", "cifs", "gfs2", "gpfs", "lustre", "nfs", "nfs4", "ntfs3", "ocfs2", "smb3",
    "virtiofs",
];

/// Local file systems whose mtimes tell apart two files that are written right after each other,
/// since Linux 6.13 (Documentation/filesystems/multigrain-ts.rst). Before, and on all others, a
/// clock is read that moves every few milliseconds.
const FINE_MTIMES: &[&str] = &["btrfs", "ext4", "tmpfs", "xfs"];

/// File systems that keep byte-range locks for all their hosts, and the options with which they keep
/// them for one. That a lock is granted proves nothing: FUSE and 9p grant locks that their servers
/// never hear of (versity/versitygw#2359).
const LOCKS_FOR_ALL_HOSTS: &[(&str, &[&str])] = &[
    // RFC 8881, section 18.10; nfs(5), "local_lock" and "nolock".
    ("nfs", &["nolock", "local_lock=all", "local_lock=posix"]),
    ("nfs4", &["nolock", "local_lock=all", "local_lock=posix"]),
    // MS-SMB2, section 2.2.26; mount.cifs(8), "nobrl".
    ("cifs", &["nobrl"]),
    ("smb3", &["nobrl"]),
    ("ceph", &[]),
    ("gfs2", &["localflocks"]),
    ("gpfs", &[]),
    ("lustre", &["localflock", "noflock"]),
    // https://juicefs.com/docs/community/posix_compatibility/
    ("fuse.juicefs", &[]),
    ("fuse.glusterfs", &[]),
];

/// What is known of one ability of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing was asked yet that would tell.
    Unknown,
    /// It was seen to work.
    Yes,
    /// It was refused; it is not asked for again.
    No,
}

/// What is known of a mount so far: what the kernel says it is, and what its answers to the
/// operations of this process, of whichever store, have shown.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MountFacts {
    /// Its device number, `st_dev`.
    pub device: u64,
    /// As the kernel names it: `ext4`, `nfs4`, `fuse.sshfs`.
    pub fs_type: Option<String>,
    /// What is mounted: a device, a share, a name.
    pub source: Option<String>,
    /// The options of the mount and of the file system, with commas between.
    pub options: Option<String>,
    /// Where it is mounted.
    pub mount_point: Option<PathBuf>,
    /// Whether it is known as a local disk, where no answer needs a second look.
    pub is_local: bool,
    /// link(2).
    pub hard_links: Known,
    /// `renameat2` with `RENAME_NOREPLACE`.
    pub exclusive_rename: Known,
    /// rename(2) at all.
    pub rename: Known,
    /// Copies that share their extents (ioctl_ficlone(2)), also called reflinks.
    pub clones: Known,
    /// fsync(2) of a directory.
    pub directory_sync: Known,
    /// Extended attributes that users may set (xattr(7)): where objects keep their attributes.
    pub extended_attributes: Known,
    /// flock(2) of a directory, that it excludes others included.
    pub advisory_locks: Known,
    /// Inode numbers that stay with a file and so are part of its e_tag.
    pub stable_inodes: Known,
}

/// One ability, learned.
#[derive(Debug, Default)]
pub(crate) struct Fact(AtomicU8);

impl Fact {
    pub(crate) fn known(&self) -> Known {
        match self.0.load(Relaxed) {
            0 => Known::Unknown,
            1 => Known::Yes,
            _ => Known::No,
        }
    }

    pub(crate) fn works(&self) {
        // Not written again and again: all threads read it.
        if self.known() == Known::Unknown {
            let _ = self.0.compare_exchange(0, 1, Relaxed, Relaxed);
        }
    }

    /// What was seen to work is not given up: then it was this one file, or this once.
    pub(crate) fn refused(&self) {
        let _ = self.0.compare_exchange(0, 2, Relaxed, Relaxed);
    }

    /// Whether it is worth a try.
    pub(crate) fn may(&self) -> bool {
        self.known() != Known::No
    }
}

/// One mounted file system.
#[derive(Debug)]
pub(crate) struct Mount {
    device: u64,
    info: Option<MountInfo>,
    native: bool,
    stable_dirs: bool,
    numbers_files: bool,
    pub(crate) exclusive_rename: Fact,
    pub(crate) links: Fact,
    pub(crate) rename: Fact,
    pub(crate) clones: Fact,
    pub(crate) dir_sync: Fact,
    pub(crate) dir_lock: Fact,
    pub(crate) xattrs: Fact,
    stable_inodes: Fact,
    /// A file was seen whose mtime is of whole seconds.
    saw_coarse_mtime: AtomicBool,
    /// How many of the steps in [`observe`](crate::observe) are too small for it.
    pub(crate) mtime_steps_lost: AtomicUsize,
}

/// By device and, where the kernel tells it, by the unique id of the mount: device numbers of FUSE
/// and network mounts are used again once they are gone.
type Table = RwLock<HashMap<(u64, u64), Arc<Mount>>>;

static TABLE: LazyLock<Table> = LazyLock::new(Table::default);

static ONE_LACKS_RENAME: AtomicBool = AtomicBool::new(false);

/// Whether a mount was met that has no rename(2), so that it is worth a look which one a file is to be
/// on before one is made there.
pub(crate) fn one_lacks_rename() -> bool {
    ONE_LACKS_RENAME.load(Relaxed)
}

/// So many mounts are remembered before those are forgotten that nobody uses.
const REMEMBERED: usize = 256;

/// The mount of the directory `path`, which `dir` was learned from.
pub(crate) fn of(path: &Path, dir: &DirStat) -> Arc<Mount> {
    #[cfg(feature = "fault-injection")]
    if let Some(mount) = crate::fault::pretended_mount(path) {
        return mount;
    }
    let key = (dir.dev, dir.mount_id);
    // Without unique ids another file system may be behind the same number by now.
    if !dir.is_unique && sys::mounts_changed() {
        TABLE.write().clear();
    }
    if let Some(mount) = TABLE.read().get(&key) {
        return Arc::clone(mount);
    }
    let info = sys::mount_info(path, dir);
    let mount = Arc::new(Mount::new(dir.dev, info));
    tracing::debug!(
        path = %path.display(),
        fs_type = mount.fs_type(),
        native = mount.native,
        "met a mount"
    );
    let mut table = TABLE.write();
    if table.len() >= REMEMBERED {
        table.retain(|_, mount| Arc::strong_count(mount) > 1);
    }
    Arc::clone(table.entry(key).or_insert(mount))
}

impl Mount {
    fn new(device: u64, info: Option<MountInfo>) -> Self {
        let fs_type = info.as_ref().map(|i| i.fs_type.as_str());
        let native = fs_type.is_some_and(|t| NATIVE.contains(&t) || (cfg!(windows) && t == "ntfs"));
        let numbers_files = native || fs_type.is_some_and(|t| NUMBERS_FILES.contains(&t));
        // mount.cifs(8): numbers are then made up by the client.
        let made_up = |i: &MountInfo| i.options.split(',').any(|o| o == "noserverino");
        Self {
            device,
            native,
            // An overlay of layers on several file systems makes up inode numbers of directories
            // (overlayfs.rst, "Inode properties").
            // Windows tells none.
            stable_dirs: native && fs_type != Some("overlay") && cfg!(unix),
            numbers_files: numbers_files && !info.as_ref().is_some_and(made_up),
            info,
            exclusive_rename: Fact::default(),
            links: Fact::default(),
            rename: Fact::default(),
            clones: Fact::default(),
            dir_sync: Fact::default(),
            dir_lock: Fact::default(),
            xattrs: Fact::default(),
            stable_inodes: Fact::default(),
            saw_coarse_mtime: AtomicBool::new(false),
            mtime_steps_lost: AtomicUsize::new(0),
        }
    }

    /// One of which nothing is known.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn unknown() -> Self {
        Self::new(0, None)
    }

    /// As the kernel names it; empty if unknown.
    pub(crate) fn fs_type(&self) -> &str {
        self.info.as_ref().map_or("", |i| &i.fs_type)
    }

    /// For messages.
    pub(crate) fn named(&self) -> String {
        match &self.info {
            Some(info) => {
                let at = info.mount_point.display();
                format!("the {} mount at {at}", info.fs_type)
            }
            None => "this mount".into(),
        }
    }

    /// Nothing needs a second look here.
    pub(crate) fn is_native(&self) -> bool {
        self.native
    }

    /// A directory is known by its inode number.
    pub(crate) fn has_stable_dirs(&self) -> bool {
        self.stable_dirs
    }

    /// A file is known by its inode number for as long as one operation takes, as far as has been
    /// seen.
    pub(crate) fn has_stable_inodes(&self) -> bool {
        self.stable_inodes.may()
    }

    pub(crate) fn saw_inode_change(&self) {
        self.stable_inodes.refused();
    }

    /// It has no rename(2), as it has said.
    pub(crate) fn lacks_rename(&self) {
        self.rename.refused();
        ONE_LACKS_RENAME.store(true, Relaxed);
    }

    /// Whether there are file systems of this kind without rename(2), so that it is worth knowing
    /// before much is written.
    pub(crate) fn may_lack_rename(&self) -> bool {
        let fuse = || matches!(self.fs_type().split('.').next(), Some("" | "fuse"));
        !self.native && self.rename.known() == Known::Unknown && fuse()
    }

    /// Whether it is, or may be, a mount without rename(2).
    pub(crate) fn may_write_in_place(&self) -> bool {
        self.may_lack_rename() || !self.rename.may()
    }

    /// An inode number stays with its file for good.
    pub(crate) fn numbers_files(&self) -> bool {
        self.numbers_files && self.has_stable_inodes()
    }

    /// Whether a new file may have the mtime of one that was replaced before. `ours` is one that was
    /// just written, or is not known.
    pub(crate) fn repeats_mtimes(&self, ours: Option<&Stat>) -> bool {
        let modified = ours.and_then(|ours| ours.modified);
        let since_1970 = modified.and_then(|m| m.duration_since(UNIX_EPOCH).ok());
        // Ext4 keeps whole seconds where it has small inodes (mke2fs(8), -I).
        if since_1970.is_some_and(|since| since.subsec_nanos() == 0) {
            self.saw_coarse_mtime.store(true, Relaxed);
        }
        !(self.native
            && FINE_MTIMES.contains(&self.fs_type())
            && sys::has_fine_mtimes()
            && !self.saw_coarse_mtime.load(Relaxed))
    }

    /// Whether a byte-range lock excludes all hosts that have it mounted; else why not.
    pub(crate) fn locks_for_all_hosts(&self) -> Result<(), String> {
        if self.native {
            // Of one host, and of those to which it exports it: knfsd locks the file itself.
            return Ok(());
        }
        let name = match self.fs_type() {
            "" => "present",
            known => known,
        };
        let known = LOCKS_FOR_ALL_HOSTS.iter().find(|(t, _)| *t == name);
        let Some((_, local)) = known else {
            return Err(format!(
                "nothing is known of the {name} file system that makes its locks exclude other \
                 hosts, and that one is granted proves nothing; if no other host writes there, \
                 accept with_update_exclusion(Exclusion::OtherProcesses)"
            ));
        };
        let options = self.info.as_ref().map_or("", |i| i.options.as_str());
        match options.split(',').find(|o| local.contains(o)) {
            None => Ok(()),
            Some(option) => Err(format!(
                "it is mounted with {option}, so that its locks stay on this host; mount it without"
            )),
        }
    }

    /// The version that a file is, by what this mount keeps of it.
    pub(crate) fn version(&self, stat: &Stat) -> Version {
        let mut version = Version::from(stat);
        if !self.numbers_files() {
            version.inode = 0;
        }
        version
    }

    /// With what the kernel says of it by `now`: a remount changes options.
    pub(crate) fn facts(&self, now: Option<&MountInfo>) -> MountFacts {
        let told = now.or(self.info.as_ref());
        let info = |of: fn(&MountInfo) -> String| told.map(of);
        let stable_inodes = match self.stable_inodes.known() {
            Known::No => Known::No,
            _ if !self.numbers_files => Known::Unknown,
            _ => Known::Yes,
        };
        MountFacts {
            device: self.device,
            fs_type: info(|i| i.fs_type.clone()),
            source: info(|i| i.source.clone()),
            options: info(|i| i.options.clone()),
            mount_point: told.map(|i| i.mount_point.clone()),
            is_local: self.native,
            hard_links: self.links.known(),
            exclusive_rename: self.exclusive_rename.known(),
            rename: self.rename.known(),
            clones: self.clones.known(),
            directory_sync: self.dir_sync.known(),
            extended_attributes: self.xattrs.known(),
            advisory_locks: self.dir_lock.known(),
            stable_inodes,
        }
    }

    /// A path without symlinks, as the file system itself would tell it: two bind mounts of it
    /// agree.
    pub(crate) fn path_within(&self, canonical: PathBuf) -> PathBuf {
        path_within(self.info.as_ref(), canonical)
    }
}

pub(crate) fn path_within(info: Option<&MountInfo>, canonical: PathBuf) -> PathBuf {
    match info {
        Some(info) => match canonical.strip_prefix(&info.mount_point) {
            // Joined by components: no separator is left at the end of a root.
            Ok(rest) => info.root.components().chain(rest.components()).collect(),
            Err(_) => canonical,
        },
        None => canonical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(fs_type: &str, root: &str, mount_point: &str) -> Mount {
        let info = MountInfo {
            fs_type: fs_type.into(),
            mount_point: mount_point.into(),
            root: root.into(),
            ..MountInfo::default()
        };
        Mount::new(0, Some(info))
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
        assert!(!Mount::new(0, None).is_native());
    }

    #[test]
    fn an_inode_number_is_part_of_a_version_only_where_it_stays() {
        let stat = Stat {
            is_dir: false,
            is_symlink: false,
            size: 1,
            modified: None,
            changed: (0, 0),
            dev: 1,
            ino: 7,
            nlink: 1,
        };
        for (fs_type, inode) in [("ext4", 7), ("nfs4", 7), ("fuse.s3fs", 0), ("vfat", 0)] {
            let mount = mount(fs_type, "/", "/");
            assert_eq!(mount.version(&stat).inode, inode, "{fs_type}");
            mount.saw_inode_change();
            assert_eq!(mount.version(&stat).inode, 0, "{fs_type}");
        }
        let mut share = MountInfo {
            fs_type: "cifs".into(),
            ..MountInfo::default()
        };
        share.options = "rw,vers=3.1.1,noserverino".into();
        assert_eq!(Mount::new(0, Some(share)).version(&stat).inode, 0);
    }

    #[test]
    fn the_first_answer_stands() {
        let fact = Fact::default();
        assert_eq!(fact.known(), Known::Unknown);
        fact.works();
        fact.refused();
        assert_eq!(fact.known(), Known::Yes);
        let fact = Fact::default();
        fact.refused();
        fact.works();
        assert_eq!(fact.known(), Known::No);
    }
}
