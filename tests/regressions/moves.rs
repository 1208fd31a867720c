//! Renames that take more than one step.

use object_store_0_14::ObjectStoreExt;
use object_store_localfs_engine::fault::{self, Call, Fault, Op};

use super::workers::put_from_another_process;
use super::{Flag, at, at_first, hasty, read, store};
use crate::quirkfs::{QuirkFs, Recipe};

/// A move by data removed its source, whatever another process had put there since the copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_by_data_keeps_a_source_that_is_overwritten_meanwhile() {
    let disk = tempfile::tempdir().unwrap();
    let mount = QuirkFs::mount(Recipe::plain().no_rename(libc::ENOSYS));
    let root = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(disk.path(), root.path().join("disk")).unwrap();
    std::os::unix::fs::symlink(mount.path(), root.path().join("bucket")).unwrap();
    let store = store(root.path());
    store.put(&at("disk/from"), "old".into()).await.unwrap();
    store.put(&at("bucket/learn"), "x".into()).await.unwrap();
    let dir = disk.path().to_owned();
    let _put = at_first(root.path(), Op::Write, "bucket/to", move || {
        let dir = dir.clone();
        Fault::none().then(move || put_from_another_process(&dir))
    });
    let moved = store.rename(&at("disk/from"), &at("bucket/to")).await;
    let found = [read(disk.path(), "from"), read(mount.backing(), "to")];
    assert!(found.contains(&Some("new".into())), "{moved:?}: {found:?}");
}

/// So did one by a link, of what was put between the link and the unlink.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_by_link_keeps_a_source_that_is_overwritten_meanwhile() {
    let mount = QuirkFs::mount(Recipe::drvfs());
    let store = store(mount.path());
    store.put(&at("from"), "old".into()).await.unwrap();
    let dir = mount.path().to_owned();
    let _put = at_first(mount.path(), Op::Link, "to", move || {
        let dir = dir.clone();
        Fault::none().then(move || put_from_another_process(&dir))
    });
    let moved = store.rename_if_not_exists(&at("from"), &at("to")).await;
    let found = ["from", "to"].map(|name| read(mount.backing(), name));
    assert!(found.contains(&Some("new".into())), "{moved:?}: {found:?}");
}

/// It was an error where the look that comes after it met a stale handle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_that_took_effect_is_a_success_though_no_look_is_to_be_had() {
    let mount = QuirkFs::mount(Recipe::plain());
    let store = store(mount.path()).with_retry(hasty());
    store.put(&at("from"), "new".into()).await.unwrap();
    let renamed = Flag::default();
    let was = renamed.clone();
    let _away = fault::inject(mount.path(), move |call: &Call<'_>| match call.op {
        Op::Rename if call.path.ends_with("to") => {
            renamed.raise();
            Fault::none()
        }
        Op::Stat if renamed.is_raised() => Fault::before_effect(libc::ESTALE),
        _ => Fault::none(),
    });
    store.rename(&at("from"), &at("to")).await.unwrap();
    assert!(was.is_raised());
    let found = ["from", "to"].map(|name| read(mount.backing(), name));
    assert_eq!(found, [None, Some("new".into())]);
}
