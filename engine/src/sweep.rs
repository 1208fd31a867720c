//! Sweeping: what a crash left is found and removed, and nothing that is in use.
//!
//! All staging files are found first, then it is asked which files are open, and then each is
//! decided. So whoever had one open when it was found, and still has, is seen; and what is another
//! file by then than the one that was found stays.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::names::{self, Owner};
use crate::sys::{self, Stat, is, process};
use crate::{Engine, observe};

/// What [`Engine::sweep`] removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepOptions {
    /// Only files that were last changed at least so long ago, by the later of their mtime and
    /// ctime.
    pub older_than: Duration,
    /// Nothing is removed; it is told what would be.
    pub dry_run: bool,
}

impl SweepOptions {
    /// Removes what was last changed at least so long ago and is not in use.
    pub fn older_than(older_than: Duration) -> Self {
        Self {
            older_than,
            dry_run: false,
        }
    }

    /// Whether nothing is to be removed.
    pub fn with_dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }
}

/// What a sweep came to.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Swept {
    /// Staging files that were found.
    pub found: u64,
    /// Staging files that were removed; in a dry run, that would be.
    pub removed: u64,
    /// Bytes of those that had no other name: what a hard link was removed of is there still.
    pub bytes_freed: u64,
    /// Kept: a process of this host is using them.
    pub in_use: u64,
    /// Kept: changed too short a time ago, or at a time that is not told.
    pub young: u64,
    /// Gone by themselves in the meantime.
    pub vanished: u64,
    /// What could not be removed, and which directories could not be read; each error names the
    /// file and the step.
    pub failed: Vec<io::Error>,
    /// Directories that were not entered, since another file system begins there.
    pub other_file_systems: u64,
    /// Processes of this host that did not let us see what they have open, as those of other users
    /// do not. Their uploads are known by their names if this crate makes them, else by age alone.
    pub unseen_processes: u64,
    /// It was stopped before all were decided.
    pub stopped: bool,
}

/// A staging file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StagingFile {
    /// Where it is, below the root with its symlinks resolved.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// How long ago it was last changed; `None` if that is in the future, or not told.
    pub age: Option<Duration>,
    /// Whether the same data has another name: removing this one frees nothing.
    pub has_other_names: bool,
}

/// What was decided about a staging file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// It is removed; in a dry run, it would be.
    Removed,
    /// It stays: someone is using it.
    InUse(Use),
    /// It stays: it was changed too short a time ago, or at a time that is not told.
    Young,
    /// It was to be removed, and could not be.
    Failed(Error),
}

/// Who uses a staging file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Use {
    /// The process with this id made it, and is there.
    MadeBy(u32),
    /// The process with this id has it open.
    OpenIn(u32),
    /// It was changed, or another file has taken its name, since it was found.
    Changed,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MadeBy(pid) => write!(f, "process {pid} is writing it"),
            Self::OpenIn(pid) => write!(f, "process {pid} has it open"),
            Self::Changed => f.write_str("it was changed a moment ago"),
        }
    }
}

/// How far a sweep is.
#[derive(Debug)]
#[non_exhaustive]
pub enum SweepEvent<'a> {
    /// This directory is looked at; so many staging files were found before.
    Looking {
        /// The directory.
        dir: &'a Path,
        /// Staging files so far.
        found: u64,
    },
    /// This directory is not entered, since another file system begins there.
    OtherFileSystem {
        /// The directory.
        dir: &'a Path,
    },
    /// What is here could not be looked at. The sweep goes on.
    Unreadable {
        /// A directory, or a staging file.
        path: &'a Path,
        /// Why.
        error: &'a Error,
    },
    /// All are found, so many. From here on each is decided.
    Found {
        /// Staging files.
        total: u64,
    },
    /// One was decided.
    Decided {
        /// Which.
        file: &'a StagingFile,
        /// What became of it.
        verdict: &'a Verdict,
    },
}

/// The advisory lock that processes of one host share. Its name is hidden as a staging file's, and
/// it is never one.
pub(crate) const HOST_LOCK: &str = "object_store_localfs#1";

/// A staging file, as it was when it was found.
struct Found {
    path: PathBuf,
    stat: Stat,
}

/// What a directory holds, as far as a sweep wants to know.
#[derive(Default)]
struct Entries {
    dirs: Vec<PathBuf>,
    staging: Vec<PathBuf>,
}

type Progress<'a> = dyn FnMut(SweepEvent<'_>) -> ControlFlow<()> + 'a;

pub(crate) fn sweep(
    engine: &Engine,
    root: &Path,
    options: SweepOptions,
    progress: &mut Progress<'_>,
) -> Result<Swept> {
    let root = sys::canonical_dir(root).map_err(|e| Error::new("look at", root, e))?;
    let mut swept = Swept::default();
    let found = find(engine, &root, &mut swept, progress)?;
    let done = match &found {
        Some(found) => decide_all(engine, found, options, &mut swept, progress),
        None => ControlFlow::Break(()),
    };
    swept.stopped = done.is_break();
    Ok(swept)
}

/// The staging files below `root`, or `None` if the search was stopped. Symlinks are not followed.
fn find(
    engine: &Engine,
    root: &Path,
    swept: &mut Swept,
    progress: &mut Progress<'_>,
) -> Result<Option<Vec<Found>>> {
    let device = look(engine, root)
        .map_err(|e| Error::new("look at", root, e))?
        .map_or(0, |stat| stat.dev);
    let mut found = Vec::new();
    let mut to_read = vec![root.to_owned()];
    while let Some(dir) = to_read.pop() {
        let looking = SweepEvent::Looking {
            dir: &dir,
            found: swept.found,
        };
        if progress(looking).is_break() {
            return Ok(None);
        }
        let mut unreadable = |step, path: &Path, e| {
            let error = Error::new(step, path, e);
            let _ = progress(SweepEvent::Unreadable {
                path,
                error: &error,
            });
            swept.failed.push(error.into());
        };
        let entries = match read(engine, &dir) {
            Ok(entries) => entries,
            Err(e) if dir == root => return Err(Error::new("list", root, e)),
            Err(e) => {
                unreadable("list", &dir, e);
                continue;
            }
        };
        for path in entries.staging {
            match look(engine, &path) {
                Ok(Some(stat)) => found.push(Found { path, stat }),
                Ok(None) => {}
                Err(e) => unreadable("look at", &path, e),
            }
        }
        let mut elsewhere = Vec::new();
        for path in entries.dirs {
            match look(engine, &path) {
                Ok(Some(stat)) if stat.dev == device => to_read.push(path),
                Ok(Some(_)) => elsewhere.push(path),
                Ok(None) => {}
                Err(e) => unreadable("look at", &path, e),
            }
        }
        for dir in elsewhere {
            swept.other_file_systems += 1;
            // Whoever wants to stop is asked with the next directory.
            let _ = progress(SweepEvent::OtherFileSystem { dir: &dir });
        }
        swept.found = found.len() as u64;
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let total = swept.found;
    Ok(match progress(SweepEvent::Found { total }) {
        ControlFlow::Continue(()) => Some(found),
        ControlFlow::Break(()) => None,
    })
}

/// Reads a directory whole, so that a stale handle is met by reading it anew.
fn read(engine: &Engine, dir: &Path) -> io::Result<Entries> {
    let engine = engine.for_operation();
    let read = engine.retrying("list", dir, || {
        let mut entries = Entries::default();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(e) if is::absent(&e) => continue,
                Err(e) => return Err(e),
            };
            let name = entry.file_name();
            if kind.is_dir() {
                entries.dirs.push(entry.path());
            } else if kind.is_file() && names::is_hidden(&name) && name != HOST_LOCK {
                entries.staging.push(entry.path());
            }
        }
        Ok(entries)
    });
    match read {
        Err(e) if is::absent(&e) => Ok(Entries::default()),
        read => read,
    }
}

fn decide_all(
    engine: &Engine,
    found: &[Found],
    options: SweepOptions,
    swept: &mut Swept,
    progress: &mut Progress<'_>,
) -> ControlFlow<()> {
    let mut judge = Judge {
        engine,
        options,
        open: None,
        lost_a_name: HashSet::new(),
    };
    for found in found {
        let Some((file, verdict)) = judge.decide(found) else {
            swept.vanished += 1;
            continue;
        };
        match &verdict {
            Verdict::Removed => {
                swept.removed += 1;
                if !file.has_other_names {
                    swept.bytes_freed += file.size;
                }
            }
            Verdict::InUse(_) => swept.in_use += 1,
            Verdict::Young => swept.young += 1,
            Verdict::Failed(_) => {}
        }
        let decided = SweepEvent::Decided {
            file: &file,
            verdict: &verdict,
        };
        let go_on = progress(decided);
        if let Verdict::Failed(error) = verdict {
            swept.failed.push(error.into());
        }
        if let Some(open) = &judge.open {
            swept.unseen_processes = open.unseen;
        }
        go_on?;
    }
    ControlFlow::Continue(())
}

struct Judge<'a> {
    engine: &'a Engine,
    options: SweepOptions,
    /// Collected when it is first asked for.
    open: Option<Open>,
    /// Files that lost a name by this sweep, which moved their ctime.
    lost_a_name: HashSet<(u64, u64)>,
}

/// By whom files are open.
struct Open {
    by_path: HashMap<PathBuf, u32>,
    by_id: HashMap<(u64, u64), u32>,
    unseen: u64,
}

impl Open {
    fn collect() -> Self {
        let process::OpenFiles { files, unseen } = process::open_files();
        let by_id = files.iter().filter_map(|file| Some((file.id?, file.pid)));
        Self {
            by_id: by_id.collect(),
            by_path: files
                .into_iter()
                .map(|file| (file.path, file.pid))
                .collect(),
            unseen,
        }
    }

    /// By its path too: some mounts give a file a new inode number with each look.
    fn in_process(&self, file: &Found) -> Option<u32> {
        let id = (file.stat.dev, file.stat.ino);
        let pid = self.by_path.get(&file.path).or(self.by_id.get(&id));
        pid.copied()
    }
}

impl Judge<'_> {
    /// Decides and, if it is to be so, removes. `None` if the file has vanished.
    fn decide(&mut self, found: &Found) -> Option<(StagingFile, Verdict)> {
        let engine = &self.engine.for_operation();
        let now = match look(engine, &found.path) {
            Ok(now) => now?,
            Err(e) => {
                let e = Error::new("look at", &found.path, e);
                return Some((describe(found, &found.stat), Verdict::Failed(e)));
            }
        };
        let file = describe(found, &now);
        let verdict = match self.reason_to_stay(engine, found, &file, &now) {
            Some(reason) => reason,
            None if self.options.dry_run => Verdict::Removed,
            None => match self.remove(engine, found) {
                Ok(true) => Verdict::Removed,
                Ok(false) => return None,
                Err(e) => Verdict::Failed(Error::new("delete file", &found.path, e)),
            },
        };
        if matches!(verdict, Verdict::Removed) {
            self.lost_a_name.insert((now.dev, now.ino));
        }
        Some((file, verdict))
    }

    fn reason_to_stay(
        &mut self,
        engine: &Engine,
        found: &Found,
        file: &StagingFile,
        now: &Stat,
    ) -> Option<Verdict> {
        if !self.is_as_found(engine, found, now) {
            return Some(Verdict::InUse(Use::Changed));
        }
        let owner = found.path.file_name().and_then(Owner::of);
        if let Some(owner) = owner.filter(Owner::lives) {
            return Some(Verdict::InUse(Use::MadeBy(owner.pid())));
        }
        if file.age.is_none_or(|age| age < self.options.older_than) {
            return Some(Verdict::Young);
        }
        let open = self.open.get_or_insert_with(Open::collect);
        let pid = open.in_process(found)?;
        Some(Verdict::InUse(Use::OpenIn(pid)))
    }

    fn is_as_found(&self, engine: &Engine, found: &Found, now: &Stat) -> bool {
        let was = &found.stat;
        let id = (was.dev, was.ino);
        let same = |a: &Stat, b: &Stat| {
            let changed = a.changed == b.changed || self.lost_a_name.contains(&id);
            changed && (a.dev, a.size, a.modified) == (b.dev, b.size, b.modified)
        };
        if was.ino == now.ino || !same(was, now) {
            return same(was, now);
        }
        // Alike, with another inode number. Either it is another file, or this mount gives a file
        // a new number with each look.
        let again = look(engine, &found.path);
        matches!(again, Ok(Some(again)) if again.ino != now.ino && same(was, &again))
    }

    /// Removes it if it is still what was found, and says whether it did. After an error that does
    /// not tell, it is looked at anew: the name may be another's by then.
    fn remove(&self, engine: &Engine, found: &Found) -> io::Result<bool> {
        let path = &found.path;
        let mut retry = engine.start_retry();
        let mut tried = false;
        loop {
            match look(engine, path)? {
                Some(now) if self.is_as_found(engine, found, &now) => {}
                _ => return Ok(tried),
            }
            match sys::unlink(path) {
                Ok(()) => return Ok(true),
                Err(e) if is::absent(&e) => return Ok(tried),
                Err(e) if is::ambiguous(&e) && retry.again() => {
                    engine.retried("remove", path, &e);
                    tried = true;
                }
                Err(e) => return Err(e),
            }
        }
    }
}

fn look(engine: &Engine, path: &Path) -> io::Result<Option<Stat>> {
    observe::look(&engine.for_operation(), path)
}

fn describe(found: &Found, now: &Stat) -> StagingFile {
    StagingFile {
        path: found.path.clone(),
        size: now.size,
        // Not by what it is now: if it lost another name by this sweep, its ctime has moved.
        age: age(&found.stat, SystemTime::now()),
        has_other_names: now.nlink > 1,
    }
}

/// By the later of mtime and ctime: a staging file that is a hard link has the mtime of its
/// object, and the ctime of when it was linked. A mount that tells no times tells zeros.
fn age(stat: &Stat, now: SystemTime) -> Option<Duration> {
    let (seconds, nanos) = stat.changed;
    let since_1970 = u64::try_from(seconds).ok().zip(u32::try_from(nanos).ok());
    let changed =
        since_1970.and_then(|(s, n)| SystemTime::UNIX_EPOCH.checked_add(Duration::new(s, n)));
    let last = stat.modified.max(changed)?;
    if last <= SystemTime::UNIX_EPOCH {
        return None;
    }
    now.duration_since(last).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn age_of(modified: Option<u64>, changed: i64) -> Option<u64> {
        let stat = Stat {
            is_dir: false,
            is_symlink: false,
            size: 1,
            modified: modified.map(at),
            changed: (changed, 0),
            dev: 1,
            ino: 1,
            nlink: 1,
        };
        age(&stat, at(NOW)).map(|age| age.as_secs())
    }

    #[test]
    fn the_age_is_since_the_later_of_mtime_and_ctime() {
        assert_eq!(age_of(Some(NOW - 10), NOW as i64 - 10), Some(10));
        // A hard link of an old object, made just now.
        assert_eq!(age_of(Some(NOW - 500_000), NOW as i64 - 3), Some(3));
        assert_eq!(age_of(Some(NOW - 3), NOW as i64 - 500_000), Some(3));
        assert_eq!(age_of(Some(NOW), NOW as i64), Some(0));
    }

    #[test]
    fn a_system_without_ctime_goes_by_mtime() {
        assert_eq!(age_of(Some(NOW - 10), 0), Some(10));
    }

    #[test]
    fn what_changed_in_the_future_has_no_age() {
        assert_eq!(age_of(Some(NOW + 1), NOW as i64 - 10), None);
        assert_eq!(age_of(Some(NOW - 10), NOW as i64 + 1), None);
    }

    #[test]
    fn a_mount_that_tells_no_times_tells_no_age() {
        assert_eq!(age_of(None, -1), None);
        assert_eq!(age_of(Some(0), 0), None);
        assert_eq!(age_of(None, 0), None);
    }
}
