//! Our store in the place of the one behind `file-object-store://`.

use std::sync::Arc;

use lance_core::Result;
use lance_io::object_store::providers::local::FileStoreProvider;
use lance_io::object_store::{ObjectStore, ObjectStoreParams, ObjectStoreProvider};
use lancedb::Session;
use object_store_localfs::LocalFileSystem;
use url::Url;

/// Lance's own scheme for a local path whose every read and write goes through object_store.
///
/// It has to be one that Lance knows: by the scheme of the URI, and by nothing else, it picks what
/// keeps two writers apart (`commit_handler_from_url` in lance-table 14.0.2, `src/io/commit.rs`).
/// For this one that is a `put` which fails if the version is there already. For a scheme of our
/// own it would be `UnsafeCommitHandler`, which looks at nothing: of two commits at once one is
/// lost, and both are told that they were made.
///
/// Not `file`, though that is as safe: with that one Lance writes and reads data by itself, past
/// any store that it is given.
pub const SCHEME: &str = "file-object-store";

/// A session for `lancedb::connect(...).session(...)`.
pub fn session() -> Arc<Session> {
    let session = Session::default();
    session.store_registry().insert(SCHEME, Arc::new(LocalFs));
    Arc::new(session)
}

#[derive(Debug)]
struct LocalFs;

#[async_trait::async_trait]
impl ObjectStoreProvider for LocalFs {
    /// Lance's store for local paths, with ours inside.
    async fn new_store(&self, url: Url, params: &ObjectStoreParams) -> Result<ObjectStore> {
        let mut store = FileStoreProvider.new_store(url, params).await?;
        store.inner = Arc::new(LocalFileSystem::new());
        Ok(store)
    }
}
