//! What a mount is like.

use std::time::Duration;

use super::fault::Fault;

/// The quirks of a mount, and the [`Fault`]s it starts with.
///
/// Starts as [`plain`](Recipe::plain) or [`drvfs`](Recipe::drvfs); quirks add up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recipe {
    pub(super) link_errno: Option<i32>,
    pub(super) rename_flags_errno: Option<i32>,
    pub(super) rename_errno: Option<i32>,
    pub(super) xattr_errno: Option<i32>,
    pub(super) sequential_writes: bool,
    pub(super) rename_loses_handles: bool,
    pub(super) inodes_change: bool,
    pub(super) mtime_settles_at_close: bool,
    pub(super) size_settles_at_close: bool,
    pub(super) time_step: Duration,
    pub(super) latency: Duration,
    pub(super) cached: bool,
    pub(super) faults: Vec<Fault>,
}

impl Recipe {
    /// A FUSE mount without a fault: links, exclusive renames, exact times, stable inodes.
    pub(crate) fn plain() -> Recipe {
        Recipe::default()
    }

    /// A Windows drive under WSL2: DrvFs, served by Windows over 9P.
    ///
    /// - Once a file was renamed, the attributes of a handle that is still open are ENOENT, until
    ///   somebody looks the new name up (microsoft/WSL #8443, #13105). Reads and writes go on. It
    ///   is Windows' 9P server, not Linux' client: the same client with another server has no such
    ///   fault (#8443).
    /// - `renameat2` with any flag is EINVAL, as on all of 9P (`v9fs_vfs_rename`).
    /// - Times come in steps of 100 ns, as NTFS keeps them (MS-DTYP, FILETIME).
    /// - Hard links work.
    ///
    /// Never [`cached`](Recipe::cached): 9P asks the server each time.
    pub(crate) fn drvfs() -> Recipe {
        Recipe {
            rename_loses_handles: true,
            time_step: Duration::from_nanos(100),
            ..Recipe::plain().no_rename_flags()
        }
    }

    /// link(2) always fails: with EPERM on exFAT and vfat, with EPERM, ENOSYS or EOPNOTSUPP on FUSE.
    ///
    /// A recent kernel (seen on 6.18) makes EPERM of ENOSYS, and asks but once.
    pub(crate) fn no_hard_links(mut self, errno: i32) -> Recipe {
        self.link_errno = Some(errno);
        self
    }

    /// renameat2(2) with any flag fails with EINVAL, as on NFS, 9P and most of FUSE.
    pub(crate) fn no_rename_flags(mut self) -> Recipe {
        self.rename_flags_errno = Some(libc::EINVAL);
        self
    }

    /// Every rename fails: with ENOSYS on mountpoint-s3, with EOPNOTSUPP on Databricks Volumes.
    pub(crate) fn no_rename(mut self, errno: i32) -> Recipe {
        self.rename_errno = Some(errno);
        self
    }

    /// There are no extended attributes: EOPNOTSUPP from NFS before 4.2, vfat, exFAT, many FUSE
    /// servers; ENOSYS from those of libfuse that have no such call.
    ///
    /// The kernel remembers ENOSYS, for each of the four calls, and answers EOPNOTSUPP itself.
    pub(crate) fn no_xattrs(mut self, errno: i32) -> Recipe {
        self.xattr_errno = Some(errno);
        self
    }

    /// A file is written once, from its first byte to its last, by a handle that only writes.
    ///
    /// EINVAL to a write at any other place than the end of what the handle has written, to a write
    /// into what is there already, to any size but zero, and to an open for reading and writing at
    /// once. mountpoint-s3 (its doc/SEMANTICS.md, "File operations") is like that, but for the last:
    /// there the first read or write decides what such a handle is for.
    pub(crate) fn sequential_writes(mut self) -> Recipe {
        self.sequential_writes = true;
        self
    }

    /// A file or directory gets a new inode number each time a name of it is looked up.
    ///
    /// So do FUSE file systems that number what the kernel knows, and forget as soon as it does
    /// (libfuse without `use_ino`). Two `fstat`s of a handle agree, as long as nobody uses the path
    /// in between; a `stat` by path, or a rename, never agrees with what was before.
    pub(crate) fn inodes_change(mut self) -> Recipe {
        self.inodes_change = true;
        self
    }

    /// The mtime stands still from the first write to a file until it is closed, and moves then.
    ///
    /// By path and by handle. It moves by 10 ms or more, so the e_tag of before is never the one of
    /// after, as on SMB3. An mtime that is set by hand is seen at once, and stays.
    pub(crate) fn mtime_settles_at_close(mut self) -> Recipe {
        self.mtime_settles_at_close = true;
        self
    }

    /// The size, too, stays what it was before the first write until the file is closed.
    ///
    /// For mounts that send data only at close. The kernel believes it: appends go astray.
    pub(crate) fn size_settles_at_close(mut self) -> Recipe {
        self.size_settles_at_close = true;
        self
    }

    /// The mtime of a file that is open for writing is not the one it has once it is closed.
    ///
    /// [`mtime_settles_at_close`](Recipe::mtime_settles_at_close) by another name. The size is true
    /// at all times; see [`size_settles_at_close`](Recipe::size_settles_at_close).
    pub(crate) fn attributes_settle_at_close(self) -> Recipe {
        self.mtime_settles_at_close()
    }

    /// Times are cut down to a multiple of `step`: 10 ms on exFAT, 2 s on vfat, 1 s on old NFS servers.
    pub(crate) fn coarse_mtime(mut self, step: Duration) -> Recipe {
        self.time_step = step;
        self
    }

    /// Every request takes at least this long. Others are served in the meantime.
    pub(crate) fn latency(mut self, each: Duration) -> Recipe {
        self.latency = each;
        self
    }

    /// The kernel may keep names, attributes and data for a second, as real FUSE mounts let it.
    ///
    /// For timing. Fewer requests arrive, so faults and counters see less, and quirks of `stat`
    /// show late.
    pub(crate) fn cached(mut self) -> Recipe {
        self.cached = true;
        self
    }

    /// From the beginning, this goes wrong.
    pub(crate) fn fault(mut self, fault: Fault) -> Recipe {
        self.faults.push(fault);
        self
    }

    /// How long the kernel may believe what it was told of a name or a file.
    pub(super) fn ttl(&self) -> Duration {
        match self.caches() {
            true => Duration::from_secs(1),
            false => Duration::ZERO,
        }
    }

    /// Whether the kernel may keep anything.
    pub(super) fn caches(&self) -> bool {
        // A name the kernel believes is not looked up, and the lost handle would stay lost.
        self.cached && !self.rename_loses_handles
    }
}
