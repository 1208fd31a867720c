//! Who is kept out of an update: other processes, which start this test binary again.

#![cfg(unix)]

mod minors;

use std::io::{BufRead, BufReader, Write};
use std::path::Path as Dir;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use minors::v0_14::contract::at;
use minors::v0_14::faults::{ALL, Mutation};
use minors::v0_14::updates::update;
use object_store_0_14::{ObjectStore, ObjectStoreExt};
use object_store_localfs::{Exclusion, LocalFileSystem};
use object_store_localfs_engine::fault::{self, Call, Fault, Op};

/// Where a worker finds the directory; without it the test `worker` is not one.
const DIR: &str = "LOCALFS_TEST_DIR";
const SCOPE: &str = "LOCALFS_TEST_SCOPE";

const SCOPES: [Exclusion; 2] = [Exclusion::OtherProcesses, Exclusion::OtherHosts];

fn store(dir: &Dir, scope: Exclusion) -> LocalFileSystem {
    let store = LocalFileSystem::new_with_prefix(dir).unwrap();
    store.with_update_exclusion(scope).unwrap()
}

/// Another process that has compared the version of `to` and not yet replaced it.
struct Updater {
    process: Child,
    /// Of a child that it has forked, which does nothing.
    forked: libc::pid_t,
}

impl Updater {
    fn start(dir: &Dir, scope: Exclusion) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker", "--nocapture"])
            .env(DIR, dir)
            .env(SCOPE, format!("{scope:?}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut forked = 0;
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        loop {
            let line = said.next().expect("it gets so far").unwrap();
            if let Some(pid) = line.strip_prefix("forked ") {
                forked = pid.parse().unwrap();
            }
            if line == "compared" {
                break;
            }
        }
        // It goes on saying things.
        std::thread::spawn(move || said.for_each(drop));
        Self { process, forked }
    }

    fn go_on(mut self) {
        self.process.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Updater {
    fn drop(&mut self) {
        let _ = self.process.kill();
        if self.forked > 0 {
            // SAFETY: a process of this test's own.
            unsafe { libc::kill(self.forked, libc::SIGKILL) };
        }
    }
}

#[test]
fn worker() {
    let Ok(dir) = std::env::var(DIR) else {
        return;
    };
    let dir = Dir::new(&dir);
    let scope = SCOPES
        .into_iter()
        .find(|scope| std::env::var(SCOPE).unwrap() == format!("{scope:?}"));
    let store = store(dir, scope.unwrap());
    // The lock file is open when it forks.
    block_on(store.put(&at("warm"), "x".into())).unwrap();
    block_on(store.delete(&at("warm"))).unwrap();
    let old = block_on(store.head(&at("to"))).unwrap().e_tag;
    let _stops = fault::inject(dir, |call: &Call<'_>| {
        if call.op == Op::Rename {
            // With the locks held.
            // SAFETY: the child waits to be killed, and does nothing else.
            let forked = unsafe { libc::fork() };
            if forked == 0 {
                loop {
                    // SAFETY: the call takes nothing.
                    unsafe { libc::pause() };
                }
            }
            println!("forked {forked}");
            println!("compared");
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }
        Fault::none()
    });
    let (to, update) = (at("to"), update(old.as_deref()));
    block_on(store.put_opts(&to, "updated".into(), update)).unwrap();
}

/// Whoever writes without a condition waits, and what it did is there afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_swallows_nothing_of_another_process() {
    for scope in SCOPES {
        for mutation in ALL {
            // What is to be created is not there, so that nobody updates it; `from` is not updated.
            if mutation.creates() || mutation == Mutation::PutUpdate {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            let ours = store(dir.path(), scope);
            mutation.prepare(&ours).await;
            let updater = Updater::start(dir.path(), scope);
            let task = tokio::spawn({
                let ours = ours.clone();
                async move { mutation.make(&ours).await }
            });
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(!task.is_finished(), "{mutation:?} did not wait, {scope:?}");
            updater.go_on();
            task.await.unwrap().unwrap();
            let to = dir.path().join("to");
            match mutation {
                Mutation::Delete => assert!(!to.exists()),
                _ => assert_eq!(std::fs::read_to_string(to).unwrap(), "new data"),
            }
        }
    }
}

/// A source is gone once it is renamed: no update brings it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_waits_for_an_update_of_its_source() {
    for scope in SCOPES {
        for if_absent in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let ours = store(dir.path(), scope);
            ours.put(&at("to"), "old".into()).await.unwrap();
            let updater = Updater::start(dir.path(), scope);
            let task = tokio::spawn({
                let ours = ours.clone();
                async move {
                    match if_absent {
                        true => ours.rename_if_not_exists(&at("to"), &at("moved")).await,
                        false => ours.rename(&at("to"), &at("moved")).await,
                    }
                }
            });
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(!task.is_finished(), "{scope:?}, if absent: {if_absent}");
            updater.go_on();
            task.await.unwrap().unwrap();
            let read = |name| std::fs::read_to_string(dir.path().join(name));
            assert_eq!(read("moved").unwrap(), "updated");
            assert!(read("to").is_err());
        }
    }
}

/// Killed between the look and the rename; a child that it had forked lives on, as those of Python's
/// multiprocessing do.
#[tokio::test]
async fn a_killed_holder_frees_the_lock() {
    for scope in SCOPES {
        let dir = tempfile::tempdir().unwrap();
        let ours = store(dir.path(), scope);
        ours.put(&at("to"), "old".into()).await.unwrap();
        let updater = Updater::start(dir.path(), scope);
        let forked = updater.forked;
        kill(updater);
        let began = Instant::now();
        ours.put(&at("to"), "new".into()).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "{scope:?}");
        // SAFETY: a process of this test's own.
        unsafe { libc::kill(forked, libc::SIGKILL) };
    }
}

/// And its child not, which `drop` would see to.
fn kill(mut updater: Updater) {
    let forked = std::mem::take(&mut updater.forked);
    updater.process.kill().unwrap();
    updater.process.wait().unwrap();
    // SAFETY: signal 0 is not sent (kill(2)).
    assert_eq!(unsafe { libc::kill(forked, 0) }, 0, "its child lives");
}
