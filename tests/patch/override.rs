//! Programs that take the override: they name object_store, and get our store.

use std::path::Path;
use std::process::Command;

use crate::workspace::{Run, Workspace};
use crate::{ONE, TWO, stand_in};

/// Where these programs are built: below cargo's own directory, so that a second run is quick.
pub(crate) const TARGET: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/patch");

/// A program that knows upstream's API only, but for a method and a trait that upstream's store has not.
const PROGRAM: &str = r#"
use object_store::ObjectStore;
use object_store::list::PaginatedListStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = LocalFileSystem::new_with_prefix(&dir).unwrap();
        let at = Path::from("a/b");
        let put = store.put_opts(&at, "la la".into(), Default::default()).await.unwrap();
        let got = store.get_opts(&at, Default::default()).await.unwrap();
        assert_eq!(got.meta.e_tag, put.e_tag);
        assert_eq!(got.bytes().await.unwrap(), "la la".as_bytes());

        let url = format!("file://{dir}/a/b").parse().unwrap();
        let (parsed, path) = object_store::parse_url(&url).unwrap();
        assert_eq!(parsed.get_opts(&path, Default::default()).await.unwrap().meta.size, 5);

        let page = store.list_paginated(Some("a/"), Default::default()).await.unwrap();
        assert_eq!(page.result.objects[0].location, at);

        println!("{store} {:?}", store.recoveries());
    });
}
"#;

const TOKIO: &str = r#"tokio = { version = "1", features = ["rt"] }"#;

fn run(workspace: &Workspace) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--", dir.path().to_str().unwrap()]);
    command
        .current_dir(workspace.root())
        .env("CARGO_TARGET_DIR", TARGET);
    command.output().unwrap().into()
}

#[test]
fn a_program_gets_our_store_on_every_minor() {
    for version in ["0.12.5", "0.13.2", "0.14.2"] {
        let store = format!("object_store = {{ version = \"={version}\", features = [\"fs\"] }}");
        let workspace = Workspace::of(&format!("{store}\n{TOKIO}"));
        workspace.write("src/main.rs", PROGRAM);
        workspace.localfs(&["patch"]).ok();
        let run = run(&workspace)
            .ok()
            .says(&["LocalFileSystem(", "Recoveries"]);
        // A path package's warnings are shown: there are none.
        assert_eq!(run.err, "");

        workspace.localfs(&["unpatch"]).ok();
        let run = self::run(&workspace);
        assert!(
            run.err.contains("recoveries"),
            "upstream's has that: {run:?}"
        );
    }
}

#[test]
fn a_program_that_has_this_crate_too_gets_one_engine() {
    let us = Path::new(env!("CARGO_MANIFEST_DIR"));
    let by_path =
        format!("object_store_localfs = {{ path = {us:?}, features = [\"object_store-0_12\"] }}");
    let engine = [format!("0.1.0 {}", us.join("engine").display())];

    // From the start.
    let workspace = Workspace::locked(&format!("{TWO}\n{by_path}"));
    workspace.localfs(&["patch"]).ok();
    assert_eq!(workspace.engines(), engine);
    assert_eq!(workspace.object_stores().len(), 2);
    assert!(
        !workspace
            .path("patches/object_store_localfs_engine")
            .exists()
    );
    workspace.localfs(&["patch"]).ok().says(&["nothing to do"]);

    // It comes later: cargo refuses two engines, until the copies are made anew.
    let workspace = Workspace::locked(ONE);
    workspace.localfs(&["patch"]).ok();
    assert_eq!(workspace.engines().len(), 1);
    workspace.replace("Cargo.toml", ONE, &format!("{ONE}\n{TOKIO}\n{by_path}"));
    let both = workspace.cargo(&["metadata", "--format-version=1"]);
    assert!(both.err.contains("links"), "{both:?}");
    workspace.localfs(&["patch"]).ok();
    assert_eq!(workspace.engines(), engine);
    assert!(
        !workspace
            .path("patches/object_store_localfs_engine")
            .exists()
    );

    // One table of locks, one type: the store by either name is the same.
    workspace.write(
        "src/main.rs",
        "fn main() {
            let ours: object_store_localfs::LocalFileSystem = Default::default();
            let over: object_store::local::LocalFileSystem = Default::default();
            println!(\"{ours} {over} {}\", over.recoveries() == ours.recoveries());
        }\n",
    );
    run(&workspace).ok();

    // And goes again.
    workspace.replace("Cargo.toml", &by_path, "");
    workspace.localfs(&["patch"]).ok();
    assert_eq!(workspace.object_stores().len(), 1);
}

/// The version of this crate and of its engine.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn an_engine_that_the_registry_has_is_taken_from_there() {
    let dependencies =
        format!("object_store = \"0.14.99\"\nobject_store_localfs_engine = \"{VERSION}\"");
    let workspace = Workspace::of(&dependencies);
    stand_in::patchable(&workspace, "registry/object_store", "0.14.99");
    stand_in::engine(&workspace, "registry/engine", VERSION);
    stand_in::register(&workspace, "registry/object_store");
    stand_in::register(&workspace, "registry/engine");
    workspace
        .localfs(&["patch"])
        .ok()
        .says(&["its engine comes from the registry"]);
    assert_eq!(workspace.engines(), [format!("{VERSION} crates.io")]);
    workspace.localfs(&["patch"]).ok().says(&["nothing to do"]);
}

#[test]
fn an_engine_from_git_is_taken_from_there() {
    let engine = Workspace::empty();
    stand_in::engine(&engine, "", VERSION);
    stand_in::commit(&engine);
    let url = format!("file://{}", engine.root().display());
    for reference in ["", ", branch = \"main\""] {
        let dependencies = format!(
            "object_store = \"0.14.99\"\n\
             object_store_localfs_engine = {{ git = \"{url}\"{reference} }}"
        );
        let workspace = Workspace::of(&dependencies);
        stand_in::patchable(&workspace, "registry/object_store", "0.14.99");
        stand_in::register(&workspace, "registry/object_store");
        workspace
            .localfs(&["patch"])
            .ok()
            .says(&["its engine comes from file://"]);
        let engines = workspace.engines();
        assert!(
            engines.len() == 1 && engines[0].contains("git+file://"),
            "{engines:?}"
        );
        workspace.localfs(&["patch"]).ok().says(&["nothing to do"]);
    }
}

#[test]
fn without_the_feature_fs_there_is_no_engine_in_the_graph() {
    let workspace = Workspace::locked(&ONE.replace("\"fs\"", ""));
    workspace.localfs(&["patch"]).ok();
    assert_eq!(
        workspace.object_stores(),
        ["0.14.2 patches/object_store-0.14.2"]
    );
    assert!(workspace.engines().is_empty());
    workspace.localfs(&["patch"]).ok().says(&["nothing to do"]);
    // Until somebody turns it on.
    workspace.replace("Cargo.toml", "features = []", "features = [\"fs\"]");
    workspace.localfs(&["patch"]).ok().says(&["nothing to do"]);
    workspace.metadata();
    assert_eq!(workspace.engines().len(), 1);
}
