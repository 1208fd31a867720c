//! What the tests of `songs` and of `songs-session` have in common: the mounts, and the table in
//! README.md of what the ways to run LanceDB do on them.

#![allow(
    dead_code,
    unused_imports,
    reason = "several test crates include this module, each uses a part"
)]

#[allow(
    clippy::manual_is_multiple_of,
    reason = "the crate's MSRV is older than the method"
)]
#[path = "../../../../tests/quirkfs/mod.rs"]
pub(crate) mod quirkfs;

mod mounts;
mod readme;
mod run;

pub(crate) use run::{Way, assert_fired, by_path, by_uri, run_songs};

use mounts::mounts;

/// Measures every way on every mount. The table in README.md must say that, and ways that are
/// promised to work must work on each.
pub(crate) fn check_table(ways: &[Way]) {
    let mounts = mounts();
    let mut broken = Vec::new();
    let mut columns = Vec::new();
    for way in ways {
        let mut cells = Vec::new();
        for mount in &mounts {
            let outcome = (mount.measure)(way, mount);
            eprintln!("{}, {}: {}", way.name, mount.name, outcome.told);
            if let Some(why) = outcome.failure.filter(|_| way.works_everywhere) {
                broken.push(format!("{}, {}: {why}", way.name, mount.name));
            }
            cells.push(outcome.told);
        }
        columns.push((way.name, cells));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
    let rows: Vec<&str> = mounts.iter().map(|mount| mount.name).collect();
    readme::check(&rows, &columns);
}
