//! What must hold of reads and listings: upstream's answers on a healthy disk, and on a mount that
//! is not one the same answers after faults.

#![allow(
    clippy::single_range_in_vec_init,
    reason = "one range is asked for, too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::Path as Dir;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use object_store_localfs::RetryPolicy;
use object_store_localfs_engine::fault::{self, Call, Fault, Injected, Op};

use super::LocalFileSystem;
use super::contract::{at, store};
use super::faults::os_error;
use super::object_store::path::Path;
use super::object_store::{local::LocalFileSystem as Upstream, *};
use crate::minors::fresh;

// ---- upstream's answers -----------------------------------------------------------------------

pub(crate) type Add = fn(&Dir);

/// What goes into a tree besides the usual; listings may fail at it.
pub(crate) const ODD: &[(&str, Add)] = &[
    ("nothing", |_| {}),
    ("a broken symlink", |dir| symlink("nowhere", dir.join("broken")).unwrap()),
    ("a symlink to itself", |dir| symlink("self", dir.join("self")).unwrap()),
    ("a symlink that leads up", |dir| symlink("..", dir.join("dir/loop")).unwrap()),
    ("a symlink to its own directory", |dir| symlink(".", dir.join("here")).unwrap()),
    ("a symlink below a file", |dir| symlink("a/x", dir.join("below")).unwrap()),
    ("a name that is not UTF-8", |dir| write(dir, not_utf8(""))),
    ("a staging name that is not UTF-8", |dir| write(dir, not_utf8("#1"))),
    ("a directory that is not UTF-8", |dir| {
        fs::create_dir(dir.join(not_utf8(""))).unwrap();
    }),
    ("a file in a directory that is not UTF-8", |dir| {
        fs::create_dir(dir.join(not_utf8(""))).unwrap();
        write(&dir.join(not_utf8("")), "f".into());
    }),
    ("a tab in a name", |dir| write(dir, "tab\tbed".into())),
    ("a backslash in a name", |dir| write(dir, "back\\slash".into())),
    ("a fifo", |dir| {
        let made = std::process::Command::new("mkfifo").arg(dir.join("fifo")).status();
        assert!(made.unwrap().success());
    }),
    ("a socket", |dir| {
        std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    }),
];

fn not_utf8(end: &str) -> std::ffi::OsString {
    std::ffi::OsString::from_vec([b"\xff", end.as_bytes()].concat())
}

fn write(dir: &Dir, name: std::ffi::OsString) {
    fs::write(dir.join(name), "0123456789").unwrap();
}

/// The usual: names, depths, symlinks and sizes of all kinds.
pub(crate) fn plant(dir: &Dir) {
    for inner in ["dir/sub", "dir/empty-dir", "dir#2", "x:", "%41"] {
        fs::create_dir_all(dir.join(inner)).unwrap();
    }
    for name in [
        "a", "dir/b", "dir/sub/c", "dir/sub/d", "name#1", "name#1x", "name#", "#", "#1", "n#1#2",
        "dir#2/inside", "with space", "per%cent", "per%2Fcent", "%41/f", "ünï", "x:/f", ".hidden",
        "..dots", "~", "a?b&c=d", "a*", "{}", "dir/name#7",
    ] {
        write(dir, name.into());
    }
    fs::write(dir.join("empty"), "").unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH - Duration::from_millis(1500);
    let file = fs::File::options().write(true).open(dir.join("a*")).unwrap();
    file.set_modified(old).unwrap();
    symlink("a", dir.join("link")).unwrap();
    symlink("dir", dir.join("link-dir")).unwrap();
    symlink("../a", dir.join("dir/up")).unwrap();
}

const LOCATIONS: &[&str] = &[
    "", "a", "a/below", "empty", "missing", "missing/x", "dir", "dir/", "dir/b", "dir/sub",
    "dir/sub/c", "dir/missing", "link", "link-dir", "link-dir/b", "link-dir/sub/c", "dir/up",
    "broken", "self", "self/x", "dir/loop", "dir/loop/a", "here/a", "name#1", "name#1x", "name#",
    "#", "#1", "n#1#2", "dir#2", "dir#2/inside", "with space", "per%cent", "%41/f", "ünï", "x:",
    "x:/f", ".hidden", "a*", "socket", "tab\tbed",
];

/// The same objects, errors and order as upstream, for every way to ask: on a local disk, and on what
/// is taken for a mount that is none, whose e_tags may have no inode number.
pub(crate) async fn answers_are_upstreams(root: &Dir) {
    for (odd, add) in ODD {
        let dir = fresh(root, "tree");
        plant(&dir);
        add(&dir);
        for remote in [false, true] {
            let _remote = remote.then(|| fault::pretend_remote(&dir));
            let both = Both {
                what: format!("with {odd}, remote: {remote}"),
                ours: LocalFileSystem::new_with_prefix(&dir).unwrap(),
                upstreams: Upstream::new_with_prefix(&dir).unwrap(),
                remote,
            };
            match *odd {
                "nothing" => both.all_alike().await,
                _ => both.odd_alike().await,
            }
            // Without tokio the walk is made by who polls, and goes on after an error.
            let without = std::thread::spawn(move || {
                futures::executor::block_on(async {
                    both.list_prefix_alike(None).await;
                    both.get_alike(&at("a")).await;
                    both.get_alike(&at("dir")).await;
                });
            });
            without.join().unwrap();
        }
    }
}

/// The same of the root of the file system, whose locations are absolute.
pub(crate) async fn answers_from_the_root_are_upstreams(root: &Dir) {
    let dir = fresh(root, "tree");
    plant(&dir);
    let both = Both {
        what: "from the root".into(),
        ours: LocalFileSystem::new(),
        upstreams: Upstream::new(),
        remote: false,
    };
    let prefix = Path::from_absolute_path(&dir).unwrap();
    both.list_prefix_alike(Some(&prefix)).await;
    let location = Path::from_absolute_path(dir.join("dir/b")).unwrap();
    both.get_alike(&location).await;
    // Not what is listed: another program may write there.
    let one_level = both.ours.list_with_delimiter(None).await.unwrap();
    let upstreams = both.upstreams.list_with_delimiter(None).await.unwrap();
    assert_eq!(one_level.common_prefixes, upstreams.common_prefixes);
}

struct Both {
    what: String,
    ours: LocalFileSystem,
    upstreams: Upstream,
    remote: bool,
}

impl Both {
    async fn all_alike(&self) {
        self.list_alike().await;
        for location in LOCATIONS {
            self.get_alike(&Path::from(*location)).await;
        }
        // Locations that `Path::from` would have escaped.
        for location in ["per%cent", "a*", "{}", "dir//b", "~"] {
            if let Ok(location) = Path::parse(location) {
                self.get_alike(&location).await;
            }
        }
    }

    /// What an odd entry can change.
    async fn odd_alike(&self) {
        self.list_prefix_alike(None).await;
        for prefix in ["dir", "self", "broken", "below", "here", "dir/loop", "tab\tbed", "fifo"] {
            self.list_prefix_alike(Some(&Path::from(prefix))).await;
            // A fifo is not read: it waits for who writes.
            if prefix != "fifo" {
                self.get_alike(&Path::from(prefix)).await;
            }
        }
        for location in ["here/a", "dir/loop/a", "self/x", "socket"] {
            self.get_alike(&at(location)).await;
        }
    }

    async fn list_alike(&self) {
        self.list_prefix_alike(None).await;
        for prefix in LOCATIONS.iter().copied().chain(["fifo", "dir/empty-dir", "%41"]) {
            self.list_prefix_alike(Some(&Path::from(prefix))).await;
        }
        self.list_prefix_alike(Some(&Path::parse("%41").unwrap())).await;
    }

    async fn list_prefix_alike(&self, prefix: Option<&Path>) {
        let what = format!("{}, prefix {prefix:?}", self.what);
        let ours = self.told_list(self.ours.list(prefix)).await;
        let upstreams = self.told_list(self.upstreams.list(prefix)).await;
        assert_eq!(ours, upstreams, "{what}");
        for offset in ["", "dir", "dir/sub/c", "x:/f"] {
            let offset = Path::from(offset);
            let ours = self.told_list(self.ours.list_with_offset(prefix, &offset)).await;
            let upstreams = self.upstreams.list_with_offset(prefix, &offset);
            let upstreams = self.told_list(upstreams).await;
            assert_eq!(ours, upstreams, "{what}, offset {offset}");
        }
        let ours = self.told_level(self.ours.list_with_delimiter(prefix).await);
        let upstreams = self.told_level(self.upstreams.list_with_delimiter(prefix).await);
        assert_eq!(ours, upstreams, "{what}");
    }

    async fn get_alike(&self, location: &Path) {
        let what = format!("{}, {location:?}", self.what);
        let ours = self.ours.head(location).await;
        let upstreams = self.upstreams.head(location).await;
        let asked = options(ours.as_ref().ok()).into_iter();
        for (ours, upstreams) in asked.zip(options(upstreams.as_ref().ok())) {
            let asked = format!("{what}, {ours:?}");
            let ours = self.told_get(self.ours.get_opts(location, ours).await).await;
            let upstreams = self.upstreams.get_opts(location, upstreams).await;
            assert_eq!(ours, self.told_get(upstreams).await, "{asked}");
        }
        assert_eq!(self.told_meta(ours), self.told_meta(upstreams), "{what}");
        let ours = self.told_get(self.ours.get(location).await).await;
        let upstreams = self.upstreams.get(location).await;
        assert_eq!(ours, self.told_get(upstreams).await, "{what}");
        for ranges in [
            vec![],
            vec![0..0],
            vec![10..10],
            vec![99..99],
            vec![0..2, 2..4, 1..3, 9..10],
            vec![4..8, 0..2, 4..8, 2..3],
            vec![0..2, 8..12],
            vec![10..11],
            vec![20..30, 0..1],
        ] {
            let ours = told(self.ours.get_ranges(location, &ranges).await);
            let upstreams = told(self.upstreams.get_ranges(location, &ranges).await);
            assert_eq!(ours, upstreams, "{what}, {ranges:?}");
            for range in ranges {
                let ours = told(self.ours.get_range(location, range.clone()).await);
                let upstreams = told(self.upstreams.get_range(location, range.clone()).await);
                assert_eq!(ours, upstreams, "{what}, {range:?}");
            }
        }
    }

    fn compared(&self, mut meta: ObjectMeta) -> ObjectMeta {
        if self.remote {
            let e_tag = meta.e_tag.unwrap();
            let (_inode, rest) = e_tag.split_once('-').unwrap();
            meta.e_tag = Some(rest.to_owned());
        }
        meta
    }

    fn told_meta(&self, meta: Result<ObjectMeta>) -> String {
        told(meta.map(|meta| self.compared(meta)))
    }

    async fn told_list(&self, list: impl Stream<Item = Result<ObjectMeta>>) -> Vec<String> {
        list.map(|meta| self.told_meta(meta)).collect().await
    }

    fn told_level(&self, level: Result<ListResult>) -> String {
        told(level.map(|level| {
            let objects = level.objects.into_iter().map(|meta| self.compared(meta));
            (level.common_prefixes, objects.collect::<Vec<_>>())
        }))
    }

    async fn told_get(&self, got: Result<GetResult>) -> String {
        let got = match got {
            Ok(got) => got,
            Err(e) => return told::<()>(Err(e)),
        };
        let meta = self.compared(got.meta.clone());
        let kept = format!("{meta:?}, {:?}, {:?}", got.range, got.attributes);
        format!("{kept}, {}", told(got.bytes().await))
    }
}

fn options(meta: Option<&ObjectMeta>) -> Vec<GetOptions> {
    let e_tag = meta.and_then(|meta| meta.e_tag.clone());
    let e_tag = e_tag.unwrap_or_else(|| "none".into());
    let now = || std::time::SystemTime::now().into();
    let modified = meta.map_or_else(now, |meta| meta.last_modified);
    let mut all = Vec::new();
    let mut add = |set: &dyn Fn(&mut GetOptions)| {
        let mut options = GetOptions::default();
        set(&mut options);
        all.push(options);
    };
    add(&|o| o.head = true);
    add(&|o| o.version = Some("1".into()));
    for range in [
        GetRange::Bounded(0..4),
        GetRange::Bounded(3..99),
        GetRange::Bounded(4..4),
        GetRange::Bounded(10..12),
        #[allow(clippy::reversed_empty_ranges, reason = "bad input")]
        GetRange::Bounded(7..3),
        GetRange::Offset(0),
        GetRange::Offset(9),
        GetRange::Offset(10),
        GetRange::Suffix(0),
        GetRange::Suffix(3),
        GetRange::Suffix(99),
    ] {
        add(&|o| o.range = Some(range.clone()));
    }
    for tag in [e_tag.as_str(), "other", "*", &format!("other, {e_tag}")] {
        add(&|o| o.if_match = Some(tag.into()));
        add(&|o| o.if_none_match = Some(tag.into()));
    }
    for date in [modified, modified - Duration::from_secs(1), modified + Duration::from_secs(1)] {
        add(&|o| o.if_modified_since = Some(date));
        add(&|o| o.if_unmodified_since = Some(date));
    }
    all
}

/// An answer as text: of an error its variant and path, for the words differ.
fn told<T: std::fmt::Debug>(answer: Result<T>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(e) => {
            let error = format!("{e:?}");
            error.split(", source: ").next().unwrap().to_owned()
        }
    }
}

// ---- faults -----------------------------------------------------------------------------------

const MIB: usize = 1 << 20;

/// Asked of every read and listing: `big`, of three chunks, and a tree.
async fn check_all(store: &LocalFileSystem, big: &[u8], what: &str) {
    let told = |e: Error| -> Vec<u8> { panic!("{what}: {e}") };
    let big_at = at("big");
    let got = store.get(&big_at).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(matches!(got.payload, GetResultPayload::Stream(_)), "{what}");
    assert!(got.bytes().await.map(Vec::from).unwrap_or_else(told) == big, "{what}");
    let range = store.get_range(&big_at, 5..9).await;
    assert_eq!(range.map(Vec::from).unwrap_or_else(told), big[5..9], "{what}");
    let ranges = store.get_ranges(&big_at, &[5..9, 9..12, 100..200]).await.unwrap();
    assert_eq!(ranges.concat(), [&big[5..12], &big[100..200]].concat(), "{what}");
    let head = store.head(&big_at).await.unwrap();
    assert_eq!(head.size, big.len() as u64, "{what}");
    let missing = store.get(&at("missing")).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{what}: {missing}");
    check_lists(store, what).await;
}

const TREE: [&str; 5] = ["big", "dir/b", "dir/sub/c", "dir/sub/d", "last"];

async fn check_lists(store: &LocalFileSystem, what: &str) {
    assert_eq!(names(store.list(None)).await, TREE, "{what}");
    let after = store.list_with_offset(None, &at("dir/b"));
    assert_eq!(names(after).await, TREE[2..], "{what}");
    let level = store.list_with_delimiter(None).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(level.common_prefixes, [at("dir")], "{what}");
    let mut objects: Vec<_> = level.objects.into_iter().map(|o| o.location).collect();
    objects.sort();
    assert_eq!(objects, [at("big"), at("last")], "{what}");
}

/// Each as often as it is given.
async fn names(list: impl Stream<Item = Result<ObjectMeta>>) -> Vec<String> {
    let listed: Vec<ObjectMeta> = list.try_collect().await.unwrap();
    let mut names: Vec<_> = listed.into_iter().map(|o| o.location.to_string()).collect();
    names.sort();
    names
}

async fn planted(dir: &Dir) -> (LocalFileSystem, Vec<u8>) {
    let big: Vec<u8> = (0..2 * MIB + 999).map(|i| (i % 251) as u8).collect();
    let store = store(dir).with_retry(RetryPolicy {
        first_backoff: Duration::from_micros(10),
        ..RetryPolicy::default()
    });
    for name in TREE {
        let data = if name == "big" { big.clone() } else { name.into() };
        store.put(&at(name), data.into()).await.unwrap();
    }
    (store, big)
}

/// Fails calls below `dir`, as `when` says of how many such calls there were before.
fn fail(
    dir: &Dir,
    op: Op,
    errno: i32,
    when: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> (Arc<AtomicUsize>, Injected) {
    let fired = Arc::new(AtomicUsize::new(0));
    let (count, calls) = (Arc::clone(&fired), AtomicUsize::new(0));
    let injected = fault::inject(dir, move |call: &Call<'_>| {
        if call.op != op || !when(calls.fetch_add(1, Relaxed)) {
            return Fault::none();
        }
        count.fetch_add(1, Relaxed);
        Fault::before_effect(errno)
    });
    (fired, injected)
}

const READING: [Op; 6] = [
    Op::Open,
    Op::StatHandle,
    Op::Read,
    Op::Stat,
    Op::OpenDir,
    Op::ReadDir,
];

/// Three in a row of each passing error, at each call, again and again.
pub(crate) async fn a_passing_error_of_a_read_is_no_failure(root: &Dir) {
    for op in READING {
        for errno in [
            libc::ESTALE,
            libc::EIO,
            libc::ETIMEDOUT,
            libc::EINTR,
            libc::EAGAIN,
        ] {
            let dir = fresh(root, "passing");
            let _remote = fault::pretend_remote(&dir);
            let (store, big) = planted(&dir).await;
            let before = store.recoveries();
            // One directory of two entries takes three calls to read: it needs more in a row.
            let (fired, failing) = fail(&dir, op, errno, |nth| nth % 12 < 3);
            let what = format!("{op:?}, errno {errno}");
            check_all(&store, &big, &what).await;
            drop(failing);
            let fired = fired.load(Relaxed);
            assert!(fired >= 3, "{what}");
            let retries = store.recoveries().retries - before.retries;
            assert_eq!(retries, fired as u64, "{what}");
            // A handle that is stale is not asked again.
            let handles = [Op::StatHandle, Op::Read].contains(&op) && errno == libc::ESTALE;
            let reopened = store.recoveries().reopened_handles - before.reopened_handles;
            assert_eq!(reopened, if handles { fired as u64 } else { 0 }, "{what}");
        }
    }
}

/// What is certain is told at once: also EIO, on a local disk.
pub(crate) async fn a_certain_error_of_a_read_is_told_at_once(root: &Dir) {
    for (remote, errno) in [
        (true, libc::EACCES),
        (true, libc::ENOENT),
        (true, libc::ENOTDIR),
        (false, libc::EACCES),
        (false, libc::ENOENT),
        (false, libc::EIO),
    ] {
        let dir = fresh(root, "certain");
        let _remote = remote.then(|| fault::pretend_remote(&dir));
        let (store, _) = planted(&dir).await;
        let before = store.recoveries();
        let (fired, failing) = fail(&dir, Op::Open, errno, |_| true);
        let error = store.get(&at("last")).await.unwrap_err();
        assert_eq!(fired.load(Relaxed), 1, "{error}");
        assert_eq!(os_error(&error), Some(errno), "{error}");
        let is_missing = matches!(error, Error::NotFound { .. });
        assert_eq!(is_missing, errno == libc::ENOENT, "{error}");
        drop(failing);
        let (_, failing) = fail(&dir, Op::OpenDir, errno, |_| true);
        let listed: Result<Vec<_>> = store.list(None).try_collect().await;
        match errno {
            libc::ENOENT | libc::ENOTDIR => assert!(listed.unwrap().is_empty()),
            _ => assert_eq!(os_error(&listed.unwrap_err()), Some(errno)),
        }
        drop(failing);
        let (fired, failing) = fail(&dir, Op::Read, errno, |_| true);
        let read = store.get_ranges(&at("last"), &[0..2, 3..4]).await;
        drop(failing);
        // ENOENT for a handle that is open says that the handle is lost.
        if !remote || errno != libc::ENOENT {
            assert_eq!(os_error(&read.unwrap_err()), Some(errno));
            assert_eq!(fired.load(Relaxed), 1);
            assert_eq!(store.recoveries(), before);
        }
    }
}

/// An error that stays is told when the budget is spent: nothing is left out instead.
pub(crate) async fn the_budget_of_a_read_ends(root: &Dir) {
    for op in READING {
        let dir = fresh(root, "ends");
        let _remote = fault::pretend_remote(&dir);
        let (store, _) = planted(&dir).await;
        let store = store.with_retry(RetryPolicy {
            attempts: 3,
            first_backoff: Duration::ZERO,
            ..RetryPolicy::default()
        });
        let (fired, failing) = fail(&dir, op, libc::ESTALE, |_| true);
        let error = match op {
            Op::Open | Op::StatHandle | Op::Read => match store.get(&at("last")).await {
                Ok(got) => got.bytes().await.unwrap_err(),
                Err(e) => e,
            },
            _ => store.list(None).try_collect::<Vec<_>>().await.unwrap_err(),
        };
        drop(failing);
        assert_eq!(fired.load(Relaxed), 3, "{op:?}: {error}");
        assert_eq!(os_error(&error), Some(libc::ESTALE), "{op:?}: {error}");
        let told = error.to_string();
        assert!(told.contains(dir.to_str().unwrap()), "{told}");
    }
}

/// A stream has a budget for each chunk: it may pause more often than one operation may.
pub(crate) async fn a_long_stream_has_a_budget_for_each_chunk(root: &Dir) {
    let dir = fresh(root, "long");
    let _remote = fault::pretend_remote(&dir);
    let (store, big) = planted(&dir).await;
    let pause = Duration::from_micros(100);
    let store = store.with_retry(RetryPolicy {
        attempts: 3,
        first_backoff: pause,
        max_backoff: pause,
        budget: 2 * pause,
    });
    let (fired, failing) = fail(&dir, Op::Read, libc::ESTALE, |nth| nth % 3 < 2);
    let got = store.get(&at("big")).await.unwrap().bytes().await.unwrap();
    drop(failing);
    assert!(got == big);
    assert_eq!(fired.load(Relaxed), 6);

    // So has each entry of a listing.
    let (fired, failing) = fail(&dir, Op::Stat, libc::ESTALE, |nth| nth % 3 < 2);
    assert_eq!(names(store.list(None)).await, TREE);
    drop(failing);
    assert_eq!(fired.load(Relaxed), 2 * TREE.len());
}

/// Something happens to `big` while its second chunk is read by a handle that is stale.
async fn interrupted(root: &Dir, happens: fn(&Dir), errno: Option<i32>) -> (Vec<u8>, Vec<Result<Vec<u8>>>) {
    let dir = fresh(root, "stream");
    let _remote = fault::pretend_remote(&dir);
    let (store, big) = planted(&dir).await;
    let read = AtomicUsize::new(0);
    let injected = fault::inject(&dir, move |call: &Call<'_>| {
        if call.op != Op::Read || read.fetch_add(1, Relaxed) != 1 {
            return Fault::none();
        }
        happens(call.path);
        errno.map_or_else(Fault::none, Fault::before_effect)
    });
    let stream = store.get(&at("big")).await.unwrap().into_stream();
    let chunks = stream.map(|chunk| chunk.map(Vec::from)).collect().await;
    drop(injected);
    (big, chunks)
}

fn check_broken_off(what: &str, big: &[u8], chunks: &[Result<Vec<u8>>], says: &str) {
    let [Ok(first), Err(error)] = chunks else {
        panic!("{what}: {} chunks", chunks.len());
    };
    assert!(*first == big[..MIB], "{what}");
    assert!(error.to_string().contains(says), "{what}: {error}");
}

/// Two versions are never mixed, and a file that shrinks is no shorter object.
pub(crate) async fn a_stream_is_of_one_version(root: &Dir) {
    const CHANGED: &str = "changed while it was read";
    let stale = Some(libc::ESTALE);

    let (big, chunks) = interrupted(root, |_| (), stale).await;
    let chunks: Vec<_> = chunks.into_iter().map(Result::unwrap).collect();
    assert!(chunks.concat() == big);

    let replace = |path: &Dir| {
        let other = path.with_file_name("other");
        fs::write(&other, vec![b'x'; 2 * MIB + 999]).unwrap();
        fs::rename(other, path).unwrap();
    };
    let (big, chunks) = interrupted(root, replace, stale).await;
    check_broken_off("replaced", &big, &chunks, CHANGED);

    // The handle is good and the old version's, which is read to its end.
    let (big, chunks) = interrupted(root, replace, None).await;
    let chunks: Vec<_> = chunks.into_iter().map(Result::unwrap).collect();
    assert!(chunks.concat() == big);

    let cut = |path: &Dir| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(MIB as u64 + 7).unwrap();
    };
    for errno in [stale, None] {
        let (big, chunks) = interrupted(root, cut, errno).await;
        check_broken_off("cut", &big, &chunks, CHANGED);
    }

    let (big, chunks) = interrupted(root, |path| fs::remove_file(path).unwrap(), stale).await;
    check_broken_off("removed", &big, &chunks, "No such file");
    assert!(matches!(chunks[1], Err(Error::NotFound { .. })));
}

/// DrvFs' answer for a handle whose file was replaced is none for its path.
pub(crate) async fn a_file_replaced_while_it_is_opened_is_found(root: &Dir) {
    let dir = fresh(root, "lost");
    let _remote = fault::pretend_remote(&dir);
    let (store, _) = planted(&dir).await;
    let (fired, failing) = fail(&dir, Op::StatHandle, libc::ENOENT, |nth| nth == 0);
    let got = store.get(&at("last")).await.unwrap().bytes().await.unwrap();
    drop(failing);
    assert_eq!(got, "last");
    assert_eq!(fired.load(Relaxed), 1);
}

/// Gone is gone: neither an error nor an object.
pub(crate) async fn what_vanishes_during_a_listing_is_left_out(root: &Dir) {
    for remote in [false, true] {
        // A file between the directory and its stat, or a directory before it is opened.
        for (op, name, gone) in [
            (Op::Stat, "b", &["dir/b"][..]),
            (Op::OpenDir, "sub", &["dir/sub/c", "dir/sub/d"]),
        ] {
            for replaced in [false, true] {
                let dir = fresh(root, "vanish");
                let _remote = remote.then(|| fault::pretend_remote(&dir));
                let (store, _) = planted(&dir).await;
                let injected = fault::inject(&dir, move |call: &Call<'_>| {
                    if call.op == op && call.path.ends_with(name) {
                        let _ = fs::remove_file(call.path);
                        let _ = fs::remove_dir_all(call.path);
                        match op {
                            Op::Stat if replaced => fs::create_dir(call.path).unwrap(),
                            _ if replaced => fs::write(call.path, "").unwrap(),
                            _ => {}
                        }
                    }
                    Fault::none()
                });
                let listed = names(store.list(None)).await;
                drop(injected);
                let left = TREE.iter().filter(|name| !gone.contains(name));
                assert_eq!(listed, left.copied().collect::<Vec<_>>(), "{op:?} {replaced}");
            }
        }
    }
}

/// At whichever entry: a directory is read again, and nothing is given twice.
pub(crate) async fn a_directory_that_goes_stale_half_way_is_listed_once(root: &Dir) {
    let dir = fresh(root, "half");
    let _remote = fault::pretend_remote(&dir);
    let (store, _) = planted(&dir).await;
    let all: BTreeSet<String> = (0..40).map(|n| format!("many/{n:02}")).collect();
    for name in &all {
        store.put(&at(name), "x".into()).await.unwrap();
    }
    for at_entry in 0..=40 {
        let (fired, failing) = fail(&dir, Op::ReadDir, libc::ESTALE, move |nth| nth == at_entry);
        let listed = names(store.list(Some(&at("many")))).await;
        drop(failing);
        assert_eq!(listed, all.iter().cloned().collect::<Vec<_>>());
        assert_eq!(fired.load(Relaxed), 1);
    }
}

/// `get` gives upstream's file on a local disk, and what no handle spoils elsewhere.
pub(crate) async fn a_get_gives_a_file_on_a_local_disk(root: &Dir) {
    let dir = fresh(root, "payload");
    let (store, big) = planted(&dir).await;
    let got = store.get(&at("big")).await.unwrap();
    assert!(matches!(got.payload, GetResultPayload::File(..)));
    let _remote = fault::pretend_remote(&dir);
    let got = store.get(&at("big")).await.unwrap();
    assert!(matches!(got.payload, GetResultPayload::Stream(_)));
    // No larger than what is asked for.
    let range = GetOptions {
        range: Some((MIB as u64 - 3..MIB as u64 + 3).into()),
        ..GetOptions::default()
    };
    let got = store.get_opts(&at("big"), range).await.unwrap();
    let chunks: Vec<_> = got.into_stream().try_collect().await.unwrap();
    assert_eq!(chunks.concat(), big[MIB - 3..MIB + 3]);
    // Without a runtime it is read by who polls.
    let got = std::thread::spawn(move || {
        futures::executor::block_on(async { store.get(&at("big")).await?.bytes().await })
    });
    assert!(got.join().unwrap().unwrap() == big);
}

/// No range, however long, takes memory or a panic.
pub(crate) async fn a_range_that_cannot_be_is_refused(root: &Dir) {
    for remote in [false, true] {
        let dir = fresh(root, "range");
        let _remote = remote.then(|| fault::pretend_remote(&dir));
        let (store, _) = planted(&dir).await;
        #[allow(clippy::reversed_empty_ranges, reason = "bad input")]
        for range in [u64::MAX - 1..u64::MAX, 3..2, u64::MAX..0] {
            let error = store.get_ranges(&at("last"), &[0..1, range]).await.unwrap_err();
            assert!(matches!(error, Error::Generic { .. }), "{error}");
        }
        let all = store.get_ranges(&at("last"), &[0..u64::MAX]).await;
        match super::NAME {
            "v0_12" => assert_eq!(all.unwrap()[0], "last"),
            _ => assert!(matches!(all.unwrap_err(), Error::Generic { .. })),
        }
    }
}

// ---- on a mount -------------------------------------------------------------------------------

/// One version has one e_tag, whoever tells it, and it is the one to ask for it by.
pub(crate) async fn e_tags_agree(root: &Dir) {
    let store = store(root);
    for round in 0..3 {
        let put = store.put(&at("x/y"), format!("{round}").into()).await.unwrap();
        let e_tag = put.e_tag.unwrap();
        for _ in 0..2 {
            let head = store.head(&at("x/y")).await.unwrap();
            assert_eq!(head.e_tag.as_deref(), Some(&*e_tag));
            let got = GetOptions {
                if_match: Some(e_tag.clone()),
                ..GetOptions::default()
            };
            let got = store.get_opts(&at("x/y"), got).await.unwrap();
            assert_eq!(got.meta, head);
            assert_eq!(got.bytes().await.unwrap(), format!("{round}"));
            let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
            assert_eq!(listed, std::slice::from_ref(&head));
            let level = store.list_with_delimiter(Some(&at("x"))).await.unwrap();
            assert_eq!(level.objects, [head]);
            let not = GetOptions {
                if_none_match: Some(e_tag.clone()),
                ..GetOptions::default()
            };
            let error = store.get_opts(&at("x/y"), not).await.unwrap_err();
            assert!(matches!(error, Error::NotModified { .. }), "{error}");
        }
    }
}

/// A loop of symlinks ends, also where a directory is never the same twice.
pub(crate) async fn a_loop_ends(root: &Dir) {
    let (store, _) = planted(root).await;
    for up in ["..", ".", "../dir"] {
        symlink(up, root.join("dir/again")).unwrap();
        let error = store.list(None).try_collect::<Vec<_>>().await.unwrap_err();
        assert!(error.to_string().contains("dir/again"), "{error}");
        fs::remove_file(root.join("dir/again")).unwrap();
    }
}

/// Reads and listings many times over, while the mount fails as it does from the `start`.
pub(crate) async fn reads_hold(root: &Dir, start: impl FnOnce()) {
    let (store, big) = planted(root).await;
    start();
    for round in 0..12 {
        check_all(&store, &big, &format!("round {round}")).await;
    }
}
