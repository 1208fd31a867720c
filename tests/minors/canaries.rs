//! The faults of upstream that we exist for, each as a question to a store: does it show?
//!
//! `store` is upstream's or ours, of the directory `dir`, which is empty.

use std::fs;
use std::path::Path as Dir;

use futures::FutureExt;

use super::object_store::path::Path;
use super::object_store::*;
use crate::minors::files;

fn at(location: &str) -> Path {
    Path::from(location)
}

async fn contents(store: &dyn ObjectStore, location: &str) -> Vec<u8> {
    let got = store.get(&at(location)).await.unwrap();
    got.bytes().await.unwrap().to_vec()
}

async fn upload(store: &dyn ObjectStore) -> Result<PutResult> {
    let mut upload = store.put_multipart(&at("a")).await?;
    upload.put_part("data".into()).await?;
    upload.complete().await
}

// ---- on any disk ------------------------------------------------------------------------------

pub(crate) async fn a_dropped_part_publishes_a_hole(store: &dyn ObjectStore, _dir: &Dir) -> bool {
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    upload.put_part("first".into()).await.unwrap();
    drop(upload.put_part("second".into()));
    // The pool may still write it, once it is handed out: this one comes after.
    upload.put_part("third".into()).await.unwrap();
    upload.complete().await.is_ok()
}

pub(crate) async fn a_copy_over_its_copy_leaks_a_staging_file(
    store: &dyn ObjectStore,
    dir: &Dir,
) -> bool {
    store.put(&at("a"), "data".into()).await.unwrap();
    for _ in 0..2 {
        store.copy(&at("a"), &at("b")).await.unwrap();
    }
    files(dir) != ["a", "b"]
}

pub(crate) async fn a_rename_onto_its_copy_leaves_the_source(
    store: &dyn ObjectStore,
    dir: &Dir,
) -> bool {
    store.put(&at("a"), "data".into()).await.unwrap();
    store.copy(&at("a"), &at("b")).await.unwrap();
    store.rename(&at("a"), &at("b")).await.unwrap();
    files(dir) != ["b"]
}

/// What is left behind as `#1` to `#3` is tried first, one name after another.
pub(crate) async fn leaked_staging_files_are_probed_by_each_upload(
    store: &dyn ObjectStore,
    dir: &Dir,
) -> bool {
    for n in 1..=3 {
        fs::write(dir.join(format!("a#{n}")), "").unwrap();
    }
    let _upload = store.put_multipart(&at("a")).await.unwrap();
    dir.join("a#4").exists()
}

/// While all threads for blocking work are busy: what has a staging file by then has made it on
/// the thread that polls.
pub(crate) async fn an_upload_begins_with_file_io_on_the_callers_thread(
    store: &dyn ObjectStore,
    dir: &Dir,
) -> bool {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    runtime.spawn_blocking(move || released.recv());
    let shows = {
        let _entered = runtime.enter();
        let location = at("a");
        let upload = store.put_multipart(&location).now_or_never();
        upload.is_some() && files(dir).len() == 1
    };
    release.send(()).unwrap();
    runtime.shutdown_background();
    shows
}

pub(crate) async fn a_complete_that_failed_cannot_be_called_again(
    store: &dyn ObjectStore,
    dir: &Dir,
) -> bool {
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    upload.put_part("data".into()).await.unwrap();
    fs::create_dir(dir.join("a")).unwrap();
    upload.complete().await.unwrap_err();
    fs::remove_dir(dir.join("a")).unwrap();
    match upload.complete().await {
        Ok(_) => contents(store, "a").await != b"data",
        Err(_) => true,
    }
}

pub(crate) async fn a_staging_file_of_a_name_with_a_hash_is_listed(
    store: &dyn ObjectStore,
    _dir: &Dir,
) -> bool {
    let _upload = store.put_multipart(&Path::parse("a#b").unwrap()).await;
    let listed = store.list_with_delimiter(None).await.unwrap();
    !listed.objects.is_empty()
}

#[allow(
    clippy::unneeded_struct_pattern,
    reason = "0.13 gave the variant fields"
)]
pub(crate) async fn an_update_is_not_implemented(store: &dyn ObjectStore, _dir: &Dir) -> bool {
    let put = store.put(&at("a"), "old".into()).await.unwrap();
    let update = PutMode::Update(put.into());
    let put = store.put_opts(&at("a"), "new".into(), update.into()).await;
    matches!(put, Err(Error::NotImplemented { .. }))
}

/// A method of the type itself comes before one of a trait: this is the trait's.
trait WithoutFsync: Sized {
    fn with_fsync(self, _fsync: bool) -> Option<Self> {
        None
    }
}

impl<T> WithoutFsync for T {}

trait IsThere {
    fn is_there(&self) -> bool;
}

impl<T> IsThere for Option<T> {
    fn is_there(&self) -> bool {
        self.is_some()
    }
}

impl IsThere for super::object_store::local::LocalFileSystem {
    fn is_there(&self) -> bool {
        true
    }
}

pub(crate) fn fsync_is_no_option() -> bool {
    let store = super::object_store::local::LocalFileSystem::new();
    !store.with_fsync(true).is_there()
}

// ---- on mounts: the fault is in the mount, and is upstream's for what it makes of it ----------

/// DrvFs: the attributes of an open handle are gone once its file was renamed.
pub(crate) async fn complete_asks_the_handle_of_a_renamed_file(
    store: &dyn ObjectStore,
    _dir: &Dir,
) -> bool {
    let Err(error) = upload(store).await else {
        return false;
    };
    let error = error.to_string();
    assert!(error.contains("Unable to access metadata for"), "{error}");
    true
}

pub(crate) async fn a_put_whose_rename_lost_its_reply_fails(
    store: &dyn ObjectStore,
    _dir: &Dir,
) -> bool {
    let put = store.put(&at("a"), "data".into()).await;
    assert_eq!(contents(store, "a").await, b"data", "it happened");
    put.is_err()
}

pub(crate) async fn a_complete_whose_rename_lost_its_reply_fails(
    store: &dyn ObjectStore,
    _dir: &Dir,
) -> bool {
    let completed = upload(store).await;
    assert_eq!(contents(store, "a").await, b"data", "it happened");
    completed.is_err()
}

pub(crate) async fn a_create_whose_link_lost_its_reply_loses_to_itself(
    store: &dyn ObjectStore,
    _dir: &Dir,
) -> bool {
    let create = PutOptions::from(PutMode::Create);
    let put = store.put_opts(&at("a"), "data".into(), create).await;
    assert_eq!(contents(store, "a").await, b"data", "it happened");
    match put {
        Ok(_) => false,
        Err(Error::AlreadyExists { .. }) => true,
        Err(other) => panic!("{other}"),
    }
}

pub(crate) async fn a_write_to_a_stale_handle_fails_the_put(
    store: &dyn ObjectStore,
    _dir: &Dir,
) -> bool {
    store.put(&at("a"), "data".into()).await.is_err()
}

pub(crate) async fn a_write_to_a_stale_handle_fails_the_upload(
    store: &dyn ObjectStore,
    _dir: &Dir,
) -> bool {
    upload(store).await.is_err()
}

/// The data is lost, which close says and nothing else.
pub(crate) async fn an_error_at_close_is_no_error_of_put(
    store: &dyn ObjectStore,
    _dir: &Dir,
) -> bool {
    store.put(&at("a"), "data".into()).await.is_ok()
}

pub(crate) async fn an_error_at_close_is_no_error_of_complete(
    store: &dyn ObjectStore,
    _dir: &Dir,
) -> bool {
    upload(store).await.is_ok()
}

pub(crate) async fn a_copy_needs_hard_links(store: &dyn ObjectStore, _dir: &Dir) -> bool {
    store.put(&at("a"), "data".into()).await.unwrap();
    let copied = store.copy(&at("a"), &at("b")).await;
    let created = store.copy_if_not_exists(&at("a"), &at("c")).await;
    copied.is_err() || created.is_err()
}

pub(crate) async fn a_create_needs_hard_links(store: &dyn ObjectStore, _dir: &Dir) -> bool {
    let create = PutOptions::from(PutMode::Create);
    let put = store.put_opts(&at("a"), "data".into(), create).await;
    put.is_err()
}
