//! Errors of system calls, by the names that man pages use.

use std::io;

use rustix::io::Errno;

/// Of those that mounts are known to answer.
const NAMES: &[(Errno, &str)] = &[
    (Errno::ACCESS, "EACCES"),
    (Errno::AGAIN, "EAGAIN"),
    (Errno::BADF, "EBADF"),
    (Errno::BUSY, "EBUSY"),
    (Errno::CONNREFUSED, "ECONNREFUSED"),
    (Errno::DQUOT, "EDQUOT"),
    (Errno::EXIST, "EEXIST"),
    (Errno::FBIG, "EFBIG"),
    (Errno::HOSTDOWN, "EHOSTDOWN"),
    (Errno::INTR, "EINTR"),
    (Errno::INVAL, "EINVAL"),
    (Errno::IO, "EIO"),
    (Errno::ISDIR, "EISDIR"),
    (Errno::LOOP, "ELOOP"),
    (Errno::MLINK, "EMLINK"),
    (Errno::NAMETOOLONG, "ENAMETOOLONG"),
    (Errno::NOENT, "ENOENT"),
    (Errno::NOLCK, "ENOLCK"),
    (Errno::NOSPC, "ENOSPC"),
    (Errno::NOSYS, "ENOSYS"),
    (Errno::NOTCONN, "ENOTCONN"),
    (Errno::NOTDIR, "ENOTDIR"),
    (Errno::NOTTY, "ENOTTY"),
    (Errno::OPNOTSUPP, "EOPNOTSUPP"),
    (Errno::PERM, "EPERM"),
    (Errno::ROFS, "EROFS"),
    (Errno::STALE, "ESTALE"),
    (Errno::TIMEDOUT, "ETIMEDOUT"),
    (Errno::XDEV, "EXDEV"),
];

/// `ENOSPC (No space left on device)`.
pub(super) fn told(error: &io::Error) -> String {
    let name = Errno::from_io_error(error)
        .and_then(|errno| NAMES.iter().find(|(known, _)| *known == errno))
        .map(|(_, name)| name);
    let text = error.to_string();
    match name {
        // std says `No space left on device (os error 28)`.
        Some(name) => format!(
            "{name} ({})",
            text.split(" (os error").next().unwrap_or_default()
        ),
        None => text,
    }
}

/// Whether the system said one of these.
pub(super) fn is(error: &io::Error, any_of: &[Errno]) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| any_of.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_is_told_by_its_name() {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        assert_eq!(told(&full), "ENOSPC (No space left on device)");
        assert!(is(&full, &[Errno::DQUOT, Errno::NOSPC]));
        assert!(!is(&full, &[Errno::ROFS]));
    }
}
