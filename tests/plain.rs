//! Upstream's suites and the contract on a plain directory, for every minor.

mod minors;

use minors::for_each_minor;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn upstreams_suites_pass() {
    let dir = tempfile::tempdir().unwrap();
    for_each_minor!(dir.path(), suites::all);
    minors::suites_0_14::all(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn upstreams_suites_pass_with_fsync() {
    let dir = tempfile::tempdir().unwrap();
    for_each_minor!(dir.path(), suites::all_with_fsync);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn updates_hold() {
    let dir = tempfile::tempdir().unwrap();
    for_each_minor!(dir.path(), updates::all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_contract_holds() {
    let dir = tempfile::tempdir().unwrap();
    for_each_minor!(dir.path(), contract::all);
}
