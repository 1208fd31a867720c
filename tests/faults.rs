//! Faults of single system calls, made in process, for every minor.

mod minors;

use minors::for_each_minor;

macro_rules! faults {
    ($($name:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let dir = tempfile::tempdir().unwrap();
            for_each_minor!(dir.path(), faults::$name);
        }
    )+};
}

faults![
    a_passing_error_is_no_failure,
    a_lost_reply_is_a_success_once,
    a_file_that_cannot_be_linked_is_copied,
    without_a_lock_only_threads_are_excluded,
    a_sharing_violation_passes,
    a_certain_error_is_told_at_once,
    lost_data_is_told,
    a_stale_handle_is_opened_anew,
    a_long_upload_has_a_budget_for_each_write,
    an_interrupted_close_is_verified,
    the_budget_ends,
    a_staging_file_that_is_taken_is_an_error,
    a_create_that_was_superseded_is_unknown,
    an_old_object_that_looks_alike_is_not_ours,
    a_failed_complete_can_be_called_again,
    a_directory_is_synced_or_the_write_fails,
    a_failed_sync_is_never_asked_again,
    a_part_lost_after_a_failed_complete_is_no_hole,
    a_cancelled_complete_can_be_called_again,
    no_listing_shows_a_staging_file,
    a_refused_name_says_nothing_of_the_mount,
    a_source_that_another_process_renamed_is_not_ours,
    a_copy_made_by_two_leaves_no_staging_file,
    a_pause_is_made_without_the_lock,
];

macro_rules! updates {
    ($($name:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let dir = tempfile::tempdir().unwrap();
            for_each_minor!(dir.path(), updates::$name);
        }
    )+};
}

updates![
    without_a_lock_no_update_is_made,
    a_lock_that_another_holds_is_waited_for,
    a_lock_for_all_hosts_is_never_less,
    an_unknown_mount_has_no_locks_for_all_hosts,
    the_lock_file_of_a_directory_is_seen_by_nobody,
];
