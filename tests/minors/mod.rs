//! Tests that are written once and run for every minor of object_store: `super::object_store` is
//! the crate, `super::LocalFileSystem` ours for it.

#![allow(
    clippy::duplicate_mod,
    reason = "one source, compiled against the types of three crates"
)]
#![allow(dead_code, reason = "no test crate calls all of it")]

use std::path::Path;

macro_rules! minor {
    ($minor:ident, $object_store:ident) => {
        #[path = "."]
        pub(crate) mod $minor {
            pub(crate) use object_store_localfs::$minor::LocalFileSystem;
            pub(crate) use $object_store as object_store;

            #[path = "bad_input.rs"]
            pub(crate) mod bad_input;
            #[path = "canaries.rs"]
            pub(crate) mod canaries;
            #[path = "contract.rs"]
            pub(crate) mod contract;
            #[path = "faults.rs"]
            pub(crate) mod faults;
            #[path = "suites.rs"]
            pub(crate) mod suites;
            #[path = "verdicts.rs"]
            pub(crate) mod verdicts;

            pub(crate) const NAME: &str = stringify!($minor);
        }
    };
}

minor!(v0_12, object_store_0_12);
minor!(v0_13, object_store_0_13);
minor!(v0_14, object_store_0_14);

/// Runs `$check(dir)` for each minor, each in a fresh directory below `$root`.
#[allow(unused_macros, reason = "as above")]
macro_rules! for_each_minor {
    ($root:expr, $module:ident :: $check:ident) => {{
        let root: &std::path::Path = $root;
        crate::minors::v0_12::$module::$check(&crate::minors::fresh(root, "0_12")).await;
        crate::minors::v0_13::$module::$check(&crate::minors::fresh(root, "0_13")).await;
        crate::minors::v0_14::$module::$check(&crate::minors::fresh(root, "0_14")).await;
    }};
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use for_each_minor;

/// A new directory below `root`.
pub(crate) fn fresh(root: &Path, name: &str) -> std::path::PathBuf {
    static MADE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let n = MADE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let dir = root.join(format!("{name}-{n}"));
    std::fs::create_dir(&dir).unwrap();
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
    walk(dir, dir, &mut found);
    found.sort();
    found
}
