//! The trait of resumable uploads in object_store 0.12 and 0.13.

use object_store_localfs_engine::Attributes as Kept;

use super::multipart::{MultipartStore, PartId};
use super::path::Path;
use super::shared::LocalFileSystem;
use super::{MultipartId, PutPayload, PutResult, Result};

/// Uploads on the disk, which any process that has the id goes on with, also after a crash.
///
/// Parts are hidden files next to the object, in no listing of any version of object_store. An
/// index may be put again: a [`PartId`] names the bytes it was answered for, and until the upload
/// is over an earlier one of the same index may be named as well. A part whose call failed, or was
/// dropped and not answered, is named by nobody.
///
/// `complete_multipart` is atomic and takes effect at most once, whoever calls it how often. After
/// a crash or an error it is to be called again with the same parts: it goes on from where it
/// ended. An object that was published by then, and overwritten since, does not come back. It
/// copies inside the kernel where that can, sharing extents if the file system does (aligned parts
/// on XFS and btrfs), and needs the room of a second copy elsewhere. On a mount that cannot rename,
/// a crash in the last pass leaves a part of the object until this is called again.
///
/// What is neither completed nor aborted stays until [`LocalFileSystem::sweep`] finds that no part
/// was put for long enough. For a lost [`PartId`] see [`LocalFileSystem::multipart_parts`].
///
/// # Errors
///
/// `NotFound` if the upload was completed or aborted. `Generic` names the part that is not there
/// or not whole; nothing is changed then.
#[async_trait::async_trait]
#[deny(clippy::missing_trait_methods)]
impl MultipartStore for LocalFileSystem {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.begin_resumable(path, Kept::NONE).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part_idx: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        self.put_resumable_part(path, id, part_idx, data).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.complete_resumable(path, id, parts).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.abort_resumable(path, id).await
    }
}
