//! By paths. What takes a directory's path between two calls is used in its stead.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::{Entry, For, Listed};
use crate::sys::{is, platform, same_error};

pub(super) type Handle = PathBuf;

pub(super) fn open(path: &Path, _how: For) -> io::Result<Handle> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => Ok(path.to_owned()),
        false => Err(same_error::not_found()),
    }
}

pub(super) fn open_below(root: &Handle, below: &Path, how: For) -> io::Result<Handle> {
    open(&root.join(below), how)
}

pub(super) fn stat(dir: &Handle) -> io::Result<Entry> {
    fs::symlink_metadata(dir).map(|m| entry(&m))
}

pub(super) fn look(dir: &Handle, name: &OsStr) -> io::Result<Entry> {
    fs::symlink_metadata(dir.join(name)).map(|m| entry(&m))
}

fn entry(m: &Metadata) -> Entry {
    Entry {
        stat: platform::stat(m),
        is_file: m.is_file(),
        allocated: m.len(),
    }
}

pub(super) fn unlink(dir: &Handle, name: &OsStr) -> io::Result<()> {
    fs::remove_file(dir.join(name))
}

pub(super) fn list(
    dir: &Handle,
    each: &mut dyn FnMut(OsString, Listed) -> ControlFlow<()>,
) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let listed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => Listed::Dir,
            Ok(kind) if kind.is_file() => Listed::File,
            Ok(_) => Listed::Other,
            Err(e) if is::absent(&e) => continue,
            Err(_) => Listed::Unknown,
        };
        if each(entry.file_name(), listed).is_break() {
            break;
        }
    }
    Ok(())
}
