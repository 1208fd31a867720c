//! The trait of object_store 0.12.

use std::ops::Range;

use bytes::Bytes;
use object_store_localfs_engine::{Attributes as Kept, Error as EngineError, Mode};

use super::attributes::to_keep;
use super::path::Path;
use super::put_result::put_result;
use super::read::Beyond;
use super::shared::{LocalFileSystem, put_mode};
use super::{
    Attributes, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use stream::{BoxStream, StreamExt};

/// What this minor has its streams from.
pub(super) mod stream {
    pub(crate) use futures::stream::{BoxStream, StreamExt, iter, try_unfold};
}

/// How many objects are deleted at a time.
const PARALLEL_DELETES: usize = 10;

/// What it would say has been told by an event.
pub(super) fn not_implemented(_error: EngineError) -> Error {
    Error::NotImplemented
}

fn attributes(given: &Attributes) -> Result<Kept> {
    to_keep(given).map_err(|_unknown| Error::NotImplemented)
}

#[async_trait::async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for LocalFileSystem {
    async fn put(&self, location: &Path, payload: PutPayload) -> Result<PutResult> {
        self.put_opts(location, payload, PutOptions::default())
            .await
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let mode = put_mode(location, opts.mode)?;
        let attributes = attributes(&opts.attributes)?;
        let put = self.put_file(location, payload, mode, attributes);
        put.await.map(put_result)
    }

    async fn put_multipart(&self, location: &Path) -> Result<Box<dyn MultipartUpload>> {
        self.begin_upload(location, Kept::NONE).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.begin_upload(location, attributes(&opts.attributes)?)
            .await
    }

    async fn get(&self, location: &Path) -> Result<GetResult> {
        self.get_opts(location, GetOptions::default()).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.get_file(location, options).await
    }

    async fn get_range(&self, location: &Path, range: Range<u64>) -> Result<Bytes> {
        let mut read = self.get_ranges(location, &[range]).await?;
        Ok(read.remove(0))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.get_file_ranges(location, ranges, Beyond::Cut).await
    }

    async fn head(&self, location: &Path) -> Result<ObjectMeta> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        Ok(self.get_opts(location, options).await?.meta)
    }

    async fn delete(&self, location: &Path) -> Result<()> {
        self.delete_file(location).await
    }

    fn delete_stream<'a>(
        &'a self,
        locations: BoxStream<'a, Result<Path>>,
    ) -> BoxStream<'a, Result<Path>> {
        locations
            .map(move |location| async move {
                let location = location?;
                self.delete_file(&location).await?;
                Ok(location)
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

    async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        self.copy_file(from, to, Mode::Overwrite).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.rename_file(from, to, Mode::Overwrite).await
    }

    async fn copy_if_not_exists(&self, from: &Path, to: &Path) -> Result<()> {
        self.copy_file(from, to, Mode::Create).await
    }

    async fn rename_if_not_exists(&self, from: &Path, to: &Path) -> Result<()> {
        self.rename_file(from, to, Mode::Create).await
    }
}
