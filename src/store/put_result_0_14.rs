//! The answer to a write since object_store 0.14.

use object_store_localfs_engine::Version;

use super::PutResult;

/// With the e_tag that its reads and listings give the same version.
pub(super) fn put_result(version: Version) -> PutResult {
    let Version {
        inode,
        modified_micros,
        size,
    } = version;
    PutResult {
        e_tag: Some(format!("\"{inode:x}-{modified_micros:x}-{size:x}\"")),
        version: None,
        extensions: Default::default(),
    }
}
