//! Uploads that are held half way, for a sweep to find.

use std::path::Path as Dir;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use object_store_localfs::Swept;
use object_store_localfs_engine::fault::{self, Call, Fault, Injected, Op};

use super::LocalFileSystem;
use super::contract::{at, eventually};
use super::object_store::*;
use crate::minors::files;

/// How many staging files [`hold`] makes.
pub(crate) const HELD: u64 = 4;

/// One upload of each kind, each with a staging file.
pub(crate) struct Held {
    _injected: Injected,
    gate: Arc<Gate>,
    /// At their rename, with a file that is closed, and with a link.
    tasks: Vec<tokio::task::JoinHandle<Result<()>>>,
    /// Between two parts, and after a complete that failed.
    uploads: Vec<Box<dyn MultipartUpload>>,
}

#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        self.waiting.fetch_add(1, Relaxed);
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open));
    }

    fn answer(&self, call: &Call<'_>) -> Fault {
        let name = call.path.file_name().and_then(|name| name.to_str());
        match (call.op, name) {
            (Op::Rename, Some("put" | "copy")) => self.pass(),
            (Op::Rename, Some("failed")) if !*self.is_open.lock().unwrap() => {
                return Fault::before_effect(libc::ENOSPC);
            }
            _ => {}
        }
        Fault::none()
    }
}

pub(crate) async fn hold(dir: &Dir) -> Held {
    let store = LocalFileSystem::new_with_prefix(dir).unwrap();
    store.put(&at("from"), "data".into()).await.unwrap();
    store.put(&at("copy"), "old".into()).await.unwrap();
    let gate = Arc::new(Gate::default());
    let injected = fault::inject(dir, {
        let gate = Arc::clone(&gate);
        move |call| gate.answer(call)
    });

    let mut multipart = store.put_multipart(&at("multipart")).await.unwrap();
    multipart.put_part("data".into()).await.unwrap();
    let mut failed = store.put_multipart(&at("failed")).await.unwrap();
    failed.put_part("data".into()).await.unwrap();
    failed.complete().await.unwrap_err();

    let put = {
        let store = store.clone();
        tokio::spawn(async move { store.put(&at("put"), "data".into()).await.map(|_| ()) })
    };
    let copy = tokio::spawn(async move { store.copy(&at("from"), &at("copy")).await });
    eventually(|| gate.waiting.load(Relaxed) == 2).await;
    Held {
        _injected: injected,
        gate,
        tasks: vec![put, copy],
        uploads: vec![multipart, failed],
    }
}

impl Held {
    /// Lets them go on; each is to come to its end.
    pub(crate) async fn finish(mut self) {
        self.gate.open();
        for task in self.tasks.drain(..) {
            task.await.unwrap().unwrap();
        }
        for mut upload in self.uploads.drain(..) {
            upload.complete().await.unwrap();
        }
    }
}

/// A test that fails does not wait for them.
impl Drop for Held {
    fn drop(&mut self) {
        self.gate.open();
    }
}

pub(crate) async fn uploads_are_kept_and_finish(dir: &Dir) {
    let held = hold(dir).await;
    let swept = sweep(dir, Duration::ZERO).await;
    assert_eq!((swept.found, swept.in_use), (HELD, HELD), "{swept:?}");
    held.finish().await;
    let finished = ["copy", "failed", "from", "multipart", "put"];
    assert_eq!(files(dir), finished);
    for name in finished {
        assert_eq!(std::fs::read(dir.join(name)).unwrap(), b"data", "{name}");
    }
}

/// Upstream's own upload, between two parts.
pub(crate) async fn hold_upstreams(dir: &Dir) -> Box<dyn MultipartUpload> {
    let store = local::LocalFileSystem::new_with_prefix(dir).unwrap();
    let mut upload = store.put_multipart(&at("x")).await.unwrap();
    upload.put_part("data".into()).await.unwrap();
    upload
}

pub(crate) async fn sweep(dir: &Dir, older_than: Duration) -> Swept {
    let store = LocalFileSystem::new_with_prefix(dir).unwrap();
    store.sweep(older_than).await.unwrap()
}

/// What upstream lists.
pub(crate) async fn listed(dir: &Dir) -> Vec<String> {
    let store = local::LocalFileSystem::new_with_prefix(dir).unwrap();
    let listed = store.list(None).map_ok(|meta| meta.location.to_string());
    let mut listed: Vec<_> = listed.try_collect().await.unwrap();
    listed.sort();
    listed
}

pub(crate) async fn a_store_of_everything_is_refused() {
    for store in [
        LocalFileSystem::new(),
        LocalFileSystem::new_with_prefix("/").unwrap(),
    ] {
        let e = store.sweep(Duration::MAX).await.unwrap_err();
        assert!(matches!(e, Error::NotSupported { .. }), "{e}");
        assert!(e.to_string().contains("new_with_prefix"), "{e}");
    }
}

pub(crate) async fn a_directory_that_is_gone_is_an_error(dir: &Dir) {
    let store = LocalFileSystem::new_with_prefix(dir).unwrap();
    std::fs::remove_dir(dir).unwrap();
    let e = store.sweep(Duration::MAX).await.unwrap_err();
    assert!(matches!(e, Error::Generic { .. }), "{e}");
    assert!(e.to_string().contains(dir.to_str().unwrap()), "{e}");
}
