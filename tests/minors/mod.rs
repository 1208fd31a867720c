//! Tests that are written once and run for every minor of object_store: `super::object_store` is
//! the crate, `super::LocalFileSystem` ours for it.

#![allow(
    clippy::duplicate_mod,
    reason = "one source, compiled against the types of three crates"
)]
#![allow(dead_code, reason = "no test crate calls all of it")]

use std::path::{Path, PathBuf};
use std::sync::RwLock;

macro_rules! minor {
    ($minor:ident, $object_store:ident) => {
        #[path = "."]
        pub(crate) mod $minor {
            pub(crate) use object_store_localfs::$minor::LocalFileSystem;
            pub(crate) use $object_store as object_store;

            #[path = "across.rs"]
            pub(crate) mod across;
            #[path = "attributes.rs"]
            pub(crate) mod attributes;
            #[path = "bad_input.rs"]
            pub(crate) mod bad_input;
            #[path = "canaries.rs"]
            pub(crate) mod canaries;
            #[path = "contract.rs"]
            pub(crate) mod contract;
            #[path = "faults.rs"]
            pub(crate) mod faults;
            #[path = "mishaps.rs"]
            pub(crate) mod mishaps;
            #[path = "multipart_store.rs"]
            pub(crate) mod multipart_store;
            #[path = "pages.rs"]
            pub(crate) mod pages;
            #[path = "reads.rs"]
            pub(crate) mod reads;
            #[path = "suites.rs"]
            pub(crate) mod suites;
            #[path = "sweep.rs"]
            pub(crate) mod sweep;
            #[path = "updates.rs"]
            pub(crate) mod updates;
            #[path = "verdicts.rs"]
            pub(crate) mod verdicts;

            pub(crate) const NAME: &str = stringify!($minor);
        }
    };
}

minor!(v0_12, object_store_0_12);
minor!(v0_13, object_store_0_13);
minor!(v0_14, object_store_0_14);

#[path = "suites_0_14.rs"]
pub(crate) mod suites_0_14;

/// Runs `$check(dir, $argument...)` for each minor, each in a fresh directory below `$root`.
#[allow(unused_macros, reason = "as above")]
macro_rules! for_each_minor {
    ($root:expr, $module:ident :: $check:ident $(, $argument:expr)* $(,)?) => {{
        use crate::minors::{fresh, v0_12, v0_13, v0_14};
        let root: &std::path::Path = $root;
        v0_12::$module::$check(&fresh(root, "0_12") $(, $argument)*).await;
        v0_13::$module::$check(&fresh(root, "0_13") $(, $argument)*).await;
        v0_14::$module::$check(&fresh(root, "0_14") $(, $argument)*).await;
    }};
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use for_each_minor;

/// What makes a mount fail, and work again.
pub(crate) struct Mishap<'a> {
    pub(crate) name: &'a str,
    pub(crate) begin: &'a dyn Fn(),
    pub(crate) end: &'a dyn Fn(),
}

/// Mounts that misbehave, and the directories behind them.
static BEHIND: RwLock<Vec<(PathBuf, PathBuf)>> = RwLock::new(Vec::new());

/// What tests themselves look at or make below `mount` is looked at and made in `backing`: a fault
/// is for the store, and a test that met it would prove nothing.
pub(crate) fn look_behind(mount: &Path, backing: &Path) {
    let pair = (mount.to_owned(), backing.to_owned());
    BEHIND.write().unwrap().push(pair);
}

/// Where a path of a mount really is; on a mount that behaves, there.
pub(crate) fn behind(path: &Path) -> PathBuf {
    for (mount, backing) in &*BEHIND.read().unwrap() {
        if let Ok(rest) = path.strip_prefix(mount) {
            // Joined by components: no separator is left at the end of a root.
            return backing.components().chain(rest.components()).collect();
        }
    }
    path.to_owned()
}

/// A new directory below `root`.
pub(crate) fn fresh(root: &Path, name: &str) -> std::path::PathBuf {
    static MADE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let n = MADE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let dir = root.join(format!("{name}-{n}"));
    std::fs::create_dir(behind(&dir)).unwrap();
    dir
}

/// The names of all files below `dir`, staging files included, sorted.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let name = path.strip_prefix(root).unwrap();
                found.push(name.to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    let dir = behind(dir);
    walk(&dir, &dir, &mut found);
    found.sort();
    found
}
