//! Bad input gets upstream's error for it, and changes nothing.
//!
//! Each operation is made on upstream's store and on ours, in two directories that were prepared
//! alike. The variant of the error must be the same, and what the system said; afterwards ours has
//! left everything as it was. Where upstream succeeds, so must ours, with the same result.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path as Dir, PathBuf};
use std::time::{Duration, SystemTime};

use futures::TryStreamExt;

use super::LocalFileSystem;
use super::object_store::local::LocalFileSystem as Upstream;
use super::object_store::path::Path;
use super::object_store::*;
use crate::minors::{files, fresh};

/// What holds in any directory of any mount, whoever asks.
pub(crate) async fn all(root: &Dir) {
    all_but_symlinks(root).await;
    let mut wrong = Wrong::during("a_symlink");
    a_symlink(root, &mut wrong).await;
    wrong.is_nothing();
}

/// The same where a copy may have to be one of the data, which is that of a symlink's target.
pub(crate) async fn all_but_symlinks(root: &Dir) {
    let mut wrong = Wrong::during("");
    macro_rules! checks {
        ($($check:ident),+ $(,)?) => {$(
            eprintln!("{} {} in {}", super::NAME, stringify!($check), root.display());
            wrong.during = stringify!($check);
            $check(&fresh(root, stringify!($check)), &mut wrong).await;
        )+};
    }
    checks![
        an_object_that_is_not_there,
        a_directory_in_the_way,
        a_path_below_a_file,
        a_name_that_is_reserved,
        a_name_that_is_too_long,
        a_name_that_only_looks_odd,
        a_symlinked_parent,
    ];
    wrong.is_nothing();
}

/// What upstream's store does not promise, and ours does.
pub(crate) async fn more_than_upstream(root: &Dir) {
    a_staging_file_is_in_no_listing(&fresh(root, "listed")).await;
    writers_that_reach_a_file_by_a_symlink_wait_for_its_lock(&fresh(root, "locked")).await;
}

/// A socket: there, but no file that can be opened.
pub(crate) async fn a_path_that_is_no_file(root: &Dir) {
    let mut wrong = Wrong::during("a_path_that_is_no_file");
    let prepare = |dir: &Dir| {
        drop(std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap());
    };
    let refused = compare(root, prepare, "socket", &mut wrong).await;
    assert_eq!(
        refused,
        [
            Operation::Create,
            Operation::CopyToNew,
            Operation::RenameToNew,
            Operation::Head,
            Operation::Get,
            Operation::GetRanges
        ]
    );
    wrong.is_nothing();
}

/// Directories and files that this user may not read, write or enter: root may all of it.
pub(crate) async fn what_is_forbidden(root: &Dir) {
    let mut wrong = Wrong::during("what_is_forbidden");
    for (mode, refused_at_least) in [(0o000, 11), (0o555, 7), (0o333, 0), (0o666, 11)] {
        let prepare = |dir: &Dir| {
            fs::create_dir(dir.join("parent")).unwrap();
            fs::write(dir.join("parent/there"), "guarded").unwrap();
        };
        for at in ["parent/there", "parent/new", "parent/sub/new"] {
            let seal = |twins: &Twins| Permissions::take(twins, "parent", mode);
            let root = fresh(root, "forbidden");
            let refused = compare_sealed(&root, prepare, seal, at, SMALL, &mut wrong).await;
            assert!(
                refused.len() >= refused_at_least,
                "mode {mode:o} refuses but {refused:?}"
            );
        }
    }
    // The file itself: it may be replaced all the same, not read.
    let prepare = |dir: &Dir| {
        fs::write(dir.join("secret"), "guarded").unwrap();
    };
    let seal = |twins: &Twins| Permissions::take(twins, "secret", 0o000);
    let root = fresh(root, "forbidden");
    let refused = compare_sealed(&root, prepare, seal, "secret", SMALL, &mut wrong).await;
    assert!(refused.contains(&Operation::Get), "{refused:?}");
    wrong.is_nothing();
}

/// Files or directories whose permissions are restored when this is dropped.
struct Permissions([PathBuf; 2]);

impl Permissions {
    fn take(twins: &Twins, name: &str, mode: u32) -> Self {
        let taken = Self([&twins.theirs, &twins.ours].map(|dir| dir.join(name)));
        taken.set(mode);
        taken
    }

    fn set(&self, mode: u32) {
        for path in &self.0 {
            // What was renamed has its own, and is of no more interest.
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode));
        }
    }
}

impl Drop for Permissions {
    fn drop(&mut self) {
        self.set(0o755);
    }
}

/// Below `root` nothing can be changed while an answer of `seal` is alive.
pub(crate) async fn a_read_only_mount<G>(root: &Dir, seal: impl Fn() -> G) {
    let mut wrong = Wrong::during("a_read_only_mount");
    let there = |dir: &Dir| fs::write(dir.join("there"), "kept").unwrap();
    let root = fresh(root, super::NAME);
    let refused = compare_sealed(&root, there, |_| seal(), "there", SMALL, &mut wrong).await;
    assert!(
        refused.contains(&Operation::Put) && refused.contains(&Operation::Delete),
        "it is not read-only: only {refused:?} were refused"
    );
    wrong.is_nothing();
}

/// Below `root` is no room for another file while an answer of `fill` is alive.
pub(crate) async fn no_room_for_a_file<G>(root: &Dir, fill: impl Fn() -> G) {
    let mut wrong = Wrong::during("no_room_for_a_file");
    // Upstream makes a link first, for which tmpfs wants an inode.
    wrong.may_succeed = Some(Operation::RenameFromIfNew);
    let there = |dir: &Dir| fs::write(dir.join("there"), "kept").unwrap();
    let root = fresh(root, super::NAME);
    let refused = compare_sealed(&root, there, |_| fill(), "there", SMALL, &mut wrong).await;
    assert!(
        refused.contains(&Operation::Put) && refused.contains(&Operation::Multipart),
        "there is room: only {refused:?} were refused"
    );
    wrong.is_nothing();
}

/// Below `root` is room for small files, not for one of [`LARGE`] bytes.
pub(crate) async fn no_room_for_the_data(root: &Dir) {
    let mut wrong = Wrong::during("no_room_for_the_data");
    let there = |dir: &Dir| fs::write(dir.join("there"), "kept").unwrap();
    for at in ["there", "new"] {
        until_there_is_room(root).await;
        let root = fresh(root, super::NAME);
        let refused = compare_sealed(&root, there, |_| (), at, LARGE, &mut wrong).await;
        for written in [Operation::Put, Operation::Create, Operation::Multipart] {
            assert!(
                refused.contains(&written),
                "there is room for {written:?} to {at}"
            );
        }
    }
    wrong.is_nothing();
}

/// Bytes of a payload that is no trouble, a multiple of two.
const SMALL: usize = 16;
/// Bytes of a payload that has no room, a multiple of two.
pub(crate) const LARGE: usize = 32 << 20;

// ---- the checks -------------------------------------------------------------------------------

async fn an_object_that_is_not_there(root: &Dir, wrong: &mut Wrong) {
    use Operation::*;
    for at in ["missing", "no/such/parent"] {
        let refused = compare(root, |_| (), at, wrong).await;
        assert_eq!(
            refused,
            [
                CopyFrom,
                CopyFromIfNew,
                RenameFrom,
                RenameFromIfNew,
                FromToNowhere,
                RenameFromToNowhere,
                Delete,
                Head,
                Get,
                GetRanges
            ]
        );
    }
}

async fn a_directory_in_the_way(root: &Dir, wrong: &mut Wrong) {
    let full = |dir: &Dir| {
        fs::create_dir(dir.join("d")).unwrap();
        fs::write(dir.join("d/kept"), "kept").unwrap();
    };
    let empty = |dir: &Dir| fs::create_dir(dir.join("d")).unwrap();
    for refused in [
        compare(root, full, "d", wrong).await,
        compare(root, empty, "d", wrong).await,
    ] {
        assert!(refused.contains(&Operation::Put), "{refused:?}");
        assert!(refused.contains(&Operation::Delete), "{refused:?}");
    }
}

async fn a_path_below_a_file(root: &Dir, wrong: &mut Wrong) {
    for at in ["good/x", "good/x/y"] {
        let refused = compare(root, |_| (), at, wrong).await;
        assert_eq!(refused, Operation::ALL, "{at}");
    }
}

async fn a_name_that_is_reserved(root: &Dir, wrong: &mut Wrong) {
    for at in ["a#123", "a#1", "#1", "a#0", "sub/a#007", ""] {
        let refused = compare(root, |_| (), at, wrong).await;
        assert_eq!(refused, Operation::ALL, "{at}");
    }
}

/// Linux has 255 bytes for a name, and upstream's staging files have two more than the object.
async fn a_name_that_is_too_long(root: &Dir, wrong: &mut Wrong) {
    use Operation::{Create, Multipart, Put};
    for bytes in [253, 254, 255, 256] {
        let wide = format!("{}{}", "n".repeat(bytes % 2), "é".repeat(bytes / 2));
        for at in ["n".repeat(bytes), wide] {
            // From 256 on nothing can be there.
            let there = |dir: &Dir| drop(fs::write(dir.join(&at), "kept"));
            let refused = compare(root, |_| (), &at, wrong).await;
            let refused_over_it = compare(root, there, &at, wrong).await;
            for operation in [Put, Create, Multipart] {
                let is_too_long = bytes > 253;
                assert_eq!(refused.contains(&operation), is_too_long);
                assert!(refused_over_it.contains(&operation) || !is_too_long);
            }
        }
    }
}

const ODD_NAMES: &[&str] = &[
    "ünïcødé/名前 🙀",
    "with space/ and more ",
    "100%",
    "%41",
    "..",
    ".hidden",
    "foo#123/test.txt",
    "a#",
    "a#b1",
    "a#1b",
    "a##1",
    "a#b#1",
    "#",
    "~*?[]{}|\\^\"<>",
    "line\nfeed",
    "-rf",
];

async fn a_name_that_only_looks_odd(root: &Dir, wrong: &mut Wrong) {
    use Operation::{CopyToNew, Create, RenameToNew};
    for &at in ODD_NAMES {
        let there = |dir: &Dir| {
            let path = Upstream::new_with_prefix(dir)
                .unwrap()
                .path_to_filesystem(&location(at))
                .unwrap();
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "kept").unwrap();
        };
        let refused = compare(root, there, at, wrong).await;
        assert_eq!(refused, [Create, CopyToNew, RenameToNew], "{at}");
        let refused = compare(root, |_| (), at, wrong).await;
        assert!(!refused.contains(&Create), "{at}: {refused:?}");
    }
}

async fn a_symlink(root: &Dir, wrong: &mut Wrong) {
    let prepare = |dir: &Dir| {
        fs::create_dir(dir.join("real")).unwrap();
        fs::write(dir.join("real/target"), "kept").unwrap();
        symlink("real/target", dir.join("link")).unwrap();
        symlink("real/nothing", dir.join("dangling")).unwrap();
        symlink("real", dir.join("to-dir")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
    };
    for at in ["link", "dangling", "to-dir", "loop"] {
        let refused = compare(root, prepare, at, wrong).await;
        assert!(refused.contains(&Operation::Create), "{at}: {refused:?}");
        assert!(!refused.contains(&Operation::Put), "{at}: {refused:?}");
    }
}

async fn a_symlinked_parent(root: &Dir, wrong: &mut Wrong) {
    let prepare = |dir: &Dir| {
        fs::create_dir(dir.join("real")).unwrap();
        fs::write(dir.join("real/target"), "kept").unwrap();
        symlink("real", dir.join("to-dir")).unwrap();
        symlink("real/nothing", dir.join("dangling")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
    };
    for (at, can) in [
        ("to-dir/target", true),
        ("to-dir/new", true),
        ("to-dir/sub/new", true),
        ("loop/x", false),
        ("dangling/x", false),
    ] {
        let refused = compare(root, prepare, at, wrong).await;
        assert_eq!(refused.contains(&Operation::Put), !can, "{at}: {refused:?}");
    }
}

/// Whatever the object is named, and while nothing else is there.
async fn a_staging_file_is_in_no_listing(root: &Dir) {
    for &at in ODD_NAMES {
        let dir = fresh(root, "listed");
        let store = LocalFileSystem::new_with_prefix(&dir).unwrap();
        let mut upload = store.put_multipart(&location(at)).await.unwrap();
        upload.put_part("data".into()).await.unwrap();
        assert_eq!(files(&dir).len(), 1, "the staging file of {at}");

        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert!(listed.is_empty(), "{at}: {listed:?}");
        let listed = store.list_with_delimiter(None).await.unwrap();
        assert!(listed.objects.is_empty(), "{at}: {:?}", listed.objects);
        upload.complete().await.unwrap();
        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(listed.len(), 1, "{at}: {listed:?}");
    }
}

async fn writers_that_reach_a_file_by_a_symlink_wait_for_its_lock(root: &Dir) {
    fs::create_dir(root.join("real")).unwrap();
    symlink("real", root.join("to-dir")).unwrap();
    let engine = object_store_localfs_engine::Engine::new();
    let held = engine.lock(&root.join("real/a")).unwrap();

    let store = LocalFileSystem::new_with_prefix(root).unwrap();
    let put = tokio::spawn(async move { store.put(&Path::from("to-dir/a"), "data".into()).await });
    super::contract::eventually(|| !files(&root.join("real")).is_empty()).await;
    // Long enough for a writer that does not wait; one that does is never taken for it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!put.is_finished());
    assert!(!root.join("real/a").exists());

    drop(held);
    put.await.unwrap().unwrap();
    assert_eq!(files(&root.join("real")), ["a"]);
}

// ---- futures and runtimes that end early ------------------------------------------------------

/// One thread does all blocking work, in turn: what is asked of it last is done last.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// Returns once the blocking pool of [`runtime`] is idle.
fn until_idle(runtime: &tokio::runtime::Runtime) {
    runtime.block_on(async { tokio::task::spawn_blocking(|| ()).await.unwrap() });
}

/// Polls once, lets some time pass, and drops.
fn poll_and_drop<T>(future: impl Future<Output = T>, meanwhile: u32) {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    if future.as_mut().poll(&mut context).is_pending() {
        for _ in 0..meanwhile {
            std::thread::yield_now();
        }
    }
}

/// A put, an upload's beginning, a part and a complete, each dropped at many moments.
pub(crate) fn a_future_dropped_half_way_leaves_no_staging_file(root: &Dir) {
    const DATA: &[u8] = &[7; 100_000];
    let dir = fresh(root, super::NAME);
    let runtime = runtime();
    let _entered = runtime.enter();
    let store = LocalFileSystem::new_with_prefix(&dir).unwrap();
    let whole_or_absent = |what: &str| {
        until_idle(&runtime);
        for name in files(&dir) {
            assert!(!name.contains('#'), "{what} left {name}");
            assert!(
                fs::read(dir.join(&name)).unwrap() == DATA,
                "{what}: {name} is not whole"
            );
        }
    };
    let begin = |at: &Path| runtime.block_on(store.put_multipart(at)).unwrap();
    for meanwhile in 0..200 {
        let at = Path::from(format!("sub/{}", meanwhile % 10));
        let data = || PutPayload::from_static(DATA);

        poll_and_drop(store.put(&at, data()), meanwhile);
        whole_or_absent("put");
        let create = PutOptions::from(PutMode::Create);
        poll_and_drop(store.put_opts(&at, data(), create), meanwhile);
        whole_or_absent("create");
        poll_and_drop(store.put_multipart(&at), meanwhile);
        whole_or_absent("put_multipart");

        let mut upload = begin(&at);
        poll_and_drop(upload.put_part(data()), meanwhile);
        drop(upload);
        whole_or_absent("put_part");

        let mut upload = begin(&at);
        runtime.block_on(upload.put_part(data())).unwrap();
        poll_and_drop(upload.complete(), meanwhile);
        drop(upload);
        whole_or_absent("complete");

        let mut upload = begin(&at);
        runtime.block_on(upload.put_part(data())).unwrap();
        poll_and_drop(upload.abort(), meanwhile);
        drop(upload);
        whole_or_absent("abort");

        let from = Path::from("sub/0");
        if meanwhile % 10 == 1 && dir.join("sub/0").exists() {
            poll_and_drop(store.copy(&from, &at), meanwhile);
            whole_or_absent("copy");
            poll_and_drop(store.rename(&from, &at), meanwhile);
            whole_or_absent("rename");
        }
    }
    assert!(!files(&dir).is_empty(), "no future came to anything");
}

/// However the runtime ends, and whoever has the upload then.
pub(crate) fn a_runtime_shut_down_with_an_upload_alive_leaves_no_staging_file(root: &Dir) {
    use tokio::runtime::Runtime;
    type ShutDown = fn(Runtime);

    let at = &Path::from("a");
    let ways: [(&str, ShutDown); 3] = [
        ("drop", drop),
        ("shutdown_background", Runtime::shutdown_background),
        ("shutdown_timeout", |r| r.shutdown_timeout(Duration::ZERO)),
    ];
    for (how, shut_down) in ways {
        let scene = || {
            let dir = fresh(root, how);
            let store = LocalFileSystem::new_with_prefix(&dir).unwrap();
            let runtime = self::runtime();
            let upload = runtime.block_on(async {
                let mut upload = store.put_multipart(at).await.unwrap();
                upload.put_part("data".into()).await.unwrap();
                upload
            });
            (dir, runtime, upload)
        };

        let (dir, runtime, upload) = scene();
        shut_down(runtime);
        assert_eq!(files(&dir).len(), 1, "{how}: the upload is alive");
        drop(upload);
        until(|| files(&dir).is_empty(), how);

        // While a part is being written.
        let (dir, runtime, mut upload) = scene();
        runtime.spawn(upload.put_part(vec![7; 4 << 20].into()));
        shut_down(runtime);
        drop(upload);
        until(|| files(&dir).is_empty(), how);

        // While a task has it.
        let (dir, runtime, upload) = scene();
        runtime.spawn(async move {
            let _upload = upload;
            std::future::pending::<()>().await;
        });
        shut_down(runtime);
        until(|| files(&dir).is_empty(), how);

        // While the pool has it, or is about to.
        let (dir, runtime, mut upload) = scene();
        runtime.spawn(async move { upload.complete().await });
        shut_down(runtime);
        until(|| files(&dir).iter().all(|name| name == "a"), how);
    }
}

/// Waits for what another thread is about to do.
fn until(holds: impl Fn() -> bool, what: &str) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: not within a minute");
}

// ---- operations -------------------------------------------------------------------------------

/// What is done with a location. `good` is an object that is there, `new` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Put,
    Create,
    Multipart,
    CopyTo,
    CopyToNew,
    CopyFrom,
    CopyFromIfNew,
    RenameTo,
    RenameToNew,
    RenameFrom,
    RenameFromIfNew,
    /// A copy to where there is no directory.
    FromToNowhere,
    RenameFromToNowhere,
    Delete,
    Head,
    Get,
    GetRanges,
}

impl Operation {
    const ALL: [Self; 17] = {
        use Operation::*;
        [
            Put,
            Create,
            Multipart,
            CopyTo,
            CopyToNew,
            CopyFrom,
            CopyFromIfNew,
            RenameTo,
            RenameToNew,
            RenameFrom,
            RenameFromIfNew,
            FromToNowhere,
            RenameFromToNowhere,
            Delete,
            Head,
            Get,
            GetRanges,
        ]
    };

    /// What was read, or the step that failed.
    async fn run(
        self,
        store: &dyn ObjectStore,
        at: &Path,
        len: usize,
    ) -> Result<Vec<u8>, (&'static str, Error)> {
        let data = PutPayload::from(vec![b'x'; len]);
        let half = || PutPayload::from(vec![b'x'; len / 2]);
        let (good, new, nowhere) = (
            &Path::from("good"),
            &Path::from("new-name"),
            &Path::from("nowhere/new-name"),
        );
        let done = match self {
            Self::Put => store.put(at, data).await.map(drop),
            Self::Create => {
                let create = PutOptions::from(PutMode::Create);
                store.put_opts(at, data, create).await.map(drop)
            }
            Self::Multipart => {
                let mut upload = store.put_multipart(at).await.map_err(|e| ("begin", e))?;
                for _ in 0..2 {
                    upload.put_part(half()).await.map_err(|e| ("part", e))?;
                }
                upload.complete().await.map_err(|e| ("complete", e))?;
                Ok(())
            }
            Self::CopyTo => store.copy(good, at).await,
            Self::CopyToNew => store.copy_if_not_exists(good, at).await,
            Self::CopyFrom => store.copy(at, new).await,
            Self::CopyFromIfNew => store.copy_if_not_exists(at, new).await,
            Self::RenameTo => store.rename(good, at).await,
            Self::RenameToNew => store.rename_if_not_exists(good, at).await,
            Self::RenameFrom => store.rename(at, new).await,
            Self::RenameFromIfNew => store.rename_if_not_exists(at, new).await,
            Self::FromToNowhere => store.copy(at, nowhere).await,
            Self::RenameFromToNowhere => store.rename(at, nowhere).await,
            Self::Delete => store.delete(at).await,
            Self::Head => {
                let head = store.head(at).await.map_err(|e| ("", e))?;
                return Ok(format!("{} {}", head.location, head.size).into());
            }
            Self::Get => {
                let got = store.get(at).await.map_err(|e| ("open", e))?;
                let bytes = got.bytes().await.map_err(|e| ("read", e))?;
                return Ok(bytes.to_vec());
            }
            Self::GetRanges => {
                let got = store.get_ranges(at, &[0..2, 1..3]).await;
                return got.map(|all| all.concat()).map_err(|e| ("", e));
            }
        };
        done.map(|()| Vec::new()).map_err(|e| ("", e))
    }
}

/// An error, as far as two stores are to agree on it.
struct Failure {
    step: &'static str,
    variant: String,
    errno: Option<i32>,
    message: String,
}

impl Failure {
    fn of(step: &'static str, error: &Error) -> Self {
        let name = format!("{error:?}");
        let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap();
        let variant = match error {
            Error::Generic { store, .. } => format!("{name} of {store}"),
            _ => name.to_owned(),
        };
        let chain = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
        let errno = chain
            .filter_map(|e| e.downcast_ref::<std::io::Error>())
            .find_map(std::io::Error::raw_os_error);
        Self {
            step,
            variant,
            errno,
            message: error.to_string(),
        }
    }
}

impl Failure {
    /// Whether it tells which object it is about, or which directory above it cannot be made.
    fn names(&self, at: &str) -> bool {
        let dir = at.rsplit_once('/').map_or("", |(dir, _)| dir);
        let cannot_make = self.message.contains("create dir") && self.message.contains(dir);
        !self.variant.starts_with("Generic") || self.message.contains(at) || cannot_make
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            step,
            variant,
            errno,
            message,
        } = self;
        write!(f, "{variant} {step} ({errno:?}, {message:?})")
    }
}

/// Where the stores do not agree.
struct Wrong {
    during: &'static str,
    /// What upstream cannot do here, and ours may.
    may_succeed: Option<Operation>,
    found: Vec<String>,
}

impl Wrong {
    fn during(during: &'static str) -> Self {
        Self {
            during,
            may_succeed: None,
            found: Vec::new(),
        }
    }

    fn unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let what = abridged(&what());
            self.found
                .push(format!("{} {}: {what}", super::NAME, self.during));
        }
    }

    fn is_nothing(&self) {
        assert!(self.found.is_empty(), "\n{}\n", self.found.join("\n"));
    }
}

/// A letter that is repeated many times is told once.
fn abridged(text: &str) -> String {
    let mut told = String::new();
    let (mut last, mut times) = ('\0', 0);
    for c in text.chars().chain(['\0']) {
        times = if c == last { times + 1 } else { 0 };
        match times {
            0..4 if c != '\0' => told.push(c),
            4 => told.push('…'),
            _ => {}
        }
        last = c;
    }
    told
}

// ---- two directories --------------------------------------------------------------------------

/// A directory for upstream's store and one for ours, alike.
struct Twins {
    theirs: PathBuf,
    ours: PathBuf,
    before: Tree,
}

/// Makes every operation with `at` on both stores, and answers which of them upstream refused.
async fn compare(
    root: &Dir,
    prepare: impl Fn(&Dir),
    at: &str,
    wrong: &mut Wrong,
) -> Vec<Operation> {
    compare_sealed(root, prepare, |_| (), at, SMALL, wrong).await
}

/// The same with payloads of `len` bytes, each operation while what `seal` answers is alive.
async fn compare_sealed<G>(
    root: &Dir,
    prepare: impl Fn(&Dir),
    seal: impl Fn(&Twins) -> G,
    at: &str,
    len: usize,
    wrong: &mut Wrong,
) -> Vec<Operation> {
    let make = |name| {
        let dir = fresh(root, name);
        fs::write(dir.join("good"), "good data").unwrap();
        prepare(&dir);
        dir
    };
    let mut refused = Vec::new();
    let operations = match len {
        LARGE => &Operation::ALL[..3],
        _ => &Operation::ALL[..],
    };
    for &operation in operations {
        if len == LARGE {
            until_there_is_room(root).await;
        }
        let (theirs, ours) = (make("theirs"), make("ours"));
        let before = tree(&ours);
        let twins = Twins {
            theirs,
            ours,
            before,
        };
        let their_store = Upstream::new_with_prefix(&twins.theirs).unwrap();
        let our_store = LocalFileSystem::new_with_prefix(&twins.ours).unwrap();
        let sealed = seal(&twins);
        let their = operation.run(&their_store, &location(at), len).await;
        // Ours is to find the room that theirs found.
        if len == LARGE {
            settle(&twins.theirs, &twins.before).await;
            until_there_is_room(root).await;
        }
        let our = operation.run(&our_store, &location(at), len).await;
        drop(sealed);

        let what = format!("{operation:?} with {at:?}");
        match (their, our) {
            (Ok(their), Ok(our)) => {
                wrong.unless(their == our, || format!("{what}: not the same was read"));
                let (their, our) = (tree(&twins.theirs), tree(&twins.ours));
                let differ = difference(&without_times(&their), &without_times(&our));
                wrong.unless(differ.is_empty(), || {
                    format!("{what}: what upstream leaves, and ours: {differ}")
                });
            }
            (Err((their_step, their)), Err((our_step, our))) => {
                refused.push(operation);
                let (their, our) = (Failure::of(their_step, &their), Failure::of(our_step, &our));
                let mistaken = is_mistaken(operation, &their, at, &twins);
                let same = their.variant == our.variant
                    && their.step == our.step
                    && (their.errno.is_none() || their.errno == our.errno);
                wrong.unless(same || mistaken, || {
                    format!("{what}: upstream says {their}, ours {our}")
                });
                wrong.unless(our.names(at), || {
                    format!("{what}: the object is not named in {our}")
                });
                settle(&twins.ours, &twins.before).await;
                let mut after = tree(&twins.ours);
                // A directory is no object: upstream, too, may have made one before it failed.
                let theirs = tree(&twins.theirs);
                after.retain(|path, entry| {
                    *entry != Entry::Dir
                        || twins.before.contains_key(path)
                        || theirs.get(path) != Some(&Entry::Dir)
                });
                let differ = difference(&twins.before, &after);
                wrong.unless(differ.is_empty(), || {
                    format!("{what}: what it was, and is: {differ}")
                });
            }
            (their, our) => {
                refused.extend(their.is_err().then_some(operation));
                let told = |outcome: Result<Vec<u8>, (&'static str, Error)>| {
                    outcome.map_err(|(step, error)| Failure::of(step, &error))
                };
                let (their, our) = (told(their), told(our));
                let allowed = match &their {
                    Err(their) => {
                        is_mistaken(operation, their, at, &twins)
                            || wrong.may_succeed == Some(operation)
                    }
                    Ok(_) => false,
                };
                let say = |outcome: &Result<Vec<u8>, Failure>| match outcome {
                    Ok(_) => "Ok".to_owned(),
                    Err(failure) => failure.to_string(),
                };
                wrong.unless(allowed && our.is_ok(), || {
                    format!("{what}: upstream says {}, ours {}", say(&their), say(&our))
                });
            }
        }
        for dir in [&twins.theirs, &twins.ours] {
            // The room may be needed.
            let _ = fs::remove_dir_all(dir);
        }
    }
    refused
}

/// Whether upstream takes a source for missing that is there, or that it cannot look at: it looks
/// when the directory of the new name is missing, and through symlinks.
fn is_mistaken(operation: Operation, their: &Failure, at: &str, twins: &Twins) -> bool {
    use Operation::{FromToNowhere, RenameFromToNowhere};
    matches!(operation, FromToNowhere | RenameFromToNowhere)
        && their.variant == "NotFound"
        && (twins.before.contains_key(Dir::new(at)) || at.len() > 255)
}

/// Waits until the staging file of a dropped upload is removed; one that stays is found later.
async fn settle(dir: &Dir, before: &Tree) {
    let is_new =
        |(path, entry): (&PathBuf, &Entry)| *entry != Entry::Dir && !before.contains_key(path);
    for _ in 0..300 {
        if !tree(dir).iter().any(is_new) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// btrfs counts what was removed against a quota until it has committed, and cleaned up.
async fn until_there_is_room(root: &Dir) {
    let probe = root.join("probe");
    for _ in 0..600 {
        let written = fs::write(&probe, vec![0; 1 << 20]);
        let _ = fs::remove_file(&probe);
        if written.is_ok() {
            return;
        }
        let dir = fs::File::open(root).unwrap();
        // SAFETY: the descriptor is open for as long as `dir` lives; the call takes no pointer.
        unsafe { libc::syncfs(std::os::fd::AsRawFd::as_raw_fd(&dir)) };
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no room in {} within a minute", root.display());
}

/// As it is written where that can be: `Path::from` encodes what no other store takes, such as `#`.
fn location(at: &str) -> Path {
    Path::parse(at).unwrap_or_else(|_| Path::from(at))
}

type Tree = BTreeMap<PathBuf, Entry>;

#[derive(Debug, Clone, PartialEq)]
enum Entry {
    Dir,
    File(Vec<u8>, Option<SystemTime>),
    Symlink(PathBuf),
    Other,
}

/// Everything below `dir`.
fn tree(dir: &Dir) -> Tree {
    fn walk(dir: &Dir, root: &Dir, found: &mut Tree) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            // The staging file of a dropped upload may be removed meanwhile.
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            let entry = if metadata.is_dir() {
                walk(&path, root, found);
                Entry::Dir
            } else if metadata.is_symlink() {
                Entry::Symlink(fs::read_link(&path).unwrap())
            } else if metadata.is_file() {
                match fs::read(&path) {
                    Ok(data) => Entry::File(data, metadata.modified().ok()),
                    // Of an unreadable file a name that is readable no more.
                    Err(_) => Entry::Other,
                }
            } else {
                Entry::Other
            };
            found.insert(path.strip_prefix(root).unwrap().to_owned(), entry);
        }
    }
    let mut found = Tree::new();
    walk(dir, dir, &mut found);
    found
}

/// What differs between two trees; empty if nothing does.
fn difference(one: &Tree, other: &Tree) -> String {
    let mut names: Vec<_> = one.keys().chain(other.keys()).collect();
    names.sort();
    names.dedup();
    let differ = names.into_iter().filter(|n| one.get(*n) != other.get(*n));
    differ
        .map(|n| format!("{}: {:?}, {:?}; ", n.display(), one.get(n), other.get(n)))
        .collect()
}

fn without_times(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for entry in tree.values_mut() {
        if let Entry::File(_, time) = entry {
            *time = None;
        }
    }
    tree
}
