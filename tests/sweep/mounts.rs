//! Sweeping on mounts that are no local disks, and around them.

use std::path::Path;
use std::process::Command;

use crate::minors::files;
use crate::quirkfs::{Fault, Mounted, Op, QuirkFs, Recipe};
use crate::worker::Worker;
use crate::{NOW, on_disk, sweep, write};

/// As a program of another process, which shares no cache with this one.
fn sweeps_what_is_left_and_keeps_what_is_in_use(mount: &Mounted) {
    let worker = Worker::start("ours", mount.path());
    write(mount.path().join("a/x#1"), "data");
    let (swept, decided) = sweep(mount.path(), NOW);
    assert_eq!((swept.removed, swept.in_use), (1, 12), "{decided:?}");
    worker.kill();
    let (swept, decided) = sweep(mount.path(), NOW);
    assert_eq!((swept.found, swept.removed), (12, 12), "{decided:?}");
    assert_eq!(files(mount.backing()).len(), 6);
}

#[test]
fn on_drvfs() {
    sweeps_what_is_left_and_keeps_what_is_in_use(&QuirkFs::mount(Recipe::drvfs()));
}

#[test]
fn where_inode_numbers_change() {
    let mount = QuirkFs::mount(Recipe::plain().inodes_change());
    sweeps_what_is_left_and_keeps_what_is_in_use(&mount);
}

/// Known by the path, since the number of an open file is not that of its path.
#[test]
fn what_upstream_writes_is_kept_where_inode_numbers_change() {
    let mount = QuirkFs::mount(Recipe::plain().inodes_change());
    let worker = Worker::start("upstream", mount.path());
    let (swept, decided) = sweep(mount.path(), NOW);
    assert_eq!((swept.found, swept.in_use), (3, 3), "{decided:?}");
    worker.kill();
    let (swept, decided) = sweep(mount.path(), NOW);
    assert_eq!((swept.found, swept.removed), (3, 3), "{decided:?}");
}

/// By a path of which the writer's begins elsewhere, as a container's does.
#[test]
fn what_upstream_writes_by_another_path_is_kept_where_inode_numbers_change() {
    let mount = QuirkFs::mount(Recipe::plain().inodes_change());
    let elsewhere = tempfile::tempdir().unwrap();
    let bound = Mount::at(
        elsewhere.path(),
        &["--bind", mount.path().to_str().unwrap()],
    );
    let worker = Worker::start("upstream", elsewhere.path());
    let (swept, decided) = sweep(mount.path(), NOW);
    assert_eq!((swept.found, swept.in_use), (3, 3), "{decided:?}");
    worker.kill();
    let (swept, decided) = sweep(mount.path(), NOW);
    assert_eq!((swept.found, swept.removed), (3, 3), "{decided:?}");
    drop(bound);
}

#[test]
fn a_stale_listing_is_read_again() {
    let mount = QuirkFs::mount(Recipe::plain());
    for n in 0..20 {
        write(mount.path().join(format!("{n}/x#1")), "data");
    }
    mount.add_fault(Fault::on(Op::Readdir).errno(libc::ESTALE).every(5));
    let (swept, decided) = sweep(mount.path(), NOW);
    assert_eq!((swept.found, swept.removed), (20, 20), "{decided:?}");
    assert!(swept.failed.is_empty(), "{swept:?}");
    assert!(mount.faults_fired_on(Op::Readdir) > 0);
}

#[test]
fn a_directory_that_cannot_be_read_is_told_and_the_rest_is_swept() {
    let mount = QuirkFs::mount(Recipe::plain());
    for name in ["a/x#1", "b/x#1", "x#1"] {
        write(mount.path().join(name), "data");
    }
    let is_b = |name: &str| name == "b";
    mount.add_fault(Fault::on(Op::Opendir).errno(libc::EACCES).where_name(is_b));
    let (swept, _) = sweep(mount.path(), NOW);
    assert_eq!((swept.found, swept.removed), (2, 2), "{swept:?}");
    assert_eq!(swept.failed.len(), 1, "{swept:?}");
    assert!(swept.failed[0].to_string().contains("/b"), "{swept:?}");
    assert_eq!(files(mount.backing()), ["b/x#1"]);
}

#[cfg(feature = "cli")]
#[test]
fn what_cannot_be_removed_is_an_exit_status() {
    let mount = QuirkFs::mount(Recipe::plain());
    for name in ["a#1", "b#1"] {
        write(mount.path().join(name), "data");
    }
    let is_a = |name: &str| name == "a#1";
    mount.add_fault(Fault::on(Op::Unlink).errno(libc::EPERM).where_name(is_a));
    let bytes = on_disk([mount.path().join("b#1")]);
    let freed = indicatif::HumanBytes(bytes);
    let output = Command::new(env!("CARGO_BIN_EXE_localfs"))
        .args(["sweep", "--older-than", "0s"])
        .arg(mount.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(
        out.contains(&format!(
            "2 found: 1 removed ({freed}), 0 in use, 0 too young"
        )),
        "{out}"
    );
    assert!(
        err.contains("a#1") && err.contains("not permitted"),
        "{err}"
    );
    assert_eq!(files(mount.backing()), ["a#1"]);
}

#[test]
fn another_file_system_is_not_entered() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other");
    write(dir.path().join("x#1"), "data");
    std::fs::create_dir(&other).unwrap();
    let mounted = Mount::at(&other, &["-t", "tmpfs", "none"]);
    write(other.join("y#1"), "data");
    let (swept, _) = sweep(dir.path(), NOW);
    assert_eq!(
        (swept.removed, swept.other_file_systems),
        (1, 1),
        "{swept:?}"
    );
    assert_eq!(files(dir.path()), ["other/y#1"]);
    // Unless it is what is to be swept.
    assert_eq!(sweep(&other, NOW).0.removed, 1);
    drop(mounted);
}

struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn at(dir: &'a Path, what: &[&str]) -> Self {
        let mut mount = Command::new("mount");
        mount.args(what).arg(dir);
        assert!(mount.status().unwrap().success());
        Self(dir)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        assert!(
            Command::new("umount")
                .arg(self.0)
                .status()
                .unwrap()
                .success()
        );
    }
}
