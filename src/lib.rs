//! A drop-in `LocalFileSystem` for [`object_store`](https://docs.rs/object_store) that finishes
//! what it starts on any mount: a local disk, a Windows drive under WSL2, an NFS or SMB share, a
//! FUSE mount of a bucket.
//!
//! Change one line:
//!
//! ```
//! // use object_store::local::LocalFileSystem;
//! use object_store_localfs::LocalFileSystem;
//! # use object_store_0_14 as object_store;
//! use object_store::{ObjectStoreExt, path::Path};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let store = LocalFileSystem::new_with_prefix(dir.path())?;
//! let location = Path::from("songs/1.ogg");
//! let put = store.put(&location, "la la".into()).await?;
//! assert_eq!(store.head(&location).await?.e_tag, put.e_tag);
//! # Ok(())
//! # }
//! ```
//!
//! A program whose dependencies use object_store takes the override instead, for which it changes
//! no line: see the `localfs patch` command in the README.
//!
//! # Features
//!
//! | feature | gives |
//! | --- | --- |
//! | `object_store-0_14` (default) | [`v0_14::LocalFileSystem`] |
//! | `object_store-0_13` | `v0_13::LocalFileSystem` |
//! | `object_store-0_12` | `v0_12::LocalFileSystem` |
//! | `cli` | the command `localfs` |
//! | `mount-tests` | tests that mount file systems, as root |
//!
//! They add up; [`LocalFileSystem`] is that of the newest minor that is enabled.

mod store;

pub use object_store_localfs_engine::{
    Exclusion, Known, MountFacts, Recoveries, RetryPolicy, Swept,
};

#[cfg(feature = "object_store-0_12")]
pub use store::v0_12;
#[cfg(feature = "object_store-0_13")]
pub use store::v0_13;
#[cfg(feature = "object_store-0_14")]
pub use store::v0_14;

#[cfg(feature = "object_store-0_14")]
pub use v0_14::LocalFileSystem;

#[cfg(all(feature = "object_store-0_13", not(feature = "object_store-0_14")))]
pub use v0_13::LocalFileSystem;

#[cfg(all(
    feature = "object_store-0_12",
    not(any(feature = "object_store-0_13", feature = "object_store-0_14"))
))]
pub use v0_12::LocalFileSystem;
