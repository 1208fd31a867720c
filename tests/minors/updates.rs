//! `PutMode::Update`: what it promises, and who is excluded.

use std::path::Path as Dir;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use futures::future::join_all;
use object_store_localfs::Exclusion;
use object_store_localfs_engine::fault::{self, Call, Fault, Op};

use super::LocalFileSystem;
use super::contract::{at, eventually, store};
use super::object_store::*;
use crate::minors::{behind, files, fresh};

pub(crate) async fn all(root: &Dir) {
    macro_rules! checks {
        ($($check:ident),+ $(,)?) => {$(
            eprintln!("{} {} in {}", super::NAME, stringify!($check), root.display());
            $check(&fresh(root, stringify!($check))).await;
        )+};
    }
    checks![
        an_update_replaces_the_version_it_names,
        another_version_is_not_replaced,
        what_is_gone_is_not_replaced,
        an_update_without_an_e_tag_says_so,
        of_sixteen_updates_of_one_version_one_wins,
        a_thousand_versions_of_all_sizes_have_a_thousand_e_tags,
        a_copy_and_a_rename_are_versions_too,
    ];
}

/// Where nobody reads meanwhile.
pub(crate) async fn of_many(root: &Dir) {
    an_update_replaces_the_version_it_names(&fresh(root, "one")).await;
    another_version_is_not_replaced(&fresh(root, "another")).await;
    what_is_gone_is_not_replaced(&fresh(root, "gone")).await;
    of_sixteen_updates_of_one_version_one_wins(&fresh(root, "sixteen")).await;
}

pub(crate) fn update(e_tag: Option<&str>) -> PutOptions {
    let e_tag = e_tag.map(str::to_owned);
    let version = None;
    PutMode::Update(UpdateVersion { e_tag, version }).into()
}

/// Puts `data` in the place of the version that has this e_tag.
async fn replace(
    store: &LocalFileSystem,
    name: &str,
    data: impl Into<PutPayload>,
    e_tag: Option<&str>,
) -> Result<PutResult> {
    store.put_opts(&at(name), data.into(), update(e_tag)).await
}

async fn text(store: &LocalFileSystem, name: &str) -> String {
    let got = store.get(&at(name)).await.unwrap().bytes().await.unwrap();
    String::from_utf8(got.to_vec()).unwrap()
}

fn is_refused(put: Result<PutResult>) -> bool {
    match put {
        Err(Error::Precondition { path, source }) => {
            assert!(!path.is_empty() && !source.to_string().is_empty());
            true
        }
        Ok(_) => false,
        Err(e) => panic!("{e}"),
    }
}

async fn an_update_replaces_the_version_it_names(dir: &Dir) {
    let store = store(dir);
    let mut e_tag = store.put(&at("a"), "0".into()).await.unwrap().e_tag;
    for n in 1..20 {
        let new = PutPayload::from(n.to_string());
        let put = replace(&store, "a", new, e_tag.as_deref());
        let put = put.await.unwrap();
        let head = store.head(&at("a")).await.unwrap();
        assert_eq!(put.e_tag, head.e_tag);
        assert_ne!(put.e_tag, e_tag);
        assert_eq!(text(&store, "a").await, n.to_string());
        e_tag = put.e_tag;
    }
    // As a listing tells it, and one of another minor: with quotes and without.
    let told = store.list_with_delimiter(None).await.unwrap().objects[0].e_tag.clone();
    let bare = told.unwrap().trim_matches('"').to_owned();
    for told in [format!("\"{bare}\""), bare] {
        let put = replace(&store, "a", "same", Some(&told));
        let put = put.await.unwrap();
        let head = store.head(&at("a")).await.unwrap();
        assert_eq!(put.e_tag, head.e_tag);
        if told.starts_with('"') {
            store.delete(&at("a")).await.unwrap();
            break;
        }
    }
    assert_eq!(files(dir), [""; 0]);
}

async fn another_version_is_not_replaced(dir: &Dir) {
    let store = store(dir);
    let old = store.put(&at("a"), "old".into()).await.unwrap().e_tag;
    store.put(&at("a"), "new".into()).await.unwrap();
    let wrong = [old.as_deref().unwrap(), "", "\"\"", "*", "1-2-3", "+1-2-3", "1-2-3-4", "é"];
    for e_tag in wrong {
        let put = replace(&store, "a", "lost", Some(e_tag));
        assert!(is_refused(put.await), "{e_tag}");
    }
    assert_eq!(text(&store, "a").await, "new");
    assert_eq!(files(dir), ["a"]);
}

async fn what_is_gone_is_not_replaced(dir: &Dir) {
    let store = store(dir);
    let put = store.put(&at("x/a"), "old".into()).await.unwrap();
    let old = put.e_tag.as_deref();
    store.delete(&at("x/a")).await.unwrap();
    for name in ["x/a", "a", "never/was/a"] {
        let put = replace(&store, name, "lost", old);
        assert!(is_refused(put.await), "{name}");
    }
    // A directory is no object.
    std::fs::create_dir(behind(&dir.join("a"))).unwrap();
    let put = replace(&store, "a", "lost", old);
    assert!(is_refused(put.await));
    assert_eq!(files(dir), [""; 0]);
    assert!(!behind(&dir.join("never")).exists());
}

async fn an_update_without_an_e_tag_says_so(dir: &Dir) {
    let store = store(dir);
    store.put(&at("a"), "old".into()).await.unwrap();
    let put = replace(&store, "a", "lost", None).await;
    let error = put.unwrap_err();
    assert!(matches!(error, Error::Generic { .. }), "{error:?}");
    assert!(error.to_string().contains("no e_tag"), "{error}");
    assert_eq!(text(&store, "a").await, "old");
}

async fn of_sixteen_updates_of_one_version_one_wins(dir: &Dir) {
    let store = store(dir);
    for _ in 0..10 {
        let put = store.put(&at("a"), "old".into()).await.unwrap();
        let updates = (0..16).map(|n: u32| {
            let (store, e_tag) = (store.clone(), put.e_tag.clone());
            tokio::spawn(async move {
                let new = PutPayload::from(format!("by {n:02}"));
                let put = replace(&store, "a", new, e_tag.as_deref());
                (!is_refused(put.await)).then_some(n)
            })
        });
        let winners: Vec<u32> = join_all(updates)
            .await
            .into_iter()
            .filter_map(|update| update.unwrap())
            .collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(text(&store, "a").await, format!("by {:02}", winners[0]));
    }
    assert_eq!(files(dir), ["a"]);
}

/// A version of another size in between does not bring an e_tag back.
async fn a_thousand_versions_of_all_sizes_have_a_thousand_e_tags(dir: &Dir) {
    let store = store(dir);
    let mut seen = std::collections::HashSet::new();
    for n in 0..1000_usize {
        let data = vec![b'x'; 5 + n % 2];
        let put = store.put(&at("a"), data.into()).await.unwrap();
        assert!(seen.insert(put.e_tag.unwrap()), "version {n}");
    }
}

async fn a_copy_and_a_rename_are_versions_too(dir: &Dir) {
    let store = store(dir);
    let mut seen = std::collections::HashSet::new();
    for n in 0..100 {
        // As programs commit: under another name first.
        let data = PutPayload::from(format!("{n:02}"));
        store.put(&at("draft"), data).await.unwrap();
        let put = store.put(&at("a"), format!("{n:02}").into()).await.unwrap();
        assert!(seen.insert(put.e_tag.clone().unwrap()), "version {n}");
        match n % 2 {
            0 => store.rename(&at("draft"), &at("a")).await.unwrap(),
            _ => store.copy(&at("draft"), &at("a")).await.unwrap(),
        }
        let lost = replace(&store, "a", "x", put.e_tag.as_deref());
        assert!(is_refused(lost.await));
        let head = store.head(&at("a")).await.unwrap();
        assert!(seen.insert(head.e_tag.unwrap()), "rename or copy {n}");
    }
}

// ---- faults -----------------------------------------------------------------------------------

/// Without a lock file no update is made, and an overwrite all the same: by default, where nobody
/// asked for it.
pub(crate) async fn without_a_lock_no_update_is_made(root: &Dir) {
    let dir = fresh(root, "lockless");
    let careful = store(&dir);
    let old = careful.put(&at("a"), "old".into()).await.unwrap().e_tag;
    {
        let _lockless = fault::inject(&dir, |call: &Call<'_>| match call.op {
            Op::Lock => Fault::before_effect(libc::EACCES),
            _ => Fault::none(),
        });
        let put = replace(&careful, "a", "new", old.as_deref());
        let error = put.await.unwrap_err();
        assert!(matches!(error, Error::NotSupported { .. }), "{error:?}");
        assert!(error.to_string().contains("Exclusion::OtherThreads"), "{error}");
        assert_eq!(files(&dir), ["a"]);
        for exclusion in [Exclusion::OtherProcesses, Exclusion::OtherHosts] {
            let refused = store(&dir).with_update_exclusion(exclusion).unwrap_err();
            assert!(matches!(refused, Error::NotSupported { .. }), "{refused:?}");
        }
        let old = careful.put(&at("a"), "old".into()).await.unwrap().e_tag;
        let content = store(&dir).with_update_exclusion(Exclusion::OtherThreads).unwrap();
        let put = replace(&content, "a", "new", old.as_deref());
        put.await.unwrap();
    }
    assert_eq!(text(&careful, "a").await, "new");
}

/// Nobody is shut out for good: who holds the lock for a while is waited for. All who write there
/// take part.
pub(crate) async fn a_lock_that_another_holds_is_waited_for(root: &Dir) {
    use super::faults::{ALL, Mutation};
    for exclusion in [Exclusion::OtherProcesses, Exclusion::OtherHosts] {
        for mutation in ALL {
            if mutation.creates() && mutation != Mutation::RenameCreate {
                continue;
            }
            let dir = fresh(root, "held");
            let store = store(&dir).with_update_exclusion(exclusion).unwrap();
            mutation.prepare(&store).await;
            let refused = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&refused);
            let _held = fault::inject(&dir, move |call: &Call<'_>| match call.op {
                Op::Lock if count.fetch_add(1, Relaxed) < 5 => {
                    Fault::before_effect(libc::EAGAIN)
                }
                _ => Fault::none(),
            });
            mutation.make(&store).await.unwrap();
            assert!(refused.load(Relaxed) > 5, "{mutation:?} took no part");
        }
    }
}

/// For all hosts: what cannot be locked is not written, whoever asks.
pub(crate) async fn a_lock_for_all_hosts_is_never_less(root: &Dir) {
    use super::faults::{ALL, Mutation};
    for mutation in ALL {
        if mutation.creates() && mutation != Mutation::RenameCreate {
            continue;
        }
        let dir = fresh(root, "never-less");
        let ours = store(&dir).with_update_exclusion(Exclusion::OtherHosts).unwrap();
        mutation.prepare(&ours).await;
        let nth = AtomicUsize::new(0);
        let is_reached = Arc::new(AtomicBool::new(false));
        let reached = Arc::clone(&is_reached);
        let failing = fault::inject(&dir, move |call: &Call<'_>| {
            // This host's lock first, then the directory's.
            match call.op == Op::Lock && nth.fetch_add(1, Relaxed) % 2 == 1 {
                true => {
                    reached.store(true, Relaxed);
                    Fault::before_effect(libc::ENOLCK)
                }
                false => Fault::none(),
            }
        });
        let error = mutation.make(&ours).await.unwrap_err();
        assert!(is_reached.load(Relaxed), "{mutation:?}");
        assert!(error.to_string().contains("lock for all hosts"), "{error}");
        drop(failing);
        let left = || -> Vec<String> {
            let is_lock = |name: &String| name.starts_with(".object_store_localfs#");
            files(&dir).into_iter().filter(|f| !is_lock(f)).collect()
        };
        // A dropped upload is cleaned up on the blocking pool.
        eventually(|| left() == mutation.left()).await;
        assert_eq!(left(), mutation.left(), "{mutation:?}");
    }
}

/// Of a mount of which nothing is known that is not believed, even if it grants the lock.
pub(crate) async fn an_unknown_mount_has_no_locks_for_all_hosts(root: &Dir) {
    let dir = fresh(root, "unknown");
    let _remote = fault::pretend_remote(&dir);
    let refused = store(&dir).with_update_exclusion(Exclusion::OtherHosts);
    let error = refused.unwrap_err();
    assert!(matches!(error, Error::NotSupported { .. }), "{error:?}");
    assert!(error.to_string().contains("proves nothing"), "{error}");
    assert_eq!(files(&dir), [""; 0]);
}

/// The lock file of a directory is in no listing, is not swept, and goes with the directory.
pub(crate) async fn the_lock_file_of_a_directory_is_seen_by_nobody(root: &Dir) {
    use futures::TryStreamExt;

    let dir = fresh(root, "lock-file");
    let ours = store(&dir)
        .with_automatic_cleanup(true)
        .with_update_exclusion(Exclusion::OtherHosts)
        .unwrap();
    let put = ours.put(&at("x/a"), "old".into()).await.unwrap();
    let put = replace(&ours, "x/a", "new", put.e_tag.as_deref());
    put.await.unwrap();
    ours.put(&at("x/b"), "new".into()).await.unwrap();
    let lock = ".object_store_localfs#1";
    assert_eq!(files(&dir), [lock, &format!("x/{lock}"), "x/a", "x/b"]);
    let swept = ours.sweep(std::time::Duration::ZERO).await.unwrap();
    assert_eq!(swept.found, 0);
    for listed in [
        ours.list(None).try_collect::<Vec<_>>().await.unwrap(),
        local::LocalFileSystem::new_with_prefix(&dir)
            .unwrap()
            .list(None)
            .try_collect()
            .await
            .unwrap(),
    ] {
        assert_eq!(listed.len(), 2);
    }
    let listed = ours.list_with_delimiter(Some(&at("x"))).await.unwrap();
    assert_eq!(listed.objects.len(), 2);
    ours.delete(&at("x/a")).await.unwrap();
    assert!(dir.join("x").exists());
    ours.delete(&at("x/b")).await.unwrap();
    assert_eq!(files(&dir), [lock]);
    assert!(!dir.join("x").exists());
}
