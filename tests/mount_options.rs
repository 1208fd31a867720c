//! Options that matter only on mounts that cannot do everything, for every minor: the exclusion
//! that a create accepts, and where uploads are collected. Needs root and `/dev/fuse`.

#![cfg(feature = "mount-tests")]
#![allow(
    clippy::duplicate_mod,
    reason = "one source, compiled against the types of three crates"
)]

mod minors;
mod quirkfs;

use std::path::Path;

use quirkfs::{Fault, Mounted, Op, QuirkFs, Recipe};

macro_rules! minor {
    ($minor:ident) => {
        #[path = "mount_options"]
        mod $minor {
            use crate::minors::$minor::{LocalFileSystem, contract, faults, object_store};

            #[path = "checks.rs"]
            pub(crate) mod checks;
        }
    };
}

minor!(v0_12);
minor!(v0_13);
minor!(v0_14);

/// Runs `$check(dir, $argument...)` for each minor, in directories of the mount.
macro_rules! check {
    ($mount:expr, $check:ident $(, $argument:expr)*) => {{
        let mount: &Mounted = &$mount;
        let dir = mount.path();
        v0_12::checks::$check(&minors::fresh(dir, "0_12") $(, $argument)*).await;
        v0_13::checks::$check(&minors::fresh(dir, "0_13") $(, $argument)*).await;
        v0_14::checks::$check(&minors::fresh(dir, "0_14") $(, $argument)*).await;
    }};
}

fn mount(recipe: Recipe) -> Mounted {
    let mount = QuirkFs::mount(recipe);
    minors::look_behind(mount.path(), mount.backing());
    mount
}

fn neither() -> Recipe {
    Recipe::plain().no_rename_flags().no_hard_links(libc::EPERM)
}

/// mountpoint-s3, and as little as it.
fn no_rename() -> [Recipe; 3] {
    let none = |errno| Recipe::plain().no_rename(errno).no_hard_links(errno);
    [
        none(libc::ENOSYS),
        none(libc::EOPNOTSUPP),
        none(libc::ENOSYS).sequential_writes(),
    ]
}

// ---- the weakest exclusion --------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_of_this_host_excludes_no_other_host() {
    for recipe in [neither(), neither().inodes_change()] {
        check!(mount(recipe), a_lock_is_refused_by_name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_of_this_host_excludes_other_processes_and_threads() {
    for recipe in [neither(), neither().inodes_change()] {
        check!(mount(recipe), a_lock_is_accepted);
    }
}

/// The mount excludes everybody by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_that_creates_exclusively_needs_no_lock() {
    for recipe in [
        Recipe::plain(),
        Recipe::plain().no_rename_flags(),
        Recipe::plain().no_hard_links(libc::EPERM),
        Recipe::drvfs(),
    ] {
        check!(mount(recipe), every_exclusion_is_given);
    }
}

// ---- the spool directory ----------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_are_collected_in_the_spool_directory() {
    for recipe in no_rename() {
        let spool = tempfile::tempdir().unwrap();
        check!(mount(recipe), uploads_are_spooled, spool.path());
        assert!(minors::files(spool.path()).is_empty());
    }
}

/// Nor while others rename: what is spooled where it need not be costs a copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_are_renames_nothing_is_spooled() {
    let spool = Path::new("/nowhere/at/all");
    for recipe in [Recipe::plain(), neither(), Recipe::drvfs()] {
        check!(mount(recipe), all_is_well_without, spool);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_directory_that_is_missing_is_named() {
    for recipe in no_rename() {
        check!(mount(recipe), a_missing_spool_is_named);
    }
}

/// What the last pass could not write is not left in the spool directory either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failure_the_spool_directory_is_empty() {
    for recipe in no_rename() {
        for op in [Op::Write, Op::Flush] {
            let mount = mount(recipe.clone());
            let spool = tempfile::tempdir().unwrap();
            let begin = || mount.add_fault(Fault::on(op).errno(libc::ENOSPC));
            let end = || mount.clear_faults();
            check!(mount, a_failure_leaves_nothing, spool.path(), &begin, &end);
            assert!(mount.faults_fired_on(op) > 0);
        }
    }
}

/// The bytes of an upload reach such a mount once, from the first to the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_written_to_the_mount_once() {
    for recipe in no_rename() {
        let mount = mount(recipe);
        check!(mount, a_large_upload);
        let calls = |op| mount.calls_named(op, |name| name == "large");
        // By each minor made and written once, and opened once, to read it back.
        assert_eq!((calls(Op::Create), calls(Op::Open)), (3, 3));
        assert_eq!(calls(Op::Setattr), 0);
        assert_eq!(mount.calls_named(Op::Write, quirkfs::is_staging_file), 0);
    }
}
