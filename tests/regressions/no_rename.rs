//! Mounts that cannot rename, where objects are written in place.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path as Dir;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::ThreadId;
use std::time::Duration;

use object_store_0_14 as object_store;

use object_store::{Error, ObjectStore, ObjectStoreExt};
use object_store_localfs::{LocalFileSystem, RetryPolicy};
use object_store_localfs_engine::fault::{self, Call, Fault, Injected, Op};
use object_store_localfs_engine::testing;

use super::workers::run;
use super::{Flag, at, create, hasty, read, store, wait_until};
use crate::quirkfs::{self, Mounted, QuirkFs, Recipe};

fn mount() -> Mounted {
    QuirkFs::mount(Recipe::plain().no_rename(libc::ENOSYS))
}

/// The first put has the mount say what it lacks.
async fn learned(mount: &Mounted) -> LocalFileSystem {
    let store = store(mount.path());
    store.put(&at("learn"), "x".into()).await.unwrap();
    // Long enough for another thread to take a lock that is free.
    store.with_retry(RetryPolicy {
        first_backoff: Duration::from_millis(50),
        ..RetryPolicy::default()
    })
}

/// The writes to `to` of the first thread that writes there fail one after another with these. At
/// the first of them what it has written is removed by somebody, and another writer waits.
fn fail_first_writer(mount: &Mounted, errnos: &'static [i32], begun: Flag) -> Injected {
    let (to, backing) = (mount.path().join("to"), mount.backing().join("to"));
    let first = OnceLock::<ThreadId>::new();
    let made = AtomicUsize::new(0);
    fault::inject(mount.path(), move |call: &Call<'_>| {
        if call.op != Op::Write || call.path != to {
            return Fault::none();
        }
        let me = std::thread::current().id();
        if *first.get_or_init(|| me) != me {
            return Fault::none();
        }
        let attempt = made.fetch_add(1, Relaxed);
        if attempt == 0 {
            std::fs::remove_file(&backing).unwrap();
            begun.raise();
            let is_awaited = || testing::waiting_for(&to) == 1;
            wait_until("the second writer to wait for the first", is_awaited);
        }
        match errnos.get(attempt) {
            Some(errno) => Fault::before_effect(*errno),
            None => Fault::none(),
        }
    })
}

/// A create that was made again cut off what another had created in the pause, and both won.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_creators_one_wins_though_its_pass_is_made_again() {
    let mount = mount();
    let store = learned(&mount).await;
    let begun = Flag::default();
    let _fault = fail_first_writer(&mount, &[libc::ESTALE], begun.clone());
    let creator = store.clone();
    let first = async move { creator.put_opts(&at("to"), "first".into(), create()).await };
    let first = tokio::spawn(first);
    begun.wait("the first to write");
    let second = store.put_opts(&at("to"), "second".into(), create()).await;
    let winner = match (first.await.unwrap(), second) {
        (Ok(_), Err(Error::AlreadyExists { .. })) => "first",
        (Err(Error::AlreadyExists { .. }), Ok(_)) => "second",
        both => panic!("{both:?}"),
    };
    assert_eq!(read(mount.backing(), "to").as_deref(), Some(winner));
}

/// One that failed at last removed what another had put in a pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_fails_leaves_what_another_puts() {
    let mount = mount();
    let store = learned(&mount).await;
    let begun = Flag::default();
    let _fault = fail_first_writer(&mount, &[libc::ESTALE, libc::ENOSPC], begun.clone());
    let creator = store.clone();
    let first = async move { creator.put_opts(&at("to"), "first".into(), create()).await };
    let first = tokio::spawn(first);
    begun.wait("the first to write");
    store.put(&at("to"), "second".into()).await.unwrap();
    let first = first.await.unwrap();
    assert!(first.is_err(), "{first:?}");
    assert_eq!(read(mount.backing(), "to").as_deref(), Some("second"));
}

/// The lock of the directory was held for the whole pass, and puts next to it failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_is_done_while_a_long_pass_goes_on_next_to_it() {
    let mount = mount();
    let store = learned(&mount).await;
    let (begun, is_done) = (Flag::default(), Flag::default());
    let (writing, neighbour) = (begun.clone(), is_done.clone());
    let _blocked = fault::inject(mount.path(), move |call: &Call<'_>| {
        if call.op == Op::Write && call.path.ends_with("large") {
            writing.raise();
            neighbour.wait("the put next to the pass to be done");
        }
        Fault::none()
    });
    let large = store.clone();
    let large = tokio::spawn(async move { large.put(&at("large"), "large".into()).await });
    begun.wait("the pass to begin");
    store.put(&at("small"), "small".into()).await.unwrap();
    let created = store.put_opts(&at("new"), "new".into(), create()).await;
    created.unwrap();
    is_done.raise();
    large.await.unwrap().unwrap();
}

/// The file that it leads to was written, and the put failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_at_a_symlink_leaves_what_it_leads_to() {
    let mount = mount();
    let store = learned(&mount).await;
    store.put(&at("other"), "other".into()).await.unwrap();
    std::os::unix::fs::symlink("other", mount.path().join("to")).unwrap();
    store.put(&at("to"), "new".into()).await.unwrap();
    let found = ["other", "to"].map(|name| read(mount.backing(), name));
    assert_eq!(found, [Some("other".into()), Some("new".into())]);
}

/// The other name, which is how upstream copies, showed the new bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_over_a_hard_link_leaves_the_other_name() {
    let mount = mount();
    let store = learned(&mount).await;
    store.put(&at("object"), "old".into()).await.unwrap();
    let upstream = object_store::local::LocalFileSystem::new_with_prefix(mount.path()).unwrap();
    let copied = upstream
        .copy_if_not_exists(&at("object"), &at("copy"))
        .await;
    copied.unwrap();
    store.put(&at("object"), "new".into()).await.unwrap();
    let found = ["object", "copy"].map(|name| read(mount.backing(), name));
    assert_eq!(found, [Some("new".into()), Some("old".into())]);
}

/// What it wrote anew was open to all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_file_stays_private_when_it_is_copied_or_moved() {
    let mount = mount();
    let store = learned(&mount).await;
    store.put(&at("from"), "secret".into()).await.unwrap();
    let private = PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(mount.path().join("from"), private).unwrap();
    store.copy(&at("from"), &at("copy")).await.unwrap();
    store.rename(&at("from"), &at("to")).await.unwrap();
    for name in ["copy", "to"] {
        let mode = std::fs::metadata(mount.path().join(name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// It left an empty object: the open had taken effect, its reply was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_whose_opens_fail_leaves_no_empty_object() {
    let mount = mount();
    let store = learned(&mount).await.with_retry(hasty());
    store.put(&at("to"), "old".into()).await.unwrap();
    let fault = fault::inject(mount.path(), |call: &Call<'_>| {
        match call.op == Op::Open && call.path.ends_with("to") {
            true => Fault::after_effect(libc::EIO),
            false => Fault::none(),
        }
    });
    let put = store.put(&at("to"), "new".into()).await;
    drop(fault);
    assert!(put.is_err(), "{put:?}");
    assert_ne!(read(mount.backing(), "to").as_deref(), Some(""));
}

/// The second of two requests met the empty file that the first had made, and it stayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_is_done_though_the_reply_to_its_open_is_lost() {
    let mount = mount();
    let store = learned(&mount).await;
    // The kernel asks again by itself, and is told that it exists.
    let lost = quirkfs::Fault::on(quirkfs::Op::Create).errno(libc::ESTALE);
    mount.add_fault(lost.nth(1).after_effect());
    let created = store.put_opts(&at("to"), "data".into(), create()).await;
    created.unwrap();
    assert_eq!(mount.faults_fired(), 1);
    assert_eq!(read(mount.backing(), "to").as_deref(), Some("data"));
}

/// It could not be opened; where there is a rename, nobody asks for that.
#[test]
fn an_ordinary_user_replaces_a_read_only_object() {
    const NOBODY: u32 = 65534;

    let mount = mount();
    let set_mode = |path: &Dir, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    set_mode(mount.backing(), 0o777);
    // The test program may lie where only root may go.
    let home = tempfile::tempdir().unwrap();
    set_mode(home.path(), 0o755);
    let program = home.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    set_mode(&program, 0o755);
    let job = format!("replace a read-only object|{}", mount.path().display());
    let mut nobody = Command::new(program);
    run(nobody.uid(NOBODY).gid(NOBODY), &job);
    assert_eq!(read(mount.backing(), "object").as_deref(), Some("new"));
}
