//! Multipart uploads that any process goes on with, the same for every minor of object_store.

use object_store_localfs_engine::Attributes as Kept;

use super::multipart::PartId;
use super::path::Path;
use super::put_result::put_result;
use super::shared::{LocalFileSystem, blocking};
use super::{MultipartId, PutPayload, PutResult, Result};

impl LocalFileSystem {
    /// The parts of a [`MultipartStore`](super::multipart::MultipartStore) upload that are there
    /// whole, with their index and size in bytes: for a program that lost what `put_part` answered,
    /// in a crash of its own. By index; of an index that was put again, all, the newest last as far
    /// as mtimes tell.
    ///
    /// Reads the directory once and looks at each part.
    ///
    /// # Errors
    ///
    /// `NotFound` if the upload was completed or aborted.
    pub async fn multipart_parts(
        &self,
        location: &Path,
        id: &MultipartId,
    ) -> Result<Vec<(usize, PartId, u64)>> {
        let path = self.path_to_filesystem(location)?;
        let (engine, id) = (self.engine.clone(), id.clone());
        let parts = blocking(move || engine.multipart_parts(&path, &id)).await?;
        let part = |part: object_store_localfs_engine::MultipartPart| {
            let content_id = part.id;
            (part.index, PartId { content_id }, part.size)
        };
        Ok(parts.into_iter().map(part).collect())
    }

    pub(super) async fn begin_resumable(
        &self,
        location: &Path,
        attributes: Kept,
    ) -> Result<MultipartId> {
        let path = self.path_to_filesystem(location)?;
        let engine = self.engine.clone();
        blocking(move || engine.create_multipart(&path, &attributes)).await
    }

    pub(super) async fn put_resumable_part(
        &self,
        location: &Path,
        id: &MultipartId,
        index: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        let path = self.path_to_filesystem(location)?;
        let (engine, id) = (self.engine.clone(), id.clone());
        let content_id = blocking(move || {
            let len = data.content_length() as u64;
            engine.put_part(&path, &id, index, len, data.iter().map(AsRef::as_ref))
        });
        Ok(PartId {
            content_id: content_id.await?,
        })
    }

    pub(super) async fn complete_resumable(
        &self,
        location: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let path = self.path_to_filesystem(location)?;
        let (engine, id) = (self.engine.clone(), id.clone());
        let completed = blocking(move || {
            let parts: Vec<_> = parts.into_iter().map(|part| part.content_id).collect();
            engine.complete_multipart(&path, &id, &parts)
        });
        completed.await.map(put_result)
    }

    pub(super) async fn abort_resumable(&self, location: &Path, id: &MultipartId) -> Result<()> {
        let path = self.path_to_filesystem(location)?;
        let (engine, id) = (self.engine.clone(), id.clone());
        let root = self.cleanup_root();
        blocking(move || engine.abort_multipart(&path, &id, root.as_deref())).await
    }
}
