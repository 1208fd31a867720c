//! Attributes: kept with the object, whole or not at all.

use std::path::Path as Dir;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use object_store_localfs::Known;
use object_store_localfs_engine::fault::{self, Call, Fault, Op};

use super::LocalFileSystem;
use super::contract::{at, eventually, store};
use super::faults::quick;
use super::object_store::*;
use crate::minors::{behind, files, fresh};

/// On every mount that has extended attributes.
pub(crate) async fn all(root: &Dir) {
    macro_rules! checks {
        ($($check:ident),+ $(,)?) => {$(
            eprintln!("{} {} in {}", super::NAME, stringify!($check), root.display());
            $check(&fresh(root, stringify!($check))).await;
        )+};
    }
    checks![
        what_was_put_is_got,
        any_key_and_any_value_are_kept,
        an_overwrite_leaves_none_of_the_old,
        copies_and_renames_carry_them,
        e_tags_are_those_of_the_data,
        they_are_known_to_the_mount,
        a_value_that_is_too_large_publishes_nothing,
    ];
}

pub(crate) fn some() -> Attributes {
    Attributes::from_iter([
        (Attribute::CacheControl, "max-age=604800"),
        (Attribute::ContentDisposition, r#"inline; filename="a.html""#),
        (Attribute::ContentEncoding, "gzip"),
        (Attribute::ContentLanguage, "en-US"),
        (Attribute::ContentType, "text/html; charset=utf-8"),
        (Attribute::StorageClass, "STANDARD_IA"),
        (Attribute::Metadata("key".into()), "value"),
    ])
}

fn one(value: &str) -> Attributes {
    Attributes::from_iter([(Attribute::ContentType, value.to_owned())])
}

pub(crate) async fn put(
    store: &LocalFileSystem,
    location: &str,
    attributes: &Attributes,
) -> Result<PutResult> {
    let options = PutOptions::from(attributes.clone());
    store.put_opts(&at(location), "data".into(), options).await
}

async fn upload(
    store: &LocalFileSystem,
    location: &str,
    attributes: &Attributes,
) -> Result<PutResult> {
    let options = PutMultipartOptions::from(attributes.clone());
    let mut upload = store.put_multipart_opts(&at(location), options).await?;
    upload.put_part("da".into()).await?;
    upload.put_part("ta".into()).await?;
    upload.complete().await
}

/// By both ways to ask.
pub(crate) async fn attributes(store: &LocalFileSystem, location: &str) -> Attributes {
    let got = store.get(&at(location)).await.unwrap();
    let of_get = got.attributes.clone();
    assert_eq!(got.bytes().await.unwrap(), "data", "{location}");
    let options = GetOptions {
        head: true,
        ..GetOptions::default()
    };
    let head = store.get_opts(&at(location), options).await.unwrap();
    assert_eq!(head.attributes, of_get, "{location}");
    of_get
}

async fn what_was_put_is_got(dir: &Dir) {
    let store = store(dir);
    store.put(&at("none"), "data".into()).await.unwrap();
    assert_eq!(attributes(&store, "none").await, Attributes::new());
    put(&store, "some", &some()).await.unwrap();
    assert_eq!(attributes(&store, "some").await, some());
    upload(&store, "dir/parts", &some()).await.unwrap();
    assert_eq!(attributes(&store, "dir/parts").await, some());
    let create = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::from(some())
    };
    let new = at("new");
    store.put_opts(&new, "data".into(), create).await.unwrap();
    assert_eq!(attributes(&store, "new").await, some());
    // Another store, of another process say, finds them in the file.
    let other = super::contract::store(dir);
    assert_eq!(attributes(&other, "new").await, some());
}

async fn any_key_and_any_value_are_kept(dir: &Dir) {
    let keys = [
        "", " ", "=", "a=b", "%", "%00", "%2541", "\0", "a\0b", "\n", "key", "Key", "KEY", "ключ", "🔑",
        "content-type", "user.content-type", "X-Amz-Meta.key", "../..", "a/b", ".", "\u{7f}",
    ];
    let values = ["", " ", "\0", "a\0", "value", "значение", "=", "\n\r\u{feff}"];
    let metadata = keys.iter().enumerate();
    let all: Attributes = metadata
        .map(|(i, key)| (Attribute::Metadata((*key).into()), values[i % values.len()]))
        .chain([(Attribute::ContentType, ""), (Attribute::StorageClass, "\0")])
        .collect();
    assert_eq!(all.len(), keys.len() + 2);
    let store = store(dir);
    put(&store, "a", &all).await.unwrap();
    assert_eq!(attributes(&store, "a").await, all);
}

async fn an_overwrite_leaves_none_of_the_old(dir: &Dir) {
    let store = store(dir);
    for (i, next) in [one("text/plain"), Attributes::new(), some(), one("a"), Attributes::new()]
        .into_iter()
        .enumerate()
    {
        put(&store, "a", &some()).await.unwrap();
        match i % 2 {
            0 => put(&store, "a", &next).await.unwrap(),
            _ => upload(&store, "a", &next).await.unwrap(),
        };
        assert_eq!(attributes(&store, "a").await, next, "{i}");
    }
    put(&store, "a", &some()).await.unwrap();
    store.delete(&at("a")).await.unwrap();
    store.put(&at("a"), "data".into()).await.unwrap();
    assert_eq!(attributes(&store, "a").await, Attributes::new());
    // What is copied or renamed over an object is all that is there afterwards.
    put(&store, "b", &some()).await.unwrap();
    store.copy(&at("a"), &at("b")).await.unwrap();
    assert_eq!(attributes(&store, "b").await, Attributes::new());
    put(&store, "b", &some()).await.unwrap();
    store.rename(&at("a"), &at("b")).await.unwrap();
    assert_eq!(attributes(&store, "b").await, Attributes::new());
}

/// Also where copying or moving is done by data.
pub(crate) async fn copies_and_renames_carry_them(dir: &Dir) {
    carry(&store(dir), "").await;
}

/// To the directory `below` of `store`.
pub(crate) async fn carry(store: &LocalFileSystem, below: &str) {
    let to = |name: &str| format!("{below}{name}");
    put(store, "a", &some()).await.unwrap();
    put(store, &to("over"), &one("old")).await.unwrap();
    store.copy(&at("a"), &at(&to("over"))).await.unwrap();
    assert_eq!(attributes(store, &to("over")).await, some(), "copy");
    let copied = store.copy_if_not_exists(&at("a"), &at(&to("new"))).await;
    copied.unwrap();
    assert_eq!(attributes(store, &to("new")).await, some());
    put(store, &to("moved"), &one("old")).await.unwrap();
    store.rename(&at("a"), &at(&to("moved"))).await.unwrap();
    assert_eq!(attributes(store, &to("moved")).await, some(), "rename");
    put(store, "a", &some()).await.unwrap();
    let created = at(&to("created"));
    let renamed = store.rename_if_not_exists(&at("a"), &created).await;
    renamed.unwrap();
    assert_eq!(attributes(store, &to("created")).await, some());
    // And back.
    store.copy(&at(&to("created")), &at("back")).await.unwrap();
    assert_eq!(attributes(store, "back").await, some());
}

async fn e_tags_are_those_of_the_data(dir: &Dir) {
    let store = store(dir);
    let mut before = None;
    for i in 0..10 {
        let put = match i % 2 {
            0 => put(&store, "a", &some()).await.unwrap(),
            _ => upload(&store, "a", &one("a")).await.unwrap(),
        };
        assert!(put.e_tag.is_some());
        assert_ne!(put.e_tag, before);
        for _ in 0..2 {
            attributes(&store, "a").await;
            let head = store.head(&at("a")).await.unwrap();
            assert_eq!(head.e_tag, put.e_tag);
        }
        before = put.e_tag;
    }
}

async fn they_are_known_to_the_mount(dir: &Dir) {
    let store = store(dir);
    put(&store, "a", &some()).await.unwrap();
    let facts = store.mount_facts().await.unwrap();
    assert_eq!(facts.extended_attributes, Known::Yes);
}

/// The limit of the kernel's, of a value.
async fn a_value_that_is_too_large_publishes_nothing(dir: &Dir) {
    too_large(dir, &one(&"x".repeat((64 << 10) + 1))).await;
    let long_key = Attribute::Metadata("k".repeat(256).into());
    too_large(dir, &Attributes::from_iter([(long_key, "value")])).await;
}

/// Neither the old object is touched, nor anything left, nor a byte written.
pub(crate) async fn too_large(dir: &Dir, large: &Attributes) {
    let store = quick(dir);
    put(&store, "old", &one("old")).await.unwrap();
    let writes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&writes);
    let counting = fault::inject(dir, move |call: &Call<'_>| {
        count.fetch_add(usize::from(call.op == Op::Write), Relaxed);
        Fault::none()
    });
    for location in ["old", "new"] {
        let put = put(&store, location, large).await.unwrap_err();
        let options = PutMultipartOptions::from(large.clone());
        let begun = store.put_multipart_opts(&at(location), options).await;
        for error in [put, begun.unwrap_err()] {
            assert!(matches!(error, Error::Generic { .. }), "{error}");
            let told = error.to_string();
            assert!(told.contains("more than the file system takes"), "{told}");
            assert!(told.contains("othing was published"), "{told}");
        }
    }
    assert_eq!(writes.load(Relaxed), 0);
    drop(counting);
    assert_eq!(files(dir), ["old"]);
    assert_eq!(attributes(&store, "old").await, one("old"));
}

/// Where the mount has none: told before anything is written, and no object is the worse for it.
/// `elsewhere` is a directory on a mount that has them, as is the root of `store`.
pub(crate) async fn without_xattrs(dir: &Dir) {
    let store = quick(dir);
    store.put(&at("old"), "data".into()).await.unwrap();
    let writes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&writes);
    let counting = fault::inject(dir, move |call: &Call<'_>| {
        count.fetch_add(usize::from(call.op == Op::Write), Relaxed);
        Fault::none()
    });
    for location in ["old", "new", "dir/new"] {
        not_implemented(put(&store, location, &some()).await.unwrap_err(), dir);
        let options = PutMultipartOptions::from(some());
        let begun = store.put_multipart_opts(&at(location), options).await;
        not_implemented(begun.unwrap_err(), dir);
    }
    assert_eq!(writes.load(Relaxed), 0);
    drop(counting);
    assert_eq!(files(dir), ["old"]);
    assert_eq!(attributes(&store, "old").await, Attributes::new());
    let facts = store.mount_facts().await.unwrap();
    assert_eq!(facts.extended_attributes, Known::No);
    // Without attributes all is as ever.
    put(&store, "old", &Attributes::new()).await.unwrap();
    upload(&store, "new", &Attributes::new()).await.unwrap();
    store.copy(&at("new"), &at("copied")).await.unwrap();
    assert_eq!(attributes(&store, "copied").await, Attributes::new());
}

/// It names the mount and the reason, where the minor's error has room for it.
pub(crate) fn not_implemented(error: Error, _dir: &Dir) {
    // Of one minor it is a unit, of the others a struct.
    let kind = format!("{error:?}");
    assert!(kind.starts_with("NotImplemented"), "{kind}");
    if super::NAME != "v0_12" {
        let told = error.to_string();
        assert!(told.contains("no extended attributes"), "{told}");
        assert!(told.contains("mount"), "{told}");
    }
}

/// From a mount with to one without.
pub(crate) async fn not_carried_to(store: &LocalFileSystem, dir: &Dir, below: &str) {
    let to = |name: &str| at(&format!("{below}{name}"));
    put(store, "a", &some()).await.unwrap();
    store.put(&to("old"), "old".into()).await.unwrap();
    not_implemented(store.copy(&at("a"), &to("old")).await.unwrap_err(), dir);
    not_implemented(store.rename(&at("a"), &to("old")).await.unwrap_err(), dir);
    let copied = store.copy_if_not_exists(&at("a"), &to("new")).await;
    not_implemented(copied.unwrap_err(), dir);
    let renamed = store.rename_if_not_exists(&at("a"), &to("new")).await;
    not_implemented(renamed.unwrap_err(), dir);
    let old = store.get(&to("old")).await.unwrap();
    assert_eq!(old.bytes().await.unwrap(), "old");
    assert_eq!(attributes(store, "a").await, some());
    assert_eq!(files(dir), ["a".to_owned(), format!("{below}old")]);
}

/// Without a link the copy is one of the data.
pub(crate) async fn a_copy_by_data_carries_them(root: &Dir) {
    for remote in [false, true] {
        for errno in [libc::EPERM, libc::EXDEV, libc::EMLINK] {
            let dir = fresh(root, "by-data");
            let _remote = remote.then(|| fault::pretend_remote(&dir));
            let _no_links = fault::inject(&dir, move |call: &Call<'_>| match call.op {
                Op::Link => Fault::before_effect(errno),
                _ => Fault::none(),
            });
            let store = quick(&dir);
            carry(&store, "").await;
            use std::os::unix::fs::MetadataExt;
            let copied = std::fs::metadata(behind(&dir).join("back")).unwrap();
            assert_eq!(copied.nlink(), 1);
        }
    }
}

/// As on mounts of buckets: the destination is written in place.
pub(crate) async fn a_mount_without_rename_keeps_them(root: &Dir) {
    for errno in [libc::ENOSYS, libc::EOPNOTSUPP] {
        let dir = fresh(root, "no-rename");
        let _remote = fault::pretend_remote(&dir);
        let _no_rename = fault::inject(&dir, move |call: &Call<'_>| match call.op {
            Op::Rename | Op::RenameExclusive => Fault::before_effect(errno),
            Op::Link => Fault::before_effect(libc::EPERM),
            _ => Fault::none(),
        });
        all(&dir).await;
    }
}

/// Errors that pass do, of each call, before and after its effect.
pub(crate) async fn passing_errors_lose_none(root: &Dir) {
    let mut fired = 0;
    for remote in [false, true] {
        for op in [Op::SetXattr, Op::ListXattr, Op::GetXattr, Op::RemoveXattr] {
            for errno in [libc::ESTALE, libc::EINTR, libc::EAGAIN] {
                for fault in [Fault::before_effect, Fault::after_effect] {
                    let dir = fresh(root, "passing");
                    let _remote = remote.then(|| fault::pretend_remote(&dir));
                    let calls = Arc::new(AtomicUsize::new(0));
                    let count = Arc::clone(&calls);
                    let _failing = fault::inject(&dir, move |call: &Call<'_>| match call.op {
                        // In place, so that old ones are removed.
                        Op::Rename if remote => Fault::before_effect(libc::ENOSYS),
                        called if called == op => match count.fetch_add(1, Relaxed) % 4 {
                            0 | 1 => fault(errno),
                            _ => Fault::none(),
                        },
                        _ => Fault::none(),
                    });
                    let store = quick(&dir);
                    let what = format!("{op:?} errno {errno} remote {remote}");
                    let put = put(&store, "a", &some()).await;
                    put.unwrap_or_else(|e| panic!("{what}: {e}"));
                    assert_eq!(attributes(&store, "a").await, some(), "{what}");
                    upload(&store, "a", &one("b")).await.unwrap();
                    assert_eq!(attributes(&store, "a").await, one("b"), "{what}");
                    assert_eq!(files(&dir), ["a"], "{what}");
                    fired += calls.load(Relaxed);
                }
            }
        }
    }
    assert!(fired > 100, "{fired}");
}

/// An error of a read that does not pass is told, and not taken for "none".
pub(crate) async fn what_cannot_be_read_is_told(root: &Dir) {
    for op in [Op::ListXattr, Op::GetXattr] {
        let dir = fresh(root, "unreadable");
        let store = quick(&dir);
        put(&store, "a", &some()).await.unwrap();
        let _failing = fault::inject(&dir, move |call: &Call<'_>| match call.op == op {
            true => Fault::before_effect(libc::EIO),
            false => Fault::none(),
        });
        let error = store.get(&at("a")).await.unwrap_err();
        assert!(matches!(error, Error::Generic { .. }), "{error}");
    }
}

/// No call where there are none to be had, one where there are none; none in a write without.
pub(crate) async fn they_cost_what_they_must(root: &Dir) {
    let dir = fresh(root, "cost");
    let _remote = fault::pretend_remote(&dir);
    let calls = Arc::new(AtomicUsize::new(0));
    let refuse = Arc::new(AtomicUsize::new(0));
    let (count, refused) = (Arc::clone(&calls), Arc::clone(&refuse));
    let _counting = fault::inject(&dir, move |call: &Call<'_>| match call.op {
        Op::SetXattr | Op::ListXattr | Op::GetXattr | Op::RemoveXattr => {
            count.fetch_add(1, Relaxed);
            match refused.load(Relaxed) {
                0 => Fault::none(),
                errno => Fault::before_effect(errno as i32),
            }
        }
        _ => Fault::none(),
    });
    let store = quick(&dir);
    let calls = || calls.swap(0, Relaxed);
    store.put(&at("a"), "data".into()).await.unwrap();
    upload(&store, "a", &Attributes::new()).await.unwrap();
    assert_eq!(calls(), 0);
    store.get(&at("a")).await.unwrap();
    assert_eq!(calls(), 1);

    refuse.store(libc::EOPNOTSUPP as usize, Relaxed);
    not_implemented(put(&store, "a", &some()).await.unwrap_err(), &dir);
    assert_eq!(calls(), 1);
    not_implemented(put(&store, "a", &some()).await.unwrap_err(), &dir);
    store.get(&at("a")).await.unwrap();
    assert_eq!(calls(), 0);
    eventually(|| files(&dir) == ["a"]).await;
}

/// A server that folds the case of names, or keeps nothing of what it takes, is found out.
pub(crate) async fn what_is_not_kept_as_it_was_set_is_told(root: &Dir) {
    let dir = fresh(root, "forgetful");
    let _remote = fault::pretend_remote(&dir);
    let forgetful = fault::inject(&dir, |call: &Call<'_>| match call.op {
        Op::ListXattr => Fault::before_effect(libc::EOPNOTSUPP),
        _ => Fault::none(),
    });
    let store = quick(&dir);
    not_implemented(put(&store, "a", &some()).await.unwrap_err(), &dir);
    assert_eq!(files(&dir), [""; 0]);
    drop(forgetful);
}

/// Names and values that only other programs give, and those of versitygw.
pub(crate) async fn xattrs_of_others_are_met(root: &Dir) {
    let dir = fresh(root, "others");
    let store = store(&dir);
    put(&store, "a", &one("text/plain")).await.unwrap();
    let path = std::ffi::CString::new(dir.join("a").to_str().unwrap()).unwrap();
    for (name, value) in [
        (c"user.mime_type", b"text/html".as_slice()),
        (c"user.X-Amz-Meta.from-versity", b"yes"),
        (c"user.X-Amz-Meta.100%", b"literally"),
        (c"user.X-Amz-Meta.bytes", b"\xff"),
        (c"user.content-encoding", b"zstd"),
    ] {
        let (len, value) = (value.len(), value.as_ptr().cast());
        // SAFETY: NUL-terminated strings, and a value with its length.
        let set = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value, len, 0) };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    }
    let expected = Attributes::from_iter([
        (Attribute::ContentType, "text/plain"),
        (Attribute::ContentEncoding, "zstd"),
        (Attribute::Metadata("from-versity".into()), "yes"),
        (Attribute::Metadata("100%".into()), "literally"),
    ]);
    assert_eq!(attributes(&store, "a").await, expected);
}
