//! What `patch` makes of workspaces, and `unpatch` of that.

use crate::workspace::{Workspace, assert_same};
use crate::{ONE, THREE, TWO};

#[test]
fn one_minor_takes_the_copy_and_nothing_else_moves() {
    let workspace = Workspace::locked(ONE);
    let manifest = workspace.read("Cargo.toml");
    let lock = workspace.read("Cargo.lock");

    workspace.localfs(&["patch"]).ok().says(&[
        "object_store 0.14.2 comes from patches/object_store-0.14.2",
        "nothing else moved",
        "localfs unpatch",
    ]);

    assert_eq!(
        workspace.object_stores(),
        ["0.14.2 patches/object_store-0.14.2"]
    );
    let patched = workspace.read("Cargo.toml");
    let added = patched.strip_prefix(&manifest).expect("only added to");
    assert_eq!(
        added,
        "\n[patch.crates-io] # localfs patch\n\
         object_store = { path = \"patches/object_store-0.14.2\" } # localfs patch\n"
    );
    let patched = workspace.read("Cargo.lock");
    let gone: Vec<_> = lock
        .lines()
        .filter(|line| !patched.contains(line))
        .collect();
    assert_eq!(gone.len(), 1, "the checksum of object_store: {gone:?}");
}

#[test]
fn each_of_two_minors_takes_its_own() {
    let workspace = Workspace::locked(TWO);
    workspace.localfs(&["patch"]).ok();
    assert_eq!(
        workspace.object_stores(),
        [
            "0.12.5 patches/object_store-0.12.5",
            "0.14.2 patches/object_store-0.14.2"
        ]
    );
}

#[test]
fn each_of_three_minors_takes_its_own_with_one_engine() {
    let workspace = Workspace::locked(THREE);
    workspace.localfs(&["patch"]).ok();
    assert_eq!(
        workspace.object_stores(),
        [
            "0.12.5 patches/object_store-0.12.5",
            "0.13.2 patches/object_store-0.13.2",
            "0.14.2 patches/object_store-0.14.2"
        ]
    );
    assert_eq!(workspace.engines().len(), 1);
}

#[test]
fn a_second_run_changes_nothing() {
    for dependencies in [ONE, THREE] {
        let workspace = Workspace::locked(dependencies);
        workspace.localfs(&["patch"]).ok();
        let patched = workspace.tree();
        workspace.localfs(&["patch"]).ok().says(&["nothing to do"]);
        assert_same(&patched, &workspace.tree());
        workspace.localfs(&["patch", "--locked", "--offline"]).ok();
        assert_same(&patched, &workspace.tree());
    }
}

#[test]
fn unpatch_gives_back_the_tree_to_the_byte() {
    // The middle one is locked to a release that is not the newest: it must not move.
    let older =
        r#"object_store = { version = "0.14.1", default-features = false, features = ["fs"] }"#;
    for dependencies in [ONE, older, THREE] {
        let workspace = Workspace::locked(dependencies);
        if dependencies == older {
            let precise = ["update", "object_store", "--precise", "0.14.1"];
            workspace.cargo(&precise).ok();
        }
        let before = workspace.tree();
        workspace.localfs(&["patch"]).ok();
        workspace.localfs(&["unpatch"]).ok();
        assert_same(&before, &workspace.tree());
        assert!(!workspace.path("patches").exists());
        workspace
            .localfs(&["unpatch"])
            .ok()
            .says(&["nothing to undo"]);
    }
}

#[test]
fn check_changes_nothing_and_tells_by_its_status() {
    let workspace = Workspace::locked(TWO);
    let before = workspace.tree();
    let check = workspace.localfs(&["patch", "--check"]);
    assert_eq!(check.status, Some(1));
    check.says(&["object_store 0.12.5", "object_store 0.14.2"]);
    assert_same(&before, &workspace.tree());

    workspace.localfs(&["patch"]).ok();
    let patched = workspace.tree();
    workspace.localfs(&["patch", "--check"]).ok();
    assert_same(&patched, &workspace.tree());
}

#[test]
fn without_a_lock_check_writes_none_and_patch_says_so() {
    let workspace = Workspace::of(ONE);
    let before = workspace.tree();
    assert_eq!(workspace.localfs(&["patch", "--check"]).status, Some(1));
    assert_same(&before, &workspace.tree());
    workspace
        .localfs(&["patch"])
        .ok()
        .says(&["Cargo.lock was not there"]);
}

#[test]
fn a_version_that_moved_is_followed() {
    for (from, to) in [("0.14.1", "0.14.2"), ("0.12.4", "0.12.5")] {
        let dependency = format!("object_store = {{ version = \"={from}\", features = [\"fs\"] }}");
        let workspace = Workspace::locked(&dependency);
        workspace.localfs(&["patch"]).ok();
        workspace.replace("Cargo.toml", &format!("={from}"), &format!("={to}"));
        workspace.cargo(&["update", "object_store"]).ok();
        assert_eq!(workspace.object_stores(), [format!("{to} crates.io")]);

        let check = workspace.localfs(&["patch", "--check"]);
        assert_eq!(check.status, Some(1), "{check:?}");
        workspace.localfs(&["patch"]).ok();
        let copy = format!("patches/object_store-{to}");
        assert_eq!(workspace.object_stores(), [format!("{to} {copy}")]);
        assert!(
            !workspace
                .path(&format!("patches/object_store-{from}"))
                .exists()
        );

        // As if it had been this version all the time.
        let moved = workspace.tree();
        let fresh = Workspace::of(&dependency.replace(from, to));
        fresh.write("Cargo.lock", &workspace.read("Cargo.lock"));
        fresh.localfs(&["patch"]).ok();
        assert_same(&fresh.tree(), &moved);
    }
}

/// Comments stripped, and a fresh clone that leaves the copies out.
#[test]
fn an_entry_without_mark_and_copy_is_still_ours() {
    let workspace = Workspace::locked(ONE);
    let lock = workspace.read("Cargo.lock");
    workspace.localfs(&["patch"]).ok();
    workspace.replace("Cargo.toml", " # localfs patch", "");
    for command in ["patch", "unpatch"] {
        std::fs::remove_dir_all(workspace.path("patches")).unwrap();
        workspace.localfs(&[command]).ok();
    }
    assert!(
        !workspace
            .read("Cargo.toml")
            .contains("patches/object_store")
    );
    assert_eq!(workspace.read("Cargo.lock"), lock);
}

/// Our entry under the registry's other name: what cargo uses is not removed.
#[test]
fn a_copy_that_something_else_uses_stays() {
    let workspace = Workspace::locked(ONE);
    workspace.localfs(&["patch"]).ok();
    workspace.replace(
        "Cargo.toml",
        "[patch.crates-io]",
        "[patch.\"https://github.com/rust-lang/crates.io-index\"]",
    );
    let before = workspace.tree();
    let unpatched = workspace.localfs(&["unpatch"]);
    assert_eq!(unpatched.status, Some(1));
    assert_same(&before, &workspace.tree());
}

#[test]
fn a_copy_that_was_changed_or_is_gone_is_made_anew() {
    let workspace = Workspace::locked(ONE);
    workspace.localfs(&["patch"]).ok();
    let patched = workspace.tree();

    let methods = "patches/object_store-0.14.2/src/local/localfs/methods.rs";
    let damage: [&dyn Fn(); 5] = [
        &|| workspace.write(methods, "// gone\n"),
        &|| std::fs::remove_file(workspace.path(methods)).unwrap(),
        &|| {
            workspace.replace(
                "patches/object_store-0.14.2/localfs.toml",
                "recipe = \"",
                "recipe = \"0",
            )
        },
        &|| std::fs::remove_dir_all(workspace.path("patches")).unwrap(),
        &|| std::fs::remove_dir_all(workspace.path("patches/object_store_localfs_engine")).unwrap(),
    ];
    for damage in damage {
        damage();
        let damaged = workspace.tree();
        assert_eq!(workspace.localfs(&["patch", "--check"]).status, Some(1));
        assert_same(&damaged, &workspace.tree());
        workspace.localfs(&["patch"]).ok();
        assert_same(&patched, &workspace.tree());
    }
}

#[test]
fn a_minor_that_came_and_went_is_followed() {
    let workspace = Workspace::locked(ONE);
    workspace.localfs(&["patch"]).ok();
    workspace.replace("Cargo.toml", ONE, TWO);
    workspace.localfs(&["patch"]).ok();
    assert_eq!(
        workspace.object_stores(),
        [
            "0.12.5 patches/object_store-0.12.5",
            "0.14.2 patches/object_store-0.14.2"
        ]
    );
    workspace.replace("Cargo.toml", TWO, ONE);
    workspace.localfs(&["patch"]).ok();
    assert_eq!(
        workspace.object_stores(),
        ["0.14.2 patches/object_store-0.14.2"]
    );
    assert!(!workspace.path("patches/object_store-0.12.5").exists());

    // And when the last one goes, so do we.
    workspace.replace("Cargo.toml", ONE, "");
    workspace.localfs(&["patch"]).ok();
    assert!(!workspace.read("Cargo.toml").contains("patch"));
    assert!(!workspace.path("patches").exists());
}

#[test]
fn a_virtual_workspace_is_patched_in_its_root_from_any_member() {
    let workspace = Workspace::empty();
    let root = "# All of it.\n[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n";
    workspace.write("Cargo.toml", root);
    workspace.package("crates/one", ONE);
    workspace.package("crates/two", "one = { path = \"../one\" }");
    workspace.metadata();
    let before = workspace.tree();

    let members: [&[&str]; 2] = [
        &["patch", "--manifest-path", "crates/two/Cargo.toml"],
        &["patch", "--manifest-path", "Cargo.toml"],
    ];
    for arguments in members {
        workspace.localfs(arguments).ok();
        assert!(workspace.read("Cargo.toml").starts_with(root));
        assert_eq!(
            workspace.object_stores(),
            ["0.14.2 patches/object_store-0.14.2"]
        );
        let unpatch = ["unpatch", "--manifest-path", "crates/one/Cargo.toml"];
        workspace.localfs(&unpatch).ok();
        assert_same(&before, &workspace.tree());
    }

    // From inside of a member, with nothing said.
    let mut command = workspace.command(&["patch"]);
    command.current_dir(workspace.path("crates/two/src"));
    assert!(command.output().unwrap().status.success());
    assert!(workspace.path("patches/object_store-0.14.2").exists());
}

#[test]
fn other_people_s_patches_stay() {
    let workspace = Workspace::of(ONE);
    let theirs = "\n[patch.crates-io]\n\
         # Ours is quicker.\n\
         humantime = { path = \"humantime\" } # until 3.0\n\
         # That was all.\n\n\
         [profile.dev]\ndebug = 0 # small\n";
    let manifest = workspace.read("Cargo.toml");
    workspace.write("Cargo.toml", &format!("{manifest}{theirs}"));
    workspace.package("humantime", "");
    workspace.replace("humantime/Cargo.toml", "0.1.0", "2.99.0");
    workspace.write("humantime/src/lib.rs", "");
    workspace.metadata();
    let before = workspace.tree();

    workspace.localfs(&["patch"]).ok();
    let patched = workspace.read("Cargo.toml");
    let lines = |text: &str| text.lines().map(str::to_string).collect::<Vec<_>>();
    let ours = |line: &String| line.ends_with("# localfs patch");
    let mut rest = lines(&patched);
    rest.retain(|line| !ours(line));
    assert_eq!(rest, lines(&format!("{manifest}{theirs}")));
    assert_eq!(
        workspace.object_stores(),
        ["0.14.2 patches/object_store-0.14.2"]
    );

    workspace.localfs(&["unpatch"]).ok();
    assert_same(&before, &workspace.tree());
}

fn vendor(workspace: &Workspace) {
    let config = workspace.cargo(&["vendor", "--locked", "vendor"]).ok();
    let config = config.says(&["replace-with"]).out;
    workspace.write(".cargo/config.toml", &config);
}

#[test]
fn a_vendored_registry_is_enough() {
    let workspace = Workspace::locked(THREE);
    vendor(&workspace);
    // An empty cargo home, so that there is nothing else to take sources from.
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = workspace.command(arguments);
        crate::workspace::Run::from(command.env("CARGO_HOME", home.path()).output().unwrap())
    };

    let before = workspace.tree();
    run(&["patch", "--offline"]).ok();
    assert_eq!(workspace.object_stores().len(), 3);
    let patched = workspace.tree();
    run(&["patch", "--offline"]).ok().says(&["nothing to do"]);
    assert_same(&patched, &workspace.tree());
    run(&["unpatch", "--offline"]).ok();
    assert_same(&before, &workspace.tree());
}

#[test]
fn a_copy_is_the_same_from_a_vendored_registry() {
    let workspace = Workspace::locked(ONE);
    workspace.localfs(&["patch"]).ok();
    let patched = workspace.tree();
    workspace.localfs(&["unpatch"]).ok();
    vendor(&workspace);
    workspace.localfs(&["patch"]).ok();
    let mut vendored = workspace.tree();
    vendored.retain(|path, _| !path.starts_with("vendor") && !path.starts_with(".cargo"));
    assert_same(&patched, &vendored);
}

#[test]
fn dir_chooses_another_place_and_is_remembered() {
    let workspace = Workspace::locked(ONE);
    let before = workspace.tree();
    let dir = ["patch", "--dir", "third/party"];
    workspace.localfs(&dir).ok();
    let copy = ["0.14.2 third/party/object_store-0.14.2"];
    assert_eq!(workspace.object_stores(), copy);
    workspace.localfs(&["patch"]).ok().says(&["nothing to do"]);
    assert_eq!(workspace.object_stores(), copy);

    workspace.localfs(&["patch", "--dir", "elsewhere"]).ok();
    assert_eq!(
        workspace.object_stores(),
        ["0.14.2 elsewhere/object_store-0.14.2"]
    );
    assert!(!workspace.path("third/party").exists());
    workspace.localfs(&["unpatch"]).ok();
    assert_same(&before, &workspace.tree());
}

#[test]
fn a_manifest_with_windows_line_ends_keeps_them() {
    let workspace = Workspace::locked(ONE);
    let manifest = workspace.read("Cargo.toml").replace('\n', "\r\n");
    workspace.write("Cargo.toml", &manifest);
    let before = workspace.tree();
    workspace.localfs(&["patch"]).ok();
    let patched = workspace.read("Cargo.toml");
    assert_eq!(
        patched.matches('\n').count(),
        patched.matches("\r\n").count()
    );
    workspace.localfs(&["unpatch"]).ok();
    assert_same(&before, &workspace.tree());
}
