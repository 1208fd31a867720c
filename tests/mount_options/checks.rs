//! What the options promise, as checks for one minor.

use std::path::{Path as Dir, PathBuf};

use object_store_localfs::Exclusion;

use super::LocalFileSystem;
use super::contract::{at, eventually, store};
use super::faults::{os_error, quick};
use super::object_store::*;
use crate::minors::{behind, files};

/// All that makes something only if nothing is there.
async fn create_all(store: &LocalFileSystem) -> [Result<()>; 3] {
    store.put(&at("from"), "data".into()).await.unwrap();
    store.put(&at("source"), "data".into()).await.unwrap();
    let create = PutOptions::from(PutMode::Create);
    let put = store.put_opts(&at("put"), "data".into(), create).await;
    [
        put.map(drop),
        store.copy_if_not_exists(&at("from"), &at("copied")).await,
        store
            .rename_if_not_exists(&at("source"), &at("renamed"))
            .await,
    ]
}

pub(crate) async fn a_lock_is_refused_by_name(dir: &Dir) {
    let store = store(dir).with_exclusive_create(Exclusion::OtherHosts);
    for created in create_all(&store).await {
        let error = created.unwrap_err();
        assert!(matches!(error, Error::NotSupported { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("with_exclusive_create"), "{text}");
        assert!(text.contains("other hosts"), "{text}");
    }
    assert_eq!(files(dir), ["from", "source"]);
}

pub(crate) async fn a_lock_is_accepted(dir: &Dir) {
    for (i, store) in [
        store(dir),
        store(dir).with_exclusive_create(Exclusion::OtherProcesses),
        store(dir).with_exclusive_create(Exclusion::OtherThreads),
    ]
    .into_iter()
    .enumerate()
    {
        for created in create_all(&store).await {
            created.unwrap_or_else(|e| panic!("store {i}: {e}"));
        }
        // Of each there is one: the locks left nothing.
        assert_eq!(files(dir), ["copied", "from", "put", "renamed"]);
        for created in create_all(&store).await {
            let error = created.unwrap_err();
            assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
        }
        for name in files(dir) {
            store.delete(&at(&name)).await.unwrap();
        }
    }
}

pub(crate) async fn every_exclusion_is_given(dir: &Dir) {
    for weakest in [
        Exclusion::OtherThreads,
        Exclusion::OtherProcesses,
        Exclusion::OtherHosts,
    ] {
        let store = store(dir).with_exclusive_create(weakest);
        for created in create_all(&store).await {
            created.unwrap_or_else(|e| panic!("{weakest:?}: {e}"));
        }
        for name in files(dir) {
            store.delete(&at(&name)).await.unwrap();
        }
    }
}

/// Files below `dir` that this process has open, those without a name too.
fn held_below(dir: &Dir) -> usize {
    let dir = dir.canonicalize().unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
        .filter(|file| file.starts_with(&dir))
        .count()
}

pub(crate) async fn uploads_are_spooled(dir: &Dir, spool: &Dir) {
    let store = store(dir).with_spool_dir(spool);
    for _ in 0..2 {
        let mut upload = store.put_multipart(&at("a")).await.unwrap();
        let first = upload.put_part("first".into());
        let second = upload.put_part("second".into());
        // In any order, and none of it on the mount.
        second.await.unwrap();
        first.await.unwrap();
        assert_eq!(held_below(spool), 1);
        assert!(
            files(dir).iter().all(|name| name == "a"),
            "{:?}",
            files(dir)
        );
        upload.complete().await.unwrap();
        let got = store.get(&at("a")).await.unwrap().bytes().await.unwrap();
        assert_eq!(got, "firstsecond");
        assert_eq!(files(spool).len(), 0);
        drop(upload);
        eventually(|| held_below(spool) == 0).await;

        // Aborted, and dropped.
        let mut upload = store.put_multipart(&at("a")).await.unwrap();
        upload.put_part("never".into()).await.unwrap();
        upload.abort().await.unwrap();
        assert_eq!(files(spool).len(), 0);
        drop(upload);
        eventually(|| held_below(spool) == 0).await;
        let mut upload = store.put_multipart(&at("a")).await.unwrap();
        upload.put_part("never".into()).await.unwrap();
        drop(upload);
        eventually(|| held_below(spool) == 0).await;
        assert_eq!(files(spool).len(), 0);
        let got = store.get(&at("a")).await.unwrap().bytes().await.unwrap();
        assert_eq!(got, "firstsecond");
    }
    for created in create_all(&store).await {
        created.unwrap();
    }
    assert_eq!(files(dir), ["a", "copied", "from", "put", "renamed"]);
    assert_eq!((held_below(spool), files(spool).len()), (0, 0));
}

pub(crate) async fn all_is_well_without(dir: &Dir, spool: &Dir) {
    let store = store(dir).with_spool_dir(spool);
    for created in create_all(&store).await {
        created.unwrap();
    }
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    upload.put_part("data".into()).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(files(dir), ["a", "copied", "from", "put", "renamed"]);
}

pub(crate) async fn a_missing_spool_is_named(dir: &Dir) {
    // The mount is known not to rename once it was asked to.
    store(dir).put(&at("a"), "data".into()).await.unwrap();
    store(dir).delete(&at("a")).await.unwrap();
    let store = store(dir).with_spool_dir(PathBuf::from("/nowhere/at/all"));
    let tell = |error: Error| {
        let text = error.to_string();
        assert!(text.contains("/nowhere/at/all"), "{text}");
        assert!(text.contains("with_spool_dir"), "{text}");
        assert_eq!(os_error(&error), Some(libc::ENOENT), "{text}");
        // It is not the object that is missing.
        assert!(matches!(error, Error::Generic { .. }), "{error:?}");
    };
    let create = PutOptions::from(PutMode::Create);
    tell(store.put(&at("a"), "data".into()).await.unwrap_err());
    tell(
        store
            .put_opts(&at("a"), "data".into(), create)
            .await
            .unwrap_err(),
    );
    let upload = async {
        let mut upload = store.put_multipart(&at("a")).await?;
        upload.put_part("data".into()).await?;
        upload.complete().await
    };
    tell(upload.await.unwrap_err());
    assert!(files(dir).is_empty(), "{:?}", files(dir));
}

pub(crate) async fn a_failure_leaves_nothing(
    dir: &Dir,
    spool: &Dir,
    begin: &dyn Fn(),
    end: &dyn Fn(),
) {
    let store = quick(dir).with_spool_dir(spool);
    for created in create_all(&store).await {
        created.unwrap();
    }
    begin();
    store.put(&at("a"), "data".into()).await.unwrap_err();
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    upload.put_part("data".into()).await.unwrap();
    upload.complete().await.unwrap_err();
    end();
    assert!(!behind(dir).join("a").exists());
    // Called again, it makes the pass again: the parts are still there.
    upload.complete().await.unwrap();
    let got = store.get(&at("a")).await.unwrap().bytes().await.unwrap();
    assert_eq!(got, "data");
    drop(upload);
    eventually(|| held_below(spool) == 0).await;
    assert_eq!(files(spool).len(), 0);
}

pub(crate) async fn a_large_upload(dir: &Dir) {
    const LEN: usize = 1 << 20;

    let store = store(dir);
    let mut upload = store.put_multipart(&at("large")).await.unwrap();
    let parts: Vec<_> = (0..16u8)
        .map(|i| upload.put_part(vec![i; LEN].into()))
        .collect();
    for part in parts.into_iter().rev() {
        part.await.unwrap();
    }
    upload.complete().await.unwrap();
    let got = store.get(&at("large")).await.unwrap();
    let got = got.bytes().await.unwrap();
    assert_eq!(got.len(), 16 * LEN);
    assert!(
        got.iter()
            .enumerate()
            .all(|(i, b)| usize::from(*b) == i / LEN)
    );
}
