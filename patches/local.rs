//! An object store implementation for a local filesystem.
//!
//! This is `object_store_localfs` in the place of upstream's store, put here by `localfs patch`.
//! Upstream's is still there, as the private module `local_upstream`: it maps locations to
//! paths.

mod localfs;

pub use localfs::LocalFileSystem;
/// What the options of `LocalFileSystem` take, and what it tells of itself and of its mount.
pub use object_store_localfs_engine::{Exclusion, Known, MountFacts, Recoveries, RetryPolicy, Swept};

// What the rest of the crate uses of this module; one minor uses more of it than another.
#[allow(unused_imports)]
pub(crate) use crate::local_upstream::{Error, chunked_stream, read_range};
