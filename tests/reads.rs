//! Reads and listings, for every minor: upstream's answers, and the same after faults.

#[cfg(all(feature = "mount-tests", target_os = "linux"))]
mod quirkfs;

mod minors;

use minors::for_each_minor;

macro_rules! reads {
    ($($name:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let dir = tempfile::tempdir().unwrap();
            for_each_minor!(dir.path(), reads::$name);
        }
    )+};
}

reads![
    answers_are_upstreams,
    answers_from_the_root_are_upstreams,
    a_passing_error_of_a_read_is_no_failure,
    a_certain_error_of_a_read_is_told_at_once,
    the_budget_of_a_read_ends,
    a_long_stream_has_a_budget_for_each_chunk,
    a_stream_is_of_one_version,
    a_file_replaced_while_it_is_opened_is_found,
    what_vanishes_during_a_listing_is_left_out,
    a_directory_that_goes_stale_half_way_is_listed_once,
    a_get_gives_a_file_on_a_local_disk,
    a_range_that_cannot_be_is_refused,
    a_loop_ends,
];

/// On FUSE mounts that misbehave; as root.
#[cfg(all(feature = "mount-tests", target_os = "linux"))]
mod on_mounts {
    use super::minors::{for_each_minor, fresh, v0_12, v0_13, v0_14};
    use super::quirkfs::{Fault, Op, QuirkFs, Recipe};

    async fn reads_hold(recipe: Recipe, faults: &[Fault]) {
        let mount = QuirkFs::mount(recipe);
        let start = || {
            faults
                .iter()
                .for_each(|fault| mount.add_fault(fault.clone()))
        };
        for minor in ["0_12", "0_13", "0_14"] {
            mount.clear_faults();
            let dir = fresh(mount.path(), minor);
            match minor {
                "0_12" => v0_12::reads::reads_hold(&dir, start).await,
                "0_13" => v0_13::reads::reads_hold(&dir, start).await,
                _ => v0_14::reads::reads_hold(&dir, start).await,
            }
            assert!(mount.faults_fired() > 10, "{}", mount.faults_fired());
        }
    }

    /// More in a row than the kernel asks again by itself.
    fn bursts(op: Op) -> Fault {
        Fault::on(op).errno(libc::ESTALE).burst(12, 3)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn stale_opens() {
        reads_hold(Recipe::plain(), &[bursts(Op::Open)]).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn stale_attributes() {
        reads_hold(Recipe::plain(), &[bursts(Op::Getattr)]).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn stale_directories() {
        reads_hold(Recipe::plain(), &[bursts(Op::Opendir)]).await;
        reads_hold(Recipe::plain(), &[bursts(Op::Readdir)]).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_ninth_read_is_stale_twice() {
        let stale = Fault::on(Op::Read).errno(libc::ESTALE).burst(9, 2);
        reads_hold(Recipe::drvfs(), &[stale]).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_of_that_where_inodes_change() {
        let stale = Fault::on(Op::Read).errno(libc::ESTALE).burst(9, 2);
        // One directory meets all of them, and has one budget.
        let faults = [Op::Open, Op::Getattr, Op::Opendir, Op::Readdir].map(|op| {
            let stale = Fault::on(op).errno(libc::ESTALE);
            stale.burst(40, 3)
        });
        let faults = [&faults[..], &[stale]].concat();
        reads_hold(Recipe::plain().inodes_change(), &faults).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_loop_ends() {
        let mount = QuirkFs::mount(Recipe::plain().inodes_change());
        for_each_minor!(mount.path(), reads::a_loop_ends);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn e_tags_agree_where_inodes_change() {
        let mount = QuirkFs::mount(Recipe::plain().inodes_change());
        for_each_minor!(mount.path(), reads::e_tags_agree);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn e_tags_agree_on_every_mount() {
        for recipe in [
            Recipe::plain(),
            Recipe::drvfs(),
            Recipe::plain().attributes_settle_at_close(),
            Recipe::plain().coarse_mtime(std::time::Duration::from_secs(2)),
        ] {
            let mount = QuirkFs::mount(recipe);
            for_each_minor!(mount.path(), reads::e_tags_agree);
        }
    }
}
