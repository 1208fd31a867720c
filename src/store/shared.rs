//! The store, as far as it is the same for every minor of object_store: what it is made of, and
//! the translation between objects and files.
//!
//! This file and its neighbours name everything of object_store by `super`, so that they compile
//! both in this crate, where that is a dependency, and inside a patched copy of object_store.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store_localfs_engine::{
    Attributes, Engine, Error as EngineError, ErrorKind, Exclusion, Mode, MountFacts, Recoveries,
    RetryPolicy, SweepOptions, Swept, Upload, Version,
};

use super::methods::not_implemented;
use super::path::Path;
use super::put_result::{e_tag as e_tag_of, put_result};
use super::{
    Error, MultipartUpload, PutMode, PutPayload, PutResult, Result, UpdateVersion, UploadPart,
    local_upstream,
};

/// A drop-in for upstream's `LocalFileSystem` that finishes what it starts on any mount.
///
/// Constructors, options and meaning are upstream's: paths, symlinks, listings, names ending in
/// `#` and digits, and the tokio blocking pool. What differs is how it is done:
///
/// - The object is written to a staging file next to it, closed with errors checked, and published
///   in one step; a reader sees the old object or the new one, whole.
/// - An error that does not tell whether a call took effect is looked into: a lost reply is a
///   success, once.
/// - A stale handle or name is met by a fresh look, within [`RetryPolicy`].
/// - Writers of one path take turns, across all stores of the process.
/// - A multipart upload of which a part failed or was dropped publishes nothing.
/// - A read whose handle goes stale goes on with a new one if the object is still the same version,
///   and fails if it is not: two versions are never mixed. On a local disk a `get` answers with the
///   file itself, as upstream's does, elsewhere with a stream that does this.
/// - What vanishes while it is listed is left out, and a directory whose handle goes stale is read
///   again.
/// - It lists by the page, too, as a `PaginatedListStore`.
///
/// # Errors
///
/// Upstream's variants; the message names the file, the step, what the system said and, where
/// there is something to do, what. `Generic` is what is left: its source is an engine error, whose
/// source is the [`std::io::Error`].
///
/// # Attributes
///
/// What `put_opts` and `put_multipart_opts` are given is kept in extended attributes (`xattr(7)`) of
/// the file, which has them before it has a byte, and its name:
///
/// | attribute | xattr |
/// | --- | --- |
/// | `ContentType` | `user.content-type` |
/// | `ContentEncoding` | `user.content-encoding` |
/// | `ContentLanguage` | `user.content-language` |
/// | `ContentDisposition` | `user.content-disposition` |
/// | `CacheControl` | `user.cache-control` |
/// | `StorageClass` | `user.storage-class` |
/// | `Metadata(key)` | `user.X-Amz-Meta.{key}`; its `%` and control characters as `%25`, `%00`, … |
///
/// `get_opts` tells them, with `head` as well; an object that is overwritten has those of the new one; copies and renames carry them,
/// also to another mount. Other xattrs are not told, and a copy that is no link has none of them.
///
/// A mount without extended attributes answers `NotImplemented` before any data is written, naming
/// the mount and the reason (the error of object_store 0.12 has no text: there a `tracing` event,
/// a warning, tells it). So does a copy or rename to such a mount of an object that has attributes,
/// and so does any mount on Windows. What is more than the file system takes is an error too, and
/// nothing is published: on Linux a name of more than 255 bytes, a value of more than 64 KiB, on
/// ext4 more than 4 KiB in all. tmpfs has them since Linux 6.6.
///
/// # Costs
///
/// A `get` makes one call to learn that there are no attributes, none on a mount that is known to
/// keep none; a write without attributes none either, unless it is over an object on a mount that
/// cannot rename. With attributes each is a call; on a mount that is no local disk they are read
/// back once they are set.
///
/// On a local disk one `statx` an operation more than upstream, of the parent directory. A `rename`
/// looks at its source afterwards, and a `copy` over an object at its staging file, since
/// `rename(2)` does nothing between two links of one file. Elsewhere also a look at the destination
/// before and after, and a 32-byte digest of each part.
#[derive(Debug, Clone)]
pub struct LocalFileSystem {
    /// Maps locations to paths.
    pub(super) upstream: Arc<local_upstream::LocalFileSystem>,
    pub(super) engine: Engine,
    /// What cleaning up ends at, and what is swept; `None` where upstream's root is no path.
    root: Option<PathBuf>,
    automatic_cleanup: bool,
}

impl std::fmt::Display for LocalFileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.upstream.fmt(f)
    }
}

impl Default for LocalFileSystem {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalFileSystem {
    /// A store of the whole file system: locations are absolute paths.
    pub fn new() -> Self {
        Self::over(
            local_upstream::LocalFileSystem::new(),
            cfg!(unix).then(|| PathBuf::from("/")),
        )
    }

    /// A store of the directory `prefix`, to which all locations are relative.
    ///
    /// # Errors
    ///
    /// If there is no such directory, or it cannot be resolved.
    pub fn new_with_prefix(prefix: impl AsRef<std::path::Path>) -> Result<Self> {
        let prefix = prefix.as_ref();
        let engine = Engine::new();
        let upstream = engine.retry_foreign(
            "open the store of",
            prefix,
            || local_upstream::LocalFileSystem::new_with_prefix(prefix),
            |e| os_error(e),
        )?;
        let root = engine.retry_foreign(
            "resolve",
            prefix,
            || std::fs::canonicalize(prefix),
            |e| e.raw_os_error(),
        );
        Ok(Self::over(upstream, root.ok()))
    }

    fn over(upstream: local_upstream::LocalFileSystem, root: Option<PathBuf>) -> Self {
        Self {
            upstream: Arc::new(upstream),
            engine: Engine::new(),
            root,
            automatic_cleanup: false,
        }
    }

    /// The absolute path of the file that `location` names, whether it is there or not.
    ///
    /// # Errors
    ///
    /// If no object can have this name: it is empty, or ends in `#` and digits as staging files
    /// do.
    pub fn path_to_filesystem(&self, location: &Path) -> Result<PathBuf> {
        self.upstream.path_to_filesystem(location)
    }

    /// Whether deleting an object, or renaming it with "if not exists", also removes the
    /// directories above it that this leaves empty. Off by default.
    pub fn with_automatic_cleanup(mut self, automatic_cleanup: bool) -> Self {
        self.automatic_cleanup = automatic_cleanup;
        self
    }

    /// Whether a write, copy or rename answers only once it would survive a power failure: the
    /// file is synced before it is published, and the directories that name it afterwards. Off by
    /// default. Deletes are not synced. Outside Unix directories cannot be synced.
    pub fn with_fsync(mut self, fsync: bool) -> Self {
        self.engine = self.engine.with_fsync(fsync);
        self
    }

    /// How often, how long and with which pauses a call is made again that met a stale handle or
    /// an error after which nothing had changed. The default ends within about a second.
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.engine = self.engine.with_retry(retry);
        self
    }

    /// The weakest exclusion that "only if nothing is there" accepts (`PutMode::Create`, copies and
    /// renames likewise) on a mount with neither an exclusive rename nor hard links. There a lock
    /// decides, which only this crate's writers heed. By default it excludes the other processes of
    /// this host; a mount that cannot do even that answers `NotSupported`.
    ///
    /// A mount that creates exclusively by itself always does.
    pub fn with_exclusive_create(mut self, weakest: Exclusion) -> Self {
        self.engine = self.engine.with_exclusive_create(weakest);
        self
    }

    /// Who is excluded while a `PutMode::Update` compares the e_tag and replaces the object: by default
    /// the other processes of this host. Puts, copies and renames that replace an object, renames and
    /// deletes that remove one, and uploads that are completed take part, so that no update swallows
    /// what they did. All who write to a path are to choose the same.
    ///
    /// | | held | costs each such write |
    /// | --- | --- | --- |
    /// | [`Exclusion::OtherThreads`] | the path lock | nothing |
    /// | [`Exclusion::OtherProcesses`] | also a byte of a file in `/dev/shm`, or `/tmp` | three system calls |
    /// | [`Exclusion::OtherHosts`] | also a byte of a file in the object's directory, by the server | about ten requests to the server; each read costs one more |
    ///
    /// A process that dies frees its locks. Containers with a `/dev/shm` each are hosts of their own.
    /// For all hosts each directory gets a file `.object_store_localfs#1`, which no listing shows, with
    /// at most 2 MiB of names that are being published; it is held only where the file system is known to keep such locks for all its
    /// hosts: NFS, SMB, Ceph, Lustre, GPFS, GFS2, JuiceFS, GlusterFS, and local disks, also
    /// those that an NFS server of this host exports.
    ///
    /// # Errors
    ///
    /// `NotSupported` if it cannot be had on the mount of this store's directory, as far as can be
    /// known: that a lock is granted here proves nothing of other hosts. If it fails later, so does
    /// the write; less is never made of it. But for the default: where the host cannot have a lock
    /// file, updates fail with `NotSupported`, and writes without a condition go on.
    pub fn with_update_exclusion(mut self, exclusion: Exclusion) -> Result<Self> {
        // Of a store of the whole file system each mount is asked when it is written to.
        let root = self.root.as_deref().filter(|root| root.parent().is_some());
        self.engine = self
            .engine
            .with_update_exclusion(exclusion, root)
            .map_err(to_store_error)?;
        Ok(self)
    }

    /// The local directory in which uploads are collected whose mount cannot rename, by default
    /// [`std::env::temp_dir`]. It needs room for all of them that are in progress; what is there has
    /// no name, and is gone with the process.
    pub fn with_spool_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.engine = self.engine.with_spool_dir(dir.into());
        self
    }

    /// What is known so far of the mount of this store's root. Nothing is written to learn more.
    pub async fn mount_facts(&self) -> Result<MountFacts> {
        let engine = self.engine.clone();
        let root = self.root.clone().unwrap_or_else(|| PathBuf::from("."));
        blocking(move || engine.mount_facts(&root)).await
    }

    /// What this store and its clones recovered from so far. Each recovery is also a `tracing`
    /// event.
    pub fn recoveries(&self) -> Recoveries {
        self.engine.recoveries()
    }

    /// Finds the staging files below this store's directory that a crash left, upstream's
    /// included, and removes those that were last changed at least `older_than` ago and are not in
    /// use.
    ///
    /// What processes of this host are writing is kept, however old: an upload with this crate is
    /// known by the name of its file (not across containers), and on Linux any file is kept that a
    /// process has open, as far as this one may see. `older_than` covers the rest: choose it longer
    /// than an upload on another host may pause, such as a day. The uploads of `MultipartStore`
    /// outlive their processes and go by age alone, each as a whole: once no part of it was put for
    /// `older_than`.
    ///
    /// Walks the whole directory on the blocking pool. Dropped, the sweep goes on there.
    ///
    /// # Errors
    ///
    /// `NotSupported` for a store of the whole file system. `Generic` if the store's directory
    /// cannot be read; what fails below it is in [`Swept::failed`], and the rest is swept.
    pub async fn sweep(&self, older_than: Duration) -> Result<Swept> {
        let root = self.root.clone();
        let Some(root) = root.filter(|root| root.parent().is_some()) else {
            return Err(Error::NotSupported {
                source: "a store of the whole file system is not swept; \
                         make a store of a directory, with `new_with_prefix`, and sweep that"
                    .into(),
            });
        };
        let engine = self.engine.clone();
        let options = SweepOptions::older_than(older_than);
        blocking(move || engine.sweep(&root, options, |_| ControlFlow::Continue(()))).await
    }

    pub(super) async fn put_file(
        &self,
        location: &Path,
        payload: PutPayload,
        mode: Mode,
        attributes: Attributes,
    ) -> Result<Version> {
        let path = self.path_to_filesystem(location)?;
        let engine = self.engine.clone();
        blocking(move || {
            let len = payload.content_length() as u64;
            let chunks = payload.iter().map(AsRef::as_ref);
            engine.put(&path, len, chunks, mode, &attributes)
        })
        .await
    }

    pub(super) async fn begin_upload(
        &self,
        location: &Path,
        attributes: Attributes,
    ) -> Result<Box<dyn MultipartUpload>> {
        let path = self.path_to_filesystem(location)?;
        let engine = self.engine.clone();
        let upload = blocking(move || engine.upload(&path, &attributes)).await?;
        Ok(Box::new(LocalUpload {
            upload: Some(Arc::new(upload)),
            is_over: false,
        }))
    }

    pub(super) async fn copy_file(&self, from: &Path, to: &Path, mode: Mode) -> Result<()> {
        let (from, to) = (self.path_to_filesystem(from)?, self.path_to_filesystem(to)?);
        let engine = self.engine.clone();
        blocking(move || engine.copy(&from, &to, mode)).await
    }

    pub(super) async fn rename_file(&self, from: &Path, to: &Path, mode: Mode) -> Result<()> {
        let (from, to) = (self.path_to_filesystem(from)?, self.path_to_filesystem(to)?);
        let (engine, root) = (self.engine.clone(), self.cleanup_root());
        blocking(move || engine.rename(&from, &to, mode, root.as_deref())).await
    }

    pub(super) async fn delete_file(&self, location: &Path) -> Result<()> {
        let path = self.path_to_filesystem(location)?;
        let (engine, root) = (self.engine.clone(), self.cleanup_root());
        blocking(move || engine.delete(&path, root.as_deref())).await
    }

    pub(super) fn cleanup_root(&self) -> Option<PathBuf> {
        self.root.clone().filter(|_| self.automatic_cleanup)
    }
}

/// What the system said, somewhere among the causes of `error`.
fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    std::iter::successors(Some(error), |e| e.source())
        .find_map(|e| e.downcast_ref::<std::io::Error>()?.raw_os_error())
}

/// Runs `work` on tokio's blocking pool, or right here outside of tokio.
pub(super) async fn on_pool<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await?,
        Err(_) => work(),
    }
}

/// Runs `work` of the engine's there.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T> {
    on_pool(move || work().map_err(to_store_error)).await
}

pub(super) fn to_store_error(error: EngineError) -> Error {
    let path = error.path().to_string_lossy().into_owned();
    match error.kind() {
        // As an io::Error, which is what upstream's source is there.
        ErrorKind::NotFound => Error::NotFound {
            path,
            source: std::io::Error::from(error).into(),
        },
        ErrorKind::AlreadyExists => Error::AlreadyExists {
            path,
            source: std::io::Error::from(error).into(),
        },
        ErrorKind::NotSupported => Error::NotSupported {
            source: error.into(),
        },
        ErrorKind::Precondition => Error::Precondition {
            path,
            source: std::io::Error::from(error).into(),
        },
        ErrorKind::NotImplemented => not_implemented(error),
        _ => Error::Generic {
            store: "LocalFileSystem",
            source: error.into(),
        },
    }
}

/// What a put to `location` is to do with what is there.
pub(super) fn put_mode(location: &Path, mode: PutMode) -> Result<Mode> {
    match mode {
        PutMode::Overwrite => Ok(Mode::Overwrite),
        PutMode::Create => Ok(Mode::Create),
        PutMode::Update(UpdateVersion { e_tag: None, .. }) => Err(Error::Generic {
            store: "LocalFileSystem",
            source: format!(
                "Unable to update {location}: the UpdateVersion has no e_tag, and versions are told \
                 apart by nothing else"
            )
            .into(),
        }),
        PutMode::Update(UpdateVersion {
            e_tag: Some(e_tag), ..
        }) => match version_of(&e_tag) {
            Some(version) => Ok(Mode::Update(version)),
            None => Err(Error::Precondition {
                path: location.to_string(),
                source: format!("no version of it has the e_tag {e_tag}").into(),
            }),
        },
    }
}

/// The version that an e_tag is of, with or without quotes: a store for another minor of object_store
/// may have given it.
fn version_of(e_tag: &str) -> Option<Version> {
    let bare = |e_tag: &str| e_tag.trim_matches('"').to_owned();
    let asked = bare(e_tag);
    let mut parts = asked.split('-');
    let version = Version {
        inode: u64::from_str_radix(parts.next()?, 16).ok()?,
        modified_micros: u128::from_str_radix(parts.next()?, 16).ok()?,
        size: u64::from_str_radix(parts.next()?, 16).ok()?,
    };
    // Of one version there is one e_tag.
    (bare(&e_tag_of(version)) == asked).then_some(version)
}

/// A multipart upload. Dropped before it is completed, it leaves nothing behind.
#[derive(Debug)]
struct LocalUpload {
    /// `None` only while it is dropped. Shared with calls that the blocking pool is still at: one
    /// that was cancelled goes on, and the next one waits for it.
    upload: Option<Arc<Upload>>,
    /// It was answered that it is completed or aborted.
    is_over: bool,
}

fn upload_is_over() -> Error {
    Error::Generic {
        store: "LocalFileSystem",
        source: "the upload was completed or aborted".into(),
    }
}

impl LocalUpload {
    fn open(&self) -> Result<&Arc<Upload>> {
        let open = self.upload.as_ref().filter(|_| !self.is_over);
        open.ok_or_else(upload_is_over)
    }

    async fn finish<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Upload) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T> {
        let upload = Arc::clone(self.open()?);
        let done = blocking(move || work(&upload)).await?;
        self.is_over = true;
        Ok(done)
    }
}

#[async_trait::async_trait]
impl MultipartUpload for LocalUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = self
            .open()
            .map(|upload| upload.part(data.content_length() as u64));
        Box::pin(async move {
            let part = part?;
            let writer = part.writer();
            blocking(move || writer.write(data.iter().map(AsRef::as_ref))).await?;
            part.is_written();
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let completed = self.finish(|upload| upload.complete(Mode::Overwrite));
        completed.await.map(put_result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.finish(Upload::abort).await
    }
}

impl Drop for LocalUpload {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take() else {
            return;
        };
        // Removing the staging file is file I/O. A pool that is shut down drops the upload, which
        // then does it here.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn_blocking(move || drop(upload)));
        }
    }
}
