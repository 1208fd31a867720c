//! The engine of `object_store_localfs`: how a file is written, read, listed, copied, renamed and
//! removed so that it holds on any mount. It knows files, not objects, and blocks the calling thread.
//!
//! Programs use [`object_store_localfs`](https://crates.io/crates/object_store_localfs) or an
//! `object_store` patched by its command line; both depend on this package, and cargo admits one
//! of it in a program, so that all stores of a process share one table of path locks.
//!
//! # The order of a write
//!
//! 1. The staging file is made next to the destination, `{destination}#{digits}`, and given its
//!    attributes.
//! 2. Parts are written at their offsets, in any order, in parallel.
//! 3. Every part that was handed out has been written; else an error, and nothing is published.
//! 4. fsync, if it was asked for.
//! 5. fstat: the size is the number of bytes accepted; else an error.
//! 6. close, checked.
//! 7. The path is locked, for each attempt anew: no pause is made with the lock held.
//! 8. Publish: a rename, or a step that creates exclusively.
//! 9. Observe: after an ambiguous error, or where the mount is not known to be a local disk, the
//!    paths are looked at, and what is found decides.
//! 10. fsync of the directory, if it was asked for; the path is unlocked.

mod advisory;
mod attributes;
mod by_data;
mod dirs;
mod error;
pub mod fault;
mod fnv;
mod keys;
mod ledger;
mod list;
mod lock;
mod mount;
mod multipart;
mod names;
mod observe;
mod place;
mod publish;
mod read;
mod recoveries;
mod relocate;
mod remove;
mod retry;
mod spool;
mod staging;
mod sweep;
mod sys;
mod upload;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub use attributes::{Attribute, Attributes};
pub use error::{Error, ErrorKind, Result};
pub use keys::{After, Keys};
pub use list::{Depth, Listed, Lister};
pub use lock::PathGuard;
pub use mount::{Known, MountFacts};
pub use multipart::MultipartPart;
pub use read::{FileInfo, Reader, merged_ranges};
pub use recoveries::Recoveries;
pub use retry::RetryPolicy;
pub use sweep::{StagingFile, SweepEvent, SweepOptions, Swept, Use, Verdict};
pub use upload::{Part, PartWriter, Upload};

use place::Place;
use recoveries::{Counters, count};
use retry::{Retry, Spent};
use sys::{Stat, is};

/// Whether an object may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Replaces what is there.
    Overwrite,
    /// Fails with [`ErrorKind::AlreadyExists`] if something is there.
    Create,
    /// Replaces this version alone: fails with [`ErrorKind::Precondition`] if another one is there,
    /// or none. Only for what is written; copies and renames have no such thing.
    Update(Version),
}

impl Mode {
    /// Whether somebody else's object must not be lost by it.
    fn has_condition(self) -> bool {
        self != Self::Overwrite
    }
}

/// Who is kept out while something is looked at and then replaced. Each keeps out those before it as
/// well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exclusion {
    /// The other threads of this process.
    OtherThreads,
    /// The other processes of this host that use this crate.
    #[default]
    OtherProcesses,
    /// All hosts that have the file system mounted, as far as its server keeps what it promises.
    OtherHosts,
}

/// A version of a file, by what an e_tag is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The inode number; zero where the platform has none.
    pub inode: u64,
    /// When it was written, in microseconds since 1970; zero if that is not known or earlier.
    pub modified_micros: u128,
    /// In bytes.
    pub size: u64,
}

impl From<&Stat> for Version {
    fn from(stat: &Stat) -> Self {
        let since_1970 = stat
            .modified
            .and_then(|m| m.duration_since(SystemTime::UNIX_EPOCH).ok());
        Self {
            inode: stat.ino,
            modified_micros: since_1970.unwrap_or_default().as_micros(),
            size: stat.size,
        }
    }
}

/// How files are written: options, and the counters of what it recovered from. Clones share the
/// counters.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    fsync: bool,
    retry: RetryPolicy,
    exclusive_create: Exclusion,
    update_exclusion: Exclusion,
    /// Not the default.
    exclusion_is_asked: bool,
    spool_dir: Option<Arc<Path>>,
    counters: Arc<Counters>,
    /// The pauses of the operation that this clone is for.
    spent: Spent,
}

impl Engine {
    /// Neither fsync, nor a retry policy other than the default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether files, and the directories that name them, are synced before an operation answers.
    pub fn with_fsync(mut self, fsync: bool) -> Self {
        self.fsync = fsync;
        self
    }

    /// How calls are made again.
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// The weakest exclusion that creating a file accepts where the mount has no step that creates
    /// exclusively.
    pub fn with_exclusive_create(mut self, weakest: Exclusion) -> Self {
        self.exclusive_create = weakest;
        self
    }

    /// Who is excluded while a version is compared and replaced ([`Mode::Update`]). Overwrites, copies
    /// over something, renames and deletes take part in it.
    ///
    /// It is asked for in the directory `dir`, if one is given: for [`Exclusion::OtherHosts`] that
    /// makes the directory's lock file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotSupported`] if it cannot be had here, as far as can be known.
    pub fn with_update_exclusion(
        mut self,
        exclusion: Exclusion,
        dir: Option<&Path>,
    ) -> Result<Self> {
        if let Some(dir) = dir {
            advisory::ask(&self, dir, exclusion)?;
        }
        self.update_exclusion = exclusion;
        self.exclusion_is_asked = true;
        Ok(self)
    }

    /// Where uploads to mounts that cannot rename are collected; by default in the system's
    /// temporary directory.
    pub fn with_spool_dir(mut self, dir: PathBuf) -> Self {
        self.spool_dir = Some(dir.into());
        self
    }

    /// What is known so far of the mount of the directory `dir`. Nothing is tried for it.
    pub fn mount_facts(&self, dir: &Path) -> Result<MountFacts> {
        let engine = self.for_operation();
        let stat = engine
            .retrying("look at the directory", dir, || sys::stat_dir(dir))
            .map_err(|e| Error::new("find the mount of", dir, e))?;
        let info = sys::mount_info(dir, &stat);
        Ok(mount::of(dir, &stat).facts(info.as_ref()))
    }

    /// What this engine and its clones recovered from so far.
    pub fn recoveries(&self) -> Recoveries {
        self.counters.snapshot()
    }

    /// Begins a write to `dest`: makes its staging file, and the directories it needs. `attributes`
    /// are all that the object will have.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotImplemented`] where the mount does not keep attributes.
    pub fn upload(&self, dest: &Path, attributes: &Attributes) -> Result<Upload> {
        Upload::begin(&self.for_operation(), dest, true, attributes)
    }

    /// Writes a whole file: `chunks` one after another, `len` bytes in all. For `attributes` see
    /// [`Engine::upload`].
    pub fn put<'a>(
        &self,
        dest: &Path,
        len: u64,
        chunks: impl Iterator<Item = &'a [u8]>,
        mode: Mode,
        attributes: &Attributes,
    ) -> Result<Version> {
        let engine = self.for_operation();
        if let Mode::Update(expected) = mode {
            // Before anything is written: what is stale now will be.
            engine.look_at_expected(dest, expected)?;
        }
        let upload = Upload::begin(&engine, dest, false, attributes)?;
        let part = upload.part(len);
        part.writer().write(chunks)?;
        part.is_written();
        upload.complete(mode)
    }

    /// Makes `to` a copy of `from`, attributes included: a hard link where the mount has them, else
    /// a copy of the data.
    pub fn copy(&self, from: &Path, to: &Path, mode: Mode) -> Result<()> {
        refuse_update(to, mode)?;
        relocate::copy(&self.for_operation(), from, to, mode)
    }

    /// Moves `from` to `to`. With [`Mode::Create`] and a `cleanup_root`, directories that this
    /// leaves empty are removed up to that root.
    pub fn rename(
        &self,
        from: &Path,
        to: &Path,
        mode: Mode,
        cleanup_root: Option<&Path>,
    ) -> Result<()> {
        refuse_update(to, mode)?;
        relocate::rename(&self.for_operation(), from, to, mode)?;
        if let (Mode::Create, Some(root)) = (mode, cleanup_root) {
            dirs::remove_empty_parents(&self.for_operation(), from, root);
        }
        Ok(())
    }

    /// Removes `path`; with a `cleanup_root`, also the directories that this leaves empty, up to
    /// that root.
    pub fn delete(&self, path: &Path, cleanup_root: Option<&Path>) -> Result<()> {
        remove::delete(&self.for_operation(), path)?;
        if let Some(root) = cleanup_root {
            dirs::remove_empty_parents(&self.for_operation(), path, root);
        }
        Ok(())
    }

    /// Whether there is the version that is to be replaced, before it is locked.
    fn look_at_expected(&self, path: &Path, expected: Version) -> Result<()> {
        let failed = |e| Error::new("look at the directory of", path, e);
        let place = self.locate(path).map_err(|e| match is::absent(&e) {
            true => Error::precondition(path, "it is gone"),
            false => failed(e),
        })?;
        self.refresh(path).map_err(failed)?;
        observe::expect(self, &place.mount, path, expected).map(|_| ())
    }

    /// Has what other hosts changed in the directory of `path` seen by the next look, where they take
    /// part.
    fn refresh(&self, path: &Path) -> io::Result<()> {
        if self.update_exclusion < Exclusion::OtherHosts {
            return Ok(());
        }
        let dir = place::split(path).0;
        self.retrying("look at the directory of", path, || sys::refresh_dir(dir))
    }

    /// Finds the staging files below the directory `root` that a crash left, those of upstream
    /// included, and removes those that are old enough and not in use. `progress` is told each
    /// step, and stops the sweep between two looks with [`ControlFlow::Break`].
    ///
    /// In use are, however old: what a process of this host makes with this crate, which the names
    /// tell (in another pid namespace, such as a container's, they do not); and on Linux what any
    /// process of this host has open, as far as this one may see. For all others, such as uploads
    /// on other hosts of a share, `older_than` is to be longer than an upload pauses.
    ///
    /// Symlinks are not followed, other file systems not entered, and nothing but regular files is
    /// removed whose names end in `#` and digits, which are no objects to any store.
    ///
    /// Costs a walk of the whole tree, and memory for the staging files that are found.
    ///
    /// # Errors
    ///
    /// If `root` cannot be read. What fails below it is in [`Swept::failed`].
    pub fn sweep(
        &self,
        root: &Path,
        options: SweepOptions,
        mut progress: impl FnMut(SweepEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Swept> {
        sweep::sweep(self, root, options, &mut progress)
    }

    /// Locks `path` against every writer of this process, until the answer is dropped: what writes,
    /// copies, renames or deletes it waits. For tests, and for programs that touch the file
    /// themselves. A thread that holds it must not write to the path through a store: it would
    /// wait for itself.
    pub fn lock(&self, path: &Path) -> Result<PathGuard> {
        let place = self.locate(path).map_err(|e| Error::new("lock", path, e))?;
        Ok(lock::lock(place.key()))
    }

    /// Makes a call of somebody else's again while the error that `os_error` finds in its answer is
    /// one that passes: opening a store on a mount whose handles are stale just now.
    pub fn retry_foreign<T, E>(
        &self,
        step: &'static str,
        path: &Path,
        mut call: impl FnMut() -> Result<T, E>,
        os_error: impl Fn(&E) -> Option<i32>,
    ) -> Result<T, E> {
        let mut retry = self.for_operation().start_retry();
        loop {
            let error = match call() {
                Err(error) => error,
                done => return done,
            };
            let e = os_error(&error).map(io::Error::from_raw_os_error);
            match e.filter(is::ambiguous) {
                Some(e) if retry.again() => self.retried(step, path, &e),
                _ => return Err(error),
            }
        }
    }

    /// With a budget of pauses of its own.
    fn for_operation(&self) -> Self {
        Self {
            spent: Spent::default(),
            ..self.clone()
        }
    }

    fn start_retry(&self) -> Retry {
        self.retry.start(&self.spent)
    }

    fn locate(&self, path: &Path) -> io::Result<Place> {
        self.retrying("look at the directory of", path, || place::locate(path))
    }

    /// Makes a call again, within the budget, that may be made twice without harm.
    fn retrying<T>(
        &self,
        step: &'static str,
        path: &Path,
        call: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        self.retrying_if(is::ambiguous, step, path, call)
    }

    fn retrying_if<T>(
        &self,
        again: impl Fn(&io::Error) -> bool,
        step: &'static str,
        path: &Path,
        mut call: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        match call() {
            Err(e) if again(&e) => self.retry_after(e, again, step, path, call),
            answer => answer,
        }
    }

    /// Makes a call again that answered `last`.
    fn retry_after<T>(
        &self,
        mut last: io::Error,
        again: impl Fn(&io::Error) -> bool,
        step: &'static str,
        path: &Path,
        mut call: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut retry = self.start_retry();
        while retry.again() {
            self.retried(step, path, &last);
            if is::stale(&last) {
                // NFS finds the name in its cache as long as it takes the directory to be unchanged,
                // and opens the file that was there for half a minute (measured, Linux 6.1).
                let _ = sys::refresh_dir(place::split(path).0);
            }
            match call() {
                Err(e) if again(&e) => last = e,
                answer => return answer,
            }
        }
        Err(last)
    }

    fn retried(&self, step: &'static str, path: &Path, error: &io::Error) {
        count(&self.counters.retries);
        tracing::debug!(
            step,
            path = %path.display(),
            errno = error.raw_os_error(),
            error = %error,
            "made a call again that had not taken effect"
        );
    }

    fn resolved(&self, step: &'static str, path: &Path, error: &io::Error) {
        count(&self.counters.ambiguous_resolved);
        tracing::warn!(
            step,
            path = %path.display(),
            errno = error.raw_os_error(),
            error = %error,
            "a call took effect though it answered with an error"
        );
    }

    fn fell_back(&self, step: &'static str, path: &Path, to: &'static str) {
        count(&self.counters.fallbacks);
        tracing::debug!(step, path = %path.display(), to, "the mount cannot do the first choice");
    }
}

fn refuse_update(to: &Path, mode: Mode) -> Result<()> {
    match mode {
        Mode::Update(_) => {
            let e = io::Error::from(io::ErrorKind::Unsupported);
            Err(Error::new("copy or rename with a condition to", to, e)
                .kind_of(ErrorKind::NotSupported))
        }
        _ => Ok(()),
    }
}

/// What tests ask of the engine's inside.
#[doc(hidden)]
pub mod testing {
    /// How many paths are locked or awaited in this process right now.
    pub fn paths_in_lock_table() -> usize {
        crate::lock::in_use()
    }

    /// How many writers wait for the lock of `path`, which is held.
    pub fn waiting_for(path: &std::path::Path) -> usize {
        crate::place::locate(path).map_or(0, |place| crate::lock::waiting(place.key()))
    }

    /// Whether the table of mounts has changed since this was last asked.
    pub fn mounts_changed() -> bool {
        crate::sys::mounts_changed()
    }

    /// A lock by a bare key, for benches and properties of the lock alone.
    pub fn lock_key(key: u64) -> crate::PathGuard {
        crate::lock::lock(crate::lock::Key(key))
    }

    /// Two of them, in the one order.
    pub fn lock_keys(a: u64, b: u64) -> crate::PathGuard {
        crate::lock::lock_both(crate::lock::Key(a), crate::lock::Key(b))
    }
}
