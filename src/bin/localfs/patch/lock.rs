//! Cargo.lock: which object_store it names as ours, and back.

use cargo_metadata::semver::Version;
use toml_edit::{DocumentMut, Item, value};

/// As Cargo.lock names crates.io.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The lock with `versions` of object_store from crates.io again.
///
/// Without that, cargo would take out the patch and then choose a version anew. The checksum is
/// left to cargo, which fills in what is missing; so is the rest of the file, which it tidies.
pub(super) fn from_registry(lock: &str, versions: &[Version]) -> String {
    let Ok(mut doc) = lock.parse::<DocumentMut>() else {
        return lock.to_string();
    };
    let packages = doc
        .get_mut("package")
        .and_then(Item::as_array_of_tables_mut);
    for package in packages.into_iter().flat_map(|it| it.iter_mut()) {
        let is = |key: &str, text: &str| package.get(key).and_then(Item::as_str) == Some(text);
        let ours = versions.iter().any(|it| is("version", &it.to_string()));
        if is("name", "object_store") && ours && !package.contains_key("source") {
            package.insert("source", value(CRATES_IO));
        }
    }
    doc.to_string()
}
