//! Packages that stand in for real ones, where what is in them does not matter.

use std::process::Command;

use crate::workspace::Workspace;

/// An empty object_store of this version.
pub(crate) fn package(workspace: &Workspace, at: &str, version: &str) {
    let manifest = format!("[package]\nname = \"object_store\"\nversion = \"{version}\"\n");
    workspace.write(&format!("{at}/Cargo.toml"), &manifest);
    workspace.write(&format!("{at}/src/lib.rs"), "");
}

/// As `package`, with all that `localfs patch` looks for.
pub(crate) fn patchable(workspace: &Workspace, at: &str, version: &str) {
    package(workspace, at, version);
    let manifest = workspace.read(&format!("{at}/Cargo.toml"));
    let manifest = format!("{manifest}[features]\ndefault = [\"fs\"]\nfs = []\n");
    workspace.write(&format!("{at}/Cargo.toml"), &manifest);
    let lib = "#[cfg(feature = \"fs\")]\npub mod local;\n";
    workspace.write(&format!("{at}/src/lib.rs"), lib);
    workspace.write(&format!("{at}/src/local.rs"), LOCAL);
}

/// What a `src/local.rs` must have.
pub(crate) const LOCAL: &str = "\
pub struct LocalFileSystem {}
pub(crate) enum Error {}
pub(crate) fn chunked_stream() {}
pub(crate) fn read_range() {}
";

/// An engine that is empty.
pub(crate) fn engine(workspace: &Workspace, at: &str, version: &str) {
    let manifest = format!(
        "[package]\nname = \"object_store_localfs_engine\"\nversion = \"{version}\"\n\
         edition = \"2024\"\nlinks = \"object_store_localfs_engine\"\n"
    );
    workspace.write(&format!("{at}/Cargo.toml"), &manifest);
    workspace.write(&format!("{at}/build.rs"), "fn main() {}\n");
    workspace.write(&format!("{at}/src/lib.rs"), "");
}

/// Replaces crates.io by a directory with one object_store of this version in it.
pub(crate) fn registry_of(workspace: &Workspace, version: &str) -> String {
    let at = format!("registry/object_store-{version}");
    package(workspace, &at, version);
    register(workspace, &at);
    at
}

/// Makes the package at `at`, below `registry`, one that is from crates.io.
pub(crate) fn register(workspace: &Workspace, at: &str) {
    let checksum = format!("{{\"files\":{{}},\"package\":\"{}\"}}", "0".repeat(64));
    workspace.write(&format!("{at}/.cargo-checksum.json"), &checksum);
    let config = "[source.crates-io]\nreplace-with = \"here\"\n\
                  [source.here]\ndirectory = \"registry\"\n";
    workspace.write(".cargo/config.toml", config);
}

/// Makes a git repository of it.
pub(crate) fn commit(workspace: &Workspace) {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.com"]);
        command.args(arguments).current_dir(workspace.root());
        assert!(command.output().unwrap().status.success());
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "all"]);
}
