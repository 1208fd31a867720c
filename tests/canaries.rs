//! Canaries: one test for each fault of upstream that this crate exists for, run against upstream
//! itself, and its twin against ours.
//!
//! `the_fault::v0_14::upstream` fails on the day upstream has mended the fault, and says what may
//! be dropped then. `the_fault::v0_14::ours` asks our store the same question.

mod minors;
#[cfg(feature = "mount-tests")]
mod quirkfs;

use std::path::Path;

/// What a canary says when it has died.
fn assert_shows(shows: bool, fault: &str, minor: &str, then: &str) {
    assert!(
        shows,
        "upstream's {minor} has no such fault any more: {fault}. {then}; then move the minor from \
         `faulty` to `mended` here"
    );
}

/// `fault` is a question of `minors/canaries.rs`. Upstream's `faulty` minors have it, the `mended`
/// ones have it no more, ours never has. `then` says what may be dropped from this crate once no
/// minor has it.
macro_rules! canary {
    (
        $fault:ident on $place:expr,
        faulty: [$($faulty:ident),*],
        mended: [$($mended:ident),*],
        then: $then:literal $(,)?
    ) => {
        mod $fault {
            use super::*;
            $(
                mod $faulty {
                    use super::*;

                    #[tokio::test]
                    async fn upstream() {
                        let place = $place;
                        let shows = ask!($faulty, $fault, upstream, place.path());
                        assert_shows(shows, stringify!($fault), stringify!($faulty), $then);
                    }

                    #[tokio::test]
                    async fn ours() {
                        let place = $place;
                        assert!(!ask!($faulty, $fault, ours, place.path()));
                    }
                }
            )*
            $(
                mod $mended {
                    use super::*;

                    #[tokio::test]
                    async fn upstream_has_mended_it() {
                        let place = $place;
                        assert!(!ask!($mended, $fault, upstream, place.path()));
                    }

                    #[tokio::test]
                    async fn ours() {
                        let place = $place;
                        assert!(!ask!($mended, $fault, ours, place.path()));
                    }
                }
            )*
        }
    };
}

fn a_disk() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The answer of a store, upstream's or ours, of one minor.
macro_rules! ask {
    ($minor:ident, $fault:ident, upstream, $dir:expr) => {{
        let dir: &Path = $dir;
        let store = minors::$minor::object_store::local::LocalFileSystem::new_with_prefix(dir);
        minors::$minor::canaries::$fault(&store.unwrap(), dir).await
    }};
    ($minor:ident, $fault:ident, ours, $dir:expr) => {{
        let dir: &Path = $dir;
        let store = minors::$minor::LocalFileSystem::new_with_prefix(dir);
        minors::$minor::canaries::$fault(&store.unwrap(), dir).await
    }};
}

// ---- on any disk ------------------------------------------------------------------------------

canary! {
    a_dropped_part_publishes_a_hole on a_disk(),
    faulty: [v0_12, v0_13, v0_14],
    mended: [],
    then: "The account of parts may go (`Ledger` in engine/src/upload.rs)",
}

canary! {
    a_copy_over_its_copy_leaks_a_staging_file on a_disk(),
    faulty: [v0_12, v0_13, v0_14],
    mended: [],
    then: "`link_over` need not look at the destination first (engine/src/relocate.rs)",
}

canary! {
    a_rename_onto_its_copy_leaves_the_source on a_disk(),
    faulty: [v0_12, v0_13, v0_14],
    mended: [],
    then: "`remove_other_link` may go (engine/src/relocate.rs)",
}

canary! {
    leaked_staging_files_are_probed_by_each_upload on a_disk(),
    faulty: [v0_12, v0_13, v0_14],
    mended: [],
    then: "Staging names need not be random (`unique` in engine/src/names.rs)",
}

canary! {
    an_upload_begins_with_file_io_on_the_callers_thread on a_disk(),
    faulty: [v0_12, v0_13, v0_14],
    mended: [],
    then: "`begin_upload` is upstream's as well (src/store/shared.rs)",
}

canary! {
    a_complete_that_failed_cannot_be_called_again on a_disk(),
    faulty: [v0_12, v0_13, v0_14],
    mended: [],
    then: "The states of an upload may be two, open and over (`Handle` in engine/src/upload.rs)",
}

canary! {
    a_staging_file_of_a_name_with_a_hash_is_listed on a_disk(),
    faulty: [v0_12, v0_13, v0_14],
    mended: [],
    then: "A staging name may keep a `#` of its destination (engine/src/names.rs)",
}

canary! {
    an_update_is_not_implemented on a_disk(),
    faulty: [v0_12, v0_13, v0_14],
    mended: [],
    then: "Ours may delegate it",
}

#[test]
fn fsync_is_no_option_of_upstreams_old_minors() {
    let then = "Our `with_fsync` may set upstream's (src/store/shared.rs)";
    assert_shows(
        minors::v0_12::canaries::fsync_is_no_option(),
        "there is no with_fsync",
        "v0_12",
        then,
    );
    assert_shows(
        minors::v0_13::canaries::fsync_is_no_option(),
        "there is no with_fsync",
        "v0_13",
        then,
    );
    assert!(!minors::v0_14::canaries::fsync_is_no_option());
}

#[test]
fn fsync_is_an_option_of_ours() {
    let _ = minors::v0_12::LocalFileSystem::new().with_fsync(true);
    let _ = minors::v0_13::LocalFileSystem::new().with_fsync(true);
    let _ = minors::v0_14::LocalFileSystem::new().with_fsync(true);
}

// ---- on mounts --------------------------------------------------------------------------------

#[cfg(feature = "mount-tests")]
mod on_mounts {
    use super::*;
    use crate::quirkfs::{Fault, Mounted, Op, QuirkFs, Recipe};

    fn drvfs() -> Mounted {
        QuirkFs::mount(Recipe::drvfs())
    }

    fn with(fault: Fault) -> Mounted {
        QuirkFs::mount(Recipe::plain().fault(fault))
    }

    /// An exclusive rename is refused as on NFS, so that a create is a link.
    fn lost_link() -> Mounted {
        let fault = Fault::on(Op::Link).errno(libc::EEXIST).nth(1);
        let recipe = Recipe::plain().no_rename_flags();
        QuirkFs::mount(recipe.fault(fault.after_effect()))
    }

    /// The kernel calls again after ESTALE, and the program sees ENOENT.
    fn lost_rename() -> Mounted {
        with(
            Fault::on(Op::Rename)
                .errno(libc::ESTALE)
                .nth(1)
                .after_effect(),
        )
    }

    fn stale_write() -> Mounted {
        with(Fault::on(Op::Write).errno(libc::ESTALE).nth(1))
    }

    fn failing_close() -> Mounted {
        with(Fault::on(Op::Flush).errno(libc::EIO).where_staging_file())
    }

    fn no_links() -> Mounted {
        QuirkFs::mount(Recipe::plain().no_hard_links(libc::EPERM))
    }

    canary! {
        complete_asks_the_handle_of_a_renamed_file on drvfs(),
        faulty: [v0_12, v0_13],
        mended: [v0_14],
        then: "On DrvFs upstream's uploads work, and the README's first reason is gone",
    }

    canary! {
        a_put_whose_rename_lost_its_reply_fails on lost_rename(),
        faulty: [v0_12, v0_13, v0_14],
        mended: [],
        then: "`Step::replace` need not look after an error (engine/src/publish.rs)",
    }

    canary! {
        a_complete_whose_rename_lost_its_reply_fails on lost_rename(),
        faulty: [v0_12, v0_13, v0_14],
        mended: [],
        then: "`Step::replace` need not look after an error (engine/src/publish.rs)",
    }

    canary! {
        a_create_whose_link_lost_its_reply_loses_to_itself on lost_link(),
        faulty: [v0_12, v0_13, v0_14],
        mended: [],
        then: "`Step::create` need not look after an error (engine/src/publish.rs)",
    }

    canary! {
        a_write_to_a_stale_handle_fails_the_put on stale_write(),
        faulty: [v0_12, v0_13, v0_14],
        mended: [],
        then: "`Shared::reopen` may go (engine/src/upload.rs)",
    }

    canary! {
        a_write_to_a_stale_handle_fails_the_upload on stale_write(),
        faulty: [v0_12, v0_13, v0_14],
        mended: [],
        then: "`Shared::reopen` may go (engine/src/upload.rs)",
    }

    canary! {
        an_error_at_close_is_no_error_of_put on failing_close(),
        faulty: [v0_12, v0_13],
        mended: [v0_14],
        then: "`sys::close` need not be our own (engine/src/sys)",
    }

    canary! {
        an_error_at_close_is_no_error_of_complete on failing_close(),
        faulty: [v0_12, v0_13],
        mended: [v0_14],
        then: "`sys::close` need not be our own (engine/src/sys)",
    }

    canary! {
        a_copy_needs_hard_links on no_links(),
        faulty: [v0_12, v0_13, v0_14],
        mended: [],
        then: "`copy_data` may go (engine/src/relocate.rs)",
    }

    canary! {
        a_create_needs_hard_links on no_links(),
        faulty: [v0_12, v0_13, v0_14],
        mended: [],
        then: "`Step::rename_exclusively` may go (engine/src/publish.rs)",
    }
}
