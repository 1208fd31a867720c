//! What `benches/syscalls.sh` counts the system calls of: 1,000 puts of 4 KiB over each other, or
//! one multipart upload of 16 parts of 64 KiB.
//!
//! Dev-dependencies switch the engine's fault seam on; it makes no system calls.

use futures::TryStreamExt;
use object_store_0_14 as object_store;
use object_store_0_14::path::Path;
use object_store_0_14::{ObjectStore, ObjectStoreExt, PutPayload};

type Error = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [store, work, dir] = args[..] else {
        return Err(
            "usage: syscalls <ours|upstream> <puts|multipart|gets|ranges|heads|lists|files|nothing> <dir>"
                .into(),
        );
    };
    let store: Box<dyn ObjectStore> = match store {
        "ours" => Box::new(object_store_localfs::v0_14::LocalFileSystem::new_with_prefix(dir)?),
        "upstream" => Box::new(object_store::local::LocalFileSystem::new_with_prefix(dir)?),
        other => return Err(format!("no such store: {other}").into()),
    };
    match work {
        "puts" => puts(&*store).await,
        "multipart" => multipart(&*store).await,
        "gets" | "ranges" | "heads" | "lists" | "files" => reads(&*store, work, dir).await,
        // What is not the store's: loading the program, starting a thread of the blocking pool.
        "nothing" => Ok(tokio::task::spawn_blocking(|| ()).await?),
        other => Err(format!("no such work: {other}").into()),
    }
}

async fn puts(store: &dyn ObjectStore) -> Result<(), Error> {
    let payload = PutPayload::from(vec![b'x'; 4 << 10]);
    for _ in 0..1000 {
        store.put(&Path::from("object"), payload.clone()).await?;
    }
    Ok(())
}

/// 1,000 of them, or ten listings of 1,000 objects.
async fn reads(store: &dyn ObjectStore, work: &str, dir: &str) -> Result<(), Error> {
    let object = Path::from("object-0");
    for n in 0..1000 {
        std::fs::write(format!("{dir}/object-{n}"), [b'x'; 4 << 10])?;
        match work {
            "gets" => drop(store.get(&object).await?.bytes().await?),
            "ranges" => drop(store.get_ranges(&object, &[0..9, 99..199]).await?),
            "heads" => drop(store.head(&object).await?),
            _ => {}
        }
    }
    if work == "lists" {
        for _ in 0..10 {
            store.list(None).try_collect::<Vec<_>>().await?;
        }
    }
    Ok(())
}

async fn multipart(store: &dyn ObjectStore) -> Result<(), Error> {
    let part = PutPayload::from(vec![b'x'; 64 << 10]);
    let mut upload = store.put_multipart(&Path::from("object")).await?;
    for _ in 0..16 {
        upload.put_part(part.clone()).await?;
    }
    upload.complete().await?;
    Ok(())
}
