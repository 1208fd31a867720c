//! Attributes, on a plain directory and with faults of single calls, for every minor.

mod minors;

use minors::for_each_minor;

macro_rules! checks {
    ($($name:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let dir = tempfile::tempdir().unwrap();
            for_each_minor!(dir.path(), attributes::$name);
        }
    )+};
}

checks![
    all,
    a_copy_by_data_carries_them,
    a_mount_without_rename_keeps_them,
    passing_errors_lose_none,
    what_cannot_be_read_is_told,
    they_cost_what_they_must,
    what_is_not_kept_as_it_was_set_is_told,
    xattrs_of_others_are_met,
];
