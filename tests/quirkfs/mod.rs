//! A FUSE file system that passes through to a directory and misbehaves by recipe.
//!
//! ```ignore
//! let mount = QuirkFs::mount(
//!     Recipe::drvfs().fault(Fault::on(Op::Rename).errno(libc::ESTALE).every(3).after_effect()),
//! );
//! std::fs::write(mount.path().join("a"), "1")?;      // through the quirks
//! std::fs::read(mount.backing().join("a"))?;         // behind their back
//! assert_eq!(mount.calls(Op::Create), 1);
//! ```
//!
//! | file | what is in it |
//! | --- | --- |
//! | `recipe.rs` | what a mount is like: no links, no rename flags, inodes that change, ... |
//! | `fault.rs`  | what goes wrong: which call, when, before or after it took effect |
//! | `rules.rs`  | the faults of a running mount, and the counters |
//! | `inodes.rs` | what the kernel knows: one node a file, pinned in the backing directory |
//! | `fs.rs`     | the requests: count, judge, pass through, answer |
//! | `attr.rs`   | what `stat` is told |
//! | `sys.rs`    | the few system calls that std lacks |
//!
//! # What the kernel adds
//!
//! A program never speaks to this file system, but to the kernel, which has its own mind. What a
//! test must know (seen on Linux 6.18, read in its `fs/namei.c` and `fs/fuse/`):
//!
//! - **ESTALE is tried twice.** Path calls (rename, link, unlink, open, mkdir, stat by path)
//!   that fail with ESTALE are walked again once, with `LOOKUP_REVAL`. So one ESTALE before the
//!   effect is never seen by a program, two in a row are; and an ESTALE *after* the effect of a
//!   rename is seen as ENOENT (the source is gone at the second try), of a link or an exclusive
//!   create as EEXIST. That is what NFS clients see, and wanted. Calls on a handle (read, write,
//!   fstat, fsync, close) are not tried again. Counters and bursts count what arrives here.
//! - **Every stat arrives**, as `Lookup` and `Getattr`: names and attributes are valid for no
//!   time at all, unless [`Recipe::cached`]. A handle is no part of `Getattr`: `fstat` and `stat`
//!   differ only in the `Lookup` that comes before.
//! - **A large read or write is many.** The kernel cuts it into requests (1 MiB, unless
//!   `fs.fuse.max_pages_limit` says more). A fault on a later one is a short write to the program,
//!   which then goes on with the rest: to make one write fail, write less than that at once, or
//!   let the fault last.
//! - **ENOSYS is remembered.** After one, the kernel stops asking: flush, fsync, xattrs and a
//!   `statx` then succeed or fail without us, for the life of the mount; `link` becomes EPERM
//!   (on recent kernels), `renameat2` with flags EINVAL. ENOSYS to a plain rename is passed on each time.
//! - **Two names of one file are never renamed onto each other**: the VFS sees the same inode, does
//!   nothing, as rename(2) says, and no `Rename` arrives.
//! - **A rename, create, link or unlink locks its directories** in the kernel until it is answered:
//!   what waits there waits for it, whatever the number of threads here.
//! - **close(2) is `Flush`.** Its error is the program's. `Release` comes later, by itself, and
//!   its error is nobody's.
//! - **Advisory locks** are the kernel's: `flock` and `fcntl` locks work within the host.
//! - **O_TRUNC is an `Open` and a `Setattr`.**
//!
//! # Threads
//!
//! `WORKERS` threads take requests, so one that sleeps (latency, [`Fault::delay`]) stops nobody.
//! The server lives in the process of the test: dropping [`Mounted`], also by a panic, unmounts
//! and removes everything. A process that is killed leaves a dead mount behind (ENOTCONN), which
//! the next mount of any process sweeps away.

#![allow(
    dead_code,
    reason = "several test crates include this module, each uses a part"
)]

mod attr;
mod fault;
mod fs;
mod inodes;
mod recipe;
mod rules;
mod sys;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use tempfile::TempDir;

#[allow(unused_imports, reason = "as above")]
pub(crate) use fault::{Fault, Op, is_staging_file};
pub(crate) use recipe::Recipe;

use fs::PassThrough;
use rules::Rules;

/// How many requests can sleep at the same time without stopping the rest.
const WORKERS: usize = 32;

/// Before the id of the process that mounted, in the name of a mount's temporary directory.
const PREFIX: &str = "quirkfs-";

/// The file system; there is nothing to it but [`mount`](QuirkFs::mount).
pub(crate) struct QuirkFs;

impl QuirkFs {
    /// Mounts a new, empty file system that follows `recipe`.
    ///
    /// # Panics
    ///
    /// Without root or `/dev/fuse`, saying what to do: a test that cannot run must fail.
    pub(crate) fn mount(recipe: Recipe) -> Mounted {
        let home = Home::new();
        let backing = home.make("backing");
        Mounted::new(recipe, home, backing)
    }

    /// Mounts over a directory of the caller's, which is left as it is at the end.
    ///
    /// It must lie on one file system: inode numbers are passed through.
    pub(crate) fn mount_over(backing: &Path, recipe: Recipe) -> Mounted {
        Mounted::new(recipe, Home::new(), backing.to_owned())
    }
}

/// A mounted [`QuirkFs`]. Unmounted and removed on drop.
#[derive(Debug)]
pub(crate) struct Mounted {
    mountpoint: PathBuf,
    backing: PathBuf,
    rules: Arc<Rules>,
    session: Option<BackgroundSession>,
    home: Home,
}

impl Mounted {
    fn new(recipe: Recipe, home: Home, backing: PathBuf) -> Mounted {
        if let Err(what_to_do) = sys::can_mount() {
            panic!("quirkfs cannot mount: {what_to_do}");
        }
        sweep_dead_mounts();
        sys::raise_open_file_limit();
        sys::map_large_buffers();
        let mountpoint = home.make("mnt");
        let rules = Arc::new(Rules::new(recipe.faults.clone()));
        let fs = PassThrough::new(&backing, recipe, Arc::clone(&rules))
            .unwrap_or_else(|e| panic!("quirkfs cannot open {}: {e}", backing.display()));

        let mut config = Config::default();
        // Other users may enter, and the kernel judges by mode bits as on a local disk: a test of
        // a directory that may not be read needs a user to whom that matters.
        config.acl = SessionACL::All;
        config.mount_options = vec![
            MountOption::FSName("quirkfs".into()),
            MountOption::DefaultPermissions,
        ];
        config.n_threads = Some(WORKERS);
        let session = fuser::spawn_mount(fs, &mountpoint, &config)
            .unwrap_or_else(|e| panic!("quirkfs cannot mount on {}: {e}", mountpoint.display()));
        Mounted {
            mountpoint,
            backing,
            rules,
            session: Some(session),
            home,
        }
    }

    /// The root of the mount.
    pub(crate) fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// The directory behind it: what is really there.
    pub(crate) fn backing(&self) -> &Path {
        &self.backing
    }

    /// How many requests of this kind have arrived, those that failed too.
    pub(crate) fn calls(&self, op: Op) -> u64 {
        self.rules.calls(op)
    }

    /// The same, of those whose file name (either, of a rename or link) satisfies `is_meant`.
    pub(crate) fn calls_named(&self, op: Op, is_meant: impl Fn(&str) -> bool) -> u64 {
        self.rules.calls_named(op, is_meant)
    }

    /// How many of the renames that have arrived were with flags, exclusive ones that is.
    pub(crate) fn renames_with_flags(&self) -> u64 {
        self.rules.renames_with_flags()
    }

    /// How many requests a [`Fault`] has hit so far, those of faults cleared since too.
    pub(crate) fn faults_fired(&self) -> u64 {
        Op::ALL.into_iter().map(|op| self.faults_fired_on(op)).sum()
    }

    /// The same, of one kind of request.
    pub(crate) fn faults_fired_on(&self, op: Op) -> u64 {
        self.rules.fired(op)
    }

    /// From now on this goes wrong as well. Its calls are counted from now.
    pub(crate) fn add_fault(&self, fault: Fault) {
        self.rules.add(fault);
    }

    /// From now on no fault strikes. The quirks of the recipe stay.
    pub(crate) fn clear_faults(&self) {
        self.rules.clear();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = sys::unmount(&self.mountpoint);
        let Some(session) = self.session.take() else {
            return;
        };
        match unmounted {
            // The kernel has hung up: the workers end, and with them the files they hold.
            Ok(sys::Unmounted::Idle) => drop(session.join()),
            // A file of the mount is still open in the test: the workers serve it to its end.
            Ok(sys::Unmounted::Busy) => drop(session),
            // A mount is still there, and what is removed below it is removed through it.
            Err(e) => {
                eprintln!("quirkfs: {} stays: {e}", self.mountpoint.display());
                self.home.keep();
            }
        }
    }
}

/// The temporary directory of a mount: the mount point, and mostly the backing directory.
#[derive(Debug)]
struct Home(Option<TempDir>);

impl Home {
    fn new() -> Home {
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let dir = TempDir::with_prefix(prefix).expect("a temporary directory");
        // Not 0700, or no other user reaches the mount.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755))
            .expect("to own the temporary directory");
        Home(Some(dir))
    }

    fn make(&self, name: &str) -> PathBuf {
        let home = self.0.as_ref().expect("kept only on drop").path();
        let dir = home.join(name);
        std::fs::create_dir(&dir).expect("room in the temporary directory");
        dir
    }

    fn keep(&mut self) {
        self.0.take().map(TempDir::keep);
    }
}

/// Removes the mounts of processes that are gone.
///
/// They are told by the process id in their names. To ask a mount whether it is alive would be a
/// request that its own test counts.
fn sweep_dead_mounts() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for mountpoint in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
        let Some(home) = mountpoint.strip_suffix("/mnt").map(Path::new) else {
            continue;
        };
        let name = home.file_name().and_then(|name| name.to_str());
        let Some((pid, _)) = name
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split_once('-'))
        else {
            continue;
        };
        // Another process may be sweeping it, too: whoever is second finds nothing.
        if !Path::new("/proc").join(pid).exists() && sys::unmount(Path::new(mountpoint)).is_ok() {
            let _ = std::fs::remove_dir_all(home);
        }
    }
}

/// A worker that panicked answers EIO for its request; the others go on with the same state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
