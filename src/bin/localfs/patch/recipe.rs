//! What a patched copy is made with. All of it travels inside the program.

use std::sync::LazyLock;

use cargo_metadata::semver::Version;
use toml_edit::{DocumentMut, Item, Table};

use super::stamp::Digest;

/// An object_store minor that we have an adapter for.
pub(super) struct Minor {
    pub(super) number: u64,
    /// The trait's implementation for this minor, and its answers: the very files that
    /// the crate compiles.
    pub(super) methods: &'static str,
    /// The same for uploads that other processes go on with.
    pub(super) multipart_store: &'static str,
    pub(super) put_result: &'static str,
}

pub(super) static MINORS: [Minor; 3] = [
    Minor {
        number: 12,
        methods: include_str!("../../../store/methods_0_12.rs"),
        multipart_store: include_str!("../../../store/multipart_store_0_12.rs"),
        put_result: include_str!("../../../store/put_result_0_12.rs"),
    },
    Minor {
        number: 13,
        methods: include_str!("../../../store/methods_0_13.rs"),
        multipart_store: include_str!("../../../store/multipart_store_0_12.rs"),
        put_result: include_str!("../../../store/put_result_0_12.rs"),
    },
    Minor {
        number: 14,
        methods: include_str!("../../../store/methods_0_13.rs"),
        multipart_store: include_str!("../../../store/multipart_store_0_14.rs"),
        put_result: include_str!("../../../store/put_result_0_14.rs"),
    },
];

/// What the adapters of all minors share.
pub(super) const SHARED: &str = include_str!("../../../store/shared.rs");
/// And their attributes.
pub(super) const ATTRIBUTES: &str = include_str!("../../../store/attributes.rs");
/// And their reads and listings.
pub(super) const READ: &str = include_str!("../../../store/read.rs");
/// And their listings by the page.
pub(super) const PAGES: &str = include_str!("../../../store/pages.rs");
/// And what their resumable uploads share.
pub(super) const MULTIPART_STORE: &str = include_str!("../../../store/multipart_store.rs");
/// The copy's `src/local.rs`.
pub(super) const LOCAL: &str = include_str!("../../../../patches/local.rs");
/// The copy's `src/local/localfs/mod.rs`.
pub(super) const LOCALFS: &str = include_str!("../../../../patches/localfs.rs");

// `ENGINE`: the files of the engine's package, path and text.
include!(concat!(env!("OUT_DIR"), "/engine.rs"));

/// The engine's package name, also what its `links` says.
pub(super) const ENGINE_NAME: &str = "object_store_localfs_engine";

const ROOT_MANIFEST: &str = include_str!("../../../../Cargo.toml");

static ROOT: LazyLock<DocumentMut> =
    LazyLock::new(|| ROOT_MANIFEST.parse().expect("our own manifest is TOML"));

impl Minor {
    /// The minor of a version, if there is an adapter for it.
    pub(super) fn of(version: &Version) -> Option<&'static Self> {
        MINORS
            .iter()
            .find(|minor| version.major == 0 && minor.number == version.minor)
    }

    /// The oldest release the adapter is made for, as this crate's own dependencies say.
    pub(super) fn oldest(&self) -> Version {
        let key = format!("object_store_0_{}", self.number);
        ROOT["dependencies"][&key]["version"]
            .as_str()
            .and_then(|version| Version::parse(version).ok())
            .expect("our manifest names a full version for each minor")
    }
}

/// The minors we know, for a message.
pub(super) fn known() -> String {
    "0.12, 0.13 and 0.14".to_string()
}

/// This program's version; the engine has the same.
pub(super) fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Changes whenever a copy would come out differently for a reason of ours.
pub(super) fn digest() -> String {
    let mut digest = Digest::new();
    for text in [
        version(),
        SHARED,
        READ,
        ATTRIBUTES,
        PAGES,
        MULTIPART_STORE,
        LOCAL,
        LOCALFS,
        include_str!("copy.rs"),
    ] {
        digest.add(text.as_bytes());
    }
    for minor in &MINORS {
        digest.add(minor.put_result.as_bytes());
        digest.add(minor.methods.as_bytes());
        digest.add(minor.multipart_store.as_bytes());
    }
    for (path, text) in ENGINE {
        digest.add(path.as_bytes());
        digest.add(text.as_bytes());
    }
    digest.hex()
}

/// The engine's manifest, for a life outside of our workspace.
///
/// What it inherits is written out. Left out is what a user of the copy has no use for: our lints
/// (a path package's warnings are shown), and tests whose files are not brought along.
pub(super) fn engine_manifest(text: &str) -> String {
    let mut manifest: DocumentMut = text.parse().expect("the engine's manifest is TOML");
    let inherited = ROOT
        .get("workspace")
        .and_then(|workspace| workspace.get("package"))
        .and_then(Item::as_table_like);
    if let (Some(package), Some(inherited)) = (manifest["package"].as_table_like_mut(), inherited) {
        for (key, value) in inherited.iter() {
            if package.get(key).is_some_and(inherits) {
                package.insert(key, value.clone());
            }
        }
    }
    for key in ["lints", "dev-dependencies", "test", "bench", "example"] {
        manifest.remove(key);
    }
    // So that it may lie inside of another workspace's directory.
    manifest.insert("workspace", Item::Table(Table::new()));
    manifest.to_string()
}

fn inherits(item: &Item) -> bool {
    item.as_table_like()
        .and_then(|item| item.get("workspace"))
        .is_some()
}
