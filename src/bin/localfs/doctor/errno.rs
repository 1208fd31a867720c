//! Errors of system calls, by the names that man pages use.

use std::io;

use rustix::io::Errno;

/// Of those that mounts are known to answer.
const NAMES: &[(Errno, &str)] = &[
    (Errno::ACCESS, "EACCES"),
    (Errno::AGAIN, "EAGAIN"),
    (Errno::BADF, "EBADF"),
    (Errno::BUSY, "EBUSY"),
    (Errno::CONNABORTED, "ECONNABORTED"),
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

/// Whether the same call may be answered otherwise a moment later: a stale handle, a lost reply.
fn passes(error: &io::Error) -> bool {
    const PASSING: &[Errno] = &[
        Errno::STALE,
        Errno::IO,
        Errno::TIMEDOUT,
        Errno::INTR,
        Errno::AGAIN,
        Errno::BUSY,
    ];
    is(error, PASSING)
}

/// Of a call that may be made twice, the answer once it stays.
pub(super) fn steadily<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        match call() {
            Err(e) if passes(&e) => {}
            answer => return answer,
        }
    }
    call()
}

/// How often something is tried that may pass.
pub(super) const TRIES: usize = 4;

/// Whether what was [`told`] may pass.
pub(super) fn tells_of_passing(evidence: &str) -> bool {
    let names = ["ESTALE", "EIO", "ETIMEDOUT", "EINTR", "EAGAIN", "EBUSY"];
    names
        .iter()
        .any(|name| evidence.contains(&format!("{name} (")))
}

/// Whether what was [`told`], or what a store said in std's words, is that nothing more fits.
pub(super) fn tells_of_no_room(evidence: &str) -> bool {
    [Errno::NOSPC, Errno::DQUOT].iter().any(|errno| {
        let error = io::Error::from(*errno);
        evidence.contains(&told(&error)) || evidence.contains(&error.to_string())
    })
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

    #[test]
    fn a_call_is_made_again_until_its_error_has_passed() {
        let answers = |errors: Vec<i32>| {
            let mut errors = errors.into_iter();
            let answer = steadily(|| match errors.next() {
                Some(code) => Err(io::Error::from_raw_os_error(code)),
                None => Ok(()),
            });
            answer.is_ok()
        };
        assert!(answers(vec![libc::ESTALE; 3]));
        assert!(!answers(vec![libc::ESTALE; 4]));
        assert!(!answers(vec![libc::ENOSPC]));
    }

    #[test]
    fn what_passes_is_seen_in_what_was_told() {
        for (code, does) in [
            (libc::ESTALE, true),
            (libc::EIO, true),
            (libc::EPERM, false),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(passes(&error), does);
            assert_eq!(tells_of_passing(&format!("link: {}", told(&error))), does);
        }
    }

    #[test]
    fn what_is_full_is_seen_in_what_was_told() {
        let error = |code| io::Error::from_raw_os_error(code);
        for code in [libc::ENOSPC, libc::EDQUOT] {
            assert!(tells_of_no_room(&format!("mkdir: {}", told(&error(code)))));
            assert!(tells_of_no_room(&format!("cannot write: {}", error(code))));
        }
        assert!(!tells_of_no_room(&told(&error(libc::EIO))));
    }
}
