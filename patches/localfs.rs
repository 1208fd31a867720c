//! The adapter for this minor of object_store, file for file as `object_store_localfs` has it.

// What `super::` means in the adapter.
#[allow(unused_imports)]
use crate::*;
use crate::local_upstream;

mod attributes;
mod methods;
mod multipart_store;
mod multipart_store_methods;
mod pages;
mod put_result;
mod read;
mod shared;

pub use shared::LocalFileSystem;
