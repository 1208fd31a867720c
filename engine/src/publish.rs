//! Publishing: giving a file its new name in one step, and knowing whether that happened.

use std::io;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::mount::Mount;
use crate::observe::{self, Before, Verdict};
use crate::staging::Staging;
use crate::sys::{self, Stat, is, same_error};
use crate::{Engine, Mode, Version, dirs, lock, place};

/// Publishes a closed staging file that is `ours`, and says which version it became.
pub(crate) fn publish(
    engine: &Engine,
    staging: &mut Staging,
    ours: &Stat,
    mode: Mode,
) -> Result<Version> {
    let place = staging.place();
    let key = place.key();
    let version = until_done(engine, || {
        let _guard = lock::lock(key);
        let step = Step::new(
            engine,
            &place.mount,
            staging.path(),
            staging.dest(),
            Some(ours),
            Source::StagingFile,
        );
        let attempt = match mode {
            Mode::Overwrite => step.replace(),
            Mode::Create => step.create(),
        };
        Ok(match attempt? {
            Attempt::Done(()) => Attempt::Done(step.version(ours)),
            Attempt::Again(e) => Attempt::Again(e),
        })
    })?;
    staging.is_published();
    Ok(version)
}

/// What one attempt came to that did not fail for good.
pub(crate) enum Attempt<T> {
    Done(T),
    /// Nothing happened, and the error may pass.
    Again(Error),
}

/// Makes attempts until one is an answer. Each takes the path lock for itself: between two of
/// them, while this one pauses, it is free.
pub(crate) fn until_done<T>(
    engine: &Engine,
    mut attempt: impl FnMut() -> Result<Attempt<T>>,
) -> Result<T> {
    let mut retry = engine.start_retry();
    loop {
        match attempt()? {
            Attempt::Done(done) => return Ok(done),
            Attempt::Again(error) => {
                if !retry.again() {
                    return Err(given_up(error, retry.made()));
                }
                engine.retried("publish", error.path(), error.io_error());
            }
        }
    }
}

fn given_up(error: Error, attempts: u32) -> Error {
    let hint = if is::denied(error.io_error()) {
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
    ours: Option<&'a Stat>,
    source: Source,
    before: Before,
}

/// How an exclusive rename ended that did not fail for good.
pub(crate) enum Exclusive {
    Done,
    Again(Error),
    /// The kernel or the mount has no such call, or says so.
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
        ours: Option<&'a Stat>,
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

    /// Over whatever is there.
    pub(crate) fn replace(&self) -> Result<Attempt<()>> {
        let Err(e) = sys::rename(self.from, self.to) else {
            return Ok(Attempt::Done(()));
        };
        if !self.is_doubtful(&e) {
            return Err(self.failed("rename file", e));
        }
        Ok(match self.decide("rename", e, Mode::Overwrite)? {
            Outcome::Done => Attempt::Done(()),
            Outcome::Again(e) | Outcome::Exists(e) => Attempt::Again(self.failed("rename file", e)),
        })
    }

    /// Only if nothing is there: an exclusive rename, else a link of which the old name, a staging
    /// file's, is removed.
    fn create(&self) -> Result<Attempt<()>> {
        let refused = match self.rename_exclusively()? {
            Exclusive::Done => return Ok(Attempt::Done(())),
            Exclusive::Again(e) => return Ok(Attempt::Again(e)),
            Exclusive::Refused(e) => e,
        };
        Ok(match self.link(&refused)? {
            Attempt::Done(()) => {
                if let Err(e) = remove(self.engine, self.from) {
                    tracing::warn!(
                        path = %self.from.display(),
                        error = %e,
                        "a staging file stays behind; it is hidden from listings"
                    );
                }
                Attempt::Done(())
            }
            again => again,
        })
    }

    pub(crate) fn rename_exclusively(&self) -> Result<Exclusive> {
        if !self.mount.may_rename_exclusively() {
            return Ok(Exclusive::Refused(io::ErrorKind::Unsupported.into()));
        }
        let Err(e) = sys::rename_exclusive(self.from, self.to) else {
            return Ok(Exclusive::Done);
        };
        if is::unsupported_rename_flags(&e) {
            return Ok(Exclusive::Refused(e));
        }
        if !self.is_doubtful(&e) && !is::exists(&e) {
            // renameat2(2) tells of a read-only mount first, link(2) of what is there.
            if let Ok(Some(_)) = observe::look(self.engine, self.to) {
                return Err(self.already_exists(same_error::exists()));
            }
            return Err(self.failed("rename file", e));
        }
        match self.decide("exclusive rename", e, Mode::Create)? {
            Outcome::Done => Ok(Exclusive::Done),
            Outcome::Again(e) => Ok(Exclusive::Again(self.failed("rename file", e))),
            Outcome::Exists(e) => Err(self.already_exists(e)),
        }
    }

    /// Makes the new name a hard link, since an exclusive rename was `refused`.
    pub(crate) fn link(&self, refused: &io::Error) -> Result<Attempt<()>> {
        self.engine.fell_back("exclusive rename", self.to, "link");
        if !self.mount.may_link() {
            return Err(self.not_supported(io::ErrorKind::Unsupported.into()));
        }
        let linked = sys::link(self.from, self.to);
        // A name that the file system does not take gives EINVAL too, to both: only where the link
        // is heard was it the call.
        if linked.is_ok() || linked.as_ref().is_err_and(is::exists) || is::no_such_call(refused) {
            self.mount.refused_exclusive_rename();
        }
        let Err(e) = linked else {
            return Ok(Attempt::Done(()));
        };
        if is::unsupported_link(&e) {
            // Of an object it may be that file which cannot be linked (proc_sys_fs(5),
            // protected_hardlinks); of our own file it is the mount.
            if self.source == Source::StagingFile {
                self.mount.refused_link();
            }
            return Err(self.not_supported(e));
        }
        if !self.is_doubtful(&e) && !is::exists(&e) {
            return Err(self.failed("link", e));
        }
        match self.decide("link", e, Mode::Create)? {
            Outcome::Done => Ok(Attempt::Done(())),
            Outcome::Again(e) => Ok(Attempt::Again(self.failed("link", e))),
            Outcome::Exists(e) => Err(self.already_exists(e)),
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
            self.ours,
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
            Verdict::Superseded if mode == Mode::Create => {
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
            return ours.into();
        }
        match observe::look(self.engine, self.to) {
            Ok(Some(now)) if now.size == ours.size => {
                // An inode number that is not ours proves nothing where numbers stay: another
                // process may have been faster than our look.
                let is_ours = match self.mount.has_stable_inodes() {
                    true => now.ino == ours.ino,
                    false => now.modified == ours.modified,
                };
                if is_ours { (&now).into() } else { ours.into() }
            }
            _ => ours.into(),
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

    pub(crate) fn already_exists(&self, e: io::Error) -> Error {
        Error::new("create", self.to, e).kind_of(ErrorKind::AlreadyExists)
    }

    pub(crate) fn not_supported(&self, e: io::Error) -> Error {
        let fs_type = match self.mount.fs_type() {
            "" => "present",
            known => known,
        };
        Error::new("create exclusively", self.to, e)
            .kind_of(ErrorKind::NotSupported)
            .hint(format!(
                "the {fs_type} mount has neither an exclusive rename nor hard links; \
                 write with an overwriting mode, or to another mount"
            ))
    }
}

/// Removes a name that is known to be ours to remove; that it is gone already is as well.
pub(crate) fn remove(engine: &Engine, path: &Path) -> io::Result<()> {
    match engine.retrying("remove", path, || sys::unlink(path)) {
        Err(e) if is::absent(&e) => Ok(()),
        done => done,
    }
}
