//! What only Linux has: renameat2, statx with the id of the mount, mountinfo.

use std::ffi::{CStr, CString, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use super::unix::{seen, stat};
use super::{DirStat, MountInfo, Seen, Stat};

// From linux/stat.h, here because a libc of a user's lock file may be too old to have them.
const STATX_INO: u32 = 0x100;
/// What stat(2) tells.
const STATX_BASIC_STATS: u32 = 0x7ff;
/// Since Linux 5.8; the id may be used again once the mount is gone.
const STATX_MNT_ID: u32 = 0x1000;
/// Since Linux 6.8; the id is never used again.
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
/// The kernel gives the best that it has.
const MOUNT_IDS: u32 = STATX_MNT_ID | STATX_MNT_ID_UNIQUE;

/// `struct statx` of linux/stat.h, as far as it is read here; the kernel writes 256 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Statx {
    mask: u32,
    before_nlink: [u32; 3],
    nlink: u32,
    owners: [u32; 2],
    mode: u16,
    ino: u64,
    size: u64,
    before_ctime: [u64; 6],
    ctime: StatxTime,
    mtime: StatxTime,
    special_device: [u32; 2],
    dev_major: u32,
    dev_minor: u32,
    mount_id: u64,
    rest: [u64; 13],
}

/// `struct statx_timestamp`.
#[repr(C)]
#[derive(Clone, Copy)]
struct StatxTime {
    seconds: i64,
    nanos: u32,
    reserved: i32,
}

const _: () = assert!(std::mem::size_of::<Statx>() == 256);
const _: () = assert!(std::mem::offset_of!(Statx, nlink) == 16);
const _: () = assert!(std::mem::offset_of!(Statx, mode) == 28);
const _: () = assert!(std::mem::offset_of!(Statx, ino) == 32);
const _: () = assert!(std::mem::offset_of!(Statx, ctime) == 96);
const _: () = assert!(std::mem::offset_of!(Statx, mtime) == 112);
const _: () = assert!(std::mem::offset_of!(Statx, dev_major) == 136);
const _: () = assert!(std::mem::offset_of!(Statx, mount_id) == 144);

impl Statx {
    fn dir(&self) -> DirStat {
        let known = self.mask & (STATX_MNT_ID | STATX_MNT_ID_UNIQUE) != 0;
        DirStat {
            dev: libc::makedev(self.dev_major, self.dev_minor),
            ino: self.ino,
            mount_id: if known { self.mount_id } else { 0 },
            is_unique: self.mask & STATX_MNT_ID_UNIQUE != 0,
        }
    }

    fn is_symlink(&self) -> bool {
        u32::from(self.mode) & libc::S_IFMT == libc::S_IFLNK
    }

    fn seen(&self) -> Seen {
        let dev = libc::makedev(self.dev_major, self.dev_minor);
        let kind = u32::from(self.mode) & libc::S_IFMT;
        Seen {
            stat: Stat {
                is_dir: kind == libc::S_IFDIR,
                is_symlink: false,
                size: self.size,
                modified: self.mtime.system_time(),
                changed: (self.ctime.seconds, i64::from(self.ctime.nanos)),
                dev,
                ino: self.ino,
                nlink: u64::from(self.nlink),
            },
            is_file: kind == libc::S_IFREG,
            on: self.dir(),
        }
    }
}

impl StatxTime {
    fn system_time(&self) -> Option<SystemTime> {
        let seconds = Duration::from_secs(self.seconds.unsigned_abs());
        let whole = match self.seconds {
            0.. => SystemTime::UNIX_EPOCH.checked_add(seconds),
            _ => SystemTime::UNIX_EPOCH.checked_sub(seconds),
        };
        whole?.checked_add(Duration::from_nanos(u64::from(self.nanos)))
    }
}

/// What is at `path`, symlinks followed.
fn statx(path: &Path, mask: u32) -> io::Result<Statx> {
    statx_at(libc::AT_FDCWD, &c_string(path)?, 0, mask)
}

fn statx_at(at: RawFd, path: &CStr, flags: libc::c_int, mask: u32) -> io::Result<Statx> {
    let mut out = std::mem::MaybeUninit::<Statx>::zeroed();
    // SAFETY: `path` is NUL-terminated and outlives the call; `out` is as large as the kernel's
    // struct, and any bytes are valid in it.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_statx,
            at,
            path.as_ptr(),
            libc::AT_STATX_SYNC_AS_STAT | flags,
            mask,
            out.as_mut_ptr(),
        )
    };
    match rc {
        // SAFETY: zeroed above, and filled in by the kernel.
        0 => Ok(unsafe { out.assume_init() }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// From fcntl.h, as above.
const AT_STATX_FORCE_SYNC: libc::c_int = 0x2000;

/// NFS looks names up anew in a directory that it finds to be changed.
pub(in crate::sys) fn refresh_dir(dir: &Path) -> io::Result<()> {
    let asked = statx_at(
        libc::AT_FDCWD,
        &c_string(dir)?,
        AT_STATX_FORCE_SYNC,
        STATX_BASIC_STATS,
    );
    match asked {
        Err(e) if is_no_statx(&e) => std::fs::metadata(dir).map(|_| ()),
        asked => asked.map(|_| ()),
    }
}

pub(in crate::sys) fn fresh_stat(path: &Path) -> io::Result<Stat> {
    let flags = AT_STATX_FORCE_SYNC | libc::AT_SYMLINK_NOFOLLOW;
    match statx_at(libc::AT_FDCWD, &c_string(path)?, flags, STATX_BASIC_STATS) {
        Ok(s) => Ok(Stat {
            is_symlink: s.is_symlink(),
            ..s.seen().stat
        }),
        Err(e) if is_no_statx(&e) => std::fs::symlink_metadata(path).map(|m| stat(&m)),
        Err(e) => Err(e),
    }
}

/// One call gives the directory's identity and that of its mount.
pub(in crate::sys) fn stat_dir(path: &Path) -> io::Result<DirStat> {
    match statx(path, STATX_INO | MOUNT_IDS) {
        Ok(s) => Ok(s.dir()),
        Err(e) if is_no_statx(&e) => {
            let m = std::fs::metadata(path)?;
            Ok(DirStat {
                dev: m.dev(),
                ino: m.ino(),
                mount_id: 0,
                is_unique: false,
            })
        }
        Err(e) => Err(e),
    }
}

/// Before Linux 4.11, or forbidden by a seccomp filter.
fn is_no_statx(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

pub(in crate::sys) fn see_handle(file: &File) -> io::Result<Seen> {
    let mask = STATX_BASIC_STATS | MOUNT_IDS;
    match statx_at(file.as_raw_fd(), c"", libc::AT_EMPTY_PATH, mask) {
        Ok(s) => Ok(s.seen()),
        Err(e) if is_no_statx(&e) => file.metadata().map(|m| seen(&m)),
        Err(e) => Err(e),
    }
}

pub(in crate::sys) fn see(path: &Path) -> io::Result<Seen> {
    match statx(path, STATX_BASIC_STATS | MOUNT_IDS) {
        Ok(s) => Ok(s.seen()),
        Err(e) if is_no_statx(&e) => std::fs::metadata(path).map(|m| seen(&m)),
        Err(e) => Err(e),
    }
}

pub(in crate::sys) fn rename_exclusive(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (c_string(from)?, c_string(to)?);
    // SAFETY: both are NUL-terminated strings that outlive the call. By number, because musl had
    // no wrapper before 1.2.4.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    match rc {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// By the id of the mount where the kernel tells it, else by device number, which a subvolume of
/// btrfs does not share with its line in mountinfo (proc_pid_mountinfo(5)).
pub(in crate::sys) fn mount_info(path: &Path, dir: &DirStat) -> Option<MountInfo> {
    let id = statx(path, STATX_MNT_ID)
        .ok()
        .filter(|s| s.mask & STATX_MNT_ID != 0)
        .map(|s| s.mount_id);
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    let mounts = || {
        table
            .split(|b| *b == b'\n')
            .filter_map(parse_mountinfo_line)
    };
    let found = match id {
        Some(id) => mounts().find(|m| m.id == id),
        None => mounts()
            .filter(|m| m.dev == dir.dev && path.starts_with(&m.info.mount_point))
            .max_by_key(|m| m.info.mount_point.as_os_str().len()),
    };
    found.map(|m| m.info)
}

/// One walk of the path and one look at /proc, where realpath(3) asks about every component.
pub(in crate::sys) fn canonical_dir(path: &Path) -> io::Result<PathBuf> {
    let dir = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(path)?;
    match std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())) {
        Ok(canonical) => Ok(canonical),
        // No /proc.
        Err(_) => std::fs::canonicalize(path),
    }
}

/// Without a name where the file system can (O_TMPFILE, open(2)), else with one for a moment.
pub(in crate::sys) fn create_unnamed(path: &Path) -> io::Result<File> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let unnamed = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE)
        .open(dir);
    match unnamed {
        Err(e)
            if matches!(
                e.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)
            ) => {}
        done => return done,
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .create_new(true)
        .open(path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

pub(in crate::sys) fn clone_file(from: &File, to: &File) -> io::Result<()> {
    // linux/fs.h: _IOW(0x94, 9, int). Not in libc for every target.
    const FICLONE: u32 = 0x4004_9409;
    // SAFETY: two open descriptors; the call takes no pointer.
    match unsafe { libc::ioctl(to.as_raw_fd(), FICLONE as _, from.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// For as long as it goes: the rest is the caller's.
pub(in crate::sys) fn copy_in_kernel(
    from: &File,
    to: &File,
    offset: u64,
    len: u64,
) -> io::Result<u64> {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    let (mut read_at, mut write_at) = (0_i64, offset as i64);
    while (read_at as u64) < len {
        // At most 2 GiB are copied by one call.
        let rest = (len - read_at as u64).min(1 << 30) as usize;
        // SAFETY: two open descriptors and two offsets that outlive the call. By number, because
        // glibc had no wrapper before 2.27.
        let copied = unsafe {
            libc::syscall(
                libc::SYS_copy_file_range,
                from,
                &raw mut read_at,
                to,
                &raw mut write_at,
                rest,
                0_u32,
            )
        };
        match copied {
            // The end; some file systems say so at once, of files that have bytes (copy_file_range
            // (2), "BUGS").
            0 => break,
            -1 => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e if super::is::full(&e) => return Err(e),
                // The file systems cannot, or something passes: the other way will tell.
                _ => break,
            },
            _ => {}
        }
    }
    Ok(read_at as u64)
}

/// Since Linux 6.13.
pub(in crate::sys) fn has_fine_mtimes() -> bool {
    static FINE: LazyLock<bool> = LazyLock::new(|| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
        release.is_ok_and(|release| is_since(&release, (6, 13)))
    });
    *FINE
}

/// `6.13.0-rc1+` is 6.13.
fn is_since(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|digits| digits.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) >= version,
        _ => false,
    }
}

/// The file tells by poll(2) that the table has changed since it was last asked
/// (proc_pid_mounts(5)).
pub(in crate::sys) fn mounts_changed() -> bool {
    static TABLE: LazyLock<Option<File>> =
        LazyLock::new(|| File::open("/proc/self/mountinfo").ok());
    let Some(table) = &*TABLE else {
        return true;
    };
    let mut poll = libc::pollfd {
        fd: table.as_raw_fd(),
        events: libc::POLLPRI,
        revents: 0,
    };
    // SAFETY: one pollfd, which outlives the call.
    let answered = unsafe { libc::poll(&mut poll, 1, 0) };
    answered < 0 || poll.revents != 0
}

struct MountLine {
    id: u64,
    dev: u64,
    info: MountInfo,
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_mountinfo_line(line: &[u8]) -> Option<MountLine> {
    let mut fields = line.split(|b| *b == b' ');
    let id = text(fields.next()?)?.parse().ok()?;
    let _parent = fields.next()?;
    let (major, minor) = text(fields.next()?)?.split_once(':')?;
    let dev = libc::makedev(major.parse().ok()?, minor.parse().ok()?);
    let root = unescape(fields.next()?);
    let mount_point = unescape(fields.next()?);
    let of_mount = text(fields.next()?)?;
    let mut fields = fields.skip_while(|f| *f != b"-").skip(1);
    let fs_type = text(fields.next()?)?.to_owned();
    let source = fields.next().map(unescape).unwrap_or_default();
    let of_fs = fields.next().and_then(text).unwrap_or_default();
    Some(MountLine {
        id,
        dev,
        info: MountInfo {
            fs_type,
            source: source.to_string_lossy().into_owned(),
            options: joined(of_mount, of_fs),
            mount_point,
            root,
        },
    })
}

/// The options of the mount, then those of the file system that are not among them.
fn joined(of_mount: &str, of_fs: &str) -> String {
    let mut all: Vec<&str> = of_mount.split(',').collect();
    for option in of_fs.split(',') {
        if !option.is_empty() && !all.contains(&option) {
            all.push(option);
        }
    }
    all.join(",")
}

fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok()
}

/// Space, tab, newline and backslash stand as octal, `\040`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(text(digits)?, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mountinfo_line_is_read_whole() {
        let line =
            br"36 35 98:3 /mnt1 /with\040space rw,noatime master:1 shared:7 - fuse.sshfs me@host:/ rw";
        let m = parse_mountinfo_line(line).unwrap();
        assert_eq!(m.id, 36);
        assert_eq!(m.dev, libc::makedev(98, 3));
        assert_eq!(m.info.fs_type, "fuse.sshfs");
        assert_eq!(m.info.source, "me@host:/");
        assert_eq!(m.info.options, "rw,noatime");
        assert_eq!(m.info.mount_point, Path::new("/with space"));
        assert_eq!(m.info.root, Path::new("/mnt1"));
    }

    #[test]
    fn a_mountinfo_line_that_is_cut_is_no_mount() {
        let line = b"36 35 98:3 / /mnt rw,noatime - ext4 /dev/root rw";
        for cut in 0..line.len() - " /dev/root rw".len() - "ext4".len() {
            assert!(parse_mountinfo_line(&line[..cut]).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn one_call_tells_what_std_tells() {
        let dir = std::env::temp_dir();
        let path = dir.join(format!("localfs-seen-{}", std::process::id()));
        std::fs::write(&path, "seven b").unwrap();
        let file = File::open(&path).unwrap();
        for seconds in [0, 1, 1_700_000_000] {
            let nanos = Duration::new(seconds, 123_456_789);
            for modified in [
                SystemTime::UNIX_EPOCH + nanos,
                SystemTime::UNIX_EPOCH - nanos,
            ] {
                file.set_modified(modified).unwrap();
                let told = seen(&std::fs::metadata(&path).unwrap());
                for now in [see(&path).unwrap(), see_handle(&file).unwrap()] {
                    assert_eq!(now.stat, told.stat);
                    assert!(now.is_file);
                    assert_eq!(now.on.mount_id, stat_dir(&dir).unwrap().mount_id);
                }
            }
        }
        std::fs::remove_file(&path).unwrap();
        assert!(see(&dir).unwrap().stat.is_dir && !see(&dir).unwrap().is_file);
        assert_eq!(see(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_release_is_read_as_a_version() {
        for (release, is) in [
            ("6.13.0", true),
            ("6.13-rc1", true),
            ("6.18.44-fc-v657\n", true),
            ("7.0.1", true),
            ("10.2", true),
            ("6.12.9", false),
            ("6.1.192-2", false),
            ("5.15.0-1-amd64", false),
            ("", false),
            ("x", false),
        ] {
            assert_eq!(is_since(release, (6, 13)), is, "{release}");
        }
    }

    #[test]
    fn every_directory_lies_on_a_mount() {
        let dir = std::env::temp_dir();
        let info = mount_info(&dir, &stat_dir(&dir).unwrap()).unwrap();
        assert!(dir.canonicalize().unwrap().starts_with(&info.mount_point));
        assert!(!info.fs_type.is_empty());
    }
}
