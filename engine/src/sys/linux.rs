//! What only Linux has: renameat2, statx with the id of the mount, mountinfo.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{DirStat, MountInfo};

// From linux/stat.h, here because a libc of a user's lock file may be too old to have them.
const STATX_INO: u32 = 0x100;
/// Since Linux 5.8; the id may be used again once the mount is gone.
const STATX_MNT_ID: u32 = 0x1000;
/// Since Linux 6.8; the id is never used again.
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;

/// `struct statx` of linux/stat.h, as far as it is read here; the kernel writes 256 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Statx {
    mask: u32,
    before_ino: [u32; 7],
    ino: u64,
    before_dev: [u32; 24],
    dev_major: u32,
    dev_minor: u32,
    mount_id: u64,
    rest: [u64; 13],
}

const _: () = assert!(std::mem::size_of::<Statx>() == 256);
const _: () = assert!(std::mem::offset_of!(Statx, ino) == 32);
const _: () = assert!(std::mem::offset_of!(Statx, dev_major) == 136);
const _: () = assert!(std::mem::offset_of!(Statx, mount_id) == 144);

fn statx(path: &Path, mask: u32) -> io::Result<Statx> {
    let path = c_string(path)?;
    let mut out = std::mem::MaybeUninit::<Statx>::zeroed();
    // SAFETY: `path` is NUL-terminated and outlives the call; `out` is as large as the kernel's
    // struct, and any bytes are valid in it.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_statx,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_STATX_SYNC_AS_STAT,
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

/// One call gives the directory's identity and that of its mount.
pub(in crate::sys) fn stat_dir(path: &Path) -> io::Result<DirStat> {
    match statx(path, STATX_INO | STATX_MNT_ID_UNIQUE) {
        Ok(s) => Ok(DirStat {
            dev: libc::makedev(s.dev_major, s.dev_minor),
            ino: s.ino,
            mount_id: if s.mask & STATX_MNT_ID_UNIQUE != 0 {
                s.mount_id
            } else {
                0
            },
        }),
        // Before Linux 4.11, or forbidden by a seccomp filter.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            let m = std::fs::metadata(path)?;
            Ok(DirStat {
                dev: m.dev(),
                ino: m.ino(),
                mount_id: 0,
            })
        }
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
    let dir = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(path)?;
    match std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())) {
        Ok(canonical) => Ok(canonical),
        // No /proc.
        Err(_) => std::fs::canonicalize(path),
    }
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
    let fs_type = text(fields.skip_while(|f| *f != b"-").nth(1)?)?.to_owned();
    Some(MountLine {
        id,
        dev,
        info: MountInfo {
            fs_type,
            mount_point,
            root,
        },
    })
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
    fn every_directory_lies_on_a_mount() {
        let dir = std::env::temp_dir();
        let info = mount_info(&dir, &stat_dir(&dir).unwrap()).unwrap();
        assert!(dir.canonicalize().unwrap().starts_with(&info.mount_point));
        assert!(!info.fs_type.is_empty());
    }
}
