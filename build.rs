//! Puts the engine's sources into the command line, which writes them beside a patched object_store.
//! Without the feature `cli` there is nothing to do.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CLI").is_none() {
        return;
    }
    // Not there in the package on crates.io: copies then take the engine from crates.io too.
    let engine = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("engine");
    if engine.exists() {
        println!("cargo:rerun-if-changed=engine");
    }

    let mut files = Vec::new();
    for name in ["Cargo.toml", "build.rs"] {
        files.extend(Some(engine.join(name)).filter(|file| file.exists()));
    }
    collect(&engine.join("src"), &mut files);
    files.sort();

    let mut list = String::from("pub(super) const ENGINE: &[(&str, &str)] = &[\n");
    for file in &files {
        let name = file.strip_prefix(&engine).unwrap().to_str().unwrap();
        let name = name.replace('\\', "/");
        writeln!(list, "    ({name:?}, include_str!({file:?})),").unwrap();
    }
    list.push_str("];\n");
    let out = Path::new(&env::var_os("OUT_DIR").unwrap()).join("engine.rs");
    fs::write(out, list).unwrap();
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
