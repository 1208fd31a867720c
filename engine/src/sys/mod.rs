//! System calls, one function each, by platform. Every one of them passes the [fault
//! seam](crate::fault), so that a test can fail or delay it.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::fault::{Call, Op, around};

pub(crate) mod dir;
#[cfg(target_os = "linux")]
mod dir_lock;
#[cfg(unix)]
mod host_lock;
#[cfg(target_os = "linux")]
mod linux;
pub(crate) mod process;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
pub(crate) mod xattr;

#[cfg(unix)]
use unix as platform;
#[cfg(windows)]
use windows as platform;

pub(crate) use platform::{is, same_error};

/// What a file system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) is_dir: bool,
    /// Never of a look that follows symlinks.
    pub(crate) is_symlink: bool,
    pub(crate) size: u64,
    pub(crate) modified: Option<SystemTime>,
    /// Seconds and nanoseconds of the last change of the inode; zero where there is none.
    pub(crate) changed: (i64, i64),
    /// Zero where the platform has none.
    pub(crate) dev: u64,
    /// Zero where the platform has none.
    pub(crate) ino: u64,
    /// One where the platform has none.
    pub(crate) nlink: u64,
}

/// A directory, as the path lock and the table of mounts need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirStat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    /// Tells apart two mounts that had one device number after each other; zero if unknown.
    pub(crate) mount_id: u64,
    /// Whether that id is never used again.
    pub(crate) is_unique: bool,
}

/// What the kernel says of a mount.
#[derive(Debug, Clone, Default)]
pub(crate) struct MountInfo {
    pub(crate) fs_type: String,
    /// What is mounted.
    pub(crate) source: String,
    /// Of the mount and of the file system, with commas between.
    pub(crate) options: String,
    /// Where it is mounted.
    pub(crate) mount_point: std::path::PathBuf,
    /// Which directory of the file system is mounted there: not `/` for a bind mount.
    pub(crate) root: std::path::PathBuf,
}

/// A file as a reader sees it: one call tells all of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) stat: Stat,
    pub(crate) is_file: bool,
    /// What its mount is known by.
    pub(crate) on: DirStat,
}

/// What a directory says of an entry by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dir,
    Symlink,
    /// A file, or what is to be looked at.
    Other,
}

/// An entry of a directory.
#[derive(Debug)]
pub(crate) struct DirEntry {
    pub(crate) name: OsString,
    pub(crate) kind: Kind,
}

/// Creates a file for writing, which must not be there yet. Never for reading too: a mount of a
/// bucket may refuse that.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    around(Call::new(Op::Create, path), || {
        OpenOptions::new().write(true).create_new(true).open(path)
    })
}

pub(crate) fn open_write(path: &Path) -> io::Result<File> {
    around(Call::new(Op::Open, path), || {
        OpenOptions::new().write(true).open(path)
    })
}

/// Opens an empty file for writing: created, or what was there is cut off.
pub(crate) fn create_or_truncate(path: &Path) -> io::Result<File> {
    around(Call::new(Op::Open, path), || {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
    })
}

/// A file for writing and reading that has no name and goes with its last handle. Where the system
/// has no such files it is at `path` for a moment.
pub(crate) fn create_unnamed(path: &Path) -> io::Result<File> {
    around(Call::new(Op::Create, path), || {
        platform::create_unnamed(path)
    })
}

pub(crate) fn open_read(path: &Path) -> io::Result<File> {
    around(Call::new(Op::Open, path), || File::open(path))
}

/// Writes some of `buf` at `offset`, wherever the file's position is, and says how much.
pub(crate) fn write_at(file: &File, path: &Path, buf: &[u8], offset: u64) -> io::Result<usize> {
    around(Call::new(Op::Write, path), || {
        match platform::write_at(file, buf, offset) {
            Ok(0) if !buf.is_empty() => Err(io::ErrorKind::WriteZero.into()),
            written => written,
        }
    })
}

/// Reads into `buf` at `offset`; fewer bytes than asked for only at the end of the file.
pub(crate) fn read_at(file: &File, path: &Path, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    around(Call::new(Op::Read, path), || {
        let mut filled = 0;
        while filled < buf.len() {
            match platform::read_at(file, &mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    })
}

/// Makes the empty file `to` share the extents of `from` (ioctl_ficlone(2)). An error for which
/// [`is::unsupported_clone`] holds says that the file system cannot.
pub(crate) fn clone_file(from: &File, to: &File, path: &Path) -> io::Result<()> {
    around(Call::new(Op::CopyRange, path), || {
        platform::clone_file(from, to)
    })
}

/// Copies the first `len` bytes of `from` to `to`, where they begin at `offset`, inside the kernel
/// or on the server (copy_file_range(2)). Says how many bytes that were; what is missing is to be
/// written.
pub(crate) fn copy_in_kernel(
    from: &File,
    to: &File,
    path: &Path,
    offset: u64,
    len: u64,
) -> io::Result<u64> {
    around(Call::new(Op::CopyRange, path), || {
        platform::copy_in_kernel(from, to, offset, len)
    })
}

/// Gives `to` the permissions of `from`; `while_written` with the owner's besides, since a handle that
/// goes stale is opened again.
pub(crate) fn copy_permissions(from: &File, to: &File, while_written: bool) -> io::Result<()> {
    let permissions = from.metadata()?.permissions();
    match while_written {
        true => match platform::with_owner(permissions) {
            Some(permissions) => to.set_permissions(permissions),
            None => Ok(()),
        },
        false => to.set_permissions(permissions),
    }
}

/// Sets the mtime of the file at `path`.
pub(crate) fn set_modified(path: &Path, modified: SystemTime) -> io::Result<()> {
    around(Call::new(Op::SetTimes, path), || {
        platform::set_modified(path, modified)
    })
}

pub(crate) fn sync(file: &File, path: &Path) -> io::Result<()> {
    around(Call::new(Op::Sync, path), || file.sync_all())
}

/// Makes the entries of a directory durable. A no-op where directories cannot be opened. An error
/// for which [`is::unsupported_sync`] holds says that the file system has no such thing.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    around(Call::new(Op::SyncDir, path), || platform::sync_dir(path))
}

/// Drops what the page cache holds of a synced file, so that the next read asks the device or the
/// server. Best effort.
pub(crate) fn forget_cached(file: &File) {
    platform::forget_cached(file);
}

/// Closes, and says what `Drop` of a [`File`] hides: on NFS, SMB and FUSE this is where lost data
/// is reported (close(2), "Dealing with error returns from close()").
pub(crate) fn close(file: File, path: &Path) -> io::Result<()> {
    around(Call::new(Op::Close, path), || platform::close(file))
}

/// What an open handle's file is. Never to be asked after a rename of that file.
pub(crate) fn stat_handle(file: &File, path: &Path) -> io::Result<Stat> {
    around(Call::new(Op::StatHandle, path), || {
        file.metadata().map(|m| platform::stat(&m))
    })
}

/// What is at `path`, a symlink itself included.
pub(crate) fn stat(path: &Path) -> io::Result<Stat> {
    around(Call::new(Op::Stat, path), || {
        std::fs::symlink_metadata(path).map(|m| platform::stat(&m))
    })
}

/// What an open handle's file is, and on which mount.
pub(crate) fn see_handle(file: &File, path: &Path) -> io::Result<Seen> {
    around(Call::new(Op::StatHandle, path), || {
        platform::see_handle(file)
    })
}

/// What is at `path`, symlinks followed, and on which mount.
pub(crate) fn see(path: &Path) -> io::Result<Seen> {
    around(Call::new(Op::Stat, path), || platform::see(path))
}

/// All entries of a directory, in the file system's order. What vanishes meanwhile may be left out.
pub(crate) fn read_dir(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut dir = around(Call::new(Op::OpenDir, path), || std::fs::read_dir(path))?;
    let mut entries = Vec::new();
    let mut next = || around(Call::new(Op::ReadDir, path), || dir.next().transpose());
    while let Some(entry) = next()? {
        // Another call only where the file system does not say.
        let kind = match entry.file_type() {
            Ok(kind) if kind.is_dir() => Kind::Dir,
            Ok(kind) if kind.is_symlink() => Kind::Symlink,
            Ok(_) => Kind::Other,
            Err(e) if is::not_found(&e) => continue,
            Err(e) => return Err(e),
        };
        let name = entry.file_name();
        entries.push(DirEntry { name, kind });
    }
    Ok(entries)
}

/// What the directory at `path` is, symlinks followed.
pub(crate) fn stat_dir(path: &Path) -> io::Result<DirStat> {
    around(Call::new(Op::StatDir, path), || platform::stat_dir(path))
}

pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    around(Call::between(Op::Rename, from, to), || {
        std::fs::rename(from, to)
    })
}

/// Renames if nothing is at `to`. An error for which [`is::unsupported_rename_flags`] holds says
/// that the kernel or the file system cannot.
pub(crate) fn rename_exclusive(from: &Path, to: &Path) -> io::Result<()> {
    around(Call::between(Op::RenameExclusive, from, to), || {
        platform::rename_exclusive(from, to)
    })
}

pub(crate) fn link(from: &Path, to: &Path) -> io::Result<()> {
    around(Call::between(Op::Link, from, to), || {
        std::fs::hard_link(from, to)
    })
}

pub(crate) fn unlink(path: &Path) -> io::Result<()> {
    around(Call::new(Op::Unlink, path), || std::fs::remove_file(path))
}

pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
    around(Call::new(Op::CreateDir, path), || {
        std::fs::create_dir_all(path)
    })
}

pub(crate) fn remove_dir(path: &Path) -> io::Result<()> {
    around(Call::new(Op::RemoveDir, path), || std::fs::remove_dir(path))
}

/// Whether this process may create and remove entries in the directory `path`; `true` if unknown.
pub(crate) fn may_write_dir(path: &Path) -> bool {
    platform::may_write_dir(path)
}

/// The mount that the directory `path` lies on, or `None` where the system does not tell.
pub(crate) fn mount_info(path: &Path, dir: &DirStat) -> Option<MountInfo> {
    platform::mount_info(path, dir)
}

/// An advisory lock, held by the kernel until this is dropped or the process is gone.
#[derive(Debug)]
pub(crate) struct HeldLock(Option<platform::Unlock>);

impl Drop for HeldLock {
    fn drop(&mut self) {
        if let Some(unlock) = self.0.take() {
            platform::unlock(unlock);
        }
    }
}

impl HeldLock {
    /// Of a lock in a directory: the name of the file that its last holder was to publish and did not
    /// say what became of; empty if there is none.
    pub(crate) fn record(&self, path: &Path) -> io::Result<OsString> {
        around(Call::new(Op::Lock, path), || match &self.0 {
            Some(lock) => lock.record(),
            None => Ok(OsString::new()),
        })
    }

    /// Is with the server when it returns, and is taken away when the lock is.
    pub(crate) fn set_record(&self, name: &OsStr, path: &Path) -> io::Result<()> {
        around(Call::new(Op::Lock, path), || match &self.0 {
            Some(lock) => lock.set_record(name),
            None => Ok(()),
        })
    }
}

/// Locks a byte of this host's lock file, for `path`. Never waits: an error for which
/// [`is::locked`] holds says that somebody has it.
pub(crate) fn lock_on_host(byte: u64, path: &Path) -> io::Result<HeldLock> {
    around(Call::new(Op::Lock, path), || {
        platform::lock_on_host(byte).map(|lock| HeldLock(Some(lock)))
    })
}

/// Locks the directory `path` as a whole, by flock(2). Never waits.
pub(crate) fn lock_dir(path: &Path) -> io::Result<HeldLock> {
    around(Call::new(Op::Lock, path), || {
        platform::lock_dir(path).map(|lock| HeldLock(Some(lock)))
    })
}

/// So many locks a directory's lock file has.
pub(crate) const SLOTS: u64 = 4096;

/// Takes one of the locks in the directory `dir`, whose lock file is made if it is missing, for
/// `path`: for all hosts, as far as the server keeps what it grants. Never waits.
pub(crate) fn lock_in_dir(dir: &Path, slot: u64, path: &Path) -> io::Result<HeldLock> {
    around(Call::new(Op::Lock, path), || {
        platform::lock_in_dir(dir, slot).map(|lock| HeldLock(Some(lock)))
    })
}

/// Removes the lock file of the directory `dir`, unless somebody has locked a byte of it.
pub(crate) fn remove_lock_in_dir(dir: &Path) -> io::Result<()> {
    around(Call::new(Op::Lock, dir), || {
        platform::remove_lock_in_dir(dir)
    })
}

/// Has the kernel ask the server about the directory `dir`, so that names in it which another host
/// has changed are looked up anew.
pub(crate) fn refresh_dir(dir: &Path) -> io::Result<()> {
    around(Call::new(Op::StatDir, dir), || platform::refresh_dir(dir))
}

/// As [`stat`], by what the server says now and not by what is cached.
pub(crate) fn fresh_stat(path: &Path) -> io::Result<Stat> {
    around(Call::new(Op::Stat, path), || platform::fresh_stat(path))
}

/// Whether the table of mounts has changed since this was last asked. Always no where the system
/// does not tell.
pub(crate) fn mounts_changed() -> bool {
    platform::mounts_changed()
}

/// Whether the kernel has mtimes that are as fine as its clock, on the file systems that have them.
pub(crate) fn has_fine_mtimes() -> bool {
    platform::has_fine_mtimes()
}

/// Whether this host's lock file is in the directory that is `dir`.
pub(crate) fn is_host_lock_dir(dir: &Stat) -> bool {
    platform::is_host_lock_dir(dir)
}

/// The directory's path with no symlink in it.
pub(crate) fn canonical_dir(path: &Path) -> io::Result<std::path::PathBuf> {
    platform::canonical_dir(path)
}
