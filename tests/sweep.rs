//! Sweeping: what a crash left goes, what is in use stays, and so does all else.

#[cfg(feature = "cli")]
#[path = "sweep/cli.rs"]
mod cli;
mod minors;
#[cfg(feature = "mount-tests")]
#[path = "sweep/mounts.rs"]
mod mounts;
#[cfg(feature = "mount-tests")]
mod quirkfs;
#[path = "sweep/worker.rs"]
mod worker;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use object_store_localfs::Swept;
use object_store_localfs_engine::fault::{self, Fault, Op};
use object_store_localfs_engine::{Attributes, Engine, SweepEvent, SweepOptions, Use, Verdict};
use proptest::prelude::*;

use minors::{files, for_each_minor};
use worker::Worker;

const NOW: Duration = Duration::ZERO;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the files at these paths take on the disk.
fn on_disk<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> u64 {
    let sizes = paths.into_iter().map(|path| {
        let m = fs::symlink_metadata(path).unwrap();
        #[cfg(unix)]
        return std::os::unix::fs::MetadataExt::blocks(&m) * 512;
        #[cfg(not(unix))]
        return m.len();
    });
    sizes.sum()
}

/// What was decided about each staging file, by its name.
type Decided = Vec<(String, String)>;

fn sweep_with(
    dir: &Path,
    options: SweepOptions,
    mut at_event: impl FnMut(&SweepEvent<'_>) -> ControlFlow<()>,
) -> (Swept, Decided) {
    let mut decided = Vec::new();
    let swept = Engine::new().sweep(dir, options, |event| {
        if let SweepEvent::Decided { file, verdict } = &event {
            let name = file.path.file_name().unwrap().to_str().unwrap();
            decided.push((name.to_owned(), format!("{verdict:?}")));
        }
        at_event(&event)
    });
    (swept.unwrap(), decided)
}

fn sweep(dir: &Path, older_than: Duration) -> (Swept, Decided) {
    let options = SweepOptions::older_than(older_than);
    sweep_with(dir, options, |_| ControlFlow::Continue(()))
}

fn write(path: impl AsRef<Path>, text: &str) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[cfg(unix)]
fn is_link(path: &Path) -> bool {
    std::os::unix::fs::MetadataExt::nlink(&fs::metadata(path).unwrap()) > 1
}

#[cfg(not(unix))]
fn is_link(_path: &Path) -> bool {
    false
}

fn modify(path: impl AsRef<Path>, time: SystemTime) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

// ---- what a crash left ------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_killed_process_left_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start("ours", dir.path());
    worker.kill();
    macro_rules! check {
        ($($minor:ident),+) => {$({
            let dir = dir.path().join(stringify!($minor));
            assert_eq!(files(&dir).len() as u64, 2 + minors::$minor::sweep::HELD);

            let swept = minors::$minor::sweep::sweep(&dir, DAY).await;
            assert_eq!((swept.removed, swept.young), (0, 4), "{swept:?}");
            let left = files(&dir).into_iter();
            let left = left.filter(|name| name.contains('#') && !is_link(&dir.join(name)));
            let bytes = on_disk(left.map(|name| dir.join(name)));
            let swept = minors::$minor::sweep::sweep(&dir, NOW).await;
            assert_eq!((swept.found, swept.removed), (4, 4), "{swept:?}");
            // Three uploads; the copy was a link.
            assert_eq!(swept.bytes_freed, bytes, "{swept:?}");
            assert_eq!(files(&dir), ["copy", "from"]);
            assert_eq!(fs::read(dir.join("copy")).unwrap(), b"old");
            assert_eq!(fs::read(dir.join("from")).unwrap(), b"data");
        })+};
    }
    check!(v0_12, v0_13, v0_14);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_upstreams_store_left_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start("upstream", dir.path());
    let left = || {
        let mut left = files(dir.path());
        left.retain(|name| name.contains('#'));
        left
    };
    assert_eq!(left(), ["v0_12/x#1", "v0_13/x#1", "v0_14/x#1"]);
    // Its names tell nobody, but it has the files open.
    #[cfg(target_os = "linux")]
    {
        let (swept, decided) = sweep(dir.path(), NOW);
        let open = format!("{:?}", Verdict::InUse(Use::OpenIn(worker.id())));
        assert_eq!(decided, vec![("x#1".to_owned(), open); 3]);
        assert_eq!((swept.found, swept.in_use), (3, 3), "{swept:?}");
    }
    worker.kill();
    let (swept, _) = sweep(dir.path(), DAY);
    assert_eq!((swept.found, swept.young), (3, 3), "{swept:?}");
    let bytes = on_disk(left().iter().map(|name| dir.path().join(name)));
    let (swept, _) = sweep(dir.path(), NOW);
    assert_eq!((swept.removed, swept.bytes_freed), (3, bytes), "{swept:?}");
    assert_eq!(left(), [""; 0]);
}

#[test]
fn what_a_process_left_that_had_the_same_id_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start("ours", dir.path());
    let held = files(dir.path());
    let held = held.iter().find(|name| name.contains("put#")).unwrap();
    let (name, digits) = held.split_once('#').unwrap();
    // The first four digits tell it from others.
    let mark: u32 = digits[..4].parse().unwrap();
    for other in [mark % 9998 + 1, (mark + 4000) % 9998 + 1] {
        let other = other + u32::from(other == mark);
        write(
            dir.path()
                .join(format!("{name}#{other:04}{}", &digits[4..])),
            "",
        );
    }
    let (swept, _) = sweep(dir.path(), NOW);
    let removed = if cfg!(target_os = "linux") { 2 } else { 0 };
    assert_eq!(
        (swept.removed, swept.in_use),
        (removed, 14 - removed),
        "{swept:?}"
    );
    worker.kill();
}

// ---- what is in use ---------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn uploads_of_this_process_are_kept_and_finish() {
    let dir = tempfile::tempdir().unwrap();
    for_each_minor!(dir.path(), sweep::uploads_are_kept_and_finish);
}

#[test]
fn uploads_of_another_process_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start("ours", dir.path());
    let before = files(dir.path());
    let (swept, decided) = sweep(dir.path(), NOW);
    let made = format!("{:?}", Verdict::InUse(Use::MadeBy(worker.id())));
    for (name, verdict) in decided {
        assert_eq!(verdict, made, "{name}");
    }
    assert_eq!((swept.found, swept.in_use), (12, 12), "{swept:?}");
    assert_eq!(files(dir.path()), before);
    worker.kill();
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn upstreams_uploads_of_this_process_are_kept_and_finish() {
    let dir = tempfile::tempdir().unwrap();
    let mut upload = minors::v0_14::sweep::hold_upstreams(dir.path()).await;
    let (swept, _) = sweep(dir.path(), NOW);
    assert_eq!((swept.found, swept.in_use), (1, 1), "{swept:?}");
    upload.complete().await.unwrap();
    assert_eq!(files(dir.path()), ["x"]);
}

/// Its first thread shows no descriptors any more.
#[cfg(target_os = "linux")]
#[test]
fn uploads_of_a_process_whose_first_thread_has_ended_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start("headless", dir.path());
    let stat = format!("/proc/{}/stat", worker.id());
    while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    let (swept, decided) = sweep(dir.path(), NOW);
    assert_eq!((swept.found, swept.in_use), (3, 3), "{decided:?}");
    worker.kill();
    assert_eq!(sweep(dir.path(), NOW).0.removed, 3);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_open_by_another_name_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("x#1"), "data");
    fs::hard_link(dir.path().join("x#1"), dir.path().join("y#1")).unwrap();
    let open = fs::File::open(dir.path().join("y#1")).unwrap();
    assert_eq!(sweep(dir.path(), NOW).0.in_use, 2);
    drop(open);
    assert_eq!(sweep(dir.path(), NOW).0.removed, 2);
}

#[test]
fn a_file_that_took_the_name_meanwhile_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x#1");
    write(&path, "old");
    let options = SweepOptions::older_than(NOW);
    let (swept, decided) = sweep_with(dir.path(), options, |event| {
        if let SweepEvent::Found { total } = event {
            assert_eq!(*total, 1);
            // Of the same length, with the old one's times.
            let old = fs::metadata(&path).unwrap().modified().unwrap();
            fs::rename(&path, dir.path().join("x")).unwrap();
            write(&path, "new");
            modify(&path, old);
        }
        ControlFlow::Continue(())
    });
    let changed = format!("{:?}", Verdict::InUse(Use::Changed));
    assert_eq!(decided, [("x#1".to_owned(), changed)]);
    assert_eq!(swept.in_use, 1);
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[test]
fn a_file_that_took_the_name_after_a_lost_reply_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x#1");
    write(&path, "old");
    let _injected = fault::inject(dir.path(), |call| match call.op {
        Op::Unlink => {
            let path = call.path.to_owned();
            Fault::after_effect(libc::EIO).then(move || fs::write(path, "new data").unwrap())
        }
        _ => Fault::none(),
    });
    let bytes = on_disk([&path]);
    let (swept, _) = sweep(dir.path(), NOW);
    assert_eq!((swept.removed, swept.bytes_freed), (1, bytes), "{swept:?}");
    assert_eq!(fs::read(&path).unwrap(), b"new data");
}

// ---- what is no left-over ---------------------------------------------------------------------

#[test]
fn all_else_stays() {
    let outside = tempfile::tempdir().unwrap();
    write(outside.path().join("x#1"), "");
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for name in ["x", "x#", "x#a", "x#1a", "x#1#2", "#", "d#1/x"] {
        write(dir.join(name), "data");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(dir.join("x"), dir.join("link#1")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.join("dangling#1")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.join("link")).unwrap();
        let socket = dir.join("socket#1");
        drop(std::os::unix::net::UnixListener::bind(socket).unwrap());
    }
    let names = || {
        let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    let before = names();
    write(dir.join("d#1/y#2"), "data");
    let (swept, decided) = sweep(dir, NOW);
    assert_eq!(decided, [("y#2".to_owned(), "Removed".to_owned())]);
    assert_eq!((swept.found, swept.removed), (1, 1), "{swept:?}");
    assert_eq!(names(), before);
    assert!(dir.join("d#1/x").exists());
    assert!(outside.path().join("x#1").exists());
}

/// The host's lock file is in the directories where it is kept, and nowhere else.
#[test]
fn what_an_upload_of_the_locks_name_left_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("object_store_localfs#1"), "data");
    assert_eq!(sweep(dir.path(), NOW).0.removed, 1);
    assert_eq!(files(dir.path()), [""; 0]);
}

#[cfg(unix)]
#[test]
fn a_symlink_in_place_of_a_directory_does_not_lead_out() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("x#1");
    let dir = tempfile::tempdir().unwrap();
    let a = dir.path().canonicalize().unwrap().join("a");
    let swap = || {
        fs::rename(&a, a.with_file_name("b")).unwrap();
        std::os::unix::fs::symlink(outside.path(), &a).unwrap();
    };
    // Before it is read, while it is looked through, and after all is found.
    for nth in [1, 2, u64::MAX] {
        write(a.join("x#1"), "data");
        // By every sign the same file.
        fs::hard_link(a.join("x#1"), &victim).unwrap();
        let mut looks = 0;
        let options = SweepOptions::older_than(NOW);
        let (swept, decided) = sweep_with(dir.path(), options, |event| {
            match event {
                SweepEvent::Looking { dir, .. } if *dir == a => {
                    looks += 1;
                    if looks == nth {
                        swap();
                    }
                }
                SweepEvent::Found { .. } if nth == u64::MAX => swap(),
                _ => {}
            }
            ControlFlow::Continue(())
        });
        assert!(victim.exists(), "{nth}: {decided:?}");
        assert_eq!(swept.removed, 0, "{nth}: {decided:?}");
        fs::remove_file(&a).unwrap();
        fs::remove_dir_all(a.with_file_name("b")).unwrap();
        fs::remove_file(&victim).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_directory_that_is_swapped_before_the_unlink_does_not_lead_out() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("x#1");
    write(&victim, "other data");
    let dir = tempfile::tempdir().unwrap();
    let a = dir.path().canonicalize().unwrap().join("a");
    write(a.join("x#1"), "data");
    let (inner, out) = (a.clone(), outside.path().to_owned());
    let looks = std::sync::atomic::AtomicU64::new(0);
    let _injected = fault::inject(&a, move |call| {
        let is_it = call.op == Op::Stat && call.path.ends_with("x#1");
        // Found, looked at, and looked at once more to remove it.
        if is_it && looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2 {
            let (a, out) = (inner.clone(), out.clone());
            return Fault::none().then(move || {
                fs::rename(&a, a.with_file_name("b")).unwrap();
                std::os::unix::fs::symlink(out, &a).unwrap();
            });
        }
        Fault::none()
    });
    let (swept, decided) = sweep(dir.path(), NOW);
    assert!(a.is_symlink() && victim.exists(), "{decided:?}");
    // What was looked at, where it is now.
    assert!(!a.with_file_name("b").join("x#1").exists());
    assert_eq!(swept.removed, 1, "{decided:?}");
}

#[test]
fn a_dry_run_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("a/x#1"), "data");
    write(dir.path().join("a/x#2"), "data");
    let options = SweepOptions::older_than(NOW).with_dry_run(true);
    let bytes = on_disk(["a/x#1", "a/x#2"].map(|name| dir.path().join(name)));
    let (swept, decided) = sweep_with(dir.path(), options, |_| ControlFlow::Continue(()));
    assert_eq!((swept.removed, swept.bytes_freed), (2, bytes), "{swept:?}");
    assert_eq!(decided.len(), 2);
    assert_eq!(files(dir.path()), ["a/x#1", "a/x#2"]);
}

#[tokio::test]
async fn a_store_of_the_whole_file_system_is_not_swept() {
    minors::v0_12::sweep::a_store_of_everything_is_refused().await;
    minors::v0_13::sweep::a_store_of_everything_is_refused().await;
    minors::v0_14::sweep::a_store_of_everything_is_refused().await;
}

#[tokio::test]
async fn a_store_whose_directory_is_gone_says_so() {
    let dir = tempfile::tempdir().unwrap();
    for_each_minor!(dir.path(), sweep::a_directory_that_is_gone_is_an_error);
}

// ---- age --------------------------------------------------------------------------------------

#[test]
fn a_link_of_an_old_object_is_as_young_as_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let object = dir.path().join("x");
    write(&object, "data");
    modify(&object, SystemTime::now() - 10 * DAY);
    fs::hard_link(&object, dir.path().join("y#1")).unwrap();
    assert_eq!(sweep(dir.path(), DAY).0.young, 1);

    fs::hard_link(&object, dir.path().join("y#2")).unwrap();
    let (swept, _) = sweep(dir.path(), NOW);
    // That one link is gone changes the other's ctime.
    assert_eq!((swept.removed, swept.bytes_freed), (2, 0), "{swept:?}");
    assert_eq!(files(dir.path()), ["x"]);
    assert_eq!(fs::read(&object).unwrap(), b"data");
}

#[test]
fn data_without_another_name_is_counted_once_by_a_dry_run_too() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("y#1"), &"x".repeat(10_000));
    for name in ["y#2", "y#3"] {
        fs::hard_link(dir.path().join("y#1"), dir.path().join(name)).unwrap();
    }
    let bytes = on_disk([dir.path().join("y#1")]);
    assert!(bytes > 0);
    for dry_run in [true, false] {
        let options = SweepOptions::older_than(NOW).with_dry_run(dry_run);
        let mut links = Vec::new();
        let (swept, _) = sweep_with(dir.path(), options, |event| {
            if let SweepEvent::Decided { file, .. } = event {
                links.push(file.has_other_names);
            }
            ControlFlow::Continue(())
        });
        assert_eq!((swept.removed, swept.bytes_freed), (3, bytes), "{swept:?}");
        assert_eq!(links, [true, true, false]);
    }
}

#[cfg(unix)]
#[test]
fn holes_are_not_freed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x#1");
    fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    let bytes = on_disk([&path]);
    assert!(bytes < 1 << 30);
    let (swept, _) = sweep(dir.path(), NOW);
    assert_eq!((swept.removed, swept.bytes_freed), (1, bytes), "{swept:?}");
}

#[test]
fn a_file_of_the_future_is_young() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x#1");
    write(&path, "data");
    modify(&path, SystemTime::now() + DAY);
    assert_eq!(sweep(dir.path(), NOW).0.young, 1);
    modify(&path, SystemTime::now() - DAY);
    assert_eq!(sweep(dir.path(), NOW).0.removed, 1);
}

// ---- what goes wrong --------------------------------------------------------------------------

#[test]
fn what_cannot_be_removed_is_told_and_the_rest_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a#1", "b#1", "c#1", "d#1"] {
        write(dir.path().join(name), "data");
    }
    let _injected = fault::inject(dir.path(), |call| {
        let name = call.path.file_name().unwrap().to_str().unwrap();
        match (call.op, name) {
            (Op::Unlink, "b#1") => Fault::before_effect(libc::EACCES),
            (Op::Stat, "c#1") => Fault::before_effect(libc::EACCES),
            _ => Fault::none(),
        }
    });
    let (swept, decided) = sweep(dir.path(), NOW);
    assert_eq!((swept.found, swept.removed), (3, 2), "{swept:?}");
    assert_eq!(decided.len(), 3);
    let failed: Vec<_> = swept.failed.iter().map(ToString::to_string).collect();
    for (name, error) in ["c#1", "b#1"].iter().zip(&failed) {
        assert!(error.contains(name) && error.contains("denied"), "{error}");
    }
    assert_eq!(failed.len(), 2);
    assert_eq!(files(dir.path()), ["b#1", "c#1"]);
}

#[test]
fn stale_handles_and_lost_replies_are_met() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("a/x#1"), "data");
    write(dir.path().join("y#1"), "data");
    let calls = std::sync::atomic::AtomicU64::new(0);
    let _injected = fault::inject(dir.path(), move |call| {
        let nth = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match call.op {
            Op::Unlink => Fault::after_effect(libc::EIO),
            // No divisor of the calls that meet one stale answer.
            _ if nth % 5 == 0 => Fault::before_effect(libc::ESTALE),
            _ => Fault::none(),
        }
    });
    let (swept, _) = sweep(dir.path(), NOW);
    assert_eq!((swept.found, swept.removed), (2, 2), "{swept:?}");
    assert!(swept.failed.is_empty(), "{swept:?}");
    assert_eq!(files(dir.path()), [""; 0]);
}

#[test]
fn it_stops_between_two_files() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a#1", "b#1", "c#1"] {
        write(dir.path().join(name), "data");
    }
    let options = SweepOptions::older_than(NOW);
    let (swept, decided) = sweep_with(dir.path(), options, |event| match event {
        SweepEvent::Decided { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(swept.stopped);
    assert_eq!((swept.found, swept.removed, decided.len()), (3, 1, 1));
    assert_eq!(files(dir.path()), ["b#1", "c#1"]);
    // And before the first.
    let (swept, decided) = sweep_with(dir.path(), options, |_| ControlFlow::Break(()));
    assert!(swept.stopped);
    assert_eq!((swept.removed, decided.len()), (0, 0));
    assert!(!sweep(dir.path(), DAY).0.stopped);
}

/// Every event but the last is heeded at once.
#[test]
fn it_stops_between_two_looks() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a#1", "b#1", "c#1", "d/e#1", "f/g#1"] {
        write(dir.path().join(name), "data");
    }
    let stat_fails = |call: &fault::Call<'_>| match call.op {
        Op::Stat if call.path.ends_with("b#1") => Fault::before_effect(libc::EACCES),
        _ => Fault::none(),
    };
    let _injected = fault::inject(dir.path(), stat_fails);
    let options = SweepOptions::older_than(NOW).with_dry_run(true);
    let mut all = 0;
    sweep_with(dir.path(), options, |_| {
        all += 1;
        ControlFlow::Continue(())
    });
    // Three directories and seven looks in them, one that failed, the total, four decisions.
    assert_eq!(all, 3 + 7 + 1 + 1 + 4);
    for stop_at in 1..=all {
        let mut events = 0;
        let (swept, _) = sweep_with(dir.path(), options, |_| {
            events += 1;
            match events < stop_at {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        assert_eq!((swept.stopped, events), (true, stop_at));
    }
}

#[test]
fn it_stops_while_a_large_directory_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..1000 {
        write(dir.path().join(n.to_string()), "");
    }
    let mut events = 0;
    sweep_with(dir.path(), SweepOptions::older_than(NOW), |_| {
        events += 1;
        ControlFlow::Continue(())
    });
    assert_eq!(events, 1 + 3 + 1);
    let mut events = 0;
    let (swept, _) = sweep_with(dir.path(), SweepOptions::older_than(NOW), |_| {
        events += 1;
        match events {
            1 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    });
    assert_eq!((swept.stopped, events), (true, 2));
}

#[test]
fn it_stops_where_one_has_vanished() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a#1", "b#1"] {
        write(dir.path().join(name), "data");
    }
    let options = SweepOptions::older_than(NOW);
    let (swept, decided) = sweep_with(dir.path(), options, |event| match event {
        SweepEvent::Found { .. } => {
            fs::remove_file(dir.path().join("a#1")).unwrap();
            ControlFlow::Continue(())
        }
        SweepEvent::Vanished { path } => {
            assert!(path.ends_with("a#1"));
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    assert_eq!((swept.stopped, swept.vanished), (true, 1), "{decided:?}");
    assert_eq!(files(dir.path()), ["b#1"]);
}

#[test]
fn a_directory_that_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("file"), "");
    let sweep = |dir: PathBuf| {
        let swept = Engine::new().sweep(&dir, SweepOptions::older_than(NOW), |_| {
            ControlFlow::Continue(())
        });
        let e = swept.unwrap_err();
        assert_eq!(e.path(), dir);
        e.io_error().kind()
    };
    use std::io::ErrorKind::{NotADirectory, NotFound};
    assert_eq!(sweep(dir.path().join("nothing")), NotFound);
    assert_eq!(sweep(dir.path().join("file")), NotADirectory);
}

// ---- names ------------------------------------------------------------------------------------

/// What an object may be called, or a part of it, close to what a staging file is called.
fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z#0-9]{1,12}",
        "[^/\0\\p{C}]{1,40}",
        "[a-zé]{100,120}#[0-9]{0,20}",
        "x{230,255}",
    ]
    .prop_filter("a directory's name", |name| name != "." && name != "..")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Every version of upstream hides what the engine makes, and a sweep finds just that.
    #[test]
    fn every_staging_file_is_hidden_and_found(name in names()) {
        let dir = tempfile::tempdir().unwrap();
        let Ok(upload) = Engine::new().upload(&dir.path().join(&name), &Attributes::NONE) else {
            // Longer than the file system allows.
            prop_assert!(name.len() > 250);
            return Ok(());
        };
        prop_assert_eq!(files(dir.path()).len(), 1);
        let listed = futures::executor::block_on(async {
            [
                minors::v0_12::sweep::listed(dir.path()).await,
                minors::v0_13::sweep::listed(dir.path()).await,
                minors::v0_14::sweep::listed(dir.path()).await,
            ]
        });
        prop_assert_eq!(listed, [const { Vec::<String>::new() }; 3]);
        let (swept, _) = sweep(dir.path(), NOW);
        prop_assert_eq!((swept.found, swept.in_use), (1, 1));
        drop(upload);
    }
}
