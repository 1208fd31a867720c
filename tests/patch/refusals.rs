//! What `patch` refuses: with a clear message, and the tree as it was.

use crate::ONE;
use crate::stand_in::{LOCAL, commit, engine, package, patchable, register, registry_of};
use crate::workspace::{Run, Workspace, assert_same};

#[test]
fn an_object_store_that_somebody_patched() {
    let workspace = Workspace::of("object_store = \"0.14\"");
    package(&workspace, "fork", "0.14.99");
    let manifest = workspace.read("Cargo.toml");
    let theirs = "[patch.crates-io]\nobject_store = { path = \"fork\" }\n";
    workspace.write("Cargo.toml", &format!("{manifest}{theirs}"));
    workspace.metadata();
    workspace.refuses(&["patch"], &["0.14.99", "patched already", "fork"]);
    workspace
        .localfs(&["unpatch"])
        .ok()
        .says(&["nothing to undo"]);
}

#[test]
fn an_object_store_that_the_configuration_patched() {
    let workspace = Workspace::of("object_store = \"0.14\"");
    package(&workspace, "fork", "0.14.99");
    let theirs = "[patch.crates-io]\nobject_store = { path = \"fork\" }\n";
    workspace.write(".cargo/config.toml", theirs);
    workspace.metadata();
    workspace.refuses(&["patch"], &["0.14.99", "patched already", "fork"]);
}

#[test]
fn an_object_store_by_path() {
    let workspace = Workspace::of("object_store = { path = \"fork\" }");
    package(&workspace, "fork", "0.14.2");
    workspace.metadata();
    workspace.refuses(&["patch"], &["0.14.2", "comes by path", "fork"]);
}

#[test]
fn an_object_store_from_git() {
    let fork = Workspace::empty();
    package(&fork, "", "0.14.2");
    commit(&fork);

    let url = format!("file://{}", fork.root().display());
    let workspace = Workspace::locked(&format!("object_store = {{ git = \"{url}\" }}"));
    workspace.refuses(&["patch"], &["0.14.2", "comes from git", &url]);
}

#[test]
fn a_minor_without_an_adapter() {
    for version in ["0.11.2", "0.15.0", "1.0.0"] {
        let workspace = Workspace::of(&format!("object_store = \"{version}\""));
        registry_of(&workspace, version);
        workspace.metadata();
        workspace.refuses(&["patch"], &[version, "0.12, 0.13 and 0.14"]);
    }
}

#[test]
fn a_release_that_is_too_old_for_the_adapter() {
    let workspace = Workspace::of("object_store = \"0.13.0\"");
    registry_of(&workspace, "0.13.0");
    workspace.metadata();
    workspace.refuses(&["patch"], &["0.13.0", "cargo update"]);
}

#[test]
fn what_cannot_be_patched_does_not_keep_the_rest_from_it() {
    let workspace = Workspace::of(&format!(
        "{ONE}\nold = {{ package = \"object_store\", path = \"old\" }}"
    ));
    package(&workspace, "old", "0.11.2");
    workspace.metadata();
    workspace.localfs(&["patch"]).ok().says(&[
        "object_store 0.14.2 comes from patches",
        "object_store 0.11.2 is left alone: it comes by path",
    ]);
    assert_eq!(
        workspace.object_stores(),
        ["0.11.2 old", "0.14.2 patches/object_store-0.14.2"]
    );
    let again = workspace.localfs(&["patch"]).ok();
    again.says(&["nothing to do", "0.11.2 is left alone"]);
}

#[test]
fn a_version_that_moved_to_where_there_is_no_adapter() {
    let workspace =
        Workspace::of("object_store = { version = \"0.14.99\", default-features = false }");
    patchable(&workspace, "registry/object_store", "0.14.99");
    register(&workspace, "registry/object_store");
    workspace.localfs(&["patch"]).ok();

    registry_of(&workspace, "0.15.0");
    workspace.replace("Cargo.toml", "0.14.99", "0.15.0");
    let run = workspace.localfs(&["patch"]);
    run.refused(&["any more"]).says(&["0.15.0 is left alone"]);
    assert!(!workspace.read("Cargo.toml").contains("patch"));
    assert!(!workspace.path("patches").exists());
}

#[test]
fn no_object_store_at_all_is_nothing_to_do() {
    let workspace = Workspace::locked("");
    let before = workspace.tree();
    workspace
        .localfs(&["patch"])
        .ok()
        .says(&["no object_store is in the graph"]);
    assert_same(&before, &workspace.tree());
}

#[test]
fn a_layout_that_is_not_known() {
    let workspace = Workspace::of("object_store = \"0.14.99\"");
    let at = registry_of(&workspace, "0.14.99");
    workspace.metadata();
    let refused = ["0.14.99", "laid out", "object_store_localfs may know it"];
    workspace.refuses(&["patch"], &refused);

    workspace.write(&format!("{at}/src/local.rs"), LOCAL);
    for lib in ["", "pub mod local;\npub mod local;\n", "pub mod local;\n"] {
        workspace.write(&format!("{at}/src/lib.rs"), lib);
        workspace.refuses(&["patch"], &["0.14.99", "pub mod local;"]);
    }
}

#[test]
fn a_lock_file_that_it_may_not_change() {
    let workspace = Workspace::locked(ONE);
    workspace.refuses(&["patch", "--locked"], &["--locked", "Cargo.lock"]);
    // One that is stale is cargo's to complain about.
    workspace.replace("Cargo.toml", "=0.14.2", "=0.14.1");
    workspace.refuses(&["patch", "--locked"], &["--locked"]);
    // The version moved: the entries are there, the lock would change all the same.
    let workspace = Workspace::locked(&ONE.replace("0.14.2", "0.14.1"));
    workspace.localfs(&["patch"]).ok();
    workspace.replace("Cargo.toml", "=0.14.1", "=0.14.2");
    workspace.cargo(&["update", "object_store"]).ok();
    workspace.refuses(&["patch", "--locked"], &["--locked", "Cargo.lock"]);
}

#[test]
fn something_that_is_not_there_without_the_network() {
    let workspace = Workspace::locked(ONE);
    let before = workspace.tree();
    let home = tempfile::tempdir().unwrap();
    let mut command = workspace.command(&["patch", "--offline"]);
    let run = command.env("CARGO_HOME", home.path()).output().unwrap();
    Run::from(run).refused(&["--offline", "cargo fetch"]);
    assert_same(&before, &workspace.tree());
}

#[test]
fn a_workspace_that_cargo_does_not_resolve() {
    let workspace = Workspace::of("object_store = \"=0.14.9999\"");
    workspace.refuses(&["patch"], &["failed to select a version", "0.14.9999"]);
    workspace.write("Cargo.toml", "[package\n");
    workspace.refuses(&["patch"], &["Cargo.toml"]);
    let nowhere = Workspace::empty();
    nowhere.refuses(&["patch"], &["could not find `Cargo.toml`"]);
}

#[test]
fn a_directory_in_the_way() {
    let workspace = Workspace::locked(ONE);
    workspace.write("patches/object_store-0.14.2/mine.txt", "mine\n");
    workspace.refuses(&["patch"], &["in the way", "--dir"]);
    workspace.localfs(&["unpatch"]).ok();
    assert_eq!(
        workspace.read("patches/object_store-0.14.2/mine.txt"),
        "mine\n"
    );
}

#[test]
fn a_directory_outside_of_the_workspace() {
    let workspace = Workspace::locked(ONE);
    workspace.refuses(
        &["patch", "--dir", "../elsewhere"],
        &["outside of the workspace", "--dir"],
    );
}

#[test]
fn another_run_in_the_same_workspace() {
    use std::os::fd::AsRawFd;

    let workspace = Workspace::locked(ONE);
    let root = std::fs::File::open(workspace.path("")).unwrap();
    // SAFETY: the descriptor is open until the end of the test.
    let locked = unsafe { libc::flock(root.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    assert_eq!(locked, 0);
    for command in [&["patch"][..], &["patch", "--check"], &["unpatch"]] {
        workspace.refuses(command, &["another localfs is at work", "when it is done"]);
    }
    drop(root);
    workspace.localfs(&["patch"]).ok();
}

#[test]
fn members_that_take_in_the_copies() {
    let workspace = Workspace::empty();
    workspace.write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n",
    );
    workspace.package("one", ONE);
    workspace.metadata();
    workspace.refuses(&["patch"], &["patches", "--dir", "as it was before"]);
}

#[test]
fn an_engine_of_another_version() {
    let workspace = Workspace::of(&format!(
        "{ONE}\nobject_store_localfs_engine = {{ path = \"engine\" }}"
    ));
    engine(&workspace, "engine", "0.0.9");
    workspace.metadata();
    workspace.refuses(&["patch"], &["0.0.9", "cargo install object_store_localfs"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_tree_that_cannot_be_written() {
    let workspace = Workspace::locked(ONE);
    let before = workspace.tree();
    let Some(run) = patch_read_only(&workspace) else {
        eprintln!("skipped: root here, and no mounts of its own");
        return;
    };
    run.refused(&["cannot write", "writable"]);
    assert_same(&before, &workspace.tree());
}

/// Modes do not bind root, who may mount; who may not mount is bound by modes.
#[cfg(target_os = "linux")]
fn patch_read_only(workspace: &Workspace) -> Option<Run> {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" \
                  && cd \"$1\" && exec \"$2\" patch";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command
        .arg(workspace.root())
        .arg(env!("CARGO_BIN_EXE_localfs"));
    if let Ok(output) = command.output() {
        let run = Run::from(output);
        if !run.err.starts_with("unshare:") && !run.err.starts_with("mount:") {
            return Some(run);
        }
    }
    let mode = |mode| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(workspace.root(), permissions).unwrap();
    };
    mode(0o555);
    let bound = fs::write(workspace.path("probe"), "").is_err();
    let run = bound.then(|| workspace.localfs(&["patch"]));
    mode(0o755);
    let _ = fs::remove_file(workspace.path("probe"));
    run
}

#[test]
fn wrong_usage_has_a_status_of_its_own() {
    let workspace = Workspace::locked("");
    assert_eq!(workspace.localfs(&["patch", "--nonsense"]).status, Some(2));
    assert_eq!(workspace.localfs(&[]).status, Some(2));
}
