//! The names of staging files: made so that every version of object_store hides them, and read to
//! learn whose they are.
//!
//! A staging file is `{name up to its first #}#{19 digits}`. The digits are:
//!
//! | digits | what |
//! | --- | --- |
//! | 4 | a mark, by which a process is told from others that have or had its number; 0 if it has none |
//! | 7 | the process id, in its own namespace; 0 if it does not fit |
//! | 8 | a number counted up by each name, from a random one, since process ids come again |

use std::ffi::{OsStr, OsString};
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use crate::place;
use crate::sys::process::{self, Process};

/// A name of our own in the directory of `path`, hidden as a staging file's and short.
pub(crate) fn private_path(path: &Path) -> PathBuf {
    let (dir, _) = place::split(path);
    dir.join(staging_name(OsStr::new(""), unique(), false))
}

/// The lock file of a directory: hidden as a staging file is, and never one.
pub(crate) const DIR_LOCK: &str = ".object_store_localfs#1";

/// What upstream's shortest staging name adds to a name: `#` and a digit.
const SUFFIX: usize = 2;

/// Whether a staging file for `path` can have a name, on the file systems that allow 255 bytes.
pub(crate) fn has_room(path: &Path) -> bool {
    place::split(path).1.len() + SUFFIX <= 255
}

/// `{name}#{digits}`, with the name up to its first `#`: every version of object_store hides a
/// name of which all that follows the first `#` is digits. A name that is too long with its digits
/// is `cut`, so that the limit is upstream's: two bytes more than the name.
pub(crate) fn staging_name(name: &OsStr, digits: u64, cut: bool) -> OsString {
    let whole = name.to_string_lossy();
    let before_hash = whole.split_once('#').map(|(before, _)| before);
    if !cut {
        let mut staged = before_hash.map_or(name, OsStr::new).to_owned();
        staged.push(format!("#{digits:0DIGITS$}"));
        return staged;
    }
    let room = whole.len() + SUFFIX;
    let count = DIGITS.min(room - 1);
    let before = before_hash.unwrap_or(&whole);
    let before = cut_to(before, room - 1 - count);
    let digits = format!("{digits:0DIGITS$}");
    format!("{before}#{}", &digits[DIGITS - count..]).into()
}

/// How a staging file gets its name.
#[derive(Debug, Clone)]
pub(crate) enum Naming {
    /// After its destination.
    Destination,
    /// This, which ends in `#` and perhaps digits, and its own digits.
    After(OsString),
}

impl Naming {
    /// The path of a new staging file for `dest`; see [`staging_name`].
    pub(crate) fn draw(&self, dest: &Path, cut: bool) -> PathBuf {
        let (dir, name) = place::split(dest);
        dir.join(match self {
            Self::Destination => staging_name(name, unique(), cut),
            Self::After(stem) => {
                let mut name = stem.clone();
                name.push(format!("{:0DIGITS$}", unique()));
                name
            }
        })
    }
}

/// Nineteen digits that no other upload of any process draws.
pub(crate) fn unique() -> u64 {
    let pid = std::process::id();
    Owner {
        mark: own_mark(pid),
        pid,
        serial: next_serial(),
    }
    .digits()
}

/// Whether object_store hides this name, as it does its staging files: all that follows the first
/// `#` is digits, one at the least.
pub(crate) fn is_hidden(name: &OsStr) -> bool {
    digits_of(name).is_some()
}

pub(crate) fn digits_of(name: &OsStr) -> Option<&[u8]> {
    let name = name.as_encoded_bytes();
    let hash = name.iter().position(|b| *b == b'#')?;
    let digits = &name[hash + 1..];
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all_digits.then_some(digits)
}

/// Which process a staging file's name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    mark: u64,
    pid: u32,
    serial: u64,
}

const DIGITS: usize = 19;
/// Linux gives ids up to 4194304 (proc_sys_kernel(5), "pid_max").
const PIDS: u64 = 10_000_000;
const SERIALS: u64 = 100_000_000;

impl Owner {
    /// Of a file that we made; the names of others, and ours that are cut, tell nobody.
    pub(crate) fn of(name: &OsStr) -> Option<Self> {
        let digits = digits_of(name).filter(|digits| digits.len() == DIGITS)?;
        let digits: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let owner = Self {
            mark: digits / SERIALS / PIDS,
            pid: (digits / SERIALS % PIDS) as u32,
            serial: digits % SERIALS,
        };
        (owner.pid != 0).then_some(owner)
    }

    fn digits(&self) -> u64 {
        let pid = u64::from(self.pid);
        let pid = if pid < PIDS { pid } else { 0 };
        (self.mark * PIDS + pid) * SERIALS + self.serial
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it is a process of this host that is there. In doubt it is.
    pub(crate) fn lives(&self) -> bool {
        match process::find(self.pid) {
            Process::Gone => false,
            Process::Lives { mark: None } => true,
            Process::Lives { mark: Some(mark) } => self.mark == mark || self.mark == 0,
        }
    }
}

/// Asked for once in a process; after a fork the child is another one.
fn own_mark(pid: u32) -> u64 {
    // The process id and its mark, in one: no lock, which a fork might find taken.
    static OWN: AtomicU64 = AtomicU64::new(0);
    let known = OWN.load(Relaxed);
    if known / process::MARKS == u64::from(pid) {
        return known % process::MARKS;
    }
    let mark = match process::find(pid) {
        Process::Lives { mark: Some(mark) } => mark,
        _ => 0,
    };
    OWN.store(u64::from(pid) * process::MARKS + mark, Relaxed);
    mark
}

fn next_serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if NEXT.load(Relaxed) == 0 {
        // Hashed with a random key that std asks the system for.
        let drawn = (std::process::id(), SystemTime::now());
        let first = std::hash::RandomState::new().hash_one(drawn) % SERIALS + 1;
        // If another thread was first, its number stands.
        let _ = NEXT.compare_exchange(0, first, Relaxed, Relaxed);
    }
    NEXT.fetch_add(1, Relaxed) % SERIALS
}

/// The longest part of `text` that ends within `len` bytes, at a character;
/// `str::floor_char_boundary` came with Rust 1.91.
pub(crate) fn cut_to(text: &str, len: usize) -> &str {
    let end = (0..=len.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(name: &str, cut: bool) -> String {
        staging_name(OsStr::new(name), 42, cut)
            .into_string()
            .unwrap()
    }

    #[test]
    fn a_staging_name_is_the_destination_and_digits() {
        assert_eq!(named("a.parquet", false), "a.parquet#0000000000000000042");
    }

    #[test]
    fn a_staging_name_has_one_hash() {
        // Upstream looks at what follows the first.
        for name in ["a#b", "part#1.parquet", "#", "##", "a#"] {
            for cut in [false, true] {
                let staged = named(name, cut);
                let (_, digits) = staged.split_once('#').unwrap();
                assert!(!digits.is_empty(), "{staged}");
                assert!(digits.bytes().all(|b| b.is_ascii_digit()), "{staged}");
            }
        }
    }

    #[test]
    fn a_short_name_that_is_cut_has_fewer_digits() {
        assert_eq!(named("x", true), "#42");
        assert_eq!(named("song.ogg", true), "#000000042");
    }

    #[test]
    fn a_name_that_is_cut_grows_by_two_bytes_at_the_most() {
        for name in ["x".repeat(253), "é".repeat(126), "🙀".repeat(63)] {
            let staged = named(&name, true);
            assert!(staged.len() <= name.len() + 2);
            assert!(staged.ends_with("#0000000000000000042"));
            assert!(name.starts_with(staged.split_once('#').unwrap().0));
        }
    }

    #[test]
    fn no_two_names_are_the_same() {
        let drawn: std::collections::HashSet<_> = (0..10_000).map(|_| unique()).collect();
        assert_eq!(drawn.len(), 10_000);
    }

    #[test]
    fn a_name_tells_this_process() {
        let name = staging_name(OsStr::new("a"), unique(), false);
        let owner = Owner::of(&name).unwrap();
        assert_eq!(owner.pid(), std::process::id());
        assert!(owner.lives());
    }

    #[test]
    fn names_of_others_tell_nobody() {
        for name in ["x#1", "x#123456789012345678", "x#12345678901234567890", "x"] {
            assert_eq!(Owner::of(OsStr::new(name)), None, "{name}");
        }
        // Ours, of a process whose id does not fit.
        let none = Owner {
            mark: 9999,
            pid: u32::MAX,
            serial: 7,
        };
        let name = staging_name(OsStr::new("x"), none.digits(), false);
        assert!(is_hidden(&name));
        assert_eq!(Owner::of(&name), None);
    }

    #[test]
    fn what_upstream_lists_is_not_hidden() {
        for name in [
            "x", "x#", "#", "x#a", "x#1a", "x#1#2", "x##1", "x#-1", "x#1 ", "x#١",
        ] {
            assert!(!is_hidden(OsStr::new(name)), "{name}");
        }
        for name in [
            "x#1",
            "#1",
            "x#0000000000000000001",
            "x y#99999999999999999999999",
        ] {
            assert!(is_hidden(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_process_with_another_mark_is_another() {
        let owner = Owner::of(&staging_name(OsStr::new("a"), unique(), false)).unwrap();
        // Without a mark there is doubt.
        let unmarked = Owner { mark: 0, ..owner };
        assert!(unmarked.lives());
        let mark = owner.mark % (process::MARKS - 1) + 1;
        assert_ne!(mark, owner.mark);
        // Nobody tells marks apart where the system gives none.
        assert_eq!(Owner { mark, ..owner }.lives(), owner.mark == 0);
    }

    #[cfg(unix)]
    #[test]
    fn after_a_fork_a_name_tells_the_child() {
        let ours = Owner::of(&staging_name(OsStr::new("a"), unique(), false)).unwrap();
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        // SAFETY: the child draws a name, for which it takes no lock of ours, writes it and waits to
        // be killed.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let drawn = unique().to_ne_bytes();
            // SAFETY: `drawn` is eight bytes that are read.
            unsafe { libc::write(ends[1], drawn.as_ptr().cast(), 8) };
            loop {
                // SAFETY: the call takes nothing.
                unsafe { libc::pause() };
            }
        }
        let mut drawn = [0; 8];
        // SAFETY: `drawn` has room for eight bytes.
        let read = unsafe { libc::read(ends[0], drawn.as_mut_ptr().cast(), 8) };
        assert_eq!(read, 8);
        let name = staging_name(OsStr::new("a"), u64::from_ne_bytes(drawn), false);
        let theirs = Owner::of(&name).unwrap();
        assert_eq!(theirs.pid(), child as u32);
        assert!(theirs.lives());
        // SAFETY: it is our child, and nobody has waited for it.
        unsafe { libc::kill(child, libc::SIGKILL) };
        // It ends, and until it is waited for its id is taken.
        #[cfg(target_os = "linux")]
        while theirs.lives() {
            std::thread::yield_now();
        }
        // SAFETY: as above, and a null status is allowed.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        assert!(!theirs.lives());
        assert!(ours.lives());
    }

    proptest! {
        #[test]
        fn what_is_made_is_read(
            stem in "[^/\0]{0,60}",
            mark in 0..process::MARKS,
            pid in 1..PIDS as u32,
            serial in 0..SERIALS,
        ) {
            let owner = Owner { mark, pid, serial };
            let name = staging_name(OsStr::new(&stem), owner.digits(), false);
            prop_assert_eq!(Owner::of(&name), Some(owner));
        }

        #[test]
        fn every_name_is_hidden(stem in "[^/\0]{1,60}", digits in 0..10_u64.pow(19), cut: bool) {
            let name = staging_name(OsStr::new(&stem), digits, cut);
            prop_assert!(is_hidden(&name));
            if cut {
                prop_assert!(name.len() <= stem.len() + SUFFIX);
            }
        }
    }
}
