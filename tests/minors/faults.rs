//! What must hold after a fault of a single system call, made in process: any disk, no root.

use std::collections::HashMap;
use std::path::{Path as Dir, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use object_store_localfs::{Exclusion, RetryPolicy};
use object_store_localfs_engine::fault::{self, Call, Fault, Injected, Op};

use super::LocalFileSystem;
use super::contract::{at, eventually, store};
use super::object_store::*;
use crate::minors::{behind, files, fresh};

/// A source with as many links as its file system allows, or on another one, is copied all the
/// same.
pub(crate) async fn a_file_that_cannot_be_linked_is_copied(root: &Dir) {
    for remote in [false, true] {
        for mutation in [Copy, CopyCreate] {
            for errno in [libc::EMLINK, libc::EXDEV] {
                let dir = fresh(root, "unlinkable");
                let _remote = remote.then(|| fault::pretend_remote(&dir));
                let store = quick(&dir);
                mutation.prepare(&store).await;
                let failing = fail(&dir, Op::Link, Which::Always, Fault::before_effect, errno);
                let what = format!("errno {errno}, remote: {remote}");
                let made = mutation.make(&store).await;
                made.unwrap_or_else(|e| panic!("{mutation:?} {what}: {e}"));
                assert!(failing.fired() > 0, "{mutation:?} {what}");
                drop(failing);
                mutation.check_done(&store, &dir, &what).await;
                // It says nothing of the mount: the next file may have links.
                let store = quick(&dir);
                store.put(&at("free"), "data".into()).await.unwrap();
                store.copy(&at("free"), &at("linked")).await.unwrap();
                use std::os::unix::fs::MetadataExt;
                let linked = std::fs::metadata(dir.join("linked")).unwrap();
                assert_eq!(linked.nlink(), 2, "{mutation:?} {what}");
            }
        }
    }
}

/// Where nothing creates exclusively and no lock keeps other processes out, that is told, unless
/// other threads are all that is to be kept out.
pub(crate) async fn without_a_lock_only_threads_are_excluded(root: &Dir) {
    let dir = fresh(root, "lockless");
    let _remote = fault::pretend_remote(&dir);
    let _poor = fault::inject(&dir, |call: &Call<'_>| match call.op {
        Op::RenameExclusive => Fault::before_effect(libc::EINVAL),
        Op::Link => Fault::before_effect(libc::EPERM),
        Op::Lock => Fault::before_effect(libc::ENOSYS),
        _ => Fault::none(),
    });
    for mutation in [PutCreate, CopyCreate, RenameCreate] {
        let careful = quick(&dir);
        mutation.prepare(&careful).await;
        let error = mutation.make(&careful).await.unwrap_err();
        assert!(matches!(error, Error::NotSupported { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains("excludes other processes"), "{told}");
        assert!(told.contains("Exclusion::OtherThreads"), "{told}");
        mutation.check_undone(&dir, "without a lock").await;

        let content = quick(&dir).with_exclusive_create(Exclusion::OtherThreads);
        let what = "threads only";
        mutation.make(&content).await.unwrap();
        mutation.check_done(&content, &dir, what).await;
        for name in files(&dir) {
            content.delete(&at(&name)).await.unwrap();
        }
    }
}

/// Each mutation of the trait: what it needs, what it does, and what is there afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    Put,
    PutCreate,
    PutUpdate,
    Multipart,
    Copy,
    CopyCreate,
    Rename,
    RenameCreate,
    Delete,
}

use Mutation::*;

/// The versions that are to be updated, by their paths: a read might meet the fault.
static OLD: LazyLock<Mutex<HashMap<PathBuf, PutResult>>> = LazyLock::new(Mutex::default);

pub(crate) const ALL: [Mutation; 9] = [
    Put,
    PutCreate,
    PutUpdate,
    Multipart,
    Copy,
    CopyCreate,
    Rename,
    RenameCreate,
    Delete,
];

impl Mutation {
    pub(crate) fn creates(self) -> bool {
        matches!(self, PutCreate | CopyCreate | RenameCreate)
    }

    /// `from` holds "new data", and `to` holds "old" unless it is to be created.
    pub(crate) async fn prepare(self, store: &LocalFileSystem) {
        store.put(&at("from"), "new data".into()).await.unwrap();
        if !self.creates() {
            let old = store.put(&at("to"), "old".into()).await.unwrap();
            let path = store.path_to_filesystem(&at("to")).unwrap();
            OLD.lock().unwrap().insert(path, old);
        }
    }

    pub(crate) async fn make(self, store: &LocalFileSystem) -> Result<Option<PutResult>> {
        let (from, to) = (at("from"), at("to"));
        let data = || PutPayload::from("new data");
        match self {
            Put => store.put(&to, data()).await.map(Some),
            PutCreate => {
                let create = PutOptions::from(PutMode::Create);
                store.put_opts(&to, data(), create).await.map(Some)
            }
            PutUpdate => {
                let path = store.path_to_filesystem(&to).unwrap();
                let old = OLD.lock().unwrap()[&path].clone();
                let update = PutMode::Update(old.into());
                store.put_opts(&to, data(), update.into()).await.map(Some)
            }
            Multipart => {
                let mut upload = store.put_multipart(&to).await?;
                let second = upload.put_part("new ".into());
                upload.put_part("data".into()).await?;
                second.await?;
                upload.complete().await.map(Some)
            }
            Copy => store.copy(&from, &to).await.map(|()| None),
            CopyCreate => store.copy_if_not_exists(&from, &to).await.map(|()| None),
            Rename => store.rename(&from, &to).await.map(|()| None),
            RenameCreate => store.rename_if_not_exists(&from, &to).await.map(|()| None),
            Delete => store.delete(&to).await.map(|()| None),
        }
    }

    /// The files that a success leaves.
    pub(crate) fn leaves(self) -> &'static [&'static str] {
        match self {
            Rename | RenameCreate => &["to"],
            Delete => &["from"],
            _ => &["from", "to"],
        }
    }

    /// The files that a failure leaves.
    pub(crate) fn left(self) -> &'static [&'static str] {
        match self.creates() {
            true => &["from"],
            false => &["from", "to"],
        }
    }

    /// It took effect, once, and nothing else did.
    pub(crate) async fn check_done(self, store: &LocalFileSystem, dir: &Dir, what: &str) {
        assert_eq!(files(dir), self.leaves(), "{self:?} {what}");
        if self != Delete {
            assert_eq!(read(dir, "to"), "new data", "{self:?} {what}");
            store.get(&at("to")).await.unwrap();
        }
    }

    /// It did not take effect, and nothing is left of it.
    pub(crate) async fn check_undone(self, dir: &Dir, what: &str) {
        // A dropped upload is cleaned up on the blocking pool.
        eventually(|| files(dir) == self.left()).await;
        assert_eq!(files(dir), self.left(), "{self:?} {what}");
        assert_eq!(read(dir, "from"), "new data", "{self:?} {what}");
        if !self.creates() {
            assert_eq!(read(dir, "to"), "old", "{self:?} {what}");
        }
    }
}

pub(crate) fn read(dir: &Dir, name: &str) -> String {
    std::fs::read_to_string(behind(dir).join(name)).unwrap()
}

/// Which calls of an operation fail.
#[derive(Debug, Clone, Copy)]
enum Which {
    First,
    FirstThree,
    Always,
}

/// Fails calls of `op` below `dir`, and counts how often it did.
fn fail(dir: &Dir, op: Op, which: Which, fault: fn(i32) -> Fault, errno: i32) -> Failing {
    let fired = Arc::new(AtomicUsize::new(0));
    let calls = AtomicUsize::new(0);
    let count = Arc::clone(&fired);
    let injected = fault::inject(dir, move |call: &Call<'_>| {
        if call.op != op {
            return Fault::none();
        }
        let nth = calls.fetch_add(1, Relaxed);
        let fails = match which {
            Which::First => nth == 0,
            Which::FirstThree => nth < 3,
            Which::Always => true,
        };
        if !fails {
            return Fault::none();
        }
        count.fetch_add(1, Relaxed);
        fault(errno)
    });
    Failing {
        fired,
        _injected: injected,
    }
}

struct Failing {
    fired: Arc<AtomicUsize>,
    _injected: Injected,
}

impl Failing {
    fn fired(&self) -> usize {
        self.fired.load(Relaxed)
    }
}

pub(crate) fn quick(dir: &Dir) -> LocalFileSystem {
    // The same attempts, without the long pauses.
    store(dir).with_retry(RetryPolicy {
        first_backoff: std::time::Duration::from_micros(10),
        ..RetryPolicy::default()
    })
}

const PASSING: [i32; 5] = [
    libc::ESTALE,
    libc::ETIMEDOUT,
    libc::EINTR,
    libc::EAGAIN,
    libc::EBUSY,
];

/// Steps at which such an error says nothing of the data.
const STEPS: [Op; 9] = [
    Op::Create,
    Op::Open,
    Op::StatDir,
    Op::Stat,
    Op::Rename,
    Op::RenameExclusive,
    Op::Link,
    Op::Unlink,
    Op::StatHandle,
];

/// "What took effect returns Ok", and what did not is done again: each passing error, on each
/// call, before and after its effect, once and three times in a row.
pub(crate) async fn a_passing_error_is_no_failure(root: &Dir) {
    let mut fired = 0;
    for remote in [false, true] {
        for mutation in ALL {
            for op in STEPS {
                for errno in PASSING.into_iter().chain([libc::EIO]) {
                    fired += met(root, remote, mutation, op, errno).await;
                }
            }
        }
    }
    assert!(fired > 1000, "{fired} faults");
}

async fn met(root: &Dir, remote: bool, mutation: Mutation, op: Op, errno: i32) -> usize {
    // fstat is asked of a handle once, and by path from then on; on a local disk it is the truth.
    let local_fstat = op == Op::StatHandle && !remote;
    let mut fired = 0;
    for fault in [Fault::before_effect, Fault::after_effect] {
        for which in [Which::First, Which::FirstThree] {
            if local_fstat {
                continue;
            }
            // On a local disk a link that is there is ours or another copier's: told as unknown.
            let after = fault(errno).is_after_effect();
            if !remote && mutation == CopyCreate && op == Op::Link && after {
                copied_or_not(root, errno).await;
                continue;
            }
            let dir = fresh(root, "passing");
            let _remote = remote.then(|| fault::pretend_remote(&dir));
            let store = quick(&dir);
            mutation.prepare(&store).await;
            let failing = fail(&dir, op, which, fault, errno);
            let what = format!("{op:?} {which:?} errno {errno}, remote: {remote}");
            let put = mutation
                .make(&store)
                .await
                .unwrap_or_else(|e| panic!("{mutation:?} {what}: {e}"));
            fired += failing.fired();
            drop(failing);
            mutation.check_done(&store, &dir, &what).await;
            if let Some(put) = put {
                let head = store.head(&at("to")).await.unwrap();
                assert_eq!(put.e_tag, head.e_tag, "{mutation:?} {what}");
            }
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }
    fired
}

async fn copied_or_not(root: &Dir, errno: i32) {
    let dir = fresh(root, "unknown");
    let store = quick(&dir);
    CopyCreate.prepare(&store).await;
    let failing = fail(&dir, Op::Link, Which::First, Fault::after_effect, errno);
    let error = CopyCreate.make(&store).await.unwrap_err().to_string();
    drop(failing);
    assert!(error.contains("outcome is unknown"), "{error}");
    CopyCreate.check_done(&store, &dir, "unknown").await;
}

/// A reply that was lost on its way, as network mounts answer: the call took effect, and the
/// request that was sent again found it done.
pub(crate) async fn a_lost_reply_is_a_success_once(root: &Dir) {
    for (mutation, op, errno) in [
        (Put, Op::Rename, libc::ENOENT),
        (Multipart, Op::Rename, libc::ENOENT),
        (PutUpdate, Op::Rename, libc::ENOENT),
        (PutCreate, Op::RenameExclusive, libc::EEXIST),
        (PutCreate, Op::RenameExclusive, libc::ENOENT),
        (PutCreate, Op::Link, libc::EEXIST),
        (Copy, Op::Rename, libc::ENOENT),
        (Copy, Op::Link, libc::EEXIST),
        (CopyCreate, Op::RenameExclusive, libc::EEXIST),
        (CopyCreate, Op::Link, libc::EEXIST),
        (Rename, Op::Rename, libc::ENOENT),
        (RenameCreate, Op::RenameExclusive, libc::EEXIST),
        (RenameCreate, Op::RenameExclusive, libc::ENOENT),
        (RenameCreate, Op::Link, libc::EEXIST),
        (Delete, Op::Unlink, libc::ENOENT),
    ] {
        for exclusive_rename in [true, false] {
            let dir = fresh(root, "lost");
            let _remote = fault::pretend_remote(&dir);
            let store = quick(&dir);
            mutation.prepare(&store).await;
            let fired = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&fired);
            let injected = fault::inject(&dir, move |call| {
                if call.op == Op::RenameExclusive && !exclusive_rename {
                    return Fault::before_effect(libc::EINVAL);
                }
                if call.op != op {
                    return Fault::none();
                }
                count.fetch_add(1, Relaxed);
                Fault::after_effect(errno)
            });
            let what = format!("{op:?} errno {errno}, exclusive rename: {exclusive_rename}");
            let made = mutation.make(&store).await;
            made.unwrap_or_else(|e| panic!("{mutation:?} {what}: {e}"));
            drop(injected);
            mutation.check_done(&store, &dir, &what).await;
            let resolved = store.recoveries().ambiguous_resolved;
            assert_eq!(
                resolved,
                fired.load(Relaxed) as u64,
                "{mutation:?} {what}: each lost reply is counted once"
            );
        }
    }
}

/// Somebody has the destination open on SMB or DrvFs: that passes.
pub(crate) async fn a_sharing_violation_passes(root: &Dir) {
    for mutation in [Put, Multipart, Copy, Rename] {
        for errno in [libc::EACCES, libc::EPERM, libc::EBUSY] {
            let dir = fresh(root, "sharing");
            let _remote = fault::pretend_remote(&dir);
            let store = quick(&dir);
            mutation.prepare(&store).await;
            let failing = fail(
                &dir,
                Op::Rename,
                Which::FirstThree,
                Fault::before_effect,
                errno,
            );
            mutation.make(&store).await.unwrap();
            assert_eq!(failing.fired(), 3);
            drop(failing);
            mutation.check_done(&store, &dir, "sharing").await;

            // Who never lets go is named.
            let dir = fresh(root, "sharing");
            let _remote = fault::pretend_remote(&dir);
            let store = quick(&dir);
            mutation.prepare(&store).await;
            let failing = fail(&dir, Op::Rename, Which::Always, Fault::before_effect, errno);
            let error = mutation.make(&store).await.unwrap_err().to_string();
            assert!(error.contains("25 attempts"), "{error}");
            assert!(
                errno == libc::EBUSY || error.contains("another program may have"),
                "{error}"
            );
            drop(failing);
            mutation.check_undone(&dir, "sharing").await;
        }
    }
}

/// An error that is certain is told at once: made once, nothing changed, nothing left behind.
pub(crate) async fn a_certain_error_is_told_at_once(root: &Dir) {
    for remote in [false, true] {
        for (mutation, op) in [
            (Put, Op::Create),
            (Put, Op::Write),
            (Put, Op::Close),
            (Put, Op::Rename),
            (PutCreate, Op::RenameExclusive),
            (Multipart, Op::Create),
            (Multipart, Op::Write),
            (Multipart, Op::Close),
            (Multipart, Op::Rename),
            (Copy, Op::Rename),
            (Rename, Op::Rename),
            (RenameCreate, Op::RenameExclusive),
            (Delete, Op::Unlink),
        ] {
            for errno in [
                libc::ENOSPC,
                libc::EDQUOT,
                libc::EROFS,
                libc::ENAMETOOLONG,
                libc::EMFILE,
            ] {
                if op == Op::Create && errno == libc::ENAMETOOLONG {
                    // A shorter staging name is tried: bad_input.rs.
                    continue;
                }
                let dir = fresh(root, "certain");
                let _remote = remote.then(|| fault::pretend_remote(&dir));
                let store = quick(&dir);
                mutation.prepare(&store).await;
                let failing = fail(&dir, op, Which::Always, Fault::before_effect, errno);
                let error = mutation.make(&store).await.unwrap_err();
                let what = format!("{op:?} errno {errno}, remote: {remote}: {error}");
                assert_eq!(os_error(&error), Some(errno), "{mutation:?} {what}");
                // The two parts of a multipart are each written once.
                let calls = if op == Op::Write { 1..=2 } else { 1..=1 };
                assert!(calls.contains(&failing.fired()), "{mutation:?} {what}");
                drop(failing);
                mutation.check_undone(&dir, &what).await;
            }
        }
    }
}

/// "`close` is checked: on NFS, SMB and FUSE this is where lost data is reported."
pub(crate) async fn lost_data_is_told(root: &Dir) {
    for remote in [false, true] {
        for mutation in [Put, PutCreate, Multipart] {
            for op in [Op::Write, Op::Sync, Op::Close] {
                let dir = fresh(root, "eio");
                let _remote = remote.then(|| fault::pretend_remote(&dir));
                let store = quick(&dir).with_fsync(true);
                mutation.prepare(&store).await;
                let failing = fail(&dir, op, Which::First, Fault::before_effect, libc::EIO);
                let error = mutation.make(&store).await.unwrap_err();
                assert_eq!(failing.fired(), 1);
                drop(failing);
                assert_eq!(os_error(&error), Some(libc::EIO), "{mutation:?} {op:?}");
                let text = error.to_string();
                assert!(text.contains("to"), "{text}");
                mutation.check_undone(&dir, &format!("{op:?}")).await;
            }
        }
    }
}

/// A handle that went stale is opened anew, and what it was to write is written again.
pub(crate) async fn a_stale_handle_is_opened_anew(root: &Dir) {
    for mutation in [Put, PutCreate, Multipart] {
        for which in [Which::First, Which::FirstThree] {
            let dir = fresh(root, "stale");
            let _remote = fault::pretend_remote(&dir);
            let store = quick(&dir);
            mutation.prepare(&store).await;
            let writing = fail(&dir, Op::Write, which, Fault::before_effect, libc::ESTALE);
            mutation.make(&store).await.unwrap();
            let fired = writing.fired() as u64;
            drop(writing);
            mutation.check_done(&store, &dir, "stale").await;
            let reopened = store.recoveries().reopened_handles;
            assert!(
                (1..=fired).contains(&reopened),
                "{fired} stale writes, {reopened} handles opened anew"
            );
        }
    }
}

/// The budget is that of one write: a long upload on a mount that keeps losing handles goes on as
/// long as each write passes.
pub(crate) async fn a_long_upload_has_a_budget_for_each_write(root: &Dir) {
    let dir = fresh(root, "long");
    let _remote = fault::pretend_remote(&dir);
    let store = store(&dir).with_retry(RetryPolicy {
        attempts: 3,
        first_backoff: std::time::Duration::from_millis(1),
        max_backoff: std::time::Duration::from_millis(1),
        budget: std::time::Duration::from_millis(5),
    });
    let writes = AtomicUsize::new(0);
    let injected = fault::inject(&dir, move |call| {
        match call.op == Op::Write && writes.fetch_add(1, Relaxed) % 2 == 0 {
            true => Fault::before_effect(libc::ESTALE),
            false => Fault::none(),
        }
    });
    let mut upload = store.put_multipart(&at("to")).await.unwrap();
    for _ in 0..20 {
        upload.put_part("la".into()).await.unwrap();
    }
    upload.complete().await.unwrap();
    drop(injected);
    assert_eq!(read(&dir, "to"), "la".repeat(20));
}

/// A close that did not tell is verified by reading back: whole, it is a success; not whole, an
/// error.
pub(crate) async fn an_interrupted_close_is_verified(root: &Dir) {
    for mutation in [Put, PutCreate, Multipart] {
        for errno in PASSING {
            for loses_data in [false, true] {
                let dir = fresh(root, "close");
                let _remote = fault::pretend_remote(&dir);
                let store = quick(&dir);
                mutation.prepare(&store).await;
                let closing = fault::inject(&dir, {
                    let closed = AtomicUsize::new(0);
                    move |call: &Call<'_>| {
                        if call.op != Op::Close || closed.fetch_add(1, Relaxed) > 0 {
                            return Fault::none();
                        }
                        let staging = call.path.to_owned();
                        Fault::after_effect(errno).then(move || {
                            if loses_data {
                                // As many bytes, of which some are not what was written.
                                use std::os::unix::fs::FileExt;
                                let file = std::fs::File::options().write(true).open(&staging);
                                file.unwrap().write_all_at(b"\0\0", 3).unwrap();
                            }
                        })
                    }
                });
                let made = mutation.make(&store).await;
                drop(closing);
                let what = format!("errno {errno}, loses data: {loses_data}");
                if loses_data {
                    let error = made.unwrap_err().to_string();
                    assert!(error.contains("not those that were written"), "{error}");
                    mutation.check_undone(&dir, &what).await;
                } else {
                    made.unwrap();
                    mutation.check_done(&store, &dir, &what).await;
                    assert_eq!(store.recoveries().ambiguous_resolved, 1, "{what}");
                }
            }
        }
    }
}

/// An error that does not end is told with the number of attempts, and `RetryPolicy::never` makes
/// one.
pub(crate) async fn the_budget_ends(root: &Dir) {
    for (policy, attempts) in [(RetryPolicy::default(), 25), (RetryPolicy::never(), 1)] {
        for (mutation, op) in [
            (Put, Op::Rename),
            (PutCreate, Op::RenameExclusive),
            (Multipart, Op::Rename),
            (Copy, Op::Rename),
            (Rename, Op::Rename),
            (RenameCreate, Op::RenameExclusive),
            (Delete, Op::Unlink),
        ] {
            let dir = fresh(root, "budget");
            let store = store(&dir).with_retry(RetryPolicy {
                first_backoff: std::time::Duration::ZERO,
                ..policy
            });
            mutation.prepare(&store).await;
            let failing = fail(&dir, op, Which::Always, Fault::before_effect, libc::ESTALE);
            let error = mutation.make(&store).await.unwrap_err();
            assert_eq!(os_error(&error), Some(libc::ESTALE), "{error}");
            // A delete that is refused for good is all that cannot clean up: it has nothing to.
            assert_eq!(failing.fired(), attempts, "{mutation:?} {error}");
            drop(failing);
            mutation.check_undone(&dir, "budget").await;
        }
    }
}

/// A staging file that is taken from us is an error, and the destination stays.
pub(crate) async fn a_staging_file_that_is_taken_is_an_error(root: &Dir) {
    for remote in [false, true] {
        for mutation in [Put, PutCreate, Multipart] {
            let dir = fresh(root, "taken");
            let _remote = remote.then(|| fault::pretend_remote(&dir));
            let store = quick(&dir);
            mutation.prepare(&store).await;
            let taking = fault::inject(&dir, |call| {
                if matches!(call.op, Op::Rename | Op::RenameExclusive) {
                    std::fs::remove_file(call.from.unwrap()).unwrap();
                }
                Fault::none()
            });
            let error = mutation.make(&store).await.unwrap_err().to_string();
            drop(taking);
            assert!(error.contains("removed by someone else"), "{error}");
            mutation.check_undone(&dir, "taken").await;
        }
    }
}

/// After an ambiguous create, another file at the destination is neither claimed nor hidden.
pub(crate) async fn a_create_that_was_superseded_is_unknown(root: &Dir) {
    let dir = fresh(root, "superseded");
    let _remote = fault::pretend_remote(&dir);
    let store = quick(&dir);
    let injected = fault::inject(&dir, |call| {
        if call.op != Op::RenameExclusive {
            return Fault::none();
        }
        let to = call.path.to_owned();
        // Ours is there for a moment, and another process's in its place when we look.
        Fault::after_effect(libc::EIO).then(move || {
            std::fs::remove_file(&to).unwrap();
            std::fs::write(&to, "theirs").unwrap();
        })
    });
    let create = PutOptions::from(PutMode::Create);
    let put = store.put_opts(&at("to"), "ours".into(), create).await;
    drop(injected);
    let error = put.unwrap_err().to_string();
    assert!(error.contains("outcome is unknown"), "{error}");
    assert_eq!(read(&dir, "to"), "theirs");

    // An overwrite is as if theirs came later.
    let injected = fault::inject(&dir, |call| {
        if call.op != Op::Rename {
            return Fault::none();
        }
        let to = call.path.to_owned();
        Fault::after_effect(libc::EIO).then(move || {
            std::fs::remove_file(&to).unwrap();
            std::fs::write(&to, "theirs again").unwrap();
        })
    });
    store.put(&at("to"), "ours".into()).await.unwrap();
    drop(injected);
    assert_eq!(read(&dir, "to"), "theirs again");
    assert_eq!(files(&dir), ["to"]);
}

/// "An old object that looks alike is not ours": same size, same mtime.
pub(crate) async fn an_old_object_that_looks_alike_is_not_ours(root: &Dir) {
    let dir = fresh(root, "alike");
    let _remote = fault::pretend_remote(&dir);
    let store = quick(&dir);
    let injected = fault::inject(&dir, |call| {
        let (Some(from), Op::RenameExclusive) = (call.from, call.op) else {
            return Fault::none();
        };
        // Another creator was faster, with as many bytes in the same moment.
        std::fs::write(call.path, "them").unwrap();
        let written = std::fs::metadata(from).unwrap().modified().unwrap();
        let theirs = std::fs::File::options().write(true).open(call.path);
        theirs.unwrap().set_modified(written).unwrap();
        Fault::none()
    });
    let create = PutOptions::from(PutMode::Create);
    let error = store.put_opts(&at("to"), "ours".into(), create).await;
    drop(injected);
    let error = error.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
    assert_eq!(read(&dir, "to"), "them");
    assert_eq!(files(&dir), ["to"]);
}

/// A `complete()` that failed can be called again, and aborted.
pub(crate) async fn a_failed_complete_can_be_called_again(root: &Dir) {
    for op in [Op::Rename, Op::StatHandle] {
        let dir = fresh(root, "again");
        let store = quick(&dir).with_retry(RetryPolicy::never());
        let mut upload = store.put_multipart(&at("to")).await.unwrap();
        upload.put_part("new data".into()).await.unwrap();
        let failing = fail(&dir, op, Which::Always, Fault::before_effect, libc::EROFS);
        upload.complete().await.unwrap_err();
        upload.complete().await.unwrap_err();
        drop(failing);
        upload.complete().await.unwrap();
        assert_eq!(files(&dir), ["to"]);

        let mut upload = store.put_multipart(&at("to")).await.unwrap();
        upload.put_part("newer".into()).await.unwrap();
        let failing = fail(&dir, op, Which::Always, Fault::before_effect, libc::EROFS);
        upload.complete().await.unwrap_err();
        drop(failing);
        upload.abort().await.unwrap();
        assert_eq!(files(&dir), ["to"]);
        assert_eq!(read(&dir, "to"), "new data");
    }
}

/// A directory that cannot be synced fails a durable write, which can be completed again; one
/// whose file system has no such sync does not.
pub(crate) async fn a_directory_is_synced_or_the_write_fails(root: &Dir) {
    for mutation in [Put, PutCreate, Multipart, Copy, CopyCreate, Rename, RenameCreate] {
        let dir = fresh(root, "fsync");
        let store = quick(&dir);
        mutation.prepare(&store).await;
        let store = store.with_fsync(true);
        let failing = fail(&dir, Op::SyncDir, Which::Always, Fault::before_effect, libc::EIO);
        let error = mutation.make(&store).await.unwrap_err().to_string();
        assert!(error.contains("sync data to disk"), "{error}");
        assert!(failing.fired() > 0);
        drop(failing);
        // It is in place: the error says that it may not last.
        assert!(error.contains("may not survive a power failure"), "{error}");
        mutation.check_done(&store, &dir, "fsync").await;
    }
}

/// After an fsync that failed the next one answers Ok for what the first one lost (fsync(2)): it is
/// not asked again.
pub(crate) async fn a_failed_sync_is_never_asked_again(root: &Dir) {
    for op in [Op::Sync, Op::SyncDir] {
        let dir = fresh(root, "fsync");
        let store = quick(&dir).with_fsync(true);
        let mut upload = store.put_multipart(&at("to")).await.unwrap();
        upload.put_part("data".into()).await.unwrap();
        let failing = fail(&dir, op, Which::First, Fault::before_effect, libc::EIO);
        upload.complete().await.unwrap_err();
        assert_eq!(failing.fired(), 1);
        for _ in 0..2 {
            let error = upload.complete().await.unwrap_err().to_string();
            assert!(error.contains("data was lost"), "{error}");
        }
        drop(failing);
        drop(upload);
        let left: &[&str] = if op == Op::Sync { &[] } else { &["to"] };
        eventually(|| files(&dir) == left).await;
    }
}

/// Of a failed `complete()`, a part that is handed out and lost afterwards is not forgotten.
pub(crate) async fn a_part_lost_after_a_failed_complete_is_no_hole(root: &Dir) {
    let dir = fresh(root, "late");
    let store = quick(&dir);
    let mut upload = store.put_multipart(&at("to")).await.unwrap();
    upload.put_part("first".into()).await.unwrap();
    let failing = fail(&dir, Op::Rename, Which::Always, Fault::before_effect, libc::EROFS);
    upload.complete().await.unwrap_err();
    drop(failing);
    drop(upload.put_part("dropped".into()));
    upload.put_part("refused".into()).await.unwrap_err();
    let error = upload.complete().await.unwrap_err().to_string();
    assert!(error.contains("part 2"), "{error}");
    upload.abort().await.unwrap();
    assert_eq!(files(&dir), [""; 0]);
}

/// A `complete()` whose future was dropped goes on; called again it answers what became of it.
pub(crate) async fn a_cancelled_complete_can_be_called_again(root: &Dir) {
    let dir = fresh(root, "cancelled");
    let store = quick(&dir);
    let mut upload = store.put_multipart(&at("to")).await.unwrap();
    upload.put_part("data".into()).await.unwrap();
    let started = Arc::new(tokio::sync::Notify::new());
    let injected = fault::inject(&dir, {
        let started = Arc::clone(&started);
        move |call| {
            if call.op == Op::Close {
                started.notify_one();
            }
            Fault::none()
        }
    });
    tokio::select! {
        biased;
        () = started.notified() => {}
        // As fast as that: it was not cancelled, which the loop below does not mind.
        done = upload.complete() => assert!(done.is_ok()),
    }
    drop(injected);
    match upload.complete().await {
        Ok(put) => assert_eq!(put.e_tag, store.head(&at("to")).await.unwrap().e_tag),
        Err(error) => assert!(error.to_string().contains("completed or aborted"), "{error}"),
    }
    assert_eq!(files(&dir), ["to"]);
    assert_eq!(read(&dir, "to"), "data");
}

/// A staging file is in no listing, whatever the object is called.
pub(crate) async fn no_listing_shows_a_staging_file(root: &Dir) {
    use futures::TryStreamExt;

    for name in ["a", "a#b", "part#1.parquet", "##", "C#"] {
        let dir = fresh(root, "hidden");
        let store = quick(&dir);
        let location = at(name);
        let mut upload = store.put_multipart(&location).await.unwrap();
        upload.put_part("data".into()).await.unwrap();
        assert_eq!(files(&dir).len(), 1);
        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert!(listed.is_empty(), "{listed:?}");
        let listed = store.list_with_delimiter(None).await.unwrap().objects;
        assert!(listed.is_empty(), "{listed:?}");
        upload.complete().await.unwrap();
        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(listed[0].location, location);
    }
}

/// A name that the file system does not take is no proof that it cannot rename exclusively.
pub(crate) async fn a_refused_name_says_nothing_of_the_mount(root: &Dir) {
    let dir = fresh(root, "refused");
    let _remote = fault::pretend_remote(&dir);
    let store = quick(&dir);
    store.put(&at("from"), "data".into()).await.unwrap();
    // As vfat: no colons, no links.
    let injected = fault::inject(&dir, |call| match call.op {
        Op::Link => Fault::before_effect(libc::EPERM),
        Op::Rename | Op::RenameExclusive if call.path.ends_with("a:b") => {
            Fault::before_effect(libc::EINVAL)
        }
        _ => Fault::none(),
    });
    store
        .rename_if_not_exists(&at("from"), &at("a:b"))
        .await
        .unwrap_err();
    let create = PutOptions::from(PutMode::Create);
    store.put_opts(&at("b"), "data".into(), create).await.unwrap();
    store.rename_if_not_exists(&at("from"), &at("c")).await.unwrap();
    drop(injected);
    assert_eq!(files(&dir), ["b", "c"]);
}

/// Of two processes that rename one source, one is told that it did.
pub(crate) async fn a_source_that_another_process_renamed_is_not_ours(root: &Dir) {
    for remote in [false, true] {
        for mutation in [Rename, RenameCreate] {
            let dir = fresh(root, "renamed");
            let _remote = remote.then(|| fault::pretend_remote(&dir));
            let store = quick(&dir);
            mutation.prepare(&store).await;
            // Between our look and our first call on the source.
            let injected = fault::inject(&dir, |call| {
                let source = call.from.filter(|from| from.ends_with("from"));
                let to = call.path.parent().unwrap().join("to");
                if let Some(from) = source.filter(|from| from.exists()) {
                    std::fs::rename(from, to).unwrap();
                }
                Fault::none()
            });
            let renamed = mutation.make(&store).await;
            drop(injected);
            // An overwriting rename that lost its reply, and one that another made, leave the
            // same behind: on a mount that loses replies it is told as done.
            if remote && mutation == Rename {
                continue;
            }
            let error = renamed.unwrap_err();
            let told = matches!(error, Error::NotFound { .. } | Error::AlreadyExists { .. });
            assert!(told, "{mutation:?}, remote: {remote}: {error}");
            assert_eq!(files(&dir), ["to"]);
        }
    }
}

/// Another process makes the same copy in the moment before ours is renamed into place.
pub(crate) async fn a_copy_made_by_two_leaves_no_staging_file(root: &Dir) {
    for remote in [false, true] {
        let dir = fresh(root, "two");
        let _remote = remote.then(|| fault::pretend_remote(&dir));
        let store = quick(&dir);
        Copy.prepare(&store).await;
        let injected = fault::inject(&dir, |call| {
            if call.op == Op::Rename {
                let dir = call.path.parent().unwrap();
                std::fs::remove_file(dir.join("to")).unwrap();
                std::fs::hard_link(dir.join("from"), dir.join("to")).unwrap();
            }
            Fault::none()
        });
        Copy.make(&store).await.unwrap();
        drop(injected);
        Copy.check_done(&store, &dir, "two").await;

        // The same before a rename: it does nothing then, and the source is removed by us.
        let injected = fault::inject(&dir, |call| {
            if call.op == Op::Rename {
                let dir = call.path.parent().unwrap();
                let _ = std::fs::remove_file(dir.join("to"));
                std::fs::hard_link(dir.join("from"), dir.join("to")).unwrap();
            }
            Fault::none()
        });
        store.rename(&at("from"), &at("to")).await.unwrap();
        drop(injected);
        assert_eq!(files(&dir), ["to"]);
    }
}

/// While a path's rename keeps failing and its writer pauses, nobody else waits for it.
pub(crate) async fn a_pause_is_made_without_the_lock(root: &Dir) {
    use object_store_localfs_engine::{Engine, testing};

    let dir = fresh(root, "pause");
    let store = quick(&dir);
    let locked = dir.canonicalize().unwrap().join("to");
    let tries = Arc::new(AtomicUsize::new(0));
    let injected = fault::inject(&dir, {
        let (tries, locked) = (Arc::clone(&tries), locked.clone());
        move |call| {
            // The second attempt looks at the destination's directory for nobody's lock but its
            // own: what is held at this point was taken anew.
            if call.op == Op::Rename {
                assert_eq!(testing::waiting_for(&locked), 0);
                tries.fetch_add(1, Relaxed);
                return Fault::before_effect(libc::EBUSY);
            }
            Fault::none()
        }
    });
    let writer = tokio::spawn({
        let store = store.with_retry(RetryPolicy {
            attempts: 1000,
            first_backoff: std::time::Duration::from_millis(5),
            max_backoff: std::time::Duration::from_millis(5),
            budget: std::time::Duration::from_secs(60),
        });
        async move { store.put(&at("to"), "data".into()).await }
    });
    eventually(|| tries.load(Relaxed) > 2).await;
    // Had between two attempts; it would take all of them otherwise.
    let before = tries.load(Relaxed);
    tokio::task::spawn_blocking(move || drop(Engine::new().lock(&locked).unwrap()))
        .await
        .unwrap();
    assert!(tries.load(Relaxed) < before + 900);
    drop(injected);
    writer.await.unwrap().unwrap();
    assert_eq!(files(&dir), ["to"]);
}

/// The operating system's number at the end of the `source` chain.
pub(crate) fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(e) = next {
        if let Some(io) = e.downcast_ref::<std::io::Error>()
            && let Some(number) = io.raw_os_error()
        {
            return Some(number);
        }
        next = e.source();
    }
    None
}
