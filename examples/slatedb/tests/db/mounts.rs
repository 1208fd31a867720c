//! The same on mounts that misbehave, with upstream's store and with ours: the table in README.md.
//! Needs root and `/dev/fuse`.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Store, collects, crash, fencing, plain};
use quirkfs::{Fault, Mounted, Op, QuirkFs, Recipe};

#[allow(
    clippy::manual_is_multiple_of,
    reason = "the crate's MSRV is older than the method"
)]
#[path = "../../../../tests/quirkfs/mod.rs"]
mod quirkfs;

#[test]
fn the_readme_tells_what_is_measured() {
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    for (mount, recipe, fault) in mounts() {
        let mut cells = vec![mount.to_owned()];
        for (store, check) in columns() {
            if !check.is_promised(mount, store) {
                cells.push("not promised".to_owned());
                continue;
            }
            let place = Place::new(recipe.clone(), fault.clone());
            let outcome = (check.run)(store, place.dir());
            place.assert_hit();
            eprintln!("{mount}, {store:?}, {}: {outcome:?}", check.works);
            cells.push(match &outcome {
                Ok(()) => check.works.to_owned(),
                Err(why) => in_few_words(why),
            });
            if let (Store::Ours, Err(why)) = (store, outcome) {
                broken.push(format!("{mount}: {why}"));
            }
        }
        rows.push(cells);
    }
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
    check_table(&rows);
}

fn mounts() -> Vec<(&'static str, Option<Recipe>, Option<Fault>)> {
    let no_links = || Recipe::plain().no_hard_links(libc::EPERM);
    let exists = |op| Fault::on(op).errno(libc::EEXIST);
    vec![
        ("Plain directory", None, None),
        ("DrvFs-like", Some(Recipe::drvfs()), None),
        ("No hard links", Some(no_links()), None),
        (
            "No hard links, no exclusive rename",
            Some(no_links().no_rename_flags()),
            None,
        ),
        (
            "No rename, no hard links",
            Some(no_links().no_rename_flags().no_rename(libc::ENOSYS)),
            None,
        ),
        (
            "DrvFs-like, every tenth reply to link lost",
            Some(Recipe::drvfs()),
            Some(exists(Op::Link).every(10).after_effect()),
        ),
    ]
}

/// What is looked at, on either store.
struct Check {
    works: &'static str,
    run: fn(Store, &Path) -> Result<(), String>,
}

impl Check {
    /// A mount that cannot rename shows a file while it is written: another writer may read a part of
    /// it, and who is killed then leaves one.
    fn is_promised(&self, mount: &str, store: Store) -> bool {
        store == Store::Upstream || self.works == COLLECTED || !mount.starts_with("No rename")
    }
}

const COLLECTED: &str = "collected";

fn columns() -> impl Iterator<Item = (Store, Check)> {
    let stores = [Store::Upstream, Store::Ours];
    stores.into_iter().flat_map(|store| {
        let checks = [
            Check {
                works: "fenced",
                run: writers,
            },
            Check {
                works: "nothing lost",
                run: crash::at_any_moment,
            },
            Check {
                works: COLLECTED,
                run: collects::old_manifests,
            },
        ];
        checks.map(|check| (store, check))
    })
}

const COLUMNS: &str = "\
| mount | upstream: the older writer | after 20 kills | old manifests | this: the older writer | after 20 kills | old manifests |
| --- | --- | --- | --- | --- | --- | --- |
";

/// In a process, and of several.
fn writers(store: Store, dir: &Path) -> Result<(), String> {
    for (name, check) in [
        ("one", fencing::in_a_process as fn(Store, &Path) -> _),
        ("takeovers", fencing::takeovers),
        ("at-once", fencing::at_once),
    ] {
        let dir = dir.join(name);
        std::fs::create_dir(&dir).unwrap();
        check(store, &dir)?;
    }
    Ok(())
}

/// A fresh mount, or a plain directory.
enum Place {
    Mount(Mounted, bool),
    Plain(TempDir),
}

impl Place {
    fn new(recipe: Option<Recipe>, fault: Option<Fault>) -> Place {
        let has_fault = fault.is_some();
        let misbehaving = |recipe| fault.into_iter().fold(recipe, Recipe::fault);
        match recipe {
            Some(recipe) => Place::Mount(QuirkFs::mount(misbehaving(recipe)), has_fault),
            None => Place::Plain(plain()),
        }
    }

    fn dir(&self) -> &Path {
        match self {
            Place::Mount(mount, _) => mount.path(),
            Place::Plain(dir) => dir.path(),
        }
    }

    /// A fault that never struck proves nothing.
    fn assert_hit(&self) {
        if let Place::Mount(mount, true) = self {
            assert_ne!(mount.faults_fired(), 0, "no fault struck");
        }
    }
}

/// Why it failed: the error of the system, or what was found.
fn in_few_words(why: &str) -> String {
    let errno = why
        .rsplit_once("(os error ")
        .and_then(|(_, after)| after.split_once(')'))
        .and_then(|(errno, _)| errno.parse().ok());
    match errno {
        Some(libc::EPERM) => "fails: EPERM".into(),
        Some(libc::ENOSYS) => "fails: ENOSYS".into(),
        None if why.contains("moves of the boundary") => "stay".into(),
        None if why.contains("fenced") || why.contains("newer DB client") => {
            "fenced, with no other".into()
        }
        _ => panic!("an unknown failure: {why}"),
    }
}

/// Fails if what is measured is not what stands there; with `UPDATE_TABLE=1` writes it instead.
fn check_table(rows: &[Vec<String>]) {
    let path: PathBuf = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md").into();
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once("<!-- mounts:begin -->").expect("a begin");
    let (standing, after) = rest.split_once("<!-- mounts:end -->").expect("an end");
    let lines = rows
        .iter()
        .map(|cells| format!("| {} |\n", cells.join(" | ")));
    let table = format!("\n\n{COLUMNS}{}\n", lines.collect::<String>());
    if std::env::var_os("UPDATE_TABLE").is_some_and(|update| update == "1") {
        let readme = format!("{before}<!-- mounts:begin -->{table}<!-- mounts:end -->{after}");
        std::fs::write(&path, readme).unwrap();
        return;
    }
    assert!(
        standing == table,
        "the table in {} is not what is measured; UPDATE_TABLE=1 writes this one:{table}",
        path.display()
    );
}
