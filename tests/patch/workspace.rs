//! Little workspaces in temporary directories, and what `localfs` does to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cargo_metadata::{Metadata, MetadataCommand};
use tempfile::TempDir;

/// What was written to the terminal, and the exit status.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, Some(0), "{self:#?}");
        self
    }

    /// It failed, and said all of `words`.
    #[track_caller]
    pub(crate) fn refused(self, words: &[&str]) -> Self {
        assert_eq!(self.status, Some(1), "{self:#?}");
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in {self:#?}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.out.contains(word), "no {word:?} in {self:#?}");
        }
        self
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Every file of a directory.
pub(crate) type Tree = BTreeMap<PathBuf, Vec<u8>>;

pub(crate) struct Workspace {
    dir: TempDir,
}

impl Workspace {
    /// A package that depends on these.
    pub(crate) fn of(dependencies: &str) -> Self {
        let workspace = Self::empty();
        workspace.package("", dependencies);
        workspace
    }

    /// As `of`, with a Cargo.lock.
    pub(crate) fn locked(dependencies: &str) -> Self {
        let workspace = Self::of(dependencies);
        workspace.metadata();
        workspace
    }

    pub(crate) fn empty() -> Self {
        let dir = tempfile::Builder::new().prefix("localfs-").tempdir();
        Self { dir: dir.unwrap() }
    }

    /// Adds a package in the directory `at`.
    pub(crate) fn package(&self, at: &str, dependencies: &str) {
        let name = if at.is_empty() { "app" } else { at };
        let name = name.rsplit('/').next().unwrap();
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
             # What it stands on.\n[dependencies]\n{dependencies}\n"
        );
        self.write(&format!("{at}/Cargo.toml"), &manifest);
        self.write(&format!("{at}/src/main.rs"), "fn main() {}\n");
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn replace(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "no {from:?} in {text}");
        self.write(path, &text.replace(from, to));
    }

    /// `localfs` in the root of the workspace, ready to be run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_localfs"));
        command.args(arguments).current_dir(self.root());
        command
    }

    pub(crate) fn localfs(&self, arguments: &[&str]) -> Run {
        self.command(arguments).output().unwrap().into()
    }

    /// Runs `localfs`, which must refuse: with all of `words`, and the tree as it was.
    #[track_caller]
    pub(crate) fn refuses(&self, arguments: &[&str], words: &[&str]) {
        let before = self.tree();
        self.localfs(arguments).refused(words);
        assert_same(&before, &self.tree());
    }

    pub(crate) fn cargo(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO"));
        command.args(arguments).current_dir(self.root());
        command.output().unwrap().into()
    }

    /// The resolved graph; cargo writes Cargo.lock where it has to.
    pub(crate) fn metadata(&self) -> Metadata {
        let mut command = MetadataCommand::new();
        command.current_dir(self.root());
        command.other_options(["--all-features".to_string()]);
        command.exec().unwrap()
    }

    /// `0.14.2 patches/object_store-0.14.2` for each object_store in the graph, without a change
    /// of Cargo.lock.
    pub(crate) fn object_stores(&self) -> Vec<String> {
        self.places("object_store")
    }

    pub(crate) fn engines(&self) -> Vec<String> {
        self.places("object_store_localfs_engine")
    }

    fn places(&self, name: &str) -> Vec<String> {
        let lock = fs::read(self.path("Cargo.lock")).unwrap();
        let graph = self.metadata();
        assert!(
            fs::read(self.path("Cargo.lock")).unwrap() == lock,
            "the lock was stale"
        );
        let place = |package: &cargo_metadata::Package| match &package.source {
            Some(source) if source.is_crates_io() => "crates.io".to_string(),
            Some(source) => source.repr.clone(),
            None => {
                let dir = package.manifest_path.parent().unwrap();
                let root = self.root().canonicalize().unwrap();
                let inside = dir.as_std_path().strip_prefix(&root);
                inside.map_or(dir.to_string(), |dir| dir.display().to_string())
            }
        };
        let packages = graph.packages.iter().filter(|package| package.name == name);
        let mut places: Vec<_> = packages
            .map(|package| format!("{} {}", package.version, place(package)))
            .collect();
        places.sort();
        places
    }

    pub(crate) fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        collect(self.root(), self.root(), &mut tree);
        tree
    }
}

fn collect(root: &Path, dir: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, tree);
        } else {
            let name = path.strip_prefix(root).unwrap().to_path_buf();
            tree.insert(name, fs::read(&path).unwrap());
        }
    }
}

/// Says which files differ, instead of printing them.
#[track_caller]
pub(crate) fn assert_same(before: &Tree, after: &Tree) {
    let names = before.keys().chain(after.keys());
    let differ: std::collections::BTreeSet<_> = names
        .filter(|name| before.get(*name) != after.get(*name))
        .collect();
    assert!(differ.is_empty(), "these files differ: {differ:?}");
}
