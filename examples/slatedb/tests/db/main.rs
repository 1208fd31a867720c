//! SlateDB on our store, and on upstream's, in a directory: two writers, and processes that are
//! killed. This binary starts itself again as the writers.

mod checks;
mod collects;
mod crash;
mod fencing;
#[cfg(feature = "mount-tests")]
mod mounts;
mod songs;
mod store;
mod writer;

use store::Store;

/// A directory for one test.
fn plain() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}
