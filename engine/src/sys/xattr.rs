//! Extended attributes of an open file (xattr(7)). Where the system has none, or has them by other
//! calls, every one of these answers that it is not supported.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::fault::{Call, Op, around};

/// All names, as far as this process may see them.
pub(crate) fn list(file: &File, path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let names = around(Call::new(Op::ListXattr, path), || platform::list(file))?;
    let names = names.split(|byte| *byte == 0);
    Ok(names
        .filter(|n| !n.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// A value; `None` if there is no attribute of this name.
pub(crate) fn get(file: &File, path: &Path, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let got = around(Call::new(Op::GetXattr, path), || platform::get(file, name));
    absent_is_none(got)
}

pub(crate) fn set(file: &File, path: &Path, name: &[u8], value: &[u8]) -> io::Result<()> {
    around(Call::new(Op::SetXattr, path), || {
        platform::set(file, name, value)
    })
}

/// That there is none is as good.
pub(crate) fn remove(file: &File, path: &Path, name: &[u8]) -> io::Result<()> {
    let removed = around(Call::new(Op::RemoveXattr, path), || {
        platform::remove(file, name)
    });
    absent_is_none(removed).map(|_| ())
}

fn absent_is_none<T>(answer: io::Result<T>) -> io::Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(e) if platform::is_absent(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The mount has none, or none of this kind (xattr(7): ENOTSUP). FUSE servers answer ENOSYS, which
/// the kernel remembers.
pub(crate) fn unsupported(e: &io::Error) -> bool {
    super::is::no_such_call(e) || e.kind() == io::ErrorKind::Unsupported
}

/// More than the file system takes, or than there is room for.
pub(crate) fn too_large(e: &io::Error) -> bool {
    platform::is_too_large(e)
}

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "ios"
))]
use unix as platform;

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "ios"
))]
mod unix {
    use std::ffi::{CString, c_void};
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;

    /// What is asked for first: one call for nearly all.
    const FIRST: usize = 1 << 10;
    /// Linux has 64 KiB at most (XATTR_SIZE_MAX), macOS more.
    const MOST: usize = 16 << 20;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    const NO_ATTRIBUTE: i32 = libc::ENODATA;
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    const NO_ATTRIBUTE: i32 = libc::ENOATTR;

    pub(super) fn is_absent(e: &io::Error) -> bool {
        e.raw_os_error() == Some(NO_ATTRIBUTE)
    }

    /// setxattr(2), ext4's included: ENOSPC where its block for them is full. A name that is too
    /// long is ERANGE on Linux, ENAMETOOLONG on macOS.
    pub(super) fn is_too_large(e: &io::Error) -> bool {
        let codes = [
            libc::E2BIG,
            libc::ERANGE,
            libc::ENOSPC,
            libc::EDQUOT,
            libc::EFBIG,
            libc::ENAMETOOLONG,
        ];
        e.raw_os_error().is_some_and(|code| codes.contains(&code))
    }

    /// What a call writes into a buffer, which grows until it is large enough.
    fn read(call: impl Fn(*mut c_void, usize) -> isize) -> io::Result<Vec<u8>> {
        let mut first = [0_u8; FIRST];
        let mut more = Vec::new();
        let mut buffer = &mut first[..];
        loop {
            let written = call(buffer.as_mut_ptr().cast(), buffer.len());
            if let Ok(written) = usize::try_from(written) {
                return Ok(buffer[..written].to_vec());
            }
            let e = io::Error::last_os_error();
            if e.raw_os_error() != Some(libc::ERANGE) || buffer.len() >= MOST {
                return Err(e);
            }
            let larger = buffer.len() << 4;
            more.resize(larger, 0);
            buffer = &mut more;
        }
    }

    fn check(answer: libc::c_int) -> io::Result<()> {
        match answer {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn list(file: &File) -> io::Result<Vec<u8>> {
        // SAFETY: an open descriptor, and a buffer of `size` bytes.
        read(|buffer, size| unsafe { libc::flistxattr(file.as_raw_fd(), buffer.cast(), size) })
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn get(file: &File, name: &[u8]) -> io::Result<Vec<u8>> {
        let name = CString::new(name)?;
        // SAFETY: an open descriptor, a NUL-terminated name, and a buffer of `size` bytes.
        read(|buffer, size| unsafe {
            libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), buffer, size)
        })
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn set(file: &File, name: &[u8], value: &[u8]) -> io::Result<()> {
        let name = CString::new(name)?;
        let (fd, value, size) = (file.as_raw_fd(), value.as_ptr().cast(), value.len());
        // SAFETY: an open descriptor, a NUL-terminated name, and a value with its length.
        check(unsafe { libc::fsetxattr(fd, name.as_ptr(), value, size, 0) })
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn remove(file: &File, name: &[u8]) -> io::Result<()> {
        let name = CString::new(name)?;
        // SAFETY: an open descriptor and a NUL-terminated name.
        check(unsafe { libc::fremovexattr(file.as_raw_fd(), name.as_ptr()) })
    }

    // getxattr(2) of macOS: a position, of resource forks, and options besides.

    #[cfg(any(target_os = "macos", target_os = "ios"))]
    pub(super) fn list(file: &File) -> io::Result<Vec<u8>> {
        // SAFETY: an open descriptor, and a buffer of `size` bytes.
        read(|buffer, size| unsafe { libc::flistxattr(file.as_raw_fd(), buffer.cast(), size, 0) })
    }

    #[cfg(any(target_os = "macos", target_os = "ios"))]
    pub(super) fn get(file: &File, name: &[u8]) -> io::Result<Vec<u8>> {
        let name = CString::new(name)?;
        // SAFETY: an open descriptor, a NUL-terminated name, and a buffer of `size` bytes.
        read(|buffer, size| unsafe {
            libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), buffer, size, 0, 0)
        })
    }

    #[cfg(any(target_os = "macos", target_os = "ios"))]
    pub(super) fn set(file: &File, name: &[u8], value: &[u8]) -> io::Result<()> {
        let name = CString::new(name)?;
        let (fd, value, size) = (file.as_raw_fd(), value.as_ptr().cast(), value.len());
        // SAFETY: an open descriptor, a NUL-terminated name, and a value with its length.
        check(unsafe { libc::fsetxattr(fd, name.as_ptr(), value, size, 0, 0) })
    }

    #[cfg(any(target_os = "macos", target_os = "ios"))]
    pub(super) fn remove(file: &File, name: &[u8]) -> io::Result<()> {
        let name = CString::new(name)?;
        // SAFETY: an open descriptor and a NUL-terminated name.
        check(unsafe { libc::fremovexattr(file.as_raw_fd(), name.as_ptr(), 0) })
    }
}

/// Windows has them behind other calls (NtSetEaFile) and with other names, the BSDs with others.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "ios"
)))]
mod platform {
    use std::fs::File;
    use std::io;

    fn unsupported<T>() -> io::Result<T> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn is_absent(_e: &io::Error) -> bool {
        false
    }

    pub(super) fn is_too_large(_e: &io::Error) -> bool {
        false
    }

    pub(super) fn list(_file: &File) -> io::Result<Vec<u8>> {
        unsupported()
    }

    pub(super) fn get(_file: &File, _name: &[u8]) -> io::Result<Vec<u8>> {
        unsupported()
    }

    pub(super) fn set(_file: &File, _name: &[u8], _value: &[u8]) -> io::Result<()> {
        unsupported()
    }

    pub(super) fn remove(_file: &File, _name: &[u8]) -> io::Result<()> {
        unsupported()
    }
}
