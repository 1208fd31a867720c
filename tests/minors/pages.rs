//! What must hold of listings by the page, on a healthy disk and through the seam.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path as Dir, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use futures::TryStreamExt;
use object_store_localfs_engine::fault::{self, Call, Fault, Injected, Op};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::LocalFileSystem;
use super::contract::{at, store};
use super::faults::os_error;
use super::object_store::list::{PaginatedListOptions, PaginatedListStore};
use super::object_store::path::Path;
use super::object_store::*;
use super::reads;
use crate::minors::fresh;

/// What is asked for.
#[derive(Debug, Clone, Default)]
struct Asked {
    prefix: Option<String>,
    delimiter: Option<String>,
    offset: Option<String>,
    max_keys: Option<usize>,
    token: Option<String>,
}

/// What a page tells.
#[derive(Debug, Clone, Default, PartialEq)]
struct Page {
    objects: Vec<String>,
    prefixes: Vec<String>,
    token: Option<String>,
}

impl Asked {
    fn pages_of(max_keys: usize) -> Self {
        Self {
            max_keys: Some(max_keys),
            ..Self::default()
        }
    }

    fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = Some(prefix.to_owned());
        self
    }

    fn delimiter(mut self, delimiter: &str) -> Self {
        self.delimiter = Some(delimiter.to_owned());
        self
    }

    fn offset(mut self, offset: &str) -> Self {
        self.offset = Some(offset.to_owned());
        self
    }

    fn after(mut self, page: &Page) -> Self {
        self.token = page.token.clone();
        self
    }

    async fn page(&self, store: &LocalFileSystem) -> Result<Page> {
        let opts = PaginatedListOptions {
            offset: self.offset.clone(),
            delimiter: self.delimiter.clone().map(Cow::Owned),
            max_keys: self.max_keys,
            page_token: self.token.clone(),
            ..PaginatedListOptions::default()
        };
        let page = store.list_paginated(self.prefix.as_deref(), opts).await?;
        let locations = |objects: Vec<ObjectMeta>| objects.into_iter().map(|o| o.location);
        Ok(Page {
            objects: locations(page.result.objects).map(String::from).collect(),
            prefixes: page.result.common_prefixes.into_iter().map(String::from).collect(),
            token: page.page_token,
        })
    }

    /// All pages, one after another: at most `max_keys` on each, and none empty but the first.
    async fn all(mut self, store: &LocalFileSystem) -> Result<Page> {
        let mut all = Page::default();
        loop {
            let page = self.page(store).await?;
            let told = page.objects.len() + page.prefixes.len();
            assert!(told <= self.max_keys.unwrap_or(1000), "{page:?}");
            assert!(
                told > 0 || (self.token.is_none() && page.token.is_none()),
                "{self:?}"
            );
            assert!(page.token.is_none() || page.token != self.token, "{self:?}");
            self = self.after(&page);
            all.objects.extend(page.objects);
            all.prefixes.extend(page.prefixes);
            if page.token.is_none() {
                return Ok(all);
            }
        }
    }
}

fn plant(dir: &Dir, names: &[&str]) {
    for name in names {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
}

fn planted(root: &Dir, names: &[&str]) -> (PathBuf, LocalFileSystem) {
    let dir = fresh(root, "tree");
    plant(&dir, names);
    let store = store(&dir);
    (dir, store)
}

/// Counts the calls of some kind below `dir`.
fn count(dir: &Dir, op: Op) -> (Arc<AtomicUsize>, Injected) {
    let counted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&counted);
    let injected = fault::inject(dir, move |call: &Call<'_>| {
        if call.op == op {
            counter.fetch_add(1, Relaxed);
        }
        Fault::none()
    });
    (counted, injected)
}

// ---- order ------------------------------------------------------------------------------------

/// As on S3: a directory is where its name with a slash is.
const ORDER: &[&str] = &[
    "A", "a", "a!", "a-b", "a.b", "a/b", "a0", "aa/a", "aa/b/c", "aa/b0", "b/ü", "b/üa", "ÿ", "Ā", "あ",
];

pub(crate) async fn pages_are_in_the_order_of_keys(root: &Dir) {
    // No file and directory of one name.
    let names: Vec<_> = ORDER.iter().copied().filter(|name| *name != "a").collect();
    let mut made = names.clone();
    made.sort_by_key(|name| name.bytes().fold(7_u32, |sum, b| sum.wrapping_mul(31) + u32::from(b)));
    let (dir, store) = planted(root, &made);
    for size in 1..=names.len() + 1 {
        let all = Asked::pages_of(size).all(&store).await.unwrap();
        assert_eq!(all.objects, names, "pages of {size}");
    }
    // The directory is a file now, and comes earlier.
    fs::remove_dir_all(dir.join("a")).unwrap();
    plant(&dir, &["a"]);
    let all = Asked::pages_of(1).all(&store).await.unwrap();
    assert_eq!(all.objects, ["A", "a", "a!", "a-b", "a.b", "a0"].iter().chain(&names[6..]).copied().collect::<Vec<_>>());
}

/// What a symlink leads to decides where it comes.
pub(crate) async fn symlinks_come_where_their_targets_would(root: &Dir) {
    let (dir, store) = planted(root, &["a-b", "a.b", "a0", "f-", "f0"]);
    let outside = fresh(root, "outside");
    plant(&outside, &["x", "y"]);
    symlink(&outside, dir.join("a")).unwrap();
    symlink(outside.join("x"), dir.join("f")).unwrap();
    symlink("nowhere", dir.join("a,broken")).unwrap();
    let told = ["a-b", "a.b", "a/x", "a/y", "a0", "f", "f-", "f0"];
    for size in 1..=told.len() {
        let all = Asked::pages_of(size).all(&store).await.unwrap();
        assert_eq!(all.objects, told, "pages of {size}");
    }
    let all = Asked::pages_of(1).delimiter("/").all(&store).await.unwrap();
    assert_eq!(all.objects, ["a-b", "a.b", "a0", "f", "f-", "f0"]);
    assert_eq!(all.prefixes, ["a"]);
    for (offset, first) in [("a-c", "a.b"), ("a.b", "a/x"), ("a/", "a/x"), ("a/x", "a/y"), ("a/z", "a0")] {
        let page = Asked::pages_of(1).offset(offset).page(&store).await.unwrap();
        assert_eq!(page.objects, [first], "after {offset}");
    }
}

/// On any mount, whatever it does.
pub(crate) async fn pages_tell_what_was_put(root: &Dir) {
    let store = store(root);
    let names = ["a-b", "a/b", "a/c/d", "a/c/e", "a0", "b/c", "d"];
    for name in names.iter().rev() {
        store.put(&at(name), "x".into()).await.unwrap();
    }
    for size in [1, 2, 3, 7] {
        let asked = Asked::pages_of(size);
        let all = asked.clone().all(&store).await.unwrap();
        assert_eq!(all.objects, names, "pages of {size}");
        let all = asked.clone().prefix("a/").all(&store).await.unwrap();
        assert_eq!(all.objects, names[1..4], "pages of {size}");
        let level = asked.delimiter("/").all(&store).await.unwrap();
        assert_eq!(level.objects, ["a-b", "a0", "d"], "pages of {size}");
        assert_eq!(level.prefixes, ["a", "b"], "pages of {size}");
    }
    let first = Asked::pages_of(3).page(&store).await.unwrap();
    store.delete(&at("a/c/d")).await.unwrap();
    store.put(&at("a/b0"), "x".into()).await.unwrap();
    store.put(&at("a/c/d0"), "x".into()).await.unwrap();
    let rest = Asked::pages_of(9).after(&first).page(&store).await.unwrap();
    assert_eq!(rest.objects, ["a/c/d0", "a/c/e", "a0", "b/c", "d"]);
}

// ---- what is asked for ------------------------------------------------------------------------

pub(crate) async fn a_prefix_is_the_beginning_of_a_key(root: &Dir) {
    let names = ["fo", "fob", "foo/bar/z", "foo/baz", "foo0", "g"];
    let (_, store) = planted(root, &names);
    for (prefix, from, to) in [
        ("", 0, 6), ("f", 0, 5), ("fo", 0, 5), ("fob", 1, 2), ("foo", 2, 5), ("foo/", 2, 4),
        ("foo/b", 2, 4), ("foo/bar", 2, 3), ("foo/bar/", 2, 3), ("foo/bar/z", 2, 3), ("foo/baz", 3, 4),
        ("foo/bar/z/", 0, 0), ("foo/baz/", 0, 0), ("foo/baz/x/y", 0, 0), ("fo/", 0, 0), ("x", 0, 0), ("x/y/", 0, 0),
    ] {
        for size in [1, 2, 1000] {
            let all = Asked::pages_of(size).prefix(prefix).all(&store).await.unwrap();
            assert_eq!(all.objects, names[from..to], "{prefix}, pages of {size}");
        }
    }
}

pub(crate) async fn what_has_a_delimiter_is_a_common_prefix(root: &Dir) {
    let (dir, store) = planted(root, &["a-1", "a-2", "a/b-1", "a/b-2", "a/c", "b", "c/-/d"]);
    fs::create_dir_all(dir.join("empty/below")).unwrap();
    for (prefix, delimiter, objects, prefixes) in [
        ("", "/", &["a-1", "a-2", "b"][..], &["a", "c", "empty"][..]),
        ("a", "/", &["a-1", "a-2"], &["a"]),
        ("a/", "/", &["a/b-1", "a/b-2", "a/c"], &[]),
        ("empty/", "/", &[], &["empty/below"]),
        ("", "-", &["a/c", "b"], &["a-", "a/b-", "c/-"]),
        ("a-", "-", &["a-1", "a-2"], &[]),
        ("a/", "-", &["a/c"], &["a/b-"]),
        ("", "/b", &["a-1", "a-2", "a/c", "b", "c/-/d"], &["a/b"]),
        ("", "-/", &["a-1", "a-2", "a/b-1", "a/b-2", "a/c", "b"], &["c/-"]),
        ("", "", &["a-1", "a-2", "a/b-1", "a/b-2", "a/c", "b", "c/-/d"], &[]),
    ] {
        for size in 1..=8 {
            let asked = Asked::pages_of(size).prefix(prefix).delimiter(delimiter);
            let all = asked.clone().all(&store).await.unwrap();
            assert_eq!(all.objects, objects, "{asked:?}");
            assert_eq!(all.prefixes, prefixes, "{asked:?}");
        }
    }
    // A common prefix may be no location.
    plant(&dir, &["..dots"]);
    let error = Asked::pages_of(9).delimiter(".").page(&store).await.unwrap_err();
    assert!(error.to_string().contains("another delimiter"), "{error}");
}

pub(crate) async fn an_offset_is_left_out(root: &Dir) {
    let names = ["a", "b/c", "b/d", "e"];
    let (_, store) = planted(root, &names);
    for (offset, from) in [
        ("", 0), ("a", 1), ("a/", 1), ("b", 1), ("b/", 1), ("b/c", 2), ("b/cc", 2), ("b/d", 3), ("b0", 3), ("e", 4), ("z", 4),
    ] {
        let all = Asked::pages_of(1).offset(offset).all(&store).await.unwrap();
        assert_eq!(all.objects, names[from..], "after {offset}");
    }
    // The later one of the two.
    let page = Asked::pages_of(2).page(&store).await.unwrap();
    assert_eq!(page.objects, ["a", "b/c"]);
    for (offset, rest) in [("a", &["b/d", "e"][..]), ("b/c", &["b/d", "e"]), ("b/d", &["e"]), ("e", &[])] {
        let asked = Asked::pages_of(9).offset(offset).after(&page);
        assert_eq!(asked.page(&store).await.unwrap().objects, rest, "{offset}");
    }
    let asked = Asked::pages_of(2).delimiter("/");
    let page = asked.page(&store).await.unwrap();
    assert_eq!((page.objects.len(), page.prefixes.len()), (1, 1));
    let page = asked.clone().offset("b/c").after(&page).page(&store).await.unwrap();
    assert_eq!((&page.objects[..], page.prefixes.len()), (&["e".to_owned()][..], 0));
    // What an offset may still find in a directory is not looked for.
    let page = asked.offset("b/z").page(&store).await.unwrap();
    assert_eq!(page.prefixes, ["b"]);
}

pub(crate) async fn a_page_holds_what_is_asked_for(root: &Dir) {
    let (dir, store) = planted(root, &["first", "second"]);
    let none = Asked::pages_of(0).page(&store).await.unwrap();
    assert_eq!(none, Page::default());
    let all = Asked::pages_of(usize::MAX).page(&store).await.unwrap();
    assert_eq!((all.objects.len(), all.token), (2, None));
    for n in 0..1000 {
        fs::write(dir.join(format!("{n:04}")), "x").unwrap();
    }
    let page = Asked::default().page(&store).await.unwrap();
    assert_eq!(page.objects.len(), 1000);
    let rest = Asked::default().after(&page).page(&store).await.unwrap();
    assert_eq!((rest.objects, rest.token), (vec!["first".into(), "second".into()], None));
}

/// There is a token if and only if something follows that is told.
pub(crate) async fn a_token_says_that_something_follows(root: &Dir) {
    for (follows, is_told) in [("b", true), ("b/c/d", true), ("b#1", false), ("b/", false), ("b/c#2", false)] {
        let (dir, store) = planted(root, &["a"]);
        match follows.strip_suffix('/') {
            Some(empty) => fs::create_dir_all(dir.join(empty).join("er")).unwrap(),
            None => plant(&dir, &[follows]),
        }
        let page = Asked::pages_of(1).page(&store).await.unwrap();
        assert_eq!(page.objects, ["a"]);
        assert_eq!(page.token.is_some(), is_told, "{follows}");
    }
}

// ---- what comes and goes ----------------------------------------------------------------------

pub(crate) async fn a_page_goes_on_after_what_is_gone(root: &Dir) {
    let names = ["a", "b/c", "b/d/e", "b/f", "g"];
    for gone in ["b/d/e", "b/d", "b"] {
        for new in [&[][..], &["a0", "b/c0", "b/d/a"], &["b/d/f", "b/e"]] {
            for replaced in [false, true] {
                let (dir, store) = planted(root, &names);
                let page = Asked::pages_of(3).page(&store).await.unwrap();
                assert_eq!(page.objects, names[..3]);
                plant(&dir, new);
                let path = dir.join(gone);
                let _ = fs::remove_file(&path);
                let _ = fs::remove_dir_all(&path);
                if replaced {
                    fs::write(&path, "x").unwrap();
                }
                let mut left: Vec<String> = store.list(None).map_ok(|o| o.location.into()).try_collect().await.unwrap();
                left.retain(|key| &**key > "b/d/e");
                left.sort();
                let rest = Asked::pages_of(1).after(&page).all(&store).await.unwrap();
                assert_eq!(rest.objects, left, "{gone} {new:?} {replaced}");
            }
        }
    }
}

/// What vanishes between its directory and its stat is left out, and the page is full all the same.
pub(crate) async fn what_vanishes_is_left_out_of_a_page(root: &Dir) {
    let (dir, store) = planted(root, &["a", "b", "c/d", "e", "f"]);
    let injected = fault::inject(&dir, |call: &Call<'_>| {
        match call.op {
            Op::Stat if call.path.ends_with("b") => fs::remove_file(call.path).unwrap(),
            Op::OpenDir if call.path.ends_with("c") => fs::remove_dir_all(call.path).unwrap(),
            _ => {}
        }
        Fault::none()
    });
    let page = Asked::pages_of(2).page(&store).await.unwrap();
    drop(injected);
    assert_eq!(page.objects, ["a", "e"]);
    assert!(page.token.is_some());
}

pub(crate) async fn a_directory_that_goes_stale_is_read_again(root: &Dir) {
    let names: Vec<String> = (0..9).map(|n| format!("d/{n}")).collect();
    let (dir, store) = planted(root, &names.iter().map(|n| &**n).collect::<Vec<_>>());
    let _remote = fault::pretend_remote(&dir);
    for op in [Op::OpenDir, Op::ReadDir, Op::Stat] {
        for nth in 0..12 {
            let made = AtomicUsize::new(0);
            let injected = fault::inject(&dir, move |call: &Call<'_>| {
                match call.op == op && made.fetch_add(1, Relaxed) == nth {
                    true => Fault::before_effect(libc::ESTALE),
                    false => Fault::none(),
                }
            });
            let all = Asked::pages_of(4).all(&store).await.unwrap();
            drop(injected);
            assert_eq!(all.objects, names, "{op:?} {nth}");
        }
    }
}

// ---- properties -------------------------------------------------------------------------------

const SEGMENTS: &[&str] = &["a", "b", "a-", "a-b", "a.b", "a0", "aa", "é", "%2F", "x#1y", " "];
const DELIMITERS: &[&str] = &["/", "/", "-", "a", "/a", "b/", "-b/", ""];

#[derive(Debug, Clone)]
enum Change {
    Put(String),
    Delete(prop::sample::Index),
    MakeDir(String),
    RemoveDir(prop::sample::Index),
}

fn key() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(SEGMENTS);
    prop::collection::vec(segment, 1..=3).prop_map(|segments| segments.join("/"))
}

/// Of a key, or nearly.
fn beginning() -> impl Strategy<Value = String> {
    (key(), any::<prop::sample::Index>(), prop::sample::select(&["", "", "/", "a", "0"][..])).prop_map(
        |(key, cut, end)| {
            let cuts: Vec<usize> = (0..=key.len()).filter(|at| key.is_char_boundary(*at)).collect();
            format!("{}{end}", &key[..*cut.get(&cuts)])
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => key().prop_map(Change::Put),
        3 => any::<prop::sample::Index>().prop_map(Change::Delete),
        1 => key().prop_map(Change::MakeDir),
        1 => any::<prop::sample::Index>().prop_map(Change::RemoveDir),
    ]
}

#[derive(Debug, Clone)]
struct Case {
    keys: Vec<String>,
    asked: Asked,
    /// Between two pages.
    changes: Vec<Vec<Change>>,
    /// Whether the directory `a` is a symlink.
    linked: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let asked = (
        prop::option::of(beginning()),
        prop::option::of(prop::sample::select(DELIMITERS)),
        prop::option::weighted(0.3, beginning()),
        1..=4_usize,
    );
    let asked = asked.prop_map(|(prefix, delimiter, offset, max_keys)| Asked {
        prefix,
        delimiter: delimiter.map(str::to_owned),
        offset,
        max_keys: Some(max_keys),
        token: None,
    });
    let changes = prop::collection::vec(prop::collection::vec(change(), 0..5), 0..8);
    (prop::collection::vec(key(), 0..25), asked, changes, any::<bool>()).prop_map(
        |(keys, asked, changes, linked)| Case { keys, asked, changes, linked },
    )
}

/// A tree, and what is in it.
struct Tree {
    root: PathBuf,
    keys: BTreeSet<String>,
    /// With a slash at the end.
    dirs: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Told {
    Object(String),
    Prefix(String),
}

impl Told {
    fn is_past(&self, told: &Told) -> bool {
        match (self, told) {
            (Told::Object(last), Told::Object(key) | Told::Prefix(key)) => key <= last,
            (Told::Prefix(last), Told::Object(key) | Told::Prefix(key)) => {
                key <= last || key.starts_with(last)
            }
        }
    }
}

impl Tree {
    fn change(&mut self, change: &Change) {
        let nth = |index: &prop::sample::Index, of: &BTreeSet<String>| {
            let all: Vec<_> = of.iter().cloned().collect();
            (!all.is_empty()).then(|| index.get(&all).clone())
        };
        match change {
            Change::Put(key) => {
                let parent = key.rsplit_once('/').map_or("", |(parent, _)| parent);
                if self.make_dir(parent) && fs::write(self.root.join(key), "x").is_ok() {
                    self.keys.insert(key.clone());
                }
            }
            Change::Delete(index) => {
                if let Some(key) = nth(index, &self.keys) {
                    fs::remove_file(self.root.join(&key)).unwrap();
                    self.keys.remove(&key);
                }
            }
            Change::MakeDir(dir) => {
                self.make_dir(dir);
            }
            Change::RemoveDir(index) => {
                if let Some(dir) = nth(index, &self.dirs) {
                    if fs::remove_dir(self.root.join(dir.trim_end_matches('/'))).is_ok() {
                        self.dirs.remove(&dir);
                    }
                }
            }
        }
    }

    fn make_dir(&mut self, dir: &str) -> bool {
        for (end, _) in dir.match_indices('/').chain([(dir.len(), "")]) {
            let dir = &dir[..end];
            if dir.is_empty() {
                continue;
            }
            if !self.root.join(dir).is_dir() && fs::create_dir(self.root.join(dir)).is_err() {
                return false;
            }
            self.dirs.insert(format!("{dir}/"));
        }
        true
    }

    /// What is to be told after `last`, all of it.
    fn told(&self, asked: &Asked, last: Option<&Told>) -> Vec<Told> {
        let prefix = asked.prefix.as_deref().unwrap_or_default();
        let delimiter = asked.delimiter.as_deref().filter(|d| !d.is_empty());
        let mut all: Vec<(&String, bool)> = self.keys.iter().map(|key| (key, true)).collect();
        if delimiter == Some("/") {
            all.extend(self.dirs.iter().map(|dir| (dir, false)));
        }
        all.sort();
        let mut told = Vec::new();
        for (key, is_object) in all {
            let Some(rest) = key.strip_prefix(prefix) else { continue };
            let end = delimiter.and_then(|d| Some(rest.find(d)? + d.len()));
            let next = match end {
                Some(end) => Told::Prefix(key[..prefix.len() + end].to_owned()),
                None if is_object => Told::Object(key.clone()),
                None => continue,
            };
            let is_before = match (&asked.offset, &next) {
                (None, _) => false,
                // The directory that the offset lies in is told.
                (Some(offset), Told::Prefix(dir)) if delimiter == Some("/") => {
                    offset > dir && !offset.starts_with(&**dir)
                }
                (Some(offset), _) => key <= offset,
            };
            if !is_before && !last.is_some_and(|last| last.is_past(&next)) && told.last() != Some(&next) {
                told.push(next);
            }
        }
        told
    }
}

/// Random trees, random pages, and random changes between them, against a sorted set of keys.
pub(crate) async fn pages_are_those_of_a_sorted_set_of_keys(root: &Dir) {
    let root = root.to_owned();
    // A runner blocks.
    let ran = std::thread::spawn(move || {
        let mut runner = TestRunner::new(Config {
            cases: 500,
            failure_persistence: None,
            ..Config::default()
        });
        let ran = runner.run(&case(), |case| {
            futures::executor::block_on(check(&root, &case));
            Ok(())
        });
        ran.map_err(|e| e.to_string())
    });
    ran.join().unwrap().unwrap_or_else(|e| panic!("{e}"));
}

async fn check(root: &Dir, case: &Case) {
    let dir = fresh(root, "case");
    let outside = fresh(root, "outside");
    let mut tree = Tree {
        root: dir.clone(),
        keys: BTreeSet::new(),
        dirs: BTreeSet::new(),
    };
    if case.linked {
        symlink(&outside, dir.join("a")).unwrap();
        tree.make_dir("a");
    }
    case.keys.iter().for_each(|key| tree.change(&Change::Put(key.clone())));
    let store = store(&dir);

    let mut always = tree.keys.clone();
    let (mut last, mut all, mut asked) = (None, Vec::new(), case.asked.clone());
    let mut changes = case.changes.iter();
    loop {
        let mut expected = tree.told(&asked, last.as_ref());
        let is_more = expected.len() > asked.max_keys.unwrap();
        expected.truncate(asked.max_keys.unwrap());
        let page = asked.page(&store).await.unwrap();
        let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
        for told in &expected {
            match told {
                Told::Object(key) => objects.push(key.clone()),
                Told::Prefix(key) => prefixes.push(key.strip_suffix('/').unwrap_or(key).to_owned()),
            }
        }
        assert_eq!((&page.objects, &page.prefixes), (&objects, &prefixes), "{case:?} {asked:?}");
        assert_eq!(page.token.is_some(), is_more, "{case:?} {asked:?}");
        all.extend(page.objects.iter().cloned());
        last = expected.pop();
        if !is_more {
            break;
        }
        asked = asked.after(&page);
        for change in changes.next().into_iter().flatten() {
            tree.change(change);
            always.retain(|key| tree.keys.contains(key));
        }
    }
    // Of the answers alone, whatever the tokens say.
    assert!(all.windows(2).all(|two| two[0] < two[1]), "{case:?}: {all:?}");
    if case.asked.delimiter.is_none() {
        let prefix = case.asked.prefix.clone().unwrap_or_default();
        let offset = case.asked.offset.clone().unwrap_or_default();
        for key in always.iter().filter(|key| key.starts_with(&prefix) && **key > offset) {
            assert!(all.contains(key), "{case:?}: {key} is not in {all:?}");
        }
    }
    fs::remove_dir_all(&dir).unwrap();
    fs::remove_dir_all(&outside).unwrap();
}

// ---- cost -------------------------------------------------------------------------------------

pub(crate) async fn a_page_looks_at_no_more_than_it_tells(root: &Dir) {
    let (dir, store) = planted(root, &[]);
    for n in 0..10_000 {
        fs::write(dir.join(format!("{n:04}")), "").unwrap();
    }
    let middle = Asked::pages_of(10).offset("4999");
    let second = middle.page(&store).await.unwrap();
    for asked in [
        Asked::pages_of(10),
        Asked::pages_of(10).delimiter("/"),
        middle.clone(),
        middle.after(&second),
        Asked::pages_of(10).prefix("73"),
        Asked::pages_of(10).offset("9989"),
    ] {
        for op in [Op::Stat, Op::OpenDir] {
            let (counted, counting) = count(&dir, op);
            let page = asked.page(&store).await.unwrap();
            drop(counting);
            assert_eq!(page.objects.len(), 10, "{asked:?}");
            let counted = counted.load(Relaxed);
            let most = if op == Op::Stat { 11 } else { 1 };
            assert!((1..=most).contains(&counted), "{asked:?}: {counted} {op:?}");
        }
    }
    // One for each common prefix.
    let (counted, counting) = count(&dir, Op::Stat);
    let page = Asked::pages_of(8).delimiter("9").page(&store).await.unwrap();
    drop(counting);
    assert_eq!(page.prefixes.len() + page.objects.len(), 8, "{page:?}");
    assert_eq!(counted.load(Relaxed), 9);
}

pub(crate) async fn a_page_reads_only_the_directories_that_it_needs(root: &Dir) {
    let (dir, store) = planted(root, &[]);
    for n in 0..1000 {
        plant(&dir, &[&format!("{n:03}/a"), &format!("{n:03}/b")]);
    }
    let first = Asked::pages_of(10).page(&store).await.unwrap();
    let level = Asked::pages_of(10).delimiter("/");
    // The root, those of the page, and that of what follows.
    for (asked, opened) in [
        (Asked::pages_of(10), 7),
        (Asked::pages_of(10).after(&first), 8),
        (Asked::pages_of(10).offset("500"), 7),
        (Asked::pages_of(10).offset("500/a"), 7),
        (Asked::pages_of(10).offset("500/b"), 8),
        (Asked::pages_of(10).prefix("99"), 7),
        (Asked::pages_of(10).prefix("998"), 2),
        (Asked::pages_of(10).prefix("998/"), 1),
        (Asked::pages_of(10).prefix("998/").offset("998/a"), 1),
        (Asked::pages_of(10).prefix("998/").offset("999"), 0),
        (Asked::pages_of(10).prefix("998/").after(&first), 1),
        (Asked::pages_of(0), 0),
        (level.clone(), 1),
        (level.clone().offset("500"), 1),
        // Each common prefix costs one directory.
        (Asked::pages_of(3).delimiter("/a"), 5),
    ] {
        let (counted, counting) = count(&dir, Op::OpenDir);
        let page = asked.page(&store).await.unwrap();
        drop(counting);
        let counted = counted.load(Relaxed);
        assert!(counted <= opened, "{asked:?}: {counted} opened, {page:?}");
    }
    let (counted, counting) = count(&dir, Op::Stat);
    let page = level.page(&store).await.unwrap();
    drop(counting);
    assert_eq!((page.prefixes.len(), counted.load(Relaxed)), (10, 0));
}

// ---- what other listings show -----------------------------------------------------------------

/// With all that is odd in a tree: the same objects, prefixes and failures as `list` and
/// `list_with_delimiter` have.
pub(crate) async fn pages_show_what_other_listings_show(root: &Dir) {
    for (odd, add) in reads::ODD {
        let dir = fresh(root, "odd");
        reads::plant(&dir);
        add(&dir);
        let store = LocalFileSystem::new_with_prefix(&dir).unwrap();
        for prefix in ["", "dir/", "dir/sub/", "dir/loop/", "dir#2/", "link-dir/", "here/", "%41/", "x:/", "missing/"] {
            let location = Path::parse(prefix).unwrap();
            let listed: Result<Vec<ObjectMeta>> = store.list(Some(&location)).try_collect().await;
            let listed = listed.map(|mut all| {
                all.sort_by(|a, b| a.location.cmp(&b.location));
                all
            });
            let level = store.list_with_delimiter(Some(&location)).await;
            let level = level.map(|mut level| {
                level.objects.sort_by(|a, b| a.location.cmp(&b.location));
                (level.objects, level.common_prefixes)
            });
            let whole = |delimiter: Option<&'static str>| {
                let opts = PaginatedListOptions {
                    delimiter: delimiter.map(Cow::Borrowed),
                    ..PaginatedListOptions::default()
                };
                store.list_paginated(Some(prefix), opts)
            };
            let what = format!("{prefix} with {odd}");
            match (listed, whole(None).await) {
                (Ok(listed), Ok(page)) => assert_eq!(page.result.objects, listed, "{what}"),
                (Err(theirs), Err(ours)) => assert_eq!(failure(&ours), failure(&theirs), "{what}"),
                (listed, page) => panic!("{what}: {listed:?} {page:?}"),
            }
            match (level, whole(Some("/")).await) {
                (Ok((objects, prefixes)), Ok(page)) => {
                    assert_eq!(page.result.objects, objects, "{what}");
                    let mut ours = page.result.common_prefixes;
                    ours.sort_unstable();
                    assert_eq!(ours, prefixes, "{what}");
                }
                (Err(theirs), Err(ours)) => assert_eq!(failure(&ours), failure(&theirs), "{what}"),
                (level, page) => panic!("{what}: {level:?} {page:?}"),
            }
        }
    }
}

/// What it says before it names the first of several places that are bad.
fn failure(e: &Error) -> String {
    e.to_string().split('/').next().unwrap().to_owned()
}

pub(crate) async fn a_store_of_everything_has_pages(root: &Dir) {
    let (dir, _) = planted(root, &["a", "b/c", "d"]);
    let store = LocalFileSystem::new();
    let base = format!("{}/", dir.canonicalize().unwrap().to_str().unwrap().trim_start_matches('/'));
    let names = ["a", "b/c", "d"].map(|name| format!("{base}{name}"));
    let all = Asked::pages_of(1).prefix(&base).all(&store).await.unwrap();
    assert_eq!(all.objects, names);
    let all = Asked::pages_of(1).prefix(&base).delimiter("/").all(&store).await.unwrap();
    assert_eq!(all.prefixes, [format!("{base}b")]);
    let top = Asked::pages_of(usize::MAX).delimiter("/").page(&store).await.unwrap();
    let first = base.split('/').next().unwrap();
    assert!(top.prefixes.iter().any(|dir| dir == first), "{top:?}");
}

// ---- what cannot be ---------------------------------------------------------------------------

/// What no key begins with finds nothing, and nothing outside of the root is touched.
pub(crate) async fn no_prefix_leads_out(root: &Dir) {
    let outside = fresh(root, "outside");
    plant(&outside, &["secret", "store/a", "store/..b", "store/per%cent/%2e%2e/c", "store/ü/é"]);
    let store = store(&outside.join("store"));
    let names = ["..b", "a", "per%cent/%2e%2e/c", "ü/é"];
    let (out, watching) = {
        let out = Arc::new(AtomicUsize::new(0));
        let (count, below) = (Arc::clone(&out), outside.canonicalize().unwrap().join("store"));
        let watching = fault::inject(root, move |call: &Call<'_>| {
            // Two dots in a path lead out of what it begins with.
            let is_in = call.path.starts_with(&below)
                && !call.path.components().any(|c| c == std::path::Component::ParentDir);
            count.fetch_add(usize::from(!is_in), Relaxed);
            Fault::none()
        });
        (out, watching)
    };
    for prefix in [
        "/", "//", "/a", "a/", "a//", "a/b/c", "../", "../secret", "../store/", "../store/a", "./", "./a", ".",
        "per%cent/../", "per%cent/../../secret", "%2e%2e/", "%2E%2E/secret", "per%25cent/", "per%cent//",
        "\0", "a\0/b", "\n/", "\\..\\", "..\\..\\", "..\\/", "ü/../", "ü\u{301}/", "\u{10ffff}", "*", "?/",
    ] {
        for (delimiter, offset) in [(None, None), (Some("/"), None), (None, Some("../a")), (Some(".."), Some("/"))] {
            let asked = Asked {
                prefix: Some(prefix.to_owned()),
                delimiter: delimiter.map(str::to_owned),
                offset: offset.map(str::to_owned),
                ..Asked::default()
            };
            let found: Vec<_> = names.iter().filter(|name| name.starts_with(prefix)).collect();
            match asked.page(&store).await {
                Ok(page) if delimiter.is_none() => assert_eq!(page.objects.len(), found.len(), "{asked:?}: {page:?}"),
                Ok(_) => {}
                Err(e) => assert!(delimiter == Some("..") && !found.is_empty(), "{asked:?}: {e}"),
            }
        }
    }
    for (prefix, found) in [("..", "..b"), ("per%", names[2]), ("per%cent/%2e%2e/", names[2]), ("ü/", "ü/é"), ("ü", "ü/é")] {
        let all = Asked::pages_of(1).prefix(prefix).all(&store).await.unwrap();
        assert_eq!(all.objects, [found], "{prefix}");
    }
    for offset in ["..", "../", "/", "//", "\0", "\\", "%", "a/../..", "\u{10ffff}"] {
        let all = Asked::pages_of(1).offset(offset).all(&store).await.unwrap();
        let after: Vec<_> = names.iter().filter(|name| **name > offset).collect();
        assert_eq!(all.objects.iter().collect::<Vec<_>>(), after, "{offset}");
    }
    drop(watching);
    assert_eq!(out.load(Relaxed), 0);
}

pub(crate) async fn a_token_of_another_making_is_refused(root: &Dir) {
    let (_, store) = planted(root, &["a", "b"]);
    let page = Asked::pages_of(1).page(&store).await.unwrap();
    let token = page.token.clone().unwrap();
    for bad in ["", "a", "after", "after:", "after-all-of:", "../..", "\0", "é", &token[1..]] {
        for max_keys in [0, 1] {
            let mut asked = Asked::pages_of(max_keys);
            asked.token = Some(bad.to_owned());
            let error = asked.page(&store).await.unwrap_err();
            assert!(matches!(error, Error::Generic { .. }), "{error}");
            let told = error.to_string();
            assert!(told.contains("page token") && told.contains(&format!("{bad:?}")), "{told}");
        }
    }
    // One that was tampered with leads nowhere else.
    for key in ["../..", "/", "//", "a/../..", "\0", "%", "é"] {
        let mut asked = Asked::pages_of(9);
        asked.token = Some(token.replace('a', "").replace("fter:", "after:") + key);
        let page = asked.page(&store).await.unwrap();
        let after: Vec<_> = ["a", "b"].into_iter().filter(|name| *name > key).collect();
        assert_eq!(page.objects, after, "{asked:?}");
    }
}

/// An error is told on the page that it is on, and names what failed.
pub(crate) async fn an_error_is_told_on_its_page(root: &Dir) {
    let (dir, store) = planted(root, &["a", "b/c", "d"]);
    for (op, errno) in [(Op::OpenDir, libc::EACCES), (Op::ReadDir, libc::EACCES), (Op::Stat, libc::ESTALE)] {
        let injected = fault::inject(&dir, move |call: &Call<'_>| {
            let at = if op == Op::Stat { "b/c" } else { "b" };
            match call.op == op && call.path.ends_with(at) {
                true => Fault::before_effect(errno),
                false => Fault::none(),
            }
        });
        let first = Asked::pages_of(1).page(&store).await.unwrap();
        assert_eq!(first.objects, ["a"]);
        for asked in [Asked::pages_of(1).after(&first), Asked::pages_of(2)] {
            let error = asked.page(&store).await.unwrap_err();
            assert_eq!(os_error(&error), Some(errno), "{error}");
            let path = dir.canonicalize().unwrap().join("b");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
        // Who knows better goes on behind it.
        let rest = Asked::pages_of(9).offset("b0").page(&store).await.unwrap();
        assert_eq!(rest.objects, ["d"]);
        drop(injected);
        let all = Asked::pages_of(1).all(&store).await.unwrap();
        assert_eq!(all.objects, ["a", "b/c", "d"]);
    }
}

/// What the pages tell of an object is what `head` tells.
pub(crate) async fn a_page_tells_what_head_tells(root: &Dir) {
    let store = store(root);
    for name in ["a", "b/c"] {
        store.put(&at(name), "some".into()).await.unwrap();
    }
    let page = store.list_paginated(None, PaginatedListOptions::default()).await.unwrap();
    for object in page.result.objects {
        assert_eq!(object, store.head(&object.location).await.unwrap());
    }
}
