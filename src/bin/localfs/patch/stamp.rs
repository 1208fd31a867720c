//! The file that marks a directory as made by us, and tells whether it still is as we made it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use toml_edit::{DocumentMut, Item, Table, value};

use super::recipe;
use crate::error::{Error, Result};

/// The stamp's name inside the directory.
const NAME: &str = "localfs.toml";

const HEADER: &str = "\
# This directory was made by `localfs patch`, which replaces it whole when it has to:
# do not edit it. `localfs unpatch` removes it.
";

/// What a stamp says.
#[derive(PartialEq)]
pub(super) struct Stamp {
    pub(super) package: String,
    pub(super) version: String,
    recipe: String,
    files: BTreeMap<String, String>,
}

/// What has become of a directory that we made.
pub(super) enum State {
    Fresh,
    /// With the reason, for people.
    Stale(String),
}

impl Stamp {
    /// The stamp in `dir`, if there is one that can be read.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(dir.join(NAME)).ok()?;
        let stamp: DocumentMut = text.parse().ok()?;
        let text = |key: &str| Some(stamp.get(key)?.as_str()?.to_string());
        let files = stamp.get("files")?.as_table_like()?;
        Some(Self {
            package: text("package")?,
            version: text("version")?,
            recipe: text("recipe")?,
            files: files
                .iter()
                .filter_map(|(path, digest)| Some((path.to_string(), digest.as_str()?.to_string())))
                .collect(),
        })
    }

    /// Compares the directory with its stamp, and the stamp with this program.
    pub(super) fn state(&self, dir: &Path) -> State {
        if self.recipe != recipe::digest() {
            return State::Stale("it was made by another localfs".to_string());
        }
        for (path, digest) in &self.files {
            match fs::read(dir.join(path)) {
                Ok(bytes) if Digest::of(&bytes) == *digest => {}
                Ok(_) => return State::Stale(format!("{path} in it was changed")),
                Err(error) => return State::Stale(format!("{path} in it: {error}")),
            }
        }
        State::Fresh
    }
}

/// Stamps `dir`, with everything that is in it now.
pub(super) fn write(dir: &Path, package: &str, version: &str) -> Result<()> {
    let mut files = Table::new();
    for path in list(dir)? {
        let full = dir.join(&path);
        let bytes = fs::read(&full).map_err(|error| Error::io("read", &full, &error))?;
        files.insert(&path, value(Digest::of(&bytes)));
    }
    let mut stamp = DocumentMut::new();
    stamp.decor_mut().set_prefix(HEADER);
    stamp["package"] = value(package);
    stamp["version"] = value(version);
    stamp["localfs"] = value(recipe::version());
    stamp["recipe"] = value(recipe::digest());
    stamp["files"] = Item::Table(files);
    let path = dir.join(NAME);
    fs::write(&path, stamp.to_string()).map_err(|error| Error::io("write", &path, &error))
}

/// The files under `dir`, sorted, with `/` between the parts of each path.
fn list(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![(dir.to_path_buf(), String::new())];
    while let Some((dir, prefix)) = open.pop() {
        let entries = fs::read_dir(&dir).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        for entry in entries.map_err(|error| Error::io("list", &dir, &error))? {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                open.push((entry.path(), format!("{name}/")));
            } else {
                found.push(name);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// FNV-1a, 64 bit: it has to notice accidents, not attacks.
pub(super) struct Digest(u64);

impl Digest {
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn of(bytes: &[u8]) -> String {
        let mut digest = Self::new();
        digest.add(bytes);
        digest.hex()
    }

    /// Line ends do not count: git may turn them round in a checkout.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let end = [0]; // so that "ab", "c" is not "a", "bc"
        for byte in bytes.iter().chain(&end).filter(|&&byte| byte != b'\r') {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(super) fn hex(&self) -> String {
        format!("{:016x}", self.0)
    }
}
