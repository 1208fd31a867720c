//! Of two writers the older one is fenced: its next write fails, and the newer one has all that
//! the older was told to be durable.

use std::path::Path;
use std::time::Instant;

use crate::checks::{is_fenced, told};
use crate::writer::{PATIENCE, Writer};
use crate::{Store, plain, songs};

#[test]
fn the_older_of_two_writers_in_a_process_is_fenced() {
    let dir = plain();
    in_a_process(Store::Ours, dir.path()).unwrap();
}

#[test]
fn the_older_of_two_processes_is_fenced() {
    let dir = plain();
    takeovers(Store::Ours, dir.path()).unwrap();
}

#[test]
fn of_processes_that_open_at_once_no_two_go_on() {
    let dir = plain();
    at_once(Store::Ours, dir.path()).unwrap();
}

#[tokio::main]
pub(crate) async fn in_a_process(store: Store, dir: &Path) -> Result<(), String> {
    let failed = |e| told(&e);
    let mut names = Vec::new();
    let older = store.open(dir).await.map_err(failed)?;
    for n in 0..50 {
        let name = format!("older-{n:06}");
        let written = older.put(&name, songs::text(&name)).await.map_err(failed)?;
        written.await_durable().await.map_err(failed)?;
        names.push(name);
    }

    let newer = store.open(dir).await.map_err(failed)?;
    songs::check(&newer, &names).await?;

    let late = match older.put("late", songs::text("late")).await {
        Ok(written) => written.await_durable().await,
        Err(e) => Err(e),
    };
    match late {
        Err(e) if is_fenced(&e) => {}
        Err(e) => return Err(format!("the older writer was not fenced: {}", told(&e))),
        Ok(()) => return Err("the older writer was told that its write is durable".into()),
    }

    for n in 0..50 {
        let name = format!("newer-{n:06}");
        let written = newer.put(&name, songs::text(&name)).await.map_err(failed)?;
        written.await_durable().await.map_err(failed)?;
        names.push(name);
    }
    songs::check(&newer, &names).await?;
    newer.close().await.map_err(failed)?;

    let again = store.open(dir).await.map_err(failed)?;
    songs::check(&again, &names).await?;
    if again.get("late").await.map_err(failed)?.is_some() {
        return Err("the write of the fenced writer is there".into());
    }
    again.close().await.map_err(failed)
}

/// Each opens the database while the one before is writing.
const TAKEOVERS: usize = 5;

pub(crate) fn takeovers(store: Store, dir: &Path) -> Result<(), String> {
    let mut names = Vec::new();
    let mut older = Writer::start(store, "0", dir);
    older.wait_for_songs(50)?;
    for n in 1..=TAKEOVERS {
        let mut newer = Writer::start(store, &n.to_string(), dir);
        newer.wait_for_songs(50)?;
        expect("fenced", older.wait_for_end()?)?;
        names.extend(older.kill().songs);
        older = newer;
    }
    expect("closed", older.stop()?)?;
    names.extend(older.kill().songs);
    reopen(store, dir, &names)
}

const AT_ONCE: usize = 4;

/// SlateDB promises that no two go on, not that one does: a slow one that is fenced as a writer
/// still takes the compactor's place from a faster one, which is then fenced too (also in memory).
pub(crate) fn at_once(store: Store, dir: &Path) -> Result<(), String> {
    // Making it is not for several at once: SlateDB lets all but one fail.
    reopen(store, dir, &[])?;
    let writers = (0..AT_ONCE).map(|n| Writer::start(store, &n.to_string(), dir));
    let mut writers: Vec<Writer> = writers.collect();
    let mut names = Vec::new();
    let until = Instant::now() + PATIENCE;
    while writers.len() > 1 {
        let Some(at) = writers.iter_mut().position(Writer::has_ended) else {
            match Instant::now() < until {
                true => continue,
                false => return Err(format!("{} writers go on", writers.len())),
            }
        };
        let mut fenced = writers.remove(at);
        expect("fenced", fenced.wait_for_end()?)?;
        names.extend(fenced.kill().songs);
    }
    let mut last = writers.remove(0);
    let _ = last.wait_for_songs(50);
    match last.stop()?.as_str() {
        "closed" | "fenced" => {}
        ended => return Err(ended.to_owned()),
    }
    names.extend(last.kill().songs);
    reopen(store, dir, &names)
}

fn expect(how: &str, ended: String) -> Result<(), String> {
    match ended == how {
        true => Ok(()),
        false => Err(format!("not {how}: {ended}")),
    }
}

#[tokio::main]
pub(crate) async fn reopen(store: Store, dir: &Path, names: &[String]) -> Result<(), String> {
    let db = store.open(dir).await.map_err(|e| told(&e))?;
    songs::check(&db, names).await?;
    db.close().await.map_err(|e| told(&e))
}
