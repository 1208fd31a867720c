//! The promises, each as a check that holds in any directory of any mount.

use std::path::Path as Dir;

use futures::future::join_all;

use super::LocalFileSystem;
use super::object_store::path::Path;
use super::object_store::*;
use super::pages::pages_tell_what_was_put;
use crate::minors::{behind, files, fresh};

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
        versions_of_one_size_never_share_an_e_tag,
        an_e_tag_is_the_same_in_all_reads,
        preconditions_are_judged_by_that_e_tag,
        an_aborted_upload_leaves_nothing,
        a_dropped_upload_leaves_nothing,
        an_upload_is_over_once,
        empty_objects_and_empty_parts_are_objects,
        deleting_twice_is_not_found,
        directories_left_empty_are_removed,
        pages_tell_what_was_put,
    ];
    super::multipart_store::all(root).await;
}

/// Opened whatever faults there are: those of opening have a test of their own.
pub(crate) fn store(dir: &Dir) -> LocalFileSystem {
    let mut opened = LocalFileSystem::new_with_prefix(dir);
    for _ in 0..10 {
        opened = opened.or_else(|_| LocalFileSystem::new_with_prefix(dir));
    }
    opened.unwrap()
}

/// While the mount is stale for a moment.
pub(crate) async fn a_store_is_opened(dir: &Dir) {
    for _ in 0..12 {
        LocalFileSystem::new_with_prefix(dir).unwrap();
    }
}

pub(crate) fn at(location: &str) -> Path {
    Path::from(location)
}

pub(crate) async fn contents(store: &LocalFileSystem, location: &str) -> Vec<u8> {
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
        let put = store
            .put(&at("a"), format!("put {i}").into())
            .await
            .unwrap();
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

/// Writes another version of as many bytes, each time by another way.
async fn write(store: &LocalFileSystem, location: &str, i: usize) -> String {
    let data = format!("version {i:02}");
    let put = match i % 3 {
        0 => store.put(&at(location), data.into()).await.unwrap(),
        1 => {
            let mut upload = store.put_multipart(&at(location)).await.unwrap();
            upload.put_part(data.into()).await.unwrap();
            upload.complete().await.unwrap()
        }
        _ => {
            store.delete(&at(location)).await.unwrap();
            let create = PutOptions::from(PutMode::Create);
            store
                .put_opts(&at(location), data.into(), create)
                .await
                .unwrap()
        }
    };
    put.e_tag.unwrap()
}

/// However coarse the mtimes, and whether or not inodes tell the versions apart. After a delete the
/// location is a new one: nobody remembers what was there.
async fn versions_of_one_size_never_share_an_e_tag(dir: &Dir) {
    let store = store(dir);
    let mut before = None;
    for i in (0..30).filter(|i| i % 3 != 2) {
        let e_tag = write(&store, "a", i).await;
        let head = store.head(&at("a")).await.unwrap();
        assert_eq!(head.e_tag.as_ref(), Some(&e_tag), "version {i}");
        assert_eq!(head.size as usize, "version 00".len());
        assert_ne!(before.as_ref(), Some(&e_tag), "version {i}");
        before = Some(e_tag);
    }
    // Many more in as little time as it takes.
    let mut before = None;
    for i in 0..50 {
        let put = store.put(&at("b"), format!("{i:02}").into()).await.unwrap();
        assert_ne!(before, put.e_tag, "put {i}");
        before = put.e_tag;
    }
    assert_eq!(store.head(&at("b")).await.unwrap().e_tag, before);
}

/// `PutResult.e_tag` is what each way to read reports, as often as it is asked.
async fn an_e_tag_is_the_same_in_all_reads(dir: &Dir) {
    use futures::TryStreamExt;

    let store = store(dir);
    for i in 0..6 {
        let e_tag = Some(write(&store, "d/a", i).await);
        for _ in 0..2 {
            let head = store.head(&at("d/a")).await.unwrap();
            assert_eq!(head.e_tag, e_tag, "head");
            let got = store.get(&at("d/a")).await.unwrap();
            assert_eq!(got.meta.e_tag, e_tag, "get");
            assert_eq!(got.meta.last_modified, head.last_modified);
            assert_eq!(got.bytes().await.unwrap(), format!("version {i:02}"));
            let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
            assert_eq!(listed.len(), 1);
            assert_eq!(listed[0].e_tag, e_tag, "list");
            assert_eq!(listed[0].last_modified, head.last_modified);
            let after = store.list_with_offset(None, &at("c"));
            let listed: Vec<_> = after.try_collect().await.unwrap();
            assert_eq!(listed[0].e_tag, e_tag, "list_with_offset");
            let listed = store.list_with_delimiter(Some(&at("d"))).await.unwrap();
            assert_eq!(listed.objects[0].e_tag, e_tag, "list_with_delimiter");
        }
    }
    // What was renamed or copied is as constant.
    store.copy(&at("d/a"), &at("d/b")).await.unwrap();
    store.rename(&at("d/b"), &at("d/c")).await.unwrap();
    let head = store.head(&at("d/c")).await.unwrap();
    let got = store.get(&at("d/c")).await.unwrap();
    let listed = store.list_with_delimiter(Some(&at("d"))).await.unwrap();
    let listed = listed.objects.iter().find(|o| o.location == at("d/c"));
    assert_eq!(head.e_tag, got.meta.e_tag);
    assert_eq!(head.e_tag, listed.unwrap().e_tag);
}

async fn preconditions_are_judged_by_that_e_tag(dir: &Dir) {
    let store = store(dir);
    let old = write(&store, "a", 0).await;
    let new = write(&store, "a", 1).await;
    let ask = |if_match: Option<&str>, if_none_match: Option<&str>, head: bool| {
        let options = GetOptions {
            if_match: if_match.map(Into::into),
            if_none_match: if_none_match.map(Into::into),
            head,
            ..GetOptions::default()
        };
        let store = store.clone();
        async move {
            store
                .get_opts(&at("a"), options)
                .await
                .map(|got| got.meta.e_tag)
        }
    };
    for head in [false, true] {
        for _ in 0..2 {
            let found = ask(Some(&new), None, head).await.unwrap();
            assert_eq!(found.as_ref(), Some(&new));
            ask(None, Some(&old), head).await.unwrap();
            let both = format!("{old},{new}");
            ask(Some(&both), None, head).await.unwrap();
            let error = ask(Some(&old), None, head).await.unwrap_err();
            assert!(matches!(error, Error::Precondition { .. }), "{error}");
            let error = ask(None, Some(&new), head).await.unwrap_err();
            assert!(matches!(error, Error::NotModified { .. }), "{error}");
        }
    }
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
    // A mount that cannot rename has it elsewhere.
    assert!(files(dir).len() <= 1);
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
    assert!(!behind(dir).join("a").exists());
    store.delete(&at("d/e")).await.unwrap();
    assert_eq!(std::fs::read_dir(behind(dir)).unwrap().count(), 0);
}
