//! Real file systems on loop devices, mounted for one test.

#![allow(
    dead_code,
    reason = "several test crates include this module, each uses a part"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system, mounted until this is dropped.
pub(crate) struct Disk {
    /// Mount points, the last mounted first.
    mounted: Vec<PathBuf>,
    at: PathBuf,
    _home: TempDir,
}

impl Disk {
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    pub(crate) fn ext4() -> Self {
        Self::on_loop("ext4", 512, "mkfs.ext4", &["-q", "-F"], "e2fsprogs")
    }

    /// With inodes that have room for whole seconds only (mke2fs(8), -I).
    pub(crate) fn ext4_of_whole_seconds() -> Self {
        let options = ["-q", "-F", "-I", "128"];
        Self::on_loop("ext4", 512, "mkfs.ext4", &options, "e2fsprogs")
    }

    pub(crate) fn xfs() -> Self {
        Self::on_loop("xfs", 512, "mkfs.xfs", &["-q", "-f"], "xfsprogs")
    }

    pub(crate) fn btrfs() -> Self {
        Self::on_loop("btrfs", 512, "mkfs.btrfs", &["-q", "-f"], "btrfs-progs")
    }

    pub(crate) fn tmpfs() -> Self {
        let home = TempDir::new().unwrap();
        let at = make(home.path(), "mnt");
        mount(&["-t", "tmpfs", "-o", "size=512m", "tmpfs"], &at);
        Self::at(home, at.clone(), vec![at])
    }

    /// A directory of the temporary file system, and in it, as `below`, the root of a tmpfs.
    pub(crate) fn with_tmpfs_below() -> Self {
        let home = TempDir::new().unwrap();
        let below = make(home.path(), "below");
        mount(&["-t", "tmpfs", "-o", "size=512m", "tmpfs"], &below);
        let at = home.path().to_owned();
        Self::at(home, at, vec![below])
    }

    /// A tmpfs over a directory of the caller's.
    pub(crate) fn tmpfs_over(dir: PathBuf) -> Self {
        mount(&["-t", "tmpfs", "-o", "size=512m", "tmpfs"], &dir);
        Self::at(TempDir::new().unwrap(), dir.clone(), vec![dir])
    }

    /// Its upper layer on a tmpfs, its lower one on the disk of the temporary directory: inode
    /// numbers of directories are made up (overlayfs.rst, "Inode properties").
    pub(crate) fn overlay() -> Self {
        let home = TempDir::new().unwrap();
        let (lower, over, at) = (
            make(home.path(), "lower"),
            make(home.path(), "over"),
            make(home.path(), "mnt"),
        );
        mount(&["-t", "tmpfs", "-o", "size=512m", "tmpfs"], &over);
        let (upper, work) = (make(&over, "upper"), make(&over, "work"));
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        mount(&["-t", "overlay", "-o", &layers, "overlay"], &at);
        Self::at(home, at.clone(), vec![at, over])
    }

    fn on_loop(fs_type: &str, mib: u64, mkfs: &str, options: &[&str], package: &str) -> Self {
        let home = TempDir::new().unwrap();
        let image = home.path().join("image");
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(mib << 20).unwrap();
        run(Command::new(mkfs).args(options).arg(&image), package);
        let at = make(home.path(), "mnt");
        mount(&["-t", fs_type, "-o", "loop", image.to_str().unwrap()], &at);
        Self::at(home, at.clone(), vec![at])
    }

    fn at(home: TempDir, at: PathBuf, mounted: Vec<PathBuf>) -> Self {
        Self {
            mounted,
            at,
            _home: home,
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for at in &self.mounted {
            // Lazily, so that a test that failed with a file open leaves nothing behind either.
            let _ = Command::new("umount").arg("--lazy").arg(at).status();
        }
    }
}

fn make(parent: &Path, name: &str) -> PathBuf {
    let dir = parent.join(name);
    std::fs::create_dir(&dir).unwrap();
    dir
}

fn mount(arguments: &[&str], at: &Path) {
    run(Command::new("mount").args(arguments).arg(at), "mount");
}

/// A missing tool makes the test fail and say what to install.
fn run(command: &mut Command, package: &str) {
    let program = command.get_program().to_owned();
    let program = program.to_string_lossy();
    let output = command.output().unwrap_or_else(|e| {
        panic!("{program} is missing ({e}): apt-get install {package}");
    });
    assert!(
        output.status.success(),
        "{program} failed; these tests need root and loop devices: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
