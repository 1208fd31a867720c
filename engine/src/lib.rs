//! The engine of `object_store_localfs`.
