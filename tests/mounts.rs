//! Upstream's suites and the contract on real mounts, for every minor: local file systems of all
//! kinds, and the FUSE file system that misbehaves. Needs root and `/dev/fuse`.

#![cfg(feature = "mount-tests")]

mod disks;
mod minors;
mod quirkfs;

use std::path::Path;
use std::time::Duration;

use disks::Disk;
use minors::for_each_minor;
use quirkfs::{Fault, Mounted, Op, QuirkFs, Recipe};

fn mount(recipe: Recipe) -> Mounted {
    let mount = QuirkFs::mount(recipe);
    minors::look_behind(mount.path(), mount.backing());
    mount
}

/// Whether a reader is shown an object whole while others replace it, and can read it to its end: not on
/// a mount that cannot rename, and not if its handle goes stale and another version is there by then,
/// which is told. Upstream's suite of updates reads between updates, and takes no error for an answer.
fn reads_hold() -> bool {
    let test = std::thread::current();
    let name = test.name().unwrap_or_default();
    !name.contains("no_rename") && !name.contains("every_ninth_read")
}

async fn everything(dir: &Path) {
    match reads_hold() {
        true => for_each_minor!(dir, suites::all),
        false => {
            for_each_minor!(dir, suites::all_but_updates);
            for_each_minor!(dir, updates::of_many);
        }
    }
    minors::suites_0_14::all(dir).await;
    for_each_minor!(dir, contract::all);
    for_each_minor!(dir, attributes::all);
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

/// Three in a row, at each twelfth call mostly: the kernel tries a stale path call twice by itself.
fn stale_bursts(op: Op) -> Fault {
    // One path call of the kernel makes many a getattr, of each directory on its way: it has to
    // pass now and then.
    let period = if op == Op::Getattr { 101 } else { 12 };
    Fault::on(op).errno(libc::ESTALE).burst(period, 3)
}

fn stale_writes() -> Fault {
    Fault::on(Op::Write).errno(libc::ESTALE).every(7)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_healthy_fuse_mount() {
    let mount = mount(Recipe::plain());
    everything(mount.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drvfs() {
    let mount = mount(Recipe::drvfs());
    everything(mount.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drvfs_where_replies_to_rename_are_lost() {
    let mount = mount(Recipe::drvfs().fault(lost_renames()));
    everything_with_faults(&mount).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drvfs_where_replies_to_link_are_lost() {
    let mount = mount(Recipe::drvfs().fault(lost_links()));
    everything_with_faults(&mount).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drvfs_where_rename_and_create_are_stale_in_bursts() {
    let mount = mount(
        Recipe::drvfs()
            .fault(stale_bursts(Op::Rename))
            .fault(stale_bursts(Op::Create)),
    );
    everything_with_faults(&mount).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drvfs_where_every_seventh_write_is_stale() {
    let mount = mount(Recipe::drvfs().fault(stale_writes()));
    everything_with_faults(&mount).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drvfs_with_all_of_that_at_once() {
    let mount = mount(
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
    let mount = mount(
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
    let mount = mount(Recipe::plain().attributes_settle_at_close());
    everything(mount.path()).await;
}

/// A test for each recipe of a mount on which nothing goes wrong.
macro_rules! on_mount {
    ($($(#[$doc:meta])* $name:ident: $recipe:expr),+ $(,)?) => {$(
        $(#[$doc])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $name() {
            let mount = mount($recipe);
            everything(mount.path()).await;
        }
    )+};
}

/// The same for mounts on which something does, often.
macro_rules! on_mount_with_faults {
    ($($(#[$doc:meta])* $name:ident: $recipe:expr),+ $(,)?) => {$(
        $(#[$doc])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $name() {
            let mount = mount($recipe);
            everything_with_faults(&mount).await;
        }
    )+};
}

/// As on exFAT and most of FUSE: neither a link nor an exclusive rename.
fn neither() -> Recipe {
    Recipe::plain().no_rename_flags().no_hard_links(libc::EPERM)
}

const TWO_SECONDS: Duration = Duration::from_secs(2);

on_mount! {
    no_links_by_eperm: Recipe::plain().no_hard_links(libc::EPERM),
    no_links_by_enosys: Recipe::plain().no_hard_links(libc::ENOSYS),
    no_links_by_eopnotsupp: Recipe::plain().no_hard_links(libc::EOPNOTSUPP),
    no_exclusive_rename: Recipe::plain().no_rename_flags(),
    neither_links_nor_exclusive_rename: neither(),

    no_rename_by_enosys: Recipe::plain().no_rename(libc::ENOSYS),
    no_rename_by_eopnotsupp: Recipe::plain().no_rename(libc::EOPNOTSUPP),
    no_rename_and_no_links: Recipe::plain().no_rename(libc::ENOSYS).no_hard_links(libc::EPERM),
    no_rename_and_no_links_by_eopnotsupp:
        Recipe::plain().no_rename(libc::EOPNOTSUPP).no_hard_links(libc::EOPNOTSUPP),
    /// mountpoint-s3.
    no_rename_no_links_and_sequential_writes: Recipe::plain()
        .no_rename(libc::ENOSYS)
        .no_hard_links(libc::ENOSYS)
        .sequential_writes(),

    inodes_that_change: Recipe::plain().inodes_change(),
    inodes_that_change_and_neither: neither().inodes_change(),
    inodes_that_change_and_no_rename: Recipe::plain().no_rename(libc::ENOSYS).inodes_change(),
    inodes_that_change_and_attributes_that_settle:
        Recipe::plain().inodes_change().attributes_settle_at_close(),

    /// exFAT.
    mtimes_in_steps_of_10_ms: Recipe::plain().coarse_mtime(Duration::from_millis(10)),
    mtimes_in_steps_of_1_s: Recipe::plain().coarse_mtime(Duration::from_secs(1)),
    /// vfat.
    mtimes_in_steps_of_2_s: Recipe::plain().coarse_mtime(TWO_SECONDS),
    mtimes_in_steps_of_2_s_and_neither: neither().coarse_mtime(TWO_SECONDS),
    mtimes_in_steps_of_2_s_and_inodes_that_change:
        Recipe::plain().coarse_mtime(TWO_SECONDS).inodes_change(),
    /// The destination is written in place: its inode is the same for all versions.
    mtimes_in_steps_of_2_s_and_no_rename:
        Recipe::plain().coarse_mtime(TWO_SECONDS).no_rename(libc::ENOSYS),
    mtimes_in_steps_of_1_s_that_settle_at_close:
        Recipe::plain().coarse_mtime(Duration::from_secs(1)).attributes_settle_at_close(),
}

on_mount_with_faults! {
    /// The kernel tries a stale open, create, rename and stat by path twice; a list and an fstat
    /// are not tried again.
    bursts_of_stale_open: Recipe::plain().fault(stale_bursts(Op::Open)),
    bursts_of_stale_create: Recipe::plain().fault(stale_bursts(Op::Create)),
    bursts_of_stale_rename: Recipe::plain().fault(stale_bursts(Op::Rename)),
    bursts_of_stale_getattr: Recipe::plain().fault(stale_bursts(Op::Getattr)),
    bursts_of_stale_readdir: Recipe::plain().fault(stale_bursts(Op::Readdir)),
    bursts_of_stale_opendir: Recipe::plain().fault(stale_bursts(Op::Opendir)),
    bursts_of_all_of_them: all_stale(Recipe::plain()),
    bursts_of_all_of_them_on_drvfs: all_stale(Recipe::drvfs()),
    bursts_of_all_of_them_with_neither: all_stale(neither()),
    bursts_of_all_of_them_with_inodes_that_change: all_stale(Recipe::plain().inodes_change()),
    bursts_of_all_of_them_with_no_rename: all_stale(Recipe::plain().no_rename(libc::ENOSYS)),

    every_ninth_read_is_stale_twice:
        Recipe::plain().fault(Fault::on(Op::Read).errno(libc::ESTALE).burst(9, 2)),
    every_ninth_read_is_stale_twice_where_inodes_change:
        Recipe::plain().inodes_change().fault(Fault::on(Op::Read).errno(libc::ESTALE).burst(9, 2)),

    eio_after_a_rename_took_effect:
        Recipe::plain().fault(Fault::on(Op::Rename).errno(libc::EIO).every(3).after_effect()),
    eio_after_a_rename_took_effect_with_neither:
        neither().fault(Fault::on(Op::Rename).errno(libc::EIO).every(3).after_effect()),
    eio_after_a_rename_took_effect_where_inodes_change: Recipe::plain()
        .inodes_change()
        .fault(Fault::on(Op::Rename).errno(libc::EIO).every(3).after_effect()),
    enoent_after_an_unlink_took_effect:
        Recipe::plain().fault(Fault::on(Op::Unlink).errno(libc::ENOENT).every(2).after_effect()),
    enoent_after_an_unlink_took_effect_with_neither:
        neither().fault(Fault::on(Op::Unlink).errno(libc::ENOENT).every(2).after_effect()),
}

fn all_stale(recipe: Recipe) -> Recipe {
    let ops = [
        Op::Open,
        Op::Create,
        Op::Rename,
        Op::Getattr,
        Op::Readdir,
        Op::Opendir,
    ];
    ops.into_iter()
        .fold(recipe, |recipe, op| recipe.fault(stale_bursts(op)))
}

#[tokio::test]
async fn a_store_is_opened_while_the_mount_is_stale() {
    let mount = mount(all_stale(Recipe::plain()));
    for_each_minor!(mount.path(), contract::a_store_is_opened);
}

/// A root on one file system, with another below it.
async fn copies_and_renames_across(root: &Path) {
    minors::v0_12::across::all(root, "below").await;
    minors::v0_13::across::all(root, "below").await;
    minors::v0_14::across::all(root, "below").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_and_renames_between_two_mounts() {
    let disk = Disk::with_tmpfs_below();
    copies_and_renames_across(disk.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_and_renames_between_a_mount_with_neither_and_a_disk() {
    let mount = QuirkFs::mount(neither());
    std::fs::create_dir(mount.path().join("below")).unwrap();
    let _disk = Disk::tmpfs_over(mount.path().join("below"));
    copies_and_renames_across(mount.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_and_renames_between_a_mount_without_rename_and_a_disk() {
    let mount = QuirkFs::mount(Recipe::plain().no_rename(libc::ENOSYS));
    std::fs::create_dir(mount.path().join("below")).unwrap();
    let _disk = Disk::tmpfs_over(mount.path().join("below"));
    copies_and_renames_across(mount.path()).await;
}

/// A directory over which one file system after the other is mounted.
struct Seat(tempfile::TempDir);

impl Seat {
    fn taken_by<T>(&self, mount: &Mounted, while_there: impl FnOnce() -> T) -> T {
        let run = |program: &str, args: &[&std::ffi::OsStr]| {
            let status = std::process::Command::new(program).args(args).status();
            assert!(status.unwrap().success(), "{program} {args:?}");
        };
        let seat = self.0.path().as_os_str();
        run(
            "mount",
            &["--bind".as_ref(), mount.path().as_os_str(), seat],
        );
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(while_there));
        run("umount", &["--lazy".as_ref(), seat]);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// What one file system refused says nothing of the next one in its place, to the same store.
#[test]
fn a_mount_in_the_place_of_another_is_learned_anew() {
    use object_store_0_14::{ObjectStoreExt, path::Path as Location};
    use object_store_localfs::{Known, LocalFileSystem};

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let seat = Seat(tempfile::tempdir().unwrap());
    let store = LocalFileSystem::new_with_prefix(seat.0.path()).unwrap();
    let (a, b) = (Location::from("a"), Location::from("b"));
    let links = || {
        runtime.block_on(async {
            store.put(&a, "data".into()).await.unwrap();
            store.copy(&a, &b).await.unwrap();
            store.mount_facts().await.unwrap().hard_links
        })
    };
    let without = QuirkFs::mount(Recipe::plain().no_hard_links(libc::EPERM));
    assert_eq!(seat.taken_by(&without, links), Known::No);
    let with = QuirkFs::mount(Recipe::plain());
    seat.taken_by(&with, links);
    assert!(with.calls(Op::Link) > 0);
    // Before Linux 6.8, which numbers mounts once and for all, this is what tells.
    object_store_localfs_engine::testing::mounts_changed();
    assert!(!object_store_localfs_engine::testing::mounts_changed());
    seat.taken_by(&with, || ());
    assert!(object_store_localfs_engine::testing::mounts_changed());
}

/// Told before a byte is written; what needs none goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attributes_are_refused_where_there_are_no_xattrs() {
    for errno in [libc::ENOSYS, libc::EOPNOTSUPP] {
        let plain = Recipe::plain().no_xattrs(errno);
        let no_rename = plain.clone().no_rename(libc::ENOSYS);
        for recipe in [plain, no_rename.clone(), no_rename.sequential_writes()] {
            // One each: what a mount has not is learned once.
            macro_rules! check {
                ($minor:ident) => {{
                    let mount = mount(recipe.clone());
                    minors::$minor::attributes::without_xattrs(mount.path()).await;
                    assert!(mount.calls(Op::Setxattr) <= 1);
                }};
            }
            check!(v0_12);
            check!(v0_13);
            check!(v0_14);
        }
    }
}

/// `root` has them, and below it is a mount that has none.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attributes_are_not_lost_on_the_way_to_a_mount_without_xattrs() {
    for rename in [true, false] {
        macro_rules! check {
            ($minor:ident) => {{
                let recipe = Recipe::plain().no_xattrs(libc::EOPNOTSUPP);
                let mount = QuirkFs::mount(match rename {
                    true => recipe,
                    false => recipe.no_rename(libc::ENOSYS),
                });
                let root = tempfile::tempdir().unwrap();
                std::os::unix::fs::symlink(mount.path(), root.path().join("below")).unwrap();
                let store = minors::$minor::contract::store(root.path());
                let check = minors::$minor::attributes::not_carried_to;
                check(&store, root.path(), "below/").await;
            }};
        }
        check!(v0_12);
        check!(v0_13);
        check!(v0_14);
    }
}

async fn attributes_are_carried_to(root: &Path, below: &str) {
    macro_rules! check {
        ($minor:ident) => {{
            let store = minors::$minor::contract::store(root);
            let below = format!("{below}/{}/", stringify!($minor));
            minors::$minor::attributes::carry(&store, &below).await;
            for left in ["a", "back"] {
                let _ = std::fs::remove_file(root.join(left));
            }
        }};
    }
    check!(v0_12);
    check!(v0_13);
    check!(v0_14);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn attributes_are_carried_between_two_mounts() {
    let disk = Disk::with_tmpfs_below();
    attributes_are_carried_to(disk.path(), "below").await;
    for recipe in [
        neither(),
        Recipe::drvfs(),
        Recipe::plain().no_rename(libc::ENOSYS),
        Recipe::plain()
            .no_rename(libc::ENOSYS)
            .no_hard_links(libc::ENOSYS)
            .sequential_writes(),
    ] {
        let mount = QuirkFs::mount(recipe);
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(mount.path(), root.path().join("below")).unwrap();
        attributes_are_carried_to(root.path(), "below").await;
        // And from it to a disk.
        let root = mount.path();
        std::fs::create_dir(root.join("disk")).unwrap();
        let _disk = Disk::tmpfs_over(root.join("disk"));
        attributes_are_carried_to(root, "disk").await;
    }
}

/// ext4 has one block for those of a file, beyond what fits into its inode (ext4(5), ea_inode).
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_attributes_than_ext4_takes_publish_nothing() {
    let disk = Disk::ext4();
    macro_rules! check {
        ($minor:ident) => {{
            use minors::$minor::{attributes::too_large, object_store as upstream};
            let dir = minors::fresh(disk.path(), stringify!($minor));
            let content_type = (upstream::Attribute::ContentType, "x".repeat(5000));
            too_large(&dir, &upstream::Attributes::from_iter([content_type])).await;
        }};
    }
    check!(v0_12);
    check!(v0_13);
    check!(v0_14);
}
