//! A rename that is a copy and a removal, killed at each system call it makes: between two mounts,
//! and where nothing renames. Needs root, `/dev/fuse` and strace.

#![cfg(feature = "mount-tests")]

mod disks;
mod quirkfs;
mod strace;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use object_store_0_14 as object_store;

use disks::Disk;
use futures::StreamExt;
use futures::executor::block_on;
use object_store::path::Path as Location;
use object_store::{ObjectStore, ObjectStoreExt};
use object_store_localfs::LocalFileSystem;
use quirkfs::{QuirkFs, Recipe};
use strace::Worker;

/// Where a worker finds what it is to do; without it the test `worker` is not one.
const JOB: &str = "LOCALFS_TEST_CRASH";

const FROM: &str = "a";
const TO: &str = "below/sub/b";

/// More than one read and write, and no round number.
fn data() -> Vec<u8> {
    (0..2_500_001u32).map(|i| (i % 251) as u8).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Overwrite,
    IfNotExists,
}

#[derive(Clone, Copy, Debug)]
struct Case<'a> {
    root: &'a Path,
    mode: Mode,
    fsync: bool,
    /// Whether the destination is never seen in part.
    is_atomic: bool,
}

fn rename(root: &Path, mode: Mode, fsync: bool) -> object_store::Result<()> {
    let store = LocalFileSystem::new_with_prefix(root)
        .unwrap()
        .with_fsync(fsync);
    let (from, to) = (Location::from(FROM), Location::from(TO));
    strace::traced(|| {
        block_on(async {
            match mode {
                Mode::Overwrite => store.rename(&from, &to).await,
                Mode::IfNotExists => store.rename_if_not_exists(&from, &to).await,
            }
        })
    })
}

#[test]
fn worker() {
    let Ok(job) = std::env::var(JOB) else {
        return;
    };
    let [mode, fsync, root] = job.split('|').collect::<Vec<_>>()[..] else {
        panic!("{job}");
    };
    let mode = match mode {
        "Overwrite" => Mode::Overwrite,
        _ => Mode::IfNotExists,
    };
    strace::wait_for_strace();
    rename(Path::new(root), mode, fsync == "true").unwrap();
}

impl Case<'_> {
    fn at(&self, location: &str) -> PathBuf {
        self.root.join(location)
    }

    /// The source is there, and something else at the destination if it is to be replaced.
    fn prepare(&self) {
        for dir in [self.at("below/sub"), self.at("below")] {
            for entry in std::fs::read_dir(dir).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => std::fs::remove_dir(path).unwrap(),
                    false => std::fs::remove_file(path).unwrap(),
                }
            }
        }
        std::fs::write(self.at(FROM), data()).unwrap();
        if self.mode == Mode::Overwrite {
            std::fs::create_dir(self.at("below/sub")).unwrap();
            std::fs::write(self.at(TO), "old").unwrap();
        }
    }

    fn worker(&self) -> Worker<'_> {
        Worker {
            test: "worker",
            variable: JOB,
            job: format!("{:?}|{}|{}", self.mode, self.fsync, self.root.display()),
        }
    }

    /// After a kill, or none.
    fn assert_whole(&self, what: &str) {
        let read = |name| std::fs::read(self.at(name)).ok();
        let (from, to) = (read(FROM), read(TO));
        let whole = Some(data());
        assert!(from.is_none() || from == whole, "{what}: part of a source");
        assert!(from == whole || to == whole, "{what}: the object is lost");
        if !self.is_atomic || to == whole {
            return;
        }
        match self.mode {
            Mode::Overwrite => assert!(to == Some(b"old".to_vec()), "{what}: neither old nor new"),
            Mode::IfNotExists => assert!(to.is_none(), "{what}: part of an object"),
        }
    }

    fn assert_nothing_else_is_listed(&self, what: &str) {
        let store = object_store::local::LocalFileSystem::new_with_prefix(self.root).unwrap();
        let listed: Vec<_> = block_on(store.list(None).collect());
        for meta in listed {
            let location = meta.unwrap().location;
            assert!(
                [FROM, TO].contains(&location.as_ref()),
                "{what}: {location}"
            );
        }
    }

    /// It goes on from there, in another process.
    fn assert_can_go_on(&self, what: &str) {
        if !self.at(FROM).exists() {
            return;
        }
        let was_there = self.mode == Mode::IfNotExists && self.at(TO).exists();
        match rename(self.root, self.mode, self.fsync) {
            Ok(()) => {
                assert!(!self.at(FROM).exists(), "{what}: it was moved");
                assert!(std::fs::read(self.at(TO)).unwrap() == data(), "{what}");
            }
            Err(e) => {
                let exists = matches!(e, object_store::Error::AlreadyExists { .. });
                assert!(exists && was_there, "{what}, afterwards: {e}");
            }
        }
    }

    fn is_whole_at_each_call(&self) {
        self.prepare();
        let calls = self.worker().calls();
        self.assert_whole("nothing happened");
        assert!(!self.at(FROM).exists());
        let mut kills = 0;
        for name in &calls {
            for nth in 1.. {
                self.prepare();
                let what = format!("{self:?}, killed at {name} {nth}");
                let status = self.worker().kill_at(name, nth);
                self.assert_whole(&what);
                self.assert_nothing_else_is_listed(&what);
                if status.success() {
                    assert!(!self.at(FROM).exists(), "{what}: it was not");
                    break;
                }
                assert_eq!(status.signal(), Some(libc::SIGKILL), "{what}");
                kills += 1;
                self.assert_can_go_on(&what);
            }
        }
        eprintln!("{self:?}: killed {kills} times, at {calls:?}");
        // At least: made, written, closed, published, and the source removed.
        assert!(kills >= 5, "{kills}");
    }
}

macro_rules! between_two_mounts {
    ($($name:ident: $mode:ident, $fsync:literal);+ $(;)?) => {$(
        #[test]
        fn $name() {
            let disk = Disk::with_tmpfs_below();
            let (root, mode, fsync) = (disk.path(), Mode::$mode, $fsync);
            Case { root, mode, fsync, is_atomic: true }.is_whole_at_each_call();
        }
    )+};
}

between_two_mounts! {
    a_rename_between_two_mounts: Overwrite, false;
    a_rename_between_two_mounts_with_fsync: Overwrite, true;
    a_rename_if_not_exists_between_two_mounts: IfNotExists, false;
    a_rename_if_not_exists_between_two_mounts_with_fsync: IfNotExists, true;
}

/// There the destination is written where it is; the source outlives it.
macro_rules! without_rename {
    ($($name:ident: $mode:ident);+ $(;)?) => {$(
        #[test]
        fn $name() {
            let mount = QuirkFs::mount(Recipe::plain().no_rename(libc::ENOSYS));
            std::fs::create_dir(mount.path().join("below")).unwrap();
            let (root, mode) = (mount.path(), Mode::$mode);
            Case { root, mode, fsync: false, is_atomic: false }.is_whole_at_each_call();
        }
    )+};
}

without_rename! {
    a_rename_where_nothing_renames: Overwrite;
    a_rename_if_not_exists_where_nothing_renames: IfNotExists;
}
