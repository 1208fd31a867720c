//! The promises of uploads that survive their process, each as a check that holds in any directory
//! of any mount.

use std::path::Path as Dir;

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};

use super::LocalFileSystem;
use super::contract::{at, contents, store};
use super::object_store::multipart::{MultipartStore, PartId};
use super::object_store::*;
use crate::minors::{behind, files, fresh, v0_12, v0_13, v0_14};

pub(crate) async fn all(root: &Dir) {
    macro_rules! checks {
        ($($check:ident),+ $(,)?) => {$(
            eprintln!("{} {} in {}", super::NAME, stringify!($check), root.display());
            $check(&fresh(root, stringify!($check))).await;
        )+};
    }
    checks![
        parts_in_any_order_and_again_are_those_that_are_named,
        no_parts_are_an_empty_object,
        another_store_goes_on,
        whole_parts_are_told,
        an_upload_is_in_no_listing,
        what_is_named_wrongly_changes_nothing,
        an_upload_is_completed_once,
        a_completed_upload_does_not_come_back,
        an_aborted_upload_leaves_nothing,
        of_many_completers_one_publishes,
        of_a_completer_and_an_aborter_one_wins,
        parts_that_are_put_meanwhile_leave_nothing,
        long_names_and_names_with_a_hash_have_room,
        the_e_tag_is_that_of_head,
    ];
}

pub(crate) async fn put(
    store: &LocalFileSystem,
    location: &str,
    id: &MultipartId,
    index: usize,
    data: &str,
) -> PartId {
    let data = data.to_owned().into();
    let part = store.put_part(&at(location), id, index, data).await;
    part.unwrap_or_else(|e| panic!("part {index}: {e}"))
}

pub(crate) async fn complete(
    store: &LocalFileSystem,
    location: &str,
    id: &MultipartId,
    parts: Vec<PartId>,
) -> Result<PutResult> {
    store.complete_multipart(&at(location), id, parts).await
}

fn is_over(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. }) && error.to_string().contains("no such upload")
}

async fn parts_in_any_order_and_again_are_those_that_are_named(dir: &Dir) {
    let store = store(dir);
    store.put(&at("sub/a"), "before".into()).await.unwrap();
    let id = store.create_multipart(&at("sub/a")).await.unwrap();
    let third = put(&store, "sub/a", &id, 2, "!").await;
    let unnamed = put(&store, "sub/a", &id, 7, "nobody names it").await;
    let first = put(&store, "sub/a", &id, 0, "la ").await;
    let second = put(&store, "sub/a", &id, 1, "old").await;
    let again = put(&store, "sub/a", &id, 1, "new").await;
    assert_ne!(second.content_id, again.content_id);
    drop(unnamed);
    assert_eq!(contents(&store, "sub/a").await, b"before");

    let parts = vec![first, again, third];
    complete(&store, "sub/a", &id, parts).await.unwrap();
    assert_eq!(contents(&store, "sub/a").await, b"la new!");
    assert_eq!(files(dir), ["sub/a"]);

    // Which of the two is named is the caller's choice.
    let id = store.create_multipart(&at("b")).await.unwrap();
    let earlier = put(&store, "b", &id, 0, "earlier").await;
    put(&store, "b", &id, 0, "later").await;
    complete(&store, "b", &id, vec![earlier]).await.unwrap();
    assert_eq!(contents(&store, "b").await, b"earlier");
    assert_eq!(files(dir), ["b", "sub/a"]);
}

async fn no_parts_are_an_empty_object(dir: &Dir) {
    let store = store(dir);
    let id = store.create_multipart(&at("a")).await.unwrap();
    complete(&store, "a", &id, vec![]).await.unwrap();
    assert_eq!(contents(&store, "a").await, b"");

    let id = store.create_multipart(&at("b")).await.unwrap();
    let mut parts = Vec::new();
    for (index, data) in ["", "data", ""].into_iter().enumerate() {
        parts.push(put(&store, "b", &id, index, data).await);
    }
    complete(&store, "b", &id, parts).await.unwrap();
    assert_eq!(contents(&store, "b").await, b"data");
    assert_eq!(files(dir), ["a", "b"]);
}

async fn another_store_goes_on(dir: &Dir) {
    let id = store(dir).create_multipart(&at("a")).await.unwrap();
    let first = put(&store(dir), "a", &id, 0, "first ").await;
    let second = put(&store(dir), "a", &id, 1, "second").await;
    complete(&store(dir), "a", &id, vec![first, second]).await.unwrap();
    assert_eq!(contents(&store(dir), "a").await, b"first second");
    assert_eq!(files(dir), ["a"]);
}

async fn whole_parts_are_told(dir: &Dir) {
    let store = store(dir);
    let id = store.create_multipart(&at("a")).await.unwrap();
    let second = put(&store, "a", &id, 1, "second").await;
    let first = put(&store, "a", &id, 0, "first").await;
    let torn = put(&store, "a", &id, 2, "torn off").await;
    // As a mount has it that writes in place, after a crash.
    for name in files(dir) {
        if name.contains(&torn.content_id) {
            std::fs::write(behind(dir).join(name), "to").unwrap();
        }
    }
    let told = store.multipart_parts(&at("a"), &id).await.unwrap();
    let told: Vec<_> = told.into_iter().map(|(i, id, n)| (i, id.content_id, n)).collect();
    let expected = [(0, first.content_id.clone(), 5), (1, second.content_id.clone(), 6)];
    assert_eq!(told, expected);

    let parts = || vec![first.clone(), second.clone()];
    let error = store
        .complete_multipart(&at("a"), &id, [parts(), vec![torn]].concat())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("part 2 holds 2 bytes of 8"), "{error}");
    complete(&store, "a", &id, parts()).await.unwrap();
    let error = store.multipart_parts(&at("a"), &id).await.unwrap_err();
    assert!(is_over(&error), "{error}");
    assert_eq!(files(dir), ["a"]);
}

/// Of none of the three versions, ours and upstream's.
async fn an_upload_is_in_no_listing(dir: &Dir) {
    let store = store(dir);
    store.put(&at("sub/there"), "data".into()).await.unwrap();
    let id = store.create_multipart(&at("sub/a")).await.unwrap();
    let part = put(&store, "sub/a", &id, 0, "data").await;
    assert!(files(dir).len() > 2, "{:?}", files(dir));
    macro_rules! lists_one {
        ($($store:expr),+ $(,)?) => {$({
            let store = $store;
            let prefix = Some("sub".into());
            let all: Vec<_> = store.list(None).map(|m| m.unwrap().location).collect().await;
            assert_eq!(all.iter().map(AsRef::as_ref).collect::<Vec<_>>(), ["sub/there"]);
            let here = store.list_with_delimiter(prefix.as_ref()).await.unwrap();
            assert_eq!((here.objects.len(), here.common_prefixes.len()), (1, 0));
            let root = store.list_with_delimiter(None).await.unwrap();
            assert_eq!((root.objects.len(), root.common_prefixes.len()), (0, 1));
        })+};
    }
    {
        use object_store_0_12::ObjectStore;
        let upstream = object_store_0_12::local::LocalFileSystem::new_with_prefix(behind(dir));
        lists_one!(v0_12::contract::store(dir), upstream.unwrap());
    }
    {
        use object_store_0_13::ObjectStore;
        let upstream = object_store_0_13::local::LocalFileSystem::new_with_prefix(behind(dir));
        lists_one!(v0_13::contract::store(dir), upstream.unwrap());
    }
    {
        use object_store_0_14::ObjectStore;
        let upstream = object_store_0_14::local::LocalFileSystem::new_with_prefix(behind(dir));
        lists_one!(v0_14::contract::store(dir), upstream.unwrap());
    }
    complete(&store, "sub/a", &id, vec![part]).await.unwrap();
    let all: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!(all.len(), 2);
}

async fn what_is_named_wrongly_changes_nothing(dir: &Dir) {
    let store = store(dir);
    let id = store.create_multipart(&at("a")).await.unwrap();
    let other = store.create_multipart(&at("b")).await.unwrap();
    let first = put(&store, "a", &id, 0, "first").await;
    let second = put(&store, "a", &id, 1, "second").await;
    let of_b = put(&store, "b", &other, 1, "of b").await;
    let before = files(dir);
    let no_part = PartId {
        content_id: "etag".into(),
    };
    for (parts, said) in [
        (vec![second.clone(), first.clone()], "named as part 0 is part 1"),
        (vec![first.clone(), first.clone()], "named as part 1 is part 0"),
        (vec![first.clone(), no_part], "named as part 1 is no part of it: `etag`"),
        (vec![first.clone(), of_b], "part 1 is not there"),
    ] {
        let error = store.complete_multipart(&at("a"), &id, parts).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert_eq!(files(dir), before, "{said}");
    }
    for (location, id, said) in [
        ("b", &id, "the upload is one to another path"),
        ("a", &"7".to_owned(), "no id of an upload to this store"),
    ] {
        let error = store.put_part(&at(location), id, 0, "data".into()).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    // The same name in another directory.
    let error = store.put_part(&at("sub/a"), &id, 0, "data".into()).await;
    assert!(is_over(&error.unwrap_err()));
    assert_eq!(files(dir), before);
    complete(&store, "a", &id, vec![first, second]).await.unwrap();
    store.abort_multipart(&at("b"), &other).await.unwrap();
    assert_eq!(files(dir), ["a"]);
}

async fn an_upload_is_completed_once(dir: &Dir) {
    let store = store(dir);
    let id = store.create_multipart(&at("a")).await.unwrap();
    let part = put(&store, "a", &id, 0, "data").await;
    let complete = || complete(&store, "a", &id, vec![part.clone()]);
    complete().await.unwrap();
    assert!(is_over(&complete().await.unwrap_err()));
    let late = store.put_part(&at("a"), &id, 1, "late".into()).await;
    assert!(is_over(&late.unwrap_err()));
    let aborted = store.abort_multipart(&at("a"), &id).await;
    assert!(is_over(&aborted.unwrap_err()));
    assert_eq!(contents(&store, "a").await, b"data");
    assert_eq!(files(dir), ["a"]);
}

async fn a_completed_upload_does_not_come_back(dir: &Dir) {
    let store = store(dir);
    let id = store.create_multipart(&at("a")).await.unwrap();
    let part = put(&store, "a", &id, 0, "data").await;
    let complete = || complete(&store, "a", &id, vec![part.clone()]);
    complete().await.unwrap();
    store.put(&at("a"), "newer".into()).await.unwrap();
    complete().await.unwrap_err();
    assert_eq!(contents(&store, "a").await, b"newer");
    store.delete(&at("a")).await.unwrap();
    complete().await.unwrap_err();
    assert_eq!(files(dir), [""; 0]);
}

async fn an_aborted_upload_leaves_nothing(dir: &Dir) {
    let store = store(dir);
    store.put(&at("a"), "before".into()).await.unwrap();
    let id = store.create_multipart(&at("a")).await.unwrap();
    let mut parts = Vec::new();
    for index in 0..3 {
        parts.push(put(&store, "a", &id, index, "data").await);
        put(&store, "a", &id, index, "again").await;
    }
    store.abort_multipart(&at("a"), &id).await.unwrap();
    assert_eq!(files(dir), ["a"]);
    let late = store.put_part(&at("a"), &id, 1, "late".into()).await;
    assert!(is_over(&late.unwrap_err()));
    let completed = store.complete_multipart(&at("a"), &id, parts).await;
    assert!(is_over(&completed.unwrap_err()));
    let again = store.abort_multipart(&at("a"), &id).await;
    assert!(is_over(&again.unwrap_err()));
    assert_eq!(contents(&store, "a").await, b"before");
    assert_eq!(files(dir), ["a"]);

    // Nor the directories that were made for it.
    let tidy = store.with_automatic_cleanup(true);
    let deep = at("deep/down/object");
    let id = tidy.create_multipart(&deep).await.unwrap();
    tidy.put_part(&deep, &id, 0, "part".into()).await.unwrap();
    tidy.abort_multipart(&deep, &id).await.unwrap();
    assert!(!behind(&dir.join("deep")).exists());
}

/// Each has a part of its own to name. All may be told that it was completed by another, but one.
async fn of_many_completers_one_publishes(dir: &Dir) {
    const COMPLETERS: usize = 6;
    for round in 0..2 {
        let location = format!("a{round}");
        let at = || at(&location);
        let id = store(dir).create_multipart(&at()).await.unwrap();
        let mut parts = Vec::new();
        for completer in 0..COMPLETERS {
            let data = format!("of {completer}");
            parts.push(put(&store(dir), &location, &id, 0, &data).await);
        }
        let completed = join_all(parts.into_iter().map(|part| {
            let (store, id, at) = (store(dir), id.clone(), at());
            tokio::spawn(async move { store.complete_multipart(&at, &id, vec![part]).await })
        }));
        let completed: Vec<_> = completed.await.into_iter().map(Result::unwrap).collect();
        let won: Vec<_> = (0..COMPLETERS).filter(|i| completed[*i].is_ok()).collect();
        assert_eq!(won.len(), 1, "{completed:?}");
        let expected = format!("of {}", won[0]);
        assert_eq!(contents(&store(dir), &location).await, expected.as_bytes());
        store(dir).delete(&at()).await.unwrap();
        assert_eq!(files(dir), [""; 0]);
    }
}

async fn of_a_completer_and_an_aborter_one_wins(dir: &Dir) {
    for round in 0..4 {
        let location = format!("a{round}");
        let at = at(&location);
        let id = store(dir).create_multipart(&at).await.unwrap();
        let part = put(&store(dir), &location, &id, 0, "data").await;
        let (completer, aborter) = (store(dir), store(dir));
        let completed = {
            let (id, at) = (id.clone(), at.clone());
            tokio::spawn(async move { completer.complete_multipart(&at, &id, vec![part]).await })
        };
        let aborted = {
            let (id, at) = (id.clone(), at.clone());
            tokio::spawn(async move { aborter.abort_multipart(&at, &id).await })
        };
        let (completed, aborted) = (completed.await.unwrap(), aborted.await.unwrap());
        let told = format!("{completed:?} {aborted:?}");
        assert_ne!(completed.is_ok(), aborted.is_ok(), "{told}");
        let is_there = behind(dir).join(&location).exists();
        assert_eq!(is_there, completed.is_ok(), "{told}");
        if is_there {
            store(dir).delete(&at).await.unwrap();
        }
        assert_eq!(files(dir), [""; 0], "{told}");
    }
}

async fn parts_that_are_put_meanwhile_leave_nothing(dir: &Dir) {
    for completes in [true, false] {
        let id = store(dir).create_multipart(&at("a")).await.unwrap();
        let first = put(&store(dir), "a", &id, 0, "data").await;
        let putters: Vec<_> = (0..4)
            .map(|_| {
                let (store, id) = (store(dir), id.clone());
                tokio::spawn(async move {
                    loop {
                        match store.put_part(&at("a"), &id, 1, "more".into()).await {
                            Ok(_) => {}
                            Err(e) if is_over(&e) => return,
                            Err(e) => panic!("{e}"),
                        }
                    }
                })
            })
            .collect();
        put(&store(dir), "a", &id, 2, "data").await;
        match completes {
            true => {
                complete(&store(dir), "a", &id, vec![first]).await.unwrap();
            }
            false => store(dir).abort_multipart(&at("a"), &id).await.unwrap(),
        }
        for putter in putters {
            putter.await.unwrap();
        }
        assert_eq!(files(dir), ["a"]);
    }
}

async fn long_names_and_names_with_a_hash_have_room(dir: &Dir) {
    let store = store(dir);
    let names = ["x".repeat(253), "a#b".into(), "#".into(), "a#1#".into()];
    for name in &names {
        let id = store.create_multipart(&at(name)).await.unwrap();
        let part = put(&store, name, &id, 0, "data").await;
        complete(&store, name, &id, vec![part]).await.unwrap();
        assert_eq!(contents(&store, name).await, b"data");
        store.delete(&at(name)).await.unwrap();
    }
    // Told before anything is put.
    let too_long = "x".repeat(256);
    store.create_multipart(&at(&too_long)).await.unwrap_err();
    std::fs::create_dir(behind(dir).join("directory")).unwrap();
    store.create_multipart(&at("directory")).await.unwrap_err();
    assert_eq!(files(dir), [""; 0]);
}

async fn the_e_tag_is_that_of_head(dir: &Dir) {
    let store = store(dir);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let id = store.create_multipart(&at("a")).await.unwrap();
        let part = put(&store, "a", &id, 0, "data").await;
        let put = complete(&store, "a", &id, vec![part]).await.unwrap();
        assert_eq!(put.e_tag, store.head(&at("a")).await.unwrap().e_tag);
        assert!(seen.insert(put.e_tag.clone().unwrap()), "{put:?} came again");
    }
}
