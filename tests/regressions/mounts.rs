//! What is learned of a mount.

use std::process::Command;

use object_store_0_14::{ObjectStore, ObjectStoreExt};
use object_store_localfs::Exclusion;

use super::{at, create, read, store};
use crate::disks::Disk;
use crate::quirkfs::{Fault, Op, QuirkFs, Recipe};

/// ENOSYS for one file was taken for the mount, and overwrites were atomic no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overwrites_stay_atomic_where_one_file_cannot_be_renamed() {
    let mount = QuirkFs::mount(Recipe::plain());
    let store = store(mount.path());
    store.put(&at("object"), "old".into()).await.unwrap();
    store.copy(&at("object"), &at("copy")).await.unwrap();
    store.put(&at("lower"), "lower".into()).await.unwrap();
    // As of a file of a lower layer that a union mount cannot copy up.
    let refused = Fault::on(Op::Rename).errno(libc::ENOSYS);
    mount.add_fault(refused.where_name(|name| name == "lower"));
    store.rename(&at("lower"), &at("upper")).await.unwrap();
    assert!(mount.faults_fired() > 0);
    mount.add_fault(Fault::on(Op::Write).errno(libc::ENOSPC));
    let put = store.put(&at("object"), "new".into()).await;
    mount.clear_faults();
    assert!(put.is_err(), "{put:?}");
    let found = ["object", "copy"].map(|name| read(mount.backing(), name));
    assert_eq!(found, [Some("old".into()), Some("old".into())]);
}

/// EPERM for one file was taken for the mount, which had no exclusive step any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_go_on_where_one_file_cannot_be_linked() {
    let mount = QuirkFs::mount(Recipe::plain().no_rename_flags());
    let store = store(mount.path()).with_exclusive_create(Exclusion::OtherHosts);
    store.put(&at("immutable"), "x".into()).await.unwrap();
    let refused = Fault::on(Op::Link).errno(libc::EPERM);
    mount.add_fault(refused.where_name(|name| name == "immutable"));
    store.copy(&at("immutable"), &at("copy")).await.unwrap();
    assert!(mount.faults_fired() > 0);
    let created = store.put_opts(&at("new"), "x".into(), create()).await;
    created.unwrap();
}

/// The options of the first mount were told for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remount_is_learned() {
    let disk = Disk::tmpfs();
    let store = store(disk.path());
    store.put(&at("object"), "x".into()).await.unwrap();
    let before = store.mount_facts().await.unwrap().options;
    let remount = ["-o", "remount,ro,noexec,size=256m"];
    let remounted = Command::new("mount")
        .args(remount)
        .arg(disk.path())
        .status();
    assert!(remounted.unwrap().success());
    let after = store.mount_facts().await.unwrap().options;
    assert_ne!(before, after);
}
