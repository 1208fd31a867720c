//! Makes one patched copy of object_store, and the engine beside it.
//!
//! What has to be found in upstream's sources is looked for, never assumed: a release that is laid
//! out differently is refused.

use std::fs;
use std::path::Path;

use cargo_metadata::semver::Version;
use toml_edit::{Array, DocumentMut, Item, Table, Value, value};

use super::recipe::{self, Minor};
use super::stamp;
use crate::error::{Error, Result};

/// Where a copy finds the engine.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Engine {
    /// The one that travels in this program, written beside the copies.
    Beside,
    /// A directory, relative to the copy if it can be.
    Path(String),
    /// A git repository: its address and, if named, `branch`, `tag` or `rev`.
    Git {
        url: String,
        reference: Option<(String, String)>,
    },
    /// The registry.
    Registry,
}

/// Upstream's files that a copy has no use for: the registry's own, and a lock file for its tests.
const LEFT_OUT: [&str; 2] = ["Cargo.lock", "Cargo.toml.orig"];

/// The line after which our module goes.
const ANCHOR: &str = "pub mod local;";

/// What lib.rs and chunked.rs of one minor or another use of upstream's local.rs.
const USED: [&str; 4] = [
    "pub(crate) enum Error {",
    "pub(crate) fn chunked_stream(",
    "pub(crate) fn read_range(",
    "pub struct LocalFileSystem {",
];

/// Makes a copy of `upstream`, a directory as the registry unpacks it, in `into`.
pub(super) fn object_store(
    upstream: &Path,
    version: &Version,
    minor: &Minor,
    engine: &Engine,
    into: &Path,
) -> Result<()> {
    copy_dir(upstream, into)?;
    let odd = |what: &str| {
        Error::new(format!(
            "object_store {version} is laid out in a way that this localfs does not know"
        ))
        .why(format!("{} {what}", upstream.display()))
        .help("a newer object_store_localfs may know it")
    };

    let upstreams = into.join("src/local.rs");
    if !upstreams.exists() {
        return Err(odd("has no src/local.rs"));
    }
    let upstreams = read(&upstreams)?;
    if let Some(missing) = USED.iter().find(|used| !upstreams.contains(*used)) {
        return Err(odd(&format!("has no `{missing}` in src/local.rs")));
    }
    if into.join("src/local").exists() || into.join("src/local_upstream.rs").exists() {
        return Err(odd("has files where ours would go"));
    }
    let lib = with_module(&read(&into.join("src/lib.rs"))?).map_err(odd)?;
    let manifest = with_engine(&read(&into.join("Cargo.toml"))?, engine).map_err(odd)?;

    write(&into.join("Cargo.toml"), &manifest)?;
    write(&into.join("src/lib.rs"), &lib)?;
    write(&into.join("src/local_upstream.rs"), &upstreams)?;
    write(&into.join("src/local.rs"), recipe::LOCAL)?;
    write(&into.join("src/local/localfs/mod.rs"), recipe::LOCALFS)?;
    for (name, text) in [
        ("shared.rs", recipe::SHARED),
        ("read.rs", recipe::READ),
        ("pages.rs", recipe::PAGES),
        ("attributes.rs", recipe::ATTRIBUTES),
        ("multipart_store.rs", recipe::MULTIPART_STORE),
        ("put_result.rs", minor.put_result),
        ("methods.rs", minor.methods),
        ("multipart_store_methods.rs", minor.multipart_store),
    ] {
        write(&into.join("src/local/localfs").join(name), text)?;
    }
    stamp::write(into, "object_store", &version.to_string())
}

/// Writes the engine that travels in this program to `into`.
pub(super) fn engine(into: &Path) -> Result<()> {
    for (path, text) in recipe::ENGINE {
        let text = match *path {
            "Cargo.toml" => &recipe::engine_manifest(text),
            _ => *text,
        };
        write(&into.join(path), text)?;
    }
    stamp::write(into, recipe::ENGINE_NAME, recipe::version())
}

/// lib.rs, with upstream's store as a private module below `local`.
fn with_module(lib: &str) -> Result<String, &'static str> {
    let lines: Vec<&str> = lib.lines().collect();
    let mut anchors = (0..lines.len()).filter(|&at| lines[at] == ANCHOR);
    let (Some(at), None) = (anchors.next(), anchors.next()) else {
        return Err("does not have `pub mod local;` exactly once in src/lib.rs");
    };
    let Some(condition) = at
        .checked_sub(1)
        .map(|before| lines[before])
        .filter(|line| line.starts_with("#[cfg(") && line.ends_with(")]"))
    else {
        return Err("has no condition on `pub mod local;` in src/lib.rs");
    };
    let ours = format!(
        "// Added by `localfs patch`: upstream's local.rs; `local` is made of it and our store.\n\
         {condition}\n\
         #[allow(dead_code, unreachable_pub)]\n\
         mod local_upstream;"
    );
    let mut lines = lines;
    lines.insert(at + 1, &ours);
    Ok(lines.join("\n") + "\n")
}

/// The manifest, with the engine as a dependency of the feature `fs`.
fn with_engine(manifest: &str, engine: &Engine) -> Result<String, &'static str> {
    let mut manifest: DocumentMut = manifest.parse().map_err(|_| "has no TOML in Cargo.toml")?;
    let Some(fs) = manifest
        .get_mut("features")
        .and_then(|features| features.get_mut("fs"))
        .and_then(Item::as_array_mut)
    else {
        return Err("has no feature `fs` in Cargo.toml");
    };
    add(fs, format!("dep:{}", recipe::ENGINE_NAME));

    let mut dependency = Table::new();
    // Exactly: an adapter and the engine are made for each other.
    dependency.insert("version", value(format!("={}", recipe::version())));
    match engine {
        Engine::Beside => {
            dependency.insert("path", value(format!("../{}", recipe::ENGINE_NAME)));
        }
        Engine::Path(path) => {
            dependency.insert("path", value(path));
        }
        Engine::Git { url, reference } => {
            dependency.insert("git", value(url));
            if let Some((kind, name)) = reference {
                dependency.insert(kind, value(name));
            }
        }
        Engine::Registry => {}
    }
    dependency.insert("optional", value(true));
    // As `local` itself: upstream's default features name `fs` on wasm too.
    let mut item = &mut manifest["target"];
    for key in [
        "cfg(not(target_arch = \"wasm32\"))",
        "dependencies",
        recipe::ENGINE_NAME,
    ] {
        let table = item.or_insert(Item::Table(implicit()));
        item = &mut table[key];
    }
    *item = Item::Table(dependency);

    // So that it can be checked on its own, inside of another workspace's directory.
    manifest.insert("workspace", Item::Table(Table::new()));
    Ok(manifest.to_string())
}

fn implicit() -> Table {
    let mut table = Table::new();
    table.set_implicit(true);
    table
}

/// Adds to an array as its last value is laid out.
fn add(array: &mut Array, text: String) {
    let mut new = Value::from(text);
    if let Some(prefix) = array.iter().last().and_then(|last| last.decor().prefix()) {
        new.decor_mut().set_prefix(prefix.clone());
    }
    array.push_formatted(new);
}

/// Copies files, with plain permissions: a vendored source may be read-only.
fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(|error| Error::io("create", to, &error))?;
    let entries = fs::read_dir(from).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    for entry in entries.map_err(|error| Error::io("list", from, &error))? {
        let name = entry.file_name();
        let plain = name.to_string_lossy();
        if plain.starts_with('.') || LEFT_OUT.contains(&&*plain) {
            continue;
        }
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &to.join(&name))?;
        } else {
            let bytes = fs::read(entry.path());
            write(
                &to.join(&name),
                bytes.map_err(|error| Error::io("read", &entry.path(), &error))?,
            )?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::io("read", path, &error))
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| Error::io("create", parent, &error))?;
    }
    fs::write(path, bytes).map_err(|error| Error::io("write", path, &error))
}
