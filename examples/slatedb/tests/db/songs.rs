//! What is written: songs that tell by themselves whether they are whole.

use slatedb::Db;

pub(crate) fn text(name: &str) -> String {
    format!("{name} la la la. ").repeat(16)
}

/// Every one of `names` is there, and nothing that was not written.
pub(crate) async fn check(db: &Db, names: &[String]) -> Result<(), String> {
    let told = |e: slatedb::Error| format!("reading: {}", crate::checks::told(&e));
    let mut rows = db.scan(..).await.map_err(told)?;
    let mut found = std::collections::BTreeSet::new();
    while let Some(song) = rows.next().await.map_err(told)? {
        let name = String::from_utf8_lossy(&song.key).into_owned();
        if song.value != text(&name).as_bytes() {
            return Err(format!("{name} is not what was written"));
        }
        found.insert(name);
    }
    let missing = |name| Err(format!("{name} was acknowledged and is missing"));
    if let Some(name) = names.iter().find(|name| !found.contains(*name)) {
        return missing(name);
    }
    // A get goes another way than a scan; the last are those that a crash can touch.
    for name in names.iter().rev().take(100) {
        let got = db.get(name).await.map_err(told)?;
        if got.is_none_or(|got| got != text(name).as_bytes()) {
            return missing(name);
        }
    }
    Ok(())
}
