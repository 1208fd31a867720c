//! A drop-in `LocalFileSystem` for `object_store`.
