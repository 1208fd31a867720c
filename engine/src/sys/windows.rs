//! Windows, by std and a few calls of kernel32.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::FileExt;
use std::os::windows::io::IntoRawHandle;
use std::path::{Path, PathBuf};

use super::{DirStat, MountInfo, Seen, Stat};

/// What an error number means to us (winerror.h).
pub(crate) mod is {
    use std::io;

    const ERROR_FILE_NOT_FOUND: i32 = 2;
    const ERROR_PATH_NOT_FOUND: i32 = 3;
    const ERROR_ACCESS_DENIED: i32 = 5;
    const ERROR_NOT_SAME_DEVICE: i32 = 17;
    const ERROR_SHARING_VIOLATION: i32 = 32;
    const ERROR_NOT_SUPPORTED: i32 = 50;
    const ERROR_NETNAME_DELETED: i32 = 64;
    const ERROR_SEM_TIMEOUT: i32 = 121;
    const ERROR_FILE_EXISTS: i32 = 80;
    const ERROR_ALREADY_EXISTS: i32 = 183;
    const ERROR_FILENAME_EXCED_RANGE: i32 = 206;
    const ERROR_INVALID_FUNCTION: i32 = 1;
    const ERROR_TOO_MANY_LINKS: i32 = 1142;

    fn any_of(e: &io::Error, codes: &[i32]) -> bool {
        e.raw_os_error().is_some_and(|code| codes.contains(&code))
    }

    pub(crate) fn ambiguous(e: &io::Error) -> bool {
        any_of(
            e,
            &[
                ERROR_SHARING_VIOLATION,
                ERROR_NETNAME_DELETED,
                ERROR_SEM_TIMEOUT,
            ],
        )
    }

    pub(crate) fn stale(e: &io::Error) -> bool {
        any_of(e, &[ERROR_NETNAME_DELETED])
    }

    pub(crate) fn interrupted(e: &io::Error) -> bool {
        e.kind() == io::ErrorKind::Interrupted
    }

    pub(crate) fn data_loss(_e: &io::Error) -> bool {
        false
    }

    pub(crate) fn denied(e: &io::Error) -> bool {
        any_of(e, &[ERROR_ACCESS_DENIED])
    }

    pub(crate) fn not_found(e: &io::Error) -> bool {
        any_of(e, &[ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND])
    }

    pub(crate) fn lasting(e: &io::Error) -> bool {
        e.kind() == io::ErrorKind::Unsupported
    }

    pub(crate) fn not_empty(e: &io::Error) -> bool {
        e.kind() == io::ErrorKind::DirectoryNotEmpty
    }

    pub(crate) fn exists(e: &io::Error) -> bool {
        any_of(e, &[ERROR_FILE_EXISTS, ERROR_ALREADY_EXISTS])
    }

    pub(crate) fn name_too_long(e: &io::Error) -> bool {
        any_of(e, &[ERROR_FILENAME_EXCED_RANGE])
    }

    pub(crate) fn unsupported_rename_flags(e: &io::Error) -> bool {
        e.kind() == io::ErrorKind::Unsupported
    }

    pub(crate) fn no_such_call(e: &io::Error) -> bool {
        unsupported_rename_flags(e)
    }

    pub(crate) fn no_rename(e: &io::Error) -> bool {
        any_of(e, &[ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED])
    }

    pub(crate) fn cross_device(e: &io::Error) -> bool {
        any_of(e, &[ERROR_NOT_SAME_DEVICE])
    }

    pub(crate) fn busy(e: &io::Error) -> bool {
        any_of(e, &[ERROR_SHARING_VIOLATION])
    }

    pub(crate) fn locked(_e: &io::Error) -> bool {
        false
    }

    pub(crate) fn unsupported_clone(e: &io::Error) -> bool {
        e.kind() == io::ErrorKind::Unsupported
    }

    pub(crate) fn unsupported_link(e: &io::Error) -> bool {
        any_of(e, &[ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED])
    }

    pub(crate) fn link_limit(e: &io::Error) -> bool {
        any_of(e, &[ERROR_TOO_MANY_LINKS, ERROR_NOT_SAME_DEVICE])
    }

    pub(crate) fn absent(e: &io::Error) -> bool {
        not_found(e)
    }

    pub(crate) fn unsupported_sync(_e: &io::Error) -> bool {
        false
    }
}

/// Errors that this crate makes itself, with the number the system would have used.
pub(crate) mod same_error {
    use std::io;

    pub(crate) fn not_found() -> io::Error {
        io::Error::from_raw_os_error(2)
    }

    pub(crate) fn exists() -> io::Error {
        io::Error::from_raw_os_error(183)
    }

    pub(crate) fn not_permitted() -> io::Error {
        io::Error::from_raw_os_error(5)
    }

    pub(crate) fn stale() -> io::Error {
        io::Error::from_raw_os_error(64)
    }
}

/// std tells no inode on stable Rust, so that "ours" is judged by size and mtime.
pub(super) fn stat(m: &Metadata) -> Stat {
    Stat {
        is_dir: m.is_dir(),
        is_symlink: m.is_symlink(),
        size: m.len(),
        modified: m.modified().ok(),
        changed: (0, 0),
        dev: 0,
        ino: 0,
        nlink: 1,
    }
}

pub(super) fn is_host_lock_dir(_dir: &Stat) -> bool {
    false
}

fn seen(m: &Metadata) -> Seen {
    Seen {
        stat: stat(m),
        is_file: m.is_file(),
        on: DirStat {
            dev: 0,
            ino: 0,
            mount_id: 0,
            is_unique: false,
        },
    }
}

pub(super) fn see_handle(file: &File) -> io::Result<Seen> {
    file.metadata().map(|m| seen(&m))
}

pub(super) fn see(path: &Path) -> io::Result<Seen> {
    std::fs::metadata(path).map(|m| seen(&m))
}

pub(super) fn write_at(file: &File, buf: &[u8], offset: u64) -> io::Result<usize> {
    file.seek_write(buf, offset)
}

pub(super) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    file.seek_read(buf, offset)
}

pub(super) fn close(file: File) -> io::Result<()> {
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn CloseHandle(handle: *mut std::ffi::c_void) -> i32;
    }
    // SAFETY: the handle was owned by `file`, which gave it up; nobody else closes it.
    match unsafe { CloseHandle(file.into_raw_handle()) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Directories cannot be portably opened and synced.
pub(super) fn sync_dir(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Without a name that stays: it goes with its last handle (CreateFileW).
pub(super) fn create_unnamed(path: &Path) -> io::Result<File> {
    use std::os::windows::fs::OpenOptionsExt;
    const FILE_FLAG_DELETE_ON_CLOSE: u32 = 0x0400_0000;
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .custom_flags(FILE_FLAG_DELETE_ON_CLOSE)
        .open(path)
}

pub(super) fn clone_file(_from: &File, _to: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// CopyFileExW takes names, not handles.
pub(super) fn copy_in_kernel(_from: &File, _to: &File, _at: u64, _len: u64) -> io::Result<u64> {
    Ok(0)
}

pub(super) fn set_modified(path: &Path, modified: std::time::SystemTime) -> io::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.set_modified(modified)
}

/// Creations need no lock: NTFS has exclusive steps.
#[derive(Debug)]
pub(super) enum Unlock {}

impl Unlock {
    pub(super) fn record(&self) -> io::Result<OsString> {
        match *self {}
    }

    pub(super) fn set_record(&self, _name: &OsStr) -> io::Result<()> {
        match *self {}
    }
}

pub(super) fn unlock(lock: Unlock) {
    match lock {}
}

pub(super) fn lock_dir(_path: &Path) -> io::Result<Unlock> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn lock_on_host(_byte: u64) -> io::Result<Unlock> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn lock_in_dir(_dir: &Path, _slot: u64) -> io::Result<Unlock> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn remove_lock_in_dir(_dir: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn refresh_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

pub(super) fn fresh_stat(path: &Path) -> io::Result<Stat> {
    std::fs::symlink_metadata(path).map(|m| stat(&m))
}

pub(super) fn has_fine_mtimes() -> bool {
    false
}

pub(super) fn mounts_changed() -> bool {
    false
}

pub(super) fn forget_cached(_file: &File) {}

pub(super) fn may_write_dir(_path: &Path) -> bool {
    true
}

/// The one permission there is would end the writing.
pub(super) fn with_owner(_permissions: Permissions) -> Option<Permissions> {
    None
}

#[link(name = "kernel32")]
unsafe extern "system" {
    fn MoveFileExW(from: *const u16, to: *const u16, flags: u32) -> i32;
    fn GetVolumePathNameW(path: *const u16, root: *mut u16, len: u32) -> i32;
    fn GetVolumeInformationW(
        root: *const u16,
        name: *mut u16,
        name_len: u32,
        serial: *mut u32,
        longest_name: *mut u32,
        flags: *mut u32,
        fs_type: *mut u16,
        fs_type_len: u32,
    ) -> i32;
    fn GetDriveTypeW(root: *const u16) -> u32;
}

fn wide(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
}

fn narrow(wide: &[u16]) -> String {
    let end = wide.iter().position(|c| *c == 0).unwrap_or(wide.len());
    String::from_utf16_lossy(&wide[..end])
}

/// The root of the volume that `path` lies on, with its NUL.
fn volume(path: &Path) -> io::Result<Vec<u16>> {
    let path = wide(path);
    let mut root = vec![0_u16; path.len() + 260];
    // SAFETY: `path` ends with NUL, and `root` has the length that is given; both outlive the call.
    match unsafe { GetVolumePathNameW(path.as_ptr(), root.as_mut_ptr(), root.len() as u32) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(root),
    }
}

/// A device is known by its volume's root; no directory has a number that std tells.
pub(super) fn stat_dir(path: &Path) -> io::Result<DirStat> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    std::fs::metadata(path)?;
    let mut hasher = DefaultHasher::new();
    narrow(&volume(path)?).to_lowercase().hash(&mut hasher);
    Ok(DirStat {
        dev: hasher.finish() | 1,
        ino: 0,
        mount_id: 1,
        is_unique: true,
    })
}

/// Without MOVEFILE_REPLACE_EXISTING it fails where something is, and without
/// MOVEFILE_COPY_ALLOWED it never copies.
pub(super) fn rename_exclusive(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (wide(from), wide(to));
    // SAFETY: both end with NUL and outlive the call.
    match unsafe { MoveFileExW(from.as_ptr(), to.as_ptr(), 0) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A share is told apart from a disk with the same file system.
pub(super) fn mount_info(path: &Path, _dir: &DirStat) -> Option<MountInfo> {
    const DRIVE_REMOTE: u32 = 4;
    let root = volume(path).ok()?;
    let mut fs_type = [0_u16; 64];
    // SAFETY: `root` ends with NUL, `fs_type` has the length that is given, both outlive the call;
    // what is not wanted may be null.
    let told = unsafe {
        GetVolumeInformationW(
            root.as_ptr(),
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            fs_type.as_mut_ptr(),
            fs_type.len() as u32,
        )
    };
    if told == 0 {
        return None;
    }
    // SAFETY: as above.
    let is_remote = unsafe { GetDriveTypeW(root.as_ptr()) } == DRIVE_REMOTE;
    let fs_type = narrow(&fs_type).to_lowercase();
    Some(MountInfo {
        fs_type: match is_remote {
            true => format!("{fs_type} (share)"),
            false => fs_type,
        },
        mount_point: narrow(&root).into(),
        root: "/".into(),
        ..MountInfo::default()
    })
}

pub(super) fn canonical_dir(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}
