//! Writes, copies, renames and reads objects in a directory, a plain one unless another is named:
//! `cargo run --example quickstart -- /mnt/share/data`.

use object_store_0_14 as object_store;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use object_store_localfs::LocalFileSystem;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = tempfile::tempdir()?;
    let dir = match std::env::args_os().nth(1) {
        Some(dir) => dir.into(),
        None => temporary.path().to_owned(),
    };
    let store = LocalFileSystem::new_with_prefix(&dir)?;
    println!("{store}");

    let song = Path::from("songs/1.ogg");
    let put = store.put(&song, "la la la".into()).await?;
    let head = store.head(&song).await?;
    println!("put       {song}, e_tag {}", e_tag(&put.e_tag));
    assert_eq!(head.e_tag, put.e_tag);

    let create = PutOptions::from(PutMode::Create);
    let again = store.put_opts(&song, "na na na".into(), create).await;
    println!("create    {}", again.unwrap_err());

    let (album, parts) = (Path::from("albums/1.flac"), 8);
    let mut upload = store.put_multipart(&album).await?;
    let mut parts_of_it: Vec<_> = (0..parts)
        .map(|i| upload.put_part(vec![i; 1 << 20].into()))
        .collect();
    // Each has its place, in whatever order they are written.
    parts_of_it.reverse();
    futures::future::try_join_all(parts_of_it).await?;
    upload.complete().await?;
    println!(
        "multipart {album}, {} bytes",
        store.head(&album).await?.size
    );

    let copy = Path::from("albums/copy.flac");
    store.copy(&album, &copy).await?;
    store.copy(&album, &copy).await?;
    store.rename(&album, &copy).await?;
    println!("renamed   {album} onto its own copy");

    let read = store.get(&copy).await?.bytes().await?;
    assert!((0..parts).all(|i| read[usize::from(i) << 20] == i));
    for location in [&song, &copy] {
        store.delete(location).await?;
        println!("deleted   {location}");
    }
    println!("recovered from: {:?}", store.recoveries());
    Ok(())
}

fn e_tag(e_tag: &Option<String>) -> &str {
    e_tag.as_deref().unwrap_or("none")
}
