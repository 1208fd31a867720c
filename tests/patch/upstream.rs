//! Upstream's own unit tests, in a patched copy of upstream.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::{Run, Workspace};

#[test]
fn of_0_12_pass_in_the_copy() {
    pass_in_the_copy("0.12.5");
}

#[test]
fn of_0_13_pass_in_the_copy() {
    pass_in_the_copy("0.13.2");
}

#[test]
fn of_0_14_pass_in_the_copy() {
    pass_in_the_copy("0.14.2");
}

/// All tests that pass in upstream as it is pass in the copy, without a warning more.
fn pass_in_the_copy(version: &str) {
    let store = format!("object_store = {{ version = \"={version}\", features = [\"fs\"] }}");
    let workspace = Workspace::of(&store);
    let upstream = unpatched(&workspace, version);
    workspace.localfs(&["patch"]).ok();
    let copy = workspace.path(&format!("patches/object_store-{version}"));

    let ran = test(&copy, &[]);
    assert!(ran.out.contains("test result:"), "{ran:#?}");
    for failed in failed(&ran) {
        // Some of upstream's measure time, or need modes to bind, which root's do not.
        let again = test(&copy, &["--exact", &failed, "--test-threads=1"]);
        let name = failed.replace("local_upstream::", "local::");
        let theirs = || test(&upstream, &["--exact", &name, "--test-threads=1"]);
        if again.status != Some(0) {
            assert_ne!(
                theirs().status,
                Some(0),
                "{failed} passes in upstream: {again:#?}"
            );
        }
    }

    let theirs = test(&upstream, &["--list"]);
    let count = |run: &Run, word: &str| run.out.matches(word).count();
    let ours = test(&copy, &["--list"]);
    assert!(count(&ours, ": test\n") > 70, "{ours:#?}");
    assert_eq!(count(&ours, ": test\n"), count(&theirs, ": test\n"));
    assert_eq!(warnings(&ours), warnings(&theirs));
}

/// Upstream as the registry has it, in a place where it can be tested.
fn unpatched(workspace: &Workspace, version: &str) -> PathBuf {
    let graph = workspace.metadata();
    let found = graph
        .packages
        .iter()
        .find(|package| package.name == "object_store" && package.version.to_string() == version);
    let from = found.unwrap().manifest_path.parent().unwrap();
    let to = workspace.path("upstream");
    copy(from.as_std_path(), &to);
    std::fs::remove_file(to.join("Cargo.lock")).unwrap();
    let manifest = workspace.read("upstream/Cargo.toml");
    workspace.write("upstream/Cargo.toml", &format!("{manifest}\n[workspace]\n"));
    to
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => std::fs::write(to, std::fs::read(entry.path()).unwrap()).unwrap(),
        }
    }
}

fn test(dir: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--lib", "--"]).args(arguments);
    command
        .current_dir(dir)
        .env("CARGO_TARGET_DIR", crate::overriding::TARGET);
    command.output().unwrap().into()
}

/// The names of the tests that failed.
fn failed(run: &Run) -> Vec<String> {
    let name = |line: &str| {
        Some(
            line.strip_prefix("test ")?
                .strip_suffix(" ... FAILED")?
                .to_string(),
        )
    };
    run.out.lines().filter_map(name).collect()
}

/// What cargo warned of, without where: the copy's files have other lines, and one another name.
fn warnings(run: &Run) -> BTreeSet<String> {
    let warning = |line: &&str| line.starts_with("warning: ") && !line.contains(" generated ");
    run.err
        .lines()
        .filter(warning)
        .map(str::to_string)
        .collect()
}
