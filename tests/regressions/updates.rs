//! Updates: what came back, what was swallowed, and who waited for whom.

use std::path::Path as Dir;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime};

use futures::executor::block_on;
use object_store_0_14::*;
use object_store_localfs::{Exclusion, LocalFileSystem};
use object_store_localfs_engine::fault::{self, Call, Fault, Op};

use super::{at, store};
use crate::disks::Disk;
use crate::quirkfs::{QuirkFs, Recipe};

type ETag = Option<String>;

fn put(store: &LocalFileSystem, name: &str, data: &str) -> Result<ETag> {
    let put = block_on(store.put(&at(name), data.to_owned().into()));
    put.map(|put| put.e_tag)
}

fn update(store: &LocalFileSystem, name: &str, data: &str, old: &ETag) -> Result<ETag> {
    let (e_tag, version) = (old.clone(), None);
    let update = PutMode::Update(UpdateVersion { e_tag, version });
    let put = block_on(store.put_opts(&at(name), data.to_owned().into(), update.into()));
    put.map(|put| put.e_tag)
}

fn e_tag(store: &LocalFileSystem, name: &str) -> ETag {
    block_on(store.head(&at(name))).unwrap().e_tag
}

/// So that what follows is done within one second.
fn begin_a_second() {
    let now = || {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
    };
    while now().subsec_millis() > 200 {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn text(store: &LocalFileSystem, name: &str) -> String {
    let bytes = block_on(async { store.get(&at(name)).await?.bytes().await });
    String::from_utf8(bytes.unwrap().to_vec()).unwrap()
}

fn wait_for(flag: &AtomicBool) {
    let began = Instant::now();
    while !flag.load(SeqCst) && began.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Of all versions of an object none has the e_tag of an earlier one, be it that they are new files, or
/// copied or renamed there: with one that came back, an update of the old version replaced a new one.
fn assert_no_e_tag_comes_back(dir: &Dir) {
    let store = store(dir);
    for is_copy in [true, false] {
        put(&store, "warm", "x").unwrap();
        begin_a_second();
        let mut seen: Vec<ETag> = Vec::new();
        for n in 0..12 {
            // Written in the second in which the version is that it might be taken for.
            put(&store, "early", "BBB").unwrap();
            seen.push(put(&store, "object", &format!("A{n:02}")).unwrap());
            put(&store, "late", "BBB").unwrap();
            for source in ["early", "late"] {
                match is_copy {
                    true => block_on(store.copy(&at(source), &at("object"))).unwrap(),
                    false => block_on(store.rename(&at(source), &at("object"))).unwrap(),
                }
                seen.push(e_tag(&store, "object"));
            }
        }
        let distinct: std::collections::HashSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len(), "copies: {is_copy}, {seen:?}");
    }
}

#[test]
fn no_e_tag_comes_back_by_a_copy_or_a_rename() {
    let disk = Disk::ext4_of_whole_seconds();
    let dir = disk.path().join("objects");
    std::fs::create_dir(&dir).unwrap();
    assert_no_e_tag_comes_back(&dir);
    let seconds = Duration::from_secs(1);
    let mount = QuirkFs::mount(Recipe::plain().coarse_mtime(seconds));
    assert_no_e_tag_comes_back(mount.path());
}

/// A put had the lock of a directory that was there before.
#[test]
fn a_put_locks_the_directory_that_its_file_is_in() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let d = dir.path().to_owned();
    let s = store(&d).with_automatic_cleanup(true);
    put(&s, "d/b", "b").unwrap();
    let e1 = Arc::new(std::sync::Mutex::new(None));
    let once = AtomicBool::new(false);
    let overwriter = Arc::new(std::sync::Mutex::new(None));
    let compared = Arc::new(AtomicBool::new(false));
    let at_rename = Arc::new(AtomicBool::new(false));
    let overwritten = Arc::new(AtomicBool::new(false));
    let _h = fault::inject(&d, {
        let (s, e1, overwriter) = (s.clone(), e1.clone(), overwriter.clone());
        let (compared, at_rename, overwritten) =
            (compared.clone(), at_rename.clone(), overwritten.clone());
        move |call: &Call<'_>| {
            let mine = *overwriter.lock().unwrap() == Some(std::thread::current().id());
            if mine && call.op == Op::Create && !once.swap(true, SeqCst) {
                // Other threads, here in this one.
                let (s, e1) = (s.clone(), e1.clone());
                std::thread::spawn(move || {
                    block_on(s.delete(&at("d/b"))).unwrap();
                    *e1.lock().unwrap() = put(&s, "d/a", "v1").unwrap();
                })
                .join()
                .unwrap();
            } else if call.op == Op::Rename && e1.lock().unwrap().is_some() {
                if mine {
                    at_rename.store(true, SeqCst);
                    wait_for(&compared);
                } else {
                    compared.store(true, SeqCst);
                    wait_for(&overwritten);
                }
            }
            Fault::none()
        }
    });
    let t = std::thread::spawn({
        let (s, overwriter, overwritten) = (s.clone(), overwriter.clone(), overwritten.clone());
        move || {
            *overwriter.lock().unwrap() = Some(std::thread::current().id());
            let done = put(&s, "d/a", "overwritten");
            overwritten.store(true, SeqCst);
            done
        }
    });
    wait_for(&at_rename);
    let e1 = e1.lock().unwrap().clone();
    assert!(e1.is_some());
    let updated = update(&s, "d/a", "updated", &e1);
    t.join().unwrap().unwrap();
    assert!(
        updated.is_err(),
        "put and an update of what it replaced are both Ok; it is {}",
        text(&s, "d/a")
    );
}

/// So had a delete that had waited for it.
#[test]
fn a_delete_locks_the_directory_that_is_there_now() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let d = dir.path().to_owned();
    let s = store(&d);
    put(&s, "d/a", "v0").unwrap();
    // A writer holds the path; a delete waits for it; the directory is replaced; then an updater has
    // compared, and the delete goes between.
    let compared = Arc::new(AtomicBool::new(false));
    let deleted = Arc::new(AtomicBool::new(false));
    let engine = object_store_localfs_engine::Engine::new();
    let held = engine.lock(&d.join("d/a")).unwrap();
    let t = std::thread::spawn({
        let (s, deleted) = (s.clone(), deleted.clone());
        move || {
            let r = block_on(s.delete(&at("d/a")));
            deleted.store(true, SeqCst);
            r
        }
    });
    std::thread::sleep(Duration::from_millis(300));
    std::fs::remove_dir_all(d.join("d")).unwrap();
    let e = put(&s, "d/a", "v1").unwrap();
    let u = std::thread::spawn({
        let (s, d, compared, deleted) = (s.clone(), d.clone(), compared.clone(), deleted.clone());
        move || {
            let _h = fault::inject(&d, move |call: &Call<'_>| {
                if call.op == Op::Rename {
                    compared.store(true, SeqCst);
                    let began = Instant::now();
                    while !deleted.load(SeqCst) && began.elapsed() < Duration::from_secs(3) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
                Fault::none()
            });
            update(&s, "d/a", "updated", &e)
        }
    });
    while !compared.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(held);
    t.join().unwrap().unwrap();
    let r = u.join().unwrap();
    // A delete that was done before the update's rename: the update had to fail, or the object be gone.
    assert!(
        r.is_err() || !d.join("d/a").exists(),
        "delete and update are both Ok, and it is {}",
        text(&s, "d/a")
    );
}

/// It waited for its own lock of the same byte: a name that differs in case is one to the lock.
#[test]
fn a_rename_to_another_case_does_not_wait_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let s = store(d)
        .with_update_exclusion(Exclusion::OtherHosts)
        .unwrap()
        .with_exclusive_create(Exclusion::OtherHosts);
    put(&s, "a", "x").unwrap();
    let _poor = fault::inject(d, |call: &Call<'_>| match call.op {
        Op::RenameExclusive => Fault::before_effect(libc::EINVAL),
        Op::Link => Fault::before_effect(libc::EPERM),
        _ => Fault::none(),
    });
    let began = Instant::now();
    let r = block_on(s.rename_if_not_exists(&at("a"), &at("A")));
    assert!(r.is_ok(), "{:?}: {}", began.elapsed(), r.unwrap_err());
}

/// Its answer was an e_tag that no version had.
#[test]
fn where_no_mtime_is_left_the_e_tag_is_that_of_head() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let s = store(d);
    put(&s, "a", "old").unwrap();
    let f = std::fs::File::options()
        .write(true)
        .open(d.join("a"))
        .unwrap();
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 34) - Duration::from_secs(1);
    f.set_modified(far).unwrap();
    drop(f);
    let e = e_tag(&s, "a");
    let e2 = update(&s, "a", "new", &e).unwrap();
    assert_eq!(e2, e_tag(&s, "a"), "of put, and of head");
}

/// The same of an mtime that was moved by a call that answered with an error.
#[test]
fn an_mtime_that_was_moved_after_all_is_in_the_e_tag() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let s = store(d);
    put(&s, "a", "old").unwrap();
    let f = std::fs::File::options()
        .write(true)
        .open(d.join("a"))
        .unwrap();
    f.set_modified(SystemTime::now() + Duration::from_secs(3600))
        .unwrap();
    drop(f);
    let e = e_tag(&s, "a");
    let e2 = {
        let _h = fault::inject(d, |call: &Call<'_>| match call.op {
            Op::SetTimes => Fault::after_effect(libc::EIO),
            _ => Fault::none(),
        });
        update(&s, "a", "new", &e).unwrap()
    };
    assert_eq!(e2, e_tag(&s, "a"), "of put, and of head");
}

/// It moved the mtime of what the link leads to, which is another object.
#[test]
fn a_symlink_that_is_renamed_changes_no_other_object() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let _r = fault::pretend_remote(d);
    let s = store(d);
    put(&s, "target", "data").unwrap();
    let before = e_tag(&s, "target");
    std::os::unix::fs::symlink(d.join("target"), d.join("link")).unwrap();
    put(&s, "to", "xxxx").unwrap();
    block_on(s.rename(&at("link"), &at("to"))).unwrap();
    assert_eq!(before, e_tag(&s, "target"), "nobody wrote it");
}

/// Attributes of one version were told with the e_tag of another.
#[test]
fn attributes_are_of_the_version_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path().to_owned();
    let attributes = Attributes::from_iter([(Attribute::ContentType, "text/html".to_owned())]);
    let e1 =
        block_on(store(&d).put_opts(&at("a"), "one".into(), attributes.clone().into())).unwrap();
    let _ = e1;
    let _r = fault::pretend_remote(&d);
    let s = store(&d);
    let e1 = block_on(s.list_with_delimiter(None)).unwrap().objects[0]
        .e_tag
        .clone();
    // Another process writes it in place, without attributes.
    let _h = fault::inject(&d, {
        let d = d.clone();
        move |call: &Call<'_>| {
            if call.op == Op::ListXattr {
                std::fs::write(d.join("a"), "other").unwrap();
                use std::os::unix::ffi::OsStrExt;
                let path = std::ffi::CString::new(d.join("a").as_os_str().as_bytes()).unwrap();
                // SAFETY: two strings that end in NUL.
                unsafe { libc::removexattr(path.as_ptr(), c"user.content-type".as_ptr()) };
            }
            Fault::none()
        }
    });
    let options = GetOptions {
        head: true,
        ..Default::default()
    };
    match block_on(s.get_opts(&at("a"), options)) {
        Ok(got) => assert!(
            got.meta.e_tag != e1 || got.attributes == attributes,
            "version {e1:?} is told with {:?}",
            got.attributes
        ),
        Err(e) => eprintln!("{e}"),
    }
}

/// Two versions had one e_tag there, and an update of the first replaced the second.
#[test]
fn where_mtimes_are_coarse_and_stay_no_version_is_updated() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let _r = fault::pretend_remote(d);
    let _c = fault::inject(d, move |call: &Call<'_>| match call.op {
        Op::SetTimes => Fault::before_effect(libc::EPERM),
        Op::Close => {
            let path = call.path.to_owned();
            Fault::none().then(move || {
                if let Ok(m) = std::fs::metadata(&path) {
                    let t = m
                        .modified()
                        .unwrap()
                        .duration_since(SystemTime::UNIX_EPOCH)
                        .unwrap();
                    let f = std::fs::File::options().write(true).open(&path).unwrap();
                    f.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(t.as_secs()))
                        .unwrap();
                }
            })
        }
        _ => Fault::none(),
    });
    let s = store(d);
    let e1 = put(&s, "a", "AAAA").unwrap();
    put(&s, "a", "BBBB").unwrap();
    let r = update(&s, "a", "CCCC", &e1);
    assert!(r.is_err(), "the update of AAAA replaced BBBB");
}

/// The first of two writes went on without the lock, and was lost.
#[test]
fn an_error_of_the_lock_that_passes_fails_the_write() {
    for errno in [libc::EMFILE, libc::ENOLCK, libc::ENOMEM] {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        put(&store, "object", "old").unwrap();
        let _failing = fault::inject(dir.path(), move |call: &Call<'_>| match call.op {
            Op::Lock => Fault::before_effect(errno),
            _ => Fault::none(),
        });
        let error = put(&store, "object", "new").unwrap_err().to_string();
        assert!(error.contains("lock on this host"), "{error}");
        let kept = std::fs::read_to_string(dir.path().join("object"));
        assert_eq!(kept.unwrap(), "old");
    }
}

/// An object that somebody else had put there since went with it.
#[test]
fn a_delete_whose_reply_was_lost_takes_no_other_object() {
    for errno in [libc::ESTALE, libc::EIO, libc::EINTR] {
        let dir = tempfile::tempdir().unwrap();
        let _remote = fault::pretend_remote(dir.path());
        let store = store(dir.path());
        put(&store, "object", "old").unwrap();
        let object = dir.path().join("object");
        let times = AtomicUsize::new(0);
        let theirs = object.clone();
        let _lost = fault::inject(dir.path(), move |call: &Call<'_>| {
            let is_meant = call.op == Op::Unlink && call.path.ends_with("object");
            if is_meant && times.fetch_add(1, SeqCst) == 0 {
                let theirs = theirs.clone();
                return Fault::after_effect(errno)
                    .then(move || std::fs::write(theirs, "theirs").unwrap());
            }
            Fault::none()
        });
        block_on(store.delete(&at("object"))).unwrap();
        assert_eq!(std::fs::read_to_string(&object).unwrap(), "theirs");
    }
}

/// They were left behind without a word, and the source removed.
#[test]
fn attributes_that_may_not_be_seen_are_not_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let html = Attributes::from_iter([(Attribute::ContentType, "text/html")]);
    let from = at("from");
    block_on(store.put_opts(&from, "data".into(), html.into())).unwrap();
    let _denied = fault::inject(dir.path(), |call: &Call<'_>| match call.op {
        Op::ListXattr => Fault::before_effect(libc::EACCES),
        Op::Link => Fault::before_effect(libc::EPERM),
        Op::Rename if call.from.is_some_and(|from| from.ends_with("from")) => {
            Fault::before_effect(libc::EXDEV)
        }
        _ => Fault::none(),
    });
    block_on(store.copy(&at("from"), &at("copy"))).unwrap_err();
    block_on(store.rename(&at("from"), &at("moved"))).unwrap_err();
    assert!(dir.path().join("from").exists());
}

/// Root's was root's alone, and the directory's owner was shut out.
#[test]
fn whoever_may_write_in_a_directory_may_lock_in_it() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    let home = tempfile::tempdir().unwrap();
    for (mode, lock_mode) in [(0o755, 0o600), (0o775, 0o660), (0o777, 0o666)] {
        let dir = home.path().join(format!("{mode:o}"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(mode)).unwrap();
        chown(&dir, Some(1000), Some(1000)).unwrap();
        let store = store(&dir)
            .with_update_exclusion(Exclusion::OtherHosts)
            .unwrap();
        put(&store, "object", "by root").unwrap();
        let lock = std::fs::metadata(dir.join(".object_store_localfs#1")).unwrap();
        assert_eq!((lock.uid(), lock.gid()), (1000, 1000));
        assert_eq!(lock.mode() & 0o777, lock_mode);
        let files = std::fs::read_dir(&dir).unwrap().count();
        assert_eq!(files, 2, "the lock file's draft stays behind");
    }
}
