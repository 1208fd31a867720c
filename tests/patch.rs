//! `localfs patch` and `localfs unpatch`, on workspaces of every kind. Needs the crates.io that
//! cargo has, with what cargo has downloaded already or over the network.

#![cfg(feature = "cli")]

#[path = "patch/interruption.rs"]
mod interruption;
#[path = "patch/override.rs"]
mod overriding;
#[path = "patch/refusals.rs"]
mod refusals;
#[path = "patch/stand_in.rs"]
mod stand_in;
#[path = "patch/upstream.rs"]
mod upstream;
#[path = "patch/workspace.rs"]
mod workspace;
#[path = "patch/workspaces.rs"]
mod workspaces;

/// One object_store, two, and three in one graph. The releases are pinned so that these tests do
/// not move with crates.io; `FS` is what all of them have in common.
const ONE: &str =
    r#"object_store = { version = "=0.14.2", default-features = false, features = ["fs"] }"#;
const TWO: &str = r#"object_store = { version = "=0.14.2", default-features = false, features = ["fs"] }
object_store_0_12 = { package = "object_store", version = "=0.12.5" }"#;
const THREE: &str = r#"object_store = { version = "=0.14.2", default-features = false, features = ["fs"] }
object_store_0_13 = { package = "object_store", version = "=0.13.2", features = ["fs"] }
object_store_0_12 = { package = "object_store", version = "=0.12.5" }"#;
