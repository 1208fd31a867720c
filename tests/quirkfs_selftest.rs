//! That each quirk of `quirkfs` is there, as a program sees it, and that nothing else is.

#![cfg(feature = "mount-tests")]

mod quirkfs;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use quirkfs::{Fault, Op, QuirkFs, Recipe, is_staging_file};

// ---- a mount without a quirk ------------------------------------------------------------------

#[test]
fn plain_writes_and_reads_at_offsets_through_to_the_backing_directory() {
    let mount = QuirkFs::mount(Recipe::plain());
    let path = mount.path().join("a");
    let file = File::create_new(&path).unwrap();
    file.write_all_at(b"world", 6).unwrap();
    file.write_all_at(b"hello ", 0).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"hello world");
    assert_eq!(fs::read(mount.backing().join("a")).unwrap(), b"hello world");
    assert_eq!(errno(File::create_new(&path)), libc::EEXIST);

    let both = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    both.set_len(5).unwrap();
    let mut five = [0; 9];
    assert_eq!(both.read_at(&mut five, 0).unwrap(), 5);
    assert_eq!(&five[..5], b"hello");
    assert_eq!(errno(both.read_at(&mut five, u64::MAX)), libc::EINVAL);

    let mut appended = OpenOptions::new().append(true).open(&path).unwrap();
    appended.write_all(b"!").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"hello!");
    drop(File::create(&path).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().len(), 0, "O_TRUNC");
}

#[test]
fn plain_moves_a_large_file_whole() {
    let mount = QuirkFs::mount(Recipe::plain());
    let data: Vec<u8> = (0..9_000_001u32).map(|i| (i % 251) as u8).collect();
    fs::write(mount.path().join("a"), &data).unwrap();
    assert!(fs::read(mount.backing().join("a")).unwrap() == data);
    assert_eq!(
        fs::copy(mount.path().join("a"), mount.path().join("b")).unwrap(),
        9_000_001
    );
    assert!(fs::read(mount.path().join("b")).unwrap() == data);
}

#[test]
fn plain_keeps_attributes_symlinks_and_xattrs() {
    let mount = QuirkFs::mount(Recipe::plain());
    let path = mount.path().join("a");
    let file = File::create(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let then = UNIX_EPOCH + Duration::new(1_000_000_007, 123_456_789);
    file.set_modified(then).unwrap();
    let found = fs::metadata(&path).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o640);
    assert_eq!(found.modified().unwrap(), then);

    std::os::unix::fs::symlink("a", mount.path().join("s")).unwrap();
    assert_eq!(
        fs::read_link(mount.path().join("s")).unwrap(),
        Path::new("a")
    );
    assert_eq!(
        fs::metadata(mount.path().join("s")).unwrap().ino(),
        found.ino()
    );

    set_xattr(&path, c"user.note", b"kept").unwrap();
    assert_eq!(get_xattr(&path, c"user.note").unwrap(), b"kept");
    assert_eq!(errno(get_xattr(&path, c"user.other")), libc::ENODATA);

    file.sync_all().unwrap();
    File::open(mount.path()).unwrap().sync_all().unwrap();
    assert_eq!((mount.calls(Op::Fsync), mount.calls(Op::Fsyncdir)), (1, 1));
    assert!(free_blocks(mount.path()) > 0);
}

#[test]
fn plain_makes_and_removes_directories() {
    let mount = QuirkFs::mount(Recipe::plain());
    fs::create_dir_all(mount.path().join("x/y/z")).unwrap();
    fs::write(mount.path().join("x/y/z/a"), "1").unwrap();
    assert_eq!(
        errno(fs::remove_dir(mount.path().join("x/y"))),
        libc::ENOTEMPTY
    );
    fs::rename(mount.path().join("x/y"), mount.path().join("w")).unwrap();
    assert_eq!(fs::read(mount.path().join("w/z/a")).unwrap(), b"1");
    fs::remove_dir_all(mount.path().join("w")).unwrap();
    fs::remove_dir(mount.path().join("x")).unwrap();
    assert_eq!(fs::read_dir(mount.backing()).unwrap().count(), 0);
}

#[test]
fn plain_links_are_one_file() {
    let mount = QuirkFs::mount(Recipe::plain());
    let (a, b) = (mount.path().join("a"), mount.path().join("b"));
    fs::write(&a, "1").unwrap();
    let before = fs::metadata(&a).unwrap();
    fs::hard_link(&a, &b).unwrap();
    let (of_a, of_b) = (fs::metadata(&a).unwrap(), fs::metadata(&b).unwrap());
    assert_eq!((of_a.nlink(), of_b.nlink()), (2, 2));
    assert_eq!((of_a.ino(), of_b.ino()), (before.ino(), before.ino()));
    assert_eq!(errno(fs::hard_link(&a, &b)), libc::EEXIST);
    fs::remove_file(&a).unwrap();
    assert_eq!(fs::metadata(&b).unwrap().nlink(), 1);
}

#[test]
fn plain_renames_exclusively() {
    let mount = QuirkFs::mount(Recipe::plain());
    let (a, b) = (mount.path().join("a"), mount.path().join("b"));
    fs::write(&a, "1").unwrap();
    rename_exclusively(&a, &b).unwrap();
    fs::write(&a, "2").unwrap();
    assert_eq!(errno(rename_exclusively(&a, &b)), libc::EEXIST);
    assert_eq!(fs::read(&b).unwrap(), b"1");
}

#[test]
fn plain_renames_exclusively_even_if_the_kernel_saw_no_destination() {
    let mount = QuirkFs::mount(Recipe::plain());
    let (a, b) = (mount.path().join("a"), mount.path().join("b"));
    fs::write(&a, "1").unwrap();
    let hidden = mount.backing().join("b");
    let another_host = Fault::delay(Op::Rename, Duration::ZERO).where_name(move |_| {
        fs::write(&hidden, "theirs").unwrap();
        true
    });
    mount.add_fault(another_host);
    assert_eq!(errno(rename_exclusively(&a, &b)), libc::EEXIST);
    assert_eq!(fs::read(&b).unwrap(), b"theirs");
    fs::rename(&a, &b).unwrap();
    assert_eq!(fs::read(&b).unwrap(), b"1");
}

#[test]
fn plain_keeps_an_unlinked_file_apart_from_the_next_one_of_its_name() {
    let mount = QuirkFs::mount(Recipe::plain());
    let path = mount.path().join("a");
    let mut old: Vec<File> = Vec::new();
    for round in 0..200u64 {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        file.write_all_at(&round.to_le_bytes(), 0).unwrap();
        assert_eq!(fs::read(&path).unwrap(), round.to_le_bytes());
        fs::remove_file(&path).unwrap();
        // Half of them stay open: their inodes must not come back, those of the rest may.
        if round % 2 == 0 {
            old.push(file);
        }
    }
    for (i, file) in old.iter().enumerate() {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(u64::from_le_bytes(bytes), 2 * i as u64);
        assert_eq!(file.metadata().unwrap().nlink(), 0);
    }
}

#[test]
fn plain_lets_go_of_files_that_are_gone_or_that_the_kernel_never_knew() {
    let mount = QuirkFs::mount(Recipe::plain());
    let lost = Fault::on(Op::Create).after_effect();
    mount.add_fault(lost.where_name_has("lost"));
    let (a, b) = (mount.path().join("a"), mount.path().join("b"));
    for i in 0..50 {
        fs::write(&a, "1").unwrap();
        fs::rename(&a, &b).unwrap();
        File::create(mount.path().join(format!("lost{i}"))).unwrap_err();
    }
    fs::remove_file(&b).unwrap();
    // The kernel tells what it forgets when it likes to, which is soon.
    let patience = Instant::now() + Duration::from_secs(30);
    while files_held_below(mount.backing()) > 0 {
        assert!(
            Instant::now() < patience,
            "{} files",
            files_held_below(mount.backing())
        );
        thread::yield_now();
    }
}

#[test]
fn plain_can_have_more_files_in_use_than_a_process_may_open_by_default() {
    let mount = QuirkFs::mount(Recipe::plain());
    for i in 0..3_000 {
        File::create(mount.backing().join(i.to_string())).unwrap();
        assert_eq!(
            fs::metadata(mount.path().join(i.to_string()))
                .unwrap()
                .len(),
            0
        );
    }
}

#[test]
fn plain_shows_at_once_what_happens_behind_its_back() {
    let mount = QuirkFs::mount(Recipe::plain());
    let path = mount.path().join("a");
    assert_eq!(errno(fs::metadata(&path)), libc::ENOENT);
    fs::write(mount.backing().join("a"), "123").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 3);
    fs::write(mount.backing().join("a"), "12345").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 5);
    fs::remove_file(mount.backing().join("a")).unwrap();
    assert_eq!(errno(fs::metadata(&path)), libc::ENOENT);
}

#[test]
fn plain_lists_five_thousand_files_once_each() {
    let mount = QuirkFs::mount(Recipe::plain());
    for i in 0..5_000 {
        File::create(mount.backing().join(format!("object-number-{i:05}"))).unwrap();
    }
    let mut names: Vec<_> = fs::read_dir(mount.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let all: Vec<_> = (0..5_000)
        .map(|i| format!("object-number-{i:05}"))
        .collect();
    assert!(names == all, "{} names", names.len());
    assert!(mount.calls(Op::Readdir) > 1, "the offsets were of no use");
}

#[test]
fn plain_serves_eight_threads_at_once() {
    let mount = QuirkFs::mount(Recipe::plain());
    thread::scope(|scope| {
        for thread in 0..8 {
            let root = mount.path();
            scope.spawn(move || {
                for round in 0..200 {
                    let path = root.join(format!("{thread}-{round}"));
                    let staging = root.join(format!("{thread}-{round}#1"));
                    let data = format!("{thread} wrote {round}").repeat(50);
                    fs::write(&staging, &data).unwrap();
                    fs::rename(&staging, &path).unwrap();
                    assert_eq!(fs::read_to_string(&path).unwrap(), data);
                    if round % 2 == 0 {
                        fs::remove_file(&path).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(fs::read_dir(mount.backing()).unwrap().count(), 8 * 100);
    assert_eq!(mount.calls(Op::Rename), 8 * 200);
}

#[test]
fn plain_has_advisory_locks() {
    let mount = QuirkFs::mount(Recipe::plain());
    let path = mount.path().join("a");
    let (first, second) = (File::create(&path).unwrap(), File::create(&path).unwrap());
    flock(&first, libc::LOCK_EX).unwrap();
    let busy = flock(&second, libc::LOCK_EX | libc::LOCK_NB);
    assert_eq!(errno(busy), libc::EWOULDBLOCK);
    drop(first);
    flock(&second, libc::LOCK_EX | libc::LOCK_NB).unwrap();

    let other = File::create(&path).unwrap();
    ofd_lock(&second).unwrap();
    assert_eq!(errno(ofd_lock(&other)), libc::EAGAIN);
}

#[test]
fn plain_lets_other_users_in_as_the_mode_bits_say() {
    let mount = QuirkFs::mount(Recipe::plain());
    fs::set_permissions(mount.path(), Permissions::from_mode(0o777)).unwrap();
    fs::write(mount.path().join("secret"), "1").unwrap();
    fs::set_permissions(mount.path().join("secret"), Permissions::from_mode(0o600)).unwrap();
    let said = std::process::Command::new("sh")
        .args(["-c", "echo 1 > mine && ! cat secret"])
        .current_dir(mount.path())
        .uid_and_gid(65534)
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
    assert_eq!(
        fs::metadata(mount.backing().join("mine")).unwrap().uid(),
        65534
    );
}

#[test]
fn plain_asks_for_each_read_and_write() {
    let mount = QuirkFs::mount(Recipe::plain());
    let path = mount.path().join("a");
    fs::write(&path, "123").unwrap();
    let file = File::open(&path).unwrap();
    for reads in 1..=3 {
        file.read_exact_at(&mut [0; 3], 0).unwrap();
        assert_eq!(mount.calls(Op::Read), reads);
    }
    assert_eq!(mount.calls(Op::Write), 1);
}

#[test]
fn plain_takes_direct_io_as_it_comes() {
    let mount = QuirkFs::mount(Recipe::plain());
    let mut options = OpenOptions::new();
    let direct = options
        .write(true)
        .create_new(true)
        .custom_flags(libc::O_DIRECT);
    let file = direct.open(mount.path().join("a")).unwrap();
    file.write_all_at(b"unaligned", 1).unwrap();
    assert_eq!(fs::read(mount.path().join("a")).unwrap(), b"\0unaligned");
}

#[test]
fn cached_asks_less() {
    let asked = |recipe| {
        let mount = QuirkFs::mount(recipe);
        fs::write(mount.path().join("a"), "1").unwrap();
        for _ in 0..100 {
            assert_eq!(fs::metadata(mount.path().join("a")).unwrap().len(), 1);
        }
        assert_eq!(fs::read(mount.path().join("a")).unwrap(), b"1");
        mount.calls(Op::Getattr)
    };
    assert!(asked(Recipe::plain()) >= 100);
    assert!(asked(Recipe::plain().cached()) < 100);
}

// ---- the quirks -------------------------------------------------------------------------------

#[test]
fn drvfs_loses_the_attributes_of_a_handle_by_rename_until_the_new_name_is_looked_up() {
    // Cached or not: on DrvFs the kernel keeps no names.
    for recipe in [Recipe::drvfs(), Recipe::drvfs().cached()] {
        let mount = QuirkFs::mount(recipe);
        let (staging, object) = (mount.path().join("a#1"), mount.path().join("a"));
        let mut file = File::create(&staging).unwrap();
        file.write_all(b"123").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 3);

        fs::rename(&staging, &object).unwrap();
        assert_eq!(errno(file.metadata()), libc::ENOENT);
        assert_eq!(errno(file.set_modified(UNIX_EPOCH)), libc::ENOENT);
        let behind = fs::metadata(mount.backing().join("a")).unwrap();
        assert_ne!(behind.modified().unwrap(), UNIX_EPOCH, "it was set");
        file.write_all(b"45").unwrap();
        assert_eq!(
            errno(file.metadata()),
            libc::ENOENT,
            "a write brings nothing back"
        );

        assert_eq!(fs::metadata(&object).unwrap().len(), 5);
        assert_eq!(file.metadata().unwrap().len(), 5);
    }
}

#[test]
fn drvfs_keeps_the_handle_of_a_rename_that_failed() {
    let mount = QuirkFs::mount(Recipe::drvfs());
    let file = File::create(mount.path().join("a")).unwrap();
    fs::create_dir(mount.path().join("d")).unwrap();
    let dir = File::open(mount.path().join("d")).unwrap();
    // The kernel holds the directory and does not see it go.
    fs::remove_dir(mount.backing().join("d")).unwrap();
    let gone = format!("/proc/self/fd/{}/b", dir.as_raw_fd());
    assert_eq!(
        errno(fs::rename(mount.path().join("a"), gone)),
        libc::ENOENT
    );
    assert_eq!(mount.calls(Op::Rename), 1, "it was refused here, not above");
    file.metadata().unwrap();
}

#[test]
fn drvfs_keeps_the_handle_of_a_directory() {
    let mount = QuirkFs::mount(Recipe::drvfs());
    fs::create_dir(mount.path().join("d")).unwrap();
    let dir = File::open(mount.path().join("d")).unwrap();
    fs::rename(mount.path().join("d"), mount.path().join("e")).unwrap();
    dir.metadata().unwrap();
}

#[test]
fn drvfs_knows_no_rename_flags_but_links() {
    let mount = QuirkFs::mount(Recipe::drvfs());
    let (a, b) = (mount.path().join("a"), mount.path().join("b"));
    fs::write(&a, "1").unwrap();
    assert_eq!(errno(rename_exclusively(&a, &b)), libc::EINVAL);
    fs::hard_link(&a, &b).unwrap();
    assert_eq!(fs::metadata(&b).unwrap().nlink(), 2);
    fs::rename(&a, mount.path().join("c")).unwrap();
    assert_eq!(fs::read(mount.path().join("c")).unwrap(), b"1");
}

#[test]
fn no_hard_links_refuses_each_link_with_the_errno() {
    for refusal in [libc::EPERM, libc::EOPNOTSUPP] {
        let mount = QuirkFs::mount(Recipe::plain().no_hard_links(refusal));
        let (a, b) = (mount.path().join("a"), mount.path().join("b"));
        fs::write(&a, "1").unwrap();
        for _ in 0..3 {
            assert_eq!(errno(fs::hard_link(&a, &b)), refusal);
        }
        assert_eq!(mount.calls(Op::Link), 3);
        assert!(!b.exists());
    }
}

#[test]
fn no_hard_links_with_enosys_is_passed_on_or_made_eperm_by_the_kernel() {
    let mount = QuirkFs::mount(Recipe::plain().no_hard_links(libc::ENOSYS));
    fs::write(mount.path().join("a"), "1").unwrap();
    let refused = errno(fs::hard_link(
        mount.path().join("a"),
        mount.path().join("b"),
    ));
    assert!(
        [libc::ENOSYS, libc::EPERM].contains(&refused),
        "errno {refused}"
    );
}

#[test]
fn no_rename_flags_refuses_them_and_renames_without() {
    let mount = QuirkFs::mount(Recipe::plain().no_rename_flags());
    let (a, b) = (mount.path().join("a"), mount.path().join("b"));
    fs::write(&a, "1").unwrap();
    assert_eq!(errno(rename_exclusively(&a, &b)), libc::EINVAL);
    assert_eq!(mount.calls(Op::Rename), 1, "it was refused here, not above");
    fs::rename(&a, &b).unwrap();
}

#[test]
fn no_rename_refuses_every_rename() {
    for refusal in [libc::ENOSYS, libc::EOPNOTSUPP] {
        let mount = QuirkFs::mount(Recipe::plain().no_rename(refusal));
        let (a, b) = (mount.path().join("a"), mount.path().join("b"));
        fs::write(&a, "1").unwrap();
        for _ in 0..2 {
            assert_eq!(errno(fs::rename(&a, &b)), refusal);
        }
        assert!(rename_exclusively(&a, &b).is_err());
        assert_eq!(fs::read(&a).unwrap(), b"1");
    }
}

#[test]
fn renames_with_flags_are_counted_apart() {
    for recipe in [Recipe::plain(), Recipe::plain().no_rename_flags()] {
        let mount = QuirkFs::mount(recipe);
        let (a, b) = (mount.path().join("a"), mount.path().join("b"));
        fs::write(&a, "1").unwrap();
        fs::rename(&a, &b).unwrap();
        assert_eq!(mount.renames_with_flags(), 0);
        let _ = rename_exclusively(&b, &a);
        assert_eq!(
            (mount.calls(Op::Rename), mount.renames_with_flags()),
            (2, 1)
        );
    }
}

#[test]
fn sequential_writes_go_from_the_first_byte_to_the_last() {
    let mount = QuirkFs::mount(Recipe::plain().sequential_writes());
    let path = mount.path().join("a");
    let file = File::create(&path).unwrap();
    assert_eq!(errno(file.write_all_at(b"later", 5)), libc::EINVAL);
    file.write_all_at(b"first", 0).unwrap();
    file.write_all_at(b" then", 5).unwrap();
    for offset in [0, 5, 9, 11] {
        assert_eq!(
            errno(file.write_all_at(b"?", offset)),
            libc::EINVAL,
            "at {offset}"
        );
    }
    assert_eq!(errno(file.set_len(20)), libc::EINVAL);
    close(file).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first then");

    // What is there is replaced as a whole or not at all.
    let there = OpenOptions::new().write(true).open(&path).unwrap();
    for offset in [0, 10] {
        assert_eq!(
            errno(there.write_all_at(b"?", offset)),
            libc::EINVAL,
            "at {offset}"
        );
    }
    let mut truncated = File::create(&path).unwrap();
    truncated.write_all(b"anew").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"anew");
}

#[test]
fn sequential_writes_are_made_by_handles_that_only_write() {
    let mount = QuirkFs::mount(Recipe::plain().sequential_writes());
    let (a, b) = (mount.path().join("a"), mount.path().join("b"));
    let mut both = OpenOptions::new();
    both.read(true).write(true);
    assert_eq!(errno(both.clone().create_new(true).open(&a)), libc::EINVAL);
    assert!(!mount.backing().join("a").exists());
    fs::write(&a, "1").unwrap();
    assert_eq!(errno(both.open(&a)), libc::EINVAL);
    // And of any length.
    let data: Vec<u8> = (0..5_000_001u32).map(|i| (i % 251) as u8).collect();
    fs::write(&a, &data).unwrap();
    fs::copy(&a, &b).unwrap();
    assert!(fs::read(&b).unwrap() == data);
}

#[test]
fn inodes_change_with_each_lookup_and_stay_while_nobody_looks() {
    let mount = QuirkFs::mount(Recipe::plain().inodes_change());
    let path = mount.path().join("a");
    let file = File::create(&path).unwrap();
    let held = file.metadata().unwrap().ino();
    assert_eq!(file.metadata().unwrap().ino(), held);
    let seen: Vec<u64> = (0..3).map(|_| fs::metadata(&path).unwrap().ino()).collect();
    assert!(
        seen[0] != seen[1] && seen[1] != seen[2] && !seen.contains(&held),
        "{held} {seen:?}"
    );
    fs::rename(&path, mount.path().join("b")).unwrap();
    assert!(!seen.contains(&fs::metadata(mount.path().join("b")).unwrap().ino()));
    let of_dir = || fs::metadata(mount.path()).unwrap().ino();
    fs::create_dir(mount.path().join("d")).unwrap();
    let of_subdir = || fs::metadata(mount.path().join("d")).unwrap().ino();
    assert_eq!(of_dir(), of_dir(), "a root is never looked up");
    assert_ne!(of_subdir(), of_subdir());
}

#[test]
fn without_that_quirk_inodes_stay() {
    let mount = QuirkFs::mount(Recipe::plain());
    let path = mount.path().join("a");
    let held = File::create(&path).unwrap().metadata().unwrap().ino();
    fs::rename(&path, mount.path().join("b")).unwrap();
    assert_eq!(fs::metadata(mount.path().join("b")).unwrap().ino(), held);
}

#[test]
fn attributes_settle_at_close_moves_the_mtime_then_and_not_before() {
    let mount = QuirkFs::mount(Recipe::plain().attributes_settle_at_close());
    let path = mount.path().join("a");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"12").unwrap();
    let open = file.metadata().unwrap();
    file.write_all(b"3").unwrap();
    assert_eq!(
        file.metadata().unwrap().modified().unwrap(),
        open.modified().unwrap()
    );
    assert_eq!(
        fs::metadata(&path).unwrap().modified().unwrap(),
        open.modified().unwrap()
    );
    assert_eq!(
        fs::metadata(&path).unwrap().len(),
        3,
        "the size is true at all times"
    );
    close(file).unwrap();
    let closed = fs::metadata(&path).unwrap().modified().unwrap();
    assert!(closed > open.modified().unwrap());
    assert_eq!(
        fs::metadata(&path).unwrap().modified().unwrap(),
        closed,
        "it moves once"
    );

    // A reader's close settles nothing; an mtime set by hand does, and stays.
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"4").unwrap();
    close(File::open(&path).unwrap()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), closed);
    file.set_modified(UNIX_EPOCH).unwrap();
    close(file).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), UNIX_EPOCH);
}

#[test]
fn attributes_settle_at_close_moves_the_mtime_though_the_clock_stood_still() {
    let mount = QuirkFs::mount(Recipe::plain().attributes_settle_at_close());
    let mut file = File::create(mount.path().join("a")).unwrap();
    file.write_all(b"1").unwrap();
    let open = file.metadata().unwrap().modified().unwrap();
    let backing = File::open(mount.backing().join("a")).unwrap();
    backing.set_modified(open).unwrap();
    close(file).unwrap();
    let closed = fs::metadata(mount.path().join("a"))
        .unwrap()
        .modified()
        .unwrap();
    assert!(closed >= open + Duration::from_millis(10));
}

#[test]
fn size_settles_at_close_shows_the_old_size_until_then() {
    let mount = QuirkFs::mount(Recipe::plain().size_settles_at_close());
    let path = mount.path().join("a");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"123").unwrap();
    assert_eq!(file.metadata().unwrap().len(), 0);
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    close(file).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 3);
}

#[test]
fn coarse_mtime_comes_in_steps() {
    let mount = QuirkFs::mount(Recipe::plain().coarse_mtime(Duration::from_secs(2)));
    let path = mount.path().join("a");
    let file = File::create(&path).unwrap();
    for (set, shown) in [(7_900, 6_000), (8_000, 8_000), (9_999, 8_000)] {
        file.set_modified(UNIX_EPOCH + Duration::from_millis(set))
            .unwrap();
        let found = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(found, UNIX_EPOCH + Duration::from_millis(shown));
    }
}

#[test]
fn latency_makes_each_request_slow() {
    let each = Duration::from_millis(20);
    let mount = QuirkFs::mount(Recipe::plain().latency(each));
    let (before, begun) = (mount.calls(Op::Getattr), Instant::now());
    for _ in 0..5 {
        fs::metadata(mount.path()).unwrap();
    }
    assert!(mount.calls(Op::Getattr) - before >= 5);
    assert!(begun.elapsed() >= 5 * each);
}

#[test]
fn a_request_that_waits_stops_no_other() {
    let mount = QuirkFs::mount(Recipe::plain());
    // In a directory of its own, which the kernel locks meanwhile.
    let dir = mount.path().join("d");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a"), "1").unwrap();
    let (arrived, has_arrived) = channel();
    let (let_go, gate) = channel();
    let gate: Mutex<Receiver<()>> = Mutex::new(gate);
    let in_vain = Arc::new(AtomicBool::new(false));
    let gave_up = Arc::clone(&in_vain);
    let waiting = Fault::delay(Op::Rename, Duration::ZERO).where_name(move |_| {
        arrived.send(()).unwrap();
        // If the rest waits for us, we wait for nothing.
        let let_go = gate.lock().unwrap().recv_timeout(Duration::from_secs(60));
        gave_up.store(let_go.is_err(), SeqCst);
        true
    });
    mount.add_fault(waiting);
    thread::scope(|scope| {
        let renamer = scope.spawn(|| fs::rename(dir.join("a"), dir.join("b")));
        has_arrived.recv().unwrap();
        fs::write(mount.path().join("c"), "2").unwrap();
        assert_eq!(fs::read(mount.path().join("c")).unwrap(), b"2");
        assert!(mount.backing().join("d/a").exists(), "nobody waited");
        let_go.send(()).unwrap();
        renamer.join().unwrap().unwrap();
    });
    assert!(!in_vain.load(SeqCst), "the other requests came after it");
    assert_eq!(fs::read(dir.join("b")).unwrap(), b"1");
}

// ---- the faults -------------------------------------------------------------------------------

#[test]
fn every_third_rename_fails_after_its_effect() {
    let fault = Fault::on(Op::Rename)
        .errno(libc::EIO)
        .every(3)
        .after_effect();
    let mount = QuirkFs::mount(Recipe::plain().fault(fault));
    for n in 1..=9 {
        let (a, b) = (mount.path().join("a"), mount.path().join(format!("b{n}")));
        fs::write(&a, n.to_string()).unwrap();
        let renamed = fs::rename(&a, &b);
        match n % 3 {
            0 => assert_eq!(errno(renamed), libc::EIO),
            _ => renamed.unwrap(),
        }
        assert_eq!(
            fs::read_to_string(&b).unwrap(),
            n.to_string(),
            "it took effect"
        );
        assert!(!a.exists());
    }
    assert_eq!(
        (mount.faults_fired(), mount.faults_fired_on(Op::Rename)),
        (3, 3)
    );
}

#[test]
fn one_stale_rename_before_its_effect_is_tried_again_by_the_kernel_two_are_seen() {
    let mount = QuirkFs::mount(Recipe::plain());
    let (a, b) = (mount.path().join("a"), mount.path().join("b"));
    fs::write(&a, "1").unwrap();
    mount.add_fault(Fault::on(Op::Rename).errno(libc::ESTALE).first(1));
    fs::rename(&a, &b).unwrap();
    assert_eq!(mount.calls(Op::Rename), 2);
    mount.add_fault(Fault::on(Op::Rename).errno(libc::ESTALE).first(2));
    assert_eq!(errno(fs::rename(&b, &a)), libc::ESTALE);
    assert_eq!(mount.calls(Op::Rename), 4);
    assert_eq!(fs::read(&b).unwrap(), b"1");
}

#[test]
fn stale_after_its_effect_a_rename_is_enoent_and_a_link_eexist() {
    let mount = QuirkFs::mount(
        Recipe::plain()
            .fault(Fault::on(Op::Rename).errno(libc::ESTALE).after_effect())
            .fault(Fault::on(Op::Link).errno(libc::ESTALE).after_effect()),
    );
    let [a, b, c] = ["a", "b", "c"].map(|name| mount.path().join(name));
    fs::write(&a, "1").unwrap();
    assert_eq!(errno(fs::rename(&a, &b)), libc::ENOENT);
    assert_eq!(errno(fs::hard_link(&b, &c)), libc::EEXIST);
    assert_eq!(fs::metadata(&c).unwrap().nlink(), 2);
}

#[test]
fn a_burst_strikes_at_the_beginning_of_each_period() {
    let fault = Fault::on(Op::Unlink).errno(libc::EIO).burst(5, 2);
    let mount = QuirkFs::mount(Recipe::plain().fault(fault));
    let path = mount.path().join("a");
    let unlinked: Vec<bool> = (0..10)
        .map(|_| {
            fs::write(&path, "").unwrap();
            fs::remove_file(&path).is_ok()
        })
        .collect();
    let period = [false, false, true, true, true];
    assert_eq!(unlinked, [period, period].concat());
}

#[test]
fn nth_and_first_and_always_strike_when_they_say() {
    let failures = |fault: Fault| -> Vec<usize> {
        let mount = QuirkFs::mount(Recipe::plain().fault(fault));
        (1..=6)
            .filter(|n| fs::create_dir(mount.path().join(n.to_string())).is_err())
            .collect()
    };
    assert_eq!(failures(Fault::on(Op::Mkdir).nth(4)), [4]);
    assert_eq!(failures(Fault::on(Op::Mkdir).first(2)), [1, 2]);
    assert_eq!(failures(Fault::on(Op::Mkdir)), [1, 2, 3, 4, 5, 6]);
    assert_eq!(failures(Fault::on(Op::Rmdir)), []);
}

#[test]
fn a_fault_can_be_meant_for_some_names() {
    let mount = QuirkFs::mount(
        Recipe::plain()
            .fault(
                Fault::on(Op::Create)
                    .errno(libc::EACCES)
                    .where_staging_file(),
            )
            .fault(
                Fault::on(Op::Open)
                    .errno(libc::EPERM)
                    .where_name(|name| name == "b"),
            )
            .fault(Fault::on(Op::Write).errno(libc::EIO).where_name_has("bad")),
    );
    assert_eq!(errno(File::create(mount.path().join("a#17"))), libc::EACCES);
    fs::write(mount.path().join("a"), "1").unwrap();
    fs::write(mount.path().join("b"), "1").unwrap();
    assert_eq!(errno(fs::read(mount.path().join("b"))), libc::EPERM);
    assert_eq!(fs::read(mount.path().join("a")).unwrap(), b"1");
    // A file goes by its newest name.
    let mut file = File::create(mount.path().join("good")).unwrap();
    file.write_all(b"1").unwrap();
    fs::rename(mount.path().join("good"), mount.path().join("gone bad")).unwrap();
    assert_eq!(errno(file.write_all(b"2")), libc::EIO);
}

#[test]
fn staging_files_are_told_by_their_digits() {
    assert!(is_staging_file("a#1") && is_staging_file("a#b#018446744073709551615"));
    assert!(!is_staging_file("a") && !is_staging_file("a#") && !is_staging_file("a#1b"));
}

#[test]
fn a_full_disk_is_seen_at_write() {
    let fault = Fault::on(Op::Write).errno(libc::ENOSPC);
    let mount = QuirkFs::mount(Recipe::plain().fault(fault));
    let mut file = File::create(mount.path().join("a")).unwrap();
    assert_eq!(errno(file.write_all(b"123")), libc::ENOSPC);
    close(file).unwrap();
    assert_eq!(fs::metadata(mount.path().join("a")).unwrap().len(), 0);
}

#[test]
fn an_error_at_close_is_seen_by_who_checks() {
    let mount = QuirkFs::mount(Recipe::plain().fault(Fault::on(Op::Flush).nth(1)));
    let mut file = File::create(mount.path().join("a")).unwrap();
    file.write_all(b"123").unwrap();
    assert_eq!(errno(close(file)), libc::EIO);
    close(File::open(mount.path().join("a")).unwrap()).unwrap();
    assert_eq!(mount.calls(Op::Flush), 2);
}

#[test]
fn a_lost_write_is_acknowledged_and_not_there() {
    let mount = QuirkFs::mount(Recipe::plain().fault(Fault::lose(Op::Write).nth(2)));
    let path = mount.path().join("a");
    let file = File::create(&path).unwrap();
    file.write_all_at(b"123", 0).unwrap();
    file.write_all_at(b"456", 3).unwrap();
    close(file).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"123");
    assert_eq!(mount.faults_fired(), 1);
}

#[test]
fn the_tail_of_a_write_can_be_lost() {
    let mount = QuirkFs::mount(Recipe::plain().fault(Fault::lose(Op::Write).keeping(2)));
    fs::write(mount.path().join("a"), "123").unwrap();
    assert_eq!(fs::read(mount.path().join("a")).unwrap(), b"12");
}

#[test]
fn a_lost_unlink_leaves_the_file() {
    let mount = QuirkFs::mount(Recipe::plain().fault(Fault::lose(Op::Unlink)));
    fs::write(mount.path().join("a"), "1").unwrap();
    fs::remove_file(mount.path().join("a")).unwrap();
    assert_eq!(fs::read(mount.path().join("a")).unwrap(), b"1");
}

#[test]
fn a_create_or_unlink_that_took_effect_can_fail() {
    let mount = QuirkFs::mount(
        Recipe::plain()
            .fault(Fault::on(Op::Create).errno(libc::EIO).after_effect().nth(1))
            .fault(Fault::on(Op::Unlink).errno(libc::ENOENT).after_effect()),
    );
    let path = mount.path().join("a");
    assert_eq!(errno(File::create_new(&path)), libc::EIO);
    assert_eq!(errno(File::create_new(&path)), libc::EEXIST);
    assert_eq!(errno(fs::remove_file(&path)), libc::ENOENT);
    assert!(!path.exists());
    // The kernel never knew of the first file: a second one of its name works.
    fs::write(&path, "2").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"2");
}

#[test]
fn what_fails_by_itself_keeps_its_own_error() {
    let fault = Fault::on(Op::Rmdir).errno(libc::EIO).after_effect();
    let mount = QuirkFs::mount(Recipe::plain().fault(fault));
    fs::create_dir_all(mount.path().join("d/e")).unwrap();
    assert_eq!(
        errno(fs::remove_dir(mount.path().join("d"))),
        libc::ENOTEMPTY
    );
    assert_eq!(errno(fs::remove_dir(mount.path().join("d/e"))), libc::EIO);
    assert!(!mount.path().join("d/e").exists());
}

#[test]
fn every_kind_of_request_can_fail() {
    let mount = QuirkFs::mount(Recipe::plain());
    let root = mount.path();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(root.join("f"))
        .unwrap();
    let dir = File::open(root).unwrap();
    std::os::unix::fs::symlink("f", root.join("s")).unwrap();
    fs::create_dir(root.join("d")).unwrap();
    let fails = |op: Op, act: &dyn Fn() -> io::Result<()>| {
        mount.clear_faults();
        mount.add_fault(Fault::on(op).errno(libc::EDQUOT));
        assert_eq!(errno(act()), libc::EDQUOT, "{op:?}");
        mount.clear_faults();
        act().unwrap_or_else(|e| panic!("{op:?}, without a fault: {e}"));
    };
    fails(Op::Lookup, &|| fs::metadata(root.join("f")).map(drop));
    fails(Op::Getattr, &|| file.metadata().map(drop));
    fails(Op::Setattr, &|| file.set_len(1));
    fails(Op::Readlink, &|| fs::read_link(root.join("s")).map(drop));
    fails(Op::Symlink, &|| {
        std::os::unix::fs::symlink("f", root.join("s2"))
    });
    fails(Op::Mkdir, &|| fs::create_dir(root.join("d2")));
    fails(Op::Rmdir, &|| fs::remove_dir(root.join("d2")));
    fails(Op::Unlink, &|| fs::remove_file(root.join("s2")));
    fails(Op::Link, &|| fs::hard_link(root.join("f"), root.join("l")));
    fails(Op::Rename, &|| fs::rename(root.join("d"), root.join("e")));
    fails(Op::Open, &|| File::open(root.join("f")).map(drop));
    fails(Op::Create, &|| File::create_new(root.join("n")).map(drop));
    fails(Op::Write, &|| file.write_all_at(b"1", 0));
    fails(Op::Read, &|| file.read_exact_at(&mut [0], 0));
    fails(Op::Flush, &|| close(file.try_clone()?));
    fails(Op::Fsync, &|| file.sync_all());
    fails(Op::Opendir, &|| fs::read_dir(root).map(drop));
    fails(Op::Readdir, &|| {
        fs::read_dir(root)?.try_for_each(|entry| entry.map(drop))
    });
    fails(Op::Fsyncdir, &|| dir.sync_all());
    fails(Op::Statfs, &|| statvfs(root).map(drop));
    fails(Op::Setxattr, &|| {
        set_xattr(&root.join("f"), c"user.x", b"1")
    });
    fails(Op::Getxattr, &|| {
        get_xattr(&root.join("f"), c"user.x").map(drop)
    });
    fails(Op::Listxattr, &|| list_xattr(&root.join("f")));
    fails(Op::Removexattr, &|| {
        remove_xattr(&root.join("f"), c"user.x")
    });
    let untried = [Op::Release, Op::Releasedir];
    for op in Op::ALL.into_iter().filter(|op| !untried.contains(op)) {
        assert!(mount.faults_fired_on(op) > 0, "{op:?}");
    }
}

#[test]
fn calls_are_counted_by_kind_and_name_and_faults_come_and_go() {
    let mount = QuirkFs::mount(Recipe::plain());
    for name in ["a#1", "a#2", "b"] {
        fs::write(mount.path().join(name), "1").unwrap();
    }
    fs::rename(mount.path().join("a#1"), mount.path().join("a")).unwrap();
    assert_eq!(mount.calls(Op::Create), 3);
    assert_eq!(mount.calls_named(Op::Create, is_staging_file), 2);
    assert_eq!(mount.calls_named(Op::Write, |name| name == "b"), 1);
    assert_eq!(mount.calls_named(Op::Rename, |name| name == "a"), 1);
    assert_eq!(mount.calls_named(Op::Rename, |name| name == "a#1"), 1);
    assert_eq!(mount.faults_fired(), 0);

    mount.add_fault(Fault::on(Op::Unlink));
    assert_eq!(errno(fs::remove_file(mount.path().join("b"))), libc::EIO);
    mount.clear_faults();
    fs::remove_file(mount.path().join("b")).unwrap();
    assert_eq!((mount.calls(Op::Unlink), mount.faults_fired()), (2, 1));
}

#[test]
fn a_fault_on_many_threads_strikes_as_often_as_it_says() {
    let mount = QuirkFs::mount(Recipe::plain().fault(Fault::on(Op::Mkdir).every(7)));
    let start = Barrier::new(8);
    let failed: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let (root, start) = (mount.path(), &start);
                scope.spawn(move || {
                    start.wait();
                    let make = |i| fs::create_dir(root.join(format!("{thread}-{i}")));
                    (0..70).filter(|i| make(*i).is_err()).count()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(failed, 8 * 70 / 7);
}

// ---- the end ----------------------------------------------------------------------------------

#[test]
fn nothing_is_left_when_a_mount_is_dropped() {
    let mount = QuirkFs::mount(Recipe::plain());
    let path = mount.path().to_owned();
    fs::write(path.join("a"), "1").unwrap();
    assert!(is_mounted(&path));
    drop(mount);
    assert!(!is_mounted(&path));
    assert!(!path.parent().unwrap().exists());
}

#[test]
fn nothing_is_left_when_a_test_panics_or_holds_a_file_open() {
    let mut path = None;
    let mut open = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mount = QuirkFs::mount(Recipe::plain());
        path = Some(mount.path().to_owned());
        open = Some(File::create(mount.path().join("a")).unwrap());
        panic!("as a test does");
    }));
    assert!(panicked.is_err());
    let path = path.unwrap();
    assert!(!is_mounted(&path));
    assert!(!path.parent().unwrap().exists());
    // The file outlives its mount, as files do.
    let file = open.unwrap();
    file.write_all_at(b"1", 0).unwrap();
    close(file).unwrap();
}

#[test]
fn what_a_killed_process_leaves_is_swept_by_the_next_mount() {
    const DIE: &str = "QUIRKFS_DIE_MOUNTED";
    if std::env::var_os(DIE).is_some() {
        let mount = QuirkFs::mount(Recipe::plain());
        println!("mounted on {}", mount.path().display());
        std::process::abort();
    }
    let me = "what_a_killed_process_leaves_is_swept_by_the_next_mount";
    let died = std::process::Command::new(std::env::current_exe().unwrap())
        .args([me, "--exact", "--nocapture", "--test-threads=1"])
        .env(DIE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8(died.stdout).unwrap();
    let (_, rest) = said.split_once("mounted on ").unwrap();
    let path = Path::new(rest.lines().next().unwrap());
    drop(QuirkFs::mount(Recipe::plain()));
    assert!(!is_mounted(path));
    // Another test's mount may have come first, and be at it still.
    let home = path.parent().unwrap();
    let patience = Instant::now() + Duration::from_secs(30);
    while home.exists() {
        assert!(Instant::now() < patience, "{} stays", home.display());
        thread::yield_now();
    }
}

#[test]
fn a_directory_of_the_callers_stays() {
    let backing = tempfile::tempdir().unwrap();
    let mount = QuirkFs::mount_over(backing.path(), Recipe::plain());
    assert_eq!(mount.backing(), backing.path());
    fs::write(mount.path().join("a"), "1").unwrap();
    drop(mount);
    assert_eq!(fs::read(backing.path().join("a")).unwrap(), b"1");
}

// ---- upstream ---------------------------------------------------------------------------------

mod upstream {
    use super::*;

    use object_store_0_12::ObjectStore as _;
    use object_store_0_14::integration;

    fn upstream_0_14(mount: &quirkfs::Mounted) -> object_store_0_14::local::LocalFileSystem {
        object_store_0_14::local::LocalFileSystem::new_with_prefix(mount.path()).unwrap()
    }

    #[tokio::test]
    async fn suites_pass_on_a_plain_mount() {
        let mount = QuirkFs::mount(Recipe::plain());
        let store = upstream_0_14(&mount);
        integration::put_get_delete_list(&store).await;
        integration::list_with_delimiter(&store).await;
        integration::rename_and_copy(&store).await;
        integration::copy_if_not_exists(&store).await;
        integration::stream_get(&store).await;
        assert!(mount.calls(Op::Rename) > 0, "upstream was elsewhere");
    }

    #[tokio::test]
    async fn suites_pass_on_a_cached_mount() {
        let mount = QuirkFs::mount(Recipe::plain().cached());
        let store = upstream_0_14(&mount);
        integration::put_get_delete_list(&store).await;
        integration::rename_and_copy(&store).await;
        integration::stream_get(&store).await;
    }

    async fn multipart_0_12(mount: &quirkfs::Mounted) -> Result<(), String> {
        let store =
            object_store_0_12::local::LocalFileSystem::new_with_prefix(mount.path()).unwrap();
        let mut upload = store.put_multipart(&"a".into()).await.unwrap();
        upload.put_part("123".into()).await.unwrap();
        upload.complete().await.map(drop).map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn multipart_of_0_12_cannot_complete_on_drvfs() {
        let mount = QuirkFs::mount(Recipe::drvfs());
        let said = multipart_0_12(&mount).await.unwrap_err();
        assert!(said.contains("Unable to access metadata for"), "{said}");
        assert!(said.contains("a#1"), "{said}");
        multipart_0_12(&QuirkFs::mount(Recipe::plain()))
            .await
            .unwrap();
    }
}

// ---- what std lacks ---------------------------------------------------------------------------

/// The errno a call failed with.
fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    let error = result.expect_err("it should have failed");
    error
        .raw_os_error()
        .unwrap_or_else(|| panic!("{error:?} is not from the system"))
}

fn check(answer: libc::c_int) -> io::Result<()> {
    match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// close(2), whose error std drops.
fn close(file: File) -> io::Result<()> {
    // SAFETY: the descriptor is the file's own, given up by it.
    check(unsafe { libc::close(file.into_raw_fd()) })
}

fn rename_exclusively(from: &Path, to: &Path) -> io::Result<()> {
    let (cwd, from, to) = (libc::AT_FDCWD, c_path(from), c_path(to));
    // SAFETY: two NUL-terminated strings that outlive the call.
    check(unsafe { libc::renameat2(cwd, from.as_ptr(), cwd, to.as_ptr(), libc::RENAME_NOREPLACE) })
}

fn flock(file: &File, operation: i32) -> io::Result<()> {
    // SAFETY: an open descriptor.
    check(unsafe { libc::flock(file.as_raw_fd(), operation) })
}

/// An open file description lock on the whole file, without waiting.
fn ofd_lock(file: &File) -> io::Result<()> {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: an open descriptor and a valid lock.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &whole) })
}

fn set_xattr(path: &Path, name: &std::ffi::CStr, value: &[u8]) -> io::Result<()> {
    let (path, bytes) = (c_path(path), value.as_ptr().cast());
    // SAFETY: NUL-terminated strings, and the value with its length.
    check(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), bytes, value.len(), 0) })
}

fn get_xattr(path: &Path, name: &std::ffi::CStr) -> io::Result<Vec<u8>> {
    let (path, mut value) = (c_path(path), vec![0u8; 64]);
    let room = value.as_mut_ptr().cast();
    // SAFETY: NUL-terminated strings, and a buffer with its length.
    let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), room, value.len()) };
    value.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
    Ok(value)
}

fn list_xattr(path: &Path) -> io::Result<()> {
    let path = c_path(path);
    // SAFETY: a NUL-terminated string; without a buffer only the size is asked for.
    let size = unsafe { libc::listxattr(path.as_ptr(), std::ptr::null_mut(), 0) };
    check(if size < 0 { -1 } else { 0 })
}

fn remove_xattr(path: &Path, name: &std::ffi::CStr) -> io::Result<()> {
    let path = c_path(path);
    // SAFETY: two NUL-terminated strings that outlive the call.
    check(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) })
}

fn statvfs(path: &Path) -> io::Result<libc::statvfs> {
    let path = c_path(path);
    let mut answer = std::mem::MaybeUninit::uninit();
    // SAFETY: a NUL-terminated string, and room for the answer.
    check(unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) })?;
    // SAFETY: statvfs succeeded, so it filled the answer in.
    Ok(unsafe { answer.assume_init() })
}

fn free_blocks(path: &Path) -> u64 {
    statvfs(path).unwrap().f_bfree
}

/// How many files below `dir` this process has open.
fn files_held_below(dir: &Path) -> usize {
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok())
        .filter(|file| file.starts_with(dir) && file != dir)
        .count()
}

fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == path.to_str())
}

trait AsUser {
    fn uid_and_gid(&mut self, id: u32) -> &mut Self;
}

impl AsUser for std::process::Command {
    fn uid_and_gid(&mut self, id: u32) -> &mut Self {
        use std::os::unix::process::CommandExt;
        self.uid(id).gid(id)
    }
}
