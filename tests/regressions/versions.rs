//! What tells one version of an object from another.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use object_store_0_14::{ObjectStoreExt, Result};
use object_store_localfs::LocalFileSystem;
use object_store_localfs_engine::fault::{Fault as Injected, Op as Call};

use super::{at, at_first, store};
use crate::quirkfs::{Fault, Mounted, Op, QuirkFs, Recipe};

/// As vfat: what is written in quick succession has one time.
fn coarse() -> Mounted {
    QuirkFs::mount(Recipe::plain().coarse_mtime(Duration::from_secs(2)))
}

/// Of three versions within one step of the clock, the first and the third shared an e_tag.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_e_tag_never_comes_back() {
    let mount = coarse();
    let store = store(mount.path());
    let mut e_tags = HashSet::new();
    for version in 0..4 {
        let data = format!("version {version}").into();
        let put = store.put(&at("object"), data).await.unwrap();
        assert!(e_tags.insert(put.e_tag.unwrap()), "{version}: {e_tags:?}");
    }
}

/// An object of several chunks, all of this byte.
async fn put_large(store: &LocalFileSystem, byte: u8) {
    let data = vec![byte; 2 << 20].into();
    store.put(&at("object"), data).await.unwrap();
}

fn assert_not_mixed(first: &Bytes, second: &Result<Bytes>) {
    assert!(first.iter().all(|b| *b == 1));
    if let Ok(second) = second {
        assert!(second.iter().all(|b| *b == 1), "another version's bytes");
    }
}

/// It went on with another version once the e_tag of its own had come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_must_open_its_file_again_stays_with_its_version() {
    let mount = coarse();
    let store = store(mount.path());
    put_large(&store, 1).await;
    let mut stream = store.get(&at("object")).await.unwrap().into_stream();
    let first = stream.next().await.unwrap().unwrap();
    put_large(&store, 2).await;
    put_large(&store, 3).await;
    let stale = || Injected::before_effect(libc::ESTALE);
    let _stale = at_first(mount.path(), Call::Read, "object", stale);
    let second = stream.next().await.unwrap();
    assert_not_mixed(&first, &second);
}

/// It went on with what was written into its file between two chunks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_an_object_that_is_overwritten_in_place_stays_with_its_version() {
    let mount = QuirkFs::mount(Recipe::plain().no_rename(libc::ENOSYS));
    let store = store(mount.path());
    put_large(&store, 1).await;
    let mut stream = store.get(&at("object")).await.unwrap().into_stream();
    let first = stream.next().await.unwrap().unwrap();
    put_large(&store, 2).await;
    let second = stream.next().await.unwrap();
    assert_not_mixed(&first, &second);
}

async fn e_tag(store: &LocalFileSystem, location: &str) -> String {
    store.head(&at(location)).await.unwrap().e_tag.unwrap()
}

/// The mtime of the source was moved, and with it that of a copy, which is the same file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_leaves_the_e_tag_of_a_third_object() {
    let mount = coarse();
    let store = store(mount.path());
    store.put(&at("to"), "1".into()).await.unwrap();
    store.put(&at("from"), "2".into()).await.unwrap();
    store.copy(&at("from"), &at("third")).await.unwrap();
    let before = e_tag(&store, "third").await;
    store.rename(&at("from"), &at("to")).await.unwrap();
    assert_eq!(e_tag(&store, "third").await, before);
}

/// The mtime of its source was moved for it, and stayed so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_that_fails_leaves_the_e_tag_of_its_source() {
    let mount = coarse();
    let store = store(mount.path());
    store.put(&at("to"), "1".into()).await.unwrap();
    store.put(&at("from"), "2".into()).await.unwrap();
    let before = e_tag(&store, "from").await;
    mount.add_fault(Fault::on(Op::Rename).errno(libc::ENOSPC));
    let renamed = store.rename(&at("from"), &at("to")).await;
    mount.clear_faults();
    assert!(renamed.is_err(), "{renamed:?}");
    assert_eq!(e_tag(&store, "from").await, before);
}
