//! Upstream's own suites, every one that its LocalFileSystem passes.

use std::path::Path;

use super::object_store::integration;
use super::{LocalFileSystem, object_store};

/// A store of a directory of its own: the suites expect nothing but what they put there.
fn store(root: &Path, name: &str, fsync: bool) -> LocalFileSystem {
    let dir = crate::minors::fresh(root, name);
    super::contract::store(&dir).with_fsync(fsync)
}

pub(crate) async fn all(root: &Path) {
    run(root, false, true).await;
}

pub(crate) async fn all_but_updates(root: &Path) {
    run(root, false, false).await;
}

pub(crate) async fn all_with_fsync(root: &Path) {
    run(root, true, true).await;
}

async fn run(root: &Path, fsync: bool, updates: bool) {
    macro_rules! suites {
        ($($suite:ident $(($argument:expr))?),+ $(,)?) => {$(
            eprintln!("{} {} in {}", super::NAME, stringify!($suite), root.display());
            integration::$suite(&store(root, stringify!($suite), fsync) $(, $argument)?).await;
        )+};
    }
    suites![
        put_get_delete_list,
        get_opts,
        list_uses_directories_correctly,
        list_with_delimiter,
        rename_and_copy,
        copy_if_not_exists,
        copy_rename_nonexistent_object,
        stream_get,
        multipart_race_condition(true),
        multipart_out_of_order,
    ];
    if updates {
        suites![put_opts(true)];
    }
    attributes_are_kept(&store(root, "put_get_attributes", fsync)).await;
    // It asks the same store by two traits.
    let both = store(root, "multipart", fsync);
    integration::multipart(&both, &both).await;
    let missing = integration::get_nonexistent_object(&store(root, "missing", fsync), None)
        .await
        .unwrap_err();
    assert!(
        matches!(missing, object_store::Error::NotFound { .. }),
        "{missing}"
    );
    list_with_offset_exclusivity(&store(root, "offset", fsync)).await;
    let paginated = store(root, "list_paginated", fsync);
    integration::list_paginated(&paginated, &paginated).await;
}

/// `put_get_attributes` takes `NotImplemented` for an answer: here it is none.
async fn attributes_are_kept(store: &LocalFileSystem) {
    use super::object_store::path::Path;
    use super::object_store::*;

    integration::put_get_attributes(store).await;
    let got = store.get(&Path::from("attributes")).await.unwrap();
    // So many has 0.12; the others have one more.
    assert!(got.attributes.len() >= 6, "{:?}", got.attributes);
}

/// A suite that 0.12 does not have; what it asks for holds there too.
async fn list_with_offset_exclusivity(store: &LocalFileSystem) {
    use super::object_store::path::Path;
    use super::object_store::*;
    use futures::TryStreamExt;

    for name in ["a", "b", "c/d", "e"] {
        store.put(&Path::from(name), "x".into()).await.unwrap();
    }
    let after = |offset: &str| {
        store
            .list_with_offset(None, &Path::from(offset))
            .map_ok(|meta| meta.location.to_string())
            .try_collect::<Vec<_>>()
    };
    let sorted = |mut found: Vec<String>| {
        found.sort();
        found
    };
    assert_eq!(sorted(after("b").await.unwrap()), ["c/d", "e"]);
    assert_eq!(sorted(after("bb").await.unwrap()), ["c/d", "e"]);
    assert_eq!(sorted(after("e").await.unwrap()), [""; 0]);
}
