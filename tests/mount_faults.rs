//! What a mount does to a write, and what must be told of it or made good, for every minor: on the
//! FUSE file system that misbehaves. Needs root and `/dev/fuse`.

#![cfg(feature = "mount-tests")]

mod minors;
mod quirkfs;

use minors::{Mishap, for_each_minor};
use quirkfs::{Fault, Mounted, Op, QuirkFs, Recipe};

fn mount(recipe: Recipe) -> Mounted {
    let mount = QuirkFs::mount(recipe);
    minors::look_behind(mount.path(), mount.backing());
    mount
}

/// Without links a copy is one of the data.
fn no_links() -> Recipe {
    Recipe::plain().no_hard_links(libc::EPERM)
}

fn neither() -> Recipe {
    no_links().no_rename_flags()
}

/// Runs a check of `mishaps.rs` for each minor, which lets the fault strike when it likes.
macro_rules! mishap {
    ($recipe:expr, $fault:expr, $check:ident $(, $argument:expr)* $(,)?) => {{
        let mount = mount($recipe);
        let fault: Fault = $fault;
        let mishap = Mishap {
            name: &format!("{fault:?}"),
            begin: &|| mount.add_fault(fault.clone()),
            end: &|| mount.clear_faults(),
        };
        for_each_minor!(mount.path(), mishaps::$check, &mishap $(, $argument)*);
        assert!(mount.faults_fired() > 0, "it never struck: {fault:?}");
    }};
}

/// The same for several faults, on one mount.
macro_rules! told {
    ($recipe:expr, $($name:ident: $op:ident $errno:ident $(fsync $fsync:literal)?, $step:literal);+ $(;)?) => {
        use super::*;

        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                let fault = Fault::on(Op::$op).errno(libc::$errno).where_staging_file();
                let fsync = false $(|| $fsync)?;
                mishap!($recipe, fault, is_told, fsync, &[$step], Some(libc::$errno));
            }
        )+

        /// A write that is acknowledged and done in part only: no call fails, the file is too
        /// short.
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn the_end_of_a_file_that_was_lost() {
            for keeping in [0, 3] {
                let fault = Fault::lose(Op::Write).keeping(keeping).where_staging_file();
                mishap!($recipe, fault, is_told, false, &["complete", "copy"], None);
            }
        }
    };
}

macro_rules! told_on {
    ($($mount:ident: $recipe:expr),+ $(,)?) => {$(
        mod $mount {
            told! {
                $recipe,
                a_disk_that_is_full_at_a_write: Write ENOSPC, "copy data to file";
                a_disk_that_fails_at_a_write: Write EIO, "copy data to file";
                a_disk_that_is_full_at_close: Flush ENOSPC, "close";
                a_disk_that_fails_at_close: Flush EIO, "close";
                a_quota_that_is_exceeded_at_close: Flush EDQUOT, "close";
                a_disk_that_is_full_at_fsync: Fsync ENOSPC fsync true, "sync data to disk";
                a_disk_that_fails_at_fsync: Fsync EIO fsync true, "sync data to disk";
            }
        }
    )+};
}

told_on! {
    told_without_links: no_links(),
    told_with_neither: neither(),
    told_where_inodes_change: no_links().inodes_change(),
    told_where_attributes_settle_at_close: no_links().attributes_settle_at_close(),
}

const NO_RENAME: [i32; 2] = [libc::ENOSYS, libc::EOPNOTSUPP];

/// On a mount that cannot rename, in the pass that writes the destination.
macro_rules! told_without_rename {
    ($($name:ident: $op:ident $errno:ident $(fsync $fsync:literal)?, $steps:expr);+ $(;)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $name() {
            for refusal in NO_RENAME {
                let recipe = Recipe::plain().no_rename(refusal).no_hard_links(refusal);
                for recipe in [recipe.clone().sequential_writes(), recipe] {
                    let fault = Fault::on(Op::$op).errno(libc::$errno);
                    let fsync = false $(|| $fsync)?;
                    let errno = Some(libc::$errno);
                    mishap!(recipe, fault, removes_what_was_ours, fsync, &$steps, errno);
                }
            }
        }
    )+};
}

told_without_rename! {
    without_rename_a_disk_that_is_full_at_a_write_leaves_no_part_of_an_object:
        Write ENOSPC, ["copy data to file"];
    without_rename_a_disk_that_fails_at_a_write_leaves_no_part_of_an_object:
        Write EIO, ["copy data to file"];
    without_rename_a_disk_that_is_full_at_close_leaves_no_part_of_an_object:
        Flush ENOSPC, ["close"];
    without_rename_a_disk_that_fails_at_close_leaves_no_part_of_an_object:
        Flush EIO, ["close"];
    without_rename_a_disk_that_fails_at_fsync_leaves_no_part_of_an_object:
        Fsync EIO fsync true, ["sync data to disk"];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_rename_the_end_of_a_file_that_was_lost_leaves_no_part_of_an_object() {
    let recipe = Recipe::plain().no_rename(libc::ENOSYS);
    for keeping in [0, 3] {
        let fault = Fault::lose(Op::Write).keeping(keeping);
        let steps = ["complete", "copy"];
        mishap!(
            recipe.clone(),
            fault,
            removes_what_was_ours,
            false,
            &steps,
            None
        );
    }
}

/// What of a mount does not depend on what else it can do.
macro_rules! on_each {
    ($($mount:ident: $recipe:expr),+ $(,)?) => {$(
        mod $mount {
            use super::*;

            /// Somebody has the destination open, as on SMB and DrvFs, and closes it.
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn a_destination_that_is_held_open_for_a_while_is_waited_for() {
                for errno in [libc::EACCES, libc::EPERM, libc::EBUSY] {
                    let fault = Fault::on(Op::Rename).errno(errno).first(4);
                    mishap!($recipe, fault, passes, false);
                }
            }

            /// And does not.
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn a_destination_that_is_held_open_for_good_is_told() {
                for errno in [libc::EACCES, libc::EPERM, libc::EBUSY] {
                    let fault = Fault::on(Op::Rename).errno(errno);
                    mishap!($recipe, fault, says_who_may_have_it_open, errno);
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn a_directory_that_cannot_be_synced_is_no_error() {
                for errno in [libc::EINVAL, libc::EBADF, libc::ENOTSUP] {
                    let fault = Fault::on(Op::Fsyncdir).errno(errno);
                    mishap!($recipe, fault, passes, true);
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn a_directory_whose_sync_fails_is_one() {
                for errno in [libc::EIO, libc::ENOSPC] {
                    let fault = Fault::on(Op::Fsyncdir).errno(errno);
                    mishap!($recipe, fault, may_not_last, errno);
                }
            }
        }
    )+};
}

on_each! {
    with_all_calls: Recipe::plain(),
    on_drvfs: Recipe::drvfs(),
    with_neither: neither(),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_rename_a_directory_that_cannot_be_synced_is_no_error() {
    let recipe = Recipe::plain().no_rename(libc::ENOSYS);
    let fault = Fault::on(Op::Fsyncdir).errno(libc::EINVAL);
    mishap!(recipe, fault, passes, true);
}

/// What a mount refused it is not asked again, by no store of the process.
async fn refused_once(recipe: Recipe, links: u64, exclusive_renames: u64) {
    const PUTS: usize = 10_000;

    let mount = mount(recipe);
    for round in 0..PUTS {
        let dir = mount.path();
        match round % 3 {
            0 => minors::v0_12::mishaps::create_and_copy(dir, round).await,
            1 => minors::v0_13::mishaps::create_and_copy(dir, round).await,
            _ => minors::v0_14::mishaps::create_and_copy(dir, round).await,
        }
    }
    assert!(mount.calls(Op::Create) >= PUTS as u64);
    let (linked, exclusively) = (mount.calls(Op::Link), mount.renames_with_flags());
    assert!(linked <= links, "{linked} links");
    assert!(
        exclusively <= exclusive_renames,
        "{exclusively} exclusive renames"
    );
}

// ENOSYS is not among them: the kernel itself makes EPERM of it, and asks once.

/// EPERM may be about one object alone (proc_sys_fs(5), `protected_hardlinks`): it takes another
/// link, of a file of our own, to know.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_ten_thousand_puts_two_links_at_most_are_refused_by_eperm() {
    refused_once(Recipe::plain().no_hard_links(libc::EPERM), 2, u64::MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_ten_thousand_puts_one_link_is_refused_by_eopnotsupp() {
    let recipe = Recipe::plain().no_hard_links(libc::EOPNOTSUPP);
    refused_once(recipe, 1, u64::MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_ten_thousand_puts_one_link_and_one_exclusive_rename_are_refused_by_eperm() {
    refused_once(neither(), 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_ten_thousand_puts_one_link_and_one_exclusive_rename_are_refused_by_eopnotsupp() {
    let recipe = Recipe::plain().no_rename_flags();
    refused_once(recipe.no_hard_links(libc::EOPNOTSUPP), 1, 1).await;
}

/// Links are no substitute that is to be found anew each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_ten_thousand_puts_one_exclusive_rename_is_refused_where_there_are_links() {
    refused_once(Recipe::plain().no_rename_flags(), u64::MAX, 1).await;
}
