//! What SlateDB asks of `PutMode::Update`: the boundary below which manifests are collected is
//! moved by it. Without, they stay for ever.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::checks::told;
use crate::writer::PATIENCE;
use crate::{Store, plain, songs};

#[test]
fn old_manifests_are_collected_again_and_again() {
    let dir = plain();
    old_manifests(Store::Ours, dir.path()).unwrap();
}

#[tokio::main]
pub(crate) async fn old_manifests(store: Store, dir: &Path) -> Result<(), String> {
    let failed = |e| told(&e);
    let db = store.open(dir).await.map_err(failed)?;
    let boundary = dir.join("db/gc/manifest.boundary");
    let mut boundaries = std::collections::BTreeSet::new();
    let until = Instant::now() + PATIENCE / 4;
    let mut n = 0;
    // The first is created; those after it are updates.
    while boundaries.len() < 3 {
        if Instant::now() > until {
            let manifests =
                std::fs::read_dir(dir.join("db/manifest")).map_err(|e| e.to_string())?;
            let (moved, left) = (boundaries.len(), manifests.count());
            return Err(format!(
                "{left} manifests after {moved} moves of the boundary"
            ));
        }
        let name = format!("{n:06}");
        let written = db.put(&name, songs::text(&name)).await.map_err(failed)?;
        written.await_durable().await.map_err(failed)?;
        n += 1;
        if n % 20 == 0 {
            db.flush().await.map_err(failed)?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if let Ok(at) = std::fs::read_to_string(&boundary) {
            boundaries.insert(at);
        }
    }
    let names: Vec<String> = (0..n).map(|n| format!("{n:06}")).collect();
    songs::check(&db, &names).await?;
    db.close().await.map_err(failed)
}
