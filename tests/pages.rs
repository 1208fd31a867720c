//! Listings by the page, for every minor.

mod minors;

use minors::for_each_minor;

/// In memory where there is a place: some of these make 100,000 files.
fn directory() -> tempfile::TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).unwrap()
}

macro_rules! pages {
    ($($name:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let dir = directory();
            for_each_minor!(dir.path(), pages::$name);
        }
    )+};
}

pages![
    pages_are_in_the_order_of_keys,
    symlinks_come_where_their_targets_would,
    a_prefix_is_the_beginning_of_a_key,
    what_has_a_delimiter_is_a_common_prefix,
    an_offset_is_left_out,
    a_page_holds_what_is_asked_for,
    a_token_says_that_something_follows,
    a_page_goes_on_after_what_is_gone,
    what_vanishes_is_left_out_of_a_page,
    a_directory_that_goes_stale_is_read_again,
    pages_are_those_of_a_sorted_set_of_keys,
    a_page_looks_at_no_more_than_it_tells,
    a_page_reads_only_the_directories_that_it_needs,
    pages_show_what_other_listings_show,
    a_store_of_everything_has_pages,
    no_prefix_leads_out,
    a_token_of_another_making_is_refused,
    an_error_is_told_on_its_page,
    a_page_tells_what_head_tells,
];
