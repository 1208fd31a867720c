//! What must hold after a fault of a mount, whatever makes the mount fail.

use std::path::Path as Dir;

use super::contract::at;
use super::faults::{Mutation, Mutation::*, os_error, quick, read};
use super::object_store::*;
use crate::minors::{Mishap, behind, files, fresh};

/// All that writes data where there are no links.
const WRITES: [Mutation; 6] = [Put, PutCreate, PutUpdate, Multipart, Copy, CopyCreate];

/// All but the one that leaves nothing.
const PUBLISHES: [Mutation; 8] = [
    Put,
    PutCreate,
    PutUpdate,
    Multipart,
    Copy,
    CopyCreate,
    Rename,
    RenameCreate,
];

/// An error that says what happened: the object, one of `steps`, and in its chain `errno`.
fn assert_tells(error: &Error, dir: &Dir, steps: &[&str], errno: Option<i32>, what: &str) {
    assert!(matches!(error, Error::Generic { .. }), "{what}: {error:?}");
    let text = error.to_string();
    let object = dir.join("to");
    assert!(text.contains(object.to_str().unwrap()), "{what}: {text}");
    assert!(
        steps.iter().any(|step| text.contains(step)),
        "{what}: {text}"
    );
    assert_eq!(os_error(error), errno, "{what}: {text}");
}

/// While it lasts the error tells; nothing is published and nothing stays behind. Afterwards the
/// same operation succeeds.
pub(crate) async fn is_told(
    root: &Dir,
    mishap: &Mishap<'_>,
    fsync: bool,
    steps: &[&str],
    errno: Option<i32>,
) {
    for mutation in WRITES {
        let dir = fresh(root, "told");
        let store = quick(&dir).with_fsync(fsync);
        let what = format!("{mutation:?} {}", mishap.name);
        mutation.prepare(&store).await;
        (mishap.begin)();
        let made = mutation.make(&store).await;
        (mishap.end)();
        let error = made.expect_err(&what);
        assert_tells(&error, &dir, steps, errno, &what);
        mutation.check_undone(&dir, &what).await;

        mutation
            .make(&store)
            .await
            .unwrap_or_else(|e| panic!("afterwards, {what}: {e}"));
        mutation.check_done(&store, &dir, &what).await;
    }
}

/// On a mount that cannot rename a failure strikes the destination itself: no part of an object
/// stays there, and what a create found there is as it was.
pub(crate) async fn removes_what_was_ours(
    root: &Dir,
    mishap: &Mishap<'_>,
    fsync: bool,
    steps: &[&str],
    errno: Option<i32>,
) {
    for mutation in PUBLISHES {
        let dir = fresh(root, "ours");
        let store = quick(&dir).with_fsync(fsync);
        let what = format!("{mutation:?} {}", mishap.name);
        mutation.prepare(&store).await;
        (mishap.begin)();
        let made = mutation.make(&store).await;
        (mishap.end)();
        let error = made.expect_err(&what);
        assert_tells(&error, &dir, steps, errno, &what);
        let left = files(&dir);
        if left.contains(&"to".to_owned()) {
            assert!(!mutation.creates(), "{what}");
            assert_eq!(read(&dir, "to"), "old", "{what}");
        }
        assert!(
            left.iter().all(|name| name == "to" || name == "from"),
            "{what}: {left:?}"
        );
        assert_eq!(read(&dir, "from"), "new data", "{what}");

        if mutation == PutUpdate {
            // What was there may be lost, and nothing can be updated.
            mutation.prepare(&store).await;
        }
        mutation
            .make(&store)
            .await
            .unwrap_or_else(|e| panic!("afterwards, {what}: {e}"));
        mutation.check_done(&store, &dir, &what).await;

        // What is there already is not ours: it is not even opened.
        if mutation.creates() {
            store.put(&at("from"), "newer data".into()).await.unwrap();
            (mishap.begin)();
            let made = mutation.make(&store).await;
            (mishap.end)();
            let error = made.expect_err(&what);
            assert!(
                matches!(error, Error::AlreadyExists { .. }),
                "{what}: {error}"
            );
            assert_eq!(read(&dir, "to"), "new data", "{what}");
            assert_eq!(read(&dir, "from"), "newer data", "{what}");
        }
    }
}

/// A mishap that passes by itself is no failure.
pub(crate) async fn passes(root: &Dir, mishap: &Mishap<'_>, fsync: bool) {
    for mutation in PUBLISHES {
        let dir = fresh(root, "passes");
        let store = quick(&dir).with_fsync(fsync);
        let what = format!("{mutation:?} {}", mishap.name);
        mutation.prepare(&store).await;
        (mishap.begin)();
        let made = mutation.make(&store).await;
        (mishap.end)();
        let put = made.unwrap_or_else(|e| panic!("{what}: {e}"));
        mutation.check_done(&store, &dir, &what).await;
        if let Some(put) = put {
            let head = store.head(&at("to")).await.unwrap();
            assert_eq!(put.e_tag, head.e_tag, "{what}");
        }
    }
}

/// A destination that another program has open, for good.
pub(crate) async fn says_who_may_have_it_open(root: &Dir, mishap: &Mishap<'_>, errno: i32) {
    for mutation in [Put, Multipart, Copy, Rename] {
        let dir = fresh(root, "held");
        let store = quick(&dir);
        let what = format!("{mutation:?} {}", mishap.name);
        mutation.prepare(&store).await;
        (mishap.begin)();
        let made = mutation.make(&store).await;
        (mishap.end)();
        let error = made.expect_err(&what);
        assert_tells(&error, &dir, &["rename"], Some(errno), &what);
        let text = error.to_string();
        assert!(text.contains("another program may have"), "{what}: {text}");
        mutation.check_undone(&dir, &what).await;
        mutation.make(&store).await.unwrap();
        mutation.check_done(&store, &dir, &what).await;
    }
}

/// A directory sync that fails: it took effect, and may not last.
pub(crate) async fn may_not_last(root: &Dir, mishap: &Mishap<'_>, errno: i32) {
    for mutation in PUBLISHES {
        let dir = fresh(root, "sync");
        let store = quick(&dir).with_fsync(true);
        let what = format!("{mutation:?} {}", mishap.name);
        mutation.prepare(&quick(&dir)).await;
        (mishap.begin)();
        let made = mutation.make(&store).await;
        (mishap.end)();
        let error = made.expect_err(&what);
        assert_tells(&error, &dir, &["sync data to disk"], Some(errno), &what);
        assert!(
            error
                .to_string()
                .contains("may not survive a power failure"),
            "{error}"
        );
        mutation.check_done(&store, &dir, &what).await;
    }
}

/// All that a store may be asked that makes something exclusively or would link.
pub(crate) async fn create_and_copy(dir: &Dir, round: usize) {
    let store = super::contract::store(dir);
    let name = |what: &str| at(&format!("{what}{round}"));
    let create = || PutOptions::from(PutMode::Create);
    let put = name("put");
    let created = store.put_opts(&put, "data".into(), create()).await;
    created.unwrap();
    if round % 20 == 0 {
        let again = store.put_opts(&put, "more".into(), create()).await;
        let error = again.unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
        let (copy, new, renamed) = (name("copy"), name("new"), name("renamed"));
        store.copy(&put, &copy).await.unwrap();
        store.copy_if_not_exists(&put, &new).await.unwrap();
        store.rename_if_not_exists(&copy, &renamed).await.unwrap();
        assert!(behind(dir).join(format!("renamed{round}")).exists());
    }
    // Each file there is takes a descriptor of the mount's.
    store.delete(&put).await.unwrap();
}
