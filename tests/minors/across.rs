//! Copies and renames between two mounts, one below the root of the store.

use std::path::Path as Dir;

use super::contract::{at, store};
use super::object_store::*;
use crate::minors::{files, fresh};

/// More than one read and write, and no round number.
const LEN: usize = 3_000_001;

fn data(seed: u8) -> Vec<u8> {
    (0..LEN).map(|i| (i % 251) as u8 ^ seed).collect()
}

/// `root` is on one mount, `root/below` is another.
pub(crate) async fn all(root: &Dir, below: &str) {
    let here = fresh(root, "here");
    let there = fresh(&root.join(below), "there");
    let name = |dir: &Dir| dir.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    for (from, to) in [(&here, &there), (&there, &here)] {
        for fsync in [false, true] {
            everything(root, &name(from), &name(to), fsync).await;
            assert_eq!((files(from), files(to)), (vec![], vec![]), "left behind");
        }
    }
}

async fn everything(root: &Dir, from: &str, to: &str, fsync: bool) {
    let store = store(root).with_fsync(fsync);
    let (from, to) = (at(&format!("{from}/a")), at(&format!("{to}/sub/b")));
    let contents = |location| {
        let store = store.clone();
        async move { store.get(&location).await.unwrap().bytes().await.unwrap() }
    };
    let names = || (files_of(root, &from), files_of(root, &to));
    let (first, second) = (data(1), data(2));

    store.put(&from, first.clone().into()).await.unwrap();
    store.copy(&from, &to).await.unwrap();
    assert!(contents(to.clone()).await == first, "copy");
    let error = store.copy_if_not_exists(&from, &to).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");

    store.put(&from, second.clone().into()).await.unwrap();
    let error = store.rename_if_not_exists(&from, &to).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
    assert!(contents(to.clone()).await == first, "it was there");
    assert!(contents(from.clone()).await == second, "it was not moved");
    store.copy(&from, &to).await.unwrap();
    assert!(contents(to.clone()).await == second, "copy over");
    assert_eq!(names(), (vec!["a".into()], vec!["b".into()]));

    store.put(&from, first.clone().into()).await.unwrap();
    store.rename(&from, &to).await.unwrap();
    assert!(contents(to.clone()).await == first, "rename over");
    assert_eq!(names(), (vec![], vec!["b".into()]));

    store.delete(&to).await.unwrap();
    store.put(&from, second.clone().into()).await.unwrap();
    store.copy_if_not_exists(&from, &to).await.unwrap();
    assert!(contents(to.clone()).await == second, "copy if absent");
    store.delete(&to).await.unwrap();
    store.rename_if_not_exists(&from, &to).await.unwrap();
    assert!(contents(to.clone()).await == second, "rename if absent");
    assert_eq!(names(), (vec![], vec!["b".into()]));

    let error = store.rename(&from, &to).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let error = store.copy(&from, &to).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert!(contents(to.clone()).await == second, "nothing happened");
    store.delete(&to).await.unwrap();
    assert_eq!(names(), (vec![], vec![]));
}

/// The files next to an object, and it.
fn files_of(root: &Dir, location: &path::Path) -> Vec<String> {
    let path = root.join(location.as_ref());
    files(path.parent().unwrap())
}
