//! Processes of this host: whether one is there, whether it is the same one still, and which files
//! they have open.

use std::path::PathBuf;

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod platform;
#[cfg(all(unix, not(target_os = "linux")))]
#[path = "unix.rs"]
mod platform;
#[cfg(windows)]
#[path = "windows.rs"]
mod platform;

/// One more than the largest mark; 0 is nobody's.
pub(crate) const MARKS: u64 = 10_000;

/// What is known of a process id, in our namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    /// There is no such process, or it has ended.
    Gone,
    Lives {
        /// Tells it from processes of other hosts, and where the system tells more from those that
        /// had its id before. `None` if that is not told.
        mark: Option<u64>,
    },
}

/// Looks for a process.
pub(crate) fn find(pid: u32) -> Process {
    platform::find(pid)
}

/// A file that a process has open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenFile {
    pub(crate) pid: u32,
    /// As seen from us.
    pub(crate) path: PathBuf,
    /// Device and inode number, if they are told.
    pub(crate) id: Option<(u64, u64)>,
}

/// Files that processes of this host have open.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles {
    pub(crate) files: Vec<OpenFile>,
    /// How many processes did not let us look.
    pub(crate) unseen: u64,
}

/// The open files whose names object_store hides, as far as the system tells them.
pub(crate) fn open_files() -> OpenFiles {
    platform::open_files()
}

/// Of what a host and a process are known by; the same for every version of this crate, whichever
/// compiler made it.
fn mark_of(parts: &[&[u8]]) -> u64 {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(part);
        bytes.push(0);
    }
    fnv_1a(&bytes) % (MARKS - 1) + 1
}

/// FNV-1a with 64 bits (draft-eastlake-fnv, sections 2 and 5).
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // The draft's test vectors.
        assert_eq!(fnv_1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv_1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_mark_has_four_digits_and_is_not_zero() {
        for n in 0..100_000_u32 {
            assert!((1..MARKS).contains(&mark_of(&[&n.to_ne_bytes()])));
        }
    }

    #[test]
    fn a_mark_is_that_of_its_parts() {
        assert_ne!(mark_of(&[b"ab", b"c"]), mark_of(&[b"a", b"bc"]));
    }

    #[test]
    fn this_process_lives_and_no_process_has_the_largest_id() {
        assert!(matches!(find(std::process::id()), Process::Lives { .. }));
        assert_eq!(find(i32::MAX as u32), Process::Gone);
    }

    #[test]
    fn a_process_that_was_waited_for_is_gone() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .arg("--list")
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(find(pid), Process::Gone);
    }
}
