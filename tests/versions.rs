//! "Two successive versions of a location never share an e_tag", and none comes back: overwrites of
//! one object, of one size, as fast as they go.

use std::collections::HashSet;
use std::path::Path;

use object_store_0_14::ObjectStoreExt;
use object_store_localfs::LocalFileSystem;

#[cfg(feature = "mount-tests")]
mod disks;
#[cfg(feature = "mount-tests")]
#[path = "quirkfs/mod.rs"]
mod quirkfs;
#[cfg(feature = "mount-tests")]
mod vm;

const OVERWRITES: usize = 100_000;

/// How many e_tags there were.
fn overwrite(dir: &Path, times: usize) -> usize {
    let store = LocalFileSystem::new_with_prefix(dir).unwrap();
    let location = "object".into();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let seen: HashSet<String> = runtime.block_on(async {
        let mut seen = HashSet::with_capacity(times);
        for n in 0..times {
            let data = format!("{n:08}");
            let put = store.put(&location, data.into()).await.unwrap();
            seen.insert(put.e_tag.unwrap());
        }
        seen
    });
    seen.len()
}

#[test]
fn as_many_e_tags_as_versions_in_the_temporary_directory() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(overwrite(dir.path(), OVERWRITES), OVERWRITES);
}

#[cfg(feature = "mount-tests")]
mod on_mounts {
    use std::time::Duration;

    use super::disks::Disk;
    use super::quirkfs::{QuirkFs, Recipe};
    use super::*;

    #[test]
    fn as_many_e_tags_as_versions_on_ext4() {
        let disk = Disk::ext4();
        assert_eq!(overwrite(disk.path(), OVERWRITES), OVERWRITES);
    }

    /// As coarse as no kernel's clock is: inode numbers and mtimes both come again.
    #[test]
    fn as_many_e_tags_as_versions_on_ext4_of_whole_seconds() {
        let disk = Disk::ext4_of_whole_seconds();
        assert_eq!(overwrite(disk.path(), OVERWRITES), OVERWRITES);
    }

    #[test]
    fn as_many_e_tags_as_versions_on_tmpfs() {
        let disk = Disk::tmpfs();
        assert_eq!(overwrite(disk.path(), OVERWRITES), OVERWRITES);
    }

    #[test]
    fn as_many_e_tags_as_versions_on_xfs_and_btrfs() {
        for disk in [Disk::xfs(), Disk::btrfs()] {
            assert_eq!(overwrite(disk.path(), 20_000), 20_000);
        }
    }

    #[test]
    fn as_many_e_tags_as_versions_where_mtimes_are_coarse() {
        for (step, times) in [
            (Duration::from_secs(1), OVERWRITES),
            (Duration::from_millis(10), 2_000),
            (Duration::from_secs(2), 2_000),
        ] {
            let mount = QuirkFs::mount(Recipe::plain().coarse_mtime(step));
            assert_eq!(overwrite(mount.path(), times), times, "{step:?}");
        }
    }

    /// Before Linux 6.13 mtimes move with the timer, every 4 ms: here in a VM with 6.1, where an
    /// overwrite takes some milliseconds. Nothing done for it, 3,000 have 2,300 e_tags.
    #[test]
    fn as_many_e_tags_as_versions_on_ext4_of_an_old_kernel() {
        const TEST: &str = "on_mounts::as_many_e_tags_as_versions_on_ext4_of_an_old_kernel";
        if vm::is_here() {
            let dir = Path::new("/export/local");
            return assert_eq!(overwrite(dir, 3_000), 3_000);
        }
        let printed = vm::run_tests(&[TEST]);
        assert!(printed.contains(&format!("passed: {TEST}")), "{printed}");
    }
}
