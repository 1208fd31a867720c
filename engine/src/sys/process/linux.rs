//! By /proc, where it shows our own pid namespace; else by kill(2).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{OpenFile, OpenFiles, Process, mark_of};
use crate::names;

pub(super) fn find(pid: u32) -> Process {
    if !proc_is_ours() {
        return find_by_signal(pid);
    }
    let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else {
        // proc(5), "hidepid": what others run may be hidden.
        return find_by_signal(pid);
    };
    match parse_stat(&stat) {
        Some(stat) if stat.is_zombie && !has_threads(pid) => Process::Gone,
        Some(stat) => Process::Lives {
            mark: Some(host_mark(&stat.start)),
        },
        None => Process::Lives { mark: None },
    }
}

/// A process is known by its host's boot, its pid namespace and when it began: after a restart a
/// container may have the same number for its namespace and the same process ids in it.
fn host_mark(start: &[u8]) -> u64 {
    let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::metadata("/proc/self/ns/pid").map_or(0, |m| m.ino());
    mark_of(&[&boot, &namespace.to_be_bytes(), start])
}

/// A chroot may have the /proc of another pid namespace.
fn proc_is_ours() -> bool {
    let own = fs::read_link("/proc/self");
    own.is_ok_and(|own| own == Path::new(&std::process::id().to_string()))
}

fn find_by_signal(pid: u32) -> Process {
    match super::super::unix::has_process(pid) {
        true => Process::Lives { mark: None },
        false => Process::Gone,
    }
}

#[derive(Debug, PartialEq)]
struct Stat {
    is_zombie: bool,
    /// In clock ticks since the host was booted, as it stands there.
    start: Vec<u8>,
}

/// proc_pid_stat(5): `12 (a b) S 1 ...`, where the name may hold anything. The state is the third
/// field, the start the 22nd.
fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let end_of_name = stat.iter().rposition(|b| *b == b')')?;
    let mut fields = stat.get(end_of_name + 2..)?.split(|b| *b == b' ');
    let state = fields.next()?;
    Some(Stat {
        is_zombie: matches!(state, b"Z" | b"X"),
        start: fields.nth(18)?.to_owned(),
    })
}

/// Whether there are threads other than the first one, which alone may have ended.
fn has_threads(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() > 1)
}

/// By the name that the kernel gives for each descriptor, so that no file is asked about that is
/// none of ours: one on a server that is away would not answer.
pub(super) fn open_files() -> OpenFiles {
    let mut open = OpenFiles::default();
    for pid in numbers_in(Path::new("/proc")) {
        if !see_process(pid, &mut open.files) {
            open.unseen += u64::from(Path::new(&format!("/proc/{pid}")).exists());
        }
    }
    open
}

fn numbers_in(dir: &Path) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Says whether it let us look. Once its first thread has ended, a process shows nothing itself,
/// and its other threads do (proc(5), "/proc/pid/fd").
fn see_process(pid: u32, files: &mut Vec<OpenFile>) -> bool {
    let own = see_descriptors(pid, Path::new(&format!("/proc/{pid}/fd")), files);
    if own.is_some_and(|n| n > 0) {
        return true;
    }
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let mut seen = own.is_some();
    for thread in numbers_in(&tasks).filter(|thread| *thread != pid) {
        let descriptors = tasks.join(format!("{thread}/fd"));
        seen |= see_descriptors(pid, &descriptors, files).is_some();
    }
    seen
}

/// How many descriptors there are, or `None` if that is not told.
fn see_descriptors(pid: u32, dir: &Path, files: &mut Vec<OpenFile>) -> Option<usize> {
    let mut count = 0;
    for descriptor in fs::read_dir(dir).ok()?.flatten() {
        count += 1;
        let Ok(path) = fs::read_link(descriptor.path()) else {
            continue;
        };
        if path.file_name().is_some_and(names::is_hidden) {
            let id = fs::metadata(descriptor.path()).map(|m| (m.dev(), m.ino()));
            let id = id.ok();
            files.push(OpenFile { pid, path, id });
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_read_whatever_the_name_is() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for name in ["a", "a b", "a) Z 1", ")", ""] {
            let stat = parse_stat(format!("12 ({name}) {rest}\n").as_bytes()).unwrap();
            assert_eq!(stat.start, b"4711", "{name}");
            assert!(!stat.is_zombie, "{name}");
        }
        assert_eq!(parse_stat(b"12 (a) S 1 2 3"), None);
        assert_eq!(parse_stat(b"12 (a)"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn a_file_of_ours_that_is_open_is_found() {
        let path = std::env::temp_dir().join(format!("localfs-open-{}#1", std::process::id()));
        let path = path
            .parent()
            .unwrap()
            .canonicalize()
            .unwrap()
            .join(path.file_name().unwrap());
        let file = fs::File::create(&path).unwrap();
        let m = file.metadata().unwrap();
        let expected = OpenFile {
            pid: std::process::id(),
            path: path.clone(),
            id: Some((m.dev(), m.ino())),
        };
        assert!(open_files().files.contains(&expected));
        drop(file);
        assert!(!open_files().files.contains(&expected));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_process_that_began_at_another_time_has_another_mark() {
        assert_ne!(host_mark(b"1"), host_mark(b"2"));
        let stat = parse_stat(&fs::read("/proc/self/stat").unwrap()).unwrap();
        let mark = Some(host_mark(&stat.start));
        assert_eq!(find(std::process::id()), Process::Lives { mark });
    }
}
