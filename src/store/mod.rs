//! One module for each minor of object_store. Their sources are written once: here they are
//! compiled against crates of crates.io, in a patched copy of object_store against that copy. Each
//! is named for the first minor that it serves.
//!
//! What they name by `super` is what stands in the module around them: the crate's items, and
//! `local_upstream`, its own store.

#![allow(
    clippy::duplicate_mod,
    reason = "one source, compiled against the types of three crates"
)]

#[cfg(feature = "object_store-0_14")]
#[path = "."]
pub mod v0_14 {
    //! For object_store 0.14.

    use object_store_0_14::local as local_upstream;
    use object_store_0_14::*;

    #[path = "attributes.rs"]
    mod attributes;
    #[path = "methods_0_13.rs"]
    mod methods;
    #[path = "multipart_store.rs"]
    mod multipart_store;
    #[path = "multipart_store_0_14.rs"]
    mod multipart_store_methods;
    #[path = "pages.rs"]
    mod pages;
    #[path = "put_result_0_14.rs"]
    mod put_result;
    #[path = "read.rs"]
    mod read;
    #[path = "shared.rs"]
    mod shared;

    pub use shared::LocalFileSystem;
}

#[cfg(feature = "object_store-0_13")]
#[path = "."]
pub mod v0_13 {
    //! For object_store 0.13.

    use object_store_0_13::local as local_upstream;
    use object_store_0_13::*;

    #[path = "attributes.rs"]
    mod attributes;
    #[path = "methods_0_13.rs"]
    mod methods;
    #[path = "multipart_store.rs"]
    mod multipart_store;
    #[path = "multipart_store_0_12.rs"]
    mod multipart_store_methods;
    #[path = "pages.rs"]
    mod pages;
    #[path = "put_result_0_12.rs"]
    mod put_result;
    #[path = "read.rs"]
    mod read;
    #[path = "shared.rs"]
    mod shared;

    pub use shared::LocalFileSystem;
}

#[cfg(feature = "object_store-0_12")]
#[path = "."]
pub mod v0_12 {
    //! For object_store 0.12.

    use object_store_0_12::local as local_upstream;
    use object_store_0_12::*;

    #[path = "attributes.rs"]
    mod attributes;
    #[path = "methods_0_12.rs"]
    mod methods;
    #[path = "multipart_store.rs"]
    mod multipart_store;
    #[path = "multipart_store_0_12.rs"]
    mod multipart_store_methods;
    #[path = "pages.rs"]
    mod pages;
    #[path = "put_result_0_12.rs"]
    mod put_result;
    #[path = "read.rs"]
    mod read;
    #[path = "shared.rs"]
    mod shared;

    pub use shared::LocalFileSystem;
}
