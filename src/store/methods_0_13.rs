//! The trait of object_store since 0.13, where options say what 0.12 has methods for.

use std::ops::Range;

use bytes::Bytes;
use object_store_localfs_engine::{Attributes as Kept, Error as EngineError, Mode};

use super::attributes::to_keep;
use super::path::Path;
use super::put_result::put_result;
use super::read::Beyond;
use super::shared::{LocalFileSystem, put_mode};
use super::{
    Attributes, CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    RenameTargetMode, Result,
};
use stream::{BoxStream, StreamExt};

/// What this minor has its streams from.
pub(super) mod stream {
    pub(crate) use futures_util::stream::{BoxStream, StreamExt, iter, try_unfold};
}

/// How many objects are deleted at a time.
const PARALLEL_DELETES: usize = 10;

/// The mount and the reason are in it.
pub(super) fn not_implemented(error: EngineError) -> Error {
    Error::NotImplemented {
        operation: error.to_string(),
        implementer: "LocalFileSystem".into(),
    }
}

impl LocalFileSystem {
    fn not_implemented(&self, operation: &str) -> Error {
        Error::NotImplemented {
            operation: operation.into(),
            implementer: self.to_string(),
        }
    }

    pub(super) fn attributes(&self, given: &Attributes, operation: &str) -> Result<Kept> {
        to_keep(given).map_err(|unknown| {
            self.not_implemented(&format!("{operation} with the attribute {unknown:?}"))
        })
    }
}

#[async_trait::async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for LocalFileSystem {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let mode = put_mode(location, opts.mode)?;
        let attributes = self.attributes(&opts.attributes, "put")?;
        let put = self.put_file(location, payload, mode, attributes);
        put.await.map(put_result)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let attributes = self.attributes(&opts.attributes, "put_multipart")?;
        self.begin_upload(location, attributes).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.get_file(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.get_file_ranges(location, ranges, Beyond::Refused)
            .await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .map(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    store.delete_file(&location).await?;
                    Ok(location)
                }
            })
            .buffered(PARALLEL_DELETES)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_files(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_files(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.list_one_level(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let mode = match options.mode {
            CopyMode::Overwrite => Mode::Overwrite,
            CopyMode::Create => Mode::Create,
        };
        self.copy_file(from, to, mode).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let mode = match options.target_mode {
            RenameTargetMode::Overwrite => Mode::Overwrite,
            RenameTargetMode::Create => Mode::Create,
        };
        self.rename_file(from, to, mode).await
    }
}
