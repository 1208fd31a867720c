//! Other processes: this test binary starts itself again.

use std::os::unix::fs::PermissionsExt;
use std::path::Path as Dir;
use std::process::Command;

use futures::executor::block_on;
use object_store_0_14::ObjectStoreExt;
use object_store_localfs::Exclusion;
use object_store_localfs_engine::{Engine, testing};

use super::{Flag, at, store, wait_until};

/// Where a worker finds what it is to do; without it the test `worker` is not one.
const JOB: &str = "LOCALFS_TEST_JOB";

/// Makes `command`, which ends in this test binary, do a job.
pub(crate) fn run(command: &mut Command, job: &str) {
    let ran = command
        .args(["--exact", "workers::worker"])
        .env(JOB, job)
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && said.contains("1 passed"),
        "{job}: {}\n{said}\n{}",
        ran.status,
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// Another process puts "new" at `from` in `dir`.
pub(crate) fn put_from_another_process(dir: &Dir) {
    let mut this = Command::new(std::env::current_exe().unwrap());
    run(&mut this, &format!("put|{}", dir.display()));
}

#[test]
fn worker() {
    let Ok(job) = std::env::var(JOB) else {
        return;
    };
    match job.split('|').collect::<Vec<_>>()[..] {
        ["put", dir] => {
            // As a program that takes no part in our locks: in the middle of another's operation.
            let store = store(Dir::new(dir));
            let store = store
                .with_update_exclusion(Exclusion::OtherThreads)
                .unwrap();
            block_on(store.put(&at("from"), "new".into())).unwrap();
        }
        ["replace a read-only object", dir] => block_on(replace_read_only(Dir::new(dir))),
        ["lock", one, other] => lock_both(Dir::new(one), Dir::new(other)),
        _ => panic!("{job}"),
    }
}

async fn replace_read_only(dir: &Dir) {
    let store = store(dir);
    store.put(&at("object"), "old".into()).await.unwrap();
    let read_only = PermissionsExt::from_mode(0o444);
    std::fs::set_permissions(dir.join("object"), read_only).unwrap();
    store.copy(&at("object"), &at("copy")).await.unwrap();
    store.rename(&at("copy"), &at("moved")).await.unwrap();
    store.put(&at("object"), "new".into()).await.unwrap();
}

/// Locks a path by one directory, and sees who asks for it by the other one wait.
fn lock_both(one: &Dir, other: &Dir) {
    let engine = Engine::new();
    let path = one.join("object");
    let held = engine.lock(&path).unwrap();
    let locked = Flag::default();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let _second = engine.lock(&other.join("object")).unwrap();
            locked.raise();
        });
        wait_until("the second to lock the path, or to wait for it", || {
            locked.is_raised() || testing::waiting_for(&path) == 1
        });
        let both_hold_it = locked.is_raised();
        drop(held);
        assert!(!both_hold_it);
    });
}
