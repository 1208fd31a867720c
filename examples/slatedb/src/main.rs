//! A SlateDB in a directory: `cargo run -- /mnt/d/songs`.

use std::error::Error;
use std::sync::Arc;

use object_store_localfs::LocalFileSystem;
use slatedb::Db;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).ok_or("which directory?")?;
    std::fs::create_dir_all(&dir)?;
    // With fsync, what SlateDB calls durable outlives the machine's power too.
    let store = LocalFileSystem::new_with_prefix(&dir)?.with_fsync(true);
    let db = Db::open("db", Arc::new(store.clone())).await?;

    let before = match db.get("plays").await? {
        Some(plays) => String::from_utf8(plays.to_vec())?.parse()?,
        None => 0,
    };
    let plays: u64 = before + 1;
    db.put("songs/1", "la la la").await?;
    db.put("songs/2", "na na na").await?;
    let last = db.put("plays", plays.to_string()).await?;
    // Until here the three are in memory; writes are made durable in their order.
    last.await_durable().await?;

    let mut songs = db.scan_prefix("songs/", ..).await?;
    while let Some(song) = songs.next().await? {
        let (name, text) = (song.key.escape_ascii(), song.value.escape_ascii());
        println!("{name}: {text}");
    }
    println!("played {plays} times");

    db.close().await?;
    println!("recovered from: {:?}", store.recoveries());
    Ok(())
}
