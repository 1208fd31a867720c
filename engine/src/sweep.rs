//! Sweeping: what a crash left is found and removed, and nothing that is in use.
//!
//! All staging files are found first, then it is asked which files are open, and then each is
//! decided. So whoever had one open when it was found, and still has, is seen; and what is another
//! file by then than the one that was found stays.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::Engine;
use crate::error::{Error, Result};
use crate::multipart::names::upload_of;
use crate::names::{self, Owner};
use crate::sys::dir::{Dir, Entry, For, Listed};
use crate::sys::{self, Stat, is, process};

/// What [`Engine::sweep`] removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepOptions {
    /// Only files that were last changed at least so long ago, by the later of their mtime and
    /// ctime. Of a multipart upload that survives its process
    /// ([`Engine::create_multipart`](crate::Engine::create_multipart)) the youngest file counts for
    /// all: it goes when no part was put for so long, though the process that began it lives.
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
    /// Bytes on the disk of those that had no other name: what a hard link was removed of is there
    /// still. Holes are none. In a dry run as it would be.
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
    /// Whether the same data has another name that stays for now: removing this one frees nothing.
    /// In a dry run, names that would have been removed before it do not count.
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
    /// This directory is looked at; so many staging files were found before. Told again for each
    /// look in it, so that a sweep can be stopped there.
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
    /// One was gone by itself when it was to be decided.
    Vanished {
        /// What it was.
        path: &'a Path,
    },
    /// One was decided.
    Decided {
        /// Which.
        file: &'a StagingFile,
        /// What became of it.
        verdict: &'a Verdict,
    },
}

/// The advisory lock that processes of one host share, where [`sys::is_host_lock_dir`] holds. Its
/// name is hidden as a staging file's, and there it is never one.
pub(crate) const HOST_LOCK: &str = "object_store_localfs#1";

/// A staging file, as it was when it was found.
struct Found {
    path: PathBuf,
    seen: Entry,
}

impl Found {
    fn id(&self) -> (u64, u64) {
        (self.seen.stat.dev, self.seen.stat.ino)
    }

    /// Which multipart upload it is of, if of any: its directory, and what the names of all its
    /// files begin with.
    fn upload(&self) -> Option<(&Path, &str)> {
        let (upload, _) = upload_of(self.path.file_name()?)?;
        Some((self.path.parent()?, upload))
    }

    /// Whether it tells what is to become of an upload: its marker, or its claim.
    fn decides(&self) -> bool {
        let of = self.path.file_name().and_then(upload_of);
        of.is_some_and(|(_, kind)| kind.rank() == 0)
    }

    /// Those of an upload are next to each other, in the order in which they are removed.
    fn order(&self) -> (PathBuf, u8, PathBuf) {
        let path = self.path.clone();
        match self.path.file_name().and_then(upload_of) {
            Some((upload, kind)) => (path.with_file_name(upload), kind.rank(), path),
            None => (path.clone(), 0, path),
        }
    }
}

/// What a directory holds, as far as a sweep wants to know.
#[derive(Default)]
struct Listing {
    dirs: Vec<OsString>,
    staging: Vec<OsString>,
}

type Progress<'a> = dyn FnMut(SweepEvent<'_>) -> ControlFlow<()> + 'a;

pub(crate) fn sweep(
    engine: &Engine,
    root: &Path,
    options: SweepOptions,
    progress: &mut Progress<'_>,
) -> Result<Swept> {
    let path = sys::canonical_dir(root).map_err(|e| Error::new("look at", root, e))?;
    let look_at = |e| Error::new("look at", &path, e);
    let open = || Dir::open(&path, For::Entries);
    let engine_now = engine.for_operation();
    let root = engine_now.retrying("look at", &path, open);
    let root = root.map_err(look_at)?;
    let stat = engine_now.retrying("look at", &path, || root.stat());
    let device = stat.map_err(look_at)?.stat.dev;
    let mut walk = Walk {
        engine,
        root: &root,
        device,
        found: Vec::new(),
        to_read: vec![path.clone()],
        swept: Swept::default(),
        progress: &mut *progress,
    };
    let mut done = walk.find()?;
    let Walk {
        mut found,
        mut swept,
        ..
    } = walk;
    if done.is_continue() {
        found.sort_by_cached_key(Found::order);
        let total = swept.found;
        done = progress(SweepEvent::Found { total });
    }
    if done.is_continue() {
        done = decide_all(engine, &root, &found, options, &mut swept, progress);
    }
    swept.stopped = done.is_break();
    Ok(swept)
}

/// The search for staging files. Symlinks are not followed.
struct Walk<'a, 'p> {
    engine: &'a Engine,
    root: &'a Dir,
    device: u64,
    found: Vec<Found>,
    to_read: Vec<PathBuf>,
    swept: Swept,
    progress: &'a mut Progress<'p>,
}

impl Walk<'_, '_> {
    fn find(&mut self) -> Result<ControlFlow<()>> {
        while let Some(dir) = self.to_read.pop() {
            if self.looking(&dir).is_break() || self.search(&dir)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn looking(&mut self, dir: &Path) -> ControlFlow<()> {
        let found = self.swept.found;
        (self.progress)(SweepEvent::Looking { dir, found })
    }

    fn unreadable(&mut self, step: &'static str, path: &Path, e: io::Error) -> ControlFlow<()> {
        let error = Error::new(step, path, e);
        let go_on = (self.progress)(SweepEvent::Unreadable {
            path,
            error: &error,
        });
        self.swept.failed.push(error.into());
        go_on
    }

    fn search(&mut self, path: &Path) -> Result<ControlFlow<()>> {
        let mut place = Place::new(self.root, path, For::Listing);
        let (own, listing) = match self.read(&mut place) {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(ControlFlow::Break(())),
            Err(e) if path == self.root.path() => return Err(Error::new("list", path, e)),
            Err(e) if is::absent(&e) => return Ok(ControlFlow::Continue(())),
            Err(e) => return Ok(self.unreadable("list", path, e)),
        };
        // It was looked at by its name before; what was opened by that name may be another.
        if own.stat.dev != self.device {
            return Ok(self.elsewhere(path));
        }
        Ok(self.look_at_all(&mut place, &own, listing))
    }

    fn elsewhere(&mut self, dir: &Path) -> ControlFlow<()> {
        self.swept.other_file_systems += 1;
        (self.progress)(SweepEvent::OtherFileSystem { dir })
    }

    fn look_at_all(
        &mut self,
        place: &mut Place<'_>,
        own: &Entry,
        listing: Listing,
    ) -> ControlFlow<()> {
        let engine = self.engine;
        for name in listing.staging {
            self.looking(place.path)?;
            let path = place.path.join(&name);
            match place.look(engine, &name) {
                Ok(Some(seen)) if seen.is_file && !is_host_lock(own, &name) => {
                    self.found.push(Found { path, seen });
                    self.swept.found += 1;
                }
                Ok(_) => {}
                Err(e) => self.unreadable("look at", &path, e)?,
            }
        }
        for name in listing.dirs {
            self.looking(place.path)?;
            let path = place.path.join(&name);
            match place.look(engine, &name) {
                Ok(Some(seen)) if !seen.stat.is_dir => {}
                Ok(Some(seen)) if seen.stat.dev == self.device => self.to_read.push(path),
                Ok(Some(_)) => self.elsewhere(&path)?,
                Ok(None) => {}
                Err(e) => self.unreadable("look at", &path, e)?,
            }
        }
        ControlFlow::Continue(())
    }

    /// Reads a directory whole, so that a stale handle is met by reading it anew. `None` if it was
    /// stopped. What lies on another file system is not listed.
    fn read(&mut self, place: &mut Place<'_>) -> io::Result<Option<(Entry, Listing)>> {
        const ASK_EACH: usize = 256;
        let engine = self.engine.for_operation();
        let path = place.path;
        engine.retrying("list", path, || {
            place.dir = None;
            let dir = place.open()?;
            let own = dir.stat()?;
            let mut listing = Listing::default();
            if own.stat.dev != self.device {
                return Ok(Some((own, listing)));
            }
            let mut listed = 0;
            let mut go_on = ControlFlow::Continue(());
            dir.list(&mut |name, kind| {
                listed += 1;
                let hidden = names::is_hidden(&name);
                match kind {
                    Listed::Dir => listing.dirs.push(name),
                    Listed::File if hidden => listing.staging.push(name),
                    // Whether it is a file is seen with the look at it.
                    Listed::Unknown => {
                        if hidden {
                            listing.staging.push(name.clone());
                        }
                        listing.dirs.push(name);
                    }
                    _ => {}
                }
                if listed % ASK_EACH == 0 {
                    go_on = self.looking(path);
                }
                go_on
            })?;
            Ok(go_on.is_continue().then_some((own, listing)))
        })
    }
}

/// Whether `name`, in the directory that is `dir`, is the lock file that processes of this host
/// share. Elsewhere it is what an upload of such an object left.
fn is_host_lock(dir: &Entry, name: &OsStr) -> bool {
    name == names::DIR_LOCK || (name == HOST_LOCK && sys::is_host_lock_dir(&dir.stat))
}

/// A directory below the root, held open from the first look in it on: what is removed by a name
/// is in the directory in which that name was looked at.
struct Place<'a> {
    root: &'a Dir,
    path: &'a Path,
    how: For,
    dir: Option<Dir>,
}

impl<'a> Place<'a> {
    fn new(root: &'a Dir, path: &'a Path, how: For) -> Self {
        let dir = None;
        Self {
            root,
            path,
            how,
            dir,
        }
    }

    fn open(&mut self) -> io::Result<&Dir> {
        let dir = match self.dir.take() {
            Some(dir) => dir,
            None => self.root.open_below(self.path, self.how)?,
        };
        Ok(self.dir.insert(dir))
    }

    /// What is at `name`, or `None` if nothing is. After a stale answer the directory is opened
    /// anew.
    fn look(&mut self, engine: &Engine, name: &OsStr) -> io::Result<Option<Entry>> {
        let engine = engine.for_operation();
        let seen = engine.retrying("look at", &self.path.join(name), || {
            let seen = self.open().and_then(|dir| dir.look(name));
            if seen.as_ref().is_err_and(is::stale) {
                self.dir = None;
            }
            seen
        });
        match seen {
            Ok(seen) => Ok(Some(seen)),
            Err(e) if is::absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn decide_all(
    engine: &Engine,
    root: &Dir,
    found: &[Found],
    options: SweepOptions,
    swept: &mut Swept,
    progress: &mut Progress<'_>,
) -> ControlFlow<()> {
    let mut judge = Judge {
        engine,
        root,
        options,
        open: None,
        names_gone: HashMap::new(),
        uploads: None,
    };
    let mut last = None;
    let mut stays = None;
    for (at, file) in found.iter().enumerate() {
        let upload = file.upload();
        if upload.is_none() || upload != last {
            stays = upload.and_then(|upload| {
                let rest = found[at..].iter();
                let files: Vec<_> = rest.take_while(|f| f.upload() == Some(upload)).collect();
                judge.reason_for_all(upload, &files)
            });
            last = upload;
        }
        let found = file;
        let decided = judge.decide(found, stays);
        // Who has moved the marker or the claim away needs the rest, or removes it.
        let is_removed = matches!(decided, Some((_, _, Verdict::Removed)));
        if !is_removed && found.decides() {
            stays = stays.or(Some(Reason::InUse(Use::Changed)));
        }
        let Some((file, allocated, verdict)) = decided else {
            swept.vanished += 1;
            progress(SweepEvent::Vanished { path: &found.path })?;
            continue;
        };
        match &verdict {
            Verdict::Removed => {
                swept.removed += 1;
                if !file.has_other_names {
                    swept.bytes_freed += allocated;
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

/// Why a staging file stays.
#[derive(Debug, Clone, Copy)]
enum Reason {
    InUse(Use),
    Young,
}

impl From<Reason> for Verdict {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::InUse(by) => Self::InUse(by),
            Reason::Young => Self::Young,
        }
    }
}

struct Judge<'a> {
    engine: &'a Engine,
    root: &'a Dir,
    options: SweepOptions,
    /// Collected when it is first asked for.
    open: Option<Open>,
    /// How many names files lost by this sweep, which moved their ctime; in a dry run, would lose.
    names_gone: HashMap<(u64, u64), u64>,
    /// Of the directory that is swept.
    uploads: Option<UploadsIn>,
}

/// The names of multipart uploads' files, by upload.
type Uploads = HashMap<String, Vec<OsString>>;

struct UploadsIn {
    dir: PathBuf,
    since: Instant,
    took: Duration,
    names: Uploads,
}

/// By whom files are open.
struct Open {
    by_path: HashMap<PathBuf, u32>,
    by_id: HashMap<(u64, u64), u32>,
    /// By device and file name.
    by_name: HashMap<(u64, OsString), u32>,
    unseen: u64,
}

impl Open {
    fn collect() -> Self {
        let process::OpenFiles { files, unseen } = process::open_files();
        let by_id = files.iter().filter_map(|file| Some((file.id?, file.pid)));
        let by_name = files.iter().filter_map(|file| {
            let name = file.path.file_name()?.to_owned();
            Some(((file.id?.0, name), file.pid))
        });
        Self {
            by_id: by_id.collect(),
            by_name: by_name.collect(),
            by_path: files
                .into_iter()
                .map(|file| (file.path, file.pid))
                .collect(),
            unseen,
        }
    }

    /// By its path too: some mounts give a file a new inode number with each look. And there by its
    /// name, since the path may be by another mount of the same; by no size, since it grows.
    fn in_process(&self, engine: &Engine, file: &Found) -> Option<u32> {
        let by_path = self.by_path.get(&file.path);
        if let Some(pid) = by_path.or(self.by_id.get(&file.id())) {
            return Some(*pid);
        }
        let name = file.path.file_name()?.to_owned();
        let pid = self.by_name.get(&(file.seen.stat.dev, name))?;
        let place = engine.for_operation().locate(&file.path);
        match place.is_ok_and(|place| place.mount.is_native()) {
            true => None,
            false => Some(*pid),
        }
    }
}

impl Judge<'_> {
    /// Decides and, if it is to be so, removes. Says besides what it takes on the disk. `None` if
    /// the file has vanished.
    fn decide(
        &mut self,
        found: &Found,
        stays: Option<Reason>,
    ) -> Option<(StagingFile, u64, Verdict)> {
        let engine = &self.engine.for_operation();
        let (dir, name) = found.path.parent().zip(found.path.file_name())?;
        let mut place = Place::new(self.root, dir, For::Entries);
        let now = match place.look(engine, name) {
            Ok(now) => now?,
            Err(e) => {
                let e = Error::new("look at", &found.path, e);
                let file = self.describe(found, &found.seen);
                return Some((file, 0, Verdict::Failed(e)));
            }
        };
        let file = self.describe(found, &now);
        let reason = stays.or_else(|| self.reason_to_stay(engine, &mut place, found, &file, &now));
        let verdict = match reason {
            Some(reason) => reason.into(),
            None if self.options.dry_run => Verdict::Removed,
            None => match self.remove(engine, &mut place, name, found) {
                Ok(true) => Verdict::Removed,
                Ok(false) => return None,
                Err(e) => Verdict::Failed(Error::new("delete file", &found.path, e)),
            },
        };
        if matches!(verdict, Verdict::Removed) {
            *self.names_gone.entry(id(&now.stat)).or_default() += 1;
        }
        Some((file, now.allocated, verdict))
    }

    fn describe(&self, found: &Found, now: &Entry) -> StagingFile {
        let would_be_gone = match self.options.dry_run {
            true => self.names_gone.get(&id(&now.stat)).copied().unwrap_or(0),
            false => 0,
        };
        StagingFile {
            path: found.path.clone(),
            size: now.stat.size,
            // Not by what it is now: if it lost another name by this sweep, its ctime has moved.
            age: age(&found.seen.stat, SystemTime::now()),
            has_other_names: now.stat.nlink.saturating_sub(would_be_gone) > 1,
        }
    }

    fn reason_to_stay(
        &mut self,
        engine: &Engine,
        place: &mut Place<'_>,
        found: &Found,
        file: &StagingFile,
        now: &Entry,
    ) -> Option<Reason> {
        if !self.is_as_found(engine, place, found, now) {
            return Some(Reason::InUse(Use::Changed));
        }
        let owner = found.path.file_name().and_then(Owner::of);
        if let Some(owner) = owner.filter(Owner::lives) {
            return Some(Reason::InUse(Use::MadeBy(owner.pid())));
        }
        if file.age.is_none_or(|age| age < self.options.older_than) {
            return Some(Reason::Young);
        }
        let open = self.open.get_or_insert_with(Open::collect);
        let pid = open.in_process(engine, found)?;
        Some(Reason::InUse(Use::OpenIn(pid)))
    }

    /// Why none of the files of a multipart upload is removed: one of them is to stay, or is not
    /// among those that were found.
    fn reason_for_all(&mut self, (dir, upload): (&Path, &str), files: &[&Found]) -> Option<Reason> {
        let engine = &self.engine.for_operation();
        let mut place = Place::new(self.root, dir, For::Listing);
        for found in files {
            let name = found.path.file_name()?;
            let reason = match place.look(engine, name) {
                Ok(Some(now)) => {
                    let file = self.describe(found, &now);
                    self.reason_to_stay(engine, &mut place, found, &file, &now)
                }
                // It is being completed or aborted.
                Ok(None) => Some(Reason::InUse(Use::Changed)),
                // That is told when it is decided.
                Err(_) => Some(Reason::Young),
            };
            if reason.is_some() {
                return reason;
            }
        }
        // A part that came since is the youngest.
        let names = match self.names_of_uploads(&mut place) {
            Ok(names) => names.get(upload),
            Err(_) => return Some(Reason::Young),
        };
        let found: HashSet<_> = files.iter().filter_map(|f| f.path.file_name()).collect();
        let mut names = names.into_iter().flatten();
        match names.any(|name| !found.contains(name.as_os_str())) {
            true => Some(Reason::InUse(Use::Changed)),
            false => None,
        }
    }

    /// The files of all uploads in a directory by now, by what their names begin with. Of many
    /// uploads in one it is not read anew for each, but for those of a short while, by the time that
    /// it takes.
    fn names_of_uploads(&mut self, place: &mut Place<'_>) -> io::Result<&Uploads> {
        const SHORT: Duration = Duration::from_millis(50);
        let dir = place.path;
        let is_fresh = |listed: &UploadsIn| {
            listed.dir == dir && listed.since.elapsed() < SHORT.max(5 * listed.took)
        };
        if !self.uploads.as_ref().is_some_and(is_fresh) {
            let engine = self.engine.for_operation();
            let since = Instant::now();
            let names = engine.retrying("list", dir, || {
                place.dir = None;
                let mut names = Uploads::new();
                place.open()?.list(&mut |name, _| {
                    if let Some((upload, _)) = upload_of(&name) {
                        let upload = upload.to_owned();
                        names.entry(upload).or_default().push(name);
                    }
                    ControlFlow::Continue(())
                })?;
                Ok(names)
            })?;
            self.uploads = Some(UploadsIn {
                dir: dir.to_owned(),
                since,
                took: since.elapsed(),
                names,
            });
        }
        let listed = self.uploads.as_ref().map(|listed| &listed.names);
        listed.ok_or_else(sys::same_error::not_found)
    }

    fn is_as_found(
        &self,
        engine: &Engine,
        place: &mut Place<'_>,
        found: &Found,
        now: &Entry,
    ) -> bool {
        let was = &found.seen.stat;
        let same = |a: &Stat, b: &Entry| {
            let is_file = b.is_file;
            let b = &b.stat;
            let changed = a.changed == b.changed || self.names_gone.contains_key(&found.id());
            is_file && changed && (a.dev, a.size, a.modified) == (b.dev, b.size, b.modified)
        };
        if was.ino == now.stat.ino || !same(was, now) {
            return same(was, now);
        }
        // Alike, with another inode number. Either it is another file, or this mount gives a file
        // a new number with each look.
        let Some(name) = found.path.file_name() else {
            return false;
        };
        let again = place.look(engine, name);
        matches!(again, Ok(Some(again)) if again.stat.ino != now.stat.ino && same(was, &again))
    }

    /// Removes it if it is still what was found, and says whether it did. After an error that does
    /// not tell, it is looked at anew: the name may be another's by then.
    fn remove(
        &self,
        engine: &Engine,
        place: &mut Place<'_>,
        name: &OsStr,
        found: &Found,
    ) -> io::Result<bool> {
        let mut retry = engine.start_retry();
        let mut tried = false;
        loop {
            match place.look(engine, name)? {
                Some(now) if self.is_as_found(engine, place, found, &now) => {}
                _ => return Ok(tried),
            }
            // Not opened anew in between: the look was in this one.
            let Some(dir) = &place.dir else {
                return Err(sys::same_error::stale());
            };
            match dir.unlink(name) {
                Ok(()) => return Ok(true),
                Err(e) if is::absent(&e) => return Ok(tried),
                Err(e) if is::ambiguous(&e) && retry.again() => {
                    engine.retried("remove", &found.path, &e);
                    tried = true;
                }
                Err(e) => return Err(e),
            }
        }
    }
}

fn id(stat: &Stat) -> (u64, u64) {
    (stat.dev, stat.ino)
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

    #[cfg(target_os = "linux")]
    #[test]
    fn the_hosts_lock_file_is_it_where_it_is_kept() {
        let is_it = |dir: &str, name: &str| {
            let dir = Dir::open(Path::new(dir), For::Entries).unwrap();
            is_host_lock(&dir.stat().unwrap(), OsStr::new(name))
        };
        assert!(is_it("/tmp", HOST_LOCK));
        // The same directory by another path.
        assert!(is_it("/proc/self/root/tmp", HOST_LOCK));
        assert!(!is_it("/tmp", "object_store_localfs#2"));
        assert!(!is_it("/", HOST_LOCK));
        assert!(!is_it("/proc", HOST_LOCK));
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
