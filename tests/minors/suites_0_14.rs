//! Upstream's suites that only object_store 0.14 has.

use std::path::Path;

use super::fresh;
use super::v0_14::contract;
use object_store_0_14::integration;

pub(crate) async fn all(root: &Path) {
    for fsync in [false, true] {
        let dir = fresh(root, "multipart_put_part_out_of_order");
        eprintln!("multipart_put_part_out_of_order in {}", dir.display());
        let store = contract::store(&dir).with_fsync(fsync);
        integration::multipart_put_part_out_of_order(&store, &store).await;
        integration::multipart_with_opts(&store, &store).await;
    }
}
