//! On mounts that lack something: each lack is found, and told with its errno.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::disks::Disk;
use crate::quirkfs::{Fault, Mounted, Op, QuirkFs, Recipe};
use crate::run::{Report, tree};

fn examine(recipe: Recipe) -> Report {
    let mount = QuirkFs::mount(recipe);
    let report = of(&mount);
    assert_eq!(std::fs::read_dir(mount.backing()).unwrap().count(), 0);
    report
}

fn of(mount: &Mounted) -> Report {
    let report = Report::of(mount.path());
    assert_eq!(report.0["problem"], serde_json::Value::Null, "{report:?}");
    report
}

#[test]
fn a_healthy_fuse_mount_is_fine() {
    let report = examine(Recipe::plain());
    assert_eq!(report.lacks(), ["reflink"]);
    assert_eq!(report.failing(), [""; 0]);
    assert_eq!((report.status(), report.verdict()), (0, "fine"));
}

#[test]
fn hard_links_that_are_missing_are_found() {
    for (errno, name) in [(libc::EPERM, "EPERM"), (libc::EOPNOTSUPP, "EOPNOTSUPP")] {
        let report = examine(Recipe::plain().no_hard_links(errno));
        assert_eq!(report.lacks(), ["hard_links", "reflink"]);
        assert!(
            report
                .evidence("hard_links")
                .starts_with(&format!("link: {name}"))
        );
        report.finds("no_hard_links", "fallback");
        assert_eq!(report.failing(), [""; 0]);
        assert_eq!((report.status(), report.verdict()), (1, "fallbacks"));
        assert_eq!(report.by("put_create"), "exclusive rename");
        assert_eq!(report.by("copy"), "copy_file_range, rename");
        assert_eq!(report.outcome("put_create", "upstream_0_14"), "fails");
    }
}

#[test]
fn an_exclusive_rename_that_is_missing_is_found() {
    let report = examine(Recipe::plain().no_rename_flags());
    assert_eq!(report.lacks(), ["exclusive_rename", "reflink"]);
    assert!(report.evidence("exclusive_rename").contains(": EINVAL"));
    report.finds("no_exclusive_rename", "fallback");
    assert_eq!(report.by("put_create"), "link");
    assert_eq!(report.failing(), [""; 0]);
    assert_eq!(report.status(), 1);
}

#[test]
fn the_handle_that_drvfs_loses_is_found() {
    let report = examine(Recipe::drvfs());
    assert!(report.evidence("handle_survives_rename").contains("ENOENT"));
    report.finds("handle_lost", "fallback");
    assert_eq!(report.answer("mtime_step")["nanoseconds"], 100);
    assert_eq!(
        report.outcome("put_multipart", "upstream_0_12"),
        "false_failure"
    );
    assert_eq!(report.outcome("put_multipart", "upstream_0_14"), "holds");
    assert_eq!(report.failing(), [""; 0]);
    assert_eq!((report.status(), report.verdict()), (1, "fallbacks"));
}

#[test]
fn inode_numbers_that_change_are_found() {
    let report = examine(Recipe::plain().inodes_change());
    assert_eq!(report.answer("stable_inodes"), "no");
    assert!(
        report
            .evidence("stable_inodes")
            .contains("with each lookup")
    );
    report.finds("inodes_change", "fallback");
    assert_eq!(report.outcome("head", "upstream_0_14"), "wrong_e_tag");
}

#[test]
fn coarse_times_are_found() {
    for (step, nanoseconds) in [
        (Duration::from_millis(10), 10_000_000),
        (Duration::from_secs(2), 2_000_000_000_u64),
    ] {
        let report = examine(Recipe::plain().coarse_mtime(step));
        assert_eq!(report.answer("mtime_step")["nanoseconds"], nanoseconds);
        report.finds("coarse_mtime", "fallback");
    }
}

#[test]
fn attributes_that_settle_at_close_are_found() {
    let report = examine(Recipe::plain().mtime_settles_at_close());
    assert_eq!(report.lacks(), ["mtime_before_close", "reflink"]);
    report.finds("settles_at_close", "fallback");
    assert_eq!(
        report.outcome("put_overwrite", "upstream_0_14"),
        "wrong_e_tag"
    );
    assert_eq!(report.failing(), [""; 0]);

    let report = examine(Recipe::plain().size_settles_at_close());
    assert_eq!(report.answer("size_before_close"), "no");
    report.finds("settles_at_close", "fallback");
}

#[test]
fn xattrs_and_syncs_that_are_missing_are_found() {
    let refuse = |op, errno| Fault::on(op).errno(errno);
    let recipe = Recipe::plain()
        .fault(refuse(Op::Setxattr, libc::EOPNOTSUPP))
        .fault(refuse(Op::Fsyncdir, libc::EINVAL));
    let report = examine(recipe);
    assert_eq!(report.lacks(), ["xattrs", "directory_sync", "reflink"]);
    assert!(report.evidence("directory_sync").contains("EINVAL"));
    report.finds("no_sync", "weaker");
    assert_eq!((report.status(), report.verdict()), (1, "weaker"));
}

#[test]
fn a_mount_without_renames_is_found() {
    let recipe = Recipe::plain()
        .no_rename(libc::ENOSYS)
        .no_hard_links(libc::EPERM);
    let report = examine(recipe);
    for missing in ["rename", "rename_over", "exclusive_rename", "hard_links"] {
        assert_eq!(report.answer(missing), "no", "{missing}");
    }
    assert_eq!(report.answer("handle_survives_rename"), "unknown");
    assert!(report.evidence("rename").starts_with("rename: ENOSYS"));
    report.finds("no_rename", "weaker");
    assert_eq!(report.failing(), [""; 0]);
    assert_eq!(report.verdict(), "weaker");
    assert_eq!(report.outcome("put_overwrite", "upstream_0_14"), "fails");
    assert_eq!(report.by("rename"), "copy, remove");
}

#[test]
fn a_mount_that_is_written_from_beginning_to_end_is_found() {
    let recipe = Recipe::plain()
        .no_rename(libc::ENOSYS)
        .no_hard_links(libc::EPERM)
        .sequential_writes();
    let report = examine(recipe);
    assert_eq!(report.answer("random_writes"), "no", "{:#}", report.0);
    report.finds("sequential_writes", "fallback");
    assert_eq!(report.outcome("put_multipart", "this"), "holds");
    assert_eq!(report.failing(), [""; 0]);
    assert_eq!((report.status(), report.verdict()), (1, "weaker"));
}

/// Three in a row: the kernel tries a stale path call twice by itself.
#[test]
fn handles_that_go_stale_are_no_lack() {
    let stale = |op| Fault::on(op).errno(libc::ESTALE).burst(12, 3);
    let recipe = Recipe::plain()
        .fault(stale(Op::Rename))
        .fault(stale(Op::Link))
        .fault(stale(Op::Create));
    let report = examine(recipe);
    assert_eq!(report.lacks(), ["reflink"]);
    assert_eq!(report.failing(), [""; 0]);
    report.finds("unsteady", "fallback");
    assert_eq!((report.status(), report.verdict()), (1, "fallbacks"));
}

#[test]
fn a_slow_mount_is_seen() {
    let report = examine(Recipe::plain().latency(Duration::from_millis(1)));
    report.finds("slow", "note");
    assert_eq!(report.status(), 0);
}

#[test]
fn a_mount_that_loses_what_is_written_does_not_work() {
    let report = examine(Recipe::plain().fault(Fault::lose(Op::Write)));
    assert_eq!((report.status(), report.verdict()), (2, "broken"));
    assert_eq!(report.outcome("put_overwrite", "this"), "fails");
    report.finds("operation", "broken");
}

/// As if the mount ignored case: the other spelling finds the file.
#[test]
fn a_mount_that_ignores_case_is_found() {
    let mount = QuirkFs::mount(Recipe::plain());
    let spelling = mount.backing().to_path_buf();
    // Before the name is looked up, it is there.
    mount.add_fault(
        Fault::delay(Op::Lookup, Duration::ZERO).where_name(move |name| {
            if name == "nAME" {
                let folder = crate::run::folders(&spelling).remove(0);
                let _ = File::create(folder.join("case_sensitive-1/nAME"));
            }
            false
        }),
    );
    let report = of(&mount);
    assert_eq!(report.answer("case_sensitive"), "no");
    report.finds("case", "weaker");
}

fn remount(options: &str, at: &Path) {
    let mut command = Command::new("mount");
    command.args(["-o", &format!("remount,{options}")]).arg(at);
    assert!(command.status().unwrap().success());
}

#[test]
fn a_mount_that_is_read_only_is_told() {
    let disk = Disk::tmpfs();
    std::fs::write(disk.path().join("object"), "an object").unwrap();
    remount("ro", disk.path());
    let before = tree(disk.path());
    let report = Report::of(disk.path());
    assert_eq!((report.status(), report.problem()), (2, "read_only"));
    assert_eq!(report.0["mount"]["file_system"], "tmpfs");
    assert_eq!(before, tree(disk.path()));
}

#[test]
fn a_mount_that_is_full_is_told() {
    let disk = Disk::tmpfs();
    remount("size=2m", disk.path());
    let mut file = File::create(disk.path().join("object")).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let before = tree(disk.path());
    let report = Report::of(disk.path());
    assert_eq!((report.status(), report.problem()), (2, "full"));
    assert_eq!(before, tree(disk.path()));
}

/// Of the smallest counts of files on, until the doctor has enough of them.
#[test]
fn a_mount_that_is_full_of_files_is_told() {
    let disk = Disk::tmpfs();
    let mut told = Vec::new();
    for files in [2, 3, 5, 10, 20, 40, 100, 200] {
        remount(&format!("nr_inodes={files}"), disk.path());
        let report = Report::of(disk.path());
        match report.0["problem"]["id"].as_str() {
            None => assert_eq!(report.failing(), [""; 0], "{files}"),
            Some(id) => {
                assert_eq!(
                    (report.status(), id),
                    (2, "full"),
                    "{files}: {:#}",
                    report.0
                );
                told.push(files);
            }
        }
        assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
    }
    assert_eq!(told, [2, 3, 5, 10, 20, 40]);
}

#[test]
fn renames_that_fail_are_no_lack_of_renames() {
    let report = examine(Recipe::plain().fault(Fault::on(Op::Rename).errno(libc::EIO)));
    assert_eq!(report.answer("rename"), "unknown");
    assert!(report.evidence("rename").starts_with("rename: EIO"));
    report.finds("rename_fails", "broken");
    assert_eq!(report.by("put_overwrite"), "rename");
    assert!(!report.0["findings"].to_string().contains("no_rename"));
    assert_eq!(report.status(), 2);
}

/// What cannot be removed is not made over and over.
#[test]
fn a_directory_that_is_append_only_is_told() {
    let disk = Disk::ext4();
    let dir = disk.path().join("dir");
    std::fs::create_dir(&dir).unwrap();
    let chattr = |flag| Command::new("chattr").arg(flag).arg(&dir).status().unwrap();
    assert!(chattr("+a").success());
    let report = Report::of(&dir);
    assert!(chattr("-a").success());
    assert_eq!((report.status(), report.problem()), (2, "not_permitted"));
    let left = crate::run::folders(&dir);
    assert_eq!(left.len(), 1);
    let why = report.0["problem"]["why"].as_str().unwrap();
    assert!(why.contains(left[0].to_str().unwrap()), "{why}");
}

#[test]
fn a_mount_whose_server_is_gone_is_told() {
    let mount = QuirkFs::mount(Recipe::plain());
    for op in [Op::Getattr, Op::Lookup, Op::Opendir, Op::Mkdir] {
        mount.add_fault(Fault::on(op).errno(libc::ENOTCONN));
    }
    let report = Report::of(mount.path());
    assert_eq!((report.status(), report.problem()), (2, "disconnected"));
}

#[test]
fn disks_of_all_kinds_are_fine() {
    for disk in [
        Disk::ext4(),
        Disk::xfs(),
        Disk::btrfs(),
        Disk::tmpfs(),
        Disk::overlay(),
    ] {
        let report = Report::of(disk.path());
        assert_eq!(report.status(), 0, "{:#}", report.0);
        assert_eq!(report.failing(), [""; 0]);
    }
}
