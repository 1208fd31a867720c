//! Who waits for whom.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path as Dir;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use object_store_0_14::{ObjectStore, ObjectStoreExt};
use object_store_localfs::{Exclusion, LocalFileSystem};
use object_store_localfs_engine::fault::{self, Call, Fault, Op};
use tempfile::TempDir;

use super::workers::run;
use super::{Flag, at, create, store};
use crate::quirkfs::{self, Mounted, QuirkFs, Recipe};

/// Where a lock decides who creates.
fn neither() -> Recipe {
    Recipe::plain().no_rename_flags().no_hard_links(libc::EPERM)
}

/// The first create has the mount say what it lacks.
async fn learned(mount: &Mounted) -> LocalFileSystem {
    let store = store(mount.path());
    let created = store.put_opts(&at("learn"), "x".into(), create()).await;
    created.unwrap();
    store
}

/// Somebody else's flock of a directory, held until the file is closed.
fn flock(dir: &Dir) -> File {
    let dir = File::open(dir).unwrap();
    // SAFETY: it takes no memory, and the handle is open (flock(2)).
    let locked = unsafe { libc::flock(dir.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    assert_eq!(locked, 0, "{}", std::io::Error::last_os_error());
    dir
}

/// Creates an object while a flock of its directory is held, which ends when it was asked for three
/// times.
async fn assert_a_create_waits_for_a_foreign_flock(mount: &Mounted, store: &LocalFileSystem) {
    let dir = mount.path().to_owned();
    let to = mount.backing().join("to");
    let held = Mutex::new(Some(flock(&dir)));
    let asked = AtomicUsize::new(0);
    let is_over = Flag::default();
    let was = is_over.clone();
    let _unlocked = fault::inject(mount.path(), move |call: &Call<'_>| {
        let is_meant = call.op == Op::Lock && call.path == dir;
        if is_meant && asked.fetch_add(1, Relaxed) == 2 {
            assert!(!to.exists(), "created while others held the lock");
            drop(held.lock().unwrap().take());
            is_over.raise();
        }
        Fault::none()
    });
    let created = store.put_opts(&at("to"), "x".into(), create()).await;
    created.unwrap();
    assert!(was.is_raised(), "it did not wait for the lock");
}

/// Such a lock is none of ours, and stopped creates: it is waited for, and no more than that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_waits_for_a_foreign_flock_of_its_directory() {
    let mount = QuirkFs::mount(neither());
    let store = learned(&mount).await;
    assert_a_create_waits_for_a_foreign_flock(&mount, &store).await;
}

/// One stale handle of the directory, and its lock was never asked for again: a process of another
/// container, which shares only the mount, was excluded no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_waits_for_the_directory_though_it_was_stale_once() {
    let mount = QuirkFs::mount(neither());
    let store = learned(&mount).await;
    let dir = mount.path().to_owned();
    let is_stale = AtomicUsize::new(0);
    let struck = Flag::default();
    let was = struck.clone();
    let stale = fault::inject(mount.path(), move |call: &Call<'_>| {
        let is_meant = call.op == Op::Lock && call.path == dir;
        if is_meant && is_stale.fetch_add(1, Relaxed) == 0 {
            struck.raise();
            return Fault::before_effect(libc::ESTALE);
        }
        Fault::none()
    });
    let created = store.put_opts(&at("stale"), "x".into(), create()).await;
    created.unwrap();
    assert!(was.is_raised());
    drop(stale);
    assert_a_create_waits_for_a_foreign_flock(&mount, &store).await;
}

/// Who waited for the directory asked the mount all the while, and who held it waited behind them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_that_wait_for_each_other_leave_the_mount_alone() {
    const OBJECTS: u64 = 40;

    let mut requests = Vec::new();
    for is_one_dir in [false, true] {
        let mount = QuirkFs::mount(neither().latency(Duration::from_millis(1)));
        let store = learned(&mount).await;
        for i in 0..OBJECTS {
            std::fs::create_dir(mount.backing().join(i.to_string())).unwrap();
        }
        let all = || quirkfs::Op::ALL.into_iter().map(|op| mount.calls(op));
        let before: u64 = all().sum();
        let created = (0..OBJECTS).map(|i| {
            let dir = if is_one_dir { 0 } else { i };
            let (store, to) = (store.clone(), at(&format!("{dir}/object{i}")));
            tokio::spawn(async move { store.put_opts(&to, "x".into(), create()).await })
        });
        for created in futures::future::join_all(created).await {
            created.unwrap().unwrap();
        }
        requests.push(all().sum::<u64>() - before);
    }
    assert!(requests[1] < requests[0] * 3 / 2, "{requests:?}");
}

/// A directory that is mounted once more, until this is dropped.
struct Bind(TempDir);

impl Bind {
    fn of(dir: &Dir) -> Bind {
        let bound = Bind(tempfile::tempdir().unwrap());
        let mut mount = Command::new("mount");
        let mounted = mount.arg("--bind").arg(dir).arg(bound.0.path()).status();
        assert!(mounted.unwrap().success());
        bound
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// There were two where the kernel tells no unique mount id (before Linux 6.8).
#[test]
fn two_bind_mounts_of_one_directory_have_one_lock() {
    let mount = QuirkFs::mount(Recipe::plain());
    let bound = Bind::of(mount.path());
    let (one, other) = (mount.path().display(), bound.0.path().display());
    let job = format!("lock|{one}|{other}");
    let this = std::env::current_exe().unwrap();
    run(&mut Command::new(&this), &job);
    let home = tempfile::tempdir().unwrap();
    let mut older = Command::new("strace");
    older.args(["-f", "-e", "trace=statx", "-e", "inject=statx:error=ENOSYS"]);
    older.arg("-o").arg(home.path().join("log")).arg(&this);
    run(&mut older, &job);
    let log = std::fs::read_to_string(home.path().join("log")).unwrap();
    assert!(log.contains("(INJECTED)"), "strace changed nothing");
}

/// It waited for itself, and failed: of the locks for all hosts that a directory has, two names may
/// have one.
#[tokio::test]
async fn two_names_with_one_lock_for_all_hosts_are_renamed_and_copied() {
    const LOCKS: u64 = 4096;
    // FNV-1a (draft-eastlake-fnv-17, section 2).
    let lock_of = |name: &str| {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        (hash & (u64::MAX >> 1)) % LOCKS
    };
    let mut names = (0..).map(|n| format!("other{n}"));
    let other = names.find(|name| lock_of(name) == lock_of("object"));
    let (object, other) = (at("object"), at(&other.unwrap()));

    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let store = store.with_update_exclusion(Exclusion::OtherHosts).unwrap();
    for _ in 0..2 {
        store.put(&object, "old".into()).await.unwrap();
        store.put(&other, "new".into()).await.unwrap();
        store.copy(&object, &other).await.unwrap();
        store.rename(&other, &object).await.unwrap();
    }
}
