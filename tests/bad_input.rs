//! Bad input, and futures and runtimes that end early, for every minor.

#![cfg(target_os = "linux")]

mod minors;
#[cfg(feature = "mount-tests")]
mod quirkfs;

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use minors::for_each_minor;

/// Calls a check of `minors/bad_input.rs` for each minor.
macro_rules! each_minor {
    ($check:ident($($argument:expr),*) $($await:tt)*) => {
        minors::v0_12::bad_input::$check($($argument),*) $($await)*;
        minors::v0_13::bad_input::$check($($argument),*) $($await)*;
        minors::v0_14::bad_input::$check($($argument),*) $($await)*;
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_gets_upstreams_error() {
    let dir = tempfile::tempdir().unwrap();
    for_each_minor!(dir.path(), bad_input::all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_odd_name_is_hidden_and_locked_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    for_each_minor!(dir.path(), bad_input::more_than_upstream);
}

#[test]
fn bad_input_of_an_ordinary_user_gets_upstreams_error() {
    if is_root() {
        as_ordinary_user("bad_input_gets_upstreams_error");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_no_file_gets_upstreams_error() {
    let dir = tempfile::tempdir().unwrap();
    for_each_minor!(dir.path(), bad_input::a_path_that_is_no_file);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forbidden_gets_upstreams_error() {
    if is_root() {
        return as_ordinary_user("what_is_forbidden_gets_upstreams_error");
    }
    let dir = tempfile::tempdir().unwrap();
    for_each_minor!(dir.path(), bad_input::what_is_forbidden);
}

#[test]
fn a_future_dropped_half_way_leaves_no_staging_file() {
    let dir = tempfile::tempdir().unwrap();
    each_minor!(a_future_dropped_half_way_leaves_no_staging_file(dir.path()));
}

#[test]
fn a_runtime_shut_down_with_an_upload_alive_leaves_no_staging_file() {
    let dir = tempfile::tempdir().unwrap();
    each_minor!(a_runtime_shut_down_with_an_upload_alive_leaves_no_staging_file(dir.path()));
}

fn is_root() -> bool {
    // SAFETY: it takes nothing and cannot fail (geteuid(2)).
    unsafe { libc::geteuid() == 0 }
}

/// Runs a test of this file in a process of its own, as a user whom permissions stop.
fn as_ordinary_user(test: &str) {
    const NOBODY: u32 = 65534;
    // The test program may lie where only root may go.
    let home = tempfile::tempdir().unwrap();
    let set_mode = |path: &std::path::Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    set_mode(home.path());
    let program = home.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    set_mode(&program);
    let scratch = home.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    chown(&scratch, Some(NOBODY), Some(NOBODY)).unwrap();

    let ran = Command::new(&program)
        .args([test, "--exact", "--nocapture"])
        .env("TMPDIR", &scratch)
        .current_dir(&scratch)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && out.contains("1 passed"),
        "as user {NOBODY}: {}\n{out}\n{}",
        ran.status,
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// What needs a mount, and root to make it.
#[cfg(feature = "mount-tests")]
mod on_mounts {
    use std::fs::File;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use tempfile::TempDir;

    use crate::minors::{self, for_each_minor};
    use crate::quirkfs::{QuirkFs, Recipe};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_full_disk_gets_upstreams_error() {
        let mount = Mount::tmpfs("size=16m");
        each_minor!(no_room_for_the_data(mount.path()).await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_disk_without_inodes_gets_upstreams_error() {
        let mount = Mount::tmpfs("size=16m,nr_inodes=1000");
        let fill = || Filler::fill(mount.path());
        each_minor!(no_room_for_a_file(mount.path(), fill).await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_read_only_mount_gets_upstreams_error() {
        let mount = Mount::tmpfs("size=16m");
        let seal = || ReadOnly::remount(mount.path());
        each_minor!(a_read_only_mount(mount.path(), seal).await);
    }

    /// A quota of btrfs, which every kernel with btrfs has; those of ext4 and xfs are options that
    /// a kernel may lack (QFMT_V2, XFS_QUOTA), and do not stop root.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_quota_gets_upstreams_error() {
        let mount = Mount::btrfs();
        for args in [&["quota", "enable"][..], &["qgroup", "limit", "16M"]] {
            run("btrfs", "btrfs-progs", args, mount.path());
        }
        each_minor!(no_room_for_the_data(mount.path()).await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn bad_input_on_fuse_gets_upstreams_error() {
        let mount = QuirkFs::mount(Recipe::plain());
        for_each_minor!(mount.path(), bad_input::all);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn bad_input_without_rename_flags_gets_upstreams_error() {
        let mount = QuirkFs::mount(Recipe::plain().no_rename_flags());
        for_each_minor!(mount.path(), bad_input::all_but_symlinks);
    }

    /// A new file system, unmounted on drop.
    struct Mount {
        dir: TempDir,
    }

    impl Mount {
        fn tmpfs(options: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let mount = ["-t", "tmpfs", "-o", options, "tmpfs"];
            run("mount", "mount", &mount, dir.path());
            Self { dir }
        }

        fn btrfs() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let image = dir.path().join("image");
            File::create(&image).unwrap().set_len(256 << 20).unwrap();
            run("mkfs.btrfs", "btrfs-progs", &["--quiet"], &image);
            // The image stays below what is mounted over it.
            let image = image.to_str().unwrap();
            run("mount", "mount", &["-o", "loop", image], dir.path());
            Self { dir }
        }

        fn path(&self) -> &Path {
            self.dir.path()
        }
    }

    impl Drop for Mount {
        fn drop(&mut self) {
            let unmounted = Command::new("umount")
                .arg("--lazy")
                .arg(self.path())
                .status();
            if !unmounted.is_ok_and(|status| status.success()) {
                eprintln!("{} stays mounted", self.path().display());
            }
        }
    }

    /// Writable again on drop.
    struct ReadOnly(PathBuf);

    impl ReadOnly {
        fn remount(dir: &Path) -> Self {
            run("mount", "mount", &["-o", "remount,ro"], dir);
            Self(dir.to_owned())
        }
    }

    impl Drop for ReadOnly {
        fn drop(&mut self) {
            run("mount", "mount", &["-o", "remount,rw"], &self.0);
        }
    }

    /// Empty files, as many as there is room for; removed on drop.
    struct Filler(Vec<PathBuf>);

    impl Filler {
        fn fill(dir: &Path) -> Self {
            let mut files = Vec::new();
            loop {
                let path = dir.join(format!("filler-{}", files.len()));
                match File::create_new(&path) {
                    Ok(_) => files.push(path),
                    Err(e) if e.kind() == io::ErrorKind::StorageFull => return Self(files),
                    Err(e) => panic!("{}: {e}", path.display()),
                }
            }
        }
    }

    impl Drop for Filler {
        fn drop(&mut self) {
            for path in &self.0 {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    fn run(program: &str, package: &str, args: &[&str], path: &Path) {
        let ran = Command::new(program)
            .args(args)
            .arg(path)
            .output()
            .unwrap_or_else(|e| panic!("{program}: {e}; install the package {package}"));
        assert!(
            ran.status.success(),
            "{program} {args:?} {}: {} {}; it needs root, and a kernel that has the file system",
            path.display(),
            ran.status,
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}
