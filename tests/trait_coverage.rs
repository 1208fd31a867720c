//! No method of upstream's traits is left to its default: each is in our impl, and a test fails
//! when upstream adds one. (`clippy::missing_trait_methods` says the same to those who run it.)
//!
//! Upstream's sources are read where cargo has them, for the versions of the lock file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use syn::{File, ImplItem, Item, ItemImpl, TraitItem, Type, Visibility};

type Names = BTreeSet<String>;

const MINORS: [&str; 3] = ["0.12", "0.13", "0.14"];

#[test]
fn every_method_of_the_store_is_implemented() {
    let methods = ["methods_0_12.rs", "methods_0_13.rs", "methods_0_13.rs"];
    for (minor, methods) in MINORS.into_iter().zip(methods) {
        let asked = trait_methods(&upstream(minor, "lib.rs"), "ObjectStore");
        assert!(asked.contains("put_opts"), "{minor}: {asked:?}");
        let done = impl_methods(&ours(methods), "ObjectStore", "LocalFileSystem");
        assert_covered(&format!("ObjectStore of {minor}"), &asked, &done);
    }
}

#[test]
fn every_method_of_resumable_uploads_is_implemented() {
    let methods = ["0_12", "0_12", "0_14"].map(|since| format!("multipart_store_{since}.rs"));
    for (minor, methods) in MINORS.into_iter().zip(&methods) {
        let asked = trait_methods(&upstream(minor, "multipart.rs"), "MultipartStore");
        assert!(asked.contains("put_part"), "{minor}: {asked:?}");
        let done = impl_methods(&ours(methods), "MultipartStore", "LocalFileSystem");
        assert_covered(&format!("MultipartStore of {minor}"), &asked, &done);
    }
}

#[test]
fn every_method_of_an_upload_is_implemented() {
    let done = impl_methods(&ours("shared.rs"), "MultipartUpload", "LocalUpload");
    for minor in MINORS {
        let asked = trait_methods(&upstream(minor, "upload.rs"), "MultipartUpload");
        assert!(asked.contains("put_part"), "{minor}: {asked:?}");
        assert_covered(&format!("MultipartUpload of {minor}"), &asked, &done);
    }
}

/// Upstream's traits for what only some stores can, and the file that has each.
const LOW_LEVEL: &[(&str, &str)] = &[("PaginatedListStore", "list.rs")];

#[test]
fn every_method_of_the_low_level_traits_is_implemented() {
    for (name, file) in LOW_LEVEL {
        let done = impl_methods(&all_of_ours(), name, "LocalFileSystem");
        for minor in MINORS {
            let asked = trait_methods(&upstream(minor, file), name);
            assert!(!asked.is_empty(), "{name} of {minor}");
            assert_covered(&format!("{name} of {minor}"), &asked, &done);
        }
    }
}

#[test]
fn every_constructor_and_option_of_upstreams_newest_store_is_ours() {
    let done = inherent_methods(&ours("shared.rs"), "LocalFileSystem");
    for minor in MINORS {
        let asked = inherent_methods(&upstream(minor, "local.rs"), "LocalFileSystem");
        assert!(asked.contains("new_with_prefix"), "{minor}: {asked:?}");
        assert_covered(&format!("LocalFileSystem of {minor}"), &asked, &done);
    }
}

#[test]
fn every_other_trait_of_upstreams_store_is_ours() {
    // In a file of its own for each trait, and checked above.
    let elsewhere = ["ObjectStore"];
    let done = traits(&ours("shared.rs"), "LocalFileSystem");
    for minor in MINORS {
        let mut asked = traits(&upstream(minor, "local.rs"), "LocalFileSystem");
        assert!(asked.contains("Display"), "{minor}: {asked:?}");
        asked.retain(|name| !elsewhere.contains(&name.as_str()));
        assert_covered(&format!("LocalFileSystem of {minor}"), &asked, &done);
    }
}

// ---- that these tests can fail ----------------------------------------------------------------

const A_TRAIT: &str = "
    pub trait Store: Send {
        const NAME: &'static str;
        fn put(&self);
        /// It has a default.
        async fn get(&self) -> u8 { 0 }
    }";

const AN_IMPL: &str = "
    #[derive(Debug, Clone)]
    pub struct Local;
    impl Local {
        pub fn new() -> Self { Self }
        fn private(&self) {}
    }
    impl std::fmt::Display for Local {
        fn fmt(&self) {}
    }
    impl super::Store for Local {
        fn put(&self) {}
    }";

fn parsed(source: &str) -> File {
    syn::parse_file(source).unwrap()
}

fn names<const N: usize>(names: [&str; N]) -> Names {
    names.map(String::from).into()
}

#[test]
fn a_method_more_in_the_trait_is_missed() {
    let asked = trait_methods(&parsed(A_TRAIT), "Store");
    let done = impl_methods(&parsed(AN_IMPL), "Store", "Local");
    assert_eq!(asked, names(["get", "put"]));
    assert_eq!(missing(&asked, &done), ["get"]);
}

#[test]
#[should_panic(expected = "Store of upstream has get")]
fn a_method_that_is_missed_fails_the_test() {
    assert_covered("Store of upstream", &names(["get", "put"]), &names(["put"]));
}

#[test]
fn public_methods_and_traits_are_told_from_the_rest() {
    let file = parsed(AN_IMPL);
    assert_eq!(inherent_methods(&file, "Local"), names(["new"]));
    let all = names(["Clone", "Debug", "Display", "Store"]);
    assert_eq!(traits(&file, "Local"), all);
}

// ---- reading sources --------------------------------------------------------------------------

fn missing<'a>(asked: &'a Names, done: &'a Names) -> Vec<&'a str> {
    asked.difference(done).map(String::as_str).collect()
}

fn assert_covered(of: &str, asked: &Names, done: &Names) {
    let missing = missing(asked, done);
    assert!(
        missing.is_empty(),
        "{of} has {}, and ours has not: forward it or implement it, on purpose",
        missing.join(", ")
    );
}

fn trait_methods(file: &File, name: &str) -> Names {
    let items = file.items.iter().filter_map(|item| match item {
        Item::Trait(item) if item.ident == name => Some(&item.items),
        _ => None,
    });
    let methods = items.flatten().filter_map(|item| match item {
        TraitItem::Fn(method) => Some(method.sig.ident.to_string()),
        _ => None,
    });
    methods.collect()
}

fn impls<'a>(file: &'a File, of: &'a str) -> impl Iterator<Item = &'a ItemImpl> {
    file.items.iter().filter_map(move |item| match item {
        Item::Impl(item) => match &*item.self_ty {
            Type::Path(path) if path.path.is_ident(of) => Some(item),
            _ => None,
        },
        _ => None,
    })
}

/// The last segment of the trait's path, if it is the impl of one.
fn trait_of(item: &ItemImpl) -> Option<String> {
    let (_, path, _) = item.trait_.as_ref()?;
    Some(path.segments.last()?.ident.to_string())
}

fn impl_methods(file: &File, of_trait: &str, of: &str) -> Names {
    let items = impls(file, of).filter(|item| trait_of(item).as_deref() == Some(of_trait));
    let methods = items
        .flat_map(|item| &item.items)
        .filter_map(|item| match item {
            ImplItem::Fn(method) => Some(method.sig.ident.to_string()),
            _ => None,
        });
    methods.collect()
}

fn inherent_methods(file: &File, of: &str) -> Names {
    let items = impls(file, of).filter(|item| item.trait_.is_none());
    let methods = items
        .flat_map(|item| &item.items)
        .filter_map(|item| match item {
            ImplItem::Fn(method) if matches!(method.vis, Visibility::Public(_)) => {
                Some(method.sig.ident.to_string())
            }
            _ => None,
        });
    methods.collect()
}

/// Implemented and derived.
fn traits(file: &File, of: &str) -> Names {
    let mut found: Names = impls(file, of).filter_map(trait_of).collect();
    let attributes = file.items.iter().filter_map(|item| match item {
        Item::Struct(item) if item.ident == of => Some(&item.attrs),
        _ => None,
    });
    for attribute in attributes.flatten().filter(|a| a.path().is_ident("derive")) {
        let derived = attribute.parse_nested_meta(|meta| {
            let last = meta.path.segments.last();
            found.extend(last.map(|segment| segment.ident.to_string()));
            Ok(())
        });
        derived.unwrap();
    }
    found
}

fn read(path: &Path) -> File {
    let source = std::fs::read_to_string(path);
    let source = source.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    syn::parse_file(&source).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn ours(file: &str) -> File {
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/store")
            .join(file),
    )
}

/// All that is the same for every minor.
fn all_of_ours() -> File {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let paths = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let shared = paths.filter(|path| !path.file_name().unwrap().to_str().unwrap().contains("_0_"));
    let mut all = parsed("");
    for path in shared {
        all.items.extend(read(&path).items);
    }
    all
}

/// A source file of upstream's, of the version of this minor in the lock file.
fn upstream(minor: &str, file: &str) -> File {
    let metadata = cargo(&[
        "metadata",
        "--offline",
        "--format-version=1",
        "--filter-platform",
        &host(),
    ]);
    let metadata: serde_json::Value = serde_json::from_slice(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let found: Vec<_> = packages
        .iter()
        .filter(|package| package["name"] == "object_store")
        .filter(|package| {
            let version = package["version"].as_str().unwrap();
            version.starts_with(&format!("{minor}."))
        })
        .map(|package| PathBuf::from(package["manifest_path"].as_str().unwrap()))
        .collect();
    let [manifest] = &found[..] else {
        panic!("object_store {minor} in the graph: {found:?}");
    };
    read(&manifest.with_file_name("src").join(file))
}

/// Cargo has fetched what this platform needs, and no more.
fn host() -> String {
    let version = String::from_utf8(cargo(&["--version", "--verbose"])).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("cargo tells the host").to_owned()
}

fn cargo(args: &[&str]) -> Vec<u8> {
    let ran = Command::new(env!("CARGO"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "cargo {args:?}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    ran.stdout
}
