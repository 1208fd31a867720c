//! What a store answers to the operations of the README's table. The verdict on it is passed in
//! `readme_table.rs`, once for every minor: what goes there and back is of no minor's types.

use std::path::Path as Dir;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::LocalFileSystem;
use super::object_store::local::LocalFileSystem as Upstream;
use super::object_store::path::Path;
use super::object_store::*;

/// The error; or of a success the e_tag, where one is answered, and the one that `head` has then.
pub(crate) type Answer = std::result::Result<Option<[Option<String>; 2]>, String>;

/// Makes the operation of that name in the table. The strings are the location it reads, the one
/// it changes, and the data it hands over.
pub(crate) type Make = Box<dyn Fn(&'static str, [String; 3]) -> BoxFuture<'static, Answer>>;

pub(crate) fn upstream(dir: &Dir) -> Make {
    by(Arc::new(Upstream::new_with_prefix(dir).unwrap()))
}

pub(crate) fn ours(dir: &Dir) -> Make {
    by(Arc::new(LocalFileSystem::new_with_prefix(dir).unwrap()))
}

fn by(store: Arc<dyn ObjectStore>) -> Make {
    Box::new(move |operation, [from, to, data]| {
        let store = Arc::clone(&store);
        let (from, to) = (Path::from(from), Path::from(to));
        async move {
            match make(&*store, operation, &from, &to, data).await {
                Ok(None) => Ok(None),
                Ok(Some(put)) => {
                    let head = store.head(&to).await.ok();
                    Ok(Some([put.e_tag, head.and_then(|meta| meta.e_tag)]))
                }
                Err(error) => Err(error.to_string()),
            }
        }
        .boxed()
    })
}

async fn make(
    store: &dyn ObjectStore,
    operation: &str,
    from: &Path,
    to: &Path,
    data: String,
) -> Result<Option<PutResult>> {
    match operation {
        "put" => return store.put(to, data.into()).await.map(Some),
        "put if absent" => {
            let create = PutOptions::from(PutMode::Create);
            return store.put_opts(to, data.into(), create).await.map(Some);
        }
        "multipart" => {
            let mut upload = store.put_multipart(to).await?;
            for part in [
                upload.put_part(half(&data, 0)),
                upload.put_part(half(&data, 1)),
            ] {
                part.await?;
            }
            return upload.complete().await.map(Some);
        }
        "a dropped part" => {
            let mut upload = store.put_multipart(to).await?;
            drop(upload.put_part(half(&data, 0)));
            upload.put_part(half(&data, 1)).await?;
            return upload.complete().await.map(Some);
        }
        "copy" => store.copy(from, to).await,
        "copy if absent" => store.copy_if_not_exists(from, to).await,
        "copy twice" => {
            store.copy(from, to).await?;
            store.copy(from, to).await
        }
        "rename" => store.rename(from, to).await,
        "rename if absent" => store.rename_if_not_exists(from, to).await,
        "rename onto a copy" => {
            store.copy(from, to).await?;
            store.rename(from, to).await
        }
        "delete" => store.delete(to).await,
        other => panic!("no operation is called {other:?}"),
    }?;
    Ok(None)
}

fn half(data: &str, which: usize) -> PutPayload {
    let (first, second) = data.split_at(data.len() / 2);
    [first, second][which].to_owned().into()
}
