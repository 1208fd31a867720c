//! A writer against a second party that sees its unfinished work, made deterministic: the test
//! holds the path lock, or stands in a writer's window, and waits until the other has come to it.

mod minors;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use minors::files;
use minors::v0_12::LocalFileSystem as Store12;
use minors::v0_14::faults::{ALL, Mutation};
use minors::v0_14::{LocalFileSystem, contract, object_store};
use object_store::path::Path as Location;
use object_store::*;
use object_store_localfs_engine::fault::{self, Fault, Op};
use object_store_localfs_engine::{Engine, testing};

fn block_on<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(work)
}

/// Waits for another thread. The time is never needed; a minute says that it will not come.
fn until(holds: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("not within a minute");
}

/// Runs `operation` in a thread while the path lock of `locked` is held, sees to it that it waits,
/// runs `meanwhile`, and lets it go.
fn while_locked<T: Send + 'static>(
    locked: &Path,
    meanwhile: impl FnOnce(),
    operation: impl FnOnce() -> T + Send + 'static,
) -> T {
    let guard = Engine::new().lock(locked).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    let other = thread::spawn(move || {
        let answer = operation();
        is_done.store(true, SeqCst);
        answer
    });
    until(|| testing::waiting_for(locked) > 0 || done.load(SeqCst));
    assert!(
        !done.load(SeqCst),
        "it did not wait for the lock of {}",
        locked.display()
    );
    meanwhile();
    assert!(!done.load(SeqCst));
    drop(guard);
    other.join().unwrap()
}

#[test]
fn every_mutation_waits_for_the_lock_of_its_destination() {
    for mutation in ALL {
        let dir = tempfile::tempdir().unwrap();
        let store = contract::store(dir.path());
        block_on(mutation.prepare(&store));
        let to = dir.path().join("to");
        let before = std::fs::read(&to).ok();
        let unchanged = || assert_eq!(std::fs::read(&to).ok(), before, "{mutation:?}");
        let writer = store.clone();
        while_locked(&to, unchanged, move || block_on(mutation.make(&writer))).unwrap();
        block_on(mutation.check_done(&store, dir.path(), "after the lock"));
    }
}

#[test]
fn copy_and_rename_wait_for_the_lock_of_their_source() {
    for mutation in [
        Mutation::Copy,
        Mutation::CopyCreate,
        Mutation::Rename,
        Mutation::RenameCreate,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = contract::store(dir.path());
        block_on(mutation.prepare(&store));
        let writer = store.clone();
        let from = dir.path().join("from");
        while_locked(&from, || (), move || block_on(mutation.make(&writer))).unwrap();
        block_on(mutation.check_done(&store, dir.path(), "after the lock"));
    }
}

/// The other sees the bytes beside the destination, and the destination as it was; what it writes
/// there while it has the lock is replaced, whole, by the writer who waited.
#[test]
fn unfinished_work_is_seen_beside_the_destination_only() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("to");
    let store = contract::store(dir.path());
    block_on(store.put(&Location::from("to"), "old".into())).unwrap();
    let meanwhile = || {
        let staged: Vec<_> = files(dir.path())
            .into_iter()
            .filter(|n| n != "to")
            .collect();
        assert_eq!(staged.len(), 1, "{staged:?}");
        let unfinished = std::fs::read_to_string(dir.path().join(&staged[0])).unwrap();
        assert_eq!(unfinished, "new");
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "old");
        std::fs::write(&to, "theirs").unwrap();
    };
    let writer = store.clone();
    let put = while_locked(&to, meanwhile, move || {
        block_on(writer.put(&Location::from("to"), "new".into()))
    });
    let head = block_on(store.head(&Location::from("to"))).unwrap();
    assert_eq!(put.unwrap().e_tag, head.e_tag);
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "new");
    assert_eq!(files(dir.path()), ["to"]);
}

/// A create whose reply was lost looks at the destination. Between the effect and the look nobody
/// of this process replaces it: without the lock the second writer would, and the first could not
/// tell what became of it.
#[test]
fn nobody_comes_between_a_publish_and_the_look_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("to");
    let store = contract::store(dir.path());
    let second = Arc::new(Mutex::new(None));
    let _remote = fault::pretend_remote(dir.path());
    let injected = fault::inject(dir.path(), {
        let (second, store, to) = (Arc::clone(&second), store.clone(), to.clone());
        move |call| {
            if call.op != Op::RenameExclusive {
                return Fault::none();
            }
            let (second, store, to) = (Arc::clone(&second), store.clone(), to.clone());
            Fault::after_effect(libc::EIO).then(move || {
                let done = Arc::new(AtomicBool::new(false));
                let is_done = Arc::clone(&done);
                *second.lock().unwrap() = Some(thread::spawn(move || {
                    let put = block_on(store.put(&Location::from("to"), "second".into()));
                    is_done.store(true, SeqCst);
                    put
                }));
                // It has come to the lock, or, if there were none, gone past.
                until(|| testing::waiting_for(&to) > 0 || done.load(SeqCst));
            })
        }
    });
    let create = PutOptions::from(PutMode::Create);
    let first = block_on(store.put_opts(&Location::from("to"), "first".into(), create));
    drop(injected);
    let second = second.lock().unwrap().take().unwrap();
    let second = second.join().unwrap().unwrap();
    assert_ne!(first.unwrap().e_tag, second.e_tag);
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "second");
    assert_eq!(files(dir.path()), ["to"]);
}

#[test]
fn one_lock_serves_every_name_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real/sub");
    std::fs::create_dir_all(&real).unwrap();
    std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
    for remote in [false, true] {
        let _remote = remote.then(|| fault::pretend_remote(dir.path()));
        let file = real.join("a");
        // Another root.
        let store = LocalFileSystem::new_with_prefix(dir.path().join("real")).unwrap();
        while_locked(
            &file,
            || (),
            move || block_on(store.put(&Location::from("sub/a"), "1".into())),
        )
        .unwrap();
        // A symlinked parent.
        let store = LocalFileSystem::new_with_prefix(dir.path()).unwrap();
        while_locked(
            &file,
            || (),
            move || block_on(store.put(&Location::from("link/sub/a"), "2".into())),
        )
        .unwrap();
        // No root, and another minor.
        let location = minors::v0_12::object_store::path::Path::from_absolute_path(
            file.canonicalize().unwrap(),
        )
        .unwrap();
        while_locked(
            &file,
            || (),
            move || {
                use minors::v0_12::object_store::ObjectStore;
                block_on(Store12::new().put(&location, "3".into()))
            },
        )
        .unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "3");
    }
}

/// Renames in both directions, and onto themselves, do not wait for each other.
#[test]
fn renames_in_both_directions_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = contract::store(dir.path());
    for name in ["a", "b"] {
        block_on(store.put(&Location::from(name), name.into())).unwrap();
    }
    let threads: Vec<_> = [("a", "b"), ("b", "a"), ("a", "a"), ("b", "b")]
        .into_iter()
        .map(|(from, to)| {
            let store = store.clone();
            thread::spawn(move || {
                for _ in 0..200 {
                    let (from, to) = (Location::from(from), Location::from(to));
                    match block_on(store.rename(&from, &to)) {
                        Ok(()) | Err(Error::NotFound { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                    match block_on(store.copy(&from, &to)) {
                        Ok(()) | Err(Error::NotFound { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let left = files(dir.path());
    assert!(
        !left.is_empty() && left.iter().all(|n| n == "a" || n == "b"),
        "{left:?}"
    );
}
