//! The answers to writes, reads and listings in object_store 0.12 and 0.13.

use std::ops::Range;

use object_store_localfs_engine::Version;

use super::path::Path;
use super::{Attributes, GetResult, GetResultPayload, ListResult, ObjectMeta, PutResult};

/// The same for writes, reads and listings.
pub(super) fn e_tag(version: Version) -> String {
    let Version {
        inode,
        modified_micros,
        size,
    } = version;
    format!("{inode:x}-{modified_micros:x}-{size:x}")
}

pub(super) fn put_result(version: Version) -> PutResult {
    PutResult {
        e_tag: Some(e_tag(version)),
        version: None,
    }
}

pub(super) fn get_result(
    payload: GetResultPayload,
    meta: ObjectMeta,
    range: Range<u64>,
    attributes: Attributes,
) -> GetResult {
    GetResult {
        payload,
        meta,
        range,
        attributes,
    }
}

pub(super) fn list_result(common_prefixes: Vec<Path>, objects: Vec<ObjectMeta>) -> ListResult {
    ListResult {
        common_prefixes,
        objects,
    }
}
