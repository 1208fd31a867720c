//! What is in the workspace's resolved graph.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cargo_metadata::semver::Version;
use cargo_metadata::{Dependency, Metadata, Package};

use super::copy::Engine;
use super::paths;
use super::recipe::{self, Minor};
use crate::error::{Error, Result};

/// An object_store in the graph.
pub(super) struct Found {
    pub(super) version: Version,
    /// Where its sources lie.
    pub(super) dir: PathBuf,
    pub(super) verdict: Verdict,
}

/// What is to be done about an object_store.
pub(super) enum Verdict {
    /// Comes from crates.io, and there is an adapter for it.
    Takes(&'static Minor),
    /// Is a path package, which may be a copy of ours.
    Local {
        /// A `[patch]` put it in the place of a registry's.
        patched: bool,
    },
    /// Stays as it is, for this reason.
    LeftAlone(String),
}

/// A package, told apart as cargo does.
pub(super) type Id = (String, String, Option<String>);

/// Every object_store in the graph, oldest first.
pub(super) fn object_stores(graph: &Metadata) -> Vec<Found> {
    let stores = graph.packages.iter().filter(|it| it.name == "object_store");
    let mut found: Vec<_> = stores
        .map(|package| Found {
            version: package.version.clone(),
            dir: dir(package),
            verdict: judge(graph, package),
        })
        .collect();
    found.sort_by(|a, b| (&a.version, &a.dir).cmp(&(&b.version, &b.dir)));
    found
}

fn judge(graph: &Metadata, package: &Package) -> Verdict {
    let Some(source) = &package.source else {
        return Verdict::Local {
            patched: is_patched(graph, package),
        };
    };
    let from = match source.repr.strip_prefix("git+") {
        Some(git) if is_patched(graph, package) => format!("it is patched already, to {git}"),
        Some(git) => format!("it comes from git, {git}"),
        None if is_crates_io(package) => return judge_version(&package.version),
        None => format!("it comes from another registry, {}", source.repr),
    };
    Verdict::LeftAlone(from)
}

fn judge_version(version: &Version) -> Verdict {
    match Minor::of(version) {
        None => Verdict::LeftAlone(format!("this localfs has a store for {}", recipe::known())),
        Some(minor) if *version < minor.oldest() => Verdict::LeftAlone(format!(
            "the store for this minor needs {} or later; `cargo update object_store@{version}` \
             brings it",
            minor.oldest(),
        )),
        Some(minor) => Verdict::Takes(minor),
    }
}

fn is_crates_io(package: &Package) -> bool {
    let source = package.source.as_ref();
    source.is_some_and(|it| it.is_crates_io() || it.repr == "sparse+https://index.crates.io/")
}

/// Whether a dependency that names a registry gets this package, which comes from elsewhere.
fn is_patched(graph: &Metadata, package: &Package) -> bool {
    let registry = |it: &&Dependency| {
        let source = it.source.as_deref().unwrap_or("git+");
        it.name == package.name && it.path.is_none() && !source.starts_with("git+")
    };
    let in_registry = |it: &&Dependency| {
        let mut stores = graph.packages.iter().filter(|it| it.name == package.name);
        stores.any(|store| {
            store.source.is_some() && is_crates_io(store) && it.req.matches(&store.version)
        })
    };
    let dependencies = graph.packages.iter().flat_map(|it| &it.dependencies);
    dependencies
        .filter(registry)
        .filter(|it| it.req.matches(&package.version))
        .any(|it| !in_registry(&it))
}

/// Where copies at `dir/<name>` find the engine that this graph has already, or would need.
pub(super) fn engine(graph: &Metadata, dir: &Path) -> Result<Engine> {
    let Some(package) = engine_package(graph) else {
        return Ok(match recipe::ENGINE {
            [] => Engine::Registry,
            _ => Engine::Beside,
        });
    };
    if package.version.to_string() != recipe::version() {
        return Err(Error::new(format!(
            "the workspace has object_store_localfs {} in its graph, and this localfs is {}",
            package.version,
            recipe::version()
        ))
        .why("all stores of a process share one engine, so both have to be of one version")
        .help(format!(
            "`cargo install object_store_localfs --features cli --version {}`, \
             or move the workspace to {}",
            package.version,
            recipe::version()
        )));
    }
    Ok(match &package.source {
        None => Engine::Path(paths::from(&dir.join("any"), &self::dir(package))),
        Some(source) => match source.repr.strip_prefix("git+") {
            Some(git) => git_engine(git),
            None => Engine::Registry,
        },
    })
}

/// The directory of the engine in the graph.
pub(super) fn engine_dir(graph: &Metadata) -> Option<PathBuf> {
    engine_package(graph).map(dir)
}

fn engine_package(graph: &Metadata) -> Option<&Package> {
    let engine = |it: &&Package| it.links.as_deref() == Some(recipe::ENGINE_NAME);
    graph.packages.iter().find(engine)
}

/// `https://example.com/repo?branch=main#0a1b2c` as a dependency names it.
fn git_engine(source: &str) -> Engine {
    let source = source.split('#').next().unwrap_or(source);
    let (url, query) = match source.split_once('?') {
        Some((url, query)) => (url, query.split_once('=')),
        None => (source, None),
    };
    Engine::Git {
        url: url.to_string(),
        reference: query.map(|(kind, name)| (kind.to_string(), decoded(name))),
    }
}

/// Cargo encodes a `/` or `+` in a branch's name.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        (rest, _) = match (first, code) {
            (b'%', Some(byte)) => (&tail[2..], bytes.push(byte)),
            _ => (tail, bytes.push(*first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All packages but the engine.
pub(super) fn packages(graph: &Metadata) -> BTreeSet<Id> {
    let others = graph
        .packages
        .iter()
        .filter(|it| it.name != recipe::ENGINE_NAME);
    others
        .map(|it| {
            let source = it.source.as_ref().map(|source| source.repr.clone());
            (it.name.clone(), it.version.to_string(), source)
        })
        .collect()
}

/// The directory of a package.
fn dir(package: &Package) -> PathBuf {
    let manifest = package.manifest_path.as_std_path();
    manifest.parent().unwrap_or(manifest).to_path_buf()
}
