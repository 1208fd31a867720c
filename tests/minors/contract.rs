//! The promises, each as a check that holds in any directory of any mount.

use std::path::Path as Dir;

use futures::future::join_all;

use super::LocalFileSystem;
use super::object_store::path::Path;
use super::object_store::*;
use crate::minors::{files, fresh};

pub(crate) async fn all(root: &Dir) {
    macro_rules! checks {
        ($($check:ident),+ $(,)?) => {$(
            eprintln!("{} {} in {}", super::NAME, stringify!($check), root.display());
            $check(&fresh(root, stringify!($check))).await;
        )+};
    }
    checks![
        a_dropped_part_publishes_no_hole,
        a_part_that_is_awaited_late_is_no_hole,
        rename_onto_its_own_copy_moves,
        rename_if_not_exists_onto_its_own_copy_moves_nothing,
        rename_onto_itself_keeps_it,
        five_copies_leave_no_staging_file,
        copies_of_a_copy_are_copies,
        of_sixteen_creators_one_wins,
        of_sixteen_copiers_one_wins,
        parts_reversed_and_parallel_read_back_whole,
        the_e_tag_of_a_write_is_that_of_head,
        an_aborted_upload_leaves_nothing,
        a_dropped_upload_leaves_nothing,
        an_upload_is_over_once,
        empty_objects_and_empty_parts_are_objects,
        deleting_twice_is_not_found,
        directories_left_empty_are_removed,
    ];
}

pub(crate) fn store(dir: &Dir) -> LocalFileSystem {
    LocalFileSystem::new_with_prefix(dir).unwrap()
}

pub(crate) fn at(location: &str) -> Path {
    Path::from(location)
}

async fn contents(store: &LocalFileSystem, location: &str) -> Vec<u8> {
    let got = store.get(&at(location)).await.unwrap();
    got.bytes().await.unwrap().to_vec()
}

async fn a_dropped_part_publishes_no_hole(dir: &Dir) {
    let store = store(dir);
    store.put(&at("a"), "before".into()).await.unwrap();

    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    upload.put_part("first".into()).await.unwrap();
    drop(upload.put_part("dropped".into()));
    upload.put_part("third".into()).await.unwrap();
    for _ in 0..2 {
        let error = upload.complete().await.unwrap_err().to_string();
        assert!(error.contains("part 2, bytes 5..12"), "{error}");
    }
    assert_eq!(contents(&store, "a").await, b"before");

    upload.abort().await.unwrap();
    assert_eq!(files(dir), ["a"]);
}

async fn a_part_that_is_awaited_late_is_no_hole(dir: &Dir) {
    let store = store(dir);
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    let late = upload.put_part("12".into());
    upload.put_part("34".into()).await.unwrap();
    let error = upload.complete().await.unwrap_err().to_string();
    assert!(error.contains("1 parts are not written yet"), "{error}");

    late.await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(contents(&store, "a").await, b"1234");
    assert_eq!(files(dir), ["a"]);
}

async fn rename_onto_its_own_copy_moves(dir: &Dir) {
    let store = store(dir);
    store.put(&at("a"), "data".into()).await.unwrap();
    store.copy(&at("a"), &at("sub/b")).await.unwrap();
    store.rename(&at("a"), &at("sub/b")).await.unwrap();
    assert_eq!(files(dir), ["sub/b"]);
    assert_eq!(contents(&store, "sub/b").await, b"data");
}

async fn rename_if_not_exists_onto_its_own_copy_moves_nothing(dir: &Dir) {
    let store = store(dir);
    store.put(&at("a"), "data".into()).await.unwrap();
    store.copy(&at("a"), &at("b")).await.unwrap();
    let error = store
        .rename_if_not_exists(&at("a"), &at("b"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
    assert_eq!(files(dir), ["a", "b"]);

    store
        .rename_if_not_exists(&at("a"), &at("c"))
        .await
        .unwrap();
    assert_eq!(files(dir), ["b", "c"]);
}

async fn rename_onto_itself_keeps_it(dir: &Dir) {
    let store = store(dir);
    store.put(&at("a"), "data".into()).await.unwrap();
    store.rename(&at("a"), &at("a")).await.unwrap();
    assert_eq!(files(dir), ["a"]);
    // Also where it has a second link.
    store.copy(&at("a"), &at("b")).await.unwrap();
    store.rename(&at("a"), &at("a")).await.unwrap();
    assert_eq!(files(dir), ["a", "b"]);
    let error = store
        .rename_if_not_exists(&at("a"), &at("a"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
    assert_eq!(files(dir), ["a", "b"]);
}

async fn five_copies_leave_no_staging_file(dir: &Dir) {
    let store = store(dir);
    store.put(&at("a"), "data".into()).await.unwrap();
    for _ in 0..5 {
        store.copy(&at("a"), &at("b")).await.unwrap();
        store.copy(&at("b"), &at("b")).await.unwrap();
    }
    assert_eq!(files(dir), ["a", "b"]);
}

async fn copies_of_a_copy_are_copies(dir: &Dir) {
    let store = store(dir);
    store.put(&at("a"), "data".into()).await.unwrap();
    store.copy(&at("a"), &at("b")).await.unwrap();
    store.put(&at("a"), "newer".into()).await.unwrap();
    assert_eq!(contents(&store, "b").await, b"data");
    store.copy(&at("a"), &at("b")).await.unwrap();
    assert_eq!(contents(&store, "b").await, b"newer");
    assert_eq!(files(dir), ["a", "b"]);
}

async fn of_sixteen_creators_one_wins(dir: &Dir) {
    let store = store(dir);
    for round in 0..4 {
        let location = at(&format!("sub/{round}"));
        let creators = (0..16).map(|i| {
            let (store, location) = (store.clone(), location.clone());
            tokio::spawn(async move {
                let create = PutOptions::from(PutMode::Create);
                let put = store
                    .put_opts(&location, format!("creator {i}").into(), create)
                    .await;
                (i, put)
            })
        });
        let mut winners = Vec::new();
        for created in join_all(creators).await {
            match created.unwrap() {
                (i, Ok(put)) => winners.push((i, put)),
                (_, Err(Error::AlreadyExists { .. })) => {}
                (i, Err(error)) => panic!("creator {i}: {error}"),
            }
        }
        let [(winner, put)] = &winners[..] else {
            panic!("winners: {winners:?}");
        };
        let found = contents(&store, location.as_ref()).await;
        assert_eq!(found, format!("creator {winner}").as_bytes());
        assert_eq!(store.head(&location).await.unwrap().e_tag, put.e_tag);
    }
    assert_eq!(files(dir), ["sub/0", "sub/1", "sub/2", "sub/3"]);
}

async fn of_sixteen_copiers_one_wins(dir: &Dir) {
    let store = store(dir);
    store.put(&at("a"), "data".into()).await.unwrap();
    let copiers = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.copy_if_not_exists(&at("a"), &at("b")).await })
    });
    let copied = join_all(copiers).await;
    let won = copied.iter().filter(|c| matches!(c, Ok(Ok(())))).count();
    let lost = copied
        .iter()
        .filter(|c| matches!(c, Ok(Err(Error::AlreadyExists { .. }))))
        .count();
    assert_eq!((won, lost), (1, 15), "{copied:?}");
    assert_eq!(files(dir), ["a", "b"]);
}

async fn parts_reversed_and_parallel_read_back_whole(dir: &Dir) {
    let store = store(dir);
    let part = |i: usize| vec![i as u8; 1000 + 37 * i];
    let whole: Vec<u8> = (0..32).flat_map(part).collect();
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    let mut parts: Vec<_> = (0..32).map(|i| upload.put_part(part(i).into())).collect();
    parts.reverse();
    let written = join_all(parts.into_iter().map(tokio::spawn)).await;
    assert!(written.into_iter().all(|part| part.unwrap().is_ok()));
    upload.complete().await.unwrap();
    assert!(contents(&store, "a").await == whole);
    assert_eq!(files(dir), ["a"]);
}

async fn the_e_tag_of_a_write_is_that_of_head(dir: &Dir) {
    let store = store(dir);
    let mut e_tags = Vec::new();
    for i in 0..3 {
        let put = store.put(&at("a"), format!("put {i}").into()).await.unwrap();
        let head = store.head(&at("a")).await.unwrap();
        assert_eq!(put.e_tag, head.e_tag, "put");
        e_tags.push(put.e_tag.unwrap());

        let mut upload = store.put_multipart(&at("a")).await.unwrap();
        upload.put_part("part".into()).await.unwrap();
        let put = upload.complete().await.unwrap();
        let got = store.get(&at("a")).await.unwrap();
        assert_eq!(put.e_tag, got.meta.e_tag, "complete");
        e_tags.push(put.e_tag.unwrap());
    }
    assert!(
        e_tags.windows(2).all(|two| two[0] != two[1]),
        "two versions share an e_tag: {e_tags:?}"
    );
}

async fn an_aborted_upload_leaves_nothing(dir: &Dir) {
    let store = store(dir);
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    upload.put_part("data".into()).await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!(files(dir), [""; 0]);
    upload.complete().await.unwrap_err();
    upload.put_part("more".into()).await.unwrap_err();
    drop(upload);
    assert_eq!(files(dir), [""; 0]);
}

async fn a_dropped_upload_leaves_nothing(dir: &Dir) {
    let store = store(dir);
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    upload.put_part("data".into()).await.unwrap();
    assert_eq!(files(dir).len(), 1);
    drop(upload);
    eventually(|| files(dir).is_empty()).await;
}

/// Waits for what another thread is about to do; a minute is never needed and always enough.
pub(crate) async fn eventually(holds: impl Fn() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("not within a minute");
}

async fn an_upload_is_over_once(dir: &Dir) {
    let store = store(dir);
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    upload.put_part("data".into()).await.unwrap();
    upload.complete().await.unwrap();
    upload.complete().await.unwrap_err();
    upload.abort().await.unwrap_err();
    drop(upload);
    assert_eq!(contents(&store, "a").await, b"data");
    assert_eq!(files(dir), ["a"]);
}

async fn empty_objects_and_empty_parts_are_objects(dir: &Dir) {
    let store = store(dir);
    store.put(&at("a"), PutPayload::new()).await.unwrap();
    assert_eq!(contents(&store, "a").await, b"");
    let mut upload = store.put_multipart(&at("b")).await.unwrap();
    upload.put_part(PutPayload::new()).await.unwrap();
    upload.put_part("data".into()).await.unwrap();
    upload.put_part(PutPayload::new()).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(contents(&store, "b").await, b"data");
    store
        .put_multipart(&at("c"))
        .await
        .unwrap()
        .complete()
        .await
        .unwrap();
    assert_eq!(contents(&store, "c").await, b"");
    assert_eq!(files(dir), ["a", "b", "c"]);
}

async fn deleting_twice_is_not_found(dir: &Dir) {
    let store = store(dir);
    store.put(&at("a"), "data".into()).await.unwrap();
    store.delete(&at("a")).await.unwrap();
    for location in ["a", "no/such/directory"] {
        let error = store.delete(&at(location)).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }
}

async fn directories_left_empty_are_removed(dir: &Dir) {
    let store = store(dir).with_automatic_cleanup(true);
    store.put(&at("a/b/c"), "data".into()).await.unwrap();
    store
        .rename_if_not_exists(&at("a/b/c"), &at("d/e"))
        .await
        .unwrap();
    assert!(!dir.join("a").exists());
    store.delete(&at("d/e")).await.unwrap();
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
    assert!(dir.exists());
}
