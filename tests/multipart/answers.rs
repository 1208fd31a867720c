//! What those are told who end an upload, when another, a fault or a crash comes in between.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, SystemTime};

use object_store::{PutMode, UpdateVersion};
use object_store_localfs_engine::{Engine, SweepOptions};

use super::*;

fn name_of(call: &fault::Call<'_>) -> String {
    let name = call.path.file_name().and_then(|name| name.to_str());
    name.unwrap_or_default().to_owned()
}

fn kind_of(call: &fault::Call<'_>) -> Option<char> {
    kind(&name_of(call))
}

/// A calling thread's.
fn is_called(name: &str) -> bool {
    std::thread::current().name() == Some(name)
}

fn named<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(work).unwrap()
}

fn with_fsync(upload: &Upload) -> Upload {
    let mut upload = upload.clone();
    upload.store = upload.store.with_fsync(true);
    upload
}

/// Other bytes in the file that is there, as if one with its inode number were new.
fn replace_bytes(path: &Path, data: &str) {
    std::fs::write(path, data).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let later = SystemTime::now() + Duration::from_secs(10);
    file.set_modified(later).unwrap();
}

/// An inode number that is free is given again at once, on ext4.
#[test]
fn a_strangers_file_that_got_the_inode_of_an_aborted_upload_does_not_complete_it() {
    for is_remote in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let _remote = is_remote.then(|| fault::pretend_remote(dir));
        put_plainly(dir, "old data");
        let upload = Upload::new(dir);
        let parts = [upload.put(0, b"new data").unwrap()];
        let once = AtomicUsize::new(0);
        let at = dir.to_owned();
        let claimed = fault::inject(dir, move |call| {
            let is_publish = call.op == Op::Rename && name_of(call) == NAME;
            if !is_publish || once.fetch_add(1, SeqCst) > 0 {
                return Fault::none();
            }
            let whole = files(&at).into_iter().find(|name| kind(name) == Some('2'));
            let theirs = at.join("theirs");
            std::fs::hard_link(at.join(whole.unwrap()), &theirs).unwrap();
            // As an abort in another process does.
            for removed in ['2', '3'] {
                let name = files(&at).into_iter().find(|n| kind(n) == Some(removed));
                std::fs::remove_file(at.join(name.unwrap())).unwrap();
            }
            replace_bytes(&theirs, "theirs 1");
            std::fs::rename(&theirs, at.join(NAME)).unwrap();
            Fault::none()
        });
        let done = upload.complete(&parts);
        drop(claimed);
        assert!(is_over(&done), "remote {is_remote}: {done:?}");
        assert_eq!(read(dir), b"theirs 1");
    }
}

/// The same of an object that is put at once.
#[test]
fn a_strangers_file_that_got_the_inode_of_a_staging_file_is_not_what_was_put() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    put_plainly(dir, "old data");
    let at = dir.to_owned();
    let taken = fault::inject(dir, move |call| {
        if call.op == Op::Rename && name_of(call) == NAME {
            let theirs = at.join("theirs");
            std::fs::rename(call.from.unwrap(), &theirs).unwrap();
            replace_bytes(&theirs, "theirs 1");
            std::fs::rename(&theirs, at.join(NAME)).unwrap();
        }
        Fault::none()
    });
    let store = LocalFileSystem::new_with_prefix(dir).unwrap();
    let put = block_on(store.put(&Location::from(NAME), "new data".into()));
    drop(taken);
    put.unwrap_err();
    assert_eq!(read(dir), b"theirs 1");
}

#[test]
fn a_strangers_file_that_got_the_inode_of_the_object_is_not_told_as_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (upload, parts, put) = published(dir);
    replace_bytes(&dir.join(NAME), "theirs 1");
    let again = upload.complete(&parts).unwrap();
    assert_eq!(again.e_tag, put.e_tag);
    let version = UpdateVersion {
        e_tag: again.e_tag,
        version: None,
    };
    let update = PutMode::Update(version).into();
    let at = Location::from(NAME);
    let swallowed = block_on(upload.store.put_opts(&at, "mine".into(), update));
    assert!(
        matches!(swallowed, Err(Error::Precondition { .. })),
        "{swallowed:?}"
    );
}

/// What is replaced has an mtime in the future, so that ours is moved past it.
#[test]
fn an_answer_after_a_crash_is_the_version_that_is_there_where_its_mtime_was_moved() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let _remote = fault::pretend_remote(dir);
    put_plainly(dir, "old data");
    replace_bytes(&dir.join(NAME), "old data");
    let (upload, parts, put) = published(dir);
    let head = block_on(upload.store.head(&Location::from(NAME))).unwrap();
    let again = upload.complete(&parts).unwrap();
    assert_eq!((&put.e_tag, &again.e_tag), (&head.e_tag, &head.e_tag));
}

#[test]
fn a_sweep_does_not_take_what_was_claimed_while_it_swept() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (assembled, is_assembled) = sync_channel::<()>(1);
    let (claimed, is_claimed) = sync_channel::<()>(1);
    let (may_claim, claims) = sync_channel::<()>(1);
    let (may_publish, publishes) = sync_channel::<()>(1);
    let (is_claimed, claims) = (Mutex::new(is_claimed), Mutex::new(claims));
    let publishes = Mutex::new(publishes);
    let hits = Arc::new(AtomicUsize::new(0));
    let hit = Arc::clone(&hits);
    let _order = fault::inject(dir, move |call| {
        let is_rename = call.op == Op::Rename;
        if is_called("completes") && is_rename && kind_of(call) == Some('3') {
            assembled.send(()).unwrap();
            claims.lock().unwrap().recv().unwrap();
        }
        if is_called("completes") && is_rename && name_of(call) == NAME {
            claimed.send(()).unwrap();
            publishes.lock().unwrap().recv().unwrap();
        }
        let is_marker = call.op == Op::Unlink && kind_of(call) == Some('0');
        if is_called("sweeps") && is_marker && hit.fetch_add(1, SeqCst) == 0 {
            may_claim.send(()).unwrap();
            is_claimed.lock().unwrap().recv().unwrap();
        }
        Fault::none()
    });
    let upload = Upload::new(dir);
    let parts = vec![upload.put(0, b"new data").unwrap()];
    let completing = named("completes", move || upload.complete(&parts));
    is_assembled.recv().unwrap();
    // Again if another test's child has a file open for a moment.
    while hits.load(SeqCst) == 0 {
        let root = dir.to_owned();
        let sweep = move || {
            let all = SweepOptions::older_than(Duration::ZERO);
            Engine::new().sweep(&root, all, |_| std::ops::ControlFlow::Continue(()))
        };
        named("sweeps", sweep).join().unwrap().unwrap();
    }
    may_publish.send(()).unwrap();
    completing.join().unwrap().unwrap();
    assert_eq!(read(dir), b"new data");
    assert_eq!(files(dir), [NAME]);
}

#[test]
fn an_abort_of_what_was_completed_is_told_so_whatever_the_first_answer_is() {
    for is_remote in [false, true] {
        for errno in [libc::ESTALE, libc::EIO, libc::EINTR] {
            let home = tempfile::tempdir().unwrap();
            let dir = home.path();
            let _remote = is_remote.then(|| fault::pretend_remote(dir));
            let upload = Upload::new(dir);
            let parts = [upload.put(0, b"new data").unwrap()];
            upload.complete(&parts).unwrap();
            let once = AtomicUsize::new(0);
            let _failing = fault::inject(dir, move |call| {
                match call.op == Op::Unlink && once.fetch_add(1, SeqCst) == 0 {
                    true => Fault::before_effect(errno),
                    false => Fault::none(),
                }
            });
            let aborted = upload.abort();
            assert!(is_over(&aborted), "{is_remote} {errno}: {aborted:?}");
            assert_eq!(read(dir), b"new data");
        }
    }
}

#[test]
fn the_second_of_two_aborts_is_told_that_it_is_over() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (upload, _) = claimed(dir);
    let once = AtomicUsize::new(0);
    let first = upload.clone();
    let _between = fault::inject(dir, move |call| {
        let gives_up = call.op == Op::Rename && kind_of(call) == Some('4');
        if gives_up && once.fetch_add(1, SeqCst) == 0 {
            let first = first.clone();
            std::thread::spawn(move || first.abort().unwrap())
                .join()
                .unwrap();
        }
        Fault::none()
    });
    let second = upload.abort();
    assert!(is_over(&second), "{second:?}");
    assert_eq!(files(dir), [""; 0]);
}

#[test]
fn claims_that_fail_leave_nothing() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let upload = Upload::new(dir);
    let parts = [upload.put(0, b"new data").unwrap()];
    let before = files(dir);
    let is_claim = |name: &str| kind(name) == Some('3');
    let full = |_| Fault::before_effect(libc::ENOSPC);
    let failing = fails(dir, Op::Rename, is_claim, full);
    for _ in 0..3 {
        upload.complete(&parts).unwrap_err();
    }
    drop(failing);
    assert_eq!(files(dir), before);
    upload.complete(&parts).unwrap();
    assert_eq!(files(dir), [NAME]);
}

// ---- fsync ------------------------------------------------------------------------------------

/// Another fsync would answer Ok for what the first one lost.
#[test]
fn what_an_fsync_lost_is_not_published_by_the_next_call() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (upload, parts) = claimed(dir);
    let upload = with_fsync(&upload);
    let lost = |_| Fault::before_effect(libc::EIO);
    let failing = fails(dir, Op::Sync, |_| true, lost);
    upload.complete(&parts).unwrap_err();
    drop(failing);
    upload.complete(&parts).unwrap_err();
    assert!(!dir.join(NAME).exists());
    upload.abort().unwrap();
    assert_eq!(files(dir), [""; 0]);
}

#[test]
fn an_object_that_may_not_survive_is_not_acknowledged_by_the_next_call() {
    for is_resumed in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let (upload, parts) = match is_resumed {
            true => claimed(dir),
            false => {
                let upload = Upload::new(dir);
                let parts = vec![upload.put(0, b"new data").unwrap()];
                (upload, parts)
            }
        };
        let upload = with_fsync(&upload);
        let failing = fault::inject(dir, |call| {
            match call.op == Op::SyncDir && call.path.join(NAME).exists() {
                true => Fault::before_effect(libc::EIO),
                false => Fault::none(),
            }
        });
        let first = upload.complete(&parts).unwrap_err().to_string();
        drop(failing);
        assert!(first.contains("may not survive"), "{first}");
        let again = upload.complete(&parts);
        assert!(is_over(&again), "{again:?}");
        assert_eq!(files(dir), [NAME]);
    }
}

// ---- mounts that cannot rename ----------------------------------------------------------------

fn no_rename(call: &fault::Call<'_>) -> Option<Fault> {
    let is_rename = matches!(call.op, Op::Rename | Op::RenameExclusive);
    is_rename.then(|| Fault::before_effect(libc::ENOSYS))
}

#[test]
fn without_rename_what_a_crash_left_of_a_completion_does_not_come_back() {
    for newer in [Some("newer"), Some("data new"), None] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let _remote = fault::pretend_remote(dir);
        let dies = Arc::new(AtomicUsize::new(0));
        let is_dead = Arc::clone(&dies);
        let _no_rename = fault::inject(dir, move |call| {
            let ends = call.op == Op::Unlink && kind_of(call) == Some('3');
            assert!(!ends || is_dead.load(SeqCst) == 0, "killed");
            no_rename(call).unwrap_or_default()
        });
        put_plainly(dir, "older");
        let upload = Upload::new(dir);
        let parts = vec![upload.put(0, b"new data").unwrap()];
        dies.store(1, SeqCst);
        let (killed, named) = (upload.clone(), parts.clone());
        let completing = std::thread::spawn(move || killed.complete(&named));
        assert!(completing.join().is_err());
        dies.store(0, SeqCst);
        assert_eq!(read(dir), b"new data");
        if let Some(newer) = newer {
            put_plainly(dir, newer);
        }
        let put = upload.complete(&parts).unwrap();
        assert_eq!(read(dir), newer.unwrap_or("new data").as_bytes());
        assert_eq!(files(dir), [NAME]);
        let head = block_on(upload.store.head(&Location::from(NAME))).unwrap();
        assert_eq!(put.e_tag == head.e_tag, newer.is_none(), "{newer:?}");
        assert!(is_over(&upload.complete(&parts)));
    }
}

/// The pass was begun, and what it left is a part of the object.
#[test]
fn without_rename_a_pass_that_a_crash_ended_is_made_again() {
    for left in ["", "new", "old data"] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let _remote = fault::pretend_remote(dir);
        let dies = Arc::new(AtomicUsize::new(0));
        let is_dead = Arc::clone(&dies);
        let _no_rename = fault::inject(dir, move |call| {
            let begins = call.op == Op::Create && name_of(call) == NAME
                || call.op == Op::Open && name_of(call) == NAME;
            assert!(!begins || is_dead.load(SeqCst) == 0, "killed");
            no_rename(call).unwrap_or_default()
        });
        put_plainly(dir, "old data");
        let upload = Upload::new(dir);
        let parts = vec![
            upload.put(0, b"new ").unwrap(),
            upload.put(1, b"data").unwrap(),
        ];
        dies.store(1, SeqCst);
        let (killed, named) = (upload.clone(), parts.clone());
        let completing = std::thread::spawn(move || killed.complete(&named));
        assert!(completing.join().is_err());
        dies.store(0, SeqCst);
        if left != "old data" {
            std::fs::write(dir.join(NAME), left).unwrap();
        }
        upload.complete(&parts).unwrap();
        assert_eq!(read(dir), b"new data", "{left:?}");
        assert_eq!(files(dir), [NAME]);
    }
}

#[test]
fn without_rename_a_completion_whose_claim_stays_is_not_done() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let _remote = fault::pretend_remote(dir);
    let stays = Arc::new(AtomicUsize::new(1));
    let is_denied = Arc::clone(&stays);
    let _no_rename = fault::inject(dir, move |call| {
        let is_claim = call.op == Op::Unlink && kind_of(call) == Some('3');
        match is_claim && is_denied.load(SeqCst) == 1 {
            true => Fault::before_effect(libc::EACCES),
            false => no_rename(call).unwrap_or_default(),
        }
    });
    let upload = Upload::new(dir);
    let parts = vec![upload.put(0, b"new data").unwrap()];
    upload.complete(&parts).unwrap_err();
    put_plainly(dir, "newer");
    stays.store(0, SeqCst);
    upload.complete(&parts).unwrap();
    assert_eq!(
        (read(dir), files(dir)),
        (b"newer".to_vec(), vec![NAME.to_owned()])
    );
}

/// One has put its claim when another has claimed and is done, and then meets an error.
#[test]
fn without_rename_a_claim_that_came_too_late_goes() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let _remote = fault::pretend_remote(dir);
    let _failing = fault::inject(dir, |call| {
        match call.op == Op::Unlink && kind_of(call) == Some('0') {
            true => Fault::before_effect(libc::EACCES),
            false => no_rename(call).unwrap_or_default(),
        }
    });
    let upload = Upload::new(dir);
    let parts = vec![upload.put(0, b"new data").unwrap()];
    upload.complete(&parts).unwrap_err();
    let kinds: String = files(dir).iter().filter_map(|name| kind(name)).collect();
    assert_eq!(kinds, "01");
}
