//! Listings of what changes meanwhile.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures::TryStreamExt;
use object_store_0_14::ObjectStore;
use object_store_0_14::list::{PaginatedListOptions, PaginatedListStore};
use object_store_localfs_engine::fault::{self, Call, Fault, Op};

use super::store;

/// ENAMETOOLONG was an error of the listing.
#[tokio::test]
async fn a_prefix_longer_than_any_name_is_of_nothing() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a"), "x").unwrap();
    let prefix = format!("{}/", "x".repeat(300));
    let options = PaginatedListOptions::default();
    let store = store(home.path());
    let page = store.list_paginated(Some(&prefix), options).await.unwrap();
    assert!(page.result.objects.is_empty() && page.page_token.is_none());
}

/// The entry of a symlink below it was ENOTDIR, and the listing an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_goes_on_where_a_file_takes_the_place_of_a_directory() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("dir")).unwrap();
    std::fs::write(root.join("dir/file"), "x").unwrap();
    std::os::unix::fs::symlink("file", root.join("dir/link")).unwrap();
    std::fs::write(root.join("last"), "x").unwrap();
    let is_replaced = AtomicBool::new(false);
    let (dir, away) = (root.join("dir"), root.join("away"));
    let _replaced = fault::inject(&root, move |call: &Call<'_>| {
        let is_below = call.op == Op::Stat && call.path.starts_with(&dir);
        if is_below && !is_replaced.swap(true, Relaxed) {
            std::fs::rename(&dir, &away).unwrap();
            std::fs::write(&dir, "now a file").unwrap();
        }
        Fault::none()
    });
    let listed: Vec<_> = store(&root).list(None).try_collect().await.unwrap();
    assert!(root.join("dir").is_file());
    assert!(listed.iter().any(|meta| meta.location.as_ref() == "last"));
}
