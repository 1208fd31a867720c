//! Publishing: giving a file its new name in one step, and knowing whether that happened.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::advisory::{self, Locked, Others};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{self, PathGuard};
use crate::mount::Mount;
use crate::observe::{self, Before, Verdict};
use crate::place::{self, Place};
use crate::staging::Staging;
use crate::sys::{self, HeldLock, Stat, is, same_error};
use crate::{Engine, Exclusion, Mode, Version, dirs, spool};

/// What else happens while the path is locked for a publish: nothing, or the two ends of a move.
pub(crate) trait Around {
    /// Locks what must be locked. `None` if another process holds it.
    fn lock(&self) -> Result<Option<Guards>>;
    /// Right before the file gets its name.
    fn check(&self) -> Result<()> {
        Ok(())
    }
    /// Once it has it.
    fn finish(&self) -> Result<()> {
        Ok(())
    }
}

/// Held for one attempt.
pub(crate) struct Guards {
    // Freed before the path is: others of this process would find it taken.
    pub(crate) others: Others,
    /// Of a move.
    pub(crate) _source: Option<HeldLock>,
    pub(crate) _path: PathGuard,
}

/// The destination alone.
pub(crate) struct Alone<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) dest: &'a Path,
    pub(crate) place: &'a Place,
    pub(crate) mode: Mode,
}

impl Around for Alone<'_> {
    fn lock(&self) -> Result<Option<Guards>> {
        let path = lock::lock(self.place.key());
        let others = match self.mode {
            // What is not there yet cannot be updated. But where the answer is looked for, it is not
            // to be another's.
            Mode::Create if self.place.mount.is_native() => Some(Others::default()),
            _ => advisory::exclude_others(self.engine, &[(self.dest, self.place)])?,
        };
        Ok(others.map(|others| Guards {
            others,
            _source: None,
            _path: path,
        }))
    }
}

/// Publishes a closed staging file that is `ours`, and says which version it became.
pub(crate) fn publish(
    engine: &Engine,
    staging: &mut Staging,
    ours: &Stat,
    mode: Mode,
    around: &dyn Around,
) -> Result<Version> {
    let published = until_done(engine, || {
        let place = staging.place();
        let Some(guards) = around.lock()? else {
            return Ok(Attempt::Busy(locked_by_others(staging.dest())));
        };
        let mount = &place.mount;
        let dest = staging.dest();
        let before = match mode {
            Mode::Update(expected) => {
                Before::There(expect(engine, place, dest, &guards, expected)?)
            }
            // Where a lock decides, the look is made when it is held: who waits does not ask the
            // mount.
            Mode::Create if !mount.exclusive_rename.may() && !mount.links.may() => {
                Before::NotLooked
            }
            Mode::Overwrite if mount.repeats_mtimes(Some(ours)) => {
                Before::look_anyway(engine, dest)
            }
            _ => Before::look(engine, mount, dest),
        };
        around.check()?;
        let mut step = Step {
            engine,
            mount,
            from: staging.path(),
            to: staging.dest(),
            ours: Some(*ours),
            source: Source::StagingFile,
            before,
        };
        step.make_distinct();
        if matches!(mode, Mode::Update(_)) && step.is_no_later() {
            return Err(Error::new("update", dest, io::ErrorKind::Unsupported.into())
                .kind_of(ErrorKind::NotSupported)
                .hint(
                    "the mount's times are too coarse to tell the new version from older ones, and \
                     it does not let them be set",
                ));
        }
        guards.others.announce(place, staging.path())?;
        let tried = match mode {
            Mode::Create => step.create(place, &guards.others)?,
            _ => step.replace(mode)?,
        };
        Ok(match tried {
            Tried::Done => {
                let version = step.version(&step.ours.unwrap_or(*ours));
                around.finish()?;
                Attempt::Done(Some(version))
            }
            Tried::Again(e) => Attempt::Again(e),
            Tried::Busy(e) => Attempt::Busy(e),
            Tried::Refused(_) => Attempt::Done(None),
        })
    })?;
    let version = match published {
        Some(version) => version,
        None => write_out(engine, staging, ours, mode, around)?,
    };
    staging.is_published();
    Ok(version)
}

/// What is there, if it is the version that is to be replaced and nobody else can replace it now.
pub(crate) fn expect(
    engine: &Engine,
    place: &Place,
    dest: &Path,
    guards: &Guards,
    expected: Version,
) -> Result<Stat> {
    if engine.update_exclusion >= Exclusion::OtherProcesses && !guards.others.has(place) {
        return Err(advisory::no_lock_on_host(dest));
    }
    observe::expect(engine, &place.mount, dest, expected)
}

/// No rename: the staging file's bytes go to the destination in one pass.
fn write_out(
    engine: &Engine,
    staging: &mut Staging,
    ours: &Stat,
    mode: Mode,
    around: &dyn Around,
) -> Result<Version> {
    let (path, dest) = (staging.path(), staging.dest());
    engine.fell_back("rename", dest, "writing the destination in one pass");
    let mut file = engine.open(path.to_owned())?;
    let like = file.file().try_clone().ok();
    let attributes = file.attributes_to_carry()?;
    let mut source = spool::Source {
        len: ours.size,
        read: &mut |range| file.read(range),
        like: like.as_ref(),
        attributes: &attributes,
    };
    let version = spool::write_out(engine, staging.place(), dest, &mut source, mode, around)?;
    staging.discard();
    Ok(version)
}

/// What one attempt came to that did not fail for good.
pub(crate) enum Attempt<T> {
    Done(T),
    /// Nothing happened, and the error may pass.
    Again(Error),
    /// Another process holds the lock of the path; the error if that lasts.
    Busy(Error),
}

/// Makes attempts until one is an answer. Each takes the path lock for itself: between two of
/// them, while this one pauses, it is free.
pub(crate) fn until_done<T>(
    engine: &Engine,
    mut attempt: impl FnMut() -> Result<Attempt<T>>,
) -> Result<T> {
    let mut retry = engine.start_retry();
    let mut turn = Turn::default();
    loop {
        match attempt()? {
            Attempt::Done(done) => return Ok(done),
            Attempt::Again(error) => {
                if !retry.again() {
                    return Err(given_up(error, retry.made()));
                }
                engine.retried("publish", error.path(), error.io_error());
            }
            Attempt::Busy(error) => {
                if !turn.wait() {
                    return Err(error);
                }
            }
        }
    }
}

/// The wait for another process that holds the lock of a path. It holds it for the few calls of a
/// publish, and the kernel frees it when it dies; who is stopped in between holds it for longer.
#[derive(Default)]
struct Turn {
    since: Option<Instant>,
    pause: Duration,
}

impl Turn {
    const PATIENCE: Duration = Duration::from_secs(30);
    const LONGEST: Duration = Duration::from_millis(10);

    fn wait(&mut self) -> bool {
        if self.since.get_or_insert_with(Instant::now).elapsed() > Self::PATIENCE {
            return false;
        }
        self.pause = (self.pause * 2).clamp(Duration::from_micros(200), Self::LONGEST);
        std::thread::sleep(self.pause);
        true
    }
}

pub(crate) fn locked_by_others(path: &Path) -> Error {
    let e = io::Error::from(io::ErrorKind::TimedOut);
    Error::new("lock", path, e).hint(format!(
        "another process has held the lock of this path, or a flock of its directory, for {} s: is \
         it stopped?",
        Turn::PATIENCE.as_secs()
    ))
}

fn given_up(error: Error, attempts: u32) -> Error {
    let in_use = is::denied(error.io_error()) || is::busy(error.io_error());
    let hint = if in_use {
        format!(
            "{attempts} attempts; another program may have the destination open: close it there, \
             or allow more time with with_retry"
        )
    } else {
        format!("{attempts} attempts, none took effect")
    };
    error.hint(hint)
}

/// What the old name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody else knows it: that it is gone is proof of what we did.
    StagingFile,
    /// Others may rename it at the same time.
    Object,
}

/// One file that gets another name, under the path lock.
pub(crate) struct Step<'a> {
    engine: &'a Engine,
    mount: &'a Mount,
    from: &'a Path,
    to: &'a Path,
    /// What the file was before; on a local disk it need not have been looked at.
    ours: Option<Stat>,
    source: Source,
    before: Before,
}

/// How a way of publishing ended that did not fail for good.
pub(crate) enum Tried {
    Done,
    Again(Error),
    /// Another process holds the lock of the path; the error if that lasts.
    Busy(Error),
    /// The kernel or the mount has no such call, or not between these two names.
    Refused(io::Error),
}

/// What a look after an error came to.
enum Outcome {
    Done,
    /// Something is at the destination, and it is not ours.
    Exists(io::Error),
    Again(io::Error),
}

impl<'a> Step<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        mount: &'a Mount,
        from: &'a Path,
        to: &'a Path,
        ours: Option<Stat>,
        source: Source,
    ) -> Self {
        Self {
            engine,
            mount,
            from,
            to,
            ours,
            source,
            before: Before::look(engine, mount, to),
        }
    }

    /// Looks at what is replaced where a clock is too coarse to tell its version from a later one.
    pub(crate) fn look_at_replaced(&mut self) {
        if self.mount.repeats_mtimes(None) && matches!(self.before, Before::NotLooked) {
            self.before = Before::look_anyway(self.engine, self.to);
        }
    }

    /// Moves the file's mtime if it would be the same version as what it replaces.
    pub(crate) fn make_distinct(&mut self) {
        if let (Some(ours), Before::There(before)) = (self.ours, self.before) {
            if (ours.dev, ours.ino) == (before.dev, before.ino) {
                return;
            }
            let is_new = self.source == Source::StagingFile || self.is_no_later();
            let (engine, mount) = (self.engine, self.mount);
            let before = match before.is_symlink {
                // The version that readers saw is that of what it leads to.
                true => sys::see(self.to).map_or(before, |seen| seen.stat),
                false => before,
            };
            let moved = observe::make_distinct(engine, mount, self.from, &ours, &before, is_new);
            self.ours = moved.or(self.ours);
        }
    }

    /// After a rename that was not made: gives a source whose mtime was moved for it the one it had.
    pub(crate) fn restore(&self, source: Option<&Stat>) {
        let (Some(source), Some(ours)) = (source, self.ours) else {
            return;
        };
        if let Some(modified) = source.modified.filter(|m| Some(*m) != ours.modified) {
            let engine = self.engine.for_operation();
            let restored = engine.retrying("set the mtime of", self.from, || {
                sys::set_modified(self.from, modified)
            });
            if let Err(e) = restored {
                tracing::debug!(path = %self.from.display(), error = %e, "the mtime stays moved");
            }
        }
    }

    /// Whether it would be the same version as what it replaces, by what the mount keeps.
    pub(crate) fn is_alike(&self) -> bool {
        match (self.ours, self.before) {
            // Two names of one file may well be alike.
            (Some(ours), Before::There(before)) => {
                (ours.dev, ours.ino) != (before.dev, before.ino)
                    && self.mount.version(&ours) == self.mount.version(&before)
            }
            _ => false,
        }
    }

    /// Whether what comes here is not later than what it replaces, on a mount where an mtime may come
    /// again: a version that was here before might be alike.
    pub(crate) fn is_no_later(&self) -> bool {
        let (Some(ours), Before::There(before)) = (self.ours, self.before) else {
            return false;
        };
        let micros = |stat: &Stat| self.mount.version(stat).modified_micros;
        let is_other = (ours.dev, ours.ino) != (before.dev, before.ino);
        self.mount.repeats_mtimes(None) && is_other && micros(&ours) <= micros(&before)
    }

    /// Over whatever is there.
    pub(crate) fn replace(&self, mode: Mode) -> Result<Tried> {
        match self.rename(mode)? {
            Ok(tried) => Ok(tried),
            Err(e) => Ok(Tried::Again(self.failed("rename file", e))),
        }
    }

    /// A plain rename. The inner error is what is there, if the mode is to create.
    fn rename(&self, mode: Mode) -> Result<io::Result<Tried>> {
        if !self.mount.rename.may() {
            return Ok(Ok(Tried::Refused(io::ErrorKind::Unsupported.into())));
        }
        let Err(e) = sys::rename(self.from, self.to) else {
            self.mount.rename.works();
            return Ok(Ok(Tried::Done));
        };
        if is::no_rename(&e) && self.source == Source::StagingFile {
            self.mount.lacks_rename();
        }
        // Of an object it may be that file, where a union mount cannot copy it up.
        if is::no_rename(&e) || is::cross_device(&e) {
            return Ok(Ok(Tried::Refused(e)));
        }
        if !self.is_doubtful(&e) {
            return Err(self.failed("rename file", e));
        }
        Ok(match self.decide("rename", e, mode)? {
            Outcome::Done => Ok(Tried::Done),
            Outcome::Again(e) => Ok(Tried::Again(self.failed("rename file", e))),
            Outcome::Exists(e) => Err(e),
        })
    }

    /// Only if nothing is there: an exclusive rename, else a link of which the old name, a staging
    /// file's, is removed, else a look and a rename with other processes locked out.
    fn create(&self, place: &Place, held: &Others) -> Result<Tried> {
        match self.rename_exclusively()? {
            Tried::Refused(e) => match self.link(&e)? {
                Tried::Done => {
                    if let Err(e) = remove(&self.engine.for_operation(), self.from) {
                        warn_left_behind(self.from, &e);
                    }
                    Ok(Tried::Done)
                }
                Tried::Refused(e) => self.create_under_lock(place, held, e),
                tried => Ok(tried),
            },
            tried => Ok(tried),
        }
    }

    /// An exclusive rename, and nothing else.
    pub(crate) fn rename_exclusively(&self) -> Result<Tried> {
        if !self.mount.exclusive_rename.may() {
            return Ok(Tried::Refused(io::ErrorKind::Unsupported.into()));
        }
        let Err(e) = sys::rename_exclusive(self.from, self.to) else {
            self.mount.exclusive_rename.works();
            return Ok(Tried::Done);
        };
        if is::unsupported_rename_flags(&e) || is::cross_device(&e) {
            return Ok(Tried::Refused(e));
        }
        if !self.is_doubtful(&e) && !is::exists(&e) {
            // renameat2(2) tells of a read-only mount first, link(2) of what is there.
            if let Ok(Some(_)) = observe::look(self.engine, self.to) {
                return Err(Error::already_exists(self.to, same_error::exists()));
            }
            return Err(self.failed("rename file", e));
        }
        match self.decide("exclusive rename", e, Mode::Create)? {
            Outcome::Done => Ok(Tried::Done),
            Outcome::Again(e) => Ok(Tried::Again(self.failed("rename file", e))),
            Outcome::Exists(e) => Err(Error::already_exists(self.to, e)),
        }
    }

    /// Makes the new name a hard link, since an exclusive rename was `refused`.
    pub(crate) fn link(&self, refused: &io::Error) -> Result<Tried> {
        // A name that the file system does not take gives EINVAL too, to both: only where another
        // call is heard was it this one.
        let heard = || {
            if is::unsupported_rename_flags(refused) {
                self.mount.exclusive_rename.refused();
            }
        };
        if is::no_such_call(refused) {
            heard();
        }
        if !self.mount.links.may() {
            return Ok(Tried::Refused(io::ErrorKind::Unsupported.into()));
        }
        self.engine.fell_back("exclusive rename", self.to, "link");
        let e = match sys::link(self.from, self.to) {
            Ok(()) => {
                heard();
                self.mount.links.works();
                return Ok(Tried::Done);
            }
            Err(e) => e,
        };
        if is::exists(&e) {
            heard();
        }
        if is::unsupported_link(&e) {
            // Of an object it may be that file which cannot be linked (proc_sys_fs(5),
            // protected_hardlinks); of our own file it is the mount.
            if self.source == Source::StagingFile {
                self.mount.links.refused();
            }
            return Ok(Tried::Refused(e));
        }
        if is::link_limit(&e) {
            return Ok(Tried::Refused(e));
        }
        if !self.is_doubtful(&e) && !is::exists(&e) {
            return Err(self.failed("link", e));
        }
        match self.decide("link", e, Mode::Create)? {
            Outcome::Done => Ok(Tried::Done),
            Outcome::Again(e) => Ok(Tried::Again(self.failed("link", e))),
            Outcome::Exists(e) => Err(Error::already_exists(self.to, e)),
        }
    }

    /// Looks, and renames if nothing is there, while other processes of this crate are kept out:
    /// the mount has no call that does both. The path lock keeps out the threads of this one.
    pub(crate) fn create_under_lock(
        &self,
        place: &Place,
        held: &Others,
        refused: io::Error,
    ) -> Result<Tried> {
        if !self.mount.rename.may() {
            return Ok(Tried::Refused(refused));
        }
        let accepted = self.engine.exclusive_create;
        if accepted == Exclusion::OtherHosts && self.mount.locks_for_all_hosts().is_err() {
            return Err(self.not_supported(refused, "other hosts"));
        }
        let _others = match advisory::try_lock(self.engine, self.to, place, held, accepted)? {
            Locked::Yes(guard) => Some(guard),
            Locked::Busy => return Ok(Tried::Busy(locked_by_others(self.to))),
            Locked::Unavailable if accepted == Exclusion::OtherThreads => None,
            Locked::Unavailable => return Err(self.not_supported(refused, "other processes")),
        };
        self.engine
            .fell_back("link", self.to, "an advisory lock, a look and a rename");
        // Looked at again, now that nobody else creates it.
        let now = match observe::look(self.engine, self.to) {
            Ok(None) => Self {
                before: Before::Absent,
                ..*self
            },
            Ok(Some(_)) => return Err(Error::already_exists(self.to, same_error::exists())),
            Err(e) => return Err(self.failed("look at the destination of", e)),
        };
        match now.rename(Mode::Create)? {
            Ok(Tried::Done) => {
                // It takes this name, so that EINVAL was an answer to the call.
                self.mount.exclusive_rename.refused();
                Ok(Tried::Done)
            }
            Ok(tried) => Ok(tried),
            Err(e) => Err(Error::already_exists(self.to, e)),
        }
    }

    /// An error after which the call may or may not have taken effect.
    fn is_doubtful(&self, e: &io::Error) -> bool {
        if is::not_found(e) {
            // Our own file was there a moment ago. An object may have been moved by somebody else,
            // and a local disk does not lose replies.
            return self.source == Source::StagingFile || !self.mount.is_native();
        }
        // SMB and DrvFs while somebody has the file open; a missing right is no such thing.
        let shared = || is::denied(e) && !self.mount.is_native() && self.may_write();
        is::ambiguous(e) || shared()
    }

    fn may_write(&self) -> bool {
        sys::may_write_dir(place::split(self.from).0) && sys::may_write_dir(place::split(self.to).0)
    }

    /// Looks at both names after `e`.
    fn decide(&self, step: &'static str, e: io::Error, mode: Mode) -> Result<Outcome> {
        // A local disk does not lose replies: what is there is not ours.
        if is::exists(&e) && self.mount.is_native() {
            return Ok(Outcome::Exists(e));
        }
        let verdict = observe::after_error(
            self.engine,
            self.mount,
            self.from,
            self.to,
            &self.before,
            self.ours.as_ref(),
        )
        .map_err(|look| {
            self.failed("look after a failed rename", look)
                .hint(format!("whether it took effect is unknown: {e}"))
        })?;
        match verdict {
            Verdict::Applied => self.engine.resolved(step, self.to, &e),
            Verdict::AppliedByLink if step == "link" => self.engine.resolved(step, self.to, &e),
            Verdict::AppliedByLink | Verdict::NotApplied if is::exists(&e) => {
                return Ok(Outcome::Exists(e));
            }
            Verdict::AppliedByLink | Verdict::NotApplied => {
                // Not a lost reply: the caller can make the directory.
                if is::not_found(&e) && dirs::is_missing_above(self.to) {
                    return Err(self.failed("rename file", e));
                }
                return Ok(Outcome::Again(e));
            }
            Verdict::Taken => return Err(self.taken(e)),
            Verdict::Superseded if mode.has_condition() => {
                return Err(self.failed("rename file", e).hint(
                    "the outcome is unknown: the file is gone, and another one is at the \
                     destination; look there before you write again",
                ));
            }
            // As if theirs came later.
            Verdict::Superseded => self.engine.resolved(step, self.to, &e),
        }
        Ok(Outcome::Done)
    }

    /// What the destination is now. On a mount that is not native a look improves the answer: the
    /// mtime may have moved at close, the inode number with the name. It may fail.
    fn version(&self, ours: &Stat) -> Version {
        if self.mount.is_native() {
            return self.mount.version(ours);
        }
        match observe::look(self.engine, self.to) {
            Ok(Some(now)) if now.size == ours.size => {
                let same = now.ino == ours.ino;
                if !same && now.modified == ours.modified {
                    self.mount.saw_inode_change();
                }
                // Where numbers stay, one that is not ours is another process's, which was faster
                // than our look. Elsewhere a rename may give a new one, and a new mtime too.
                let is_ours = same || !self.mount.numbers_files();
                match (is_ours, self.before) {
                    (false, _) => self.mount.version(ours),
                    // The mtime came with the rename, and is that of what was replaced.
                    (true, Before::There(before)) => self.mount.version(
                        &observe::make_distinct(
                            self.engine,
                            self.mount,
                            self.to,
                            &now,
                            &before,
                            false,
                        )
                        .unwrap_or(now),
                    ),
                    (true, _) => self.mount.version(&now),
                }
            }
            _ => self.mount.version(ours),
        }
    }

    fn failed(&self, step: &'static str, e: io::Error) -> Error {
        Error::new(step, self.from, e).to(self.to)
    }

    fn taken(&self, e: io::Error) -> Error {
        match self.source {
            Source::StagingFile => self
                .failed("rename file", e)
                .hint("the file was removed by someone else; the destination is untouched"),
            Source::Object => {
                Error::new("find the source", self.from, e).kind_of(ErrorKind::NotFound)
            }
        }
    }

    fn not_supported(&self, e: io::Error, excluded: &str) -> Error {
        not_supported(self.mount, self.to, e, excluded)
    }
}

/// Nothing that the mount can do excludes all who are to be `excluded`.
pub(crate) fn not_supported(mount: &Mount, to: &Path, e: io::Error, excluded: &str) -> Error {
    let fs_type = match mount.fs_type() {
        "" => "present",
        known => known,
    };
    let weaker = match excluded {
        "other hosts" => "OtherProcesses",
        _ => "OtherThreads",
    };
    Error::new("create exclusively", to, e)
        .kind_of(ErrorKind::NotSupported)
        .hint(format!(
            "the {fs_type} mount has neither an exclusive rename nor hard links, and nothing else \
             excludes {excluded}; if no others write there, accept \
             with_exclusive_create(Exclusion::{weaker})"
        ))
}

/// What cannot be removed stays hidden.
pub(crate) fn warn_left_behind(staging: &Path, e: &io::Error) {
    tracing::warn!(
        path = %staging.display(),
        error = %e,
        "a staging file stays behind; it is hidden from listings"
    );
}

/// Removes a name that is known to be ours to remove; that it is gone already is as well.
pub(crate) fn remove(engine: &Engine, path: &Path) -> io::Result<()> {
    match engine.retrying("remove", path, || sys::unlink(path)) {
        Err(e) if is::absent(&e) => Ok(()),
        done => done,
    }
}
