//! Publishing: making a staging file visible at its destination in one step.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::mount::Mount;
use crate::observe::{self, Before, Verdict};
use crate::retry::Retry;
use crate::staging::Staging;
use crate::sys::{self, Stat, is, same_error};
use crate::{Engine, Mode, Version, dirs, lock, place};

/// How long another process is given between its link and its unlink.
const CLAIM_AFTER: Duration = Duration::from_millis(50);

/// Publishes a closed staging file that is `ours`, and says which version it became.
pub(crate) fn publish(
    engine: &Engine,
    staging: &mut Staging,
    ours: &Stat,
    mode: Mode,
) -> Result<Version> {
    let place = staging.place().clone();
    let _guard = lock::lock(place.key());
    let step = Step::new(
        engine,
        &place.mount,
        staging.path(),
        staging.dest(),
        ours,
        Source::StagingFile,
    );
    match mode {
        Mode::Overwrite => step.replace(),
        Mode::Create => step.create(),
    }?;
    let version = step.version();
    staging.is_published();
    Ok(version)
}

/// What the old name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody else knows it, and it is in no listing.
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
    ours: &'a Stat,
    source: Source,
    before: Before,
}

/// What an attempt came to that did not fail.
enum Outcome {
    Done,
    /// Something is at the destination, and it is not ours.
    Exists(io::Error),
    Again,
}

impl<'a> Step<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        mount: &'a Mount,
        from: &'a Path,
        to: &'a Path,
        ours: &'a Stat,
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
    pub(crate) fn replace(&self) -> Result<()> {
        let mut retry = self.engine.retry.start();
        loop {
            let Err(e) = sys::rename(self.from, self.to) else {
                return Ok(());
            };
            if !self.is_doubtful(&e) {
                return Err(self.failed("rename file", e));
            }
            match self.decide("rename", e, Mode::Overwrite, &mut retry)? {
                Outcome::Done => return Ok(()),
                Outcome::Again => {}
                Outcome::Exists(e) => return Err(self.failed("rename file", e)),
            }
        }
    }

    /// Only if nothing is there: an exclusive rename, else a link of which the old name is removed.
    pub(crate) fn create(&self) -> Result<()> {
        match self.rename_exclusively()? {
            true => Ok(()),
            false => self.link_and_remove(),
        }
    }

    /// `false` if the mount has no such call.
    pub(crate) fn rename_exclusively(&self) -> Result<bool> {
        if !self.mount.may_rename_exclusively() {
            return Ok(false);
        }
        let mut retry = self.engine.retry.start();
        loop {
            let Err(e) = sys::rename_exclusive(self.from, self.to) else {
                return Ok(true);
            };
            if is::unsupported_rename_flags(&e) {
                self.mount.refused_exclusive_rename();
                return Ok(false);
            }
            if !self.is_doubtful(&e) && !is::exists(&e) {
                return Err(self.failed("rename file", e));
            }
            match self.decide("exclusive rename", e, Mode::Create, &mut retry)? {
                Outcome::Done => return Ok(true),
                Outcome::Again => {}
                Outcome::Exists(e) => return Err(self.already_exists(e)),
            }
        }
    }

    /// An error here leaves both names as they were.
    fn link_and_remove(&self) -> Result<()> {
        self.engine.fell_back("exclusive rename", self.to, "link");
        if !self.mount.may_link() {
            return Err(self.not_supported(io::ErrorKind::Unsupported.into()));
        }
        let mut retry = self.engine.retry.start();
        while let Err(e) = sys::link(self.from, self.to) {
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
            let existed = is::exists(&e);
            match self.decide("link", e, Mode::Create, &mut retry)? {
                Outcome::Done if existed && self.source == Source::Object => return self.claim(),
                Outcome::Done => break,
                Outcome::Again => {}
                Outcome::Exists(e) => return Err(self.already_exists(e)),
            }
        }
        self.remove_old_name()
    }

    /// The destination is a link of our source, made by a request of ours whose reply was lost, or
    /// by another process that renames the same source. That one is about to remove the source:
    /// who removes it has made the rename.
    fn claim(&self) -> Result<()> {
        std::thread::sleep(CLAIM_AFTER);
        match sys::unlink(self.from) {
            Ok(()) => Ok(()),
            Err(e) if is::absent(&e) => Err(self.already_exists(same_error::exists())),
            Err(_) => self.remove_old_name(),
        }
    }

    /// The other half of a link.
    fn remove_old_name(&self) -> Result<()> {
        let Err(e) = remove(self.engine, self.from) else {
            return Ok(());
        };
        if self.source == Source::StagingFile {
            tracing::warn!(
                path = %self.from.display(),
                error = %e,
                "a staging file stays behind; it is hidden from listings"
            );
            return Ok(());
        }
        // Two names of one object: as it was before, and an error, rather than half a rename.
        let _ = remove(self.engine, self.to);
        Err(Error::new("delete file", self.from, e))
    }

    /// An error after which the call may or may not have taken effect.
    fn is_doubtful(&self, e: &io::Error) -> bool {
        is::ambiguous(e)
            // The file was just closed or looked at.
            || is::not_found(e)
            // SMB and DrvFs while somebody has the file open; a missing right is no such thing.
            || (is::denied(e) && !self.mount.is_native() && self.may_write())
    }

    fn may_write(&self) -> bool {
        sys::may_write_dir(place::split(self.from).0) && sys::may_write_dir(place::split(self.to).0)
    }

    /// Looks at both names after `e`.
    fn decide(
        &self,
        step: &'static str,
        e: io::Error,
        mode: Mode,
        retry: &mut Retry,
    ) -> Result<Outcome> {
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
                if !retry.again() {
                    return Err(self.given_up(e, retry.made()));
                }
                self.engine.retried(step, self.to, &e);
                return Ok(Outcome::Again);
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
    pub(crate) fn version(&self) -> Version {
        if self.mount.is_native() {
            return self.ours.into();
        }
        match observe::look(self.engine, self.to) {
            Ok(Some(now)) if now.size == self.ours.size => {
                let same_inode = now.ino == self.ours.ino;
                let same_time = now.modified == self.ours.modified;
                if same_time && !same_inode {
                    self.mount.saw_inode_change();
                }
                // Neither: another process was faster than our look.
                if same_inode || same_time {
                    (&now).into()
                } else {
                    self.ours.into()
                }
            }
            _ => self.ours.into(),
        }
    }

    fn failed(&self, step: &'static str, e: io::Error) -> Error {
        Error::new(step, self.from, e).to(self.to)
    }

    fn given_up(&self, e: io::Error, attempts: u32) -> Error {
        let denied = is::denied(&e);
        let error = self.failed("rename file", e);
        if denied {
            error.hint(format!(
                "{attempts} attempts; another program may have the destination open: close it \
                 there, or allow more time with with_retry"
            ))
        } else {
            error.hint(format!("{attempts} attempts, none took effect"))
        }
    }

    fn taken(&self, e: io::Error) -> Error {
        self.failed("rename file", e)
            .hint("the file was removed by someone else; the destination is untouched")
    }

    fn already_exists(&self, e: io::Error) -> Error {
        Error::new("create", self.to, e).kind_of(ErrorKind::AlreadyExists)
    }

    fn not_supported(&self, e: io::Error) -> Error {
        Error::new("create exclusively", self.to, e)
            .kind_of(ErrorKind::NotSupported)
            .hint(format!(
                "the {} mount has neither an exclusive rename nor hard links; \
                 write with an overwriting mode, or to another mount",
                match self.mount.fs_type() {
                    "" => "present",
                    known => known,
                }
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
