//! Upstream's suites and the contract on real mounts, for every minor: local file systems of all
//! kinds, and the FUSE file system that misbehaves. Needs root and `/dev/fuse`.

#![cfg(feature = "mount-tests")]

mod disks;
mod minors;
mod quirkfs;

use std::path::Path;

use disks::Disk;
use minors::for_each_minor;
use quirkfs::{Fault, Mounted, Op, QuirkFs, Recipe};

async fn everything(dir: &Path) {
    for_each_minor!(dir, suites::all);
    for_each_minor!(dir, contract::all);
}

macro_rules! on_disk {
    ($($disk:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $disk() {
            let disk = Disk::$disk();
            everything(disk.path()).await;
        }
    )+};
}

on_disk![ext4, xfs, btrfs, tmpfs, overlay];

/// Runs everything, and says that the faults were there.
async fn everything_with_faults(mount: &Mounted) {
    everything(mount.path()).await;
    assert!(mount.faults_fired() > 10, "{}", mount.faults_fired());
}

fn lost_renames() -> Fault {
    let stale = Fault::on(Op::Rename).errno(libc::ESTALE);
    stale.every(3).after_effect()
}

fn lost_links() -> Fault {
    let exists = Fault::on(Op::Link).errno(libc::EEXIST);
    exists.every(2).after_effect()
}

/// Three in a row at each twelfth call: the kernel tries a stale path call twice by itself.
fn stale_bursts(op: Op) -> Fault {
    Fault::on(op).errno(libc::ESTALE).burst(12, 3)
}

fn stale_writes() -> Fault {
    Fault::on(Op::Write).errno(libc::ESTALE).every(7)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_healthy_fuse_mount() {
    let mount = QuirkFs::mount(Recipe::plain());
    everything(mount.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drvfs() {
    let mount = QuirkFs::mount(Recipe::drvfs());
    everything(mount.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drvfs_where_replies_to_rename_are_lost() {
    let mount = QuirkFs::mount(Recipe::drvfs().fault(lost_renames()));
    everything_with_faults(&mount).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drvfs_where_replies_to_link_are_lost() {
    let mount = QuirkFs::mount(Recipe::drvfs().fault(lost_links()));
    everything_with_faults(&mount).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drvfs_where_rename_and_create_are_stale_in_bursts() {
    let mount = QuirkFs::mount(
        Recipe::drvfs()
            .fault(stale_bursts(Op::Rename))
            .fault(stale_bursts(Op::Create)),
    );
    everything_with_faults(&mount).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drvfs_where_every_seventh_write_is_stale() {
    let mount = QuirkFs::mount(Recipe::drvfs().fault(stale_writes()));
    everything_with_faults(&mount).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drvfs_with_all_of_that_at_once() {
    let mount = QuirkFs::mount(
        Recipe::drvfs()
            .fault(lost_renames())
            .fault(lost_links())
            .fault(stale_bursts(Op::Rename))
            .fault(stale_bursts(Op::Create))
            .fault(stale_writes()),
    );
    everything_with_faults(&mount).await;
}

/// With exclusive renames, which DrvFs has not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fuse_mount_where_replies_are_lost() {
    let mount = QuirkFs::mount(
        Recipe::plain()
            .fault(lost_renames())
            .fault(lost_links())
            .fault(stale_writes()),
    );
    everything_with_faults(&mount).await;
}

/// As on SMB: the mtime moves at close, and the size is known only then.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mount_whose_attributes_settle_at_close() {
    let mount = QuirkFs::mount(Recipe::plain().attributes_settle_at_close());
    everything(mount.path()).await;
}
